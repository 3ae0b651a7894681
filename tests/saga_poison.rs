//! Test J: a step that ends the process, again and again. It becomes an incident, and the sagas that run beside it end. So
//! does a conversion by which a saga is to be carried over.

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
use mainstay::journal::{Journal, Listing, Status};
use mainstay::saga::entry::Class;
use mainstay::saga::{Cx, Ended, Migration, Saga, Sagas, StepError};

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

/// Runs the child again and again until one comes to its end, and says how many died.
fn deaths(child: &str, folder: &Path) -> u32 {
    let mut deaths = 0;
    loop {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child, "--ignored"])
            .env("MAINSTAY_TEST_FOLDER", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if ended.success() {
            println!("{deaths} processes died");
            return deaths;
        }
        deaths += 1;
        assert!(deaths < 20, "it is run for ever");
    }
}

#[tokio::test]
async fn a_step_that_ends_the_process_is_held_and_its_neighbours_end() {
    let folder = tempfile::tempdir().unwrap();
    let deaths = deaths("child_works", folder.path());
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

// === carried over ===

async fn reserve(cx: Cx<(), u32>, (): ()) -> Result<u32, StepError> {
    Ok(*cx.input())
}

async fn release<Output: Send + 'static>(
    _: Cx<(), u32>,
    _: Option<Output>,
) -> Result<(), StepError> {
    Ok(())
}

async fn hang(_: Cx<(), u32>, _: u32) -> Result<(), StepError> {
    std::future::pending().await
}

async fn pay(_: Cx<(), u32>, _: String) -> Result<(), StepError> {
    Ok(())
}

fn before() -> Saga<(), u32, ()> {
    Saga::builder("carried")
        .step("reserve", reserve)
        .undo(release::<u32>)
        .pivot("pay", hang)
        .build()
        .unwrap()
}

async fn reserve_anew(cx: Cx<(), u32>, (): ()) -> Result<String, StepError> {
    Ok(cx.input().to_string())
}

fn after() -> Saga<(), u32, ()> {
    let migration = Migration::from_shape(before().shape()).converted("reserve", |n: u32| {
        if n == POISON {
            std::process::abort();
        }
        Ok(n.to_string())
    });
    Saga::builder("carried")
        .version(2)
        .step("reserve", reserve_anew)
        .undo(release::<String>)
        .pivot("pay", pay)
        .build()
        .unwrap()
        .migrate(migration)
        .unwrap()
}

fn journal(folder: &Path) -> Arc<dyn Journal> {
    Arc::new(SqliteJournal::open(folder.join("sagas.sqlite")).unwrap())
}

async fn program(journal: &Arc<dyn Journal>, saga: &Saga<(), u32, ()>) -> Sagas<()> {
    let sagas = Sagas::builder(Arc::clone(journal), ()).register(saga);
    sagas.start().await.unwrap()
}

#[tokio::test]
#[ignore = "it is the child of the test below"]
async fn child_carries_over() {
    let folder = std::env::var_os("MAINSTAY_TEST_FOLDER").unwrap();
    let sagas = program(&journal(Path::new(&folder)), &after()).await;
    for n in 0..SAGAS {
        let handle = sagas.start(&after(), n.to_string(), n).await.unwrap();
        handle.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_conversion_that_ends_the_process_is_held_and_its_neighbours_end() {
    let folder = tempfile::tempdir().unwrap();
    let journal_before = journal(folder.path());
    let sagas = program(&journal_before, &before()).await;
    for n in 0..SAGAS {
        sagas.start(&before(), n.to_string(), n).await.unwrap();
    }
    let all_wait = Listing::new(Status::Running, 100).stage("pay");
    let all = usize::try_from(SAGAS).unwrap();
    while journal_before.list(all_wait.clone()).await.unwrap().len() < all {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sagas.shutdown(Duration::ZERO).await;
    drop((sagas, journal_before));
    let deaths = deaths("child_carries_over", folder.path());
    assert!((6..=7).contains(&deaths), "{deaths}");
    let sagas = program(&journal(folder.path()), &after()).await;
    for n in 0..SAGAS {
        let handle = sagas.start(&after(), n.to_string(), n).await.unwrap();
        match handle.ended().await.unwrap() {
            Ended::Completed(()) => assert_ne!(n, POISON),
            Ended::Incident(incident) => {
                assert_eq!((n, incident.class), (POISON, Class::CrashLoop));
            }
            other => panic!("{n}: {other:?}"),
        }
    }
}
