use std::time::Duration;

use crate::tenant::tier::{TierId, Weight};
use crate::time::Tick;

/// A tenant, as the scheduler knows it: a number that stands for its name.
///
/// The caller makes it of an authenticated name. Where tenants choose their names, hash them with a secret, so that
/// nobody can choose names that are slow to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u64);

impl TenantId {
    /// The tenant of that number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A request for a seat.
///
/// # Example
///
/// ```
/// use mainstay::tenant::scheduler::{Ask, TenantId};
/// use mainstay::tenant::tier::{TierId, Weight};
/// use std::time::Duration;
///
/// let ask = Ask::new(TenantId::new(7), TierId::new(0)).cost(Duration::from_secs(5));
/// assert_eq!(ask.tenant(), TenantId::new(7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ask {
    pub(super) tenant: TenantId,
    pub(super) tier: TierId,
    pub(super) weight: Weight,
    pub(super) deadline: Tick,
    pub(super) cost: Option<Duration>,
    pub(super) outside: Option<u32>,
}

impl Ask {
    /// A request of this tenant, in this tier. A tier that the pool does not have is the lowest.
    pub const fn new(tenant: TenantId, tier: TierId) -> Self {
        Self {
            tenant,
            tier,
            weight: Weight::ONE,
            deadline: Tick::NEVER,
            cost: None,
            outside: None,
        }
    }

    /// How much the tenant counts beside others of its tier, from this request on.
    ///
    /// Defaults to 1.
    pub const fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// When the request must be over. It waits until then at most, and never longer than its tier's
    /// [patience](crate::tenant::tier::Tier::patience).
    ///
    /// Defaults to never.
    pub const fn deadline(mut self, deadline: Tick) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long the request will keep its seat, where that is known.
    ///
    /// Defaults to what the tenant's requests took lately. It is what is charged when the seat is taken; what it took
    /// is charged in the end, whatever was said here.
    pub const fn cost(mut self, cost: Duration) -> Self {
        self.cost = Some(cost);
        self
    }

    /// How many seats the tenant has that the scheduler did not give: see [its module](super#a-path-without-a-lock).
    ///
    /// Defaults to as many as were said last.
    pub const fn outside(mut self, seats: u32) -> Self {
        self.outside = Some(seats);
        self
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// In which tier.
    #[must_use]
    pub const fn tier(&self) -> TierId {
        self.tier
    }
}

/// A seat: given back with [`release`](super::Scheduler::release), whatever became of the request.
///
/// Dropped, it stays taken for good; a shell wraps it in what gives it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a seat that is dropped stays taken"]
pub struct Seat {
    pub(super) tenant: u32,
    pub(super) tier: TierId,
    pub(super) weight: Weight,
    /// What was charged for it, in nanoseconds.
    pub(super) charged: u64,
    pub(super) since: Tick,
    /// Taken by what rounding took of the tier's reservation.
    pub(super) is_claimed: bool,
}

impl Seat {
    /// The tier in which it was given.
    #[must_use]
    pub const fn tier(&self) -> TierId {
        self.tier
    }

    /// When it was taken.
    #[must_use]
    pub const fn since(&self) -> Tick {
        self.since
    }
}

/// A place in a queue. Whoever has one is granted a seat, told that it is refused, or [leaves](super::Scheduler::leave).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) slot: u32,
    /// Tells whoever waits in a slot from whoever waited there before.
    pub(super) turn: u32,
}

/// What became of a request that has just come.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Arrival<T> {
    /// It has a seat.
    Granted {
        /// To be given back.
        seat: Seat,
        /// What came.
        waiter: T,
    },
    /// It waits. [`grant`](super::Scheduler::grant) until that says none: its turn may have come already.
    Queued {
        /// Its place.
        ticket: Ticket,
        /// How long it waits at the longest.
        until: Tick,
        /// Who lost its place to it.
        evicted: Option<Refused<T>>,
    },
    /// It is turned away.
    Refused(Refused<T>),
}

/// A waiter whose turn has come.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Granted<T> {
    /// To be given back.
    pub seat: Seat,
    /// The place that it had, which is nobody's now.
    pub ticket: Ticket,
    /// Who waited.
    pub waiter: T,
    /// For how long.
    pub waited: Duration,
}

/// A request that is turned away.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Refused<T> {
    /// Why.
    pub reason: Refusal,
    /// When a new request may get a seat in time, where that is known: as long as the queue before it takes beyond
    /// what it may wait. Never zero.
    pub retry_after: Option<Duration>,
    /// The place that it had, which is nobody's now; none if it never waited.
    pub ticket: Option<Ticket>,
    /// Its tier.
    pub tier: TierId,
    /// Who came, or waited.
    pub waiter: T,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Its time was over before its turn came, or before it came.
    Deadline,
    /// As many as may wait in all tiers together do, and no tier is shed before its own.
    PoolFull,
    /// Its turn would come after its time is over: told at once rather than then.
    Predicted,
    /// It waited in the longest queue, whose youngest makes room for others.
    Shed,
    /// As many of its tenant wait as may.
    TenantFull,
    /// As many of its tier wait as may, and no tenant has more waiting than its own.
    TierFull,
}

impl Refusal {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::PoolFull => "pool_full",
            Self::Predicted => "predicted",
            Self::Shed => "shed",
            Self::TenantFull => "tenant_full",
            Self::TierFull => "tier_full",
        }
    }
}
