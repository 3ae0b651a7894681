//! The standard stack: what every call to another service should go through, in the order that works.
//!
//! ```text
//! deadline (total) → limit → retry with a budget → breaker → attempt timeout → transport
//! ```
//!
//! The deadline is outermost, so that nothing outlives it, the wait for a place included. The limit counts requests and
//! not attempts, so that a retry never loses the place of its call; it keeps an overloaded callee where it still
//! answers. The retry stands outside the breaker, so that the breaker sees every attempt and its refusal ends the call.
//! The attempt timeout is innermost, so that a hang becomes a failure that the breaker counts and the retry retries.
//! A [fallback](crate::fallback) goes around the whole of it.
//!
//! One [`Stack`] is one callee: everything built from it and its clones shares one circuit, one limit and one retry
//! budget.

mod config;
#[cfg(feature = "serde")]
mod settings;

#[cfg(feature = "tower")]
mod stack;

pub use config::StackConfig;
#[cfg(feature = "grpc")]
pub use stack::{Grpc, GrpcChannel};
#[cfg(feature = "tower")]
pub use stack::{Stack, StackHandle, Standard};
