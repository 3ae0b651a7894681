//! Retries: gives a failed call another chance, and knows when not to.
//!
//! Use it around callees whose failures pass, for requests that may be made twice. It belongs outside the breaker, so
//! that the breaker sees every attempt, and inside the total deadline, which bounds all attempts and waits together.
//! Not for callees that are slow because they are busy: the budget and the breaker keep retries from making that worse.
//!
//! ```text
//!              ┌──────────────── wait: backoff, jitter, hint ◄───────────────┐
//!              ▼                                                             │ failure or overload, and attempts,
//!   request ─► attempt ─► outcome ───────────────────────────────────────────┤ deadline and budget allow it
//!                                                                            └─► otherwise: the callee's answer
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::num::Attempts;
//! use mainstay::retry::{RetryConfig, RetryLayer};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new("stock", RetryConfig::new(Attempts::total(3))))
//!     .service_fn(|item: &'static str| async move {
//!         match CALLS.fetch_add(1, Ordering::Relaxed) {
//!             0 | 1 => Err(BoxError::from("busy")),
//!             _ => Ok(item.len()),
//!         }
//!     });
//! assert_eq!(service.oneshot("bolts").await?, 5);
//! assert_eq!(CALLS.load(Ordering::Relaxed), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # Budgets
//!
//! Every policy has a budget unless it is told [otherwise](RetryConfig::without_budget): single calls cannot see that
//! all calls fail. When it is spent, a call ends with the callee's own answer.
//!
//! | [`BudgetConfig`] | a retry is allowed | use it |
//! |---|---|---|
//! | [`RatioBudget`] | when calls have earned it | by default: the load grows by a known share at most |
//! | [`QuotaBudget`] | while tokens last; one that helps gives its own back | for callees that fail rarely, and then for all |
//! | [`ThrottleBudget`] | while most attempts of late succeed | to do as a gRPC service config says |
//! | [`ConcurrencyBudget`] | while few others are in flight | where calls are slow and numerous |
//!
//! # Layers around layers
//!
//! A service whose client retries, in a process whose client retries, below a gateway that retries: three layers of
//! four attempts make sixty-four calls of one. Here [one of them retries](Nesting), the innermost, which is told by the
//! [`Scope`](crate::scope::Scope) within a process and by a header between processes that trust each other
//! (`http::AttemptHeader`). One [`SharedBudget`] for all of them bounds what they add together:
//!
//! ```
//! use mainstay::num::Ratio;
//! use mainstay::retry::{BudgetConfig, RetryConfig, RetryLayer, SharedBudget};
//!
//! let budget = SharedBudget::new(BudgetConfig::new(Ratio::percent(10)));
//! let gateway = RetryLayer::new("gateway", RetryConfig::default()).shared_budget(&budget);
//! let ledger = RetryLayer::new("ledger", RetryConfig::default()).shared_budget(&budget);
//! # let _ = (gateway, ledger);
//! ```
//!
//! # Coming from elsewhere
//!
//! | there | here |
//! |---|---|
//! | tower `retry::Policy`, `TpsBudget` | a classifier, [`RetryConfig`]; [`RatioBudget`] with [`ttl`](RatioBudget::ttl) |
//! | tower-resilience `RetryLayer`, Polly `RetryStrategyOptions`, resilience4j `RetryConfig` | [`RetryConfig`] |
//! | Polly `UseJitter`, resilience4j `randomizedWaitFactor` | [`Jitter::Full`] by default, [`Jitter::Around`] |
//! | Polly `ShouldHandle`, resilience4j `retryOnException` | [`RetryLayer::classify`] |
//! | AWS SDK standard mode | [`RetryConfig::aws`] |
//! | gRPC `retryThrottling`; `retryPushback` | [`ThrottleBudget`]; obeyed by `grpc::ByStatus` |
//! | Envoy `retry_budget` | [`ConcurrencyBudget`] |
//!
//! # Sources
//!
//! Amazon Builders' Library, "Timeouts, retries and backoff with jitter"; Finagle's retry budgets; RFC 9110 §10.2.3
//! (Retry-After); gRPC proposal A6; the SRE book, "Handling overload", for retries by one layer only.

mod backoff;
mod budget;
mod policy;

#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod replay;
#[cfg(feature = "tower")]
mod service;

pub use backoff::{Backoff, Growth, Jitter};
#[cfg(feature = "tower")]
pub use budget::SharedBudget;
pub use budget::{
    Budget, BudgetConfig, ConcurrencyBudget, Grant, QuotaBudget, RatioBudget, ThrottleBudget,
};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use layer::{RetryHandle, RetryLayer};
pub use policy::{Decision, GaveUp, Nesting, Retry, RetryConfig};
#[cfg(feature = "tower")]
pub use replay::{CloneRequest, Replay};
#[cfg(feature = "tower")]
pub use service::RetryService;
