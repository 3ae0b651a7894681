//! What only rate limits can be asked: who goes when, what is given back, what is counted, what is remembered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::deadline::DeadlineLayer;
use mainstay::error::{AsRejected, LayerKind, Reason};
use mainstay::limit::rate::{
    KeyedRate, KeyedRateConfig, Rate, RateConfig, RateHandle, RateLayer, RateLimiter,
};
use mainstay::num::{Period, count};
use mainstay::rng::Rng;
use mainstay::rt;
use mainstay_test_support::allocations;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use super::checks::{poll, start};
use super::probe::{Fault, Mode, Probe, Req, bell, request};

const SECOND: Period = Period::secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Ten a second, evenly, with so much patience.
fn patient(patience: Period) -> RateLayer {
    RateLayer::new(
        "contract",
        RateConfig::new(Rate::even(10, SECOND)).patience(patience),
    )
}

fn counts(handle: &RateHandle) -> (u64, u64, u64) {
    (handle.admitted(), handle.delayed(), handle.refused())
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_the_rate_is_refused_with_the_time_to_come_back() {
    let layer = RateLayer::new("contract", Rate::burst(3, SECOND));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    // One limit, however often the layer is applied and cloned.
    let services = [
        layer.layer(probe.clone()),
        layer.layer(probe.clone()),
        layer.clone().layer(probe.clone()),
    ];
    for service in services.clone() {
        assert!(service.oneshot(request()).await.is_ok());
    }
    let [service, ..] = services;
    let refused = service.clone().oneshot(request()).await.unwrap_err();
    let rejected = refused.as_rejected().unwrap();
    assert_eq!(
        (rejected.layer(), rejected.reason()),
        (LayerKind::Rate, Reason::RateLimit)
    );
    assert!(rejected.is_untried());
    let hint = rejected.hint().unwrap();
    assert!(hint > millis(333) && hint <= millis(334), "{hint:?}");
    tokio::time::sleep(hint - millis(1)).await;
    assert!(service.clone().oneshot(request()).await.is_err());
    tokio::time::sleep(millis(1)).await;
    assert!(service.oneshot(request()).await.is_ok());
    assert_eq!((probe.calls(), probe.uninvited()), (4, 0));
    assert_eq!(counts(&handle), (4, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_go_one_after_another_at_their_time() {
    let layer = patient(Period::millis(500));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = layer.layer(probe.clone());
    let began = rt::now();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let call = service.clone().oneshot(request());
            tokio::spawn(async move { (call.await.is_ok(), rt::now()) })
        })
        .collect();
    let mut ends = Vec::new();
    for call in calls {
        let (went, at) = call.await.unwrap();
        ends.push(went.then(|| at.since(began).as_millis() / 10));
    }
    let expected = [0, 10, 20, 30, 40, 50].map(Some);
    assert_eq!(ends, [&expected[..], &[None, None]].concat());
    assert_eq!((probe.calls(), probe.uninvited()), (6, 0));
    assert_eq!(counts(&handle), (6, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_not_made_before_its_turn_and_its_waker_is_rung_for_it() {
    let layer = patient(SECOND);
    let probe = Probe::new(Mode::Answer);
    let mut service = layer.layer(probe.clone());
    assert!(start(&mut service).await.await.is_ok());
    let (bell, waker) = bell();
    let mut cx = Context::from_waker(&waker);
    let mut call = pin!(start(&mut service).await);
    for _ in 0..10 {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    tokio::time::sleep(millis(98)).await;
    assert_eq!((bell.rung(), probe.calls()), (0, 1));
    tokio::time::sleep(millis(3)).await;
    assert_eq!((bell.rung(), probe.calls()), (1, 1));
    assert!(call.await.is_ok());
    assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_first_polled_after_its_turn_goes_at_once() {
    let layer = patient(SECOND);
    let mut service = layer.layer(Probe::new(Mode::Answer));
    assert!(start(&mut service).await.await.is_ok());
    let mut call = pin!(start(&mut service).await);
    tokio::time::sleep(millis(500)).await;
    assert!(poll(&mut call).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_cross_the_deadline_is_not_begun() {
    let layer = patient(SECOND);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("contract", Period::millis(150)))
        .layer(layer)
        .service(probe.clone());
    let began = rt::now();
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(service.clone().oneshot(request())))
        .collect();
    let mut refusals = Vec::new();
    for call in calls {
        refusals.extend(call.await.unwrap().err());
    }
    let [refused] = refusals[..] else {
        panic!("{refusals:?}")
    };
    let rejected = refused.as_rejected().unwrap();
    assert_eq!(rejected.layer(), LayerKind::Rate, "not at the deadline");
    assert_eq!(rejected.hint(), Some(millis(50)));
    assert!(rt::now().since(began) < millis(105));
    assert_eq!(counts(&handle), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_gives_its_place_back_wherever_that_is() {
    for polls in 0..3 {
        let layer = patient(SECOND);
        let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
        let mut service = layer.layer(probe.clone());
        let owners = probe.owners();
        assert!(start(&mut service).await.await.is_ok());
        {
            let mut call = pin!(start(&mut service).await);
            for _ in 0..polls {
                assert!(poll(&mut call).is_pending());
            }
            assert_eq!(handle.look().left(), -1);
        }
        assert_eq!(handle.look().left(), 0);
        assert_eq!(probe.owners(), owners);
        let began = rt::now();
        assert!(service.oneshot(request()).await.is_ok());
        assert_eq!(rt::now().since(began).as_millis() / 10, 10);
        assert_eq!((probe.calls(), counts(&handle)), (2, (2, 2, 0)));
    }
}

/// One in the middle leaves: the next who comes gets that place, and nobody behind waits longer.
#[tokio::test(start_paused = true)]
async fn a_place_in_the_middle_goes_to_the_next_who_comes() {
    let layer = patient(SECOND);
    let service = layer.layer(Probe::new(Mode::Answer));
    let began = rt::now();
    let call = || {
        let mut call = tokio::spawn(service.clone().oneshot(request()));
        drop(poll(&mut call));
        call
    };
    let mut calls: Vec<_> = (0..5).map(|_| call()).collect();
    tokio::task::yield_now().await;
    let gone = calls.remove(2);
    gone.abort();
    assert!(gone.await.is_err());
    calls.insert(2, call());
    let mut ends = Vec::new();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
        ends.push(rt::now().since(began).as_millis() / 10);
    }
    assert_eq!(ends, [0, 10, 20, 30, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_has_used_its_permit_and_harms_nobody() {
    let layer = patient(SECOND);
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let mut service = layer.layer(probe.clone());
    assert!(start(&mut service).await.await.is_ok());
    probe.set(Mode::PanicInCall);
    let mut call = pin!(start(&mut service).await);
    assert!(poll(&mut call).is_pending());
    tokio::time::sleep(millis(110)).await;
    let panicked = catch_unwind(AssertUnwindSafe(|| poll(&mut call).is_ready()));
    assert!(panicked.is_err());
    assert_eq!(counts(&handle), (2, 1, 0));
    probe.set(Mode::Answer);
    assert!(service.oneshot(request()).await.is_ok());
}

/// Nothing waits for a service that is not ready while it holds a permit, and no permit is taken before `call`.
#[tokio::test(start_paused = true)]
async fn readiness_takes_no_permit() {
    let layer = RateLayer::new("contract", Rate::burst(1, SECOND));
    let (probe, handle) = (Probe::new(Mode::Answer), layer.handle());
    let mut service = layer.layer(probe.clone());
    for _ in 0..10 {
        assert!(is_ready(&mut service));
        drop(service.clone());
    }
    assert_eq!(handle.look().left(), 1);
    assert!(service.call(request()).await.is_ok());
    // Ready although the limit would refuse: it says so in `call`.
    assert!(is_ready(&mut service));
    assert!(service.call(request()).await.is_err());
    probe.set_ready(false);
    assert!(!is_ready(&mut service));
}

fn is_ready<S: Service<Req>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_owed_and_those_who_wait() {
    let layer = patient(SECOND);
    let handle = layer.handle();
    let service = layer.layer(Probe::new(Mode::Answer));
    let began = rt::now();
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(service.clone().oneshot(request())))
        .collect();
    tokio::task::yield_now().await;
    handle.reload(Rate::burst(20, SECOND));
    assert_eq!(handle.config().rate(), Rate::burst(20, SECOND));
    assert_eq!(handle.look().left(), 17);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(rt::now().since(began).as_millis() / 10, 20);
    handle.reload(Rate::even(1, Period::secs(60)));
    assert_eq!(handle.look().left(), 1, "the debt is paid at the old rate");
    assert!(service.clone().oneshot(request()).await.is_ok());
    assert!(service.oneshot(request()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn refusals_and_waits_allocate_nothing() {
    let keyed = KeyedRate::new(
        "contract",
        RateConfig::new(Rate::even(10, SECOND)).patience(Period::millis(250)),
    );
    check_allocations(patient(Period::millis(250)).layer(Probe::new(Mode::Answer))).await;
    let layer = RateLayer::keyed(keyed, |_: &Req| 7_u64);
    check_allocations(layer.layer(Probe::new(Mode::Answer))).await;
}

async fn check_allocations<S>(mut service: S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    // What is made once per thread or policy does not count: one goes, two wait, one is refused.
    {
        let (mut one, mut two) = (
            pin!(start(&mut service).await),
            pin!(start(&mut service).await),
        );
        let (mut three, mut four) = (
            pin!(start(&mut service).await),
            pin!(start(&mut service).await),
        );
        assert!(poll(&mut one).is_ready() && poll(&mut two).is_pending());
        assert!(poll(&mut three).is_pending() && poll(&mut four).is_ready());
    }
    tokio::time::sleep(SECOND.get()).await;
    assert!(start(&mut service).await.await.is_ok());

    let wait = |service: &mut S, request| {
        let (allocated, call) = allocations(|| service.call(request));
        assert_eq!(allocated, 0, "a call that must wait");
        call
    };
    let mut waits = pin!(wait(&mut ready(&service).await, request()));
    let (allocated, pending) = allocations(|| poll(&mut waits).is_pending());
    assert_eq!((allocated, pending), (0, true), "the wait begins");
    {
        let mut service = ready(&service).await;
        let request = request();
        let (allocated, pending) = allocations(|| {
            let mut dropped = pin!(service.call(request));
            poll(&mut dropped).is_pending()
        });
        assert_eq!((allocated, pending), (0, true), "a wait that is given up");
    }
    let _also_waits = wait(&mut ready(&service).await, request());
    let mut last = ready(&service).await;
    let request = request();
    let (allocated, refused) = allocations(|| {
        let mut refused = pin!(last.call(request));
        matches!(poll(&mut refused), Poll::Ready(Err(_)))
    });
    assert_eq!((allocated, refused), (0, true), "a refusal");
    tokio::time::sleep(millis(110)).await;
    let (allocated, went) = allocations(|| matches!(poll(&mut waits), Poll::Ready(Ok(_))));
    assert_eq!((allocated, went), (0, true), "its turn");
}

async fn ready<S: Service<Req, Error = Fault> + Clone>(service: &S) -> S {
    let mut service = service.clone();
    assert!(service.ready().await.is_ok());
    service
}

#[tokio::test(start_paused = true)]
async fn a_limiter_by_hand_checks_at_once_and_waits_within_its_patience() {
    let limiter = RateLimiter::new(
        "contract",
        RateConfig::new(Rate::burst(2, SECOND)).patience(Period::millis(500)),
    );
    let layer = RateLayer::from(limiter.clone());
    let service = layer.layer(Probe::new(Mode::Answer));
    assert!(limiter.check().is_ok());
    assert!(service.clone().oneshot(request()).await.is_ok());
    assert_eq!(limiter.check().unwrap_err().hint(), Some(millis(500)));
    let began = rt::now();
    {
        let mut dropped = pin!(limiter.until_ready());
        assert!(poll(&mut dropped).is_pending());
        assert!(limiter.until_ready().await.is_err());
    }
    assert!(limiter.until_ready().await.is_ok());
    assert_eq!(rt::now().since(began).as_millis() / 10, 50);
    assert_eq!(limiter.check_many(count(3)).unwrap_err().hint(), None);
    assert_eq!(counts(&layer.handle()), (3, 2, 3));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own() {
    let tenants = KeyedRate::<String>::new(
        "contract",
        RateConfig::new(Rate::burst(2, SECOND)).patience(Period::millis(500)),
    );
    let handle = tenants.handle();
    for _ in 0..2 {
        assert!(tenants.check("acme").is_ok());
    }
    assert_eq!(tenants.check("acme").unwrap_err().hint(), Some(millis(500)));
    assert!(tenants.check("umbrella").is_ok());
    assert_eq!(
        (handle.look("acme").left(), handle.look("umbrella").left()),
        (0, 1)
    );
    assert_eq!(handle.look("nobody").left(), 2);
    let began = rt::now();
    {
        let mut dropped = pin!(tenants.until_ready("acme"));
        assert!(poll(&mut dropped).is_pending());
        assert_eq!(handle.look("acme").left(), -1);
    }
    assert!(tenants.until_ready("acme").await.is_ok());
    assert_eq!(rt::now().since(began).as_millis() / 10, 50);
    assert_eq!(
        (
            handle.keys(),
            handle.admitted(),
            handle.delayed(),
            handle.refused()
        ),
        (2, 4, 2, 1)
    );
    handle.reload(Rate::burst(20, SECOND));
    assert_eq!(handle.look("acme").left(), 18);
    assert_eq!(handle.look("nobody").left(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_million_keys_keep_the_memory_at_the_bound_and_forgive_nobody() {
    let each = Rate::burst(3, Period::secs(3_600));
    let limit = KeyedRate::<u64>::new("contract", KeyedRateConfig::new(each).max_keys(5_000));
    let handle = limit.handle();
    let honest: Vec<u64> = (0..100).collect();
    for key in &honest {
        for _ in 0..3 {
            assert!(limit.check(key).is_ok());
        }
    }
    let (allocated, passed) = allocations(|| {
        let attack = 1_000..1_001_000;
        attack.filter(|key| limit.check(key).is_ok()).count() as u64
    });
    // Each shard's tables grow a dozen times; no key allocates for itself.
    assert!(allocated < 1_000, "{allocated}");
    assert_eq!(handle.keys(), 5_000);
    assert_eq!(
        passed,
        5_000 - 100 + 3,
        "the bound, and one limit for all others"
    );
    assert_eq!(handle.overflowed(), 1_000_000 - 4_900);
    for key in &honest {
        assert!(limit.check(key).is_err(), "{key} was forgiven");
    }
    // Their time over, places are free again, and the honest ones have theirs.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let later = (2_000_000..2_010_000).filter(|key| limit.check(key).is_ok());
    assert!(later.count() >= 5_000);
    assert_eq!(handle.keys(), 5_000);
    assert!(format!("{handle:?}").contains("keys: 5000"));
}

#[tokio::test(start_paused = true)]
async fn a_lower_bound_is_kept_to_as_keys_become_untouched() {
    let config = KeyedRateConfig::new(Rate::burst(1, SECOND));
    let limit = KeyedRate::<u64>::new("contract", config.max_keys(400));
    let handle = limit.handle();
    for key in 0..400 {
        assert!(limit.check(&key).is_ok());
    }
    handle.reload(config.max_keys(10));
    assert_eq!((handle.keys(), handle.config().bound().get()), (400, 10));
    assert!(limit.check(&0).is_err(), "not forgiven");
    assert!(limit.check(&1_000).is_ok(), "by the shared limit");
    assert!(limit.check(&1_001).is_err());
    tokio::time::sleep(SECOND.get()).await;
    assert!(limit.check(&1_000).is_ok());
    assert!(handle.keys() <= 10, "{handle:?}");
    handle.reload(config.max_keys(20));
    for key in 0..19 {
        assert!(limit.check(&key).is_ok());
    }
    assert_eq!(handle.keys(), 20);
}

/// Whatever threads do to it, as many calls pass as the rate allows, and nothing stays behind.
#[expect(clippy::cast_possible_truncation, reason = "small draws")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_drop_at_random_get_no_more_than_the_rate_and_leave_no_gap() {
    let seed = std::env::var("MAINSTAY_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("MAINSTAY_SEED={seed}");
    // So long a period that no permit comes back while this runs.
    let each = RateConfig::new(Rate::burst(1_000, Period::secs(1_000_000)));
    let config = each.patience(Period::secs(10_000_000));
    let layer = RateLayer::new("contract", config);
    let keyed = KeyedRate::<u64>::new("contract", config);
    let (handle, by_key) = (layer.handle(), keyed.handle());
    let probe = Probe::new(Mode::Answer);
    let service = layer.layer(probe.clone());
    let keyed = RateLayer::keyed(keyed, |request: &Req| request.uri().path().len() as u64);
    let keyed = keyed.layer(Probe::new(Mode::Answer));
    let mut rng = Rng::new(seed);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (mut service, mut keyed) = (service.clone(), keyed.clone());
            let mut rng = Rng::new(rng.next_u64());
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut passed = 0_u64;
                let mut waiting = Vec::new();
                for _ in 0..2_000 {
                    let mut call = Box::pin(start(&mut service).await);
                    match poll(&mut call) {
                        Poll::Ready(Ok(_)) => passed += 1,
                        Poll::Ready(Err(error)) => panic!("{error}"),
                        Poll::Pending => waiting.push(call),
                    }
                    let mut call = pin!(start(&mut keyed).await);
                    drop(poll(&mut call));
                    while waiting.len() > (rng.next_u64() % 7) as usize {
                        let which = rng.next_u64() as usize % waiting.len();
                        drop(waiting.swap_remove(which));
                    }
                    if task == 0 && rng.next_u64().is_multiple_of(64) {
                        let patience = 10_000_000 + (rng.next_u64() % 9) as u32;
                        handle.reload(each.patience(Period::secs(patience)));
                    }
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for task in tasks {
        passed += task.await.unwrap();
    }
    assert_eq!(passed, 1_000);
    assert_eq!(
        (handle.admitted(), u64::from(probe.calls())),
        (1_000, 1_000)
    );
    assert_eq!((probe.in_flight(), probe.uninvited()), (0, 0));
    assert_eq!(
        handle.look().left(),
        0,
        "all that waited gave their places back"
    );
    assert_eq!((by_key.admitted(), by_key.look(&1).left()), (1_000, 0));
}
