//! The only file that knows `tracing` and `metrics`.
//!
//! Every name and label that mainstay emits stands here. The label `policy` is the name that the user gave the policy,
//! never a tenant, endpoint or key, so the number of series is the number of policies. No payload is ever recorded.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `mainstay_rejections_total` | counter | `policy`, `layer`, `reason` |
//! | `mainstay_breaker_transitions_total` | counter | `policy`, `to` |
//! | `mainstay_breaker_state` | gauge: 0 closed, 1 half-open, 2 open | `policy` |
//! | `mainstay_retries_total` | counter | `policy` |
//! | `mainstay_retries_given_up_total` | counter | `policy`, `reason` |
//! | `mainstay_attempt_timeouts_total` | counter | `policy` |

use std::sync::Arc;
use std::time::Duration;

use crate::breaker::{State, Transition};
use crate::error::Rejected;
use crate::retry::GaveUp;

/// The name of a policy, as it appears in labels.
pub(crate) type Name = Arc<str>;

fn label(name: &Name) -> metrics::SharedString {
    metrics::SharedString::from_shared(Arc::clone(name))
}

pub(crate) fn rejected(policy: &Name, rejected: &Rejected) {
    let (layer, reason) = (rejected.layer().as_str(), rejected.reason().as_str());
    metrics::counter!(
        "mainstay_rejections_total",
        "policy" => label(policy), "layer" => layer, "reason" => reason
    )
    .increment(1);
    tracing::debug!(policy = &**policy, layer, reason, retry_after = ?rejected.hint(), "rejected");
}

pub(crate) fn transition(policy: &Name, transition: &Transition) {
    let to = transition.to();
    metrics::counter!(
        "mainstay_breaker_transitions_total", "policy" => label(policy), "to" => to.as_str()
    )
    .increment(1);
    let level = match to {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    };
    metrics::gauge!("mainstay_breaker_state", "policy" => label(policy)).set(level);
    let (from, cause) = (transition.from().as_str(), transition.cause().as_str());
    if to == State::Open {
        tracing::warn!(
            policy = &**policy,
            from,
            to = to.as_str(),
            cause,
            "circuit opened"
        );
    } else {
        tracing::info!(
            policy = &**policy,
            from,
            to = to.as_str(),
            cause,
            "circuit changed"
        );
    }
}

pub(crate) fn retried(policy: &Name, attempt: u32, after: Duration) {
    metrics::counter!("mainstay_retries_total", "policy" => label(policy)).increment(1);
    tracing::debug!(policy = &**policy, attempt, ?after, "will retry");
}

pub(crate) fn gave_up(policy: &Name, attempt: u32, reason: GaveUp) {
    let reason = reason.as_str();
    metrics::counter!(
        "mainstay_retries_given_up_total", "policy" => label(policy), "reason" => reason
    )
    .increment(1);
    tracing::debug!(policy = &**policy, attempt, reason, "gave up");
}

pub(crate) fn timed_out(policy: &Name, after: Duration) {
    metrics::counter!("mainstay_attempt_timeouts_total", "policy" => label(policy)).increment(1);
    tracing::debug!(policy = &**policy, ?after, "attempt timed out");
}
