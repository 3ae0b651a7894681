//! Retries under a total deadline, through the real layers and on a paused clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, Reason, TimedOut};
use mainstay::num::Period;
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::rt;
use mainstay::scope::Scope;
use mainstay::time::Tick;
use serde_json::{Map, Value, json};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::case::{Case, Checks, only};
use crate::heard::{self, Heard};
use crate::retry::{attempts, backoff, jitter, millis, ms, word};

/// What was seen of one attempt.
#[derive(Clone, Copy)]
struct Seen {
    began: Duration,
    limit: Option<Duration>,
    ended: Option<Duration>,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// Notes the end of an attempt, however it ends.
struct Ending(Log, usize, Tick);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = log.get_mut(self.1) {
            seen.ended = Some(rt::now().since(self.2));
        }
    }
}

fn key<'m>(map: &'m Map<String, Value>, name: &str) -> &'m Value {
    map.get(name).unwrap_or(&Value::Null)
}

fn period(value: &Value) -> Result<Period, String> {
    Period::new("period", ms(value)?).map_err(|error| error.to_string())
}

/// How the callee treats one attempt: `None` hangs.
#[derive(Clone, Copy)]
struct Plan {
    lasts: Option<Duration>,
    succeeds: bool,
}

pub(crate) fn run(case: &Case) -> Result<Checks, String> {
    let known = [
        "total_ms",
        "attempt_timeout_ms",
        "shape",
        "base_ms",
        "cap_ms",
        "factor",
        "max_attempts",
        "jitter",
    ];
    only("config", &case.config, &known)?;
    let config = |name| key(&case.config, name);
    let delays = backoff(
        word(config("shape"))?,
        config("base_ms"),
        config("factor"),
        config("cap_ms"),
    )?;
    let policy = RetryConfig::new(attempts(&case.config)?)
        .backoff(delays.jitter(jitter(config("jitter"))?))
        .without_budget();
    let mut plans = Vec::new();
    for step in &case.steps {
        only("step", step, &["t", "do", "lasts", "outcome", "expect"])?;
        if key(step, "do") == "attempt" {
            let lasts = match key(step, "lasts") {
                Value::String(word) if word == "hang" => None,
                lasts => Some(ms(lasts)?),
            };
            let succeeds = key(step, "outcome") == "ok";
            plans.push(Plan { lasts, succeeds });
        }
    }
    let log = Log::default();
    let total = DeadlineLayer::new("vectors", period(config("total_ms"))?);
    let attempt = TimeoutLayer::new("vectors", period(config("attempt_timeout_ms"))?);
    let heard = Heard::listen();
    let seen = Arc::clone(&log);
    let (result, took) = heard::runtime().block_on(async move {
        let start = rt::now();
        let callee = move |()| {
            let plan = call(&seen, &plans, start);
            async move {
                let (plan, _ending) = plan;
                match plan.lasts {
                    Some(lasts) => tokio::time::sleep(lasts).await,
                    None => std::future::pending().await,
                }
                if plan.succeeds {
                    Ok(())
                } else {
                    Err(BoxError::from("fail"))
                }
            }
        };
        let service = ServiceBuilder::new()
            .layer(total)
            .layer(RetryLayer::new("vectors", policy))
            .layer(attempt)
            .service_fn(callee);
        let result = service.oneshot(()).await;
        (result, rt::now().since(start))
    });
    let log = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    compare(case, &log, result.err().as_ref(), took, &heard.text())
}

fn call(seen: &Log, plans: &[Plan], start: Tick) -> (Plan, Ending) {
    let now = rt::now();
    let mut log = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let number = log.len();
    log.push(Seen {
        began: now.since(start),
        limit: Scope::current().deadline().map(|at| at.since(now)),
        ended: None,
    });
    let hang = Plan {
        lasts: None,
        succeeds: false,
    };
    let plan = plans.get(number).copied().unwrap_or(hang);
    (plan, Ending(Arc::clone(seen), number, start))
}

fn compare(
    case: &Case,
    log: &[Seen],
    error: Option<&BoxError>,
    took: Duration,
    said: &str,
) -> Result<Checks, String> {
    let mut checks = Checks::default();
    let mut number = 0;
    for (place, step) in case.steps.iter().enumerate() {
        let place = format!("step {place}");
        let empty = Map::new();
        let expect = key(step, "expect").as_object().unwrap_or(&empty);
        only(
            "expect",
            expect,
            &["attempt_timeout_ms", "error", "attempts", "last_error"],
        )?;
        let at = key(step, "t");
        match word(key(step, "do"))? {
            "attempt" => {
                let seen = log.get(number);
                number += 1;
                let began = seen.map_or(Value::Null, |seen| millis(seen.began));
                checks.close(&place, "attempt at", at, &began, 1.0);
                if let Some(limit) = expect.get("attempt_timeout_ms") {
                    let got = seen.and_then(|seen| seen.limit).map_or(Value::Null, millis);
                    checks.close(&place, "its limit", limit, &got, 1.0);
                }
            }
            "attempt_timed_out" | "attempt_failed" => {
                let seen = number.checked_sub(1).and_then(|number| log.get(number));
                let ended = seen.and_then(|seen| seen.ended).map_or(Value::Null, millis);
                checks.close(&place, "ended at", at, &ended, 1.0);
            }
            "done" => {
                checks.close(&place, "done at", at, &millis(took), 1.0);
                let last = error.map(|error| match error.downcast_ref::<TimedOut>() {
                    Some(_) => "attempt_timeout".to_owned(),
                    None => error.to_string(),
                });
                let end = [
                    ("error", json!(error.map(|error| reason(error, said)))),
                    ("attempts", json!(log.len())),
                    ("last_error", json!(last)),
                ];
                for (what, got) in end {
                    if let Some(expected) = expect.get(what) {
                        checks.equal(&place, what, expected, got);
                    }
                }
            }
            other => return Err(format!("{place}: unknown action `{other}`")),
        }
    }
    Ok(checks)
}

/// Why the call ended: the callee's last word is what the caller gets, the reason is in the event.
fn reason(error: &BoxError, said: &str) -> &'static str {
    let refused = error.as_rejected().map(|rejected| rejected.reason());
    if refused == Some(Reason::DeadlineExceeded) || said.contains("reason=\"deadline\"") {
        "deadline_exceeded"
    } else if said.contains("reason=\"attempts\"") {
        "attempts_exhausted"
    } else {
        "other"
    }
}
