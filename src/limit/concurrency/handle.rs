use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::config::ConcurrencyConfig;
use super::gate::Gate;
use crate::observe;

/// Watches and changes a concurrency limit from outside.
///
/// Clones, and the layer and services they came from, look at the same limit.
#[derive(Clone)]
pub struct ConcurrencyHandle {
    gate: Arc<Gate>,
}

impl ConcurrencyHandle {
    pub(super) const fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// What health follows.
    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.gate.name()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> ConcurrencyConfig {
        self.gate.seats().config()
    }

    /// How many calls may be under way.
    #[must_use]
    pub fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(self.gate.seats().count().limit()).unwrap_or(NonZeroU32::MIN)
    }

    /// How many calls are under way, those included that were just granted their place.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.gate.seats().count().in_flight()
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.gate.seats().count().waiting()
    }

    /// Replaces the settings. Calls under way and those that wait stay as they are: a greater limit lets waiters in at
    /// once, under a smaller one nobody is let in until fewer are under way, and nobody who waits is sent away.
    pub fn reload(&self, config: ConcurrencyConfig) {
        self.gate.seats().set(config);
        self.gate.seats().pass_on();
        observe::limit(self.gate.name(), config.limit().get());
    }
}

impl fmt::Debug for ConcurrencyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.gate.seats().count();
        f.debug_struct("ConcurrencyHandle")
            .field("name", self.gate.name())
            .field("limit", &count.limit())
            .field("in_flight", &count.in_flight())
            .field("waiting", &count.waiting())
            .finish()
    }
}
