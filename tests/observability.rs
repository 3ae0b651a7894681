//! What mainstay tells: the table of `src/observe/mod.rs`, the dashboard and the alert rules, held against what the
//! policies really emit; and that listening does no harm, and not listening costs nothing.
//!
//! A new policy is a function in `observability/drives.rs`. These tests then ask for its rows in the table.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

#[path = "observability/drivers.rs"]
mod drivers;
#[path = "observability/drives.rs"]
mod drives;
#[path = "observability/listen.rs"]
mod listen;
#[path = "observability/order.rs"]
mod order;
#[path = "observability/promql.rs"]
mod promql;
#[path = "observability/sagas.rs"]
mod sagas;
#[path = "observability/spans.rs"]
mod spans;
#[path = "observability/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use listen::{Curious, Ears, Handles};
use mainstay::breaker::{BreakerConfig, BreakerLayer, Trip};
use mainstay::error::{AsRejected, Rejected};
use mainstay::fallback::{FallbackLayer, Outcomes};
use mainstay::num::Period;
use mainstay_test_support::allocations;
use metrics_util::debugging::DebuggingRecorder;
use serde_json::Value;
use table::Row;
use tower::{Layer, Service, service_fn};
use yaml_rust2::{Yaml, YamlLoader};

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;

const DASHBOARD: &str = include_str!("../docs/grafana/mainstay.json");
const ALERTS: &str = include_str!("../docs/prometheus/mainstay.rules.yml");

/// A counter's and a gauge's, and what the set of labels is shared by.
const LABELS_OF_A_TRANSITION: u64 = 4;

/// Labels that Prometheus adds to whatever it scrapes.
const TARGET: [&str; 2] = ["instance", "job"];

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

/// Everything that the policies told.
struct Told {
    metrics: Vec<Row>,
    /// `(metric, label, value)`.
    values: BTreeSet<(String, String, String)>,
    events: Vec<Row>,
    spans: Vec<Row>,
}

fn told() -> &'static Told {
    static TOLD: OnceLock<Told> = OnceLock::new();
    TOLD.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let ears = Ears::default();
        metrics::with_local_recorder(&recorder, || {
            tracing::subscriber::with_default(ears.clone(), || {
                for (name, drive) in drives::all() {
                    println!("driving the {name}");
                    runtime().block_on(drive(&Handles::default()));
                }
            });
        });
        let (metrics, values) = listen::metrics_in(&snapshotter);
        Told {
            metrics,
            values,
            events: ears.heard(),
            spans: ears.opened(),
        }
    })
}

/// Both ways: what is emitted stands in the table, and what stands there is emitted.
#[track_caller]
fn assert_same(table: &[Row], emitted: &[Row]) {
    let missing: Vec<_> = emitted.iter().filter(|row| !table.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "emitted, and not so in the table: {missing:#?}"
    );
    let unseen: Vec<_> = table.iter().filter(|row| !emitted.contains(row)).collect();
    assert!(
        unseen.is_empty(),
        "in the table, and not emitted so: {unseen:#?}"
    );
    assert_eq!(table.len(), emitted.len(), "a row stands twice");
}

#[test]
fn the_table_of_metrics_is_what_is_emitted() {
    let (table, stated) = table::metrics();
    assert_same(&table, &told().metrics);
    for (metric, label, value) in &told().values {
        if let Some(stated) = stated.get(&(metric.clone(), label.clone())) {
            assert!(stated.contains(value), "{metric}: {label}={value}");
        }
    }
}

#[test]
fn the_table_of_events_is_what_is_emitted() {
    assert_same(&table::events(), &told().events);
}

#[test]
fn the_table_of_spans_is_what_is_opened() {
    assert_same(&table::spans(), &told().spans);
}

/// Names of the configuration are the only labels whose values users make: of policies, tiers, components, sagas, steps.
#[test]
fn labels_have_few_values() {
    let mut values: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, label, value) in &told().values {
        values.entry(label).or_default().insert(value);
    }
    for (label, values) in values {
        let own = match label.as_str() {
            "component" | "policy" | "saga" | "tier" => {
                values == ["test".to_owned()].iter().collect()
            }
            "step" => values == ["after", "do", "post"].map(str::to_owned).iter().collect(),
            _ => values
                .iter()
                .all(|value| value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')),
        };
        assert!(own, "{label}: {values:?}");
    }
}

/// Every metric and label of `expression` exists, and every value that it compares with occurs.
fn check(place: &str, expression: &str) -> promql::Uses {
    let (table, stated) = table::metrics();
    let mut uses = promql::uses(expression);
    // The series of a histogram.
    let base = |metric: &String| {
        let series = ["_bucket", "_count", "_sum"].iter();
        let base = series
            .filter_map(|series| metric.strip_suffix(series))
            .next();
        let is_histogram = |base: &&str| {
            table
                .iter()
                .any(|row| row.name == *base && row.kind == "histogram")
        };
        base.filter(is_histogram)
            .map_or_else(|| metric.clone(), str::to_owned)
    };
    uses.metrics = uses.metrics.iter().map(base).collect();
    for (metric, ..) in &mut uses.matchers {
        *metric = base(metric);
    }
    assert!(
        !uses.metrics.is_empty(),
        "{place}: no metric in {expression}"
    );
    let labels_of = |metric: &str| {
        let row = table.iter().find(|row| row.name == *metric);
        &row.unwrap_or_else(|| panic!("{place}: there is no {metric}"))
            .labels
    };
    for (metric, label, values) in &uses.matchers {
        if TARGET.contains(&label.as_str()) {
            continue;
        }
        assert!(
            labels_of(metric).contains(label),
            "{place}: {metric} has no {label}"
        );
        for value in values {
            let emitted = (metric.clone(), label.clone(), value.clone());
            let stated = stated.get(&(metric.clone(), label.clone()));
            let known = told().values.contains(&emitted)
                || stated.is_some_and(|values| values.contains(value));
            assert!(known, "{place}: {metric} never has {label}={value}");
        }
    }
    for group in &uses.groups {
        for metric in &uses.metrics {
            let known = TARGET.contains(&group.as_str()) || labels_of(metric).contains(group);
            assert!(known, "{place}: {metric} has no {group}");
        }
    }
    uses
}

/// Every object below `value`, itself included.
fn objects<'v>(value: &'v Value, found: &mut Vec<&'v serde_json::Map<String, Value>>) {
    match value {
        Value::Object(map) => {
            found.push(map);
            map.values().for_each(|value| objects(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_is_emitted() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    objects(&dashboard, &mut found);
    let mut expressions = 0;
    for object in &found {
        let Some(expression) = object.get("expr").and_then(Value::as_str) else {
            continue;
        };
        expressions += 1;
        let uses = check("the dashboard", expression);
        // What a legend names is still there after the grouping.
        let legend = object["legendFormat"].as_str().unwrap();
        for part in legend.split("{{").skip(1) {
            let label = part.split_once("}}").unwrap().0.trim();
            assert!(uses.groups.contains(label), "{legend}: {expression}");
        }
        for (_, variable) in expression
            .match_indices('$')
            .map(|(at, _)| expression.split_at(at))
        {
            let known = ["$policy", "$saga", "$__rate_interval", "$__range"];
            assert!(
                known.iter().any(|known| variable.starts_with(known)),
                "{variable}"
            );
        }
    }
    assert!(expressions >= 20, "{expressions}");

    // Panels have ids of their own, a title, a description, and the data source that was chosen.
    let panels: Vec<_> = dashboard["panels"].as_array().unwrap().iter().collect();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in &panels {
        assert!(!panel["title"].as_str().unwrap().is_empty());
        if panel["type"] != "row" {
            assert!(
                !panel["description"].as_str().unwrap().is_empty(),
                "{}",
                panel["title"]
            );
            assert_eq!(
                panel["datasource"]["uid"], "${datasource}",
                "{}",
                panel["title"]
            );
        }
    }
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    for topic in [
        "Breakers",
        "Retries",
        "Limits",
        "Fallbacks",
        "Deadlines",
        "Degradation",
        "Health",
        "Tenants",
        "Autoscaling",
        "Sagas",
        "Journals",
    ] {
        assert!(rows.contains(&topic), "{rows:?}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for (name, kind) in [
        ("datasource", "datasource"),
        ("policy", "query"),
        ("saga", "query"),
    ] {
        let variable = variables
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap();
        assert_eq!(variable["type"], kind);
        if let Some(query) = variable["query"]["query"].as_str() {
            // Of one metric, or of all.
            let named = promql::uses(query).metrics;
            let all = query.contains("__name__=~\"mainstay_.+\"");
            let (metrics, _) = table::metrics();
            let mut asked = metrics
                .iter()
                .filter(|row| all || named.contains(&row.name));
            assert!(asked.any(|row| row.labels.contains(name)), "{query}");
        }
    }
}

#[test]
fn the_alerts_ask_for_what_is_emitted_and_say_what_to_do() {
    let alerts = YamlLoader::load_from_str(ALERTS).unwrap();
    let [file] = &alerts[..] else {
        panic!("one document is expected");
    };
    let keys = |yaml: &Yaml| -> BTreeSet<String> {
        let map = yaml.as_hash().unwrap();
        map.keys()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect()
    };
    let set = |keys: &[&str]| {
        keys.iter()
            .map(|key| (*key).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(keys(file), set(&["groups"]));
    let mut names = BTreeSet::new();
    for group in file["groups"].as_vec().unwrap() {
        assert_eq!(keys(group), set(&["name", "rules"]));
        for rule in group["rules"].as_vec().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} stands twice");
            assert_eq!(
                keys(rule),
                set(&["alert", "expr", "for", "labels", "annotations"]),
                "{name}"
            );
            let uses = check(name, rule["expr"].as_str().unwrap());
            let wait = rule["for"].as_str().unwrap();
            let number = wait.strip_suffix(['s', 'm', 'h']).unwrap();
            assert!(number.parse::<u32>().is_ok(), "{name}: {wait}");
            let severity = rule["labels"]["severity"].as_str().unwrap();
            assert!(
                ["info", "warning", "critical"].contains(&severity),
                "{name}: {severity}"
            );
            let annotations = &rule["annotations"];
            assert_eq!(
                keys(annotations),
                set(&["summary", "description", "runbook"]),
                "{name}"
            );
            for (key, text) in annotations.as_hash().unwrap() {
                let text = text.as_str().unwrap();
                let key = key.as_str().unwrap();
                assert!(text.len() > 20, "{name}: {key}");
                for part in text.split("$labels.").skip(1) {
                    let label: String = part
                        .chars()
                        .take_while(|c| c.is_ascii_lowercase())
                        .collect();
                    assert!(
                        uses.groups.contains(&label),
                        "{name}: {label} is grouped away"
                    );
                }
            }
        }
    }
    assert!(names.len() >= 10, "{names:?}");
}

/// Whoever is told something may look at any handle: nothing is told under a lock.
#[test]
fn listeners_may_look_at_every_handle() {
    let (sender, ended) = mpsc::channel();
    let heard = Arc::new(Mutex::new(BTreeMap::new()));
    let note = Arc::clone(&heard);
    // On a thread of its own: a listener that waits for ever must not keep the test from saying so.
    let listener = std::thread::spawn(move || {
        for (name, drive) in drives::all() {
            let handles = Handles::default();
            let curious = Curious(handles.clone(), Arc::clone(&note));
            metrics::with_local_recorder(&curious, || {
                tracing::subscriber::with_default(curious.clone(), || {
                    runtime().block_on(drive(&handles));
                });
            });
            sender.send(name).unwrap();
        }
    });
    for (name, _) in drives::all() {
        let driven = ended.recv_timeout(Duration::from_secs(60));
        assert_eq!(
            driven,
            Ok(name),
            "a listener waits for a lock of the {name}"
        );
    }
    listener.join().unwrap();
    let heard = heard.lock().unwrap();
    assert!(
        heard["counter"] > 10 && heard["gauge"] > 0 && heard["event"] > 10 && heard["span"] > 10,
        "{heard:?}"
    );
}

#[derive(Debug)]
enum Fault {
    Down,
    Rejected(Rejected),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl AsRejected for Fault {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Rejected(rejected) => Some(*rejected),
            Self::Down => None,
        }
    }
}

fn call<S: Service<u32, Response = u32, Error = Fault>>(service: &mut S) -> Result<u32, Fault> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(1)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it answers at once"),
    }
}

/// Without a recorder and a subscriber a refusal and a fallback build no event, no label and no key, once the first of
/// their kind has made its key. A circuit that changes, which it does once in seconds, may build its labels anew.
#[test]
fn nothing_is_built_when_nobody_listens() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let open_for = Period::secs(5);
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(open_for);
    let breaker = BreakerLayer::new("quiet", config);
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let callee = service_fn(move |n: u32| {
        let fails = is_down.load(Ordering::Relaxed);
        async move { if fails { Err(Fault::Down) } else { Ok(n) } }
    });
    let mut refused = breaker.layer(callee);
    let fallback = FallbackLayer::value("quiet", Outcomes::NONE.refusals(), 7);
    let mut answered = fallback.layer(refused.clone());

    // Allocations of the call that opens the circuit, and of refusals and fallbacks while it is open.
    let mut cycle = || {
        down.store(true, Ordering::Relaxed);
        let (opening, failed) = allocations(|| call(&mut refused));
        assert!(matches!(failed, Err(Fault::Down)));
        let (open, ()) = allocations(|| {
            for _ in 0..100 {
                assert!(matches!(call(&mut refused), Err(Fault::Rejected(_))));
                assert!(matches!(call(&mut answered), Ok(7)));
            }
        });
        runtime.block_on(tokio::time::sleep(open_for.get()));
        down.store(false, Ordering::Relaxed);
        assert!(call(&mut refused).is_ok());
        (opening, open)
    };
    cycle();
    for _ in 0..3 {
        let (opening, open) = cycle();
        assert_eq!(open, 0);
        assert!(opening <= LABELS_OF_A_TRANSITION, "{opening}");
    }
    assert_eq!(breaker.handle().openings(), 4);
}
