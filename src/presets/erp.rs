//! A multi-tenant ERP with AI features on GPU clusters.
//!
//! Its retry rows count attempts in all, its jitter adds up to a fifth, and the cap holds after the jitter.

use std::time::Duration;

use crate::autoscale::gpu::{DocumentedConfig, GpuConfig};
use crate::autoscale::threshold::{ThresholdConfig, Trigger};
use crate::autoscale::tracking::TrackingConfig;
use crate::autoscale::{Amount, Bounds, Signal};
use crate::breaker::{BreakerConfig, HalfOpen, Trip};
use crate::degrade::{Component, Fact, Ladder, Level, Mode, When};
use crate::num::{Attempts, Period, Ratio};
use crate::retry::{Backoff, Jitter, RetryConfig};
use crate::tenant::tier::{Tier, Tiers, Weight};

/// Around a callee: five failures within a minute open for 30 s, and one success closes.
#[must_use]
pub const fn breaker() -> BreakerConfig {
    BreakerConfig::new(Trip::in_window(5, Period::secs(60)))
        .open_for(Period::secs(30))
        .half_open(HalfOpen::new(1, 1))
}

/// Around the AI cluster: the same numbers; a fallback answers while it is open.
#[must_use]
pub const fn ai_breaker() -> BreakerConfig {
    breaker()
}

/// Its classes of tenants: about 100 `enterprise`, 1,000 `mid-market` and 10,000 `smb`.
///
/// The platform says who gets a queue of which kind; weights 6, 3 and 1, reservations of 10, 10 and 5 per cent and a
/// patience of 1 s are how it is read here. Whoever is not known is `smb`.
#[must_use]
pub fn tiers() -> Tiers {
    three(
        ["enterprise", "mid-market", "smb"],
        Ratio::ZERO,
        Period::secs(1),
    )
}

/// The queues of its AI cluster: `priority`, `standard` and `best-effort`, for the classes of [`tiers`] in this order.
///
/// 10 % are reserved for enterprise, as the platform says, for all of it together; they are held, so that a job of
/// several seconds does not stand before one that was promised a seat. A held GPU is idle while nobody of the tier has
/// work: reload with less [`held`](Tier::held) to lend it. A job waits for 30 s at the longest.
#[must_use]
pub fn gpu_tiers() -> Tiers {
    let held = Ratio::percent(10);
    three(
        ["priority", "standard", "best-effort"],
        held,
        Period::secs(30),
    )
}

fn three([first, second, last]: [&'static str; 3], held: Ratio, patience: Period) -> Tiers {
    let tier = |name, weight, percent, shed| {
        Tier::new(name)
            .weight(Weight::of(weight))
            .reserved(Ratio::percent(percent))
            .patience(patience)
            .shed(shed)
    };
    let tiers = [
        tier(first, 6, 10, 2).held(held),
        tier(second, 3, 10, 1),
        tier(last, 1, 5, 0),
    ];
    Tiers::new(tiers).unwrap_or_else(|_| Tiers::one())
}

/// Transient failures, of the network or timeouts: 3 attempts, 100 ms doubling to 5 s.
#[must_use]
pub fn transient() -> RetryConfig {
    retry(3, Duration::from_millis(100), Duration::from_secs(5))
}

/// Database deadlocks: 3 attempts, 50 ms doubling to 500 ms.
#[must_use]
pub fn deadlock() -> RetryConfig {
    retry(3, Duration::from_millis(50), Duration::from_millis(500))
}

/// A GPU queue that is full: 2 attempts, 1 s apart, up to 5 s.
#[must_use]
pub fn gpu_queue_full() -> RetryConfig {
    retry(2, Duration::from_secs(1), Duration::from_secs(5))
}

/// Other companies' interfaces: 3 attempts, 500 ms doubling to 10 s. Together with [`breaker`].
#[must_use]
pub fn external_api() -> RetryConfig {
    retry(3, Duration::from_millis(500), Duration::from_secs(10))
}

/// Stateless services: two more above 70 % CPU or 100 waiting each, one fewer when calm, 3 to 50 in a region.
#[must_use]
pub fn stateless_scaling() -> ThresholdConfig {
    ThresholdConfig::new(Bounds::between(3, 50))
        .when(Trigger::whole(Signal::Cpu, Amount::percent(70)))
        .when(Trigger::each(Signal::Backlog, Amount::of(100)))
        .steps(2, 1)
}

/// The GPU cluster: 4 to 20 nodes of 10 requests a second, 5 minutes to warm up, a tenth reserved for enterprise tenants,
/// nothing taken away before 30 minutes.
#[must_use]
pub const fn gpu_scaling() -> GpuConfig {
    GpuConfig::new(Bounds::between(4, 20), Amount::of(10), Period::secs(300))
        .reserve(Ratio::percent(10))
        .hold(Period::secs(1_800))
}

/// The same as the document's own decision has it, for comparison.
#[must_use]
pub const fn documented_gpu_scaling() -> DocumentedConfig {
    DocumentedConfig::new()
}

/// Read replicas of a database: 1 to 5 in a region, 800 of at most 1,000 connections each.
#[must_use]
pub const fn read_replicas() -> TrackingConfig {
    TrackingConfig::new(Bounds::between(1, 5), Signal::Connections, Amount::of(800))
        .shared()
        .cooldowns(Period::secs(300), Period::secs(1_800))
}

/// Shards of the vector database: one more above 200 ms or 80 % memory. Never fewer: shards are not merged.
#[must_use]
pub fn vector_shards(bounds: Bounds) -> ThresholdConfig {
    ThresholdConfig::new(bounds)
        .when(Trigger::whole(Signal::Latency, Amount::percent(20)))
        .when(Trigger::whole(Signal::Memory, Amount::percent(80)))
        .steps(1, 0)
        .cooldown(Period::secs(3_600))
}

fn retry(attempts: u32, initial: Duration, max: Duration) -> RetryConfig {
    let jitter = Jitter::Add(Ratio::percent(20));
    RetryConfig::new(Attempts::total(attempts))
        .backoff(Backoff::exponential(initial, max).jitter(jitter))
}

/// Six levels by what has failed: the GPU cluster, a replica, the primary, the region.
///
/// Components: `gpu_cluster`, `database_primary`, `database_replicas` (a pool:
/// [`Verdict::of_pool`](crate::health::Verdict::of_pool)), `event_store`, `vector_db`. Capabilities: `erp` (its modules),
/// `writes`, `inference`, `agents`, `documents`, `reports`.
///
/// The platform's own table leaves cells out, and its assessment checks the event store and the vector database without
/// ever using what it finds. What was decided here instead is marked as [ours](crate::degrade::Cell::is_ours):
///
/// - at level 3 documents are done by hand, as agents and reports are disabled; at level 4 also, for nothing can be
///   filed, and reports read what there is; at level 5 all of it is over there.
/// - `writes` are done at once at levels 0 to 3 and are queued at 4, where the platform says so.
/// - without the event store nothing new can be written for good: level 4, modules only read and writes are queued; without the vector
///   database AI has no context: level 1, inference and documents are limited and agents wait.
///
/// The same as a file is `src/presets/erp_ladder.toml`:
///
/// ```toml
#[doc = include_str!("erp_ladder.toml")]
/// ```
///
/// # Panics
///
/// Never: a test builds it.
#[must_use]
pub fn degradation() -> Ladder {
    let no_history = || Mode::limited("no historical context");
    let no_search = || Mode::limited("nothing is looked up");
    Ladder::new("erp")
        .component(Component::new("gpu_cluster"))
        .component(Component::new("database_primary"))
        .component(Component::new("database_replicas"))
        .component(Component::new("event_store"))
        .component(Component::new("vector_db"))
        .level(
            Level::new("full operation")
                .cell("erp", Mode::Full)
                .cell("inference", Mode::Full)
                .cell("agents", Mode::Full)
                .cell("documents", Mode::Full)
                .cell("reports", Mode::Full)
                .ours("writes", Mode::Full),
        )
        .level(
            Level::new("AI degraded")
                .cell("erp", Mode::Full)
                .cell("inference", Mode::Queued)
                .cell("agents", Mode::Queued)
                .cell("documents", Mode::Queued)
                .cell("reports", Mode::Full)
                .ours("writes", Mode::Full)
                .action("scale the GPU cluster, investigate"),
        )
        .level(
            Level::new("AI unavailable")
                .cell("erp", Mode::Full)
                .cell("inference", Mode::Disabled)
                .cell("agents", Mode::Disabled)
                .cell("documents", Mode::Manual)
                .cell("reports", Mode::Full)
                .ours("writes", Mode::Full)
                .action("major incident, fail over to the secondary region"),
        )
        .level(
            Level::new("database degraded")
                .cell("erp", Mode::WriteOnly)
                .cell("inference", no_history())
                .cell("agents", Mode::Disabled)
                .cell("reports", Mode::Disabled)
                .ours("documents", Mode::Manual)
                .ours("writes", Mode::Full)
                .action("fail the replica over, rebuild it"),
        )
        .level(
            Level::new("database primary down")
                .cell("erp", Mode::ReadOnly)
                .cell("inference", Mode::Disabled)
                .cell("writes", Mode::Queued)
                .ours("agents", Mode::Disabled)
                .ours("documents", Mode::Manual)
                .ours("reports", Mode::ReadOnly)
                .action("promote a replica, incident response"),
        )
        .level(
            Level::new("regional outage")
                .cell("erp", Mode::FailOver)
                .cell("inference", Mode::FailOver)
                .ours("writes", Mode::FailOver)
                .ours("agents", Mode::FailOver)
                .ours("documents", Mode::FailOver)
                .ours("reports", Mode::FailOver)
                .action("activate disaster recovery; data is that of the last sync point"),
        )
        .fact(Fact::new(
            "GPU cluster degraded",
            When::degraded("gpu_cluster"),
            "AI degraded",
        ))
        .fact(Fact::new(
            "GPU cluster down",
            When::down("gpu_cluster"),
            "AI unavailable",
        ))
        .fact(Fact::new(
            "replica down",
            When::degraded("database_replicas"),
            "database degraded",
        ))
        .fact(Fact::new(
            "primary down",
            When::down("database_primary"),
            "database primary down",
        ))
        .fact(Fact::new(
            "region down",
            When::all([
                When::down("database_primary"),
                When::down("database_replicas"),
            ]),
            "regional outage",
        ))
        .fact(
            Fact::new(
                "event store down",
                When::down("event_store"),
                "database primary down",
            )
            .ours("erp", Mode::ReadOnly)
            .ours("writes", Mode::Queued)
            .ours("agents", Mode::Disabled),
        )
        .fact(
            Fact::new(
                "event store degraded",
                When::degraded("event_store"),
                "AI degraded",
            )
            .ours("agents", Mode::Queued),
        )
        .fact(
            Fact::new(
                "vector database down",
                When::down("vector_db"),
                "AI degraded",
            )
            .ours("inference", no_history())
            .ours("documents", no_search())
            .ours("agents", Mode::Queued),
        )
        .fact(
            Fact::new(
                "vector database degraded",
                When::degraded("vector_db"),
                "AI degraded",
            )
            .ours("agents", Mode::Queued),
        )
        .build()
        .expect("a test builds it")
}
