use std::num::NonZeroU32;

use crate::error::ConfigError;
use crate::num::{Factor, Period, Ratio, count};

/// Between what an adaptive limit moves: at least one, and the least not above the most.
///
/// # Example
///
/// ```
/// use mainstay::limit::adaptive::Bounds;
/// use mainstay::num::count;
///
/// const BOUNDS: Bounds = Bounds::between(1, 50);
/// assert_eq!(Bounds::new("bounds", count(1), count(50))?, BOUNDS);
/// assert!(Bounds::new("bounds", count(50), count(1)).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    least: NonZeroU32,
    most: NonZeroU32,
}

impl Bounds {
    /// Checks bounds that were read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the least is above the most.
    pub fn new(
        field: &'static str,
        least: NonZeroU32,
        most: NonZeroU32,
    ) -> Result<Self, ConfigError> {
        if least <= most {
            Ok(Self { least, most })
        } else {
            let value = format!("{least}..={most}");
            Err(ConfigError::new(
                field,
                value,
                "the least not above the most",
            ))
        }
    }

    /// From `least` to `most`, for literals.
    ///
    /// # Panics
    ///
    /// At zero, and when `least` is above `most`; in a `const` that is a compile error.
    #[must_use]
    pub const fn between(least: u32, most: u32) -> Self {
        assert!(least <= most, "the least is not above the most");
        Self {
            least: count(least),
            most: count(most),
        }
    }

    /// The least.
    #[must_use]
    pub const fn least(self) -> NonZeroU32 {
        self.least
    }

    /// The most.
    #[must_use]
    pub const fn most(self) -> NonZeroU32 {
        self.most
    }

    /// The nearest number within.
    #[must_use]
    pub(super) fn nearest(self, limit: u32) -> u32 {
        limit.clamp(self.least.get(), self.most.get())
    }
}

/// The settings of an adaptive limit.
///
/// # Example
///
/// ```
/// use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
/// use mainstay::num::Ratio;
///
/// // A callee that is known to fall over at 100, shared by two instances; nobody waits.
/// let config = AdaptiveConfig::new().bounds(Bounds::between(3, 50)).queue(0);
/// assert_eq!(config.range().most().get(), 50);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    pub(super) bounds: Bounds,
    pub(super) start: NonZeroU32,
    pub(super) tolerance: Factor,
    pub(super) window: Period,
    pub(super) samples: NonZeroU32,
    pub(super) relearn: Period,
    pub(super) queue: u32,
    pub(super) wait: Period,
    pub(super) wait_share: Ratio,
}

impl AdaptiveConfig {
    /// The defaults, each stated at its setter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::between(3, 1_000),
            start: count(20),
            tolerance: Factor::ONE_AND_A_HALF,
            window: Period::millis(500),
            samples: count(50),
            relearn: Period::secs(30),
            queue: 20,
            wait: Period::secs(30),
            wait_share: Ratio::percent(50),
        }
    }

    /// Between what the limit moves. Defaults to 3 and 1,000: below three, calls that hang keep it from seeing that the
    /// callee is back; a thousand is what ten thousand calls a second to a callee of 100 ms need.
    #[must_use]
    pub const fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The limit before anything is known, brought within the bounds.
    ///
    /// Defaults to 20: a thousand calls a second of 20 ms each. It doubles with each round trip in which it is in the way
    /// and nothing speaks against it: of calls that take seconds, and of which hundreds come at once, the last wait
    /// three or four round trips. Where they have no time for that, begin with as many as are usually under way.
    #[must_use]
    pub const fn start(mut self, limit: NonZeroU32) -> Self {
        self.start = limit;
        self
    }

    /// How many times as long as unloaded calls may take before that counts as congestion.
    ///
    /// Defaults to 1.5: well above the noise of a window, and low enough that what waits in the callee stays short.
    #[must_use]
    pub const fn tolerance(mut self, tolerance: Factor) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// How long calls are watched before the limit is looked at again, at least.
    ///
    /// Defaults to 500 ms: a pause of the callee for a tenth of a second does not look like congestion.
    #[must_use]
    pub const fn window(mut self, window: Period) -> Self {
        self.window = window;
        self
    }

    /// How many calls are watched before the limit is looked at again, at least; fewer under a limit below it.
    ///
    /// Defaults to 50: the mean of as many varies by a tenth where single calls vary by half. More than 8,192 count as
    /// that.
    #[must_use]
    pub const fn samples(mut self, samples: NonZeroU32) -> Self {
        self.samples = samples;
        self
    }

    /// How old the baseline may be before congestion that costs calls makes it be measured anew.
    ///
    /// Defaults to 30 s: a measurement takes a few round trips at a quarter of the limit, so it costs less than one
    /// call in a hundred.
    #[must_use]
    pub const fn relearn(mut self, relearn: Period) -> Self {
        self.relearn = relearn;
        self
    }

    /// How many calls may wait for each place. 0 lets none wait.
    ///
    /// Defaults to 20: a pause of the callee costs nobody his place in the line. What keeps it short under load that lasts
    /// is the time that a call may wait. While the limit doubles, as it does from the start on, the line has room for the
    /// greatest limit at least, so that a burst finds room; 0 lets none wait then either.
    #[must_use]
    pub const fn queue(mut self, calls: u32) -> Self {
        self.queue = calls;
        self
    }

    /// How long a call may wait for a place, its share of the time left permitting.
    ///
    /// Defaults to 30 s: the limit doubles three times in that, if calls take up to 10 s. It is what ends a wait where a
    /// call has no deadline, or one of more than a minute.
    #[must_use]
    pub const fn wait(mut self, wait: Period) -> Self {
        self.wait = wait;
        self
    }

    /// How much of the time that its deadline leaves a call may spend waiting.
    ///
    /// Defaults to half: the other half is for the answer. Where calls may wait for all of their time, an overloaded
    /// callee answers those that are about to be late; of 60 good answers a second half are lost that way. While the limit
    /// doubles it is two fifths more, 70 % of the default: nothing has said yet that the callee is overloaded.
    #[must_use]
    pub const fn wait_share(mut self, share: Ratio) -> Self {
        self.wait_share = share;
        self
    }

    /// The same limit with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.window = self.window.compressed(by);
        self.relearn = self.relearn.compressed(by);
        self.wait = self.wait.compressed(by);
        self
    }

    /// Between what the limit moves.
    #[must_use]
    pub const fn range(&self) -> Bounds {
        self.bounds
    }

    /// The limit at first.
    #[must_use]
    pub fn initial(&self) -> NonZeroU32 {
        self.start.clamp(self.bounds.least, self.bounds.most)
    }

    /// How many times as long as unloaded calls may take.
    #[must_use]
    pub const fn tolerated(&self) -> Factor {
        self.tolerance
    }

    /// How long calls are watched.
    #[must_use]
    pub const fn shortest_window(&self) -> Period {
        self.window
    }

    /// How many calls are watched.
    #[must_use]
    pub const fn fewest_samples(&self) -> NonZeroU32 {
        self.samples
    }

    /// How old the baseline may be.
    #[must_use]
    pub const fn baseline_age(&self) -> Period {
        self.relearn
    }

    /// How many calls may wait for each place.
    #[must_use]
    pub const fn queue_depth(&self) -> u32 {
        self.queue
    }

    /// How much of its time a call may wait.
    #[must_use]
    pub const fn patience(&self) -> Ratio {
        self.wait_share
    }

    /// How long a call may wait.
    #[must_use]
    pub const fn longest_wait(&self) -> Period {
        self.wait
    }
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self::new()
    }
}
