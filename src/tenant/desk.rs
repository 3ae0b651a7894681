//! The seats of one pool, shared by all who want one: the scheduler, without its lock where nobody waits.
//!
//! 1. While nobody waits, a call counts itself in its tenant's slot and then in the word of the pool, by one exchange
//!    each, and takes both back in the same order. The scheduler does not hear of it. A seat that is given back may stay
//!    with its thread, counted on, for the next call there: `kept.rs` has the rules of that.
//! 2. Whoever cannot be let in so takes the lock, sets the word's bit and reads it in one step, and tells the scheduler
//!    how many are in. From then on everybody takes the lock, to come and to go, so what the scheduler knows and what the
//!    word says are the same whenever the lock is free. Had a seat come free before the bit was set, the scheduler is
//!    told of it; if one comes free after, whoever gives it back sees the bit. So none is forgotten.
//! 3. Under the lock seats are granted until the scheduler says none, and the bit is cleared when nobody waits.
//! 4. A waiter is an entry that its ticket names. Granted or turned away, it stays until the waiter looks or goes; whoever
//!    has a seat of the scheduler keeps its entry until it gives it back.
//! 5. Nobody is woken and nothing is dropped under the lock that could come back here.
//! 6. A call that counted itself in its tenant's slot and then found no seat, or the bit, takes that back and comes to the
//!    lock. In between it looks like a seat that is taken, and one of its tenant who is told so waits for it. So whoever
//!    comes to the lock first tells the scheduler what the slot reads, and passes on what that makes free, even if it is
//!    then refused.

mod keeping;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64 as Counter, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::count::{LINE, Rules, Shape};
use super::entries::{Entries, Entry, Owner, Place};
use super::identity::TenantKey;
use super::kept::Kept;
use super::scheduler::{
    Arrival, Ask, Granted, Refusal, Refused, Scheduler, SchedulerConfig, TenantId,
};
use super::slots::{Closed, Slot, SlotAt, Slots};
use super::tier::{TierId, Tiers, Weight};
use crate::error::ConfigError;
use crate::scope::TierName;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::time::{Tick, nanos};

/// See the head of this file.
pub(super) struct Desk {
    word: Apart<AtomicU64>,
    kept: Kept,
    rules: Rules,
    shape: Shape,
    pub(super) slots: Slots,
    pub(super) tallies: [Tally; Tiers::MOST],
    line: Mutex<Line>,
}

/// On cache lines of its own: what every call writes must not take along what every call reads.
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

struct Line {
    scheduler: Scheduler<Place>,
    entries: Entries,
    /// The seats of each tier that the scheduler gave.
    given: [u32; Tiers::MOST],
    /// Since when somebody waits.
    since: Tick,
}

/// What is counted of a tier where it costs nothing: by those who have taken the lock or are refused.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) waited: Counter,
    /// Of those that were let in, in nanoseconds.
    pub(super) wait: Counter,
    pub(super) longest: Counter,
}

/// Whose call it is, as far as the desk must know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    pub(super) at: SlotAt,
    pub(super) tier: TierId,
    pub(super) name: TierName,
    pub(super) weight: Weight,
}

/// A seat that is taken: given back by [`Desk::release`], once.
///
/// Three whole words, written and read as such: a call moves them several times, and a word that was written in parts is
/// waited for when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The number of the slot, and its generation.
    at: u64,
    /// The tier, and the number of its name.
    tier: u64,
    /// Its entry, if the scheduler gave it.
    place: u64,
}

const NO_PLACE: u64 = u64::MAX;

impl Taken {
    /// What an empty seat has instead.
    pub(super) const NOTHING: Self = Self {
        at: u64::MAX,
        tier: 0,
        place: NO_PLACE,
    };

    #[inline]
    const fn new(at: SlotAt, tier: TierId, name: TierName, place: u64) -> Self {
        Self {
            at: at.number as u64 | (at.generation as u64) << 32,
            tier: tier.place() as u64 | (name.number() as u64) << 8,
            place,
        }
    }

    /// A seat that the scheduler did not give.
    #[inline]
    pub(super) const fn outside(whose: &Whose) -> Self {
        Self::new(whose.at, whose.tier, whose.name, NO_PLACE)
    }

    /// One that it gave.
    const fn given(owner: Owner, place: Place) -> Self {
        Self::new(owner.at, owner.tier, owner.name, place.bits())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn at(&self) -> SlotAt {
        SlotAt {
            number: self.at as u32,
            generation: (self.at >> 32) as u32,
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a byte of a word")]
    const fn tier(&self) -> TierId {
        TierId::new(self.tier as u8)
    }

    #[inline]
    const fn place(&self) -> Option<Place> {
        match self.place {
            NO_PLACE => None,
            bits => Some(Place::from_bits(bits)),
        }
    }

    /// The name of its tier.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a byte of a word")]
    pub(super) fn name(&self) -> Option<TierName> {
        TierName::of_number((self.tier >> 8) as u8)
    }
}

/// What becomes of a call that was not let in at once.
#[derive(Debug)]
pub(super) enum Arrived {
    Seated(Taken),
    Waits(Place, Tick),
    Refused(No),
    /// Its slot is another tenant's by now: it is to be looked for again.
    Stale,
}

/// A refusal: why, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct No {
    pub(super) why: Why,
    pub(super) after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// As the scheduler says.
    Said(Refusal),
    /// Its wait was as long as may be.
    Waited,
}

impl<T> From<&Refused<T>> for No {
    fn from(refused: &Refused<T>) -> Self {
        let why = match (refused.reason, refused.ticket) {
            (Refusal::Deadline, Some(_)) => Why::Waited,
            (reason, _) => Why::Said(reason),
        };
        Self {
            why,
            after: refused.retry_after,
        }
    }
}

impl Desk {
    /// `cells` is how many seats may stay with threads.
    pub(super) fn new(config: SchedulerConfig, cells: usize) -> Self {
        let shape = Shape::new(config.tiers());
        let slots = Slots::new(config.most_tenants());
        let scheduler = Scheduler::new(config).tenant_at_most(Slot::MOST);
        Self {
            word: Apart(AtomicU64::new(0)),
            kept: Kept::new(cells),
            rules: Rules::new(shape, scheduler.seating()),
            shape,
            slots,
            tallies: std::array::from_fn(|_| Tally::default()),
            line: Mutex::new(Line {
                scheduler,
                entries: Entries::new(),
                given: [0; Tiers::MOST],
                since: Tick::ZERO,
            }),
        }
    }

    pub(super) fn capacity(&self) -> NonZeroU32 {
        self.rules.capacity()
    }

    pub(super) const fn shape(&self) -> Shape {
        self.shape
    }

    /// The calls under way of each tier.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (TierId, u32)> {
        let taken = self.shape.each(self.word.0.load(Ordering::Acquire));
        let in_flight =
            |((tier, seats), kept): ((TierId, u32), u32)| (tier, seats.saturating_sub(kept));
        taken.zip(self.kept.seats()).map(in_flight)
    }

    /// The calls of each tier that were admitted so far.
    pub(super) fn admitted(&self) -> [u64; Tiers::MOST] {
        let mut admitted = self.slots.admitted();
        for (sum, calls) in admitted.iter_mut().zip(self.kept.calls()) {
            *sum += calls;
        }
        admitted
    }

    /// The calls of a slot that are under way, and those that were admitted so far.
    pub(super) fn calls_of(&self, number: u32, slot: &Slot) -> (u32, u64) {
        let generation = slot.generation();
        let (seats, calls) = self.kept.of(SlotAt { number, generation });
        (slot.calls().saturating_sub(seats), slot.admitted() + calls)
    }

    /// The slot of this tenant in this tier; the shared one if there is no room.
    pub(super) fn find(&self, key: &TenantKey, tier: TierId) -> SlotAt {
        let at = self.slots.find(key, tier);
        // A seat that is kept keeps its tenant's slot.
        if at.is_shared() && self.make_room(key) {
            return self.slots.find(key, tier);
        }
        at
    }

    /// Takes a seat if there is one and nobody waits: [`Taken::outside`]. Rule 1.
    #[inline]
    pub(super) fn admit(&self, whose: &Whose, now: impl FnOnce() -> Tick) -> Result<(), Closed> {
        let Whose { at, tier, .. } = *whose;
        if self.word.0.load(Relaxed) & LINE != 0 {
            return Err(Closed::Full);
        }
        if let Some(cell) = self.kept.own() {
            let seen = cell.see();
            if seen.has(at, tier) && self.take(cell, seen) {
                return Ok(());
            }
        }
        self.admit_anew(whose, now)
    }

    /// Takes a seat that is not this tenant's already.
    #[inline(never)]
    fn admit_anew(&self, whose: &Whose, now: impl FnOnce() -> Tick) -> Result<(), Closed> {
        let Whose { at, tier, .. } = *whose;
        if let Some(cell) = self.kept.own() {
            let seen = cell.see();
            if seen.is_full() && !seen.has(at, tier) {
                return self.take_over(cell, seen, whose, now);
            }
        }
        let slot = self.slots.slot(at.number).ok_or(Closed::Stale)?;
        match slot.enter(at.generation, self.rules.tenant_limit(tier)) {
            Ok(()) if self.count_in(tier) => return Ok(()),
            Ok(()) => slot.take_back(),
            Err(Closed::Stale) => return Err(Closed::Stale),
            Err(Closed::Full) => {}
        }
        self.take_any(at, tier)
    }

    /// Counts a call in the word that its tenant's slot has counted. Says whether there was a seat.
    #[inline]
    fn count_in(&self, tier: TierId) -> bool {
        let mut word = self.word.0.load(Relaxed);
        while word & LINE == 0 && self.rules.admits(word, tier) {
            match self.exchange(word, word + self.shape.one(tier)) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Asks the scheduler for a seat. Rule 2.
    pub(super) fn join(&self, whose: &Whose, deadline: Tick, now: Tick) -> Arrived {
        let Whose {
            at,
            tier,
            name,
            weight,
        } = *whose;
        let Some(slot) = self.slots.slot(at.number) else {
            return Arrived::Stale;
        };
        let mut calls = Calls::new();
        let mut line = lock(&self.line);
        // Counted as waiting before anything else, so that the slot stays its tenant's.
        let is_counted = match slot.wait(at.generation) {
            Ok(()) => true,
            Err(Closed::Stale) => return Arrived::Stale,
            // As many as can be counted wait already, and keep the slot.
            Err(Closed::Full) => false,
        };
        self.open(&mut line, now);
        // Rule 6: whatever becomes of this call, it may have been what held others back.
        let outside = slot.outside(at.generation);
        line.scheduler.counted(slot.tenant(), tier, outside);
        self.grant(&mut line, now, &mut calls);
        if !is_counted {
            self.close(line, calls, now);
            return Arrived::Refused(No {
                why: Why::Said(Refusal::TenantFull),
                after: None,
            });
        }
        let ask = Ask::new(slot.tenant(), tier)
            .weight(weight)
            .deadline(deadline)
            .outside(outside);
        let owner = Owner { at, tier, name };
        let place = line.entries.add(owner);
        let arrived = match line.scheduler.admit(ask, place, now) {
            Arrival::Granted { seat, .. } => {
                self.seat(&mut line, slot, place, seat);
                Arrived::Seated(Taken::given(owner, place))
            }
            Arrival::Queued {
                ticket,
                until,
                evicted,
            } => {
                line.entries.set(place, Entry::Waiting(ticket, None));
                if let Some(evicted) = evicted {
                    self.turn_away(&mut line, &evicted, &mut calls);
                }
                self.grant(&mut line, now, &mut calls);
                match line.entries.entry(place) {
                    Some(Entry::Seated(_)) => Arrived::Seated(Taken::given(owner, place)),
                    _ => Arrived::Waits(place, until),
                }
            }
            Arrival::Refused(refused) => {
                line.entries.remove(place);
                slot.end_wait();
                self.grant(&mut line, now, &mut calls);
                Arrived::Refused(No::from(&refused))
            }
        };
        self.close(line, calls, now);
        arrived
    }

    /// Ready with the seat that the waiter was granted, or with why it is turned away. Pending for ever once it has gone.
    pub(super) fn poll(&self, place: Place, cx: &Context<'_>) -> Poll<Result<Taken, No>> {
        let mut line = lock(&self.line);
        let Some(owner) = line.entries.owner(place) else {
            return Poll::Pending;
        };
        match line.entries.entry(place) {
            Some(Entry::Seated(_)) => Poll::Ready(Ok(Taken::given(owner, place))),
            Some(Entry::Refused(no)) => {
                let no = *no;
                line.entries.remove(place);
                Poll::Ready(Err(no))
            }
            Some(Entry::Waiting(_, waker)) => {
                let same = waker
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(cx.waker()));
                let old = if same {
                    None
                } else {
                    waker.replace(cx.waker().clone())
                };
                drop(line);
                // A waker can be the last that holds a task, and with it a seat.
                drop(old);
                Poll::Pending
            }
            Some(Entry::Arriving) | None => Poll::Pending,
        }
    }

    /// The waiter's time is over: its seat if it was granted one in the last moment, or why it has none.
    pub(super) fn give_up(&self, place: Place, now: Tick) -> Result<Taken, No> {
        let mut calls = Calls::new();
        let mut line = lock(&self.line);
        let ticket = match line.entries.entry(place) {
            Some(Entry::Waiting(ticket, _)) => Some(*ticket),
            _ => None,
        };
        // The scheduler says when to come back.
        let refused = ticket.and_then(|ticket| line.scheduler.give_up(ticket, now));
        if let Some(refused) = &refused {
            self.end_wait(&line, refused.waiter);
        }
        let owner = line.entries.owner(place);
        let given_up = match (line.entries.entry(place), owner) {
            (Some(Entry::Seated(_)), Some(owner)) => Ok(Taken::given(owner, place)),
            (Some(Entry::Refused(no)), _) => Err(*no),
            _ => Err(No {
                why: Why::Waited,
                after: refused.and_then(|refused| refused.retry_after),
            }),
        };
        if given_up.is_err() {
            calls.gone = line.entries.remove(place);
        }
        self.grant(&mut line, now, &mut calls);
        self.close(line, calls, now);
        given_up
    }

    /// Nobody waits for the seat any more.
    pub(super) fn leave(&self, place: Place, now: Tick) {
        let mut calls = Calls::new();
        let mut line = lock(&self.line);
        match line.entries.entry(place) {
            Some(Entry::Waiting(ticket, _)) => {
                let ticket = *ticket;
                line.scheduler.leave(ticket, now);
                self.end_wait(&line, place);
                calls.gone = line.entries.remove(place);
            }
            Some(Entry::Seated(_)) => self.unseat(&mut line, place, now),
            Some(Entry::Refused(_) | Entry::Arriving) => calls.gone = line.entries.remove(place),
            None => return,
        }
        self.grant(&mut line, now, &mut calls);
        self.close(line, calls, now);
    }

    /// Gives a seat back that was taken at `started`, where that is known. Says what the word was.
    #[inline]
    pub(super) fn release(&self, taken: Taken, started: Tick, now: impl FnOnce() -> Tick) -> u64 {
        let (at, tier) = (taken.at(), taken.tier());
        if taken.place == NO_PLACE
            && let Some(word) = self.keep(at, tier)
        {
            return word;
        }
        self.release_anew(taken, started, now)
    }

    /// Gives a seat back that stays with nobody.
    #[inline(never)]
    fn release_anew(&self, taken: Taken, started: Tick, now: impl FnOnce() -> Tick) -> u64 {
        let at = taken.at();
        let Some(slot) = self.slots.slot(at.number) else {
            return 0;
        };
        if taken.place != NO_PLACE {
            return self.release_through(slot, None, taken, Some(started), now());
        }
        let tenant = slot.tenant();
        // The tenant first: what the scheduler hears of it is never too much once the word is right.
        slot.leave();
        self.give_back(slot, tenant, taken, Some(started), now)
    }

    /// Gives a seat back that its tenant has counted out, and that a call had since `started`; none if it was kept.
    #[inline]
    fn give_back(
        &self,
        slot: &Slot,
        tenant: TenantId,
        taken: Taken,
        started: Option<Tick>,
        now: impl FnOnce() -> Tick,
    ) -> u64 {
        let tier = taken.tier();
        let mut word = self.word.0.load(Relaxed);
        while word & LINE == 0 {
            match self.exchange(word, word - self.shape.one(tier)) {
                Ok(()) => return word,
                Err(now) => word = now,
            }
        }
        self.release_through(slot, Some(tenant), taken, started, now())
    }

    #[cold]
    fn release_through(
        &self,
        slot: &Slot,
        outside: Option<TenantId>,
        taken: Taken,
        started: Option<Tick>,
        now: Tick,
    ) -> u64 {
        let (at, tier) = (taken.at(), taken.tier());
        let mut calls = Calls::new();
        let mut line = lock(&self.line);
        let before = self.word.0.load(Ordering::Acquire);
        if let Some(place) = taken.place() {
            self.unseat(&mut line, place, now);
        } else {
            let before = self
                .word
                .0
                .fetch_sub(self.shape.one(tier), Ordering::AcqRel);
            if before & LINE != 0
                && let Some(tenant) = outside
            {
                let left = slot.outside(at.generation);
                // What it took while nobody waited it took from nobody.
                let since = started.map(|started| started.max(line.since));
                match since {
                    Some(since) => line
                        .scheduler
                        .release_outside(tenant, tier, left, since, now),
                    None => line.scheduler.leave_outside(tenant, tier, left, now),
                }
            }
        }
        self.grant(&mut line, now, &mut calls);
        self.close(line, calls, now);
        before
    }

    /// The pool has another capacity. Afterwards [`pass_on`](Self::pass_on).
    pub(super) fn resize(&self, capacity: NonZeroU32) {
        let mut line = lock(&self.line);
        let most = NonZeroU32::new(self.shape.most()).unwrap_or(NonZeroU32::MIN);
        line.scheduler.resize(capacity.min(most));
        self.rules.publish(line.scheduler.seating());
        self.take_in(&line);
    }

    /// The tiers have other settings. Afterwards [`pass_on`](Self::pass_on).
    pub(super) fn reload(&self, tiers: Tiers, now: Tick) -> Result<(), ConfigError> {
        let mut line = lock(&self.line);
        line.scheduler.reload(tiers, now)?;
        self.rules.publish(line.scheduler.seating());
        self.take_in(&line);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> u32 {
        self.kept.seats().iter().sum()
    }

    #[cfg(all(test, mainstay_loom))]
    pub(super) fn kept_of(&self, number: u32) -> u32 {
        let slot = self.slots.slot(number).unwrap();
        let generation = slot.generation();
        self.kept.of(SlotAt { number, generation }).0
    }

    /// Grants the seats that are free.
    pub(super) fn pass_on(&self, now: Tick) {
        let mut calls = Calls::new();
        let mut line = lock(&self.line);
        self.grant(&mut line, now, &mut calls);
        self.close(line, calls, now);
    }

    /// Looks at the scheduler.
    pub(super) fn look<R>(&self, f: impl FnOnce(&Scheduler<Place>) -> R) -> R {
        f(&lock(&self.line).scheduler)
    }

    /// Sets the bit, if it is not set, and tells the scheduler who is in.
    fn open(&self, line: &mut Line, now: Tick) {
        if self.word.0.fetch_or(LINE, Ordering::AcqRel) & LINE != 0 {
            return;
        }
        self.empty_cells(line);
        let word = self.word.0.load(Ordering::Acquire);
        line.since = now;
        for ((tier, calls), given) in self.shape.each(word).zip(line.given) {
            line.scheduler.outside(tier, calls.saturating_sub(given));
        }
    }

    /// Lets go of the lock, and of the bit if nobody waits; then wakes whoever was called. Whom there was no room to call
    /// is granted a seat in the next round.
    fn close<'a>(&'a self, mut line: MutexGuard<'a, Line>, mut calls: Calls, now: Tick) {
        loop {
            if line.scheduler.waiting() == 0 {
                self.word.0.fetch_and(!LINE, Ordering::AcqRel);
                line.scheduler.forget_idle(FORGOTTEN);
            }
            let again = calls.is_full();
            drop(line);
            calls.wake();
            if !again {
                return;
            }
            line = lock(&self.line);
            self.grant(&mut line, now, &mut calls);
        }
    }

    /// Grants waiters the seats that are free. Rule 3.
    fn grant(&self, line: &mut Line, now: Tick, calls: &mut Calls) {
        // Each waiter has a timer of its own, but for those whom nobody polls any more.
        while !calls.is_full()
            && let Some(refused) = line.scheduler.handle_timeout(now)
        {
            self.turn_away(line, &refused, calls);
        }
        while !calls.is_full()
            && line.scheduler.waiting() > 0
            && let Some(granted) = line.scheduler.grant(now)
        {
            let Granted {
                seat,
                waiter,
                waited,
                ..
            } = granted;
            let owner = line.entries.owner(waiter);
            let slot = owner.and_then(|owner| self.slots.slot(owner.at.number));
            let Some(slot) = slot else {
                // Nobody: whoever waits has an entry.
                line.scheduler.release(seat, now);
                continue;
            };
            if let Some(tally) = self.tallies.get(seat.tier().place()) {
                tally.waited.fetch_add(1, Relaxed);
                tally.wait.fetch_add(nanos(waited), Relaxed);
                tally.longest.fetch_max(nanos(waited), Relaxed);
            }
            slot.waited.fetch_add(1, Relaxed);
            calls.keep(self.seat(line, slot, waiter, seat));
        }
    }

    /// A call is seated that was counted as waiting. Hands back what it was.
    fn seat(
        &self,
        line: &mut Line,
        slot: &Slot,
        place: Place,
        seat: super::scheduler::Seat,
    ) -> Option<Entry> {
        let tier = seat.tier();
        if let Some(given) = line.given.get_mut(tier.place()) {
            *given += 1;
        }
        self.word
            .0
            .fetch_add(self.shape.one(tier), Ordering::AcqRel);
        slot.seat();
        slot.end_wait();
        line.entries.set(place, Entry::Seated(seat))
    }

    /// A seat of the scheduler comes back.
    fn unseat(&self, line: &mut Line, place: Place, now: Tick) {
        let owner = line.entries.owner(place);
        let Some(Entry::Seated(seat)) = line.entries.remove(place) else {
            return;
        };
        let tier = seat.tier();
        if let Some(given) = line.given.get_mut(tier.place()) {
            *given = given.saturating_sub(1);
        }
        line.scheduler.release(seat, now);
        self.word
            .0
            .fetch_sub(self.shape.one(tier), Ordering::AcqRel);
        if let Some(slot) = owner.and_then(|owner| self.slots.slot(owner.at.number)) {
            slot.unseat();
        }
    }

    /// A waiter is turned away; it will look.
    fn turn_away(&self, line: &mut Line, refused: &Refused<Place>, calls: &mut Calls) {
        self.end_wait(line, refused.waiter);
        let no = No::from(refused);
        calls.keep(line.entries.set(refused.waiter, Entry::Refused(no)));
    }

    fn end_wait(&self, line: &Line, place: Place) {
        if let Some(slot) = line
            .entries
            .owner(place)
            .and_then(|owner| self.slots.slot(owner.at.number))
        {
            slot.end_wait();
        }
    }

    #[inline]
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.word
            .0
            .compare_exchange_weak(old, new, Ordering::AcqRel, Relaxed)
            .map(drop)
    }
}

/// So many idle tenants are forgotten when the line ends: as many as one call has time for.
const FORGOTTEN: usize = 8;

/// Who is to be woken once the lock is free.
struct Calls {
    wakers: [Option<Waker>; Self::MOST],
    len: usize,
    /// The entry of whoever goes, whose waker is not woken but must not be dropped under the lock.
    gone: Option<Entry>,
}

impl Calls {
    const MOST: usize = 8;

    fn new() -> Self {
        Self {
            wakers: [const { None }; Self::MOST],
            len: 0,
            gone: None,
        }
    }

    /// What an entry was before: if somebody waited in it, it is woken.
    fn keep(&mut self, entry: Option<Entry>) {
        if let Some(Entry::Waiting(_, Some(waker))) = entry
            && let Some(free) = self.wakers.get_mut(self.len)
        {
            *free = Some(waker);
            self.len += 1;
        }
    }

    /// One place is left, for whoever is pushed out of the line.
    const fn is_full(&self) -> bool {
        self.len + 1 >= Self::MOST
    }

    fn wake(&mut self) {
        for waker in &mut self.wakers {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        self.len = 0;
        self.gone = None;
    }
}
