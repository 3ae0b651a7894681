//! The server dies and comes back, its backends are killed one by one: what was acknowledged is there.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
use mainstay::journal::{Begun, Head, Journal, JournalError};
use mainstay::rng::Rng;
use mainstay_test_support::postgres::Server;

use super::fixture::{Fixture, beginning, create, pool, record, seed};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test(
        "chaos::backends_killed_under_load_lose_and_double_nothing",
        killed_backends,
    );
    suite.test(
        "chaos::a_server_killed_and_restarted_keeps_what_it_acknowledged",
        killed_server,
    );
    suite.test(
        "chaos::too_many_connections_are_a_passing_fault",
        too_many_connections,
    );
}

/// A log, and how many of its records were acknowledged.
type Acknowledged = (Head, u64);

/// Writes logs of seven records until told to stop, asking again for as long as the answer is that it may pass.
async fn work(
    journal: &PostgresJournal,
    writer: u32,
    stop: &AtomicBool,
) -> (Vec<Acknowledged>, u32) {
    let mut logs = Vec::new();
    let mut failures = 0;
    let mut saga = 0;
    'sagas: while !stop.load(Ordering::Relaxed) {
        saga += 1;
        let key = format!("{writer}-{saga}");
        let head = loop {
            match journal.begin(beginning(&key)).await {
                Ok(Begun::Created(head) | Begun::Existing(head)) => break head,
                Ok(other) => panic!("{other:?}"),
                Err(refusal) => passing(&refusal, &mut failures).await,
            }
            if stop.load(Ordering::Relaxed) {
                break 'sagas;
            }
        };
        let mut place = head.place;
        for number in 2..8 {
            let append = record(&head, place, &format!("[{number}]"));
            while let Err(refusal) = journal.append(append.clone()).await {
                passing(&refusal, &mut failures).await;
                if stop.load(Ordering::Relaxed) {
                    logs.push((head, place.records));
                    break 'sagas;
                }
            }
            place = place.after();
        }
        logs.push((head, place.records));
    }
    (logs, failures)
}

async fn passing(refusal: &JournalError, failures: &mut u32) {
    assert!(refusal.is_transient(), "{refusal:?}");
    *failures += 1;
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Everything acknowledged is there, at most one record more, without a gap, and each once.
async fn verify(journal: &PostgresJournal, logs: &[Acknowledged]) {
    for (head, acknowledged) in logs {
        let log = journal.load(head.id).await.unwrap();
        let there = log.head.place.records;
        assert!(
            there == *acknowledged || there == acknowledged + 1,
            "{there} of {acknowledged}"
        );
        for (number, record) in (2..).zip(log.records.iter().skip(1)) {
            assert_eq!(record.body, format!("[{number}]"));
        }
    }
}

async fn killed_backends(fixture: Fixture) {
    let journal = fixture.journal().await;
    let client = fixture.psql().await;
    let stop = AtomicBool::new(false);
    let mut rng = Rng::new(seed());
    let name = format!("%\"{}\"%", fixture.schema);
    let killer = async {
        let mut killed = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(rng.next_u64() % 40)).await;
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid() LIMIT 1";
            killed += client.query(kill, &[&name]).await.unwrap().len();
        }
        stop.store(true, Ordering::Relaxed);
        killed
    };
    let workers = futures::future::join_all((0..32).map(|writer| work(&journal, writer, &stop)));
    let (done, killed) = futures::join!(workers, killer);
    let failures: u32 = done.iter().map(|(_, failures)| failures).sum();
    let logs: Vec<Acknowledged> = done.into_iter().flat_map(|(logs, _)| logs).collect();
    println!(
        "{killed} backends killed, {failures} calls failed, {} logs",
        logs.len()
    );
    assert!(killed > 20 && failures > 0 && logs.len() > 50);
    verify(&journal, &logs).await;
}

async fn killed_server(fixture: Fixture) {
    // A server of its own. It dies with its thread, so it gets one.
    let (commands, inbox) = std::sync::mpsc::channel::<bool>();
    let (told, mut ready) = tokio::sync::mpsc::unbounded_channel();
    let server = std::thread::spawn(move || {
        let mut server = Server::start(&[]).unwrap();
        told.send(server.address()).unwrap();
        while let Ok(true) = inbox.recv() {
            server.restart().unwrap();
            told.send(server.address()).unwrap();
        }
    });
    let address = ready.recv().await.unwrap();
    let pool = pool(address.parse().unwrap());
    let config = PostgresConfig::new().writers(NonZeroU32::new(3).unwrap());
    PostgresJournal::migrate(&pool, &config).await.unwrap();
    let journal = PostgresJournal::open(pool, config).await.unwrap();
    let mut rng = Rng::new(seed());
    let stop = AtomicBool::new(false);
    let killer = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(200 + rng.next_u64() % 1_000)).await;
            commands.send(true).unwrap();
            ready.recv().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let workers = futures::future::join_all((0..64).map(|writer| work(&journal, writer, &stop)));
    let (done, ()) = futures::join!(workers, killer);
    let failures: u32 = done.iter().map(|(_, failures)| failures).sum();
    let logs: Vec<Acknowledged> = done.into_iter().flat_map(|(logs, _)| logs).collect();
    println!("{failures} calls failed, {} logs", logs.len());
    assert!(failures > 0 && logs.len() > 200);
    verify(&journal, &logs).await;
    drop(commands);
    server.join().unwrap();
    drop(fixture);
}

async fn too_many_connections(fixture: Fixture) {
    fixture.migrated().await;
    let role = format!("role_{}", fixture.schema);
    let schema = &fixture.schema;
    let limit = format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA {schema} TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};"
    );
    fixture.psql().await.batch_execute(&limit).await.unwrap();
    let mut address = fixture.address();
    address.user(&role);
    let one = fixture.open_at(address.clone()).await;
    create(&one, "1").await;
    let refused = PostgresJournal::open(pool(address), fixture.config())
        .await
        .unwrap_err();
    assert!(refused.is_transient(), "53300: {refused:?}");
}
