//! What only a breaker can be asked: permits, refusals, one circuit for many services.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http_body_util::BodyExt;
use mainstay::breaker::{
    BreakerConfig, BreakerHandle, BreakerLayer, HalfOpen, Mode as Command, Order, State, Trip,
};
use mainstay::error::{AsRejected, Reason};
use mainstay::http::{AtEnd, ByStatus};
use mainstay::num::Period;
use mainstay_test_support::allocations;
use tower::{Layer, Service, ServiceExt};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, Req, bell, request};

const OPEN_FOR: Period = Period::secs(5);

fn layer(half_open: HalfOpen) -> BreakerLayer {
    let config = BreakerConfig::new(Trip::consecutive(1))
        .open_for(OPEN_FOR)
        .half_open(half_open);
    BreakerLayer::new("contract", config)
}

async fn trip<S: Service<Req, Error = Fault> + Clone>(service: &S, probe: &Probe) {
    probe.set(Mode::Fail(1));
    assert!(service.clone().oneshot(request()).await.is_err());
    probe.set(Mode::Answer);
}

/// A service whose next call is its circuit's only probe.
async fn at_the_brink(
    successes: u32,
) -> (
    impl Service<Req, Error = Fault, Future: Unpin> + Clone,
    Probe,
    BreakerHandle,
) {
    let layer = layer(HalfOpen::new(1, successes));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = layer.layer(probe.clone());
    trip(&service, &probe).await;
    assert_eq!(handle.state(), State::Open);
    tokio::time::sleep(OPEN_FOR.get()).await;
    (service, probe, handle)
}

fn ready<S: Service<Req>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_ready_and_answers_while_the_inner_service_is_not() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    trip(&service, &probe).await;
    probe.set_ready(false);
    assert!(ready(&mut service));
    let refused = service.call(request()).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::CircuitOpen);
    assert_eq!(probe.calls(), 1, "only the call that tripped it");

    // Its wait over, somebody must call the inner service: now its readiness counts again.
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert!(!ready(&mut service));
    probe.set_ready(true);
    assert!(ready(&mut service));
}

/// A refusal must not be turned into a call by time that passes between `poll_ready` and `call`.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_only_to_refuse_does_not_call_the_inner_one() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    trip(&service, &probe).await;
    probe.set_ready(false);
    assert!(ready(&mut service));
    tokio::time::sleep(OPEN_FOR.get()).await;
    let refused = service.call(request()).await.unwrap_err();
    assert!(refused.as_rejected().is_some());
    assert_eq!((probe.calls(), probe.uninvited()), (1, 0));
}

/// As above, with readiness that the original had and the clone has not.
#[tokio::test(start_paused = true)]
async fn a_clone_of_a_ready_breaker_does_not_call_what_is_not_ready() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut original = layer.layer(probe.clone());
    assert!(ready(&mut original));
    let mut copy = original.clone();
    trip(&layer.layer(probe.clone()), &probe).await;
    probe.set_ready(false);
    assert!(ready(&mut copy), "ready to refuse");
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert!(copy.call(request()).await.is_err());
    assert_eq!(probe.uninvited(), 0);
}

/// Readiness can be lost again, such as with a connection.
#[tokio::test(start_paused = true)]
async fn readiness_that_was_lost_is_not_remembered() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    assert!(ready(&mut service));
    probe.set_ready(false);
    assert!(!ready(&mut service));
    trip_elsewhere(&layer).await;
    assert!(ready(&mut service), "ready to refuse");
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert!(service.call(request()).await.is_err());
    assert_eq!(probe.uninvited(), 0);
}

async fn trip_elsewhere(layer: &BreakerLayer) {
    let other = Probe::new(Mode::Answer);
    trip(&layer.layer(other.clone()), &other).await;
}

/// What `poll_ready` of the inner service reserves, nobody gives back when the call is then refused.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_reserves_nothing_below() {
    let layer = layer(HalfOpen::default());
    let inner = tower::limit::ConcurrencyLimit::new(Probe::new(Mode::Answer), 1);
    let mut idle = layer.layer(inner.clone());
    let mut other = layer.layer(inner);
    trip_elsewhere(&layer).await;
    assert!(ready(&mut idle));
    assert!(idle.call(request()).await.is_err(), "refused");
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert!(ready(&mut other), "the idle clone holds the only place");
    assert!(other.call(request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_gives_its_place_back_wherever_it_is_dropped() {
    for polls in 0..3 {
        let (mut service, probe, handle) = at_the_brink(1).await;
        probe.set(Mode::Hang);
        {
            let mut call = pin!(start(&mut service).await);
            assert_eq!(handle.probes(), 1);
            for _ in 0..polls {
                assert!(poll(&mut call).is_pending());
            }
        }
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
        probe.set(Mode::Answer);
        assert!(service.oneshot(request()).await.is_ok());
        assert_eq!(handle.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_gives_its_place_back() {
    for mode in [Mode::PanicInCall, Mode::PanicInPoll] {
        let (mut service, probe, handle) = at_the_brink(1).await;
        probe.set(mode);
        assert!(ready(&mut service));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut call = pin!(service.call(request()));
            poll(&mut call).is_ready()
        }));
        assert!(panicked.is_err());
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
        probe.set(Mode::Answer);
        assert!(service.oneshot(request()).await.is_ok());
        assert_eq!(handle.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_gives_its_probe_back_and_one_that_ends_settles_once() {
    let layer = layer(HalfOpen::new(1, 2))
        .classify(ByStatus)
        .refuse_with(mainstay::http::AsResponse)
        .until(AtEnd::new(ByStatus));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = tower::util::MapResponse::new(probe.clone(), |response: http::Response<_>| {
        response.map(|_: super::probe::Text| super::probe::Text::from("a body"))
    });
    let service = layer.layer(service);
    trip(&service, &probe).await;
    tokio::time::sleep(OPEN_FOR.get()).await;

    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(handle.probes(), 1, "its body has not ended");
    drop(response);
    assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));

    let mut response = service.clone().oneshot(request()).await.unwrap();
    while response.body_mut().frame().await.is_some() {}
    assert!(response.body_mut().frame().await.is_none(), "asked again");
    drop(response);
    assert_eq!(
        (handle.state(), handle.probes()),
        (State::HalfOpen, 0),
        "one end is one success"
    );
    let response = service.oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(handle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_layer_applied_many_times_is_one_circuit() {
    let layer = BreakerLayer::new("contract", Trip::consecutive(3));
    let probe = Probe::new(Mode::Fail(1));
    for layer in [layer.clone(), layer.clone(), layer.clone()] {
        let service = layer.layer(probe.clone());
        assert!(service.clone().oneshot(request()).await.is_err());
    }
    assert_eq!(layer.handle().state(), State::Open);
    let refused = layer.layer(probe.clone()).oneshot(request()).await;
    assert!(refused.unwrap_err().as_rejected().is_some());
    assert_eq!(probe.calls(), 3);

    // Another value of the layer is another circuit.
    let other = BreakerLayer::new("contract", Trip::consecutive(3));
    assert_eq!(other.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_allocates_nothing() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    trip(&service, &probe).await;
    assert!(service.clone().oneshot(request()).await.is_err());
    let request = request();
    let (allocated, refused) = allocations(|| {
        assert!(ready(&mut service));
        let mut call = pin!(service.call(request));
        matches!(poll(&mut call), Poll::Ready(Err(Fault::Rejected(_))))
    });
    assert!(refused);
    assert_eq!(allocated, 0);
}

#[tokio::test(start_paused = true)]
async fn the_hint_is_what_is_left_of_the_wait() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let service = layer.layer(probe.clone());
    trip(&service, &probe).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = service.oneshot(request()).await.unwrap_err();
    let hint = refused.as_rejected().unwrap().hint().unwrap();
    assert_eq!(hint, Duration::from_secs(3));
}

/// Whoever waits for an inner service that is not ready is answered when the circuit opens.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_readiness_is_woken_when_the_circuit_opens() {
    let layer = layer(HalfOpen::default());
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    probe.set_ready(false);
    let (bell, waker) = bell();
    let mut cx = Context::from_waker(&waker);
    let waits = Service::<Req>::poll_ready(&mut service, &mut cx);
    assert!(waits.is_pending());
    trip_elsewhere(&layer).await;
    assert_eq!(bell.rung(), 1);
    let ready = Service::<Req>::poll_ready(&mut service, &mut cx);
    assert!(ready.is_ready());
    let refused = service.call(request()).await.unwrap_err();
    assert!(refused.as_rejected().is_some());
}

/// An open circuit whose wait is over lets callers wait for the inner service; one that is shut again, without a change
/// of its state, must not keep them waiting.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_readiness_is_woken_when_an_open_circuit_is_shut_again() {
    let order = || Order::new("test", "drill");
    let commands: [&dyn Fn(&BreakerHandle); 2] = [
        &|handle| handle.force(Command::ForcedOpen, order()),
        &|handle| handle.open_for(OPEN_FOR, order()),
    ];
    for command in commands {
        let layer = layer(HalfOpen::default());
        let probe = Probe::new(Mode::Answer);
        let mut service = layer.layer(probe.clone());
        trip(&service, &probe).await;
        tokio::time::sleep(OPEN_FOR.get()).await;
        probe.set_ready(false);
        let (bell, waker) = bell();
        let mut cx = Context::from_waker(&waker);
        let waits = Service::<Req>::poll_ready(&mut service, &mut cx);
        assert!(waits.is_pending());
        command(&layer.handle());
        assert_eq!(bell.rung(), 1);
        let ready = Service::<Req>::poll_ready(&mut service, &mut cx);
        assert!(ready.is_ready());
    }
}

/// A waker may be the last owner of a task, and the task of a service that waits at the same circuit.
#[test]
fn a_waker_that_is_dropped_with_a_service_of_the_circuit_locks_nobody_out() {
    struct Task<S>(S);
    impl<S: Send + Sync + 'static> Wake for Task<S> {
        fn wake(self: Arc<Self>) {}
    }
    fn waits<S: Service<Req>>(service: &mut S, waker: &Waker) {
        let mut cx = Context::from_waker(waker);
        assert!(service.poll_ready(&mut cx).is_pending());
    }
    for leaves in [false, true] {
        let (done, is_done) = mpsc::channel();
        let run = std::thread::spawn(move || {
            let layer = layer(HalfOpen::default());
            let probe = Probe::new(Mode::Answer);
            probe.set_ready(false);
            let (mut owned, mut other) = (layer.layer(probe.clone()), layer.layer(probe));
            waits(&mut owned, Waker::noop());
            let waker = Waker::from(Arc::new(Task(owned)));
            waits(&mut other, &waker);
            drop(waker);
            if leaves {
                drop(other);
            } else {
                waits(&mut other, Waker::noop());
            }
            done.send(()).unwrap();
        });
        let in_time = is_done.recv_timeout(Duration::from_secs(10));
        assert!(in_time.is_ok(), "locked out; {leaves}");
        run.join().unwrap();
    }
}
