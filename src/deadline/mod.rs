//! Deadlines: how long a call may take in all, and how long one attempt may.
//!
//! Two layers, because they mean two things. [`DeadlineLayer`] stands outermost and bounds everything: queueing, every
//! attempt, every wait between them. [`TimeoutLayer`] stands innermost and bounds one attempt; running into it is a
//! failure of the callee, which breakers count and retries retry.
//!
//! The deadline travels in the [`Scope`](crate::scope::Scope): every layer below knows it, and the `http` and `grpc`
//! modules carry it to the next process. It only ever shortens, and work whose time is over is not started.
//!
//! # Example
//!
//! ```
//! use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
//! use mainstay::num::Period;
//! use tower::{BoxError, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new("stock", Period::secs(1)))
//!     .layer(TimeoutLayer::new("stock", Period::millis(250)))
//!     .service_fn(|_: ()| std::future::pending::<Result<(), BoxError>>());
//! let error = service.oneshot(()).await.unwrap_err();
//! assert_eq!(error.to_string(), "no answer within 250ms");
//! # }
//! ```
//!
//! # Source
//!
//! gRPC's deadlines (grpc.io, "Deadlines"): absolute inside a process, relative on the wire, never extended.

mod propagation;

#[cfg(feature = "tower")]
mod layer;

#[cfg(feature = "tower")]
pub use layer::{
    Attempt, DeadlineHandle, DeadlineLayer, DeadlineService, End, ResponseFuture, TimeoutLayer,
    TimeoutService, Total,
};
pub use propagation::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
