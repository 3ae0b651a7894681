//! A multi-tenant ERP with AI features on GPU clusters.
//!
//! Its retry rows count attempts in all, its jitter adds up to a fifth, and the cap holds after the jitter.

use std::time::Duration;

use crate::breaker::{BreakerConfig, HalfOpen, Trip};
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

fn retry(attempts: u32, initial: Duration, max: Duration) -> RetryConfig {
    let jitter = Jitter::Add(Ratio::percent(20));
    RetryConfig::new(Attempts::total(attempts))
        .backoff(Backoff::exponential(initial, max).jitter(jitter))
}
