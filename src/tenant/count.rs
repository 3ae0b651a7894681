//! How many calls of each tier are under way, and whether anybody waits: one word, so that a call that finds a free seat
//! is admitted in one step, whatever the others do.
//!
//! While nobody waits the word is all there is: seats are taken and given back by exchanging it. Once somebody waits the
//! bit [`LINE`] is set, and from then on it changes only under the lock of the line. The bit itself is set and cleared
//! under that lock alone.

use std::num::NonZeroU32;

use super::config::width;
use super::scheduler::Seating;
use super::tier::{TierId, Tiers};
use crate::sync::{AtomicU64, Ordering};

/// Somebody waits: whoever wants a seat, or gives one back, goes through the lock.
pub(super) const LINE: u64 = 1 << 63;

/// How the word is divided among the tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    tiers: usize,
    width: u32,
}

impl Shape {
    pub(super) fn new(tiers: &Tiers) -> Self {
        let tiers = tiers.count();
        Self {
            tiers,
            width: width(tiers),
        }
    }

    /// The most seats that a pool of so many tiers has.
    pub(super) const fn most(self) -> u32 {
        (1 << self.width) - 1
    }

    /// Where the field of a tier begins.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most eight tiers"
    )]
    const fn shift(self, tier: TierId) -> u32 {
        tier.place() as u32 * self.width
    }

    /// The last field of what is left of a word.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a field is shorter")]
    const fn field(self, rest: u64) -> u32 {
        rest as u32 & self.most()
    }

    /// What one call of `tier` adds to the word.
    #[inline]
    pub(super) const fn one(self, tier: TierId) -> u64 {
        1 << self.shift(tier)
    }

    /// How many calls of `tier` are under way.
    #[inline]
    pub(super) const fn of(self, word: u64, tier: TierId) -> u32 {
        self.field(word >> self.shift(tier))
    }

    /// How many calls are under way in all.
    #[inline]
    pub(super) const fn total(self, word: u64) -> u32 {
        let (mut rest, mut total) = (word & !LINE, 0);
        while rest != 0 {
            total += self.field(rest);
            rest >>= self.width;
        }
        total
    }

    /// Those of each tier.
    #[inline]
    pub(super) fn each(self, word: u64) -> impl Iterator<Item = (TierId, u32)> {
        let tiers = u8::try_from(self.tiers).unwrap_or(0);
        (0..tiers).map(move |place| {
            let tier = TierId::new(place);
            (tier, self.of(word, tier))
        })
    }
}

/// What [`Seating`] says, for those who do not hold the lock. The words are stored one after the other: a call that sees
/// some of the old and some of the new is let in by a rule that was right a moment ago.
pub(super) struct Rules {
    shape: Shape,
    /// The seats; above them, whether any are held for a tier, whether any rule was ever narrower than the one before, and
    /// how often rules were published.
    capacity: AtomicU64,
    /// Of each tier the limit, the seats that are held for it, and the most of one tenant.
    tiers: [AtomicU64; Tiers::MOST],
}

const SEATS: u64 = (1 << 32) - 1;
const ANY_HELD: u64 = 1 << 32;
const NARROWED: u64 = 1 << 33;
const ONE_EDITION: u64 = 1 << 34;
const WIDEST: u32 = width(0);
const HELD: u32 = WIDEST;
const TENANT: u32 = 2 * WIDEST;
const FIELD: u64 = (1 << WIDEST) - 1;

impl Rules {
    pub(super) fn new(shape: Shape, seating: &Seating) -> Self {
        let rules = Self {
            shape,
            capacity: AtomicU64::new(0),
            tiers: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        rules.publish(seating);
        rules
    }

    pub(super) fn publish(&self, seating: &Seating) {
        let old = self.capacity.load(Ordering::Relaxed);
        let edition = (old & !(ONE_EDITION - 1)).wrapping_add(ONE_EDITION);
        let mut narrowed = old & NARROWED;
        let (mut any_held, mut more_held) = (0, 0);
        let field = |seats: u32| u64::from(seats).min(FIELD);
        for ((tier, _), word) in self.shape.each(0).zip(&self.tiers) {
            let held = field(seating.held(tier));
            if held > 0 {
                any_held = ANY_HELD;
            }
            let limit = field(seating.limit(tier));
            let tenant = field(seating.tenant_limit(tier));
            let old = word.load(Ordering::Relaxed);
            if limit < old & FIELD || tenant < old >> TENANT & FIELD {
                narrowed = NARROWED;
            }
            more_held += held.saturating_sub(old >> HELD & FIELD);
            word.store(limit | held << HELD | tenant << TENANT, Ordering::Relaxed);
        }
        let capacity = u64::from(seating.capacity());
        // What is taken and what was held fitted in before.
        if capacity < (old & SEATS) + more_held {
            narrowed = NARROWED;
        }
        let more = any_held | narrowed | edition;
        self.capacity.store(capacity | more, Ordering::Release);
    }

    pub(super) fn capacity(&self) -> NonZeroU32 {
        let capacity = self.capacity.load(Ordering::Relaxed) & SEATS;
        let capacity = u32::try_from(capacity).ok().and_then(NonZeroU32::new);
        capacity.unwrap_or(NonZeroU32::MIN)
    }

    #[inline]
    fn tier(&self, tier: TierId) -> u64 {
        let rule = self.tiers.get(tier.place());
        rule.map_or(0, |rule| rule.load(Ordering::Relaxed))
    }

    /// How many calls one tenant of the tier may have under way.
    #[inline]
    pub(super) fn tenant_limit(&self, tier: TierId) -> u32 {
        (self.tier(tier) >> TENANT & FIELD) as u32
    }

    /// Whether one more call of `tier` may take a seat, as [`Seating::admits`] has it.
    #[inline]
    pub(super) fn admits(&self, word: u64, tier: TierId) -> bool {
        let capacity = self.capacity.load(Ordering::Relaxed);
        let limit = (self.tier(tier) & FIELD) as u32;
        if self.shape.of(word, tier) >= limit {
            return false;
        }
        let mut taken = u64::from(self.shape.total(word));
        if capacity & ANY_HELD != 0 {
            taken += self.kept(word, tier);
        }
        taken < capacity & SEATS
    }

    /// How the rules are told from those before and after them.
    #[inline]
    pub(super) fn edition(&self) -> Edition {
        Edition(self.capacity.load(Ordering::Acquire))
    }

    /// Whether the rules allow what is taken, of this tier by all and of one tenant by so many calls, and it leaves the
    /// seats that are held for others.
    pub(super) fn allow(&self, word: u64, tier: TierId, calls: u32) -> bool {
        let rule = self.tier(tier);
        let capacity = self.capacity.load(Ordering::Relaxed) & SEATS;
        u64::from(self.shape.of(word, tier)) <= rule & FIELD
            && u64::from(calls) <= rule >> TENANT & FIELD
            && u64::from(self.shape.total(word)) + self.kept(word, tier) <= capacity
    }

    /// The seats that stay empty for other tiers.
    fn kept(&self, word: u64, tier: TierId) -> u64 {
        let others = self.shape.each(word).filter(|(other, _)| *other != tier);
        let kept = others.map(|(other, calls)| {
            (self.tier(other) >> HELD & FIELD).saturating_sub(u64::from(calls))
        });
        kept.sum()
    }
}

/// The rules of a moment, as far as seats are concerned that stay with threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edition(u64);

impl Edition {
    /// Whether nobody waits, and no more than half of the seats are taken.
    #[inline]
    pub(super) const fn has_plenty(self, shape: Shape, word: u64) -> bool {
        word & LINE == 0 && 2 * shape.total(word) as u64 <= self.0 & SEATS
    }

    /// Whether more may be taken than the rules allow now.
    #[inline]
    pub(super) const fn was_narrowed(self) -> bool {
        self.0 & NARROWED != 0
    }
}

#[cfg(all(test, not(mainstay_loom)))]
#[expect(clippy::unwrap_used, reason = "a test panics to fail")]
mod tests {
    use super::*;
    use crate::num::{Ratio, count};
    use crate::rng::Rng;
    use crate::tenant::tier::Tier;

    fn tiers(n: usize, rng: &mut Rng) -> Tiers {
        const NAMES: [&str; Tiers::MOST] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut percent = || u8::try_from(rng.next_u64() % 12).unwrap();
        let tiers = NAMES.into_iter().take(n).map(|name| {
            let (reserved, held) = (percent(), percent());
            Tier::new(name)
                .reserved(Ratio::percent(reserved))
                .held(Ratio::percent(held.min(reserved)))
                .limit(Ratio::percent(50 + percent()))
        });
        Tiers::new(tiers).unwrap()
    }

    #[test]
    fn the_fields_do_not_touch_each_other() {
        let mut rng = Rng::new(7);
        for n in 1..=Tiers::MOST {
            let shape = Shape::new(&tiers(n, &mut rng));
            let full = shape.each(0).fold(0, |word, (tier, _)| {
                word + shape.one(tier) * u64::from(shape.most())
            });
            assert_eq!(full & LINE, 0, "{n} tiers");
            for (tier, _) in shape.each(0) {
                for (other, calls) in shape.each((full - shape.one(tier)) | LINE) {
                    assert_eq!(calls, shape.most() - u32::from(other == tier));
                }
            }
        }
    }

    #[test]
    fn a_word_is_admitted_as_the_seating_says() {
        let mut rng = Rng::new(11);
        let mut yes = 0;
        for _ in 0..5_000 {
            let n = 1 + usize::try_from(rng.next_u64() % 8).unwrap();
            let tiers = tiers(n, &mut rng);
            let shape = Shape::new(&tiers);
            let capacity = count(1 + u32::try_from(rng.next_u64() % 40).unwrap());
            let seating = Seating::new(&tiers, capacity);
            let rules = Rules::new(shape, &seating);
            assert_eq!(rules.capacity(), capacity);
            let counts: Vec<u32> = (0..n)
                .map(|_| u32::try_from(rng.next_u64() % 8).unwrap())
                .collect();
            let word = shape
                .each(0)
                .zip(&counts)
                .fold(0, |word, ((tier, _), calls)| {
                    word + shape.one(tier) * u64::from(*calls)
                });
            for (tier, _) in shape.each(0) {
                let admitted = rules.admits(word, tier);
                assert_eq!(
                    admitted,
                    seating.admits(&counts, tier),
                    "{tiers:?} {counts:?}"
                );
                assert_eq!(rules.tenant_limit(tier), seating.tenant_limit(tier));
                yes += u32::from(admitted);
            }
        }
        assert!(yes > 1_000, "{yes}");
    }
}
