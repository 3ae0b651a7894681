//! A circuit breaker: stops calling a callee that keeps failing, and finds out when it is back.
//!
//! Use it around every remote callee, inside the retry and outside the attempt timeout, one per endpoint. Without it
//! an outage costs every caller a timeout, and the callee that comes back meets all of its retries at once.
//!
//! Not for errors that are the caller's own (let the classifier ignore them), not around a local computation, and not
//! in place of a limit: a callee that is slow because too many call it is helped by [`limit`](crate::limit), since a
//! breaker knows only all and nothing.
//!
//! ```text
//!              trip                          the wait has passed
//!   ┌────────┐ ───────────────► ┌────────┐ ───────────────► ┌───────────┐
//!   │ Closed │                  │  Open  │                  │ Half-open │
//!   └────────┘                  └────────┘ ◄─────────────── └───────────┘
//!    ▲  ramp                      ▲   │       the probes failed     │
//!    │  (optional)         forced │   │ released                    │
//!    │                            │   ▼                             │
//!    │                      under a command                         │
//!    └──────────────────────────────────────────────────────────────┘
//!                          the probes succeeded
//! ```
//!
//! # What can be set
//!
//! | question | settings |
//! |---|---|
//! | what opens it? | [`Trip`]: failures in a row, within a time, a share of calls failed, a share was slow; any of them together by [`or`](BreakerConfig::or) |
//! | of which calls? | [`Window`]: the last so many, or those of the last so long |
//! | for how long? | [`open_for`](BreakerConfig::open_for), [`growing`](BreakerConfig::growing) with each failed round, longer by [`jitter`](BreakerConfig::jitter), at least the callee's own hint |
//! | how does it probe? | [`HalfOpen`]: how many at a time, when they have decided, how long one may take |
//! | how does it come back? | all at once, or by a [`Ramp`] |
//!
//! A low-rate callee wants a count (five in a row), a high-rate one a share; both may be set, and the change says which
//! it was. A callee that hangs counts as failing through the attempt timeout below: such an outage opens the circuit
//! within the minimum of calls plus one attempt timeout.
//!
//! # Who may command it
//!
//! A [`BreakerHandle`] lists the state, the counts and the last change with its reason. It can force the circuit open or
//! closed, or let it only observe (which tells what would have opened it, the way to try settings on live traffic),
//! each with who, why and until when ([`Order`]). A [`Switch`] commands many circuits.
//! [`reload`](BreakerHandle::reload) replaces the settings and keeps what was learned.
//!
//! # One circuit or many
//!
//! [`BreakerLayer`] is one circuit, however often it is applied. [`KeyedBreakerLayer`] has one for each endpoint, tenant
//! or method, in bounded memory.
//!
//! # Example: around any service
//!
//! ```
//! use mainstay::breaker::{BreakerLayer, State, Trip};
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = BreakerLayer::new("ledger", Trip::consecutive(2));
//! let handle = layer.handle();
//! let mut ledger = ServiceBuilder::new()
//!     .layer(layer)
//!     .service_fn(|_: u32| async { Err::<(), BoxError>("down".into()) });
//!
//! for _ in 0..2 {
//!     assert_eq!(ledger.ready().await?.call(1).await.unwrap_err().to_string(), "down");
//! }
//! assert_eq!(handle.state(), State::Open);
//! let refused = ledger.ready().await?.call(1).await.unwrap_err();
//! assert!(refused.to_string().starts_with("refused by breaker: circuit_open, retry after"));
//! # Ok(())
//! # }
//! ```
//!
//! # Example: without tower
//!
//! See [`Breaker`]: a plain value that is told what happens and when.
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower | has none; the layer goes where a `ConcurrencyLimit` would |
//! | tower-resilience `failure_rate_threshold(0.5)`, `sliding_window_size(100)` | [`Trip::rate_of`]`(percent(50), 100, Window::calls(100))` |
//! | tower-resilience `slow_call_duration_threshold`, `slow_call_rate_threshold` | [`Trip::slow`] |
//! | tower-resilience `wait_duration_in_open`, `permitted_calls_in_half_open` | [`open_for`](BreakerConfig::open_for), [`HalfOpen::new`] |
//! | resilience4j `COUNT_BASED`, `TIME_BASED` | [`Window::Calls`], [`Window::Time`] |
//! | resilience4j `permittedNumberOfCallsInHalfOpenState` with `failureRateThreshold` | [`HalfOpen::ratio`] |
//! | resilience4j `maxWaitDurationInHalfOpenState` | [`HalfOpen::deadline`], never without bound |
//! | resilience4j `FORCED_OPEN`, `DISABLED`, `METRICS_ONLY` | [`Mode::ForcedOpen`], [`Mode::ForcedClosed`], [`Mode::Observing`] |
//! | Polly `FailureRatio`, `MinimumThroughput`, `SamplingDuration` | [`Trip::rate`] |
//! | Polly `BreakDuration`, `BreakDurationGenerator` | [`open_for`](BreakerConfig::open_for), [`growing`](BreakerConfig::growing) |
//! | Polly `CircuitBreakerManualControl`, `CircuitBreakerStateProvider` | [`Switch`], [`BreakerHandle`] |
//! | linkerd consecutive failures with backoff | [`Trip::consecutive`], [`growing`](BreakerConfig::growing) and [`jitter`](BreakerConfig::jitter) |
//!
//! A threshold is reached at its value, never only above it; one that must be exceeded is the next number above.
//!
//! # Sources
//!
//! M. Nygard, "Release It!"; the rules are those of `breaker/machine.rs`, each born of a defect that users of other
//! libraries reported: permits that leak, late results that decide a state they do not belong to, probes without bound.

mod config;
mod machine;
#[cfg(feature = "serde")]
mod settings;
mod words;

#[cfg(feature = "tower")]
mod circuit;
#[cfg(feature = "tower")]
mod follow;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod keyed;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod lease;
#[cfg(all(test, mainstay_loom))]
mod loom_tests;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod settle;
#[cfg(feature = "tower")]
mod switch;

pub use crate::order::Order;
pub use config::{BreakerConfig, HalfOpen, Ramp, Trip, Verdict, Window};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use handle::{BreakerHandle, Change};
#[cfg(feature = "tower")]
pub use keyed::{KeyedBreakerHandle, KeyedBreakerLayer, KeyedBreakerService};
#[cfg(feature = "tower")]
pub use layer::BreakerLayer;
pub use machine::Breaker;
#[cfg(feature = "tower")]
pub use service::BreakerService;
#[cfg(feature = "tower")]
pub use settle::{AtHead, Ending, KeyedSettle, Settle, Until};
#[cfg(feature = "tower")]
pub use switch::Switch;
pub use words::{Admission, Cause, Mode, Permit, State, Totals, Transition};

// What health follows.
#[cfg(feature = "tower")]
pub(crate) use follow::{Followed, Kept, OnChange};
#[cfg(feature = "tower")]
pub(crate) use machine::Outlook;
