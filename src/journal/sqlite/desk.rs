//! Where steps hand in work that is done inside the writer's transaction.

use std::sync::{Arc, Weak, mpsc};

use rusqlite::Transaction;
use tokio::sync::oneshot;

use super::writer::{Op, Reply};
use crate::journal::{Answer, Append, JournalError, transactions};
use crate::rt;

/// A step's effect, and what to record of it; `None` takes the effect back.
pub(crate) type Work = Box<dyn FnOnce(&Transaction<'_>) -> Option<Append> + Send>;

type Answered<T> = oneshot::Receiver<Result<T, JournalError>>;

/// What became of work. Only what is recorded has had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    /// Effect and record are durable.
    Recorded,
    /// It wanted no record, and has had no effect.
    RolledBack,
    /// It panicked, and has had no effect.
    Panicked,
    /// It ended the writer's transaction, which it must not: what it did before that is its own affair.
    Broke,
}

/// Does not keep the writer alive: a journal that is dropped is closed.
pub(crate) struct Desk {
    queue: Weak<mpsc::Sender<Op>>,
}

impl Desk {
    pub(super) fn new(queue: &Arc<mpsc::Sender<Op>>) -> Self {
        Self {
            queue: Arc::downgrade(queue),
        }
    }

    /// Does the work in the writer's turn.
    ///
    /// # Errors
    ///
    /// [`JournalError::Backend`] when it surely had no effect and may be tried again; [`JournalError::Conflict`] when
    /// its record could not follow, so that it had none either; any other when the store has stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the work in the queue. [`look`](transactions::Desk::look) comes after it.
    pub(crate) async fn work(&self, work: Work) -> Result<Worked, JournalError> {
        self.ask(|reply| Op::Work(work, reply)).await
    }

    /// The same where time is virtual: it must not pass while the writer, whose time is real, does the work.
    pub(crate) async fn work_on_trial(&self, work: Work) -> Result<Worked, JournalError> {
        let answer = self.hand_in(|reply| Op::Work(work, reply))?;
        rt::wait_blocking(move || answer.blocking_recv().ok())
            .await
            .unwrap_or(Err(JournalError::Closed(None)))
    }

    async fn ask<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<T, JournalError> {
        let answer = self.hand_in(op)?;
        answer.await.unwrap_or(Err(JournalError::Closed(None)))
    }

    fn hand_in<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<Answered<T>, JournalError> {
        let (reply, answer) = oneshot::channel();
        let sent = self
            .queue
            .upgrade()
            .is_some_and(|queue| queue.send(op(reply)).is_ok());
        if !sent {
            return Err(JournalError::Closed(None));
        }
        Ok(answer)
    }
}

impl transactions::Desk for Desk {
    fn medium(&self) -> &'static str {
        "sqlite"
    }

    fn look(&self, append: Append) -> Answer<'_, bool> {
        // There is one queue and one writer: what was handed in before is over when this is answered.
        Box::pin(self.ask(|reply| Op::Look(append, reply)))
    }
}
