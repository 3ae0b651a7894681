//! A schema of a test's own on the common server, and journals in it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal, SchemaName};
use mainstay::journal::{Append, Begin, Begun, Head, Journal, Labels, Place, Status};
use mainstay::time::Timestamp;
use mainstay_test_support::postgres::Server;
use tokio_postgres::NoTls;

#[derive(Clone)]
pub(crate) struct Fixture {
    server: Arc<Result<Server, String>>,
    pub(crate) schema: SchemaName,
}

impl Fixture {
    pub(crate) fn new(server: Arc<Result<Server, String>>) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let schema = SchemaName::new(format!("test_{number}")).unwrap();
        Self { server, schema }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> tokio_postgres::Config {
        self.server().address().parse().unwrap()
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig::new()
            .schema(self.schema.clone())
            .writers(NonZeroU32::new(2).unwrap())
    }

    pub(crate) async fn migrated(&self) -> &Self {
        PostgresJournal::migrate(&pool(self.address()), &self.config())
            .await
            .unwrap();
        self
    }

    pub(crate) async fn open(&self) -> PostgresJournal {
        self.open_at(self.address()).await
    }

    pub(crate) async fn open_at(&self, address: tokio_postgres::Config) -> PostgresJournal {
        PostgresJournal::open(pool(address), self.config())
            .await
            .unwrap()
    }

    /// A journal in a fresh schema.
    pub(crate) async fn journal(&self) -> PostgresJournal {
        self.migrated().await.open().await
    }

    /// A connection beside the journal's, for looking and for damaging.
    pub(crate) async fn psql(&self) -> tokio_postgres::Client {
        psql(self.address()).await
    }
}

pub(crate) async fn psql(address: tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = address.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn pool(address: tokio_postgres::Config) -> Pool {
    Pool::builder(Manager::new(address, NoTls))
        .max_size(6)
        .build()
        .unwrap()
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn beginning(key: &str) -> Begin {
    Begin::new(
        Arc::new(Labels::new("acme")),
        "pay",
        key,
        format!("digest of {key}"),
        1,
        "[\"first\"]",
        at(1),
    )
}

pub(crate) async fn create(journal: &dyn Journal, key: &str) -> Head {
    match journal.begin(beginning(key)).await.unwrap() {
        Begun::Created(head) => head,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn record(head: &Head, expect: Place, body: &str) -> Append {
    Append::new(
        head.id,
        expect,
        Status::Running,
        Arc::clone(&head.labels),
        1,
        body,
        at(2),
    )
}

pub(crate) fn ending(head: &Head, expect: Place) -> Append {
    Append::new(
        head.id,
        expect,
        Status::Ended,
        Arc::clone(&head.labels),
        1,
        "[\"last\"]",
        at(3),
    )
}

/// Waits until it holds, for what the server does in its own time.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("ten seconds, and not yet: {what}");
}

/// The seed that was asked for, or another one each time.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("MAINSTAY_SEED={seed}");
    seed
}
