//! A wish that a saga be undone.

use super::SagaId;
use super::codec;
use super::engine::{BusinessKey, Engine};
use super::entry::{FORMAT, Fact, Message};
use super::error::{SagaError, cut};
use super::history::History;
use super::operator::load;
use super::sagas::Sagas;
use super::shape::Kind;
use crate::journal::{Post, Posted};
use crate::rt;

/// One wish per saga: what makes a second posting the same.
const DEDUP: &str = "cancel";

/// What is known of a wish to cancel when it has been written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelAnswer {
    /// The saga will be asked before its next attempt. It may still be too late then, and a saga that waits for an
    /// operator is asked when it goes on.
    Accepted,
    /// The saga has ended; nothing was written.
    Ended,
    /// The pivot is done: the saga goes forward. The refusal will be in its history.
    TooLate,
    /// The saga undoes already. The refusal will be in its history.
    Unwinding,
}

impl<App: Send + Sync + 'static> Sagas<App> {
    /// Asks for a saga to be undone, wherever it is carried on.
    ///
    /// The wish is durable when this returns, and wakes a saga that waits between attempts, for however long. The
    /// attempt that runs is not cut off; when it has ended, or timed out, no further step begins, and what was done is
    /// undone. Once the pivot is done the saga goes forward, and an undo is never cancelled. Where the pivot may have
    /// had its effect, it is asked first, or an operator is. A second wish for the same saga is the first one.
    ///
    /// What became of it is told by the saga's [end](super::Handle::ended) and its history.
    ///
    /// # Errors
    ///
    /// [`SagaError::Unsigned`] without an actor or a reason, [`SagaError::Unreadable`], [`SagaError::Stopping`],
    /// [`SagaError::Journal`]; after an error of the journal the wish may be there, and may be posted again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the wish posted; the saga then hears of it at the latest when it is taken up
    /// again. Call it again to be sure.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use mainstay::journal::memory::MemoryJournal;
    /// use mainstay::saga::{CancelAnswer, Cx, Ended, Saga, Sagas, StepError};
    ///
    /// async fn stock(_: Cx<(), ()>, (): ()) -> Result<(), StepError> {
    ///     Err(StepError::retry_after("out of stock", Duration::from_secs(20)))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let order = Saga::builder("order").check("stock", stock).build()?;
    /// let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), ()).register(&order).start().await?;
    /// let handle = sagas.start(&order, "ORDER-1", ()).await?;
    ///
    /// let answer = sagas.cancel(handle.id(), "ann", "the customer called").await?;
    /// assert_eq!(answer, CancelAnswer::Accepted);
    /// assert!(matches!(handle.ended().await?, Ended::Compensated { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(
        &self,
        saga: SagaId,
        actor: &str,
        reason: &str,
    ) -> Result<CancelAnswer, SagaError> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(SagaError::Unsigned);
        }
        let engine = self.engine();
        if engine.is_stopping() {
            return Err(SagaError::Stopping);
        }
        let (log, facts) = load(&*engine.journal, saga).await?;
        let posted = post(engine, saga, actor, reason).await?;
        if posted == Posted::Ended {
            return Ok(CancelAnswer::Ended);
        }
        if let Some(cell) = engine.cell(&BusinessKey::of(&log.head)) {
            cell.mail.notify_one();
        } else {
            // It may have been parked, and is free now.
            engine.look();
        }
        let history = History::of(&facts);
        Ok(if history.finish.is_some() {
            CancelAnswer::Ended
        } else if history.failure.is_some() {
            CancelAnswer::Unwinding
        } else if self.is_pivot_done(&history, &facts) {
            CancelAnswer::TooLate
        } else {
            CancelAnswer::Accepted
        })
    }

    /// As far as this program knows the definition.
    fn is_pivot_done(&self, history: &History, facts: &[Fact]) -> bool {
        let form = history.form();
        let shape = form.and_then(|form| self.engine().shape_of(form));
        shape.is_some_and(|shape| {
            let mut steps = shape.steps.iter();
            let pivot = steps.find(|step| step.kind == Kind::Pivot);
            pivot.is_some_and(|pivot| {
                // What was written before it was carried over names the steps of another form.
                let own = facts.iter().rev();
                own.take_while(|fact| !matches!(fact, Fact::Migrated(_)))
                    .any(|fact| matches!(fact, Fact::Done { step, .. } if *step == pivot.name))
            })
        })
    }
}

/// Writes the wish down.
pub(super) async fn post<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    saga: SagaId,
    actor: &str,
    reason: &str,
) -> Result<Posted, SagaError> {
    let message = Message::Cancel {
        actor: cut(actor),
        reason: cut(reason),
    };
    let body = codec::letter(&message).map_err(|error| SagaError::Unreadable {
        id: saga,
        reason: error.to_string(),
    })?;
    let post = Post::new(saga.log(), DEDUP, FORMAT, body, rt::wall());
    Ok(engine.ask(|journal| journal.post(post.clone())).await?)
}
