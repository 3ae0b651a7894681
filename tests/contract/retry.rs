//! What only a retry can be asked: its waits, its clones, its budget.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mainstay::breaker::{BreakerLayer, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::error::AsRejected;
use mainstay::http::ReplayRequest;
use mainstay::num::{Attempts, Period, Ratio};
use mainstay::outcome::Outcome;
use mainstay::retry::{Backoff, BudgetConfig, Jitter, Replay, RetryConfig, RetryLayer};
use mainstay::rt;
use mainstay::scope::Scope;
use tower::{Layer, ServiceExt};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, bell, request};

const DELAY: Duration = Duration::from_secs(1);

fn config() -> RetryConfig {
    let backoff = Backoff::exponential(DELAY, DELAY).jitter(Jitter::None);
    RetryConfig::new(Attempts::total(3)).backoff(backoff)
}

fn layer() -> RetryLayer {
    RetryLayer::new("contract", config())
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_left_at_once_when_the_call_is_dropped() {
    let probe = Probe::new(Mode::Fail(1));
    let mut service = layer().layer(probe.clone());
    let owners = probe.owners();
    {
        let mut call = pin!(start(&mut service).await);
        for _ in 0..10 {
            assert!(poll(&mut call).is_pending(), "it waits");
        }
        assert_eq!(probe.calls(), 1, "polls in the wait try nothing");
    }
    assert_eq!((probe.in_flight(), probe.owners()), (0, owners));
    tokio::time::sleep(DELAY * 10).await;
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_its_clone_to_be_ready() {
    for dropped in [false, true] {
        let probe = Probe::new(Mode::Fail(1));
        let mut service = layer().layer(probe.clone());
        let owners = probe.owners();
        let mut call = Box::pin(start(&mut service).await);
        assert!(poll(&mut call).is_pending());
        probe.set_ready(false);
        tokio::time::sleep(DELAY * 2).await;
        let (bell, waker) = bell();
        assert!(
            call.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        assert_eq!(probe.calls(), 1, "it waits to be ready");
        if dropped {
            drop(call);
            probe.set_ready(true);
            tokio::time::sleep(DELAY * 10).await;
            assert_eq!((probe.calls(), probe.owners()), (1, owners));
        } else {
            probe.set(Mode::Answer);
            probe.set_ready(true);
            assert_eq!(bell.rung(), 1);
            assert!(call.await.is_ok());
            assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_later_attempt_does_no_harm() {
    let probe = Probe::new(Mode::Fail(1));
    let service = layer().layer(probe.clone());
    let owners = probe.owners();
    let call = tokio::spawn(service.clone().oneshot(request()));
    tokio::time::sleep(DELAY / 2).await;
    probe.set(Mode::PanicInCall);
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!((probe.in_flight(), probe.owners()), (0, owners));
    probe.set(Mode::Answer);
    assert!(service.oneshot(request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_attempt_knows_its_number_and_the_deadline_it_has_left() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = std::sync::Arc::clone(&seen);
    let inner = tower::service_fn(move |(): ()| {
        let scope = Scope::current();
        note.lock().unwrap().push(scope.attempt_number());
        async move {
            tokio::task::yield_now().await;
            assert_eq!(Scope::current(), scope, "across an await");
            Err::<(), _>(Fault::Callee(1))
        }
    });
    let service = DeadlineLayer::new("contract", Period::secs(60)).layer(layer().layer(inner));
    assert!(service.oneshot(()).await.is_err());
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_waited_for_that_would_start_at_the_deadline() {
    for (limit, calls) in [(Period::secs(1), 1), (Period::millis(1_500), 2)] {
        let probe = Probe::new(Mode::Fail(4));
        let service = DeadlineLayer::new("contract", limit).layer(layer().layer(probe.clone()));
        let start = rt::now();
        let error = service.oneshot(request()).await.unwrap_err();
        assert_eq!(error, Fault::Callee(4), "the callee's own answer");
        assert_eq!(probe.calls(), calls);
        assert!(rt::now().since(start) < limit.get());
    }
}

/// A runtime that was held up wakes the wait late: beyond the deadline no attempt starts any more.
#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_late_starts_nothing() {
    let probe = Probe::new(Mode::Fail(4));
    let limit = Period::millis(1_500);
    let mut service = DeadlineLayer::new("contract", limit).layer(layer().layer(probe.clone()));
    let mut call = pin!(start(&mut service).await);
    assert!(poll(&mut call).is_pending());
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(call.await.unwrap_err(), Fault::Callee(4));
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_never_undercut_and_the_longest_one_ends_the_call() {
    for (hint, waited, calls) in [
        (Duration::from_secs(7), Duration::from_secs(14), 3),
        (Duration::MAX, Duration::ZERO, 1),
    ] {
        let probe = Probe::new(Mode::Fail(4));
        let layer =
            layer().classify(
                move |_: Result<&http::Response<_>, &Fault>| Outcome::Overload {
                    retry_after: Some(hint),
                },
            );
        let start = rt::now();
        assert!(layer.layer(probe.clone()).oneshot(request()).await.is_err());
        assert_eq!((probe.calls(), rt::now().since(start)), (calls, waited));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_waits_for_any_hint_does_not_overflow() {
    let config = config().longest_hint(Duration::MAX);
    let layer =
        RetryLayer::new("contract", config).classify(|_: Result<&http::Response<_>, &Fault>| {
            Outcome::Overload {
                retry_after: Some(Duration::MAX),
            }
        });
    let mut service = layer.layer(Probe::new(Mode::Fail(1)));
    let mut call = pin!(start(&mut service).await);
    assert!(poll(&mut call).is_pending(), "it waits, for ever");
}

#[tokio::test(start_paused = true)]
async fn the_budget_binds_all_services_of_a_layer_together() {
    let budget = BudgetConfig::new(Ratio::percent(20))
        .per_second(0)
        .burst(10);
    let layer = RetryLayer::new("contract", config().budget(budget));
    let probe = Probe::new(Mode::Fail(1));
    let calls: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(layer.clone().layer(probe.clone()).oneshot(request())))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err(), Fault::Callee(1));
    }
    let retries = layer.handle().retries();
    assert!((200..=210).contains(&retries), "{retries} retries");
    assert_eq!(u64::from(probe.calls()), 1_000 + retries);
}

/// The budget refuses after the request was made again: the attempt under way keeps its body.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_made_again_and_not_sent_takes_nothing_away() {
    let request = |text: &'static str| {
        let chunks = [text, text]
            .map(|text| Ok::<_, tower::BoxError>(Frame::data(bytes::Bytes::from(text))));
        http::Request::put("/").body(StreamBody::new(tokio_stream::iter(chunks)))
    };
    let replay = ReplayRequest::new(1024);
    let (first, kept) = replay.first(request("half").unwrap());
    let (mut first, mut kept) = (first.into_body(), kept.unwrap());
    assert!(first.frame().await.unwrap().is_ok());
    let again = replay.again(&mut kept).unwrap();
    assert!(first.frame().await.unwrap().is_ok(), "not sent yet");
    let whole = again.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(whole, "halfhalf");
    assert!(first.frame().await.unwrap().is_err(), "another has it now");
}

/// While the next attempt waits, the one before reads on until the body is too long to be kept: what is left of it must
/// not be sent as if it were all.
#[tokio::test(start_paused = true)]
async fn a_request_made_again_before_its_body_was_lost_is_not_sent_in_part() {
    let chunks =
        ["a", "b", "c"].map(|text| Ok::<_, tower::BoxError>(Frame::data(bytes::Bytes::from(text))));
    let body = StreamBody::new(tokio_stream::iter(chunks));
    let replay = ReplayRequest::new(1);
    let (first, kept) = replay.first(http::Request::put("/").body(body).unwrap());
    let (mut first, mut kept) = (first.into_body(), kept.unwrap());
    assert!(first.frame().await.unwrap().is_ok());
    let again = replay.again(&mut kept).unwrap();
    assert!(first.frame().await.unwrap().is_ok(), "beyond the bound");
    assert!(replay.again(&mut kept).is_none());
    assert!(again.into_body().collect().await.is_err());
}

/// A broken call learns that it is broken, and not that the circuit which it opened itself is open.
#[tokio::test(start_paused = true)]
async fn a_refused_retry_returns_the_callees_last_word() {
    let breaker = BreakerLayer::new("contract", Trip::consecutive(2));
    let probe = Probe::new(Mode::Fail(1));
    let layer = layer();
    let service = layer.clone().layer(breaker.layer(probe.clone()));
    let broken = service.oneshot(request()).await.unwrap_err();
    assert_eq!(broken, Fault::Callee(1));
    assert_eq!(probe.calls(), 2, "the third was refused");
    assert_eq!(
        (layer.handle().retries(), layer.handle().given_up()),
        (2, 1)
    );
}

/// What a saga asks before it says that a step had no effect.
#[tokio::test(start_paused = true)]
async fn a_refusal_tells_whether_an_attempt_was_sent_before() {
    let breaker = BreakerLayer::new("contract", Trip::consecutive(1));
    let probe = Probe::new(Mode::Fail(1));
    let service = layer().layer(breaker.layer(probe.clone()));
    let second = service.clone().oneshot(request()).await.unwrap_err();
    assert_eq!(second, Fault::Callee(1));
    let first = service.oneshot(request()).await.unwrap_err();
    assert!(first.as_rejected().unwrap().is_untried(), "{first}");
    assert_eq!(probe.calls(), 1);

    let probe = Probe::new(Mode::Fail(1));
    let slow = layer().layer(probe.clone());
    let cut = DeadlineLayer::new("contract", Period::millis(1_200)).layer(slow);
    let cut = tokio::spawn(cut.oneshot(request()));
    tokio::time::sleep(DELAY / 2).await;
    probe.set(Mode::Hang);
    let cut = cut.await.unwrap().unwrap_err();
    assert!(!cut.as_rejected().unwrap().is_untried(), "{cut}");
}
