//! Who waits, in the order of arrival: a line from whose middle one can leave, in constant time and without an
//! allocation for each. How many wait is counted elsewhere, in [`Count`](super::count::Count).

/// A place in the line. Whoever has one leaves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    /// Tells whoever stands in a slot from whoever stood there before.
    turn: u32,
}

/// What became of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    /// Its turn has come: it owns a place.
    Granted,
    /// Given back before.
    Gone,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Slot<T> {
    turn: u32,
    standing: Standing,
    before: u32,
    /// The next in the line, or the next free slot.
    after: u32,
    value: Option<T>,
}

/// Slots are taken from a free list and come back to it, so the memory is that of the longest line there was.
#[derive(Clone, Debug)]
pub(crate) struct Lane<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    first: u32,
    last: u32,
}

impl<T> Lane<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            first: NONE,
            last: NONE,
        }
    }

    /// Makes room for `n` in all, so that joining allocates nothing until there are more.
    #[cfg(feature = "tower")]
    pub(crate) fn reserve(&mut self, n: u32) {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        self.slots.reserve(n.saturating_sub(self.slots.len()));
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    fn known(&mut self, ticket: Ticket) -> Option<&mut Slot<T>> {
        self.slot(ticket.slot)
            .filter(|slot| slot.turn == ticket.turn)
    }

    /// Joins at the end. The caller sees to it that fewer than [`Count::MOST`](super::count::Count::MOST) wait.
    pub(crate) fn join(&mut self, value: T) -> Ticket {
        let (free, last) = (self.free, self.last);
        let (index, turn) = if let Some(slot) = self.slot(free) {
            let next = slot.after;
            *slot = Slot {
                turn: slot.turn,
                standing: Standing::Waiting,
                before: last,
                after: NONE,
                value: Some(value),
            };
            let turn = slot.turn;
            self.free = next;
            (free, turn)
        } else {
            let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
            self.slots.push(Slot {
                turn: 0,
                standing: Standing::Waiting,
                before: last,
                after: NONE,
                value: Some(value),
            });
            (index, 0)
        };
        match self.slot(last) {
            Some(before) => before.after = index,
            None => self.first = index,
        }
        self.last = index;
        Ticket { slot: index, turn }
    }

    /// Takes the one at the front out of the line; it keeps its ticket until it leaves.
    pub(crate) fn grant(&mut self) -> Option<(Ticket, T)> {
        let first = self.first;
        self.unlink(first);
        let slot = self.slot(first)?;
        slot.standing = Standing::Granted;
        let ticket = Ticket {
            slot: first,
            turn: slot.turn,
        };
        Some((ticket, slot.value.take()?))
    }

    /// Gives a ticket back. Says how it stood, and what it had left in the line.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> (Standing, Option<T>) {
        let free = self.free;
        let standing = self.standing(ticket);
        if standing == Standing::Waiting {
            self.unlink(ticket.slot);
        }
        let Some(slot) = self.known(ticket) else {
            return (Standing::Gone, None);
        };
        slot.turn = slot.turn.wrapping_add(1);
        slot.standing = Standing::Gone;
        slot.after = free;
        let value = slot.value.take();
        self.free = ticket.slot;
        (standing, value)
    }

    pub(crate) fn standing(&mut self, ticket: Ticket) -> Standing {
        self.known(ticket)
            .map_or(Standing::Gone, |slot| slot.standing)
    }

    /// What a waiter left in the line.
    #[cfg(any(test, feature = "tower"))]
    pub(crate) fn value(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.known(ticket)?.value.as_mut()
    }

    /// Each who waits, from the front.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let slot = self.slots.get(usize::try_from(next).ok()?)?;
            let ticket = Ticket {
                slot: next,
                turn: slot.turn,
            };
            next = slot.after;
            Some((ticket, slot.value.as_ref()?))
        })
    }

    /// Takes a waiting slot out of the chain.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slot(index) else {
            return;
        };
        let (before, after) = (slot.before, slot.after);
        match self.slot(before) {
            Some(slot) => slot.after = after,
            None => self.first = after,
        }
        match self.slot(after) {
            Some(slot) => slot.before = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let mut lane = Lane::new();
        let a = lane.join('a');
        let b = lane.join('b');
        let c = lane.join('c');
        assert_eq!(lane.leave(b), (Standing::Waiting, Some('b')));
        assert_eq!(lane.grant(), Some((a, 'a')));
        assert_eq!(lane.standing(a), Standing::Granted);
        assert_eq!(lane.grant(), Some((c, 'c')));
        assert_eq!(lane.grant(), None);
        assert_eq!(lane.leave(a), (Standing::Granted, None));
        assert_eq!(lane.leave(a), (Standing::Gone, None));
    }

    #[test]
    fn a_slot_is_used_again_and_an_old_ticket_is_not() {
        let mut lane = Lane::new();
        let old = lane.join(1);
        assert_eq!(lane.leave(old), (Standing::Waiting, Some(1)));
        let new = lane.join(2);
        assert_eq!(lane.slots.len(), 1);
        assert_eq!(lane.standing(old), Standing::Gone);
        assert_eq!(lane.leave(old), (Standing::Gone, None));
        assert_eq!(lane.value(new), Some(&mut 2));
    }

    #[test]
    fn both_ends_of_the_line_can_leave() {
        let mut lane = Lane::new();
        let tickets: Vec<_> = (0..4).map(|n| lane.join(n)).collect();
        lane.leave(tickets[0]);
        lane.leave(tickets[3]);
        let left: Vec<_> = lane.iter().map(|(_, n)| *n).collect();
        assert_eq!(left, [1, 2]);
        lane.join(4);
        let order: Vec<_> = std::iter::from_fn(|| lane.grant())
            .map(|(_, n)| n)
            .collect();
        assert_eq!(order, [1, 2, 4]);
    }
}
