//! A verdict from what calls in a window did: the share of errors, and how long all but a few took.
//!
//! 1. Calls count in ten slices of the window; a slice goes as a whole when it is older than the window.
//! 2. Under the least number of calls nothing is known: the error rate of no requests is not zero (B-29).
//! 3. Down when the share of errors, or the percentile of the durations, is above its limit; degraded when above its lower
//!    limit, where there is one.
//! 4. Durations are kept in steps of at most 1/16 of themselves; a percentile is the upper end of its step, and so never
//!    less than what was measured nor more than 1/16 above it. Up to 2^20 ns (1 ms) all are one, and from 2^36 ns (68 s) on.
//!    A limit is taken for the end of its step, so what is below a limit is never above it.
//! 5. Time that steps back counts as the latest.

use std::num::NonZeroU32;
use std::time::Duration;

use super::verdict::Verdict;
use crate::error::ConfigError;
use crate::num::{Period, Ratio, count};
use crate::time::{Tick, nanos};

const SLICES: usize = 10;
/// Sixteen steps for each doubling, from 1 ms-ish (2^20 ns) to 2^36 ns, one below and one above.
const STEPS: usize = 16 * 16 + 2;
const LEAST: u32 = 20;

/// What of the calls in a window is too much.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::WindowedConfig;
/// use mainstay::num::{Period, Ratio, count};
///
/// // A real platform's check of a region: more than half of the calls fail, or the 95th percentile is above 10 s.
/// let config = WindowedConfig::new(Period::secs(30))
///     .errors(Ratio::percent(50))
///     .slower(Ratio::percent(95), Duration::from_secs(10))
///     .least(count(20));
/// assert_eq!(config.window(), Period::secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowedConfig {
    window: Period,
    least: NonZeroU32,
    errors: Ratio,
    errors_degraded: Option<Ratio>,
    percentile: Ratio,
    slower: Option<Duration>,
    slower_degraded: Option<Duration>,
}

impl Default for WindowedConfig {
    fn default() -> Self {
        Self::new(Period::secs(30))
    }
}

impl WindowedConfig {
    /// Down when more than half of at least 20 calls in the window fail; durations do not count.
    #[must_use]
    pub const fn new(window: Period) -> Self {
        Self {
            window,
            least: count(20),
            errors: Ratio::percent(50),
            errors_degraded: None,
            percentile: Ratio::percent(95),
            slower: None,
            slower_degraded: None,
        }
    }

    /// Under so many calls nothing is known. Default 20.
    #[must_use]
    pub const fn least(mut self, calls: NonZeroU32) -> Self {
        self.least = calls;
        self
    }

    /// Down when more than this share fails. Default 50 %.
    #[must_use]
    pub const fn errors(mut self, share: Ratio) -> Self {
        self.errors = share;
        self
    }

    /// Degraded when more than this share fails. Default none.
    #[must_use]
    pub const fn errors_degraded(mut self, share: Ratio) -> Self {
        self.errors_degraded = Some(share);
        self
    }

    /// Down when this percentile of the durations is above `than`. Default none.
    #[must_use]
    pub const fn slower(mut self, percentile: Ratio, than: Duration) -> Self {
        self.percentile = percentile;
        self.slower = Some(than);
        self
    }

    /// Degraded when the percentile of the durations is above `than`. Default none.
    #[must_use]
    pub const fn slower_degraded(mut self, than: Duration) -> Self {
        self.slower_degraded = Some(than);
        self
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> Period {
        self.window
    }

    /// Whether the limits agree: what is degraded is not worse than what is down, and durations can be told apart there.
    ///
    /// # Errors
    ///
    /// With the limit that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, limit) in [
            ("slower", self.slower),
            ("slower_degraded", self.slower_degraded),
        ] {
            if let Some(limit) = limit
                && !(1 << LEAST..=1 << 36).contains(&nanos(limit))
            {
                return Err(ConfigError::new(
                    field,
                    format!("{limit:?}"),
                    "from 1.05 ms to 68.7 s",
                ));
            }
        }
        if let Some(degraded) = self.errors_degraded
            && degraded.get() > self.errors.get()
        {
            let expected = format!("at most errors, {}", self.errors.get());
            return Err(ConfigError::new(
                "errors_degraded",
                degraded.get(),
                expected,
            ));
        }
        if let (Some(degraded), Some(down)) = (self.slower_degraded, self.slower)
            && degraded > down
        {
            let expected = format!("at most slower, {down:?}");
            return Err(ConfigError::new(
                "slower_degraded",
                format!("{degraded:?}"),
                expected,
            ));
        }
        Ok(())
    }
}

/// A verdict from the calls of a window: a plain value that is told how each ended and how long it took.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::{Verdict, Windowed, WindowedConfig};
/// use mainstay::num::Period;
/// use mainstay::time::Tick;
///
/// let mut region = Windowed::new(WindowedConfig::new(Period::secs(30)));
/// let at = |secs| Tick::ZERO + Duration::from_secs(secs);
/// assert_eq!(region.verdict(at(0)), Verdict::Unknown, "no calls are no evidence");
/// for n in 0..30 {
///     region.observe(n % 3 != 0, Duration::from_millis(80), at(1));
/// }
/// assert_eq!(region.verdict(at(2)), Verdict::Down, "two of three failed");
/// assert_eq!(region.verdict(at(40)), Verdict::Unknown);
/// ```
#[derive(Clone, Debug)]
pub struct Windowed {
    config: WindowedConfig,
    slices: Box<[Slice; SLICES]>,
    /// The number of the latest slice since the clock's origin.
    latest: u64,
}

#[derive(Clone, Debug)]
struct Slice {
    calls: u32,
    failed: u32,
    took: [u32; STEPS],
}

const EMPTY: Slice = Slice {
    calls: 0,
    failed: 0,
    took: [0; STEPS],
};

impl Windowed {
    /// Nothing is known.
    #[must_use]
    pub fn new(config: WindowedConfig) -> Self {
        Self {
            config,
            slices: Box::new([EMPTY; SLICES]),
            latest: 0,
        }
    }

    /// A call has ended: whether it failed, and how long it took.
    pub fn observe(&mut self, failed: bool, took: Duration, now: Tick) {
        self.turn(now);
        let at = usize::try_from(self.latest % SLICES as u64).unwrap_or(0);
        if let Some(slice) = self.slices.get_mut(at) {
            slice.calls = slice.calls.saturating_add(1);
            slice.failed = slice.failed.saturating_add(u32::from(failed));
            if let Some(step) = slice.took.get_mut(step(took)) {
                *step = step.saturating_add(1);
            }
        }
    }

    /// The verdict at this time.
    pub fn verdict(&mut self, now: Tick) -> Verdict {
        self.turn(now);
        let calls: u64 = self.slices.iter().map(|slice| u64::from(slice.calls)).sum();
        if calls < u64::from(self.config.least.get()) {
            return Verdict::Unknown;
        }
        let failed: u64 = self
            .slices
            .iter()
            .map(|slice| u64::from(slice.failed))
            .sum();
        // `calls` is at least one; both are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "ten counts of 32 bits")]
        let share = failed as f64 / calls as f64;
        let took = self.percentile();
        let above = |share_limit: Option<Ratio>, took_limit: Option<Duration>| {
            share_limit.is_some_and(|limit| share > limit.get())
                || took_limit
                    .zip(took)
                    .is_some_and(|(limit, took)| took > upper(step(limit)))
        };
        if above(Some(self.config.errors), self.config.slower) {
            Verdict::Down
        } else if above(self.config.errors_degraded, self.config.slower_degraded) {
            Verdict::Degraded
        } else {
            Verdict::Up
        }
    }

    /// The percentile of the durations of the calls that are known, as the upper end of its step; `None` of none.
    #[must_use]
    pub fn percentile(&self) -> Option<Duration> {
        let calls: u64 = self.slices.iter().map(|slice| u64::from(slice.calls)).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the number of calls"
        )]
        let rank = ((self.config.percentile.get() * calls as f64).ceil() as u64).max(1);
        let mut seen = 0;
        (0..STEPS).find_map(|step| {
            let of = |slice: &Slice| u64::from(slice.took.get(step).copied().unwrap_or(0));
            seen += self.slices.iter().map(of).sum::<u64>();
            (seen >= rank).then(|| upper(step))
        })
    }

    /// Empties the slices that are older than the window. Rule 5: the latest never goes back.
    fn turn(&mut self, now: Tick) {
        let width = (nanos(self.config.window.get()) / SLICES as u64).max(1);
        let slice = now.as_nanos() / width;
        if slice <= self.latest {
            return;
        }
        let passed = (slice - self.latest).min(SLICES as u64);
        for n in 0..passed {
            let at = usize::try_from((slice - n) % SLICES as u64).unwrap_or(0);
            if let Some(slice) = self.slices.get_mut(at) {
                slice.clone_from(&EMPTY);
            }
        }
        self.latest = slice;
    }
}

/// The step of a duration: sixteen for each doubling.
fn step(took: Duration) -> usize {
    let nanos = nanos(took);
    // Whatever ends on a step belongs to it, so that its upper end is what was measured.
    let above = nanos.saturating_sub(1);
    let bits = 63_u32.saturating_sub(above.max(1).leading_zeros());
    if bits < LEAST {
        return 0;
    }
    let octave = (bits - LEAST) as usize;
    if octave >= 16 {
        return STEPS - 1;
    }
    let within = usize::try_from((above >> (bits - 4)) & 15).unwrap_or(15);
    1 + octave * 16 + within
}

fn upper(step: usize) -> Duration {
    let Some(step) = step.checked_sub(1) else {
        return Duration::from_nanos(1 << LEAST);
    };
    let octave = step / 16;
    if octave >= 16 {
        return Duration::MAX;
    }
    let base = 1_u64 << (LEAST as usize + octave);
    Duration::from_nanos(base + base / 16 * (step as u64 % 16 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(millis)
    }

    /// Rule 4.
    #[test]
    fn a_step_ends_at_or_above_what_is_in_it_and_at_most_a_sixteenth_above() {
        let mut nanos = 1_u64;
        while nanos < 1 << 40 {
            for took in [nanos - 1, nanos, nanos + 1, nanos + nanos / 3] {
                let end = upper(step(Duration::from_nanos(took)));
                assert!(end.as_nanos() >= u128::from(took), "{took}");
                if (1 << LEAST..=1 << 36).contains(&took) {
                    let most = took + took / 16 + 16;
                    assert!(end.as_nanos() <= u128::from(most), "{took}: {end:?}");
                }
            }
            nanos += nanos / 7 + 1;
        }
        assert_eq!(step(Duration::ZERO), 0);
        assert_eq!(step(Duration::MAX), STEPS - 1);
    }

    /// Rules 1 and 2.
    #[test]
    fn calls_go_with_their_slice_and_few_are_no_evidence() {
        let config = WindowedConfig::new(Period::secs(10)).least(count(4));
        let mut window = Windowed::new(config);
        for n in 0..3 {
            window.observe(true, Duration::ZERO, at(n * 100));
        }
        assert_eq!(window.verdict(at(300)), Verdict::Unknown);
        window.observe(true, Duration::ZERO, at(5_000));
        assert_eq!(window.verdict(at(9_999)), Verdict::Down);
        assert_eq!(
            window.verdict(at(10_000)),
            Verdict::Unknown,
            "three are gone"
        );
        for n in 0..6 {
            window.observe(n % 2 == 0, Duration::ZERO, at(10_100));
        }
        assert_eq!(window.verdict(at(10_200)), Verdict::Down, "four of seven");
        assert_eq!(
            window.verdict(at(15_000)),
            Verdict::Up,
            "three of six: not more than half"
        );
        assert_eq!(window.verdict(at(10_000_000)), Verdict::Unknown);
    }

    /// Rule 3, S2-04.
    #[test]
    fn errors_and_slowness_have_two_limits() {
        let config = WindowedConfig::new(Period::secs(30))
            .errors_degraded(Ratio::percent(10))
            .slower(Ratio::percent(95), Duration::from_secs(10))
            .slower_degraded(Duration::from_secs(2));
        assert!(config.check().is_ok());
        let verdict = |failed: u32, slow: u32, took: Duration| {
            let mut window = Windowed::new(config);
            for n in 0..100 {
                let took = if n < slow {
                    took
                } else {
                    Duration::from_millis(50)
                };
                window.observe(n < failed, took, at(1));
            }
            window.verdict(at(2))
        };
        let sec = Duration::from_secs;
        assert_eq!(
            verdict(10, 5, sec(60)),
            Verdict::Up,
            "one in twenty may take what it takes"
        );
        assert_eq!(verdict(11, 0, sec(0)), Verdict::Degraded);
        assert_eq!(verdict(51, 0, sec(0)), Verdict::Down);
        assert_eq!(verdict(0, 6, sec(3)), Verdict::Degraded);
        assert_eq!(verdict(0, 6, sec(11)), Verdict::Down);
        // Just below a limit is not above it, however wide the steps are.
        assert_eq!(
            verdict(0, 6, Duration::from_millis(9_990)),
            Verdict::Degraded
        );
        assert_eq!(verdict(0, 6, Duration::from_millis(1_960)), Verdict::Up);
        let wrong = config.slower(Ratio::percent(95), sec(120));
        assert_eq!(wrong.check().unwrap_err().field(), "slower");
        let wrong = config.errors_degraded(Ratio::percent(60));
        assert_eq!(wrong.check().unwrap_err().field(), "errors_degraded");
        let wrong = config.slower_degraded(sec(11));
        assert_eq!(wrong.check().unwrap_err().field(), "slower_degraded");
    }

    /// Rule 5.
    #[test]
    fn time_that_steps_back_counts_as_the_latest() {
        let mut window = Windowed::new(WindowedConfig::new(Period::secs(10)).least(count(1)));
        window.observe(false, Duration::ZERO, at(60_000));
        window.observe(true, Duration::ZERO, at(1_000));
        window.observe(true, Duration::ZERO, at(1_000));
        assert_eq!(window.verdict(at(1_000)), Verdict::Down);
        assert_eq!(window.verdict(at(60_001)), Verdict::Down);
    }
}
