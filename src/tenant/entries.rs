//! Who waits at a desk, and who sits on a seat that the scheduler gave: entries from a free list, so that the memory is
//! that of the most there ever were at a time.

use std::task::Waker;

use super::desk::No;
use super::scheduler::{Seat, Ticket};
use super::slots::SlotAt;
use super::tier::TierId;
use crate::scope::TierName;

/// Names an entry. Whoever has one gives it back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    index: u32,
    /// Tells whoever has an entry from whoever had it before.
    turn: u32,
}

impl Place {
    /// In one word; never all ones, since there are fewer entries.
    pub(super) const fn bits(self) -> u64 {
        self.index as u64 | (self.turn as u64) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            turn: (bits >> 32) as u32,
        }
    }
}

#[derive(Debug)]
pub(super) enum Entry {
    /// The scheduler is being asked.
    Arriving,
    /// With its waker, once it was polled.
    Waiting(Ticket, Option<Waker>),
    Seated(Seat),
    Refused(No),
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) at: SlotAt,
    pub(super) tier: TierId,
    pub(super) name: TierName,
}

#[derive(Debug)]
struct Held {
    turn: u32,
    owner: Owner,
    /// None while it is free.
    entry: Option<Entry>,
}

#[derive(Debug)]
pub(super) struct Entries {
    all: Vec<Held>,
    free: Vec<u32>,
}

impl Entries {
    pub(super) const fn new() -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, owner: Owner) -> Place {
        let entry = Some(Entry::Arriving);
        if let Some(index) = self.free.pop()
            && let Some(held) = self.all.get_mut(index as usize)
        {
            let turn = held.turn.wrapping_add(1);
            *held = Held { turn, owner, entry };
            return Place { index, turn };
        }
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(Held {
            turn: 0,
            owner,
            entry,
        });
        // As many can be free as there are: giving one back allocates nothing.
        if self.free.capacity() < self.all.len() {
            self.free.reserve(self.all.capacity());
        }
        Place { index, turn: 0 }
    }

    fn held(&mut self, place: Place) -> Option<&mut Held> {
        self.all
            .get_mut(place.index as usize)
            .filter(|held| held.turn == place.turn)
    }

    pub(super) fn entry(&mut self, place: Place) -> Option<&mut Entry> {
        self.held(place)?.entry.as_mut()
    }

    pub(super) fn owner(&self, place: Place) -> Option<Owner> {
        let held = self.all.get(place.index as usize)?;
        (held.turn == place.turn && held.entry.is_some()).then_some(held.owner)
    }

    /// Replaces an entry, and hands back what it was.
    pub(super) fn set(&mut self, place: Place, entry: Entry) -> Option<Entry> {
        self.entry(place)
            .map(|there| std::mem::replace(there, entry))
    }

    /// Gives an entry back, and says what it was.
    pub(super) fn remove(&mut self, place: Place) -> Option<Entry> {
        let entry = self.held(place)?.entry.take()?;
        self.free.push(place.index);
        Some(entry)
    }
}

#[cfg(all(test, not(mainstay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_used_again_and_an_old_place_is_not() {
        let at = SlotAt {
            number: 1,
            generation: 0,
        };
        let owner = |tier| Owner {
            at,
            tier: TierId::new(tier),
            name: TierName::new("best").unwrap(),
        };
        let mut entries = Entries::new();
        let old = entries.add(owner(0));
        assert!(matches!(entries.remove(old), Some(Entry::Arriving)));
        assert!(entries.remove(old).is_none());
        let new = entries.add(owner(1));
        assert_eq!(entries.all.len(), 1);
        assert!(entries.owner(old).is_none() && entries.entry(old).is_none());
        assert_eq!(entries.owner(new), Some(owner(1)));
    }
}
