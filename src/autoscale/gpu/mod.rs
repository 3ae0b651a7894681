//! Replicas that take minutes to start and cost much: model servers on GPUs.
//!
//! Use it where a replica needs so long to warm up that a policy which looks at the present alone orders twice, and where
//! an idle replica is expensive enough to be counted. It orders for the time at which a replica ordered now will serve,
//! counts what is already starting with its age, and takes nothing away unless it could do without it for as long as a
//! new one takes. Not for replicas that start in a second: [`knative`](crate::autoscale::knative) is simpler there.
//!
//! ```text
//!   rate ──► level, trend, base ──► load × surge ──┐
//!                       base × headroom ───────────┤ the greatest
//!                       expected × surge ──────────┤     +     what the backlog will still be ÷ drain
//!   backlog, ready, starting ──► simulated until a new one is ready ────┘        │
//!                                                                                ▼
//!             grows at once ◄── more than ordered? ── count ── fewer for a whole hold? ──► shrinks:
//!                                                                   the flap budget allows it, n−1 was simulated
//! ```
//!
//! [`Documented`] is the decision as the platform's own document has it, with its defects mended, for comparison.
//!
//! # What can be set
//!
//! | question | [`GpuConfig`] | default |
//! |---|---|---|
//! | between which counts? | [`new`](GpuConfig::new) | none |
//! | how much does one replica serve? | [`new`](GpuConfig::new) | none |
//! | how long does one take to start? | [`new`](GpuConfig::new) | none |
//! | how much more than usual is kept ready? | [`headroom`](GpuConfig::headroom) | 1.2 times |
//! | how much more than now? | [`surge`](GpuConfig::surge) | 1.1 times |
//! | what is kept for tenants with reserved capacity? | [`reserve`](GpuConfig::reserve) | nothing |
//! | in which time is a backlog worked off? | [`drain`](GpuConfig::drain) | 60 s |
//! | how many more than a whole replica must be idle? | [`band`](GpuConfig::band) | 0.2 |
//! | for how long? | [`hold`](GpuConfig::hold) | 10 min |
//! | how often may it turn? | [`flap`](GpuConfig::flap) | from more to fewer every 2 h |
//! | how old may a reading be? | [`stale`](GpuConfig::stale) | 60 s |
//!
//! # What it costs and saves
//!
//! `docs/autoscaling.md` has curves of GPU hours against long waits, beside those of the Kubernetes autoscaler, Knative's
//! and the document's. Against bursts that nobody can foresee and that are over when a new replica is ready, nothing that
//! reacts is better than capacity that is already there: set [`headroom`](GpuConfig::headroom) for them.

mod config;
mod documented;
mod machine;
mod project;
mod state;

pub use config::GpuConfig;
pub use documented::{Documented, DocumentedConfig, DocumentedState};
pub use machine::Gpu;
pub use state::GpuState;
