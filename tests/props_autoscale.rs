//! Random samples for the autoscalers: whatever they are told, they answer within their bounds, the same for the same, no
//! fewer for more demand, and never with fewer while they are blind. And whole replays, in which the same must hold.
//!
//! A failure prints its seed and the shrunken samples; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES` makes it
//! longer.

#![expect(
    clippy::disallowed_methods,
    reason = "a seed comes from the environment"
)]

use mainstay::autoscale::forecast::{Forecast, ForecastConfig, Foreseeing};
use mainstay::autoscale::gpu::{Documented, DocumentedConfig, Gpu, GpuConfig, GpuState};
use mainstay::autoscale::knative::{Knative, KnativeConfig};
use mainstay::autoscale::schedule::{Clock, Scheduled, Window};
use mainstay::autoscale::simulate::{Shape, Trace, World};
use mainstay::autoscale::threshold::{Threshold, ThresholdConfig, Trigger};
use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, PaceState, Reading, Sample, Signal};
use mainstay::num::{Factor, Period, Ratio};
use mainstay::time::Timestamp;
use proptest::prelude::*;

/// One sample, and how long after the last.
#[derive(Clone, Debug)]
struct Step {
    passed: i64,
    ready: u32,
    starting: Vec<i64>,
    readings: Vec<(Signal, f64, i64)>,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..500.0_f64,
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::MAX), Just(f64::INFINITY), Just(f64::NAN), Just(-1.0), Just(0.0)],
    ]
}

fn millis() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(15_000_i64), 2 => -60_000..3_600_000_i64, 1 => any::<i64>()]
}

fn step() -> impl Strategy<Value = Step> {
    let signal = proptest::sample::select(Signal::ALL.to_vec());
    let count = prop_oneof![8 => 0..60_u32, 1 => any::<u32>()];
    let readings = proptest::collection::vec((signal, value(), -90_000..30_000_i64), 0..6);
    let starting = proptest::collection::vec(prop_oneof![0..400_000_i64, any::<i64>()], 0..6);
    (millis(), count, starting, readings).prop_map(|(passed, ready, starting, readings)| Step {
        passed,
        ready,
        starting,
        readings,
    })
}

impl Step {
    fn sample(&self, now: Timestamp) -> Sample {
        let before = |millis: i64| Timestamp::from_millis(now.as_millis().saturating_sub(millis));
        let fleet =
            Fleet::new(self.ready).starting(self.starting.iter().map(|since| before(*since)));
        self.readings
            .iter()
            .fold(Sample::new(fleet), |sample, (signal, value, at)| {
                sample.measured(*signal, Reading::new(*value, before(*at)))
            })
    }
}

const BOUNDS: Bounds = Bounds::between(2, 40);

fn gpu_config() -> GpuConfig {
    GpuConfig::new(BOUNDS, Amount::of(10), Period::secs(300)).reserve(Ratio::percent(10))
}

fn threshold() -> ThresholdConfig {
    ThresholdConfig::new(BOUNDS)
        .when(Trigger::whole(Signal::Cpu, Amount::percent(70)))
        .when(Trigger::each(Signal::Backlog, Amount::of(100)))
        .steps(2, 1)
}

fn tracking() -> TrackingConfig {
    TrackingConfig::new(BOUNDS, Signal::Cpu, Amount::percent(70)).foreseen(Amount::of(10))
}

/// Every policy, none knowing anything.
fn policies() -> Vec<(&'static str, Box<dyn Autoscaler>)> {
    let forecast = Forecast::new(ForecastConfig::for_warm_up(Period::secs(300)));
    vec![
        ("gpu", Box::new(Gpu::new(gpu_config()))),
        (
            "foreseeing",
            Box::new(Foreseeing::new(Gpu::new(gpu_config()), forecast)),
        ),
        (
            "documented",
            Box::new(Documented::new(DocumentedConfig::new().bounds(BOUNDS))),
        ),
        (
            "knative",
            Box::new(Knative::new(KnativeConfig::new(BOUNDS, Amount::of(7)))),
        ),
        ("threshold", Box::new(Threshold::new(threshold()))),
        ("tracking", Box::new(Tracking::new(tracking()))),
        (
            "scheduled",
            Box::new(
                Scheduled::new(Tracking::new(tracking())).window(Window::new(
                    Clock::at(22, 0),
                    Clock::at(6, 0),
                    10,
                )),
            ),
        ),
    ]
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

fn told(fleet: Fleet, rate: f64, backlog: f64, now: Timestamp) -> Sample {
    Sample::new(fleet)
        .measured(Signal::Rate, Reading::new(rate, now))
        .measured(Signal::Backlog, Reading::new(backlog, now))
        .measured(Signal::Cpu, Reading::new(rate / 200.0, now))
        .measured(Signal::Latency, Reading::new(backlog / 100.0, now).of(100))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Total, within bounds, absolute; and the same when asked the same.
    #[test]
    fn within_bounds_and_deterministic(steps in proptest::collection::vec(step(), 1..40)) {
        for ((name, mut one), (_, mut other)) in policies().into_iter().zip(policies()) {
            let mut now = 0_i64;
            for step in &steps {
                now = now.saturating_add(step.passed);
                let sample = step.sample(Timestamp::from_millis(now));
                let decision = one.decide(&sample, Timestamp::from_millis(now));
                prop_assert!((2..=40).contains(&decision.target()), "{name}: {}", decision.why());
                prop_assert!(!decision.why().is_empty(), "{name} gives no reason");
                let again = other.decide(&sample, Timestamp::from_millis(now));
                prop_assert_eq!(decision.target(), again.target(), "{}", name);
            }
        }
    }

    /// More demand never means fewer replicas, from whatever state.
    #[test]
    fn monotone_in_demand(
        steps in proptest::collection::vec(step(), 0..30),
        rates in (0.0..600.0_f64, 0.0..600.0_f64),
        backlogs in (0.0..5_000.0_f64, 0.0..5_000.0_f64),
        ready in 0..60_u32,
    ) {
        let mut gpu = Gpu::new(gpu_config());
        let mut tracking = Tracking::new(tracking());
        let mut now = 0_i64;
        for step in &steps {
            now = now.saturating_add(step.passed).clamp(0, i64::MAX / 2);
            let moment = Timestamp::from_millis(now);
            gpu.decide(&step.sample(moment), moment);
            tracking.decide(&step.sample(moment), moment);
        }
        let moment = Timestamp::from_millis(now + 15_000);
        let sample = |rate, backlog| told(Fleet::new(ready), rate, backlog, moment);
        let low = sample(rates.0.min(rates.1), backlogs.0.min(backlogs.1));
        let high = sample(rates.0.max(rates.1), backlogs.0.max(backlogs.1));
        let (fewer, more) = (gpu.clone().decide(&low, moment), gpu.decide(&high, moment));
        prop_assert!(fewer.target() <= more.target(), "{}\n---\n{}", fewer.why(), more.why());
        let (fewer, more) = (tracking.clone().decide(&low, moment), tracking.decide(&high, moment));
        prop_assert!(fewer.target() <= more.target(), "{}\n---\n{}", fewer.why(), more.why());
    }

    /// Blind, nothing is taken away, whoever ordered it: not during the outage, and not for a hold after it.
    #[test]
    fn an_outage_never_scales_in(
        rates in proptest::collection::vec(20.0..300.0_f64, 4..80),
        blind in 1..200_i64,
        after in 0.0..20.0_f64,
        raised in 0..30_u32,
    ) {
        let mut gpu = Gpu::resume(gpu_config(), GpuState::empty());
        let mut secs = 0;
        let mut target = 10;
        for rate in &rates {
            secs += 15;
            target = gpu.decide(&told(Fleet::new(target), *rate, 0.0, at(secs)), at(secs)).target();
        }
        // An operator who does not see either orders some more.
        target += raised;
        let before = BOUNDS.nearest(target);
        for _ in 0..blind {
            secs += 15;
            let sample = Sample::new(Fleet::new(target));
            target = gpu.decide(&sample, at(secs)).target();
            prop_assert_eq!(target, before);
        }
        for _ in 0..40 {
            secs += 15;
            target = gpu.decide(&told(Fleet::new(target), after, 0.0, at(secs)), at(secs)).target();
            prop_assert!(target >= before);
        }
    }

    /// A constant demand has a constant target while what was ordered starts.
    #[test]
    fn constant_demand_constant_target(
        rate in 1.0..390.0_f64,
        ready in 2..40_u32,
        warm_up in 30..600_u32,
        headroom in 100..250_u16,
    ) {
        let config = GpuConfig::new(BOUNDS, Amount::of(10), Period::secs(warm_up))
            .headroom(Factor::percent(headroom));
        let mut gpu = Gpu::new(config);
        let first = gpu.decide(&told(Fleet::new(ready), rate, 0.0, at(0)), at(0)).target();
        let served = f64::from(ready) * 10.0;
        let mut secs = 15;
        while secs < i64::from(warm_up) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let backlog = ((rate - served) * secs as f64).max(0.0);
            let starting = (ready..first.max(ready)).map(|_| at(0));
            let sample = told(Fleet::new(ready).starting(starting), rate, backlog, at(secs));
            let decision = gpu.decide(&sample, at(secs));
            prop_assert_eq!(decision.target(), first, "{}", decision.why());
            secs += 15;
        }
    }

    /// A state that was written down and read continues as if nothing had happened.
    #[test]
    fn a_restart_continues(steps in proptest::collection::vec(step(), 2..30), cut in 0..30_usize) {
        let mut now = 0_i64;
        let mut gpu = Gpu::new(gpu_config());
        let mut pace = Tracking::new(tracking());
        let mut restarted: Option<(Gpu, Tracking)> = None;
        for (place, step) in steps.iter().enumerate() {
            now = now.saturating_add(step.passed).clamp(0, i64::MAX / 2);
            let moment = Timestamp::from_millis(now);
            let sample = step.sample(moment);
            if place == cut {
                let text = serde_json::to_string(gpu.state()).unwrap();
                let state: GpuState = serde_json::from_str(&text).unwrap();
                let text = serde_json::to_string(&pace.state()).unwrap();
                let kept: PaceState = serde_json::from_str(&text).unwrap();
                restarted = Some((Gpu::resume(gpu_config(), state), Tracking::resume(tracking(), kept)));
            }
            let (one, two) = (gpu.decide(&sample, moment), pace.decide(&sample, moment));
            if let Some((gpu, pace)) = &mut restarted {
                prop_assert_eq!(gpu.decide(&sample, moment).target(), one.target());
                prop_assert_eq!(pace.decide(&sample, moment).target(), two.target());
            }
        }
    }
}

/// Every shape of load for two days: turns within the budget, and nothing taken away blindly.
#[test]
fn replays_turn_within_the_budget() {
    let seed = std::env::var("MAINSTAY_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("MAINSTAY_SEED={seed}");
    for shape in Shape::ALL {
        let trace = Trace::generated(shape, 2, seed);
        let world = World::new(Amount::of(10), Period::secs(300));
        let outcome = world.run(&trace, &mut Gpu::new(gpu_config()));
        assert!(
            outcome.turns_an_hour() <= 1.0,
            "{shape:?}: {}",
            outcome.turns_an_hour()
        );
        // Two shrinkings after growth are two hours apart, so an hour has one at most, and growth before and after it.
        let most = outcome.most_turns();
        assert!(most <= 3, "{shape:?}: {most} turns in an hour");
        assert_eq!(outcome.blind_removals(), 0, "{shape:?}");
        assert_eq!(
            outcome,
            world.run(&trace, &mut Gpu::new(gpu_config())),
            "{shape:?}"
        );
    }
}
