//! Who commands, and why.

use std::sync::Arc;

use crate::num::Period;
use crate::time::Tick;

/// Who commands, and why; of what does not hold for ever also for how long.
///
/// # Example
///
/// ```
/// use mainstay::breaker::Order;
/// use mainstay::num::Period;
///
/// let order = Order::new("alice", "ledger moves to a new rack").lasting(Period::secs(1_800));
/// assert_eq!(order.actor(), "alice");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    actor: Arc<str>,
    reason: Arc<str>,
    lasting: Option<Period>,
}

impl Order {
    /// An order of `actor`, for `reason`. Both appear in events.
    #[must_use]
    pub fn new(actor: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            actor: actor.into(),
            reason: reason.into(),
            lasting: None,
        }
    }

    /// What is ordered ends by itself after so long. Without it it holds until it is released.
    #[must_use]
    pub const fn lasting(mut self, period: Period) -> Self {
        self.lasting = Some(period);
        self
    }

    /// Who commands.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// For how long, `None` until it is released.
    #[must_use]
    pub const fn duration(&self) -> Option<Period> {
        self.lasting
    }

    pub(crate) fn until(&self, now: Tick) -> Tick {
        self.lasting
            .map_or(Tick::NEVER, |period| now + period.get())
    }
}
