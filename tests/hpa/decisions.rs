//! Rules 2 to 7 at the head of `autoscale/hpa/decide.rs`, and what Kubernetes says with them.

use mainstay::autoscale::hpa::{
    Behavior, Bounds, Controller, Decision, Hpa, Metric, Observation, Policy, Quantity, Reading,
    Reason, Recommendation, Rules, Select, Source, State, Target, Tolerance,
};

use super::{at, pods, samples};

fn bounds(min: i32, max: i32) -> Bounds {
    Bounds::new(min, max).unwrap()
}

fn queue(each: i64) -> Metric {
    Metric::new(
        Source::external("queue"),
        Target::AverageValue(Quantity::from_milli(each)),
    )
}

fn cpu(percent: i32) -> Metric {
    Metric::new(Source::resource("cpu"), Target::Utilization(percent))
}

/// Of a queue that is so long, at one a replica.
fn of_queue(hpa: &Hpa, state: State, replicas: i32, length: i64, second: i64) -> Decision {
    let readings = [Reading::Values(&[length])];
    let seen = Observation::new(replicas).readings(&readings);
    hpa.decide(state, &seen, at(second))
}

#[test]
fn rule_2_a_count_out_of_bounds_is_brought_in_at_once() {
    let hpa = Hpa::new(bounds(2, 5))
        .metric(queue(1))
        .behavior(Behavior::new().down(Rules::down().select(Select::Disabled)));
    let seen = Observation::new(9);
    let decision = hpa.decide(State::unknown(), &seen, at(0));
    assert_eq!(decision.replicas(), 5);
    assert_eq!(
        decision.cause(),
        "Current number of replicas above Spec.MaxReplicas"
    );
    assert!(decision.outcomes().is_empty(), "no metric is asked");
    let conditions = decision.conditions();
    assert_eq!(
        conditions.able_to_scale().to_string(),
        "True SucceededRescale: the HPA controller was able to update the target scale to 5"
    );
    assert_eq!(conditions.scaling_active(), None);
    assert_eq!(conditions.scaling_limited(), None);
    let decision = hpa.decide(State::unknown(), &Observation::new(1), at(0));
    assert_eq!(decision.replicas(), 2);
    assert_eq!(
        decision.cause(),
        "Current number of replicas below Spec.MinReplicas"
    );
}

#[test]
fn rule_3_a_target_that_is_not_above_0_is_a_failure() {
    let pods = pods(3);
    let used = samples(&pods, 0, at(0));
    let (of_pods, of_all) = (Reading::Pods(&used), Reading::Values(&[0]));
    let none = Quantity::from_milli(0);
    let below = Quantity::from_milli(-1);
    let metric = |source, target| Metric::new(source, target);
    for (metric, reading) in [
        (cpu(0), of_pods),
        (cpu(-50), of_pods),
        (
            metric(Source::pods("p"), Target::AverageValue(none)),
            of_pods,
        ),
        (queue(0), of_all),
        (queue(-1), of_all),
        (metric(Source::external("e"), Target::Value(none)), of_all),
        (metric(Source::external("e"), Target::Value(below)), of_all),
    ] {
        let hpa = Hpa::new(bounds(1, 10)).metric(metric);
        let readings = [reading];
        let seen = Observation::new(3).pods(&pods).readings(&readings);
        let decision = hpa.decide(State::empty(), &seen, at(0));
        assert_eq!(decision.replicas(), 3, "{decision}");
        let outcome = decision.outcomes()[0].proposal.as_ref();
        assert_eq!(outcome.unwrap_err().as_str(), "invalid_target");
    }
}

#[test]
fn rule_3_the_largest_count_counts_and_is_named() {
    let hpa = Hpa::new(bounds(1, 10)).metric(cpu(50)).metric(queue(1_000));
    let pods = pods(2);
    let used = samples(&pods, 750, at(0));
    let readings = [Reading::Pods(&used), Reading::Values(&[3_500])];
    let seen = Observation::new(2).pods(&pods).readings(&readings);
    let decision = hpa.decide(State::empty(), &seen, at(0));
    assert_eq!(decision.replicas(), 4);
    assert_eq!(decision.cause(), "external metric queue(nil) above target");
    assert_eq!(
        decision.conditions().scaling_active().unwrap().message(),
        "the HPA was able to successfully calculate a replica count from external metric queue(nil)"
    );
    let proposed: Vec<_> = decision
        .outcomes()
        .iter()
        .map(|outcome| outcome.proposal.clone().unwrap().replicas)
        .collect();
    assert_eq!(proposed, [3, 4]);
    let text = decision.to_string();
    assert!(
        text.contains("utilization: percent 75, target 50 => 1.5\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\nfrom 2 to 4 replicas: external metric queue(nil) above target"),
        "{text}"
    );
}

#[test]
fn rule_3_no_metric_that_fails_scales_in() {
    let hpa = Hpa::new(bounds(1, 10)).metric(cpu(50)).metric(queue(1_000));
    let pods = pods(5);
    let seen = |queue: i64, current: i32| {
        let values = [queue];
        let readings = [
            Reading::Failed("no metrics returned from resource metrics API"),
            Reading::Values(&values),
        ];
        let seen = Observation::new(current).pods(&pods).readings(&readings);
        hpa.decide(State::empty(), &seen, at(0))
    };
    // The other one asks for less: nothing changes.
    let decision = seen(1_000, 5);
    assert!(!decision.is_change());
    let active = decision.conditions().scaling_active().unwrap();
    assert_eq!(
        active.to_string(),
        "False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu \
         utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"
    );
    assert_eq!(
        decision.conditions().able_to_scale().reason(),
        Reason::SucceededGetScale
    );
    assert_eq!(decision.conditions().scaling_limited(), None);
    assert_eq!(
        decision.applied().history(),
        Some(&[][..]),
        "nothing was recommended"
    );
    // For more: it counts.
    let decision = seen(9_000, 5);
    assert_eq!(decision.replicas(), 9);
    assert_eq!(
        decision.conditions().scaling_active().unwrap().reason(),
        Reason::ValidMetricFound
    );
}

#[test]
fn readings_that_are_missing_or_of_another_kind_are_failures() {
    let hpa = Hpa::new(bounds(1, 10)).metric(cpu(50)).metric(queue(1_000));
    for readings in [
        &[][..],
        &[Reading::Values(&[1]), Reading::Pods(&[])],
        &[Reading::Values(&[]), Reading::Values(&[])],
    ] {
        let seen = Observation::new(5).readings(readings);
        let decision = hpa.decide(State::empty(), &seen, at(0));
        assert_eq!(decision.replicas(), 5);
        let errors: Vec<_> = decision
            .outcomes()
            .iter()
            .map(|outcome| outcome.proposal.clone().unwrap_err())
            .collect();
        assert!(
            errors.iter().all(|error| error.as_str() == "no_reading"),
            "{errors:?}"
        );
    }
    let odd =
        Hpa::new(bounds(1, 10)).metric(Metric::new(Source::pods("x"), Target::Utilization(5)));
    let readings = [Reading::Pods(&[])];
    let decision = odd.decide(
        State::empty(),
        &Observation::new(5).readings(&readings),
        at(0),
    );
    assert_eq!(
        decision.outcomes()[0]
            .proposal
            .clone()
            .unwrap_err()
            .as_str(),
        "invalid_target"
    );
}

#[test]
fn rule_5_what_is_recommended_is_remembered_raw() {
    let hpa = Hpa::new(bounds(1, 4)).metric(queue(1_000));
    let decision = of_queue(&hpa, State::empty(), 4, 9_000, 0);
    assert_eq!(decision.replicas(), 4, "at most 4");
    let limited = decision.conditions().scaling_limited().unwrap();
    assert_eq!(
        (limited.holds(), limited.reason()),
        (true, Reason::TooManyReplicas)
    );
    let state = decision.applied();
    assert_eq!(state.history(), Some(&[Recommendation::new(9, at(0))][..]));
}

#[test]
fn an_unknown_past_holds_the_count_and_an_empty_one_does_not() {
    let hpa = Hpa::new(bounds(1, 10)).metric(queue(1_000));
    let decision = of_queue(&hpa, State::unknown(), 8, 2_000, 0);
    assert_eq!(decision.replicas(), 8);
    assert_eq!(
        decision.conditions().able_to_scale().to_string(),
        "True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent \
         recommendation"
    );
    // For as long as the window lasts, its last moment included.
    let state = decision.applied();
    let decision = of_queue(&hpa, state.clone(), 8, 2_000, 300);
    assert_eq!(decision.replicas(), 8);
    let decision = of_queue(&hpa, state, 8, 2_000, 301);
    assert_eq!(decision.replicas(), 2);
    let decision = of_queue(&hpa, State::empty(), 8, 2_000, 0);
    assert_eq!(decision.replicas(), 2);
}

#[test]
fn rule_7_only_a_change_that_was_made_slows_the_next_one() {
    let slowly = Rules::up().policies([Policy::pods(2, 60)]);
    let hpa = Hpa::new(bounds(1, 50))
        .metric(queue(1_000))
        .behavior(Behavior::new().up(slowly));
    let decision = of_queue(&hpa, State::empty(), 4, 50_000, 0);
    assert_eq!(decision.replicas(), 6);
    // The target could not be scaled: nothing was used up.
    let decision = of_queue(&hpa, decision.refused(), 4, 50_000, 15);
    assert_eq!(decision.replicas(), 6);
    let mut state = decision.applied();
    assert_eq!(state.up_events().len(), 1);
    for second in [30, 45, 60, 74] {
        let decision = of_queue(&hpa, state, 6, 50_000, second);
        assert!(!decision.is_change(), "{second}");
        let limited = decision.conditions().scaling_limited().unwrap();
        assert_eq!(
            (limited.holds(), limited.reason()),
            (true, Reason::ScaleUpLimit)
        );
        state = decision.applied();
    }
    let decision = of_queue(&hpa, state, 6, 50_000, 75);
    assert_eq!(decision.replicas(), 8, "a period is open at its old end");
}

#[test]
fn rule_7_changes_are_remembered_for_the_longest_period_of_either_direction() {
    // A minute is looked back on the way up, and 15 s on the way down.
    let up = Rules::up().policies([Policy::pods(4, 60)]);
    let down = Rules::down()
        .window(0)
        .unwrap()
        .policies([Policy::percent(100, 15)]);
    let hpa = Hpa::new(bounds(1, 50))
        .metric(queue(1_000))
        .behavior(Behavior::new().up(up).down(down));
    let decision = of_queue(&hpa, State::empty(), 10, 6_000, 0);
    assert_eq!(decision.replicas(), 6);
    let decision = of_queue(&hpa, decision.applied(), 6, 5_000, 30);
    assert_eq!(decision.replicas(), 5);
    // Both went down within the minute: 5 + 5 were there when it began, and 4 may be added.
    let decision = of_queue(&hpa, decision.applied(), 5, 50_000, 45);
    assert_eq!(decision.replicas(), 14);
}

#[test]
fn without_behavior_no_change_is_remembered() {
    let hpa = Hpa::new(bounds(1, 50)).metric(queue(1_000));
    let decision = of_queue(&hpa, State::empty(), 4, 50_000, 0);
    assert_eq!(decision.replicas(), 8);
    let state = decision.applied();
    assert!(state.up_events().is_empty());
    assert_eq!(
        of_queue(&hpa, state, 8, 50_000, 1).replicas(),
        16,
        "and none is looked at"
    );
}

#[test]
fn each_direction_has_its_own_tolerance() {
    let rules = |tolerance: f64| {
        move |rules: Rules| rules.tolerance(Tolerance::new("tolerance", tolerance).unwrap())
    };
    let hpa = |up, down| {
        let behavior = Behavior::new()
            .up(rules(up)(Rules::up()))
            .down(rules(down)(Rules::down()));
        Hpa::new(bounds(1, 50))
            .metric(queue(1_000))
            .behavior(behavior)
    };
    assert_eq!(
        of_queue(&hpa(0.5, 0.0), State::empty(), 10, 14_000, 0).replicas(),
        10
    );
    assert_eq!(
        of_queue(&hpa(0.5, 0.0), State::empty(), 10, 9_000, 0).replicas(),
        9
    );
    assert_eq!(
        of_queue(&hpa(0.0, 0.5), State::empty(), 10, 10_100, 0).replicas(),
        11
    );
    assert_eq!(
        of_queue(&hpa(0.0, 0.5), State::empty(), 10, 6_000, 0).replicas(),
        10
    );
    assert_eq!(
        of_queue(&hpa(2.0, 2.0), State::empty(), 10, 29_000, 0).replicas(),
        10,
        "200 % is legal"
    );
}

#[test]
fn the_default_metric_is_cpu_at_80_percent() {
    let hpa = Hpa::new(bounds(1, 50));
    let pods = pods(4);
    let used = samples(&pods, 1_000, at(0));
    let readings = [Reading::Pods(&used)];
    let seen = Observation::new(4).pods(&pods).readings(&readings);
    assert_eq!(hpa.decide(State::empty(), &seen, at(0)).replicas(), 5);
    assert_eq!(
        hpa.metrics()[0].label(),
        "cpu resource utilization (percentage of request)"
    );
}

#[test]
fn the_controllers_window_fills_one_that_behavior_leaves_out() {
    let hpa = Hpa::new(bounds(1, 50))
        .metric(queue(1_000))
        .behavior(Behavior::new())
        .controller(Controller::new().down_window(60).unwrap());
    let decision = of_queue(&hpa, State::unknown(), 8, 2_000, 0);
    assert_eq!(decision.replicas(), 8);
    let state = decision.applied();
    assert_eq!(of_queue(&hpa, state.clone(), 8, 2_000, 59).replicas(), 8);
    assert_eq!(
        of_queue(&hpa, state, 8, 2_000, 60).replicas(),
        2,
        "with behavior the window is open at its old end"
    );
}

#[test]
fn a_clock_that_steps_back_holds_for_longer() {
    let hpa = Hpa::new(bounds(1, 10)).metric(queue(1_000));
    let state = of_queue(&hpa, State::unknown(), 8, 8_000, 1_000).applied();
    let decision = of_queue(&hpa, state.clone(), 8, 2_000, 0);
    assert_eq!(decision.replicas(), 8);
    assert_eq!(of_queue(&hpa, state, 8, 2_000, 1_300).replicas(), 8);
}

#[test]
fn a_decision_is_data() {
    let hpa = Hpa::new(bounds(1, 10)).metric(queue(1_000));
    let decision = of_queue(&hpa, State::empty(), 2, 3_000, 0);
    let data = serde_json::to_value(&decision).unwrap();
    assert_eq!(data["replicas"], 3);
    assert_eq!(
        data["conditions"]["scaling_active"]["reason"],
        "ValidMetricFound"
    );
    assert_eq!(data["outcomes"][0]["proposal"]["Ok"]["value"], 1_500);
    let rules: Vec<_> = decision
        .reasoning()
        .steps()
        .map(|step| step.rule().to_owned())
        .collect();
    assert_eq!(
        rules,
        [
            "value a pod",
            "metric",
            "largest of the metrics",
            "stabilize",
            "limit"
        ]
    );
    assert_eq!(data["reasoning"].as_array().unwrap().len(), 5);
}
