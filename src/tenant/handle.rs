use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::config::TenantConfig;
use super::identity::TenantKey;
use super::pool::Pool;
use super::slots::Slot;
use super::tier::TierId;
use crate::error::{ConfigError, Reason};
use crate::num::Period;
use crate::observe;
use crate::rt;
use crate::time::Tick;

/// Often enough for whoever collects metrics every 15 s; each time all tenants are looked at.
const TELLS: Period = Period::secs(5);

/// Watches and changes a pool from outside.
///
/// Clones, the pool, and the layers and services that were made of it look at the same seats.
#[derive(Clone)]
pub struct TenantHandle {
    pool: Arc<Pool>,
}

/// What a tier has, and has had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierReport {
    /// Its name.
    pub name: &'static str,
    /// Calls under way. It is read without a lock from more than one place: while calls come and go it may be a moment off.
    pub in_flight: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Calls that were let in so far. It may be a moment off as well, and less than it was read before: what only grows is
    /// true once nobody comes or goes.
    pub admitted: u64,
    /// Of these, those that had waited.
    pub waited: u64,
    /// How long these had waited, all together.
    pub wait: Duration,
    /// How long one of them had waited at the longest.
    pub longest_wait: Duration,
    /// Calls that were refused so far, by reason; reasons that never occurred are left out.
    pub refused: Vec<(Reason, u64)>,
}

/// What a tenant has, and has had since the pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantReport {
    /// Who; none for all those together who are not known, or found no room.
    pub key: Option<TenantKey>,
    /// The name of its tier.
    pub tier: &'static str,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Calls that were let in.
    pub admitted: u64,
    /// Of these, those that had waited.
    pub waited: u32,
    /// Calls that were refused.
    pub refused: u32,
}

/// By what tenants are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RankBy {
    /// Calls that were let in.
    Admitted,
    /// Calls under way.
    InFlight,
    /// Calls that were refused.
    Refused,
    /// Calls that wait.
    Waiting,
}

impl TenantHandle {
    pub(super) const fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Which pool it is of.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.pool) as usize
    }

    /// How many calls wait and how many may, for as long as the pool is there. Does not keep it.
    pub(crate) fn line(&self) -> impl Fn() -> Option<(u32, u32)> + Send + Sync + 'static {
        let pool = Arc::downgrade(&self.pool);
        move || {
            let pool = pool.upgrade()?;
            let line = pool
                .desk
                .look(|scheduler| (scheduler.waiting(), scheduler.config().queue_bound()));
            Some(line)
        }
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pool.name()
    }

    /// The settings, as they are now: the capacity is that of the moment.
    #[must_use]
    pub fn config(&self) -> TenantConfig {
        self.pool.config()
    }

    /// How many seats there are.
    #[must_use]
    pub fn capacity(&self) -> NonZeroU32 {
        self.pool.desk.capacity()
    }

    /// How many calls are under way, those included that were just granted their seat.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.pool.desk.in_flight().map(|(_, calls)| calls).sum()
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.pool.desk.look(|scheduler| scheduler.waiting())
    }

    /// How many tenants the pool knows, each in each tier that it came in.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.pool.desk.slots.known()
    }

    /// How many tenants the scheduler keeps in mind, for their calls or for what they owe.
    #[must_use]
    pub fn scheduled_tenants(&self) -> usize {
        self.pool.desk.look(|scheduler| scheduler.tenants())
    }

    /// Each tier, the best first.
    ///
    /// It looks at every tenant to know how many calls were admitted: for a page that somebody watches, not for each call.
    #[must_use]
    pub fn tiers(&self) -> Vec<TierReport> {
        let pool = &*self.pool;
        let admitted = pool.desk.admitted();
        let report = |(tier, in_flight): (TierId, u32)| {
            let waiting = pool.desk.look(|scheduler| scheduler.tier(tier).waiting);
            let tally = pool.desk.tallies.get(tier.place());
            let read = |f: fn(&super::desk::Tally) -> &std::sync::atomic::AtomicU64| {
                tally.map_or(0, |tally| f(tally).load(Relaxed))
            };
            let refused = Reason::ALL
                .into_iter()
                .map(|why| (why, pool.refused(tier, why)));
            TierReport {
                name: pool.name_of(tier).as_str(),
                in_flight,
                waiting,
                admitted: admitted.get(tier.place()).copied().unwrap_or(0),
                waited: read(|tally| &tally.waited),
                wait: Duration::from_nanos(read(|tally| &tally.wait)),
                longest_wait: Duration::from_nanos(read(|tally| &tally.longest)),
                refused: refused.filter(|(_, times)| *times > 0).collect(),
            }
        };
        pool.desk.in_flight().map(report).collect()
    }

    /// The `k` tenants that come first by this, the greatest first; those of whom there is nothing are left out.
    ///
    /// It looks at every tenant, and takes no lock that a call without a wait takes.
    #[must_use]
    pub fn top(&self, by: RankBy, k: usize) -> Vec<TenantReport> {
        let pool = &*self.pool;
        let mut top: Vec<(u64, TenantReport)> = Vec::with_capacity(k.min(1_024) + 1);
        let mut add = |key: Option<&TenantKey>, tier: TierId, number: u32, slot: &Slot| {
            let (in_flight, admitted) = pool.desk.calls_of(number, slot);
            let rank = match by {
                RankBy::Admitted => admitted,
                RankBy::InFlight => in_flight.into(),
                RankBy::Refused => slot.refused.load(Relaxed).into(),
                RankBy::Waiting => slot.waiting().into(),
            };
            let place = top.partition_point(|(other, _)| *other >= rank);
            if rank == 0 || place >= k {
                return;
            }
            let report = TenantReport {
                key: key.cloned(),
                tier: pool.name_of(tier).as_str(),
                in_flight,
                waiting: slot.waiting(),
                admitted,
                waited: slot.waited.load(Relaxed),
                refused: slot.refused.load(Relaxed),
            };
            top.insert(place, (rank, report));
            top.truncate(k);
        };
        let shared = (0..).zip(pool.desk.slots.shared_slots());
        for ((tier, _), (number, slot)) in pool.names().zip(shared) {
            add(None, tier, number, slot);
        }
        pool.desk
            .slots
            .each(|key, tier, number, slot| add(Some(key), tier, number, slot));
        top.into_iter().map(|(_, report)| report).collect()
    }

    /// Tells what the pool and its tiers have, every 5 s, to whoever collects metrics: seats, calls under way and waiting, what
    /// was admitted and refused, whether a tier sheds. Never ends; run it on a task, once for a pool.
    ///
    /// Without it the calls that are refused are counted, but not by tier; waits are told all the same, and that a tier
    /// begins to shed. So nothing is told where a call finds a free seat, and that costs nothing.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the counts go on.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::num::count;
    /// use mainstay::presets;
    /// use mainstay::tenant::{TenantConfig, TenantPool};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mainstay::error::ConfigError> {
    /// let pool = TenantPool::new("erp", TenantConfig::new(count(64), presets::erp::tiers()))?;
    /// let tells = tokio::spawn(pool.handle().drive());
    /// // The service serves; at its end:
    /// tells.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drive(self) {
        loop {
            let now = rt::now();
            self.tell(now);
            rt::sleep_until(now + TELLS.get()).await;
        }
    }

    fn tell(&self, now: Tick) {
        let pool = &*self.pool;
        observe::tenant_capacity(pool.name(), self.capacity());
        for ((tier, _), report) in pool.names().zip(self.tiers()) {
            observe::tier(pool.name(), &report, pool.sheds(tier, now));
        }
    }

    /// Sets the number of seats. Nobody who waits is sent away: a greater number lets waiters in at once, under a smaller
    /// one nobody is let in until fewer are under way.
    ///
    /// More than the pool can count, which depends on [how many tiers](super::TenantPool::new) it has, is as many as it can:
    /// [`capacity`](Self::capacity) says how many there are then.
    ///
    /// Where the capacity follows an adaptive limit, it is the limit's again when that next moves.
    pub fn resize(&self, capacity: NonZeroU32) {
        self.pool.resize(capacity);
    }

    /// Replaces the settings: the capacity, or the limit that moves it, what each tier gets, and the quotas. Nobody who
    /// waits is sent away, and each keeps the time that it was given.
    ///
    /// How many may wait in all, how many tenants are told apart, and what is charged of whom is as it was when the pool
    /// was made.
    ///
    /// # Errors
    ///
    /// When the tiers are not those of the pool, by name and order, when the capacity is more than the pool can count, and
    /// when it is to move and did not before, or the other way round. Then nothing changes.
    pub fn reload(&self, config: impl Into<TenantConfig>) -> Result<(), ConfigError> {
        self.pool.reload(config.into())
    }

    /// Whether [`reload`](Self::reload) would take these.
    #[cfg(feature = "serde")]
    pub(crate) fn fits(&self, config: &TenantConfig) -> Result<(), ConfigError> {
        self.pool.fits(config)
    }
}

impl fmt::Debug for TenantHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantHandle")
            .field("name", self.pool.name())
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
