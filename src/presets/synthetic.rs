//! A platform that trains models and generates synthetic data.
//!
//! Its retry rows count retries after the first attempt, and its jitter shortens a delay by up to half. Delays of
//! minutes are for durable steps of a saga, not for a layer that sleeps in memory while a caller waits.

use std::time::Duration;

use crate::autoscale::spot::{Market, Mix, Preemption};
use crate::autoscale::threshold::{ThresholdConfig, Trigger};
use crate::autoscale::tracking::TrackingConfig;
use crate::autoscale::{Amount, Bounds, Signal};
use crate::breaker::{BreakerConfig, HalfOpen, Trip};
use crate::degrade::{Component, Fact, Ladder, Level, Mode, When};
use crate::num::{Attempts, Period, Ratio};
use crate::retry::{Backoff, Jitter, RetryConfig};
use crate::tenant::tier::{Tier, Tiers, Weight};

/// Around a callee: five failures in a row open for 30 s; three probes, whose three successes close.
#[must_use]
pub const fn breaker() -> BreakerConfig {
    consecutive(5, 30)
}

/// Around the GPU service: 3 failures, 60 s. Falls back to queueing the job.
#[must_use]
pub const fn gpu_breaker() -> BreakerConfig {
    consecutive(3, 60)
}

/// Around object storage: 5 failures, 30 s. Falls back to the cached answer.
#[must_use]
pub const fn object_storage_breaker() -> BreakerConfig {
    consecutive(5, 30)
}

/// Around the quality service: 3 failures, 45 s. Falls back to skipping with a warning.
#[must_use]
pub const fn quality_breaker() -> BreakerConfig {
    consecutive(3, 45)
}

/// Around the notification service: 10 failures, 120 s. Falls back to queueing for a retry.
#[must_use]
pub const fn notification_breaker() -> BreakerConfig {
    consecutive(10, 120)
}

/// Its classes of tenants: `enterprise`, `business` and `starter`, as it places them on machines of decreasing
/// permanence.
///
/// Weights 6, 3 and 1 and reservations of 10, 10 and 5 per cent are how it is read here. Whoever is not known is
/// `starter`.
#[must_use]
pub fn tiers() -> Tiers {
    let tier = |name, weight, percent, shed| {
        Tier::new(name)
            .weight(Weight::of(weight))
            .reserved(Ratio::percent(percent))
            .shed(shed)
    };
    let tiers = [
        tier("enterprise", 6, 10, 2),
        tier("business", 3, 10, 1),
        tier("starter", 1, 5, 0),
    ];
    Tiers::new(tiers).unwrap_or_else(|_| Tiers::one())
}

/// A training job: 3 retries, 1 min doubling to 15 min. For a durable step.
#[must_use]
pub fn training_job() -> RetryConfig {
    retry(3, Backoff::exponential(minutes(1), minutes(15)))
}

/// A batch of generated data: 2 retries, 30 s doubling to 2 min. For a durable step.
#[must_use]
pub fn generation_batch() -> RetryConfig {
    retry(2, Backoff::exponential(Duration::from_secs(30), minutes(2)))
}

/// A quality check: 2 retries, 1 min doubling to 5 min. For a durable step.
#[must_use]
pub fn quality_check() -> RetryConfig {
    retry(2, Backoff::exponential(minutes(1), minutes(5)))
}

/// Calls of an API: 3 retries, 1 s doubling to 10 s.
#[must_use]
pub fn api_call() -> RetryConfig {
    retry(
        3,
        Backoff::exponential(Duration::from_secs(1), Duration::from_secs(10)),
    )
}

/// Database transactions: 3 retries, 100 ms doubling to 1 s.
#[must_use]
pub fn db_transaction() -> RetryConfig {
    retry(
        3,
        Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1)),
    )
}

/// Loading a model: 2 retries, after 5 s, then 10 s; at most 30 s.
#[must_use]
pub fn model_load() -> RetryConfig {
    retry(
        2,
        Backoff::linear(Duration::from_secs(5), Duration::from_secs(30)),
    )
}

/// Where the table has no row: 3 retries, 1 s doubling to 60 s.
#[must_use]
pub fn default_retry() -> RetryConfig {
    retry(
        3,
        Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60)),
    )
}

/// The gateway: more above 1,000 requests a second each, 3 to 20.
#[must_use]
pub fn gateway_scaling() -> ThresholdConfig {
    let rate = Trigger::each(Signal::Rate, Amount::of(1_000));
    ThresholdConfig::new(Bounds::between(3, 20)).when(rate)
}

/// Training workers: GPU nodes, more above 10 waiting jobs, 0 to 100.
#[must_use]
pub fn training_scaling() -> ThresholdConfig {
    queued(Bounds::between(0, 100), 10)
}

/// Generation workers: more above 50 waiting, 2 to 50.
#[must_use]
pub fn generation_scaling() -> ThresholdConfig {
    queued(Bounds::between(2, 50), 50)
}

/// Quality workers: more above 20 waiting, 2 to 30.
#[must_use]
pub fn quality_scaling() -> ThresholdConfig {
    queued(Bounds::between(2, 30), 20)
}

/// Read replicas of the metadata database: 1 to 5, by connections and CPU; the table has no numbers, so these are those
/// of the other platform: 800 connections each, and 70 %.
#[must_use]
pub fn metadata_replicas() -> ThresholdConfig {
    ThresholdConfig::new(Bounds::between(1, 5))
        .when(Trigger::each(Signal::Connections, Amount::of(800)))
        .when(Trigger::whole(Signal::Cpu, Amount::percent(70)))
        .cooldown(Period::secs(300))
}

/// Nodes of the cache: 3 to 12 at 80 % memory.
#[must_use]
pub const fn cache_scaling() -> TrackingConfig {
    TrackingConfig::new(Bounds::between(3, 12), Signal::Memory, Amount::percent(80))
}

/// GPU nodes: 30 % on demand and 70 % spot, at least 3 and 20 % on demand.
#[must_use]
pub const fn gpu_mix() -> Mix {
    Mix::new(Ratio::percent(30)).floor(3, Ratio::percent(20))
}

/// Spot nodes at up to 70 % of the price on demand, spread over `a100`, `a10g` and `v100` in three zones.
#[must_use]
pub const fn gpu_market() -> Market {
    Market::new(Ratio::percent(70))
}

/// Checkpoints every 15 minutes, and what is done in the two minutes of a warning.
#[must_use]
pub const fn preemption() -> Preemption {
    Preemption::new().interval(Period::secs(900))
}

fn queued(bounds: Bounds, above: u32) -> ThresholdConfig {
    ThresholdConfig::new(bounds).when(Trigger::whole(Signal::Backlog, Amount::of(above)))
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const fn consecutive(failures: u32, open_secs: u32) -> BreakerConfig {
    BreakerConfig::new(Trip::consecutive(failures))
        .open_for(Period::secs(open_secs))
        .half_open(HalfOpen::new(3, 3))
}

fn retry(retries: u32, backoff: Backoff) -> RetryConfig {
    let jitter = Jitter::Scale {
        low: Ratio::percent(50),
        high: Ratio::ONE,
    };
    RetryConfig::new(Attempts::retries(retries)).backoff(backoff.jitter(jitter))
}

/// Six levels by the weighted score of five components, and by the triggers of the platform's own table.
///
/// Components: `gpu_cluster`, `quality_service`, `database`, `storage`, `queue_depth`, all of which are told as scores.
/// Capabilities: `quality_checks` (the optional ones), `diffusion`, `transformer`, `streaming`, `training`, `writes`.
/// At each level the cells of the better ones hold as well.
///
/// The platform's code has bands and its table has triggers: both are facts here, and the worse counts. Its weights are
/// absent, and a mean hides a component that is dead among healthy ones; so what was decided here is:
///
/// - all weigh the same, and a band is left 2 points above where it is entered;
/// - without a database or storage nothing is written, whatever the mean: level 5. Without the GPU cluster nothing is
///   trained: level 4.
///
/// The same as a file is `src/presets/synthetic_ladder.toml`:
///
/// ```toml
#[doc = include_str!("synthetic_ladder.toml")]
/// ```
///
/// # Panics
///
/// Never: a test builds it.
#[must_use]
pub fn degradation() -> Ladder {
    let margin = Ratio::percent(2);
    let dead = Ratio::percent(10);
    Ladder::new("synthetic")
        .component(Component::new("gpu_cluster"))
        .component(Component::new("quality_service"))
        .component(Component::new("database"))
        .component(Component::new("storage"))
        .component(Component::new("queue_depth"))
        .cumulative()
        .level(Level::new("normal"))
        .level(Level::new("level 1").cell("quality_checks", Mode::Disabled))
        .level(
            Level::new("level 2")
                .cell("diffusion", Mode::Disabled)
                .cell("transformer", Mode::Disabled)
                .action("tell users: temporarily limited to fast models"),
        )
        .level(
            Level::new("level 3")
                .cell("streaming", Mode::Disabled)
                .action("tell users: streaming generation temporarily disabled"),
        )
        .level(
            Level::new("level 4")
                .cell("training", Mode::Disabled)
                .action("tell users: new training temporarily paused"),
        )
        .level(
            Level::new("level 5")
                .cell("writes", Mode::ReadOnly)
                .action("tell users: system in read-only mode"),
        )
        .band("level 1", Ratio::percent(90), margin)
        .band("level 2", Ratio::percent(70), margin)
        .band("level 3", Ratio::percent(50), margin)
        .band("level 4", Ratio::percent(30), margin)
        .band("level 5", Ratio::percent(10), margin)
        .fact(Fact::new(
            "quality service slow",
            When::degraded("quality_service"),
            "level 1",
        ))
        .fact(Fact::new(
            "GPU capacity low",
            When::degraded("gpu_cluster"),
            "level 2",
        ))
        .fact(Fact::new(
            "high load",
            When::degraded("queue_depth"),
            "level 3",
        ))
        .fact(Fact::new(
            "no GPU",
            When::scores_at_most("gpu_cluster", dead, margin),
            "level 4",
        ))
        .fact(Fact::new(
            "no database",
            When::scores_at_most("database", dead, margin),
            "level 5",
        ))
        .fact(Fact::new(
            "no storage",
            When::scores_at_most("storage", dead, margin),
            "level 5",
        ))
        .build()
        .expect("a test builds it")
}
