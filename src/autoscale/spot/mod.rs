//! Machines that are cheap because they may be taken away: how many, which, for how much, for whom, and what to do when
//! one goes.
//!
//! Use it beside an autoscaler: that says how many replicas there should be, and this how they are had. Not for what must
//! not be interrupted and cannot be repeated.
//!
//! ```text
//!   target ──► Mix::split ──► on demand (floor) ─────────────────────────────┐
//!                     └─────► spot ──► Budget::afford ──► Market::place ──►  │  offers under the cap, spread
//!                                                             └── what finds none ──► on demand, if that is wished
//!   a warning ──► Preemption::plan ──► each job: checkpoint or emergency save, then queued anew elsewhere
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::autoscale::spot::{Budget, Mix};
//! use mainstay::presets::synthetic;
//!
//! // Ten nodes: three on demand at least, and three in ten.
//! let split = synthetic::gpu_mix().split(10);
//! assert_eq!((split.on_demand(), split.spot()), (3, 7));
//!
//! // 100 left for 10 hours: 10 an hour. On demand 2 each and spot 1 each come to 13, so spot shrinks until 9 are left.
//! let afforded = Budget::new(100.0, 10.0).afford(split, 2.0, 1.0);
//! assert_eq!((afforded.on_demand(), afforded.spot()), (3, 3));
//! ```

mod market;
mod mix;
mod preempt;

pub use market::{Market, Offer, Placement};
pub use mix::{Budget, Class, Mix, Pool, Split};
pub use preempt::{Job, Plan, Preemption, Rescue, Urgency};
