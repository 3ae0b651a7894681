//! Steps in the file of the `sqlite` journal.
//!
//! The tables that the steps write are in the same file as the journal, beside its own (`log`, `record`, `mail`,
//! `instance`, `log_behind`), which are not to be touched. The journal makes the file, and the program its tables, with a connection of
//! its own and before the first saga; from then on only the steps write, since a writer beside the journal makes it wait.
//!
//! A step is a plain function: it runs on the journal's writer thread, inside the transaction that other sagas' records
//! share, under a savepoint of its own. So it costs no sync of its own, and all that waits for the journal waits for it:
//! records of other sagas and the heartbeat of the instance's lease too. **Keep it to milliseconds of SQL**: no network,
//! no sleep, no lock. A step whose time is over before its turn comes is not begun; one that has begun cannot be
//! stopped. What needs longer belongs to a step before it, whose output it is given.
//!
//! It must not end the transaction (`COMMIT`, `ROLLBACK`, `ON CONFLICT ROLLBACK`, `RAISE(ROLLBACK)`) nor set a `PRAGMA`.
//! One that ends it is held for an operator, and what else was in the transaction is written again. A deferred constraint
//! that it leaves broken is found at the commit: then the step is tried again, and from then on no other step shares its
//! transaction.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use mainstay::journal::sqlite::SqliteJournal;
//! use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
//! use mainstay::saga::tx::sqlite::TxStep;
//! use rusqlite::Transaction;
//!
//! fn post(tx: &Transaction<'_>, cx: Cx<(), i64>, (): ()) -> Result<i64, StepError> {
//!     tx.execute("INSERT INTO posting (minor) VALUES (?1)", [cx.input()])?;
//!     Ok(tx.last_insert_rowid())
//! }
//!
//! fn unpost(tx: &Transaction<'_>, _: Cx<(), i64>, number: Option<i64>) -> Result<(), StepError> {
//!     // Undone only when it is done, so its output is known.
//!     tx.execute("DELETE FROM posting WHERE number = ?1", [number])?;
//!     Ok(())
//! }
//!
//! async fn ship(_: Cx<(), i64>, _: i64) -> Result<(), StepError> {
//!     Err(StepError::fail("out of stock"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("books.sqlite");
//! let journal = Arc::new(SqliteJournal::open(&path)?);
//! let books = rusqlite::Connection::open(&path)?;
//! books.execute_batch("CREATE TABLE IF NOT EXISTS posting (number INTEGER PRIMARY KEY, minor INTEGER NOT NULL)")?;
//!
//! let order = Saga::builder("order")
//!     .step("post", TxStep::new(post))
//!     .undo(TxStep::new(unpost))
//!     .pivot("ship", ship)
//!     .build()?;
//! let sagas = Sagas::builder(journal, ()).register(&order).start().await?;
//! let ended = sagas.start(&order, "ORDER-1", 12_00).await?.ended().await?;
//! assert!(matches!(ended, Ended::Compensated { .. }));
//! let posted: i64 = books.query_row("SELECT count(*) FROM posting", [], |row| row.get(0))?;
//! assert_eq!(posted, 0);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::{broke, no_desk};
use crate::journal::JournalError;
use crate::journal::sqlite::{Desk, Worked};
use crate::saga::action::{Action, Recorded};
use crate::saga::cx::Cx;
use crate::saga::error::StepError;
use crate::saga::payload::Payload;
use crate::saga::policy::Settings;

/// A step, or an undo, whose effect is in the file of the engine's `sqlite` journal and commits with its record.
///
/// See the [module](super) for what that promises, and [here](self) for what the function must keep to. It is used like
/// any other step: [`Step::new`](crate::saga::Step::new) around it sets attempts and times.
///
/// # Example
///
/// ```
/// use mainstay::saga::tx::sqlite::TxStep;
/// use mainstay::saga::{Cx, DefinitionError, Saga};
/// use rusqlite::Transaction;
///
/// let saga = Saga::builder("count")
///     .pivot("count", TxStep::new(|tx: &Transaction<'_>, _: Cx<(), ()>, (): ()| {
///         tx.execute("UPDATE counter SET n = n + 1", [])?;
///         Ok(())
///     }))
///     .build()?;
/// # Ok::<(), DefinitionError>(())
/// ```
pub struct TxStep<F> {
    run: Arc<F>,
}

impl<F> TxStep<F> {
    /// A step that does this inside the journal's transaction.
    pub fn new<App, Input, Given, Output>(run: F) -> Self
    where
        F: Fn(&Transaction<'_>, Cx<App, Input>, Given) -> Result<Output, StepError>
            + Send
            + Sync
            + 'static,
    {
        Self { run: Arc::new(run) }
    }
}

impl<F> fmt::Debug for TxStep<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite::TxStep")
    }
}

impl<F, App, Input, Given, Output> Action<App, Input, Given> for TxStep<F>
where
    F: Fn(&Transaction<'_>, Cx<App, Input>, Given) -> Result<Output, StepError>
        + Send
        + Sync
        + 'static,
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Send + 'static,
    Output: Recorded,
{
    type Output = Output;

    fn call(
        &self,
        cx: Cx<App, Input>,
        given: Given,
    ) -> BoxFuture<'static, Result<Output, StepError>> {
        Box::pin(attempt(Arc::clone(&self.run), cx, given))
    }

    fn settings(&self) -> Settings {
        Settings::in_journal("sqlite")
    }
}

async fn attempt<F, App, Input, Given, Output>(
    run: Arc<F>,
    cx: Cx<App, Input>,
    given: Given,
) -> Result<Output, StepError>
where
    F: Fn(&Transaction<'_>, Cx<App, Input>, Given) -> Result<Output, StepError>
        + Send
        + Sync
        + 'static,
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Send + 'static,
    Output: Recorded,
{
    let recorder = cx.recorder().cloned().ok_or_else(|| no_desk("sqlite"))?;
    let transactions = recorder.transactions().clone();
    let desk: &Desk = transactions.desk().ok_or_else(|| no_desk("sqlite"))?;
    let (say, said) = oneshot::channel();
    let inside = Arc::clone(&recorder);
    let work = move |tx: &Transaction<'_>| {
        if !inside.is_open() {
            return None;
        }
        let (said, append) = match run(tx, cx, given) {
            Err(error) => (Err(error), None),
            Ok(output) => match Payload::of(&output) {
                // Who reads the answer finds that out again, and says so.
                Err(_) => (Ok(output), None),
                Ok(payload) => match inside.draft(payload) {
                    Ok(append) => (Ok(output), Some(append)),
                    Err(error) => (Err(error), None),
                },
            },
        };
        // Nobody may wait any more; then there was no draft either, or the engine looks.
        drop(say.send(said));
        append
    };
    let unsaid = || StepError::retry("it was not begun");
    let worked = if recorder.is_on_trial() {
        desk.work_on_trial(Box::new(work)).await
    } else {
        desk.work(Box::new(work)).await
    };
    match worked {
        Ok(Worked::Recorded) => {
            recorder.durable();
            said.await.unwrap_or_else(|_| Err(unsaid()))
        }
        Ok(Worked::RolledBack) => said.await.unwrap_or_else(|_| Err(unsaid())),
        Ok(Worked::Panicked) => std::panic::resume_unwind(Box::new("the step panicked")),
        Ok(Worked::Broke) => {
            recorder.taken_back();
            Err(broke())
        }
        Err(error) => {
            if matches!(error, JournalError::Backend(_)) {
                recorder.taken_back();
            }
            Err(error.into())
        }
    }
}
