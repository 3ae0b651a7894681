//! Rules 1, 4 and 8 at the head of `autoscale/hpa/decide.rs`: the newer ones.

use mainstay::autoscale::hpa::{
    Bounds, Controller, Fallback, FromZero, Hpa, Metric, Observation, Quantity, Reading, Reason,
    Source, State, Target,
};

use super::at;

fn queue() -> Metric {
    Metric::new(
        Source::external("queue"),
        Target::AverageValue(Quantity::from_milli(1_000)),
    )
}

fn hpa(min: i32, from_zero: FromZero) -> Hpa {
    let controller = Controller::new().zero(from_zero).down_window(0).unwrap();
    Hpa::new(Bounds::new(min, 10).unwrap())
        .metric(queue())
        .controller(controller)
}

fn seen<'a>(replicas: i32, readings: &'a [Reading<'a>]) -> Observation<'a> {
    Observation::new(replicas).readings(readings)
}

const FIVE: &[Reading<'static>] = &[Reading::Values(&[5_000])];
const NONE: &[Reading<'static>] = &[Reading::Values(&[0])];

#[test]
fn rule_1_a_target_at_zero_is_paused() {
    let decision = hpa(1, FromZero::Always).decide(State::empty(), &seen(0, FIVE), at(0));
    assert!(!decision.is_change());
    assert_eq!(
        decision.conditions().scaling_active().unwrap().to_string(),
        "False ScalingDisabled: scaling is disabled since the replica count of the target is zero"
    );
    // Somebody else's zero, where 0 is allowed: a pause by the newer rule, none by the older.
    let decision = hpa(0, FromZero::Owned).decide(State::empty(), &seen(0, FIVE), at(0));
    assert!(!decision.is_change());
    assert_eq!(
        decision.conditions().scaling_active().unwrap().reason(),
        Reason::ScalingDisabled
    );
    let decision = hpa(0, FromZero::Always).decide(State::empty(), &seen(0, FIVE), at(0));
    assert_eq!(decision.replicas(), 4, "4 at least may be added");
    assert_eq!(decision.conditions().scaled_to_zero(), None);
}

#[test]
fn rule_1_whoever_took_it_to_zero_brings_it_back() {
    let hpa = hpa(0, FromZero::Owned);
    let decision = hpa.decide(State::empty(), &seen(3, NONE), at(0));
    assert_eq!(decision.replicas(), 0);
    assert_eq!(
        decision.conditions().scaled_to_zero().unwrap().to_string(),
        "True ScaledToZero: the HPA controller scaled the workload to zero"
    );
    // It was not scaled after all: then the zero that somebody else makes is a pause.
    let not_done = decision.clone().refused();
    assert!(!hpa.decide(not_done, &seen(0, FIVE), at(15)).is_change());

    let state = decision.applied();
    assert!(state.is_zero_ours());
    let decision = hpa.decide(state, &seen(0, NONE), at(15));
    assert!(!decision.is_change());
    let state = decision.applied();
    assert!(state.is_zero_ours(), "for as long as nothing changes");
    let decision = hpa.decide(state, &seen(0, FIVE), at(30));
    assert_eq!(decision.replicas(), 4);
    assert_eq!(
        decision.conditions().scaled_to_zero().unwrap().reason(),
        Reason::NotScaledToZero
    );
    assert!(!decision.applied().is_zero_ours());
}

#[test]
fn rule_1_a_zero_that_is_over_is_not_ours_any_more() {
    let hpa = hpa(0, FromZero::Owned);
    let ours = State::empty().scaled_to_zero(true);
    // A user starts three, which are as many as there should be, and later pauses them.
    let three = [Reading::Values(&[3_000])];
    let decision = hpa.decide(ours, &seen(3, &three), at(0));
    assert!(!decision.is_change());
    let state = decision.applied();
    assert!(!state.is_zero_ours());
    let decision = hpa.decide(state, &seen(0, FIVE), at(15));
    assert!(!decision.is_change());
    assert_eq!(
        decision.conditions().scaling_active().unwrap().reason(),
        Reason::ScalingDisabled
    );
}

#[test]
fn rule_1_without_a_metric_from_outside_nothing_is_ours() {
    let controller = Controller::new().down_window(0).unwrap();
    let hpa = Hpa::new(Bounds::new(0, 10).unwrap()).controller(controller);
    let state = State::empty().scaled_to_zero(true);
    assert!(!hpa.decide(state, &seen(0, &[]), at(0)).is_change());
}

#[test]
fn rule_8_a_raised_minimum_holds_on_the_way_back() {
    let hpa = hpa(6, FromZero::Owned);
    let state = State::empty().scaled_to_zero(true);
    let decision = hpa.decide(state.clone(), &seen(0, FIVE), at(0));
    assert_eq!(decision.replicas(), 6);
    let decision = hpa.decide(state.clone(), &seen(0, NONE), at(0));
    assert_eq!(decision.replicas(), 6);
    // Metrics are asked all the same, and when none answers nothing changes.
    let failed = [Reading::Failed("down")];
    let decision = hpa.decide(state, &seen(0, &failed), at(0));
    assert!(!decision.is_change());
}

fn with_fallback() -> Metric {
    let source = Source::External {
        name: "queue".to_owned(),
        selector: None,
        fallback: Some(Fallback::new(7, 180).unwrap()),
    };
    Metric::new(source, Target::AverageValue(Quantity::from_milli(1_000)))
}

#[test]
fn rule_4_a_fallback_counts_once_the_metric_failed_for_long_enough() {
    let hpa = |taken| {
        let controller = Controller::new().external_fallback(taken);
        Hpa::new(Bounds::new(1, 10).unwrap())
            .metric(with_fallback())
            .controller(controller)
    };
    let failed = [Reading::Failed("timeout")];
    let mut state = State::empty();
    for second in [0, 60, 179] {
        let decision = hpa(true).decide(state, &seen(5, &failed), at(second));
        assert!(!decision.is_change(), "{second}");
        let active = decision.conditions().scaling_active().unwrap();
        assert_eq!(active.reason(), Reason::FailedGetExternalMetric);
        assert!(
            active
                .message()
                .ends_with("unable to get external metric default/queue/nil: timeout"),
            "{active}"
        );
        state = decision.applied();
    }
    assert_eq!(
        state.failing_since("external metric queue(nil)"),
        Some(at(0))
    );
    let decision = hpa(false).decide(state.clone(), &seen(5, &failed), at(180));
    assert!(!decision.is_change(), "where the gate is off");
    let decision = hpa(true).decide(state.clone(), &seen(5, &failed), at(180));
    assert_eq!(decision.replicas(), 7);
    assert_eq!(decision.outcomes()[0].fallback, Some(7));
    assert_eq!(
        decision.conditions().scaling_active().unwrap().reason(),
        Reason::ValidMetricFound
    );
    // One answer, and the time begins anew.
    let state = hpa(true).decide(state, &seen(5, FIVE), at(180)).applied();
    assert_eq!(state.failing_since("external metric queue(nil)"), None);
    let decision = hpa(true).decide(state, &seen(5, &failed), at(195));
    assert!(!decision.is_change());
}

#[test]
fn rule_4_a_fallback_is_one_of_the_counts() {
    let hpa = Hpa::new(Bounds::new(1, 20).unwrap())
        .metric(with_fallback())
        .metric(queue());
    let mut state = State::empty();
    for (second, expected) in [(0, 9), (180, 9)] {
        let readings = [Reading::Failed("timeout"), Reading::Values(&[9_000])];
        let decision = hpa.decide(state, &seen(5, &readings), at(second));
        assert_eq!(decision.replicas(), expected);
        state = decision.applied();
    }
    let readings = [Reading::Failed("timeout"), Reading::Values(&[6_000])];
    let decision = hpa.decide(state, &seen(5, &readings), at(1_000));
    assert_eq!(decision.replicas(), 7);
}
