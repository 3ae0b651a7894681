//! The job, the same for everybody: six steps, one after the other, that do nothing but count.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Outcome<T>> + Send + 'a>>;

/// What the steps are called, where they have names.
pub const STEPS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

static DONE: AtomicU64 = AtomicU64::new(0);

/// What a step does: it counts, so that a step that was left out or done twice shows.
pub fn step() {
    DONE.fetch_add(1, Ordering::Relaxed);
}

/// How many steps have been done.
pub fn steps() -> u64 {
    DONE.load(Ordering::Relaxed)
}

/// Where an engine may keep what it keeps.
#[derive(Clone, Debug)]
pub struct Place {
    /// An empty folder on the disk that is asked about.
    pub folder: PathBuf,
    /// The port and the database of a PostgreSQL server on this machine, for those who need one.
    pub postgres: Option<(u16, String)>,
    /// How many sagas will be in flight, for those whose best settings depend on it.
    pub flight: usize,
}

impl Place {
    /// The database's port and name.
    pub fn database(&self) -> Outcome<(u16, &str)> {
        let (port, name) = self.postgres.as_ref().ok_or("no PostgreSQL server")?;
        Ok((*port, name))
    }

    /// The database as an address.
    #[cfg(any(feature = "dbos", feature = "durare"))]
    pub fn url(&self) -> Outcome<String> {
        let (port, name) = self.database()?;
        Ok(format!("postgres://postgres@127.0.0.1:{port}/{name}"))
    }
}

/// Whoever runs sagas.
pub trait Engine: Send + Sync {
    /// Runs saga `number` from its start to its end. `Ok` only if the engine says that it is completed, with the number
    /// as its result where sagas have results.
    fn saga(&self, number: u64) -> Answer<'_, ()>;

    /// Transactions or batches that it says it has written, where it says so.
    fn commits(&self) -> Option<u64> {
        None
    }
}

pub type Opened = Arc<dyn Engine>;
pub type Open = fn(Place) -> Answer<'static, Opened>;

/// The result that a saga must have.
pub fn expect(number: u64, result: u64) -> Outcome<()> {
    if result == number {
        Ok(())
    } else {
        Err(format!("saga {number} has the result {result}").into())
    }
}
