//! Steps in the database of the `postgres` journal.
//!
//! The tables that the steps write are in the same database as the journal's schema, and its role may write them. A step
//! is an async function; it runs in a transaction of a connection of the journal's pool, and its record is added to that
//! transaction when it returns. It holds the connection meanwhile, so size the pool: as many steps run at once as it has
//! connections beyond [`writers`](crate::journal::postgres::PostgresConfig::writers) + 1, but one always does; others
//! wait for their turn, within their timeout.
//!
//! The saga's own row in the journal is locked from the return of the function to the end of the commit, and not before:
//! a slow step holds up nobody but those who want the rows that it wrote. When its time is over its connection is thrown
//! away, and the server takes back what it did.
//!
//! **Isolation** is `READ COMMITTED` unless [said otherwise](TxStep::isolation). What the server refuses because of
//! others (40001, 40P01) is tried again like any attempt that failed; above `READ COMMITTED` give the step enough
//! [attempts](crate::saga::Step::attempts).
//!
//! **An answer of the commit that is lost** leaves the engine in doubt for as long as one look takes: it locks the saga's
//! row, which waits for the transaction in doubt, and reads whether the record is there. A server that hears no more of
//! the transaction ends it by itself, after the step's time and the journal's
//! [patience](crate::journal::postgres::PostgresConfig::patience).
//!
//! The function must not end the transaction (`COMMIT`, `ROLLBACK`). One that does is held for an operator before it is
//! recorded.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//! use mainstay::journal::postgres::PostgresJournal;
//! use mainstay::saga::tx::postgres::TxStep;
//! use mainstay::saga::{Cx, Saga, Sagas, StepError};
//! use tokio_postgres::Transaction;
//!
//! async fn post(tx: &Transaction<'_>, cx: Cx<(), i64>, (): ()) -> Result<i64, StepError> {
//!     let posted = "INSERT INTO posting (minor) VALUES ($1) RETURNING number";
//!     Ok(tx.query_one(posted, &[cx.input()]).await?.try_get(0)?)
//! }
//!
//! async fn unpost(tx: &Transaction<'_>, _: Cx<(), i64>, number: Option<i64>) -> Result<(), StepError> {
//!     tx.execute("DELETE FROM posting WHERE number = $1", &[&number]).await?;
//!     Ok(())
//! }
//!
//! async fn ship(_: Cx<(), i64>, _: i64) -> Result<(), StepError> {
//!     Ok(())
//! }
//!
//! # async fn example(journal: PostgresJournal) -> Result<(), Box<dyn std::error::Error>> {
//! let order = Saga::builder("order")
//!     .step("post", TxStep::new(post))
//!     .undo(TxStep::new(unpost))
//!     .pivot("ship", ship)
//!     .build()?;
//! let sagas = Sagas::builder(Arc::new(journal), ()).register(&order).start().await?;
//! # drop(sagas);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_postgres::{IsolationLevel, Transaction};

use super::{broke, no_desk};
use crate::journal::postgres::{Desk, Left};
use crate::saga::action::{Action, Recorded};
use crate::saga::cx::Cx;
use crate::saga::error::StepError;
use crate::saga::payload::Payload;
use crate::saga::policy::Settings;

/// `async fn(&Transaction<'_>, Cx<App, Input>, Given) -> Result<Output, StepError>`.
///
/// Implemented for every such function; there is no other way to have one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a step in the journal's transaction",
    label = "this must be `async fn(&tokio_postgres::Transaction<'_>, Cx<{App}, {Input}>, {Given}) -> Result<_, StepError>`",
    note = "a named function: a closure's future cannot say that it borrows the transaction",
    note = "its future must be `Send`"
)]
pub trait TxFn<'t, App, Input, Given>: Send + Sync + 'static {
    /// What it returns.
    type Output;
    /// Its future.
    type Running: Future<Output = Result<Self::Output, StepError>> + Send + 't;

    /// Begins it.
    #[doc(hidden)]
    fn run(&self, tx: &'t Transaction<'t>, cx: Cx<App, Input>, given: Given) -> Self::Running;
}

impl<'t, F, Running, App, Input, Given, Output> TxFn<'t, App, Input, Given> for F
where
    F: Fn(&'t Transaction<'t>, Cx<App, Input>, Given) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<Output, StepError>> + Send + 't,
{
    type Output = Output;
    type Running = Running;

    fn run(&self, tx: &'t Transaction<'t>, cx: Cx<App, Input>, given: Given) -> Running {
        self(tx, cx, given)
    }
}

/// A step, or an undo, whose effect is in the database of the engine's `postgres` journal and commits with its record.
///
/// See the [module](super) for what that promises, and [here](self) for connections and isolation, with an example. It
/// is used like any other step: [`Step::new`](crate::saga::Step::new) around it sets attempts and times.
pub struct TxStep<F> {
    run: Arc<F>,
    isolation: IsolationLevel,
}

impl<F> TxStep<F> {
    /// A step that does this inside a transaction of the journal's database.
    pub fn new<App, Input, Given, Output>(run: F) -> Self
    where
        F: for<'t> TxFn<'t, App, Input, Given, Output = Output>,
    {
        Self {
            run: Arc::new(run),
            isolation: IsolationLevel::ReadCommitted,
        }
    }

    /// How the transaction is isolated from others. Defaults to `READ COMMITTED`.
    #[must_use]
    pub const fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = level;
        self
    }
}

impl<F> fmt::Debug for TxStep<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("postgres::TxStep")
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}

impl<F, App, Input, Given, Output> Action<App, Input, Given> for TxStep<F>
where
    F: for<'t> TxFn<'t, App, Input, Given, Output = Output>,
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
        Box::pin(attempt(Arc::clone(&self.run), self.isolation, cx, given))
    }

    fn settings(&self) -> Settings {
        Settings::in_journal("postgres")
    }
}

async fn attempt<F, App, Input, Given, Output>(
    run: Arc<F>,
    isolation: IsolationLevel,
    cx: Cx<App, Input>,
    given: Given,
) -> Result<Output, StepError>
where
    F: for<'t> TxFn<'t, App, Input, Given, Output = Output>,
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Send + 'static,
    Output: Recorded,
{
    let recorder = cx.recorder().cloned().ok_or_else(|| no_desk("postgres"))?;
    let transactions = recorder.transactions().clone();
    let desk: &Desk = transactions.desk().ok_or_else(|| no_desk("postgres"))?;
    let mut lent = desk.lend().await?;
    if !recorder.is_open() {
        return Err(StepError::retry("it was not begun"));
    }
    let patience = cx.time_left().saturating_add(desk.patience());
    // From here on every way out but a rollback or a commit that is confirmed throws the connection away.
    let tx = lent.begin(isolation, patience).await?;
    let ended = run.run(&tx, cx, given).await;
    let (said, append) = match ended {
        Err(error) => (Err(error), None),
        Ok(output) => match Payload::of(&output) {
            // Who reads the answer finds that out again, and says so.
            Err(_) => (Ok(output), None),
            Ok(payload) => match desk.left(&tx).await? {
                Left::Ended => return Err(broke()),
                Left::Open => match recorder.draft(payload) {
                    Ok(append) => (Ok(output), Some(append)),
                    Err(error) => (Err(error), None),
                },
            },
        },
    };
    let Some(append) = append else {
        if tx.rollback().await.is_ok() {
            lent.give_back();
        }
        return said;
    };
    match desk.add(&tx, &append).await {
        Ok(true) => {}
        Ok(false) => {
            // The engine looks whose record is there instead.
            if tx.rollback().await.is_ok() {
                lent.give_back();
            }
            return Err(StepError::retry("the saga is carried on elsewhere"));
        }
        Err(error) => {
            // The commit was never asked for.
            recorder.taken_back();
            return Err(error.into());
        }
    }
    tx.commit().await.map_err(|error| {
        // It may have been done; the engine looks. What the server says of a commit quotes values of constraints.
        StepError::retry(format!(
            "its commit was not confirmed ({})",
            error.code().map_or("no answer", |code| code.code())
        ))
    })?;
    recorder.durable();
    lent.give_back();
    said
}
