//! What a line is told, and what it says.

use super::lane::{EntryId, Lane};
use super::verdict::Poison;
use crate::time::{Tick, Timestamp};

/// What an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waits {
    /// Its turn.
    Turn,
    /// An operator: it is poison.
    Operator,
}

/// An entry as a store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Which one.
    pub id: EntryId,
    /// Its lane.
    pub lane: Lane,
    /// How many bytes it counts.
    pub bytes: u64,
    /// When it was queued.
    pub queued: Timestamp,
    /// What it waits for.
    pub waits: Waits,
    /// Whether this instance owns it.
    pub owned: bool,
    /// Whether those who owned it have died, again and again, so that it may be why.
    pub suspect: bool,
}

impl Found {
    /// One that waits for its turn and that nobody owns.
    #[must_use]
    pub const fn new(id: EntryId, lane: Lane, bytes: u64, queued: Timestamp) -> Self {
        Self {
            id,
            lane,
            bytes,
            queued,
            waits: Waits::Turn,
            owned: false,
            suspect: false,
        }
    }

    /// What it waits for.
    #[must_use]
    pub const fn waits(mut self, waits: Waits) -> Self {
        self.waits = waits;
        self
    }

    /// Whether this instance owns it.
    #[must_use]
    pub const fn owned(mut self, owned: bool) -> Self {
        self.owned = owned;
        self
    }

    /// Whether those who owned it have died, again and again.
    #[must_use]
    pub const fn suspect(mut self, suspect: bool) -> Self {
        self.suspect = suspect;
        self
    }
}

/// Why an entry is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Full {
    /// As many wait as may.
    Entries,
    /// As many bytes wait as may.
    Bytes,
    /// It alone is longer than an entry may be.
    Entry,
}

/// What is to be done after a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ruling {
    /// Record that it was applied, and say so with [`Line::gone`](super::Line::gone).
    Apply,
    /// Record that it is poison, and say so with [`Line::poisoned`](super::Line::poisoned).
    Poison(Poison),
    /// Nothing: it comes again then, or later.
    Wait(Tick),
}

/// A look at the store that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Look(pub(super) u64);
