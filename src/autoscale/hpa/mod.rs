//! What a Kubernetes `HorizontalPodAutoscaler` decides, as pure functions.
//!
//! Use it to run the rules of `autoscaling/v2` where there is no Kubernetes; to say what a cluster's autoscaler will do
//! with a manifest before it is applied; to replay a year of metrics in a second; and as the measure of any other policy.
//! Not as a policy for GPUs that take minutes to start: it does not count what is already starting twice over, but it does
//! not look ahead either.
//!
//! ```text
//!   manifest ──► Hpa ─┐                     ┌─ each metric ─► count ┐
//!   State ────────────┼─► decide(…, now) ───┤                       ├─► largest ─► windows ─► limits ─► Decision
//!   Observation ──────┘                     └─ or why there is none ┘                                  │   │   │
//!     pods, readings                                                         replicas, conditions ◄────┘   │   │
//!                                                                            the whole reasoning  ◄────────┘   │
//!                                                                            the next State       ◄────────────┘
//! ```
//!
//! # Example: the documents' finance service
//!
//! ```
//! use mainstay::autoscale::hpa::{Container, Manifest, Observation, Pod, Reading, Sample, State};
//! use mainstay::time::Timestamp;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manifest = Manifest::from_yaml(include_str!(concat!(
//!     env!("CARGO_MANIFEST_DIR"),
//!     "/tests/manifests/finance-service.yaml"
//! )))?;
//! let hpa = manifest.hpa();
//!
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let long_ago = Timestamp::from_millis(0);
//! let pods: Vec<_> = (0..4)
//!     .map(|i| {
//!         let app = Container::new("app").request("cpu", 1_000);
//!         Pod::new(format!("finance-{i}")).started(long_ago).ready(true, long_ago).container(app)
//!     })
//!     .collect();
//! let sample = |pod: &Pod, milli| Sample::new(pod.name(), milli, now, 15);
//! let cpu: Vec<_> = pods.iter().map(|pod| sample(pod, 900)).collect();
//! let queue: Vec<_> = pods.iter().map(|pod| sample(pod, 40_000)).collect();
//!
//! let readings = [Reading::Pods(&cpu), Reading::Pods(&queue)];
//! let seen = Observation::new(4).pods(&pods).readings(&readings);
//! let decision = hpa.decide(State::empty(), &seen, now);
//! assert_eq!(decision.replicas(), 6); // 90 % of 70 % asks for 6, and 2 pods a minute may be added
//! # Ok(())
//! # }
//! ```
//!
//! # Where the rules stand
//!
//! | question | rules at the head of |
//! |---|---|
//! | which pods count? | `classify.rs` |
//! | what does one metric ask for? | `replicas.rs` |
//! | what do windows hold? | `history.rs` |
//! | how far and fast may it move? | `rules.rs`, `limit.rs` |
//! | the whole | `decide.rs` |
//! | which manifests are refused? | `manifest/` |
//!
//! # Where it differs from Kubernetes
//!
//! Nowhere that a cluster shows, as far as is known; `docs/autoscaling/hpa.md` has the list of corners.
//!
//! # Sources
//!
//! `pkg/controller/podautoscaler` of Kubernetes 1.33 and later (`horizontal.go`, `replica_calculator.go`) and its tests;
//! the defaults and the validation of `autoscaling/v2`; KEP-853 (behaviour), KEP-4951 (tolerance), KEP-2021 (zero),
//! KEP-5679 (fallback), KEP-2837 (requests of pods). Read for what they do; none of their code is here.

mod classify;
mod condition;
mod config;
mod decide;
mod history;
mod limit;
#[cfg(feature = "serde")]
mod manifest;
mod metric;
mod pod;
mod quantity;
mod replicas;
mod rules;
mod state;

pub use classify::{Class, Classes, Timing, classify};
pub use condition::{Condition, Conditions, Reason};
pub use config::{Controller, FromZero, Hpa};
pub use decide::{Decision, Observation, Outcome, Reading};
pub use history::{
    Recommendation, ScaleEvent, change_within, record_scale_event, stabilize,
    stabilize_with_behavior,
};
pub use limit::{Bounds, Events, Growth, clamp};
#[cfg(feature = "serde")]
pub use manifest::Manifest;
pub use metric::{Fallback, Metric, MetricError, ObjectRef, Requirement, Selector, Source, Target};
pub use pod::{Container, Phase, Pod, Sample, pod_usage};
pub use quantity::{NotAQuantity, Quantity};
pub use replicas::{PodMetric, Proposal, Tally, Utilization, by_total, by_total_average, sum};
pub use rules::{Behavior, Direction, Policy, PolicyKind, Rules, Select, Tolerance, Tolerances};
pub use state::State;
