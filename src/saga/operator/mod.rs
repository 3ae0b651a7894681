//! The people who look after sagas: what they see, what they may do, and how it is written down.
//!
//! [`Sagas::operator`] gives one person's view. Everything that is done through it, reading among it, is asked of an
//! [`Authorize`] of yours first, and what that does not allow does not happen. What is decided is a record in the saga's
//! own history, with the actor, the reason, and the approver where there must be one.
//!
//! Use it for whatever lets people in: an administration page, a command line, a chat bot. The methods of [`Sagas`]
//! itself ([`retry`](Sagas::retry), [`abandon`](Sagas::abandon), [`decide`](Sagas::decide), [`cancel`](Sagas::cancel),
//! [`incidents`](Sagas::incidents)) are the program's own word and ask nobody: whoever holds a [`Sagas`] holds the
//! journal, and could write anything. They are for what the program decides by itself, such as "after this deployment,
//! retry".
//!
//! ```text
//!              decide ──▶ Authorize ──▶ denied ──────────────▶ a fact `refused`, an event
//!                            │    └────▶ needs a second ─────▶ a fact `proposed` ──▶ approve ──▶ Authorize
//!                            ▼                                        │ turn down                   │
//!                         granted ─────────────────────────────────── ▼ ────────────────────────────▼
//!                                                              a fact `turned_down`      the facts of the decision
//! ```
//!
//! # Rules
//!
//! 1. What is not granted is denied: so is an answer that does not come, and a need of a second person for anything but
//!    a decision about an incident that is in the log.
//! 2. A decision names the incident that it is about, by its number, and is written where the log ended when it was
//!    checked. Of two operators who decide at once, on whatever instances, one does; the other is told of a conflict or
//!    that the incident is over.
//! 3. A decision that needs a second person is a fact of the saga, so it outlives restarts and is seen by all instances.
//!    It changes nothing until another actor approves it by its number; a later one takes its place, and the end of the
//!    incident ends it. Nobody approves what they proposed: names are compared without the spaces around them and
//!    whatever their case, and what else makes two names one person is for the program to know.
//! 4. Refusals about an open incident are facts, too, one for each actor and operation and at most
//!    [`MOST_REFUSALS`] for an incident; proposals are at most [`MOST_PROPOSALS`]. All others are told as the event
//!    `operator refused`, at most ten in a minute and instance. So somebody without rights fills neither journal nor log.
//! 5. A saga that the actor may not [list](Act::List) is left out of every page. Payloads are shown where the answer to
//!    [`Act::Read`] says so, and are otherwise replaced before anything else is done with them.
//! 6. What is said of many ([`Operator::decide_all`]) is said of each: authorised, checked and recorded one by one, at a
//!    bounded rate.
//!
//! What it is not: it does not know who somebody is. The actor is a name that the program gives, after it has made sure.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use mainstay::journal::{Status, memory::MemoryJournal};
//! use mainstay::saga::entry::Operation;
//! use mainstay::saga::operator::{Act, Authorize, Authorized, Command, Decided, Permission, Request, Search};
//! use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
//!
//! async fn transfer(_: Cx<(), u32>, (): ()) -> Result<u32, StepError> {
//!     Err(StepError::unknown("the line went dead"))
//! }
//!
//! /// Everybody sees and retries; to abandon takes two.
//! struct Rules;
//! impl Authorize for Rules {
//!     fn authorize<'a>(&'a self, request: Request<'a>) -> Authorized<'a> {
//!         Box::pin(async move {
//!             match request.act {
//!                 Act::Decide(Operation::Abandon) => Permission::NeedsSecond,
//!                 Act::List | Act::Read | Act::Decide(Operation::Retry) | Act::Approve(_) => {
//!                     Permission::Granted { payloads: false }
//!                 }
//!                 _ => Permission::default(),
//!             }
//!         })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let payment = Saga::builder("payment").pivot("transfer", transfer).build()?;
//! let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), ()).register(&payment).start().await?;
//! let handle = sagas.start(&payment, "PAY-1", 5).await?;
//! assert!(matches!(handle.ended().await?, Ended::Incident(_)));
//!
//! let ann = sagas.operator(Arc::new(Rules), "ann");
//! let stuck = ann.incidents(&Search::new(Status::Held)).await?;
//! let incident = &stuck.found[0];
//! assert!(incident.operations().contains(&Operation::Abandon));
//!
//! let command = Command::new(Operation::Abandon, incident.number, "settled by hand, voucher 4711");
//! let Decided::Proposed(number) = ann.decide(incident.saga, &command).await? else { panic!("it takes two") };
//! assert!(ann.approve(incident.saga, number).await.is_err(), "not her own");
//!
//! let bob = sagas.operator(Arc::new(Rules), "bob");
//! bob.approve(incident.saga, number).await?;
//! assert!(matches!(handle.ended().await?, Ended::Abandoned { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! J. H. Saltzer, M. D. Schroeder: "The Protection of Information in Computer Systems", 1975 (fail-safe defaults,
//! separation of privilege, complete mediation).

mod audit;
mod authorize;
mod bulk;
mod decide;
mod desk;
mod error;
mod propose;
mod search;
mod story;

pub(in crate::saga) use audit::Audit;
pub use authorize::{Act, Authorize, Authorized, DenyAll, Permission, Request};
pub use bulk::{Sweep, Swept, SweptOne};
pub(in crate::saga) use decide::load;
pub use desk::{Command, Decided, Operator};
pub use error::OperatorError;
pub use propose::{MOST_PROPOSALS, MOST_REFUSALS};
pub use search::{Page, Search, Summary};
pub use story::{Entry, Shown, StepEnd, StepTime, Story};

#[cfg(doc)]
use super::Sagas;
