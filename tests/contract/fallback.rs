//! What only a fallback can be asked: for what it answers, with what, how many at a time, and until when.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mainstay::breaker::{BreakerLayer, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::error::{AsRejected, LayerKind, Reason, Rejected};
use mainstay::fallback::{
    Ending, FallbackConfig, FallbackHandle, FallbackLayer, Outcomes, Primary,
};
use mainstay::http::{AsResponse, ByStatus, ReplayBody, ReplayRequest};
use mainstay::num::{Attempts, Period, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{CloneRequest, RetryConfig, RetryLayer};
use mainstay::rt;
use mainstay::scope::Scope;
use mainstay_test_support::allocations;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, Text, bell, request};

const DOWN: Fault = Fault::Callee(1);

/// Everything that can be answered for.
fn all() -> FallbackConfig {
    FallbackConfig::new(Outcomes::NONE.failures().overload().refusals())
}

fn counts(handle: &FallbackHandle) -> Vec<(&'static str, u64)> {
    let endings = [
        Ending::Abandoned,
        Ending::Failed,
        Ending::Full,
        Ending::Late,
        Ending::NoRequest,
        Ending::Served,
    ];
    endings
        .into_iter()
        .map(|ending| (ending.as_str(), handle.count(ending)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// A request that cannot be copied, and a callee that always fails.
struct Precious;

/// A value and a function need nothing of the request, so the request need not be `Clone`.
#[tokio::test]
async fn a_value_answers_without_the_request() {
    let layer = FallbackLayer::value("contract", all(), "stale");
    let service = layer.layer(service_fn(|_: Precious| async { Err::<&str, _>(DOWN) }));
    assert_eq!(service.oneshot(Precious).await, Ok("stale"));
    assert_eq!(counts(&layer.handle()), [("served", 1)]);
}

#[tokio::test]
async fn a_function_answers_from_what_was_kept_and_sees_how_the_call_ended() {
    fn answer(key: u32, primary: Primary<'_, u32, Fault>) -> Result<u32, Fault> {
        assert_eq!(primary.result(), Err(&Fault::Callee(key)));
        assert_eq!(primary.outcome(), Outcome::Failure(Failure::Error));
        assert_eq!(primary.rejected(), None);
        if key == 1 {
            Ok(100)
        } else {
            Err(Fault::Callee(99))
        }
    }
    let layer = FallbackLayer::function("contract", all(), answer)
        .keep(|request: &(u32, Precious)| request.0);
    let service = layer.layer(service_fn(|(key, _): (u32, Precious)| async move {
        Err::<u32, _>(Fault::Callee(key))
    }));
    assert_eq!(service.clone().oneshot((1, Precious)).await, Ok(100));
    let own = service.oneshot((2, Precious)).await;
    assert_eq!(own, Err(Fault::Callee(2)), "not the function's own error");
    assert_eq!(counts(&layer.handle()), [("failed", 1), ("served", 1)]);
}

/// Rule 1, by outcome.
#[tokio::test]
async fn only_stated_outcomes_are_answered_for() {
    let overload = Outcome::Overload { retry_after: None };
    let outcomes = [
        Outcome::Success,
        Outcome::Ignored,
        overload,
        Outcome::Failure(Failure::Error),
        Outcome::Failure(Failure::Timeout),
        Outcome::Failure(Failure::Unavailable),
    ];
    let sets = [
        Outcomes::NONE,
        Outcomes::NONE.overload(),
        Outcomes::NONE.failures(),
        Outcomes::NONE.failure(Failure::Timeout),
        Outcomes::NONE.failures().overload().refusals(),
    ];
    for set in sets {
        for outcome in outcomes {
            let layer = FallbackLayer::value("contract", set, 1)
                .classify(move |_: Result<&i32, &Fault>| outcome);
            let service = layer.layer(service_fn(|(): ()| async { Err::<i32, _>(DOWN) }));
            let answered = service.oneshot(()).await.is_ok();
            assert_eq!(answered, set.contains(outcome, None), "{set:?} {outcome:?}");
        }
    }
}

/// Rule 1, by reason, as an error and as a response.
#[tokio::test]
async fn a_refusal_is_answered_for_by_its_reason() {
    let reasons = [
        Reason::CircuitOpen,
        Reason::RateLimit,
        Reason::DeadlineExceeded,
    ];
    for stated in reasons {
        for reason in reasons {
            let rejected = Rejected::new(LayerKind::Breaker, reason);
            let set = Outcomes::NONE.refusal(stated);
            let as_error = FallbackLayer::value("contract", set, 1);
            let service = as_error.layer(service_fn(move |(): ()| async move {
                Err::<i32, _>(Fault::Rejected(rejected))
            }));
            assert_eq!(service.oneshot(()).await.is_ok(), stated == reason);

            let stale = Response::new(String::from("stale"));
            let as_response = FallbackLayer::value("contract", set, stale)
                .classify(ByStatus)
                .refuse_with(AsResponse);
            let service = as_response.layer(service_fn(move |(): ()| async move {
                let mut refused = Response::new(String::from("refused"));
                *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                refused.extensions_mut().insert(rejected);
                Ok::<_, std::convert::Infallible>(refused)
            }));
            let body = service.oneshot(()).await.unwrap().into_body();
            assert_eq!(body == "stale", stated == reason, "{stated:?} {reason:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_below_is_answered_for_and_the_callee_is_left_alone() {
    let breaker = BreakerLayer::new("contract", Trip::consecutive(1));
    let probe = Probe::new(Mode::Fail(1));
    let hint = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&hint);
    let layer = FallbackLayer::function(
        "contract",
        Outcomes::NONE.refusal(Reason::CircuitOpen),
        move |(), primary: Primary<'_, Response<Text>, Fault>| {
            *seen.lock().unwrap() = primary.rejected().and_then(|rejected| rejected.hint());
            Ok::<_, Fault>(Response::default())
        },
    );
    let service = layer.layer(breaker.layer(probe.clone()));
    let failed = service.clone().oneshot(request()).await;
    assert_eq!(failed.err(), Some(DOWN), "a failure is not stated");
    assert!(service.oneshot(request()).await.is_ok());
    assert_eq!(*hint.lock().unwrap(), Some(Duration::from_secs(5)));
    assert_eq!(probe.calls(), 1);
}

/// It answers for what the retry gave up, not for each attempt.
#[tokio::test(start_paused = true)]
async fn it_answers_after_the_last_attempt() {
    let probe = Probe::new(Mode::Fail(1));
    let layer = FallbackLayer::value("contract", FallbackConfig::default(), Response::default());
    let retry = RetryLayer::new("contract", RetryConfig::new(Attempts::total(3)));
    let service = layer.layer(retry.layer(probe.clone()));
    assert!(service.oneshot(request()).await.is_ok());
    assert_eq!(
        (probe.calls(), layer.handle().count(Ending::Served)),
        (3, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn another_service_is_waited_for_until_it_is_ready_and_called_once() {
    let (primary, other) = (Probe::new(Mode::Fail(1)), Probe::new(Mode::PendOnce));
    let layer = FallbackLayer::service("contract", all(), other.clone());
    let handle = layer.handle();
    let mut service = layer.layer(primary.clone());
    let owners = (primary.owners(), other.owners());
    other.set_ready(false);
    let mut call = Box::pin(start(&mut service).await);
    let (bell, waker) = bell();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!((other.calls(), handle.in_flight()), (0, 1));
    assert_eq!(
        primary.in_flight(),
        0,
        "the failed call holds nothing any more"
    );
    other.set_ready(true);
    assert_eq!(bell.rung(), 1);
    assert!(call.as_mut().await.is_ok());
    assert_eq!((other.calls(), other.uninvited()), (1, 0));
    assert_eq!(handle.in_flight(), 0);
    assert!(poll(&mut call).is_pending(), "polled after its end");
    drop(call);
    assert_eq!((primary.owners(), other.owners()), owners);
    assert_eq!(counts(&handle), [("served", 1)]);
}

/// A permit that the failed call holds below is free for what the fallback asks for.
#[tokio::test(start_paused = true)]
async fn the_failed_call_is_gone_when_the_fallback_starts() {
    let probe = Probe::new(Mode::Fail(1));
    let watch = probe.clone();
    let look = move |(), _: Primary<'_, Response<Text>, Fault>| {
        assert_eq!(watch.in_flight(), 0);
        Ok::<_, Fault>(Response::default())
    };
    let layer = FallbackLayer::function("contract", all(), look);
    assert!(layer.layer(probe).oneshot(request()).await.is_ok());
    assert_eq!(counts(&layer.handle()), [("served", 1)]);
}

/// Rule 5.
#[tokio::test(start_paused = true)]
async fn another_service_that_fails_or_refuses_leaves_the_calls_own_result() {
    let breaker = BreakerLayer::new("other", Trip::consecutive(1));
    let other = Probe::new(Mode::Fail(2));
    let layer = FallbackLayer::service("contract", all(), breaker.layer(other.clone()));
    let service = layer.layer(Probe::new(Mode::Fail(1)));
    for _ in 0..2 {
        let own = service.clone().oneshot(request()).await;
        assert_eq!(own.err(), Some(DOWN));
    }
    assert_eq!(other.calls(), 1, "then its circuit is open");
    assert_eq!(counts(&layer.handle()), [("failed", 2)]);
}

/// As above, of a service whose failures and refusals are responses.
#[tokio::test]
async fn an_answer_that_is_a_failure_as_a_response_is_none() {
    let status = |status: u16| {
        service_fn(move |_: Request<Text>| async move {
            let response = Response::builder().status(status).body(Text::default());
            Ok::<_, Fault>(response.unwrap())
        })
    };
    for (other, expected) in [(200, 200), (404, 404), (500, 503), (429, 503)] {
        let layer = FallbackLayer::service("contract", all(), status(other)).classify(ByStatus);
        let service = layer.layer(status(503));
        let response = service.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), expected, "the other says {other}");
    }
}

/// Rules 3 and 4: answered, failed, dropped, panicked, never ready: the place is free again, and not before.
#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_fallback_has_ended_in_any_way() {
    let other = Probe::new(Mode::Answer);
    let layer = FallbackLayer::service("contract", all().max_in_flight(count(1)), other.clone());
    let handle = layer.handle();
    let mut service = layer.layer(Probe::new(Mode::Fail(1)));
    let own = async |mut service: Contested| {
        let call = start(&mut service).await;
        call.await.err()
    };
    let mut full = 0;
    for (mode, ready) in [
        (Mode::Hang, true),
        (Mode::Answer, false),
        (Mode::PanicInCall, true),
        (Mode::PanicInPoll, true),
        (Mode::Fail(2), true),
        (Mode::PendOnce, true),
    ] {
        other.set(mode);
        other.set_ready(ready);
        let ended = {
            let mut call = pin!(start(&mut service).await);
            assert_eq!(handle.in_flight(), 0, "none before the call has failed");
            let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut call)));
            if matches!(polled, Ok(Poll::Pending)) {
                assert_eq!(handle.in_flight(), 1, "{mode:?}");
                // All others, whichever service of the layer they use, keep their own result.
                assert_eq!(
                    own(layer.clone().layer(Probe::new(Mode::Fail(1)))).await,
                    Some(DOWN)
                );
                full += 1;
                assert_eq!(handle.count(Ending::Full), full);
            }
            if mode == Mode::PendOnce {
                assert!(call.await.is_ok());
            }
            mode
        };
        assert_eq!(handle.in_flight(), 0, "after {ended:?}");
        other.set_ready(true);
    }
    assert_eq!(
        counts(&handle),
        [("abandoned", 4), ("failed", 1), ("full", 3), ("served", 1)]
    );
}

type Contested = mainstay::fallback::FallbackService<
    Probe,
    mainstay::fallback::OtherService<Probe>,
    mainstay::fallback::Whole<CloneRequest>,
    mainstay::outcome::ByResult,
    mainstay::reject::AsError,
>;

#[tokio::test]
async fn a_panic_in_a_function_frees_its_place() {
    let layer = FallbackLayer::function(
        "contract",
        all().max_in_flight(count(1)),
        |(), _: Primary<'_, u32, Fault>| -> Result<u32, Fault> { panic!("told to") },
    );
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(|(): ()| async { Err::<u32, _>(DOWN) }));
    for n in 1..=3 {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut call = Box::pin(service.call(()));
            poll(&mut call).is_ready()
        }));
        assert!(panicked.is_err());
        assert_eq!(
            (handle.in_flight(), handle.count(Ending::Abandoned)),
            (0, n)
        );
    }
}

/// A fallback runs in the scope of its call and is dropped at the deadline.
#[tokio::test(start_paused = true)]
async fn a_fallback_ends_at_the_deadline() {
    let limit = Period::secs(2);
    let seen = Arc::new(Mutex::new(None));
    let note = Arc::clone(&seen);
    let layer =
        FallbackLayer::async_function("contract", all(), move |(), _: Primary<'_, (), Fault>| {
            *note.lock().unwrap() = Scope::current().deadline();
            async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok::<_, Fault>(())
            }
        });
    let handle = layer.handle();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("contract", limit))
        .layer(layer)
        .service(service_fn(|(): ()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err::<(), _>(DOWN)
        }));
    let began = rt::now();
    let refused = service.oneshot(()).await.unwrap_err();
    assert_eq!(
        refused.as_rejected().unwrap().reason(),
        Reason::DeadlineExceeded
    );
    assert!(rt::now().since(began) < Duration::from_millis(2_020));
    assert_eq!(*seen.lock().unwrap(), Some(began + limit.get()));
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(counts(&handle), [("abandoned", 1)]);
}

/// Rule 2: a call that comes back at its deadline or later has no time left for a fallback; a value takes none.
#[tokio::test(start_paused = true)]
async fn nothing_is_started_at_the_deadline_and_a_value_is_answered_all_the_same() {
    let slow = || {
        service_fn(|(): ()| async {
            // A runtime that was held up: the deadline's own timer has not been looked at.
            tokio::time::advance(Duration::from_secs(2)).await;
            Err::<u32, _>(DOWN)
        })
    };
    let deadline = DeadlineLayer::new("contract", Period::secs(2));
    let function = FallbackLayer::function("contract", all(), |(), _: Primary<'_, u32, Fault>| {
        Ok::<_, Fault>(1)
    });
    let late = deadline.layer(function.layer(slow()));
    assert_eq!(late.oneshot(()).await, Err(DOWN));
    assert_eq!(counts(&function.handle()), [("late", 1)]);

    let value = FallbackLayer::value("contract", all(), 1);
    let in_time = deadline.layer(value.layer(slow()));
    assert_eq!(in_time.oneshot(()).await, Ok(1));
    assert_eq!(counts(&value.handle()), [("served", 1)]);
}

#[tokio::test(start_paused = true)]
async fn settings_are_replaced_under_way_and_counts_are_kept() {
    let other = Probe::new(Mode::Hang);
    let layer = FallbackLayer::service("contract", all().max_in_flight(count(2)), other.clone());
    let handle = layer.handle();
    let mut service = layer.layer(Probe::new(Mode::Fail(1)));
    let mut calls = Vec::new();
    for _ in 0..2 {
        let mut call = Box::pin(start(&mut service).await);
        assert!(poll(&mut call).is_pending());
        calls.push(call);
    }

    // Fewer places than are taken: those under way go on, and none begins until there is one.
    handle.reload(all().max_in_flight(count(1)));
    assert_eq!(handle.in_flight(), 2);
    assert!(start(&mut service).await.await.is_err());
    drop(calls.pop());
    assert!(start(&mut service).await.await.is_err());
    drop(calls.pop());
    let mut call = Box::pin(start(&mut service).await);
    assert!(poll(&mut call).is_pending());
    drop(call);

    handle.reload(Outcomes::NONE);
    assert_eq!(handle.config(), FallbackConfig::new(Outcomes::NONE));
    assert!(
        start(&mut service).await.await.is_err(),
        "answers for nothing"
    );
    assert_eq!(counts(&handle), [("abandoned", 3), ("full", 2)]);
    handle.reload(FallbackConfig::default());
    other.set(Mode::Answer);
    assert!(start(&mut service).await.await.is_ok(), "and works on");
}

/// A body is shown again from its recording, within the bound, and only if the request may be made twice.
#[tokio::test]
async fn a_body_is_replayed_to_the_other_service() {
    let echo = service_fn(|request: Request<ReplayBody<Text>>| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Fault>(Response::new(Text::from(body)))
    });
    let broken = service_fn(|request: Request<ReplayBody<Text>>| async {
        drop(request.into_body().collect().await);
        let status = StatusCode::BAD_GATEWAY;
        Ok::<_, Fault>(
            Response::builder()
                .status(status)
                .body(Text::default())
                .unwrap(),
        )
    });
    for (method, bound, answer) in [
        ("PUT", 64, Some("whole")),
        ("PUT", 3, None),
        ("POST", 64, None),
    ] {
        let layer = FallbackLayer::service("contract", all(), echo)
            .classify(ByStatus)
            .replay_with(ReplayRequest::new(bound));
        let request = Request::builder().method(method).body(Text::from("whole"));
        let response = layer.layer(broken).oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        match answer {
            Some(answer) => assert_eq!(body, Bytes::from(answer)),
            None => {
                assert_eq!(status, StatusCode::BAD_GATEWAY);
                assert_eq!(counts(&layer.handle()), [("no_request", 1)]);
            }
        }
        assert_eq!(layer.handle().in_flight(), 0);
    }
}

/// After the first of each kind, neither a fallback that answers nor one that finds no place allocates.
#[tokio::test(start_paused = true)]
async fn fallbacks_allocate_nothing_of_their_own() {
    let other = Probe::new(Mode::Hang);
    let busy = FallbackLayer::service("contract", all().max_in_flight(count(1)), other.clone());
    let mut holder = busy.layer(Probe::new(Mode::Fail(1)));
    let mut held = Box::pin(start(&mut holder).await);
    assert!(poll(&mut held).is_pending());
    let mut full = busy.layer(Probe::new(Mode::Fail(1)));
    let value = FallbackLayer::value("contract", all(), Response::default());
    let mut served = value.layer(Probe::new(Mode::Fail(1)));
    let free = FallbackLayer::service("contract", all(), Probe::new(Mode::Answer));
    let mut by_other = free.layer(Probe::new(Mode::Fail(1)));
    for n in 0..2 {
        let requests = [request(), request(), request()];
        let (allocated, ended) = allocations(|| {
            let [one, two, three] = requests;
            let full = poll(&mut pin!(full.call(one)));
            let served = poll(&mut pin!(served.call(two)));
            let by_other = poll(&mut pin!(by_other.call(three)));
            matches!(
                (full, served, by_other),
                (Poll::Ready(Err(_)), Poll::Ready(Ok(_)), Poll::Ready(Ok(_)))
            )
        });
        assert!(ended);
        assert!(n == 0 || allocated == 0, "{allocated} allocations");
    }
}

/// Every mix of answers, errors, hangs, drops and reloads on many threads: in the end no place is taken, and every
/// fallback that was called for was counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn places_return_to_zero_on_many_threads() {
    let other = Probe::new(Mode::Answer);
    let layer = FallbackLayer::service("contract", all().max_in_flight(count(3)), other.clone());
    let handle = layer.handle();
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let (layer, other) = (layer.clone(), other.clone());
            tokio::spawn(async move {
                let mut rng = mainstay::rng::Rng::new(task);
                let mut service = layer.layer(Probe::new(Mode::Fail(1)));
                for _ in 0..2_000 {
                    let modes = [Mode::Answer, Mode::PendOnce, Mode::Hang, Mode::Fail(2)];
                    other.set(modes[(rng.next_u64() % 4) as usize]);
                    if rng.next_u64().is_multiple_of(50) {
                        let places = count(1 + (rng.next_u64() % 4) as u32);
                        layer.handle().reload(all().max_in_flight(places));
                    }
                    {
                        let mut call = pin!(start(&mut service).await);
                        for _ in 0..rng.next_u64() % 3 + 1 {
                            if poll(&mut call).is_ready() {
                                break;
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((handle.in_flight(), other.in_flight()), (0, 0));
    let total: u64 = counts(&handle).iter().map(|(_, count)| count).sum();
    assert_eq!(total, 8 * 2_000, "{:?}", counts(&handle));
}
