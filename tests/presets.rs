//! Every retry and breaker row of the two platforms' tables, with its numbers.

use std::time::Duration;

use mainstay::breaker::{Breaker, BreakerConfig, State};
use mainstay::num::{Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::presets::{erp, synthetic};
use mainstay::retry::RetryConfig;
use mainstay::rng::Rng;
use mainstay::tenant::scheduler::Seating;
use mainstay::tenant::tier::Tiers;
use mainstay::time::Tick;

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The delays lie in `[low × d, high × d]` of the row's undisturbed delays `d`, and the cap holds; both ends are
/// reached within a per cent.
#[track_caller]
fn delays(config: &RetryConfig, low: f64, high: f64, undisturbed: &[u64], max: u64) {
    let mut rng = Rng::new(30);
    let retries = u32::try_from(undisturbed.len()).expect("a short table");
    assert_eq!(config.attempts().get(), retries + 1);
    assert_eq!(config.delays().max(), ms(max));
    for (retry, base) in (1..).zip(undisturbed) {
        let draws: Vec<_> = (0..10_000)
            .map(|_| config.delays().delay(retry, Duration::ZERO, &mut rng))
            .collect();
        let least = ms(*base).mul_f64(low);
        let most = ms(*base).mul_f64(high).min(ms(max));
        let (first, last) = (draws.iter().min(), draws.iter().max());
        assert!(
            first.is_some_and(|d| *d >= least && *d <= least.mul_f64(1.01)),
            "{first:?} {least:?}"
        );
        assert!(
            last.is_some_and(|d| *d <= most && *d >= most.mul_f64(0.99)),
            "{last:?} {most:?}"
        );
    }
}

#[test]
fn s0_30_transient() {
    delays(&erp::transient(), 1.0, 1.2, &[100, 200], 5_000);
}

#[test]
fn s0_31_deadlock() {
    delays(&erp::deadlock(), 1.0, 1.2, &[50, 100], 500);
}

#[test]
fn s0_32_gpu_queue_full() {
    delays(&erp::gpu_queue_full(), 1.0, 1.2, &[1_000], 5_000);
}

#[test]
fn s0_33_external_api() {
    delays(&erp::external_api(), 1.0, 1.2, &[500, 1_000], 10_000);
}

#[test]
fn s0_34_and_35_count_attempts_and_cap_last() {
    // A later retry than the row has: the jitter does not carry it over the cap.
    let mut rng = Rng::new(35);
    for _ in 0..1_000 {
        assert_eq!(
            erp::deadlock().delays().delay(9, Duration::ZERO, &mut rng),
            ms(500)
        );
    }
}

#[test]
fn s4_30_training_job() {
    delays(
        &synthetic::training_job(),
        0.5,
        1.0,
        &[60_000, 120_000, 240_000],
        900_000,
    );
}

#[test]
fn s4_31_generation_batch() {
    delays(
        &synthetic::generation_batch(),
        0.5,
        1.0,
        &[30_000, 60_000],
        120_000,
    );
}

#[test]
fn s4_32_quality_check() {
    delays(
        &synthetic::quality_check(),
        0.5,
        1.0,
        &[60_000, 120_000],
        300_000,
    );
}

#[test]
fn s4_33_api_call() {
    delays(
        &synthetic::api_call(),
        0.5,
        1.0,
        &[1_000, 2_000, 4_000],
        10_000,
    );
}

#[test]
fn s4_34_db_transaction() {
    delays(
        &synthetic::db_transaction(),
        0.5,
        1.0,
        &[100, 200, 400],
        1_000,
    );
}

#[test]
fn s4_35_model_load() {
    delays(&synthetic::model_load(), 0.5, 1.0, &[5_000, 10_000], 30_000);
}

#[test]
fn s4_36_default_retry() {
    delays(
        &synthetic::default_retry(),
        0.5,
        1.0,
        &[1_000, 2_000, 4_000],
        60_000,
    );
}

/// `failures` trip it, not one fewer; it stays open for `open`; `probes` at a time, `successes` close.
#[track_caller]
fn trips(config: BreakerConfig, failures: u32, open_secs: u64, probes: usize, successes: u32) {
    let mut breaker = Breaker::new(config);
    let call = |breaker: &mut Breaker, outcome| {
        let permit = breaker.admit(Tick::ZERO).verdict.expect("closed");
        breaker.settle(permit, outcome, Tick::ZERO);
    };
    (1..failures).for_each(|_| call(&mut breaker, FAILED));
    assert_eq!(breaker.state(), State::Closed);
    call(&mut breaker, FAILED);
    assert_eq!(breaker.state(), State::Open);
    let open = Duration::from_secs(open_secs);
    let just_before = Tick::ZERO + (open - ms(1));
    assert_eq!(
        breaker.admit(just_before).verdict.expect_err("open").hint(),
        Some(ms(1))
    );
    let over = Tick::ZERO + open;
    let permits: Vec<_> = (0..100)
        .filter_map(|_| breaker.admit(over).verdict.ok())
        .collect();
    assert_eq!(permits.len(), probes);
    let mut permits = permits.into_iter();
    for n in 1..=successes {
        assert_eq!(breaker.state(), State::HalfOpen, "before success {n}");
        let permit = permits.next().or_else(|| breaker.admit(over).verdict.ok());
        breaker.settle(permit.expect("a probe"), Outcome::Success, over);
    }
    assert_eq!(breaker.state(), State::Closed);
}

/// The window semantics: a success in between changes nothing.
#[test]
fn s0_28_and_29_count_within_a_window() {
    for config in [erp::breaker(), erp::ai_breaker()] {
        trips(config, 5, 30, 1, 1);
        let mut breaker = Breaker::new(config);
        for n in 0..9 {
            let outcome = if n % 2 == 0 { FAILED } else { Outcome::Success };
            let now = Tick::ZERO + Duration::from_secs(7 * n);
            let permit = breaker.admit(now).verdict.expect("closed");
            breaker.settle(permit, outcome, now);
        }
        assert_eq!(breaker.state(), State::Open, "five failures within 56 s");
    }
}

/// The consecutive semantics: a success starts the count again.
#[test]
fn s4_28_counts_in_a_row() {
    trips(synthetic::breaker(), 5, 30, 3, 3);
    let mut breaker = Breaker::new(synthetic::breaker());
    for n in 0..1_000 {
        let outcome = if n % 5 == 4 { Outcome::Success } else { FAILED };
        let permit = breaker.admit(Tick::ZERO).verdict.expect("closed");
        breaker.settle(permit, outcome, Tick::ZERO);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn s4_29_each_service_has_its_numbers() {
    trips(synthetic::gpu_breaker(), 3, 60, 3, 3);
    trips(synthetic::object_storage_breaker(), 5, 30, 3, 3);
    trips(synthetic::quality_breaker(), 3, 45, 3, 3);
    trips(synthetic::notification_breaker(), 10, 120, 3, 3);
}

/// The names and the one number that the platforms give: 10 % of the GPUs for enterprise, held.
#[test]
fn tiers_of_tenants() {
    let names = |tiers: &Tiers| -> Vec<String> {
        let names = tiers.iter().map(|(_, tier)| tier.name().to_owned());
        names.collect()
    };
    assert_eq!(names(&erp::tiers()), ["enterprise", "mid-market", "smb"]);
    assert_eq!(
        names(&erp::gpu_tiers()),
        ["priority", "standard", "best-effort"]
    );
    assert_eq!(
        names(&synthetic::tiers()),
        ["enterprise", "business", "starter"]
    );
    let gpus = erp::gpu_tiers();
    let priority = gpus.find("priority");
    assert_eq!(gpus.tier(priority).held_share(), Ratio::percent(10));
    for (nodes, held) in [(8, 1), (20, 2)] {
        assert_eq!(Seating::new(&gpus, count(nodes)).held(priority), held);
    }
}
