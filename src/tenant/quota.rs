use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::config::TenantConfig;
use super::identity::TenantKey;
use super::tier::{TierId, Tiers};
use crate::error::Rejected;
use crate::limit::rate::{KeyedRate, KeyedRateConfig};
use crate::observe::Name;

/// What each tenant of a tier may send in a time. A tier without a quota costs a load.
pub(super) struct Quotas([Quota; Tiers::MOST]);

#[derive(Default)]
struct Quota {
    /// Whether there is one. The limit stays when it is taken away, and so does what tenants have used.
    on: AtomicBool,
    limit: OnceLock<KeyedRate<Option<TenantKey>>>,
}

impl Quotas {
    pub(super) fn new(name: &Name, config: &TenantConfig) -> Self {
        let quotas = Self(std::array::from_fn(|_| Quota::default()));
        quotas.reload(name, config);
        quotas
    }

    pub(super) fn reload(&self, name: &Name, config: &TenantConfig) {
        for (quota, each) in self.0.iter().zip(config.quotas) {
            if let Some(each) = each {
                quota.set(name, each);
            }
            quota.on.store(each.is_some(), Ordering::Release);
        }
    }

    /// Takes a permit of the tenant; those who are not known share one.
    #[inline]
    pub(super) fn check(
        &self,
        tier: TierId,
        key: impl FnOnce() -> Option<TenantKey>,
    ) -> Result<(), Rejected> {
        match self.0.get(tier.place()) {
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

    #[cold]
    fn check(&self, key: &Option<TenantKey>) -> Result<(), Rejected> {
        match self.limit.get() {
            Some(limit) => limit.check(key),
            None => Ok(()),
        }
    }
}
