//! What journals tell: how long they take, what fails, how writes share commits.

use std::time::Duration;

use metrics::{Key, Label};

use super::Keys;

/// What a journal is asked that is worth a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalCall {
    Append,
    Begin,
    Claim,
}

impl JournalCall {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Begin => "begin",
            Self::Claim => "claim",
        }
    }
}

/// Tells how a store answers one engine.
pub(crate) struct JournalCalls {
    store: &'static str,
    took: Keys<3>,
    failed: Keys<3>,
}

impl JournalCalls {
    pub(crate) const fn new(store: &'static str) -> Self {
        Self {
            store,
            took: Keys::new(),
            failed: Keys::new(),
        }
    }

    /// It answered, or failed.
    pub(crate) fn answered(&self, call: JournalCall, took: Duration, failed: bool) {
        let labels = || {
            vec![
                Label::new("store", self.store),
                Label::new("call", call.as_str()),
            ]
        };
        self.took.took(call as usize, took, || {
            Key::from_parts("mainstay_journal_duration_seconds", labels())
        });
        if failed {
            self.failed.increment(call as usize, || {
                Key::from_parts("mainstay_journal_faults_total", labels())
            });
        }
    }

    /// So much it has written, since it was opened.
    pub(crate) fn written(&self, operations: u64, commits: u64) {
        metrics::counter!("mainstay_journal_operations_total", "store" => self.store)
            .absolute(operations);
        metrics::counter!("mainstay_journal_commits_total", "store" => self.store)
            .absolute(commits);
    }

    /// Whether it hears of changes at once, and whether that is news.
    pub(crate) fn listening(&self, hears: bool, news: bool) {
        metrics::gauge!("mainstay_journal_listening", "store" => self.store).set(f64::from(hears));
        let store = self.store;
        match (hears, news) {
            (false, true) => tracing::warn!(store, "journal hears no changes"),
            (true, true) => tracing::info!(store, "journal hears changes again"),
            _ => {}
        }
    }
}
