//! What the server's refusals mean, and what of them may be said.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::journal::JournalError;

/// What went wrong between a journal and its database: the source of a
/// [`Backend`](JournalError::Backend) or a [`Refused`](JournalError::Refused).
///
/// It holds the server's code, and its message only where that cannot quote what was written: messages about data do.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresError {
    code: Option<String>,
    text: String,
}

impl PostgresError {
    /// The SQLSTATE, where it is the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    fn said(text: impl Into<String>) -> Self {
        Self {
            code: None,
            text: text.into(),
        }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            // Ours, or the system's: neither knows a statement's values.
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            return Self::said(text);
        };
        let code = refusal.code().code();
        let text = if quotes(code) {
            match refusal.constraint() {
                Some(constraint) => format!("the server refuses a value by {constraint}"),
                None => "the server refuses a value".to_owned(),
            }
        } else {
            refusal.message().to_owned()
        };
        Self {
            code: Some(code.to_owned()),
            text,
        }
    }
}

/// Whether messages of this class name values: data exceptions and broken constraints.
fn quotes(code: &str) -> bool {
    code.starts_with("22") || code.starts_with("23")
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (SQLSTATE {code})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresError({self})")
    }
}

impl std::error::Error for PostgresError {}

/// Whether the same statement may do on another day, with nobody changing anything: connections that broke, servers
/// that are full, starting, stopping or standing by, and transactions that lost against others.
fn passes(code: &SqlState) -> bool {
    let code = code.code();
    // 25006: a server that only reads, which is what one that was just replaced does. 55P03: a lock that was not to be
    // had. 58, XX: the system's own troubles.
    matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58" | "XX"))
        || matches!(code, "25006" | "55P03")
}

/// Turns what the driver says into the answer of a journal.
pub(super) fn answer(error: &tokio_postgres::Error) -> JournalError {
    let told = PostgresError::of(error);
    match error.code() {
        Some(code) if !passes(code) => JournalError::Refused(Arc::new(told)),
        _ => JournalError::backend(told),
    }
}

/// The same for the pool's.
pub(super) fn unconnected(error: &PoolError) -> JournalError {
    match error {
        PoolError::Backend(error) => answer(error),
        PoolError::Closed => {
            JournalError::Closed(Some(Arc::new(PostgresError::said("the pool is closed"))))
        }
        PoolError::Timeout(_) => {
            JournalError::backend(PostgresError::said("the pool has no connection to spare"))
        }
        PoolError::NoRuntimeSpecified => JournalError::Refused(Arc::new(PostgresError::said(
            "the pool has timeouts and no runtime",
        ))),
        // The caller's own words.
        PoolError::PostCreateHook(_) => {
            JournalError::backend(PostgresError::said("a hook of the pool refused"))
        }
    }
}

/// The answer when nothing was heard for so long.
pub(super) fn silent(patience: Duration) -> JournalError {
    JournalError::backend(PostgresError::said(format!(
        "no answer within {patience:?}"
    )))
}

/// A text that PostgreSQL cannot hold. Told before it is sent, so that it spoils no batch.
pub(super) fn unwritable(field: &'static str) -> JournalError {
    JournalError::Refused(Arc::new(PostgresError::said(format!(
        "{field} holds a NUL character, which PostgreSQL cannot"
    ))))
}

/// The answer to a begin whose key was taken whenever it was to be had, and free whenever it was looked at.
pub(super) fn contested() -> JournalError {
    JournalError::backend(PostgresError::said("the log of this key comes and goes"))
}

/// A row that this crate did not write.
pub(super) fn unreadable(error: &tokio_postgres::Error) -> JournalError {
    JournalError::Refused(Arc::new(PostgresError::said(format!(
        "a row cannot be read: {error}"
    ))))
}
