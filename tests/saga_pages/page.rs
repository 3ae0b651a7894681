//! The SQL of the page about stuck sagas, and sagas for it to find.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay::journal::Journal;
use mainstay::saga::entry::Operation;
use mainstay::saga::operator::{Command, DenyAll};
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/saga")
}

/// The blocks of a page that are fenced as `language`.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder().join(page)).unwrap();
    let open = format!("```{language}\n");
    let blocks = text.split(&open).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

async fn transfer(cx: Cx<(), u32>, (): ()) -> Result<(), StepError> {
    match cx.input() {
        1 => Err(StepError::unknown("the line went dead")),
        _ => Err(StepError::retry_after(
            "later",
            std::time::Duration::from_secs(3_600),
        )),
    }
}

/// The statements of the page: for SQLite, for PostgreSQL, and for the guard's tables in either.
pub(crate) fn statements() -> [Vec<String>; 3] {
    let mut statements = [const { Vec::new() }; 3];
    for statement in blocks("stuck.md", "sql") {
        let of = match statement.lines().next().unwrap() {
            line if line.starts_with("-- PostgreSQL") => 1,
            line if line.starts_with("-- at the receiver") => 2,
            _ => 0,
        };
        statements.get_mut(of).unwrap().push(statement);
    }
    statements
}

/// One saga that waits for an operator for the second time, and one that waits for an hour.
pub(crate) async fn stuck(journal: Arc<dyn Journal>) -> Sagas<()> {
    let payment = Saga::builder("payment")
        .pivot("transfer", transfer)
        .build()
        .unwrap();
    let sagas = Sagas::builder(journal, ())
        .register(&payment)
        .start()
        .await
        .unwrap();
    let first = sagas.start(&payment, "PAY-1", 1).await.unwrap();
    assert!(matches!(first.ended().await.unwrap(), Ended::Incident(_)));
    sagas
        .retry(first.id(), "ann", "the bank is back")
        .await
        .unwrap();
    while sagas.incidents().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // What is written after the incident does not hide it.
    let eve = sagas.operator(Arc::new(DenyAll), "eve");
    let command = Command::new(Operation::Abandon, 2, "because");
    eve.decide(first.id(), &command).await.unwrap_err();
    sagas.start(&payment, "PAY-2", 2).await.unwrap();
    sagas
}
