//! What is known about the components that a service needs.
//!
//! Use it between what is measured and what is decided: single samples, windows of calls, heartbeats and several observers
//! each become a [`Verdict`], and a [ladder](crate::degrade) is told that. Do not decide by a single sample: it fails over a
//! region because one request was slow.
//!
//! ```text
//!  probe ─► sample ──────► Consecutive: so many in a row ──┐
//!  calls ─► ok, took ────► Windowed: share, percentile ────┼─► Verdict ─► Quorum of observers ─► Verdict
//!  heartbeats ───────────► Phi: how late is too late ──────┘     ▲              up, degraded, down, unknown
//!                                                        Tilt: abstains                     ▲ the worst of those that know
//!  breakers, limits, queues, as they are ─────────────────────────────────────────────────────┘
//! ```
//!
//! | you have | use |
//! |---|---|
//! | a probe that answers or does not | [`Consecutive`] |
//! | the calls that are made anyway | [`Windowed`] |
//! | heartbeats | [`Phi`] |
//! | several numbers of one region | [`Score`] |
//! | several observers | [`Quorum`], each behind a [`Tilt`] |
//! | several like members, any of which will do | [`Verdict::of_pool`] |
//! | a breaker, a limit or a queue around it | `Health::follow`; the figures of limits and queues are judged by [`Crowding`] |
//!
//! All of these are plain values that are told what was seen and when; they read no clock. `Health` drives them: it looks at
//! components, takes reports, tells a ladder, and says whether this process is ready; `HealthService` serves that. No data is neither up nor down: where
//! nothing is known the verdict is [`Unknown`](Verdict::Unknown), and what follows from that is whose decision it is.
//!
//! # Example
//!
//! See [`Consecutive`].
//!
//! # Sources
//!
//! The rules stand at the head of each file. Redis Sentinel for the tilt and the quorum; N. Hayashibara and others for phi;
//! Kubernetes' probes for thresholds that differ by direction.

mod consecutive;
mod crowding;
#[cfg(feature = "tower")]
mod driver;
#[cfg(feature = "tower")]
mod follow;
mod phi;
#[cfg(feature = "tower")]
mod probe;
mod quorum;
mod score;
#[cfg(feature = "http")]
mod serve;
mod tilt;
mod verdict;
mod windowed;

pub use consecutive::{Consecutive, ConsecutiveConfig};
pub use crowding::{Crowding, CrowdingConfig, Figures};
#[cfg(feature = "tower")]
pub use driver::{Health, HealthBuilder, Readiness};
#[cfg(feature = "tower")]
pub use follow::{Signal, Source};
pub use phi::Phi;
#[cfg(feature = "tower")]
pub use probe::{Seen, Watch};
pub use quorum::Quorum;
pub use score::{Measured, Score};
#[cfg(feature = "http")]
pub use serve::HealthService;
pub use tilt::Tilt;
pub use verdict::Verdict;
pub use windowed::{Windowed, WindowedConfig};
