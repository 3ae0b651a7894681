//! An adaptive limit: finds out how many calls a callee answers well, and lets no more be under way.
//!
//! Use it around every callee whose capacity is not known for certain: that is, most. Calls queue in an overloaded
//! callee, all take longer, callers give up and try again, and nothing that is still answered is answered in time; a
//! limit that falls while calls take longer keeps the callee where it answers most. One per callee, inside the total
//! deadline and outside the retry. Where the number is known and does not move, a
//! [fixed limit](super::concurrency) says it better. It needs an attempt timeout below it: a call that never ends says
//! nothing.
//!
//! ```text
//!                      nothing speaks against more, and it is in the way
//!                 ┌─────────────────────────────────────────────────────┐
//!                 ▼                                                     │
//!   start ──► limit ──── a window of calls ──► longer than tolerable? ──┤ no
//!                 ▲                                      │ yes, and calls are held back
//!                 │ lower                                ▼
//!                 ├──────────────────────── was the baseline measured lately?
//!                 │                   yes                │ no
//!                 │                                      ▼
//!                 └── back ◄─── a quarter of the limit for a moment: is it we who make the callee slow?
//! ```
//!
//! # What can be set
//!
//! | question | [`AdaptiveConfig`] | default |
//! |---|---|---|
//! | between what does it move? | [`bounds`](AdaptiveConfig::bounds) | 3 and 1,000 |
//! | where does it begin? | [`start`](AdaptiveConfig::start) | 20 |
//! | how much longer than unloaded is tolerable? | [`tolerance`](AdaptiveConfig::tolerance) | 1.5 times |
//! | when does it look again? | [`window`](AdaptiveConfig::window), [`samples`](AdaptiveConfig::samples) | 500 ms and 50 calls |
//! | when is the baseline too old? | [`relearn`](AdaptiveConfig::relearn) | 30 s |
//! | how many may wait? | [`queue`](AdaptiveConfig::queue) | 20 for each place |
//! | for how long? | [`wait`](AdaptiveConfig::wait), [`wait_share`](AdaptiveConfig::wait_share) | 30 s, half of what the deadline leaves |
//! | what is a failure? | [`AdaptiveLayer::classify`] | every error |
//!
//! [`AdaptiveHandle::reload`] replaces them, [`AdaptiveHandle::pin`] holds the limit where an operator wants it.
//!
//! # Example: around any service
//!
//! ```
//! use mainstay::breaker::Order;
//! use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
//! use mainstay::num::{Period, count};
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = AdaptiveLayer::new("ledger", AdaptiveConfig::new());
//! let handle = layer.handle();
//! let mut ledger = ServiceBuilder::new()
//!     .layer(layer)
//!     .service_fn(|n: u32| async move { Ok::<_, BoxError>(n) });
//! assert_eq!(ledger.ready().await?.call(7).await?, 7);
//! assert_eq!((handle.limit().get(), handle.in_flight()), (20, 0));
//!
//! // An operator knows better, for an hour.
//! let order = Order::new("alice", "ledger migration").lasting(Period::secs(3_600));
//! handle.pin(count(5), order);
//! assert_eq!(handle.limit().get(), 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Example: without tower
//!
//! See [`Adaptive`]: a plain value that is told what happens and when.
//!
//! # How long it takes
//!
//! With the defaults, in simulations (`tests/adaptive_limit.rs`):
//!
//! - A callee that collapses under twice its load (20 ms and 15 ms more for each call under way) answers as many calls
//!   as it can from about two seconds after the load doubled.
//! - A callee that becomes slower for good, by whatever factor, is measured as soon as calls are held back for it, which
//!   takes two to four round trips and no more than four windows. From then on the limit doubles with each window.
//! - A healthy callee whose calls take milliseconds is never held back after the first tenth of a second. A pause of
//!   200 ms every ten seconds, with a thousand calls a second, is waited out; without a line it costs some calls in 1,000.
//! - A healthy callee whose calls take seconds is not held back either, but made to wait: of 200 calls of 5 s that come
//!   at once right after the start, 20 are under way at first, 40 after 5 s, 80 after 10 s and the others after 15 s. All
//!   are answered within the 30 s of a standard stack; where there is less time than four round trips,
//!   [`start`](AdaptiveConfig::start) higher. Of 40 such calls a second none is refused. Where half of the calls take
//!   eight times as long as the others, one start in thirty takes the slow ones for a queue, and then grows for a minute
//!   by little.
//! - Fifty servers that are asked for four times what they can do, 5 s each, are given little more than a hundred calls at
//!   a time, and answer as many as they can from the start on.
//!
//! # Many clients
//!
//! Each limits itself by what it sees of a callee that all share. When overload begins, all see it at once and measure
//! at once, and the callee is indeed idle for that moment. A client that measures while others do not finds the callee
//! as slow as before and takes that for normal; then calls that are lost hold it back, less exactly. Four clients that
//! bring the callee of the first example down get it back when the load falls, where without limits it never comes back;
//! four before forty servers keep them at nine tenths of what they can do. What a callee stands should be more than the
//! least limits of all its clients together.
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `ConcurrencyLimitLayer` | [`concurrency`](super::concurrency), or this where the number is a guess |
//! | tower-resilience `AdaptiveLimiterLayer`: `initial_limit`, `min_limit`, `max_limit` | [`start`](AdaptiveConfig::start), [`bounds`](AdaptiveConfig::bounds) |
//! | tower-resilience `Aimd`: `latency_threshold` | nothing to set: calls are compared with unloaded ones, see [`tolerance`](AdaptiveConfig::tolerance) |
//! | Netflix `Gradient2Limit`: `rttTolerance` | [`tolerance`](AdaptiveConfig::tolerance) |
//! | Netflix `Gradient2Limit`: `longWindow` | none: the baseline is measured and never averaged |
//! | Envoy `max_concurrency_limit`, `min_concurrency` | [`bounds`](AdaptiveConfig::bounds) |
//! | Envoy `concurrency_update_interval`, `request_count`, `buffer` | [`window`](AdaptiveConfig::window), [`samples`](AdaptiveConfig::samples), [`tolerance`](AdaptiveConfig::tolerance) |
//! | Envoy minRTT `interval`, `jitter` | [`relearn`](AdaptiveConfig::relearn); no jitter, since a healthy callee is not measured |
//!
//! # Sources
//!
//! Netflix concurrency-limits (Gradient2: a ratio of two means, room of a root, no growth while less than half is
//! used), Envoy's adaptive concurrency filter (the limit is pinned to measure), failsafe-go (samples, windows). The rest
//! is ours, and stands in the rules of `adaptive/machine.rs`: a baseline that forgets with time rises under overload
//! that lasts, and one that never forgets throttles a callee that has become slower (their issues 35, 88, 125 and 165).
//! So here it rises by measurement alone, and a measurement is made only when calls would be refused otherwise.

mod config;
mod machine;
mod octaves;
#[cfg(feature = "serde")]
mod settings;
mod window;
mod words;

#[cfg(feature = "tower")]
mod driver;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod layer;

pub use config::{AdaptiveConfig, Bounds};
// What moves the seats of tenants.
#[cfg(feature = "tower")]
pub(crate) use driver::Driver;
#[cfg(feature = "tower")]
pub use handle::AdaptiveHandle;
#[cfg(feature = "tower")]
pub use layer::AdaptiveLayer;
pub use machine::Adaptive;
pub use words::{Cause, Change, Sample};
