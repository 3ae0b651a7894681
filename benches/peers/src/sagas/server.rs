//! A PostgreSQL server for the rows that need one, on the disk that is asked about, with its own defaults.

use std::path::Path;
use std::time::Duration;

use mainstay_test_support::postgres::{Absent, Server};
use tokio_postgres::{Client, NoTls};

use super::job::Outcome;

/// What counts the server's synchronous writes of its log: up to version 17, and since.
const SYNCS: [&str; 2] = [
    "SELECT wal_sync FROM pg_stat_wal",
    "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'",
];

pub struct Postgres {
    server: Server,
    runtime: tokio::runtime::Runtime,
    client: Client,
    databases: u32,
    pub version: String,
}

impl Postgres {
    /// `Err` with [`Absent`] where there is none.
    pub fn start(folder: &Path) -> Outcome<Result<Self, Absent>> {
        let server = match Server::start_in(folder, &[]) {
            Ok(server) => server,
            Err(absent) => return Ok(Err(absent)),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&server.address(), NoTls).await?;
            tokio::spawn(connection);
            Outcome::Ok(client)
        })?;
        let version = runtime.block_on(client.query_one("SHOW server_version", &[]))?;
        Ok(Ok(Self {
            server,
            runtime,
            client,
            databases: 0,
            version: version.get(0),
        }))
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// A new, empty database.
    pub fn database(&mut self) -> Outcome<String> {
        self.databases += 1;
        let name = format!("sagas_{}", self.databases);
        let statement = format!("CREATE DATABASE {name}");
        self.runtime
            .block_on(self.client.batch_execute(&statement))?;
        Ok(name)
    }

    pub fn drop_database(&self, name: &str) -> Outcome<()> {
        let statement = format!("DROP DATABASE {name} WITH (FORCE)");
        self.runtime
            .block_on(self.client.batch_execute(&statement))?;
        Ok(())
    }

    /// How often the server has synced its log, once every other client is gone: they say so as they go.
    pub fn syncs(&self) -> Outcome<u64> {
        self.runtime.block_on(async {
            let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            for _ in 0..100 {
                let others: i64 = self.client.query_one(others, &[]).await?.get(0);
                if others == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut error = None;
            for query in SYNCS {
                match self.client.query_one(query, &[]).await {
                    Ok(row) => return Ok(u64::try_from(row.get::<_, i64>(0))?),
                    Err(refused) => error = Some(refused),
                }
            }
            Err(error.map_or_else(|| "nobody was asked".into(), Into::into))
        })
    }
}
