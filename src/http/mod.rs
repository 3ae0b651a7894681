//! HTTP: what its answers mean, how a refusal looks in it, and how a request is made again.
//!
//! Everything here speaks in terms of the `http` crate, so it serves axum, tonic and hyper alike; nothing of their own
//! types is named.
//!
//! # Example: an axum route behind a limit and a breaker
//!
//! Both of `classify` and `refuse_with` are needed. Without `refuse_with` it does not compile, since axum's errors are
//! `Infallible`; without `classify` it does, but an answer of 500 is then a success as any other, and the circuit never
//! opens.
//!
//! ```
//! use axum::{Router, routing::get};
//! use mainstay::breaker::{BreakerLayer, Trip};
//! use mainstay::deadline::DeadlineLayer;
//! use mainstay::http::{AsResponse, ByStatus};
//! use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
//! use mainstay::num::{Period, count};
//!
//! let breaker = BreakerLayer::new("stock", Trip::consecutive(5))
//!     .classify(ByStatus)
//!     .refuse_with(AsResponse);
//! let limit = ConcurrencyLayer::new("stock", ConcurrencyConfig::new(count(50))).refuse_with(AsResponse);
//! let deadline = DeadlineLayer::new("stock", Period::secs(2)).refuse_with(AsResponse);
//! let app: Router = Router::new()
//!     .route("/stock", get(|| async { "42" }))
//!     .layer(breaker)
//!     .layer(limit)
//!     .layer(deadline); // axum: the last is outermost
//! # let _ = app;
//! ```

mod access;
mod attempt;
#[cfg(any(feature = "grpc", feature = "reqwest"))]
mod bounded;
mod classify;
mod deadline;
mod end;
mod problem;
mod replay;
mod tier;

pub use access::ByMethod;
pub use attempt::AttemptHeader;
#[cfg(any(feature = "grpc", feature = "reqwest"))]
pub use bounded::{Bounded, Expire};
#[cfg(any(feature = "grpc", feature = "reqwest", feature = "saga"))]
pub(crate) use classify::of_head;
pub use classify::{ByStatus, parse_retry_after};
pub use deadline::{CarryLayer, CarryService, DeadlineHeader, HonourLayer, HonourService};
pub use end::{AtEnd, ClassifyEnd, Tracked};
pub use problem::AsResponse;
#[cfg(feature = "reqwest")]
pub(crate) use problem::problem;
#[cfg(feature = "saga")]
pub(crate) use problem::status_only;
pub use replay::{Identity, Kept, ReplayBody, ReplayRequest, is_idempotent};
pub use tier::{
    CarryTierLayer, CarryTierService, HonourTierLayer, HonourTierService, InTier, Nobody,
    TierHeader, Trust,
};
