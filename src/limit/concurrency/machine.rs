//! The rules.
//!
//! 1. A call is admitted when fewer than the limit are under way and nobody waits. It holds a place until it is over,
//!    however it ends.
//! 2. Otherwise it waits at the end of the line, if fewer than the queue's bound do and it has any time. If not, it is
//!    refused.
//! 3. A place that comes free goes to the one at the front of the line. Nobody overtakes.
//! 4. A waiter leaves when it was granted a place, when its caller goes away, or when its time is over: the wait bound,
//!    or its share of the time that its deadline leaves, whichever is nearer. One that leaves after its turn came has the place, and passes it on if
//!    nobody wants it.
//! 5. The settings can be changed at any time. A greater limit grants waiters places at once; under a smaller one those
//!    under way finish, and nobody is admitted until they are fewer. Whoever waits keeps the time that it was promised.
//! 6. A refusal says when to come back where that is known: the time in which as many places came free lately as
//!    calls wait, and one more. It is learned while calls wait, from the second grant on.
//! 7. Time that steps back changes nothing.

use super::config::ConcurrencyConfig;
use super::count::Count;
use super::lane::{Lane, Standing, Ticket};
use super::pace::Pace;
use crate::error::{LayerKind, Reason, Rejected};
use crate::time::Tick;

/// The decision about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Admission {
    /// It has a place: [`release`](Concurrency::release) gives it back.
    Admitted,
    /// It is refused.
    Refused(Rejected),
    /// It waits, until `until` at the longest: [`leave`](Concurrency::leave) when that is over, when it was granted a
    /// place, or when nobody wants it any more.
    Waits {
        /// Its place in the line.
        ticket: Ticket,
        /// How long it may wait.
        until: Tick,
    },
}

/// How a waiter left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Left {
    /// With a place: [`release`](Concurrency::release) gives it back, at once if nobody wants it.
    Admitted,
    /// Without one, and with what its caller is told if its time was over.
    Empty(Rejected),
}

/// A concurrency limit: a plain value that is told what happens and when.
///
/// # Example
///
/// ```
/// use mainstay::limit::concurrency::{Admission, Concurrency, ConcurrencyConfig, Left};
/// use mainstay::num::count;
/// use mainstay::time::Tick;
///
/// let mut limit = Concurrency::new(ConcurrencyConfig::new(count(1)).queue(1));
/// let now = Tick::ZERO;
/// assert_eq!(limit.admit(Tick::NEVER, now), Admission::Admitted);
/// let Admission::Waits { ticket, .. } = limit.admit(Tick::NEVER, now) else {
///     panic!("one may wait");
/// };
/// assert!(matches!(limit.admit(Tick::NEVER, now), Admission::Refused(_)));
///
/// assert_eq!(limit.release(now), Some(ticket), "whose turn it is");
/// assert_eq!(limit.leave(ticket), Left::Admitted);
/// ```
#[derive(Clone, Debug)]
pub struct Concurrency {
    config: ConcurrencyConfig,
    count: Count,
    lane: Lane<Tick>,
    pace: Pace,
}

impl Concurrency {
    /// Nobody under way.
    #[must_use]
    pub const fn new(config: ConcurrencyConfig) -> Self {
        Self {
            config,
            count: Count::new(config.limit().get()),
            lane: Lane::new(),
            pace: Pace::new(),
        }
    }

    /// Asks to let a call through that must be over at `deadline`.
    pub fn admit(&mut self, deadline: Tick, now: Tick) -> Admission {
        if let Some(count) = self.count.admit() {
            self.count = count;
            return Admission::Admitted;
        }
        let until = self.config.wait_until(deadline, now);
        if until > now
            && let Some(count) = self.count.join(self.config.queue_bound())
        {
            self.count = count;
            let ticket = self.lane.join(until);
            return Admission::Waits { ticket, until };
        }
        let rejected = Rejected::new(LayerKind::Concurrency, Reason::ConcurrencyLimit);
        Admission::Refused(self.pace.step().hint(rejected, self.count.waiting()))
    }

    /// A call is over. Says who is granted its place.
    pub fn release(&mut self, now: Tick) -> Option<Ticket> {
        self.count = self.count.release();
        self.grant(now)
    }

    /// Grants one waiter a place, if there is one of each.
    pub fn grant(&mut self, now: Tick) -> Option<Ticket> {
        self.count = self.count.grant()?;
        let (ticket, _) = self.lane.grant()?;
        self.pace.granted(self.count.waiting() > 0, now);
        Some(ticket)
    }

    /// A waiter goes: it was granted a place, its time is over, or its caller has left.
    pub fn leave(&mut self, ticket: Ticket) -> Left {
        let (standing, _) = self.lane.leave(ticket);
        match standing {
            Standing::Granted => return Left::Admitted,
            Standing::Waiting => self.count = self.count.leave(),
            Standing::Gone => {}
        }
        if self.count.waiting() == 0 {
            self.pace.interrupt();
        }
        let rejected = Rejected::new(LayerKind::Concurrency, Reason::QueueTimeout);
        Left::Empty(self.pace.step().hint(rejected, self.count.waiting()))
    }

    /// Replaces the settings. Afterwards [`grant`](Self::grant) until it says none: there may be new places.
    pub const fn resize(&mut self, config: ConcurrencyConfig) {
        self.config = config;
        self.count = self.count.resize(config.limit().get());
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> ConcurrencyConfig {
        self.config
    }

    /// Calls under way.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.count.in_flight()
    }

    /// Calls that wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.count.waiting()
    }

    /// When the next waiter's time is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.lane.iter().map(|(_, until)| *until).min()
    }

    /// A waiter whose time is over; it has to [`leave`](Self::leave).
    #[must_use]
    pub fn handle_timeout(&self, now: Tick) -> Option<Ticket> {
        let late = self.lane.iter().find(|(_, until)| **until <= now);
        late.map(|(ticket, _)| ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::num::{Period, count};

    fn at(millis: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(millis)
    }

    fn limit(limit: u32, queue: u32) -> Concurrency {
        let config = ConcurrencyConfig::new(count(limit)).queue(queue);
        Concurrency::new(config.wait(Period::millis(100)))
    }

    fn waits(limit: &mut Concurrency, now: Tick) -> Ticket {
        match limit.admit(Tick::NEVER, now) {
            Admission::Waits { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn refused(limit: &mut Concurrency, now: Tick) -> Rejected {
        match limit.admit(Tick::NEVER, now) {
            Admission::Refused(rejected) => rejected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_1_and_2_places_then_the_line_then_refusals() {
        let mut limit = limit(2, 1);
        for _ in 0..2 {
            assert_eq!(limit.admit(Tick::NEVER, at(0)), Admission::Admitted);
        }
        let ticket = waits(&mut limit, at(0));
        let rejected = refused(&mut limit, at(0));
        assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
        assert_eq!((limit.in_flight(), limit.waiting()), (2, 1));
        assert_eq!(limit.release(at(1)), Some(ticket));
        assert_eq!((limit.in_flight(), limit.waiting()), (2, 0));
    }

    #[test]
    fn rule_2_a_call_without_time_does_not_wait() {
        let mut limit = limit(1, 9);
        assert_eq!(limit.admit(at(5), at(5)), Admission::Admitted);
        assert!(matches!(limit.admit(at(5), at(5)), Admission::Refused(_)));
    }

    #[test]
    fn rule_3_nobody_overtakes() {
        let mut limit = limit(1, 9);
        assert_eq!(limit.admit(Tick::NEVER, at(0)), Admission::Admitted);
        let first = waits(&mut limit, at(0));
        assert_eq!(limit.release(at(1)), Some(first));
        // The place is the first waiter's, though it has not come for it.
        let second = waits(&mut limit, at(1));
        assert_eq!(limit.leave(first), Left::Admitted);
        assert_eq!(limit.release(at(2)), Some(second));
    }

    #[test]
    fn rule_4_a_wait_ends_with_the_bound_or_the_deadline_and_a_place_is_passed_on() {
        let mut limit = limit(1, 9);
        assert_eq!(limit.admit(Tick::NEVER, at(0)), Admission::Admitted);
        let a = waits(&mut limit, at(0));
        let Admission::Waits { ticket: b, until } = limit.admit(at(30), at(0)) else {
            panic!("it may wait");
        };
        assert_eq!((until, limit.poll_timeout()), (at(30), Some(at(30))));
        assert_eq!(limit.handle_timeout(at(29)), None);
        assert_eq!(limit.handle_timeout(at(30)), Some(b));
        let Left::Empty(rejected) = limit.leave(b) else {
            panic!("its turn had not come");
        };
        assert_eq!(rejected.reason(), Reason::QueueTimeout);
        assert_eq!(limit.poll_timeout(), Some(at(100)));
        let c = waits(&mut limit, at(40));
        assert_eq!(limit.release(at(50)), Some(a));
        assert_eq!(limit.leave(a), Left::Admitted, "its caller has left");
        assert_eq!(limit.release(at(50)), Some(c));
        assert_eq!(limit.leave(c), Left::Admitted);
        assert_eq!(limit.release(at(60)), None);
        assert_eq!((limit.in_flight(), limit.waiting()), (0, 0));
    }

    #[test]
    fn rule_5_a_limit_moves_under_load() {
        let mut limit = limit(3, 9);
        for _ in 0..3 {
            assert_eq!(limit.admit(Tick::NEVER, at(0)), Admission::Admitted);
        }
        let a = waits(&mut limit, at(0));
        limit.resize(ConcurrencyConfig::new(count(1)).queue(9));
        assert_eq!(limit.grant(at(1)), None);
        assert_eq!((limit.release(at(1)), limit.release(at(1))), (None, None));
        assert_eq!(limit.release(at(1)), Some(a));
        let b = waits(&mut limit, at(2));
        limit.resize(ConcurrencyConfig::new(count(2)));
        assert!(matches!(
            limit.admit(Tick::NEVER, at(2)),
            Admission::Refused(_)
        ));
        assert_eq!(limit.grant(at(2)), Some(b), "the place is not a newcomer's");
        assert_eq!(limit.grant(at(2)), None);
    }

    #[test]
    fn rule_6_a_refusal_says_when_a_place_may_be_free() {
        let mut limit = limit(1, 3);
        assert_eq!(limit.admit(Tick::NEVER, at(0)), Admission::Admitted);
        for _ in 0..3 {
            waits(&mut limit, at(0));
        }
        assert_eq!(refused(&mut limit, at(0)).hint(), None, "nothing is known");
        for t in [10, 20] {
            assert!(limit.release(at(t)).is_some());
            waits(&mut limit, at(t));
        }
        // A place every 10 ms, three before it.
        let hint = refused(&mut limit, at(20)).hint();
        assert_eq!(hint, Some(Duration::from_millis(40)));
    }

    #[test]
    fn rule_7_time_that_steps_back_changes_nothing() {
        let mut limit = limit(1, 3);
        assert_eq!(limit.admit(Tick::NEVER, at(50)), Admission::Admitted);
        waits(&mut limit, at(50));
        waits(&mut limit, at(40));
        assert!(limit.release(at(50)).is_some());
        assert!(limit.release(at(10)).is_some());
        assert_eq!(limit.in_flight(), 1);
        limit.resize(ConcurrencyConfig::new(count(1)));
        let hint = refused(&mut limit, at(60)).hint();
        assert!(
            hint.is_none_or(|hint| hint < Duration::from_millis(1)),
            "{hint:?}"
        );
    }
}
