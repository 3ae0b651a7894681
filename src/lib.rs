//! Resilience for Rust services: what keeps a business running while the services it calls are not.
//!
//! mainstay is one crate that a service links. It wraps tonic, reqwest and axum with tower layers, admits tenants fairly,
//! runs business transactions as durable sagas, knows what may still be served, and decides how many replicas should run.
//!
//! | you want to | look at |
//! |---|---|
//! | call another service and survive its failures | [`standard`]: the whole stack in one line |
//! | stop calling what is down | [`breaker`] |
//! | give a failed call another chance | [`retry`] |
//! | bound how long things take | [`deadline`] |
//! | have a worse answer rather than none | [`fallback`] |
//! | bound how much may pass | [`limit`] |
//! | share a service among tenants, so that none hurts another | [`tenant`] |
//! | run several effects in several services, all or none | `saga`, on a `journal` |
//! | apply an effect once, however often it is asked for | [`effect_guard`] |
//! | know whether it is up | [`health`] |
//! | know how degraded the system is, and what may still be served | [`degrade`] |
//! | take writes that cannot be done now, and do them later, once and in order | [`queue`] |
//! | know how many replicas should run | [`autoscale`] |
//! | say what counts as a failure | [`outcome`] |
//! | see what happens | [`observe`]: every metric, event and span, and the handles of the layers |
//! | configure a service from one file, and again while it runs | `settings` |
//! | start from numbers that a real platform uses | [`presets`] |
//!
//! # How it is built
//!
//! Every capability is a *machine*, a plain value that takes events and the time and returns decisions, and a thin
//! *shell* around it: a layer, a driver, a store. The machines need no feature and no dependency; they can be tested
//! with plain calls and replayed. The shells need `tower`, which is the default feature. Further features buy
//! integrations and backends, and never change how anything behaves.
//!
//! # A stack
//!
//! ```
//! use mainstay::num::Period;
//! use mainstay::standard::Stack;
//! use tower::{BoxError, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let stack = Stack::standard("ledger").deadline(Period::secs(5));
//! let ledger = stack.service(service_fn(|amount: u64| async move { Ok::<_, BoxError>(amount) }));
//! assert_eq!(ledger.oneshot(100).await?, 100);
//! # Ok(())
//! # }
//! ```
//!
//! The order of the layers is stated once, in [`standard`].

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod autoscale;
pub mod breaker;
pub mod context;
pub mod deadline;
pub mod degrade;
pub mod effect_guard;
pub mod error;
pub mod fallback;
pub mod health;
pub mod limit;
pub mod num;
pub mod outcome;
pub mod presets;
pub mod queue;
pub mod retry;
pub mod rng;
pub mod standard;
pub mod tenant;
pub mod time;

mod order;
mod window;

#[cfg(feature = "serde")]
pub mod settings;

#[cfg(feature = "tower")]
pub mod reject;
#[cfg(feature = "tower")]
pub mod rt;
#[cfg(feature = "tower")]
pub mod scope;
#[cfg(feature = "tower")]
mod sync;

#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "reqwest")]
pub mod reqwest;

#[cfg(feature = "saga")]
pub mod journal;
#[cfg(feature = "saga")]
pub mod saga;

#[cfg(feature = "tower")]
pub mod observe;

pub use error::{ConfigError, Rejected};
pub use outcome::{Classify, Outcome};

/// The README's examples are tests.
#[cfg(all(doctest, feature = "grpc", feature = "reqwest", feature = "saga"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the pages about sagas are tests.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/saga/steps.md")]
struct SagaSteps;

/// So are those of the page about instances.
#[cfg(all(doctest, feature = "saga"))]
#[doc = include_str!("../docs/instances.md")]
struct Instances;

/// So are those of the page about operators.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/saga/stuck.md")]
struct SagaStuck;

/// And those of the page about Kubernetes' autoscaler.
#[cfg(all(doctest, feature = "manifest"))]
#[doc = include_str!("../docs/autoscaling/hpa.md")]
struct AutoscalingHpa;

/// So is that of the page about tenants.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/tenants.md")]
struct Tenants;

/// And that of the page about degradation.
#[cfg(all(doctest, feature = "tower", feature = "serde"))]
#[doc = include_str!("../docs/degradation.md")]
struct Degradation;
