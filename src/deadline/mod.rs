//! Deadlines: how long a call may take in all, and how long one attempt may.
//!
//! Use both around every remote callee. They are two layers, because they mean two things. [`DeadlineLayer`] stands
//! outermost and bounds everything: queueing, every attempt, every wait between them; running into it refuses the call.
//! [`TimeoutLayer`] stands innermost and bounds one attempt; running into it is a failure of the callee, which breakers
//! count and retries retry.
//!
//! Not to end work that must not be cut in two: what is late is dropped where it awaits. Such work belongs in a task of
//! its own, or in a saga. And not for a computation that never awaits, which no timer can end.
//!
//! ```text
//!  DeadlineLayer
//!  ├─ place ─┼──── attempt ────┼─ backoff ─┼──── attempt ────┼─ backoff ─┼─ attempt ─┤
//!  │         │◄─ TimeoutLayer ►│           │◄─ TimeoutLayer ►│           │           │
//!  │◄──────────── the limit, or what the caller has left if that is less ───────────►│ refused: deadline_exceeded
//! ```
//!
//! The deadline travels in the [`Scope`](crate::scope::Scope): every layer below knows it, and the `http` and `grpc`
//! modules carry it to the next process. It only ever shortens, and work whose time is over is not started.
//!
//! # What can be set
//!
//! | question | setting | in a [standard stack](crate::standard) |
//! |---|---|---|
//! | how long may a call take in all? | [`DeadlineLayer::new`] | 30 s |
//! | how long may one attempt take? | [`TimeoutLayer::new`] | 10 s |
//! | how does a refusal leave? | [`DeadlineLayer::refuse_with`], [`TimeoutLayer::refuse_with`] | as the transport says |
//!
//! Alone the layers have no default: only you know how long your callee takes. [`DeadlineHandle::reload`] sets another
//! limit while calls are under way; those keep the time that they were given.
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
//! A limit that comes from outside as a [`Duration`](std::time::Duration) is checked by
//! [`Period::new`](crate::num::Period::new).
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `TimeoutLayer`, tower-resilience `TimeLimiterLayer`, resilience4j `TimeLimiter` | [`TimeoutLayer`] below the retry, [`DeadlineLayer`] above it |
//! | tower-resilience `cancel_running_future(false)`, `detached()` | spawn the work yourself: what is late here is dropped |
//! | Polly `AddTimeout` before `AddRetry`, and after it | [`DeadlineLayer`]; [`TimeoutLayer`] |
//! | AWS SDK `operation_timeout`; `operation_attempt_timeout` | [`DeadlineLayer`]; [`TimeoutLayer`] |
//! | gRPC deadlines, tonic `Request::set_timeout` | honoured by `Stack::grpc`, and sent on with what is left |
//!
//! # Sources
//!
//! gRPC's deadlines (grpc.io, "Deadlines"): absolute inside a process, relative on the wire, never extended.

mod propagation;

#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod timer;

#[cfg(feature = "tower")]
pub use layer::{
    Attempt, DeadlineHandle, DeadlineLayer, DeadlineService, End, ResponseFuture, TimeoutLayer,
    TimeoutService, Total,
};
pub use propagation::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
