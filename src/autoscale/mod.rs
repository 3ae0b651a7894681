//! How many replicas should run: decisions, not doing.
//!
//! Every policy here is a pure function of settings, state and one sample. It returns the wanted count, the new state
//! and the whole [reasoning], so that a dry run is the same call with the result thrown away.
//!
//! | you want | look at |
//! |---|---|
//! | what a Kubernetes `HorizontalPodAutoscaler` would do, from its own manifest | [`hpa`] |
//! | replicas that take minutes to start, as model servers on GPUs do | [`gpu`] |
//! | replicas that are up in seconds, and from zero | [`knative`] |
//! | to bring a signal to its target | [`tracking`] |
//! | what a table of thresholds says | [`threshold`] |
//! | more at certain hours | [`schedule`] |
//! | cheap machines that may be taken away | [`spot`] |
//! | to be ready before the load of every day comes | [`forecast`] |
//! | to know which policy with which settings costs how much | [`simulate`] |
//! | it carried out, again and again | `driver` (feature `tower`) |
//! | to read, keep and print why a decision came out as it did | [`reasoning`] |
//!
//! ```text
//!   Fleet ────┐                                  ┌─► target: an absolute count
//!   readings ─┼─► Sample ─► Autoscaler::decide ──┤
//!   now ──────┘                  ▲    │          └─► why: a Reasoning
//!                                └────┘ state
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::autoscale::gpu::{Gpu, GpuConfig};
//! use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, Reading, Sample, Signal};
//! use mainstay::num::Period;
//! use mainstay::time::Timestamp;
//!
//! let config = GpuConfig::new(Bounds::between(4, 20), Amount::of(10), Period::secs(300));
//! let mut gpu = Gpu::new(config);
//! let now = Timestamp::from_millis(0);
//! let sample = Sample::new(Fleet::new(4))
//!     .measured(Signal::Rate, Reading::new(60.0, now))
//!     .measured(Signal::Backlog, Reading::new(0.0, now));
//! let dry = gpu.clone().decide(&sample, now); // nothing has happened
//! let decision = gpu.decide(&sample, now);
//! assert_eq!(dry, decision);
//! assert!(decision.target() >= 6);
//! println!("{}", decision.why());
//! ```
//!
//! # Time
//!
//! State outlives processes, so all times here are of the wall clock ([`Timestamp`](crate::time::Timestamp)). Should it
//! step back, waits last longer by as much and never shorter.

#[cfg(feature = "tower")]
pub mod driver;
pub mod forecast;
pub mod gpu;
pub mod hpa;
pub mod knative;
pub mod reasoning;
pub mod schedule;
pub mod simulate;
pub mod spot;
pub mod threshold;
pub mod tracking;

mod pace;
mod sample;
#[cfg(feature = "serde")]
mod settings;
mod words;

pub use pace::PaceState;
pub use sample::{Fleet, Reading, Sample, Signal};
pub use words::{Amount, Autoscaler, Bounds, Decision};
