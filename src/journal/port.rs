//! The trait that every store implements.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::error::JournalError;
use super::log::{Head, Log, LogId};
use super::request::{Append, Begin, Begun, Claim, Listing};

/// What the methods of a journal return: a journal is an object, so its futures are boxed.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// Many append-only logs, each begun once per business key and written by one writer at a time.
///
/// The rules that a store keeps, and that `tests/journal_contract.rs` checks for each:
///
/// 1. `begin` creates one log per (tenant, kind, key); every later call gets that log's head and writes nothing.
/// 2. `append` adds a record only where the log ends at `expect`, position and epoch both; else
///    [`JournalError::Conflict`] and nothing is written.
/// 3. An append that finds its own record already at that place, same epoch and same body, as the last one, answers
///    `Ok`: the reply was lost, not the record.
/// 4. What was acknowledged survives the end of the process and the loss of power (`memory` excepted).
/// 5. A store that cannot know what is on its disk stops, and answers [`JournalError::Closed`] from then on.
/// 6. `claim` hands out only running logs of the kinds asked for, each under a new epoch, oldest first.
/// 7. `load` returns every record in order or an error, never a part of a log.
/// 8. Logs of different ids never wait for each other's errors: one damaged log leaves all others readable.
///
/// # Cancel safety
///
/// Dropping the future of `begin`, `append` or `claim` may leave the work done or not done; the caller finds out by
/// making the same call again (rules 1 and 3) or by `load`. `load` and `list` change nothing.
pub trait Journal: Send + Sync + fmt::Debug + 'static {
    /// Begins a log under its business key, or finds the one that has it.
    fn begin(&self, begin: Begin) -> Answer<'_, Begun>;

    /// Adds one record; resolves when it is durable.
    fn append(&self, append: Append) -> Answer<'_, ()>;

    /// Takes over running logs, each under a new epoch.
    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>>;

    /// Reads a whole log.
    fn load(&self, id: LogId) -> Answer<'_, Log>;

    /// Lists heads by status.
    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>>;
}
