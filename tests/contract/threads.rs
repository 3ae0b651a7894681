//! Many threads on one policy: whatever they drop, nothing is lost and nothing is counted twice.

use std::pin::pin;

use mainstay::breaker::{BreakerConfig, BreakerLayer, HalfOpen, State, Trip};
use mainstay::num::{Attempts, Period};
use mainstay::retry::{Backoff, RetryConfig, RetryLayer};
use mainstay::rng::Rng;
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::checks::{poll, start};
use super::probe::{Mode, Probe, request};

fn seed() -> u64 {
    let given = std::env::var("MAINSTAY_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("MAINSTAY_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_drop_at_random_leak_no_permit() {
    let config = BreakerConfig::new(Trip::consecutive(2))
        .open_for(Period::new("open_for", std::time::Duration::from_micros(50)).unwrap())
        .half_open(HalfOpen::new(2, 2));
    let breaker = BreakerLayer::new("contract", config);
    let backoff = Backoff::constant(std::time::Duration::ZERO);
    let retry = RetryLayer::new(
        "contract",
        RetryConfig::new(Attempts::total(2)).backoff(backoff),
    );
    let handle = breaker.handle();
    let probe = Probe::new(Mode::Answer);
    let service = retry.layer(breaker.layer(probe.clone()));
    let mut rng = Rng::new(seed());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (mut service, probe) = (service.clone(), probe.clone());
            let mut rng = Rng::new(rng.next_u64());
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let mode = [Mode::Answer, Mode::PendOnce, Mode::Hang, Mode::Fail(1)];
                    probe.set(mode[(rng.next_u64() % 4) as usize]);
                    {
                        let mut call = pin!(start(&mut service).await);
                        for _ in 0..rng.next_u64() % 3 {
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
    assert_eq!((probe.in_flight(), probe.uninvited()), (0, 0));
    assert_eq!(handle.probes(), 0, "{handle:?}");
    probe.set(Mode::Answer);
    while handle.state() != State::Closed {
        // Refused or not: the circuit recovers by itself.
        drop(service.clone().oneshot(request()).await);
    }
    assert!(handle.openings() > 0, "{handle:?}");
    assert!(service.oneshot(request()).await.is_ok());
}

/// What every service does with a client: the compiler must see that the future is `Send`, whatever the error borrows.
#[tokio::test(start_paused = true)]
async fn a_call_through_a_boxed_error_can_be_spawned() {
    let stack = mainstay::standard::Stack::standard("contract");
    let service = stack.service(service_fn(|n: u32| async move {
        if n == 0 {
            Err(BoxError::from("zero"))
        } else {
            Ok(n)
        }
    }));
    let spawned = tokio::spawn(async move { service.oneshot(7).await });
    assert_eq!(spawned.await.unwrap().unwrap(), 7);
}
