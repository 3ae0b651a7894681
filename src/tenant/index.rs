//! Where something is, by a hash of what it is: eight bytes each, in a table that is not searched far.
//!
//! Open addressing with linear probing. What is removed leaves no mark: those behind it that may move up do. The hash is
//! kept beside the number, so that whoever looks compares only what is very likely the same, and nothing has to be hashed
//! again when the table grows.

/// The upper half is the hash, the lower the number; [`FREE`] is nobody.
type Entry = u64;

const FREE: Entry = u64::MAX;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none.
    entries: Box<[Entry]>,
    len: usize,
}

impl Index {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The number that was put in under this hash, of which `is_it` says that it is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (_, number) = self.search(hash, is_it)?;
        Some(number)
    }

    fn search(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mask = self.entries.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let entry = *self.entries.get(at)?;
            if entry == FREE {
                return None;
            }
            let number = number(entry);
            if hash_of(entry) == hash && is_it(number) {
                return Some((at, number));
            }
            at = (at + 1) & mask;
        }
    }

    /// Puts a number in that is not in yet. Not [`u32::MAX`].
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        // A quarter is always free: no search is long, and each ends.
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            let old = std::mem::take(&mut self.entries);
            self.entries = vec![FREE; (2 * old.len()).max(16)].into_boxed_slice();
            for entry in old.into_iter().filter(|entry| *entry != FREE) {
                self.put(entry);
            }
        }
        self.put(u64::from(hash) << 32 | u64::from(number));
        self.len += 1;
    }

    fn put(&mut self, entry: Entry) {
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = hash_of(entry) as usize & mask;
        while let Some(there) = self.entries.get_mut(at) {
            if *there == FREE {
                *there = entry;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes a number out, if it is in under this hash.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let Some((mut hole, _)) = self.search(hash, |there| there == number) else {
            return;
        };
        self.len -= 1;
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries.get(at).copied().unwrap_or(FREE);
            if entry == FREE {
                break;
            }
            // It may move up unless that is before where its search begins.
            let begin = hash_of(entry) as usize & mask;
            if at.wrapping_sub(begin) & mask >= at.wrapping_sub(hole) & mask {
                if let Some(free) = self.entries.get_mut(hole) {
                    *free = entry;
                }
                hole = at;
            }
        }
        if let Some(free) = self.entries.get_mut(hole) {
            *free = FREE;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn number(entry: Entry) -> u32 {
    entry as u32
}

const fn hash_of(entry: Entry) -> u32 {
    (entry >> 32) as u32
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small draws")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_finds_what_is_in_and_nothing_else() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut index = Index::default();
            // By number its hash, of which many are the same or near the end of the table.
            let mut model = BTreeMap::<u32, u32>::new();
            let spread = [1, 3, 40, u32::MAX][seed as usize % 4];
            for _ in 0..600 {
                let number = rng.next_u64() as u32 % 100;
                let hash = (rng.next_u64() as u32 % spread).wrapping_sub(20);
                match model.remove(&number) {
                    Some(hash) => index.remove(hash, number),
                    None => {
                        index.insert(hash, number);
                        model.insert(number, hash);
                    }
                }
                index.remove(hash, 1_000);
                assert_eq!(index.len(), model.len());
                for number in 0..100 {
                    let hash = model.get(&number).copied();
                    let found = index.find(hash.unwrap_or(7), |there| there == number);
                    assert_eq!(found, hash.map(|_| number), "{seed}");
                }
                assert_eq!(index.find(5, |_| false), None);
            }
        }
    }
}
