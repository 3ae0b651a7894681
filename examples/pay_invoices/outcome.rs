//! How an invoice ended. It is read from the journal, so earlier runs count like this one.

use serde::{Deserialize, Serialize};

/// How the saga of one invoice ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Booked; `noticed` unless the supplier cannot be reached.
    Paid { noticed: bool },
    /// Nothing was done, or everything was undone.
    Compensated { why: String },
    /// It waits for an operator, with what was done so far in place.
    Incident { why: String },
    /// Somebody must carry it on.
    Unfinished,
}
