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
//! # Sources
//!
//! Amazon Builders' Library, "Timeouts, retries and backoff with jitter"; Finagle's retry budgets; RFC 9110 §10.2.3
//! (Retry-After).

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
