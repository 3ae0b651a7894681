use std::num::NonZeroU32;

use crate::tenant::tier::{TierId, Tiers, WHOLE, parts};

const TIERS: usize = Tiers::MOST;

/// What the tiers' shares come to in seats, at one capacity.
///
/// # Rules
///
/// 1. Reserved seats are whole. All of them together are the sum of the shares, rounded; each tier has the whole part
///    of its own, and what is left goes to those who lost most by that (largest remainder).
/// 2. They are never more than the capacity; one less, if the shares are less than the whole pool: a tier that has only
///    its weight is not shut out by rounding.
/// 3. What a tier lost by rounding it has as a *claim*: a right to the next seat, as often as makes up for it in time.
///    So a reservation never vanishes, at whatever capacity.
/// 4. Held seats are rounded in the same way. No more are held for a tier than are reserved for it, and one seat at
///    least is held for nobody.
/// 5. A limit is at least one seat, and at least what is reserved. So is what one tenant may have: at least one.
///
/// # Example
///
/// ```
/// use mainstay::num::{Ratio, count};
/// use mainstay::tenant::scheduler::Seating;
/// use mainstay::tenant::tier::{Tier, TierId, Tiers};
///
/// let tenth = Ratio::percent(10);
/// let tiers = Tiers::new([Tier::new("priority").reserved(tenth).held(tenth), Tier::new("rest")])?;
/// let (priority, rest) = (TierId::new(0), TierId::new(1));
///
/// let eight = Seating::new(&tiers, count(8));
/// assert_eq!((eight.reserved(priority), eight.held(priority)), (1, 1));
/// assert!(eight.admits(&[0, 6], rest), "the seventh");
/// assert!(!eight.admits(&[0, 7], rest), "the eighth is held");
/// assert!(eight.admits(&[0, 7], priority));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seating {
    capacity: u32,
    tiers: usize,
    reserved: [u32; TIERS],
    held: [u32; TIERS],
    limit: [u32; TIERS],
    tenant: [u32; TIERS],
    /// What rounding took of a reservation, in millionths of a seat.
    claim: [u32; TIERS],
}

impl Seating {
    /// The seats of these tiers in a pool of this capacity.
    #[must_use]
    pub fn new(tiers: &Tiers, capacity: NonZeroU32) -> Self {
        let capacity = capacity.get();
        let mut seating = Self {
            capacity,
            tiers: tiers.count(),
            reserved: [0; TIERS],
            held: [0; TIERS],
            limit: [0; TIERS],
            tenant: [0; TIERS],
            claim: [0; TIERS],
        };
        let reserved = quotas(tiers, capacity, |tier| parts(tier.reserved_share()));
        let held = quotas(tiers, capacity, |tier| parts(tier.held_share()));
        let all: u64 = reserved.iter().sum();
        let whole = u64::from(capacity) * WHOLE;
        let most = if all < whole { capacity - 1 } else { capacity };
        seating.reserved = rounded(&reserved, most);
        seating.held = rounded(&held, capacity - 1);
        for (id, tier) in tiers.iter() {
            let place = id.place();
            let seats = at(&seating.reserved, place);
            let quota = reserved.get(place).copied().unwrap_or(0);
            let lost = quota.saturating_sub(u64::from(seats) * WHOLE);
            let limit = of(parts(tier.largest_share()), capacity).max(seats).max(1);
            let tenant = of(parts(tier.largest_tenant_share()), limit).max(1);
            let held = at(&seating.held, place).min(seats);
            put(&mut seating.held, place, held);
            put(&mut seating.limit, place, limit);
            put(&mut seating.tenant, place, tenant);
            put(&mut seating.claim, place, narrow(lost.min(WHOLE)));
        }
        seating
    }

    /// The same, but for a tenant no more than so many: what whoever keeps the books of tenants can count.
    #[must_use]
    pub(super) fn tenant_at_most(mut self, most: u32) -> Self {
        for tenant in &mut self.tenant {
            *tenant = (*tenant).min(most);
        }
        self
    }

    /// How many seats there are.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many the tier has before weights count.
    #[must_use]
    pub fn reserved(&self, tier: TierId) -> u32 {
        at(&self.reserved, self.place(tier))
    }

    /// How many of these stay empty while the tier has no work.
    #[must_use]
    pub fn held(&self, tier: TierId) -> u32 {
        at(&self.held, self.place(tier))
    }

    /// How many the tier has at the most.
    #[must_use]
    pub fn limit(&self, tier: TierId) -> u32 {
        at(&self.limit, self.place(tier))
    }

    /// How many one tenant of the tier has at the most.
    #[must_use]
    pub fn tenant_limit(&self, tier: TierId) -> u32 {
        at(&self.tenant, self.place(tier))
    }

    /// What rounding took of the tier's reservation, in millionths of a seat.
    pub(super) fn claim(&self, tier: TierId) -> u32 {
        at(&self.claim, self.place(tier))
    }

    /// Whether one more of `tier` may take a seat where nobody waits and each tier has so many: below its limit, and
    /// leaving the seats that are held for others.
    ///
    /// This is all that a path without a lock asks of the pool. Tiers that `in_flight` leaves out have none.
    #[must_use]
    pub fn admits(&self, in_flight: &[u32], tier: TierId) -> bool {
        let place = self.place(tier);
        let (mut taken, mut kept) = (0_u64, 0_u64);
        for other in 0..self.tiers {
            let seats = at(in_flight, other);
            taken += u64::from(seats);
            if other != place {
                kept += u64::from(at(&self.held, other).saturating_sub(seats));
            }
        }
        at(in_flight, place) < at(&self.limit, place) && taken + kept < u64::from(self.capacity)
    }

    fn place(&self, tier: TierId) -> usize {
        tier.place().min(self.tiers.saturating_sub(1))
    }
}

fn at(seats: &[u32], place: usize) -> u32 {
    seats.get(place).copied().unwrap_or(0)
}

fn put(seats: &mut [u32], place: usize, value: u32) {
    if let Some(there) = seats.get_mut(place) {
        *there = value;
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A share of so many, rounded down.
fn of(share: u64, seats: u32) -> u32 {
    narrow(share * u64::from(seats) / WHOLE)
}

/// What each tier's share is exactly, in millionths of a seat.
fn quotas(
    tiers: &Tiers,
    capacity: u32,
    share: impl Fn(&crate::tenant::tier::Tier) -> u64,
) -> [u64; TIERS] {
    let mut quotas = [0; TIERS];
    for ((_, tier), quota) in tiers.iter().zip(&mut quotas) {
        *quota = share(tier) * u64::from(capacity);
    }
    quotas
}

/// Rules 1 and 2.
fn rounded(quotas: &[u64; TIERS], most: u32) -> [u32; TIERS] {
    let all: u64 = quotas.iter().sum();
    let mut left = ((all + WHOLE / 2) / WHOLE).min(u64::from(most));
    let mut seats = [0; TIERS];
    for (seats, quota) in seats.iter_mut().zip(quotas) {
        let whole = (quota / WHOLE).min(left);
        *seats = narrow(whole);
        left -= whole;
    }
    let mut order: [usize; TIERS] = std::array::from_fn(|place| place);
    // Stable: of two that lost the same, the better tier gets the seat.
    order.sort_by_key(|&place| std::cmp::Reverse(quotas.get(place).map_or(0, |q| q % WHOLE)));
    for place in order {
        let lost = quotas.get(place).is_some_and(|quota| quota % WHOLE > 0);
        if left > 0 && lost {
            let more = at(&seats, place).saturating_add(1);
            put(&mut seats, place, more);
            left -= 1;
        }
    }
    seats
}
