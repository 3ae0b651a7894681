//! A platform that trains models and generates synthetic data.
//!
//! Its retry rows count retries after the first attempt, and its jitter shortens a delay by up to half. Delays of
//! minutes are for durable steps of a saga, not for a layer that sleeps in memory while a caller waits.

use std::time::Duration;

use crate::breaker::{BreakerConfig, HalfOpen, Trip};
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
