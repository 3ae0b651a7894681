//! Tags: how much service somebody has had, by weight, on a scale that never ends.
//!
//! A tag is a serial number: of two, the one is later whose distance from the other is less than half of the scale. So
//! nothing is renumbered, however long a scheduler runs. All tags that are compared lie within [`FAR`] of each other,
//! an eighth of the scale; [`Clock`] sees to it that a tag which was left behind is not mistaken for one that is ahead.

use crate::tenant::tier::Weight;

/// Parts of a nanosecond, so that a microsecond divided by the greatest weight is still told from two.
const FINE: u32 = 8;

/// The longest that is charged at once, 19 hours: beyond it a request has long been judged.
pub(super) const MOST: u64 = 1 << 46;

/// No tag is further ahead of its clock.
pub(super) const FAR: u64 = 1 << 61;

/// The scale has sixteen eras; a tag that was left four behind is behind, wherever it seems to be.
const ERA: u32 = 60;
const LEFT_BEHIND: u32 = 4;

/// What so much time on a seat comes to for somebody of this weight.
pub(super) fn charge(nanos: u64, weight: Weight) -> u64 {
    (nanos.min(MOST) << FINE) / u64::from(weight.get())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    pub(super) const ZERO: Self = Self(0);

    pub(super) const fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }

    pub(super) const fn later(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    pub(super) const fn earlier(self, other: Self) -> Self {
        if self.is_before(other) { self } else { other }
    }

    pub(super) const fn plus(self, by: u64) -> Self {
        Self(self.0.wrapping_add(by))
    }

    pub(super) const fn minus(self, by: u64) -> Self {
        Self(self.0.wrapping_sub(by))
    }

    /// How far it is ahead, zero if it is not.
    pub(super) const fn ahead_of(self, other: Self) -> u64 {
        if self.is_before(other) {
            0
        } else {
            self.0.wrapping_sub(other.0)
        }
    }
}

/// How far the service of a group has come. It never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    now: Tag,
    era: u32,
}

impl Clock {
    pub(super) const fn new() -> Self {
        Self {
            now: Tag::ZERO,
            era: 0,
        }
    }

    pub(super) const fn now(&self) -> Tag {
        self.now
    }

    pub(super) const fn era(&self) -> u32 {
        self.era
    }

    pub(super) fn advance(&mut self, to: Tag) {
        let to = to.earlier(self.now.plus(FAR)).later(self.now);
        let eras = (to.0 >> ERA).wrapping_sub(self.now.0 >> ERA) & 15;
        self.era = self.era.wrapping_add(u32::try_from(eras).unwrap_or(0));
        self.now = to;
    }

    /// Goes on by so much time on one seat of weight 1.
    pub(super) fn pass(&mut self, nanos: u64) {
        self.advance(self.now.plus(charge(nanos, Weight::ONE)));
    }

    /// A tag that was written in `era`, as it is to be read now: one that was left far behind is at the clock.
    pub(super) const fn read(&self, tag: Tag, era: u32) -> Tag {
        if self.era.wrapping_sub(era) > LEFT_BEHIND {
            self.now
        } else {
            tag
        }
    }

    /// A tag that is not further ahead than may be.
    pub(super) const fn bounded(&self, tag: Tag) -> Tag {
        tag.earlier(self.now.plus(FAR))
    }

    #[cfg(test)]
    pub(super) const fn set(&mut self, to: u64) {
        self.now = Tag(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_end_of_the_scale() {
        let end = Tag(u64::MAX - 5);
        let beyond = end.plus(10);
        assert!(end.is_before(beyond) && !beyond.is_before(end));
        assert_eq!(end.later(beyond), beyond);
        assert_eq!(beyond.ahead_of(end), 10);
        assert_eq!(end.ahead_of(beyond), 0);
    }

    #[test]
    fn a_clock_never_goes_back_and_counts_its_eras() {
        let mut clock = Clock::new();
        clock.advance(Tag(9));
        clock.advance(Tag(3));
        assert_eq!(clock.now(), Tag(9));
        for _ in 0..100 {
            let before = clock.now();
            clock.advance(before.plus(FAR));
            assert!(!clock.now().is_before(before));
        }
        assert_eq!(clock.era(), 200, "twice an era each");
    }

    #[test]
    fn a_tag_that_was_left_behind_is_not_taken_for_one_ahead() {
        let mut clock = Clock::new();
        let (old, era) = (clock.now().plus(7), clock.era());
        for _ in 0..5 {
            clock.advance(clock.now().plus(FAR));
        }
        assert!(clock.now().is_before(old), "as serial numbers go");
        assert_eq!(clock.read(old, era), clock.now());
    }

    #[test]
    fn charges_are_by_weight_and_have_an_end() {
        assert_eq!(charge(1_000, Weight::ONE), 256_000);
        assert_eq!(charge(1_000, Weight::of(4)), 64_000);
        assert_eq!(charge(u64::MAX, Weight::ONE), MOST << FINE);
        assert!(charge(u64::MAX, Weight::ONE) < FAR);
    }
}
