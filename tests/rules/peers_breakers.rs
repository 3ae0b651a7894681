//! Failures that were reproduced in other breakers.

use std::convert::Infallible;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use mainstay::breaker::{
    BreakerConfig, BreakerLayer, HalfOpen, KeyedBreakerLayer, Mode, Order, State, Totals, Trip,
    Window,
};
use mainstay::deadline::DeadlineLayer;
use mainstay::error::Reason;
use mainstay::http::{AsResponse, ByStatus};
use mainstay::limit::rate::{KeyedRate, KeyedRateConfig, Rate, RateLayer};
use mainstay::num::{Attempts, Period, Ratio};
use mainstay::retry::RetryConfig;
use mainstay::standard::Stack;
use mainstay_test_support::live_bytes;
use tower::{Layer, Service, ServiceExt};

use crate::callee::{Callee, Fault, Turn, ask, ms, poll, secs, start};

const OPEN_FOR: Period = Period::secs(5);

fn opens_at_once(half_open: HalfOpen) -> BreakerConfig {
    BreakerConfig::new(Trip::consecutive(1))
        .open_for(OPEN_FOR)
        .half_open(half_open)
}

/// A window of the last hundred calls forgets the hundred and first.
#[tokio::test(start_paused = true)]
async fn failure_02_a_window_of_calls_slides() {
    let trip = Trip::rate_of(Ratio::percent(50), 20, Window::calls(100));
    let layer = BreakerLayer::new("peers", trip);
    let callee = Callee::new(Turn::Answer);
    let mut service = layer.layer(callee.clone());
    for _ in 0..100_000 {
        assert!(start(&mut service, 1).await.await.is_ok());
    }
    callee.set(Turn::Fail);
    let mut failures = 0;
    while layer.handle().state() == State::Closed {
        assert!(start(&mut service, 1).await.await.is_err());
        failures += 1;
    }
    assert_eq!(failures, 50);
}

/// A reset forgets what was counted, of a closed circuit too.
#[tokio::test(start_paused = true)]
async fn failure_03_a_reset_of_a_closed_circuit_forgets_its_failures() {
    let trips = [
        Trip::consecutive(5),
        Trip::in_window(5, Period::secs(60)),
        Trip::rate(Ratio::percent(50), 5, Period::secs(60)),
        Trip::rate_of(Ratio::percent(50), 5, Window::calls(10)),
        Trip::streak(5, Period::millis(1)),
    ];
    for trip in trips {
        let layer = BreakerLayer::new("peers", trip);
        let (callee, handle) = (Callee::new(Turn::FailAfter(ms(1))), layer.handle());
        let service = layer.layer(callee);
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(ask(&service, 1).await.is_err());
            }
            assert_eq!(
                (handle.failures(), handle.state()),
                (4, State::Closed),
                "{trip:?}"
            );
            handle.reset(Order::new("test", "begin anew"));
            assert_eq!(
                (handle.failures(), handle.failing()),
                (0, Totals::default()),
                "{trip:?}"
            );
        }
        for failures in 1..=5 {
            assert_eq!(
                handle.state(),
                State::Closed,
                "after {} {trip:?}",
                failures - 1
            );
            assert!(ask(&service, 1).await.is_err());
        }
        assert_eq!(handle.state(), State::Open, "{trip:?}");
    }
}

/// Nothing wedges a half-open circuit: slow traffic, a bound of no probes, a dropped probe, a refusal below.
#[tokio::test(start_paused = true)]
async fn failure_04_half_open_never_wedges() {
    // Probes further apart than the window that opened the circuit, and than the half-open deadline.
    let trip = Trip::rate(Ratio::percent(50), 2, Period::secs(1));
    let half_open = HalfOpen::new(1, 3).deadline(Period::secs(2));
    let layer = BreakerLayer::new("peers", BreakerConfig::new(trip).half_open(half_open));
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    for _ in 0..2 {
        assert!(ask(&service, 1).await.is_err());
    }
    callee.set(Turn::Answer);
    for state in [State::HalfOpen, State::HalfOpen, State::Closed] {
        tokio::time::sleep(secs(3_600)).await;
        assert!(ask(&service, 1).await.is_ok());
        assert_eq!(handle.state(), state);
    }

    // No probes cannot be asked for.
    for none in [
        || HalfOpen::new(0, 1),
        || HalfOpen::new(1, 0),
        || HalfOpen::ratio(0, Ratio::percent(50)),
    ] {
        assert!(catch_unwind(none).is_err());
    }
    assert_eq!(HalfOpen::new(2, 2).out_of(0), HalfOpen::new(2, 2));

    // Dropped at any point, or refused below, again and again: the next call is a probe.
    let below = BreakerLayer::new("below", Trip::consecutive(1_000));
    let layer = BreakerLayer::new("peers", opens_at_once(HalfOpen::default()));
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let mut service = layer.layer(below.layer(callee.clone()));
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;
    for polls in [0, 1, 2, 0, 1, 2] {
        callee.set(Turn::Hang);
        let mut call = start(&mut service, 1).await;
        assert_eq!(handle.probes(), 1);
        for _ in 0..polls {
            assert!(poll(&mut call).is_pending());
        }
        drop(call);
        below
            .handle()
            .force(Mode::ForcedOpen, Order::new("test", "refuses"));
        assert_eq!(
            ask(&service, 1).await.unwrap_err().reason(),
            Some(Reason::ForcedOpen)
        );
        below.handle().release(Order::new("test", "does not"));
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
    }
    callee.set(Turn::Answer);
    assert!(ask(&service, 1).await.is_ok());
    assert_eq!(handle.state(), State::Closed);
}

/// Whatever a call from before the trip comes to, the half-open circuit asks its own probes.
#[tokio::test(start_paused = true)]
async fn failure_05_a_call_from_before_the_trip_is_no_probe() {
    for turn in [Turn::AnswerAfter(secs(7)), Turn::FailAfter(secs(7))] {
        let layer = BreakerLayer::new("peers", opens_at_once(HalfOpen::default()));
        let (callee, handle) = (Callee::new(turn), layer.handle());
        let mut service = layer.layer(callee.clone());
        let before: Vec<_> = [start(&mut service, 1).await, start(&mut service, 1).await].into();
        callee.set(Turn::Fail);
        assert!(ask(&service, 1).await.is_err());
        tokio::time::sleep(OPEN_FOR.get()).await;
        callee.set(Turn::AnswerAfter(secs(4)));
        let probe = start(&mut service, 1).await;
        for call in before {
            let _ = call.await;
            assert_eq!(
                (handle.state(), handle.probes()),
                (State::HalfOpen, 1),
                "{turn:?}"
            );
        }
        assert!(
            ask(&service, 1).await.is_err(),
            "the place is not free for it either"
        );
        assert!(probe.await.is_ok());
        assert_eq!(handle.state(), State::Closed);
    }
}

/// Calls that the stack's own deadline cuts off count against the callee; those that callers drop earlier do not.
#[tokio::test(start_paused = true)]
async fn failure_06_calls_that_the_own_deadline_cuts_off_open_the_circuit() {
    let trip = Trip::rate(Ratio::percent(50), 20, Period::secs(10));
    for (patience, cut_off) in [(secs(60), true), (ms(1_999), false)] {
        let layer = BreakerLayer::new("peers", trip);
        let inner = layer.layer(Callee::new(Turn::Hang));
        let service = DeadlineLayer::new("peers", Period::secs(2)).layer(inner);
        let call = || tokio::spawn(tokio::time::timeout(patience, service.clone().oneshot(1)));
        let calls: Vec<_> = (0..200).map(|_| call()).collect();
        for call in calls {
            let ended = call.await.unwrap();
            assert_eq!(ended.is_ok(), cut_off, "{ended:?}");
        }
        let state = if cut_off { State::Open } else { State::Closed };
        assert_eq!(layer.handle().state(), state, "{patience:?}");
        assert_eq!(layer.handle().failing().calls > 0, cut_off);
    }
}

/// A layer that a router applies to each of its routes is one circuit.
#[tokio::test(start_paused = true)]
async fn failure_07_a_layer_on_many_routes_is_one_circuit() {
    let layer = BreakerLayer::new("peers", Trip::consecutive(4))
        .classify(ByStatus)
        .refuse_with(AsResponse);
    let handle = layer.handle();
    let calls = Arc::new(AtomicU32::new(0));
    let route = || {
        let calls = Arc::clone(&calls);
        get(move || {
            calls.fetch_add(1, Ordering::Relaxed);
            async { StatusCode::INTERNAL_SERVER_ERROR }
        })
    };
    let app = Router::new()
        .route("/a", route())
        .route("/b", route())
        .layer(layer.clone())
        .merge(Router::new().route("/c", route()).layer(layer));
    let ask = |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        app.clone().oneshot(request)
    };
    for path in ["/a", "/b", "/c", "/a"] {
        assert_eq!(handle.state(), State::Closed);
        let answer: Result<_, Infallible> = ask(path).await;
        assert_eq!(answer.unwrap().status(), 500);
    }
    assert_eq!(handle.state(), State::Open);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(ask(path).await.unwrap().status(), 503, "{path}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

/// Opening and closing over and over leaves nothing behind, and neither do keys.
#[tokio::test(start_paused = true)]
async fn failure_13_nothing_grows_with_use() {
    let layer = BreakerLayer::new("peers", opens_at_once(HalfOpen::default()));
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let mut service = layer.layer(callee.clone());
    let mut warm = 0;
    for cycle in 0..10_000 {
        callee.set(Turn::Fail);
        assert!(start(&mut service, 1).await.await.is_err());
        assert!(start(&mut service, 1).await.await.is_err(), "refused");
        tokio::time::advance(OPEN_FOR.get()).await;
        callee.set(Turn::Answer);
        assert!(start(&mut service, 1).await.await.is_ok());
        assert_eq!(handle.state(), State::Closed);
        if cycle == 100 {
            warm = live_bytes();
        }
    }
    let grown = live_bytes() - warm;
    assert!(grown < 1_024, "{grown} bytes in ten thousand cycles");

    let layer = KeyedBreakerLayer::new("peers", Trip::consecutive(2), 100, |key: &u32| *key);
    let mut service = layer.layer(callee.clone());
    for key in 0..100_000 {
        assert!(start(&mut service, key).await.await.is_ok());
        if key == 1_000 {
            warm = live_bytes();
        }
    }
    let grown = live_bytes() - warm;
    assert!(
        grown < 16 * 1_024,
        "{grown} bytes for a hundred thousand keys"
    );

    let each = KeyedRateConfig::new(Rate::burst(5, Period::secs(1))).max_keys(100);
    let limiter = KeyedRate::new("peers", each);
    let handle = limiter.handle();
    let mut service = RateLayer::keyed(limiter, |key: &u32| *key).layer(callee);
    for key in 0..100_000 {
        let _ = start(&mut service, key).await.await;
        tokio::time::advance(ms(10)).await;
        assert!(handle.keys() <= 100);
        if key == 1_000 {
            warm = live_bytes();
        }
    }
    assert_eq!(handle.refused(), 0, "a key that is untouched makes room");
    let grown = live_bytes() - warm;
    assert!(
        grown < 16 * 1_024,
        "{grown} bytes for a hundred thousand keys"
    );
}

/// So many of a thousand that come at once, as probes there may be.
async fn admitted<S>(service: S, callee: &Callee) -> u32
where
    S: Service<u32, Error = Fault, Response: Send, Future: Send> + Clone + Send + 'static,
{
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::AnswerAfter(secs(1)));
    let before = callee.calls();
    let calls: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(service.clone().oneshot(1)))
        .collect();
    tokio::time::sleep(ms(1)).await;
    let admitted = callee.calls() - before;
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => {}
            Err(fault) => {
                assert_eq!(fault.reason(), Some(Reason::ProbesBusy));
                refused += 1;
            }
        }
    }
    assert_eq!(
        (callee.calls() - before, refused),
        (admitted, 1_000 - admitted)
    );
    admitted
}

/// Of a thousand callers of a half-open circuit its probes pass.
#[tokio::test(start_paused = true)]
async fn failure_14_of_a_thousand_callers_only_the_probes_pass() {
    let rounds = [
        (HalfOpen::new(1, 1), 1),
        (HalfOpen::new(3, 3), 3),
        (HalfOpen::new(1, 3), 1),
        (HalfOpen::new(100, 3), 3),
        (HalfOpen::ratio(10, Ratio::percent(50)), 10),
    ];
    for (half_open, probes) in rounds {
        let callee = Callee::new(Turn::Fail);
        let layer = BreakerLayer::new("peers", opens_at_once(half_open));
        assert_eq!(admitted(layer.layer(callee.clone()), &callee).await, probes);
        let callee = Callee::new(Turn::Fail);
        let keyed = KeyedBreakerLayer::new("peers", opens_at_once(half_open), 9, |key: &u32| *key);
        assert_eq!(admitted(keyed.layer(callee.clone()), &callee).await, probes);
        let callee = Callee::new(Turn::Fail);
        let stack = Stack::standard("peers")
            .breaker(opens_at_once(half_open))
            .retry(RetryConfig::new(Attempts::total(3)));
        assert_eq!(
            admitted(stack.service(callee.clone()), &callee).await,
            probes
        );
    }
}
