//! A rate limit: so many calls in a time, for a callee with a quota or for tenants who share a service.
//!
//! Use it where the bound is a rate: a partner's API with a contract, a tenant's share, a job that must not crowd out
//! others. It belongs outermost, under the total deadline, since a call that is refused for load should cost nothing.
//! Not to protect a callee from more work than it can do at a time: that bound is a concurrency, and a rate that was
//! right yesterday is wrong when the callee slows down.
//!
//! ```text
//!                    now                    the line's end
//!   ─────────────────┼──────┬──────┬──────┬──────► virtual time
//!     past: gone     │ used │ used │ next │
//!                    ├──────┴──────┴──────┼──────────────┤
//!                    │◄────── burst ─────►│◄─ patience ─►│◄─ refused, with the time to come back
//!                       goes at once         waits
//! ```
//!
//! # What can be set
//!
//! | question | setting | default |
//! |---|---|---|
//! | how many permits, and how do they come? | [`Rate`]: saved up, evenly spaced, or by windows | none: no rate suits every callee |
//! | how long may a call wait? | [`patience`](RateConfig::patience) | not at all |
//! | how many keys are remembered? | [`max_keys`](KeyedRateConfig::max_keys) | 10,000 |
//!
//! [`RateHandle::reload`] and [`KeyedRateHandle::reload`] replace them while calls are under way.
//!
//! # Example: around a service
//!
//! ```
//! use mainstay::limit::rate::{Rate, RateLayer};
//! use mainstay::num::Period;
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = RateLayer::new("tax-office", Rate::burst(2, Period::secs(1)));
//! let handle = layer.handle();
//! let mut tax_office = ServiceBuilder::new()
//!     .layer(layer)
//!     .service_fn(|_: u32| async { Ok::<_, BoxError>("filed") });
//!
//! for _ in 0..2 {
//!     assert_eq!(tax_office.ready().await?.call(1).await?, "filed");
//! }
//! let refused = tax_office.ready().await?.call(1).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused by rate: rate_limit, retry after 500ms");
//! assert_eq!((handle.admitted(), handle.refused()), (2, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Example: for each tenant
//!
//! See [`KeyedRate`]. How many keys are remembered is bounded, and none is forgotten while it owes anything.
//!
//! # Example: without a layer
//!
//! See [`RateLimiter`] for one shared limit, and [`RateLimit`] for the plain value that is told what happens and when.
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `RateLimitLayer::new(n, per)`, which waits in `poll_ready`, each service for itself | [`Rate::windows`] with [`patience`](RateConfig::patience); one limit for all that the layer makes |
//! | governor `Quota::per_second(n)`; `allow_burst(b)` | [`Rate::burst`]`(n, Period::secs(1))`; [`Rate::Burst`] |
//! | governor `Quota::with_period(p)` | [`Rate::even`]`(1, p)` |
//! | governor `check`, `check_n`; `until_ready`, `until_n_ready` | [`RateLimiter::check`], [`check_many`](RateLimiter::check_many); [`until_ready`](RateLimiter::until_ready), [`until_many_ready`](RateLimiter::until_many_ready), which end in time |
//! | governor `RateLimiter::keyed`, `check_key`; `retain_recent` | [`KeyedRate::new`], [`check`](KeyedRate::check); nothing to call, the table is bounded |
//! | tower-resilience `limit_for_period`, `refresh_period`, `timeout_duration` | [`Rate::windows`] and [`patience`](RateConfig::patience) |
//! | resilience4j `limitForPeriod`, `limitRefreshPeriod`, `timeoutDuration` | the same |
//! | Polly with .NET `FixedWindowRateLimiter` | [`Rate::windows`] |
//! | Polly with .NET `TokenBucketRateLimiter`: `TokenLimit`; `TokensPerPeriod`, `ReplenishmentPeriod` | [`Rate::Burst`]: `burst`; `permits`, `period` |
//! | Polly with .NET `QueueLimit` | [`patience`](RateConfig::patience): a bound in time, not in number |
//!
//! # Sources
//!
//! ATM Forum, "Traffic Management Specification 4.1", the generic cell rate algorithm; ITU-T I.371, its equivalence to
//! a leaky bucket. The rules stand in `limit/rate/machine.rs`, those about keys in `limit/rate/table.rs`.

mod config;
mod line;
mod machine;
#[cfg(feature = "serde")]
mod settings;
mod spec;

#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod gate;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod keyed;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod limiter;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod shared;
#[cfg(feature = "tower")]
mod table;
#[cfg(feature = "tower")]
mod tally;

pub use config::{KeyedRateConfig, Rate, RateConfig};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use gate::{ByKey, Gate, KeyedTurn, LimiterTurn, Turn};
#[cfg(feature = "tower")]
pub use handle::{KeyedRateHandle, RateHandle};
#[cfg(feature = "tower")]
pub use keyed::KeyedRate;
#[cfg(feature = "tower")]
pub use layer::RateLayer;
#[cfg(feature = "tower")]
pub use limiter::RateLimiter;
pub use machine::{Look, RateLimit, Reservation};
#[cfg(feature = "tower")]
pub use service::RateService;
