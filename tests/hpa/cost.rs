//! What a decision allocates: what it returns, however many pods there are.

use mainstay::autoscale::hpa::{
    Bounds, Hpa, Metric, Observation, Quantity, Reading, Source, State, Target,
};
use mainstay_test_support::allocations;

use super::{at, pods, samples};

/// How often memory is allocated by a decision over so many pods, in their order or against it.
fn allocated(count: usize, ordered: bool) -> u64 {
    let hpa = Hpa::new(Bounds::new(1, i32::MAX).unwrap())
        .metric(Metric::new(
            Source::resource("cpu"),
            Target::Utilization(50),
        ))
        .metric(Metric::new(
            Source::pods("queue"),
            Target::AverageValue(Quantity::from_milli(1_000)),
        ));
    let mut pods = pods(count);
    let mut cpu = samples(&pods, 700, at(0));
    let mut queue = samples(&pods, 1_100, at(0));
    // One of the pods has no sample, so that both passes are needed.
    cpu.pop();
    if !ordered {
        pods.reverse();
        cpu.reverse();
        queue.reverse();
    }
    let readings = [Reading::Pods(&cpu), Reading::Pods(&queue)];
    let replicas = i32::try_from(count).unwrap();
    let seen = Observation::new(replicas).pods(&pods).readings(&readings);
    // The log of recommendations grows by doubling; here it has room.
    let state = hpa.decide(State::empty(), &seen, at(0)).applied();
    let (allocated, decision) = allocations(|| hpa.decide(state, &seen, at(15)));
    assert!(decision.is_change());
    allocated
}

#[test]
fn a_decision_allocates_what_it_returns() {
    let few = allocated(10, true);
    assert!(few <= 10, "{few}");
    assert_eq!(allocated(1_000, true), few);
    // Another order costs the lists of three sorts: of the pods, and of each metric's samples.
    assert!(allocated(1_000, false) <= few + 6);
}
