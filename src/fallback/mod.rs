//! Fallbacks: an answer in place of the one that did not come.
//!
//! Use it where a worse answer is better than none: a cached rate, a queued job, a check that is skipped and marked as
//! skipped. Say for which outcomes it answers ([`Outcomes`]); a request that is wrong stays wrong. Not where the caller
//! must know that nothing happened: a payment has no fallback. And not to make an alert go away: every fallback is
//! counted, and a caller that cannot tell a stand-in from the real thing will use it as one.
//!
//! ```text
//!                                      ┌─ success, or not a stated outcome ──────────► the call's own result
//!   request ─► retry ─► … ─► callee ───┤                                                        ▲
//!       │                              └─ stated outcome ─► in time? a place free? ─ no ────────┤
//!       │ what the fallback needs of it                              │ yes                      │
//!       └──────────────────────────────────────────────────────► fallback ─ has no answer ──────┘
//!                                                                    └─────────────────► its answer
//! ```
//!
//! | answer | keeps of the request | bounds |
//! |---|---|---|
//! | [`FallbackLayer::value`] | nothing | the response is `Clone` |
//! | [`FallbackLayer::function`], [`FallbackLayer::async_function`] | what [`FallbackLayer::keep`] takes | none |
//! | [`FallbackLayer::service`] | the whole request | what its `Replay` needs |
//!
//! # What can be set
//!
//! | question | setting | default |
//! |---|---|---|
//! | for which outcomes does it answer? | [`FallbackConfig::outcomes`] | what says that the callee is down or slow: [`Outcomes::default`] |
//! | how many at a time? | [`FallbackConfig::max_in_flight`] | 64 |
//! | what does it need of the request? | [`FallbackLayer::keep`], [`FallbackLayer::replay_with`] | nothing; a service the whole of it |
//! | what is a failure? | [`FallbackLayer::classify`] | every error |
//!
//! [`FallbackHandle::reload`] replaces the first two while calls are under way. A function takes two arguments, what was
//! kept and the [`Primary`] result, also where it looks at neither.
//!
//! # Where it stands
//!
//! Outside the retry and inside the deadline and the limits. The fallback needs time of its own, so give the call less
//! than the whole: around a [standard stack](crate::standard) put the fallback, and around that a second, longer
//! deadline. A call that took all the time of its stack is then refused with
//! [`DeadlineExceeded`](crate::error::Reason::DeadlineExceeded), which [`Outcomes::default`] answers for.
//!
//! # Example: one service stands in for another, in half a second
//!
//! ```
//! use mainstay::deadline::DeadlineLayer;
//! use mainstay::fallback::{Ending, FallbackConfig, FallbackLayer};
//! use mainstay::num::Period;
//! use mainstay::standard::Stack;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let vectors = Stack::standard("vectors")
//!     .deadline(Period::millis(1_500))
//!     .service(service_fn(|_query: &'static str| std::future::pending::<Result<usize, BoxError>>()));
//! let keywords = Stack::standard("keywords")
//!     .service(service_fn(|query: &'static str| async move { Ok::<_, BoxError>(query.len()) }));
//!
//! let layer = FallbackLayer::service("search", FallbackConfig::default(), keywords);
//! let handle = layer.handle();
//! let search = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new("search", Period::secs(2)))
//!     .layer(layer)
//!     .service(vectors);
//! assert_eq!(search.oneshot("bolts").await?, 5);
//! assert_eq!(handle.count(Ending::Served), 1);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/fallbacks` shows four kinds at work in front of real servers.
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower-resilience: `FallbackLayer::value`, `value_fn`, `from_error`, `service` | [`FallbackLayer::value`]; [`FallbackLayer::function`] for the next two; [`FallbackLayer::service`] |
//! | tower-resilience: `from_request_error`, which clones every request | [`FallbackLayer::function`] with [`FallbackLayer::keep`] |
//! | tower-resilience: `handle` of errors and of responses | [`Outcomes`], and one [`Classify`](crate::Classify) that all layers share |
//! | Polly: `ShouldHandle`, `FallbackAction`, `OnFallback` | [`Outcomes`], [`FallbackLayer::async_function`], the event `fallback` |
//! | resilience4j: `Decorators…withFallback(exceptions, f)` | [`FallbackLayer::function`] with [`Outcomes`] |
//! | Hystrix: `getFallback`, `fallback.isolation.semaphore.maxConcurrentRequests` | [`FallbackLayer::function`], [`FallbackConfig::max_in_flight`] |
//!
//! # Sources
//!
//! Hystrix's fallbacks with their own semaphore; Polly's `ShouldHandle`. Amazon Builders' Library, "Avoiding fallback in
//! distributed systems", says when not to.

mod config;
mod ending;
mod outcomes;
#[cfg(feature = "serde")]
mod settings;

#[cfg(feature = "tower")]
mod answer;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod keep;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod service;

#[cfg(feature = "tower")]
pub use answer::{Answer, AsyncFunction, Function, OtherCall, OtherService, Primary, Value};
pub use config::FallbackConfig;
pub use ending::Ending;
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use handle::FallbackHandle;
#[cfg(feature = "tower")]
pub use keep::{Keep, Nothing, Part, Whole};
#[cfg(feature = "tower")]
pub use layer::FallbackLayer;
pub use outcomes::Outcomes;
#[cfg(feature = "tower")]
pub use service::FallbackService;
