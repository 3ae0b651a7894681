//! Ten years of an autoscaler's decisions, one each fifteen seconds, over ten pods.
//!
//! `cargo bench --bench hpa`; with `-- --quick` it replays a hundredth of it. The finance service of the documents, CPU
//! and a queue, under demand that rises and falls each day. It must take less than a minute, each tick with its whole
//! reasoning, and the state must stay small.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mainstay::autoscale::hpa::{Container, Manifest, Observation, Pod, Reading, Sample, State};
use mainstay::time::Timestamp;
use mainstay_test_support::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FINANCE: &str = include_str!("../tests/manifests/finance-service.yaml");
const TICK: i64 = 15_000;
const TEN_YEARS: i64 = 3_652 * 24 * 3_600 * 1_000;
const PODS: usize = 10;
/// What the issue allows for ten years.
const MOST: Duration = Duration::from_secs(60);

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let share = if quick { 100 } else { 1 };
    let ticks = TEN_YEARS / TICK / share;
    let hpa = Manifest::from_yaml(FINANCE)
        .expect("the documents' manifest is right")
        .into_hpa();
    let start = 1_700_000_000_000;
    let long_ago = Timestamp::from_millis(0);
    let pods: Vec<_> = (0..PODS)
        .map(|i| {
            let app = Container::new("app").request("cpu", 1_000);
            Pod::new(format!("finance-service-7d4b9c-{i:02}"))
                .started(long_ago)
                .ready(true, long_ago)
                .container(app)
        })
        .collect();
    // The demand of each quarter of an hour of a day, as milli-CPU a pod: read and not computed within the time.
    let day: Vec<i64> = (0..96)
        .map(|quarter: i64| 200 + (48 - (quarter - 48).abs()) * 14)
        .collect();
    let sampled = |demand: i64| -> Vec<Sample> {
        let sample = |pod: &Pod| Sample::new(pod.name(), demand, Timestamp::from_millis(start), 15);
        pods.iter().map(sample).collect()
    };
    let cpu: Vec<_> = day.iter().map(|demand| sampled(*demand)).collect();
    let queue: Vec<_> = day.iter().map(|demand| sampled(demand * 80)).collect();

    let mut state = State::unknown();
    let (mut replicas, mut changes, mut steps) = (10, 0_u64, 0_u64);
    let begun = Instant::now();
    let (made, ()) = allocations(|| {
        for tick in 0..ticks {
            let quarter = usize::try_from(tick / 60 % 96).expect("96 fit");
            let readings = [
                Reading::Pods(cpu.get(quarter).expect("a day has 96")),
                Reading::Pods(queue.get(quarter).expect("a day has 96")),
            ];
            let seen = Observation::new(replicas).pods(&pods).readings(&readings);
            let now = Timestamp::from_millis(start + tick * TICK);
            let decision = black_box(hpa.decide(std::mem::take(&mut state), &seen, now));
            changes += u64::from(decision.is_change());
            steps += u64::try_from(decision.reasoning().len()).expect("few steps");
            replicas = decision.replicas();
            state = decision.applied();
        }
    });
    let took = begun.elapsed();
    let each = took.as_nanos() / u128::try_from(ticks.max(1)).expect("positive");
    println!(
        "{ticks} ticks in {took:.1?}: {each} ns each; {changes} changes, {steps} steps of reasoning"
    );
    println!(
        "{} allocations a tick",
        made / u64::try_from(ticks.max(1)).expect("positive")
    );
    let remembered = state.history().map_or(0, <[_]>::len);
    println!(
        "{remembered} recommendations and {} changes remembered",
        state.up_events().len() + state.down_events().len()
    );
    assert!(changes > 0, "the demand moves the count");
    assert!(remembered < 100, "the log is bounded by its window");
    assert!(took < MOST, "ten years take longer than a minute");
}
