use super::*;
use crate::autoscale::{Amount, Bounds, Fleet, Reading};
use crate::num::{Factor, Period, Ratio};

const BOUNDS: Bounds = Bounds::between(1, 100);

const fn config() -> GpuConfig {
    GpuConfig::new(BOUNDS, Amount::of(10), Period::secs(300)).headroom(Factor::percent(100))
}

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

fn seen(fleet: Fleet, rate: f64, backlog: f64, secs: i64) -> Sample {
    Sample::new(fleet)
        .measured(Signal::Rate, Reading::new(rate, at(secs)))
        .measured(Signal::Backlog, Reading::new(backlog, at(secs)))
}

/// Asks every 15 s with a load that is just served, and gives the last target.
fn calm(gpu: &mut Gpu, rate: f64, secs: std::ops::Range<i64>) -> u32 {
    let mut ready = gpu.state.target.unwrap_or(10);
    for secs in secs.step_by(15) {
        ready = gpu
            .decide(&seen(Fleet::new(ready), rate, 0.0, secs), at(secs))
            .target();
    }
    ready
}

#[test]
fn rule_1_within_bounds_at_the_extremes() {
    for rate in [0.0, f64::MIN_POSITIVE, f64::MAX] {
        for backlog in [0.0, f64::MAX] {
            let mut gpu = Gpu::new(config());
            for secs in [i64::MIN / 1_000, 0, i64::MAX / 1_000] {
                let fleet = Fleet::new(u32::MAX).starting([at(0), at(secs)]);
                let target = gpu
                    .decide(&seen(fleet, rate, backlog, secs), at(secs))
                    .target();
                assert!((1..=100).contains(&target));
            }
        }
    }
}

#[test]
fn rule_2_blind_never_shrinks_and_waits_a_hold_after() {
    let mut gpu = Gpu::new(config());
    assert_eq!(calm(&mut gpu, 95.0, 0..1_200), 10);
    for secs in (1_200..4_800).step_by(15) {
        let blind = Sample::new(Fleet::new(10));
        assert_eq!(gpu.decide(&blind, at(secs)).target(), 10);
    }
    assert_eq!(calm(&mut gpu, 20.0, 4_800..5_400), 10);
    assert!(calm(&mut gpu, 20.0, 5_400..5_430) < 10);
}

#[test]
fn rule_2_what_somebody_else_ordered_is_not_taken_away_blindly() {
    let mut gpu = Gpu::new(config());
    assert_eq!(calm(&mut gpu, 95.0, 0..1_200), 10);
    for secs in (1_200..1_800).step_by(15) {
        let raised = Sample::new(Fleet::new(12).starting((0..8).map(|_| at(1_200))));
        assert_eq!(gpu.decide(&raised, at(secs)).target(), 20);
    }
    // Nor once it is seen again, for a hold.
    assert_eq!(calm(&mut gpu, 95.0, 1_800..2_400), 20);
    assert_eq!(calm(&mut gpu, 95.0, 2_400..2_430), 10);
}

#[test]
fn rule_7_what_somebody_else_ordered_stays_while_turns_are_apart() {
    let mut gpu = Gpu::resume(config(), GpuState::empty());
    let low = calm(&mut gpu, 20.0, 0..15);
    assert!(calm(&mut gpu, 95.0, 15..600) > low);
    let after_a_turn = calm(&mut gpu, 20.0, 600..2_400);
    assert!(after_a_turn < 10);
    assert!(calm(&mut gpu, 95.0, 2_400..2_700) > after_a_turn);
    calm(&mut gpu, 20.0, 2_700..4_500);
    let decision = gpu.decide(&seen(Fleet::new(45), 20.0, 0.0, 4_500), at(4_500));
    assert_eq!(decision.target(), 45, "{}", decision.why());
}

#[test]
fn rule_2_one_blind_turn_is_enough() {
    let mut gpu = Gpu::resume(config(), GpuState::empty());
    assert_eq!(calm(&mut gpu, 95.0, 0..1_200), 10);
    assert_eq!(calm(&mut gpu, 20.0, 1_200..1_500), 10);
    gpu.decide(&Sample::new(Fleet::new(10)), at(1_500));
    // Without it, a hold would be over at 1,800.
    assert_eq!(calm(&mut gpu, 20.0, 1_515..2_115), 10);
    assert!(calm(&mut gpu, 20.0, 2_115..2_130) < 10);
}

#[test]
fn rule_2_stale_readings_are_none() {
    let mut gpu = Gpu::resume(config(), GpuState::empty());
    let old = seen(Fleet::new(10), 1.0, 0.0, 0);
    assert_eq!(gpu.decide(&old, at(61)).target(), 10);
    assert!(gpu.decide(&old, at(62)).why().last("blind").is_some());
}

#[test]
fn rule_2_a_gap_between_decisions_is_blind_too() {
    let mut gpu = Gpu::new(config());
    assert_eq!(calm(&mut gpu, 95.0, 0..1_200), 10);
    assert_eq!(calm(&mut gpu, 20.0, 9_000..9_600), 10);
    assert!(calm(&mut gpu, 20.0, 9_600..9_630) < 10);
}

#[test]
fn rule_2_what_is_expected_raises_blindly() {
    let mut gpu = Gpu::new(config());
    let told = Sample::new(Fleet::new(3)).measured(Signal::Expected, Reading::new(200.0, at(0)));
    assert_eq!(gpu.decide(&told, at(0)).target(), 20);
}

#[test]
fn rule_3_others_have_what_is_not_reserved() {
    let mut gpu = Gpu::new(config().reserve(Ratio::percent(10)));
    let fleet = || Fleet::new(1);
    assert_eq!(
        gpu.decide(&seen(fleet(), 90.0, 0.0, 0), at(0))
            .why()
            .last("load")
            .and_then(|step| step.fact("seen").cloned()),
        Some(100.0.into())
    );
    let ours =
        seen(fleet(), 90.0, 0.0, 15).measured(Signal::ReservedRate, Reading::new(9.0, at(15)));
    let decision = gpu.decide(&ours, at(15));
    let load = decision
        .why()
        .last("load")
        .and_then(|step| step.fact("seen").cloned());
    assert_eq!(load, Some(90.0.into()));
}

#[test]
fn rule_4_constant_demand_has_a_constant_target_while_replicas_start() {
    let mut gpu = Gpu::new(config());
    let first = gpu
        .decide(&seen(Fleet::new(4), 100.0, 0.0, 0), at(0))
        .target();
    assert!(first > 10);
    for secs in (15..300).step_by(15) {
        let fleet = Fleet::new(4).starting((4..first).map(|_| at(0)));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let backlog = 60.0 * secs as f64;
        let decision = gpu.decide(&seen(fleet, 100.0, backlog, secs), at(secs));
        assert_eq!(decision.target(), first, "{}", decision.why());
    }
}

#[test]
fn rule_6_noise_around_a_whole_count_moves_nothing() {
    let mut gpu = Gpu::new(config().band(Ratio::percent(20)));
    let mut ready = calm(&mut gpu, 95.0, 0..1_200);
    for secs in (1_200..14_400).step_by(15) {
        let rate = if secs % 600 < 300 { 89.0 } else { 91.0 };
        ready = gpu
            .decide(&seen(Fleet::new(ready), rate, 0.0, secs), at(secs))
            .target();
        assert_eq!(ready, 10);
    }
}

#[test]
fn rule_6_a_backlog_keeps_what_works_it_off() {
    let mut gpu = Gpu::resume(config(), GpuState::empty());
    let busy = seen(Fleet::new(10), 40.0, 1e6, 0);
    assert!(gpu.decide(&busy, at(0)).target() >= 10);
}

#[test]
fn rule_7_turns_are_apart() {
    let mut gpu = Gpu::new(config());
    let mut turns = Vec::new();
    let (mut ready, mut grew) = (10, false);
    for secs in (0..86_400).step_by(15) {
        // Up and down every twenty minutes.
        let rate = if secs % 2_400 < 1_200 { 40.0 } else { 95.0 };
        let target = gpu
            .decide(&seen(Fleet::new(ready), rate, 0.0, secs), at(secs))
            .target();
        if target < ready && grew {
            turns.push(secs);
        }
        grew = if target == ready {
            grew
        } else {
            target > ready
        };
        ready = target;
    }
    assert!(turns.len() > 2, "{turns:?}");
    assert!(
        turns.windows(2).all(|pair| pair[1] - pair[0] >= 7_200),
        "{turns:?}"
    );
}

#[test]
fn rule_8_an_empty_past_does_not_hold() {
    let low = seen(Fleet::new(10), 20.0, 0.0, 0);
    let mut unknown = Gpu::new(config());
    assert_eq!(unknown.decide(&low, at(0)).target(), 10);
    let mut empty = Gpu::resume(config(), GpuState::empty());
    assert!(empty.decide(&low, at(0)).target() < 10);
}
