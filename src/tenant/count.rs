//! How many calls of each tier are under way, and whether anybody waits: one word, so that a call that finds a free seat
//! is admitted in one step, whatever the others do.
//!
//! While nobody waits the word is all there is: seats are taken and given back by exchanging it. Once somebody waits the
//! bit [`LINE`] is set, and from then on it only changes under the lock of the line, so that what the scheduler knows and
//! what the word says are the same whenever the lock is free. The bit itself is set and cleared under that lock alone.

/// Somebody waits, or stands between being seated and being asked: whoever wants a seat, or gives one back, goes through
/// the lock.
pub(super) const LINE: u64 = 1 << 63;

/// How the word is divided among the tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    tiers: u32,
    width: u32,
}

impl Shape {
    /// The most tiers that have a field.
    pub(super) const TIERS: usize = 8;

    pub(super) fn new(tiers: usize) -> Self {
        let tiers = u32::try_from(tiers.clamp(1, Self::TIERS)).unwrap_or(1);
        // More than 2³¹ calls are never under way.
        let width = (63 / tiers).min(31);
        Self { tiers, width }
    }

    /// The most calls that a tier can have under way.
    pub(super) const fn most(self) -> u32 {
        (1 << self.width) - 1
    }

    /// What one call of `tier` adds to the word.
    #[inline]
    pub(super) const fn one(self, tier: usize) -> u64 {
        1 << (tier as u32 * self.width)
    }

    /// How many calls of `tier` are under way.
    #[inline]
    pub(super) const fn of(self, word: u64, tier: usize) -> u32 {
        (word >> (tier as u32 * self.width)) as u32 & self.most()
    }

    /// How many calls are under way in all.
    #[inline]
    pub(super) fn total(self, word: u64) -> u32 {
        (0..self.tiers as usize).fold(0, |sum, tier| sum + self.of(word, tier))
    }

    /// Those of each tier.
    pub(super) fn each(self, word: u64) -> impl Iterator<Item = u32> {
        (0..self.tiers as usize).map(move |tier| self.of(word, tier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_do_not_touch_each_other() {
        for tiers in 1..=Shape::TIERS {
            let shape = Shape::new(tiers);
            let full = (0..tiers).fold(0, |word, tier| {
                word + shape.one(tier) * u64::from(shape.most())
            });
            assert_eq!(full & LINE, 0, "{tiers} tiers");
            for tier in 0..tiers {
                let word = full - shape.one(tier) | LINE;
                let counts: Vec<_> = shape.each(word).collect();
                for (other, count) in counts.into_iter().enumerate() {
                    assert_eq!(count, shape.most() - u32::from(other == tier));
                }
            }
        }
        assert_eq!(Shape::new(3).most(), 2_097_151);
        assert_eq!(Shape::new(8).most(), 127);
        assert_eq!(Shape::new(3).total(Shape::new(3).one(0) + 2 * Shape::new(3).one(2)), 3);
    }
}
