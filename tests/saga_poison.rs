//! Test J: a step that ends the process, again and again. It becomes an incident, and the sagas that run beside it end.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "its processes live and die in real time, and get their folder from the environment"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::saga::entry::Class;
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};

const SAGAS: u32 = 12;
const POISON: u32 = 5;

async fn work(cx: Cx<(), u32>, (): ()) -> Result<(), StepError> {
    if *cx.input() == POISON {
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::process::abort();
    }
    // Slower than the poison: none of them gets further while it runs beside them.
    tokio::time::sleep(Duration::from_millis(60)).await;
    Ok(())
}

fn saga() -> Saga<(), u32, ()> {
    Saga::builder("mixed").pivot("work", work).build().unwrap()
}

async fn engine(folder: &Path) -> Sagas<()> {
    let journal = SqliteJournal::open(folder.join("sagas.sqlite")).unwrap();
    let sagas = Sagas::builder(Arc::new(journal), ()).register(&saga());
    sagas.start().await.unwrap()
}

#[tokio::test]
#[ignore = "it is the child of the test below"]
async fn child_works() {
    let folder = std::env::var_os("MAINSTAY_TEST_FOLDER").unwrap();
    let sagas = engine(Path::new(&folder)).await;
    let starts = (0..SAGAS).map(|n| {
        let sagas = sagas.clone();
        async move { sagas.start(&saga(), n.to_string(), n).await.unwrap() }
    });
    let handles = futures::future::join_all(starts).await;
    for handle in handles {
        handle.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_step_that_ends_the_process_is_held_and_its_neighbours_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut deaths = 0;
    loop {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_works", "--ignored"])
            .env("MAINSTAY_TEST_FOLDER", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if child.success() {
            break;
        }
        deaths += 1;
        assert!(deaths < 20, "it is run for ever");
    }
    println!("{deaths} processes died");
    assert!((7..=8).contains(&deaths), "{deaths}");
    let sagas = engine(folder.path()).await;
    for n in 0..SAGAS {
        let handle = sagas.start(&saga(), n.to_string(), n).await.unwrap();
        match handle.ended().await.unwrap() {
            Ended::Completed(()) => assert_ne!(n, POISON),
            Ended::Incident(incident) => {
                assert_eq!((n, incident.class), (POISON, Class::CrashLoop));
            }
            other => panic!("{n}: {other:?}"),
        }
    }
}
