//! The standard stack: what every call to another service should go through, in the order that works.
//!
//! Use it around every remote callee, and set its two times. Not on the server's side, where the layers stand alone (see
//! the `http` module), and not around a call whose request must not be made twice: there leave the retry out and put the
//! other layers together yourself.
//!
//! ```text
//! deadline (total) → limit → retry with a budget → breaker → attempt timeout → transport
//! ```
//!
//! The deadline is outermost, so that nothing outlives it, the wait for a place included. The limit counts requests and
//! not attempts, so that a retry never loses the place of its call; it keeps an overloaded callee where it still
//! answers. The retry stands outside the breaker, so that the breaker sees every attempt and its refusal ends the call.
//! The attempt timeout is innermost, so that a hang becomes a failure that the breaker counts and the retry retries.
//! A [fallback](crate::fallback) goes around the whole of it, and so does a [rate limit](crate::limit::rate).
//!
//! One [`Stack`] is one callee: everything built from it and its clones shares one circuit, one limit and one retry
//! budget. For many endpoints or tenants under one name there are
//! [keyed breakers](crate::breaker::KeyedBreakerLayer) and [keyed rates](crate::limit::rate::KeyedRate). Its circuit and its
//! limit speak for a component where a health [follows](crate::health::Health::follow) the stack.
//!
//! | around | with | a failure is | a request is made again |
//! |---|---|---|---|
//! | reqwest | `Stack::reqwest` | told by the status | if idempotent |
//! | a tonic channel | `Stack::grpc` | told by the status | if it has an `idempotency-key` |
//! | any tower service | [`Stack::service`] | every error | always |
//! | any, with a classifier | [`Stack::service_by`] | what it says | always |
//!
//! `Stack::idempotent` vouches for every request over HTTP and gRPC.
//!
//! # What can be set
//!
//! [`StackConfig`] lists the settings with their defaults, and [`StackHandle::reload`] replaces them all while calls
//! are under way. [`presets`](crate::presets) are the numbers of real platforms, not better defaults: those of the ERP
//! open the circuit at five failures a minute, which a busy callee has on a good day.
//!
//! # When it does not compile
//!
//! | the compiler says | then |
//! |---|---|
//! | the method `oneshot`, `ready` or `call` exists, but its trait bounds were not satisfied | write `ServiceExt::oneshot(service, request)` for once: the message then names the layer, the reason and the remedy |
//! | `Clone` is not satisfied | `BoxService` is not `Clone`; `BoxCloneService` is, and so is a service behind a `Buffer` |
//! | expected `Period`, found `Duration` | [`Period::secs`], [`Period::millis`]; for what is read at run time [`Period::new`] |
//! | no method named `grpc` or `reqwest` | the feature of that name is off |
//! | no method named `json` for `reqwest_middleware::RequestBuilder` | `cargo add reqwest-middleware --features json` |
//!
//! # Coming from
//!
//! | elsewhere | here |
//! |---|---|
//! | tower `ServiceBuilder` with `timeout`, `concurrency_limit`, `retry` | [`Stack::service`], or the layers of the modules in the same places |
//! | tower-resilience, layers put together by hand | the same |
//! | resilience4j's order of aspects: Retry ( CircuitBreaker ( RateLimiter ( TimeLimiter ( Bulkhead ) ) ) ) | the limit is outside the retry here: it counts calls |
//! | .NET `AddStandardResilienceHandler`: limit, total timeout, retry, breaker, attempt timeout | the same but for the first two: here the wait for a place counts against the total |
//! | its defaults: 1,000 at a time; 30 s; 3 retries; 10 % of 100 calls; 10 s | adaptive; 30 s; 2 retries within a budget; see [`BreakerConfig`]; 10 s |
//! | AWS SDK standard mode | [`StackConfig::retry`] with [`RetryConfig::aws`] |
//! | gRPC service config `timeout`, `retryPolicy` | [`StackConfig::deadline`], [`StackConfig::retry`] |
//!
//! # Sources
//!
//! The order is that of .NET's standard handler but for the limit; the reasons stand above. `docs/outages.md` shows
//! what it does in an outage.
//!
//! [`BreakerConfig`]: crate::breaker::BreakerConfig
//! [`Period::millis`]: crate::num::Period::millis
//! [`Period::new`]: crate::num::Period::new
//! [`Period::secs`]: crate::num::Period::secs
//! [`RetryConfig::aws`]: crate::retry::RetryConfig::aws

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
