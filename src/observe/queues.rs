//! What durable queues tell.

use metrics::{Key, Label};

use super::{Keys, Name, label};
use crate::order::Order;
use crate::queue::{EntryId, Fact, Poison, QueueStatus};
use crate::time::Timestamp;

/// Tells of one queue.
pub(crate) struct QueueTold {
    policy: Name,
    outcomes: Keys<5>,
}

#[derive(Clone, Copy)]
enum Became {
    Applied,
    Dropped,
    Poisoned,
    Queued,
    Retried,
}

impl Became {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Dropped => "dropped",
            Self::Poisoned => "poisoned",
            Self::Queued => "queued",
            Self::Retried => "retried",
        }
    }
}

impl QueueTold {
    pub(crate) const fn new(policy: Name) -> Self {
        Self {
            policy,
            outcomes: Keys::new(),
        }
    }

    fn count(&self, became: Became) {
        self.outcomes.increment(became as usize, || {
            let labels = vec![
                Label::new("policy", label(&self.policy)),
                Label::new("outcome", became.as_str()),
            ];
            Key::from_parts("mainstay_queue_entries_total", labels)
        });
    }

    /// An entry was written down.
    pub(crate) fn queued(&self) {
        self.count(Became::Queued);
    }

    /// An entry was applied.
    pub(crate) fn applied(&self) {
        self.count(Became::Applied);
    }

    /// An entry is poison.
    pub(crate) fn poisoned(&self, entry: EntryId, why: Poison) {
        self.count(Became::Poisoned);
        let (policy, id, class) = (&*self.policy, entry.get(), why.as_str());
        tracing::error!(policy, id, class, "queued entry waits for an operator");
    }

    /// An operator has decided about a poisoned entry.
    pub(crate) fn decided(&self, entry: EntryId, fact: &Fact, order: &Order) {
        let became = match fact {
            Fact::Dropped { .. } => Became::Dropped,
            _ => Became::Retried,
        };
        self.count(became);
        let (policy, id, command) = (&*self.policy, entry.get(), became.as_str());
        let (actor, reason) = (order.actor(), order.reason());
        tracing::warn!(policy, id, command, actor, reason, "queue commanded");
    }

    /// What it holds now.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    pub(crate) fn holds(&self, status: &QueueStatus, now: Timestamp) {
        let policy = || label(&self.policy);
        let age = status
            .oldest
            .map(|oldest| now.since(oldest))
            .unwrap_or_default();
        metrics::gauge!("mainstay_queue_depth", "policy" => policy()).set(status.depth as f64);
        metrics::gauge!("mainstay_queue_bytes", "policy" => policy()).set(status.bytes as f64);
        metrics::gauge!("mainstay_queue_poisoned", "policy" => policy())
            .set(status.poisoned as f64);
        metrics::gauge!("mainstay_queue_oldest_seconds", "policy" => policy())
            .set(age.as_secs_f64());
    }
}
