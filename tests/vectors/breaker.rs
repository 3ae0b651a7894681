//! Breakers, their windows, and how they are reloaded.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay::breaker::{
    Breaker, BreakerConfig, HalfOpen, Mode, Permit, Ramp, State, Transition, Trip, Window,
};
use mainstay::num::{Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;
use serde_json::{Map, Value, json};

use crate::case::{Case, Checks, Ended, end, failed, not_applicable, only};

pub(crate) fn run(case: &Case) -> Ended {
    match (case.form.as_str(), case.op.as_deref()) {
        ("steps", _) => match Settings::read(&case.config) {
            Ok(Read::Settings(settings)) => end(steps(case, *settings)),
            Ok(Read::Otherwise(why)) => not_applicable(why),
            Err(error) => failed(error),
        },
        ("table", Some("breaker/throughput+failure_rate+breaks")) => end(thresholds(case)),
        ("table", Some("breaker/episode+half_open_attempts_seen")) => end(episodes(case)),
        ("table", Some("breaker/ms_since_close+admitted_pct")) => end(ramp(case)),
        (form, op) => failed(format!("unknown form `{form}` or op {op:?}")),
    }
}

/// A configuration, or the reason why mainstay has another rule.
enum Read {
    Settings(Box<Settings>),
    Otherwise(String),
}

/// A case's configuration in the words of mainstay.
#[derive(Clone)]
struct Settings {
    raw: Map<String, Value>,
    config: BreakerConfig,
    min_calls: u32,
}

fn number(map: &Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| format!("`{key}` is no number: {value}")),
    }
}

fn text<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    map.get(key).and_then(Value::as_str)
}

fn count(value: f64) -> u32 {
    format!("{value}").parse().unwrap_or(u32::MAX)
}

fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1_000.0).unwrap_or(Duration::MAX)
}

fn period(field: &'static str, value: f64) -> Result<Period, String> {
    Period::new(field, millis(value)).map_err(|error| error.to_string())
}

/// A share in percent. A strict comparison is one with the next number above.
fn share(field: &'static str, percent: f64, strict: bool) -> Result<Ratio, String> {
    let ratio = percent / 100.0;
    let ratio = if strict {
        ratio.next_up().min(1.0)
    } else {
        ratio
    };
    Ratio::new(field, ratio).map_err(|error| error.to_string())
}

/// Larger than any case is long: such a window or minimum decides nothing.
const NEVER: u32 = 1_000_000;

impl Settings {
    fn read(raw: &Map<String, Value>) -> Result<Read, String> {
        let known = [
            "window",
            "consecutive",
            "failure_pct",
            "cmp",
            "slow_ms",
            "slow_pct",
            "min_calls",
            "evaluate_on",
            "open",
            "half_open",
            "ramp",
        ];
        only("config", raw, &known)?;
        let strict = match text(raw, "cmp") {
            None | Some("gte") => false,
            Some("gt") => true,
            Some(other) => return Err(format!("unknown cmp `{other}`")),
        };
        if let Some(other) = text(raw, "evaluate_on").filter(|on| !["any", "failure"].contains(on))
        {
            return Err(format!("unknown evaluate_on `{other}`"));
        }
        let min_calls = count(number(raw, "min_calls")?.unwrap_or(1.0));
        let mut trips = Vec::new();
        if let Some(window) = raw.get("window").and_then(Value::as_object) {
            only(
                "window",
                window,
                &[
                    "kind",
                    "size",
                    "length_ms",
                    "bucket_ms",
                    "align",
                    "failures",
                ],
            )?;
            let window = match text(window, "kind") {
                Some("consecutive") => {
                    let failures = number(window, "failures")?.ok_or("no `failures`")?;
                    trips.push(Trip::consecutive(count(failures)));
                    None
                }
                Some("count") => {
                    let size = number(window, "size")?.ok_or("no `size`")?;
                    Some(Window::calls(count(size)))
                }
                Some("time") => {
                    if let Some(other) = text(window, "align")
                        && !["clock", "first_sample"].contains(&other)
                    {
                        return Err(format!("unknown align `{other}`"));
                    }
                    let length = number(window, "length_ms")?.ok_or("no `length_ms`")?;
                    Some(Window::Time(period("window", length)?))
                }
                other => return Err(format!("unknown window {other:?}")),
            };
            if let Some(window) = window {
                let (ratio, min) = match number(raw, "failure_pct")? {
                    Some(percent) => (share("failure_pct", percent, strict)?, min_calls),
                    // Counts, and never trips.
                    None => (Ratio::ONE, NEVER),
                };
                trips.push(Trip::rate_of(ratio, min, window));
                if let Some(after) = number(raw, "slow_ms")? {
                    let (ratio, min) = match number(raw, "slow_pct")? {
                        Some(percent) => (share("slow_pct", percent, strict)?, min_calls),
                        None => (Ratio::ONE, NEVER),
                    };
                    trips.push(Trip::slow(period("slow_ms", after)?, ratio, min, window));
                }
            }
        }
        if let Some(failures) = number(raw, "consecutive")? {
            trips.push(Trip::consecutive(count(failures)));
        }
        let mut trips = trips.into_iter();
        let first = trips.next().ok_or("nothing trips")?;
        let mut config = trips.fold(BreakerConfig::new(first), BreakerConfig::or);
        if let Some(open) = raw.get("open").and_then(Value::as_object) {
            only("open", open, &["waits_ms", "elapsed", "jitter"])?;
            let waits: Vec<f64> = match open.get("waits_ms").and_then(Value::as_array) {
                Some(waits) => waits.iter().filter_map(Value::as_f64).collect(),
                None => return Err("no `waits_ms`".into()),
            };
            config = match growing(config, &waits)? {
                Some(config) => config,
                None => {
                    let why = "waits grow by a factor up to a bound, not by a list";
                    return Ok(Read::Otherwise(why.into()));
                }
            };
        }
        let failure = number(raw, "failure_pct")?.unwrap_or(100.0);
        if let Some(half_open) = raw.get("half_open").and_then(Value::as_object) {
            match half_open_of(half_open, share("failure_pct", failure.max(0.0), strict)?)? {
                Ok(half_open) => config = config.half_open(half_open),
                Err(why) => return Ok(Read::Otherwise(why)),
            }
        }
        if let Some(ramp) = raw.get("ramp").and_then(Value::as_object) {
            config = config.ramp(ramp_of(ramp)?);
        }
        Ok(Read::Settings(Box::new(Self {
            raw: raw.clone(),
            config,
            min_calls,
        })))
    }

    /// These settings with some of them replaced.
    fn with(&self, change: &Map<String, Value>) -> Result<Read, String> {
        let mut raw = self.raw.clone();
        raw.extend(change.clone());
        Self::read(&raw)
    }
}

/// `None` if the waits are no geometric row with a bound.
fn growing(config: BreakerConfig, waits: &[f64]) -> Result<Option<BreakerConfig>, String> {
    let [first, rest @ ..] = waits else {
        return Err("no waits".into());
    };
    // The shortest wait there is: a circuit that does not wait at all would not be open.
    let config = config.open_for(period("waits_ms", first.max(1e-6))?);
    let Some(second) = rest.first() else {
        return Ok(Some(config));
    };
    let factor = Factor::new("waits_ms", second / first).map_err(|error| error.to_string())?;
    let longest = waits.iter().copied().fold(0.0, f64::max);
    let mut expected = *first;
    for wait in waits {
        if (wait - expected.min(longest)).abs() > 1e-6 {
            return Ok(None);
        }
        expected *= factor.get();
    }
    Ok(Some(config.growing(factor, period("waits_ms", longest)?)))
}

fn half_open_of(
    map: &Map<String, Value>,
    failure: Ratio,
) -> Result<Result<HalfOpen, String>, String> {
    let known = ["permits", "decide", "need_ok", "of", "max_ms", "on_timeout"];
    only("half_open", map, &known)?;
    let permits = count(number(map, "permits")?.unwrap_or(1.0));
    let half_open = match text(map, "decide") {
        Some("first") => HalfOpen::new(permits, 1),
        Some("all") => HalfOpen::ratio(permits, failure),
        Some("early") => {
            let needed = number(map, "need_ok")?.ok_or("no `need_ok`")?;
            let of = number(map, "of")?.unwrap_or(needed);
            HalfOpen::new(permits, count(needed)).out_of(count(of))
        }
        other => return Err(format!("unknown decide {other:?}")),
    };
    match text(map, "on_timeout") {
        None | Some("open") => {}
        Some("close") => {
            return Ok(Err(
                "a probe that hangs has failed: the circuit opens".into()
            ));
        }
        Some(other) => return Err(format!("unknown on_timeout `{other}`")),
    }
    let half_open = match number(map, "max_ms")? {
        // No deadline at all is what mainstay does not have: a long one.
        None => half_open.deadline(Period::secs(86_400)),
        Some(max) => half_open.deadline(period("max_ms", max)?),
    };
    Ok(Ok(half_open))
}

fn ramp_of(map: &Map<String, Value>) -> Result<Ramp, String> {
    only("ramp", map, &["duration_ms", "start_pct", "shape"])?;
    if let Some(other) = text(map, "shape").filter(|shape| *shape != "linear") {
        return Err(format!("unknown shape `{other}`"));
    }
    let length = number(map, "duration_ms")?.ok_or("no `duration_ms`")?;
    let start = number(map, "start_pct")?.unwrap_or(0.0);
    Ok(Ramp::linear(
        share("start_pct", start, false)?,
        period("duration_ms", length)?,
    ))
}

/// A breaker and what it has done.
struct Trace {
    breaker: Breaker,
    settings: Settings,
    now: Tick,
    out: BTreeMap<String, Permit>,
    rejected: u64,
    opened: u64,
    half_opened: u64,
    closed: u64,
    threshold_events: u64,
}

impl Trace {
    fn note(&mut self, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        if transition.is_observed() {
            self.threshold_events += 1;
            return;
        }
        match transition.to() {
            State::Open => self.opened += 1,
            State::HalfOpen => self.half_opened += 1,
            _ => self.closed += 1,
        }
    }

    /// The permit, or how long to stay away.
    fn admit(&mut self) -> Result<Permit, Option<Duration>> {
        let admission = self.breaker.admit(self.now);
        self.note(admission.transition);
        admission.verdict.map_err(|rejected| {
            self.rejected += 1;
            rejected.hint()
        })
    }

    fn settle(&mut self, permit: Permit, outcome: Outcome, took: Duration) {
        let transition = self.breaker.settle_after(permit, outcome, took, self.now);
        self.note(transition);
    }

    fn state(&self) -> &'static str {
        match (self.breaker.mode(), self.breaker.state()) {
            (Some(Mode::ForcedOpen), _) => "forced_open",
            (Some(Mode::ForcedClosed), _) => "disabled",
            (Some(Mode::Observing), _) => "metrics_only",
            (_, state) => state.as_str(),
        }
    }

    fn percent(&self, totals: mainstay::breaker::Totals) -> Value {
        if totals.calls < self.settings.min_calls.max(1) {
            return Value::Null;
        }
        json!(f64::from(totals.hits) * 100.0 / f64::from(totals.calls))
    }
}

fn outcome(name: &str) -> Result<Outcome, String> {
    Ok(match name {
        "ok" => Outcome::Success,
        "fail" => Outcome::Failure(Failure::Error),
        "timeout" => Outcome::Failure(Failure::Timeout),
        "ignored" => Outcome::Ignored,
        "throttled" => Outcome::Overload { retry_after: None },
        "inner_rejected" => Outcome::Rejected,
        other => return Err(format!("unknown outcome `{other}`")),
    })
}

fn steps(case: &Case, settings: Settings) -> Result<Checks, String> {
    let mut checks = Checks::default();
    let mut trace = Trace {
        breaker: Breaker::new(settings.config),
        settings,
        now: Tick::ZERO,
        out: BTreeMap::new(),
        rejected: 0,
        opened: 0,
        half_opened: 0,
        closed: 0,
        threshold_events: 0,
    };
    for (i, step) in case.steps.iter().enumerate() {
        let known = [
            "t", "t_ns", "do", "outcome", "dur_ms", "n", "id", "action", "config", "expect",
        ];
        only("step", step, &known)?;
        if let Some(t) = number(step, "t")? {
            trace.now = Tick::ZERO + millis(t);
        }
        if let Some(t) = step.get("t_ns").and_then(Value::as_u64) {
            trace.now = Tick::from_nanos(t);
        }
        let got = act(&mut trace, step)?;
        if let Some(expect) = step.get("expect").and_then(Value::as_object) {
            expectations(&mut checks, &format!("step {i}"), &mut trace, expect, &got)?;
        } else if got.is_call && got.admitted == Some(false) {
            checks.miss(format!("step {i}"), "expected to be admitted, was rejected");
        }
    }
    Ok(checks)
}

/// What a step brought about.
#[derive(Default)]
struct Got {
    is_call: bool,
    admitted: Option<bool>,
    retry_after: Option<Duration>,
    error: Option<&'static str>,
}

fn act(trace: &mut Trace, step: &Map<String, Value>) -> Result<Got, String> {
    let mut got = Got::default();
    let id = text(step, "id").unwrap_or_default().to_owned();
    let took = millis(number(step, "dur_ms")?.unwrap_or(0.0));
    match text(step, "do") {
        Some("call") => {
            got.is_call = true;
            let outcome = outcome(text(step, "outcome").ok_or("no `outcome`")?)?;
            for _ in 0..count(number(step, "n")?.unwrap_or(1.0)) {
                match trace.admit() {
                    Ok(permit) => {
                        got.admitted = Some(true);
                        trace.settle(permit, outcome, took);
                    }
                    Err(retry_after) => {
                        (got.admitted, got.retry_after) = (Some(false), retry_after);
                    }
                }
            }
        }
        Some("acquire") => {
            got.is_call = true;
            match trace.admit() {
                Ok(permit) => {
                    got.admitted = Some(true);
                    trace.out.insert(id, permit);
                }
                Err(retry_after) => (got.admitted, got.retry_after) = (Some(false), retry_after),
            }
        }
        Some("finish") => {
            let outcome = outcome(text(step, "outcome").ok_or("no `outcome`")?)?;
            let permit = trace.out.remove(&id).ok_or("nothing to finish")?;
            trace.settle(permit, outcome, took);
        }
        Some("drop") => {
            let permit = trace.out.remove(&id).ok_or("nothing to drop")?;
            trace.breaker.abandon(permit);
        }
        Some("look") => {
            let transition = trace.breaker.handle_timeout(trace.now);
            trace.note(transition);
        }
        Some("manual") => manual(trace, text(step, "action").ok_or("no `action`")?, &mut got)?,
        Some("reload") => {
            let change = step.get("config").and_then(Value::as_object);
            match trace.settings.with(change.ok_or("no `config`")?) {
                Ok(Read::Settings(settings)) => {
                    trace.breaker.reload(settings.config);
                    trace.settings = *settings;
                }
                Ok(Read::Otherwise(why)) => return Err(why),
                // A bad setting does not construct, so there is nothing to reload with.
                Err(_) => got.error = Some("invalid"),
            }
        }
        other => return Err(format!("unknown action {other:?}")),
    }
    Ok(got)
}

fn manual(trace: &mut Trace, action: &str, got: &mut Got) -> Result<(), String> {
    let (breaker, now) = (&mut trace.breaker, trace.now);
    let transition = match action {
        "open" => breaker.open_now(now),
        "half_open" => {
            let transition = breaker.probe_now(now);
            if transition.is_none() && breaker.state() != State::HalfOpen {
                got.error = Some("illegal_transition");
            }
            transition
        }
        "close" | "reset" => breaker.reset(now),
        "force_open" => breaker.force(Mode::ForcedOpen, Tick::NEVER, now),
        "disable" => breaker.force(Mode::ForcedClosed, Tick::NEVER, now),
        "metrics_only" => breaker.force(Mode::Observing, Tick::NEVER, now),
        "release" => breaker.release_command(now),
        other => return Err(format!("unknown manual action `{other}`")),
    };
    trace.note(transition);
    Ok(())
}

fn expectations(
    checks: &mut Checks,
    place: &str,
    trace: &mut Trace,
    expect: &Map<String, Value>,
    got: &Got,
) -> Result<(), String> {
    let now = trace.now;
    if got.is_call && !expect.contains_key("admit") && got.admitted == Some(false) {
        checks.miss(place, "expected to be admitted, was rejected");
    }
    for (what, expected) in expect {
        let failing = trace.breaker.failing(now);
        let slowness = trace.breaker.slowness(now);
        let (value, tolerance) = match what.as_str() {
            "admit" => (json!(got.admitted), 0.0),
            "state" => (json!(trace.state()), 0.0),
            "total" => (json!(failing.calls), 0.0),
            "failed" => (json!(failing.hits), 0.0),
            "failure_pct" => (trace.percent(failing), 0.001),
            "slow" => (json!(slowness.hits), 0.0),
            "slow_pct" => (trace.percent(slowness), 0.001),
            "rejected" => (json!(trace.rejected), 0.0),
            "opened" => (json!(trace.opened), 0.0),
            "half_opened" => (json!(trace.half_opened), 0.0),
            "closed" => (json!(trace.closed), 0.0),
            "threshold_events" => (json!(trace.threshold_events), 0.0),
            "retry_after_ms" => {
                let after = got.retry_after.map(|after| after.as_secs_f64() * 1_000.0);
                (json!(after), 0.001)
            }
            "error" => (json!(got.error), 0.0),
            "in_flight" | "in_use" => (json!(trace.breaker.probes()), 0.0),
            "active_failure_pct" => {
                let active = trace.breaker.config().trips().find_map(|trip| match trip {
                    Trip::Rate { ratio, .. } => Some(ratio.get() * 100.0),
                    _ => None,
                });
                (json!(active), 0.001)
            }
            other => return Err(format!("unknown expectation `{other}`")),
        };
        checks.close(place, what, expected, &value, tolerance);
    }
    Ok(())
}

/// So many calls of which such a share failed, the failures last.
fn thresholds(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["failure_pct", "cmp", "min_calls"])?;
    let mut checks = Checks::default();
    for (i, row) in case.rows.iter().enumerate() {
        let calls = case.cell(row, "throughput")?.as_f64().ok_or("no number")?;
        let rate = case
            .cell(row, "failure_rate")?
            .as_f64()
            .ok_or("no number")?;
        let mut raw = case.config.clone();
        raw.insert(
            "window".into(),
            json!({"kind": "time", "length_ms": 10_000}),
        );
        let Read::Settings(settings) = Settings::read(&raw)? else {
            return Err("settings".into());
        };
        let mut breaker = Breaker::new(settings.config);
        let failures = (calls * rate).ceil();
        for call in 0..count(calls) {
            let Ok(permit) = breaker.admit(Tick::ZERO).verdict else {
                break;
            };
            let failed = f64::from(call) >= calls - failures;
            let outcome = if failed {
                Outcome::Failure(Failure::Error)
            } else {
                Outcome::Success
            };
            let _ = breaker.settle(permit, outcome, Tick::ZERO);
        }
        let expected = case.cell(row, "breaks")?;
        checks.equal(
            format!("row {i}"),
            "breaks",
            expected,
            breaker.state() == State::Open,
        );
    }
    Ok(checks)
}

/// How many rounds of probes had failed at each opening, read off the waits that double with each.
fn episodes(case: &Case) -> Result<Checks, String> {
    let mut checks = Checks::default();
    let config = BreakerConfig::new(Trip::consecutive(1))
        .open_for(Period::secs(1))
        .growing(Factor::TWO, Period::secs(1_000_000));
    for (i, row) in case.rows.iter().enumerate() {
        let mut breaker = Breaker::new(config);
        let (mut now, mut seen, mut probe) = (Tick::ZERO, Vec::new(), None);
        let events = case.cell(row, "episode")?.as_array().ok_or("no episode")?;
        for event in events {
            match event.as_str() {
                Some("open") => {
                    let permit = match probe.take() {
                        Some(permit) => permit,
                        None => breaker.admit(now).verdict.map_err(|e| e.to_string())?,
                    };
                    let _ = breaker.settle(permit, Outcome::Failure(Failure::Error), now);
                    let wait = breaker.time_left(now).ok_or("not open")?;
                    seen.push(wait.as_secs().ilog2());
                    now = now + wait;
                }
                Some("half") => {
                    probe = Some(breaker.admit(now).verdict.map_err(|e| e.to_string())?);
                }
                Some("close") => {
                    let permit = probe.take().ok_or("no probe")?;
                    let _ = breaker.settle(permit, Outcome::Success, now);
                    let closed = breaker.state() == State::Closed;
                    checks.equal(format!("row {i}"), "closed", &json!(true), closed);
                }
                other => return Err(format!("unknown event {other:?}")),
            }
        }
        let expected = case.cell(row, "half_open_attempts_seen")?;
        checks.equal(format!("row {i}"), "attempts", expected, json!(seen));
    }
    Ok(checks)
}

fn ramp(case: &Case) -> Result<Checks, String> {
    only("config", &case.config, &["ramp"])?;
    let ramp = case.config.get("ramp").and_then(Value::as_object);
    let ramp = ramp_of(ramp.ok_or("no `ramp`")?)?;
    let mut checks = Checks::default();
    for (i, row) in case.rows.iter().enumerate() {
        let since = case
            .cell(row, "ms_since_close")?
            .as_f64()
            .ok_or("no number")?;
        let expected = case.cell(row, "admitted_pct")?;
        let share = ramp.share(millis(since)).get() * 100.0;
        checks.close(
            format!("row {i}"),
            "admitted",
            expected,
            &json!(share),
            0.001,
        );
    }
    Ok(checks)
}
