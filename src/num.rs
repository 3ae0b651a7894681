//! Numbers that are checked when they are made.
//!
//! A setting that takes one of these cannot be wrong, so setters do not fail.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;

/// A share: finite and in `[0, 1]`.
///
/// # Example
///
/// ```
/// use mainstay::num::Ratio;
///
/// const HALF: Ratio = Ratio::percent(50);
/// assert_eq!(Ratio::new("ratio", 0.5)?, HALF);
/// assert!(Ratio::new("ratio", f64::NAN).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All.
    pub const ONE: Self = Self(1.0);

    /// Checks a share that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the value is not finite or lies outside `[0, 1]`.
    pub fn new(field: &'static str, value: f64) -> Result<Self, ConfigError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ConfigError::new(field, value, "a number from 0 to 1"))
        }
    }

    /// A share in percent, for literals.
    ///
    /// # Panics
    ///
    /// Above 100; in a `const` that is a compile error.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        assert!(percent <= 100, "a percentage is at most 100");
        Self(percent as f64 / 100.0)
    }

    /// The share as a number in `[0, 1]`.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A length of time that is not zero and fits the clock (584 years).
///
/// # Example
///
/// ```
/// use mainstay::num::Period;
/// use std::time::Duration;
///
/// const WINDOW: Period = Period::secs(60);
/// assert_eq!(WINDOW.get(), Duration::from_secs(60));
/// assert!(Period::new("window", Duration::ZERO).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// Checks a length of time that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the duration is zero or longer than 584 years.
    pub fn new(field: &'static str, value: Duration) -> Result<Self, ConfigError> {
        if value.is_zero() || value.as_nanos() > u128::from(u64::MAX) {
            let value = format!("{value:?}");
            Err(ConfigError::new(
                field,
                value,
                "a duration from 1 ns to 584 years",
            ))
        } else {
            Ok(Self(value))
        }
    }

    /// Whole seconds, for literals.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn secs(secs: u32) -> Self {
        assert!(secs > 0, "a period is not zero");
        Self(Duration::from_secs(secs as u64))
    }

    /// Whole milliseconds, for literals.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn millis(millis: u32) -> Self {
        assert!(millis > 0, "a period is not zero");
        Self(Duration::from_millis(millis as u64))
    }

    /// The length of time.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// So many nanoseconds, at least one.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(if nanos == 0 { 1 } else { nanos }))
    }

    /// This period divided by `by`, at least one nanosecond.
    #[must_use]
    pub(crate) fn compressed(self, by: NonZeroU32) -> Self {
        Self((self.0 / by.get()).max(Duration::from_nanos(1)))
    }
}

/// A growth factor: finite and at least 1.
///
/// # Example
///
/// ```
/// use mainstay::num::Factor;
///
/// assert_eq!(Factor::new("factor", 2.0)?, Factor::TWO);
/// assert!(Factor::new("factor", 0.5).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Factor(f64);

impl Factor {
    /// Half as much again.
    pub const ONE_AND_A_HALF: Self = Self(1.5);
    /// Doubling.
    pub const TWO: Self = Self(2.0);

    /// A factor in percent, for literals: 150 is half as much again.
    ///
    /// # Panics
    ///
    /// Below 100; in a `const` that is a compile error.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        assert!(percent >= 100, "a factor is at least 100 percent");
        Self(percent as f64 / 100.0)
    }

    /// Checks a factor that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the value is below 1 or not finite.
    pub fn new(field: &'static str, value: f64) -> Result<Self, ConfigError> {
        if (1.0..=f64::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ConfigError::new(
                field,
                value,
                "a finite number of at least 1",
            ))
        }
    }

    /// The factor as a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// How often a call may be tried in all, the first attempt included.
///
/// Sources disagree on what "max retries: 3" counts, so each reading has a constructor and the value stores one:
/// total attempts.
///
/// # Example
///
/// ```
/// use mainstay::num::Attempts;
///
/// assert_eq!(Attempts::total(3), Attempts::retries(2));
/// assert_eq!(Attempts::NO_RETRY.get(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempts(NonZeroU32);

impl Attempts {
    /// One attempt: never retried.
    pub const NO_RETRY: Self = Self(NonZeroU32::MIN);

    /// This many calls at most, the first included.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error. [`new`](Self::new) checks a value from outside.
    #[must_use]
    pub const fn total(attempts: u32) -> Self {
        match NonZeroU32::new(attempts) {
            Some(attempts) => Self(attempts),
            None => panic!("a call is attempted at least once"),
        }
    }

    /// One call and at most this many retries after it.
    #[must_use]
    pub const fn retries(retries: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(retries))
    }

    /// Checks a total that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the value is zero.
    pub fn new(field: &'static str, attempts: u32) -> Result<Self, ConfigError> {
        NonZeroU32::new(attempts)
            .map(Self)
            .ok_or_else(|| ConfigError::new(field, attempts, "at least 1 attempt in all"))
    }

    /// Attempts in all.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A count that is not zero, for literals.
///
/// # Panics
///
/// At zero; in a `const` that is a compile error.
#[must_use]
pub const fn count(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => panic!("a count is not zero"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_outside_the_unit_interval_are_refused_by_name() {
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = Ratio::new("budget.ratio", bad).unwrap_err();
            assert_eq!(error.field(), "budget.ratio");
        }
    }

    #[test]
    fn the_two_readings_of_max_retries() {
        assert_eq!(Attempts::total(3).get(), 3);
        assert_eq!(Attempts::retries(3).get(), 4);
        assert_eq!(Attempts::retries(u32::MAX).get(), u32::MAX);
    }
}
