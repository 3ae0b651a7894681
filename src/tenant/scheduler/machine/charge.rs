//! Rules 3, 5 and 6: what is charged.

use super::next::Ground;
use super::{Scheduler, flawed};
use crate::num::Period;
use crate::tenant::scheduler::ask::Seat;
use crate::tenant::scheduler::tag::{FAR, MOST, Tag, charge};
use crate::tenant::tier::{TierId, Weight};
use crate::time::{Tick, nanos};

/// What is learned of a tenant's requests is an average of about so many; of a tier's, four times as many.
const LEARN: u64 = 8;

/// The average, one more seen.
fn learn(old: u64, seen: u64, by: u64) -> u64 {
    let seen = seen.clamp(1, MOST);
    if old == 0 {
        seen
    } else if seen >= old {
        old + (seen - old) / by
    } else {
        (old - (old - seen) / by).max(1)
    }
}

/// A whole, in the millionths that claims are in.
const WHOLE: u64 = crate::tenant::tier::WHOLE;

impl<T> Scheduler<T> {
    /// What a request of a tenant is taken to need, in nanoseconds.
    pub(super) fn estimate(&self, tier: TierId, slot: u32) -> u64 {
        let known = |estimate: u64| (estimate > 0).then_some(estimate);
        let own = self.table.get(slot).and_then(|it| known(it.estimate));
        let lane = self.lanes.get(tier.place());
        own.or_else(|| lane.and_then(|lane| known(lane.estimate)))
            .unwrap_or_else(|| nanos(self.config.guess.get()).min(MOST))
    }

    pub(super) fn weight_of(&self, slot: u32) -> Weight {
        if flawed!(self, IgnoreWeight) {
            return Weight::ONE;
        }
        self.table.get(slot).map_or(Weight::ONE, |it| it.weight)
    }

    fn tier_weight(&self, tier: TierId) -> Weight {
        self.config.tiers.tier(tier).share_weight()
    }

    /// A tier's start tag: no further back than its weight's part of one round of seats.
    pub(super) fn start_of(&self, tier: TierId) -> Tag {
        let Some(lane) = self.lanes.get(tier.place()) else {
            return Tag::ZERO;
        };
        if flawed!(self, NoLift) {
            return lane.start;
        }
        let estimate = match lane.estimate {
            0 => nanos(self.config.guess.get()),
            known => known,
        };
        // Of a round of so many seats it has its weight's part, and a tag is by weight.
        let tiers = self.config.tiers.iter();
        let all: u64 = tiers
            .map(|(_, it)| u64::from(it.share_weight().get()))
            .sum();
        let one = charge(estimate, Weight::ONE);
        let round = one.saturating_mul(u64::from(self.seating.capacity())) / all.max(1);
        let earliest = self.clock.now().minus(round.min(FAR));
        lane.start.later(earliest)
    }

    /// A seat is taken by a request whose start tag is `tag`.
    pub(super) fn take_seat(
        &mut self,
        tier: TierId,
        slot: u32,
        ground: Ground,
        tag: Tag,
        cost: Option<u64>,
        now: Tick,
    ) -> Seat {
        let cost = cost.unwrap_or_else(|| self.estimate(tier, slot)).min(MOST);
        let cost = if flawed!(self, CountCharging) {
            1_000_000
        } else {
            cost
        };
        let weight = self.weight_of(slot);
        let tier_weight = self.tier_weight(tier);
        let start = self.start_of(tier);
        if ground == Ground::Weight {
            self.clock.advance(start);
        }
        let claimed = self.seating.claim(tier);
        let round = self.seating.tenant_limit(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.in_flight = lane.in_flight.saturating_add(1);
            let start = start.plus(charge(cost, tier_weight));
            lane.start = self.clock.bounded(start);
            if ground == Ground::Claim {
                // A seat is seldom free when a claim falls due: what is lost by that, of one claim, is made up for.
                let one = claim_time(cost, claimed);
                lane.claim = lane.claim.max(now.back(one)) + one;
            }
            let cost = charge(cost, weight);
            lane.advance(tag, cost, round);
            if let Some(tenant) = self.table.get_mut(slot) {
                tenant.in_flight = tenant.in_flight.saturating_add(1);
                tenant.finish = lane.clock.bounded(tag.plus(cost));
                tenant.era = lane.clock.era();
            }
        }
        self.recount(tier);
        Seat {
            tenant: slot,
            tier,
            weight,
            charged: cost,
            since: now,
            is_claimed: ground == Ground::Claim,
        }
    }

    /// What a seat was taken for in the end, instead of what was charged.
    pub(super) fn correct(&mut self, tier: TierId, seat: &Seat, now: Tick) {
        let took = nanos(now.since(seat.since)).min(MOST);
        self.learn(tier, seat.tenant, took);
        #[cfg(test)]
        if flawed!(self, NoCorrection) || flawed!(self, CountCharging) {
            return;
        }
        if took >= seat.charged {
            let more = took - seat.charged;
            self.add(tier, seat.tenant, seat.weight, more);
        } else {
            let less = seat.charged - took;
            let tier_weight = self.tier_weight(tier);
            if let Some(lane) = self.lanes.get_mut(tier.place()) {
                lane.start = lane.start.minus(charge(less, tier_weight));
                if let Some(tenant) = self.table.get_mut(seat.tenant) {
                    let finish = lane.clock.read(tenant.finish, tenant.era);
                    tenant.finish = finish.minus(charge(less, seat.weight));
                    tenant.era = lane.clock.era();
                }
            }
            self.retag(tier, seat.tenant);
        }
        let claimed = self.seating.claim(tier);
        if seat.is_claimed
            && let Some(lane) = self.lanes.get_mut(tier.place())
        {
            let charged = claim_time(seat.charged, claimed);
            lane.claim = lane.claim.back(charged) + claim_time(took, claimed);
        }
    }

    /// A seat that was not charged when it was taken is given back after so long.
    pub(super) fn charge_outside(&mut self, tier: TierId, slot: u32, took: u64) {
        let took = took.min(MOST);
        self.learn(tier, slot, took);
        let weight = self.weight_of(slot);
        let start = self.start_of(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.start = start;
            if let Some(tenant) = self.table.get_mut(slot) {
                let finish = lane.clock.read(tenant.finish, tenant.era);
                tenant.finish = finish.later(lane.clock.now());
                tenant.era = lane.clock.era();
            }
        }
        self.add(tier, slot, weight, took);
    }

    fn learn(&mut self, tier: TierId, slot: u32, took: u64) {
        if let Some(tenant) = self.table.get_mut(slot) {
            tenant.estimate = learn(tenant.estimate, took, LEARN);
        }
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.estimate = learn(lane.estimate, took, 4 * LEARN);
        }
    }

    /// Charges more than was, up to the bound of debts: what is beyond it already stays.
    fn add(&mut self, tier: TierId, slot: u32, weight: Weight, nanos: u64) {
        let debt = most_debt(self.config.debt, 1, weight);
        let tier_debt = most_debt(
            self.config.debt,
            self.seating.capacity(),
            self.tier_weight(tier),
        );
        let tier_weight = self.tier_weight(tier);
        let clock = self.clock;
        let Some(lane) = self.lanes.get_mut(tier.place()) else {
            return;
        };
        let most = clock.now().plus(tier_debt);
        let more = lane.start.plus(charge(nanos, tier_weight));
        lane.start = more.earlier(lane.start.later(most));
        let Some(tenant) = self.table.get_mut(slot) else {
            return;
        };
        let finish = lane.clock.read(tenant.finish, tenant.era);
        let most = lane.clock.now().plus(debt);
        let more = finish.plus(charge(nanos, weight));
        tenant.finish = more.earlier(finish.later(most));
        tenant.era = lane.clock.era();
    }

    /// While nobody waits there is enough for everybody, and debts go down.
    pub(super) fn pass_time(&mut self, tier: TierId, now: Tick) {
        if self.queued == 0 {
            self.clock.pass(nanos(now.since(self.quiet_since)));
            self.quiet_since = self.quiet_since.max(now);
        }
        if let Some(lane) = self.lanes.get_mut(tier.place())
            && lane.queued == 0
        {
            lane.clock.pass(nanos(now.since(lane.quiet_since)));
            lane.quiet_since = lane.quiet_since.max(now);
        }
    }

    /// The mistake of rule 6.
    #[cfg(test)]
    pub(super) fn charge_dropped(&mut self, tier: TierId, slot: u32) {
        let weight = self.weight_of(slot);
        let cost = self.estimate(tier, slot);
        self.add(tier, slot, weight, cost);
    }
}

/// The bound of debts, for so many seats.
fn most_debt(debt: Period, seats: u32, weight: Weight) -> u64 {
    let one = charge(nanos(debt.get()), weight);
    one.saturating_mul(u64::from(seats)).min(FAR)
}

/// For how long a claim is spent by a seat that is taken for so long.
fn claim_time(cost: u64, claim: u32) -> std::time::Duration {
    let claim = u64::from(claim.max(1));
    let time = u128::from(cost) * u128::from(WHOLE) / u128::from(claim);
    std::time::Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
}
