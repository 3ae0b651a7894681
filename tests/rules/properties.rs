//! Properties that conformance cases name, each under the case's number.

use std::future::Future;
use std::time::Duration;

use mainstay::breaker::{Breaker, BreakerConfig, BreakerLayer, State, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::error::Reason;
use mainstay::fallback::{Ending, FallbackConfig, FallbackLayer};
use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
use mainstay::num::{Attempts, Period, Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{Backoff, Jitter, RetryConfig};
use mainstay::rng::Rng;
use mainstay::rt;
use mainstay::standard::Stack;
use mainstay::time::Tick;
use tower::{Layer, Service, ServiceExt};

use crate::callee::{Callee, Fault, Turn, ask, ms, secs};

/// A circuit that opened at the origin.
fn opened(config: BreakerConfig, seed: u64) -> Breaker {
    let mut breaker = Breaker::seeded(config, Rng::new(seed));
    let permit = breaker.admit(Tick::ZERO).verdict.unwrap();
    breaker.settle(permit, Outcome::Failure(Failure::Error), Tick::ZERO);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

/// The moments at which circuits that opened together let a probe through.
fn first_probes(config: BreakerConfig, seeds: impl Iterator<Item = u64>) -> Vec<Duration> {
    let wait = |seed| opened(config, seed).time_left(Tick::ZERO).unwrap();
    seeds.map(wait).collect()
}

/// The most of these moments that any window of this length holds.
fn peak(times: &[Duration], window: Duration) -> usize {
    let within = |from: Duration| move |time: &&Duration| (from..from + window).contains(*time);
    let counts = times
        .iter()
        .map(|from| times.iter().filter(within(*from)).count());
    counts.max().unwrap_or(0)
}

/// Vector B31.
#[tokio::test(start_paused = true)]
async fn rule_b31_a_hundred_circuits_that_opened_together_do_not_probe_together() {
    let config = BreakerConfig::new(Trip::consecutive(1))
        .open_for(Period::secs(10))
        .jitter(Ratio::percent(25));
    let mut peaks = Vec::new();
    for family in 0..40 {
        let seeds = || (0..100).map(move |instance| family * 1_000 + instance);
        let times = first_probes(config, seeds());
        assert!(
            times
                .iter()
                .all(|time| (secs(10)..=ms(12_500)).contains(time)),
            "{times:?}"
        );
        assert_eq!(
            times,
            first_probes(config, seeds()),
            "the same seeds, the same moments"
        );
        peaks.push(peak(&times, ms(100)));
    }
    println!("most probes in 100 ms, by family: {peaks:?}");
    assert!(peaks[0] <= 12);
    // Chance bounds no hundred for certain: of uniform ones about one in fourteen has a moment of thirteen.
    let kept = peaks.iter().filter(|peak| **peak <= 12).count();
    assert!(
        kept >= 36 && peaks.iter().all(|peak| *peak <= 15),
        "{peaks:?}"
    );

    // Callers who never let up get through at that moment and not before, and a layer of that seed waits as long.
    for (seed, wait) in (0..100).zip(first_probes(config, 0..100)) {
        let mut breaker = opened(config, seed);
        let tries = [ms(0), ms(9_999), wait - Duration::from_nanos(1), wait];
        let admitted = tries.map(|after| breaker.admit(Tick::ZERO + after).verdict.is_ok());
        assert_eq!(admitted, [false, false, false, true]);
        let layer = BreakerLayer::seeded("b31", config, seed);
        assert!(ask(&layer.layer(Callee::new(Turn::Fail)), 1).await.is_err());
        assert_eq!(layer.handle().time_left(), Some(wait));
    }
}

fn retries(attempts: u32, wait: Duration) -> RetryConfig {
    let backoff = Backoff::constant(wait).jitter(Jitter::None);
    RetryConfig::new(Attempts::total(attempts)).backoff(backoff)
}

fn stack() -> Stack {
    Stack::standard("x01")
        .deadline(Period::secs(10))
        .attempt_timeout(Period::secs(3))
        .retry(retries(3, secs(1)))
        .breaker(Trip::consecutive(1_000))
}

/// Ends, and says after how long.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let began = rt::now();
    let ended = call.await;
    (ended, rt::now().since(began))
}

/// Vector X01: the order of the standard stack, by what it does.
#[tokio::test(start_paused = true)]
async fn rule_x01_the_standard_stack_stands_in_its_order() {
    // The deadline is outermost: it counts the wait for a callee that is not ready, and attempts, and waits between.
    let callee = Callee::new(Turn::Hang);
    let service = stack().deadline(Period::secs(9)).service(callee.clone());
    let (ended, took) = timed(ask(&service, 1)).await;
    assert!(ended.is_err());
    assert_eq!(
        (took, callee.calls()),
        (secs(9), 3),
        "3 and 1 and 3 and 1, and 1 of 3"
    );
    callee.set_ready(false);
    let (ended, took) = timed(ask(&service, 1)).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::DeadlineExceeded));
    assert_eq!((took, callee.calls()), (secs(9), 3), "it was never called");
    let (ended, took) = timed(async {
        let later = async {
            tokio::time::sleep(ms(4_500)).await;
            callee.set_ready(true);
        };
        tokio::join!(ask(&service, 1), later).0
    })
    .await;
    assert!(ended.is_err());
    assert_eq!(took, secs(9), "half of them in the queue");

    // The limit is next: a call has one place from its first attempt to its end, and its wait for it is counted too.
    let one = AdaptiveConfig::new()
        .bounds(Bounds::between(1, 1))
        .start(count(1))
        .queue(1);
    let limited = stack()
        .deadline(Period::secs(9))
        .limit(one.wait(Period::secs(60)));
    let callee = Callee::new(Turn::Hang);
    let service = limited.service(callee.clone());
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(
        (callee.calls(), limited.handle().limit().in_flight()),
        (2, 1),
        "on its second attempt"
    );
    let (ended, took) = timed(ask(&service, 2)).await;
    assert!(ended.is_err() && first.await.unwrap().is_err());
    assert_eq!(
        (took, callee.calls()),
        (secs(9), 5),
        "4 in the line; two attempts of 3 and 1"
    );
    limited.handle().limit().reload(one.queue(0));
    callee.set(Turn::Fail);
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::time::sleep(ms(500)).await;
    assert_eq!(callee.in_flight(), 0, "between two attempts");
    assert_eq!(
        ask(&service, 2).await.unwrap_err().reason(),
        Some(Reason::ConcurrencyLimit)
    );
    assert_eq!(first.await.unwrap(), Err(Fault::Down));

    // The retry is outside the breaker: every attempt is a sample, and a refusal ends the call at once.
    let stack_of_two = stack().breaker(Trip::consecutive(2));
    let callee = Callee::new(Turn::Fail);
    let service = stack_of_two.service(callee.clone());
    let (ended, took) = timed(ask(&service, 1)).await;
    assert_eq!(
        ended,
        Err(Fault::Down),
        "the callee's own word, not the refusal of the third"
    );
    assert_eq!(
        (callee.calls(), took),
        (2, secs(2)),
        "the third attempt was refused"
    );
    assert_eq!(stack_of_two.handle().breaker().state(), State::Open);
    let (ended, took) = timed(ask(&service, 1)).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CircuitOpen));
    assert_eq!(
        (callee.calls(), took),
        (2, Duration::ZERO),
        "and is not waited for"
    );

    // The attempt timeout is inside the breaker: a hang is a failure of its own, and tried again.
    let three = stack().breaker(Trip::consecutive(3));
    let callee = Callee::new(Turn::Hang);
    let (ended, took) = timed(ask(&three.service(callee.clone()), 1)).await;
    assert!(matches!(ended, Err(Fault::TimedOut(_))), "{ended:?}");
    assert_eq!(
        (callee.calls(), took),
        (3, secs(10)),
        "3 and 1 and 3 and 1 and 2"
    );
    assert_eq!(three.handle().breaker().openings(), 1);

    // A fallback goes around it and sees how the call ended in the end, once.
    let layer = FallbackLayer::value("x01", FallbackConfig::default(), 7);
    let callee = Callee::new(Turn::Fail);
    let inner = stack().service(callee.clone());
    let service = DeadlineLayer::new("x01", Period::secs(12)).layer(layer.layer(inner));
    assert_eq!(ask(&service, 1).await, Ok(7));
    assert_eq!(
        (callee.calls(), layer.handle().count(Ending::Served)),
        (3, 1)
    );
}

/// Vector X01: the default attempt timeout leaves the default deadline room for another attempt.
#[tokio::test(start_paused = true)]
async fn rule_x01_an_attempt_is_given_less_than_the_whole() {
    let callee = Callee::new(Turn::Hang);
    let mut service = Stack::standard("x01").service(callee.clone());
    let call = tokio::spawn(service.ready().await.unwrap().call(1));
    let (ended, took) = timed(call).await;
    assert!(ended.unwrap().is_err());
    assert!(callee.calls() >= 2, "{} attempts", callee.calls());
    assert!(took <= secs(30), "{took:?}");
}
