//! The defects of well-known pseudo-code for breakers and retries, each by its number: none of them is here.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests stand in for callers, on tokio's paused clock"
)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::breaker::{
    Breaker, BreakerConfig, BreakerLayer, Cause, HalfOpen, Permit, State, Trip,
};
use mainstay::deadline::DeadlineLayer;
use mainstay::error::{ConfigError, Reason};
use mainstay::num::{Attempts, Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::presets::{erp, synthetic};
use mainstay::retry::{Backoff, BudgetConfig, Jitter, RetryConfig, RetryLayer};
use mainstay::rng::Rng;
use mainstay::time::Tick;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn at(secs: u64) -> Tick {
    Tick::ZERO + Duration::from_secs(secs)
}

/// Admits a call that ends so at once.
fn call(breaker: &mut Breaker, outcome: Outcome, now: Tick) {
    let permit = breaker.admit(now).verdict.unwrap();
    breaker.settle(permit, outcome, now);
}

/// A circuit of these settings that five failures opened at zero.
fn opened(config: BreakerConfig) -> Breaker {
    let mut breaker = Breaker::new(config);
    (0..5).for_each(|_| call(&mut breaker, FAILED, at(0)));
    assert_eq!(breaker.state(), State::Open);
    breaker
}

/// A half-open circuit with one probe out.
fn probing(config: BreakerConfig, now: Tick) -> (Breaker, Permit) {
    let mut breaker = opened(config);
    let probe = breaker.admit(now).verdict.unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    (breaker, probe)
}

#[test]
fn b_01_half_open_probes_are_bounded() {
    for (config, limit) in [(erp::breaker(), 1), (synthetic::breaker(), 3)] {
        let mut breaker = opened(config);
        let admitted: Vec<_> = (0..1_000)
            .filter_map(|_| breaker.admit(at(30)).verdict.ok())
            .collect();
        assert_eq!(admitted.len(), limit);
        assert_eq!(breaker.probes(), limit);
        let busy = breaker.admit(at(30)).verdict.unwrap_err();
        assert_eq!(busy.reason(), Reason::ProbesBusy);
    }
}

#[test]
fn b_02_any_failed_probe_reopens_however_long_the_circuit_was_idle() {
    let (mut breaker, probe) = probing(erp::breaker(), at(3_600));
    let transition = breaker.settle(probe, FAILED, at(3_601)).unwrap();
    assert_eq!(
        (transition.to(), transition.cause()),
        (State::Open, Cause::ProbeFailed)
    );
    assert_eq!(
        breaker.admit(at(3_630)).verdict.unwrap_err().hint(),
        Some(Duration::from_secs(1))
    );
}

#[test]
fn b_03_closing_forgets_the_failures_before() {
    let (mut breaker, probe) = probing(erp::breaker(), at(30));
    breaker.settle(probe, Outcome::Success, at(30));
    assert_eq!(
        (breaker.state(), breaker.failures(at(30))),
        (State::Closed, 0)
    );
    call(&mut breaker, FAILED, at(31));
    assert_eq!(
        breaker.state(),
        State::Closed,
        "one failure after the recovery does not reopen"
    );
}

#[test]
fn b_04_each_failure_is_in_the_window_and_leaves_it() {
    let mut breaker = Breaker::new(erp::breaker());
    for t in [0, 1, 2, 3] {
        call(&mut breaker, FAILED, at(t));
    }
    assert_eq!(breaker.failures(at(3)), 4);
    call(&mut breaker, FAILED, at(61));
    assert_eq!(
        (breaker.state(), breaker.failures(at(61))),
        (State::Closed, 4)
    );
    call(&mut breaker, FAILED, at(61));
    assert_eq!(
        breaker.state(),
        State::Open,
        "five within the minute since 1 s"
    );
}

#[test]
fn b_05_a_result_of_an_earlier_state_changes_nothing() {
    for config in [erp::breaker(), synthetic::breaker()] {
        let mut breaker = Breaker::new(config);
        let stale = (0..3)
            .map(|_| breaker.admit(at(0)).verdict.unwrap())
            .collect::<Vec<_>>();
        (0..5).for_each(|_| call(&mut breaker, FAILED, at(0)));
        let probe = breaker.admit(at(30)).verdict.unwrap();
        let mut stale = stale.into_iter();
        assert_eq!(breaker.settle(stale.next().unwrap(), FAILED, at(30)), None);
        assert_eq!(
            breaker.settle(stale.next().unwrap(), Outcome::Success, at(30)),
            None
        );
        breaker.abandon(stale.next().unwrap());
        assert_eq!((breaker.state(), breaker.probes()), (State::HalfOpen, 1));
        breaker.settle(probe, Outcome::Success, at(30));
        assert_eq!(breaker.probes(), 0);
    }
}

#[test]
fn b_06_only_what_speaks_against_the_callee_counts() {
    for outcome in [Outcome::Success, Outcome::Ignored, Outcome::Rejected] {
        let mut breaker = Breaker::new(erp::breaker());
        (0..1_000).for_each(|_| call(&mut breaker, outcome, at(0)));
        assert_eq!(
            (breaker.state(), breaker.failures(at(0))),
            (State::Closed, 0)
        );
    }
    // An ignored probe frees its place and decides nothing.
    let (mut breaker, probe) = probing(erp::breaker(), at(30));
    breaker.settle(probe, Outcome::Ignored, at(30));
    assert_eq!((breaker.state(), breaker.probes()), (State::HalfOpen, 0));
    // A call that was given up is no failure of the callee.
    let mut breaker = Breaker::new(synthetic::breaker());
    for _ in 0..1_000 {
        let permit = breaker.admit(at(0)).verdict.unwrap();
        breaker.abandon(permit);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn b_07_a_probe_that_never_answers_has_failed() {
    let half_open = HalfOpen::new(1, 1).deadline(Period::secs(10));
    let (mut breaker, probe) = probing(erp::breaker().half_open(half_open), at(30));
    assert_eq!(breaker.poll_timeout(), Some(at(40)));
    assert_eq!(breaker.handle_timeout(at(39)), None);
    let transition = breaker.handle_timeout(at(40)).unwrap();
    assert_eq!(
        (transition.to(), transition.cause()),
        (State::Open, Cause::ProbeHung)
    );
    assert_eq!(
        breaker.settle(probe, Outcome::Success, at(41)),
        None,
        "it comes too late"
    );
    assert_eq!(breaker.state(), State::Open);
    // Nobody needs to watch the time: the next call finds the probe hung.
    let (mut breaker, _probe) = probing(erp::breaker().half_open(half_open), at(30));
    assert!(breaker.admit(at(50)).verdict.is_err());
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn b_08_failures_in_flight_do_not_move_the_end_of_the_wait() {
    let mut breaker = Breaker::new(synthetic::breaker());
    let in_flight: Vec<_> = (0..10)
        .map(|_| breaker.admit(at(0)).verdict.unwrap())
        .collect();
    (0..5).for_each(|_| call(&mut breaker, FAILED, at(0)));
    for (n, permit) in in_flight.into_iter().enumerate() {
        assert_eq!(breaker.settle(permit, FAILED, at(n as u64)), None);
    }
    let rejected = breaker.admit(at(20)).verdict.unwrap_err();
    assert_eq!(
        rejected.hint(),
        Some(Duration::from_secs(10)),
        "what is left, not the whole"
    );
    assert!(breaker.admit(at(30)).verdict.is_ok());
}

#[test]
fn b_09_settings_are_checked_values() {
    let refused: Vec<ConfigError> = [
        Ratio::new("breaker.trip.ratio", 1.5).err(),
        Ratio::new("breaker.trip.ratio", f64::NAN).err(),
        Period::new("breaker.open_for", Duration::ZERO).err(),
        Period::new("breaker.open_for", Duration::MAX).err(),
        Attempts::new("retry.attempts", 0).err(),
        Factor::new("retry.backoff.factor", 0.1).err(),
    ]
    .into_iter()
    .map(Option::unwrap)
    .collect();
    assert_eq!(
        refused.first().unwrap().to_string(),
        "breaker.trip.ratio: expected a number from 0 to 1, got 1.5"
    );
    assert_eq!(
        refused.get(4).unwrap().to_string(),
        "retry.attempts: expected at least 1 attempt in all, got 0"
    );
    // What is given is what is used.
    let mut breaker = Breaker::new(Trip::consecutive(1).into());
    call(&mut breaker, FAILED, at(0));
    assert_eq!(
        breaker.time_left(at(0)),
        Some(BreakerConfig::new(Trip::consecutive(1)).opening())
    );
}

/// Sixteen threads ask at once for the one probe; and the time comes from a clock that cannot step back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b_10_one_of_many_gets_the_probe() {
    let millis = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::millis(1));
    let layer = BreakerLayer::new("b-10", millis);
    let handle = layer.handle();
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let calls = Arc::new(AtomicU32::new(0));
    let service = {
        let (down, calls) = (Arc::clone(&down), Arc::clone(&calls));
        ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(move |()| {
                calls.fetch_add(1, Ordering::Relaxed);
                let down = down.load(Ordering::Relaxed);
                async move {
                    if down {
                        return Err::<(), _>(BoxError::from("down"));
                    }
                    std::future::pending().await
                }
            }))
    };
    service.clone().oneshot(()).await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
    down.store(false, Ordering::Relaxed);
    calls.store(0, Ordering::Relaxed);
    // The wait of a millisecond, in real time: the race needs real threads.
    let over = mainstay::rt::now() + Duration::from_millis(2);
    while mainstay::rt::now() < over {
        std::hint::spin_loop();
    }
    let tasks: Vec<_> = (0..16)
        .map(|_| tokio::spawn(service.clone().oneshot(())))
        .collect();
    let mut refused = 0;
    while refused < 15 {
        tokio::task::yield_now().await;
        refused = tasks.iter().filter(|task| task.is_finished()).count();
    }
    assert_eq!((calls.load(Ordering::Relaxed), handle.probes()), (1, 1));
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn attempts(config: RetryConfig) -> (u32, Duration) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new("b-20", config))
        .service_fn(move |()| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), BoxError>("down".into()) }
        });
    let start = mainstay::rt::now();
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "down",
        "giving up returns the callee's own error"
    );
    (
        calls.load(Ordering::Relaxed),
        mainstay::rt::now().since(start),
    )
}

#[tokio::test(start_paused = true)]
async fn b_20_attempts_are_what_they_say() {
    assert_eq!(attempts(RetryConfig::new(Attempts::total(3))).await.0, 3);
    assert_eq!(attempts(RetryConfig::new(Attempts::retries(3))).await.0, 4);
    assert_eq!(
        attempts(RetryConfig::new(Attempts::NO_RETRY)).await,
        (1, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn b_21_the_first_delay_is_the_initial_one() {
    let ms = Duration::from_millis;
    let backoff = Backoff::exponential(ms(100), ms(5_000)).jitter(Jitter::None);
    let config = RetryConfig::new(Attempts::total(3)).backoff(backoff);
    assert_eq!(attempts(config).await.1, ms(100 + 200));
    let config = RetryConfig::new(Attempts::total(3)).backoff(backoff.first_exponent(1));
    assert_eq!(
        attempts(config).await.1,
        ms(200 + 400),
        "the other reading, when it is asked for"
    );
}

#[test]
fn b_22_the_cap_holds_after_the_jitter_and_nothing_overflows() {
    let mut rng = Rng::new(22);
    let max = Duration::from_secs(5);
    let backoff = Backoff::exponential(Duration::from_millis(100), max);
    let jitters = [
        Jitter::None,
        Jitter::Add(Ratio::ONE),
        Jitter::Scale {
            low: Ratio::percent(50),
            high: Ratio::ONE,
        },
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
    ];
    for jitter in jitters {
        for retry in [0, 1, 2, 6, 7, 64, 1_024, u32::MAX] {
            for _ in 0..100 {
                assert!(backoff.jitter(jitter).delay(retry, max, &mut rng) <= max);
            }
        }
    }
    let delay = backoff.jitter(Jitter::None).delay(u32::MAX, max, &mut rng);
    assert_eq!(delay, max, "an overflowing power lands on the cap");
    let zero = Backoff::exponential(Duration::ZERO, max).delay(u32::MAX, max, &mut rng);
    assert_eq!(zero, Duration::ZERO);
    let over = backoff.jitter(Jitter::Add(Ratio::ONE)).cap_first();
    assert!(
        (0..100).any(|_| over.delay(64, max, &mut rng) > max),
        "only when asked for"
    );
}

#[test]
fn b_23_every_growth_and_jitter_of_the_tables_is_there() {
    let mut rng = Rng::new(23);
    let secs = Duration::from_secs;
    let linear = synthetic::model_load().delays().jitter(Jitter::None);
    let delays: Vec<_> = (1..=7)
        .map(|n| linear.delay(n, secs(0), &mut rng))
        .collect();
    assert_eq!(delays, [5, 10, 15, 20, 25, 30, 30].map(secs));
    let constant = Backoff::constant(secs(2)).jitter(Jitter::None);
    assert_eq!(constant.delay(9, secs(0), &mut rng), secs(2));
    let halved = synthetic::training_job().delays();
    for _ in 0..1_000 {
        let delay = halved.delay(1, secs(0), &mut rng);
        assert!((secs(30)..=secs(60)).contains(&delay), "{delay:?}");
    }
}

/// Retry-After, the deadline, cancellation, own rejections and the budget are inputs of the policy.
#[tokio::test(start_paused = true)]
async fn b_24_the_policy_has_all_its_inputs() {
    let ms = Duration::from_millis;
    // Retry-After is never undercut, and one beyond patience ends the call.
    for (hint, took, calls) in [(7_000, 7_000, 2), (70_000, 0, 1)] {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let overloaded = move |_: Result<&(), &BoxError>| {
            counted.fetch_add(1, Ordering::Relaxed);
            Outcome::Overload {
                retry_after: Some(ms(hint)),
            }
        };
        let config = RetryConfig::new(Attempts::total(2));
        let layer = RetryLayer::new("b-24", config).classify(overloaded);
        let service = ServiceBuilder::new()
            .layer(layer)
            .service_fn(|()| async { Err::<(), BoxError>("busy".into()) });
        let start = mainstay::rt::now();
        service.oneshot(()).await.unwrap_err();
        let slept = mainstay::rt::now().since(start);
        // Chance adds up to a quarter of it, and takes nothing off.
        assert!(
            slept >= ms(took) && slept <= ms(took + took / 4 + 51),
            "{slept:?}"
        );
        assert_eq!(count.load(Ordering::Relaxed), calls);
    }
    // The deadline: no sleep that would cross it, and the callee's error instead.
    let backoff = Backoff::constant(ms(400)).jitter(Jitter::None);
    let config = RetryConfig::new(Attempts::total(100))
        .backoff(backoff)
        .without_budget();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let mut service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("b-24", Period::secs(1)))
        .layer(RetryLayer::new("b-24", config))
        .service_fn(move |()| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), BoxError>("down".into()) }
        });
    let start = mainstay::rt::now();
    let error = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), calls.load(Ordering::Relaxed)),
        ("down", 3)
    );
    assert_eq!(
        mainstay::rt::now().since(start),
        ms(800),
        "it gives up at once"
    );
    // Cancellation: a dropped call makes no further attempt.
    calls.store(0, Ordering::Relaxed);
    let dropped = service.ready().await.unwrap().call(());
    let _ = tokio::time::timeout(ms(100), dropped).await.unwrap_err();
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    // The budget: what a hundred calls may add.
    let budget = BudgetConfig::new(Ratio::percent(10)).per_second(0).burst(3);
    let config = RetryConfig::new(Attempts::total(4))
        .backoff(Backoff::constant(ms(0)))
        .budget(budget);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let layer = RetryLayer::new("b-24", config);
    let mut service = ServiceBuilder::new().layer(layer).service_fn(move |()| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err::<(), BoxError>("down".into()) }
    });
    for _ in 0..100 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
    }
    let attempts = calls.load(Ordering::Relaxed);
    assert!(
        (111..=113).contains(&attempts),
        "{attempts} attempts of 100 calls"
    );
    // An own open circuit ends the call at once, with what the callee said.
    let breaker = BreakerLayer::new("b-24", Trip::consecutive(1));
    let retry = RetryLayer::new("b-24", RetryConfig::new(Attempts::total(3)));
    let mut service = ServiceBuilder::new()
        .layer(retry)
        .layer(breaker)
        .service_fn(|()| async { Err::<(), BoxError>("down".into()) });
    let start = mainstay::rt::now();
    let error = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(error.to_string(), "down");
    assert!(
        mainstay::rt::now().since(start) <= ms(50),
        "one backoff, and none for the refusal"
    );
}

#[test]
fn compressing_divides_every_duration() {
    let by = NonZeroU32::new(20).unwrap();
    let mut breaker = opened(erp::breaker().compressed(by));
    let hint = breaker.admit(at(0)).verdict.unwrap_err().hint();
    assert_eq!(hint, Some(Duration::from_millis(1_500)));
    assert_eq!(
        erp::transient().compressed(by).delays().max(),
        Duration::from_millis(250)
    );
}
