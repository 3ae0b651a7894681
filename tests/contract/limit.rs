//! What only a limit of the calls under way can be asked: places, the line, its bounds, what moves it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body_util::BodyExt;
use mainstay::breaker::{BreakerConfig, BreakerLayer, Order, Trip};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, Reason, Rejected};
use mainstay::http::{AsResponse, AtEnd, ByStatus};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer, Bounds, Cause};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyHandle, ConcurrencyLayer};
use mainstay::num::{Attempts, Period, count};
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::rng::Rng;
use mainstay::scope::Scope;
use mainstay_test_support::allocations;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, Req, bell, request};

const WAIT: Period = Period::secs(1);

fn config(limit: u32, queue: u32) -> ConcurrencyConfig {
    ConcurrencyConfig::new(count(limit)).queue(queue).wait(WAIT)
}

fn layer(limit: u32, queue: u32) -> ConcurrencyLayer {
    ConcurrencyLayer::new("contract", config(limit, queue))
}

fn counts(handle: &ConcurrencyHandle) -> (u32, u32) {
    (handle.in_flight(), handle.waiting())
}

fn ready<S: Service<Req>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

fn refused<T>(polled: &Poll<Result<T, Fault>>) -> Rejected {
    match polled {
        Poll::Ready(Err(Fault::Rejected(rejected))) => *rejected,
        Poll::Ready(Err(other)) => panic!("{other}"),
        Poll::Ready(Ok(_)) => panic!("it was answered"),
        Poll::Pending => panic!("it waits"),
    }
}

/// A service with all its places taken by a call that hangs, and that call.
async fn full<S>(service: &S, probe: &Probe) -> Pin<Box<S::Future>>
where
    S: Service<Req, Error = Fault> + Clone,
{
    probe.set(Mode::Hang);
    let mut holder = Box::pin(start(&mut service.clone()).await);
    assert!(poll(&mut holder).is_pending());
    probe.set(Mode::Answer);
    holder
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_in_call_and_not_before() {
    let layer = layer(1, 0);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let mut first = layer.layer(probe.clone());
    let mut second = layer.layer(probe.clone());
    assert!(ready(&mut first) && ready(&mut second), "nobody reserves");
    assert_eq!(counts(&handle), (0, 0));
    let call = second.call(request());
    assert_eq!(counts(&handle), (1, 0));
    let rejected = refused(&poll(&mut pin!(first.call(request()))));
    assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
    assert!(rejected.is_untried());
    assert!(call.await.is_ok());
    assert_eq!((counts(&handle), probe.calls()), ((0, 0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_limit_is_ready_and_refuses_while_the_inner_service_is_not() {
    let layer = layer(1, 0);
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    let holder = full(&service, &probe).await;
    probe.set_ready(false);
    assert!(ready(&mut service), "ready to refuse");
    // A place comes free between the promise and the call: the inner service still is not ready.
    drop(holder);
    let rejected = refused(&poll(&mut pin!(service.call(request()))));
    assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
    assert_eq!((probe.calls(), probe.uninvited()), (1, 0));
    assert!(!ready(&mut service), "now its readiness counts again");
}

#[tokio::test(start_paused = true)]
async fn a_full_limit_reserves_nothing_below() {
    let layer = layer(1, 0);
    let probe = Probe::new(Mode::Answer);
    let holder = full(&layer.layer(probe.clone()), &probe).await;
    let inner = tower::limit::ConcurrencyLimit::new(probe.clone(), 1);
    let mut idle = layer.layer(inner.clone());
    let mut other = layer.layer(inner);
    assert!(ready(&mut idle));
    let rejected = refused(&poll(&mut pin!(idle.call(request()))));
    assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
    drop(holder);
    assert!(ready(&mut other), "the idle clone holds the only place");
    assert!(other.call(request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiters_are_let_in_in_the_order_of_their_calls() {
    let layer = layer(1, 3);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = layer.layer(probe.clone());
    let holder = full(&service, &probe).await;
    probe.set(Mode::Hang);
    let mut first = Box::pin(start(&mut service.clone()).await);
    let mut second = Box::pin(start(&mut service.clone()).await);
    let (first_bell, waker) = bell();
    assert!(
        first
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (second_bell, waker) = bell();
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(counts(&handle), (1, 2));
    drop(holder);
    assert_eq!((first_bell.rung(), second_bell.rung()), (1, 0));
    assert_eq!(counts(&handle), (1, 1), "the place is the first one's");
    assert!(poll(&mut first).is_pending(), "it calls");
    assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
    drop(first);
    assert_eq!(second_bell.rung(), 1);
    probe.set(Mode::Answer);
    assert!(second.await.is_ok());
    assert_eq!(counts(&handle), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_leaves_nothing_wherever_it_is_dropped() {
    for granted in [false, true] {
        for polls in 0..3 {
            let layer = layer(1, 3);
            let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
            let service = layer.layer(probe.clone());
            let holder = full(&service, &probe).await;
            let owners = probe.owners();
            let mut leaver = Box::pin(start(&mut service.clone()).await);
            let stayer = start(&mut service.clone()).await;
            for _ in 0..polls {
                assert!(poll(&mut leaver).is_pending());
            }
            if granted {
                drop(holder);
                assert_eq!(counts(&handle), (1, 1));
                drop(leaver);
            } else {
                drop(leaver);
                assert_eq!(counts(&handle), (1, 1));
                drop(holder);
            }
            assert!(stayer.await.is_ok(), "the place is passed on");
            assert_eq!(counts(&handle), (0, 0), "granted {granted}, {polls} polls");
            assert!(probe.owners() <= owners);
            assert_eq!(probe.calls(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_bound_or_with_the_deadline() {
    let layer = layer(1, 3);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = layer.layer(probe.clone());
    let _holder = full(&service, &probe).await;
    let begun = tokio::time::Instant::now();
    let late = service.clone().oneshot(request()).await;
    assert_eq!(begun.elapsed(), WAIT.get());
    let Err(Fault::Rejected(rejected)) = late else {
        panic!("nothing came free");
    };
    assert_eq!(rejected.reason(), Reason::QueueTimeout);
    // Its deadline is nearer than the bound.
    let begun = mainstay::rt::now();
    let scope = Scope::current().until(begun + WAIT.get() / 4);
    let mut waiter = Box::pin(scope.enter(|| service.clone().call_ready(request())));
    assert!(poll(&mut waiter).is_pending());
    let rejected = refused(&Poll::Ready(waiter.await));
    assert_eq!(rejected.reason(), Reason::QueueTimeout);
    assert_eq!(mainstay::rt::now().since(begun), WAIT.get() / 4);
    // It has none left: there is nothing to wait for.
    let over = Scope::current().until(mainstay::rt::now());
    let call = over.enter(|| service.clone().call_ready(request()));
    let rejected = refused(&poll(&mut pin!(call)));
    assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
    assert_eq!(counts(&handle), (1, 0));
    assert_eq!(probe.calls(), 1);
}

/// A call of a service that is ready at once.
trait CallReady: Service<Req> {
    fn call_ready(mut self, request: Req) -> Self::Future
    where
        Self: Sized,
    {
        assert!(ready(&mut self));
        self.call(request)
    }
}

impl<S: Service<Req>> CallReady for S {}

#[tokio::test(start_paused = true)]
async fn a_place_granted_at_the_last_moment_is_used() {
    let layer = layer(1, 3);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = layer.layer(probe.clone());
    let holder = full(&service, &probe).await;
    let mut waiter = Box::pin(start(&mut service.clone()).await);
    assert!(poll(&mut waiter).is_pending());
    // Its turn comes, then its time is over, and only then it is polled.
    drop(holder);
    tokio::time::advance(WAIT.get() * 2).await;
    assert!(waiter.await.is_ok());
    assert_eq!(counts(&handle), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_the_place_back_whether_the_call_had_waited_or_not() {
    for mode in [Mode::PanicInCall, Mode::PanicInPoll] {
        for waits in [false, true] {
            let layer = layer(1, 3);
            let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
            let service = layer.layer(probe.clone());
            let holder = full(&service, &probe).await;
            let holder = waits.then_some(holder);
            let mut clone = service.clone();
            assert!(ready(&mut clone));
            probe.set(mode);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let mut call = pin!(clone.call(request()));
                assert_eq!(poll(&mut call).is_pending(), waits);
                drop(holder);
                poll(&mut call).is_ready()
            }));
            assert!(panicked.is_err());
            assert_eq!(counts(&handle), (0, 0), "{mode:?}, waits: {waits}");
            probe.set(Mode::Answer);
            assert!(service.oneshot(request()).await.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_be_moved_under_load() {
    let layer = layer(2, 4);
    let (probe, handle) = (Probe::new(Mode::Hang), layer.handle());
    let service = layer.layer(probe.clone());
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut call = Box::pin(start(&mut service.clone()).await);
        assert!(poll(&mut call).is_pending());
        calls.push(call);
    }
    assert_eq!(counts(&handle), (2, 3));
    handle.reload(config(3, 1));
    assert_eq!(counts(&handle), (3, 2), "at once; nobody is sent away");
    handle.reload(config(1, 1));
    assert_eq!((handle.limit().get(), handle.config()), (1, config(1, 1)));
    drop((calls.remove(0), calls.remove(0)));
    assert_eq!(counts(&handle), (1, 2));
    let mut newcomer = pin!(start(&mut service.clone()).await);
    assert_eq!(
        refused(&poll(&mut newcomer)).reason(),
        Reason::ConcurrencyLimit
    );
    drop(calls.remove(0));
    assert_eq!(counts(&handle), (1, 1));
    drop(calls);
    assert_eq!(counts(&handle), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_a_place_may_be_free() {
    let layer = layer(1, 2);
    let probe = Probe::new(Mode::Answer);
    let service = layer.layer(probe.clone());
    let mut calls = vec![full(&service, &probe).await];
    probe.set(Mode::Hang);
    let mut last = None;
    // A place every 100 ms, and two wait.
    for _ in 0..6 {
        while calls.len() < 3 {
            calls.push(Box::pin(start(&mut service.clone()).await));
        }
        for call in &mut calls {
            assert!(poll(call).is_pending());
        }
        let refused = service.clone().oneshot(request()).await.unwrap_err();
        last = refused.as_rejected().unwrap().hint();
        tokio::time::advance(Duration::from_millis(100)).await;
        drop(calls.remove(0));
    }
    assert_eq!(last, Some(Duration::from_millis(300)));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_kept_to_the_end_of_the_body() {
    let layer = layer(1, 0)
        .refuse_with(AsResponse)
        .until(AtEnd::new(ByStatus));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = tower::util::MapResponse::new(probe, |response: http::Response<_>| {
        response.map(|_: super::probe::Text| super::probe::Text::from("a body"))
    });
    let service = layer.layer(service);
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(handle.in_flight(), 1, "its body has not ended");
    let other = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(other.status(), 503);
    let rejected = other.extensions().get::<Rejected>().unwrap();
    assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(handle.in_flight(), 0);
    drop(service.oneshot(request()).await.unwrap());
    assert_eq!(handle.in_flight(), 0, "its body was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_layer_applied_many_times_is_one_limit() {
    let layer = layer(1, 0);
    let probe = Probe::new(Mode::Answer);
    let _holder = full(&layer.layer(probe.clone()), &probe).await;
    for layer in [layer.clone(), layer.clone()] {
        let refused = layer.layer(probe.clone()).oneshot(request()).await;
        assert!(refused.unwrap_err().as_rejected().is_some());
    }
    let adaptive = AdaptiveLayer::new(
        "contract",
        AdaptiveConfig::new().bounds(Bounds::between(1, 1)).queue(0),
    );
    let _holder = full(&adaptive.layer(probe.clone()), &probe).await;
    let refused = adaptive
        .clone()
        .layer(probe.clone())
        .oneshot(request())
        .await;
    assert!(refused.unwrap_err().as_rejected().is_some());
}

#[tokio::test(start_paused = true)]
async fn no_policy_above_takes_a_refusal_for_a_failure() {
    let breaker = BreakerLayer::new("contract", Trip::consecutive(1));
    let retry = RetryLayer::new("contract", RetryConfig::new(Attempts::total(3)));
    let limit = layer(1, 0);
    let (circuit, retries) = (breaker.handle(), retry.handle());
    let probe = Probe::new(Mode::Answer);
    let _holder = full(&limit.layer(probe.clone()), &probe).await;
    let service = ServiceBuilder::new()
        .layer(retry)
        .layer(breaker)
        .layer(limit)
        .service(probe.clone());
    let begun = tokio::time::Instant::now();
    let refused = service.oneshot(request()).await.unwrap_err();
    assert_eq!(
        refused.as_rejected().unwrap().reason(),
        Reason::ConcurrencyLimit
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!((circuit.openings(), retries.retries()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_allocates_nothing_and_a_wait_once() {
    let fixed = layer(1, 1);
    let bounds = AdaptiveConfig::new().bounds(Bounds::between(1, 1));
    let adaptive = AdaptiveLayer::new("contract", bounds.queue(1).wait(WAIT));
    let probe = Probe::new(Mode::Answer);
    counts_allocations(fixed.layer(probe.clone()), &probe).await;
    counts_allocations(adaptive.layer(probe.clone()), &probe).await;
}

async fn counts_allocations<S>(service: S, probe: &Probe)
where
    S: Service<Req, Error = Fault, Future: Unpin> + Clone,
{
    for round in 0..2 {
        let holder = full(&service, probe).await;
        let (mut waiter, mut other) = (service.clone(), service.clone());
        assert!(ready(&mut waiter) && ready(&mut other));
        let (first, second) = (request(), request());
        let (waited, mut waits) = allocations(|| {
            let mut waits = waiter.call(first);
            for _ in 0..3 {
                assert!(poll(&mut waits).is_pending());
            }
            waits
        });
        let (refused, ()) = allocations(|| {
            let mut refusal = pin!(other.call(second));
            let refusal = poll(&mut refusal);
            assert!(matches!(refusal, Poll::Ready(Err(Fault::Rejected(_)))));
        });
        let (granted, ()) = allocations(|| {
            drop(holder);
            assert!(matches!(poll(&mut waits), Poll::Ready(Ok(_))));
        });
        // What is made once per limit and thread does not count.
        assert!(round == 0 || (waited, refused, granted) == (1, 0, 0));
    }
}

/// What the gauges and counters of a name say: `(in flight, waiting, limit, refusals)`.
fn seen(snapshotter: &Snapshotter) -> (f64, f64, f64, u64) {
    let mut seen = (f64::NAN, f64::NAN, f64::NAN, 0);
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        match (key.key().name(), value) {
            ("mainstay_concurrency_in_flight", DebugValue::Gauge(n)) => seen.0 = n.0,
            ("mainstay_concurrency_waiting", DebugValue::Gauge(n)) => seen.1 = n.0,
            ("mainstay_concurrency_limit", DebugValue::Gauge(n)) => seen.2 = n.0,
            ("mainstay_rejections_total", DebugValue::Counter(n)) => seen.3 += n,
            _ => {}
        }
    }
    seen
}

/// Failure 18 of the peers.
#[tokio::test(start_paused = true)]
async fn gauges_return_to_zero_however_calls_end() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let layer = layer(1, 1);
    let probe = Probe::new(Mode::Answer);
    let service = layer.layer(probe.clone());
    let holder = full(&service, &probe).await;
    let mut waiter = Box::pin(start(&mut service.clone()).await);
    assert!(poll(&mut waiter).is_pending());
    assert!(service.clone().oneshot(request()).await.is_err(), "refused");
    let (in_flight, waiting, ..) = seen(&snapshotter);
    assert_eq!((in_flight, waiting), (1.0, 1.0));
    drop(holder);
    assert!(waiter.await.is_ok());
    for mode in [Mode::Fail(1), Mode::PanicInCall, Mode::PanicInPoll] {
        probe.set(mode);
        let service = service.clone();
        drop(catch_unwind(AssertUnwindSafe(|| {
            poll(&mut pin!(service.call_ready(request()))).is_ready()
        })));
    }
    let holder = full(&service, &probe).await;
    assert!(service.clone().oneshot(request()).await.is_err(), "late");
    drop(start(&mut service.clone()).await);
    drop(holder);
    layer.handle().reload(config(7, 1));
    // A snapshot takes what it shows.
    assert_eq!(seen(&snapshotter), (-in_flight, -waiting, 7.0, 1));
    assert_eq!(counts(&layer.handle()), (0, 0));
}

/// A callee that takes the longer the more is under way, and what it has under way.
fn contended(
    base: Duration,
    each: Duration,
) -> (
    impl Service<Req, Response = (), Error = BoxError, Future: Send> + Clone + Send,
    Arc<AtomicU32>,
) {
    struct Leave(Arc<AtomicU32>);
    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let busy = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&busy);
    let service = service_fn(move |_: Req| {
        let others = counted.fetch_add(1, Ordering::SeqCst);
        let leave = Leave(Arc::clone(&counted));
        async move {
            tokio::time::sleep(base + each * others).await;
            drop(leave);
            Ok(())
        }
    });
    (service, busy)
}

/// Scenario S5 with the layers of a whole stack: a callee that takes 15 ms longer for each call under way and is never
/// told that a caller has gone; 40 requests a second, then 80, then 40, whatever becomes of them.
#[tokio::test(start_paused = true)]
async fn a_stack_with_an_adaptive_limit_keeps_a_callee_from_collapse() {
    let busy = Arc::new(AtomicU32::new(0));
    let callee = service_fn(move |service: Duration| {
        let others = busy.fetch_add(1, Ordering::SeqCst);
        let time = service + Duration::from_millis(15) * others;
        let busy = Arc::clone(&busy);
        let work = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            busy.fetch_sub(1, Ordering::SeqCst);
        });
        async move { work.await.map_err(BoxError::from) }
    });
    let limit = AdaptiveLayer::new("contract", AdaptiveConfig::new());
    let breaker = BreakerLayer::new("contract", BreakerConfig::default());
    let (handle, circuit) = (limit.handle(), breaker.handle());
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("contract", Period::secs(1)))
        .layer(limit)
        .layer(RetryLayer::new("contract", RetryConfig::default()))
        .layer(breaker)
        .layer(TimeoutLayer::new("contract", Period::millis(250)))
        .service(callee);
    let mut rng = Rng::new(7);
    let begun = tokio::time::Instant::now();
    let mut at = 0.0;
    let mut requests = Vec::new();
    while at < 120.0 {
        let rate = if (30.0..60.0).contains(&at) {
            80.0
        } else {
            40.0
        };
        at -= (1.0 - rng.unit()).ln() / rate;
        let time = Duration::from_secs_f64(0.010 + 0.025 * rng.unit());
        tokio::time::sleep_until(begun + Duration::from_secs_f64(at)).await;
        requests.push((at, tokio::spawn(service.clone().oneshot(time))));
    }
    let (mut loaded, mut after) = (0_u32, 0_u32);
    for (at, request) in requests {
        let good = u32::from(request.await.unwrap().is_ok());
        loaded += if (30.0..60.0).contains(&at) { good } else { 0 };
        after += if at >= 65.0 { good } else { 0 };
    }
    println!("{loaded} of 30 s at 80, {after} of 55 s at 40; {handle:?} {circuit:?}");
    assert!(loaded >= 50 * 30, "{loaded}");
    assert!(after >= 37 * 55, "{after}");
}

/// So many callers, each of whom calls again when it has its answer or refusal.
async fn callers<S>(service: &S, callers: usize, lasting: Duration)
where
    S: Service<Req, Response = (), Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    let end = tokio::time::Instant::now() + lasting;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                while tokio::time::Instant::now() < end {
                    if service.clone().oneshot(request()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_finds_where_a_callee_is_fast() {
    let layer = AdaptiveLayer::new("contract", AdaptiveConfig::new());
    let handle = layer.handle();
    let (callee, busy) = contended(Duration::from_millis(20), Duration::from_millis(15));
    let service = layer.layer(callee);
    callers(&service, 2, Duration::from_secs(10)).await;
    assert_eq!(handle.limit().get(), 20, "two are not in the way of twenty");
    assert!(handle.last_change().is_none());
    callers(&service, 60, Duration::from_secs(20)).await;
    let limit = handle.limit().get();
    assert!((3..=12).contains(&limit), "{handle:?}");
    let baseline = handle.baseline().unwrap();
    assert!(baseline < Duration::from_millis(80), "{handle:?}");
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert_eq!(busy.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_operator_pins_and_releases_and_reloads_an_adaptive_limit() {
    let layer = AdaptiveLayer::new("contract", AdaptiveConfig::new());
    let handle = layer.handle();
    let (callee, _) = contended(Duration::from_millis(20), Duration::ZERO);
    let service = layer.layer(callee);
    let order = Order::new("alice", "ledger migration").lasting(Period::secs(60));
    handle.pin(count(2), order.clone());
    assert_eq!(handle.pinned(), Some((count(2), order)));
    callers(&service, 60, Duration::from_secs(30)).await;
    assert_eq!(handle.limit().get(), 2, "it does not move");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(
        (handle.limit().get(), handle.pinned()),
        (20, None),
        "it ends by itself"
    );
    assert_eq!(handle.last_change().unwrap().cause(), Cause::Released);
    callers(&service, 60, Duration::from_secs(10)).await;
    assert!(handle.limit().get() >= 60, "{handle:?}");

    handle.pin(count(500), Order::new("alice", "a test"));
    assert_eq!(handle.limit().get(), 500);
    handle.release(Order::new("alice", "it is over"));
    assert!(handle.limit().get() < 500);
    let config = AdaptiveConfig::new().bounds(Bounds::between(1, 10));
    let baseline = handle.baseline();
    handle.reload(config);
    assert_eq!((handle.limit().get(), handle.config()), (10, config));
    assert_eq!(handle.baseline(), baseline);
}

/// Conformance case A11.
#[tokio::test(start_paused = true)]
async fn a11_the_limit_is_pinned_while_the_baseline_is_measured() {
    let config = AdaptiveConfig::new()
        .bounds(Bounds::between(7, 28))
        .start(count(28))
        .queue(0);
    let layer = AdaptiveLayer::new("contract", config);
    let handle = layer.handle();
    let slow = Arc::new(AtomicU32::new(13));
    let millis = Arc::clone(&slow);
    let service = layer.layer(service_fn(move |_: Req| {
        let time = Duration::from_millis(millis.load(Ordering::SeqCst).into());
        async move {
            tokio::time::sleep(time).await;
            Ok::<_, BoxError>(())
        }
    }));
    callers(&service, 28, Duration::from_secs(2)).await;
    let learned = handle.baseline().unwrap().as_millis();
    assert!((12..=13).contains(&learned), "{learned}");
    // Four times as slow: a quarter of 28 may be under way until it is known why.
    slow.store(52, Ordering::SeqCst);
    let measuring = async {
        while handle.last_change().map(|change| change.cause()) != Some(Cause::Measuring) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let load = callers(&service, 60, Duration::from_secs(3));
    let mut load = pin!(load);
    tokio::select! {
        () = measuring => {}
        () = &mut load => panic!("{handle:?}"),
    }
    let mut most = u32::MAX;
    while handle.limit().get() == 7 {
        let in_flight = handle.in_flight();
        assert!(in_flight <= most.max(7), "nobody is let in above seven");
        most = in_flight;
        if in_flight >= 7 {
            let eighth = service.clone().call_ready(request());
            let eighth = poll(&mut Box::pin(eighth));
            assert!(matches!(eighth, Poll::Ready(Err(_))));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
            () = &mut load => panic!("{handle:?}"),
        }
    }
    assert!(most <= 7, "{most}");
    load.await;
    let learned = handle.baseline().unwrap().as_millis();
    assert!((50..=53).contains(&learned), "{learned}");
    handle.pin(count(3), Order::new("alice", "three"));
    let call = || service.clone().call_ready(request());
    let mut three: Vec<_> = (0..3).map(|_| Box::pin(call())).collect();
    for call in &mut three {
        assert!(poll(call).is_pending());
    }
    assert!(
        poll(&mut Box::pin(call())).is_ready(),
        "the fourth is refused"
    );
    three.pop();
    assert!(poll(&mut Box::pin(call())).is_pending(), "one was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_off_by_its_deadline_is_lost_and_one_that_is_dropped_says_nothing() {
    let layer = AdaptiveLayer::new("contract", AdaptiveConfig::new());
    let handle = layer.handle();
    let probe = Probe::new(Mode::Answer);
    let inner = layer.layer(probe.clone());
    let service = DeadlineLayer::new("contract", Period::millis(100)).layer(inner.clone());
    probe.set(Mode::Hang);
    for _ in 0..200 {
        let mut call = Box::pin(start(&mut inner.clone()).await);
        assert!(poll(&mut call).is_pending());
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(
        handle.recent(),
        None,
        "nobody says how long they would have taken"
    );
    for _ in 0..20 {
        let calls: Vec<_> = (0..20)
            .map(|_| service.clone().oneshot(request()))
            .collect();
        for call in calls {
            assert!(call.await.is_err());
        }
    }
    let recent = handle.recent().unwrap();
    assert!(recent >= Duration::from_millis(99), "{recent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_drop_at_random_leak_no_place() {
    let seed = std::env::var("MAINSTAY_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("MAINSTAY_SEED={seed}");
    let fixed = layer(3, 4);
    let adaptive = AdaptiveLayer::new(
        "contract",
        AdaptiveConfig::new()
            .bounds(Bounds::between(1, 5))
            .window(Period::millis(1))
            .samples(count(10))
            .relearn(Period::millis(5)),
    );
    let (fixed_handle, adaptive_handle) = (fixed.handle(), adaptive.handle());
    let probe = Probe::new(Mode::Answer);
    let service = fixed.layer(adaptive.layer(probe.clone()));
    let mut rng = Rng::new(seed);
    let mut tasks: Vec<_> = (0..8)
        .map(|_| {
            let (service, probe) = (service.clone(), probe.clone());
            let mut rng = rng.fork();
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let modes = [Mode::Answer, Mode::PendOnce, Mode::Hang, Mode::Fail(1)];
                    probe.set(modes[(rng.next_u64() % 4) as usize]);
                    {
                        let mut call = pin!(start(&mut service.clone()).await);
                        for _ in 0..rng.next_u64() % 4 {
                            if poll(&mut call).is_ready() {
                                break;
                            }
                            tokio::task::yield_now().await;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let (fixed, pins) = (fixed_handle.clone(), adaptive_handle.clone());
    tasks.push(tokio::spawn(async move {
        for n in 0..500 {
            fixed.reload(config(1 + n % 5, n % 3));
            match n % 10 {
                3 => pins.pin(count(1 + n % 4), Order::new("alice", "a test")),
                7 => pins.release(Order::new("alice", "a test")),
                _ => {}
            }
            tokio::task::yield_now().await;
        }
        fixed.reload(config(3, 4));
        pins.release(Order::new("alice", "the end"));
    }));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((probe.in_flight(), probe.uninvited()), (0, 0));
    assert_eq!(counts(&fixed_handle), (0, 0));
    assert_eq!(
        (adaptive_handle.in_flight(), adaptive_handle.waiting()),
        (0, 0)
    );
    probe.set(Mode::Answer);
    assert!(service.oneshot(request()).await.is_ok());
}

#[test]
fn a_limit_says_its_name_and_its_settings() {
    let first = config(3, 7).wait_share(mainstay::num::Ratio::percent(30));
    let layer = ConcurrencyLayer::new("contract", first);
    assert_eq!(
        (layer.handle().name(), layer.handle().config()),
        ("contract", first)
    );
    layer.handle().reload(config(5, 2));
    assert_eq!(layer.handle().config(), config(5, 2));
    let adaptive = AdaptiveLayer::new("moves", AdaptiveConfig::new());
    assert_eq!(adaptive.handle().name(), "moves");
}
