//! The pages under `docs/saga`: their SQL is run against a journal with sagas that wait, and their links lead somewhere.
//!
//! Their Rust examples are documentation tests, see the end of `src/lib.rs`.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "the environment says whether a server must be there"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::Journal;
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::saga::entry::Operation;
use mainstay::saga::operator::{Command, DenyAll};
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
use mainstay_test_support::postgres::{Absent, Server};
use rusqlite::{Connection, OpenFlags};
use tokio_postgres::NoTls;

fn folder() -> PathBuf {
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
fn statements() -> [Vec<String>; 3] {
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
async fn stuck(journal: Arc<dyn Journal>) -> Sagas<()> {
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

#[tokio::test]
async fn the_statements_say_what_is_stuck() {
    let [statements, _, receiver] = statements();
    assert_eq!((statements.len(), receiver.len()), (6, 1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let sagas = stuck(Arc::new(SqliteJournal::open(&path).unwrap())).await;

    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = Vec::new();
    for statement in &statements {
        let mut select = db.prepare(statement).unwrap();
        let columns = select.column_count();
        let mut found = select.query([]).unwrap();
        let mut text = String::new();
        while let Some(row) = found.next().unwrap() {
            for column in 0..columns {
                text.push_str(&format!("{:?} ", row.get_ref(column).unwrap()));
            }
            text.push('\n');
        }
        rows.push(rendered(&text));
    }
    let [held, story, running, counts, decided, key] = rows.try_into().unwrap();
    for word in ["unknown_outcome", "transfer", "the line went dead", "PAY-1"] {
        assert!(held.contains(word), "{held}");
    }
    assert_eq!(held.lines().count(), 1, "{held}");
    assert!(
        story.contains("started") && story.contains("resolved"),
        "{story}"
    );
    assert!(
        running.contains("PAY-2") && running.lines().count() == 1,
        "{running}"
    );
    assert!(
        counts.contains("running") && counts.contains("held"),
        "{counts}"
    );
    assert!(
        decided.contains("retry") && decided.contains("the bank is back"),
        "{decided}"
    );
    assert!(key.contains("held"), "{key}");

    let of_receiver = Connection::open_in_memory().unwrap();
    mainstay::effect_guard::sqlite::create(&of_receiver).unwrap();
    for statement in &receiver {
        of_receiver.prepare(statement).unwrap();
    }
    // Cut off: it would wait for an hour.
    sagas.shutdown(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn so_do_those_for_postgres() {
    let required = std::env::var_os("MAINSTAY_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    let server = match Server::start(&[("fsync", "on")]) {
        Err(Absent::NotInstalled) if !required => return,
        other => other.unwrap(),
    };
    let address: tokio_postgres::Config = server.address().parse().unwrap();
    let pool = Pool::builder(Manager::new(address, NoTls)).build().unwrap();
    let config = PostgresConfig::new();
    PostgresJournal::migrate(&pool, &config).await.unwrap();
    let journal = PostgresJournal::open(pool.clone(), config).await.unwrap();
    let sagas = stuck(Arc::new(journal)).await;

    let client = pool.get().await.unwrap();
    let [_, statements, receiver] = statements();
    let [held, running] = statements.try_into().unwrap();
    let held = client.query(&held, &[]).await.unwrap();
    assert_eq!(held.len(), 1);
    let row = held.first().unwrap();
    assert_eq!(row.get::<_, &str>("class"), "unknown_outcome");
    assert_eq!(row.get::<_, &str>("key"), "PAY-1");
    let running = client.query(&running, &[]).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running.first().unwrap().get::<_, &str>("key"), "PAY-2");
    let tables = mainstay::effect_guard::postgres::TABLES;
    client.batch_execute(tables).await.unwrap();
    for statement in &receiver {
        client.query(statement, &[]).await.unwrap();
    }
    drop(client);
    sagas.shutdown(std::time::Duration::ZERO).await;
}

/// `ValueRef` shows text as bytes.
fn rendered(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("Text([") {
        let (bytes, after) = after.split_once("])").unwrap();
        out.push_str(before);
        let bytes = bytes
            .split(", ")
            .filter_map(|byte| byte.parse().ok())
            .collect();
        out.push_str(&String::from_utf8(bytes).unwrap());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut code = false;
    text.lines()
        .filter(|line| {
            code ^= line.starts_with("```");
            !code && line.starts_with('#')
        })
        .map(anchor)
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in std::fs::read_dir(folder()).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (link, after) = after.split_once(')').unwrap();
            rest = after;
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let found = std::fs::read_to_string(&target);
            let found = found.unwrap_or_else(|_| panic!("{}: {link}", page.display()));
            assert!(
                place.is_empty() || anchors(&found).contains(&place.to_owned()),
                "{}: {link}",
                page.display()
            );
        }
    }
    assert!(links > 20, "{links}");
}
