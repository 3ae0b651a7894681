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
//! How a component is looked at is a `Probe`: a function of your own, or one for a protocol.
//!
//! | it speaks | look by | feature |
//! |---|---|---|
//! | HTTP | `HttpProbe`, over any tower client or a reqwest client; what is good is [`Expected`] | `http`, `reqwest` |
//! | gRPC | `GrpcProbe`, by the health protocol | `grpc` |
//! | anything over TCP | `TcpProbe`: that it accepts | `http` |
//! | PostgreSQL | `PostgresProbe`, through a pool | `postgres` |
//! | SQLite | `SqliteProbe`, of a file | `sqlite` |
//!
//! A look may say why a component is not well: [`Why`] has nothing in it of what was answered but a number of the protocol.
//!
//! All of these are plain values that are told what was seen and when; they read no clock. `Health` drives them: it looks at
//! components, takes reports, tells a ladder, and says whether this process is ready; `HealthService` serves that over HTTP, `GrpcHealthService` over gRPC. No data is neither up nor down: where
//! nothing is known the verdict is [`Unknown`](Verdict::Unknown), and what follows from that is whose decision it is.
//!
//! # Example
//!
//! See [`Consecutive`].
//!
//! # Sources
//!
//! The rules stand at the head of each file. Redis Sentinel for the tilt and the quorum; N. Hayashibara and others for phi;
//! Kubernetes' probes for thresholds that differ by direction. The gRPC health checking protocol for `GrpcProbe` and
//! `GrpcHealthService`.

#[cfg(feature = "tower")]
mod builder;
mod consecutive;
mod crowding;
#[cfg(feature = "tower")]
mod driver;
mod expected;
#[cfg(feature = "tower")]
mod follow;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "tower")]
mod known;
mod phi;
#[cfg(feature = "tower")]
mod probe;
mod quorum;
#[cfg(feature = "tower")]
mod readiness;
mod sample;
mod score;
#[cfg(feature = "http")]
mod serve;
mod serving;
mod tilt;
mod verdict;
mod windowed;

#[cfg(feature = "tower")]
pub use builder::HealthBuilder;
pub use consecutive::{Consecutive, ConsecutiveConfig};
pub use crowding::{Crowding, CrowdingConfig, Figures};
#[cfg(feature = "tower")]
pub use driver::Health;
pub use expected::Expected;
#[cfg(feature = "tower")]
pub use follow::{Signal, Source};
#[cfg(feature = "grpc")]
pub use grpc::GrpcHealthService;
pub use phi::Phi;
#[cfg(feature = "grpc")]
pub use probe::grpc::GrpcProbe;
#[cfg(feature = "http")]
pub use probe::http::HttpProbe;
#[cfg(feature = "postgres")]
pub use probe::postgres::PostgresProbe;
#[cfg(feature = "sqlite")]
pub use probe::sqlite::SqliteProbe;
#[cfg(feature = "http")]
pub use probe::tcp::TcpProbe;
#[cfg(feature = "tower")]
pub use probe::{Probe, Seen, Watch};
pub use quorum::Quorum;
#[cfg(feature = "tower")]
pub use readiness::Readiness;
pub use sample::{Sample, Why};
pub use score::{Measured, Score};
#[cfg(feature = "http")]
pub use serve::HealthService;
pub use serving::Serving;
pub use tilt::Tilt;
pub use verdict::Verdict;
pub use windowed::{Windowed, WindowedConfig};
