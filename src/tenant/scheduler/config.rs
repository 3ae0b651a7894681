use std::num::NonZeroU32;

use crate::num::{Period, count};
use crate::tenant::tier::Tiers;

/// The settings of a [`Scheduler`](super::Scheduler).
///
/// # Example
///
/// ```
/// use mainstay::num::count;
/// use mainstay::presets;
/// use mainstay::tenant::scheduler::SchedulerConfig;
///
/// let config = SchedulerConfig::new(count(64), presets::erp::tiers()).queue(2_000);
/// assert_eq!(config.capacity().get(), 64);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    pub(super) capacity: NonZeroU32,
    pub(super) tiers: Tiers,
    pub(super) queue: u32,
    pub(super) tenants: NonZeroU32,
    pub(super) debt: Period,
    pub(super) guess: Period,
}

impl SchedulerConfig {
    /// A pool of so many seats, shared by these tiers.
    ///
    /// There is no capacity of nothing: a pool without a seat would let requests wait for what never comes. Where the
    /// callee is down, a [breaker](crate::breaker) says so at once.
    #[must_use]
    pub const fn new(capacity: NonZeroU32, tiers: Tiers) -> Self {
        Self {
            capacity,
            tiers,
            queue: 10_000,
            tenants: count(65_536),
            debt: Period::secs(600),
            guess: Period::millis(100),
        }
    }

    /// How many requests may wait in all tiers together.
    ///
    /// Defaults to 10,000. When one more comes, the tier that is [shed](crate::tenant::tier::Tier::shed) first loses
    /// the youngest of its longest queue.
    #[must_use]
    pub const fn queue(mut self, requests: u32) -> Self {
        self.queue = requests;
        self
    }

    /// How many tenants are told apart at a time, each in each tier that it has work in.
    ///
    /// Defaults to 65,536, which take about 15 MB. While every one of them has work or owes something, whoever else
    /// comes shares one place in its tier with all others in its case.
    #[must_use]
    pub const fn tenants(mut self, most: NonZeroU32) -> Self {
        self.tenants = most;
        self
    }

    /// The most that a tenant's requests may turn out to have taken beyond what was charged for them and still be held
    /// against it, in time on one seat.
    ///
    /// Defaults to 10 minutes. Without a bound, a tenant that was heavy for a day would be nobody for another. A tier
    /// owes at most this for each seat of the pool.
    #[must_use]
    pub const fn debt(mut self, most: Period) -> Self {
        self.debt = most;
        self
    }

    /// What a request is charged before any has ended, in time on one seat.
    ///
    /// Defaults to 100 ms. Once requests end, what they took is learned, by tenant and by tier.
    #[must_use]
    pub const fn guess(mut self, cost: Period) -> Self {
        self.guess = cost;
        self
    }

    /// How many seats the pool has at first.
    #[must_use]
    pub const fn capacity(&self) -> NonZeroU32 {
        self.capacity
    }

    /// Who shares them.
    #[must_use]
    pub const fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// How many requests may wait in all.
    #[must_use]
    pub const fn queue_bound(&self) -> u32 {
        self.queue
    }

    /// How many tenants are told apart.
    #[must_use]
    pub const fn most_tenants(&self) -> NonZeroU32 {
        self.tenants
    }

    /// How much may be held against a tenant.
    #[must_use]
    pub const fn most_debt(&self) -> Period {
        self.debt
    }

    /// What a request is taken to cost before any has ended.
    #[must_use]
    pub const fn first_guess(&self) -> Period {
        self.guess
    }
}
