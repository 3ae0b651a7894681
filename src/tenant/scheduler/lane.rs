//! What a tier has: its part of the seats, how far its service has come, and which of its tenants wait.

use std::time::Duration;

use super::heap::Heap;
use super::tag::{Clock, FAR, MOST, Tag};
use super::waiters::NONE;
use crate::tenant::tier::Weight;
use crate::time::Tick;

#[derive(Debug)]
pub(super) struct Lane {
    /// Tenants that wait and may have a seat.
    pub(super) heap: Heap,
    /// Tenants that wait and have as many seats as they may.
    pub(super) parked: Heap,
    pub(super) lengths: Lengths,
    pub(super) queued: u32,
    /// Who ever came to wait.
    pub(super) arrivals: u32,
    /// Waiters whose time was over when their turn came.
    pub(super) overdue: u32,
    pub(super) in_flight: u32,
    pub(super) outside: u32,
    /// How far the service of all its tenants has come: of those that are held back by their own limits too.
    pub(super) clock: Clock,
    /// The latest tag that was let in.
    pub(super) front: Tag,
    /// The greatest charge of a request lately.
    pub(super) widest: u64,
    /// Since when nobody waits, or since its clock last took note of that.
    pub(super) quiet_since: Tick,
    /// Since when somebody waits, while somebody does.
    pub(super) busy_since: Tick,
    /// The end of what the tier was charged for, beside other tiers.
    pub(super) start: Tag,
    /// The era of the tiers' clock in which that was written.
    pub(super) era: u32,
    /// Until when its running requests have been charged to it.
    pub(super) charged_until: Tick,
    /// What requests took lately, slower than `estimate`.
    pub(super) moments: Moments,
    pub(super) scale: Scale,
    /// What requests took lately, in nanoseconds; 0 before any ended.
    pub(super) estimate: u64,
    /// From when it may claim what rounding took of its reservation.
    pub(super) claim: Tick,
    pub(super) pace: Pace,
    /// The place of the tenants that found none.
    pub(super) shared: u32,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            heap: Heap::default(),
            parked: Heap::default(),
            lengths: Lengths::default(),
            queued: 0,
            arrivals: 0,
            overdue: 0,
            in_flight: 0,
            outside: 0,
            clock: Clock::new(),
            front: Tag::ZERO,
            widest: 0,
            quiet_since: Tick::ZERO,
            busy_since: Tick::ZERO,
            start: Tag::ZERO,
            era: 0,
            charged_until: Tick::ZERO,
            moments: Moments::new(),
            scale: Scale {
                weight: Weight::ONE,
                one: 0,
                behind: 0,
                debt: 0,
            },
            estimate: 0,
            claim: Tick::ZERO,
            pace: Pace::new(),
            shared: NONE,
        }
    }

    pub(super) const fn seats(&self) -> u32 {
        self.in_flight.saturating_add(self.outside)
    }

    /// What its running requests are taken to need. It stays while they run, however long they have: what is charged
    /// meanwhile comes on top, so that who was underestimated falls behind as it runs and not in one go at its end.
    pub(super) fn under_way(&self) -> u64 {
        let seats = u64::from(self.seats());
        self.scale.one.saturating_mul(seats).min(FAR / 2)
    }

    /// For how long somebody has been waiting without a break.
    pub(super) fn stood(&self, now: Tick) -> Duration {
        if self.queued == 0 {
            Duration::ZERO
        } else {
            now.since(self.busy_since)
        }
    }

    /// One of tag `tag` is let in, for a charge of so much. The clock follows, but not beyond whoever is held back by
    /// its own limit of `round` seats, unless it would stay behind by more than a round of the greatest requests.
    pub(super) fn advance(&mut self, tag: Tag, charge: u64, round: u32) {
        self.widest = charge.max(self.widest - self.widest / FADE);
        self.front = self.front.later(self.clock.now()).later(tag);
        let most = tag.minus(self.most_behind(round));
        let held_back = self.parked.top().map_or(tag, |(turn, _)| turn.tag);
        self.clock.advance(tag.earlier(held_back).later(most));
    }

    /// How far behind somebody may stay whom its own limit holds back.
    pub(super) fn most_behind(&self, round: u32) -> u64 {
        self.widest.saturating_mul(u64::from(round)).min(FAR)
    }
}

/// What a tier is charged by, beside other tiers: on the scale of tags, so that no turn has to work it out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) weight: Weight,
    /// What each running request is taken to need.
    pub(super) one: u64,
    /// How far behind the clock it may be.
    pub(super) behind: u64,
    /// How far ahead of it.
    pub(super) debt: u64,
}

/// What requests took lately, and how uneven that was.
///
/// Floating-point numbers, since squares of nanoseconds do not fit otherwise, and exact enough: what is learned is a
/// whole number from 1 to [`MOST`], so both are averages of what lies from 1 to 2^93, finite and never zero; and what
/// is rounded off is less than a part in 2^52 each time, and forgotten with what it was part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// Of so many, up to [`MOMENTS`].
    seen: u16,
    /// In nanoseconds; 0 before any ended.
    mean: f64,
    square: f64,
}

/// They are averages of about so many.
const MOMENTS: u16 = 256;

impl Moments {
    pub(super) const fn new() -> Self {
        Self {
            seen: 0,
            mean: 0.0,
            square: 0.0,
        }
    }

    /// One more ended. Of the first alone it is not known how even they are: they are taken to be exponential.
    #[expect(clippy::cast_precision_loss, reason = "it is exact up to 2^53")]
    pub(super) fn learn(&mut self, took: u64) {
        let took = took.clamp(1, MOST) as f64;
        self.seen = self.seen.saturating_add(1).min(MOMENTS);
        if self.seen > 1 {
            let by = f64::from(self.seen);
            self.mean += (took - self.mean) / by;
            self.square += (took * took - self.square) / by;
        } else {
            self.mean = took;
            self.square = 2.0 * took * took;
        }
    }

    /// What a request takes, and what is left of one that is found running, in nanoseconds; where any ended. That is the
    /// mean square by twice the mean: the longer a request takes the more of the time it is the one that runs.
    pub(super) fn get(&self) -> Option<(u64, u64)> {
        (self.seen > 0).then(|| (whole(self.mean), whole(self.square / (2.0 * self.mean))))
    }
}

/// An average, in whole nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and the conversion saturates"
)]
fn whole(nanos: f64) -> u64 {
    (nanos as u64).clamp(1, MOST)
}

/// A great request is forgotten over about so many.
const FADE: u64 = 256;

/// Tenants by the length of their queues, of two requests and more: whose is longest is known without a search.
///
/// It is never longer by more than one than it was, nor shorter, so the longest moves by one at a time.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    by: Vec<Vec<u32>>,
    /// Beyond this place all are empty; they keep their memory, since they are soon taken again.
    end: usize,
}

/// The shortest queue of which one can be taken for another's sake.
const SHORTEST: u32 = 2;

impl Lengths {
    /// The longest queue, 1 if there is none of two.
    pub(super) fn longest(&self) -> u32 {
        u32::try_from(self.end).map_or(u32::MAX, |n| n.saturating_add(SHORTEST - 1))
    }

    /// One of those with the longest queue.
    pub(super) fn first(&self) -> Option<u32> {
        let slots = self.by.get(self.end.checked_sub(1)?)?;
        slots.last().copied()
    }

    /// All of them, the longest first.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.by.iter().take(self.end).rev().flatten().copied()
    }

    /// Puts one in; says where it is now.
    pub(super) fn enter(&mut self, slot: u32, len: u32) -> u32 {
        let Some(at) = len.checked_sub(SHORTEST) else {
            return NONE;
        };
        let at = at as usize;
        if self.by.len() <= at {
            self.by.resize_with(at + 1, Vec::new);
        }
        self.end = self.end.max(at + 1);
        let Some(slots) = self.by.get_mut(at) else {
            return NONE;
        };
        slots.push(slot);
        u32::try_from(slots.len() - 1).unwrap_or(NONE)
    }

    /// Takes out the one at `place`; says who stands there now instead. Afterwards [`enter`](Self::enter) where it
    /// belongs, then [`settle`](Self::settle).
    pub(super) fn leave(&mut self, place: u32, len: u32) -> Option<u32> {
        let slots = self.by.get_mut(len.checked_sub(SHORTEST)? as usize)?;
        let place = place as usize;
        if place < slots.len() {
            slots.swap_remove(place);
        }
        slots.get(place).copied()
    }

    /// Lets go of lengths that nobody has any more.
    pub(super) fn settle(&mut self) {
        while let Some(last) = self.end.checked_sub(1)
            && self.by.get(last).is_none_or(Vec::is_empty)
        {
            self.end = last;
        }
    }
}

/// Over so many grants the pace is taken.
const GRANTS: u32 = 16;

/// How fast the service of a tier goes on while requests of it wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Tick,
    at: Tag,
    grants: u32,
    /// Of the clock, by nanosecond; 0 before it is known.
    rate: f64,
    /// Nanoseconds from one grant to the next.
    step: f64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            since: Tick::ZERO,
            at: Tag::ZERO,
            grants: 0,
            rate: 0.0,
            step: 0.0,
        }
    }

    /// One who waited is granted a seat, and others still wait.
    #[expect(clippy::cast_precision_loss, reason = "a pace is not exact")]
    pub(super) fn granted(&mut self, clock: Tag, now: Tick) {
        if self.grants == 0 {
            self.since = now;
            self.at = clock;
        }
        self.grants += 1;
        let nanos = now.as_nanos().saturating_sub(self.since.as_nanos());
        if self.grants > GRANTS && nanos > 0 {
            let rate = clock.ahead_of(self.at) as f64 / nanos as f64;
            let step = nanos as f64 / f64::from(self.grants - 1);
            let first = self.step <= 0.0;
            let blend = |old: f64, new: f64| if first { new } else { old + (new - old) / 4.0 };
            self.rate = blend(self.rate, rate);
            self.step = blend(self.step, step);
            self.since = now;
            self.at = clock;
            self.grants = 1;
        }
    }

    /// Nobody waits any more: what comes next is another time.
    pub(super) const fn interrupt(&mut self) {
        *self = Self::new();
    }

    /// How long the clock takes for so much, in nanoseconds, where that is known.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a forecast is not exact, and the conversion saturates"
    )]
    pub(super) fn time(&self, ahead: u64) -> Option<u64> {
        (self.rate > 0.0).then(|| (ahead as f64 / self.rate) as u64)
    }

    /// The time from one grant to the next, in nanoseconds, where that is known.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the conversion saturates"
    )]
    pub(super) fn step(&self) -> Option<u64> {
        (self.step > 0.0).then_some(self.step as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_anything_are_finite_and_bounded() {
        let mut moments = Moments::new();
        assert_eq!(moments.get(), None);
        for took in [0, 1, u64::MAX, MOST, 0, 7, 1 << 40] {
            for _ in 0..3_000 {
                moments.learn(took);
                let (mean, rest) = moments.get().unwrap();
                assert!((1..=MOST).contains(&mean) && (1..=MOST).contains(&rest));
                // Never less than of requests that all take the same.
                assert!(rest >= mean / 2, "{mean} and {rest}");
            }
            let seen = took.clamp(1, MOST);
            let (mean, _) = moments.get().unwrap();
            assert!(
                mean.abs_diff(seen) <= 1 + seen / 1_000 + (MOST >> 16),
                "{mean} after {seen}"
            );
        }
    }
}
