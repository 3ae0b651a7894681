//! How degraded the system is, and what may still be served.
//!
//! Use it where a service is made of parts that fail by themselves, and half of it is worth more than none: AI is gone,
//! so invoices are typed in by hand; the primary is down, so the books can be read and what is posted is done later. A
//! *ladder* says it as data: named levels from best to worst, what is served of each capability at each, and the facts
//! that lead there.
//!
//! Do not use it for one callee that fails: a [breaker](crate::breaker) and a [fallback](crate::fallback) stand nearer.
//! Nor to start a failover or to scale: those are started by whoever [listens](Change), never inside an assessment.
//!
//! ```text
//!  gpu_cluster ───────┐
//!  database_primary ──┤ readings      facts              level, for people: the worst
//!  database_replicas ─┼────────► come at once ──────────► 3 "database degraded"
//!  event_store ───────┤          go after a calm
//!  vector_db ─────────┘              │                   what is served, for callers: the meet
//!                                    └──────────────────► inference: disabled, reports: disabled, ...
//! ```
//!
//! # The level is for people
//!
//! The worst level is not the most restrictive one for every capability. Where level 2 disables inference and level 3 only
//! limits it, with both the GPU cluster and a replica down a table by level would bring inference back. So what is served
//! is decided for each capability by itself: the meet of its modes over *all facts that hold*, by the table of
//! [`Mode`]. A condition says only what is wrong ([`When`] has no "not"), so another failure never brings anything back.
//!
//! # What can be set
//!
//! | question | where | default |
//! |---|---|---|
//! | what is served at a level? | [`Level::cell`], [`Level::ours`] | everything |
//! | do the cells of better levels hold at worse ones? | [`LadderBuilder::cumulative`] | no |
//! | what leads to a level? | [`Fact`]; [`LadderBuilder::band`] for the weighted score | nothing |
//! | how does a fact come and go? | [`Pace`] | at once; 30 s at least, after 30 s of calm; four in 10 min ask for 5 min of calm |
//! | what is a score of a component? | [`Component::degraded_at`], [`Component::down_at`] | half, a tenth |
//! | what does a component count as while nothing is known? | [`Component::unknown`] | what was known last |
//!
//! With the feature `serde` all of it can stand in a file of settings, or in one of its own: see [the keys](#a-ladder-in-a-file).
//!
//! An operator [pins](Degradation::pin) a level or a capability, with a name, a reason and an end.
//!
//! # Example
//!
//! See [`Degradation`], a plain value that is told what is known and when, and [`Ladder`]. Two ladders of real platforms
//! are presets: [`erp::degradation`](crate::presets::erp::degradation) by failed component, and
//! [`synthetic::degradation`](crate::presets::synthetic::degradation) by weighted score.
//!
//! # A ladder in a file
//!
//! ```
//! use mainstay::degrade::{Kind, Ladder, Reading};
//! use mainstay::health::Verdict;
//!
//! let ladder: Ladder = toml::from_str(r#"
//!     name = "shop"
//!     components = ["gpu", { name = "database", weight = 3, unknown = { after = "2m", as = "degraded" } }]
//!     levels = [
//!       { name = "everything" },
//!       { name = "no pictures", cells = { pictures = "disabled" } },
//!       { name = "looking only", cells = { orders = "queued", prices = { limited = "as of this morning" } } },
//!     ]
//!     bands = [{ level = "no pictures", score = "70%", margin = "5%" }]
//!     facts = [
//!       { name = "no GPU", when = { down = "gpu" }, level = "no pictures", pace = { better_after = "2m" } },
//!       { name = "no database", when = { down = "database" }, level = "looking only" },
//!     ]
//! "#)?;
//! let now = ladder.assess([("database", Reading::from(Verdict::Down))]);
//! assert_eq!(now.mode("orders").map(|mode| mode.kind()), Some(Kind::Queued));
//!
//! let misspelt = toml::from_str::<Ladder>("name = 'l'\nlevels = [{ name = '0', cell = {} }]").unwrap_err();
//! assert_eq!(misspelt.message(), "levels[0].cell: expected one of the keys name, action, cells, ours, got an empty table");
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! Every key, its range and its default is in the tables of `settings`, where `ladders` holds those of a service and
//! `Live::ladder` replaces one that runs. Both presets exist as files as well: `src/presets/erp_ladder.toml` and
//! `src/presets/synthetic_ladder.toml`.
//!
//! # Sources
//!
//! Envoy's overload manager and its scaled triggers; the prioritised load shedding of Netflix and of Meta; G. Birkhoff for
//! the meet. The rules are those of `degrade/machine.rs`.

mod builder;
mod change;
#[cfg(feature = "tower")]
mod gate;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod inbox;
mod ladder;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod mode;
mod pace;
mod parts;
mod reading;
#[cfg(feature = "serde")]
mod settings;
mod when;

pub use crate::order::Order;
pub use builder::LadderBuilder;
pub use change::{At, Cause, Change, Moved};
#[cfg(feature = "tower")]
pub use gate::{Access, Accesses, Gate};
#[cfg(feature = "tower")]
pub(crate) use handle::Teller;
#[cfg(feature = "tower")]
pub use handle::{Degrade, Status};
#[cfg(feature = "tower")]
pub use inbox::Changes;
pub use ladder::{Assessment, Ladder};
#[cfg(feature = "tower")]
pub use layer::{GateLayer, GateService, ResponseFuture};
pub use machine::Degradation;
pub use mode::{Kind, Mode, Notes};
pub use pace::Pace;
pub use parts::{Cell, Component, Fact, Level, Unknown};
pub use reading::Reading;
pub use when::When;
