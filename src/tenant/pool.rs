use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::config::TenantConfig;
use super::desk::{Arrived, Desk, No, Taken, Whose, Why};
use super::handle::TenantHandle;
use super::identify::Caller;
use super::identity::{Tenant, TenantKey};
use super::kept::Kept;
use super::quota::Quotas;
use super::scheduler::Refusal;
use super::seat::{TenantSeat, Wait};
use super::shedding::Shedding;
use super::slot::TenantSlot;
use super::slots::Closed;
use super::tier::{TierId, Tiers, Weight};
use crate::error::{ConfigError, LayerKind, Reason, Rejected};
use crate::limit::adaptive::Driver;
use crate::limit::concurrency::{ConcurrencyConfig, Drive, Moves};
use crate::observe::{self, Name, Rejections, TierWaits};
use crate::rt;
use crate::scope::{Scope, TierName};
use crate::sync::{Mutex, lock};
use crate::time::Tick;

/// A number of seats that tenants share, by tier and fairly within each.
///
/// One value is one pool: its clones, the layers made of it and their services share it. See the [module](super).
///
/// # Example
///
/// ```
/// use mainstay::num::count;
/// use mainstay::presets;
/// use mainstay::tenant::{TenantConfig, TenantPool};
///
/// let pool = TenantPool::new("erp", TenantConfig::new(count(64), presets::erp::tiers()))?;
/// let acme = pool.tenant("acme", "enterprise");
/// assert_eq!(acme.tier_name(), "enterprise");
/// assert_eq!(pool.tenant("nobody", "made up").tier_name(), "smb", "the lowest");
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct TenantPool {
    pub(super) pool: Arc<Pool>,
}

impl TenantPool {
    /// A pool named `name`, which is its label in metrics and logs. The process remembers the names of its tiers.
    ///
    /// A tenant has at most 8,000 seats of a tier, however many there are and whatever its share of them.
    ///
    /// # Errors
    ///
    /// When a tier has a name that fits no header and no label, and when the capacity is more than can be counted in one
    /// word: about two million with up to three tiers, 32,767 with four, 4,095 with five, 1,023 with six, 511 with seven
    /// and 127 with eight.
    pub fn new(
        name: impl Into<Arc<str>>,
        config: impl Into<TenantConfig>,
    ) -> Result<Self, ConfigError> {
        let pool = Pool::new(name.into(), config.into())?;
        Ok(Self {
            pool: Arc::new(pool),
        })
    }

    /// The slot of the tenant `key` in the tier named `tier`; a name that the pool does not know is that of its lowest.
    #[must_use]
    pub fn tenant(&self, key: impl Into<TenantKey>, tier: &str) -> TenantSlot {
        self.pool.slot(key.into(), tier, Weight::ONE)
    }

    /// The slot of `tenant`, with its weight.
    #[must_use]
    pub fn slot(&self, tenant: &Tenant) -> TenantSlot {
        let (key, tier) = (tenant.key().clone(), tenant.tier_name());
        self.pool.slot(key, tier, tenant.share_weight())
    }

    /// Watches and changes the pool.
    #[must_use]
    pub fn handle(&self) -> TenantHandle {
        TenantHandle::new(Arc::clone(&self.pool))
    }
}

impl fmt::Debug for TenantPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantPool")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

/// What the clones of one pool share.
pub(super) struct Pool {
    pub(super) desk: Desk,
    /// Names the pool in the scope of a call, in this process and in those that it goes on to.
    token: u64,
    number: usize,
    names: Box<[TierName]>,
    /// The last: that of whoever is not known.
    lowest: (TierId, TierName),
    quotas: Quotas,
    rejections: Rejections,
    refused: [[AtomicU64; Reason::ALL.len()]; Tiers::MOST],
    waits: TierWaits,
    shedding: [Shedding; Tiers::MOST],
    drive: Option<Arc<Driver>>,
    config: Mutex<TenantConfig>,
}

/// What a newcomer meets.
pub(super) enum Entry {
    Seated(TenantSeat),
    Waits(Wait),
    Refused(Rejected),
}

impl Pool {
    fn new(name: Name, config: TenantConfig) -> Result<Self, ConfigError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let lowest = config.tiers().lowest();
        let lowest = (lowest, TierName::new(config.tiers().tier(lowest).name())?);
        let names = config.tiers().iter().map(|(_, t)| TierName::new(t.name()));
        let names: Box<[TierName]> = names.collect::<Result<_, _>>()?;
        // Where the capacity moves, it moves by the calls that are under way: none is counted that is not.
        let cells = match config.adaptive {
            Some(_) => 0,
            None => Kept::usual(),
        };
        config.can_be()?;
        let desk = Desk::new(config.scheduler.clone(), cells);
        let drive = config
            .adaptive
            .map(|limit| Arc::new(Driver::new(Arc::clone(&name), limit)));
        let pool = Self {
            desk,
            // No more than whoever is trusted could tell; none is zero.
            token: rt::entropy() | 1,
            number: NEXT.fetch_add(1, Relaxed),
            waits: TierWaits::of(names.iter().map(|name| name.as_str())),
            shedding: std::array::from_fn(|_| Shedding::new()),
            names,
            lowest,
            quotas: Quotas::new(&name, &config),
            rejections: Rejections::new(name),
            refused: Default::default(),
            drive,
            config: Mutex::new(config),
        };
        if let Some(drive) = &pool.drive {
            Moves::set(&pool, drive.seating());
        }
        Ok(pool)
    }

    /// Pools that are made one after the other have different ones.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    pub(super) const fn token(&self) -> u64 {
        self.token
    }

    pub(super) const fn name(&self) -> &Name {
        self.rejections.policy()
    }

    pub(super) const fn drive(&self) -> Option<&Arc<Driver>> {
        self.drive.as_ref()
    }

    /// The name of a tier; of one that there is not, the lowest's.
    pub(super) fn name_of(&self, tier: TierId) -> TierName {
        let name = self.names.get(tier.place());
        name.map_or(self.lowest.1, |name| *name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (TierId, TierName)> {
        (0_u8..).map(TierId::new).zip(self.names.iter().copied())
    }

    /// The tier of this name, if there is one.
    fn known(&self, name: TierName) -> Option<TierId> {
        let found = self.names().find(|(_, known)| *known == name);
        found.map(|(tier, _)| tier)
    }

    fn slot(&self, key: TenantKey, tier: &str, weight: Weight) -> TenantSlot {
        let tier = TierName::known(tier).and_then(|tier| self.known(tier));
        let tier = tier.unwrap_or(self.lowest.0);
        TenantSlot {
            token: self.token,
            whose: Whose {
                at: self.desk.find(&key, tier),
                tier,
                name: self.name_of(tier),
                weight,
            },
            key,
        }
    }

    /// Whose call it is, and in which tier: its tenant's, or that of the call within which it is made if that is higher.
    #[inline]
    pub(super) fn whose(&self, caller: &Caller<'_>, scope: Scope) -> Whose {
        if let Caller::At(slot) = caller
            && slot.token == self.token
            && !slot.whose.at.is_shared()
            && scope.tier().is_none_or(|tier| {
                tier == slot.whose.name || self.known(tier).is_none_or(|t| t >= slot.whose.tier)
            })
        {
            return slot.whose;
        }
        self.look_up(caller, scope)
    }

    fn look_up(&self, caller: &Caller<'_>, scope: Scope) -> Whose {
        let own = match caller {
            Caller::At(slot) => Some(slot.whose.name),
            Caller::Known(tenant) => tenant.tier(),
            Caller::Named(tenant) => tenant.tier(),
            Caller::Unknown => None,
        };
        let own = own.and_then(|tier| self.known(tier));
        let own = own.unwrap_or(self.lowest.0);
        let inherited = scope.tier().and_then(|tier| self.known(tier));
        // The best is the first.
        let tier = inherited.map_or(own, |inherited| inherited.min(own));
        let (key, weight) = match caller {
            Caller::At(slot) => (Some(&slot.key), slot.whose.weight),
            Caller::Known(tenant) => (Some(tenant.key()), tenant.share_weight()),
            Caller::Named(tenant) => (Some(tenant.key()), tenant.share_weight()),
            Caller::Unknown => (None, Weight::ONE),
        };
        let at = match key {
            Some(key) => self.desk.find(key, tier),
            None => self.desk.slots.shared(tier),
        };
        Whose {
            at,
            tier,
            name: self.name_of(tier),
            weight,
        }
    }

    /// Takes what the quota of the tenant allows.
    #[inline]
    pub(super) fn check_quota(&self, caller: &Caller<'_>, whose: &Whose) -> Result<(), Rejected> {
        if !self.quotas.are_any() {
            return Ok(());
        }
        let checked = self.quotas.check(whose.tier, || match caller {
            Caller::At(slot) => Some(slot.key.clone()),
            Caller::Known(tenant) => Some(tenant.key().clone()),
            Caller::Named(tenant) => Some(tenant.key().clone()),
            Caller::Unknown => None,
        });
        checked.inspect_err(|rejected| self.count(whose, rejected.reason()))
    }

    /// A seat, if one is free and nobody waits.
    #[inline(always)]
    pub(super) fn admit(self: &Arc<Self>, whose: &Whose) -> Result<TenantSeat, Closed> {
        self.desk.admit(whose, rt::now)?;
        Ok(TenantSeat::taken(self, Taken::outside(whose)))
    }

    /// What becomes of a newcomer who found none.
    #[cold]
    pub(super) fn hold_back(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        whose: &Whose,
        closed: Closed,
    ) -> Entry {
        let scope = Scope::current();
        let mut whose = *whose;
        if closed == Closed::Stale {
            // The slot at hand is another's: the tenant's own may be entered without the lock, now and each time.
            whose = self.look_up(caller, scope);
            if let Ok(seat) = self.admit(&whose) {
                return Entry::Seated(seat);
            }
        }
        let now = rt::now();
        for _ in 0..LOOKS {
            match self.desk.join(&whose, scope.ends(), now) {
                Arrived::Seated(taken) => return Entry::Seated(TenantSeat::taken(self, taken)),
                Arrived::Waits(place, until) => {
                    self.held_back();
                    return Entry::Waits(Wait::new(self, place, until, whose, now));
                }
                Arrived::Refused(no) => {
                    self.held_back();
                    return Entry::Refused(self.refusal(&whose, no, now));
                }
                Arrived::Stale => whose = self.look_up(caller, scope),
            }
        }
        // Its slot was given away each time it was found: there are more tenants at once than are told apart.
        whose.at = self.desk.slots.shared(whose.tier);
        match self.desk.join(&whose, scope.ends(), now) {
            Arrived::Seated(taken) => Entry::Seated(TenantSeat::taken(self, taken)),
            Arrived::Waits(place, until) => Entry::Waits(Wait::new(self, place, until, whose, now)),
            Arrived::Refused(no) => Entry::Refused(self.refusal(&whose, no, now)),
            Arrived::Stale => Entry::Refused(self.refusal(
                &whose,
                No {
                    why: Why::Said(Refusal::TenantFull),
                    after: None,
                },
                now,
            )),
        }
    }

    /// Somebody waits, or is refused: more seats would be of use.
    pub(super) fn held_back(&self) {
        if let Some(drive) = &self.drive {
            drive.held_back();
        }
    }

    pub(super) fn refusal(&self, whose: &Whose, no: No, now: Tick) -> Rejected {
        let reason = match no.why {
            Why::Waited => Reason::QueueTimeout,
            Why::Said(Refusal::Deadline) => Reason::DeadlineExceeded,
            Why::Said(Refusal::Predicted) => Reason::PredictedWait,
            Why::Said(Refusal::TenantFull) => Reason::TenantQueueFull,
            Why::Said(Refusal::PoolFull | Refusal::Shed | Refusal::TierFull) => Reason::QueueFull,
        };
        let mut rejected = Rejected::new(LayerKind::Tenant, reason);
        if reason != Reason::DeadlineExceeded {
            // Where nobody knows how fast the line moves, it has not moved for as long as one may wait.
            let after = no.after.unwrap_or_else(|| self.patience(whose.tier));
            rejected = rejected.retry_after(after);
        }
        self.rejections.note(&rejected);
        self.count(whose, reason);
        self.shed(whose, reason, now);
        rejected
    }

    fn shed(&self, whose: &Whose, reason: Reason, now: Tick) {
        if Shedding::is_for(reason)
            && let Some(tier) = self.shedding.get(whose.tier.place())
            && tier.refused(now)
        {
            observe::tier_sheds(self.name(), whose.name.as_str(), reason);
        }
    }

    /// Whether a tier refuses calls for want of seats, at a moment; tells if it does no longer.
    pub(super) fn sheds(&self, tier: TierId, now: Tick) -> bool {
        let Some(shedding) = self.shedding.get(tier.place()) else {
            return false;
        };
        if shedding.ends(now) {
            observe::tier_recovered(self.name(), self.name_of(tier).as_str());
        }
        shedding.holds()
    }

    /// A call that waited since then has its seat.
    pub(super) fn waited(&self, whose: &Whose, since: Tick, now: Tick) {
        let tier = whose.tier.place();
        self.waits.waited(self.name(), tier, now.since(since));
    }

    fn patience(&self, tier: TierId) -> Duration {
        let wait = |tiers: &Tiers| tiers.tier(tier).longest_wait().get();
        self.desk.look(|scheduler| wait(scheduler.config().tiers()))
    }

    fn count(&self, whose: &Whose, reason: Reason) {
        let tier = self.refused.get(whose.tier.place());
        if let Some(refused) = tier.and_then(|tier| tier.get(reason as usize)) {
            refused.fetch_add(1, Relaxed);
        }
        if let Some(slot) = self.desk.slots.slot(whose.at.number) {
            slot.refused.fetch_add(1, Relaxed);
        }
    }

    /// The calls of a tier that were refused for this reason.
    pub(super) fn refused(&self, tier: TierId, reason: Reason) -> u64 {
        let tier = self.refused.get(tier.place());
        let refused = tier.and_then(|tier| tier.get(reason as usize));
        refused.map_or(0, |refused| refused.load(Relaxed))
    }

    pub(super) const fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    pub(super) fn config(&self) -> TenantConfig {
        let mut config = lock(&self.config).clone();
        config.scheduler = self.desk.look(|scheduler| scheduler.config().clone());
        config
    }

    /// Replaces the settings, as far as they can be: see [`TenantHandle::reload`].
    pub(super) fn reload(&self, config: TenantConfig) -> Result<(), ConfigError> {
        let mut current = lock(&self.config);
        self.takes(&config)?;
        let now = rt::now();
        self.desk.reload(config.tiers().clone(), now)?;
        if self.drive.is_none() {
            self.desk.resize(config.scheduler.capacity());
        }
        *current = config.clone();
        drop(current);
        observe::tenants_changed(self.name(), &config);
        self.put_in_force(config, now);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would take these: all that it asks for is settled when the pool is made.
    #[cfg(feature = "serde")]
    pub(super) fn fits(&self, config: &TenantConfig) -> Result<(), ConfigError> {
        self.takes(config)?;
        let tiers = config.tiers();
        self.desk.look(|scheduler| scheduler.takes(tiers))
    }

    fn takes(&self, config: &TenantConfig) -> Result<(), ConfigError> {
        config.can_be()?;
        if self.drive.is_some() != config.adaptive.is_some() {
            let given = if config.adaptive.is_some() {
                "an adaptive limit"
            } else {
                "a fixed capacity"
            };
            let expected = "a capacity that moves if it moved before, and else one that does not";
            return Err(ConfigError::new("adaptive", given, expected));
        }
        Ok(())
    }

    /// What wakes somebody or is told to whoever listens, and so without the lock: they may ask for the settings. Of two
    /// reloads at a time the later is in force afterwards, and not half of each: whoever was overtaken does it again.
    fn put_in_force(&self, mut config: TenantConfig, now: Tick) {
        loop {
            if let (Some(drive), Some(limit)) = (&self.drive, config.adaptive) {
                drive.reload(self, limit);
            }
            self.desk.pass_on(now);
            self.quotas.reload(self.name(), &config);
            let newest = lock(&self.config).clone();
            if newest == config {
                return;
            }
            config = newest;
        }
    }

    pub(super) fn resize(&self, capacity: NonZeroU32) {
        self.desk.resize(capacity);
        self.desk.pass_on(rt::now());
    }
}

/// A slot that was given away before its call could wait is looked for so often.
const LOOKS: u32 = 3;

/// The places are the seats; the line has rules of its own.
impl Moves for Pool {
    fn set(&self, config: ConcurrencyConfig) {
        self.desk.resize(config.limit());
    }

    fn pass_on(&self) {
        self.desk.pass_on(rt::now());
    }
}

#[cfg(all(test, not(mainstay_loom)))]
mod tests {
    use super::*;
    use crate::num::count;
    use crate::tenant::scheduler::SchedulerConfig;
    use crate::tenant::tier::Tier;

    /// A slot that was given away tells a look-up, which finds another, from the slot at hand.
    #[test]
    fn a_slot_is_at_hand_unless_the_call_is_within_a_higher_tier() {
        let tiers = Tiers::new([
            Tier::new("whose-high"),
            Tier::new("whose"),
            Tier::new("whose-low"),
        ]);
        let config = SchedulerConfig::new(count(4), tiers.unwrap()).tenants(count(16));
        let pool = TenantPool::new("whose", config).unwrap();
        let slot = pool.tenant("acme", "whose");
        for n in 0..1_000_u64 {
            drop(pool.tenant(n, "whose"));
        }
        let whose = |tier: Option<&str>| {
            let scope = Scope::current();
            let scope = tier.map_or(scope, |tier| scope.in_tier(TierName::new(tier).unwrap()));
            let whose = pool.pool.whose(&Caller::At(&slot), scope);
            (whose.at == slot.whose.at, whose.name.as_str())
        };
        for tier in [
            None,
            Some("whose"),
            Some("whose-low"),
            Some("whose-elsewhere"),
        ] {
            assert_eq!(whose(tier), (true, "whose"), "{tier:?}");
        }
        assert_eq!(whose(Some("whose-high")), (false, "whose-high"));
    }
}
