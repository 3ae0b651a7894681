//! What only the admission of tenants can be asked: seats, tiers, turns, what is within a call, and what it costs to wait.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body_util::BodyExt;
use mainstay::error::{AsRejected, LayerKind, Reason, Rejected};
use mainstay::fallback::{FallbackConfig, FallbackLayer, Outcomes, Primary};
use mainstay::http::{AsResponse, AtEnd, ByStatus};
use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
use mainstay::limit::rate::Rate;
use mainstay::num::{Period, Ratio, count};
use mainstay::presets;
use mainstay::rng::Rng;
use mainstay::scope::{Scope, TierName};
use mainstay::tenant::scheduler::SchedulerConfig;
use mainstay::tenant::tier::{Tier, Tiers, Weight};
use mainstay::tenant::{
    Always, FromExtensions, RankBy, Tenant, TenantConfig, TenantHandle, TenantLayer, TenantPool,
};
use mainstay_test_support::{allocations, live_bytes};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::checks::poll;
use super::probe::{Fault, Mode, Probe, Req, Text, bell, request};

const WAIT: Period = Period::secs(1);

/// Two tiers; a tenant may have every seat.
fn tiers() -> Tiers {
    let tier = |name: &'static str| {
        let tier = Tier::new(name).tenant_share(Ratio::ONE).patience(WAIT);
        tier.tenant_queue(1_000)
    };
    Tiers::new([tier("best").weight(Weight::of(6)), tier("least")]).unwrap()
}

fn pool(capacity: u32) -> TenantPool {
    TenantPool::new("contract", TenantConfig::new(count(capacity), tiers())).unwrap()
}

fn layer(pool: &TenantPool) -> TenantLayer<FromExtensions> {
    TenantLayer::new(pool)
}

/// A request of a tenant, as authentication leaves it.
fn of(key: &str, tier: &str) -> Req {
    let mut request = request();
    request.extensions_mut().insert(Tenant::new(key, tier));
    request
}

fn ready<S: Service<Req>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

fn call<S: Service<Req> + Clone>(service: &S, request: Req) -> Pin<Box<S::Future>> {
    let mut service = service.clone();
    assert!(ready(&mut service));
    Box::pin(service.call(request))
}

/// A call that hangs on a seat.
fn holds<S: Service<Req, Error = Fault> + Clone>(
    service: &S,
    probe: &Probe,
    request: Req,
) -> Pin<Box<S::Future>> {
    probe.set(Mode::Hang);
    let mut holder = call(service, request);
    assert!(poll(&mut holder).is_pending());
    holder
}

fn refused<T>(polled: &Poll<Result<T, Fault>>) -> Rejected {
    match polled {
        Poll::Ready(Err(Fault::Rejected(rejected))) => *rejected,
        Poll::Ready(Err(other)) => panic!("{other}"),
        Poll::Ready(Ok(_)) => panic!("it was answered"),
        Poll::Pending => panic!("it waits"),
    }
}

fn counts(handle: &TenantHandle) -> (u32, u32) {
    (handle.in_flight(), handle.waiting())
}

/// Nothing is left: not by the pool's count, nor by its tenants', and the next call needs no lock and no wait.
fn is_empty(handle: &TenantHandle) {
    assert_eq!(counts(handle), (0, 0), "{handle:?}");
    assert_eq!(handle.top(RankBy::InFlight, 10), []);
    assert_eq!(handle.top(RankBy::Waiting, 10), []);
}

fn seed() -> u64 {
    let given = std::env::var("MAINSTAY_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("MAINSTAY_SEED={seed}");
    seed
}

/// Trap 5, first half: what a service promised when it was asked takes no seat.
#[tokio::test(start_paused = true)]
async fn a_seat_is_taken_in_call_and_not_before() {
    let pool = pool(1);
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let (mut first, mut second) = (service.clone(), service);
    assert!(ready(&mut first) && ready(&mut second));
    assert_eq!(counts(&handle), (0, 0));
    let call = second.call(of("acme", "best"));
    assert_eq!(counts(&handle), (1, 0));
    let mut waits = pin!(first.call(of("acme", "best")));
    assert!(poll(&mut waits).is_pending());
    assert_eq!(counts(&handle), (1, 1));
    assert!(call.await.is_ok());
    assert_eq!(counts(&handle), (1, 0), "the other one's by now");
    assert!(waits.await.is_ok());
    is_empty(&handle);
    assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
}

/// Trap 5: a thousand clones that drop at random.
#[tokio::test(start_paused = true)]
async fn a_thousand_clones_never_have_more_seats_than_there_are() {
    const CAPACITY: u32 = 17;
    let pool = pool(CAPACITY);
    let handle = pool.handle();
    let (running, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count_in = (Arc::clone(&running), Arc::clone(&peak));
    let service = layer(&pool).layer(service_fn(move |_: Req| {
        let (running, peak) = count_in.clone();
        struct Leaves(Arc<AtomicU32>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let leaves = Leaves(running);
        async move {
            let _leaves = leaves;
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, BoxError>(())
        }
    }));
    let mut rng = Rng::new(seed());
    let clones: Vec<_> = (0..1_000)
        .map(|n| {
            let (mut clone, patience) = (service.clone(), rng.next_u64() % 60);
            let tier = ["best", "least", "made up"][n % 3];
            let request = of(&format!("tenant {}", n % 40), tier);
            assert!(ready(&mut clone));
            tokio::spawn(async move {
                let call = clone.call(request);
                tokio::time::timeout(Duration::from_millis(patience), call).await
            })
        })
        .collect();
    for clone in clones {
        drop(clone.await.unwrap());
    }
    assert_eq!(peak.load(Ordering::SeqCst), CAPACITY);
    assert_eq!(running.load(Ordering::SeqCst), 0);
    is_empty(&handle);
}

/// Trap 6.
#[tokio::test(start_paused = true)]
async fn a_finished_future_that_is_kept_holds_no_seat() {
    for waits in [false, true] {
        let pool = pool(1);
        let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
        let service = layer(&pool).layer(probe.clone());
        let holder = waits.then(|| holds(&service, &probe, of("a", "least")));
        probe.set(Mode::Answer);
        let mut kept = call(&service, of("a", "least"));
        assert_eq!(poll(&mut kept).is_pending(), waits);
        drop(holder);
        if waits {
            assert!(kept.as_mut().await.is_ok());
        }
        is_empty(&handle);
        assert!(service.oneshot(of("b", "best")).await.is_ok());
        drop(kept);
        is_empty(&handle);
    }
}

/// Trap 4, without threads; `tenant/loom_tests.rs` has every interleaving.
#[tokio::test(start_paused = true)]
async fn a_waiter_leaves_nothing_wherever_it_is_dropped() {
    for granted in [false, true] {
        for polls in 0..3 {
            let pool = pool(1);
            let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
            let service = layer(&pool).layer(probe.clone());
            let holder = holds(&service, &probe, of("a", "least"));
            probe.set(Mode::Answer);
            let owners = probe.owners();
            let mut leaver = call(&service, of("b", "least"));
            let stayer = call(&service, of("c", "least"));
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
            assert!(stayer.await.is_ok(), "the seat is passed on");
            is_empty(&handle);
            assert!(probe.owners() <= owners);
            assert_eq!(probe.calls(), 2);
        }
    }
}

/// P9: with the patience of its tier or its own deadline, whichever is nearer, whatever else waits.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_it_may_last_no_longer() {
    let pool = pool(1);
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let _holder = holds(&service, &probe, of("a", "least"));
    let begun = mainstay::rt::now();
    let near = Scope::current().until(begun + WAIT.get() / 4);
    let mut short = near.enter(|| call(&service, of("b", "least")));
    let mut long = call(&service, of("b", "least"));
    assert!(poll(&mut short).is_pending() && poll(&mut long).is_pending());
    let rejected = refused(&Poll::Ready(short.await));
    assert_eq!(
        (rejected.layer(), rejected.reason()),
        (LayerKind::Tenant, Reason::QueueTimeout)
    );
    assert!(rejected.is_untried());
    assert_eq!(
        rejected.hint(),
        Some(WAIT.get()),
        "nothing has come free for so long"
    );
    assert_eq!(mainstay::rt::now().since(begun), WAIT.get() / 4);
    let rejected = refused(&Poll::Ready(long.await));
    assert_eq!(rejected.reason(), Reason::QueueTimeout);
    assert_eq!(mainstay::rt::now().since(begun), WAIT.get());
    // It has no time left: there is nothing to wait for.
    let over = Scope::current().until(mainstay::rt::now());
    let mut late = over.enter(|| call(&service, of("b", "least")));
    assert_eq!(refused(&poll(&mut late)).reason(), Reason::DeadlineExceeded);
    assert_eq!((counts(&handle), probe.calls()), ((1, 0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_seat_granted_at_the_last_moment_is_used() {
    let pool = pool(1);
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let holder = holds(&service, &probe, of("a", "least"));
    probe.set(Mode::Answer);
    let mut waiter = call(&service, of("b", "least"));
    assert!(poll(&mut waiter).is_pending());
    // Its turn comes, then its time is over, and only then it is polled.
    drop(holder);
    tokio::time::advance(WAIT.get() * 2).await;
    assert!(waiter.await.is_ok());
    is_empty(&handle);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_once_when_its_turn_comes() {
    let pool = pool(1);
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let holder = holds(&service, &probe, of("a", "least"));
    let mut first = call(&service, of("b", "least"));
    let mut second = call(&service, of("c", "least"));
    let (first_bell, waker) = bell();
    let cx = &mut Context::from_waker(&waker);
    assert!(first.as_mut().poll(cx).is_pending());
    let (second_bell, waker) = bell();
    let cx = &mut Context::from_waker(&waker);
    assert!(second.as_mut().poll(cx).is_pending());
    drop(holder);
    assert_eq!((first_bell.rung(), second_bell.rung()), (1, 0));
    assert!(poll(&mut first).is_pending(), "it calls");
    assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
    drop(first);
    assert_eq!((first_bell.rung(), second_bell.rung()), (1, 1));
    probe.set(Mode::Answer);
    assert!(second.await.is_ok());
    is_empty(&handle);
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_the_seat_back_whether_the_call_had_waited_or_not() {
    for mode in [Mode::PanicInCall, Mode::PanicInPoll] {
        for waits in [false, true] {
            let pool = pool(1);
            let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
            let service = layer(&pool).layer(probe.clone());
            let holder = waits.then(|| holds(&service, &probe, of("a", "least")));
            let mut clone = service.clone();
            assert!(ready(&mut clone));
            probe.set(mode);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let mut call = pin!(clone.call(of("b", "least")));
                assert_eq!(poll(&mut call).is_pending(), waits);
                drop(holder);
                poll(&mut call).is_ready()
            }));
            assert!(panicked.is_err());
            is_empty(&handle);
            assert_eq!(Scope::current().tier(), None, "nothing of it is left here");
            probe.set(Mode::Answer);
            assert!(service.oneshot(of("b", "least")).await.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_kept_to_the_end_of_the_body() {
    let pool = pool(1);
    let layer = layer(&pool)
        .refuse_with(AsResponse)
        .until(AtEnd::new(ByStatus));
    let handle = layer.handle();
    let probe = Probe::new(Mode::Answer);
    let service = tower::util::MapResponse::new(probe, |response: http::Response<_>| {
        response.map(|_: Text| Text::from("a body"))
    });
    let service = layer.layer(service);
    let response = service.clone().oneshot(of("a", "best")).await.unwrap();
    assert_eq!(handle.in_flight(), 1, "its body has not ended");
    let other = service.clone().oneshot(of("b", "best")).await.unwrap();
    assert_eq!(other.status(), 503);
    let rejected = other.extensions().get::<Rejected>().unwrap();
    assert_eq!(rejected.reason(), Reason::QueueTimeout);
    assert!(response.into_body().collect().await.is_ok());
    is_empty(&handle);
    drop(service.oneshot(of("c", "best")).await.unwrap());
    is_empty(&handle);
}

/// Trap 3: a call that comes back to its pool would wait for itself.
#[tokio::test(start_paused = true)]
async fn a_circle_of_calls_takes_one_seat() {
    let (first, second) = (pool(1), pool(1));
    let seen = Arc::new(AtomicU32::new(0));
    // Down: the pool itself, another pool, the first again; the innermost counts.
    let innermost = {
        let (seen, handles) = (Arc::clone(&seen), (first.handle(), second.handle()));
        service_fn(move |_: Req| {
            seen.fetch_add(1, Ordering::SeqCst);
            assert_eq!(Scope::current().tier(), TierName::known("best"));
            assert_eq!((counts(&handles.0), counts(&handles.1)), ((1, 0), (1, 0)));
            async { Ok::<_, BoxError>(()) }
        })
    };
    let third = layer(&first).layer(innermost);
    let other = {
        let inner = layer(&second).layer(third);
        // Whose call it is nobody knows any more; its tier is that of the outer call.
        service_fn(move |_: Req| inner.clone().oneshot(request()))
    };
    let twice = layer(&first).layer(other);
    let service = layer(&first).layer(twice);
    let begun = tokio::time::Instant::now();
    service.oneshot(of("a", "best")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    is_empty(&first.handle());
    is_empty(&second.handle());
    let best = &second.handle().tiers()[0];
    assert_eq!(
        (best.name, best.admitted),
        ("best", 1),
        "the inherited tier"
    );
}

/// A tier that is inherited is a floor: a call in the name of somebody better is not held back by who asked for it.
#[tokio::test(start_paused = true)]
async fn a_call_within_has_the_outer_tier_or_a_higher_one() {
    let pool = pool(4);
    let service = layer(&pool).layer(service_fn(|_: Req| async {
        Ok::<_, BoxError>(Scope::current().tier().unwrap().as_str())
    }));
    let within = |tier: &str, request| {
        let scope = Scope::current().in_tier(TierName::known(tier).unwrap());
        scope.enter(|| call(&service, request))
    };
    assert_eq!(within("best", of("a", "least")).await.unwrap(), "best");
    assert_eq!(within("least", of("a", "best")).await.unwrap(), "best");
    assert_eq!(within("best", request()).await.unwrap(), "best");
    // A tier of some other pool says nothing here.
    TierName::new("of-another-pool").unwrap();
    assert_eq!(
        within("of-another-pool", of("a", "best")).await.unwrap(),
        "best"
    );
    assert_eq!(within("of-another-pool", request()).await.unwrap(), "least");
}

/// Trap 17.
#[tokio::test(start_paused = true)]
async fn whoever_is_not_known_is_the_lowest() {
    let pool = pool(4);
    let service = layer(&pool).layer(Probe::new(Mode::Answer));
    let mut forged = request();
    let headers = forged.headers_mut();
    headers.insert("x-tenant-tier", "best".parse().unwrap());
    for request in [request(), of("acme", "BEST"), of("acme", ""), forged] {
        assert!(service.clone().oneshot(request).await.is_ok());
    }
    assert_eq!(pool.tenant("acme", "platinum").tier_name(), "least");
    let tiers = pool.handle().tiers();
    let admitted: Vec<_> = tiers
        .iter()
        .map(|tier| (tier.name, tier.admitted))
        .collect();
    assert_eq!(admitted, [("best", 0), ("least", 4)]);
}

#[tokio::test(start_paused = true)]
async fn the_next_free_seat_is_that_of_whose_turn_it_is() {
    let tier = |name: &'static str| Tier::new(name).tenant_share(Ratio::ONE);
    let tiers = Tiers::new([tier("reserved").reserved(Ratio::percent(50)), tier("rest")]);
    let config = TenantConfig::new(count(2), tiers.unwrap());
    let pool = TenantPool::new("contract", config).unwrap();
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    // Both seats are lent to the rest, and more of it waits.
    let mut lent = vec![
        holds(&service, &probe, of("a", "rest")),
        holds(&service, &probe, of("a", "rest")),
    ];
    let mut more = call(&service, of("a", "rest"));
    let mut other = call(&service, of("b", "rest"));
    let mut owner = call(&service, of("c", "reserved"));
    for waits in [&mut more, &mut other, &mut owner] {
        assert!(poll(waits).is_pending());
    }
    assert_eq!(probe.calls(), 2);
    lent.pop();
    assert!(poll(&mut more).is_pending() && poll(&mut other).is_pending());
    assert_eq!(probe.calls(), 2, "it is not their turn");
    assert!(poll(&mut owner).is_pending());
    assert_eq!(probe.calls(), 3, "the last to come, and the first to go");
    assert_eq!(counts(&handle), (2, 2));
    drop((lent, more, other, owner));
    is_empty(&handle);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_tenant_leaves_seats_to_the_others() {
    let config = TenantConfig::new(count(8), Tiers::new([Tier::new("only")]).unwrap());
    let pool = TenantPool::new("contract", config).unwrap();
    let (probe, handle) = (Probe::new(Mode::Hang), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let mut flood: Vec<_> = (0..150)
        .map(|_| call(&service, of("flood", "only")))
        .collect();
    // A quarter of the pool, a hundred in its queue, and the rest is told at once.
    assert_eq!(counts(&handle), (2, 100));
    let rejected = refused(&poll(flood.last_mut().unwrap()));
    assert_eq!(rejected.reason(), Reason::TenantQueueFull);
    let victims: Vec<_> = (0..6)
        .map(|n| call(&service, of(&format!("victim {n}"), "only")))
        .collect();
    assert_eq!(counts(&handle), (8, 100), "at once, past all who wait");
    drop(victims);
    assert_eq!(
        counts(&handle),
        (2, 100),
        "nor does it take what they leave"
    );
    let top = handle.top(RankBy::Waiting, 3);
    assert_eq!(top.len(), 1);
    assert_eq!(top[0].key.as_ref().unwrap().to_string(), "flood");
    assert_eq!(
        (top[0].in_flight, top[0].waiting, top[0].refused),
        (2, 100, 48)
    );
    drop(flood);
    is_empty(&handle);
}

/// P12.
#[tokio::test(start_paused = true)]
async fn capacity_and_tiers_can_be_replaced_under_load() {
    let pool = pool(2);
    let (probe, handle) = (Probe::new(Mode::Hang), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let mut calls: Vec<_> = (0..5)
        .map(|n| call(&service, of(&n.to_string(), "least")))
        .collect();
    assert_eq!(counts(&handle), (2, 3));
    handle.resize(count(3));
    assert_eq!(counts(&handle), (3, 2), "at once");
    handle.resize(count(1));
    assert_eq!((handle.capacity().get(), counts(&handle)), (1, (3, 2)));
    let narrow = Tiers::new([
        Tier::new("best").weight(Weight::of(3)),
        Tier::new("least")
            .limit(Ratio::percent(50))
            .tenant_share(Ratio::ONE),
    ]);
    handle
        .reload(TenantConfig::new(count(8), narrow.unwrap()))
        .unwrap();
    assert_eq!(counts(&handle), (4, 1), "half of eight");
    assert_eq!(handle.config().scheduler().capacity().get(), 8);
    // What cannot be is refused, and what runs goes on.
    let others = Tiers::new([Tier::new("best"), Tier::new("worst")]).unwrap();
    let error = handle
        .reload(TenantConfig::new(count(8), others))
        .unwrap_err();
    assert_eq!(error.field(), "tiers");
    let moving = TenantConfig::new(count(8), tiers()).adaptive(AdaptiveConfig::new());
    assert_eq!(handle.reload(moving).unwrap_err().field(), "adaptive");
    let vast = TenantConfig::new(count(u32::MAX), tiers());
    assert_eq!(handle.reload(vast).unwrap_err().field(), "capacity");
    assert_eq!(counts(&handle), (4, 1));
    for call in &mut calls {
        assert!(poll(call).is_pending(), "nobody is sent away");
    }
    drop(calls);
    is_empty(&handle);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_beyond_its_quota_is_told_before_it_asks_for_a_seat() {
    let config = TenantConfig::new(count(4), tiers())
        .quota("least", Rate::burst(2, Period::secs(1)))
        .unwrap();
    let pool = TenantPool::new("contract", config.clone()).unwrap();
    let handle = pool.handle();
    let service = layer(&pool)
        .refuse_with(AsResponse)
        .layer(Probe::new(Mode::Answer));
    let slot = pool.tenant("a", "least");
    let mut at_slot = request();
    at_slot.extensions_mut().insert(slot);
    let status = async |request| service.clone().oneshot(request).await.unwrap().status();
    assert_eq!(status(of("a", "least")).await, 200);
    assert_eq!(status(at_slot).await, 200);
    let response = service.clone().oneshot(of("a", "least")).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(status(of("b", "least")).await, 200, "another's");
    assert_eq!(status(of("a", "best")).await, 200, "another tier's");
    for expected in [200, 200, 429] {
        assert_eq!(
            status(request()).await,
            expected,
            "those who are not known share one"
        );
    }
    let refused = handle.tiers()[1].refused.clone();
    assert_eq!(refused, [(Reason::RateLimit, 2)]);
    handle.reload(TenantConfig::new(count(4), tiers())).unwrap();
    assert_eq!(status(of("a", "least")).await, 200, "taken away");
    handle.reload(config).unwrap();
    assert_eq!(
        status(of("a", "least")).await,
        429,
        "and given back as it was"
    );
    let error = TenantConfig::new(count(4), tiers())
        .quota("made up", Rate::burst(2, Period::secs(1)))
        .unwrap_err();
    assert_eq!((error.field(), error.value()), ("quota", "made up"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_status_of_its_reason() {
    let tier = Tier::new("only")
        .queue(1)
        .tenant_queue(1)
        .tenant_share(Ratio::ONE);
    let config = TenantConfig::new(count(1), Tiers::new([tier]).unwrap());
    let pool = TenantPool::new("contract", config).unwrap();
    let probe = Probe::new(Mode::Hang);
    let http = layer(&pool).refuse_with(AsResponse).layer(probe.clone());
    let grpc = layer(&pool)
        .refuse_with(mainstay::grpc::AsResponse)
        .layer(probe.clone());
    let mut calls = [call(&http, of("a", "only")), call(&http, of("a", "only"))];
    for call in &mut calls {
        assert!(poll(call).is_pending());
    }
    let of_tenant = http.clone().oneshot(of("a", "only")).await.unwrap();
    assert_eq!(of_tenant.status(), 429);
    let of_tier = http.clone().oneshot(of("b", "only")).await.unwrap();
    assert_eq!(of_tier.status(), 503);
    let body = of_tier.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("only"), "{body:?}");
    let status = |response: &http::Response<Text>| {
        tonic::Status::from_header_map(response.headers()).unwrap()
    };
    for who in ["a", "b"] {
        let response = grpc.clone().oneshot(of(who, "only")).await.unwrap();
        assert_eq!(status(&response).code(), tonic::Code::ResourceExhausted);
    }
    let by_reason = pool.handle().tiers()[0].refused.clone();
    assert_eq!(
        by_reason,
        [(Reason::QueueFull, 2), (Reason::TenantQueueFull, 2)]
    );
}

/// P10: what is known of tenants is bounded, and a slot that was given away is noticed by whoever still has it.
#[tokio::test(start_paused = true)]
async fn a_tenant_whose_slot_was_given_away_is_found_again() {
    let config = SchedulerConfig::new(count(4), tiers()).tenants(count(32));
    let pool = TenantPool::new("contract", config).unwrap();
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let old = pool.tenant("acme", "best");
    let service = TenantLayer::identify(&pool, Always::new(old)).layer(probe.clone());
    let held = {
        let mut busy = request();
        busy.extensions_mut().insert(pool.tenant("busy", "best"));
        holds(&layer(&pool).layer(probe.clone()), &probe, busy)
    };
    probe.set(Mode::Answer);
    for n in 0..10_000_u64 {
        let slot = pool.tenant(n, "least");
        let mut request = request();
        request.extensions_mut().insert(slot);
        assert!(
            layer(&pool)
                .layer(probe.clone())
                .oneshot(request)
                .await
                .is_ok()
        );
    }
    assert!(handle.tenants() <= 32, "{}", handle.tenants());
    assert!(service.oneshot(request()).await.is_ok());
    let top = handle.top(RankBy::Admitted, 50);
    let of = |key: &str| {
        let found = top.iter().find(|tenant| {
            tenant
                .key
                .as_ref()
                .is_some_and(|known| known.to_string() == key)
        });
        found.map(|tenant| (tenant.tier, tenant.admitted))
    };
    assert_eq!(of("acme"), Some(("best", 1)));
    assert_eq!(
        of("busy"),
        Some(("best", 1)),
        "whoever has a seat keeps its slot"
    );
    let admitted: Vec<_> = handle.tiers().iter().map(|tier| tier.admitted).collect();
    assert_eq!(
        admitted,
        [2, 10_000],
        "those of slots given away are not forgotten"
    );
    drop(held);
    is_empty(&handle);
}

/// Once it is found again it needs no lock, as others: the scheduler does not hear of it.
#[tokio::test(start_paused = true)]
async fn a_slot_that_was_given_away_costs_no_lock_when_it_is_free_again() {
    let config = SchedulerConfig::new(count(4), tiers()).tenants(count(16));
    let pool = TenantPool::new("contract", config).unwrap();
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let old = pool.tenant("acme", "best");
    for n in 0..1_000_u64 {
        drop(pool.tenant(n, "least"));
    }
    let service = TenantLayer::identify(&pool, Always::new(old)).layer(probe.clone());
    for _ in 0..2 {
        let held = holds(&service, &probe, request());
        assert_eq!((counts(&handle), handle.scheduled_tenants()), ((1, 0), 0));
        drop(held);
    }
    is_empty(&handle);
}

/// A slot that was made while there was no room is its tenant's own as soon as there is.
#[tokio::test(start_paused = true)]
async fn who_found_no_room_does_not_share_for_ever() {
    let config = SchedulerConfig::new(count(40), tiers()).tenants(count(16));
    let pool = TenantPool::new("contract", config).unwrap();
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let busy: Vec<_> = (0..200_u64)
        .map(|n| pool.tenant(n, "least"))
        .take_while(|_| handle.in_flight() < 40)
        .map(|slot| {
            let mut request = request();
            request.extensions_mut().insert(slot);
            holds(&service, &probe, request)
        })
        .collect();
    let late = pool.tenant("late", "best");
    let mine = TenantLayer::identify(&pool, Always::new(late)).layer(probe.clone());
    drop(busy);
    let held = holds(&mine, &probe, request());
    let top = handle.top(RankBy::InFlight, 5);
    let keys: Vec<_> = top.iter().map(|tenant| tenant.key.is_some()).collect();
    assert_eq!(keys, [true], "{top:?}");
    drop(held);
    is_empty(&handle);
}

/// Asks for the settings when it is woken, from another thread and not for long.
struct Asks(TenantHandle, AtomicU32);

impl std::task::Wake for Asks {
    fn wake(self: Arc<Self>) {
        let (told, hears) = std::sync::mpsc::channel();
        let handle = self.0.clone();
        std::thread::spawn(move || told.send(handle.config().scheduler().capacity().get()));
        let capacity = hears.recv_timeout(Duration::from_secs(5));
        self.1.store(capacity.unwrap_or(0), Ordering::SeqCst);
    }
}

/// Whoever is woken by new settings may ask for them.
#[tokio::test(start_paused = true)]
async fn a_reload_wakes_nobody_under_a_lock() {
    let pool = pool(1);
    let (probe, handle) = (Probe::new(Mode::Answer), pool.handle());
    let service = layer(&pool).layer(probe.clone());
    let holder = holds(&service, &probe, of("a", "least"));
    let mut waiter = call(&service, of("b", "least"));
    let asks = Arc::new(Asks(handle.clone(), AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&asks));
    assert!(
        waiter
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    handle.reload(TenantConfig::new(count(2), tiers())).unwrap();
    assert_eq!(asks.1.load(Ordering::SeqCst), 2);
    drop((holder, waiter));
    is_empty(&handle);
}

#[tokio::test(start_paused = true)]
async fn seats_follow_a_limit_that_moves() {
    let limit = AdaptiveConfig::new()
        .bounds(Bounds::between(2, 64))
        .start(count(4))
        .samples(count(10));
    let config = TenantConfig::new(count(1), tiers()).adaptive(limit);
    let pool = TenantPool::new("contract", config).unwrap();
    let handle = pool.handle();
    assert_eq!(handle.capacity().get(), 4, "its start");
    let service = layer(&pool).layer(service_fn(|_: Req| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok::<_, BoxError>(())
    }));
    let calls: Vec<_> = (0..600)
        .map(|n| tokio::spawn(call(&service, of(&(n % 9).to_string(), "best"))))
        .collect();
    for call in calls {
        drop(call.await.unwrap());
    }
    assert!(handle.capacity().get() > 8, "{handle:?}");
    is_empty(&handle);
}

/// A wait is one allocation of the future; the books have room already.
#[tokio::test(start_paused = true)]
async fn a_wait_costs_one_allocation_and_a_refusal_none() {
    let tier = Tier::new("only").tenant_queue(1).tenant_share(Ratio::ONE);
    let config = TenantConfig::new(count(1), Tiers::new([tier]).unwrap());
    let pool = TenantPool::new("contract", config).unwrap();
    let probe = Probe::new(Mode::Hang);
    let service = TenantLayer::identify(&pool, Always::new(pool.tenant("a", "only")));
    let mut service = service.layer(probe.clone());
    let mut turns = |allocated: &mut [u64; 2]| {
        let mut holder = {
            assert!(ready(&mut service));
            Box::pin(service.call(request()))
        };
        assert!(poll(&mut holder).is_pending());
        let (waiting, refusing) = (request(), request());
        let (waits, mut waiter) = allocations(|| {
            assert!(ready(&mut service));
            service.call(waiting)
        });
        let (refuses, mut refused) = allocations(|| {
            assert!(ready(&mut service));
            service.call(refusing)
        });
        *allocated = [waits, refuses];
        // Neither may be moved once it is polled; both are dropped here, unpolled.
        let _both = (&mut waiter, &mut refused);
    };
    let mut allocated = [0; 2];
    for _ in 0..3 {
        turns(&mut allocated);
    }
    assert_eq!(allocated, [1, 0]);
    is_empty(&pool.handle());
}

/// S0-13, S0-14: the queues of a GPU cluster; what is shed is answered by something smaller.
#[tokio::test(start_paused = true)]
async fn what_the_gpu_queue_sheds_has_a_fallback() {
    let config = TenantConfig::new(count(8), presets::erp::gpu_tiers());
    let pool = TenantPool::new("gpu", config).unwrap();
    let handle = pool.handle();
    let gpu = layer(&pool).layer(service_fn(|_: Req| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok::<_, BoxError>("the large model")
    }));
    let fallback = FallbackLayer::function(
        "gpu",
        FallbackConfig::new(Outcomes::NONE.refusals()),
        |(), _: Primary<'_, &'static str, BoxError>| Ok::<_, BoxError>("the small model"),
    );
    let service = fallback.layer(gpu);
    let tier = handle
        .config()
        .tiers()
        .iter()
        .last()
        .unwrap()
        .1
        .name()
        .to_owned();
    let calls: Vec<_> = (0..2_000)
        .map(|n| {
            let request = of(&(n % 100).to_string(), &tier);
            tokio::spawn(service.clone().oneshot(request))
        })
        .collect();
    let mut answers = [0; 2];
    for call in calls {
        let answer = call.await.unwrap().unwrap();
        answers[usize::from(answer == "the small model")] += 1;
    }
    assert!(answers[0] >= 7 && answers[1] > 1_000, "{answers:?}");
    is_empty(&handle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_drop_at_random_leak_no_seat() {
    let tiers = Tiers::new([
        Tier::new("best")
            .weight(Weight::of(6))
            .patience(Period::millis(2)),
        Tier::new("least")
            .patience(Period::millis(1))
            .tenant_queue(3),
    ]);
    let pool = TenantPool::new("contract", TenantConfig::new(count(3), tiers.unwrap())).unwrap();
    let handle = pool.handle();
    let probe = Probe::new(Mode::Answer);
    let service = layer(&pool).layer(probe.clone());
    let mut rng = Rng::new(seed());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (service, probe, handle) = (service.clone(), probe.clone(), handle.clone());
            let mut rng = Rng::new(rng.next_u64());
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let mode = [Mode::Answer, Mode::PendOnce, Mode::Hang, Mode::Fail(1)];
                    probe.set(mode[(rng.next_u64() % 4) as usize]);
                    {
                        let tier = ["best", "least"][(rng.next_u64() % 2) as usize];
                        let mut call = call(&service, of(&(rng.next_u64() % 5).to_string(), tier));
                        for _ in 0..rng.next_u64() % 3 {
                            if poll(&mut call).is_ready() {
                                break;
                            }
                        }
                        if rng.next_u64().is_multiple_of(50) {
                            handle.resize(count(1 + (rng.next_u64() % 4) as u32));
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
    assert_eq!((probe.in_flight(), probe.uninvited()), (0, 0));
    is_empty(&handle);
    probe.set(Mode::Answer);
    let (allocated, answered) = {
        let slot = pool.tenant("after", "best");
        let mut service = TenantLayer::identify(&pool, Always::new(slot)).layer(probe);
        assert!(service.clone().oneshot(request()).await.is_ok());
        assert!(ready(&mut service));
        let request = request();
        allocations(|| {
            let mut call = pin!(service.call(request));
            poll(&mut call).is_ready()
        })
    };
    assert!(answered && allocated == 0, "without a wait, as before");
}

/// A tenant's own error type tells its refusals, as everybody's does.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_known_for_one() {
    let tier = Tier::new("only").queue(0).tenant_share(Ratio::ONE);
    let config = TenantConfig::new(count(1), Tiers::new([tier]).unwrap());
    let pool = TenantPool::new("contract", config).unwrap();
    let probe = Probe::new(Mode::Hang);
    let service = layer(&pool).layer(probe.clone());
    let _holder = holds(&service, &probe, of("a", "only"));
    let fault = service.oneshot(of("b", "only")).await.unwrap_err();
    assert_eq!(fault.as_rejected().unwrap().layer(), LayerKind::Tenant);
}

/// What a pool keeps of a tenant that it knows, in its own books and in the scheduler's.
#[tokio::test(start_paused = true)]
async fn a_known_tenant_takes_less_than_300_bytes() {
    const TENANTS: usize = 10_000;
    let tier = Tier::new("only").tenant_share(Ratio::percent(25));
    let tiers = Tiers::new([tier]).unwrap();
    let config = SchedulerConfig::new(count(4), tiers).tenants(count(16_384));
    let before = live_bytes();
    let pool = TenantPool::new("books", TenantConfig::of(config)).unwrap();
    let empty = live_bytes();
    let probe = Probe::new(Mode::Answer);
    let service = layer(&pool).layer(probe.clone());
    // Somebody waits for its own only seat, so the scheduler is asked for everybody.
    let holder = holds(&service, &probe, of("somebody", "only"));
    let mut waiter = call(&service, of("somebody", "only"));
    assert!(poll(&mut waiter).is_pending());
    probe.set(Mode::Answer);
    for n in 0..TENANTS {
        let request = of(&format!("tenant-{n:05}"), "only");
        assert!(poll(&mut call(&service, request)).is_ready());
    }
    let handle = pool.handle();
    assert_eq!(
        (handle.tenants(), handle.scheduled_tenants()),
        (TENANTS + 1, TENANTS + 1)
    );
    drop((holder, waiter));
    let each = (live_bytes() - empty) / TENANTS as i64;
    println!(
        "{each} bytes a tenant, {} of a pool that knows none",
        empty - before
    );
    assert!(each <= 300, "{each}");
}
