//! Who waits: slots that stay where they are, in a line for each tenant from whose middle one can leave.

use super::ask::Ticket;
use super::tag::{MOST, Tag};
use crate::tenant::grow::grow;
use crate::tenant::tier::TierId;
use crate::time::Tick;

pub(super) const NONE: u32 = u32::MAX;

/// What is known of a waiter beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// How far its tier's service had come when it arrived.
    pub(super) stamp: Tag,
    pub(super) arrived: Tick,
    pub(super) until: Tick,
    pub(super) tenant: u32,
    /// The how many of its tier it is.
    pub(super) order: u32,
    /// What it said it would take.
    pub(super) cost: Cost,
    /// Its own, since the tenant may be forgotten before one that is overdue is handed back.
    pub(super) tier: TierId,
    /// Its time was over when its turn came: it is in no line any more, and is about to be handed back.
    pub(super) is_overdue: bool,
}

/// Nanoseconds up to [`MOST`], or none: in six bytes, so that a waiter takes one line of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost([u16; 3]);

impl Cost {
    const NONE: Self = Self([u16::MAX; 3]);

    #[expect(clippy::cast_possible_truncation, reason = "three parts of it")]
    pub(super) fn new(nanos: Option<u64>) -> Self {
        let Some(nanos) = nanos else {
            return Self::NONE;
        };
        let nanos = nanos.min(MOST);
        Self([nanos as u16, (nanos >> 16) as u16, (nanos >> 32) as u16])
    }

    pub(super) fn get(self) -> Option<u64> {
        let Self([low, middle, high]) = self;
        let nanos = u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32;
        (nanos <= MOST).then_some(nanos)
    }
}

#[derive(Debug)]
#[repr(align(64))]
struct Slot<T> {
    turn: u32,
    before: u32,
    after: u32,
    held: Option<(Note, T)>,
}

/// The ends of one tenant's line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
}

impl Line {
    pub(super) const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
        len: 0,
    };
}

/// Slots are taken from a free list and come back to it, so the memory is that of the most who ever waited.
#[derive(Debug)]
pub(super) struct Waiters<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: u32,
}

impl<T> Waiters<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// All of them, the overdue included.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Joins at the end of `line`.
    pub(super) fn join(&mut self, line: &mut Line, note: Note, value: T) -> Ticket {
        let slot = self.free;
        let (slot, turn) = if let Some(place) = self.slots.get_mut(slot as usize) {
            self.free = place.after;
            place.before = line.last;
            place.after = NONE;
            place.held = Some((note, value));
            (slot, place.turn)
        } else {
            let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
            grow(&mut self.slots, 1);
            self.slots.push(Slot {
                turn: 0,
                before: line.last,
                after: NONE,
                held: Some((note, value)),
            });
            (slot, 0)
        };
        match self.slots.get_mut(line.last as usize) {
            Some(last) => last.after = slot,
            None => line.first = slot,
        }
        line.last = slot;
        line.len = line.len.saturating_add(1);
        self.len = self.len.saturating_add(1);
        Ticket { slot, turn }
    }

    /// Takes one out of its line; it keeps its slot.
    pub(super) fn unlink(&mut self, line: &mut Line, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else {
            return;
        };
        let (before, after) = (place.before, place.after);
        match self.slots.get_mut(before as usize) {
            Some(place) => place.after = after,
            None => line.first = after,
        }
        match self.slots.get_mut(after as usize) {
            Some(place) => place.before = before,
            None => line.last = before,
        }
        line.len = line.len.saturating_sub(1);
    }

    /// Frees a slot whose waiter is in no line.
    pub(super) fn free(&mut self, slot: u32) -> Option<(Ticket, Note, T)> {
        let free = self.free;
        let place = self.slots.get_mut(slot as usize)?;
        let (note, value) = place.held.take()?;
        let ticket = Ticket {
            slot,
            turn: place.turn,
        };
        place.turn = place.turn.wrapping_add(1);
        place.after = free;
        self.free = slot;
        self.len = self.len.saturating_sub(1);
        Some((ticket, note, value))
    }

    pub(super) fn note(&self, slot: u32) -> Option<&Note> {
        let place = self.slots.get(slot as usize)?;
        place.held.as_ref().map(|(note, _)| note)
    }

    pub(super) fn note_mut(&mut self, slot: u32) -> Option<&mut Note> {
        let place = self.slots.get_mut(slot as usize)?;
        place.held.as_mut().map(|(note, _)| note)
    }

    /// The note of whoever has this ticket, if it is still its own.
    pub(super) fn known(&self, ticket: Ticket) -> Option<&Note> {
        let place = self.slots.get(ticket.slot as usize)?;
        let held = place.held.as_ref().filter(|_| place.turn == ticket.turn);
        held.map(|(note, _)| note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_takes_one_line_of_the_cache() {
        assert_eq!(size_of::<Slot<u64>>(), 64);
    }

    #[test]
    fn a_cost_is_kept_as_it_was_said() {
        for nanos in [
            None,
            Some(0),
            Some(1),
            Some(1 << 20),
            Some(MOST - 1),
            Some(MOST),
        ] {
            assert_eq!(Cost::new(nanos).get(), nanos);
        }
        assert_eq!(Cost::new(Some(u64::MAX)).get(), Some(MOST));
    }
}
