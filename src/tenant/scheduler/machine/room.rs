//! Rules 7 and 8: who may wait.

use std::time::Duration;

use super::{Scheduler, hint_of};
use crate::tenant::scheduler::ask::{Refusal, Refused};
use crate::tenant::scheduler::tag::{FAR, charge};
use crate::tenant::tier::TierId;
use crate::time::{Tick, nanos};

impl<T> Scheduler<T> {
    /// Makes room for one more of a tenant, at another's cost if it must be. Says why there is none.
    pub(super) fn room_for(
        &mut self,
        tier: TierId,
        slot: u32,
        until: Tick,
        now: Tick,
    ) -> Result<Option<Refused<T>>, Refusal> {
        let settings = self.config.tiers.tier(tier);
        let (of_tier, of_tenant) = (settings.queue_bound(), settings.tenant_queue_bound());
        let len = self.table.get(slot).map_or(0, |it| it.line.len);
        if len >= of_tenant {
            return Err(Refusal::TenantFull);
        }
        // A queue that comes and goes says nothing of a wait that is longer than it ever stood.
        let left = until.since(now);
        let has_stood = self.lanes.get(tier.place());
        let has_stood = has_stood.is_some_and(|lane| lane.stood(now) >= left);
        if has_stood
            && self
                .forecast(tier, slot)
                .is_some_and(|wait| wait > nanos(left))
        {
            return Err(Refusal::Predicted);
        }
        let lane = self.lanes.get(tier.place());
        let longest = lane.map_or(0, |lane| lane.lengths.longest());
        if lane.is_none_or(|lane| lane.queued >= of_tier) {
            if of_tier == 0 || longest <= len + 1 {
                return Err(Refusal::TierFull);
            }
            return Ok(self.shed(tier, now));
        }
        if self.queued < self.config.queue {
            return Ok(None);
        }
        let victim = self.first_shed(tier);
        let order = |tier| self.config.tiers.tier(tier).shed_order();
        let longest = self.lanes.get(victim.place());
        let longest = longest.map_or(0, |lane| lane.lengths.longest());
        if order(victim) >= order(tier) && longest <= len + 1 {
            return Err(Refusal::PoolFull);
        }
        self.shed(victim, now).map(Some).ok_or(Refusal::PoolFull)
    }

    /// The tier that loses one for the sake of another: of those that are shed no later, and of those that have more
    /// waiting than seats reserved, the first; of several, the one with the longest queue.
    fn first_shed(&self, tier: TierId) -> TierId {
        let tiers = &self.config.tiers;
        let own = tiers.tier(tier).shed_order();
        let mut first = tier;
        let mut best = None;
        for (other, settings) in tiers.iter() {
            let Some(lane) = self.lanes.get(other.place()) else {
                continue;
            };
            let order = settings.shed_order();
            let has_more = other == tier || lane.queued > self.seating.reserved(other);
            if lane.queued == 0 || order > own || !has_more {
                continue;
            }
            let case = (order, std::cmp::Reverse(lane.lengths.longest()));
            if best.is_none_or(|best| case < best) {
                (first, best) = (other, Some(case));
            }
        }
        first
    }

    /// Turns away the youngest of the longest queue of a tier.
    fn shed(&mut self, tier: TierId, now: Tick) -> Option<Refused<T>> {
        let lane = self.lanes.get(tier.place())?;
        let longest = lane.lengths.first();
        let slot = longest
            .or_else(|| lane.heap.last())
            .or(lane.parked.last())?;
        let youngest = self.table.get(slot)?.line.last;
        self.turn_away(youngest, Refusal::Shed, now)
    }

    /// How long one more of a tenant would wait, in nanoseconds, where anything is known of it.
    fn forecast(&self, tier: TierId, slot: u32) -> Option<u64> {
        let lane = self.lanes.get(tier.place())?;
        let tenant = self.table.get(slot)?;
        let len = u64::from(tenant.line.len);
        let estimate = self.estimate(tier, slot);
        // Its turn among the others.
        let before = charge(estimate, self.weight_of(slot)).saturating_mul(len);
        let turn = self.tag_of(tier, slot).plus(before.min(FAR));
        let ahead = turn.ahead_of(lane.front);
        let turn = lane.pace.time(ahead);
        // The ends of its own, where it has as many as it may.
        let most = u64::from(self.seating.tenant_limit(tier)).max(1);
        let over = (u64::from(tenant.seats()) + len + 1).saturating_sub(most);
        let own = (lane.estimate > 0).then(|| over.saturating_mul(estimate) / most);
        match (turn, own) {
            (Some(turn), Some(own)) => Some(turn.max(own)),
            (turn, own) => turn.or(own),
        }
    }

    /// When it is worth coming back: as much later as the wait is longer than the patience, and after the next grant at
    /// the earliest.
    pub(super) fn hint(&self, tier: TierId, slot: u32, patience: Duration) -> Option<Duration> {
        let step = self.lanes.get(tier.place())?.pace.step();
        let wait = self.forecast(tier, slot)?;
        let later = wait.saturating_sub(nanos(patience));
        let at_least = step.unwrap_or_else(|| self.estimate(tier, slot));
        Some(hint_of(later.max(at_least)))
    }

    /// The queue of a tenant was `before` long and is of another length now.
    pub(super) fn moved(&mut self, tier: TierId, slot: u32, before: u32) {
        let (Some(lane), Some(tenant)) =
            (self.lanes.get_mut(tier.place()), self.table.get_mut(slot))
        else {
            return;
        };
        let place = tenant.place;
        tenant.place = lane.lengths.enter(slot, tenant.line.len);
        if let Some(other) = lane.lengths.leave(place, before)
            && let Some(tenant) = self.table.get_mut(other)
        {
            tenant.place = place;
        }
        lane.lengths.settle();
    }

    /// So many seats of a tenant are taken that the scheduler did not give.
    pub(super) fn set_outside(&mut self, slot: u32, seats: u32) {
        let Some(tenant) = self.table.get_mut(slot) else {
            return;
        };
        // Those that share a place are told apart outside, and here they are not.
        if tenant.id.is_some() {
            tenant.outside = seats;
        }
        let tier = TierId::new(tenant.tier);
        self.let_on(tier, slot);
    }
}
