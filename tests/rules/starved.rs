//! The one failure that only a starved runtime shows, in real time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mainstay::breaker::{BreakerConfig, BreakerLayer, HalfOpen, KeyedBreakerLayer, Trip};
use mainstay::num::{Attempts, Period};
use mainstay::retry::{Backoff, RetryConfig};
use mainstay::standard::Stack;
use tokio::runtime::Builder;
use tower::limit::ConcurrencyLimit;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::callee::ms;

const TASKS: u32 = 16;
/// So many answers each of them wants.
const ANSWERS: u32 = 20;
const BOUND: Duration = Duration::from_secs(10);

type Boxed = BoxCloneService<u32, u32, BoxError>;

/// Every third call fails, some answer at once and some later, and only two may be under way: whoever waits for a place
/// waits in `poll_ready` when the circuit opens.
fn callee() -> ConcurrencyLimit<
    impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
> {
    let calls = Arc::new(AtomicU32::new(0));
    let callee = service_fn(move |request: u32| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            if call % 2 == 1 {
                tokio::time::sleep(Duration::from_micros(u64::from(call % 5) * 100)).await;
            }
            if call % 3 == 0 {
                Err(BoxError::from("down"))
            } else {
                Ok(request)
            }
        }
    });
    ConcurrencyLimit::new(callee, 2)
}

fn opens_often() -> BreakerConfig {
    BreakerConfig::new(Trip::consecutive(1))
        .open_for(Period::millis(1))
        .half_open(HalfOpen::new(1, 1).deadline(Period::millis(50)))
}

async fn until_answered(service: Boxed) {
    let mut answers = 0;
    while answers < ANSWERS {
        match service.clone().oneshot(answers).await {
            Ok(_) => answers += 1,
            Err(_) => tokio::time::sleep(ms(1)).await,
        }
    }
}

/// Sixteen tasks on two workers, with two threads and two tasks that are always busy.
fn nobody_hangs(what: &str, service: &Boxed) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = || {
        let stop = Arc::clone(&stop);
        move || !stop.load(Ordering::Relaxed)
    };
    let threads = [busy(), busy()].map(|goes_on| {
        std::thread::spawn(move || {
            while goes_on() {
                std::hint::spin_loop();
            }
        })
    });
    for goes_on in [busy(), busy()] {
        runtime.spawn(async move {
            while goes_on() {
                tokio::task::yield_now().await;
            }
        });
    }
    let (done, ended) = mpsc::channel();
    for task in 0..TASKS {
        let (service, done) = (service.clone(), done.clone());
        runtime.spawn(async move {
            until_answered(service).await;
            done.send(task).unwrap();
        });
    }
    let began = Instant::now();
    let all = (0..TASKS).all(|_| {
        ended
            .recv_timeout(BOUND.saturating_sub(began.elapsed()))
            .is_ok()
    });
    println!("{what}: {:?}", began.elapsed());
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    runtime.shutdown_background();
    assert!(all, "{what}: somebody still waits after {BOUND:?}");
}

/// Callers of an open circuit are answered, and those who wait for its callee are woken when it opens.
#[test]
fn failure_01_nobody_hangs_on_an_open_circuit_of_a_starved_runtime() {
    let single = BreakerLayer::new("starved", opens_often());
    nobody_hangs("one circuit", &BoxCloneService::new(single.layer(callee())));
    assert!(single.handle().openings() > 0);
    assert_eq!(single.handle().probes(), 0);

    let keyed = KeyedBreakerLayer::new("starved", opens_often(), 4, |request: &u32| request % 3);
    nobody_hangs(
        "circuits by key",
        &BoxCloneService::new(keyed.layer(callee())),
    );

    let retry = RetryConfig::new(Attempts::total(3)).backoff(Backoff::constant(ms(1)));
    let stack = Stack::standard("starved")
        .breaker(opens_often())
        .retry(retry);
    nobody_hangs(
        "the standard stack",
        &BoxCloneService::new(stack.service(callee())),
    );
    assert!(stack.handle().breaker().openings() > 0);
    assert_eq!(stack.handle().breaker().probes(), 0);
}
