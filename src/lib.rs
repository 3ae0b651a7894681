//! Resilience for Rust services: what keeps an ERP up while the services it calls are not.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod breaker;
pub mod context;
pub mod deadline;
pub mod error;
pub mod num;
pub mod outcome;
pub mod presets;
pub mod retry;
pub mod rng;
pub mod time;

mod window;

#[cfg(feature = "tower")]
pub mod reject;
#[cfg(feature = "tower")]
pub mod rt;
#[cfg(feature = "tower")]
pub mod scope;
#[cfg(feature = "tower")]
pub mod standard;

#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "reqwest")]
pub mod reqwest;

#[cfg(feature = "tower")]
mod observe;

pub use error::{ConfigError, Rejected};
pub use outcome::{Classify, Outcome};
