//! The same decision about many incidents, one by one.

use std::num::NonZeroU32;
use std::time::Duration;

use super::desk::{Command, Decided, Operator};
use super::error::OperatorError;
use super::search::Search;
use crate::rt;
use crate::saga::SagaId;
use crate::saga::entry::Operation;
use crate::saga::error::SagaError;

/// Which incidents are decided about together, and how fast.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use mainstay::journal::Status;
/// use mainstay::saga::entry::{Class, Operation};
/// use mainstay::saga::operator::{Operator, OperatorError, Search, Sweep};
///
/// /// The bank is back: everything that used up its attempts at "transfer" is tried again, ten in a second.
/// async fn bank_is_back(ann: &Operator<()>) -> Result<(), OperatorError> {
///     let search = Search::new(Status::Held).definition("payment").step("transfer").class(Class::Exhausted);
///     let mut sweep = Sweep::new(search).rehearse();
///     println!("{} will be tried again", ann.decide_all(&sweep, Operation::Retry, "the bank is back").await?.each.len());
///
///     sweep = sweep.carry_out().per_second(NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN));
///     loop {
///         let swept = ann.decide_all(&sweep, Operation::Retry, "the bank is back").await?;
///         let Some(next) = swept.next else { return Ok(()) };
///         sweep = sweep.after(next);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Sweep {
    search: Search,
    per_second: NonZeroU32,
    rehearsal: bool,
}

/// An outage that is over must not be followed by another one.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

impl Sweep {
    /// The incidents that this search finds, a page of it at a time, ten in a second.
    #[must_use]
    pub const fn new(search: Search) -> Self {
        Self {
            search,
            per_second: PER_SECOND,
            rehearsal: false,
        }
    }

    /// At most so many in a second.
    #[must_use]
    pub const fn per_second(mut self, most: NonZeroU32) -> Self {
        self.per_second = most;
        self
    }

    /// Only says which there are, and changes nothing. Whether the actor may decide about each is not asked.
    #[must_use]
    pub const fn rehearse(mut self) -> Self {
        self.rehearsal = true;
        self
    }

    /// Changes what it finds, as a new one does.
    #[must_use]
    pub const fn carry_out(mut self) -> Self {
        self.rehearsal = false;
        self
    }

    /// Goes on after this saga: the [`next`](Swept::next) of the call before.
    #[must_use]
    pub fn after(mut self, saga: SagaId) -> Self {
        self.search = self.search.after(saga);
        self
    }
}

/// What became of a [`Sweep`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Swept {
    /// Each incident that was found, oldest first.
    pub each: Vec<SweptOne>,
    /// What [`Sweep::after`] needs to go on; `None` when all was looked at.
    pub next: Option<SagaId>,
}

/// What became of one of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SweptOne {
    /// The saga.
    pub saga: SagaId,
    /// The number of its incident.
    pub incident: u32,
    /// What became of it; `None` in a rehearsal.
    pub result: Option<Result<Decided, OperatorError>>,
}

impl<App: Send + Sync + 'static> Operator<App> {
    /// Decides the same about a page of incidents: each is authorised, checked and recorded by itself, and one that is
    /// refused, or that another operator was faster with, holds up no other. Those for which the operation makes no sense
    /// are passed over.
    ///
    /// # Errors
    ///
    /// Of the search, as [`incidents`](Self::incidents); [`SagaError::NotAllowed`] for an output, which is no two sagas'
    /// at once. Those of each decision are in the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops it between two sagas, or leaves the one that it is at as
    /// [`decide`](Self::decide) does. What was decided stays.
    pub async fn decide_all(
        &self,
        sweep: &Sweep,
        operation: Operation,
        reason: &str,
    ) -> Result<Swept, OperatorError> {
        let page = self.incidents(&sweep.search).await?;
        if operation == Operation::SupplyOutput
            && let Some(first) = page.found.first()
        {
            return Err(SagaError::NotAllowed {
                id: first.saga,
                reason: "an output is supplied to one saga at a time".into(),
            }
            .into());
        }
        let pause = Duration::from_secs(1) / sweep.per_second.get();
        let mut each: Vec<SweptOne> = Vec::new();
        for incident in page.found {
            if !incident.operations().contains(&operation) {
                continue;
            }
            let result = if sweep.rehearsal {
                None
            } else {
                // Before the first as well, so that the rate holds over pages.
                rt::sleep(pause).await;
                let command = Command::new(operation, incident.number, reason);
                Some(self.decide(incident.saga, &command).await)
            };
            each.push(SweptOne {
                saga: incident.saga,
                incident: incident.number,
                result,
            });
        }
        Ok(Swept {
            each,
            next: page.next,
        })
    }
}
