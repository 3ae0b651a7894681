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

/// How many of so many calls at once are answered, and when the last of them.
async fn at_once(config: StackConfig, calls: u32, time: Duration) -> (u32, Duration) {
    let stack = Stack::with_config("erp", config);
    let service = stack.service(takes(time));
    let begun = tokio::time::Instant::now();
    let calls: Vec<_> = (0..calls)
        .map(|n| tokio::spawn(service.clone().oneshot(n)))
        .collect();
    let mut answered = 0;
    for call in calls {
        answered += u32::from(matches!(call.await, Ok(Ok(_))));
    }
    (answered, begun.elapsed())
}

/// The figures in the documentation of the adaptive limit.
#[tokio::test(start_paused = true)]
async fn slow_calls_that_come_at_once_right_after_the_start_are_answered() {
    let five = Duration::from_secs(5);
    for config in [StackConfig::new(), long()] {
        let (answered, within) = at_once(config, 200, five).await;
        assert_eq!(answered, 200);
        assert!(within < Duration::from_secs(21), "{within:?}");
    }
    let one = Duration::from_secs(1);
    let (answered, within) = at_once(StackConfig::new(), 1_000, one).await;
    assert_eq!(answered, 1_000);
    assert!(within < Duration::from_secs(8), "{within:?}");
    let known = long().limit(long().limits().start(count(200)));
    let (answered, within) = at_once(known, 200, five).await;
    assert_eq!(answered, 200);
    assert!(within < Duration::from_secs(6), "{within:?}");
}
