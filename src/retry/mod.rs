//! Retries: gives a failed call another chance, and knows when not to.
//!
//! Use it around callees whose failures pass, for requests that may be made twice. It belongs outside the breaker, so
//! that the breaker sees every attempt, and inside the total deadline, which bounds all attempts and waits together.
//! Not for callees that are slow because they are busy: the budget and the breaker keep retries from making that worse.
//!
//! Which requests may be made twice is for [`Replay`] to say. [`CloneRequest`], the default, repeats whatever is
//! `Clone`: keep it from requests that do something each time they are made. `http::ReplayRequest` repeats idempotent
//! methods and what carries an `idempotency-key`; a gRPC call is a POST, so it is made once unless it has one or is
//! vouched for (`Stack::idempotent`). [`GaveUp::Request`] counts those that were not.
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
//! # What can be set
//!
//! | question | [`RetryConfig`] | default |
//! |---|---|---|
//! | how many attempts? | [`limit`](RetryConfig::limit) | 3 in all |
//! | how long to wait? | [`backoff`](RetryConfig::backoff): [`Growth`], [`Jitter`], a cap | 50 ms doubling to 20 s, full jitter |
//! | and after overload? | [`overload_backoff`](RetryConfig::overload_backoff) | the same |
//! | how much load may retries add? | [`budget`](RetryConfig::budget) | three for every ten calls, and ten a second |
//! | how long a hint of the callee is obeyed? | [`longest_hint`](RetryConfig::longest_hint) | 60 s |
//! | what is added to a hint? | [`hint_spread`](RetryConfig::hint_spread) | up to a quarter |
//! | and retry layers around this one? | [`nesting`](RetryConfig::nesting) | the innermost retries |
//! | what is a failure? | [`RetryLayer::classify`] | every error |
//! | which requests are made again? | [`RetryLayer::replay_with`] | every one that is `Clone` |
//!
//! [`RetryHandle::reload`] replaces them while calls are under way.
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
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `retry::Policy`; `TpsBudget` | a classifier and [`RetryConfig`]; [`RatioBudget`] with [`ttl`](RatioBudget::ttl) |
//! | tower-resilience `max_attempts(3)`, `exponential_backoff`, `retry_on`, `budget` | [`Attempts::total`](crate::num::Attempts::total)`(3)`, [`Backoff::exponential`], [`RetryLayer::classify`], [`BudgetConfig`] |
//! | resilience4j `maxAttempts`; `waitDuration`, `intervalFunction` | [`Attempts::total`](crate::num::Attempts::total); [`Backoff`] |
//! | resilience4j `retryOnResultPredicate`, `ignoreExceptions` | one [`Classify`](crate::Classify) for results and errors |
//! | Polly `MaxRetryAttempts`, which counts what follows the first | [`Attempts::retries`](crate::num::Attempts::retries) |
//! | Polly `BackoffType`, `Delay`, `MaxDelay`; `UseJitter` | [`Backoff`]; [`Jitter`], full by default |
//! | Polly `DelayGenerator` for Retry-After | the callee's hint is obeyed |
//! | backon `with_max_times`, which counts what follows the first | [`Attempts::retries`](crate::num::Attempts::retries) |
//! | backon `with_min_delay`, `with_max_delay`, `with_factor`; `with_jitter` | [`Backoff`]; [`Jitter::Add`] |
//! | backon `when`; `notify`; `adjust` | [`RetryLayer::classify`]; the events of [`observe`](crate::observe); the hint is obeyed |
//! | backon `with_total_delay` | [`deadline`](crate::deadline) |
//! | gRPC service config `maxAttempts`, `initialBackoff`, `maxBackoff`, `backoffMultiplier` | [`Attempts::total`](crate::num::Attempts::total), [`Backoff::exponential`], [`Backoff::factor`] |
//! | gRPC `retryableStatusCodes` | `grpc::ByStatus`, or a classifier of your own |
//! | gRPC `retryThrottling`; `retryPushback` | [`ThrottleBudget`]; obeyed by `grpc::ByStatus` |
//! | AWS SDK standard mode | [`RetryConfig::aws`] |
//! | Envoy `retry_budget` | [`ConcurrencyBudget`] |
//!
//! # Sources
//!
//! Amazon Builders' Library, "Timeouts, retries and backoff with jitter"; Finagle's retry budgets; RFC 9110 §10.2.3
//! (Retry-After); gRPC proposal A6; the SRE book, "Handling overload", for retries by one layer only.

mod backoff;
mod budget;
mod policy;
#[cfg(feature = "serde")]
mod settings;

#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod replay;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod spread;

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
