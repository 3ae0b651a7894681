//! What a policy would have cost, and whom it would have kept waiting: replays of a trace of arrivals.
//!
//! Use it before a policy or its settings change, with a trace of one's own; and to see what the policies here are worth,
//! side by side. It is a model: requests are all alike and wait in one line, replicas serve at a constant rate, and nobody
//! gives up. What it says about waits is right for queues and silent about everything else.
//!
//! ```text
//!   Trace ──► arrivals a second ─┐
//!   World ──► capacity, warm-up ─┼─► a second at a time ──► Outcome: replica hours, waits, turns ──► Curve ──► Chart
//!   policy ◄── a Sample every 15 s ─┘        ▲
//!      └────── an absolute count ────────────┘
//! ```
//!
//! # Which of two policies is better?
//!
//! Not the one that costs less, nor the one under which fewer wait: each policy can be had at either end by its headroom.
//! [`Curve`] holds the outcomes over a sweep of it, and [`Curve::at`] says what a policy costs where so many wait.
//!
//! # Example
//!
//! ```
//! use mainstay::autoscale::gpu::{Gpu, GpuConfig};
//! use mainstay::autoscale::simulate::{Shape, Trace, World};
//! use mainstay::autoscale::{Amount, Bounds};
//! use mainstay::num::Period;
//!
//! let world = World::new(Amount::of(10), Period::secs(300));
//! let trace = Trace::generated(Shape::Diurnal, 1, 7);
//! let mut gpu = Gpu::new(GpuConfig::new(Bounds::between(1, 50), Amount::of(10), Period::secs(300)));
//! let outcome = world.run(&trace, &mut gpu);
//! assert!(outcome.long_share() < 0.01);
//! assert!(outcome.turns_an_hour() <= 1.0);
//! ```

mod chart;
mod csv;
mod curve;
mod outcome;
mod shape;
mod trace;
mod world;

pub use chart::Chart;
pub use csv::NotATrace;
pub use curve::Curve;
pub use outcome::{Moment, Outcome};
pub use shape::Shape;
pub use trace::Trace;
pub use world::World;
