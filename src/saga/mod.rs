//! Business transactions that finish: forward, or backward, whatever crashes.
//!
//! A saga is a chain of steps, each of which takes effect somewhere: in a ledger, at a bank, in a mailbox. No database
//! spans them, so there is no rollback; a step that has been done is undone by another effect. The engine runs the
//! steps, writes down what is done, and after a crash goes on from there.
//!
//! | kind | is for | when it fails |
//! |---|---|---|
//! | [`check`](Builder::check) | reading: validation, budgets, limits | what was done is undone |
//! | [`step`](Builder::step) + [`undo`](WithoutUndo::undo) | effects that can be undone | what was done is undone, and this step too if it may have had its effect |
//! | [`pivot`](Builder::pivot) | the point of no return, at most one | as a step while it surely had no effect, else an operator decides |
//! | [`then`](Builder::then) | what must follow | it is tried again until it is done |
//!
//! Use a saga where several systems must agree in the end and none of them can be asked to wait. For one database use
//! its transactions; for a call that may simply be made again use [`retry`](crate::retry).
//!
//! # Example: paying an invoice
//!
//! ```
//! use std::sync::Arc;
//! use mainstay::journal::memory::MemoryJournal;
//! use mainstay::saga::{Cx, DefinitionError, Ended, Saga, Sagas, StepError};
//! use serde::{Deserialize, Serialize};
//!
//! struct Erp { /* clients of the ledger, the bank, the mailer */ }
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Invoice { number: String, minor: i64 }
//! #[derive(Serialize, Deserialize)]
//! struct Budget { left: i64 }
//! #[derive(Serialize, Deserialize)]
//! struct PaymentId(String);
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Posted;
//!
//! async fn check_budget(cx: Cx<Erp, Invoice>, (): ()) -> Result<Budget, StepError> {
//!     let left = 500_000;
//!     if cx.input().minor > left { Err(StepError::fail("over budget")) } else { Ok(Budget { left }) }
//! }
//! async fn create_payment(cx: Cx<Erp, Invoice>, _: Budget) -> Result<PaymentId, StepError> {
//!     // Send `cx.idempotency_key()` along: this may run more than once, and must pay once.
//!     Ok(PaymentId(cx.idempotency_key().to_owned()))
//! }
//! async fn void_payment(cx: Cx<Erp, Invoice>, payment: Option<PaymentId>) -> Result<(), StepError> {
//!     // `None`: the payment may exist, may come late, or may never come. Void it by its key, `cx.undoes()`.
//!     let _by = payment.map(|payment| payment.0).or(cx.undoes().map(str::to_owned));
//!     Ok(())
//! }
//! async fn post_gl_entry(_: Cx<Erp, Invoice>, _: PaymentId) -> Result<Posted, StepError> {
//!     Ok(Posted)
//! }
//! async fn send_notification(_: Cx<Erp, Invoice>, posted: Posted) -> Result<Posted, StepError> {
//!     Ok(posted)
//! }
//!
//! fn pay_invoice() -> Result<Saga<Erp, Invoice, Posted>, DefinitionError> {
//!     Saga::builder("invoice_payment")
//!         .version(1)
//!         .check("check_budget", check_budget)
//!         .step("create_payment", create_payment).undo(void_payment)
//!         .pivot("post_gl", post_gl_entry)
//!         .then("notify", send_notification)
//!         .build()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pay = pay_invoice()?;
//! // `SqliteJournal::open("sagas.sqlite")?` is the journal that survives.
//! let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), Erp {}).register(&pay).start().await?;
//!
//! let handle = sagas.start(&pay, "INV-1", Invoice { number: "INV-1".into(), minor: 129_900 }).await?;
//! assert_eq!(handle.ended().await?, Ended::Completed(Posted));
//!
//! let handle = sagas.start(&pay, "INV-2", Invoice { number: "INV-2".into(), minor: 900_000 }).await?;
//! assert!(matches!(handle.ended().await?, Ended::Compensated { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! # The life of a saga
//!
//! ```text
//!              done            done (last)
//!   start ──▶ FORWARD ─────────────────────────▶ completed
//!              │   ▲ │ halt, pivot in doubt,
//!        fails │   │ │ attempts after the pivot used up
//!  (before the │   │ ▼
//!       pivot) │   └ HELD ───────── abandon ───▶ abandoned
//!              │ retry ▲ │ retry
//!              ▼       │ ▼
//!             UNWINDING ───────────────────────▶ compensated
//!               undone       undone (first)
//! ```
//!
//! There is no arrow from unwinding to forward. The rules are numbered in [`machine`], and so are its tests.
//!
//! # What is written, and what a crash finds
//!
//! A saga costs one durable record for its start, one for each effect, and one for a run of checks that an effect
//! follows. What must be true together is one record: a failure and the decision to unwind, the last step and the end.
//!
//! | crash | the journal says | the next engine |
//! |---|---|---|
//! | before the start is durable | nothing | nothing; `start` had not returned |
//! | after it | started | runs the first step |
//! | while checks run | as before them | runs them again; nothing has depended on them |
//! | before, in or after an effect that is not recorded | the step before it is done | runs the step again, with the same idempotency key; if it fails now, it counts as one that may have had its effect |
//! | after a step is recorded | done | runs the next one |
//! | after a failure, before it is recorded | the step before it is done | runs the failed step again |
//! | after the decision to unwind | failed, unwind | undoes, and never runs forward again |
//! | before, in or after an undo that is not recorded | the undo before it is done | runs the undo again, with the same key |
//! | between two undos | undone | goes on with the next one |
//! | in an incident | incident | waits for the operator |
//! | after the last record, before anybody is told | finished | tells whoever starts the same key |
//!
//! Fewer records would not do. Without a record per effect a crash would repeat effects long past; the start cannot
//! ride with the first effect, since a crash between them would leave an effect that belongs to no saga; a check cannot
//! ride with the effect that depends on it, since the check might answer differently when it runs again. Steps have no
//! record of their beginning: "done" of one says that the next may have begun.
//!
//! # What a step must be
//!
//! - **Idempotent by its key.** It runs at least once. Whoever receives its effect applies
//!   [`Cx::idempotency_key`] once.
//! - **Honest.** [`StepError::Fail`] says "surely no effect" of this attempt; where a receiver remembers keys and refuses
//!   this one, [`StepError::Refused`] says it of every attempt, so that a crash or a lost answer before it leaves no doubt.
//!   When in doubt, `?`.
//! - **Undone by something that copes**: with a step that never came, that happened, and that comes after its undo. A
//!   receiver that remembers the undone key ([`Cx::undoes`]) and refuses it copes with the last.
//!
//! [`testing::Trial`] drives a saga of yours through every one of these and checks what you say must hold.
//!
//! # Incidents
//!
//! Where the engine cannot go on without guessing, the saga is held: an undo that keeps failing, a pivot without an
//! answer, a changed definition, a log that cannot be read. It stays visible in [`Sagas::incidents`], over restarts,
//! until an operator [retries](Sagas::retry) or [abandons](Sagas::abandon) it, by name and with a reason; both are in
//! its history. Other sagas go on.
//!
//! # What others can read
//!
//! Payloads are plain JSON in the journal, for whoever opens it, unless a codec [seals](seal) them; then steps, ends and
//! incidents stay readable, and what they were about does not. [`draw`] shows a definition, or where one saga stands,
//! from names and states alone.
//!
//! # Changing a definition
//!
//! Raise its [version](Builder::version) with every change of the chain, and register the old one beside it until its
//! sagas have ended. A saga whose definition no longer has its [fingerprint](Shape::fingerprint) is held, never guessed
//! at.
//!
//! # Sources
//!
//! H. Garcia-Molina, K. Salem: "Sagas", SIGMOD 1987 (backward, forward and mixed recovery; that compensations themselves
//! may need people). C. Richardson: "Microservices Patterns", 2018, chapter 4 (compensatable, pivot and retriable
//! transactions; countermeasures against missing isolation). That the failed step is undone as well, and that unwinding
//! is itself recorded, answers reports of engines that did neither.

mod action;
mod base64;
mod builder;
mod codec;
mod cx;
mod definition;
mod digest;
pub mod draw;
mod ended;
mod engine;
pub mod entry;
mod error;
mod handle;
mod history;
mod id;
mod key;
pub mod machine;
mod offer;
mod operator;
mod payload;
mod policy;
mod probe;
#[cfg(doctest)]
mod refused;
mod run;
mod sagas;
pub mod seal;
mod sealing;
mod setup;
mod shape;
mod spot;
mod start;
pub mod testing;

pub use action::{Action, Recorded};
pub use builder::{After, Before, Builder, WithoutUndo};
pub use cx::Cx;
pub use definition::Saga;
pub use ended::{Ended, Incident};
pub use error::{DefinitionError, SagaError, StepError};
pub use handle::Handle;
pub use id::SagaId;
pub use key::Key;
pub use payload::{MAX_PAYLOAD, Payload};
pub use policy::{Settings, Step};
pub use sagas::{Drained, Sagas};
pub use setup::SagasBuilder;
pub use shape::{Kind, Shape, StepShape};
