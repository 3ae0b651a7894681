//! Random autoscalers, pods and metrics, the ends of every number included, against what must always hold and against
//! a naive calculation over maps.
//!
//! What holds: a decision is total, the same each time, whatever the order of pods and samples; its count is within the
//! bounds or the one that there is; a state that was written down and read back between any two decisions changes
//! none; and more demand never means a smaller count, where Kubernetes' own rules have that. They do not
//!
//! - where fewer or more pods are known than the spec says and none of them is missing or unready: inside the tolerance
//!   the count is the spec's, outside it is a multiple of the pods (rules 3 and 7 of `replicas.rs`);
//! - over several decisions: more demand now is a higher recommendation to come down from, and uses up what a policy
//!   allows (rules of `history.rs` and `limit.rs`);
//! - when a metric fails, for then nothing changes.
//!
//! A failure prints its seed and the shrunken case; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES` makes it
//! longer.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::collections::{BTreeMap, BTreeSet};

use mainstay::autoscale::hpa::{
    Behavior, Bounds, Container, Controller, Decision, Fallback, FromZero, Hpa, Metric,
    MetricError, ObjectRef, Observation, Phase, Pod, PodMetric, Policy, PolicyKind, Quantity,
    Reading, Rules, Sample, Select, Source, State, Target, Timing, Tolerance, Tolerances, classify,
};
use mainstay::autoscale::reasoning::Reasoning;
use mainstay::time::Timestamp;
use proptest::prelude::*;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The moment of the first decision.
const NOW: i64 = 1_700_000_000_000;

fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0..5_000_i64,
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(-1), Just(i64::MAX), Just(i64::MAX - 1)],
    ]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    let near = (-700..100_i64).prop_map(|seconds| NOW + seconds * 1_000);
    prop_oneof![12 => near, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
        .prop_map(Timestamp::from_millis)
}

fn pod(name: &'static str) -> impl Strategy<Value = Pod> {
    let phase = prop_oneof![
        8 => Just(Phase::Running),
        1 => Just(Phase::Pending),
        1 => Just(Phase::Failed),
        1 => Just(Phase::Succeeded),
    ];
    let ready = proptest::option::weighted(0.9, (proptest::bool::weighted(0.8), moment()));
    let started = proptest::option::weighted(0.9, moment());
    let request = proptest::option::weighted(0.97, value());
    (
        phase,
        proptest::bool::weighted(0.1),
        started,
        ready,
        request,
    )
        .prop_map(move |(phase, deleting, started, ready, request)| {
            let mut pod = Pod::new(name).phase(phase).deleting(deleting);
            if let Some(at) = started {
                pod = pod.started(at);
            }
            if let Some((ready, at)) = ready {
                pod = pod.ready(ready, at);
            }
            let mut app = Container::new("app");
            if let Some(milli) = request {
                app = app.request("cpu", milli).request("memory", milli);
            }
            pod.container(app)
        })
}

fn pods() -> impl Strategy<Value = Vec<Pod>> {
    let each = NAMES.map(|name| proptest::option::weighted(0.6, pod(name)));
    let all = each.into_iter().collect::<Vec<_>>();
    all.prop_map(|pods| pods.into_iter().flatten().collect())
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0..NAMES.len() + 2, value(), moment(), 0..120_u32);
    proptest::collection::vec(one, 0..10).prop_map(|samples| {
        let named: BTreeMap<_, _> = samples
            .into_iter()
            .map(|(name, value, at, window)| {
                let name =
                    NAMES
                        .get(name)
                        .copied()
                        .unwrap_or(if name % 2 == 0 { "0" } else { "z" });
                (name, Sample::new(name, value, at, window))
            })
            .collect();
        named.into_values().collect()
    })
}

fn tolerances() -> impl Strategy<Value = Tolerances> {
    let one = || {
        prop_oneof![Just(0.0), Just(0.1), 0.0..3.0_f64]
            .prop_map(|share| Tolerance::new("tolerance", share).unwrap())
    };
    (one(), one()).prop_map(|(up, down)| Tolerances::new(up, down))
}

fn rules(up: bool) -> impl Strategy<Value = Rules> {
    let policy = (any::<bool>(), 1..200_i32, 1..=1_800_i32).prop_map(|(pods, value, period)| {
        let kind = if pods {
            PolicyKind::Pods
        } else {
            PolicyKind::Percent
        };
        Policy::new(kind, value, period).unwrap()
    });
    let select =
        prop_oneof![3 => Just(Select::Max), 2 => Just(Select::Min), 1 => Just(Select::Disabled)];
    let window = proptest::option::of(0..=3_600_u16);
    (
        window,
        select,
        proptest::option::of(proptest::collection::vec(policy, 1..4)),
    )
        .prop_map(move |(window, select, policies)| {
            let mut rules = if up { Rules::up() } else { Rules::down() };
            if let Some(window) = window {
                rules = rules.window(window).unwrap();
            }
            if let Some(policies) = policies {
                rules = rules.policies(policies);
            }
            rules.select(select)
        })
}

fn quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![6 => 1..3_000_i64, 1 => any::<i64>()].prop_map(Quantity::from_milli)
}

fn metric() -> impl Strategy<Value = Metric> {
    let percent = prop_oneof![6 => 1..300_i32, 1 => any::<i32>()];
    prop_oneof![
        percent
            .clone()
            .prop_map(|percent| Metric::new(Source::resource("cpu"), Target::Utilization(percent))),
        percent.prop_map(|percent| Metric::new(
            Source::container("app", "memory"),
            Target::Utilization(percent)
        )),
        quantity()
            .prop_map(|each| Metric::new(Source::resource("cpu"), Target::AverageValue(each))),
        quantity().prop_map(|each| Metric::new(Source::pods("queue"), Target::AverageValue(each))),
        quantity().prop_map(|all| Metric::new(
            Source::object(ObjectRef::new("Ingress", "main"), "rate"),
            Target::Value(all)
        )),
        quantity()
            .prop_map(|each| Metric::new(Source::external("backlog"), Target::AverageValue(each))),
        (quantity(), 1..20_i32).prop_map(|(all, replicas)| {
            let source = Source::External {
                name: "lag".to_owned(),
                selector: None,
                fallback: Some(Fallback::new(replicas, 180).unwrap()),
            };
            Metric::new(source, Target::Value(all))
        }),
        Just(Metric::new(
            Source::Unknown("odd".to_owned()),
            Target::Utilization(1)
        )),
    ]
}

fn hpa() -> impl Strategy<Value = Hpa> {
    let bounds = prop_oneof![
        8 => (0..6_i32, 0..20_i32).prop_map(|(min, more)| Bounds::new(min, (min + more).max(1)).unwrap()),
        1 => Just(Bounds::new(0, i32::MAX).unwrap()),
    ];
    let behavior = proptest::option::weighted(0.7, (rules(true), rules(false)));
    let from_zero = prop_oneof![Just(FromZero::Always), Just(FromZero::Owned)];
    let metrics = proptest::collection::vec(metric(), 0..4);
    (
        bounds,
        metrics,
        behavior,
        tolerances(),
        from_zero,
        0..=3_600_u16,
    )
        .prop_map(
            |(bounds, metrics, behavior, tolerances, from_zero, window)| {
                let controller = Controller::new().tolerance(tolerances).zero(from_zero);
                let mut hpa = Hpa::new(bounds).controller(controller.down_window(window).unwrap());
                for metric in metrics {
                    hpa = hpa.metric(metric);
                }
                if let Some((up, down)) = behavior {
                    hpa = hpa.behavior(Behavior::new().up(up).down(down));
                }
                hpa
            },
        )
}

/// What is seen at one time, owned.
#[derive(Clone, Debug)]
struct Seen {
    /// Milliseconds after the decision before.
    after: u32,
    replicas: i32,
    status: i32,
    pods: Vec<Pod>,
    samples: Vec<Sample>,
    values: Vec<i64>,
    /// Which metrics fail.
    failing: u8,
    /// Whether the target could be scaled.
    applies: bool,
}

fn count() -> impl Strategy<Value = i32> {
    prop_oneof![10 => 0..25_i32, 1 => any::<i32>()]
}

fn seen() -> impl Strategy<Value = Seen> {
    let after = prop_oneof![8 => 0..60_000_u32, 1 => any::<u32>()];
    let failing = prop_oneof![4 => Just(0), 1 => any::<u8>()];
    let values = proptest::collection::vec(value(), 0..4);
    let counts = (count(), count());
    (
        after,
        counts,
        pods(),
        samples(),
        values,
        failing,
        proptest::bool::weighted(0.8),
    )
        .prop_map(
            |(after, (replicas, status), pods, samples, values, failing, applies)| Seen {
                after,
                replicas,
                status,
                pods,
                samples,
                values,
                failing,
                applies,
            },
        )
}

impl Seen {
    fn decide(&self, hpa: &Hpa, state: State, now: Timestamp) -> Decision {
        let reading = |(place, metric): (usize, &Metric)| match metric.source() {
            _ if self.failing >> (place % 8) & 1 == 1 => Reading::Failed("asked for"),
            Source::Object { .. } | Source::External { .. } => Reading::Values(&self.values),
            _ => Reading::Pods(&self.samples),
        };
        let readings: Vec<_> = hpa.metrics().iter().enumerate().map(reading).collect();
        let seen = Observation::new(self.replicas)
            .status(self.status)
            .pods(&self.pods)
            .readings(&readings);
        hpa.decide(state, &seen, now)
    }
}

fn next(decision: Decision, applies: bool) -> State {
    if applies {
        decision.applied()
    } else {
        decision.refused()
    }
}

/// As Kubernetes has it: maps of samples and requests by pod.
struct Naive {
    used: BTreeMap<String, i128>,
    requests: BTreeMap<String, i128>,
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    tolerances: Tolerances,
    current: i32,
}

fn cap64(value: i128) -> i128 {
    value.clamp(i64::MIN.into(), i64::MAX.into())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` caps, which is the rule"
)]
fn ceil32(x: f64) -> i32 {
    x.ceil() as i32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the rules are stated in doubles"
)]
fn f(value: i128) -> f64 {
    value as f64
}

impl Naive {
    fn of(
        pods: &[Pod],
        samples: &[Sample],
        cpu: bool,
        tolerances: Tolerances,
        current: i32,
    ) -> Result<Self, &'static str> {
        if pods.is_empty() {
            return Err("no_pods");
        }
        let classes = classify(
            pods,
            samples,
            cpu,
            Timing::default(),
            Timestamp::from_millis(NOW),
        );
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let (unready, missing) = (set(&classes.unready), set(&classes.missing));
        let ignored = set(&classes.ignored);
        let used = samples
            .iter()
            .map(|sample| (sample.pod().to_owned(), i128::from(sample.milli())));
        let used: BTreeMap<_, _> = used
            .filter(|(pod, _)| !unready.contains(pod) && !ignored.contains(pod))
            .collect();
        if used.is_empty() {
            return Err("no_metrics");
        }
        Ok(Self {
            used,
            requests: BTreeMap::new(),
            ready: classes.ready,
            unready,
            missing,
            tolerances,
            current,
        })
    }

    fn percent(&self) -> Option<i32> {
        let both = self
            .used
            .iter()
            .filter_map(|(pod, used)| Some((used, self.requests.get(pod)?)));
        let (used, requested) = both.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let (used, requested) = (cap64(used), cap64(requested));
        let percent = (used * 100).checked_div(requested)?;
        Some(i32::try_from(percent.clamp(i32::MIN.into(), i32::MAX.into())).unwrap())
    }

    fn average(&self) -> i128 {
        let sum: i128 = self.used.values().sum();
        cap64(sum) / i128::try_from(self.used.len()).unwrap()
    }

    fn by_utilization(mut self, pods: &[Pod], target: i32) -> Result<i32, &'static str> {
        for pod in pods {
            let request = pod
                .request("cpu", None, false)
                .map_err(|_| "missing_request")?;
            self.requests.insert(pod.name().to_owned(), request.into());
        }
        let ratio = |naive: &Self| {
            naive
                .percent()
                .map(|percent| f64::from(percent) / f64::from(target))
        };
        let r = ratio(&self).ok_or("no_matching_metrics")?;
        let full: BTreeMap<_, _> = self
            .requests
            .iter()
            .map(|(pod, request)| (pod.clone(), request * i128::from(target.max(100)) / 100))
            .collect();
        Ok(self.passes(
            r,
            |pod| full.get(pod).copied().unwrap(),
            |naive| ratio(naive).unwrap_or(r),
        ))
    }

    fn by_average(self, target: i64) -> i32 {
        let ratio = |naive: &Self| f(naive.average()) / f(target.into());
        let r = ratio(&self);
        self.passes(r, |_| target.into(), ratio)
    }

    fn passes(mut self, r: f64, full: impl Fn(&str) -> i128, ratio: impl Fn(&Self) -> f64) -> i32 {
        let up_unready = !self.unready.is_empty() && r > 1.0;
        if self.missing.is_empty() && !up_unready {
            let ready = i128::try_from(self.ready).unwrap();
            return if self.tolerances.has(r) {
                self.current
            } else {
                ceil32(r * f(ready))
            };
        }
        for pod in self.missing.clone() {
            if r < 1.0 {
                self.used.insert(pod.clone(), full(&pod));
            } else if r > 1.0 {
                self.used.insert(pod, 0);
            }
        }
        if up_unready {
            let unready = self.unready.iter().map(|pod| (pod.clone(), 0));
            self.used.extend(unready);
        }
        let again = ratio(&self);
        let n = ceil32(again * f(i128::try_from(self.used.len()).unwrap()));
        let turned = (r < 1.0 && again > 1.0) || (r > 1.0 && again < 1.0);
        let against = (again < 1.0 && n > self.current) || (again > 1.0 && n < self.current);
        if self.tolerances.has(again) || turned || against {
            self.current
        } else {
            n
        }
    }
}

/// A pod whose sample counts.
fn settled(name: &str) -> Pod {
    let long_ago = Timestamp::from_millis(0);
    let app = Container::new("app").request("cpu", 1_000);
    Pod::new(name)
        .started(long_ago)
        .ready(true, long_ago)
        .container(app)
}

proptest! {
    #[test]
    fn decisions_are_total_the_same_and_within_bounds(
        hpa in hpa(),
        seen in proptest::collection::vec(seen(), 1..12),
        ours in any::<bool>(),
        start in prop_oneof![6 => Just(NOW), 1 => any::<i64>()],
    ) {
        let mut state = State::unknown().scaled_to_zero(ours);
        let mut now = start;
        for seen in seen {
            now = now.saturating_add(seen.after.into());
            let at = Timestamp::from_millis(now);
            let decision = seen.decide(&hpa, state.clone(), at);
            prop_assert_eq!(&decision, &seen.decide(&hpa, state, at));
            let bounds = hpa.bounds();
            let inside = (bounds.min()..=bounds.max()).contains(&decision.replicas());
            let paused = seen.replicas == 0 && decision.replicas() == 0;
            prop_assert!(inside || paused, "{}", decision);
            prop_assert!(!decision.to_string().is_empty());
            let data = serde_json::to_string(&decision).unwrap();
            prop_assert!(data.contains("reasoning"));
            // Each metric that was asked has its outcome.
            prop_assert!([0, hpa.metrics().len()].contains(&decision.outcomes().len()));
            state = next(decision, seen.applies);
        }
    }

    #[test]
    fn the_order_of_pods_and_samples_changes_nothing(
        hpa in hpa(),
        seen in seen(),
        turn in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()),
    ) {
        let now = Timestamp::from_millis(NOW);
        let mut other = seen.clone();
        if !other.pods.is_empty() {
            let by = turn.0.index(other.pods.len());
            other.pods.rotate_left(by);
        }
        if !other.samples.is_empty() {
            let by = turn.1.index(other.samples.len());
            other.samples.rotate_left(by);
        }
        if turn.2 {
            other.pods.reverse();
            other.samples.reverse();
        }
        // Of containers that all lack a request the first one met is named, and that is the order's.
        let told = |decision: Decision| {
            let failed = decision.outcomes().iter().any(|outcome| matches!(&outcome.proposal, Err(MetricError::MissingRequest { .. })));
            (decision.replicas(), decision.conditions().scaling_active().map(|active| active.reason()), (!failed).then(|| decision.to_string()))
        };
        let first = told(seen.decide(&hpa, State::unknown(), now));
        prop_assert_eq!(first, told(other.decide(&hpa, State::unknown(), now)));
    }

    #[test]
    fn a_restart_continues(
        hpa in hpa(),
        seen in proptest::collection::vec(seen(), 1..12),
        restarts in any::<u16>(),
    ) {
        let (mut ran, mut restarted) = (State::unknown(), State::unknown());
        let mut now = NOW;
        for (tick, seen) in seen.into_iter().enumerate() {
            now = now.saturating_add(seen.after.into());
            let at = Timestamp::from_millis(now);
            if restarts >> (tick % 16) & 1 == 1 {
                let text = serde_json::to_string(&restarted).unwrap();
                restarted = serde_json::from_str(&text).unwrap();
            }
            let decision = seen.decide(&hpa, ran, at);
            let again = seen.decide(&hpa, restarted, at);
            prop_assert_eq!(&decision, &again);
            ran = next(decision, seen.applies);
            restarted = next(again, seen.applies);
        }
    }

    #[test]
    fn the_one_pass_over_names_does_as_maps_do(
        pods in pods(),
        samples in samples(),
        tolerances in tolerances(),
        current in count(),
        cpu in any::<bool>(),
        percent in prop_oneof![6 => 1..300_i32, 1 => any::<i32>()],
        each in quantity(),
    ) {
        let now = Timestamp::from_millis(NOW);
        let metric = || {
            let metric = PodMetric::new(&pods, &samples, current, tolerances, now);
            if cpu { metric.cpu(Timing::default()) } else { metric }
        };
        let naive = || Naive::of(&pods, &samples, cpu, tolerances, current);
        let got = metric().by_utilization("cpu", None, percent, &mut Reasoning::new());
        let expected = naive().and_then(|naive| naive.by_utilization(&pods, percent));
        let got = got.map(|proposal| proposal.replicas);
        prop_assert_eq!(got.as_ref().map_err(MetricError::as_str), expected.as_ref().map_err(|error| *error));
        let got = metric().by_average(each.milli(), &mut Reasoning::new());
        let expected = naive().map(|naive| naive.by_average(each.milli()));
        let got = got.map(|proposal| proposal.replicas);
        prop_assert_eq!(got.as_ref().map_err(MetricError::as_str), expected.as_ref().map_err(|error| *error));
    }

    /// Of one decision, where the pods are those that the spec says or some are missing or unready.
    #[test]
    fn more_demand_is_never_a_smaller_count(
        hpa in hpa(),
        before in proptest::collection::vec((seen(), 0..25_i32), 0..5),
        current in 1..8_usize,
        used in proptest::collection::vec(0..5_000_i64, 8),
        more in proptest::collection::vec(prop_oneof![Just(0), 0..5_000_i64], 8),
        missing in 0..8_usize,
        totals in (0..50_000_i64, 0..50_000_i64),
    ) {
        let mut state = State::unknown();
        let mut now = NOW;
        for (mut seen, replicas) in before {
            now = now.saturating_add(i64::from(seen.after) % 100_000);
            seen.replicas = replicas;
            state = next(seen.decide(&hpa, state, Timestamp::from_millis(now)), seen.applies);
        }
        let pods: Vec<_> = NAMES.iter().take(current).map(|name| settled(name)).collect();
        let at = Timestamp::from_millis(now);
        let samples = |extra: &[i64]| -> Vec<Sample> {
            let values = used.iter().zip(extra.iter().chain(std::iter::repeat(&0)));
            let named = NAMES.iter().zip(values).take(current.saturating_sub(missing % current));
            named.map(|(name, (used, extra))| Sample::new(*name, used + extra, at, 15)).collect()
        };
        let replicas = i32::try_from(current).unwrap();
        let seen = |samples, total| Seen {
            after: 0,
            replicas,
            status: replicas,
            pods: pods.clone(),
            samples,
            values: vec![total],
            failing: 0,
            applies: true,
        };
        let less = seen(samples(&[]), totals.0).decide(&hpa, state.clone(), at);
        let more = seen(samples(&more), totals.0 + totals.1).decide(&hpa, state, at);
        prop_assert!(more.replicas() >= less.replicas(), "less:\n{less}\n\nmore:\n{more}");
    }

    #[test]
    fn a_quantity_is_read_back_as_it_is_written(milli in any::<i64>(), digits in "[0-9]{1,30}(\\.[0-9]{0,40})?", suffix in 0..16_usize) {
        let text = Quantity::from_milli(milli).to_string();
        prop_assert_eq!(text.parse::<Quantity>().unwrap().milli(), milli);
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ei", "e3", "E-7"];
        let quantity: Quantity = format!("{digits}{}", suffixes[suffix]).parse().unwrap();
        prop_assert_eq!(quantity.to_string().parse::<Quantity>().unwrap(), quantity);
        prop_assert!(quantity.milli() >= 0);
    }
}
