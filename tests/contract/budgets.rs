//! Budgets in layers: what a call holds of them comes back whichever way it ends, and settings change under way.

use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use mainstay::grpc;
use mainstay::num::{Attempts, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{
    Backoff, BudgetConfig, ConcurrencyBudget, Jitter, QuotaBudget, RatioBudget, RetryConfig,
    RetryLayer, SharedBudget, ThrottleBudget,
};
use mainstay::rng::Rng;
use mainstay::rt;
use mainstay_test_support::allocations;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::checks::{poll, start};
use super::probe::{Mode, Probe, Req, request};

const DELAY: Duration = Duration::from_secs(1);

fn config(attempts: u32) -> RetryConfig {
    let backoff = Backoff::constant(DELAY).jitter(Jitter::None);
    RetryConfig::new(Attempts::total(attempts)).backoff(backoff)
}

/// A call of a service that is ready at once.
fn call<S: Service<Req>>(service: &mut S) -> S::Future {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    service.call(request())
}

fn three_in_flight() -> BudgetConfig {
    ConcurrencyBudget::new(Ratio::ZERO).minimum(3).into()
}

/// Every way in which a call can end, in any order, and then all places are free.
#[tokio::test(start_paused = true)]
async fn places_come_back_after_any_mix_of_ends() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let share = ConcurrencyBudget::new(Ratio::percent(50)).minimum(2);
        let share = if seed % 2 == 0 { share } else { share.of_all() };
        let layer = RetryLayer::new("contract", config(4).budget(share.into()));
        let handle = layer.handle();
        let probe = Probe::new(Mode::Answer);
        let mut service = layer.layer(probe.clone());
        let idle = handle.tokens().unwrap();
        let mut calls: Vec<Pin<Box<_>>> = Vec::new();
        for _ in 0..300 {
            let modes = [
                Mode::Answer,
                Mode::PendOnce,
                Mode::Hang,
                Mode::Fail(1),
                Mode::Fail(2),
                Mode::PanicInCall,
                Mode::PanicInPoll,
            ];
            let mode = modes[(rng.next_u64() % 7) as usize];
            probe.set(mode);
            let drawn = rng.next_u64();
            let which = usize::try_from(rng.next_u64() >> 33).unwrap() % calls.len().max(1);
            match drawn % 4 {
                0 if calls.len() < 20 => {
                    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        Box::pin(call(&mut service))
                    }));
                    calls.extend(made.ok());
                }
                1 if !calls.is_empty() => drop(calls.swap_remove(which)),
                2 if !calls.is_empty() => {
                    let call = &mut calls[which];
                    let polled =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(call)));
                    if !matches!(polled, Ok(std::task::Poll::Pending)) {
                        drop(calls.swap_remove(which));
                    }
                }
                3 => tokio::time::advance(DELAY / 3).await,
                _ => {}
            }
            if drawn.is_multiple_of(37) {
                // Settings of the same kind while calls are under way.
                handle.reload(config(3).budget(share.into()));
            }
        }
        calls.clear();
        assert_eq!(handle.tokens(), Some(idle), "seed {seed}: {handle:?}");
        assert_eq!(probe.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_from_the_decision_to_the_end_of_the_retry() {
    let layer = RetryLayer::new("contract", config(2).budget(three_in_flight()));
    let handle = layer.handle();
    let probe = Probe::new(Mode::Fail(1));
    let mut service = layer.layer(probe.clone());
    let mut waiting = Vec::new();
    for left in [2.0, 1.0, 0.0] {
        let mut call = Box::pin(start(&mut service).await);
        assert!(poll(&mut call).is_pending());
        assert_eq!(handle.tokens(), Some(left));
        waiting.push(call);
    }
    assert!(service.clone().oneshot(request()).await.is_err());
    assert_eq!(probe.calls(), 4, "a fourth may not wait");
    waiting.pop();
    assert_eq!(handle.tokens(), Some(1.0), "dropped in its wait");
    tokio::time::sleep(DELAY * 2).await;
    probe.set(Mode::Hang);
    assert!(poll(&mut waiting[0]).is_pending());
    assert_eq!(handle.tokens(), Some(1.0), "on its second attempt");
    probe.release();
    assert!(waiting.remove(0).await.is_ok());
    assert_eq!(handle.tokens(), Some(2.0));
}

/// What the last retry cost is carried by its call: other calls between do not mix it up.
#[tokio::test(start_paused = true)]
async fn each_call_gives_back_what_its_own_last_retry_cost() {
    let quota = QuotaBudget::new(100).transient(14).throttling(5);
    let layer = RetryLayer::new("contract", config(5).budget(quota.into()));
    let handle = layer.handle();
    let kinds = layer.classify(
        |result: Result<&http::Response<super::probe::Text>, &super::probe::Fault>| match result {
            Ok(_) => Outcome::Success,
            Err(super::probe::Fault::Callee(429)) => Outcome::Overload { retry_after: None },
            Err(_) => Outcome::Failure(Failure::Error),
        },
    );
    let probe = Probe::new(Mode::Fail(1));
    let mut service = kinds.layer(probe.clone());
    let mut dear = Box::pin(start(&mut service).await);
    assert!(poll(&mut dear).is_pending());
    probe.set(Mode::Fail(429));
    let mut cheap = Box::pin(start(&mut service).await);
    assert!(poll(&mut cheap).is_pending());
    assert_eq!(handle.tokens(), Some(81.0));
    // The dear one is throttled now, so it gives back 5 and not 14.
    tokio::time::advance(DELAY).await;
    assert!(poll(&mut dear).is_pending());
    assert_eq!(handle.tokens(), Some(76.0));
    probe.set(Mode::Answer);
    assert!(cheap.await.is_ok());
    assert_eq!(handle.tokens(), Some(81.0));
    assert!(dear.await.is_ok());
    assert_eq!(handle.tokens(), Some(86.0));
    for _ in 0..20 {
        assert!(call(&mut service).await.is_ok());
    }
    assert_eq!(
        handle.tokens(),
        Some(100.0),
        "a bonus for each, and no more than there can be"
    );
}

/// Calls that fail at their last attempt, or are no longer retried, count against a throttle all the same.
#[tokio::test(start_paused = true)]
async fn a_throttle_counts_every_failed_attempt_once() {
    let throttle = ThrottleBudget::new(10, Ratio::percent(50));
    let layer = RetryLayer::new("contract", config(2).budget(throttle.into()));
    let handle = layer.handle();
    let probe = Probe::new(Mode::Fail(1));
    let mut service = layer.layer(probe.clone());
    for left in [8.0, 6.0, 5.0, 4.0] {
        let call = start(&mut service).await;
        assert!(call.await.is_err());
        assert_eq!(handle.tokens(), Some(left));
    }
    probe.set(Mode::Answer);
    for _ in 0..4 {
        assert!(start(&mut service).await.await.is_ok());
    }
    assert_eq!(handle.tokens(), Some(6.0));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_forgets_does() {
    let budget = RatioBudget::new(Ratio::ONE)
        .per_second(0)
        .ttl(Period::secs(10));
    let layer = RetryLayer::new("contract", config(2).budget(budget.into()));
    let probe = Probe::new(Mode::Answer);
    let service = layer.layer(probe.clone());
    for _ in 0..7 {
        assert!(service.clone().oneshot(request()).await.is_ok());
    }
    assert_eq!(layer.handle().tokens(), Some(7.0));
    tokio::time::advance(Duration::from_secs(60 * 24 * 3600)).await;
    assert_eq!(layer.handle().tokens(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_from_the_next_failure_on_and_keep_the_tokens() {
    let quota = QuotaBudget::new(100);
    let layer = RetryLayer::new("contract", config(5).budget(quota.into()));
    let handle = layer.handle();
    let probe = Probe::new(Mode::Fail(1));
    let mut service = layer.layer(probe.clone());
    let mut call = pin!(start(&mut service).await);
    assert!(poll(&mut call).is_pending());
    let begun = rt::now();
    // It waits as it was told, and then has no attempt left.
    let shorter = RetryConfig::new(Attempts::total(2)).budget(QuotaBudget::new(50).into());
    handle.reload(shorter);
    assert_eq!((handle.config(), handle.tokens()), (shorter, Some(50.0)));
    assert!(call.await.is_err());
    assert_eq!((probe.calls(), rt::now().since(begun)), (2, DELAY));
    handle.reload(shorter.budget(QuotaBudget::new(200).into()));
    assert_eq!(
        handle.tokens(),
        Some(50.0),
        "the same kind keeps what is there"
    );
    handle.reload(shorter.budget(three_in_flight()));
    assert_eq!(handle.tokens(), Some(3.0), "another kind starts anew");
    handle.reload(shorter.without_budget());
    assert_eq!(handle.tokens(), None);
    handle.reload(shorter.budget(QuotaBudget::new(200).into()));
    assert_eq!(handle.tokens(), Some(200.0));
    assert_eq!(
        (handle.retries(), handle.given_up()),
        (1, 1),
        "counts go on"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_of_before_a_reload_give_nothing_to_the_budget_after_it() {
    let layer = RetryLayer::new("contract", config(3).budget(three_in_flight()));
    let handle = layer.handle();
    let mut service = layer.layer(Probe::new(Mode::Fail(1)));
    for reload in [true, false] {
        let mut calls = Vec::new();
        for _ in 0..3 {
            let mut call = Box::pin(start(&mut service).await);
            assert!(poll(&mut call).is_pending());
            calls.push(call);
        }
        assert_eq!(handle.tokens(), Some(0.0));
        if reload {
            handle.reload(config(3).without_budget());
            handle.reload(config(3).budget(three_in_flight()));
            assert_eq!(handle.tokens(), Some(3.0));
            let mut held = Box::pin(start(&mut service).await);
            assert!(poll(&mut held).is_pending());
            calls.clear();
            assert_eq!(
                handle.tokens(),
                Some(2.0),
                "their places are of another budget"
            );
        }
    }
    assert_eq!(handle.tokens(), Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_shared_budget_is_reloaded_by_itself_and_for_all() {
    let budget = SharedBudget::new(BudgetConfig::aws());
    let one = RetryLayer::new("one", config(2)).shared_budget(&budget);
    let two = RetryLayer::new("two", config(2)).shared_budget(&budget);
    one.handle().reload(config(2).without_budget());
    assert_eq!(
        one.handle().tokens(),
        Some(500.0),
        "the policy's own does not matter"
    );
    budget.reload(QuotaBudget::new(20));
    assert_eq!(
        (one.handle().tokens(), two.handle().tokens()),
        (Some(20.0), Some(20.0))
    );
    let down = |layer: RetryLayer| {
        let down = service_fn(|()| async { Err::<(), BoxError>("down".into()) });
        layer.layer(down).oneshot(())
    };
    assert!(down(one.clone()).await.is_err());
    assert!(down(two.clone()).await.is_err());
    assert_eq!(
        (one.handle().retries(), two.handle().retries()),
        (1, 0),
        "6 of 14 are left"
    );
    assert_eq!(budget.config(), QuotaBudget::new(20).into());
}

/// Failing costs no memory either: not the retry, not its wait, not giving up.
#[tokio::test(start_paused = true)]
async fn retries_and_their_refusal_allocate_nothing() {
    let none = BudgetConfig::new(Ratio::ZERO).per_second(0).burst(0);
    let budgets = [
        BudgetConfig::default(),
        BudgetConfig::aws(),
        three_in_flight(),
        ThrottleBudget::new(100, Ratio::ONE).into(),
        none,
    ];
    for budget in budgets {
        let layer = RetryLayer::new("contract", config(2).budget(budget));
        let mut service = layer.layer(Probe::new(Mode::Fail(1)));
        for round in 0..2 {
            let mut call = Box::pin(call(&mut service));
            let (first, pending) = allocations(|| poll(&mut call).is_pending());
            assert_eq!(pending, budget != none);
            tokio::time::advance(DELAY).await;
            let (then, _) = allocations(|| pending && poll(&mut call).is_pending());
            // The first round makes the labels.
            assert!(
                round == 0 || (first, then) == (0, 0),
                "{budget:?}: {first} and {then}"
            );
        }
    }
}

/// gRPC's pushback through the layer: exactly then, or never, and a success with one is a success.
#[tokio::test(start_paused = true)]
async fn pushback_is_obeyed_to_the_millisecond() {
    let turns = [
        ("14", Some("70"), 70),
        ("14", Some("0"), 0),
        ("8", None, 1_000),
        ("14", Some("-1"), 0),
    ];
    for end in [turns.len(), 1] {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let made = std::sync::Arc::clone(&calls);
        let callee = service_fn(move |_: http::Request<()>| {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (status, pushback, _) = turns[number];
            let status = if number == end { "0" } else { status };
            let mut answer = http::Response::builder().header("grpc-status", status);
            if let Some(pushback) = pushback {
                answer = answer.header("grpc-retry-pushback-ms", pushback);
            }
            async { Ok::<_, BoxError>(answer.body(()).unwrap()) }
        });
        let service = RetryLayer::new("contract", config(10))
            .classify(grpc::ByStatus)
            .refuse_with(grpc::AsResponse)
            .layer(callee);
        let begun = rt::now();
        let answer = service.oneshot(http::Request::new(())).await.unwrap();
        let waited: u64 = turns.iter().take(end).map(|(_, _, wait)| wait).sum();
        assert_eq!(rt::now().since(begun), Duration::from_millis(waited));
        let last = end.min(turns.len() - 1);
        assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), last + 1);
        let pushback = turns[last].1.unwrap();
        assert_eq!(
            answer.headers()["grpc-retry-pushback-ms"],
            pushback,
            "the callee's word"
        );
    }
}
