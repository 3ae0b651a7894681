//! What only deadlines can be asked: when they end a call, and how the layers below count that.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay::breaker::{BreakerConfig, BreakerLayer, State};
use mainstay::context::{Call, Context as CallContext};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, LayerKind, Reason};
use mainstay::http::DeadlineHeader;
use mainstay::limit::adaptive::AdaptiveConfig;
use mainstay::num::{Attempts, Period, count};
use mainstay::retry::RetryConfig;
use mainstay::rt;
use mainstay::scope::{CallLayer, Scope};
use mainstay::standard::Stack;
use mainstay_test_support::allocations;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, Req, bell, request};

const LIMIT: Period = Period::secs(2);

fn once(deadline: Period, attempt: Period) -> Stack {
    Stack::standard("contract")
        .deadline(deadline)
        .attempt_timeout(attempt)
        .limit(AdaptiveConfig::new().start(count(1_000)))
        .retry(RetryConfig::new(Attempts::NO_RETRY))
        // All of them at once: no test here is about the limit.
        .limit(AdaptiveConfig::new().start(count(1_000)))
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_its_waker_is_rung_for_it() {
    let probe = Probe::new(Mode::Hang);
    let mut service = DeadlineLayer::new("contract", LIMIT).layer(probe.clone());
    let began = rt::now();
    let (bell, waker) = bell();
    let mut call = pin!(start(&mut service).await);
    assert!(
        call.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    tokio::time::sleep(Duration::from_millis(1_990)).await;
    assert_eq!(bell.rung(), 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bell.rung(), 1);
    let refused = call.await.unwrap_err();
    let rejected = refused.as_rejected().unwrap();
    assert_eq!(
        (rejected.layer(), rejected.reason()),
        (LayerKind::Deadline, Reason::DeadlineExceeded)
    );
    assert!(rt::now().since(began) < Duration::from_millis(2_020));
    assert_eq!(probe.in_flight(), 0, "the call was dropped");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_a_failure_and_no_refusal() {
    let probe = Probe::new(Mode::Hang);
    let service = TimeoutLayer::new("contract", LIMIT).layer(probe.clone());
    let error = service.oneshot(request()).await.unwrap_err();
    assert!(matches!(error, Fault::TimedOut(after) if after.after() == LIMIT.get()));
    assert_eq!(probe.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn work_whose_time_is_over_is_not_started() {
    let probe = Probe::new(Mode::Answer);
    let service = ServiceBuilder::new()
        .layer(CallLayer::new())
        .layer(DeadlineLayer::new("contract", LIMIT))
        .service(probe.clone());
    for deadline in [rt::now(), rt::now().back(Duration::from_secs(9))] {
        let call = Call::new(request()).within(CallContext::new().deadline(deadline));
        let refused = service.clone().oneshot(call).await.unwrap_err();
        assert!(refused.as_rejected().unwrap().is_untried());
    }
    assert_eq!(probe.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_get_ready_is_refused_in_time() {
    let probe = Probe::new(Mode::Answer);
    probe.set_ready(false);
    let mut service = DeadlineLayer::new("contract", LIMIT).layer(probe.clone());
    let began = rt::now();
    let refused = start(&mut service).await.await.unwrap_err();
    assert!(refused.as_rejected().is_some());
    assert_eq!(rt::now().since(began).as_secs(), 2);
    assert_eq!((probe.calls(), probe.uninvited()), (0, 0));
    // The next caller waits anew, and one that gave up waiting leaves no trace.
    for patience in [Duration::from_secs(1), Duration::from_millis(10)] {
        let early = tokio::time::timeout(patience, start(&mut service)).await;
        assert!(early.is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let began = rt::now();
    assert!(start(&mut service).await.await.is_err());
    assert_eq!(rt::now().since(began).as_secs(), 2);
    probe.set_ready(true);
    assert!(start(&mut service).await.await.is_ok());
    assert_eq!((probe.calls(), probe.uninvited()), (1, 0));
}

/// What comes in from outside only shortens, and what cannot be read says nothing.
#[tokio::test(start_paused = true)]
async fn no_header_extends_or_breaks_a_deadline() {
    for (header, values) in [
        (
            DeadlineHeader::grpc(),
            ["99999999H", "99999999n9", "-1S", "", "1", "S"],
        ),
        (
            DeadlineHeader::default(),
            [
                "999999999999999",
                "99999999999999999999",
                "-1",
                "",
                "1.5",
                "1s",
            ],
        ),
    ] {
        for value in values {
            let service = ServiceBuilder::new()
                .layer(header.clone().honour())
                .layer(DeadlineLayer::new("contract", LIMIT))
                .layer(header.clone().carry())
                .service(Probe::new(Mode::Hang));
            let mut late = request();
            for name in ["grpc-timeout", "x-request-timeout-ms"] {
                late.headers_mut().insert(name, value.parse().unwrap());
            }
            let began = rt::now();
            assert!(service.oneshot(late).await.is_err());
            assert_eq!(rt::now().since(began).as_secs(), 2, "{value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_nearest_deadline_holds_and_the_farther_one_does_not_extend_it() {
    for (outer, inner) in [(1, 5), (5, 1)] {
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new("outer", Period::secs(outer)))
            .layer(DeadlineLayer::new("inner", Period::secs(inner)))
            .service(Probe::new(Mode::Hang));
        let start = rt::now();
        assert!(service.oneshot(request()).await.is_err());
        assert_eq!(rt::now().since(start).as_secs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_deadline_there_is_does_not_overflow() {
    let forever = Period::new("limit", Duration::from_nanos(u64::MAX)).unwrap();
    let stack = once(forever, forever);
    let mut service = stack.service(Probe::new(Mode::PendOnce));
    let mut call = pin!(start(&mut service).await);
    assert!(poll(&mut call).is_pending());
    assert!(poll(&mut call).is_ready());
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_stacks_own_deadline_cuts_off_trip_the_breaker() {
    let stack = once(LIMIT, Period::secs(60));
    let service = stack.service(Probe::new(Mode::Hang));
    hang(service, 200).await;
    assert_eq!(stack.handle().breaker().state(), State::Open);
    assert_eq!(stack.handle().breaker().openings(), 1);

    // Without an attempt timeout between them, only the drop tells the breaker.
    let breaker = BreakerLayer::new("contract", BreakerConfig::default());
    let handle = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("contract", LIMIT))
        .layer(breaker)
        .service(Probe::new(Mode::Hang));
    hang(service, 200).await;
    assert_eq!((handle.state(), handle.openings()), (State::Open, 1));
}

/// So many calls at once that nobody answers.
async fn hang<S>(service: S, calls: usize)
where
    S: Service<Req, Error = Fault, Response: Send, Future: Send> + Clone + Send + 'static,
{
    let calls: Vec<_> = (0..calls)
        .map(|_| tokio::spawn(service.clone().oneshot(request())))
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_caller_drops_early_do_not() {
    let stack = once(LIMIT, Period::secs(60));
    let service = stack.service(Probe::new(Mode::Hang));
    for _ in 0..200 {
        let call = service.clone().oneshot(request());
        let early = tokio::time::timeout(Duration::from_millis(10), call).await;
        assert!(early.is_err());
    }
    assert_eq!(stack.handle().breaker().openings(), 0);
    assert_eq!(stack.handle().breaker().failures(), 0);
}

/// A caller with a timeout of its own, equal to the deadline: who is first must not matter.
#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_at_the_deadline_count() {
    let stack = once(LIMIT, Period::secs(60));
    let service = stack.service(Probe::new(Mode::Hang));
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move {
                let mut call = Box::pin(start(&mut service).await);
                assert!(poll(&mut call).is_pending());
                tokio::time::sleep(LIMIT.get()).await;
                drop(call);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

async fn greedy() -> Result<(), Fault> {
    loop {
        tokio::task::consume_budget().await;
    }
}

/// A callee that is never pending for long: each poll uses up what the runtime grants a task.
#[tokio::test(start_paused = true)]
async fn a_callee_that_uses_up_its_tasks_budget_does_not_hold_the_deadline_off() {
    let service = DeadlineLayer::new("contract", LIMIT).layer(tower::service_fn(|(): ()| greedy()));
    let call = tokio::spawn(service.oneshot(()));
    // The clock does not advance by itself while a task is busy.
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert!(call.is_finished());
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_allocates_nothing() {
    let mut service = DeadlineLayer::new("contract", LIMIT).layer(Probe::new(Mode::Answer));
    let over = Scope::current().until(rt::now());
    let refuse = |service: &mut _, request| {
        let service: &mut mainstay::deadline::DeadlineService<Probe, _> = service;
        let mut call = pin!(over.enter(|| service.call(request)));
        matches!(poll(&mut call), Poll::Ready(Err(Fault::Rejected(_))))
    };
    assert!(refuse(&mut service, request()));
    let again = request();
    let (allocated, refused) = allocations(|| refuse(&mut service, again));
    assert!(refused);
    assert_eq!(allocated, 0);
}
