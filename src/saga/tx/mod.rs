//! Steps whose effect and record are one transaction.
//!
//! Where what a step changes is in the journal's own database, the change and the record that it is done can be one
//! transaction: both are there, or neither. Such a step takes effect **exactly once**, without keys: no crash, lost
//! answer, timeout or stale instance makes it happen twice, or makes it be forgotten.
//!
//! ```text
//!  plain step:    effect ──▶ receiver commits ──▶ (a crash here repeats the effect) ──▶ record ──▶ journal commits
//!  here:          BEGIN ──▶ effect ──▶ record, if the log is still ours and where we left it ──▶ COMMIT
//! ```
//!
//! Use it for what is in the same database as the journal: the posting, the invoice's state, the row that another program
//! reads. Do not use it to call anybody: what leaves the database is not in the transaction. A call belongs in a plain
//! step, with a key.
//!
//! | | effect | costs | the receiver must |
//! |---|---|---|---|
//! | a plain step | at least once | a record | apply a key once |
//! | with [`effect_guard`](crate::effect_guard) | once, at a receiver with a database of its own | a record here, a row there | keep the guard's table |
//! | here | once, in the journal's database | its record rides: no sync beyond that of the effect | nothing |
//!
//! # What is promised, and by what
//!
//! | promise | kept by |
//! |---|---|
//! | an effect is never without its record, nor a record without its effect | one transaction |
//! | who lost the saga cannot act | the record is added only where the log ends as this writer left it, under its epoch; else the effect is taken back |
//! | an attempt that failed, panicked or took too long had no effect | it is rolled back, and only a commit that was asked for can be in doubt |
//! | a commit without an answer is found out about before anything else is done | the journal is asked for the record, after the transaction in doubt is over |
//! | the record is what any record is | sealed, fenced, with the end of the saga if it is the last |
//! | the effect is in the engine's journal, and in no other | the step has no database of its own: it gets the engine's. An engine whose journal lends none does not start |
//!
//! So the machine treats such a step as one that is never in doubt. When it fails for good it is not undone, and the
//! steps before it are; at the pivot the saga turns back instead of being held, also when
//! [attempts](super::Step::attempts) are used up. An answer of [`Unknown`](super::StepError::Unknown) counts as
//! [`Fail`](super::StepError::Fail). [`at_most_once`](super::Step::at_most_once) and
//! [`key_valid_for`](super::Step::key_valid_for) say nothing here and are left out, and so is a `reconcile`. The undo
//! of such a step is always given its output. An undo may be one too, and then happens once.
//!
//! Checks right before such a step have their outputs written with it: a saga of checks and one such step is two writes,
//! its start and its end.
//!
//! Whether a step is one is part of the [fingerprint](super::Shape::fingerprint): raise the version to change it. A log in
//! which a plain step may have run says less than one in which it cannot have.
//!
//! | the process dies | what is there | what the next one does |
//! |---|---|---|
//! | before the step, or in it | nothing of it | runs it |
//! | while it commits | all of it or nothing | goes on, or runs it |
//! | after the commit | all of it | goes on with the next step |
//!
//! # Sources
//!
//! That the consumer's own database can hold the mark that makes a message's effect happen once is old: P. Helland, "Life
//! beyond Distributed Transactions", CIDR 2007. That a transaction whose commit got no answer still holds its locks until
//! it is decided is how PostgreSQL works ("Explicit Locking" in its manual).

mod record;

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub(crate) use record::{Concluded, Recorder};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use super::error::StepError;

/// An engine starts only where there is one.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn no_desk(medium: &str) -> StepError {
    StepError::halt(format!(
        "it needs a transaction of a {medium} journal, and the engine's lends none"
    ))
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn broke() -> StepError {
    StepError::halt("it ended the transaction that it was lent; look what it left")
}
