use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::config::AdaptiveConfig;
use super::driver::Driver;
use super::machine::Adaptive;
use super::words::Change;
use crate::breaker::Order;
use crate::limit::concurrency::Gate;

/// Watches and steers an adaptive limit from outside.
///
/// Clones, and the layer and services they came from, look at the same limit.
#[derive(Clone)]
pub struct AdaptiveHandle {
    gate: Arc<Gate>,
    driver: Arc<Driver>,
}

impl AdaptiveHandle {
    pub(super) const fn new(gate: Arc<Gate>, driver: Arc<Driver>) -> Self {
        Self { gate, driver }
    }

    fn look<T>(&self, f: impl FnOnce(&Adaptive, Option<&Order>) -> T) -> T {
        self.driver.look(self.gate.seats(), f)
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

    /// How many calls may be under way now: fewer for a moment, while the baseline is measured.
    #[must_use]
    pub fn limit(&self) -> NonZeroU32 {
        self.look(|machine, _| machine.limit())
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

    /// How long a call takes when few are under way; `None` before the first window was over.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        self.look(|machine, _| machine.baseline())
    }

    /// How long the calls of the last window took, lost ones weighed.
    #[must_use]
    pub fn recent(&self) -> Option<Duration> {
        self.look(|machine, _| machine.recent())
    }

    /// The last move of the limit and its cause; `None` while it is where it began.
    #[must_use]
    pub fn last_change(&self) -> Option<Change> {
        self.look(|machine, _| machine.last_change())
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> AdaptiveConfig {
        self.look(|machine, _| machine.config())
    }

    /// Replaces the settings. The limit, brought within the new bounds, the baseline, a pin and everybody who is under
    /// way or waits stay; the window begins anew.
    pub fn reload(&self, config: AdaptiveConfig) {
        self.driver.reload(self.gate.seats(), config);
    }

    /// Holds the limit where an operator wants it, within the bounds or not.
    ///
    /// The last pin holds. When its time is over, or it is released, the limit goes on from where it was before.
    pub fn pin(&self, limit: NonZeroU32, order: Order) {
        self.driver.pin(self.gate.seats(), limit, order);
    }

    /// Where an operator holds the limit, and on whose order; `None` while its rules decide.
    #[must_use]
    pub fn pinned(&self) -> Option<(NonZeroU32, Order)> {
        self.look(|machine, order| {
            let pinned = machine.pinned().map(|(limit, _)| limit);
            pinned.zip(order.cloned())
        })
    }

    /// Lets the limit move again.
    pub fn release(&self, order: Order) {
        self.driver.release(self.gate.seats(), order);
    }
}

impl fmt::Debug for AdaptiveHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AdaptiveHandle");
        debug.field("name", self.gate.name());
        self.look(|machine, order| {
            debug
                .field("limit", &machine.limit())
                .field("in_flight", &self.in_flight())
                .field("waiting", &self.waiting())
                .field("baseline", &machine.baseline())
                .field("recent", &machine.recent())
                .field("last_change", &machine.last_change())
                .field("order", &order)
                .finish()
        })
    }
}
