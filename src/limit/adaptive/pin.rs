use std::num::NonZeroU32;
use std::sync::Arc;

use crate::num::Period;
#[cfg(feature = "tower")]
use crate::time::Tick;

/// An operator's word that a limit is to be so, and who says so, why, and for how long.
///
/// # Example
///
/// ```
/// use mainstay::limit::adaptive::Pin;
/// use mainstay::num::{Period, count};
///
/// let pin = Pin::new(count(10), "on-call").because("ledger migration").lasting(Period::secs(3600));
/// assert_eq!((pin.limit().get(), pin.reason()), (10, "ledger migration"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    limit: NonZeroU32,
    actor: Arc<str>,
    reason: Arc<str>,
    lasting: Option<Period>,
}

impl Pin {
    /// `actor` wants the limit to be `limit`, until somebody releases it.
    #[must_use]
    pub fn new(limit: NonZeroU32, actor: impl Into<Arc<str>>) -> Self {
        Self {
            limit,
            actor: actor.into(),
            reason: Arc::default(),
            lasting: None,
        }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// For how long. A pin that is forgotten should end by itself.
    #[must_use]
    pub const fn lasting(mut self, period: Period) -> Self {
        self.lasting = Some(period);
        self
    }

    /// The limit that it says.
    #[must_use]
    pub const fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// Who says it.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Why; empty where nobody said.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// For how long; `None` until it is released.
    #[must_use]
    pub const fn period(&self) -> Option<Period> {
        self.lasting
    }

    #[cfg(feature = "tower")]
    pub(super) fn until(&self, now: Tick) -> Tick {
        self.lasting
            .map_or(Tick::NEVER, |period| now + period.get())
    }
}
