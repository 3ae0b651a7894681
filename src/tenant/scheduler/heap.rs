//! Who is first by tag, and of equal tags by arrival: a heap of four children each, so that a look at all of them is one
//! line of the cache, from whose middle one can leave.
//!
//! Where somebody stands is kept apart from the tenants: four bytes each that stay in the cache when the tenants do not.

use super::tag::Tag;
use crate::tenant::grow::grow;

/// When somebody's turn is: by tag first. Whoever was not served lately has the tag of the clock, as others have, and it
/// stands still while they are served: without the order of arrival some of them would wait until their time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) tag: Tag,
    /// A serial number: of two, the later is less than half of the numbers ahead.
    pub(super) order: u32,
}

impl Turn {
    pub(super) const fn is_before(self, other: Self) -> bool {
        self.tag.is_before(other.tag)
            || (!other.tag.is_before(self.tag)
                && self.order.wrapping_sub(other.order).cast_signed() < 0)
    }
}

/// Flat, so that it takes 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    tag: Tag,
    order: u32,
    slot: u32,
}

impl Entry {
    const fn new(turn: Turn, slot: u32) -> Self {
        let Turn { tag, order } = turn;
        Self { tag, order, slot }
    }

    const fn turn(self) -> Turn {
        let Self { tag, order, .. } = self;
        Turn { tag, order }
    }

    const fn is_before(self, other: Self) -> bool {
        self.turn().is_before(other.turn())
    }
}

#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// By slot, where in `entries`.
    at: Vec<u32>,
}

const ARITY: usize = 4;
const OUT: u32 = u32::MAX;

impl Heap {
    pub(super) fn top(&self) -> Option<(Turn, u32)> {
        self.entries.first().map(|it| (it.turn(), it.slot))
    }

    /// One that is not first, if there are two: a leaf.
    pub(super) fn last(&self) -> Option<u32> {
        self.entries.last().map(|it| it.slot)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|it| it.slot)
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
    pub(super) fn push(&mut self, turn: Turn, slot: u32) {
        let index = slot as usize;
        if self.at.len() <= index {
            let more = index + 1 - self.at.len();
            grow(&mut self.at, more);
            self.at.resize(index + 1, OUT);
        }
        let entry = Entry::new(turn, slot);
        grow(&mut self.entries, 1);
        self.entries.push(entry);
        self.rise(self.entries.len() - 1, entry);
    }

    /// Gives one another turn, if it is in.
    pub(super) fn retag(&mut self, turn: Turn, slot: u32) {
        if let Some(at) = self.find(slot) {
            self.settle(at, Entry::new(turn, slot));
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
    fn settle(&mut self, hole: usize, entry: Entry) {
        let above = self.entries.get(hole.wrapping_sub(1) / ARITY);
        if hole > 0 && above.is_some_and(|above| entry.is_before(*above)) {
            self.rise(hole, entry);
        } else {
            self.sink(hole, entry);
        }
    }

    fn rise(&mut self, mut hole: usize, entry: Entry) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            match self.entries.get(parent).copied() {
                Some(above) if entry.is_before(above) => {
                    self.put(hole, above);
                    hole = parent;
                }
                _ => break,
            }
        }
        self.put(hole, entry);
    }

    fn sink(&mut self, mut hole: usize, entry: Entry) {
        loop {
            let first = hole * ARITY + 1;
            let end = (first + ARITY).min(self.entries.len());
            let Some(children) = self.entries.get(first..end) else {
                break;
            };
            let mut best = None::<(usize, Entry)>;
            for (place, child) in (first..).zip(children) {
                if best.is_none_or(|(_, other)| child.is_before(other)) {
                    best = Some((place, *child));
                }
            }
            match best {
                Some((place, child)) if child.is_before(entry) => {
                    self.put(hole, child);
                    hole = place;
                }
                _ => break,
            }
        }
        self.put(hole, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        if let Some(there) = self.entries.get_mut(place) {
            *there = entry;
        }
        if let Some(at) = self.at.get_mut(entry.slot as usize) {
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
            let start = Tag::ZERO.minus(50);
            // Tags are often equal; orders pass the end of their numbers.
            let mut order = u32::MAX - 200;
            let mut heap = Heap::default();
            let mut model = BTreeMap::new();
            for _ in 0..500 {
                let by = rng.next_u64() % 100;
                order = order.wrapping_add(1);
                let turn = Turn {
                    tag: start.plus(by),
                    order,
                };
                let since = order.wrapping_sub(u32::MAX - 200);
                let slot = u32::try_from(rng.next_u64() % 60).unwrap();
                match rng.next_u64() % 4 {
                    0 => assert_eq!(heap.remove(slot), model.remove(&slot).is_some()),
                    1 => {
                        heap.retag(turn, slot);
                        model.entry(slot).and_modify(|it| *it = (by, since));
                    }
                    _ if heap.contains(slot) => {}
                    _ => {
                        heap.push(turn, slot);
                        model.insert(slot, (by, since));
                    }
                }
                let first = heap.top().map(|(_, slot)| model[&slot]);
                assert_eq!(first, model.values().min().copied(), "{seed}");
                let mut slots: Vec<u32> = heap.slots().collect();
                slots.sort_unstable();
                assert!(slots.iter().eq(model.keys()), "{seed}");
            }
        }
    }
}
