//! Rules 1, 2 and 4: who is next.

use super::{Scheduler, flawed, place};
use crate::tenant::scheduler::ask::{Granted, Seat, TenantId};
use crate::tenant::scheduler::heap::Turn;
use crate::tenant::scheduler::tag::Tag;
use crate::tenant::scheduler::waiters::NONE;
use crate::tenant::tier::TierId;
use crate::time::Tick;

/// On what ground a seat is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Claim,
    Reserved,
    Weight,
}

/// What speaks for a tier, the better the smaller.
#[derive(Clone, Copy)]
enum Case {
    /// Since when its claim is due.
    Claim(Tick),
    /// It has so many of its reserved seats.
    Reserved {
        seats: u32,
        of: u32,
    },
    Weight(Tag),
}

impl Case {
    fn is_better(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Claim(ours), Self::Claim(theirs)) => ours < theirs,
            (
                Self::Reserved { seats, of },
                Self::Reserved {
                    seats: their_seats,
                    of: of_theirs,
                },
            ) => {
                u64::from(*seats) * u64::from(*of_theirs) < u64::from(*their_seats) * u64::from(*of)
            }
            (Self::Weight(ours), Self::Weight(theirs)) => ours.is_before(*theirs),
            _ => self.ground() < other.ground(),
        }
    }

    const fn ground(&self) -> u8 {
        match self {
            Self::Claim(_) => 0,
            Self::Reserved { .. } => 1,
            Self::Weight(_) => 2,
        }
    }
}

impl<T> Scheduler<T> {
    /// The tier whose turn it is, if there is one that has somebody to let in and a seat for it.
    pub(super) fn next_tier(&mut self, now: Tick) -> Option<(TierId, Ground)> {
        let mut best = None::<(TierId, Case)>;
        for which in 0..self.lanes.len() {
            let tier = TierId::new(u8::try_from(which).unwrap_or(u8::MAX));
            if self.lanes.get(which).is_none_or(|lane| lane.queued == 0)
                || !self.has_seat(tier)
                || !self.settle(tier, now)
            {
                continue;
            }
            self.bring_up_to(tier, now);
            let case = self.case(tier, now);
            if best.as_ref().is_none_or(|(_, other)| case.is_better(other)) {
                best = Some((tier, case));
            }
        }
        let (tier, case) = best?;
        let ground = match case {
            Case::Claim(_) => Ground::Claim,
            Case::Reserved { .. } => Ground::Reserved,
            Case::Weight(_) => Ground::Weight,
        };
        Some((tier, ground))
    }

    fn case(&self, tier: TierId, now: Tick) -> Case {
        let Some(lane) = self.lanes.get(tier.place()) else {
            return Case::Weight(Tag::ZERO);
        };
        if flawed!(self, StrictPriority) {
            return Case::Weight(Tag::ZERO);
        }
        let reserved = self.seating.reserved(tier);
        let seats = lane.seats();
        if !flawed!(self, NoReservation) {
            let claims = self.seating.claim(tier) > 0 && !flawed!(self, FloorReservation);
            if claims && seats == reserved && lane.claim <= now {
                return Case::Claim(lane.claim);
            }
            if seats < reserved {
                return Case::Reserved {
                    seats,
                    of: reserved,
                };
            }
        }
        Case::Weight(self.start_of(tier))
    }

    /// Whether one more of a tier may have a seat.
    pub(super) fn has_seat(&self, tier: TierId) -> bool {
        if flawed!(self, IgnoreHold) {
            let own = self.seats.get(tier.place()).copied().unwrap_or(0);
            return self.in_flight() < self.seating.capacity() && own < self.seating.limit(tier);
        }
        self.seating.admits(&self.seats, tier)
    }

    /// Whether a tenant has as many seats as it may.
    pub(super) fn is_at_limit(&self, tier: TierId, slot: u32) -> bool {
        if flawed!(self, IgnoreTenantLimit) {
            return false;
        }
        let most = self.seating.tenant_limit(tier);
        self.table
            .get(slot)
            .is_none_or(|tenant| tenant.seats() >= most)
    }

    /// Brings the heap of a tier to where its first is one who can be let in, with the tag that it has. Says whether
    /// there is one.
    ///
    /// Everybody whom this looks at in vain leaves the heap or moves down in it, so what it costs was paid when they
    /// came in.
    pub(super) fn settle(&mut self, tier: TierId, now: Tick) -> bool {
        loop {
            let Some(lane) = self.lanes.get_mut(tier.place()) else {
                return false;
            };
            let Some((turn, slot)) = lane.heap.top() else {
                return false;
            };
            let first = self.table.get(slot).map_or(NONE, |it| it.line.first);
            let Some(note) = self.waiters.note(first) else {
                // Whoever has no work any more has left the heap.
                lane.heap.remove(slot);
                continue;
            };
            if note.until <= now {
                self.overdue(tier, first, now);
                continue;
            }
            if self.is_at_limit(tier, slot) {
                self.park(tier, slot);
                continue;
            }
            let due = self.turn_of(tier, slot);
            if turn.is_before(due) {
                if let Some(lane) = self.lanes.get_mut(tier.place()) {
                    lane.heap.retag(due, slot);
                }
                continue;
            }
            return true;
        }
    }

    /// The time of a waiter was over before anybody looked: its timer goes off next.
    fn overdue(&mut self, tier: TierId, slot: u32, now: Tick) {
        self.unqueue(slot, now);
        if let Some(note) = self.waiters.note_mut(slot) {
            note.is_overdue = true;
        }
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.overdue = lane.overdue.saturating_add(1);
        }
        self.wheel.hurry(slot);
    }

    /// The start tag of a tenant's next request.
    pub(super) fn tag_of(&self, tier: TierId, slot: u32) -> Tag {
        let (Some(lane), Some(tenant)) = (self.lanes.get(tier.place()), self.table.get(slot))
        else {
            return Tag::ZERO;
        };
        let finish = lane.clock.read(tenant.finish, tenant.era);
        let stamp = match self.waiters.note(tenant.line.first) {
            Some(note) if !flawed!(self, ForfeitAtLimit) => note.stamp,
            _ => lane.clock.now(),
        };
        if flawed!(self, NoLift) {
            return finish;
        }
        finish.later(stamp)
    }

    /// When a tenant's next request has its turn.
    fn turn_of(&self, tier: TierId, slot: u32) -> Turn {
        let first = self.table.get(slot).map_or(NONE, |it| it.line.first);
        Turn {
            tag: self.tag_of(tier, slot),
            order: self.waiters.note(first).map_or(0, |note| note.order),
        }
    }

    /// Puts a tenant that waits, and stands nowhere, where it belongs.
    pub(super) fn line_up(&mut self, tier: TierId, slot: u32) {
        let turn = self.turn_of(tier, slot);
        let is_at_limit = self.is_at_limit(tier, slot);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            if is_at_limit {
                lane.parked.push(turn, slot);
            } else {
                lane.heap.push(turn, slot);
            }
        }
    }

    /// One who may have a seat no more.
    fn park(&mut self, tier: TierId, slot: u32) {
        let turn = self.turn_of(tier, slot);
        if let Some(lane) = self.lanes.get_mut(tier.place())
            && lane.heap.remove(slot)
        {
            lane.parked.push(turn, slot);
        }
    }

    /// A tenant's tag has become earlier.
    pub(super) fn retag(&mut self, tier: TierId, slot: u32) {
        let turn = self.turn_of(tier, slot);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.heap.retag(turn, slot);
        }
    }

    /// Lets a tenant on that has fewer seats than it may now.
    pub(super) fn let_on(&mut self, tier: TierId, slot: u32) {
        let is_at_limit = self.is_at_limit(tier, slot);
        if let Some(lane) = self.lanes.get_mut(tier.place())
            && !is_at_limit
            && lane.parked.remove(slot)
        {
            self.catch_up(tier, slot);
            self.line_up(tier, slot);
        }
    }

    /// Somebody who was held back by its own limit makes up for a round of seats and no more.
    fn catch_up(&mut self, tier: TierId, slot: u32) {
        let round = self.seating.tenant_limit(tier);
        if let Some(tenant) = self.table.get_mut(slot)
            && let Some(lane) = self.lanes.get(tier.place())
        {
            let earliest = lane.clock.now().minus(lane.most_behind(round));
            let finish = lane.clock.read(tenant.finish, tenant.era);
            tenant.finish = finish.later(earliest);
            tenant.era = lane.clock.era();
        }
    }

    /// Gives the first of a tier a seat; [`settle`](Self::settle) said that there is one.
    pub(super) fn seat_first(
        &mut self,
        tier: TierId,
        ground: Ground,
        now: Tick,
    ) -> Option<Granted<T>> {
        let lane = self.lanes.get(tier.place())?;
        let (_, slot) = lane.heap.top()?;
        let tag = self.tag_of(tier, slot);
        let first = self.table.get(slot)?.line.first;
        let cost = self.waiters.note(first)?.cost.get();
        self.wheel.unset(first);
        self.unqueue(first, now)?;
        let seat = self.take_seat(tier, slot, ground, tag, cost, now);
        if self.is_at_limit(tier, slot) {
            self.park(tier, slot);
        } else {
            self.retag(tier, slot);
        }
        let lane = self.lanes.get_mut(tier.place())?;
        if lane.queued > 0 {
            lane.pace.granted(lane.front, now);
        }
        let (ticket, note, waiter) = self.waiters.free(first)?;
        Some(Granted {
            seat,
            ticket,
            waiter,
            waited: now.since(note.arrived),
        })
    }

    /// Gives a newcomer a seat that nobody who waits may have.
    pub(super) fn seat_at_once(
        &mut self,
        tier: TierId,
        slot: u32,
        cost: Option<u64>,
        now: Tick,
    ) -> Option<Seat> {
        if !self.has_seat(tier)
            || self.is_at_limit(tier, slot)
            || self.table.get(slot)?.line.len > 0
            || (self.queued > 0 && self.next_tier(now).is_some())
        {
            return None;
        }
        let ground = match self.case(tier, now) {
            Case::Claim(_) => Ground::Claim,
            Case::Reserved { .. } => Ground::Reserved,
            Case::Weight(_) => Ground::Weight,
        };
        let tag = self.tag_of(tier, slot);
        let tag = self
            .lanes
            .get(tier.place())
            .map_or(tag, |lane| tag.later(lane.clock.now()));
        Some(self.take_seat(tier, slot, ground, tag, cost, now))
    }

    /// The place of a tenant: its own, or the one that is shared by those that find none.
    pub(super) fn tenant_of(&mut self, tenant: TenantId, tier: TierId) -> u32 {
        if let Some(slot) = self.table.find(tenant, place(tier)) {
            return slot;
        }
        let (now, era) = match self.lanes.get(tier.place()) {
            Some(lane) => (lane.clock.now(), lane.clock.era()),
            None => (Tag::ZERO, 0),
        };
        for _ in 0..2 {
            if let Some(slot) = self.table.enter(tenant, place(tier), now, era) {
                return slot;
            }
            if !self.forget_one() {
                break;
            }
        }
        match self.lanes.get_mut(tier.place()) {
            Some(lane) if lane.shared == NONE => {
                lane.shared = self.table.share(place(tier), now, era);
                lane.shared
            }
            Some(lane) => lane.shared,
            None => NONE,
        }
    }

    /// Rule 9.
    pub(super) fn forget_one(&mut self) -> bool {
        let forgives = flawed!(self, ForgiveDebt);
        let lanes = &self.lanes;
        self.table.forget(|tenant| {
            let lane = lanes.get(usize::from(tenant.tier));
            lane.is_some_and(|lane| {
                let finish = lane.clock.read(tenant.finish, tenant.era);
                lane.clock.now().is_before(finish) && !forgives
            })
        })
    }

    /// The shares come to other seats.
    ///
    /// Only whoever has as many seats as it may is looked at, and there are no more of them than seats.
    pub(super) fn reseat(&mut self) {
        use crate::tenant::scheduler::seating::Seating;
        self.seating =
            Seating::new(&self.config.tiers, self.config.capacity).tenant_at_most(self.tenant_most);
        for (tier, _) in self.config.tiers.clone().iter() {
            self.rescale(tier);
            let parked = match self.lanes.get_mut(tier.place()) {
                Some(lane) => std::mem::take(&mut lane.parked),
                None => continue,
            };
            for slot in parked.slots() {
                self.line_up(tier, slot);
            }
        }
    }
}
