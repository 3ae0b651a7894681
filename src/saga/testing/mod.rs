//! Drives a saga of yours through every crash, failure and double delivery, and checks what you say must hold.
//!
//! For every saga that moves money or goods, in its own tests: what is wrong in an undo shows itself in production only
//! on the day on which something else is wrong as well. Not for what a step does inside, which is a test of that step,
//! nor for a store of your own, which has [`journal::contract`](crate::journal::contract).
//!
//! A [`Trial`] runs the saga once undisturbed and notes every place at which a process can die: before and after each
//! journal record, before and after each effect. Then it runs the saga again, in a new world each time,
//!
//! - with a crash at each of these places, and a new engine on the same journal after it;
//! - with a *stale instance* at each of these places: the process is stopped, its lease ends, another instance takes the
//!   saga over and ends it, and the first one wakes and goes on with what it was about to do;
//! - with each step failing in every way of its kind ([`Fault`]): surely without effect, refused for good, without an
//!   answer before or after its effect, by a panic, once and then not again, once and then after a wait that is written
//!   down, always, and for an operator; and each undo failing in these ways, but not for ever;
//! - with the saga cancelled during each step and each undo;
//! - with each step and each undo made twice, but for steps that run at most once;
//! - with each of these failures, and a crash or a stale instance at every place of that run;
//! - with two crashes, when [asked](Trial::double_crashes).
//!
//! ```text
//!   world ── step, undo ──▶ what you say holds
//!     ▲                          ▲
//!  process 1 ╳ crash        after each run
//!  process 2 ── takes over ──────┘
//!     ▲  ▲
//!   journal, which outlives them both
//! ```
//!
//! After each run it checks that
//!
//! 1. the saga came to rest, within a bounded number of restarts, places and seconds: a trial does not hang;
//! 2. its log is legal, and so is every beginning of it: each could have been recovered;
//! 3. no step ran after an undo had begun: the direction never flips;
//! 4. a step that was made to fail is the one that failed, so that an input that never gets there is noticed;
//! 5. both instances tell the same end, where there were two;
//! 6. what you say [holds](Trial::holds) does.
//!
//! The first disturbance that breaks a rule is returned as a [`Violation`]. Disturbances are tried from few faults to
//! many, so it is a shortest one. It says in words what was done and what the run passed, and its last line repeats it:
//! in the environment of the test (`MAINSTAY_TRIAL="crash 3" cargo test orders`), or with [`Trial::replay`].
//!
//! Parts of it run alone: [`fail_at_each_step`](Trial::fail_at_each_step),
//! [`unknown_at_each_step`](Trial::unknown_at_each_step), [`each_step_twice`](Trial::each_step_twice),
//! [`crash_at_each_place`](Trial::crash_at_each_place), [`stall_at_each_place`](Trial::stall_at_each_place).
//!
//! `App` stands for the outside world here: it outlives the crashes, and is shared by both instances. Run trials with
//! tokio's clock paused, so that no backoff is waited for. A saga of five steps takes some thousands of runs, which in
//! memory are a few seconds.
//!
//! A saga that is [migrated](crate::saga::migration) while it is under way has a trial of its own kind:
//! [`Trial::migrating_from`] begins it with the old definition, lets the process die, or stops it, at each place, and
//! carries it on with a program that has only the new one. Of every such run the log must be legal in both forms, and what
//! you say must hold. `docs/instances.md` has an example.
//!
//! A stale instance finds what a crash does not: a receiver that was asked whether it has seen a call, said no, and gets
//! the call afterwards. A receiver that keeps keys and what was undone copes with that, and so does one that refuses a
//! [fencing token](crate::saga::Cx::fencing_token) older than the newest it has seen. Turn it
//! [off](Trial::stale_instances) for what never runs in two processes.
//!
//! # Example
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::sync::Mutex;
//! use mainstay::saga::testing::Trial;
//! use mainstay::saga::{Cx, DefinitionError, Ended, Saga, StepError};
//!
//! /// A warehouse that applies a key once, and refuses what was cancelled.
//! #[derive(Default)]
//! struct Warehouse { reserved: Mutex<BTreeSet<String>>, cancelled: Mutex<BTreeSet<String>> }
//!
//! async fn reserve(cx: Cx<Warehouse, u32>, (): ()) -> Result<(), StepError> {
//!     let key = cx.idempotency_key().to_owned();
//!     if cx.app().cancelled.lock().unwrap().contains(&key) {
//!         return Err(StepError::fail("cancelled"));
//!     }
//!     cx.app().reserved.lock().unwrap().insert(key);
//!     Ok(())
//! }
//!
//! async fn release(cx: Cx<Warehouse, u32>, _: Option<()>) -> Result<(), StepError> {
//!     let key = cx.undoes().unwrap_or_default();
//!     cx.app().cancelled.lock().unwrap().insert(key.to_owned());
//!     cx.app().reserved.lock().unwrap().remove(key);
//!     Ok(())
//! }
//!
//! async fn ship(_cx: Cx<Warehouse, u32>, (): ()) -> Result<(), StepError> {
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let order = Saga::builder("order").step("reserve", reserve).undo(release).pivot("ship", ship).build()?;
//! let survey = Trial::new(&order, 7, Warehouse::default)
//!     .holds(|warehouse, ended| {
//!         let reserved = warehouse.reserved.lock().unwrap().len();
//!         let expected = match ended {
//!             Ended::Completed(()) | Ended::Incident(_) => 1,
//!             _ => 0,
//!         };
//!         if reserved == expected { Ok(()) } else { Err(format!("{reserved} reserved")) }
//!     })
//!     .run()
//!     .await?;
//! assert!(survey.runs > 50);
//! # Ok(())
//! # }
//! ```
//!
//! # What a violation looks like
//!
//! An undo that trusts the output of its step, and does nothing where there is none:
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::sync::Mutex;
//! use mainstay::saga::testing::Trial;
//! use mainstay::saga::{Cx, Ended, Saga, StepError};
//!
//! type Warehouse = Mutex<BTreeSet<String>>;
//!
//! async fn reserve(cx: Cx<Warehouse, u32>, (): ()) -> Result<String, StepError> {
//!     let key = cx.idempotency_key().to_owned();
//!     cx.app().lock().unwrap().insert(key.clone());
//!     Ok(key)
//! }
//!
//! async fn release(cx: Cx<Warehouse, u32>, reserved: Option<String>) -> Result<(), StepError> {
//!     // Wrong: without an output the step may have had its effect all the same.
//!     if let Some(key) = reserved {
//!         cx.app().lock().unwrap().remove(&key);
//!     }
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let order = Saga::builder("order").step("reserve", reserve).undo(release).build()?;
//! let violation = Trial::new(&order, 7, Warehouse::default)
//!     .holds(|warehouse, ended| match (warehouse.lock().unwrap().len(), ended) {
//!         (left, Ended::Compensated { .. }) if left > 0 => Err(format!("{left} still reserved")),
//!         _ => Ok(()),
//!     })
//!     .run()
//!     .await
//!     .unwrap_err();
//! assert_eq!(violation.to_string(), r#"1 still reserved
//!   when: step reserve does its work and ends without an answer
//!      0 before a record
//!      1 after a record
//!      2 before step reserve
//!      3 after step reserve
//!      4 before a record
//!      5 after a record
//!      6 before the undo of reserve
//!      7 after the undo of reserve
//!      8 before a record
//!      9 after a record
//!   again: MAINSTAY_TRIAL="step reserve=unknown_after""#);
//! # Ok(())
//! # }
//! ```

mod fault;
mod former;
mod life;
mod line;
mod meddler;
mod schedule;
mod trial;
mod violation;

pub use fault::{Disturbance, Fault};
pub use schedule::NotASchedule;
pub use trial::{Opener, Survey, Trial};
pub use violation::Violation;
