use std::num::NonZeroU32;

use super::scheduler::SchedulerConfig;
use super::tier::{TierId, Tiers};
use crate::error::ConfigError;
use crate::limit::adaptive::AdaptiveConfig;
use crate::limit::rate::KeyedRateConfig;

/// The settings of a pool whose seats tenants share.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::Rate;
/// use mainstay::num::{Period, count};
/// use mainstay::presets;
/// use mainstay::tenant::TenantConfig;
///
/// // Sixty-four seats for the three tiers of an ERP; a small tenant sends at most a hundred requests in a second.
/// let config = TenantConfig::new(count(64), presets::erp::tiers())
///     .quota("smb", Rate::burst(100, Period::secs(1)))?;
/// assert_eq!(config.scheduler().capacity().get(), 64);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TenantConfig {
    pub(super) scheduler: SchedulerConfig,
    pub(super) adaptive: Option<AdaptiveConfig>,
    pub(super) quotas: [Option<KeyedRateConfig>; Tiers::MOST],
}

impl TenantConfig {
    /// A pool of so many seats, shared by these tiers.
    #[must_use]
    pub const fn new(capacity: NonZeroU32, tiers: Tiers) -> Self {
        Self::of(SchedulerConfig::new(capacity, tiers))
    }

    /// A pool whose waiters are scheduled by these settings.
    #[must_use]
    pub const fn of(scheduler: SchedulerConfig) -> Self {
        Self {
            scheduler,
            adaptive: None,
            quotas: [None; Tiers::MOST],
        }
    }

    /// As many seats as the callee answers well: the capacity follows an [adaptive limit](crate::limit::adaptive), from its
    /// [`start`](AdaptiveConfig::start) on and between its bounds. Of its settings those about the line say nothing here,
    /// since the line is the tenants'. A pool counts no more than 2,097,151 seats with up to three tiers, 32,767 with four,
    /// 4,095, 1,023, 511 and 127 with eight; settings with a greater capacity or upper bound make none.
    ///
    /// Defaults to a capacity that stays as it is.
    #[must_use]
    pub const fn adaptive(mut self, limit: AdaptiveConfig) -> Self {
        self.adaptive = Some(limit);
        self
    }

    /// How many calls each tenant of a tier may send in a time, whatever is free: what it has paid for. A call beyond it
    /// is refused before it asks for a seat.
    ///
    /// Defaults to any number.
    ///
    /// # Errors
    ///
    /// When there is no tier of that name.
    pub fn quota(
        mut self,
        tier: &str,
        each: impl Into<KeyedRateConfig>,
    ) -> Result<Self, ConfigError> {
        let found = self
            .scheduler
            .tiers()
            .iter()
            .find(|(_, t)| t.name() == tier);
        let place = found.map(|(id, _)| id.place());
        match place.and_then(|place| self.quotas.get_mut(place)) {
            Some(quota) => *quota = Some(each.into()),
            None => {
                return Err(ConfigError::new(
                    "quota",
                    tier,
                    "the name of one of the tiers",
                ));
            }
        }
        Ok(self)
    }

    /// How waiters are scheduled.
    #[must_use]
    pub const fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// Who shares the pool.
    #[must_use]
    pub const fn tiers(&self) -> &Tiers {
        self.scheduler.tiers()
    }

    /// What moves the capacity, if anything does.
    #[must_use]
    pub const fn adaptive_limit(&self) -> Option<&AdaptiveConfig> {
        self.adaptive.as_ref()
    }

    /// How many calls each tenant of a tier may send in a time; none for any number.
    #[must_use]
    pub fn quota_of(&self, tier: TierId) -> Option<KeyedRateConfig> {
        self.quotas.get(tier.place()).copied().flatten()
    }
}

/// How many bits each tier's count of calls has in the word of a pool of so many tiers. The widest allows about two million
/// seats: more than one process has sockets for.
#[cfg(any(feature = "tower", feature = "serde"))]
pub(super) const fn width(tiers: usize) -> u32 {
    match tiers {
        0..=3 => 21,
        4 => 15,
        5 => 12,
        6 => 10,
        7 => 9,
        _ => 7,
    }
}

/// What is kept of tenants is bounded by this whatever the settings say: some 4 GB.
#[cfg(any(feature = "tower", feature = "serde"))]
const MOST_TENANTS: u32 = 1 << 24;

#[cfg(any(feature = "tower", feature = "serde"))]
impl TenantConfig {
    /// Whether there can be a pool of these settings.
    pub(super) fn can_be(&self) -> Result<(), ConfigError> {
        let most = (1 << width(self.tiers().count())) - 1;
        let seats = format!("at most {most} seats with so many tiers");
        let capacity = self.scheduler.capacity();
        if capacity.get() > most {
            return Err(ConfigError::new("capacity", capacity, seats));
        }
        if let Some(limit) = &self.adaptive
            && limit.range().most().get() > most
        {
            let error = ConfigError::new("most", limit.range().most(), seats);
            return Err(error.within("adaptive.bounds"));
        }
        let tenants = self.scheduler.most_tenants();
        if tenants.get() > MOST_TENANTS {
            let expected = format!("at most {MOST_TENANTS} tenants");
            return Err(ConfigError::new("tenants", tenants, expected));
        }
        Ok(())
    }
}

impl From<SchedulerConfig> for TenantConfig {
    fn from(scheduler: SchedulerConfig) -> Self {
        Self::of(scheduler)
    }
}
