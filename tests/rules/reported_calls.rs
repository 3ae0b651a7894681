//! What users report of retries, deadlines, fallbacks and clocks, and the rule.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use mainstay::breaker::{Breaker, BreakerConfig, State, Totals, Trip};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::Reason;
use mainstay::fallback::{Ending, FallbackConfig, FallbackLayer};
use mainstay::http::{AsResponse, ByStatus, DeadlineHeader};
use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, AdaptiveLayer, Sample};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{Rate, RateConfig, RateLayer, RateLimit};
use mainstay::num::{Attempts, Period, Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{
    Backoff, Budget, BudgetConfig, ConcurrencyBudget, Jitter, Nesting, QuotaBudget, RatioBudget,
    RetryConfig, RetryLayer, SharedBudget, ThrottleBudget,
};
use mainstay::rt;
use mainstay::time::Tick;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::callee::{Callee, Fault, Judge, Turn, ask, ms, poll, secs, start};

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn constant(attempts: u32, wait: Duration) -> RetryConfig {
    let backoff = Backoff::constant(wait).jitter(Jitter::None);
    RetryConfig::new(Attempts::total(attempts)).backoff(backoff)
}

/// Notes when each call passes.
#[derive(Clone)]
struct Noting<S> {
    inner: S,
    seen: Arc<Mutex<Vec<Tick>>>,
}

fn noting<S>(inner: S) -> (Noting<S>, Arc<Mutex<Vec<Tick>>>) {
    let seen = Arc::default();
    let same = Arc::clone(&seen);
    (Noting { inner, seen }, same)
}

impl<S: Service<u32>> Service<u32> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> S::Future {
        self.seen.lock().unwrap().push(rt::now());
        self.inner.call(request)
    }
}

/// Over any window, attempts are at most what the shared budget of all layers adds to the requests.
#[tokio::test(start_paused = true)]
async fn rule_08_attempts_keep_to_the_budget_over_any_window() {
    let (per_second, burst) = (3, 20);
    let ratio = BudgetConfig::new(Ratio::percent(20))
        .per_second(per_second)
        .burst(burst);
    let budget = SharedBudget::new(ratio);
    let layer = |name| {
        let config = constant(4, ms(130)).nesting(Nesting::Each);
        RetryLayer::new(name, config)
            .shared_budget(&budget)
            .classify(Judge)
    };
    let callee = Callee::new(Turn::FailAfter(ms(20)));
    let (leaf, attempts) = noting(callee.clone());
    let nested = layer("outer").layer(layer("middle").layer(layer("inner").layer(leaf)));
    let (service, requests) = noting(nested);
    let mut calls = Vec::new();
    for call in 0..6_000 {
        // Good seconds between the bad ones, in which something is saved.
        callee.set(if call / 700 % 3 == 1 {
            Turn::Answer
        } else {
            Turn::FailAfter(ms(20))
        });
        calls.push(tokio::spawn(service.clone().oneshot(1)));
        tokio::time::sleep(ms(10)).await;
    }
    for call in calls {
        let ended = call.await.unwrap();
        assert!(
            matches!(ended, Ok(1) | Err(Fault::Down)),
            "the callee's own word: {ended:?}"
        );
    }
    let (requests, attempts) = (requests.lock().unwrap(), attempts.lock().unwrap());
    let began = requests[0];
    // How many came before each half second.
    let before = |seen: &[Tick]| -> Vec<u32> {
        let halves = (0..=130).map(|half| began + ms(half * 500));
        let count = |end| seen.iter().filter(|at| **at < end).count();
        halves
            .map(|end| u32::try_from(count(end)).unwrap())
            .collect()
    };
    let (made, tried) = (before(&requests), before(&attempts));
    for from in 0..130_usize {
        for to in from + 1..=130 {
            let (requests, attempts) = (made[to] - made[from], tried[to] - tried[from]);
            let floor = burst + per_second + per_second * u32::try_from(to - from).unwrap() / 2;
            let most = f64::from(requests) * 1.2 + f64::from(floor);
            // A call of before the window can be retried in it: what it earned is in the burst.
            assert!(
                f64::from(attempts) <= most,
                "{attempts} of {requests}, {from} to {to}"
            );
        }
    }
    let all = attempts.len() as f64 / requests.len() as f64;
    assert!(all > 1.1, "it retries at all: {all}");
}

/// Every kind of budget that is spent leaves the callee's error, and comes back.
#[tokio::test(start_paused = true)]
async fn rule_08_a_spent_budget_leaves_the_error_and_comes_back() {
    let kinds: [BudgetConfig; 6] = [
        RatioBudget::new(Ratio::percent(20))
            .burst(10)
            .per_second(2)
            .into(),
        RatioBudget::new(Ratio::percent(20))
            .per_second(1)
            .ttl(Period::secs(10))
            .into(),
        BudgetConfig::aws(),
        QuotaBudget::new(60).into(),
        ThrottleBudget::new(10, Ratio::percent(10)).into(),
        ConcurrencyBudget::new(Ratio::percent(20)).into(),
    ];
    for kind in kinds {
        let layer = RetryLayer::new("rules", constant(3, ms(10)).budget(kind)).classify(Judge);
        let (callee, handle) = (Callee::new(Turn::Answer), layer.handle());
        let service = layer.layer(callee.clone());
        for _ in 0..500 {
            assert!(ask(&service, 1).await.is_ok());
        }
        let full = handle.tokens().unwrap();
        let mut calls = Vec::new();
        callee.set(Turn::Fail);
        for _ in 0..200 {
            calls.push(tokio::spawn(service.clone().oneshot(1)));
        }
        for call in calls {
            assert_eq!(call.await.unwrap(), Err(Fault::Down), "{kind:?}");
        }
        let refused = callee.calls() < 500 + 600;
        assert!(
            refused && callee.calls() > 700,
            "{kind:?}: {}",
            callee.calls()
        );
        tokio::time::sleep(secs(30)).await;
        callee.set(Turn::Answer);
        for _ in 0..1_000 {
            assert!(ask(&service, 1).await.is_ok());
        }
        assert!(
            handle.tokens().unwrap() >= full,
            "{kind:?}: {:?}",
            handle.tokens()
        );
        let before = handle.retries();
        callee.set(Turn::Fail);
        assert!(ask(&service, 1).await.is_err());
        assert!(handle.retries() > before, "{kind:?}");
    }
}

/// What an HTTP callee answers a call with, and the answer and the moments of all attempts.
async fn hinted(
    config: RetryConfig,
    seed: u64,
    headers: &[(&'static str, &'static str)],
) -> (Response<()>, Vec<Duration>) {
    let headers = headers.to_vec();
    let moments = Arc::new(Mutex::new(Vec::new()));
    let (began, seen) = (rt::now(), Arc::clone(&moments));
    let callee = service_fn(move |_: Request<()>| {
        seen.lock().unwrap().push(rt::now().since(began));
        let mut answer = Response::builder().status(429);
        for (name, value) in &headers {
            answer = answer.header(*name, *value);
        }
        async { Ok::<_, BoxError>(answer.body(()).unwrap()) }
    });
    let retry = RetryLayer::seeded("rules", config, seed).classify(ByStatus);
    let answer = retry.layer(callee).oneshot(Request::new(())).await.unwrap();
    let moments = moments.lock().unwrap().clone();
    (answer, moments)
}

/// No attempt before the hint, in either of its forms; none at all beyond patience; no hint where none can be read.
#[tokio::test(start_paused = true)]
async fn rule_09_a_hint_is_never_undercut() {
    let config = RetryConfig::default();
    let date = ("date", "Fri, 02 Jan 2026 03:04:05 GMT");
    for seed in 0..50 {
        for retry_after in ["7", "Fri, 02 Jan 2026 03:04:12 GMT"] {
            let (_, moments) = hinted(config, seed, &[date, ("retry-after", retry_after)]).await;
            assert_eq!(moments.len(), 3);
            for pair in moments.windows(2) {
                let waited = pair[1] - pair[0];
                assert!(
                    (secs(7)..=ms(8_750)).contains(&waited),
                    "{waited:?} of {retry_after}"
                );
            }
        }
        for unusable in ["soon", "-7", "7.5", "", "Fri, 02 Jan 2026"] {
            let (_, moments) = hinted(config, seed, &[date, ("retry-after", unusable)]).await;
            assert_eq!(moments.len(), 3);
            assert!(moments[1] <= ms(51), "{:?} of {unusable:?}", moments[1]);
        }
    }
    for beyond in [
        "61",
        "86400",
        "99999999999999999999",
        "Sat, 03 Jan 2026 03:04:05 GMT",
    ] {
        let (answer, moments) = hinted(config, 1, &[date, ("retry-after", beyond)]).await;
        assert_eq!(moments.len(), 1, "{beyond}");
        assert_eq!(
            answer.headers()["retry-after"],
            beyond,
            "for whoever has more patience"
        );
    }
}

/// The total counts the queue, every attempt and every wait; an attempt has the less of its own limit and what is left.
#[tokio::test(start_paused = true)]
async fn rule_11_the_total_counts_everything_and_an_attempt_gets_what_is_left() {
    let callee = Callee::new(Turn::Hang);
    let total = |limit| DeadlineLayer::new("total", limit);
    let attempt = |limit| TimeoutLayer::new("attempt", limit);

    // Six tenths of a second in the queue, so four are left for the call.
    let service = total(Period::secs(1)).layer(callee.clone());
    callee.set_ready(false);
    let began = rt::now();
    let later = async {
        tokio::time::sleep(ms(600)).await;
        callee.set_ready(true);
    };
    let (ended, ()) = tokio::join!(ask(&service, 1), later);
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::DeadlineExceeded));
    assert_eq!(rt::now().since(began), secs(1));

    // The same in the line of a limit, and in that of a rate.
    let place = ConcurrencyLayer::new("rules", ConcurrencyConfig::new(count(1)).queue(1));
    let mut service = total(Period::secs(1)).layer(place.layer(callee.clone()));
    let holder = start(&mut place.layer(callee.clone()), 1).await;
    let began = rt::now();
    let waiting = start(&mut service, 1).await;
    let free = async {
        tokio::time::sleep(ms(600)).await;
        drop(holder);
    };
    let (ended, ()) = tokio::join!(waiting, free);
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::DeadlineExceeded));
    assert_eq!((rt::now().since(began), callee.in_flight()), (secs(1), 0));
    let rate = RateConfig::new(Rate::even(10, Period::secs(6))).patience(Period::secs(60));
    let service = total(Period::secs(1)).layer(RateLayer::new("rules", rate).layer(callee.clone()));
    let began = rt::now();
    let (first, second) = tokio::join!(ask(&service, 1), ask(&service, 1));
    assert!(first.is_err() && second.is_err());
    assert_eq!(
        rt::now().since(began),
        secs(1),
        "six tenths of it until its turn"
    );

    // An attempt that hangs gets its own limit, and the last one what is left.
    let retry = RetryLayer::new("rules", constant(10, ms(100))).classify(Judge);
    let service = total(Period::secs(1))
        .layer(retry.layer(attempt(Period::millis(600)).layer(callee.clone())));
    let (before, began) = (callee.calls(), rt::now());
    let Err(Fault::TimedOut(last)) = ask(&service, 1).await else {
        panic!("the callee hangs")
    };
    assert_eq!(
        (callee.calls() - before, rt::now().since(began)),
        (2, secs(1))
    );
    assert_eq!(last.after(), ms(300));

    // A wait that would cross the deadline is not begun: the callee's error comes at once.
    callee.set(Turn::Fail);
    let retry = RetryLayer::new("rules", constant(10, ms(400))).classify(Judge);
    let service = total(Period::secs(1)).layer(retry.layer(callee.clone()));
    let began = rt::now();
    assert_eq!(ask(&service, 1).await, Err(Fault::Down));
    assert_eq!(rt::now().since(began), ms(800));
}

/// What travels is the less of the own and the incoming deadline; retries never extend it; late work is not begun.
#[tokio::test(start_paused = true)]
async fn rule_12_deadlines_travel_and_only_shorten() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _listening = metrics::set_default_local_recorder(&recorder);
    let header = || DeadlineHeader::default();
    const NAME: &str = "x-request-timeout-ms";
    let call = async |own: Period, incoming: Option<&'static str>| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let callee = service_fn(move |request: Request<()>| {
            let left = request.headers()[NAME]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap();
            noted.lock().unwrap().push(left);
            async {
                tokio::time::sleep(ms(200)).await;
                let answer = Response::builder().status(503);
                Ok::<_, BoxError>(answer.body(Full::<Bytes>::default()).unwrap())
            }
        });
        let service = ServiceBuilder::new()
            .layer(header().honour())
            .layer(DeadlineLayer::new("rules", own).refuse_with(AsResponse))
            .layer(
                RetryLayer::new("rules", constant(4, ms(100)))
                    .classify(ByStatus)
                    .refuse_with(AsResponse),
            )
            .layer(header().carry())
            .service(callee);
        let mut request = Request::builder();
        if let Some(incoming) = incoming {
            request = request.header(NAME, incoming);
        }
        let began = rt::now();
        let answer = service.oneshot(request.body(()).unwrap()).await.unwrap();
        let told = told.lock().unwrap().clone();
        (told, rt::now().since(began), answer.status().as_u16())
    };
    let (told, ..) = call(Period::secs(5), None).await;
    assert_eq!(
        told,
        [5_000, 4_700, 4_400, 4_100],
        "each attempt tells what is left"
    );
    let (told, took, _) = call(Period::secs(5), Some("800")).await;
    assert_eq!((told, took), (vec![800, 500, 200], ms(800)));
    let (told, took, _) = call(Period::millis(800), Some("5000")).await;
    assert_eq!((told, took), (vec![800, 500, 200], ms(800)));
    for late in ["0", "00"] {
        let (told, took, status) = call(Period::secs(5), Some(late)).await;
        assert_eq!((told, took, status), (vec![], Duration::ZERO, 504));
    }
    let refused = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .find_map(|(key, _, _, value)| {
            let late = key
                .key()
                .labels()
                .any(|label| label.value() == "deadline_exceeded");
            match value {
                DebugValue::Counter(count) if late => Some(count),
                _ => None,
            }
        });
    assert!(
        refused >= Some(2),
        "what was not begun is counted: {refused:?}"
    );
}

/// A body whose only word comes late.
struct Late(Pin<Box<tokio::time::Sleep>>, bool);

impl http_body::Body for Late {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(None);
        }
        self.1 = false;
        std::task::ready!(self.0.as_mut().poll(cx));
        self.1 = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"late")))))
    }
}

/// There is no hedging. What of it concerns a second call of any kind: a stand-in that fails leaves the first error, a
/// spent budget ends no attempt under way, and what was answered is not cut off by the layers that answered.
#[tokio::test(start_paused = true)]
async fn rule_13_a_second_call_does_the_first_no_harm() {
    let (first, second) = (
        Callee::new(Turn::Fail),
        Callee::new(Turn::FailAfter(secs(1))),
    );
    let layer =
        FallbackLayer::service("rules", FallbackConfig::default(), second.clone()).classify(Judge);
    let service = layer.layer(first.clone());
    second.set(Turn::Busy(secs(9)));
    assert_eq!(
        ask(&service, 1).await,
        Err(Fault::Down),
        "the first one's error"
    );
    assert_eq!(
        (second.calls(), layer.handle().count(Ending::Failed)),
        (1, 1)
    );
    second.set(Turn::AnswerAfter(secs(1)));
    assert_eq!(
        ask(&service, 1).await,
        Ok(1),
        "a failure does not win over an answer"
    );

    let budget = ConcurrencyBudget::new(Ratio::ZERO).minimum(1);
    let retry = RetryLayer::new("rules", constant(2, ms(10)).budget(budget.into())).classify(Judge);
    let mut service = retry.layer(first.clone());
    let mut retrying = start(&mut service, 7).await;
    assert!(poll(&mut retrying).is_pending());
    tokio::time::sleep(ms(20)).await;
    first.set(Turn::AnswerAfter(secs(5)));
    assert!(poll(&mut retrying).is_pending(), "on its second attempt");
    first.set(Turn::Fail);
    for _ in 0..10 {
        assert_eq!(
            ask(&service, 1).await,
            Err(Fault::Down),
            "the only place is taken"
        );
    }
    assert_eq!(retrying.await, Ok(7));

    let callee = service_fn(|_: Request<()>| async {
        let late = Late(Box::pin(tokio::time::sleep(secs(60))), false);
        Ok::<_, BoxError>(Response::new(late))
    });
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("rules", Period::secs(2)))
        .layer(RetryLayer::new("rules", RetryConfig::default()).classify(ByStatus))
        .layer(TimeoutLayer::new("rules", Period::secs(1)))
        .service(callee);
    let answer = service.oneshot(Request::new(())).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "late");
}

fn fail(breaker: &mut Breaker, now: Tick) {
    if let Ok(permit) = breaker.admit(now).verdict {
        breaker.settle(permit, FAILED, now);
    }
}

/// A clock that steps back loses nothing and doubles nothing; sixty idle days cost what a short while does.
#[test]
fn rule_16_clocks_may_step_and_idle_times_may_be_long() {
    let days = secs(60 * 24 * 3_600);
    let window = Period::secs(10);
    let trips = [
        BreakerConfig::new(Trip::rate(Ratio::percent(50), 6, window)),
        BreakerConfig::new(Trip::in_window(6, window)),
        BreakerConfig::new(Trip::consecutive(6)),
    ];
    for config in trips {
        let mut breaker = Breaker::new(config);
        let noon = Tick::ZERO + secs(100);
        let times = [0, 1, 2].map(|second| noon + secs(second));
        times.into_iter().for_each(|now| fail(&mut breaker, now));
        assert_eq!(breaker.failures(noon + secs(2)), 3);
        // Back by a whole window, then on: each failure counts once.
        let back = noon.back(secs(10));
        fail(&mut breaker, back);
        assert_eq!(
            (breaker.failures(back), breaker.state()),
            (4, State::Closed),
            "{config:?}"
        );
        fail(&mut breaker, noon + secs(3));
        assert_eq!(
            (breaker.failures(noon + secs(3)), breaker.state()),
            (5, State::Closed)
        );
        fail(&mut breaker, noon + secs(4));
        assert_eq!(breaker.state(), State::Open, "{config:?}");
        // Open, a step back neither lets calls in nor lengthens the wait.
        let until = breaker.time_left(noon + secs(4)).unwrap();
        assert!(breaker.admit(Tick::ZERO).verdict.is_err());
        assert_eq!(breaker.time_left(noon + secs(4)), Some(until));

        let mut breaker = Breaker::new(config);
        (0..5).for_each(|_| fail(&mut breaker, noon));
        let later = noon + days;
        if config == trips[2] {
            assert_eq!(breaker.failures(later), 5, "failures in a row have no age");
        } else {
            assert_eq!(
                (breaker.failures(later), breaker.failing(later)),
                (0, Totals::default())
            );
            fail(&mut breaker, later);
            assert_eq!(breaker.state(), State::Closed, "{config:?}");
        }
        // The end of time is a time like any other.
        for now in [Tick::NEVER, Tick::ZERO, Tick::NEVER] {
            (0..20).for_each(|_| fail(&mut breaker, now));
        }
    }

    let budgets: HashMap<&str, BudgetConfig> = HashMap::from([
        (
            "saved",
            RatioBudget::new(Ratio::percent(50))
                .burst(5)
                .per_second(2)
                .into(),
        ),
        (
            "expiring",
            RatioBudget::new(Ratio::percent(50))
                .per_second(2)
                .ttl(window)
                .into(),
        ),
    ]);
    for (name, config) in budgets {
        let noon = Tick::ZERO + secs(100);
        let mut budget = Budget::new(config, noon);
        (0..6).for_each(|_| budget.begin(noon));
        while budget.withdraw(noon) {}
        let spent = budget.tokens(noon);
        assert!(spent < 1.0);
        for back in [secs(1), secs(10), secs(100)] {
            budget.begin(noon.back(back));
            assert!(
                budget.tokens(noon.back(back)) <= spent + 2.0,
                "{name}: earned by stepping back"
            );
        }
        while budget.withdraw(noon) {}
        let granted = (0..1_000).filter(|_| budget.withdraw(noon + days)).count();
        assert!(
            (2..=20).contains(&granted),
            "{name}: {granted} after sixty days"
        );
        assert!((0..1_000).filter(|_| budget.withdraw(Tick::NEVER)).count() <= 20);
    }

    let second = Period::secs(1);
    for rate in [
        Rate::burst(5, second),
        Rate::even(5, second),
        Rate::windows(5, second),
    ] {
        for back in [ms(200), secs(1), secs(99)] {
            let mut limit = RateLimit::new(rate);
            let mut take = |now| {
                let asked = (0..100).filter(|_| limit.reserve(count(1), now).is_ok());
                asked.count()
            };
            let most = take(noon());
            assert!((1..=5).contains(&most), "{rate:?}");
            let then = noon().back(back);
            assert_eq!(take(then), 0, "{rate:?}: given twice, {back:?} back");
            assert_eq!(take(then + secs(1)), most, "{rate:?}: lost, {back:?} back");
            assert_eq!(take(then + days), most, "{rate:?}: as after a quiet second");
            let _ = (take(Tick::NEVER), take(Tick::ZERO), take(Tick::NEVER));
        }
    }

    let mut adaptive = Adaptive::new(AdaptiveConfig::new(), noon());
    let observe = |adaptive: &mut Adaptive, now: Tick, took: Duration, in_flight: u32| {
        let sample = Sample::new(now.back(took), Outcome::Success).in_flight(in_flight);
        adaptive.observe(sample, now).is_some()
    };
    for n in 0..200 {
        let now = noon() + ms(10 * n);
        let stepped = if n % 10 == 9 { now.back(secs(50)) } else { now };
        observe(&mut adaptive, stepped, ms(10), 5);
    }
    let before = adaptive.limit();
    for n in 0..10 {
        observe(&mut adaptive, noon() + days + ms(10 * n), ms(10), 5);
    }
    assert_eq!(
        adaptive.limit(),
        before,
        "after sixty idle days as before them"
    );
    for now in [Tick::NEVER, Tick::ZERO, Tick::NEVER] {
        for _ in 0..100 {
            observe(&mut adaptive, now, ms(10), 100);
        }
    }
}

fn noon() -> Tick {
    Tick::ZERO + secs(100)
}

/// Through an adaptive limit, a call every `gap` for so long; how many were refused in the last ten seconds.
async fn load<S>(service: &S, gap: Duration, lasting: Duration) -> usize
where
    S: Service<u32, Response = u32, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    let (began, refused) = (rt::now(), Arc::new(AtomicUsize::new(0)));
    while rt::now().since(began) < lasting {
        let (call, refused) = (service.clone().oneshot(1), Arc::clone(&refused));
        let counts = rt::now().since(began) + secs(10) >= lasting;
        tokio::spawn(async move {
            if call.await.is_err() && counts {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(gap).await;
    }
    refused.load(Ordering::Relaxed)
}

/// An adaptive limit does not grow while fewer than half of it are under way, and a callee that has become slower for
/// good gets all of its calls again.
#[tokio::test(start_paused = true)]
async fn rule_18_an_adaptive_limit_drifts_neither_up_nor_down() {
    let layer = AdaptiveLayer::new("rules", AdaptiveConfig::new()).classify(Judge);
    let (callee, handle) = (Callee::new(Turn::AnswerAfter(ms(20))), layer.handle());
    let service = layer.layer(callee.clone());
    // 2 of 20 are under way, and then none for an hour: nothing moves.
    assert_eq!(load(&service, ms(10), secs(60)).await, 0);
    tokio::time::sleep(secs(3_600)).await;
    assert_eq!(load(&service, ms(10), secs(60)).await, 0);
    assert_eq!((handle.limit().get(), handle.last_change()), (20, None));

    // Forty at a time are in the way of twenty: it grows, and not without end.
    callee.set(Turn::AnswerAfter(ms(40)));
    assert_eq!(load(&service, ms(1), secs(20)).await, 0);
    assert!((40..=400).contains(&handle.limit().get()), "{handle:?}");

    // Ten times as slow from now on: it is learned anew, and nothing is held back any more.
    callee.set(Turn::AnswerAfter(ms(400)));
    assert_eq!(load(&service, ms(1), secs(40)).await, 0);
    let baseline = handle.baseline().unwrap();
    assert!((ms(350)..=ms(450)).contains(&baseline), "{baseline:?}");
    assert!(handle.limit().get() >= 400, "{handle:?}");
}
