use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::config::TenantConfig;
use super::identity::TenantKey;
use super::tier::{TierId, Tiers};
use crate::error::Rejected;
use crate::limit::rate::{KeyedRate, KeyedRateConfig};
use crate::observe::Name;

/// What each tenant of a tier may send in a time. Where no tier has a quota, that costs a load.
pub(super) struct Quotas {
    /// Whether any tier has one.
    any: AtomicBool,
    each: [Quota; Tiers::MOST],
}

#[derive(Default)]
struct Quota {
    /// Whether there is one. The limit stays when it is taken away, and so does what tenants have used.
    on: AtomicBool,
    limit: OnceLock<KeyedRate<Option<TenantKey>>>,
}

impl Quotas {
    pub(super) fn new(name: &Name, config: &TenantConfig) -> Self {
        let quotas = Self {
            any: AtomicBool::new(false),
            each: std::array::from_fn(|_| Quota::default()),
        };
        quotas.reload(name, config);
        quotas
    }

    pub(super) fn reload(&self, name: &Name, config: &TenantConfig) {
        for (quota, each) in self.each.iter().zip(config.quotas) {
            if let Some(each) = each {
                quota.set(name, each);
            }
            quota.on.store(each.is_some(), Ordering::Release);
        }
        let any = config.quotas.iter().any(Option::is_some);
        self.any.store(any, Ordering::Release);
    }

    #[inline]
    pub(super) fn are_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Takes a permit of the tenant; those who are not known share one.
    #[cold]
    pub(super) fn check(
        &self,
        tier: TierId,
        key: impl FnOnce() -> Option<TenantKey>,
    ) -> Result<(), Rejected> {
        match self.each.get(tier.place()) {
            Some(quota) if quota.on.load(Ordering::Acquire) => quota.check(&key()),
            _ => Ok(()),
        }
    }
}

impl Quota {
    fn set(&self, name: &Name, each: KeyedRateConfig) {
        let mut is_new = false;
        let limit = self.limit.get_or_init(|| {
            is_new = true;
            KeyedRate::new(std::sync::Arc::clone(name), each)
        });
        if !is_new {
            limit.handle().reload(each);
        }
    }

    fn check(&self, key: &Option<TenantKey>) -> Result<(), Rejected> {
        match self.limit.get() {
            Some(limit) => limit.check(key),
            None => Ok(()),
        }
    }
}
