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
//! What a step can be told beside its function:
//!
//! | setting | says |
//! |---|---|
//! | [`Step::attempts`], [`backoff`](Step::backoff), [`timeout`](Step::timeout), [`deadline`](Step::deadline) | how often, how far apart and how long it is tried |
//! | [`reconcile`](WithoutUndo::reconcile) | how to find out whether it had its effect |
//! | [`at_most_once`](Step::at_most_once) | that its receiver knows no keys |
//! | [`key_valid_for`](Step::key_valid_for) | how long its receiver remembers them |
//! | [`Builder::deadline`] | how long the saga may take until its pivot is done |
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
//! A step that runs [at most once](Step::at_most_once) costs one record more, its intent; a wait of a second or more
//! between attempts, an answer to a [wish to cancel](Sagas::cancel), and each run of a saga over which processes died,
//! one each. Nothing else is written: what runs, attempts in quick succession, and questions about a step are not.
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
//! | before the intent of a step that runs at most once | the step before it is done | writes the intent and runs the step: it surely never ran |
//! | after the intent, before the step's end is recorded | intent | does not run the step: asks [`reconcile`](WithoutUndo::reconcile), or undoes it with `None`, or holds it from the pivot on |
//! | while a step is asked whether it had its effect | as before it | asks again, or runs the step again if it may |
//! | in a wait between attempts that is not written down (under 1 s) | the step before it is done | runs the step again, and counts its attempts anew |
//! | in a wait that is | retry at | waits for the rest, and goes on counting; from 30 s on the saga is parked, and nobody has it in memory |
//! | later than the receiver remembers the key | the step before it is done, long ago | does not run the step: as after an intent |
//! | after a wish to cancel was posted, before it is answered | the wish, beside the records | reads it before anything else is done |
//! | after it is answered | cancelled, unwind; or cancel refused | undoes; or goes on |
//! | again and again while one saga runs | suspected | runs it once more, alone among the suspected; after [so many](SagasBuilder::crash_limit) times an operator must look |
//! | before a saga is [carried over](migration) to another version | as it was | carries it over |
//! | after that is recorded | migrated, and what was so in the new form | goes on in the new form |
//! | in an incident | incident | waits for the operator; wishes to cancel wait too |
//! | after the last record, before anybody is told | finished | tells whoever starts the same key |
//!
//! Fewer records would not do. Without a record per effect a crash would repeat effects long past; the start cannot
//! ride with the first effect, since a crash between them would leave an effect that belongs to no saga; a check cannot
//! ride with the effect that depends on it, since the check might answer differently when it runs again (it does ride
//! where effect and record are [one transaction](tx)). Steps have no
//! record of their beginning: "done" of one says that the next may have begun.
//!
//! # What a step must be
//!
//! - **Idempotent by its key.** It runs at least once. Whoever receives its effect applies
//!   [`Cx::idempotency_key`] once. A [`TxStep`](tx) needs none of it.
//! - **Honest.** [`StepError::Fail`] says "surely no effect" of this attempt; where a receiver remembers keys and refuses
//!   this one, [`StepError::Refused`] says it of every attempt, so that a crash or a lost answer before it leaves no doubt.
//!   When in doubt, `?`.
//! - **Undone by something that copes**: with a step that never came, that happened, and that comes after its undo. A
//!   receiver that remembers the undone key ([`Cx::undoes`]) and refuses it copes with the last.
//!
//! [`testing::Trial`] drives a saga of yours through every one of these and checks what you say must hold.
//!
//! A step whose effect is in the journal's own database can have its record in the same transaction, and then happens
//! exactly once: [`tx`]. A receiver with a database of its own does its part with [`effect_guard`](crate::effect_guard). `docs/saga/steps.md`
//! says the rest: which error to return, what an undo meets, and what to do about others who look at the data meanwhile.
//!
//! # Running many instances
//!
//! Any number of engines share a journal, each under a [lease]. A killed instance's sagas continue elsewhere when
//! its lease is over ([15 s](SagasBuilder::lease) after its last word, plus a [poll](SagasBuilder::poll)), those of one
//! that [shuts down](Sagas::shutdown) at once. Each takes up only definitions and versions that it knows, so that
//! versions are rolled out one instance at a time. A start of a key that another instance carries on gives a handle
//! that waits for that end. `docs/instances.md` says what clocks matter, what an instance that was paused can still do,
//! and what a receiver makes of [`Cx::fencing_token`].
//!
//! # Incidents
//!
//! Where the engine cannot go on without guessing, the saga is held: an undo that keeps failing, a pivot without an
//! answer, a changed definition, a log that cannot be read, a saga over which one process after the other dies. It stays
//! visible in [`Sagas::incidents`], over restarts, until an operator [decides](Sagas::decide), by name and with a reason;
//! both are in its history. People decide through an [operator]'s view, which asks who may do what, denies by default,
//! and takes two of them where that is wanted; they search, read histories without payloads, and decide about a whole
//! class of incidents. What can be decided depends on where it stopped ([`Incident::operations`]):
//!
//! | operation | does | where |
//! |---|---|---|
//! | `Retry` | goes on, same direction, same key | everywhere but in a log that cannot be read |
//! | `RetryAsNew` | goes on under a new key | a step or an undo that stopped |
//! | `SupplyOutput` | takes the step for done, with this output | a step that stopped |
//! | `SkipUndo` | takes the undo for done | an undo that stopped |
//! | `Unwind` | turns back | before the pivot is done |
//! | `Abandon` | ends it as it is | everywhere, a log that cannot be read among it |
//!
//! Other sagas go on.
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
//! sagas have ended; or say how sagas of the old one go on as those of the new ([`migration`]). A saga whose definition no
//! longer has its [fingerprint](Shape::fingerprint), and that nothing carries over, is held, never guessed at.
//!
//! # Sources
//!
//! H. Garcia-Molina, K. Salem: "Sagas", SIGMOD 1987 (backward, forward and mixed recovery; that compensations themselves
//! may need people). C. Richardson: "Microservices Patterns", 2018, chapter 4 (compensatable, pivot and retriable
//! transactions; countermeasures against missing isolation). That the failed step is undone as well, and that unwinding
//! is itself recorded, answers reports of engines that did neither.

mod action;
pub(crate) mod base64;
mod builder;
mod cancel;
mod codec;
mod cx;
mod definition;
pub(crate) mod digest;
pub mod draw;
mod ended;
mod engine;
pub mod entry;
mod error;
mod handle;
mod heed;
mod history;
mod id;
mod instance;
mod intake;
mod key;
pub mod lease;
pub mod machine;
pub mod migration;
mod offer;
pub mod operator;
mod payload;
mod policy;
mod probe;
#[cfg(doctest)]
mod refused;
mod room;
mod run;
mod sagas;
pub mod seal;
mod sealing;
mod setup;
mod shape;
mod spot;
mod start;
pub mod testing;
mod tries;
pub mod tx;
mod watch;

pub use action::{Action, Recorded};
pub use builder::{After, AfterStep, Before, Builder, Onward, WithoutUndo};
pub use cancel::CancelAnswer;
pub use cx::Cx;
pub use definition::Saga;
pub use ended::{Ended, Incident};
pub use error::{DefinitionError, Reconciled, SagaError, StepError};
pub use handle::Handle;
pub use id::SagaId;
pub use key::Key;
pub use migration::Migration;
pub use payload::{MAX_PAYLOAD, Payload};
pub use policy::{Settings, Step};
pub use sagas::{Drained, Sagas};
pub use setup::SagasBuilder;
pub use shape::{Kind, Shape, StepShape};
