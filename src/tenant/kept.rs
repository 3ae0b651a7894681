//! Seats that stay with the thread that gave them back, for its next call.
//!
//! Threads that take and give back seats one after the other write the word of the pool, and if it is one tenant's calls
//! its slot too, and each write waits for the others'. So a thread leaves a seat in a cell of its own, where its next
//! call finds it. The word and the slot count it on, as if its call were still under way.
//!
//! 1. A cell has one seat at the most. A call of the same tenant takes it as it is: that of its own thread, and where its
//!    tenant or the pool has no more seats, that of any. A call of another tenant takes over what is in its own
//!    thread's cell: the one tenant is counted out and the other in, and the word of the pool stays if both are of a tier.
//! 2. Seats are kept while nobody waits and no more than half of the pool is taken. Whoever opens the line empties the
//!    cells before it tells the scheduler who is in. Whoever leaves a seat in a cell looks at the line's bit after that,
//!    and takes the seat back if it is set. Both write the cell, so one of the two sees what the other has done. So each
//!    opening costs as many writes as there are cells, 64 at the most, whoever has used them: a mark of how many were
//!    used would be one more word that the two must agree on.
//! 3. So does whoever changes the rules, and whoever has left a seat asks again whether the rules allow it. Once rules
//!    were narrower than those before them, a seat is kept only while what is taken is within them: the limits of the
//!    tier and of the tenant, and the seats that are held for others.
//! 4. A cell counts the calls that found their seat in it. They are added to the tenant's when the cell is another's.

use std::sync::atomic::{AtomicU64 as Counter, Ordering::Relaxed};

use super::desk::Apart;
use super::slots::SlotAt;
use super::tier::{TierId, Tiers};
use crate::sync::{AtomicU64, Ordering, thread};

const GENERATION: u32 = 32;
const TIER: u32 = GENERATION + 16;
/// There is a seat.
const FULL: u64 = 1 << (TIER + 3);
/// Whose seat it is, or was last.
const WHOSE: u64 = FULL - 1;
const CALLS: u32 = TIER + 4;
const ONE_CALL: u64 = 1 << CALLS;

/// The cells of a pool.
pub(super) struct Kept {
    cells: Box<[Cell]>,
    /// The calls of tenants that are known no more, by tier.
    strays: Apart<[Counter; Tiers::MOST]>,
}

/// On cache lines of its own.
#[repr(align(128))]
pub(super) struct Cell(AtomicU64);

/// What a cell has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Seen {
    /// The cell with a seat of this tenant, of whom no call has found it yet.
    #[inline]
    const fn seat(at: SlotAt, tier: TierId) -> Self {
        let generation = (at.generation as u64 & 0xffff) << GENERATION;
        Self(at.number as u64 | generation | (tier.place() as u64 & 7) << TIER | FULL)
    }

    #[inline]
    pub(super) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    /// Whether there is a seat of this tenant.
    #[inline]
    pub(super) const fn has(self, at: SlotAt, tier: TierId) -> bool {
        self.0 & (WHOSE | FULL) == Self::seat(at, tier).0
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a word")]
    pub(super) const fn at(self) -> SlotAt {
        SlotAt {
            number: self.0 as u32,
            generation: (self.0 >> GENERATION) as u32 & 0xffff,
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "three bits of a word")]
    pub(super) const fn tier(self) -> TierId {
        TierId::new((self.0 >> TIER) as u8 & 7)
    }

    /// How many calls found their seat here, and have not been counted elsewhere.
    #[inline]
    pub(super) const fn calls(self) -> u64 {
        self.0 >> CALLS
    }
}

impl Cell {
    #[inline]
    pub(super) fn see(&self) -> Seen {
        Seen(self.0.load(Relaxed))
    }

    /// Takes the seat that was seen, for a call of its tenant. Says how many calls are to be counted elsewhere now; none if
    /// the cell is not as it was.
    #[inline]
    pub(super) fn take(&self, seen: Seen) -> Option<u64> {
        let next = (seen.0 & !FULL).wrapping_add(ONE_CALL);
        self.exchange(seen, next)?;
        let is_over = next < ONE_CALL;
        Some(if is_over { seen.calls() + 1 } else { 0 })
    }

    /// Takes the seat that was seen, for another tenant, and the calls with it. Says whether the cell was as it was.
    pub(super) fn take_over(&self, seen: Seen) -> bool {
        self.exchange(seen, 0).is_some()
    }

    /// Leaves a seat where none was seen. Says what it was before, whose calls are to be counted if it was another's; none
    /// if it is not as it was.
    #[inline]
    pub(super) fn leave(&self, seen: Seen, at: SlotAt, tier: TierId) -> Option<Seen> {
        let seat = Seen::seat(at, tier);
        if (seen.0 ^ seat.0) & WHOSE == 0 {
            self.exchange(seen, seen.0 | FULL)?;
            return Some(Seen(0));
        }
        self.exchange(seen, seat.0)?;
        Some(seen)
    }

    /// Takes a seat back that was left here. Says whether there was one still.
    pub(super) fn take_back(&self, at: SlotAt, tier: TierId) -> bool {
        let mut seen = self.see();
        while seen.has(at, tier) {
            if self.exchange(seen, seen.0 & !FULL).is_some() {
                return true;
            }
            seen = self.see();
        }
        false
    }

    /// Takes the seat that was seen, for nobody. Says whether the cell was as it was.
    pub(super) fn take_out(&self, seen: Seen) -> bool {
        self.exchange(seen, seen.0 & !FULL).is_some()
    }

    /// Takes whatever seat there is. It writes in any case: see rule 2.
    pub(super) fn empty(&self) -> Seen {
        Seen(self.0.fetch_and(!FULL, Ordering::AcqRel))
    }

    #[inline]
    fn exchange(&self, seen: Seen, next: u64) -> Option<()> {
        let done = self
            .0
            .compare_exchange(seen.0, next, Ordering::AcqRel, Relaxed);
        done.ok().map(drop)
    }
}

impl Kept {
    /// So many cells, a power of two; none keep nothing.
    pub(super) fn new(cells: usize) -> Self {
        Self {
            cells: (0..cells).map(|_| Cell(AtomicU64::new(0))).collect(),
            strays: Apart(Default::default()),
        }
    }

    /// As many cells as threads are likely to make calls.
    pub(super) fn usual() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (2 * cores).next_power_of_two().min(64)
    }

    /// That of this thread, which it may share with others.
    #[inline]
    pub(super) fn own(&self) -> Option<&Cell> {
        let last = self.cells.len().wrapping_sub(1);
        self.cells.get(thread() & last)
    }

    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Calls of a tier whose tenant is known no more.
    pub(super) fn stray(&self, tier: TierId, calls: u64) {
        if let Some(strays) = self.strays.0.get(tier.place()) {
            strays.fetch_add(calls, Relaxed);
        }
    }

    /// The calls of each tier that are counted here and nowhere else.
    pub(super) fn calls(&self) -> [u64; Tiers::MOST] {
        let mut calls = self.strays.0.each_ref().map(|strays| strays.load(Relaxed));
        for seen in self.cells.iter().map(Cell::see) {
            if let Some(calls) = calls.get_mut(seen.tier().place()) {
                *calls += seen.calls();
            }
        }
        calls
    }

    /// The seats of each tier that are here, and so in no call.
    pub(super) fn seats(&self) -> [u32; Tiers::MOST] {
        let mut seats = [0; Tiers::MOST];
        for seen in self.cells.iter().map(Cell::see) {
            if let Some(seats) = seats.get_mut(seen.tier().place()) {
                *seats += u32::from(seen.is_full());
            }
        }
        seats
    }

    /// The seats and the calls that are here of whoever has this slot. A cell may still have calls of who had it before.
    pub(super) fn of(&self, at: SlotAt) -> (u32, u64) {
        let all = self.cells.iter().map(Cell::see);
        let own = all.filter(|seen| seen.at() == at);
        own.fold((0, 0), |(seats, calls), seen| {
            (seats + u32::from(seen.is_full()), calls + seen.calls())
        })
    }
}
