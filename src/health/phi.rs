//! Phi accrual: how unlikely it is that a heartbeat is only late.
//!
//! 1. The times between heartbeats are remembered, the last 200 of them. Before the first two nothing is suspected.
//! 2. Phi is minus the decimal logarithm of how likely a heartbeat comes later than this one is already late, if the times
//!    are normally distributed with the mean and deviation of those remembered: 1 is a tenth, 8 is one in 10^8.
//! 3. The deviation is at least a quarter of the mean and 10 ms, or a heartbeat that was punctual for an hour would be
//!    suspected after a hiccup.
//! 4. A time longer than ten means is an outage and not a habit: it is not remembered. The third such in a row is a new
//!    habit: what was remembered is forgotten, and the time is the first of the new ones.
//! 5. While nothing is known phi is zero. After the watcher's own clock jumped (see [`Tilt`](super::Tilt)) whoever drives it
//!    calls [`forget`](Phi::forget).

use std::collections::VecDeque;

use super::verdict::Verdict;
use crate::error::ConfigError;
use crate::time::Tick;

const REMEMBERED: usize = 200;
const LEAST_DEVIATION: f64 = 10e6;

/// Suspicion of what sends heartbeats: a plain value that is told when one came.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::{Phi, Verdict};
/// use mainstay::time::Tick;
///
/// let mut replica = Phi::new(3.0, 8.0)?;
/// let at = |millis| Tick::ZERO + Duration::from_millis(millis);
/// for n in 0..100 {
///     replica.heartbeat(at(n * 1_000));
/// }
/// assert_eq!(replica.verdict(at(99_900)), Verdict::Up);
/// assert_eq!(replica.verdict(at(101_000)), Verdict::Degraded, "a second late");
/// assert_eq!(replica.verdict(at(105_000)), Verdict::Down);
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
///
/// # Source
///
/// N. Hayashibara and others, "The phi accrual failure detector", 2004; the tail of the normal distribution by the
/// logistic approximation of S. R. Bowling and others, 2009, whose error is below 1.4 in 10^4.
#[derive(Clone, Debug)]
pub struct Phi {
    suspect: f64,
    down: f64,
    times: VecDeque<u64>,
    /// Times in a row that were no habit.
    strange: u8,
    last: Option<Tick>,
}

impl Phi {
    /// Degraded from `suspect` on, down from `down` on. What others use: 8 to 12 for down.
    ///
    /// # Errors
    ///
    /// Unless both are above 0, `suspect` is at most `down`, and `down` at most 300.
    pub fn new(suspect: f64, down: f64) -> Result<Self, ConfigError> {
        if !(down > 0.0 && down <= 300.0) {
            return Err(ConfigError::new("down", down, "above 0, at most 300"));
        }
        if !(suspect > 0.0 && suspect <= down) {
            let expected = format!("above 0, at most down, {down}");
            return Err(ConfigError::new("suspect", suspect, expected));
        }
        Ok(Self {
            suspect,
            down,
            times: VecDeque::new(),
            strange: 0,
            last: None,
        })
    }

    /// A heartbeat came. One from the past is none.
    pub fn heartbeat(&mut self, now: Tick) {
        if let Some(last) = self.last {
            if now <= last {
                return;
            }
            let took = now.as_nanos() - last.as_nanos();
            let (mean, _) = self.habit();
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let is_habit = self.times.len() < 2 || (took as f64) <= mean * 10.0;
            self.strange = if is_habit { 0 } else { self.strange + 1 };
            let is_new = self.strange >= 3;
            if is_new {
                self.strange = 0;
                self.times.clear();
            }
            if is_habit || is_new {
                if self.times.len() == REMEMBERED {
                    self.times.pop_front();
                }
                self.times.push_back(took);
            }
        }
        self.last = Some(now);
    }

    /// Begins anew: what was heard says nothing about what comes.
    pub fn forget(&mut self) {
        self.times.clear();
        self.strange = 0;
        self.last = None;
    }

    /// The suspicion at this time, 0 to some hundreds.
    #[must_use]
    pub fn phi(&self, now: Tick) -> f64 {
        let Some(last) = self.last else {
            return 0.0;
        };
        if self.times.len() < 2 {
            return 0.0;
        }
        let (mean, deviation) = self.habit();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let late = now.as_nanos().saturating_sub(last.as_nanos()) as f64;
        let y = (late - mean) / deviation;
        // ln(1 + e^x) without overflow, where the tail is 1 / (1 + e^x).
        let x = y * (1.5976 + 0.070_566 * y * y);
        let ln = if x > 30.0 { x } else { x.exp().ln_1p() };
        ln / std::f64::consts::LN_10
    }

    /// The verdict at this time; unknown before the third heartbeat.
    #[must_use]
    pub fn verdict(&self, now: Tick) -> Verdict {
        if self.times.len() < 2 {
            return Verdict::Unknown;
        }
        let phi = self.phi(now);
        if phi >= self.down {
            Verdict::Down
        } else if phi >= self.suspect {
            Verdict::Degraded
        } else {
            Verdict::Up
        }
    }

    /// The mean and the deviation of the times, in nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn habit(&self) -> (f64, f64) {
        let n = self.times.len().max(1) as f64;
        let mean = self.times.iter().map(|time| *time as f64).sum::<f64>() / n;
        let square = |time: &u64| (*time as f64 - mean).powi(2);
        let variance = self.times.iter().map(square).sum::<f64>() / n;
        let deviation = variance.sqrt().max(mean / 4.0).max(LEAST_DEVIATION);
        (mean, deviation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(millis)
    }

    fn steady(every: u64, beats: u64) -> Phi {
        let mut phi = Phi::new(3.0, 8.0).unwrap();
        for n in 0..beats {
            phi.heartbeat(at(n * every));
        }
        phi
    }

    /// Rule 2: against the normal distribution's own tail.
    #[test]
    fn phi_is_the_logarithm_of_the_tail() {
        let phi = steady(1_000, 100);
        // The deviation is a quarter of the mean; one, two, three of them late.
        let tails = [(250, 0.158_655), (500, 0.022_750), (750, 0.001_350)];
        for (late, tail) in tails {
            let got = 10_f64.powf(-phi.phi(at(100_000 + late)));
            assert!((got - tail).abs() < 2e-4, "{late}: {got} of {tail}");
        }
        assert!(
            (phi.phi(at(100_000)) - 0.301).abs() < 1e-3,
            "on time: a half"
        );
    }

    /// Suspicion only grows while nothing comes, and has no end at which it turns.
    #[test]
    fn suspicion_grows_with_time() {
        let phi = steady(1_000, 50);
        let mut before = 0.0;
        for late in 0..10_000 {
            let now = phi.phi(at(49_000 + late * 100));
            assert!(
                now >= before && now.is_finite(),
                "{late}: {before} then {now}"
            );
            before = now;
        }
        assert_eq!(phi.verdict(Tick::NEVER), Verdict::Down);
        assert!(phi.phi(Tick::NEVER) > 300.0);
    }

    /// Rules 1 and 5.
    #[test]
    fn few_heartbeats_are_no_habit() {
        assert_eq!(steady(1_000, 0).verdict(at(1_000_000)), Verdict::Unknown);
        assert_eq!(steady(1_000, 2).verdict(at(1_000_000)), Verdict::Unknown);
        assert_eq!(steady(1_000, 3).verdict(at(1_000_000)), Verdict::Down);
        assert!((steady(1_000, 2).phi(at(1_000_000))).abs() < f64::EPSILON);
    }

    /// Rule 4: after an outage the same lateness is as suspicious as before.
    #[test]
    fn an_outage_is_not_learned() {
        let mut phi = steady(1_000, 50);
        let before = phi.phi(at(51_000));
        phi.heartbeat(at(3_600_000));
        phi.heartbeat(at(3_601_000));
        let after = phi.phi(at(3_603_000));
        assert!((before - after).abs() < 0.1, "{before} {after}");
        assert_eq!(phi.times.len(), 50);
    }

    /// Rule 4: what beats a hundred times slower from some moment on is suspected for three beats, and not for ever.
    #[test]
    fn a_new_habit_is_learned() {
        let mut phi = steady(100, 50);
        let mut now = 4_900;
        for _ in 0..8 {
            now += 10_000;
            phi.heartbeat(at(now));
        }
        assert_eq!(phi.verdict(at(now + 10_100)), Verdict::Up);
        assert_eq!(phi.verdict(at(now + 60_000)), Verdict::Down);
        phi.forget();
        assert_eq!(phi.verdict(at(now + 60_000)), Verdict::Unknown);
    }

    /// Memory is bounded, and a slower habit is learned.
    #[test]
    fn habits_change_and_memory_is_bounded() {
        let mut phi = steady(1_000, 1_000);
        assert_eq!(phi.times.len(), REMEMBERED);
        let late = at(999_000 + 3_000);
        assert_eq!(
            phi.verdict(late),
            Verdict::Degraded.max_of(phi.verdict(late))
        );
        for n in 1..=400 {
            phi.heartbeat(at(999_000 + n * 3_000));
        }
        assert_eq!(phi.verdict(at(999_000 + 400 * 3_000 + 3_100)), Verdict::Up);
    }

    impl Verdict {
        /// Down or degraded, as the case may be.
        fn max_of(self, other: Self) -> Self {
            if other == Self::Down { other } else { self }
        }
    }

    #[test]
    fn limits_are_checked() {
        for (suspect, down, field) in [
            (1.0, f64::NAN, "down"),
            (9.0, 8.0, "suspect"),
            (0.0, 8.0, "suspect"),
            (1.0, 0.0, "down"),
        ] {
            assert_eq!(Phi::new(suspect, down).unwrap_err().field(), field);
        }
    }
}
