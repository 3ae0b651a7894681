//! Where the journal is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, Pool, QueueMode};
use mainstay::journal::Journal;
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal, SchemaName};
use mainstay::journal::sqlite::SqliteJournal;
use tokio_postgres::NoTls;

use crate::Failed;
use crate::invalid::Invalid;
use crate::state::State;

/// Where `--postgres` is looked for when it is not given.
pub(crate) const ADDRESS: &str = "DATABASE_URL";

/// Well below a third of the lease of an instance, so that a call that hangs does not cost it.
const PATIENCE: Duration = Duration::from_millis(500);

/// What keeps the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file in the state folder: one process.
    Sqlite,
    /// Nothing: what is interrupted is lost, so every run starts over.
    Memory,
    /// A database: any number of processes.
    Postgres,
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "memory" => Ok(Self::Memory),
            "postgres" => Ok(Self::Postgres),
            _ => Err("sqlite, memory or postgres".to_owned()),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
            Self::Postgres => "postgres",
        })
    }
}

/// A database, and the schema in it that belongs to one state folder.
#[derive(Clone)]
pub(crate) struct Database {
    address: tokio_postgres::Config,
    schema: SchemaName,
}

impl Database {
    pub(crate) fn new(address: &str, schema: &str) -> Result<Self, Failed> {
        // Not the address itself in the error: there may be a password in it.
        let address = address.parse().map_err(|error| {
            let expected = "postgres://user@host/database, or host=.. user=.. dbname=..";
            Invalid::new("--postgres", format!("{error}"), expected)
        })?;
        Ok(Self {
            address,
            schema: SchemaName::new(schema)?,
        })
    }

    fn pool(&self) -> Result<Pool, Failed> {
        let manager = Manager::new(self.address.clone(), NoTls);
        Ok(Pool::builder(manager)
            .max_size(6)
            .queue_mode(QueueMode::Lifo)
            .build()?)
    }

    fn config(&self) -> PostgresConfig {
        PostgresConfig::new()
            .schema(self.schema.clone())
            .patience(PATIENCE)
    }

    /// Makes the tables where they are missing.
    pub(crate) async fn migrate(&self) -> Result<(), Failed> {
        let migrated = PostgresJournal::migrate(&self.pool()?, &self.config()).await;
        Ok(migrated.map_err(|error| format!("--postgres: {}", with_causes(&error)))?)
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn Journal>, Failed> {
        let journal = PostgresJournal::open(self.pool()?, self.config()).await?;
        Ok(Arc::new(journal.listen(self.address.clone(), NoTls)))
    }

    /// Forgets a state that was started over.
    pub(crate) async fn forget(&self) -> Result<(), Failed> {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        Ok(self.pool()?.get().await?.batch_execute(&drop).await?)
    }
}

/// An error and what it came of; none of mainstay's or the driver's says a password.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

/// The database of a state, for a store that is in one; its tables are made.
pub(crate) async fn database(
    store: Store,
    address: Option<&str>,
    state: &State,
) -> Result<Option<Database>, Failed> {
    let (Store::Postgres, Some(address)) = (store, address) else {
        return Ok(None);
    };
    if let Some(schema) = state.forgotten() {
        Database::new(address, schema)?.forget().await?;
    }
    let schema = state
        .schema()
        .ok_or("the state does not say where in the database it is; --fresh starts over")?;
    let database = Database::new(address, schema)?;
    database.migrate().await?;
    Ok(Some(database))
}

/// The journal of a run in one process.
pub(crate) async fn journal(
    store: Store,
    database: Option<&Database>,
    state: &State,
) -> Result<Arc<dyn Journal>, Failed> {
    Ok(match (store, database) {
        (_, Some(database)) => database.open().await?,
        (Store::Memory, None) => Arc::new(MemoryJournal::new()),
        (Store::Sqlite | Store::Postgres, None) => Arc::new(SqliteJournal::open(state.journal())?),
    })
}
