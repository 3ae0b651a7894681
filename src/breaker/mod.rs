//! A circuit breaker: stops calling a callee that keeps failing, and finds out when it is back.
//!
//! Use it around every remote callee, inside the retry and outside the attempt timeout, one per endpoint. Without it
//! an outage costs every caller a timeout, and the callee that comes back meets all of its retries at once.
//!
//! ```text
//!              trip                         open_for has passed
//!   ┌────────┐ ───────────────► ┌────────┐ ───────────────► ┌───────────┐
//!   │ Closed │                  │  Open  │                  │ Half-open │
//!   └────────┘                  └────────┘ ◄─────────────── └───────────┘
//!        ▲                                   a probe failed       │
//!        └────────────────────────────────────────────────────────┘
//!                          enough probes succeeded
//! ```
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
//! # Sources
//!
//! M. Nygard, "Release It!"; the rules are those of `breaker/machine.rs`, each born of a defect that users of other
//! libraries reported: permits that leak, late results that decide a state they do not belong to, probes without bound.

mod config;
mod machine;
mod words;

#[cfg(feature = "tower")]
mod circuit;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod keyed;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod settle;
#[cfg(feature = "tower")]
mod switch;

pub use config::{BreakerConfig, HalfOpen, Ramp, Trip, Verdict, Window};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use handle::{BreakerHandle, Change, Order};
#[cfg(feature = "tower")]
pub use keyed::{KeyedBreakerHandle, KeyedBreakerLayer, KeyedBreakerService};
#[cfg(feature = "tower")]
pub use layer::BreakerLayer;
pub use machine::Breaker;
#[cfg(feature = "tower")]
pub use service::BreakerService;
#[cfg(feature = "tower")]
pub use settle::{AtHead, Settle, Until};
#[cfg(feature = "tower")]
pub use switch::Switch;
pub use words::{Admission, Cause, Mode, Permit, State, Totals, Transition};
