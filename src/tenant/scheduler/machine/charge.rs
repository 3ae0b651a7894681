//! Rules 3, 5 and 6: what is charged.

use super::next::Ground;
use super::{Scheduler, flawed};
use crate::num::Period;
use crate::tenant::scheduler::ask::Seat;
use crate::tenant::scheduler::lane::Scale;
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

    /// What a tier is charged by from now on: what its requests took, its weight or the capacity is another.
    pub(super) fn rescale(&mut self, tier: TierId) {
        let weight = self.tier_weight(tier);
        let capacity = self.seating.capacity();
        let tiers = self.config.tiers.iter();
        let all: u64 = tiers
            .map(|(_, it)| u64::from(it.share_weight().get()))
            .sum();
        let guess = nanos(self.config.guess.get());
        let debt = most_debt(self.config.debt, capacity, weight);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            let (mean, rest) = lane.moments.get().unwrap_or((guess, guess));
            // A round is the time in which all seats come back: as long as what is left of the requests that run. Of
            // one of so many seats a tier has its weight's part, and a tag is by weight.
            let round = charge(rest, Weight::ONE).saturating_mul(u64::from(capacity));
            lane.scale = Scale {
                weight,
                one: charge(mean, weight),
                behind: (round / all.max(1)).min(FAR / 2),
                debt,
            };
        }
    }

    /// What is compared of tiers: what one has used, and what its running requests are taken to need; but no less than
    /// its part of one round of seats behind the clock, so far a tier may be that had no work for a while.
    pub(super) fn start_of(&self, tier: TierId) -> Tag {
        let Some(lane) = self.lanes.get(tier.place()) else {
            return Tag::ZERO;
        };
        let used = self.clock.read(lane.start, lane.era);
        let start = used.plus(lane.under_way());
        if flawed!(self, NoLift) {
            return start;
        }
        start.later(self.clock.now().minus(lane.scale.behind))
    }

    /// Lets a tier that is further behind than it may be start from where it may: [`start_of`](Self::start_of), which is
    /// handed back.
    pub(super) fn lift(&mut self, tier: TierId) -> Tag {
        let start = self.start_of(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.start = self.clock.bounded(start.minus(lane.under_way()));
            lane.era = self.clock.era();
        }
        start
    }

    /// Charges a tier for the time that its seats were taken until now, before their number or its weight changes and
    /// before it is compared with others. Those from outside apart: they are charged when they come back.
    pub(super) fn bring_up_to(&mut self, tier: TierId, now: Tick) {
        let Some(lane) = self.lanes.get_mut(tier.place()) else {
            return;
        };
        let passed = nanos(now.since(lane.charged_until));
        lane.charged_until = lane.charged_until.max(now);
        let seats = u64::from(lane.in_flight);
        if passed > 0 && seats > 0 {
            let used = charge(passed, lane.scale.weight).saturating_mul(seats);
            self.add_to_tier(tier, used);
        }
    }

    /// Charges a tier so much more, up to the bound of debts: what is beyond it already stays.
    fn add_to_tier(&mut self, tier: TierId, more: u64) {
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            let start = self.clock.read(lane.start, lane.era);
            let most = self.clock.now().plus(lane.scale.debt);
            let more = start.plus(more.min(FAR));
            lane.start = more.earlier(start.later(most));
            lane.era = self.clock.era();
        }
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
        self.bring_up_to(tier, now);
        let start = self.lift(tier);
        if ground == Ground::Weight {
            self.clock.advance(start);
        }
        let claimed = self.seating.claim(tier);
        let round = self.seating.tenant_limit(tier);
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.in_flight = lane.in_flight.saturating_add(1);
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
            if let Some(lane) = self.lanes.get(tier.place())
                && let Some(tenant) = self.table.get_mut(seat.tenant)
            {
                let finish = lane.clock.read(tenant.finish, tenant.era);
                tenant.finish = finish.minus(charge(less, seat.weight));
                tenant.era = lane.clock.era();
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

    /// A seat that was not charged while it was taken was given back after so long.
    pub(super) fn charge_outside(&mut self, tier: TierId, slot: u32, took: u64) {
        let took = took.min(MOST);
        self.learn(tier, slot, took);
        let weight = self.weight_of(slot);
        if let Some(lane) = self.lanes.get(tier.place())
            && let Some(tenant) = self.table.get_mut(slot)
        {
            let finish = lane.clock.read(tenant.finish, tenant.era);
            tenant.finish = finish.later(lane.clock.now());
            tenant.era = lane.clock.era();
        }
        self.add_to_tier(tier, charge(took, self.tier_weight(tier)));
        self.add(tier, slot, weight, took);
    }

    fn learn(&mut self, tier: TierId, slot: u32, took: u64) {
        if let Some(tenant) = self.table.get_mut(slot) {
            tenant.estimate = learn(tenant.estimate, took, LEARN);
        }
        if let Some(lane) = self.lanes.get_mut(tier.place()) {
            lane.estimate = learn(lane.estimate, took, 4 * LEARN);
            lane.moments.learn(took);
        }
        self.rescale(tier);
    }

    /// Charges a tenant more than was, up to the bound of debts: what is beyond it already stays.
    fn add(&mut self, tier: TierId, slot: u32, weight: Weight, nanos: u64) {
        let debt = most_debt(self.config.debt, 1, weight);
        let Some(lane) = self.lanes.get(tier.place()) else {
            return;
        };
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
        self.add_to_tier(tier, charge(cost, self.tier_weight(tier)));
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
