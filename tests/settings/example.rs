//! The file of the documentation means what it seems to mean.

use std::time::Duration;

use mainstay::autoscale::gpu::GpuConfig;
use mainstay::autoscale::threshold::{ThresholdConfig, Trigger};
use mainstay::autoscale::tracking::TrackingConfig;
use mainstay::autoscale::{Amount, Bounds as Replicas, Signal};
use mainstay::breaker::{BreakerConfig, HalfOpen, Ramp, Trip, Window};
use mainstay::degrade::{Component, Fact, Ladder, Level, Mode, Pace, Unknown, When};
use mainstay::error::Reason;
use mainstay::fallback::{FallbackConfig, Outcomes};
use mainstay::health::Verdict;
use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
use mainstay::limit::concurrency::ConcurrencyConfig;
use mainstay::limit::rate::{KeyedRateConfig, Rate, RateConfig};
use mainstay::num::{Attempts, Factor, Period, Ratio, count};
use mainstay::retry::{
    Backoff, ConcurrencyBudget, Jitter, Nesting, QuotaBudget, RatioBudget, RetryConfig,
    ThrottleBudget,
};
use mainstay::settings::{Policy, Settings};
use mainstay::standard::StackConfig;
use mainstay::tenant::TenantConfig;
use mainstay::tenant::scheduler::SchedulerConfig;
use mainstay::tenant::tier::{Tier, Tiers, Weight};

pub(crate) const EXAMPLE: &str = include_str!("../../src/settings/service.toml");

fn percent(percent: u8) -> Ratio {
    Ratio::percent(percent)
}

fn ledger() -> StackConfig {
    let ms = Duration::from_millis;
    let limit = AdaptiveConfig::new()
        .start(count(40))
        .tolerance(Factor::TWO)
        .window(Period::millis(250))
        .samples(count(25))
        .relearn(Period::secs(60))
        .queue(2)
        .wait(Period::millis(100))
        .wait_share(percent(25))
        .bounds(Bounds::between(5, 200));
    let budget = RatioBudget::new(percent(20))
        .per_second(5)
        .burst(50)
        .ttl(Period::secs(10));
    let backoff = Backoff::exponential(ms(20), ms(2_000)).factor(Factor::percent(150));
    let overloaded = Backoff::linear(ms(500), ms(5_000)).jitter(Jitter::Add(percent(20)));
    let retry = RetryConfig::new(Attempts::total(4))
        .longest_hint(ms(10_000))
        .hint_spread(percent(25))
        .backoff(backoff)
        .overload_backoff(overloaded)
        .budget(budget.into());
    let breaker = BreakerConfig::new(Trip::rate(percent(50), 20, Period::secs(10)))
        .or(Trip::slow(
            Period::millis(800),
            percent(80),
            20,
            Window::calls(100),
        ))
        .or(Trip::streak(5, Period::secs(1)))
        .or(Trip::consecutive(50))
        .or(Trip::in_window(100, Period::secs(60)))
        .open_for(Period::secs(2))
        .growing(Factor::TWO, Period::secs(30))
        .longest_hint(Period::secs(60))
        .jitter(percent(25))
        .half_open(HalfOpen::new(2, 4).out_of(5).deadline(Period::secs(2)))
        .ramp(Ramp::linear(percent(10), Period::secs(10)));
    StackConfig::new()
        .deadline(Period::secs(5))
        .attempt_timeout(Period::secs(1))
        .limit(limit)
        .retry(retry)
        .breaker(breaker)
}

fn assistant() -> StackConfig {
    let half_open = HalfOpen::ratio(10, percent(50)).deadline(Period::secs(90));
    let stack = StackConfig::new();
    stack
        .deadline(Period::secs(120))
        .attempt_timeout(Period::secs(45))
        .retry(RetryConfig::default().budget(QuotaBudget::aws().into()))
        .breaker(stack.circuit().half_open(half_open))
}

fn gpus() -> TenantConfig {
    let priority = Tier::new("priority")
        .weight(Weight::of(6))
        .reserved(percent(25))
        .held(percent(10))
        .patience(Period::secs(30))
        .shed(1);
    let best_effort = Tier::new("best-effort")
        .limit(percent(90))
        .queue(500)
        .tenant_queue(20)
        .tenant_share(percent(50));
    let tiers = Tiers::new([priority, best_effort]).unwrap();
    let scheduler = SchedulerConfig::new(count(8), tiers)
        .queue(2_000)
        .tenants(count(20_000))
        .debt(Period::secs(300))
        .guess(Period::secs(2));
    let quota = KeyedRateConfig::new(Rate::burst(5, Period::secs(1))).max_keys(20_000);
    let config = TenantConfig::of(scheduler);
    config.quota("best-effort", quota).unwrap()
}

fn shop() -> Ladder {
    let pace = Pace::new().better_after(Period::secs(60)).flaps(
        count(3),
        Period::secs(600),
        Period::secs(300),
    );
    let database = Component::new("database")
        .weight(3.0)
        .degraded_at(percent(60))
        .unknown(Unknown::After(Period::secs(120), Verdict::Degraded));
    let slow = When::any([
        When::degraded("database"),
        When::scores_at_most("database", percent(40), percent(5)),
    ]);
    let down = When::all([When::down("database")]);
    let looking = Level::new("looking only")
        .ours("prices", Mode::limited("as of this morning"))
        .cell("orders", Mode::Queued);
    Ladder::new("shop")
        .cumulative()
        .capability("search")
        .pace(pace)
        .component(Component::new("gpu"))
        .component(database)
        .level(Level::new("everything"))
        .level(
            Level::new("no pictures")
                .cell("pictures", Mode::Disabled)
                .action("look at the GPUs"),
        )
        .level(looking)
        .band("no pictures", percent(80), percent(5))
        .fact(
            Fact::new("no GPU", When::down("gpu"), "no pictures")
                .pace(pace.better_after(Period::secs(120))),
        )
        .fact(Fact::new("slow database", slow, "no pictures").cell("prices", Mode::Full))
        .fact(Fact::new("no database", down, "looking only"))
        .build()
        .unwrap()
}

fn api() -> ThresholdConfig {
    ThresholdConfig::new(Replicas::between(3, 50))
        .when(Trigger::whole(Signal::Cpu, Amount::percent(70)))
        .when(Trigger::each(Signal::Backlog, Amount::of(100)))
        .steps(2, 1)
        .calm(percent(60), Period::secs(600))
        .stale(Period::secs(90))
}

fn replicas() -> TrackingConfig {
    let bounds = Replicas::between(1, 5);
    TrackingConfig::new(bounds, Signal::Connections, Amount::of(800))
        .shared()
        .tolerance(percent(5))
        .cooldowns(Period::secs(300), Period::secs(1_800))
        .foreseen(Amount::of(400))
        .stale(Period::secs(90))
}

fn llm() -> GpuConfig {
    GpuConfig::new(Replicas::between(4, 20), Amount::of(10), Period::secs(300))
        .headroom(Factor::percent(130))
        .reserve(percent(10))
        .drain(Period::secs(90))
        .hold(Period::secs(1_800))
        .stale(Period::secs(90))
}

fn whole() -> Settings {
    let spread = Jitter::Scale {
        low: percent(50),
        high: Ratio::ONE,
    };
    let constant = Backoff::constant(Duration::from_millis(100)).jitter(spread);
    // Growth cannot be switched off by a setter: a breaker that starts without it is the same.
    let stock = BreakerConfig::new(Trip::consecutive(5))
        .open_for(Period::secs(2))
        .jitter(Ratio::ONE);
    let outcomes = Outcomes::NONE
        .failures()
        .overload()
        .refusal(Reason::CircuitOpen)
        .refusal(Reason::DeadlineExceeded);
    let burst = Rate::Burst {
        burst: count(20),
        permits: count(100),
        period: Period::secs(60),
    };
    let policies: [(&str, Policy); 21] = [
        ("ledger", ledger().into()),
        ("assistant", assistant().into()),
        ("search", Period::millis(1_500).into()),
        ("vectors", Period::millis(800).into()),
        ("stock", stock.into()),
        (
            "stock",
            RetryConfig::new(Attempts::total(2))
                .backoff(constant)
                .budget(ConcurrencyBudget::new(percent(20)).into())
                .into(),
        ),
        (
            "rates",
            RetryConfig::default()
                .budget(ThrottleBudget::new(10, percent(10)).into())
                .nesting(Nesting::Each)
                .into(),
        ),
        ("audit", RetryConfig::default().without_budget().into()),
        (
            "search",
            FallbackConfig::new(outcomes)
                .max_in_flight(count(32))
                .into(),
        ),
        (
            "vectors",
            AdaptiveConfig::new().bounds(Bounds::between(3, 50)).into(),
        ),
        (
            "reports",
            ConcurrencyConfig::new(count(8))
                .queue(16)
                .wait(Period::secs(5))
                .into(),
        ),
        (
            "mail",
            RateConfig::new(burst).patience(Period::secs(2)).into(),
        ),
        (
            "export",
            RateConfig::new(Rate::even(5, Period::secs(1))).into(),
        ),
        (
            "tenants",
            KeyedRateConfig::new(Rate::windows(1_000, Period::secs(3_600)))
                .max_keys(50_000)
                .into(),
        ),
        ("gpus", gpus().into()),
        ("shop", shop().into()),
        ("api", api().into()),
        ("replicas", replicas().into()),
        ("llm", llm().into()),
        // One of the same kind and name goes.
        ("replaced", RetryConfig::aws().into()),
        ("replaced", RetryConfig::aws_classic().into()),
    ];
    policies
        .into_iter()
        .fold(Settings::new(), |all, (name, policy)| {
            all.policy(name, policy)
        })
}

#[test]
fn the_example_says_what_the_code_says() {
    let read: Settings = toml::from_str(EXAMPLE).unwrap();
    let read = read.policy("replaced", RetryConfig::aws_classic());
    let whole = whole();
    let names: Vec<_> = read.names().collect();
    assert_eq!(names, whole.names().collect::<Vec<_>>());
    assert_eq!(names.len(), 20);
    assert_eq!(read.stack("ledger"), whole.stack("ledger"));
    assert_eq!(read.stack("assistant"), whole.stack("assistant"));
    assert_eq!(read.ladder("shop"), whole.ladder("shop"));
    assert_eq!(read.tenant_pool("gpus"), whole.tenant_pool("gpus"));
    // The longest wait of a circuit that does not grow is of no account, and the file's is the default's.
    let (stock, same) = (
        read.breaker("stock").unwrap(),
        whole.breaker("stock").unwrap(),
    );
    assert_eq!(stock.growth(), None);
    assert_eq!(
        stock.trips().collect::<Vec<_>>(),
        same.trips().collect::<Vec<_>>()
    );
    assert_eq!(
        (stock.opening(), stock.spread()),
        (same.opening(), same.spread())
    );
    let read = read.policy("stock", same);
    assert_eq!(read, whole);
}

#[test]
fn a_whole_file_is_written_and_read() {
    let whole = whole();
    let text = toml::to_string(&whole).unwrap();
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), whole, "{text}");
    let text = toml::to_string_pretty(&whole).unwrap();
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), whole, "{text}");
    let text = serde_json::to_string(&whole).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), whole);
    let value = serde_json::to_value(&whole).unwrap();
    assert_eq!(serde_json::from_value::<Settings>(value).unwrap(), whole);
}

#[test]
fn an_empty_file_is_a_file() {
    let empty: Settings = toml::from_str("").unwrap();
    assert_eq!(empty, Settings::new());
    assert_eq!(empty.names().count(), 0);
    assert_eq!(toml::to_string(&empty).unwrap(), "");
}

/// Settings stand in a configuration of the service's own, and keep its field names in front of their errors.
#[test]
fn settings_are_part_of_a_file_of_ones_own() {
    #[derive(serde::Deserialize)]
    struct Service {
        listen: String,
        ledger: StackConfig,
        patience: Period,
        resilience: Settings,
    }
    let text = "
        listen = '127.0.0.1:80'
        patience = '1m 30s'
        ledger.retry.attempts = 2
        resilience.deadlines.search = '2s'
    ";
    let service: Service = toml::from_str(text).unwrap();
    assert_eq!(service.listen, "127.0.0.1:80");
    assert_eq!(service.ledger.retries().attempts(), Attempts::total(2));
    assert_eq!(service.patience, Period::secs(90));
    let search = service.resilience.deadline("search").unwrap();
    assert_eq!(search, Period::secs(2));
}
