//! How fast it is, on request: `cargo test --release --test journal_postgres -- --ignored speed`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::postgres::{PostgresJournal, SchemaName};
use mainstay::journal::{Begun, Join, Journal};
use tokio_postgres::NoTls;

use super::crowd::Asked;
use super::fixture::{Fixture, beginning, ending, record};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_request("speed::sagas_of_seven_records", sagas);
    suite.on_request("speed::claims_among_ended_logs", claims);
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

/// As `tests/journal_ended.rs`, with the same bars.
async fn claims(few: Fixture) {
    let mut many = few.clone();
    many.schema = SchemaName::new("many").unwrap();
    let mut asked = Vec::new();
    for (fixture, ended) in [(&few, 1_000), (&many, super::crowd::ended())] {
        fixture.migrated().await;
        let (schema, client) = (&fixture.schema, fixture.psql().await);
        let began = Instant::now();
        let mut before = 0;
        while before < ended {
            let until = ended.min(before + 1_000_000);
            let fill = format!(
                "INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                           recoveries, posted, read, begun, updated, ended)
                 SELECT 't' || (n - 1) % 100, 'pay', 1, 'ended-' || lpad(n::text, 8, '0'),
                        '0123456789abcdef0123456789abcdef', 'ended', 'ship', 1, 1, 0, 0, 0, 0, n, n, now()
                 FROM generate_series({before} + 1, {until}) n;
                 INSERT INTO {schema}.record (log, seq, epoch, at, tenant, format, body)
                 SELECT id, 1, 1, begun, tenant, 1, '[]' FROM {schema}.log WHERE begun > {before}"
            );
            client.batch_execute(&fill).await.unwrap();
            before = until;
        }
        let tidy = format!("VACUUM ANALYZE {schema}.log; ");
        client.batch_execute(&tidy).await.unwrap();
        println!("{ended} ended logs in {:.0?}", began.elapsed());
        asked.push(Asked::new(open(fixture, 2).await).await);
        client.batch_execute(&tidy).await.unwrap();
    }
    super::crowd::cold(&asked[0], &asked[1]).await;
    super::crowd::warm(&asked[0], &asked[1]).await;
}
