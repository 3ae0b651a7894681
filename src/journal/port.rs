//! The trait that every store implements.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::error::JournalError;
use super::log::{Head, InstanceId, Log, LogId};
use super::request::{
    Append, Beat, Begin, Begun, Claim, Join, Listing, Post, Posted, Prune, Pulse, Release,
};
use super::transactions::Transactions;
use super::vitals::Vitals;

/// What the methods of a journal return: a journal is an object, so its futures are boxed.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// Many append-only logs, each begun once per business key and written by one writer at a time.
///
/// The rules that a store keeps, and that [`contract`](super::contract) checks of each:
///
/// 1. `begin` creates one log per (tenant, kind, key); every later call gets that log's head and writes nothing.
/// 2. `append` adds a record only where the log ends at `expect`, position and epoch both; else
///    [`JournalError::Conflict`] and nothing is written.
/// 3. An append that finds its own record already at that place, same epoch and same body, as the last one, answers
///    `Ok`: the reply was lost, not the record.
/// 4. What was acknowledged survives the end of the process and the loss of power (`memory` excepted).
/// 5. A store that cannot know what is on its disk stops, and answers [`JournalError::Closed`] from then on.
/// 6. `claim` hands out only running logs of the kinds and versions asked for that are not parked and whose owner, if
///    any, has no lease any more; each under a new epoch, oldest first, to one caller only. The version is the one with
///    which the log began, or the last that a record of it [said](Append::version).
/// 7. `load` returns every record and every unread message in order or an error, never a part of a log.
/// 8. Logs of different ids never wait for each other's errors: one damaged log leaves all others readable.
/// 9. Leases, parking and pruning go by the store's clock alone, which is one for all instances. A lease that is over
///    stays over: `beat` then answers [`JournalError::Lapsed`].
/// 10. Only `claim` and `leave` take a log from its owner while it runs. A claim raises `recoveries`, a record sets it to
///     zero, and a log that is given back (`release`, `leave`) does not count as recovered.
/// 11. A message is posted once per (log, dedup), also after it was read, and stays until the log is pruned. One that
///     is posted to a parked log ends the parking.
/// 12. `prune` removes ended logs only, oldest first.
///
/// # Cancel safety
///
/// Dropping the future of a call that writes may leave the work done or not done; the caller finds out by making the
/// same call again or by `load`. A `claim` or `join` that was dropped may have happened: its logs are free again when
/// the lease is over, or at the owner's next claim (it may claim what it owns and does not carry on only after it
/// left or lapsed). `load`, `list` and `changed` change nothing.
pub trait Journal: Send + Sync + fmt::Debug + 'static {
    /// Begins a log under its business key, or finds the one that has it.
    fn begin(&self, begin: Begin) -> Answer<'_, Begun>;

    /// Adds one record; resolves when it is durable.
    fn append(&self, append: Append) -> Answer<'_, ()>;

    /// Takes over running logs, each under a new epoch.
    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>>;

    /// Reads a whole log.
    fn load(&self, id: LogId) -> Answer<'_, Log>;

    /// Lists heads.
    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>>;

    /// Registers an instance under a lease.
    fn join(&self, join: Join) -> Answer<'_, InstanceId>;

    /// Renews a lease, and tells which logs of the instance have mail.
    fn beat(&self, beat: Beat) -> Answer<'_, Pulse>;

    /// Ends a lease and gives back every log of the instance. Does nothing when there is no such lease.
    fn leave(&self, instance: InstanceId) -> Answer<'_, ()>;

    /// Gives one log back.
    fn release(&self, release: Release) -> Answer<'_, ()>;

    /// Posts a message to a log.
    fn post(&self, post: Post) -> Answer<'_, Posted>;

    /// Removes ended logs, and tells how many.
    fn prune(&self, prune: Prune) -> Answer<'_, usize>;

    /// What those who watch are told of the store, out of its memory: this neither waits nor asks. By default it says
    /// nothing, under the name `other`.
    fn vitals(&self) -> Vitals {
        Vitals::of("other")
    }

    /// Completes when there may be something to claim, or mail. A hint: it may come late, early or never, and whoever
    /// waits for it also looks from time to time. By default it never comes.
    fn changed(&self) -> Answer<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// The store's transactions, for steps whose effect and record are one ([`saga::tx`](crate::saga::tx)). `None`, the
    /// default, where there are none: an engine then refuses to start with such a step.
    ///
    /// A wrapper that passes this on is not asked to append the records of those steps: the store underneath is.
    fn transactions(&self) -> Option<Transactions> {
        None
    }
}
