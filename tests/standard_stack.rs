//! What the standard stack makes of callees that are slow, and that is no fault of theirs.

#![expect(
    clippy::disallowed_methods,
    reason = "a test waits on the paused clock"
)]

use std::time::Duration;

use mainstay::breaker::{Order, State, Trip};
use mainstay::num::{Period, count};
use mainstay::standard::{Stack, StackConfig};
use tower::{BoxError, Service, ServiceExt, service_fn};

fn long() -> StackConfig {
    StackConfig::new()
        .deadline(Period::secs(120))
        .attempt_timeout(Period::secs(60))
}

fn takes(
    time: Duration,
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static {
    service_fn(move |n: u32| async move {
        tokio::time::sleep(time).await;
        Ok(n)
    })
}

/// Whether a circuit that an operator opened comes to be closed by calls of 25 s.
async fn comes_back(stack: Stack) -> bool {
    let service = stack.service(takes(Duration::from_secs(25)));
    stack.handle().breaker().open(Order::new("test", "drill"));
    for n in 0..60 {
        drop(tokio::spawn(service.clone().oneshot(n)));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stack.handle().breaker().state() == State::Closed
}

#[tokio::test(start_paused = true)]
async fn a_probe_may_take_as_long_as_an_attempt() {
    assert!(comes_back(Stack::with_config("ai", long())).await);
    let tripped = long().breaker(Trip::consecutive(5));
    assert!(comes_back(Stack::with_config("ai", tripped)).await);
    let stack = || Stack::standard("ai").deadline(Period::secs(120));
    let before = stack().breaker(Trip::consecutive(5));
    assert!(comes_back(before.attempt_timeout(Period::secs(60))).await);
    let after = stack().attempt_timeout(Period::secs(60));
    assert!(comes_back(after.breaker(Trip::consecutive(5))).await);
}

#[test]
fn a_probe_may_take_twice_the_attempt_timeout_and_longer_if_told_so() {
    let patience = |config: StackConfig| config.circuit().probing().patience();
    assert_eq!(patience(StackConfig::new()), Period::secs(20));
    assert_eq!(patience(long()), Period::secs(120));
    assert_eq!(
        patience(long().attempt_timeout(Period::secs(1))),
        Period::secs(120)
    );
}

/// The figures in the documentation of the adaptive limit.
#[tokio::test(start_paused = true)]
async fn two_hundred_slow_calls_at_once_need_a_limit_that_starts_there() {
    for (config, answered) in [
        (long(), 40),
        (long().limit(long().limits().start(count(200))), 200),
    ] {
        let stack = Stack::with_config("ai", config);
        let service = stack.service(takes(Duration::from_secs(5)));
        let calls: Vec<_> = (0..200)
            .map(|n| tokio::spawn(service.clone().oneshot(n)))
            .collect();
        let mut ok = 0;
        for call in calls {
            ok += u32::from(call.await.unwrap().is_ok());
        }
        assert_eq!(ok, answered);
    }
}
