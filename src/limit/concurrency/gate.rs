use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::config::ConcurrencyConfig;
use super::count::Count;
use super::lane::Ticket;
use super::pace::Step;
use super::passed::Passed;
use super::seats::{Joined, Seats};
use super::spare;
use crate::breaker::Ending;
use crate::error::{LayerKind, Reason, Rejected};
use crate::observe::{self, Ended, Name, Occupancy, Rejections, Span};
use crate::outcome::{Failure, Outcome};
use crate::rt;
use crate::scope::{self, Scope};
use crate::time::Tick;

/// Places whose number can be moved.
pub(crate) trait Moves {
    /// So many places there are. Afterwards [`pass_on`](Self::pass_on): there may be new ones.
    fn set(&self, config: ConcurrencyConfig);

    /// Grants waiters the places that are free.
    fn pass_on(&self);
}

impl Moves for Seats {
    fn set(&self, config: ConcurrencyConfig) {
        Self::set(self, config);
    }

    fn pass_on(&self) {
        Self::pass_on(self);
    }
}

/// What moves a limit by what it sees of the calls.
pub(crate) trait Drive: Send + Sync {
    /// Somebody was refused, has to wait, or had to until now.
    fn held_back(&self);

    /// A call that had its place since `started` is over, one of `in_flight` until then.
    fn ended(&self, seats: &dyn Moves, started: Tick, outcome: Outcome, in_flight: u32);

    /// The time from one place that comes free to the next, when all are taken.
    fn step(&self) -> Step;
}

/// What the clones of one limit share.
pub(crate) struct Gate {
    seats: Seats,
    number: usize,
    rejections: Rejections,
    occupancy: Occupancy,
    drive: Option<Arc<dyn Drive>>,
    /// How many calls had a place so far, and how many were refused: for whoever looks now and then, so no model explores them.
    passed: Passed,
    refused: AtomicU64,
}

/// What a newcomer meets.
pub(crate) enum Entry {
    Seated(Seat),
    Waits(Place),
    Refused(Rejected),
}

impl Gate {
    pub(crate) fn new(
        name: Name,
        config: ConcurrencyConfig,
        drive: Option<Arc<dyn Drive>>,
    ) -> Arc<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        observe::limit(&name, config.limit().get());
        Arc::new(Self {
            seats: Seats::new(config),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            rejections: Rejections::new(Arc::clone(&name)),
            occupancy: Occupancy::new(name),
            drive,
            passed: Passed::new(),
            refused: AtomicU64::new(0),
        })
    }

    pub(crate) const fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Limits that are made one after the other have different ones.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// How many calls came so far, and how many of them were refused.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let refused = self.refused.load(Ordering::Relaxed);
        (self.passed.total().saturating_add(refused), refused)
    }

    pub(crate) const fn name(&self) -> &Name {
        self.rejections.policy()
    }

    /// A seat, if one is free and nobody waits for it.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>, seen: &mut Count) -> Option<Seat> {
        if self.seats.admit(seen) {
            Some(Seat::taken(spare::own(self)))
        } else {
            None
        }
    }

    /// What becomes of a newcomer who found none. `invited` unless the service below is not ready, because this call
    /// was to be refused.
    #[cold]
    pub(super) fn hold_back(self: &Arc<Self>, invited: bool) -> Entry {
        if let Some(drive) = &self.drive {
            drive.held_back();
        }
        // Again, for whoever began to listen after the limit was made.
        self.occupancy.limit(self.seats.count().limit());
        // The clock is read only where there is a line.
        if invited && self.seats.queue() > 0 {
            let now = rt::now();
            let deadline = Scope::current().deadline().unwrap_or(Tick::NEVER);
            let until = self.seats.wait_until(deadline, now);
            if until > now {
                match self.seats.join() {
                    Joined::Seated => {
                        return Entry::Seated(Seat::taken(spare::own(self)));
                    }
                    Joined::Waits(ticket) => {
                        self.occupancy.joined();
                        let gate = Some(Arc::clone(self));
                        return Entry::Waits(Place {
                            gate,
                            ticket,
                            until,
                            span: self.rejections.wait(LayerKind::Concurrency),
                        });
                    }
                    Joined::Full => {}
                }
            }
        }
        Entry::Refused(self.refusal(Reason::ConcurrencyLimit))
    }

    /// Somebody waits or has waited until now, perhaps since a time at which the limit was another.
    fn still_holds_back(&self) {
        if let Some(drive) = &self.drive {
            drive.held_back();
        }
    }

    fn refusal(&self, reason: Reason) -> Rejected {
        let step = self
            .drive
            .as_ref()
            .map_or_else(|| self.seats.step(), |drive| drive.step());
        let rejected = Rejected::new(LayerKind::Concurrency, reason);
        let rejected = step.hint(rejected, self.seats.count().waiting());
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.rejections.note(&rejected);
        rejected
    }
}

/// A call's place under a limit: given back when the call is over, however it ends.
///
/// It is what an [`Until`](crate::breaker::Until) of a limit is given. Dropped, the call was abandoned, or was lost if
/// its deadline had passed.
pub struct Seat {
    /// `None` once it was given back.
    gate: Option<Arc<Gate>>,
    started: Tick,
    deadline: Tick,
}

impl Seat {
    #[inline]
    fn taken(gate: Arc<Gate>) -> Self {
        gate.occupancy.entered();
        gate.passed.add();
        // Nobody asks how long a call under a fixed limit took.
        let (started, deadline) = match &gate.drive {
            Some(_) => (scope::now(), Scope::current().deadline()),
            None => (Tick::ZERO, None),
        };
        Self {
            gate: Some(gate),
            started,
            deadline: deadline.unwrap_or(Tick::NEVER),
        }
    }
}

impl Ending for Seat {
    #[inline]
    fn settle(mut self, outcome: Outcome) {
        self.give_back(|_| Some(outcome));
    }
}

impl Seat {
    /// The seat, which leaves an empty one behind.
    #[inline]
    pub(super) const fn take(&mut self) -> Self {
        Self {
            gate: self.gate.take(),
            started: self.started,
            deadline: self.deadline,
        }
    }

    #[inline]
    fn give_back(&mut self, outcome: impl FnOnce(&Self) -> Option<Outcome>) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        let in_flight = gate.seats.release();
        gate.occupancy.left();
        if let Some(drive) = &gate.drive
            && let Some(outcome) = outcome(self)
        {
            drive.ended(&gate.seats, self.started, outcome, in_flight);
        }
        spare::keep(gate);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back(|seat| {
            let late = seat.deadline != Tick::NEVER && rt::now() >= seat.deadline;
            late.then_some(Outcome::Failure(Failure::Timeout))
        });
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("name", &self.gate.as_ref().map(|gate| gate.name()))
            .finish_non_exhaustive()
    }
}

/// A call's place in the line: left when the call is granted a seat, when its time is over, and when it is dropped.
pub(super) struct Place {
    /// `None` once it was left.
    gate: Option<Arc<Gate>>,
    ticket: Ticket,
    until: Tick,
    span: Span,
}

impl Place {
    /// How long it may wait.
    pub(super) const fn until(&self) -> Tick {
        self.until
    }

    /// Ready with the seat that was granted. Pending for ever once it was left.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Seat> {
        match &self.gate {
            Some(gate) => std::task::ready!(gate.seats.poll(self.ticket, cx)),
            None => return Poll::Pending,
        }
        match self.gate.take() {
            Some(gate) => {
                // First of all: whoever listens may panic, and the place must be somebody's then.
                let seat = Seat::taken(gate);
                if let Some(gate) = &seat.gate {
                    gate.occupancy.went();
                    self.span.end(|| Ended::well("admitted"));
                    if gate.seats.count().waiting() > 0 {
                        gate.still_holds_back();
                    }
                }
                Poll::Ready(seat)
            }
            None => Poll::Pending,
        }
    }

    /// Its time is over: leaves with the seat that was granted at the last moment, or empty.
    pub(super) fn give_up(&mut self) -> Option<Result<Seat, Rejected>> {
        let gate = self.gate.take()?;
        Some(if gate.seats.leave(self.ticket) {
            let seat = Seat::taken(gate);
            if let Some(gate) = &seat.gate {
                gate.occupancy.went();
                gate.still_holds_back();
            }
            self.span.end(|| Ended::well("admitted"));
            Ok(seat)
        } else {
            gate.occupancy.went();
            gate.still_holds_back();
            let rejected = gate.refusal(Reason::QueueTimeout);
            self.span.end(|| Ended::rejected(rejected.reason()));
            Err(rejected)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        if gate.seats.leave(self.ticket) {
            gate.seats.release();
        }
        gate.occupancy.went();
    }
}
