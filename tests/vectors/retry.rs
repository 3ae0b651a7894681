//! Retries: the backoff's delays, hints, pushback, deadlines. What budgets allow stands in `budget.rs`.

use std::time::Duration;

use mainstay::http::ByStatus;
use mainstay::num::{Attempts, Factor, Ratio};
use mainstay::outcome::{Classify, Failure, Outcome};
use mainstay::retry::{
    Backoff, Budget, BudgetConfig, Decision, GaveUp, Jitter, QuotaBudget, Retry, RetryConfig,
};
use mainstay::rng::Rng;
use mainstay::time::Tick;
use serde_json::{Map, Value, json};

use crate::case::{Case, Checks, Ended, end, failed, not_applicable, only};

pub(crate) fn run(case: &Case) -> Ended {
    if case.form == "steps" {
        return end(crate::deadline::run(case));
    }
    match case.op.as_deref().unwrap_or_default() {
        "retry/shape+delays_ms" => end(delays(case)),
        "retry/shape+base_ms+factor+cap_ms+retry_index_from_0+delay_ms" => end(capped(case)),
        "retry/shape+retry_index_from_0+draw+delay_ms" => end(drawn(case)),
        "retry/kind+retry_index_from_0+previous_ms+min_ms+max_ms" => end(bounds(case)),
        "retry/attempt_that_failed+delay_ms+tokens_left" => end(quota(case)),
        "retry/error+retry_index_from_0+delay_ms" => end(by_error(case)),
        "retry/hint+delay_ms" => not_applicable(
            "a hint is never cut off: one above `longest_hint` ends the call with the callee's answer (R08)",
        ),
        "retry/status+header+result" => end(hints(case)),
        "retry/pushback_values+result" => end(pushback(case)),
        other => failed(format!("unknown op `{other}`")),
    }
}

pub(crate) fn ms(value: &Value) -> Result<Duration, String> {
    let millis = value
        .as_f64()
        .ok_or_else(|| format!("`{value}` is no time"))?;
    Duration::try_from_secs_f64(millis / 1e3).map_err(|error| format!("`{value}`: {error}"))
}

pub(crate) fn millis(duration: Duration) -> Value {
    json!(duration.as_secs_f64() * 1e3)
}

pub(crate) fn int(value: &Value) -> Result<u32, String> {
    let int = value.as_u64().and_then(|value| u32::try_from(value).ok());
    int.ok_or_else(|| format!("`{value}` is no count"))
}

pub(crate) fn ratio(value: &Value) -> Result<Ratio, String> {
    let number = value
        .as_f64()
        .ok_or_else(|| format!("`{value}` is no share"))?;
    Ratio::new("ratio", number).map_err(|error| error.to_string())
}

pub(crate) fn word(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("`{value}` is no word"))
}

fn each(value: &Value) -> Vec<Value> {
    value
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![value.clone()])
}

fn key<'m>(config: &'m Map<String, Value>, name: &str) -> &'m Value {
    config.get(name).unwrap_or(&Value::Null)
}

pub(crate) fn attempts(config: &Map<String, Value>) -> Result<Attempts, String> {
    match key(config, "max_attempts") {
        Value::Null => Ok(Attempts::total(u32::MAX)),
        total => Attempts::new("max_attempts", int(total)?).map_err(|error| error.to_string()),
    }
}

/// Without a cap the longest that there is, unless it is a constant.
pub(crate) fn backoff(
    shape: &str,
    base: &Value,
    factor: &Value,
    cap: &Value,
) -> Result<Backoff, String> {
    let base = ms(base)?;
    let cap = if cap.is_null() {
        Duration::MAX
    } else {
        ms(cap)?
    };
    Ok(match shape {
        "constant" => Backoff::constant(base.min(cap)),
        "linear" => Backoff::linear(base, cap),
        "exponential" => {
            let factor = factor.as_f64().unwrap_or(2.0);
            let factor = Factor::new("factor", factor).map_err(|error| error.to_string())?;
            Backoff::exponential(base, cap).factor(factor)
        }
        other => return Err(format!("unknown shape `{other}`")),
    })
}

pub(crate) fn jitter(value: &Value) -> Result<Jitter, String> {
    match value {
        Value::Null => Ok(Jitter::None),
        Value::String(name) => match name.as_str() {
            "none" => Ok(Jitter::None),
            "full" => Ok(Jitter::Full),
            "equal" => Ok(Jitter::Equal),
            "decorrelated" => Ok(Jitter::Decorrelated),
            other => Err(format!("unknown jitter `{other}`")),
        },
        Value::Object(kind) if key(kind, "kind") == "proportional" => {
            Ok(Jitter::Around(ratio(key(kind, "fraction"))?))
        }
        other => Err(format!("unknown jitter `{other}`")),
    }
}

/// A source whose next draw is `draw`: SplitMix64 backwards.
fn drawing(draw: f64) -> Rng {
    let whole = (1_u64 << 53) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a draw is within 0 and 1"
    )]
    let bits = ((draw * whole) as u64).min((1 << 53) - 1) << 11;
    let unshift = |z: u64, by: u32| (0..64 / by).fold(z, |out, _| z ^ (out >> by));
    let inverse = |odd: u64| {
        (0..6).fold(odd, |x, _| {
            x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)))
        })
    };
    let z = unshift(bits, 31).wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    let z = unshift(z, 27).wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    Rng::new(unshift(z, 30).wrapping_sub(0x9e37_79b9_7f4a_7c15))
}

fn delay(backoff: &Backoff, index: u32, previous: Duration, draw: f64) -> Duration {
    backoff.delay(index.saturating_add(1), previous, &mut drawing(draw))
}

const CLOSE: f64 = 1e-5;

fn delays(case: &Case) -> Result<Checks, String> {
    only(
        "config",
        &case.config,
        &["base_ms", "cap_ms", "factor", "jitter"],
    )?;
    let config = |name| key(&case.config, name);
    let mut checks = Checks::default();
    for row in &case.rows {
        let shape = word(case.cell(row, "shape")?)?;
        let backoff = backoff(shape, config("base_ms"), config("factor"), config("cap_ms"))?;
        let backoff = backoff.jitter(jitter(config("jitter"))?);
        for (index, expected) in (0..).zip(each(case.cell(row, "delays_ms")?)) {
            let got = millis(delay(&backoff, index, Duration::ZERO, 1.0));
            checks.close(shape, "delay", &expected, &got, CLOSE);
        }
    }
    Ok(checks)
}

fn capped(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["jitter"])?;
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let shape = word(cell("shape")?)?;
        let backoff = backoff(shape, cell("base_ms")?, cell("factor")?, cell("cap_ms")?)?;
        let backoff = backoff.jitter(jitter(key(&case.config, "jitter"))?);
        let indices = each(cell("retry_index_from_0")?);
        for (index, expected) in indices.iter().zip(each(cell("delay_ms")?)) {
            let got = millis(delay(&backoff, int(index)?, Duration::ZERO, 1.0));
            checks.close(
                format!("row {number}, retry {index}"),
                "delay",
                &expected,
                &got,
                CLOSE,
            );
        }
    }
    Ok(checks)
}

fn drawn(case: &Case) -> Result<Checks, String> {
    only(
        "config",
        &case.config,
        &["base_ms", "cap_ms", "factor", "jitter"],
    )?;
    let config = |name| key(&case.config, name);
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let shape = word(cell("shape")?)?;
        let backoff = backoff(shape, config("base_ms"), config("factor"), config("cap_ms"))?;
        let backoff = backoff.jitter(jitter(config("jitter"))?);
        let draw = cell("draw")?.as_f64().ok_or("no draw")?;
        let got = delay(
            &backoff,
            int(cell("retry_index_from_0")?)?,
            Duration::ZERO,
            draw,
        );
        let expected = cell("delay_ms")?;
        checks.close(
            format!("row {number}"),
            "delay",
            expected,
            &millis(got),
            CLOSE,
        );
    }
    Ok(checks)
}

fn bounds(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["base_ms", "cap_ms", "factor"])?;
    let config = |name| key(&case.config, name);
    let mut checks = Checks::default();
    for (number, row) in case.rows.iter().enumerate() {
        let cell = |name| case.cell(row, name);
        let backoff = backoff(
            "exponential",
            config("base_ms"),
            config("factor"),
            config("cap_ms"),
        )?
        .jitter(jitter(cell("kind")?)?);
        let index = cell("retry_index_from_0")?;
        let index = if index.is_null() { 0 } else { int(index)? };
        let previous = cell("previous_ms")?;
        let previous = if previous.is_null() {
            Duration::ZERO
        } else {
            ms(previous)?
        };
        for (draw, bound) in [(0.0, "min_ms"), (1.0, "max_ms")] {
            let got = millis(delay(&backoff, index, previous, draw));
            checks.close(format!("row {number}"), bound, cell(bound)?, &got, CLOSE);
        }
        let (least, most) = (ms(cell("min_ms")?)?, ms(cell("max_ms")?)?);
        let mut rng = Rng::new(7);
        let mut delays =
            (0..1_000).map(|_| backoff.delay(index.saturating_add(1), previous, &mut rng));
        if delays.any(|delay| !(least..=most).contains(&delay)) {
            checks.miss(format!("row {number}"), "a delay outside of the bounds");
        }
    }
    Ok(checks)
}

/// Full jitter whose draw is always the same.
fn fixed(draw: &Value) -> Result<Jitter, String> {
    let draw = ratio(draw)?;
    Ok(Jitter::Scale {
        low: draw,
        high: draw,
    })
}

fn quota(case: &Case) -> Result<Checks, String> {
    let known = [
        "max_attempts",
        "base_ms",
        "cap_ms",
        "factor",
        "draw",
        "quota",
    ];
    only("config", &case.config, &known)?;
    let config = |name| key(&case.config, name);
    let quota = config("quota").as_object().ok_or("no quota")?;
    only("quota", quota, &["capacity", "cost"])?;
    let cost = int(key(quota, "cost"))?;
    let quota = QuotaBudget::new(int(key(quota, "capacity"))?)
        .transient(cost)
        .timeout(cost)
        .throttling(cost);
    let mut budget = Budget::new(quota.into(), Tick::ZERO);
    let backoff = backoff(
        "exponential",
        config("base_ms"),
        config("factor"),
        config("cap_ms"),
    )?;
    let policy =
        RetryConfig::new(attempts(&case.config)?).backoff(backoff.jitter(fixed(config("draw"))?));
    let mut retry = Retry::new(policy, Rng::new(1));
    let outcome = Outcome::Failure(Failure::Error);
    let mut grant = None;
    let mut checks = Checks::default();
    for row in &case.rows {
        let cell = |name| case.cell(row, name);
        let place = format!("attempt {}", cell("attempt_that_failed")?);
        checks.equal(
            &place,
            "attempt",
            cell("attempt_that_failed")?,
            retry.attempt(),
        );
        let got = match retry.decide(outcome, None, Tick::ZERO) {
            Decision::Retry { after } => {
                grant = budget.admit(grant.take(), outcome, Tick::ZERO);
                if grant.is_some() {
                    millis(after)
                } else {
                    Value::Null
                }
            }
            _ => Value::Null,
        };
        checks.close(&place, "delay", cell("delay_ms")?, &got, CLOSE);
        checks.equal(
            &place,
            "tokens",
            cell("tokens_left")?,
            budget.tokens(Tick::ZERO),
        );
    }
    budget.abandon(grant);
    Ok(checks)
}

fn by_error(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["cap_ms", "draw"])?;
    let cap = ms(key(&case.config, "cap_ms"))?;
    let jitter = fixed(key(&case.config, "draw"))?;
    let aws = RetryConfig::aws().limit(Attempts::total(u32::MAX));
    let overloaded = aws
        .overload_delays()
        .ok_or("the profile has no backoff for overload")?;
    let of = |backoff: Backoff| Backoff::exponential(backoff.initial(), cap).jitter(jitter);
    let config = aws
        .backoff(of(aws.delays()))
        .overload_backoff(of(overloaded));
    let mut checks = Checks::default();
    for row in &case.rows {
        let error = case.cell(row, "error")?;
        let outcome = failure(word(error)?)?;
        let mut retry = Retry::new(config, Rng::new(1));
        let mut delays = Vec::new();
        let indices = each(case.cell(row, "retry_index_from_0")?);
        for (index, expected) in indices.iter().zip(each(case.cell(row, "delay_ms")?)) {
            let index = int(index)? as usize;
            while delays.len() <= index {
                match retry.decide(outcome, None, Tick::ZERO) {
                    Decision::Retry { after } => delays.push(after),
                    other => return Err(format!("{other:?}")),
                }
            }
            let got = delays.get(index).copied().unwrap_or_default();
            checks.close(
                format!("{error}, retry {index}"),
                "delay",
                &expected,
                &millis(got),
                CLOSE,
            );
        }
    }
    Ok(checks)
}

/// How a failure of this name counts.
pub(crate) fn failure(name: &str) -> Result<Outcome, String> {
    match name {
        "transient" | "fail" => Ok(Outcome::Failure(Failure::Error)),
        "timeout" => Ok(Outcome::Failure(Failure::Timeout)),
        "throttling" | "throttled" => Ok(Outcome::Overload { retry_after: None }),
        other => Err(format!("unknown failure `{other}`")),
    }
}

fn hints(case: &Case) -> Result<Checks, String> {
    let known = [
        "now",
        "computed_ms",
        "jitter",
        "max_honoured_ms",
        "remaining_deadline_ms",
    ];
    only("config", &case.config, &known)?;
    let config = |name| key(&case.config, name);
    let computed = ms(config("computed_ms"))?;
    let backoff = Backoff::constant(computed).jitter(jitter(config("jitter"))?);
    let policy = RetryConfig::default()
        .backoff(backoff)
        .longest_hint(ms(config("max_honoured_ms"))?);
    let deadline = match config("remaining_deadline_ms") {
        Value::Null => None,
        left => Some(Tick::ZERO + ms(left)?),
    };
    // The callee's clock, by which its dates are meant.
    let date = http_date(word(config("now"))?)?;
    let mut checks = Checks::default();
    for row in &case.rows {
        let cell = |name| case.cell(row, name);
        let status = u16::try_from(int(cell("status")?)?).map_err(|error| error.to_string())?;
        let mut answer = http::Response::builder()
            .status(status)
            .header("date", &date);
        if let Some(value) = cell("header")?.as_str() {
            answer = answer.header("retry-after", value);
        }
        let answer = answer.body(()).map_err(|error| error.to_string())?;
        let outcome = ByStatus.classify(Ok::<_, &()>(&answer));
        let place = format!("{status} {}", cell("header")?);
        let expected = cell("result")?;
        for seed in 0..100 {
            let got = Retry::new(policy, Rng::new(seed)).decide(outcome, deadline, Tick::ZERO);
            if !is_as_hinted(expected, got, outcome, &backoff)? {
                checks.miss(&place, format!("expected {expected}, got {got:?}"));
                break;
            }
        }
    }
    Ok(checks)
}

fn is_as_hinted(
    expected: &Value,
    got: Decision,
    outcome: Outcome,
    backoff: &Backoff,
) -> Result<bool, String> {
    let expected = expected.as_object().ok_or("no result")?;
    only("result", expected, &["min_delay_ms", "give_up", "ignored"])?;
    if let Some(least) = expected.get("min_delay_ms") {
        let least = ms(least)?;
        return Ok(matches!(got, Decision::Retry { after } if after >= least));
    }
    if let Some(why) = expected.get("give_up") {
        return match word(why)? {
            "hint_exceeds_cap" => Ok(got == Decision::GiveUp(GaveUp::Hint)),
            "deadline" => Ok(got == Decision::GiveUp(GaveUp::Deadline)),
            other => Err(format!("unknown reason `{other}`")),
        };
    }
    Ok(match got {
        // As if there were no hint: the computed delay, or no retry at all.
        Decision::Retry { after } => {
            outcome.retry_after().is_none() && after <= backoff.initial().mul_f64(1.25)
        }
        Decision::Done => outcome == Outcome::Success,
        _ => false,
    })
}

/// `2026-01-02T03:04:05Z` as a date of HTTP.
fn http_date(iso: &str) -> Result<String, String> {
    let bad = || format!("`{iso}` is no time");
    let numbers: Vec<i64> = iso
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    let [year, month, day, hour, minute, second] = numbers[..] else {
        return Err(bad());
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let name = usize::try_from(month - 1)
        .ok()
        .and_then(|month| months.get(month));
    // Sakamoto's rule for the day of the week.
    let shift = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year_of = if month < 3 { year - 1 } else { year };
    let offset = usize::try_from(month - 1)
        .ok()
        .and_then(|month| shift.get(month))
        .ok_or_else(bad)?;
    let weekday = (year_of + year_of / 4 - year_of / 100 + year_of / 400 + offset + day) % 7;
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let weekday = usize::try_from(weekday)
        .ok()
        .and_then(|day| days.get(day))
        .ok_or_else(bad)?;
    let name = name.ok_or_else(bad)?;
    Ok(format!(
        "{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT"
    ))
}

fn pushback(case: &Case) -> Result<Checks, String> {
    only(
        "config",
        &case.config,
        &["max_attempts", "initial_ms", "cap_ms", "factor"],
    )?;
    let config = |name| key(&case.config, name);
    let backoff = backoff(
        "exponential",
        config("initial_ms"),
        config("factor"),
        config("cap_ms"),
    )?
    .jitter(Jitter::None);
    let policy = RetryConfig::new(attempts(&case.config)?).backoff(backoff);
    let plain = |index| delay(&backoff, index, Duration::ZERO, 1.0);
    let outcome = |values: &[Value]| -> Result<Outcome, String> {
        let mut head = http::Response::builder()
            .status(200)
            .header("grpc-status", "14");
        for value in values {
            head = head.header("grpc-retry-pushback-ms", word(value)?);
        }
        let head = head.body(()).map_err(|error| error.to_string())?;
        Ok(mainstay::grpc::ByStatus.classify(Ok::<_, &()>(&head)))
    };
    let mut checks = Checks::default();
    for row in &case.rows {
        let values = each(case.cell(row, "pushback_values")?);
        let place = format!("{values:?}");
        let expected = case.cell(row, "result")?.as_object().ok_or("no result")?;
        only(
            "result",
            expected,
            &["delay_ms", "next_backoff_index", "retry", "delay"],
        )?;
        // One retry comes before, so that a progression is there to be restarted.
        let mut retry = Retry::new(policy, Rng::new(1));
        retry.decide(outcome(&[])?, None, Tick::ZERO);
        let got = retry.decide(outcome(&values)?, None, Tick::ZERO);
        if expected.get("retry") == Some(&Value::Bool(false)) {
            if got != Decision::GiveUp(GaveUp::Pushback) {
                checks.miss(&place, format!("expected no retry, got {got:?}"));
            }
            continue;
        }
        let Decision::Retry { after } = got else {
            checks.miss(&place, format!("expected a retry, got {got:?}"));
            continue;
        };
        if expected
            .get("delay")
            .is_some_and(|delay| delay == "computed")
        {
            checks.equal(&place, "delay", &millis(plain(1)), millis(after));
        }
        if let Some(delay) = expected.get("delay_ms") {
            checks.close(&place, "delay", delay, &millis(after), 0.0);
        }
        if let Some(index) = expected.get("next_backoff_index") {
            let next = retry.decide(outcome(&[])?, None, Tick::ZERO);
            let after = plain(int(index)?);
            if next != (Decision::Retry { after }) {
                checks.miss(&place, format!("the next delay is {next:?}, not {after:?}"));
            }
        }
    }
    Ok(checks)
}

pub(crate) fn run_budget(case: &Case) -> Ended {
    crate::budget::run(case)
}

/// What a budget of a share and a minimum is here: earned retries only, and so many of them to begin with.
pub(crate) fn share_and_minimum(budget: &Value) -> Result<BudgetConfig, String> {
    let budget = budget.as_object().ok_or("no budget")?;
    only("budget", budget, &["ratio", "min"])?;
    let minimum = int(key(budget, "min"))?;
    Ok(BudgetConfig::new(ratio(key(budget, "ratio"))?)
        .per_second(0)
        .burst(minimum))
}
