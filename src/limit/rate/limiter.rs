use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::config::RateConfig;
use super::gate::{LimiterTurn, Turn};
use super::handle::RateHandle;
use super::shared::Shared;
use super::tally::{Tally, time_left};
use crate::error::Rejected;
use crate::num::count;
use crate::rt;

const ONE: NonZeroU32 = count(1);

/// What the clones of one limiter share.
pub(super) struct Limited {
    pub(super) shared: Shared,
    pub(super) tally: Tally,
}

impl Limited {
    /// Lets `n` permits go at once, or not at all.
    fn check(&self, n: NonZeroU32) -> Result<(), Rejected> {
        match self.shared.reserve(n.get(), || 0, rt::now()) {
            Ok(_at_once) => Ok(()),
            Err(later) => Err(self.tally.refuse(later)),
        }
    }
}

/// One rate limit, to ask by hand.
///
/// Clones share the limit, and so do the layers made from it and its handle.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::{Rate, RateConfig, RateLimiter};
/// use mainstay::num::Period;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), mainstay::Rejected> {
/// let config = RateConfig::new(Rate::even(10, Period::secs(1))).patience(Period::millis(100));
/// let exports = RateLimiter::new("exports", config);
/// exports.check()?;
/// let refused = exports.check().unwrap_err();
/// assert_eq!(refused.hint(), Some(Duration::from_millis(100)));
/// exports.until_ready().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    pub(super) limited: Arc<Limited>,
}

impl RateLimiter {
    /// A limit named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: impl Into<RateConfig>) -> Self {
        let limited = Limited {
            shared: Shared::new(config.into()),
            tally: Tally::new(name.into()),
        };
        Self {
            limited: Arc::new(limited),
        }
    }

    /// Takes a permit if there is one, whatever the patience.
    ///
    /// # Errors
    ///
    /// When there is none; with the time until there is, if nobody else comes.
    pub fn check(&self) -> Result<(), Rejected> {
        self.limited.check(ONE)
    }

    /// Takes `n` permits if there are so many, whatever the patience.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); more than the burst are never there, and the refusal names no time.
    pub fn check_many(&self, n: NonZeroU32) -> Result<(), Rejected> {
        self.limited.check(n)
    }

    /// Waits for a permit, for as long as the patience and the deadline of the [`Scope`](crate::scope::Scope) allow.
    ///
    /// # Errors
    ///
    /// At once, when the wait would be longer than that; with the time to come back.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its timer enabled, when there is a wait.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it gives its place in the line back. The place is taken when it is first polled, so one
    /// that is dropped and made again starts from the end of the line.
    pub async fn until_ready(&self) -> Result<(), Rejected> {
        self.until_many_ready(ONE).await
    }

    /// Waits for `n` permits. Those who need more than the burst wait for the last of them.
    ///
    /// # Errors
    ///
    /// As [`until_ready`](Self::until_ready).
    ///
    /// # Panics
    ///
    /// As [`until_ready`](Self::until_ready).
    ///
    /// # Cancel safety
    ///
    /// As [`until_ready`](Self::until_ready).
    pub async fn until_many_ready(&self, n: NonZeroU32) -> Result<(), Rejected> {
        if let Some(turn) = self.enter(n)? {
            rt::sleep_until(turn.at()).await;
            turn.take();
        }
        Ok(())
    }

    /// Watches and controls the limit.
    #[must_use]
    pub fn handle(&self) -> RateHandle {
        RateHandle {
            limited: Arc::clone(&self.limited),
        }
    }

    /// Takes a place: at once (`None`), or a turn that comes later.
    #[inline]
    pub(super) fn enter(&self, n: NonZeroU32) -> Result<Option<LimiterTurn>, Rejected> {
        let now = rt::now();
        let reserved = self.limited.shared.reserve(n.get(), || time_left(now), now);
        match reserved {
            Ok(None) => Ok(None),
            Ok(Some(reservation)) => {
                self.limited.tally.delay(reservation.wait());
                Ok(Some(LimiterTurn::new(
                    Arc::clone(&self.limited),
                    reservation,
                )))
            }
            Err(later) => Err(self.limited.tally.refuse(later)),
        }
    }

    #[inline]
    pub(super) fn enter_one(&self) -> Result<Option<LimiterTurn>, Rejected> {
        self.enter(ONE)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("handle", &self.handle())
            .finish()
    }
}
