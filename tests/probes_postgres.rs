//! The probe of PostgreSQL against a real server; what a server can do wrong is in `probes`.
//!
//! Where there is no PostgreSQL this is reported as ignored, and with `MAINSTAY_REQUIRE_SERVICES=1` it fails.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it starts a real server, and takes its seed from the environment"
)]

#[path = "journal_postgres/fixture.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod fixture;
#[path = "journal_postgres/suite.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod suite;

use mainstay::health::{PostgresProbe, Probe, Sample, Seen, Why};
use tokio_postgres::Config;

use self::fixture::{Fixture, pool};

fn main() {
    suite::run("probes_postgres", |suite| {
        suite.test(
            "a_server_answers_and_says_whether_it_writes",
            a_server_answers_and_says_whether_it_writes,
        );
    });
}

async fn look(address: Config) -> [Sample; 2] {
    let probe = PostgresProbe::new(pool(address));
    let any = probe.look().await.sample();
    [any, probe.writable().look().await.sample()]
}

async fn a_server_answers_and_says_whether_it_writes(server: Fixture) {
    assert_eq!(look(server.address()).await, [Sample::UP; 2]);
    let mut reads = server.address();
    reads.options("-c default_transaction_read_only=on");
    let only_reads = Sample::down(Why::ReadOnly);
    assert_eq!(look(reads).await, [Sample::UP, only_reads]);
    let mut missing = server.address();
    missing.dbname("no_such_database");
    assert_eq!(look(missing).await, [Sample::down(Why::Failed); 2]);
}
