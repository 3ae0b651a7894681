//! How fast it is, on request: `cargo test --release --test journal_postgres -- --ignored speed`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::postgres::PostgresJournal;
use mainstay::journal::{Begun, Claim, Join, Journal, Listing, Status};
use tokio_postgres::NoTls;

use super::fixture::{Fixture, beginning, create, ending, record};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_request("speed::sagas_of_seven_records", sagas);
    suite.on_request("speed::claims_among_a_million_ended_logs", claims);
}

async fn open(fixture: &Fixture, writers: u32) -> Arc<PostgresJournal> {
    let pool = Pool::builder(Manager::new(fixture.address(), NoTls))
        .max_size(8)
        .build()
        .unwrap();
    let config = fixture.config().writers(NonZeroU32::new(writers).unwrap());
    Arc::new(PostgresJournal::open(pool, config).await.unwrap())
}

async fn sagas(fixture: Fixture) {
    fixture.migrated().await;
    for writers in [1, 2, 4] {
        for in_flight in [1_u32, 64, 256] {
            let journal = open(&fixture, writers).await;
            let owner = journal
                .join(Join::new("speed", Duration::from_secs(600)))
                .await
                .unwrap();
            let began = Instant::now();
            let until = began + Duration::from_secs(4);
            let tasks = (0..in_flight).map(|task| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    let mut sagas = 0_u32;
                    while Instant::now() < until {
                        let key = format!("{writers}-{in_flight}-{task}-{sagas}");
                        let Begun::Created(head) = journal.begin(beginning(&key).owner(owner)).await.unwrap() else {
                            panic!("the key was free")
                        };
                        let mut place = head.place;
                        for number in 1..6 {
                            journal.append(record(&head, place, &format!("[{{\"done\":{number},\"output\":\"some forty bytes of output or so\"}}]"))).await.unwrap();
                            place = place.after();
                        }
                        journal.append(ending(&head, place)).await.unwrap();
                        sagas += 1;
                    }
                    sagas
                })
            });
            let mut done = 0;
            for task in futures::future::join_all(tasks).await {
                done += task.unwrap();
            }
            let written = journal.written();
            println!(
                "{writers} writers, {in_flight:>3} in flight: {:>6.0} sagas/s, {:.1} operations per commit",
                f64::from(done) / began.elapsed().as_secs_f64(),
                written.operations as f64 / written.commits as f64,
            );
        }
    }
}

async fn claims(fixture: Fixture) {
    fixture.migrated().await;
    let journal = open(&fixture, 2).await;
    let (schema, client) = (&fixture.schema, fixture.psql().await);
    for ended in [0_u32, 1_000_000] {
        let fill = format!(
            "INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                       recoveries, posted, read, begun, updated, ended)
             SELECT 'acme', 'pay', 1, 'ended-' || n, '', 'ended', '', 1, 0, 0, 0, 0, 0, 0, 0, now()
             FROM generate_series(1, {ended}) n"
        );
        client.batch_execute(&fill).await.unwrap();
        client
            .batch_execute(&format!("VACUUM ANALYZE {schema}.log"))
            .await
            .unwrap();
        for key in 0..2_000 {
            create(&*journal, &format!("{ended}-{key}")).await;
        }
        let owner = journal
            .join(Join::new("speed", Duration::from_secs(600)))
            .await
            .unwrap();
        let began = Instant::now();
        for _ in 0..60 {
            let claim = Claim::new(vec![("pay".into(), 1)], 32).owner(owner);
            assert_eq!(journal.claim(claim).await.unwrap().len(), 32);
        }
        let claims = began.elapsed() / 60;
        let began = Instant::now();
        for _ in 0..60 {
            journal
                .list(Listing::new(Status::Running, 32))
                .await
                .unwrap();
        }
        println!(
            "{ended} ended logs: a claim of 32 takes {claims:?}, a list of 32 {:?}",
            began.elapsed() / 60
        );
    }
}
