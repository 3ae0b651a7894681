//! Limits: of the calls under way, fixed and adaptive, and of the calls in a time.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{DefaultClock, MonotonicClock, QuantaInstant};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter as Governor};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{KeyedRate, Rate, RateLayer, RateLimiter};
use mainstay::num::Period;
use mainstay::presets;
use mainstay::tenant::{Always, TenantConfig, TenantLayer, TenantPool};
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer as _, ServiceBuilder};
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Gradient2};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;

use super::callee::up;
use super::row::{Group, Row, Who};

/// More than are ever under way.
const PLACES: u32 = 1_000;
/// More than are ever made in a second.
const CALLS: u32 = 4_000_000_000;

pub fn groups() -> Vec<Group> {
    vec![
        concurrency(),
        tenants(),
        adaptive(),
        rate(),
        rate_layer(),
        rate_keyed(),
    ]
}

fn bare() -> Row {
    Row::service(Who::Less, "bare", up())
}

fn concurrency() -> Group {
    let places = NonZeroU32::new(PLACES).expect("a thousand is not zero");
    let service = ConcurrencyLayer::new("peers", ConcurrencyConfig::new(places)).layer(up());
    let permits = Arc::new(Semaphore::new(PLACES as usize));
    let tower = GlobalConcurrencyLimitLayer::with_semaphore(permits);
    let shed = ServiceBuilder::new()
        .load_shed()
        .layer(tower.clone())
        .service(up());
    let peer = BulkheadLayer::builder()
        .max_concurrent_calls(PLACES as usize)
        .reject_when_full()
        .build()
        .expect("the peer accepts its own settings");
    Group {
        title: "concurrency limit",
        bare: bare(),
        rows: vec![
            Row::service(Who::Ours, "mainstay", service),
            Row::service(Who::Peer, "tower", tower.layer(up())).remark("waits without a bound"),
            Row::service(Who::Peer, "tower, load shed", shed).remark("errors are boxed"),
            Row::service(Who::Peer, "tower-resilience bulkhead", peer.layer(up())),
        ],
    }
}

/// Admission by tier and tenant, with the tenant's slot at hand. No peer knows tenants: theirs are limits alone.
fn tenants() -> Group {
    let places = NonZeroU32::new(PLACES).expect("a thousand is not zero");
    let config = TenantConfig::new(places, presets::erp::tiers());
    let pool = TenantPool::new("peers", config).expect("a preset of three tiers");
    let always = Always::new(pool.tenant("acme", "enterprise"));
    let service = TenantLayer::identify(&pool, always).layer(up());
    let permits = Arc::new(Semaphore::new(PLACES as usize));
    let tower = GlobalConcurrencyLimitLayer::with_semaphore(permits);
    Group {
        title: "tenants",
        bare: bare(),
        rows: vec![
            Row::service(Who::Ours, "mainstay", service),
            Row::service(Who::Less, "tower", tower.layer(up())).remark("a limit without tenants"),
        ],
    }
}

fn adaptive() -> Group {
    let service = AdaptiveLayer::new("peers", AdaptiveConfig::default()).layer(up());
    let gradient = Gradient2::builder()
        .build()
        .expect("the peer accepts its own settings");
    let peer = AdaptiveLimiterLayer::new(gradient).layer(up());
    Group {
        title: "adaptive limit",
        bare: bare(),
        rows: vec![
            Row::service(Who::Ours, "mainstay", service),
            Row::service(Who::Peer, "tower-resilience", peer)
                .remark("Gradient2; does not look at what is in flight"),
        ],
    }
}

type Direct = Governor<NotKeyed, InMemoryState, DefaultClock, NoOpMiddleware<QuantaInstant>>;

type Monotonic = Governor<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

fn quota() -> Quota {
    Quota::per_second(NonZeroU32::new(CALLS).expect("many are not zero"))
}

fn rate() -> Group {
    let limiter = RateLimiter::new("peers", Rate::burst(CALLS, Period::secs(1)));
    let mainstay = Row::shared(
        Who::Ours,
        "mainstay",
        limiter,
        async |limiter: &RateLimiter, _| {
            let _ = black_box(limiter.check());
        },
    );
    let governor = Row::shared(
        Who::Peer,
        "governor",
        Direct::direct(quota()),
        async |limiter: &Direct, _| {
            let _ = black_box(limiter.check());
        },
    );
    let same_clock = Row::shared(
        Who::Peer,
        "governor, std clock",
        Monotonic::direct_with_clock(quota(), MonotonicClock),
        async |limiter: &Monotonic, _| {
            let _ = black_box(limiter.check());
        },
    );
    Group {
        title: "rate limit, asked",
        bare: Row::shared(Who::Less, "bare", (), async |(): &(), n| {
            black_box(n);
        }),
        rows: vec![
            mainstay,
            governor.remark("reads the time stamp counter, which no test can pause"),
            same_clock.remark("with the clock of std"),
        ],
    }
}

fn rate_layer() -> Group {
    let layer = RateLayer::new("peers", Rate::burst(CALLS, Period::secs(1)));
    let peer = RateLimiterLayer::builder()
        .limit_for_period(CALLS as usize)
        .refresh_period(Duration::from_secs(1))
        .build()
        .expect("the peer accepts its own settings");
    Group {
        title: "rate limit, around a service",
        bare: bare(),
        rows: vec![
            Row::service(Who::Ours, "mainstay", layer.layer(up())),
            Row::service(Who::Peer, "tower-resilience", peer.layer(up())),
        ],
    }
}

type Keyed = DefaultKeyedRateLimiter<u64>;

fn rate_keyed() -> Group {
    let limiter = KeyedRate::new("peers", Rate::burst(CALLS, Period::secs(1)));
    let mainstay = Row::shared(
        Who::Ours,
        "mainstay",
        limiter,
        async |limiter: &KeyedRate<u64>, n| {
            let _ = black_box(limiter.check(&(n % 16)));
        },
    );
    let governor = Row::shared(
        Who::Peer,
        "governor",
        Keyed::keyed(quota()),
        async |limiter: &Keyed, n| {
            drop(black_box(limiter.check_key(&(n % 16))));
        },
    );
    Group {
        title: "rate limit of each of 16 keys, asked",
        bare: Row::shared(Who::Less, "bare", (), async |(): &(), n| {
            black_box(n % 16);
        }),
        rows: vec![
            mainstay.remark("bounded"),
            governor.remark("never forgets a key"),
        ],
    }
}
