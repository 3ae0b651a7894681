//! Whatever calls come to, and whatever is changed meanwhile: permits, tasks and memory come back.
//!
//! Each test runs many calls at once on the paused clock, each with a chance of its own to be answered, to fail, to
//! panic, to hang until the deadline or to be dropped at any point, while settings are replaced at random. Afterwards
//! nothing is in use, and what is allocated is what it was after the first rounds.

use std::pin::pin;
use std::time::Duration;

use mainstay::breaker::{
    BreakerConfig, BreakerHandle, BreakerLayer, HalfOpen, KeyedBreakerLayer, Order, Ramp, Trip,
    Window,
};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::fallback::{FallbackConfig, FallbackLayer, Outcomes, Primary};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveHandle, AdaptiveLayer, Bounds};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{KeyedRate, KeyedRateConfig, Rate, RateConfig, RateLayer};
use mainstay::num::{Attempts, Factor, Period, Ratio, count};
use mainstay::retry::{
    Backoff, BudgetConfig, ConcurrencyBudget, QuotaBudget, RatioBudget, RetryConfig, RetryHandle,
    RetryLayer, ThrottleBudget,
};
use mainstay::rng::Rng;
use mainstay::scope::Scope;
use mainstay::standard::{Stack, StackConfig};
use mainstay_test_support::live_bytes;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

use crate::callee::{Callee, Fault, Judge, Turn, ask, ms, poll, secs};

const ROUNDS: usize = 6;
/// After so many everything that grows to a bound has reached it.
const WARM: usize = 3;
const CALLS: u32 = 1_200;

/// What may be allocated beyond that: queues of callers differ in length from round to round.
const SLACK: i64 = 4 * 1_024;

/// Every run of a test is the same for the same seed.
fn seed() -> u64 {
    let given = std::env::var("MAINSTAY_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("MAINSTAY_SEED={seed}");
    seed
}

/// Until when a caller waits.
#[derive(Clone, Copy, Debug)]
enum Patience {
    ToTheEnd,
    Polls(u64),
    Time(Duration),
}

impl Patience {
    fn draw(rng: &mut Rng) -> Self {
        match rng.next_u64() % 8 {
            0..=4 => Self::ToTheEnd,
            5 | 6 => Self::Time(ms(rng.next_u64() % 1_000)),
            _ => Self::Polls(rng.next_u64() % 4),
        }
    }
}

async fn call<S>(mut service: S, request: u32, patience: Patience)
where
    S: Service<u32, Response = u32, Error = Fault>,
{
    let call = async {
        let made = service.ready().await?.call(request);
        made.await
    };
    match patience {
        Patience::ToTheEnd => drop(call.await),
        Patience::Time(time) => drop(tokio::time::timeout(time, call).await),
        Patience::Polls(polls) => {
            let mut call = pin!(call);
            for _ in 0..polls {
                if poll(&mut call).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// One round, to its last task.
async fn round<S>(service: &S, callee: &Callee, rng: &mut Rng, reload: &mut impl FnMut(&mut Rng))
where
    S: Service<u32, Response = u32, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let request = u32::try_from(rng.next_u64() % 64).unwrap_or(0);
        let handle = calls.spawn(call(service.clone(), request, Patience::draw(rng)));
        match rng.next_u64() % 64 {
            0..=15 => tokio::time::sleep(ms(rng.next_u64() % 40)).await,
            16..=19 => reload(rng),
            20..=23 => handle.abort(),
            24 => callee.set_ready(false),
            25..=30 => callee.set_ready(true),
            _ => {}
        }
        while calls.try_join_next().is_some() {}
    }
    tokio::time::sleep(secs(1)).await;
    callee.set_ready(true);
    while calls.join_next().await.is_some() {}
    // What is owed over time is paid by then.
    tokio::time::sleep(secs(10)).await;
}

/// Runs all rounds; `at_rest` puts the settings back and checks that nothing is in use.
async fn soak<S>(
    service: S,
    callee: Callee,
    mut reload: impl FnMut(&mut Rng),
    mut at_rest: impl FnMut(),
) where
    S: Service<u32, Response = u32, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    let runtime = tokio::runtime::Handle::current().metrics();
    let mut rng = Rng::new(seed());
    let (tasks, owners) = (runtime.num_alive_tasks(), callee.owners());
    let mut warm = 0;
    for n in 0..ROUNDS {
        round(&service, &callee, &mut rng, &mut reload).await;
        assert_eq!(callee.in_flight(), 0, "round {n}");
        assert_eq!(callee.owners(), owners, "round {n}");
        assert_eq!(runtime.num_alive_tasks(), tasks, "round {n}");
        let scope = Scope::current();
        assert_eq!((scope.deadline(), scope.attempt_number()), (None, 0));
        at_rest();
        let live = live_bytes();
        println!("round {n}: {live} bytes");
        if n + 1 == WARM {
            warm = live;
        }
    }
    let grown = live_bytes() - warm;
    assert!(grown <= SLACK, "{grown} bytes more than when it was warm");
    // And it works.
    assert!(
        callee.calls() > CALLS,
        "{} calls came through",
        callee.calls()
    );
    callee.set(Turn::Answer);
    let mut answered = false;
    for _ in 0..1_000 {
        answered |= ask(&service, 1).await.is_ok();
        tokio::time::sleep(ms(100)).await;
    }
    assert!(answered);
    assert_eq!(ask(&service, 1).await, Ok(1));
}

/// Around layers that end nothing by themselves.
fn deadline() -> DeadlineLayer {
    DeadlineLayer::new("soak", Period::secs(2))
}

fn base() -> BreakerConfig {
    BreakerConfig::new(Trip::rate(Ratio::percent(30), 10, Period::secs(2)))
        .open_for(Period::millis(50))
}

fn any_breaker(rng: &mut Rng) -> BreakerConfig {
    let size = [1, 5, 40][(rng.next_u64() % 3) as usize];
    let windows = [Window::calls(size), Window::Time(Period::millis(500))];
    let window = windows[(rng.next_u64() % 2) as usize];
    let ratio = Ratio::percent([1, 30, 60][(rng.next_u64() % 3) as usize]);
    let trips = [
        Trip::consecutive(size),
        Trip::in_window(size, Period::secs(1)),
        Trip::streak(size, Period::millis(100)),
        Trip::rate_of(ratio, 5, window),
        Trip::slow(Period::millis(300), ratio, 5, window),
    ];
    let half_open = [
        HalfOpen::new(1, 1),
        HalfOpen::new(3, 5).out_of(9).deadline(Period::millis(200)),
        HalfOpen::ratio(4, Ratio::percent(75)),
    ];
    let config = BreakerConfig::new(trips[(rng.next_u64() % 5) as usize])
        .or(trips[(rng.next_u64() % 5) as usize])
        .open_for(Period::millis(20))
        .half_open(half_open[(rng.next_u64() % 3) as usize]);
    match rng.next_u64() % 3 {
        0 => config.ramp(Ramp::linear(Ratio::percent(20), Period::millis(300))),
        1 => config
            .growing(Factor::TWO, Period::millis(200))
            .jitter(Ratio::percent(25)),
        _ => config,
    }
}

/// A round of probes may be under way, but none of them is.
fn breaker_at_rest(handle: &BreakerHandle) {
    assert_eq!(handle.probes(), 0, "{handle:?}");
    handle.reload(base());
    handle.reset(Order::new("test", "the round is over"));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_gives_everything_back() {
    let layer = BreakerLayer::seeded("soak", base(), seed()).classify(Judge);
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(any_breaker(rng));
    soak(service, callee, reload, || breaker_at_rest(&handle)).await;
    assert!(handle.openings() > 50, "{} openings", handle.openings());
}

#[tokio::test(start_paused = true)]
async fn circuits_by_key_give_everything_back() {
    let layer = KeyedBreakerLayer::new("soak", base(), 16, |key: &u32| *key).classify(Judge);
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(any_breaker(rng));
    let at_rest = || {
        assert!(handle.keys() <= 16);
        for key in 0..64 {
            if let Some(circuit) = handle.circuit(&key) {
                breaker_at_rest(&circuit);
            }
        }
        handle.reload(base());
        assert!(handle.tripped().is_empty());
    };
    soak(service, callee, reload, at_rest).await;
    assert_eq!(handle.keys(), 16);
}

fn budgets() -> [Option<BudgetConfig>; 7] {
    [
        None,
        Some(RatioBudget::new(Ratio::percent(50)).per_second(50).into()),
        Some(
            RatioBudget::new(Ratio::percent(50))
                .ttl(Period::secs(1))
                .into(),
        ),
        Some(QuotaBudget::new(500).into()),
        Some(ThrottleBudget::new(100, Ratio::percent(50)).into()),
        Some(ConcurrencyBudget::new(Ratio::percent(30)).into()),
        Some(
            ConcurrencyBudget::new(Ratio::percent(20))
                .minimum(9)
                .of_all()
                .into(),
        ),
    ]
}

fn retries(budget: Option<BudgetConfig>) -> RetryConfig {
    let backoff = Backoff::exponential(ms(20), ms(300));
    let config = RetryConfig::new(Attempts::total(4)).backoff(backoff);
    match budget {
        Some(budget) => config.budget(budget),
        None => config.without_budget(),
    }
}

fn any_retries(rng: &mut Rng) -> RetryConfig {
    let attempts = Attempts::retries(u32::try_from(rng.next_u64() % 4).unwrap_or(0));
    retries(budgets()[(rng.next_u64() % 7) as usize])
        .limit(attempts)
        .longest_hint(ms(rng.next_u64() % 1_000))
}

/// What a budget of places says when no call and no retry holds one.
fn retries_at_rest(handle: &RetryHandle, settings: RetryConfig) {
    for (places, most) in [(1_000, Ratio::ZERO), (0, Ratio::ONE), (1_000, Ratio::ZERO)] {
        let idle = ConcurrencyBudget::new(most).minimum(places);
        handle.reload(settings.budget(idle.into()));
        assert_eq!(handle.tokens(), Some(f64::from(places)), "{handle:?}");
    }
    handle.reload(settings);
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_everything_back_whatever_its_budget() {
    for budget in budgets() {
        println!("{budget:?}");
        let layer = RetryLayer::seeded("soak", retries(budget), seed()).classify(Judge);
        let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
        let service = deadline().layer(layer.layer(callee.clone()));
        // Of the same kind only: what the kinds do to each other comes next.
        let reload = |rng: &mut Rng| {
            let attempts = Attempts::retries(u32::try_from(rng.next_u64() % 4).unwrap_or(0));
            handle.reload(retries(budget).limit(attempts));
        };
        let at_rest = || {
            if let Some(BudgetConfig::Concurrency(places)) = budget {
                let idle = if places.is_of_all() { 9.0 } else { 3.0 };
                assert_eq!(handle.tokens(), Some(idle), "{handle:?}");
            }
            retries_at_rest(&handle, retries(budget));
        };
        soak(service, callee, reload, at_rest).await;
        assert!(handle.retries() > 100, "{handle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_everything_back_while_its_budget_changes_kind() {
    let layer = RetryLayer::seeded("soak", retries(None), seed()).classify(Judge);
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(any_retries(rng));
    soak(service, callee, reload, || {
        retries_at_rest(&handle, retries(None))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_give_everything_back() {
    let (total, attempt) = (deadline(), TimeoutLayer::new("soak", Period::millis(500)));
    let callee = Callee::drawing(Rng::new(seed()));
    let service = total.layer(attempt.layer(callee.clone()));
    let (total, attempt) = (total.handle(), attempt.handle());
    let reload = |rng: &mut Rng| {
        let any = |rng: &mut Rng| Period::new("limit", ms(1 + rng.next_u64() % 900)).unwrap();
        total.reload(any(rng));
        attempt.reload(any(rng));
    };
    let at_rest = || {
        total.reload(Period::secs(2));
        attempt.reload(Period::millis(500));
    };
    soak(service, callee, reload, at_rest).await;
}

fn any_fallback(rng: &mut Rng) -> FallbackConfig {
    let outcomes = [
        Outcomes::NONE,
        Outcomes::NONE.failures(),
        Outcomes::NONE.overload().refusals(),
        Outcomes::default(),
    ];
    let places = count([1, 4, 64][(rng.next_u64() % 3) as usize]);
    FallbackConfig::new(outcomes[(rng.next_u64() % 4) as usize]).max_in_flight(places)
}

#[tokio::test(start_paused = true)]
async fn fallbacks_give_everything_back() {
    let config = FallbackConfig::default().max_in_flight(count(8));
    let callee = Callee::drawing(Rng::new(seed()));
    // Another callee that does no better, and around both a function that takes its time.
    let other = FallbackLayer::service("soak", config, callee.clone()).classify(Judge);
    let later = |request: u32, primary: Primary<'_, u32, Fault>| {
        let has_none = primary.result() == Err(&Fault::Down) && request % 3 == 0;
        async move {
            tokio::time::sleep(ms(u64::from(request))).await;
            if has_none {
                Err("no answer")
            } else {
                Ok(request)
            }
        }
    };
    let function = FallbackLayer::async_function("soak", config, later)
        .classify(Judge)
        .keep(|request: &u32| *request);
    let service = deadline().layer(function.layer(other.layer(callee.clone())));
    let (other, function) = (other.handle(), function.handle());
    let reload = |rng: &mut Rng| {
        other.reload(any_fallback(rng));
        function.reload(any_fallback(rng));
    };
    let at_rest = || {
        assert_eq!((other.in_flight(), function.in_flight()), (0, 0));
        other.reload(config);
        function.reload(config);
    };
    soak(service, callee, reload, at_rest).await;
}

fn places(limit: u32) -> ConcurrencyConfig {
    ConcurrencyConfig::new(count(limit))
        .queue(limit)
        .wait(Period::millis(300))
}

#[tokio::test(start_paused = true)]
async fn a_limit_gives_its_places_back() {
    let layer = ConcurrencyLayer::new("soak", places(20));
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(places([1, 20, 500][(rng.next_u64() % 3) as usize]));
    let at_rest = || {
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
        handle.reload(places(20));
    };
    soak(service, callee, reload, at_rest).await;
}

fn any_limit(rng: &mut Rng) -> AdaptiveConfig {
    let bounds = [
        Bounds::between(1, 4),
        Bounds::between(3, 1_000),
        Bounds::between(50, 50),
    ];
    AdaptiveConfig::new()
        .bounds(bounds[(rng.next_u64() % 3) as usize])
        .queue([0, 1, 100][(rng.next_u64() % 3) as usize])
        .wait(Period::millis(
            [1, 250, 5_000][(rng.next_u64() % 3) as usize],
        ))
        .samples(count([1, 50][(rng.next_u64() % 2) as usize]))
}

fn limit_at_rest(handle: &AdaptiveHandle) {
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0), "{handle:?}");
    handle.reload(AdaptiveConfig::new());
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_gives_its_places_back() {
    let layer = AdaptiveLayer::new("soak", AdaptiveConfig::new()).classify(Judge);
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| match rng.next_u64() % 3 {
        0 => {
            let order = Order::new("test", "knows better").lasting(Period::millis(500));
            handle.pin(count([1, 30][(rng.next_u64() % 2) as usize]), order);
        }
        1 => handle.release(Order::new("test", "does not")),
        _ => handle.reload(any_limit(rng)),
    };
    soak(service, callee, reload, || limit_at_rest(&handle)).await;
}

fn rate(permits: u32) -> RateConfig {
    RateConfig::new(Rate::burst(permits, Period::secs(1))).patience(Period::millis(400))
}

fn any_rate(rng: &mut Rng) -> RateConfig {
    let rates = [
        Rate::burst(50, Period::secs(1)),
        Rate::even(100, Period::secs(1)),
        Rate::windows(20, Period::millis(300)),
    ];
    let config = RateConfig::new(rates[(rng.next_u64() % 3) as usize]);
    match rng.next_u64() % 3 {
        0 => config,
        patience => config.patience(Period::millis(if patience == 1 { 50 } else { 3_000 })),
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_gives_everything_back() {
    let layer = RateLayer::new("soak", rate(100));
    let (callee, handle) = (Callee::drawing(Rng::new(seed())), layer.handle());
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(any_rate(rng));
    let at_rest = || {
        handle.reload(rate(100));
        assert_eq!(handle.look().left(), 100, "{handle:?}");
    };
    soak(service, callee, reload, at_rest).await;
    assert!(
        handle.delayed() > 100 && handle.refused() > 100,
        "{handle:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn rates_by_key_give_everything_back() {
    let of = |each: RateConfig| KeyedRateConfig::new(each).max_keys(16);
    let limiter = KeyedRate::new("soak", of(rate(3)));
    let handle = limiter.handle();
    let layer = RateLayer::keyed(limiter, |key: &u32| *key);
    let callee = Callee::drawing(Rng::new(seed()));
    let service = deadline().layer(layer.layer(callee.clone()));
    let reload = |rng: &mut Rng| handle.reload(of(any_rate(rng)));
    let at_rest = || {
        assert!(handle.keys() <= 16);
        handle.reload(of(rate(3)));
        for key in 0..64 {
            assert_eq!(handle.look(&key).left(), 3, "{handle:?}");
        }
    };
    soak(service, callee, reload, at_rest).await;
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_gives_everything_back() {
    for budget in budgets() {
        println!("{budget:?}");
        let stack = Stack::standard("soak")
            .deadline(Period::millis(1_500))
            .attempt_timeout(Period::millis(600))
            .retry(retries(budget))
            .breaker(base());
        let callee = Callee::drawing(Rng::new(seed()));
        let config = FallbackConfig::default().max_in_flight(count(8));
        let fallback = FallbackLayer::service("soak", config, callee.clone());
        let inner = stack.service(callee.clone());
        let service = deadline().layer(fallback.layer(inner));
        let (stack, fallback) = (stack.handle(), fallback.handle());
        let reload = |rng: &mut Rng| match rng.next_u64() % 5 {
            0 => stack.breaker().reload(any_breaker(rng)),
            1 => stack.retry().reload(any_retries(rng)),
            2 => stack.limit().reload(any_limit(rng)),
            3 => fallback.reload(any_fallback(rng)),
            _ => stack.reload(
                StackConfig::new()
                    .deadline(Period::millis(900))
                    .attempt_timeout(Period::millis(400))
                    .limit(any_limit(rng))
                    .retry(any_retries(rng))
                    .breaker(any_breaker(rng)),
            ),
        };
        let at_rest = || {
            stack.deadline().reload(Period::millis(1_500));
            stack.attempt_timeout().reload(Period::millis(600));
            limit_at_rest(stack.limit());
            breaker_at_rest(stack.breaker());
            retries_at_rest(stack.retry(), retries(budget));
            assert_eq!(fallback.in_flight(), 0);
            fallback.reload(config);
        };
        soak(service, callee, reload, at_rest).await;
        assert!(stack.breaker().openings() > 10, "{stack:?}");
        assert!(stack.retry().retries() > 10, "{stack:?}");
    }
}
