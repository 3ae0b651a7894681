//! A multi-tenant ERP with AI features on GPU clusters.
//!
//! Its retry rows count attempts in all, its jitter adds up to a fifth, and the cap holds after the jitter.

use std::time::Duration;

use crate::breaker::{BreakerConfig, HalfOpen, Trip};
use crate::num::{Attempts, Period, Ratio};
use crate::retry::{Backoff, Jitter, RetryConfig};

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

fn retry(attempts: u32, initial: Duration, max: Duration) -> RetryConfig {
    let jitter = Jitter::Add(Ratio::percent(20));
    RetryConfig::new(Attempts::total(attempts))
        .backoff(Backoff::exponential(initial, max).jitter(jitter))
}
