//! Who is first by tag: a heap of four children each, so that a look at all of them is one line of the cache, from whose
//! middle one can leave.
//!
//! Where somebody stands is kept apart from the tenants: four bytes each that stay in the cache when the tenants do not.

use super::tag::Tag;

#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<(Tag, u32)>,
    /// By slot, where in `entries`.
    at: Vec<u32>,
}

const ARITY: usize = 4;
const OUT: u32 = u32::MAX;

impl Heap {
    pub(super) fn top(&self) -> Option<(Tag, u32)> {
        self.entries.first().copied()
    }

    /// One that is not first, if there are two: a leaf.
    pub(super) fn last(&self) -> Option<u32> {
        self.entries.last().map(|(_, slot)| *slot)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(_, slot)| *slot)
    }

    fn find(&self, slot: u32) -> Option<usize> {
        let at = self.at.get(slot as usize).copied()?;
        (at != OUT).then_some(at as usize)
    }

    #[cfg(test)]
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.find(slot).is_some()
    }

    /// Puts one in that is not in yet.
    pub(super) fn push(&mut self, tag: Tag, slot: u32) {
        let index = slot as usize;
        if self.at.len() <= index {
            self.at.resize(index + 1, OUT);
        }
        self.entries.push((tag, slot));
        self.rise(self.entries.len() - 1, (tag, slot));
    }

    /// Gives one another tag, if it is in.
    pub(super) fn retag(&mut self, tag: Tag, slot: u32) {
        if let Some(at) = self.find(slot) {
            self.settle(at, (tag, slot));
        }
    }

    /// Takes one out. Says whether it was in.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let Some(at) = self.find(slot) else {
            return false;
        };
        if let Some(place) = self.at.get_mut(slot as usize) {
            *place = OUT;
        }
        let last = self.entries.pop();
        if at < self.entries.len()
            && let Some(last) = last
        {
            self.settle(at, last);
        }
        true
    }

    /// Puts an entry where it belongs; the one at `hole` has gone.
    fn settle(&mut self, hole: usize, entry: (Tag, u32)) {
        let above = self.entries.get(hole.wrapping_sub(1) / ARITY);
        if hole > 0 && above.is_some_and(|above| entry.0.is_before(above.0)) {
            self.rise(hole, entry);
        } else {
            self.sink(hole, entry);
        }
    }

    fn rise(&mut self, mut hole: usize, entry: (Tag, u32)) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            match self.entries.get(parent).copied() {
                Some(above) if entry.0.is_before(above.0) => {
                    self.put(hole, above);
                    hole = parent;
                }
                _ => break,
            }
        }
        self.put(hole, entry);
    }

    fn sink(&mut self, mut hole: usize, entry: (Tag, u32)) {
        loop {
            let first = hole * ARITY + 1;
            let end = (first + ARITY).min(self.entries.len());
            let Some(children) = self.entries.get(first..end) else {
                break;
            };
            let mut best = None::<(usize, (Tag, u32))>;
            for (place, child) in (first..).zip(children) {
                if best.is_none_or(|(_, other)| child.0.is_before(other.0)) {
                    best = Some((place, *child));
                }
            }
            match best {
                Some((place, child)) if child.0.is_before(entry.0) => {
                    self.put(hole, child);
                    hole = place;
                }
                _ => break,
            }
        }
        self.put(hole, entry);
    }

    fn put(&mut self, place: usize, entry: (Tag, u32)) {
        if let Some(there) = self.entries.get_mut(place) {
            *there = entry;
        }
        if let Some(at) = self.at.get_mut(entry.1 as usize) {
            *at = u32::try_from(place).unwrap_or(OUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_first_is_the_earliest_whoever_comes_goes_and_changes() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let start = Tag::ZERO.minus(500);
            let mut heap = Heap::default();
            let mut model = BTreeMap::new();
            for _ in 0..500 {
                let by = rng.next_u64() % 1_000;
                let slot = u32::try_from(rng.next_u64() % 60).unwrap();
                match rng.next_u64() % 4 {
                    0 => assert_eq!(heap.remove(slot), model.remove(&slot).is_some()),
                    1 => {
                        heap.retag(start.plus(by), slot);
                        model.entry(slot).and_modify(|tag| *tag = by);
                    }
                    _ if heap.contains(slot) => {}
                    _ => {
                        heap.push(start.plus(by), slot);
                        model.insert(slot, by);
                    }
                }
                let first = heap.top().map(|(tag, _)| tag.ahead_of(start));
                assert_eq!(first, model.values().min().copied(), "{seed}");
                let mut slots: Vec<u32> = heap.slots().collect();
                slots.sort_unstable();
                assert!(slots.iter().eq(model.keys()), "{seed}");
            }
        }
    }
}
