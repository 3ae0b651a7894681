//! What retry budgets allow.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::num::{Attempts, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{
    Backoff, Budget, BudgetConfig, ConcurrencyBudget, Decision, Grant, Jitter, QuotaBudget,
    RatioBudget, Retry, RetryConfig, RetryLayer, ThrottleBudget,
};
use mainstay::rng::Rng;
use mainstay::time::Tick;
use serde_json::{Map, Value, json};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::case::{Case, Checks, Ended, end, failed, not_applicable, only};
use crate::heard::{self, Heard};
use crate::retry::{attempts, failure, int, ms, ratio, share_and_minimum, word};

const FAILED: Outcome = Outcome::Failure(Failure::Error);
const ZERO: Tick = Tick::ZERO;

pub(crate) fn run(case: &Case) -> Ended {
    if case.form == "steps" {
        return match quota_of(&case.config) {
            Ok(Some(quota)) => end(quota_steps(case, quota)),
            Ok(None) => not_applicable("a success gives back the last cost and nothing else"),
            Err(error) => failed(error),
        };
    }
    match case.op.as_deref().unwrap_or_default() {
        "retry_budget/capacity+retries_granted_in_a_row+tokens_left" => end(quota_in_a_row(case)),
        "retry_budget/long_polling+error+retried+pause_before_returning_ms" => {
            not_applicable("a call that is not retried returns at once; whoever polls paces itself")
        }
        "retry_budget/result+last_server_call_index+tokens_after" => end(throttle(case)),
        "retry_budget/ratio+ttl_s+min_per_s+retries_granted" => end(shares(case)),
        "retry_budget/ratio+min_per_s+script+grants" => end(expiry(case)),
        "retry_budget/active_requests+retries_allowed_at_once" => end(in_flight(case)),
        "retry_budget/max_rate+min_concurrency+in_flight+extra_in_flight+grants_then" => {
            end(in_flight_of_all(case))
        }
        "retry_budget/calls+error_returned+attempts+event" => end(refused(case)),
        other => failed(format!("unknown op `{other}`")),
    }
}

fn key<'m>(config: &'m Map<String, Value>, name: &str) -> &'m Value {
    config.get(name).unwrap_or(&Value::Null)
}

/// The quota that a case describes, [`QuotaBudget::aws`] where it says nothing; `None` if it asks for another refund.
fn quota_of(config: &Map<String, Value>) -> Result<Option<QuotaBudget>, String> {
    let known = [
        "kind",
        "capacity",
        "cost_transient",
        "cost_timeout",
        "cost_throttling",
        "first_success_bonus",
        "refund_on_success",
        "adaptive",
    ];
    only("config", config, &known)?;
    let kind = word(key(config, "kind"))?;
    if !["aws", "aws_many"].contains(&kind) {
        return Err(format!("unknown kind `{kind}`"));
    }
    if !matches!(
        key(config, "refund_on_success").as_str(),
        None | Some("last_cost")
    ) {
        return Ok(None);
    }
    let aws = QuotaBudget::aws();
    let of = |name: &str, default: u32| match key(config, name) {
        Value::Null => Ok(default),
        value => int(value),
    };
    let throttled = Outcome::Overload { retry_after: None };
    let timeout = Outcome::Failure(Failure::Timeout);
    let quota = QuotaBudget::new(of("capacity", aws.most())?)
        .transient(of("cost_transient", aws.cost(FAILED))?)
        .timeout(of("cost_timeout", aws.cost(timeout))?)
        .throttling(of("cost_throttling", aws.cost(throttled))?)
        .bonus(of("first_success_bonus", aws.reward())?);
    // `adaptive` adds a rate of sending, which is no business of the budget: it refills as ever.
    Ok(Some(quota))
}

fn quota_steps(case: &Case, quota: QuotaBudget) -> Result<Checks, String> {
    let mut budget = Budget::new(quota.into(), ZERO);
    let mut grant: Option<Grant> = None;
    let mut checks = Checks::default();
    for (number, step) in case.steps.iter().enumerate() {
        only("step", step, &["t", "do", "kind", "n", "expect"])?;
        let place = format!("step {number}");
        let times = if key(step, "n").is_null() {
            1
        } else {
            int(key(step, "n"))?
        };
        let mut ok = None;
        for _ in 0..times {
            match word(key(step, "do"))? {
                "retry" => {
                    let outcome = failure(word(key(step, "kind"))?)?;
                    grant = budget.admit(grant.take(), outcome, ZERO);
                    ok = Some(grant.is_some());
                }
                "success" => budget.settle(grant.take(), Outcome::Success),
                "fail" => budget.settle(grant.take(), FAILED),
                "forget_last_cost" => budget.abandon(grant.take()),
                "look" => {}
                other => return Err(format!("{place}: unknown action `{other}`")),
            }
        }
        let Some(expect) = key(step, "expect").as_object() else {
            continue;
        };
        only("expect", expect, &["ok", "tokens"])?;
        if let Some(expected) = expect.get("ok") {
            checks.equal(&place, "ok", expected, ok);
        }
        if let Some(expected) = expect.get("tokens") {
            checks.equal(&place, "tokens", expected, budget.tokens(ZERO));
        }
    }
    budget.abandon(grant);
    Ok(checks)
}

fn quota_in_a_row(case: &Case) -> Result<Checks, String> {
    let mut checks = Checks::default();
    for row in &case.rows {
        let capacity = case.cell(row, "capacity")?;
        let mut config = case.config.clone();
        config.insert("capacity".to_owned(), capacity.clone());
        let quota = quota_of(&config)?.ok_or("another refund does not matter here")?;
        let mut budget = Budget::new(quota.into(), ZERO);
        let mut grant = budget.admit(None, FAILED, ZERO);
        let mut granted = 0;
        while grant.is_some() && granted < 1_000_000 {
            granted += 1;
            grant = budget.admit(grant, FAILED, ZERO);
        }
        budget.abandon(grant);
        let expected = case.cell(row, "retries_granted_in_a_row")?;
        checks.equal(capacity, "granted", expected, granted);
        checks.equal(
            capacity,
            "tokens",
            case.cell(row, "tokens_left")?,
            budget.tokens(ZERO),
        );
    }
    Ok(checks)
}

/// Calls of a client whose server answers by a list, one after the other.
fn throttle(case: &Case) -> Result<Checks, String> {
    let known = [
        "kind",
        "max_tokens",
        "token_ratio",
        "max_attempts",
        "server_ok_at_call_index",
    ];
    only("config", &case.config, &known)?;
    let config = |name| key(&case.config, name);
    let throttle = ThrottleBudget::new(int(config("max_tokens"))?, ratio(config("token_ratio"))?);
    let mut budget = Budget::new(throttle.into(), ZERO);
    let good: Vec<_> = config("server_ok_at_call_index")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let policy = RetryConfig::new(attempts(&case.config)?);
    let mut checks = Checks::default();
    let mut index = 0;
    for (number, row) in case.rows.iter().enumerate() {
        let place = format!("call {number}");
        let mut retry = Retry::new(policy, Rng::new(1));
        let mut grant = None;
        budget.begin(ZERO);
        let (ok, last) = loop {
            let last = index;
            index += 1;
            if good.contains(&json!(last)) {
                budget.settle(grant.take(), Outcome::Success);
                break (true, last);
            }
            let failed = Outcome::Failure(Failure::Unavailable);
            let Decision::Retry { .. } = retry.decide(failed, None, ZERO) else {
                budget.settle(grant.take(), failed);
                break (false, last);
            };
            grant = budget.admit(grant.take(), failed, ZERO);
            if grant.is_none() {
                break (false, last);
            }
        };
        let result = if ok { "ok" } else { "unavailable" };
        checks.equal(&place, "result", case.cell(row, "result")?, result);
        checks.equal(
            &place,
            "last call",
            case.cell(row, "last_server_call_index")?,
            last,
        );
        checks.equal(
            &place,
            "tokens",
            case.cell(row, "tokens_after")?,
            budget.tokens(ZERO),
        );
    }
    Ok(checks)
}

fn shares(case: &Case) -> Result<Checks, String> {
    only(
        "config",
        &case.config,
        &["kind", "time", "requests", "tolerance"],
    )?;
    if key(&case.config, "time") != "frozen" {
        return Err("only frozen time is known".to_owned());
    }
    let requests = int(key(&case.config, "requests"))?;
    let tolerance = key(&case.config, "tolerance").as_f64().unwrap_or(0.0);
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let seconds = cell("ttl_s")?.as_f64().ok_or("no ttl")?;
        let ttl = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        let config = expiring(cell("ratio")?, cell("min_per_s")?, ttl)?;
        let mut budget = Budget::new(config, ZERO);
        let granted = (0..requests).filter(|_| {
            budget.begin(ZERO);
            budget.withdraw(ZERO)
        });
        let granted = json!(granted.count());
        let expected = cell("retries_granted")?;
        checks.close(
            format!("row {number}"),
            "granted",
            expected,
            &granted,
            tolerance,
        );
    }
    Ok(checks)
}

fn expiring(share: &Value, per_second: &Value, ttl: Duration) -> Result<BudgetConfig, String> {
    let ttl = Period::new("ttl", ttl).map_err(|error| error.to_string())?;
    let budget = RatioBudget::new(ratio(share)?).per_second(int(per_second)?);
    Ok(budget.ttl(ttl).into())
}

fn expiry(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["kind", "ttl_ms"])?;
    let ttl = ms(key(&case.config, "ttl_ms"))?;
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let mut budget = Budget::new(expiring(cell("ratio")?, cell("min_per_s")?, ttl)?, ZERO);
        let mut grants = Vec::new();
        for step in cell("script")?.as_array().ok_or("no script")? {
            let at = |place| step.get(place).unwrap_or(&Value::Null);
            let now = ZERO + ms(at(1))?;
            match word(at(0))? {
                "deposit" => budget.begin(now),
                "withdraw" => grants.push(budget.withdraw(now)),
                other => return Err(format!("unknown step `{other}`")),
            }
        }
        checks.equal(format!("row {number}"), "grants", cell("grants")?, grants);
    }
    Ok(checks)
}

fn calls(budget: &mut Budget, count: u32) {
    (0..count).for_each(|_| budget.begin(ZERO));
}

fn in_flight(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["kind", "pct", "min"])?;
    let percent = key(&case.config, "pct").as_f64().ok_or("no pct")?;
    let share = Ratio::new("pct", percent / 100.0).map_err(|error| error.to_string())?;
    let config = ConcurrencyBudget::new(share).minimum(int(key(&case.config, "min"))?);
    let mut checks = Checks::default();
    for row in &case.rows {
        let active = case.cell(row, "active_requests")?;
        let mut budget = Budget::new(config.into(), ZERO);
        calls(&mut budget, int(active)?);
        let granted = (0..1_000_000).take_while(|_| budget.withdraw(ZERO)).count();
        let expected = case.cell(row, "retries_allowed_at_once")?;
        checks.equal(active, "at once", expected, granted);
    }
    Ok(checks)
}

fn in_flight_of_all(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["kind"])?;
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let (all, extra) = (int(cell("in_flight")?)?, int(cell("extra_in_flight")?)?);
        let config = ConcurrencyBudget::new(ratio(cell("max_rate")?)?).of_all();
        let minimum = int(cell("min_concurrency")?)?;
        // What is in flight got there when more was allowed.
        let mut budget = Budget::new(config.minimum(minimum.max(extra)).into(), ZERO);
        calls(&mut budget, all.saturating_sub(extra));
        let mut held: Vec<_> = (0..extra)
            .map(|_| budget.admit(None, FAILED, ZERO))
            .collect();
        budget.reconfigure(config.minimum(minimum).into(), ZERO);
        let then = cell("grants_then")?;
        let mut grants = Vec::new();
        for _ in then.as_array().into_iter().flatten() {
            let grant = budget.admit(None, FAILED, ZERO);
            grants.push(grant.is_some());
            held.push(grant);
        }
        checks.equal(format!("row {number}"), "grants", then, grants);
        held.into_iter().for_each(|grant| budget.abandon(grant));
    }
    Ok(checks)
}

/// Calls through a real layer whose budget allows too little, and what is heard of it.
fn refused(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["budget", "callee_error"])?;
    let budget = share_and_minimum(key(&case.config, "budget"))?;
    let error = word(key(&case.config, "callee_error"))?;
    let backoff = Backoff::constant(Duration::ZERO).jitter(Jitter::None);
    let config = RetryConfig::new(Attempts::total(3))
        .backoff(backoff)
        .budget(budget);
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let place = format!("row {number}");
        let made = AtomicU32::new(0);
        let calls = int(cell("calls")?)?;
        let heard = Heard::listen();
        let layer = RetryLayer::new("vectors", config);
        let service = ServiceBuilder::new().layer(layer).service_fn(|()| {
            made.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), BoxError>(error.into()) }
        });
        for _ in 0..calls {
            let result = heard::runtime().block_on(service.clone().oneshot(()));
            let returned = result.err().map(|error| error.to_string());
            checks.equal(&place, "error", cell("error_returned")?, returned);
        }
        checks.equal(
            &place,
            "attempts",
            cell("attempts")?,
            made.load(Ordering::Relaxed),
        );
        let event = word(cell("event")?)?.replace('_', " ");
        let said = heard.text();
        if !said.contains(&event) {
            checks.miss(&place, format!("no event `{event}` in: {said}"));
        }
    }
    Ok(checks)
}
