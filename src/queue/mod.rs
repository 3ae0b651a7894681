//! A durable queue.
mod config;
mod lane;
mod machine;
mod verdict;

#[cfg(feature = "saga")]
mod codec;
#[cfg(feature = "saga")]
mod drain;
#[cfg(feature = "saga")]
mod error;
#[cfg(feature = "saga")]
mod fact;
#[cfg(feature = "saga")]
mod follow;
#[cfg(feature = "saga")]
mod handle;
#[cfg(all(feature = "saga", feature = "http"))]
mod http;
#[cfg(feature = "saga")]
mod layer;
#[cfg(feature = "saga")]
mod replay;
#[cfg(feature = "saga")]
mod store;

#[cfg(feature = "saga")]
pub use codec::{Captured, Codec, Draft, Entry, Receipt};
pub use config::QueueConfig;
#[cfg(feature = "saga")]
pub use drain::Drain;
#[cfg(feature = "saga")]
pub use error::QueueError;
#[cfg(feature = "saga")]
pub use fact::{Body, FORMAT, Fact, Life, Stage};
#[cfg(feature = "saga")]
pub use handle::{Incident, Queue, QueueStatus};
#[cfg(all(feature = "saga", feature = "http"))]
pub use http::{HttpCodec, RequestHead};
pub use lane::{EntryId, Lane};
#[cfg(feature = "saga")]
pub use layer::{QueueLayer, QueueService, ResponseFuture};
pub use machine::{Found, Full, Line, Look, Ruling, Waits};
pub use verdict::{Poison, Verdict};
