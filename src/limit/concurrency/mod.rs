//! A concurrency limit: how many calls may be under way at a time, and how many more may wait for how long.
//!
//! Use it around a callee that is known to stand so much and no more, and around work that takes memory, threads or
//! connections while it lasts. One per callee, inside the total deadline and outside the retry. Where the number is not
//! known, or moves, use an [adaptive limit](super::adaptive); where a callee counts calls in a time, a
//! [rate limit](super::rate). Not in place of an attempt timeout: a call that never ends keeps its place.
//!
//! ```text
//!                fewer than the limit are under way, and nobody waits
//!   ┌──────┐ ──────────────────────────────────────────────────────────► ┌───────────┐
//!   │ call │                                                             │ under way │ ──► over: the place
//!   └──────┘ ──────────► ┌───────┐ ────────────────────────────────────► └───────────┘     goes to the line's
//!       │   room in line │ waits │  its turn has come                                      front, or is free
//!       │                └───────┘
//!       │                    │ the wait bound, or the deadline
//!       ▼                    ▼
//!   concurrency_limit    queue_timeout: refused, with the time in which a place may come free
//! ```
//!
//! # What can be set
//!
//! | question | [`ConcurrencyConfig`] | default |
//! |---|---|---|
//! | how many under way? | [`new`](ConcurrencyConfig::new) | 100 |
//! | how many more may wait? | [`queue`](ConcurrencyConfig::queue) | none: refused at once |
//! | for how long? | [`wait`](ConcurrencyConfig::wait) | 1 s |
//! | for which share of its own time? | [`wait_share`](ConcurrencyConfig::wait_share) | all of it |
//! | until when does a call last? | [`ConcurrencyLayer::until`] | the head of the answer |
//!
//! [`ConcurrencyHandle::reload`] replaces them; nobody who waits is sent away for it.
//!
//! # Example: around any service
//!
//! ```
//! use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
//! use mainstay::num::{Period, count};
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let config = ConcurrencyConfig::new(count(2)).queue(10).wait(Period::millis(500));
//! let layer = ConcurrencyLayer::new("ledger", config);
//! let handle = layer.handle();
//! let mut ledger = ServiceBuilder::new()
//!     .layer(layer)
//!     .service_fn(|n: u32| async move { Ok::<_, BoxError>(n) });
//!
//! let call = ledger.ready().await?.call(7);
//! assert_eq!(handle.in_flight(), 1, "taken in `call`");
//! assert_eq!(call.await?, 7);
//! assert_eq!(handle.in_flight(), 0);
//!
//! // Live: waiters are let in at once.
//! handle.reload(config.queue(0));
//! # Ok(())
//! # }
//! ```
//!
//! # Example: without tower
//!
//! See [`Concurrency`]: a plain value that is told what happens and when.
//!
//! # Streams
//!
//! A call ends with the head of its answer, as it does for everybody else in the stack. A callee that is busy until the
//! end of a body is bounded with `.until(http::AtEnd::new(..))`: the place is kept until the body ends or is dropped.
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `ConcurrencyLimitLayer`, which waits in `poll_ready` without bound | [`queue`](ConcurrencyConfig::queue) with [`wait`](ConcurrencyConfig::wait); the place is taken in `call` |
//! | tower `GlobalConcurrencyLimitLayer` | every [`ConcurrencyLayer`]: all that it makes share the limit |
//! | tower `LoadShedLayer` around one of them | the default: nobody waits |
//! | tower-resilience `BulkheadLayer`: `max_concurrent_calls`, `max_wait_duration`, `reject_when_full` | [`new`](ConcurrencyConfig::new); [`queue`](ConcurrencyConfig::queue) with [`wait`](ConcurrencyConfig::wait); the default |
//! | resilience4j `Bulkhead`: `maxConcurrentCalls`, `maxWaitDuration` | the same; the queue has a bound here, so say it |
//! | resilience4j `ThreadPoolBulkhead`: `queueCapacity` | [`queue`](ConcurrencyConfig::queue) |
//! | Polly `AddConcurrencyLimiter(permitLimit, queueLimit)` | [`new`](ConcurrencyConfig::new) and [`queue`](ConcurrencyConfig::queue), which has a bound in time too |
//!
//! # Sources
//!
//! M. Nygard, "Release It!", bulkheads. The rules are those of `concurrency/machine.rs`: a permit that is taken when a
//! service is asked whether it is ready is held by callers who never call (tower's limit), and a queue without a bound
//! only moves the overload.

mod config;
mod count;
mod lane;
mod machine;
mod pace;
#[cfg(feature = "serde")]
mod settings;

#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod gate;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod layer;
#[cfg(all(test, mainstay_loom))]
mod loom_tests;
#[cfg(feature = "tower")]
mod passed;
#[cfg(feature = "tower")]
mod seats;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod spare;

pub use config::ConcurrencyConfig;
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use gate::Seat;
#[cfg(feature = "tower")]
pub use handle::ConcurrencyHandle;
pub use lane::Ticket;
#[cfg(feature = "tower")]
pub use layer::ConcurrencyLayer;
pub use machine::{Admission, Concurrency, Left};
#[cfg(feature = "tower")]
pub use service::ConcurrencyService;

// What the adaptive limit moves.
#[cfg(feature = "tower")]
pub(crate) use gate::{Drive, Gate, Moves};
#[cfg(feature = "tower")]
pub(crate) use layer::Policy;
#[cfg(feature = "tower")]
pub(crate) use pace::Step;
