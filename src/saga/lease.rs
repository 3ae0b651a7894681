//! When an instance says that it is alive, and until when it may begin effects: the pure machine.
//!
//! Several programs on one journal each hold a lease there. While it lasts nobody else takes their sagas; when it ends
//! others do, without asking. What a program has written is safe whatever it believes, since a log refuses the writer of
//! an earlier epoch. What it *does* is not: an effect that is begun after the lease is one that somebody else may be
//! doing as well. So an instance stops beginning effects before its lease can have ended.
//!
//! ```text
//!   sent      answered                 until              end by the journal's clock, at the earliest
//!    │───────────│─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─│─────────────────────│
//!    0                  ⅓: the next beat ⅔                     1  lease
//! ```
//!
//! # Rules
//!
//! 1. Nothing is allowed before the first join is answered.
//! 2. An answer allows effects to begin until two thirds of a lease after its question was *sent*. The journal counts
//!    from later, so its lease ends later; the last third is for clocks that run unevenly and for what lies between the
//!    look at the clock and the effect.
//! 3. The next question is due a third of a lease after the last one that was answered was sent.
//! 4. A question that failed is asked again after a fifteenth of a lease. What was allowed stays so until its time.
//! 5. One question is under way at a time.
//! 6. An instance whose lease is over is nobody at once and joins anew; it comes back under another number, and what the
//!    old one began is no longer its own.
//! 7. When the time of rule 2 is over without an answer, nothing is allowed and nothing is lost: whether the lease is
//!    over only the journal can tell. Work waits for its answer.
//! 8. After it has left it asks nothing and is allowed nothing.
//!
//! The thirds are those of the leader election of Kubernetes, with its 15 s of lease, 10 s to renew: two beats can be
//! lost before anything waits.
//!
//! # Example
//!
//! ```
//! use mainstay::journal::InstanceId;
//! use mainstay::num::Period;
//! use mainstay::saga::lease::{Lease, May, Need};
//! use mainstay::time::Tick;
//!
//! let at = |secs: u64| Tick::from_nanos(secs * 1_000_000_000);
//! let mut lease = Lease::new(Period::secs(15));
//! assert_eq!(lease.need(at(0)), Need::Join);
//! lease.asked(at(0));
//! let me = InstanceId::new(7);
//! lease.joined(me);
//! assert_eq!(lease.need(at(1)), Need::Wait(at(5)));
//! assert_eq!(lease.standing().may_begin(Some(me), at(9)), May::Begin);
//! // It slept for too long: first the journal has to be asked.
//! assert_eq!(lease.standing().may_begin(Some(me), at(10)), May::Wait);
//! assert_eq!(lease.need(at(10)), Need::Beat(me));
//! lease.asked(at(10));
//! lease.lapsed();
//! assert_eq!(lease.standing().may_begin(Some(me), at(10)), May::Never);
//! assert_eq!(lease.need(at(10)), Need::Join);
//! ```

use std::time::Duration;

use crate::journal::InstanceId;
use crate::num::Period;
use crate::time::Tick;

/// What an instance has to do for its lease now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Ask the journal for a lease.
    Join,
    /// Tell the journal that this instance is alive.
    Beat(InstanceId),
    /// Nothing until then.
    Wait(Tick),
    /// Nothing until a question is answered.
    Answer,
    /// Nothing any more.
    Nothing,
}

/// Whether work of an instance may begin an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum May {
    /// It may.
    Begin,
    /// Only the journal knows; wait for its answer.
    Wait,
    /// That instance is over. Somebody else carries its work on.
    Never,
}

/// Who this program is in the journal, and until when it may act on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    instance: Option<InstanceId>,
    until: Tick,
}

impl Standing {
    /// Whether work that this instance owns may begin an effect. Work without an owner is anybody's, and never begun.
    #[must_use]
    pub fn may_begin(self, owner: Option<InstanceId>, now: Tick) -> May {
        match self.instance {
            Some(instance) if owner == Some(instance) && now < self.until => May::Begin,
            Some(instance) if owner == Some(instance) => May::Wait,
            _ => May::Never,
        }
    }

    /// The instance, also while it is in doubt.
    #[must_use]
    pub const fn known_as(self) -> Option<InstanceId> {
        self.instance
    }

    /// The instance, while effects may begin.
    #[must_use]
    pub fn instance(self, now: Tick) -> Option<InstanceId> {
        self.instance.filter(|_| now < self.until)
    }
}

/// The lease of one instance. See the [module](self) for the rules.
#[derive(Clone, Debug)]
pub struct Lease {
    length: Duration,
    standing: Standing,
    /// The next question is due.
    due: Tick,
    /// When the question was sent that is under way.
    asked: Option<Tick>,
    left: bool,
}

impl Lease {
    /// An instance that has not joined.
    #[must_use]
    pub const fn new(length: Period) -> Self {
        Self {
            length: length.get(),
            standing: Standing {
                instance: None,
                until: Tick::ZERO,
            },
            due: Tick::ZERO,
            asked: None,
            left: false,
        }
    }

    /// How long the journal is asked to believe in this instance.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// Who this is, and until when.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// What is to be done (rules 3 to 8).
    #[must_use]
    pub fn need(&self, now: Tick) -> Need {
        if self.left {
            return Need::Nothing;
        }
        if self.asked.is_some() {
            return Need::Answer;
        }
        if now < self.due {
            return Need::Wait(self.due);
        }
        self.standing.instance.map_or(Need::Join, Need::Beat)
    }

    /// A question is sent (rule 5: not while one is under way; then the earlier time counts).
    pub fn asked(&mut self, now: Tick) {
        self.asked.get_or_insert(now);
    }

    /// The journal has given a lease to this instance. Ignored when nothing was asked.
    pub fn joined(&mut self, instance: InstanceId) {
        if let Some(sent) = self.asked.take()
            && !self.left
        {
            self.standing.instance = Some(instance);
            self.standing.until = Tick::ZERO;
            self.answered(sent);
        }
    }

    /// The journal has renewed the lease. Ignored when nothing was asked.
    pub fn renewed(&mut self) {
        if let Some(sent) = self.asked.take()
            && !self.left
        {
            self.answered(sent);
        }
    }

    /// The journal has not answered, or not to the question (rule 4).
    pub fn failed(&mut self, now: Tick) {
        self.asked = None;
        self.due = now + self.length / 15;
    }

    /// The journal says that the lease is over (rule 6).
    pub fn lapsed(&mut self) {
        self.asked = None;
        self.due = Tick::ZERO;
        self.standing = Standing::default();
    }

    /// It goes (rule 8).
    pub fn leave(&mut self) {
        self.lapsed();
        self.left = true;
    }

    fn answered(&mut self, sent: Tick) {
        let third = self.length / 3;
        self.standing.until = self.standing.until.max(sent + third + third);
        self.due = sent + third;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Tick {
        Tick::from_nanos(secs.saturating_mul(1_000_000_000))
    }

    const ME: InstanceId = InstanceId::new(1);

    fn joined() -> Lease {
        let mut lease = Lease::new(Period::secs(15));
        lease.asked(at(100));
        lease.joined(ME);
        lease
    }

    fn may(lease: &Lease, now: u64) -> May {
        lease.standing().may_begin(Some(ME), at(now))
    }

    #[test]
    fn rule_1_nothing_before_the_join() {
        let mut lease = Lease::new(Period::secs(15));
        assert_eq!(lease.need(at(0)), Need::Join);
        assert_eq!(may(&lease, 0), May::Never);
        assert_eq!(lease.standing().may_begin(None, at(0)), May::Never);
        lease.joined(ME);
        assert_eq!(may(&lease, 0), May::Never, "nothing was asked");
    }

    #[test]
    fn rule_2_time_counts_from_the_question() {
        let lease = joined();
        assert_eq!(may(&lease, 109), May::Begin);
        assert_eq!(may(&lease, 110), May::Wait);
        assert_eq!(lease.standing().instance(at(109)), Some(ME));
        assert_eq!(lease.standing().instance(at(110)), None);
        assert_eq!(lease.standing().may_begin(None, at(109)), May::Never);
    }

    #[test]
    fn rules_3_and_4_when_to_ask() {
        let mut lease = joined();
        assert_eq!(lease.need(at(104)), Need::Wait(at(105)));
        assert_eq!(lease.need(at(105)), Need::Beat(ME));
        lease.asked(at(105));
        lease.failed(at(106));
        assert_eq!(lease.need(at(106)), Need::Wait(at(107)));
        assert_eq!(may(&lease, 109), May::Begin, "what was allowed stays");
        assert_eq!(may(&lease, 110), May::Wait);
        lease.asked(at(108));
        lease.renewed();
        assert_eq!(may(&lease, 117), May::Begin);
        assert_eq!(lease.need(at(112)), Need::Wait(at(113)));
    }

    #[test]
    fn rule_5_one_question_at_a_time() {
        let mut lease = joined();
        lease.asked(at(105));
        assert_eq!(lease.need(at(120)), Need::Answer);
        lease.asked(at(120));
        lease.renewed();
        assert_eq!(may(&lease, 114), May::Begin);
        assert_eq!(may(&lease, 115), May::Wait, "the earlier one counts");
    }

    #[test]
    fn rule_6_a_lapse_makes_it_another() {
        let mut lease = joined();
        lease.asked(at(130));
        lease.lapsed();
        assert_eq!(may(&lease, 101), May::Never);
        assert_eq!(lease.need(at(130)), Need::Join);
        lease.asked(at(131));
        lease.joined(InstanceId::new(2));
        assert_eq!(may(&lease, 131), May::Never, "the old one");
        let new = Some(InstanceId::new(2));
        assert_eq!(lease.standing().may_begin(new, at(140)), May::Begin);
        assert_eq!(lease.standing().may_begin(new, at(141)), May::Wait);
    }

    #[test]
    fn rule_7_an_answer_that_comes_late_allows_nothing_and_asks_again() {
        let mut lease = joined();
        lease.asked(at(105));
        lease.renewed();
        assert_eq!(may(&lease, 116), May::Wait);
        assert_eq!(lease.need(at(116)), Need::Beat(ME));
        lease.asked(at(116));
        lease.renewed();
        assert_eq!(may(&lease, 116), May::Begin);
    }

    #[test]
    fn rule_8_nothing_after_it_has_left() {
        let mut lease = joined();
        lease.asked(at(105));
        lease.leave();
        lease.renewed();
        lease.asked(at(106));
        lease.joined(ME);
        assert_eq!(may(&lease, 106), May::Never);
        assert_eq!(lease.need(at(106)), Need::Nothing);
    }

    /// What happens to one question: the time to the journal, the time back, and whether either way loses it.
    #[derive(Clone, Debug)]
    struct Trip {
        there: u64,
        back: u64,
        lost: u8,
        pause: u64,
    }

    fn trip() -> impl Strategy<Value = Trip> {
        let span = || prop_oneof![Just(0_u64), 0..2_000_u64, 0..40_000_u64];
        (span(), span(), 0_u8..6, span()).prop_map(|(there, back, lost, pause)| Trip {
            there,
            back,
            lost,
            pause,
        })
    }

    proptest! {
        /// Rules 2, 6, 7: whatever is late, lost or paused, and although the journal's clock runs up to a tenth faster,
        /// no effect begins that the journal's lease does not cover. And with a journal that answers, it always may again.
        #[test]
        fn no_effect_begins_outside_the_lease(trips in prop::collection::vec(trip(), 1..60), fast in 0_u64..=10) {
            let ms = |ms: u64| Tick::from_nanos(ms * 1_000_000);
            let length = 15_000_u64;
            let mut lease = Lease::new(Period::millis(15_000));
            // The journal: who has joined, and until when by a clock that runs faster.
            let journal = |now: u64| now * (100 + fast) / 100;
            let mut known: Option<(InstanceId, u64)> = None;
            let mut next = 0;
            let mut now = 1_000_000_u64;
            for trip in trips {
                let check = |lease: &Lease, known: Option<(InstanceId, u64)>, at: u64| {
                    for owner in (0..=60).map(InstanceId::new) {
                        if lease.standing().may_begin(Some(owner), ms(at)) == May::Begin {
                            let (alive, until) = known.unwrap();
                            assert_eq!(alive, owner);
                            assert!(journal(at) < until, "{} of {until}", journal(at));
                        }
                    }
                };
                let need = lease.need(ms(now));
                match need {
                    Need::Wait(due) => {
                        now = due.as_nanos() / 1_000_000 + trip.pause;
                        check(&lease, known, now);
                        continue;
                    }
                    Need::Join | Need::Beat(_) => {}
                    other => panic!("{other:?}"),
                }
                lease.asked(ms(now));
                let arrives = now + trip.there;
                let mut answer = None;
                if trip.lost != 1 {
                    match need {
                        Need::Join => {
                            next += 1;
                            known = Some((InstanceId::new(next), journal(arrives) + length));
                            answer = Some(Ok(InstanceId::new(next)));
                        }
                        Need::Beat(me) => {
                            let alive = known.is_some_and(|(who, until)| who == me && until > journal(arrives));
                            if alive {
                                known = Some((me, journal(arrives) + length));
                                answer = Some(Ok(me));
                            } else {
                                answer = Some(Err(()));
                            }
                        }
                        _ => {}
                    }
                }
                // While it is under way, and when it is there.
                for at in [now, arrives, arrives + trip.back] {
                    check(&lease, known, at);
                }
                now = arrives + trip.back;
                match (need, answer) {
                    (_, None) => lease.failed(ms(now)),
                    _ if trip.lost == 2 => lease.failed(ms(now)),
                    (Need::Join, Some(Ok(me))) => lease.joined(me),
                    (_, Some(Ok(_))) => lease.renewed(),
                    (_, Some(Err(()))) => lease.lapsed(),
                }
                for later in [0, 3_000, 9_999, 14_000] {
                    check(&lease, known, now + later);
                }
            }
            // A journal that answers at once.
            for _ in 0..4 {
                match lease.need(ms(now)) {
                    Need::Wait(due) => now = due.as_nanos() / 1_000_000,
                    Need::Join => { lease.asked(ms(now)); lease.joined(InstanceId::new(next + 1)); }
                    Need::Beat(_) => { lease.asked(ms(now)); lease.renewed(); }
                    other => panic!("{other:?}"),
                }
            }
            prop_assert!(lease.standing().instance(ms(now)).is_some());
        }
    }
}
