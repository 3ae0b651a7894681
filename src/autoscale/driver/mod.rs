//! Observes, decides and applies, again and again: what carries a policy's decisions out.
//!
//! Use it in an operator or a side process that scales a service. Not where Kubernetes' own autoscaler is to decide: two
//! that scale the same target undo each other.
//!
//! ```text
//!   every interval:  Metrics::observe ──► policy ──► Target::apply
//!                         │ fails, or takes too long          │ fails: the next turn says the same again
//!                         ▼                                   ▼
//!                    Missing: hold, a fixed count,       Turn: what was seen, decided and done, and why
//!                    or a raise that is yet to be applied
//! ```
//!
//! Both ends are traits. With the feature `prometheus` there is a pair: `Prometheus` asks a server's queries, `HttpTarget`
//! sends the count to an address, such as the scale of a Kubernetes deployment. With the feature `command`, `CommandTarget`
//! runs a program. One driver must run for a target; hold a lease where several could.
//!
//! Metrics have what each turn saw and wanted and what became of it, under the driver's [name](Driver::name); an event says why
//! replicas change, and when the driver is blind: the table in `src/observe/mod.rs`.
//!
//! # Rules
//!
//! 1. A count is applied when the fleet does not have it. It is absolute, so that to apply it again does no harm.
//! 2. Metrics that fail or do not answer within the patience are missing, and the policy is not asked. What is known of the
//!    fleet then is what was seen last, which somebody may have changed since; nothing is taken away but by a fixed count,
//!    and a raise is asked for again only until it was applied once. Afterwards a policy knows from the gap that it was not
//!    asked.
//! 3. A count that could not be applied is what the next turn asks for again, if that decides so.
//! 4. A dry run applies nothing, and decides as if it did not know.

use std::future::Future;

use tower::BoxError;

use crate::autoscale::Sample;
use crate::time::Timestamp;

mod turn;

#[cfg(feature = "command")]
mod command_target;
#[cfg(feature = "prometheus")]
mod http_target;
#[cfg(feature = "prometheus")]
mod prometheus;

#[cfg(feature = "command")]
pub use command_target::{CommandError, CommandTarget};
#[cfg(feature = "prometheus")]
pub use http_target::HttpTarget;
#[cfg(feature = "prometheus")]
pub use prometheus::Prometheus;
pub use turn::{Applied, Driver, Missing, Turn};

/// Where samples come from.
pub trait Metrics: Send {
    /// Takes a sample. A signal that cannot be had is left out, or [noted](Sample::failed) with why; without the fleet it is
    /// an error.
    ///
    /// # Cancel safety
    ///
    /// It is dropped when it takes longer than the driver's patience, and called again in the next turn.
    fn observe(&mut self, now: Timestamp) -> impl Future<Output = Result<Sample, BoxError>> + Send;
}

/// What is scaled.
pub trait Target: Send {
    /// Asks for so many replicas in all. To ask twice must do no harm.
    ///
    /// # Cancel safety
    ///
    /// As [`Metrics::observe`].
    fn apply(&mut self, replicas: u32) -> impl Future<Output = Result<(), BoxError>> + Send;
}
