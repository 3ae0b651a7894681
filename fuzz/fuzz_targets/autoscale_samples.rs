//! Any samples in any order against every autoscaler: within bounds, with a reason, and never fewer while blind.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::autoscale::forecast::{Forecast, ForecastConfig, Foreseeing};
use mainstay::autoscale::gpu::{Documented, DocumentedConfig, Gpu, GpuConfig};
use mainstay::autoscale::knative::{Knative, KnativeConfig};
use mainstay::autoscale::simulate::Trace;
use mainstay::autoscale::threshold::{Threshold, ThresholdConfig, Trigger};
use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, Reading, Sample, Signal};
use mainstay::num::{Factor, Period, Ratio};
use mainstay::time::Timestamp;

#[derive(Arbitrary, Debug)]
struct Case {
    least: u32,
    more: u32,
    capacity: f64,
    headroom: f64,
    reserve: f64,
    warm_up: u32,
    steps: Vec<Step>,
    trace: String,
}

#[derive(Arbitrary, Debug)]
struct Step {
    at: i64,
    ready: u32,
    starting: Vec<i64>,
    readings: Vec<(u8, f64, i64)>,
}

impl Step {
    fn sample(&self) -> Sample {
        let starting = self.starting.iter().copied().map(Timestamp::from_millis);
        let fleet = Fleet::new(self.ready).starting(starting);
        self.readings
            .iter()
            .fold(Sample::new(fleet), |sample, (signal, value, at)| {
                let signal = Signal::ALL[usize::from(*signal) % Signal::ALL.len()];
                sample.measured(signal, Reading::new(*value, Timestamp::from_millis(*at)))
            })
    }
}

fuzz_target!(|case: Case| {
    let bounds = Bounds::between(case.least, case.least.saturating_add(case.more));
    let capacity = Amount::new("capacity", case.capacity).unwrap_or(Amount::of(10));
    let warm_up = Period::secs(case.warm_up.max(1));
    let gpu = GpuConfig::new(bounds, capacity, warm_up)
        .headroom(Factor::new("headroom", case.headroom).unwrap_or(Factor::TWO))
        .reserve(Ratio::new("reserve", case.reserve).unwrap_or(Ratio::ONE));
    let forecast = Forecast::new(ForecastConfig::for_warm_up(warm_up));
    let threshold = ThresholdConfig::new(bounds).when(Trigger::each(Signal::Backlog, capacity));
    let tracking = TrackingConfig::new(bounds, Signal::InFlight, capacity).foreseen(capacity);
    let mut policies: Vec<Box<dyn Autoscaler>> = vec![
        Box::new(Foreseeing::new(Gpu::new(gpu), forecast)),
        Box::new(Documented::new(DocumentedConfig::new().bounds(bounds))),
        Box::new(Knative::new(KnativeConfig::new(bounds, capacity))),
        Box::new(Threshold::new(threshold)),
        Box::new(Tracking::new(tracking)),
    ];
    let mut last = None;
    for step in &case.steps {
        let (sample, now) = (step.sample(), Timestamp::from_millis(step.at));
        for (place, policy) in policies.iter_mut().enumerate() {
            let decision = policy.decide(&sample, now);
            assert_eq!(bounds.nearest(decision.target()), decision.target());
            assert!(!decision.why().is_empty());
            let is_blind = decision.why().last("blind").is_some();
            if place == 0 {
                assert!(!is_blind || last.is_none_or(|last| decision.target() >= last));
                last = Some(decision.target());
            }
        }
    }
    let _ = Trace::from_csv("fuzz", &case.trace);
});
