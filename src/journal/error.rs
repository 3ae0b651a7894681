//! How a journal refuses.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use super::log::{InstanceId, LogId, Place};

/// Why a journal did not do what it was asked.
///
/// Only [`Backend`](Self::Backend) may be tried again, with the same arguments: the work was not done, or was done and
/// will be recognised. Everything else is an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The log does not end where the writer believes it does, or it belongs to a later epoch: somebody else wrote.
    #[error("log {id} is at {found}, the writer is at {expected}")]
    #[non_exhaustive]
    Conflict {
        /// The log.
        id: LogId,
        /// Where the writer believed the log to be.
        expected: Place,
        /// Where it is.
        found: Place,
    },
    /// There is no such log.
    #[error("there is no log {0}")]
    Missing(LogId),
    /// The lease of an instance is over, or it has left. Its logs may be somebody else's; it must join again.
    #[error("the lease of instance {0} is over")]
    Lapsed(InstanceId),
    /// The log is there and makes no sense, for instance because a record is missing from its middle.
    #[error("log {id} is damaged: {reason}")]
    #[non_exhaustive]
    Damaged {
        /// The log.
        id: LogId,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process, or another opening in this one, holds the file.
    #[error("{} is in use by another process or another opening", .0.display())]
    InUse(PathBuf),
    /// The file was written by a version of this crate whose schema this one does not know.
    #[error("the journal has schema {found}, this program knows {known}")]
    #[non_exhaustive]
    Schema {
        /// The schema of the file.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The store refused a setting that durability depends on.
    #[error("the store has {setting} = {found} where {needed} was asked for")]
    #[non_exhaustive]
    Unsafe {
        /// The setting.
        setting: &'static str,
        /// What it reads back as.
        found: String,
        /// What was asked for.
        needed: &'static str,
    },
    /// The store failed for a reason that may pass. Nothing was acknowledged.
    #[error("the store failed")]
    Backend(#[source] Arc<dyn StdError + Send + Sync>),
    /// The store will refuse the same call again until somebody changes something: rights, a table that is not there, a
    /// value that it cannot hold. Nothing was written.
    #[error("the store refuses")]
    Refused(#[source] Arc<dyn StdError + Send + Sync>),
    /// The store has stopped, and nothing will be written until it is opened again.
    ///
    /// A store stops when it cannot know what is on its disk: after a failed commit or a failed sync. It does not
    /// retry those, because a second sync that succeeds says nothing about the first.
    #[error("the journal has stopped")]
    Closed(#[source] Option<Arc<dyn StdError + Send + Sync>>),
}

impl JournalError {
    /// Whether the same call may be made again.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Backend(_))
    }

    /// The refusal of an append or a claim by a writer whose view of the log is not the log.
    #[must_use]
    pub const fn conflict(id: LogId, expected: Place, found: Place) -> Self {
        Self::Conflict {
            id,
            expected,
            found,
        }
    }

    /// A log that cannot be read as one.
    pub fn damaged(id: LogId, reason: impl Into<String>) -> Self {
        Self::Damaged {
            id,
            reason: reason.into(),
        }
    }

    /// A failure that may pass.
    pub fn backend(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Backend(Arc::new(error))
    }
}
