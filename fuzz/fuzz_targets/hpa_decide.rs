//! Any autoscaler over any pods, samples and times: every decision is total, the same each time, within the bounds, and
//! goes on after a restart.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::autoscale::hpa::{
    Behavior, Bounds, Container, Controller, Fallback, FromZero, Growth, Hpa, Metric, ObjectRef,
    Observation, Phase, Pod, Policy, PolicyKind, Quantity, Reading, Rules, Sample, Select, Source,
    State, Target, Timing, Tolerance, Tolerances,
};
use mainstay::time::Timestamp;

#[derive(Arbitrary, Debug)]
struct Case {
    min: i32,
    more: i32,
    metrics: Vec<AnyMetric>,
    behavior: Option<(AnyRules, AnyRules)>,
    tolerance: (f64, f64),
    window: u16,
    cpu_initialization: u32,
    readiness_delay: u32,
    growth: (u16, u16),
    always: bool,
    fallback: bool,
    pod_level: bool,
    zero_is_ours: bool,
    ticks: Vec<Tick>,
}

#[derive(Arbitrary, Debug)]
enum AnyMetric {
    Container(AnyTarget),
    External(AnyTarget, Option<(i32, i32)>),
    Object(AnyTarget),
    Pods(AnyTarget),
    Resource(bool, AnyTarget),
    Unknown,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum AnyTarget {
    Average(i64),
    Percent(i32),
    Value(i64),
}

#[derive(Arbitrary, Debug)]
struct AnyRules {
    window: Option<u16>,
    select: u8,
    policies: Vec<(bool, i32, i32)>,
    tolerance: Option<f64>,
}

#[derive(Arbitrary, Debug)]
struct Tick {
    now: i64,
    spec: i32,
    status: i32,
    pods: Vec<AnyPod>,
    samples: Vec<(u8, i64, i64, u32)>,
    values: Vec<i64>,
    failing: u8,
    applies: bool,
    restart: bool,
}

#[derive(Arbitrary, Debug)]
struct AnyPod {
    name: u8,
    phase: u8,
    deleting: bool,
    started: Option<i64>,
    ready: Option<(bool, i64)>,
    requests: Vec<i64>,
    whole: Option<i64>,
}

fn name(of: u8) -> String {
    format!("pod-{}", of % 16)
}

fn metric(any: AnyMetric) -> Metric {
    let target = |target| match target {
        AnyTarget::Average(milli) => Target::AverageValue(Quantity::from_milli(milli)),
        AnyTarget::Percent(percent) => Target::Utilization(percent),
        AnyTarget::Value(milli) => Target::Value(Quantity::from_milli(milli)),
    };
    match any {
        AnyMetric::Container(of) => Metric::new(Source::container("c0", "cpu"), target(of)),
        AnyMetric::External(of, fallback) => {
            let fallback =
                fallback.and_then(|(replicas, seconds)| Fallback::new(replicas, seconds).ok());
            let source = Source::External {
                name: "queue".to_owned(),
                selector: None,
                fallback,
            };
            Metric::new(source, target(of))
        }
        AnyMetric::Object(of) => Metric::new(
            Source::object(ObjectRef::new("Ingress", "main"), "rate"),
            target(of),
        ),
        AnyMetric::Pods(of) => Metric::new(Source::pods("depth"), target(of)),
        AnyMetric::Resource(cpu, of) => Metric::new(
            Source::resource(if cpu { "cpu" } else { "memory" }),
            target(of),
        ),
        AnyMetric::Unknown => {
            Metric::new(Source::Unknown("odd".to_owned()), Target::Utilization(1))
        }
    }
}

fn rules(any: AnyRules, mut rules: Rules) -> Rules {
    if let Some(window) = any.window {
        rules = rules.window(window % 3_601).expect("in range");
    }
    let policy = |(pods, value, period)| {
        let kind = if pods {
            PolicyKind::Pods
        } else {
            PolicyKind::Percent
        };
        Policy::new(kind, value, period).ok()
    };
    rules = rules.policies(any.policies.into_iter().filter_map(policy));
    if let Some(tolerance) = any
        .tolerance
        .and_then(|share| Tolerance::new("tolerance", share).ok())
    {
        rules = rules.tolerance(tolerance);
    }
    rules.select([Select::Disabled, Select::Max, Select::Min][usize::from(any.select % 3)])
}

fn pod(any: &AnyPod) -> Pod {
    let phases = [
        Phase::Failed,
        Phase::Pending,
        Phase::Running,
        Phase::Succeeded,
        Phase::Unknown,
    ];
    let mut pod = Pod::new(name(any.name))
        .phase(phases[usize::from(any.phase % 5)])
        .deleting(any.deleting);
    if let Some(at) = any.started {
        pod = pod.started(Timestamp::from_millis(at));
    }
    if let Some((ready, at)) = any.ready {
        pod = pod.ready(ready, Timestamp::from_millis(at));
    }
    for (i, milli) in any.requests.iter().enumerate() {
        let container = Container::new(format!("c{i}"));
        pod = pod.container(container.request("cpu", *milli).request("memory", *milli));
    }
    match any.whole {
        Some(milli) => pod.pod_level_request("cpu", milli),
        None => pod,
    }
}

fuzz_target!(|case: Case| {
    let min = case.min.max(0);
    let Ok(bounds) = Bounds::new(min, min.saturating_add(case.more.max(0)).max(1)) else {
        return;
    };
    let share = |share: f64| Tolerance::new("tolerance", share).unwrap_or(Tolerance::TENTH);
    let controller = Controller::new()
        .tolerance(Tolerances::new(
            share(case.tolerance.0),
            share(case.tolerance.1),
        ))
        .timing(
            Timing::default()
                .cpu_initialization(case.cpu_initialization)
                .initial_readiness_delay(case.readiness_delay),
        )
        .growth(Growth::new(case.growth.0, case.growth.1).unwrap_or_default())
        .zero(if case.always {
            FromZero::Always
        } else {
            FromZero::Owned
        })
        .external_fallback(case.fallback)
        .pod_level_requests(case.pod_level)
        .down_window(case.window % 3_601)
        .expect("in range");
    let mut hpa = Hpa::new(bounds).controller(controller);
    for any in case.metrics {
        hpa = hpa.metric(metric(any));
    }
    if let Some((up, down)) = case.behavior {
        hpa = hpa.behavior(
            Behavior::new()
                .up(rules(up, Rules::up()))
                .down(rules(down, Rules::down())),
        );
    }
    let mut state = State::unknown().scaled_to_zero(case.zero_is_ours);
    for tick in case.ticks {
        let pods: Vec<_> = tick.pods.iter().map(pod).collect();
        let sample = |(of, value, at, window): &(u8, i64, i64, u32)| {
            Sample::new(name(*of), *value, Timestamp::from_millis(*at), *window)
        };
        let samples: Vec<_> = tick.samples.iter().map(sample).collect();
        let reading = |(place, metric): (usize, &Metric)| match metric.source() {
            _ if tick.failing >> (place % 8) & 1 == 1 => Reading::Failed("asked for"),
            Source::Object { .. } | Source::External { .. } => Reading::Values(&tick.values),
            _ => Reading::Pods(&samples),
        };
        let readings: Vec<_> = hpa.metrics().iter().enumerate().map(reading).collect();
        let seen = Observation::new(tick.spec)
            .status(tick.status)
            .pods(&pods)
            .readings(&readings);
        let now = Timestamp::from_millis(tick.now);
        let written = serde_json::to_string(&state).expect("a state is JSON");
        let read: State = serde_json::from_str(&written).expect("what is written can be read");
        assert_eq!(state, read);
        let decision = hpa.decide(state, &seen, now);
        if tick.restart {
            assert_eq!(decision, hpa.decide(read, &seen, now));
        }
        let inside = (bounds.min()..=bounds.max()).contains(&decision.replicas());
        assert!(
            inside || (tick.spec == 0 && decision.replicas() == 0),
            "{decision}"
        );
        state = if tick.applies {
            decision.applied()
        } else {
            decision.refused()
        };
        assert!(state.history().is_some_and(|log| log.len() <= 1_024));
        assert!(state.up_events().len() <= 1_024 && state.down_events().len() <= 1_024);
    }
});
