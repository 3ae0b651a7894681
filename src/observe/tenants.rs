//! What pools of tenants tell: by tier, never by tenant.
//!
//! What is counted anyway is looked at now and then, so that a call that need not wait pays nothing for it. Only a wait is
//! told where it ends.

use std::num::NonZeroU32;
use std::time::Duration;

use metrics::{Key, Label};

use super::{Keys, Name, label};
use crate::error::Reason;
use crate::tenant::{TenantConfig, TierReport};

/// Tells how long the calls of each tier waited. Its keys are made once per tier.
pub(crate) struct TierWaits(Box<[(&'static str, Keys<1>)]>);

impl TierWaits {
    /// Of these tiers, in their order.
    pub(crate) fn of(tiers: impl IntoIterator<Item = &'static str>) -> Self {
        Self(tiers.into_iter().map(|tier| (tier, Keys::new())).collect())
    }

    /// A call that waited for so long has its seat.
    pub(crate) fn waited(&self, policy: &Name, tier: usize, waited: Duration) {
        if let Some((tier, keys)) = self.0.get(tier) {
            keys.took(0, waited, || {
                let labels = vec![
                    Label::new("policy", label(policy)),
                    Label::new("tier", *tier),
                ];
                Key::from_parts("mainstay_tier_wait_seconds", labels)
            });
        }
    }
}

/// How many seats a pool has.
pub(crate) fn tenant_capacity(policy: &Name, seats: NonZeroU32) {
    metrics::gauge!("mainstay_tenant_capacity", "policy" => label(policy)).set(seats.get());
}

/// What a tier has and has had, and whether it sheds.
pub(crate) fn tier(policy: &Name, report: &TierReport, sheds: bool) {
    let tier = report.name;
    let labels = || {
        vec![
            Label::new("policy", label(policy)),
            Label::new("tier", tier),
        ]
    };
    metrics::gauge!("mainstay_tier_in_flight", labels()).set(report.in_flight);
    metrics::gauge!("mainstay_tier_waiting", labels()).set(report.waiting);
    metrics::gauge!("mainstay_tier_shedding", labels()).set(f64::from(sheds));
    metrics::counter!("mainstay_tier_admitted_total", labels()).absolute(report.admitted);
    for (reason, times) in &report.refused {
        let mut labels = labels();
        labels.push(Label::new("reason", reason.as_str()));
        metrics::counter!("mainstay_tier_rejections_total", labels).absolute(*times);
    }
}

/// A tier begins to refuse calls for want of seats.
pub(crate) fn tier_sheds(policy: &Name, tier: &'static str, reason: Reason) {
    let labels = vec![
        Label::new("policy", label(policy)),
        Label::new("tier", tier),
    ];
    metrics::gauge!("mainstay_tier_shedding", labels).set(1.0);
    tracing::warn!(
        policy = &**policy,
        tier,
        reason = reason.as_str(),
        "tier sheds"
    );
}

/// It has not done so for a while.
pub(crate) fn tier_recovered(policy: &Name, tier: &'static str) {
    tracing::info!(policy = &**policy, tier, "tier recovered");
}

/// A pool has other settings.
pub(crate) fn tenants_changed(policy: &Name, config: &TenantConfig) {
    tracing::info!(policy = &**policy, ?config, "tenants changed");
}
