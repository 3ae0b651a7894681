//! What the health of components tells: what is known of each, and how the looks at them go.

use std::time::Duration;

use metrics::Label;

use super::{Name, label};
use crate::health::Verdict;

fn labels(policy: &Name, component: &Name) -> Vec<Label> {
    vec![
        Label::new("policy", label(policy)),
        Label::new("component", label(component)),
    ]
}

/// What is known of a component: the worse, the greater, so that of several observers the greatest counts.
pub(crate) fn component_verdict(policy: &Name, component: &Name, verdict: Verdict) {
    let place = match verdict {
        Verdict::Up => 0.0,
        Verdict::Degraded => 1.0,
        Verdict::Unknown => 2.0,
        Verdict::Down => 3.0,
    };
    metrics::gauge!("mainstay_component_verdict", labels(policy, component)).set(place);
}

/// Something else is known of a component.
pub(crate) fn component_changed(policy: &Name, component: &Name, from: Verdict, to: Verdict) {
    let (policy, component) = (&**policy, &**component);
    let (from, to, is_down) = (from.as_str(), to.as_str(), to == Verdict::Down);
    if is_down {
        tracing::warn!(policy, component, from, to, "component is down");
    } else {
        tracing::info!(policy, component, from, to, "component changed");
    }
}

/// A look at a component took so long; where it failed, how.
pub(crate) fn probed(
    policy: &Name,
    component: &Name,
    took: Duration,
    failure: Option<&'static str>,
) {
    let labels = labels(policy, component);
    metrics::histogram!("mainstay_probe_duration_seconds", labels.clone()).record(took);
    if let Some(reason) = failure {
        let reason = Label::new("reason", reason);
        let labels: Vec<_> = labels.into_iter().chain([reason]).collect();
        metrics::counter!("mainstay_probe_failures_total", labels).increment(1);
    }
}
