//! The name of a saga.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::journal::LogId;

/// Names one saga within its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(LogId);

impl SagaId {
    /// The number, as `SELECT * FROM record WHERE log = 17` wants it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Its log in the journal.
    #[must_use]
    pub const fn log(self) -> LogId {
        self.0
    }
}

/// As its number.
impl Serialize for SagaId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl From<LogId> for SagaId {
    fn from(log: LogId) -> Self {
        Self(log)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
