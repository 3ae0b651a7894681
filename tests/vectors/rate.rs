//! Limits of the calls in a time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use mainstay::limit::rate::{Rate, RateConfig, RateLimit, Reservation};
use mainstay::num::Period;
use mainstay::time::Tick;
use serde_json::{Map, Value};

use crate::case::{Case, Checks, Ended, end, failed, not_applicable, only};

type Object = Map<String, Value>;

pub(crate) fn run(case: &Case) -> Ended {
    let kind = case.config.get("kind").and_then(Value::as_str);
    match kind {
        Some("cubic" | "cubic_bucket") => not_applicable(
            "a send rate that adapts to throttling is one more controller over the same signal as the adaptive \
             concurrency limit, which also sees latency; retries after throttling have budgets and hints of their own",
        ),
        Some("even" | "burst" | "cycle" | "queue" | "gcra") => match settings(&case.config) {
            Ok(Some(config)) => end(run_steps(case, config)),
            Ok(None) => not_applicable("a rate of nothing does not construct"),
            Err(error) => failed(error),
        },
        other => failed(format!("unknown kind {other:?}, op {:?}", case.op)),
    }
}

/// The limit that a case describes. What failsafe calls even or bursty and resilience4j a cycle counts on a grid from
/// the clock's origin: in mainstay's words, windows. A queue is spaced from the last call: mainstay's even rate.
fn settings(config: &Object) -> Result<Option<RateConfig>, String> {
    const KNOWN: [&str; 16] = [
        "burst",
        "cycle_ms",
        "cycle_ns",
        "interval_ms",
        "interval_ns",
        "kind",
        "max_wait_ms",
        "max_wait_ns",
        "patience_ms",
        "patience_ns",
        "per",
        "per_second",
        "period_ms",
        "period_ns",
        "period_s",
        "profile",
    ];
    only("config", config, &KNOWN)?;
    let number = |key: &str| match config.get(key) {
        Some(value) => whole(value).map(Some),
        None => Ok(None),
    };
    let permits = match (number("per")?, number("per_second")?) {
        (Some(permits), None) | (None, Some(permits)) => permits,
        (None, None) => 1,
        (Some(_), Some(_)) => return Err("both `per` and `per_second`".to_owned()),
    };
    let mut period = None;
    for key in ["interval", "period", "cycle"] {
        period = period.or(span(config, key)?);
    }
    let Ok(permits) = u32::try_from(permits) else {
        return Err(format!("{permits} permits"));
    };
    let Some(permits) = NonZeroU32::new(permits) else {
        return Ok(None);
    };
    let period = period.unwrap_or(Duration::from_secs(1));
    let period = Period::new("period", period).map_err(|error| error.to_string())?;
    let burst = match number("burst")? {
        Some(burst) => u32::try_from(burst).ok().and_then(NonZeroU32::new),
        None => Some(permits),
    };
    let kind = config.get("kind").and_then(Value::as_str);
    let (permits, period) = match kind {
        Some("even") => {
            let interval = period.get() / permits.get();
            let interval = Period::new("interval", interval).map_err(|error| error.to_string())?;
            (NonZeroU32::MIN, interval)
        }
        _ => (permits, period),
    };
    let rate = match (kind, burst) {
        (Some("queue"), _) => Rate::Even { permits, period },
        (Some("gcra"), Some(burst)) => Rate::Burst {
            burst,
            permits,
            period,
        },
        (_, Some(_)) => Rate::Windows { permits, period },
        (_, None) => return Err("no such burst".to_owned()),
    };
    let patience = match span(config, "patience")? {
        Some(patience) => Some(patience),
        None => span(config, "max_wait")?,
    };
    let config = RateConfig::new(rate);
    Ok(Some(match patience {
        Some(Duration::ZERO) => config,
        Some(patience) => {
            config.patience(Period::new("patience", patience).map_err(|error| error.to_string())?)
        }
        // Not bounded where the case does not bound it.
        None => config.patience(
            Period::new("patience", Duration::from_secs(86_400 * 365))
                .map_err(|error| error.to_string())?,
        ),
    }))
}

fn whole(value: &Value) -> Result<u64, String> {
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    });
    whole.ok_or_else(|| format!("`{value}` is no whole number"))
}

/// A length of time under `key_s`, `key_ms` or `key_ns`.
fn span(map: &Object, key: &str) -> Result<Option<Duration>, String> {
    for (unit, nanos) in [("s", 1e9), ("ms", 1e6), ("ns", 1.0)] {
        if let Some(value) = map.get(&format!("{key}_{unit}")) {
            let number = value.as_f64().filter(|number| *number >= 0.0);
            let number = number.ok_or_else(|| format!("`{value}` is no time"))?;
            let text = format!("{:.0}", number * nanos);
            let nanos = text.parse().map_err(|_| format!("`{value}` is too long"))?;
            return Ok(Some(Duration::from_nanos(nanos)));
        }
    }
    Ok(None)
}

fn run_steps(case: &Case, config: RateConfig) -> Result<Checks, String> {
    let mut limit = RateLimit::new(config);
    let mut checks = Checks::default();
    let mut held: HashMap<String, Reservation> = HashMap::new();
    let mut now = Tick::ZERO;
    for (number, step) in case.steps.iter().enumerate() {
        let place = format!("step {number}");
        let known = [
            "t",
            "t_ns",
            "do",
            "n",
            "id",
            "times",
            "expect",
            "max_wait_ms",
            "max_wait_ns",
        ];
        only(&place, step, &known)?;
        if let Some(t) = step.get("t") {
            let ms = t
                .as_f64()
                .ok_or_else(|| format!("{place}: `{t}` is no time"))?;
            now = Tick::ZERO + Duration::from_secs_f64(ms / 1e3);
        }
        if let Some(t) = step.get("t_ns") {
            now = Tick::from_nanos(whole(t)?);
        }
        let n = match step.get("n") {
            Some(n) => u32::try_from(whole(n)?).ok().and_then(NonZeroU32::new),
            None => Some(NonZeroU32::MIN),
        };
        let n = n.ok_or_else(|| format!("{place}: no such number of permits"))?;
        let left = span(step, "max_wait")?.unwrap_or(Duration::MAX);
        let mut seen = Seen::default();
        match step.get("do").and_then(Value::as_str) {
            Some("reserve" | "arrive" | "acquire") => {
                let times = step.get("times").map_or(Ok(1), whole)?;
                for _ in 0..times {
                    match limit.reserve_within(n, left, now) {
                        Ok(reservation) => {
                            seen.admitted += 1;
                            seen.wait = Some(reservation.wait());
                            seen.last_wait = seen.wait;
                            if let Some(id) = step.get("id").and_then(Value::as_str) {
                                held.insert(id.to_owned(), reservation);
                            }
                        }
                        Err(rejected) => {
                            seen.refused += 1;
                            seen.wait = None;
                            seen.retry_after = rejected.hint();
                        }
                    }
                }
            }
            Some("cancel") => {
                let id = step.get("id").and_then(Value::as_str).unwrap_or_default();
                let reservation = held.remove(id);
                limit.cancel(
                    reservation.ok_or_else(|| format!("{place}: nobody holds `{id}`"))?,
                    now,
                );
            }
            Some("look") => {}
            other => return Err(format!("{place}: unknown action {other:?}")),
        }
        if let Some(expect) = step.get("expect") {
            let expect = expect.as_object().ok_or("`expect` is no object")?;
            seen.check(&place, expect, &limit, now, &mut checks)?;
        }
    }
    Ok(checks)
}

/// What the calls of a step saw.
#[derive(Default)]
struct Seen {
    admitted: u64,
    refused: u64,
    /// Of the last call, `None` if it was refused.
    wait: Option<Duration>,
    last_wait: Option<Duration>,
    retry_after: Option<Duration>,
}

impl Seen {
    fn check(
        &self,
        place: &str,
        expect: &Object,
        limit: &RateLimit,
        now: Tick,
        checks: &mut Checks,
    ) -> Result<(), String> {
        let look = limit.look(now);
        for (key, expected) in expect {
            let (what, nanos) = match key.rsplit_once('_') {
                Some((what, "s")) => (what, 1e9),
                Some((what, "ms")) => (what, 1e6),
                Some((what, "ns")) => (what, 1.0),
                _ => (key.as_str(), 1.0),
            };
            let time = |span: Option<Duration>| match span {
                Some(span) => Value::from(span.as_nanos() as f64 / nanos),
                None => Value::from(-1),
            };
            let got = match what {
                "wait" => time(self.wait),
                "last_wait" => time(self.last_wait),
                "retry_after" => time(self.retry_after),
                "next_free" => time(Some(look.next().since(Tick::ZERO))),
                "admit" => Value::from(self.refused == 0),
                "admitted" | "granted" => Value::from(self.admitted),
                "refused" | "rejected" => Value::from(self.refused),
                "left" => Value::from(look.left()),
                _ => return Err(format!("{place}: unknown expectation `{key}`")),
            };
            checks.close(place, key, expected, &got, 1e-6);
        }
        Ok(())
    }
}
