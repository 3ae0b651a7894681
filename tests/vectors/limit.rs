//! Limits of the calls under way.

use std::time::Duration;

use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, Bounds, Sample};
use mainstay::num::count;
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;
use serde_json::{Map, Value};

use crate::case::{Case, Checks, Ended, end, failed, not_applicable, only};

/// mainstay has one adaptive algorithm. Cases that state the arithmetic of another do not apply; those that state what
/// every adaptive limit must keep, do.
pub(crate) fn run(case: &Case) -> Ended {
    let kind = case.config.get("kind").and_then(Value::as_str);
    match is_idle(case) {
        Ok(true) => return end(idle(case)),
        Ok(false) => {}
        Err(error) => return failed(error),
    }
    match kind {
        Some("vegas") => not_applicable(
            "the arithmetic of Vegas: alpha and beta by the logarithm of the limit, judged sample by sample; mainstay \
             judges windows, by the ratio of two means",
        ),
        Some("aimd") => not_applicable(
            "the arithmetic of AIMD: a fixed factor for each lost call; mainstay weighs lost calls by their time",
        ),
        Some("gradient") => not_applicable(
            "the arithmetic of failsafe-go's gradient: steps of one; mainstay moves to what a window calls for, and its \
             baseline is not a moving mean",
        ),
        Some("exp_avg") => not_applicable(
            "the warm-up of a moving mean; mainstay's baseline is the first window, then what was measured",
        ),
        Some("max_factor") => not_applicable(
            "a ceiling by the logarithm of the peak; mainstay grows to twice the peak at most, and its bounds are settings",
        ),
        Some("partition") => not_applicable("mainstay does not share a limit among partitions yet"),
        other => failed(format!("unknown kind {other:?}")),
    }
}

/// Whether the case says, in samples well below half of the limit, that such samples leave it alone.
fn is_idle(case: &Case) -> Result<bool, String> {
    let samples = case
        .steps
        .iter()
        .all(|step| step.get("do").and_then(Value::as_str) == Some("sample"));
    if case.steps.is_empty() || !samples {
        return Ok(false);
    }
    let initial = number(&case.config, "initial")?;
    let mut few = 0;
    for step in &case.steps {
        only(
            "a step",
            step,
            &["do", "rtt_ms", "in_flight", "dropped", "expect"],
        )?;
        let expected = step.get("expect").and_then(Value::as_object);
        if expected.is_some_and(|expect| expect.get("limit") != case.config.get("initial")) {
            return Ok(false);
        }
        few += usize::from(2 * number(step, "in_flight")? < initial);
    }
    Ok(few + 1 >= case.steps.len())
}

/// Each such sample ten times over, so that there are windows to judge. A sample of a limit in full use is left out: by
/// it alone mainstay may grow, and that others do not is their arithmetic.
fn idle(case: &Case) -> Result<Checks, String> {
    only(
        "config",
        &case.config,
        &[
            "kind",
            "alpha",
            "beta",
            "threshold",
            "smoothing",
            "initial",
            "max",
            "backoff",
            "timeout_ms",
        ],
    )?;
    let most = u32::try_from(number(&case.config, "max")?).map_err(|error| error.to_string())?;
    let initial = number(&case.config, "initial")?;
    let config = AdaptiveConfig::new()
        .bounds(Bounds::between(1, most.max(1)))
        .start(count(u32::try_from(initial).unwrap_or(u32::MAX).max(1)));
    let mut now = Tick::ZERO;
    let mut adaptive = Adaptive::new(config, now);
    let mut checks = Checks::default();
    for (n, step) in case.steps.iter().enumerate() {
        let took = Duration::from_millis(number(step, "rtt_ms")?);
        let in_flight = number(step, "in_flight")?;
        let outcome = match step.get("dropped").and_then(Value::as_bool) {
            Some(true) => Outcome::Failure(Failure::Timeout),
            _ => Outcome::Success,
        };
        if 2 * in_flight < initial {
            let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
            for _ in 0..10 {
                now = now + took;
                let sample = Sample::new(now.back(took), outcome).in_flight(in_flight);
                adaptive.observe(sample, now);
            }
        }
        if let Some(expect) = step.get("expect").and_then(Value::as_object) {
            only("expect", expect, &["limit"])?;
            let limit = expect.get("limit").unwrap_or(&Value::Null);
            checks.equal(format!("step {n}"), "limit", limit, adaptive.limit().get());
        }
    }
    Ok(checks)
}

fn number(map: &Map<String, Value>, key: &str) -> Result<u64, String> {
    let number = map.get(key).and_then(Value::as_u64);
    number.ok_or_else(|| format!("`{key}` is no whole number: {:?}", map.get(key)))
}
