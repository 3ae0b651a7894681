//! Who is first by tag: a heap of four children each, so that a look at all of them is one line of the cache.

use super::tag::Tag;

#[derive(Debug, Default)]
pub(super) struct Heap(Vec<(Tag, u32)>);

const ARITY: usize = 4;

impl Heap {
    pub(super) fn top(&self) -> Option<(Tag, u32)> {
        self.0.first().copied()
    }

    /// One that is not first, if there are two: a leaf.
    pub(super) fn last(&self) -> Option<u32> {
        self.0.last().map(|(_, slot)| *slot)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(_, slot)| *slot)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, tag: Tag, slot: u32) {
        let mut hole = self.0.len();
        self.0.push((tag, slot));
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            match self.0.get(parent).copied() {
                Some(above) if tag.is_before(above.0) => {
                    self.put(hole, above);
                    hole = parent;
                }
                _ => break,
            }
        }
        self.put(hole, (tag, slot));
    }

    pub(super) fn pop(&mut self) {
        if let Some(last) = self.0.pop()
            && !self.0.is_empty()
        {
            self.sift(last);
        }
    }

    pub(super) fn pop_last(&mut self) {
        self.0.pop();
    }

    /// The first gets another tag.
    pub(super) fn retag(&mut self, tag: Tag) {
        if let Some((_, slot)) = self.top() {
            self.sift((tag, slot));
        }
    }

    /// Puts an entry in place of the first, and then where it belongs.
    fn sift(&mut self, entry: (Tag, u32)) {
        let mut hole = 0;
        loop {
            let first = hole * ARITY + 1;
            let end = (first + ARITY).min(self.0.len());
            let Some(children) = self.0.get(first..end) else {
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
        if let Some(there) = self.0.get_mut(place) {
            *there = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn they_come_out_in_the_order_of_their_tags() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let start = Tag::ZERO.minus(500);
            let mut heap = Heap::default();
            let mut model = Vec::new();
            for slot in 0..400 {
                let by = rng.next_u64() % 1_000;
                match rng.next_u64() % 5 {
                    0 => {
                        model.sort_unstable();
                        let first = heap.top().map(|(tag, _)| tag.ahead_of(start));
                        assert_eq!(first, model.first().copied());
                        if !model.is_empty() {
                            model.remove(0);
                        }
                        heap.pop();
                    }
                    1 if !model.is_empty() => {
                        model.sort_unstable();
                        model[0] = by;
                        heap.retag(start.plus(by));
                    }
                    _ => {
                        heap.push(start.plus(by), slot);
                        model.push(by);
                    }
                }
                assert_eq!(heap.len(), model.len());
            }
        }
    }
}
