use std::time::Duration;

use crate::autoscale::{Amount, Bounds};
use crate::num::{Factor, Period, Ratio};

/// The settings of a GPU cluster's autoscaler.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::gpu::GpuConfig;
/// use mainstay::autoscale::{Amount, Bounds};
/// use mainstay::num::{Factor, Period, Ratio};
///
/// // 4 to 20 nodes of 10 requests a second, 5 minutes to warm up, a tenth reserved.
/// let config = GpuConfig::new(Bounds::between(4, 20), Amount::of(10), Period::secs(300))
///     .headroom(Factor::percent(130))
///     .reserve(Ratio::percent(10));
/// assert_eq!(config.spare(), Factor::percent(130));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuConfig {
    pub(in crate::autoscale) bounds: Bounds,
    pub(in crate::autoscale) capacity: Amount,
    pub(in crate::autoscale) warm_up: Period,
    pub(in crate::autoscale) headroom: Factor,
    pub(in crate::autoscale) surge: Factor,
    pub(in crate::autoscale) reserve: Ratio,
    pub(in crate::autoscale) drain: Period,
    pub(in crate::autoscale) band: Ratio,
    pub(in crate::autoscale) hold: Period,
    pub(in crate::autoscale) flap: Period,
    pub(in crate::autoscale) stale: Period,
}

impl GpuConfig {
    /// Between `bounds`, of replicas that serve `capacity` requests a second each and take `warm_up` to start.
    #[must_use]
    pub const fn new(bounds: Bounds, capacity: Amount, warm_up: Period) -> Self {
        Self {
            bounds,
            capacity,
            warm_up,
            headroom: Factor::percent(120),
            surge: Factor::percent(110),
            reserve: Ratio::ZERO,
            drain: Period::secs(60),
            band: Ratio::percent(20),
            hold: Period::secs(600),
            flap: Period::secs(7_200),
            stale: Period::secs(60),
        }
    }

    /// How many times the usual load is kept ready.
    ///
    /// Usual is what the load was lately at its calmer times: it falls within minutes and rises over hours. Defaults to
    /// 1.2. Raise it for bursts that are shorter than the warm-up: nothing else helps against them.
    #[must_use]
    pub const fn headroom(mut self, headroom: Factor) -> Self {
        self.headroom = headroom;
        self
    }

    /// How many times the present load is kept ready, at most as many as the headroom.
    ///
    /// Defaults to 1.1. A burst uses headroom up; to order headroom for the burst as well costs much and arrives late.
    #[must_use]
    pub const fn surge(mut self, surge: Factor) -> Self {
        self.surge = surge;
        self
    }

    /// The share of the cluster that only tenants with reserved capacity may use. Defaults to none.
    ///
    /// How much of the rate is theirs is [`Signal::ReservedRate`](crate::autoscale::Signal::ReservedRate); where that is
    /// missing, all of it counts as of others. More than 99 % counts as that.
    #[must_use]
    pub const fn reserve(mut self, share: Ratio) -> Self {
        self.reserve = share;
        self
    }

    /// In which time the backlog that will be left when a new replica is ready shall be worked off.
    ///
    /// Defaults to 60 s. Longer orders fewer replicas for a single backlog, and keeps whoever comes meanwhile waiting: where a
    /// start takes 10 min and half the cluster is lost at once, 120 s cost an eighth more replica hours for the same waits.
    #[must_use]
    pub const fn drain(mut self, time: Period) -> Self {
        self.drain = time;
        self
    }

    /// How much of a replica must be idle beyond the whole ones that are taken away: the dead band.
    ///
    /// Defaults to 0.2, so that a load that hovers around a whole count moves nothing.
    #[must_use]
    pub const fn band(mut self, share: Ratio) -> Self {
        self.band = share;
        self
    }

    /// For how long fewer replicas must have been enough before any is taken away, at least the warm-up.
    ///
    /// Defaults to 10 min.
    #[must_use]
    pub const fn hold(mut self, time: Period) -> Self {
        self.hold = time;
        self
    }

    /// The budget of flaps: how far apart two turns from growing to shrinking are at least. Growing is never held back.
    ///
    /// Defaults to 2 h: at most one turn an hour, counting both directions.
    #[must_use]
    pub const fn flap(mut self, apart: Period) -> Self {
        self.flap = apart;
        self
    }

    /// How old a reading may be and still count. Defaults to 60 s.
    #[must_use]
    pub const fn stale(mut self, age: Period) -> Self {
        self.stale = age;
        self
    }

    /// Between which counts.
    #[must_use]
    pub const fn range(&self) -> Bounds {
        self.bounds
    }

    /// How many requests a second one replica serves.
    #[must_use]
    pub const fn per_replica(&self) -> Amount {
        self.capacity
    }

    /// How long one takes to start.
    #[must_use]
    pub const fn start_time(&self) -> Period {
        self.warm_up
    }

    /// How many times the usual load is kept ready.
    #[must_use]
    pub const fn spare(&self) -> Factor {
        self.headroom
    }

    /// How many times the present load is kept ready.
    #[must_use]
    pub fn spare_now(&self) -> Factor {
        if self.surge < self.headroom {
            self.surge
        } else {
            self.headroom
        }
    }

    /// What is reserved.
    #[must_use]
    pub const fn reserved(&self) -> Ratio {
        self.reserve
    }

    /// In which time a backlog is worked off.
    #[must_use]
    pub const fn drain_time(&self) -> Period {
        self.drain
    }

    /// The dead band.
    #[must_use]
    pub const fn dead_band(&self) -> Ratio {
        self.band
    }

    /// For how long fewer must have been enough.
    #[must_use]
    pub fn hold_time(&self) -> Duration {
        self.hold.get().max(self.warm_up.get())
    }

    /// How far apart two turns are.
    #[must_use]
    pub const fn turn_apart(&self) -> Period {
        self.flap
    }

    /// How old a reading may be.
    #[must_use]
    pub const fn oldest(&self) -> Period {
        self.stale
    }
}
