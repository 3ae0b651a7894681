//! The part of the desk that leaves seats with threads and takes them from there, by the rules at the head of `kept.rs`.

use std::sync::atomic::Ordering::Relaxed;

use super::{Desk, Line, NO_PLACE, Taken, Whose};
use crate::sync::{Ordering, lock};
use crate::tenant::count::LINE;
use crate::tenant::identity::TenantKey;
use crate::tenant::kept::{Cell, Seen};
use crate::tenant::slots::{Closed, Slot, SlotAt};
use crate::tenant::tier::TierId;
use crate::time::Tick;

impl Desk {
    /// Takes a seat of the call's tenant that a thread keeps.
    #[inline]
    pub(super) fn take(&self, cell: &Cell, seen: Seen) -> bool {
        match cell.take(seen) {
            Some(0) => true,
            Some(calls) => {
                self.count(seen, calls);
                true
            }
            None => false,
        }
    }

    /// Counts calls that a cell had counted.
    #[cold]
    fn count(&self, seen: Seen, calls: u64) {
        let at = seen.at();
        let slot = self.slots.slot(at.number);
        if !slot.is_some_and(|slot| slot.count(at.generation, calls)) {
            self.kept.stray(seen.tier(), calls);
        }
    }

    /// Takes a seat of the call's tenant that any thread keeps, where there are no others.
    #[cold]
    pub(super) fn take_any(&self, at: SlotAt, tier: TierId) -> Result<(), Closed> {
        let mut cells = self.kept.cells().iter();
        let found = cells.any(|cell| {
            let seen = cell.see();
            seen.has(at, tier) && self.word.0.load(Relaxed) & LINE == 0 && self.take(cell, seen)
        });
        if found { Ok(()) } else { Err(Closed::Full) }
    }

    /// Takes the seat of another tenant that this thread keeps, or has it counted as one of its own tier.
    pub(super) fn take_over(
        &self,
        cell: &Cell,
        seen: Seen,
        whose: &Whose,
        now: impl FnOnce() -> Tick,
    ) -> Result<(), Closed> {
        let Whose { at, tier, .. } = *whose;
        let slot = self.slots.slot(at.number).ok_or(Closed::Stale)?;
        match slot.enter(at.generation, self.rules.tenant_limit(tier)) {
            Ok(()) => {}
            Err(Closed::Stale) => return Err(Closed::Stale),
            Err(Closed::Full) => return self.take_any(at, tier),
        }
        // While the seat is in the cell its slot is its tenant's.
        let other = self.slots.slot(seen.at().number);
        let Some((other, tenant)) = other
            .map(|other| (other, other.tenant()))
            .filter(|_| cell.take_over(seen))
        else {
            if self.count_in(tier) {
                return Ok(());
            }
            slot.take_back();
            return Err(Closed::Full);
        };
        other.leave_and_count(seen.calls());
        if self.count_as(tier, seen.tier()) {
            return Ok(());
        }
        // Somebody has come to wait meanwhile, perhaps for this seat, or there is none of this tier: what was kept is given
        // back, and this call comes to the lock.
        slot.take_back();
        let taken = Taken::new(seen.at(), seen.tier(), whose.name, NO_PLACE);
        self.give_back(other, tenant, taken, None, now);
        Err(Closed::Full)
    }

    /// Counts a seat of tier `old` in the word as one of `tier`. Says whether it may be one.
    fn count_as(&self, tier: TierId, old: TierId) -> bool {
        let mut word = self.word.0.load(Ordering::Acquire);
        while word & LINE == 0 {
            if tier == old {
                return true;
            }
            let without = word - self.shape.one(old);
            if !self.rules.admits(without, tier) {
                return false;
            }
            match self.exchange(word, without + self.shape.one(tier)) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Leaves a seat with this thread. Says what the word was; none if it is to be given back.
    #[inline]
    pub(super) fn keep(&self, at: SlotAt, tier: TierId) -> Option<u64> {
        let cell = self.kept.own()?;
        let seen = cell.see();
        let edition = self.rules.edition();
        let word = self.word.0.load(Relaxed);
        if seen.is_full()
            || !edition.has_plenty(self.shape, word)
            || (edition.was_narrowed() && !self.is_allowed(word, at, tier))
        {
            return None;
        }
        let before = cell.leave(seen, at, tier)?;
        if before.calls() > 0 {
            self.count(before, before.calls());
        }
        let word = self.word.0.load(Ordering::Acquire);
        if (word & LINE == 0 && self.rules.edition() == edition) || !cell.take_back(at, tier) {
            return Some(word);
        }
        None
    }

    /// Whether a tenant and its tier have no more seats than they may since the rules have changed.
    #[cold]
    fn is_allowed(&self, word: u64, at: SlotAt, tier: TierId) -> bool {
        let calls = self.slots.slot(at.number).map_or(0, Slot::calls);
        self.rules.allow(word, tier, calls)
    }

    /// Gives back the seats that threads keep. While others wait there are none, but for those that are about to be taken
    /// back.
    pub(super) fn take_in(&self, line: &Line) {
        if self.word.0.load(Ordering::Acquire) & LINE == 0 {
            self.empty_cells(line);
        }
    }

    /// Gives back the seats that threads keep, of which the scheduler has not heard.
    pub(super) fn empty_cells(&self, _under_lock: &Line) {
        for cell in self.kept.cells() {
            self.count_out(cell.empty());
        }
    }

    /// Gives back those seats that threads keep, and nothing else keeps the slot of their tenant, which is in the same shard
    /// as `key`: there may be room for that then. Says whether there were any.
    pub(super) fn make_room(&self, key: &TenantKey) -> bool {
        let shard = self.slots.shard_of(key);
        let is_in_the_way = |seen: &Seen| {
            let at = seen.at();
            seen.is_full()
                && !at.is_shared()
                && at.shard() == shard
                && self
                    .slots
                    .slot(at.number)
                    .is_some_and(|slot| slot.waiting() == 0 && slot.calls() <= self.kept.of(at).0)
        };
        let mut cells = self.kept.cells().iter();
        if !cells.any(|cell| is_in_the_way(&cell.see())) {
            return false;
        }
        let _line = lock(&self.line);
        // While others wait there are none, but for those that are about to be taken back.
        if self.word.0.load(Ordering::Acquire) & LINE == 0 {
            for cell in self.kept.cells() {
                let seen = cell.see();
                if is_in_the_way(&seen) && cell.take_out(seen) {
                    self.count_out(seen);
                }
            }
        }
        true
    }

    /// Counts out the seat that was in a cell, if there was one. Under the lock of the line.
    fn count_out(&self, seen: Seen) {
        if !seen.is_full() {
            return;
        }
        if let Some(slot) = self.slots.slot(seen.at().number) {
            slot.leave();
        }
        self.word
            .0
            .fetch_sub(self.shape.one(seen.tier()), Ordering::AcqRel);
    }
}
