//! The decisions of Kubernetes' autoscaler: one pure operation a case.

use mainstay::autoscale::hpa::{
    Behavior, Bounds, Container, Controller, Direction, Events, FromZero, Growth, Hpa, Metric,
    MetricError, ObjectRef, Observation, Phase, Pod, PodMetric, Policy, PolicyKind, Proposal,
    Quantity, Reading, Recommendation, Rules, Sample, ScaleEvent, Select, Source, State, Tally,
    Target, Timing, Tolerance, Tolerances, by_total, by_total_average, change_within, clamp,
    classify, record_scale_event, stabilize, stabilize_with_behavior, sum,
};
use mainstay::autoscale::reasoning::Reasoning;
use mainstay::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::case::{Checks, Ended, end, failed, only};

type Object = Map<String, Value>;
type Read<T> = Result<T, String>;

/// What the cases call 0.
const NOW: Timestamp = Timestamp::from_millis(2_000_000_000_000);

/// What any case may say of itself.
const ABOUT: &[&str] = &[
    "id",
    "group",
    "op",
    "origin",
    "derived_from",
    "why",
    "note",
    "skipped_upstream",
    "input",
    "expect",
];

/// What has no order.
const SETS: &[&str] = &["unready", "missing", "ignored"];

pub(crate) fn run(case: &Value) -> Ended {
    let Some(case) = case.as_object() else {
        return failed("the case is no table");
    };
    end(operation(case))
}

fn operation(case: &Object) -> Read<Checks> {
    only("the case", case, ABOUT)?;
    let input = &Input(object(case, "input")?);
    let expect = object(case, "expect")?;
    let got = match text(case, "op")? {
        "classify_pods" => classify_pods(input)?,
        "pod_request" => pod_request(input)?,
        "utilization_ratio" => utilization_ratio(input)?,
        "average_ratio" => average_ratio(input)?,
        "resource_utilization_replicas" => resource_utilization(input)?,
        "pods_average_replicas" => pods_average(input)?,
        "total_value_replicas" => total_value(input)?,
        "average_value_replicas" => average_value(input)?,
        "fill_default_rules" => fill_default_rules(input)?,
        "stabilize_without_behavior" => without_behavior(input)?,
        "stabilize_with_behavior" => with_behavior(input)?,
        "rate_limit" => rate_limit(input)?,
        "clamp_without_behavior" => clamp_without(input)?,
        "clamp_with_behavior" => clamp_with(input)?,
        "record_scale_event" => record(input)?,
        "decide" => decide(input)?,
        other => return Err(format!("unknown op `{other}`")),
    };
    let mut checks = Checks::default();
    for (key, expected) in expect {
        compare(&mut checks, key, expected, got.get(key));
    }
    if expect.contains_key("error") != got.get("error").is_some() {
        checks.miss("error", format!("got {got}"));
    }
    Ok(checks)
}

/// Each thing that is expected, wherever it stands; of what nothing is known here is a failure.
fn compare(checks: &mut Checks, path: &str, expected: &Value, got: Option<&Value>) {
    match (expected, got) {
        (Value::Object(expected), Some(Value::Object(got))) => {
            for (key, expected) in expected {
                compare(checks, &format!("{path}.{key}"), expected, got.get(key));
            }
        }
        (Value::Array(expected), Some(Value::Array(got))) if SETS.contains(&path) => {
            let sorted = |names: &[Value]| {
                let mut names: Vec<_> = names.iter().map(Value::to_string).collect();
                names.sort();
                names
            };
            checks.equal(path, "value", &sorted(expected).into(), sorted(got));
        }
        (_, Some(got)) => checks.equal(path, "value", expected, got.clone()),
        (_, None) => checks.miss(path, format!("expected {expected}, got nothing")),
    }
}

// === what a case gives ===

struct Input<'c>(&'c Object);

impl<'c> Input<'c> {
    fn only(&self, known: &[&str]) -> Read<()> {
        only("the input", self.0, known)
    }
}

fn value<'c>(object: &'c Object, key: &str) -> Read<&'c Value> {
    object.get(key).ok_or_else(|| format!("no `{key}`"))
}

fn object<'c>(of: &'c Object, key: &str) -> Read<&'c Object> {
    let table = value(of, key)?.as_object();
    table.ok_or_else(|| format!("`{key}` is no table"))
}

/// `None` for null and for what is not there.
fn maybe<'c>(of: &'c Object, key: &str) -> Option<&'c Value> {
    of.get(key).filter(|value| !value.is_null())
}

fn text<'c>(of: &'c Object, key: &str) -> Read<&'c str> {
    let text = value(of, key)?.as_str();
    text.ok_or_else(|| format!("`{key}` is no text"))
}

fn flag(of: &Object, key: &str) -> Read<bool> {
    let flag = value(of, key)?.as_bool();
    flag.ok_or_else(|| format!("`{key}` is neither true nor false"))
}

fn whole(of: &Object, key: &str) -> Read<i64> {
    let whole = value(of, key)?.as_i64();
    whole.ok_or_else(|| format!("`{key}` is no whole number"))
}

fn number<T: TryFrom<i64>>(of: &Object, key: &str) -> Read<T> {
    let value = whole(of, key)?;
    T::try_from(value).map_err(|_| format!("`{key}` is out of range: {value}"))
}

fn list<'c>(of: &'c Object, key: &str) -> Read<&'c Vec<Value>> {
    let list = value(of, key)?.as_array();
    list.ok_or_else(|| format!("`{key}` is no list"))
}

fn each<T>(of: &Object, key: &str, read: impl Fn(&Object) -> Read<T>) -> Read<Vec<T>> {
    let item = |item: &Value| {
        let item = item.as_object();
        read(item.ok_or_else(|| format!("`{key}` has something that is no table"))?)
    };
    list(of, key)?.iter().map(item).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1_000)
}

fn when(of: &Object, key: &str) -> Read<Timestamp> {
    whole(of, key).map(at)
}

fn pods(of: &Object) -> Read<Vec<Pod>> {
    each(of, "pods", pod)
}

fn pod(of: &Object) -> Read<Pod> {
    let known = [
        "name",
        "phase",
        "deleting",
        "started_at_s",
        "ready",
        "request_milli",
    ];
    only("a pod", of, &known)?;
    let phase = match text(of, "phase")? {
        "failed" => Phase::Failed,
        "pending" => Phase::Pending,
        "running" => Phase::Running,
        "succeeded" => Phase::Succeeded,
        "unknown" => Phase::Unknown,
        other => return Err(format!("unknown phase `{other}`")),
    };
    let mut pod = Pod::new(text(of, "name")?).phase(phase);
    if of.contains_key("deleting") {
        pod = pod.deleting(flag(of, "deleting")?);
    }
    if maybe(of, "started_at_s").is_some() {
        pod = pod.started(when(of, "started_at_s")?);
    }
    match maybe(of, "ready") {
        None => {}
        Some(Value::Bool(ready)) => pod = pod.ready(*ready, NOW),
        Some(Value::Object(ready)) => {
            only("ready", ready, &["status", "changed_at_s"])?;
            pod = pod.ready(flag(ready, "status")?, when(ready, "changed_at_s")?);
        }
        Some(other) => return Err(format!("`ready` is {other}")),
    }
    let mut app = Container::new("app");
    if maybe(of, "request_milli").is_some() {
        let milli = whole(of, "request_milli")?;
        app = app.request("cpu", milli).request("memory", milli);
    }
    Ok(pod.container(app))
}

fn samples(of: &Object) -> Read<Vec<Sample>> {
    each(of, "samples", |of| {
        only("a sample", of, &["pod", "value_milli", "at_s", "window_s"])?;
        let window = number(of, "window_s")?;
        let value = whole(of, "value_milli")?;
        Ok(Sample::new(
            text(of, "pod")?,
            value,
            when(of, "at_s")?,
            window,
        ))
    })
}

fn values(of: &Object) -> Read<Vec<i64>> {
    let value = |value: &Value| value.as_i64().ok_or_else(|| format!("{value} is no value"));
    list(of, "values_milli")?.iter().map(value).collect()
}

fn tolerances(of: &Object) -> Read<Tolerances> {
    let both = object(of, "tolerance")?;
    only("the tolerance", both, &["up", "down"])?;
    let one = |key: &'static str| {
        let share = value(both, key)?.as_f64();
        let share = share.ok_or_else(|| format!("`{key}` is no number"))?;
        Tolerance::new(key, share).map_err(|error| error.to_string())
    };
    Ok(Tolerances::new(one("up")?, one("down")?))
}

fn timing(of: &Object) -> Read<Timing> {
    let timing = Timing::default().cpu_initialization(number(of, "cpu_initialization_s")?);
    Ok(timing.initial_readiness_delay(number(of, "initial_readiness_delay_s")?))
}

fn direction(of: &Object) -> Read<Direction> {
    match text(of, "direction")? {
        "down" => Ok(Direction::Down),
        "up" => Ok(Direction::Up),
        other => Err(format!("unknown direction `{other}`")),
    }
}

/// What a case leaves out, or sets to null, is as in the default.
fn rules(given: Option<&Value>, direction: Direction) -> Read<Rules> {
    let mut rules = Rules::of(direction);
    let Some(given) = given.filter(|given| !given.is_null()) else {
        return Ok(rules);
    };
    let given = given.as_object().ok_or("the rules are no table")?;
    let known = ["stabilization_window_s", "select", "policies", "tolerance"];
    only("the rules", given, &known)?;
    let wrong = |error: mainstay::ConfigError| error.to_string();
    if maybe(given, "stabilization_window_s").is_some() {
        rules = rules
            .window(number(given, "stabilization_window_s")?)
            .map_err(wrong)?;
    }
    if maybe(given, "select").is_some() {
        rules = rules.select(match text(given, "select")? {
            "Disabled" => Select::Disabled,
            "Max" => Select::Max,
            "Min" => Select::Min,
            other => return Err(format!("unknown select `{other}`")),
        });
    }
    if let Some(tolerance) = maybe(given, "tolerance") {
        let tolerance = tolerance.as_f64().ok_or("the tolerance is no number")?;
        let tolerance = Tolerance::new("tolerance", tolerance).map_err(wrong)?;
        rules = rules.tolerance(tolerance);
    }
    if maybe(given, "policies").is_some() {
        rules = rules.policies(each(given, "policies", |of| {
            only("a policy", of, &["type", "value", "period_s"])?;
            let kind = match text(of, "type")? {
                "Percent" => PolicyKind::Percent,
                "Pods" => PolicyKind::Pods,
                other => return Err(format!("unknown policy `{other}`")),
            };
            Policy::new(kind, number(of, "value")?, number(of, "period_s")?).map_err(wrong)
        })?);
    }
    Ok(rules)
}

fn bounds(of: &Object) -> Read<Bounds> {
    let bounds = Bounds::new(number(of, "min_replicas")?, number(of, "max_replicas")?);
    bounds.map_err(|error| error.to_string())
}

fn growth(of: &Object) -> Read<Growth> {
    let factor = number(of, "scale_up_factor")?;
    let growth = Growth::new(factor, number(of, "scale_up_floor")?);
    growth.map_err(|error| error.to_string())
}

fn history(of: &Object) -> Read<Vec<Recommendation>> {
    each(of, "history", |of| {
        only("a recommendation", of, &["replicas", "at_s"])?;
        Ok(Recommendation::new(
            number(of, "replicas")?,
            when(of, "at_s")?,
        ))
    })
}

fn events(of: &Object, key: &str) -> Read<Vec<ScaleEvent>> {
    each(of, key, |of| {
        only("an event", of, &["change", "at_s"])?;
        Ok(ScaleEvent::new(number(of, "change")?, when(of, "at_s")?))
    })
}

// === what comes of it ===

fn proposed(proposal: Result<Proposal, MetricError>, value_name: &str) -> Value {
    match proposal {
        Ok(proposal) => {
            json!({
                "replicas": proposal.replicas,
                "percent": proposal.percent,
                value_name: proposal.value,
            })
        }
        Err(error) => json!({ "error": error.as_str() }),
    }
}

fn classify_pods(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "cpu",
        "cpu_initialization_s",
        "initial_readiness_delay_s",
        "pods",
        "samples",
    ])?;
    let (pods, samples) = (pods(input.0)?, samples(input.0)?);
    let classes = classify(
        &pods,
        &samples,
        flag(input.0, "cpu")?,
        timing(input.0)?,
        NOW,
    );
    Ok(json!({
        "ready_count": classes.ready,
        "unready": classes.unready,
        "missing": classes.missing,
        "ignored": classes.ignored,
    }))
}

fn pod_request(input: &Input<'_>) -> Read<Value> {
    let known = [
        "pod_level_enabled",
        "pod_level_request_milli",
        "container",
        "containers",
        "init_containers",
    ];
    input.only(&known)?;
    let container = |of: &Object| {
        only(
            "a container",
            of,
            &["name", "request_milli", "restarts_always"],
        )?;
        let container = Container::new(text(of, "name")?);
        Ok(match maybe(of, "request_milli") {
            Some(_) => container.request("cpu", whole(of, "request_milli")?),
            None => container,
        })
    };
    let mut pod = Pod::new("pod");
    for container in each(input.0, "containers", container)? {
        pod = pod.container(container);
    }
    let restarting = |of: &Object| Ok((flag(of, "restarts_always")?, container(of)?));
    for (always, container) in each(input.0, "init_containers", restarting)? {
        if always {
            pod = pod.container(container);
        }
    }
    if maybe(input.0, "pod_level_request_milli").is_some() {
        pod = pod.pod_level_request("cpu", whole(input.0, "pod_level_request_milli")?);
    }
    let named = maybe(input.0, "container").map(|_| text(input.0, "container"));
    let pod_level = flag(input.0, "pod_level_enabled")?;
    Ok(match pod.request("cpu", named.transpose()?, pod_level) {
        Ok(milli) => json!({ "request_milli": milli }),
        Err(error) => json!({ "error": error.as_str() }),
    })
}

fn utilization_ratio(input: &Input<'_>) -> Read<Value> {
    input.only(&["samples_milli", "requests_milli", "target_percent"])?;
    let samples = object(input.0, "samples_milli")?;
    let requests = object(input.0, "requests_milli")?;
    let mut pairs = Vec::new();
    for pod in samples.keys().filter(|pod| requests.contains_key(*pod)) {
        pairs.push((whole(samples, pod)?, whole(requests, pod)?));
    }
    let target = number(input.0, "target_percent")?;
    Ok(match pairs.into_iter().collect::<Tally>().utilization() {
        Ok(used) => json!({
            "ratio": used.ratio(target),
            "percent": used.percent(),
            "raw_average_milli": used.average(),
        }),
        Err(error) => json!({ "error": error.as_str() }),
    })
}

fn average_ratio(input: &Input<'_>) -> Read<Value> {
    input.only(&["samples_milli", "target_milli"])?;
    let samples = object(input.0, "samples_milli")?;
    let values: Read<Vec<_>> = samples.keys().map(|pod| whole(samples, pod)).collect();
    let target = whole(input.0, "target_milli")?;
    let average = values?.into_iter().collect::<Tally>().average();
    #[expect(clippy::cast_precision_loss, reason = "the case states a double")]
    Ok(match average {
        Some(average) => json!({
            "ratio": average as f64 / target as f64,
            "average_milli": average,
        }),
        None => json!({ "error": "no_metrics" }),
    })
}

const POD_METRIC: [&str; 8] = [
    "current_replicas",
    "tolerance",
    "cpu",
    "cpu_initialization_s",
    "initial_readiness_delay_s",
    "pods",
    "samples",
    "container",
];

/// No case names one; should one do so, it is not to pass unread.
fn no_container(of: &Object) -> Read<()> {
    match maybe(of, "container") {
        None => Ok(()),
        Some(_) => Err("the samples of a container are its pod's here".to_owned()),
    }
}

/// The runner's own test: a container is refused where it would not be read.
pub(crate) fn check_refusals() {
    let is_refused = |container: &str| {
        let metric = json!({ "kind": "pods", "target_average_milli": 1, "container": container });
        let metric = metric.as_object().map(Shown::read);
        metric.is_some_and(|read| read.is_err())
    };
    assert!(is_refused("app"));
}

/// What both rules about pods have in common.
fn of_pods(
    input: &Input<'_>,
    target: &str,
    propose: impl FnOnce(PodMetric<'_>, &str) -> Read<Result<Proposal, MetricError>>,
) -> Read<Result<Proposal, MetricError>> {
    let known: Vec<_> = POD_METRIC.into_iter().chain([target]).collect();
    input.only(&known)?;
    no_container(input.0)?;
    let (pods, samples) = (pods(input.0)?, samples(input.0)?);
    let current = number(input.0, "current_replicas")?;
    let metric = PodMetric::new(&pods, &samples, current, tolerances(input.0)?, NOW);
    let timing = timing(input.0)?;
    if flag(input.0, "cpu")? {
        propose(metric.cpu(timing), "cpu")
    } else {
        propose(metric, "memory")
    }
}

fn resource_utilization(input: &Input<'_>) -> Read<Value> {
    let target = number(input.0, "target_percent")?;
    let proposal = of_pods(input, "target_percent", |metric, resource| {
        Ok(metric.by_utilization(resource, None, target, &mut Reasoning::new()))
    })?;
    Ok(proposed(proposal, "raw_average_milli"))
}

fn pods_average(input: &Input<'_>) -> Read<Value> {
    let target = whole(input.0, "target_average_milli")?;
    let proposal = of_pods(input, "target_average_milli", |metric, _| {
        Ok(metric.by_average(target, &mut Reasoning::new()))
    })?;
    Ok(proposed(proposal, "average_milli"))
}

fn source(input: &Input<'_>) -> Read<()> {
    match text(input.0, "source")? {
        "external" | "object" => Ok(()),
        other => Err(format!("unknown source `{other}`")),
    }
}

fn total_value(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "source",
        "current_replicas",
        "target_value_milli",
        "tolerance",
        "values_milli",
        "pods",
    ])?;
    source(input)?;
    let proposal = by_total(
        sum(&values(input.0)?),
        whole(input.0, "target_value_milli")?,
        number(input.0, "current_replicas")?,
        tolerances(input.0)?,
        &pods(input.0)?,
        &mut Reasoning::new(),
    );
    Ok(proposed(proposal, "usage_milli"))
}

fn average_value(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "source",
        "status_replicas",
        "target_average_milli",
        "tolerance",
        "values_milli",
    ])?;
    source(input)?;
    let proposal = by_total_average(
        sum(&values(input.0)?),
        whole(input.0, "target_average_milli")?,
        number(input.0, "status_replicas")?,
        tolerances(input.0)?,
        &mut Reasoning::new(),
    );
    Ok(proposed(Ok(proposal), "usage_per_pod_milli"))
}

fn fill_default_rules(input: &Input<'_>) -> Read<Value> {
    input.only(&["direction", "rules"])?;
    let rules = rules(input.0.get("rules"), direction(input.0)?)?;
    let policy = |policy: &Policy| {
        json!({
            "type": format!("{:?}", policy.kind()),
            "value": policy.value(),
            "period_s": policy.seconds(),
        })
    };
    let policies: Vec<_> = rules.policies_of().iter().map(policy).collect();
    Ok(json!({
        "stabilization_window_s": rules.window_of(),
        "select": format!("{:?}", rules.select_of()),
        "policies": policies,
    }))
}

fn replicas_of(history: &[Recommendation]) -> Vec<i32> {
    history.iter().map(|entry| entry.replicas).collect()
}

fn without_behavior(input: &Input<'_>) -> Read<Value> {
    input.only(&["down_window_s", "history", "desired_replicas"])?;
    let mut log = history(input.0)?;
    let desired = number(input.0, "desired_replicas")?;
    let replicas = stabilize(&mut log, desired, number(input.0, "down_window_s")?, NOW);
    Ok(json!({
        "replicas": replicas,
        "history_length_after": log.len(),
        "history_after": replicas_of(&log),
    }))
}

fn with_behavior(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "current_replicas",
        "desired_replicas",
        "up_window_s",
        "down_window_s",
        "history",
    ])?;
    let mut log = history(input.0)?;
    let (replicas, reason) = stabilize_with_behavior(
        &mut log,
        number(input.0, "current_replicas")?,
        number(input.0, "desired_replicas")?,
        number(input.0, "up_window_s")?,
        number(input.0, "down_window_s")?,
        NOW,
    );
    Ok(json!({
        "replicas": replicas,
        "reason": reason.map(|reason| reason.as_str()),
        "history_length_after": log.len(),
        "history_after": replicas_of(&log),
    }))
}

fn rate_limit(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "direction",
        "current_replicas",
        "up_events",
        "down_events",
        "rules",
    ])?;
    let direction = direction(input.0)?;
    let rules = rules(input.0.get("rules"), direction)?;
    let (up, down) = (
        events(input.0, "up_events")?,
        events(input.0, "down_events")?,
    );
    let current = number(input.0, "current_replicas")?;
    let limit = Events::new(&up, &down, NOW).limit(direction, current, &rules);
    Ok(json!({ "limit": limit }))
}

fn clamp_without(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "current_replicas",
        "desired_replicas",
        "min_replicas",
        "max_replicas",
        "scale_up_factor",
        "scale_up_floor",
    ])?;
    let current = number(input.0, "current_replicas")?;
    let desired = number(input.0, "desired_replicas")?;
    let (replicas, reason) = clamp(current, desired, bounds(input.0)?, growth(input.0)?);
    Ok(json!({ "replicas": replicas, "reason": reason.as_str() }))
}

fn clamp_with(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "current_replicas",
        "desired_replicas",
        "min_replicas",
        "max_replicas",
        "scale_up",
        "scale_down",
        "up_events",
        "down_events",
    ])?;
    let (up, down) = (
        events(input.0, "up_events")?,
        events(input.0, "down_events")?,
    );
    let (replicas, reason) = Events::new(&up, &down, NOW).clamp(
        number(input.0, "current_replicas")?,
        number(input.0, "desired_replicas")?,
        bounds(input.0)?,
        &rules(input.0.get("scale_up"), Direction::Up)?,
        &rules(input.0.get("scale_down"), Direction::Down)?,
    );
    Ok(json!({ "replicas": replicas, "reason": reason.as_str() }))
}

fn record(input: &Input<'_>) -> Read<Value> {
    input.only(&[
        "direction",
        "from_replicas",
        "to_replicas",
        "rules",
        "events",
        "sum_period_s",
    ])?;
    let mut log = events(input.0, "events")?;
    let period = number(input.0, "sum_period_s")?;
    let before = change_within(&log, period, NOW);
    let (from, to): (i32, i32) = (
        number(input.0, "from_replicas")?,
        number(input.0, "to_replicas")?,
    );
    let mut oldest = None;
    if let Some(given) = maybe(input.0, "rules") {
        let longest = rules(Some(given), direction(input.0)?)?.longest_period();
        let change = (to - from).abs();
        record_scale_event(&mut log, change, longest, NOW);
        oldest = Some(at(-i64::from(longest)));
    }
    let outdated = |event: &ScaleEvent| oldest.is_some_and(|oldest| event.at < oldest);
    let mut live: Vec<_> = log
        .iter()
        .filter(|event| !outdated(event))
        .map(|event| event.change)
        .collect();
    live.sort_unstable();
    let all = log
        .iter()
        .map(|event| json!({ "change": event.change, "outdated": outdated(event) }));
    let all: Vec<_> = all.collect();
    Ok(json!({ "change_in_period_before": before, "events_after": all, "live_after": live }))
}

/// A metric and its reading, to be lent.
struct Shown {
    metric: Metric,
    samples: Option<Vec<Sample>>,
    values: Option<Vec<i64>>,
    error: Option<String>,
}

impl Shown {
    fn read(of: &Object) -> Read<Self> {
        let known = [
            "kind",
            "cpu",
            "container",
            "target_percent",
            "target_average_milli",
            "target_value_milli",
            "samples",
            "values_milli",
            "error",
        ];
        only("a metric", of, &known)?;
        no_container(of)?;
        let cpu = of.get("cpu").is_some_and(|cpu| cpu == &Value::Bool(true));
        let resource = if cpu { "cpu" } else { "memory" };
        let source = match text(of, "kind")? {
            "resource" => Source::resource(resource),
            "container_resource" => Source::container("app", resource),
            "pods" => Source::pods("metric"),
            "object" => Source::object(ObjectRef::new("Service", "object"), "metric"),
            "external" => Source::external("metric"),
            "unknown" => Source::Unknown("unknown".to_owned()),
            other => return Err(format!("unknown kind of metric `{other}`")),
        };
        let quantity = |key| whole(of, key).map(Quantity::from_milli);
        let target = if of.contains_key("target_percent") {
            Target::Utilization(number(of, "target_percent")?)
        } else if of.contains_key("target_average_milli") {
            Target::AverageValue(quantity("target_average_milli")?)
        } else if of.contains_key("target_value_milli") {
            Target::Value(quantity("target_value_milli")?)
        } else if matches!(source, Source::Unknown(_)) {
            Target::Utilization(1)
        } else {
            return Err("a metric without a target".to_owned());
        };
        let samples = of.get("samples").map(|_| samples(of)).transpose()?;
        let values = of.get("values_milli").map(|_| values(of)).transpose()?;
        let error = of
            .get("error")
            .map(|_| text(of, "error").map(str::to_owned));
        Ok(Self {
            metric: Metric::new(source, target),
            samples,
            values,
            error: error.transpose()?,
        })
    }

    fn reading(&self) -> Reading<'_> {
        match (&self.error, &self.samples, &self.values) {
            (Some(error), ..) => Reading::Failed(error),
            (None, Some(samples), _) => Reading::Pods(samples),
            (None, None, Some(values)) => Reading::Values(values),
            (None, None, None) => Reading::Failed("nothing was read"),
        }
    }
}

fn decide(input: &Input<'_>) -> Read<Value> {
    let of = input.0;
    input.only(&[
        "min_replicas",
        "max_replicas",
        "spec_replicas",
        "status_replicas",
        "behavior",
        "tolerance",
        "controller_down_window_s",
        "scale_up_factor",
        "scale_up_floor",
        "cpu_initialization_s",
        "initial_readiness_delay_s",
        "metrics",
        "pods",
        "history",
        "up_events",
        "down_events",
    ])?;
    let wrong = |error: mainstay::ConfigError| error.to_string();
    let controller = Controller::new()
        .tolerance(tolerances(of)?)
        .timing(timing(of)?)
        .growth(growth(of)?)
        .zero(FromZero::Always)
        .down_window(number(of, "controller_down_window_s")?)
        .map_err(wrong)?;
    let mut hpa = Hpa::new(bounds(of)?).controller(controller);
    if let Some(behavior) = maybe(of, "behavior") {
        let behavior = behavior.as_object().ok_or("the behavior is no table")?;
        only("the behavior", behavior, &["scale_up", "scale_down"])?;
        let up = rules(behavior.get("scale_up"), Direction::Up)?;
        let down = rules(behavior.get("scale_down"), Direction::Down)?;
        hpa = hpa.behavior(Behavior::new().up(up).down(down));
    }
    let shown = each(of, "metrics", Shown::read)?;
    for shown in &shown {
        hpa = hpa.metric(shown.metric.clone());
    }
    let mut state = State::unknown().scaled(events(of, "up_events")?, events(of, "down_events")?);
    if maybe(of, "history").is_some() {
        state = state.recommended(history(of)?);
    }
    let pods = pods(of)?;
    let readings: Vec<_> = shown.iter().map(Shown::reading).collect();
    let seen = Observation::new(number(of, "spec_replicas")?)
        .status(number(of, "status_replicas")?)
        .pods(&pods)
        .readings(&readings);
    let decision = hpa.decide(state, &seen, NOW);
    let conditions = decision.conditions();
    let active = conditions.scaling_active();
    let limited = conditions.scaling_limited();
    Ok(json!({
        "replicas": decision.replicas(),
        "conditions": {
            "able_to_scale": conditions.able_to_scale().reason().as_str(),
            "scaling_active": active.map(|active| json!({
                "ok": active.holds(),
                "reason": active.reason().as_str(),
            })),
            "scaling_limited": limited.map(|limited| json!({
                "limited": limited.holds(),
                "reason": limited.reason().as_str(),
            })),
        },
    }))
}
