//! What ladders of degradation tell.

use metrics::Label;

use super::{Name, label};
use crate::degrade::{Change, Kind, Order};

fn index(level: usize) -> f64 {
    // A ladder has a thousand levels at most.
    u32::try_from(level).map_or(f64::MAX, f64::from)
}

/// The level that holds.
pub(crate) fn degradation_level(policy: &Name, level: usize) {
    metrics::gauge!("mainstay_degradation_level", "policy" => label(policy)).set(index(level));
}

/// The level or what is served has changed.
pub(crate) fn degradation_changed(policy: &Name, change: &Change) {
    let cause = change.cause();
    metrics::counter!(
        "mainstay_degradation_changes_total",
        "policy" => label(policy),
        "cause" => cause.as_str()
    )
    .increment(1);
    let (policy, from, to) = (&**policy, change.from().name(), change.to().name());
    tracing::warn!(policy, from, to, %cause, "degradation changed");
}

/// What is served of a capability.
pub(crate) fn capability_mode(policy: &Name, capability: &Name, kind: Kind) {
    let labels = vec![
        Label::new("policy", label(policy)),
        Label::new("capability", label(capability)),
    ];
    metrics::gauge!("mainstay_capability_mode", labels).set(f64::from(kind as u8));
}

/// An operator pins, or takes a pin away.
pub(crate) fn degradation_commanded(
    policy: &Name,
    command: &'static str,
    of: &str,
    mode: &str,
    order: &Order,
) {
    let (policy, actor, reason) = (&**policy, order.actor(), order.reason());
    let lasting = order.duration();
    tracing::warn!(
        policy,
        command,
        of,
        mode,
        actor,
        reason,
        ?lasting,
        "degradation commanded"
    );
}
