//! The Kubernetes autoscaler, asked as the other policies are.

use mainstay::autoscale::hpa::{
    Behavior, Bounds, Container, Controller, Hpa, Metric, Observation, Phase, Pod, Policy,
    Quantity, Reading, Rules, Sample as PodSample, Source, State, Target,
};
use mainstay::autoscale::{Autoscaler, Decision, Sample, Signal};
use mainstay::error::ConfigError;
use mainstay::time::Timestamp;
use std::time::Duration;

/// What it scales by.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum By {
    /// Arrivals a second for each pod, an external metric. Unlike the busy share it has no upper end.
    Rate,
    /// The same, and a queue of 100 for each pod.
    RateAndQueue,
    /// The busy share of the pods.
    Cpu,
    /// Rate and queue, and the behaviour of the document's manifest: 2 pods more a minute after one, 1 pod fewer every
    /// two minutes after five.
    Document,
}

pub(crate) struct Kubernetes {
    hpa: Hpa,
    by: By,
    state: State,
}

const STALE: Duration = Duration::from_secs(60);

impl Kubernetes {
    /// Pods serve `capacity` a second, and are asked for as many times as that with `headroom`.
    pub(crate) fn new(
        by: By,
        most: i32,
        capacity: f64,
        headroom: f64,
        window: u16,
    ) -> Result<Self, ConfigError> {
        let target = milli(capacity / headroom);
        let rate = Metric::new(
            Source::external("requests"),
            Target::AverageValue(Quantity::from_milli(target)),
        );
        let queue = Metric::new(
            Source::external("queue"),
            Target::AverageValue(Quantity::from_milli(100_000)),
        );
        let hpa =
            Hpa::new(Bounds::new(1, most)?).controller(Controller::new().down_window(window)?);
        let hpa = match by {
            By::Rate => hpa.metric(rate),
            By::RateAndQueue => hpa.metric(rate).metric(queue),
            By::Cpu => {
                // Thousandths of a tenth are percent.
                let percent = i32::try_from(milli(0.1 / headroom)).unwrap_or(100).max(1);
                hpa.metric(Metric::new(
                    Source::resource("cpu"),
                    Target::Utilization(percent),
                ))
            }
            By::Document => {
                let up = Rules::up().window(60)?.policies([Policy::pods(2, 60)]);
                let down = Rules::down().window(300)?.policies([Policy::pods(1, 120)]);
                hpa.metric(rate)
                    .metric(queue)
                    .behavior(Behavior::new().up(up).down(down))
            }
        };
        // Nothing came before the trace.
        let state = State::empty();
        Ok(Self { hpa, by, state })
    }
}

fn milli(value: f64) -> i64 {
    (value * 1_000.0).round() as i64
}

/// Pods by name, those that serve first; and what each of them uses.
fn pods(sample: &Sample, busy: Option<f64>, now: Timestamp) -> (Vec<Pod>, Vec<PodSample>) {
    let begun = Timestamp::from_millis(now.as_millis() - 86_400_000);
    let ready = sample.fleet().ready();
    let serving = (0..ready).map(|place| {
        Pod::new(format!("a{place:05}"))
            .started(begun)
            .ready(true, begun)
            .container(Container::new("server").request("cpu", 1_000))
    });
    let starting = (0_u32..)
        .zip(sample.fleet().starts())
        .map(|(place, since)| {
            Pod::new(format!("b{place:05}"))
                .phase(Phase::Pending)
                .started(*since)
                .container(Container::new("server").request("cpu", 1_000))
        });
    let uses = busy.map_or(0, milli);
    let used = (0..busy.map_or(0, |_| ready))
        .map(|place| PodSample::new(format!("a{place:05}"), uses, now, 15))
        .collect();
    (serving.chain(starting).collect(), used)
}

impl Autoscaler for Kubernetes {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let ordered = sample.fleet().ordered();
        let replicas = i32::try_from(ordered).unwrap_or(i32::MAX);
        let fresh = |signal| sample.fresh(signal, STALE, now);
        let values = [Signal::Rate, Signal::Backlog].map(|signal| fresh(signal).map(milli));
        let busy = fresh(Signal::Cpu);
        let (pods, used) = if self.by == By::Cpu {
            pods(sample, busy, now)
        } else {
            (Vec::new(), Vec::new())
        };
        let mut readings: Vec<Reading<'_>> = Vec::new();
        if self.by == By::Cpu {
            readings.push(Reading::Pods(&used));
        } else {
            for value in &values {
                let value = value.as_ref().map(std::slice::from_ref);
                readings.push(value.map_or(Reading::Failed("no metrics"), Reading::Values));
            }
        }
        readings.truncate(self.hpa.metrics().len());
        let seen = Observation::new(replicas).pods(&pods).readings(&readings);
        let decision = self.hpa.decide(std::mem::take(&mut self.state), &seen, now);
        let target = u32::try_from(decision.replicas()).unwrap_or(0);
        let why = decision.reasoning().clone();
        self.state = decision.applied();
        Decision::new(ordered, target, why)
    }
}
