//! What users report of breakers, and the rule.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::breaker::{
    BreakerConfig, BreakerHandle, BreakerLayer, Cause, HalfOpen, KeyedBreakerLayer, Mode, Order,
    Ramp, State, Switch, Trip, Window,
};
use mainstay::deadline::TimeoutLayer;
use mainstay::error::Reason;
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::num::{Attempts, Factor, Period, Ratio, count};
use mainstay::retry::{BudgetConfig, QuotaBudget, RetryConfig, RetryLayer};
use mainstay::rng::Rng;
use mainstay::rt;
use mainstay::standard::Stack;
use metrics_util::debugging::DebuggingRecorder;
use tower::{Layer, Service, ServiceExt};

use crate::callee::{Callee, Fault, Judge, Turn, ask, ms, poll, secs, start};

const OPEN_FOR: Period = Period::secs(5);

fn opens_at_once(half_open: HalfOpen) -> BreakerConfig {
    BreakerConfig::new(Trip::consecutive(1))
        .open_for(OPEN_FOR)
        .half_open(half_open)
}

/// A service whose circuit has opened and waited: the next call is a probe.
async fn at_the_brink(
    half_open: HalfOpen,
) -> (
    impl Service<u32, Response = u32, Error = Fault, Future: Unpin + Send> + Clone + Send,
    Callee,
    BreakerHandle,
) {
    let layer = BreakerLayer::new("rules", opens_at_once(half_open)).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    assert_eq!(ask(&service, 1).await, Err(Fault::Down));
    assert_eq!(handle.state(), State::Open);
    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::Answer);
    (service, callee, handle)
}

/// A call of a service that is ready at once; `None` if it panics.
fn begin<S: Service<u32>>(service: &mut S) -> Option<Pin<Box<S::Future>>> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    catch_unwind(AssertUnwindSafe(|| Box::pin(service.call(1)))).ok()
}

/// Whether the call goes on.
fn goes_on<F: Future>(call: &mut Pin<Box<F>>) -> bool {
    let polled = catch_unwind(AssertUnwindSafe(|| poll(call)));
    matches!(polled, Ok(Poll::Pending))
}

/// As many places are taken as probes are alive, whatever ends them; a hang gives its own back at the deadline.
#[tokio::test(start_paused = true)]
async fn rule_01_probes_in_use_are_the_probes_alive() {
    for seed in 0..20 {
        let (mut service, callee, handle) = at_the_brink(HalfOpen::new(4, 10_000)).await;
        let mut rng = Rng::new(seed);
        let mut alive = Vec::new();
        for _ in 0..300 {
            let turns = [
                Turn::Answer,
                Turn::Hang,
                Turn::Wrong,
                Turn::Refused,
                Turn::PanicInCall,
                Turn::PanicInPoll,
            ];
            callee.set(turns[(rng.next_u64() % 6) as usize]);
            let place = (rng.next_u64() % 8) as usize;
            match rng.next_u64() % 3 {
                0 => alive.extend(begin(&mut service)),
                1 if place < alive.len() => drop(alive.swap_remove(place)),
                _ if place < alive.len() => {
                    if !goes_on(&mut alive[place]) {
                        drop(alive.swap_remove(place));
                    }
                }
                _ => {}
            }
            assert_eq!(handle.probes(), callee.in_flight() as usize, "seed {seed}");
        }
        drop(alive);
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
    }

    let (mut service, callee, handle) =
        at_the_brink(HalfOpen::new(1, 1).deadline(Period::secs(3))).await;
    callee.set(Turn::Hang);
    let mut hung = start(&mut service, 1).await;
    assert!(poll(&mut hung).is_pending());
    tokio::time::sleep(secs(3)).await;
    let refused = ask(&service, 1).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::CircuitOpen));
    assert_eq!(handle.probes(), 0);
    assert_eq!(handle.last_change().unwrap().cause(), Cause::ProbeHung);
    callee.set(Turn::Answer);
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert_eq!(ask(&service, 1).await, Ok(1));
    assert_eq!(handle.state(), State::Closed);
}

/// An outcome that does not count moves neither state nor counts, and frees its place.
#[tokio::test(start_paused = true)]
async fn rule_02_an_ignored_outcome_decides_nothing() {
    let config = BreakerConfig::new(Trip::consecutive(3)).or(Trip::rate(
        Ratio::percent(50),
        4,
        Period::secs(60),
    ));
    let layer = BreakerLayer::new("rules", config).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    for _ in 0..2 {
        assert!(ask(&service, 1).await.is_err());
    }
    callee.set(Turn::Wrong);
    for _ in 0..100 {
        assert_eq!(ask(&service, 1).await, Err(Fault::Wrong));
    }
    let counted = (
        handle.failures(),
        handle.failing().calls,
        handle.failing().hits,
    );
    assert_eq!(counted, (2, 2, 2));
    callee.set(Turn::Fail);
    assert!(ask(&service, 1).await.is_err());
    assert_eq!(
        handle.state(),
        State::Open,
        "the third in a row, for all that came between"
    );

    let (service, callee, handle) = at_the_brink(HalfOpen::new(1, 2)).await;
    callee.set(Turn::Wrong);
    for _ in 0..10 {
        assert_eq!(ask(&service, 1).await, Err(Fault::Wrong));
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
    }
    callee.set(Turn::Answer);
    assert!(ask(&service, 1).await.is_ok());
    assert_eq!(
        handle.state(),
        State::HalfOpen,
        "none of them was one of the two"
    );
    assert!(ask(&service, 1).await.is_ok());
    assert_eq!(handle.state(), State::Closed);
}

/// A result of a state that is over is dropped, and with it its claim to a place.
#[tokio::test(start_paused = true)]
async fn rule_03_late_results_change_nothing() {
    let layer = BreakerLayer::new("rules", opens_at_once(HalfOpen::new(2, 2))).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Answer), layer.handle());
    let mut service = layer.layer(callee.clone());
    let mut late = Vec::new();
    for turn in [
        Turn::AnswerAfter(secs(6)),
        Turn::FailAfter(secs(6)),
        Turn::Hang,
    ] {
        callee.set(turn);
        late.push(start(&mut service, 1).await);
    }
    callee.set(Turn::Fail);
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;

    // Two probes: the first will fail, the other will still be out when the next round has begun.
    callee.set(Turn::FailAfter(secs(2)));
    let first = start(&mut service, 1).await;
    callee.set(Turn::AnswerAfter(secs(8)));
    let other = start(&mut service, 1).await;
    assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 2));
    for (call, ended) in late
        .into_iter()
        .zip([Some(Ok(1)), Some(Err(Fault::Down)), None])
    {
        match ended {
            Some(ended) => assert_eq!(call.await, ended),
            None => drop(call),
        }
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 2));
    }
    assert_eq!(first.await, Err(Fault::Down));
    assert_eq!((handle.state(), handle.openings()), (State::Open, 2));

    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::Hang);
    let hung = start(&mut service, 1).await;
    assert_eq!(other.await, Ok(1), "of the round before");
    assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 1));
    callee.set(Turn::Answer);
    assert!(ask(&service, 1).await.is_ok());
    assert_eq!(handle.state(), State::HalfOpen, "the first success of two");
    drop(hung);
}

/// A probe that a layer below refuses frees its place, and neither closes the circuit nor opens it again.
#[tokio::test(start_paused = true)]
async fn rule_04_a_probe_that_is_refused_below_decides_nothing() {
    let below = BreakerLayer::new("below", Trip::consecutive(1_000)).classify(Judge);
    let layer = BreakerLayer::new("rules", opens_at_once(HalfOpen::default())).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(below.layer(callee.clone()));
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::Answer);
    below
        .handle()
        .force(Mode::ForcedOpen, Order::new("test", "refuses"));
    for _ in 0..100 {
        let refused = ask(&service, 1).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::ForcedOpen));
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
    }
    below.handle().release(Order::new("test", "does not"));
    assert_eq!(ask(&service, 1).await, Ok(1));
    assert_eq!(handle.state(), State::Closed);

    // The same of a limit whose only place is taken.
    let below = ConcurrencyLayer::new("below", ConcurrencyConfig::new(count(1)));
    let layer = BreakerLayer::new("rules", opens_at_once(HalfOpen::default())).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(below.layer(callee.clone()));
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::Hang);
    let holder = start(&mut below.layer(callee.clone()), 1).await;
    for _ in 0..100 {
        let refused = ask(&service, 1).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::ConcurrencyLimit));
        assert_eq!((handle.state(), handle.probes()), (State::HalfOpen, 0));
    }
    drop(holder);
    callee.set(Turn::Answer);
    assert_eq!(ask(&service, 1).await, Ok(1));
    assert_eq!(handle.state(), State::Closed);
}

/// Callers who go away say nothing about the callee; its own attempt timeout does.
#[tokio::test(start_paused = true)]
async fn rule_05_callers_who_go_away_open_nothing() {
    let config = BreakerConfig::new(Trip::consecutive(1)).or(Trip::rate(
        Ratio::percent(1),
        1,
        Period::secs(60),
    ));
    let layer = BreakerLayer::new("rules", config).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Hang), layer.handle());
    let mut service =
        layer.layer(TimeoutLayer::new("rules", Period::secs(2)).layer(callee.clone()));
    for n in 0..1_000 {
        let mut call = start(&mut service, 1).await;
        for _ in 0..n % 3 {
            assert!(poll(&mut call).is_pending());
        }
    }
    assert_eq!(callee.in_flight(), 0);
    assert_eq!((handle.failures(), handle.failing().calls), (0, 0));
    assert_eq!(handle.last_change(), None);
    assert!(matches!(ask(&service, 1).await, Err(Fault::TimedOut(_))));
    assert_eq!(handle.state(), State::Open);
}

/// The moment at which an outage of hangs opened the circuit, under a call every `gap`.
async fn opened_after<S>(service: S, handle: &BreakerHandle, gap: Duration) -> Duration
where
    S: Service<u32, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
{
    let began = rt::now();
    let mut calls = Vec::new();
    while handle.openings() == 0 && rt::now().since(began) < secs(100) {
        calls.push(tokio::spawn(service.clone().oneshot(1)));
        tokio::time::sleep(gap).await;
    }
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    handle.last_change().expect("it opened").at().since(began)
}

/// An outage in which everything hangs opens the circuit within the least calls and one attempt timeout.
#[tokio::test(start_paused = true)]
async fn rule_06_an_outage_of_hangs_is_seen_at_the_attempt_timeout() {
    let timeout = Period::millis(250);
    for (min_calls, gap) in [(10, ms(10)), (20, ms(1)), (5, ms(200))] {
        let trip = Trip::rate(Ratio::percent(50), min_calls, Period::secs(10));
        let layer = BreakerLayer::new("rules", trip);
        let service =
            layer.layer(TimeoutLayer::new("rules", timeout).layer(Callee::new(Turn::Hang)));
        let took = opened_after(service, &layer.handle(), gap).await;
        assert!(took <= gap * min_calls + timeout.get(), "{took:?}");
    }
    for gap in [ms(1), ms(10), ms(100), secs(1)] {
        let stack = Stack::standard("rules").attempt_timeout(timeout);
        let service = stack.service(Callee::new(Turn::Hang));
        let took = opened_after(service, stack.handle().breaker(), gap).await;
        // The standard minimum is ten of a window; at a call a second the streak of five comes first.
        assert!(
            took <= gap * 10 + timeout.get(),
            "{took:?} at one every {gap:?}"
        );
    }
}

/// Chance only lengthens a wait, it draws instances apart, and a ramp lets calls back in by and by.
#[tokio::test(start_paused = true)]
async fn rule_07_circuits_come_back_apart_and_by_and_by() {
    let base = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::secs(10));
    let growing = base.growing(Factor::TWO, Period::secs(40));
    for (config, least) in [(base, 10), (growing, 20)] {
        let mut waits = Vec::new();
        for seed in 0..200 {
            let layer = BreakerLayer::seeded("rules", config.jitter(Ratio::percent(25)), seed);
            let service = layer.layer(Callee::new(Turn::Fail));
            assert!(ask(&service, 1).await.is_err());
            if config == growing {
                tokio::time::sleep(ms(12_500)).await;
                assert_eq!(ask(&service, 1).await, Err(Fault::Down), "a probe");
            }
            waits.push(layer.handle().time_left().unwrap());
        }
        let (first, last) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
        assert!(
            first >= secs(least) && last <= secs(least) * 5 / 4,
            "{first:?} to {last:?}"
        );
        assert!(last - first >= secs(least) / 5, "{first:?} to {last:?}");
    }

    let ramp = Ramp::linear(Ratio::percent(10), Period::secs(10));
    let layer = BreakerLayer::new("rules", opens_at_once(HalfOpen::default()).ramp(ramp));
    let callee = Callee::new(Turn::Fail);
    let service = layer.layer(callee.clone());
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(OPEN_FOR.get()).await;
    callee.set(Turn::Answer);
    assert!(ask(&service, 1).await.is_ok());
    assert_eq!(layer.handle().state(), State::Closed);
    // A thousand calls in each second: those of its middle are what the ramp says of the whole.
    let mut admitted = Vec::new();
    for _ in 0..12 {
        let before = callee.calls();
        for _ in 0..1_000 {
            if let Err(refused) = ask(&service, 1).await {
                assert_eq!(refused.reason(), Some(Reason::Readmitting));
            }
            tokio::time::advance(ms(1)).await;
        }
        admitted.push(callee.calls() - before);
    }
    for (second, admitted) in (0_u32..).zip(admitted) {
        let expected = (145 + 90 * second).min(1_000);
        assert!(
            admitted.abs_diff(expected) <= 5,
            "{admitted} in second {second}"
        );
    }
}

/// Circuits by key keep to their bound: those that open stay, the others go by age; no metric names a key.
#[tokio::test(start_paused = true)]
async fn rule_10_circuits_by_key_are_bounded_and_metrics_name_the_policy() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let listening = metrics::set_default_local_recorder(&recorder);
    let config = opens_at_once(HalfOpen::default());
    let layer = KeyedBreakerLayer::new("rules-policy", config, 8, |key: &u32| *key).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    for bad in [7_000_001, 7_000_002] {
        assert!(ask(&service, bad).await.is_err());
    }
    callee.set(Turn::Answer);
    for key in 8_000_000..8_010_000 {
        assert!(ask(&service, key).await.is_ok());
        // Used all the time, so never the oldest.
        assert!(ask(&service, 9_000_000).await.is_ok());
        assert!(handle.keys() <= 8);
    }
    let state = |key: u32| handle.circuit(&key).map(|circuit| circuit.state());
    assert_eq!(state(7_000_001), Some(State::Open));
    assert_eq!(state(7_000_002), Some(State::Open));
    assert_eq!(state(9_000_000), Some(State::Closed));
    assert_eq!(
        (state(8_000_000), state(8_009_999)),
        (None, Some(State::Closed))
    );
    assert_eq!(handle.untracked(), 0);
    drop(listening);

    let told = snapshotter.snapshot().into_vec();
    let labels = told.iter().flat_map(|(key, ..)| key.key().labels());
    let labels: Vec<_> = labels.map(|label| (label.key(), label.value())).collect();
    assert!(labels.contains(&("policy", "rules-policy")), "{labels:?}");
    for (label, value) in labels {
        let is_key = value.bytes().any(|byte| byte.is_ascii_digit());
        assert!(!is_key, "{label}: {value}");
    }
    assert!(
        told.len() <= 8,
        "{} series for ten thousand keys",
        told.len()
    );
}

/// Other numbers keep state, counts and tokens; settings that cannot be are refused, and the old ones run on.
#[tokio::test(start_paused = true)]
async fn rule_14_new_settings_keep_what_was_learned() {
    let of = |percent| Trip::rate_of(Ratio::percent(percent), 4, Window::calls(10));
    let layer = BreakerLayer::new("rules", of(50)).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    for _ in 0..3 {
        assert!(ask(&service, 1).await.is_err());
    }
    handle.reload(of(40).into());
    assert_eq!((handle.failing().calls, handle.state()), (3, State::Closed));
    assert!(ask(&service, 1).await.is_err());
    assert_eq!((handle.openings(), handle.state()), (1, State::Open));
    tokio::time::sleep(secs(2)).await;
    let left = handle.time_left();
    handle.reload(BreakerConfig::new(of(60)).open_for(Period::secs(600)));
    assert_eq!((handle.state(), handle.time_left()), (State::Open, left));

    // What cannot be is no setting, so there is nothing to reload with; the next change works.
    assert!(Ratio::new("breaker.trip.ratio", -0.01).is_err());
    assert!(Attempts::new("retry.attempts", 0).is_err());
    assert_eq!(handle.config().trips().next(), Some(of(60)));
    handle.reload(of(70).into());
    assert_eq!(handle.config().trips().next(), Some(of(70)));

    // A reload every moment, as a watcher of a file does it, keeps nothing from opening and nothing from closing.
    callee.set(Turn::Answer);
    tokio::time::sleep(OPEN_FOR.get()).await;
    assert!(ask(&service, 1).await.is_ok());
    callee.set(Turn::Fail);
    for n in 0..4_u8 {
        assert_eq!(handle.state(), State::Closed);
        handle.reload(of(50 + n).into());
        assert!(ask(&service, 1).await.is_err());
    }
    assert_eq!(handle.state(), State::Open);

    let budget = |capacity| RetryConfig::default().budget(QuotaBudget::new(capacity).into());
    let retry = RetryLayer::new("rules", budget(100));
    assert!(ask(&retry.layer(Callee::new(Turn::Fail)), 1).await.is_err());
    let left = retry.handle().tokens();
    assert_eq!(left, Some(72.0), "two retries at 14");
    retry.handle().reload(budget(200));
    assert_eq!(retry.handle().tokens(), left);
    retry
        .handle()
        .reload(RetryConfig::default().budget(BudgetConfig::default()));
    assert_eq!(retry.handle().retries(), 2, "counts go on");
}

/// Every circuit is listed with its last change and why; who holds one says so, and why, and until when.
#[tokio::test(start_paused = true)]
async fn rule_15_operators_see_and_steer() {
    let config = opens_at_once(HalfOpen::default());
    let region = Switch::new();
    let layer = KeyedBreakerLayer::new("rules", config, 100, |key: &u32| *key)
        .classify(Judge)
        .switched_by(&region);
    let (callee, handle) = (Callee::new(Turn::Fail), layer.handle());
    let service = layer.layer(callee.clone());
    assert!(ask(&service, 1).await.is_err());
    callee.set(Turn::Answer);
    assert!(ask(&service, 2).await.is_ok());
    let tripped = handle.tripped();
    let (key, circuit) = tripped.first().unwrap();
    assert_eq!((tripped.len(), *key), (1, 1));
    let change = circuit.last_change().unwrap();
    assert_eq!(
        (change.cause(), change.to()),
        (Cause::Consecutive, State::Open)
    );
    assert_eq!(circuit.change().unwrap().order(), None, "nobody's order");

    // An order has an actor, a reason and an end, at which it ends by itself.
    let other = handle.circuit(&2).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    other.listen(move |change| {
        let order = change
            .order()
            .map(|order| (order.actor().to_owned(), order.reason().to_owned()));
        ear.lock().unwrap().push((change.transition().to(), order));
    });
    let drill = Order::new("alice", "drill").lasting(Period::secs(60));
    other.force(Mode::ForcedOpen, drill.clone());
    assert_eq!(other.command(), Some((Mode::ForcedOpen, drill)));
    let refused = ask(&service, 2).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::ForcedOpen));
    let Fault::Refused(refused) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        refused.hint(),
        Some(secs(60)),
        "when it is worth coming back"
    );
    tokio::time::sleep(secs(60)).await;
    assert_eq!(other.command(), None);
    assert!(ask(&service, 2).await.is_ok());
    assert_eq!(other.state(), State::Closed);
    let alice = Some(("alice".to_owned(), "drill".to_owned()));
    assert_eq!(heard.lock().unwrap().first(), Some(&(State::Open, alice)));

    // Observed, it passes everything and tells what it would have done; forced closed, it records nothing.
    callee.set(Turn::Fail);
    other.force(Mode::Observing, Order::new("bob", "tries a threshold"));
    for _ in 0..3 {
        assert_eq!(ask(&service, 2).await, Err(Fault::Down));
    }
    assert_eq!(other.state(), State::Closed);
    assert!(
        heard
            .lock()
            .unwrap()
            .iter()
            .any(|(to, _)| *to == State::Open)
    );
    other.force(
        Mode::ForcedClosed,
        Order::new("bob", "it is known to be wrong"),
    );
    assert_eq!(ask(&service, 2).await, Err(Fault::Down));
    assert_eq!(other.failures(), 0);
    other.release(Order::new("bob", "enough"));
    assert_eq!(ask(&service, 2).await, Err(Fault::Down));
    assert_eq!(other.state(), State::Open);

    // One switch for all, those to come as well.
    region.force(
        Mode::ForcedOpen,
        Order::new("carol", "the region moves").lasting(Period::secs(9)),
    );
    for key in [1, 2, 3] {
        assert_eq!(
            ask(&service, key).await.unwrap_err().reason(),
            Some(Reason::ForcedOpen)
        );
    }
    callee.set(Turn::Answer);
    tokio::time::sleep(secs(9)).await;
    for key in [1, 2, 3] {
        assert!(ask(&service, key).await.is_ok());
    }
    assert!(handle.tripped().is_empty());
}

/// Of ten endpoints the bad ones are found by their own calls, however bad another is, and the good ones stay.
///
/// There is no ejection yet: circuits by endpoint are what applies of it.
#[tokio::test(start_paused = true)]
async fn rule_17_one_bad_endpoint_does_not_hide_another() {
    let trip = Trip::rate_of(Ratio::percent(40), 10, Window::calls(20));
    let layer = KeyedBreakerLayer::new("rules", trip, 10, |endpoint: &u32| *endpoint);
    let handle = layer.handle();
    let mut rng = Rng::new(17);
    let callee = Callee::new(Turn::Answer);
    let service = layer.classify(Judge).layer(callee.clone());
    for call in 0..1_000 {
        let endpoint = call % 10;
        let fails = match endpoint {
            3 => 1.0,
            8 => 0.6,
            _ => 0.02,
        };
        callee.set(if rng.unit() < fails {
            Turn::Fail
        } else {
            Turn::Answer
        });
        let _ = ask(&service, endpoint).await;
    }
    let mut found: Vec<_> = handle
        .tripped()
        .into_iter()
        .map(|(endpoint, _)| endpoint)
        .collect();
    found.sort_unstable();
    assert_eq!(found, [3, 8]);
    // None is out for good.
    callee.set(Turn::Answer);
    tokio::time::sleep(OPEN_FOR.get()).await;
    for endpoint in 0..10 {
        assert!(ask(&service, endpoint).await.is_ok());
    }
    assert!(handle.tripped().is_empty());
}

/// A count for callees that are called rarely, a share for those called often, both at once, and which it was.
#[tokio::test(start_paused = true)]
async fn rule_19_both_failure_models_and_which_of_them_fired() {
    let count = Trip::consecutive(5);
    let share = Trip::rate(Ratio::percent(50), 20, Period::secs(10));
    let both = BreakerConfig::new(count).or(share);
    // Fails every other call, or every call, so many a second.
    let cases: [(BreakerConfig, bool, u64, Option<Cause>); 7] = [
        (count.into(), true, 1, Some(Cause::Consecutive)),
        (count.into(), false, 100, None),
        (share.into(), true, 1, None),
        (share.into(), false, 100, Some(Cause::Rate)),
        (both, true, 1, Some(Cause::Consecutive)),
        (both, false, 100, Some(Cause::Rate)),
        (both, false, 1, None),
    ];
    for (config, every, rate, cause) in cases {
        let layer = BreakerLayer::new("rules", config).classify(Judge);
        let callee = Callee::new(Turn::Answer);
        let service = layer.layer(callee.clone());
        for call in 0..200 {
            callee.set(if every || call % 2 == 0 {
                Turn::Fail
            } else {
                Turn::Answer
            });
            let _ = ask(&service, 1).await;
            if layer.handle().openings() > 0 {
                break;
            }
            tokio::time::sleep(secs(1) / u32::try_from(rate).unwrap()).await;
        }
        let fired = layer.handle().last_change().map(|change| change.cause());
        assert_eq!(fired, cause, "{config:?}");
    }
    // The default has a share and a streak: at one call a second it opens within ten, and on no single error.
    let layer = BreakerLayer::new("rules", BreakerConfig::default()).classify(Judge);
    let callee = Callee::new(Turn::Fail);
    let service = layer.layer(callee.clone());
    assert!(ask(&service, 1).await.is_err());
    assert_eq!(layer.handle().state(), State::Closed);
    let mut calls = 1;
    while layer.handle().state() == State::Closed {
        tokio::time::sleep(secs(1)).await;
        let _ = ask(&service, 1).await;
        calls += 1;
    }
    assert!(calls <= 10, "{calls}");
}
