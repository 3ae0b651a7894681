//! Tenants that wait and have as many seats as they may, the one of the earliest tag first: a heap from whose middle one
//! can leave.
//!
//! There are no more of them than seats, so each can be told where it stands whenever that changes.

use super::tag::Tag;

#[derive(Debug, Default)]
pub(super) struct Parked(Vec<(Tag, u32)>);

impl Parked {
    pub(super) fn earliest(&self) -> Option<Tag> {
        self.0.first().map(|(tag, _)| *tag)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(_, slot)| *slot)
    }

    /// Puts one in. `moved` is told of whoever stands somewhere else now, and of itself.
    pub(super) fn enter(&mut self, tag: Tag, slot: u32, moved: impl FnMut(u32, usize)) {
        self.0.push((tag, slot));
        self.rise(self.0.len() - 1, moved);
    }

    /// Takes out the one at `at`. Says whether there is one.
    pub(super) fn leave(&mut self, at: usize, mut moved: impl FnMut(u32, usize)) -> bool {
        if at >= self.0.len() {
            return false;
        }
        self.0.swap_remove(at);
        self.sink(at, &mut moved);
        self.rise(at, moved);
        true
    }

    fn rise(&mut self, mut at: usize, mut moved: impl FnMut(u32, usize)) {
        while at > 0 {
            let above = (at - 1) / 2;
            if !self.is_before(at, above) {
                break;
            }
            self.0.swap(at, above);
            self.tell(at, &mut moved);
            at = above;
        }
        self.tell(at, &mut moved);
    }

    fn sink(&mut self, mut at: usize, moved: &mut impl FnMut(u32, usize)) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let below = if self.is_before(right, left) { right } else { left };
            if !self.is_before(below, at) {
                return;
            }
            self.0.swap(at, below);
            self.tell(at, moved);
            at = below;
            self.tell(at, moved);
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        match (self.0.get(one), self.0.get(other)) {
            (Some(one), Some(other)) => one.0.is_before(other.0),
            _ => false,
        }
    }

    fn tell(&self, at: usize, moved: &mut impl FnMut(u32, usize)) {
        if let Some((_, slot)) = self.0.get(at) {
            moved(*slot, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn everybody_is_told_where_it_stands_and_the_earliest_is_first() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let start = Tag::ZERO.minus(300);
            let mut parked = Parked::default();
            let mut places = BTreeMap::new();
            let mut tags = BTreeMap::new();
            for slot in 0..300 {
                if rng.next_u64() % 3 == 0
                    && let Some((&gone, &at)) = places.iter().nth(slot as usize % 7)
                {
                    places.remove(&gone);
                    tags.remove(&gone);
                    let left = parked.leave(at, |slot, at| {
                        places.insert(slot, at);
                    });
                    assert!(left, "{seed}");
                } else {
                    let by = rng.next_u64() % 600;
                    tags.insert(slot, by);
                    parked.enter(start.plus(by), slot, |slot, at| {
                        places.insert(slot, at);
                    });
                }
                let earliest = parked.earliest().map(|tag| tag.ahead_of(start));
                assert_eq!(earliest, tags.values().min().copied(), "{seed}");
                for (at, slot) in parked.slots().enumerate() {
                    assert_eq!(places.get(&slot), Some(&at), "{seed}");
                }
                assert_eq!(places.len(), tags.len(), "{seed}");
            }
        }
    }
}
