use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::config::RateConfig;
use super::machine::refusal;
use crate::error::{LayerKind, Rejected};
use crate::observe::{self, Counter, Name, Rejections, Span};
use crate::scope::Scope;
use crate::time::{Tick, nanos};

/// What a limit did, for its handle and for whoever listens; and how it says no.
pub(super) struct Tally {
    delayed: AtomicU64,
    refused: AtomicU64,
    rejections: Rejections,
    delays: Counter,
}

impl Tally {
    pub(super) fn new(name: Name) -> Self {
        Self {
            delayed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            delays: Counter::new("mainstay_rate_delays_total", Name::clone(&name)),
            rejections: Rejections::new(name),
        }
    }

    pub(super) const fn name(&self) -> &Name {
        self.rejections.policy()
    }

    pub(super) fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    #[cold]
    pub(super) fn refuse(&self, later: Option<u64>) -> Rejected {
        let rejected = refusal(later);
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.rejections.note(&rejected);
        rejected
    }

    #[cold]
    pub(super) fn delay(&self, wait: Duration) {
        self.delayed.fetch_add(1, Ordering::Relaxed);
        observe::delayed(&self.delays, wait);
    }

    /// The span of a wait.
    pub(super) fn wait(&self) -> Span {
        self.rejections.wait(LayerKind::Rate)
    }

    pub(super) fn reloaded(&self, config: &RateConfig) {
        observe::rate_reloaded(self.name(), config);
    }
}

/// What the call that is being made has left of its deadline, `u64::MAX` if it has none.
pub(super) fn time_left(now: Tick) -> u64 {
    let deadline = Scope::current().deadline();
    deadline.map_or(u64::MAX, |deadline| nanos(deadline.since(now)))
}
