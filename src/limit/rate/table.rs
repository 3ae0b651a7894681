//! The keys that a limit remembers.
//!
//! 1. Each key has a line of its own, under settings that are the same for all.
//! 2. At most `bound` keys are remembered.
//! 3. A key is forgotten only for another one's sake, and only when its line is untouched again: it owes nothing, so
//!    nothing is forgiven and coming back makes no difference. Those untouched for longest go first, roughly: a hand
//!    goes round and takes the first.
//! 4. While every remembered key owes something, a new one finds no room. It is not remembered, and shares one more
//!    limit with all others in its case. Somebody who comes with a million keys therefore gets the rate of `bound` keys
//!    and one, and never the memory or the debt of others.
//! 5. A bound that becomes lower is kept to as keys become untouched; until then new keys find no room.

use std::borrow::Borrow;

use super::line::Line;
use super::machine::Reservation;
use super::spec::Spec;

const VACANT: u32 = u32::MAX;

/// Keys and their lines: slots that stay where they are, and an index of them by hash, open, probed one by one.
#[derive(Debug)]
pub(super) struct Table<K> {
    slots: Vec<Slot<K>>,
    index: Vec<u32>,
    used: usize,
    bound: usize,
    hand: usize,
    /// Until the time's floor has come here, no key is untouched and none is looked for.
    busy_until: u64,
}

#[derive(Debug)]
struct Slot<K> {
    key: Option<K>,
    hash: u64,
    line: Line,
    /// How many keys it had: a place in the line of an earlier one is not one of this one.
    epoch: u32,
}

/// Where a key's line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    slot: u32,
    epoch: u32,
}

impl<K> Table<K> {
    pub(super) const fn new(bound: usize) -> Self {
        Self {
            slots: Vec::new(),
            index: Vec::new(),
            used: 0,
            bound,
            hand: 0,
            busy_until: 0,
        }
    }

    /// Keys that are remembered.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    pub(super) const fn rebound(&mut self, bound: usize) {
        self.bound = bound;
    }

    /// The line of `key`, which takes a place if it has none; `None` if there is no room.
    #[inline]
    pub(super) fn line<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        spec: &Spec,
        now: u64,
    ) -> Option<(Spot, &mut Line)>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let which = match self.find(hash, key) {
            Some(which) => which,
            None => self.enter(hash, key, spec, now)?,
        };
        let slot = self.slots.get_mut(which as usize)?;
        let spot = Spot {
            slot: which,
            epoch: slot.epoch,
        };
        Some((spot, &mut slot.line))
    }

    /// The line of `key`, if it is remembered.
    pub(super) fn known<Q>(&self, hash: u64, key: &Q) -> Option<&Line>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let which = self.find(hash, key)?;
        self.slots.get(which as usize).map(|slot| &slot.line)
    }

    /// Gives back a place in the line at `spot`.
    pub(super) fn give_back(
        &mut self,
        spot: Spot,
        spec: &Spec,
        reservation: &Reservation,
        now: u64,
    ) {
        if let Some(slot) = self.slots.get_mut(spot.slot as usize)
            && slot.epoch == spot.epoch
        {
            slot.line.give_back(spec, reservation, now);
            self.busy_until = 0;
        }
    }

    /// Goes on under other settings. Returns them as they apply to all.
    pub(super) fn reload(&mut self, before: &Spec, spec: Spec, now: u64) -> Spec {
        self.busy_until = 0;
        let mut all = spec;
        all.reach = all.reach.max(before.reach);
        for slot in &mut self.slots {
            let applied = slot.line.reload(before, spec, now);
            all.reach = all.reach.max(applied.reach);
        }
        all
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut at = self.home(hash);
        loop {
            let which = *self.index.get(at)?;
            // At most half of the index is taken, so there is a vacant one.
            let slot = self.slots.get(which as usize)?;
            let same = |held: &K| held.borrow() == key;
            if slot.hash == hash && slot.key.as_ref().is_some_and(same) {
                return Some(which);
            }
            at = self.after(at);
        }
    }

    #[cold]
    fn enter<Q>(&mut self, hash: u64, key: &Q, spec: &Spec, now: u64) -> Option<u32>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let which = self.room(spec, now)?;
        let slot = self.slots.get_mut(which as usize)?;
        slot.key = Some(key.to_owned());
        slot.hash = hash;
        slot.line = Line::default();
        slot.epoch = slot.epoch.wrapping_add(1);
        self.used += 1;
        if self.used * 2 > self.index.len() {
            self.reindex();
        } else {
            self.insert(hash, which);
        }
        Some(which)
    }

    /// A slot without a key, such that there may be one key more.
    fn room(&mut self, spec: &Spec, now: u64) -> Option<u32> {
        if self.used < self.bound && self.used == self.slots.len() {
            let which = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(Slot {
                key: None,
                hash: 0,
                line: Line::default(),
                epoch: 0,
            });
            return Some(which);
        }
        let floor = spec.floor(now);
        if self.used >= self.bound && floor < self.busy_until {
            return None;
        }
        let mut earliest = u64::MAX;
        for _ in 0..self.slots.len() {
            let which = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = self.slots.get(which)?;
            let which = u32::try_from(which).ok()?;
            if slot.key.is_some() {
                if !slot.line.is_untouched(spec, now) {
                    earliest = earliest.min(slot.line.end);
                    continue;
                }
                self.forget(which);
            }
            if self.used < self.bound {
                return Some(which);
            }
        }
        self.busy_until = earliest;
        None
    }

    fn forget(&mut self, which: u32) {
        let Some(slot) = self.slots.get_mut(which as usize) else {
            return;
        };
        slot.key = None;
        slot.line = Line::default();
        let hash = slot.hash;
        let mut hole = self.home(hash);
        while self.index.get(hole).is_some_and(|&there| there != which) {
            hole = self.after(hole);
        }
        self.used -= 1;
        // Those behind it that were pushed past the hole move up, so that searches end where nothing is.
        let mut at = hole;
        loop {
            at = self.after(at);
            let Some(&moving) = self.index.get(at) else {
                return;
            };
            let Some(slot) = self.slots.get(moving as usize) else {
                break;
            };
            let pushed = at.wrapping_sub(self.home(slot.hash)) & self.mask();
            let back = at.wrapping_sub(hole) & self.mask();
            if pushed >= back {
                if let Some(place) = self.index.get_mut(hole) {
                    *place = moving;
                }
                hole = at;
            }
        }
        if let Some(place) = self.index.get_mut(hole) {
            *place = VACANT;
        }
    }

    fn reindex(&mut self) {
        let places = (self.used * 4).next_power_of_two().max(16);
        self.index.clear();
        self.index.resize(places, VACANT);
        for which in 0..self.slots.len() {
            let hash = self
                .slots
                .get(which)
                .and_then(|slot| slot.key.as_ref().map(|_| slot.hash));
            if let (Some(hash), Ok(which)) = (hash, u32::try_from(which)) {
                self.insert(hash, which);
            }
        }
    }

    fn insert(&mut self, hash: u64, which: u32) {
        let mut at = self.home(hash);
        while self.index.get(at).is_some_and(|&there| there != VACANT) {
            at = self.after(at);
        }
        if let Some(place) = self.index.get_mut(at) {
            *place = which;
        }
    }

    const fn mask(&self) -> usize {
        self.index.len().wrapping_sub(1)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any of a hash's bits will do"
    )]
    const fn home(&self, hash: u64) -> usize {
        hash as usize & self.mask()
    }

    const fn after(&self, at: usize) -> usize {
        (at + 1) & self.mask()
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small draws")]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::limit::rate::{Rate, RateConfig};
    use crate::num::Period;
    use crate::rng::Rng;

    const MILLI: u64 = 1_000_000;

    /// Few hashes for many keys, so that searches are long and removals move others.
    fn hash(key: u64) -> u64 {
        key % 5
    }

    #[test]
    fn rules_1_to_5_each_key_is_judged_as_if_all_were_remembered() {
        let rates = [
            Rate::burst(3, Period::millis(90)),
            Rate::windows(2, Period::millis(70)),
            Rate::even(1, Period::millis(40)),
        ];
        let (mut evicted, mut without_room) = (0, 0);
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut below = |n: u64| rng.next_u64() % n;
            let config =
                |which: u64| RateConfig::new(rates[which as usize]).patience(Period::millis(50));
            let mut spec = Spec::new(&config(seed % 3));
            let mut bound = 1 + below(12) as usize;
            let mut table = Table::<u64>::new(bound);
            let mut model: HashMap<u64, Line> = HashMap::new();
            let mut held = Vec::new();
            let mut now = 3_600_000 * MILLI;
            for _ in 0..400 {
                now += below(9) * MILLI;
                match below(20) {
                    0 => {
                        bound = 1 + below(12) as usize;
                        table.rebound(bound);
                        let before = spec;
                        let next = Spec::new(&config(below(3)));
                        spec = table.reload(&before, next, now);
                        for line in model.values_mut() {
                            line.reload(&before, next, now);
                        }
                    }
                    1..4 if !held.is_empty() => {
                        let which = below(held.len() as u64) as usize;
                        let (key, spot, place, same): (u64, _, _, _) = held.swap_remove(which);
                        table.give_back(spot, &spec, &place, now);
                        model.get_mut(&key).unwrap().give_back(&spec, &same, now);
                    }
                    _ => {
                        let key = below(25);
                        let remembered = table.known(hash(key), &key).is_some();
                        let before = table.len();
                        if let Some((spot, line)) = table.line(hash(key), &key, &spec, now) {
                            let same = model.entry(key).or_default();
                            let place = line.take(&spec, 1, spec.patience, now);
                            assert_eq!(place, same.take(&spec, 1, spec.patience, now), "{seed}");
                            if let Ok(place) = place {
                                let ours = Reservation::new(&place, line.generation, now);
                                let theirs = Reservation::new(&place, same.generation, now);
                                held.push((key, spot, ours, theirs));
                            }
                            evicted += u32::from(!remembered && before == table.len());
                        } else {
                            without_room += 1;
                            let busy = (0..25).filter(|key| {
                                let line = table.known(hash(*key), key);
                                line.is_some_and(|line| !line.is_untouched(&spec, now))
                            });
                            assert_eq!(busy.count(), table.len(), "{seed}: rule 4");
                            assert!(table.len() >= bound);
                        }
                    }
                }
                for (key, line) in &model {
                    let forgotten = table.known(hash(*key), key).is_none();
                    assert!(
                        !forgotten || line.is_untouched(&spec, now),
                        "{seed}: rule 3"
                    );
                }
            }
        }
        assert!(
            evicted > 1_000 && without_room > 1_000,
            "{evicted} {without_room}"
        );
    }

    #[test]
    fn rule_2_a_million_keys_take_no_more_room_than_the_bound() {
        for rate in [
            Rate::burst(1, Period::millis(1)),
            Rate::burst(1, Period::secs(3_600)),
        ] {
            let spec = Spec::new(&rate.into());
            let mut table = Table::<u64>::new(1_000);
            let mut rng = Rng::new(1);
            for key in 0..1_000_000 {
                let now = 3_600_000 * MILLI + key * 1_000;
                if let Some((_, line)) = table.line(rng.next_u64(), &key, &spec, now) {
                    line.take(&spec, 1, 0, now).unwrap();
                }
                assert!(table.slots.len() <= 1_000 && table.index.len() <= 4_096);
            }
            assert_eq!(table.len(), 1_000);
        }
    }

    #[test]
    fn rule_3_a_place_of_a_forgotten_key_is_not_given_back_to_its_successor() {
        let config = RateConfig::new(Rate::even(1, Period::millis(10))).patience(Period::secs(1));
        let spec = Spec::new(&config);
        let mut table = Table::<u64>::new(1);
        let (spot, line) = table.line(1, &1, &spec, MILLI).unwrap();
        line.take(&spec, 1, 0, MILLI).unwrap();
        let later = 100 * MILLI;
        let (_, line) = table.line(2, &2, &spec, later).unwrap();
        let taken = line.take(&spec, 1, 0, later).unwrap();
        let same = Reservation::new(&taken, line.generation, later);
        table.give_back(spot, &spec, &same, later);
        assert_eq!(table.known(2, &2).unwrap().end, taken.end);
    }
}
