use std::fmt;
use std::future::Future;

use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::SimpleQueryMessage;

use super::{Probe, Seen};
use crate::health::sample::{Sample, Why};

/// Looks at a PostgreSQL server by a statement over a connection of a pool.
///
/// It sees what a caller of the pool sees: where all connections are taken for longer than the look may last, that is a bad
/// sample too. To look at the server alone give it a pool of its own, of one connection. Nothing of what the server says but
/// whether it did is told to anybody.
///
/// # Cancel safety
///
/// A look that is dropped while the server owes an answer closes its connection: nobody else of the pool waits for that.
///
/// # Example
///
/// ```
/// use deadpool_postgres::{Manager, Pool};
/// use mainstay::health::{PostgresProbe, Watch};
/// use tokio_postgres::NoTls;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let address: tokio_postgres::Config = "host=127.0.0.1 user=erp".parse()?;
/// let pool = Pool::builder(Manager::new(address, NoTls)).max_size(1).build()?;
/// // A primary that only reads has become a replica.
/// let primary = Watch::new("database_primary", PostgresProbe::new(pool).writable());
/// # drop(primary);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresProbe {
    pool: Pool,
    is_writable: bool,
}

impl PostgresProbe {
    /// That it answers.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self {
            pool,
            is_writable: false,
        }
    }

    /// And that it takes writes: a server in recovery, or that only reads by its settings, is down. Default no matter.
    #[must_use]
    pub const fn writable(mut self) -> Self {
        self.is_writable = true;
        self
    }
}

impl Probe for PostgresProbe {
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        let Self { pool, is_writable } = self.clone();
        async move {
            let client = match pool.get().await {
                Ok(client) => client,
                // The server is there, and refuses.
                Err(PoolError::Backend(error)) if error.as_db_error().is_some() => {
                    return Sample::down(Why::Failed);
                }
                Err(PoolError::Timeout(_)) => return Sample::down(Why::TimedOut),
                Err(_) => return Sample::down(Why::Unreachable),
            };
            let mut lent = Lent(Some(client));
            let sample = ask(&lent, is_writable).await;
            if sample.why() != Some(Why::Unreachable) {
                // It owes no answer.
                drop(lent.0.take());
            }
            sample
        }
    }
}

async fn ask(lent: &Lent, is_writable: bool) -> Sample {
    let Some(client) = &lent.0 else {
        return Sample::down(Why::Unreachable);
    };
    // As a simple query: one message, no statement that a pool in between would have to keep.
    let query = if is_writable {
        "SHOW transaction_read_only"
    } else {
        "SELECT 1"
    };
    match client.simple_query(query).await {
        Ok(_) if !is_writable => Sample::UP,
        Ok(messages) => {
            let reads_only = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            match reads_only {
                Some("off") => Sample::UP,
                Some("on") => Sample::down(Why::ReadOnly),
                _ => Sample::down(Why::Malformed),
            }
        }
        Err(error) if error.as_db_error().is_some() => Sample::down(Why::Failed),
        Err(_) => Sample::down(Why::Unreachable),
    }
}

/// A connection that does not go back to the pool while the server owes an answer.
struct Lent(Option<Object>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

impl fmt::Debug for PostgresProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProbe")
            .field("is_writable", &self.is_writable)
            .finish_non_exhaustive()
    }
}
