//! The rules.
//!
//! 1. *Seats.* No more than the capacity are taken, by no tier more than its limit, by no tenant more than its part of
//!    that; and nobody takes the last seats that are held for other tiers ([`Seating`]). Under a capacity that became
//!    smaller those who run finish, and nobody is let in until they are fewer.
//! 2. *Next tier.* Of the tiers that have somebody to let in: first the one whose claim on a seat that rounding took of
//!    its reservation is due for longest; then the one that has the smallest part of its reserved seats; then the one
//!    that has been charged least, with what its running requests are taken to need on top: as much for each as one of
//!    its tier took on average lately. A seat is never left free that somebody may take.
//! 3. *Charge of a tier.* A tier is charged for its seats while they are taken, by the time and its weight, on whatever
//!    ground they were given: so that a long request weighs as it runs, and not when it ends. A seat from outside is
//!    charged when it comes back. What is more than others were charged is held against it up to the bound of debts
//!    for each seat of the pool, and no further. A tier that has less than it may, for want of work or for its own
//!    limit, lays by its weight's part of one round of seats and no more: a queue that is empty for a moment costs it
//!    nothing, and whoever was away gains no more than by a moment.
//! 4. *Next tenant.* In a tier the tenant of the earliest start tag is next, of equal tags the one whose request came
//!    first, of its requests the oldest. The tag is the end of what the tenant was charged for, or how far the tier's
//!    service had come when the request *arrived*, whichever is later. So whoever waits for its own requests to end
//!    loses nothing by it, and whoever was away gains nothing. How far the service has come is the tag that was let in last, but not beyond anybody who waits for its
//!    own requests: up to one round of a tenant's seats, which is what can be made up for.
//! 5. *Charge of a tenant.* A seat costs what the request is taken to need, divided by the tenant's weight; when it is
//!    given back, the rest of what it took. What a request is taken to need is what it says itself, else what its
//!    tenant's took lately, else its tier's, else a guess. What was underestimated is held against it up to the bound of
//!    debts, and no further. While nobody of a tier waits, debts go down with time.
//! 6. What never had a seat is never charged: refused, shed, late or left.
//! 7. *Bounds.* One more than may wait of a tenant is refused. One more than may wait of a tier pushes out the youngest
//!    of the longest queue, if that is longer than its own would be. One more than may wait in all pushes out one of
//!    the tier that is shed first, unless that has no more waiting than seats reserved.
//! 8. *Time.* A waiter is told when its time is over, at most two steps of the wheel (2 ms) later, whatever else waits,
//!    and is never granted a seat after it. Whoever would wait for longer than it may is told so when it comes,
//!    by the pace of a queue that has stood for as long: no forecast reaches further than what it is made of.
//! 9. *Memory.* A tenant is forgotten only if it has no work and owes nothing. While there is room for no more, others
//!    share one place in their tier, with one tenant's part of it.
//! 10. Settings and capacity change without the loss of a waiter or of a charge. Time that steps back changes nothing.

mod charge;
mod next;
mod room;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::ask::{Arrival, Ask, Granted, Refusal, Refused, Seat, TenantId, Ticket};
use super::config::SchedulerConfig;
#[cfg(test)]
use super::flaw::Flaw;
use super::flaw::flawed;
use super::lane::Lane;
use super::seating::Seating;
use super::table::Table;
use super::tag::Clock;
use super::waiters::{Cost, NONE, Note, Waiters};
use super::wheel::Wheel;
use crate::error::ConfigError;
use crate::tenant::tier::{TierId, Tiers};
use crate::time::{Tick, nanos};

/// What a tier has at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierCount {
    /// Seats taken, those from outside included.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
}

/// What a tenant has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantCount {
    /// Who; none for those that share a place because there was none left.
    pub tenant: Option<TenantId>,
    /// Seats taken, those from outside included.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
}

/// A pool's seats and who waits for them: a plain value that is told what happens and when.
///
/// `T` is what waits; it is handed back when its turn comes or when it is turned away. See [the module](super) for an
/// example. Each call takes a time that depends on how many tenants wait by the logarithm at most.
pub struct Scheduler<T> {
    config: SchedulerConfig,
    seating: Seating,
    /// No tenant has more seats, whatever its share comes to.
    tenant_most: u32,
    lanes: Vec<Lane>,
    /// Seats taken by each tier, and in all.
    seats: [u32; Tiers::MOST],
    table: Table,
    waiters: Waiters<T>,
    wheel: Wheel,
    /// Waiters whose time was not over when they were last looked at.
    queued: u32,
    /// How far the service of the tiers has come.
    clock: Clock,
    quiet_since: Tick,
    #[cfg(test)]
    pub(super) flaw: Option<Flaw>,
}

impl<T> Scheduler<T> {
    /// Nobody there.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        let seating = Seating::new(config.tiers(), config.capacity());
        let mut pool = Self {
            seating,
            tenant_most: u32::MAX,
            lanes: config.tiers.iter().map(|_| Lane::new()).collect(),
            seats: [0; Tiers::MOST],
            table: Table::new(config.tenants.get()),
            waiters: Waiters::new(),
            wheel: Wheel::new(),
            queued: 0,
            clock: Clock::new(),
            quiet_since: Tick::ZERO,
            config,
            #[cfg(test)]
            flaw: None,
        };
        pool.reseat();
        pool
    }

    /// No tenant has more seats than that, whatever its share comes to.
    #[cfg(feature = "tower")]
    pub(in crate::tenant) fn tenant_at_most(mut self, most: NonZeroU32) -> Self {
        self.tenant_most = most.get();
        self.reseat();
        self
    }

    /// A request comes. Afterwards [`grant`](Self::grant) until it says none, also where it is refused: what it says of
    /// the seats [outside](Ask::outside) may let others on.
    ///
    /// It is granted a seat at once if there is one and nobody who waits may have it. Whoever it pushes out of a queue
    /// is handed back beside it.
    pub fn admit(&mut self, ask: Ask, waiter: T, now: Tick) -> Arrival<T> {
        let tier = self.config.tiers.known(ask.tier);
        let patience = self.config.tiers.tier(tier).longest_wait().get();
        let until = (now + patience).min(ask.deadline);
        let refused = |reason, retry_after, waiter| {
            Arrival::Refused(Refused {
                reason,
                retry_after,
                ticket: None,
                tier,
                waiter,
            })
        };
        if let Some(outside) = ask.outside {
            self.counted(ask.tenant, tier, outside);
        }
        if until <= now {
            return refused(Refusal::Deadline, None, waiter);
        }
        self.pass_time(tier, now);
        let slot = self.tenant_of(ask.tenant, tier);
        if let Some(tenant) = self.table.get_mut(slot) {
            tenant.weight = ask.weight;
        }
        if let Some(outside) = ask.outside {
            self.set_outside(slot, outside);
        }
        let cost = ask.cost.map(nanos);
        if let Some(seat) = self.seat_at_once(tier, slot, cost, now) {
            return Arrival::Granted { seat, waiter };
        }
        let evicted = match self.room_for(tier, slot, until, now) {
            Ok(evicted) => evicted,
            Err(reason) => {
                let hint = self.hint(tier, slot, patience);
                self.table.list(slot);
                return refused(reason, hint, waiter);
            }
        };
        let ticket = self.enqueue(tier, slot, until, cost, waiter, now);
        Arrival::Queued {
            ticket,
            until,
            evicted,
        }
    }

    /// Gives one waiter a seat, if there is one of each.
    ///
    /// One whose time was over is passed over; [`handle_timeout`](Self::handle_timeout) hands it back at once.
    pub fn grant(&mut self, now: Tick) -> Option<Granted<T>> {
        if self.queued == 0 {
            return None;
        }
        let (tier, ground) = self.next_tier(now)?;
        self.seat_first(tier, ground, now)
    }

    /// A seat is given back: the request is over, however it ended, or nobody wants it. Afterwards
    /// [`grant`](Self::grant) until it says none.
    ///
    /// What the seat was taken for is charged, a request that was abandoned under way included.
    #[expect(clippy::needless_pass_by_value, reason = "a seat is given back once")]
    pub fn release(&mut self, seat: Seat, now: Tick) {
        let tier = self.config.tiers.known(seat.tier);
        self.bring_up_to(tier, now);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        if let Some(tenant) = self.table.get_mut(seat.tenant) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
        }
        self.recount(tier);
        self.correct(tier, &seat, now);
        self.let_on(tier, seat.tenant);
        self.table.list(seat.tenant);
    }

    /// A waiter goes: nobody wants its turn any more. Hands it back; none if it was granted a seat or turned away
    /// before. Nothing is charged for it. Afterwards [`grant`](Self::grant) until it says none.
    pub fn leave(&mut self, ticket: Ticket, now: Tick) -> Option<T> {
        self.waiters.known(ticket)?;
        if flawed!(self, LeakOnLeave) {
            return self.waiters.free(ticket.slot).map(|(.., waiter)| waiter);
        }
        let (.., waiter) = self.take_out(ticket.slot, now)?;
        Some(waiter)
    }

    /// A waiter whose own timer says that its time is over is turned away as [`handle_timeout`](Self::handle_timeout) would
    /// do a little later; none if it was granted a seat or turned away before. Afterwards [`grant`](Self::grant) until it
    /// says none.
    pub fn give_up(&mut self, ticket: Ticket, now: Tick) -> Option<Refused<T>> {
        self.waiters.known(ticket)?;
        self.turn_away(ticket.slot, Refusal::Deadline, now)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, at the latest; none while nobody waits.
    ///
    /// It may come earlier than anybody's time is over, and at most two milliseconds after.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.wheel.wake()
    }

    /// Turns away one whose time is over, if there is any. Call it until it says none, then [`grant`](Self::grant).
    pub fn handle_timeout(&mut self, now: Tick) -> Option<Refused<T>> {
        let slot = self.wheel.next(now)?;
        if flawed!(self, ExpireAtTurn) && !self.waiters.note(slot)?.is_overdue {
            return None;
        }
        self.turn_away(slot, Refusal::Deadline, now)
    }

    /// The pool has another capacity from now on. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// Under a smaller one those who run finish, and nobody is let in until they are fewer. Nobody who waits is sent
    /// away for it. There is no capacity of nothing.
    pub fn resize(&mut self, capacity: NonZeroU32) {
        self.config.capacity = capacity;
        self.reseat();
    }

    /// The tiers have other settings from now on. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// Nobody who waits is sent away for it, and each keeps the time that it was promised. What was charged before
    /// stays as it was charged.
    ///
    /// # Errors
    ///
    /// When these are not the tiers of this pool by number and name: then nothing changes.
    pub fn reload(&mut self, tiers: Tiers, now: Tick) -> Result<(), ConfigError> {
        self.takes(&tiers)?;
        // What was used until now was used by the weights of then.
        for which in 0..self.lanes.len() {
            let tier = TierId::new(u8::try_from(which).unwrap_or(u8::MAX));
            self.bring_up_to(tier, now);
        }
        self.config.tiers = tiers;
        self.reseat();
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would take these.
    pub(crate) fn takes(&self, tiers: &Tiers) -> Result<(), ConfigError> {
        let names = |tiers: &Tiers| -> Vec<String> {
            let names = tiers.iter().map(|(_, tier)| tier.name().to_owned());
            names.collect()
        };
        let (new, old) = (names(tiers), names(&self.config.tiers));
        if new != old {
            let expected = format!("the tiers of the pool in their order, {}", old.join(", "));
            return Err(ConfigError::new("tiers", new.join(", "), expected));
        }
        Ok(())
    }

    /// So many seats of a tier are taken that the scheduler did not give: see
    /// [a path without a lock](super#a-path-without-a-lock).
    pub fn outside(&mut self, tier: TierId, seats: u32) {
        let tier = self.config.tiers.known(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.outside = seats;
        }
        self.recount(tier);
    }

    /// So many seats of a tenant are taken that the scheduler did not give, if it is known: whoever is not waits for
    /// nothing. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// [`admit`](Self::admit) says the same; this lets a shell grant before it asks for the newcomer, who is then judged by
    /// what is left.
    pub(in crate::tenant) fn counted(&mut self, tenant: TenantId, tier: TierId, seats: u32) {
        let tier = self.config.tiers.known(tier);
        if let Some(slot) = self.table.find(tenant, place(tier)) {
            self.set_outside(slot, seats);
        }
    }

    /// A seat that the scheduler did not give is given back while somebody waits: its tier has one less of them, its
    /// tenant has `left`. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// All that it took since `since` is charged.
    pub fn release_outside(
        &mut self,
        tenant: TenantId,
        tier: TierId,
        left: u32,
        since: Tick,
        now: Tick,
    ) {
        let tier = self.config.tiers.known(tier);
        self.bring_up_to(tier, now);
        self.lift(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.outside = lane.outside.saturating_sub(1);
        }
        self.recount(tier);
        let slot = self.tenant_of(tenant, tier);
        self.charge_outside(tier, slot, nanos(now.since(since)));
        self.set_outside(slot, left);
        self.table.list(slot);
    }

    /// The same for a seat that no call had: nothing is charged, and nothing learned of how long calls take.
    #[cfg(feature = "tower")]
    pub(in crate::tenant) fn leave_outside(
        &mut self,
        tenant: TenantId,
        tier: TierId,
        left: u32,
        now: Tick,
    ) {
        let tier = self.config.tiers.known(tier);
        self.bring_up_to(tier, now);
        self.lift(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.outside = lane.outside.saturating_sub(1);
        }
        self.recount(tier);
        self.counted(tenant, tier, left);
    }

    /// Seats taken, those from outside included.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.seats.iter().fold(0, |all, n| all.saturating_add(*n))
    }

    /// Requests that wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.waiters.len()
    }

    /// What a tier has.
    #[must_use]
    pub fn tier(&self, tier: TierId) -> TierCount {
        let tier = self.config.tiers.known(tier);
        let lane = self.lanes.get(tier.place());
        lane.map_or_else(TierCount::default, |lane| TierCount {
            in_flight: lane.seats(),
            waiting: lane.queued.saturating_add(lane.overdue),
        })
    }

    /// The tenants of a tier that have most requests waiting, at most `k`, in a time that depends on `k` alone.
    ///
    /// Of those that have one, it is any.
    #[must_use]
    pub fn top(&self, tier: TierId, k: usize) -> Vec<TenantCount> {
        let tier = self.config.tiers.known(tier);
        let Some(lane) = self.lanes.get(tier.place()) else {
            return Vec::new();
        };
        let many = lane.lengths.slots().take(k);
        let one = |slot: &u32| self.table.get(*slot).is_some_and(|it| it.line.len == 1);
        let few = lane.heap.slots().take(k.saturating_mul(4));
        let parked = lane.parked.slots().take(k.saturating_mul(4));
        let few = few.chain(parked).filter(one);
        let slots = many.chain(few).take(k);
        slots.filter_map(|slot| self.count_of(slot)).collect()
    }

    /// What a tenant has in a tier; none if it is not known.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId, tier: TierId) -> Option<TenantCount> {
        let tier = self.config.tiers.known(tier);
        self.count_of(self.table.find(tenant, place(tier))?)
    }

    fn count_of(&self, slot: u32) -> Option<TenantCount> {
        let tenant = self.table.get(slot)?;
        Some(TenantCount {
            tenant: tenant.id,
            in_flight: tenant.seats(),
            waiting: tenant.line.len,
        })
    }

    /// Tenants that are known, each in each tier that it had work in.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.table.len()
    }

    /// Forgets tenants that have no work and owe nothing, at most `most` of them, those idle for longest first. Says
    /// how many.
    ///
    /// Nothing needs it: room is made where it is wanted. It gives no memory back.
    pub fn forget_idle(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.forget_one()).count()
    }

    /// What the shares come to in seats.
    #[must_use]
    pub const fn seating(&self) -> &Seating {
        &self.seating
    }

    /// The settings, as they are now.
    #[must_use]
    pub const fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Moves how far the service has come, before anybody is there.
    #[cfg(test)]
    pub(super) fn set_clocks(&mut self, to: u64) {
        self.clock.set(to);
        for lane in &mut self.lanes {
            lane.clock.set(to);
            lane.front = lane.clock.now();
            lane.start = self.clock.now();
            lane.era = self.clock.era();
        }
    }

    #[cfg(test)]
    pub(super) fn owner_of(&self, seat: &Seat) -> u64 {
        let id = self.table.get(seat.tenant).and_then(|tenant| tenant.id);
        id.map_or(u64::MAX, TenantId::get)
    }

    #[cfg(test)]
    pub(super) fn clock_of(&self, tier: TierId) -> super::tag::Tag {
        let lane = self.lanes.get(tier.place());
        lane.map_or(super::tag::Tag::ZERO, |lane| lane.clock.now())
    }

    #[cfg(test)]
    pub(super) fn charged_of(&self, tier: TierId) -> super::tag::Tag {
        self.start_of(tier)
    }

    fn recount(&mut self, tier: TierId) {
        if let Some(lane) = self.lanes.get(tier.place())
            && let Some(seats) = self.seats.get_mut(tier.place())
        {
            *seats = lane.seats();
        }
    }

    /// Puts a request at the end of its tenant's queue.
    fn enqueue(
        &mut self,
        tier: TierId,
        slot: u32,
        until: Tick,
        cost: Option<u64>,
        waiter: T,
        now: Tick,
    ) -> Ticket {
        let Some(lane) = self.lanes.get_mut(tier.place()) else {
            // There is none without a tier: `Tiers::known` gave it.
            return Ticket {
                slot: NONE,
                turn: 0,
            };
        };
        lane.arrivals = lane.arrivals.wrapping_add(1);
        let note = Note {
            tenant: slot,
            tier,
            order: lane.arrivals,
            stamp: lane.clock.now(),
            arrived: now,
            until,
            cost: Cost::new(cost),
            is_overdue: false,
        };
        let Some(tenant) = self.table.get_mut(slot) else {
            // There is none without a place: `tenant_of` gave it.
            return Ticket {
                slot: NONE,
                turn: 0,
            };
        };
        let len = tenant.line.len;
        let ticket = self.waiters.join(&mut tenant.line, note, waiter);
        self.wheel.set(ticket.slot, until);
        self.queued = self.queued.saturating_add(1);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            if lane.queued == 0 {
                lane.busy_since = now;
            }
            lane.queued = lane.queued.saturating_add(1);
        }
        self.moved(tier, slot, len);
        if len == 0 {
            self.line_up(tier, slot);
        }
        ticket
    }

    /// Turns a waiter away.
    fn turn_away(&mut self, slot: u32, reason: Refusal, now: Tick) -> Option<Refused<T>> {
        let Note { tenant, tier, .. } = *self.waiters.note(slot)?;
        let (ticket, note, waiter) = self.take_out(slot, now)?;
        #[cfg(test)]
        if flawed!(self, ChargeOnDrop) {
            self.charge_dropped(tier, tenant);
        }
        let patience = note.until.since(note.arrived);
        Some(Refused {
            reason,
            retry_after: self.hint(tier, tenant, patience),
            ticket: Some(ticket),
            tier,
            waiter,
        })
    }

    /// Takes a waiter out, wherever it is.
    fn take_out(&mut self, slot: u32, now: Tick) -> Option<(Ticket, Note, T)> {
        let note = *self.waiters.note(slot)?;
        self.wheel.unset(slot);
        if note.is_overdue {
            if let Some(lane) = self.lanes.get_mut(note.tier.place()) {
                lane.overdue = lane.overdue.saturating_sub(1);
            }
        } else {
            self.unqueue(slot, now);
        }
        self.waiters.free(slot)
    }

    /// Takes a waiter out of its queue, and leaves the rest to the caller.
    fn unqueue(&mut self, slot: u32, now: Tick) -> Option<()> {
        let Note {
            tenant: owner,
            tier,
            ..
        } = *self.waiters.note(slot)?;
        let tenant = self.table.get_mut(owner)?;
        let len = tenant.line.len;
        self.waiters.unlink(&mut tenant.line, slot);
        let is_last = tenant.line.len == 0;
        self.queued = self.queued.saturating_sub(1);
        if self.queued == 0 {
            self.quiet_since = self.quiet_since.max(now);
        }
        let lane = self.lanes.get_mut(tier.place())?;
        lane.queued = lane.queued.saturating_sub(1);
        if lane.queued == 0 {
            lane.pace.interrupt();
            lane.quiet_since = lane.quiet_since.max(now);
        }
        self.moved(tier, owner, len);
        if is_last {
            let lane = self.lanes.get_mut(tier.place())?;
            if !lane.heap.remove(owner) {
                lane.parked.remove(owner);
            }
            self.table.list(owner);
        }
        Some(())
    }
}

/// A tier's place, as tenants keep it.
fn place(tier: TierId) -> u8 {
    u8::try_from(tier.place()).unwrap_or(u8::MAX)
}

impl<T> fmt::Debug for Scheduler<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = self.config.tiers.iter();
        let tiers = tiers.map(|(id, tier)| (tier.name(), self.tier(id)));
        f.debug_struct("Scheduler")
            .field("capacity", &self.seating.capacity())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("tenants", &self.tenants())
            .field("tiers", &tiers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The longest that is told.
fn hint_of(nanos: u64) -> Duration {
    Duration::from_nanos(nanos.max(1))
}
