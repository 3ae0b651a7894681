//! What drivers of autoscalers tell: what they see, what they want, and what becomes of it.

use std::fmt;

use metrics::Label;

use super::{Name, label};
use crate::autoscale::reasoning::Reasoning;

/// The replicas that are ordered.
pub(crate) fn replicas(policy: &Name, ordered: u32) {
    metrics::gauge!("mainstay_autoscale_replicas", "policy" => label(policy)).set(ordered);
}

/// The replicas that there should be.
pub(crate) fn replicas_wanted(policy: &Name, wanted: u32) {
    metrics::gauge!("mainstay_autoscale_wanted_replicas", "policy" => label(policy)).set(wanted);
}

/// What a turn could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Clear,
    NoSample,
    NoSignal,
    Stale,
}

impl Sight {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::NoSample => "no_sample",
            Self::NoSignal => "no_signal",
            Self::Stale => "stale",
        }
    }
}

/// One turn was taken; `before` is what the last one saw.
pub(crate) fn autoscaler_turned(policy: &Name, sight: Sight, before: Sight) {
    metrics::counter!(
        "mainstay_autoscale_turns_total",
        "policy" => label(policy), "sight" => sight.as_str()
    )
    .increment(1);
    let policy = &**policy;
    match (before, sight) {
        (Sight::Clear, Sight::Clear) => {}
        (Sight::Clear, _) => tracing::warn!(policy, sight = sight.as_str(), "autoscaler is blind"),
        (_, Sight::Clear) => tracing::info!(policy, "autoscaler sees again"),
        _ => {}
    }
}

/// What became of a count that was to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Done,
    Dry,
    Failed,
}

impl Asked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dry => "dry",
            Self::Failed => "failed",
        }
    }
}

/// The steps of a decision in one line; what is asked for without one is without metrics.
struct Why<'d>(Option<&'d Reasoning>);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(why) = self.0 else {
            return f.write_str("no metrics");
        };
        for (place, step) in why.steps().enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// A count was asked for where so many were ordered when that was last known. The words of a failure are the target's, and
/// are not told.
pub(crate) fn replicas_changed(
    policy: &Name,
    from: Option<u32>,
    to: u32,
    outcome: Asked,
    why: Option<&Reasoning>,
) {
    let direction = match from {
        Some(from) if to > from => "up",
        Some(from) if to < from => "down",
        _ => "again",
    };
    let labels = vec![
        Label::new("policy", label(policy)),
        Label::new("direction", direction),
        Label::new("outcome", outcome.as_str()),
    ];
    metrics::counter!("mainstay_autoscale_changes_total", labels).increment(1);
    let (policy, why) = (&**policy, Why(why));
    match outcome {
        Asked::Done => tracing::info!(policy, from, to, %why, "replicas changed"),
        Asked::Dry => tracing::info!(policy, from, to, %why, "replicas would change"),
        Asked::Failed => tracing::warn!(policy, from, to, %why, "replicas could not be changed"),
    }
}
