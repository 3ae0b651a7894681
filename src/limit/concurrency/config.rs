use std::num::NonZeroU32;
use std::time::Duration;

use super::count::Count;
use crate::num::{Period, Ratio, count};
use crate::time::Tick;

/// The settings of a concurrency limit.
///
/// # Example
///
/// ```
/// use mainstay::limit::concurrency::ConcurrencyConfig;
/// use mainstay::num::{Period, count};
///
/// let config = ConcurrencyConfig::new(count(50)).queue(20).wait(Period::millis(200));
/// assert_eq!(config.limit().get(), 50);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencyConfig {
    pub(super) limit: NonZeroU32,
    pub(super) queue: u32,
    pub(super) wait: Period,
    pub(super) wait_share: Ratio,
}

impl ConcurrencyConfig {
    /// The most calls that are counted, about two million: more than one process has sockets for.
    pub const MAX: NonZeroU32 = count(Count::MOST);

    /// At most `limit` calls under way.
    ///
    /// More than [`MAX`](Self::MAX) counts as that.
    #[must_use]
    pub const fn new(limit: NonZeroU32) -> Self {
        let limit = if limit.get() > Self::MAX.get() {
            Self::MAX
        } else {
            limit
        };
        Self {
            limit,
            queue: 0,
            wait: Period::secs(1),
            wait_share: Ratio::ONE,
        }
    }

    /// How many calls may wait for a place.
    ///
    /// Defaults to 0: refused at once. A queue hides overload from whoever could do something about it, so it is a
    /// choice: a short one smooths bursts, a long one only makes everybody late.
    #[must_use]
    pub const fn queue(mut self, calls: u32) -> Self {
        self.queue = calls;
        self
    }

    /// How long a call may wait for a place, its own deadline permitting.
    ///
    /// Defaults to 1 s: no caller with a user behind it is served by a longer one.
    #[must_use]
    pub const fn wait(mut self, wait: Period) -> Self {
        self.wait = wait;
        self
    }

    /// How much of the time that its deadline leaves a call may spend waiting.
    ///
    /// Defaults to all of it. Whoever waits for all of its time is let in too late to be answered.
    #[must_use]
    pub const fn wait_share(mut self, share: Ratio) -> Self {
        self.wait_share = share;
        self
    }

    /// The same limit with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.wait = self.wait.compressed(by);
        self
    }

    /// How many calls may be under way.
    #[must_use]
    pub const fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// How many calls may wait.
    #[must_use]
    pub const fn queue_bound(&self) -> u32 {
        self.queue
    }

    /// How long a call may wait.
    #[must_use]
    pub const fn longest_wait(&self) -> Period {
        self.wait
    }

    /// How much of its time a call may wait.
    #[must_use]
    pub const fn patience(&self) -> Ratio {
        self.wait_share
    }

    /// Until when a call may wait that comes at `now` and must be over at `deadline`.
    pub(super) fn wait_until(&self, deadline: Tick, now: Tick) -> Tick {
        wait_until(self.wait.get(), self.wait_share, deadline, now)
    }
}

/// 100 calls under way, and none waits: more than a healthy callee needs from one process, and fewer than the threads,
/// sockets and memory that a hung one would take.
impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self::new(count(100))
    }
}

/// Until when a call may wait: `longest`, and `share` of what its deadline leaves.
pub(super) fn wait_until(longest: Duration, share: Ratio, deadline: Tick, now: Tick) -> Tick {
    let longest = now + longest;
    if deadline == Tick::NEVER {
        return longest;
    }
    let left = deadline.since(now);
    longest.min(now + left.mul_f64(share.get()))
}
