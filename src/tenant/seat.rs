use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::desk::{Taken, Whose};
use super::entries::Place;
use super::pool::Pool;
use super::spare;
use crate::breaker::Ending;
use crate::error::{LayerKind, Rejected};
use crate::limit::concurrency::Drive;
use crate::observe::{Ended, Span};
use crate::outcome::{Failure, Outcome};
use crate::rt;
use crate::scope::{self, Scope, TierName};
use crate::time::Tick;

/// A call's seat in a pool: given back when the call is over, however it ends.
///
/// It is what an [`Until`](crate::breaker::Until) of a [`TenantLayer`](super::TenantLayer) is given. A call that is made
/// within another one of the same pool has an empty one.
pub struct TenantSeat {
    /// None once it was given back.
    pool: Option<Arc<Pool>>,
    taken: Taken,
    started: Tick,
    deadline: Tick,
}

impl TenantSeat {
    /// None is needed: the call that this one is within has one.
    pub(super) const EMPTY: Self = Self {
        pool: None,
        taken: Taken::NOTHING,
        started: Tick::ZERO,
        deadline: Tick::NEVER,
    };

    #[inline]
    pub(super) fn taken(pool: &Arc<Pool>, taken: Taken) -> Self {
        // Nobody asks how long a call took in a pool of fixed capacity, but the scheduler about those that it let in.
        let (started, deadline) = match pool.drive() {
            Some(_) => (scope::now(), Scope::current().ends()),
            None => (Tick::ZERO, Tick::NEVER),
        };
        Self {
            pool: Some(spare::own(pool)),
            taken,
            started,
            deadline,
        }
    }

    /// The pool of a seat that is not empty, and the tier.
    #[inline]
    pub(super) fn whose(&self) -> Option<(&Pool, TierName)> {
        Some((self.pool.as_deref()?, self.taken.name()?))
    }

    /// The seat, which leaves an empty one behind.
    #[inline]
    pub(super) const fn take(&mut self) -> Self {
        Self {
            pool: self.pool.take(),
            taken: self.taken,
            started: self.started,
            deadline: self.deadline,
        }
    }

    #[inline]
    fn give_back(&mut self, outcome: impl FnOnce(&Self) -> Option<Outcome>) {
        let Some(pool) = self.pool.take() else {
            return;
        };
        let word = pool.desk.release(self.taken, self.started, rt::now);
        if let Some(drive) = pool.drive()
            && let Some(outcome) = outcome(self)
        {
            let in_flight = pool.desk.shape().total(word);
            drive.ended(&*pool, self.started, outcome, in_flight);
        }
        spare::keep(pool);
    }
}

impl Ending for TenantSeat {
    #[inline]
    fn settle(mut self, outcome: Outcome) {
        self.give_back(|_| Some(outcome));
    }
}

impl Drop for TenantSeat {
    #[inline]
    fn drop(&mut self) {
        self.give_back(|seat| {
            let late = seat.deadline != Tick::NEVER && rt::now() >= seat.deadline;
            late.then_some(Outcome::Failure(Failure::Timeout))
        });
    }
}

impl fmt::Debug for TenantSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSeat")
            .field("pool", &self.whose().map(|(pool, _)| pool.name()))
            .finish_non_exhaustive()
    }
}

/// A call that waits: its place is left when it is granted a seat or turned away, when its time is over, and when it is
/// dropped.
pub(super) struct Wait {
    /// None once it was left.
    pool: Option<Arc<Pool>>,
    place: Place,
    until: Tick,
    since: Tick,
    whose: Whose,
    span: Span,
}

impl Wait {
    pub(super) fn new(
        pool: &Arc<Pool>,
        place: Place,
        until: Tick,
        whose: Whose,
        since: Tick,
    ) -> Self {
        Self {
            span: pool.rejections().wait(LayerKind::Tenant),
            pool: Some(Arc::clone(pool)),
            place,
            until,
            since,
            whose,
        }
    }

    /// How long it may wait.
    pub(super) const fn until(&self) -> Tick {
        self.until
    }

    /// Ready with the seat that was granted, or the refusal. Pending for ever once it was left.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<TenantSeat, Rejected>> {
        let Some(pool) = &self.pool else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(pool.desk.poll(self.place, cx));
        Poll::Ready(self.end(answer))
    }

    /// Its time is over: leaves with the seat that was granted at the last moment, or empty.
    pub(super) fn give_up(&mut self) -> Option<Result<TenantSeat, Rejected>> {
        let answer = self.pool.as_ref()?.desk.give_up(self.place, rt::now());
        Some(self.end(answer))
    }

    fn end(&mut self, answer: Result<Taken, super::desk::No>) -> Result<TenantSeat, Rejected> {
        // There is one: whoever has an answer has not left.
        let Some(pool) = self.pool.take() else {
            return Ok(TenantSeat::EMPTY);
        };
        // First of all: whoever listens may panic, and the seat must be somebody's then.
        let seat = answer.map(|taken| TenantSeat::taken(&pool, taken));
        pool.held_back();
        match seat {
            Ok(seat) => {
                self.span.end(|| Ended::well("admitted"));
                pool.waited(&self.whose, self.since, rt::now());
                Ok(seat)
            }
            Err(no) => {
                let rejected = pool.refusal(&self.whose, no, rt::now());
                self.span.end(|| Ended::rejected(rejected.reason()));
                Err(rejected)
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.desk.leave(self.place, rt::now());
        }
    }
}
