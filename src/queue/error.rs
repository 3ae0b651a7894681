use std::sync::Arc;

use super::lane::EntryId;
use super::words::Full;
use crate::error::ConfigError;
use crate::journal::JournalError;
use crate::saga::seal::SealError;

/// Why a queue did not do what it was asked. No text quotes a payload, a key or a lane.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The request names no idempotency key, so it could not be told from a second one.
    #[error("the request has no idempotency key")]
    NoKey,
    /// The key, or another setting, is none.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request is longer than an entry may be.
    #[error("the request is longer than an entry may be")]
    TooLong,
    /// The body of the request did not come to its end.
    #[error("the body of the request broke off")]
    BrokenOff,
    /// No more may wait now.
    #[error("the queue is full")]
    Full(Full),
    /// The key is that of another request.
    #[error("the idempotency key is that of another request, entry {0}")]
    OtherRequest(EntryId),
    /// An operator has dropped the entry with this key: it will not be applied.
    #[error("entry {0} was dropped by an operator")]
    Dropped(EntryId),
    /// Operators decide about poisoned entries, and this one is none.
    #[error("entry {0} is not poisoned")]
    NotPoisoned(EntryId),
    /// There is no such entry in this queue.
    #[error("there is no entry {0} in this queue")]
    Missing(EntryId),
    /// The record of an entry does not read.
    #[error("entry {0} does not read: {1}")]
    Unreadable(EntryId, Arc<str>),
    /// The entry cannot be sealed or opened.
    #[error("the entry cannot be sealed or opened")]
    Sealed(#[source] SealError),
    /// The store failed or refused. What was to be queued may be: the same key again tells.
    #[error("the store of the queue failed")]
    Store(#[from] JournalError),
}

impl From<Full> for QueueError {
    fn from(full: Full) -> Self {
        match full {
            Full::Entry => Self::TooLong,
            Full::Entries | Full::Bytes => Self::Full(full),
        }
    }
}
