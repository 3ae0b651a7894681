//! Drives a saga of yours through every crash, failure and double delivery, and checks what you say must hold.
//!
//! A [`Trial`] runs the saga once undisturbed and notes every place at which a process can die: before and after each
//! journal record, before and after each effect. Then it runs the saga again, in a new world each time,
//!
//! - with a crash at each of these places, and a new engine on the same journal after it;
//! - with each step failing in every way of its kind: surely without effect, without an answer before or after its
//!   effect, once and then not again, once and then after a wait that is written down; and each undo failing once before
//!   or after its effect;
//! - with the saga cancelled during each step and each undo;
//! - with each step and each undo made twice, but for steps that run at most once;
//! - with each of these failures and a crash at every place of that run;
//! - with two crashes, when [asked](Trial::double_crashes).
//!
//! After each run it checks that
//!
//! 1. the saga came to rest, within a bounded number of restarts;
//! 2. its log is legal, and so is every beginning of it: each could have been recovered;
//! 3. no step ran after an undo had begun: the direction never flips;
//! 4. what you say [holds](Trial::holds) does.
//!
//! The first disturbance that breaks a rule is returned as a [`Violation`]. Disturbances are tried from few to many, so
//! it is a shortest one, and it says how to make it happen again.
//!
//! `App` stands for the outside world here: it outlives the crashes. Run trials with tokio's clock paused, so that no
//! backoff is waited for.
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

mod fault;
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
