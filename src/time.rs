//! The time that machines are given.
//!
//! A machine never reads a clock: it takes a [`Tick`] as its last argument. Ticks come from one monotonic clock, so
//! they order events within one process and mean nothing outside it. What is written down for later processes is a
//! [`Timestamp`].

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A moment of the monotonic clock: nanoseconds since an origin that the shell chose.
///
/// All arithmetic saturates, so a machine that is fed odd times stays total. The range is 584 years.
///
/// # Example
///
/// ```
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let start = Tick::from_nanos(5);
/// let later = start + Duration::from_secs(1);
/// assert_eq!(later.since(start), Duration::from_secs(1));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Tick(u64);

impl Tick {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` before `self`, the origin if that lies before it.
    #[must_use]
    pub const fn back(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// Nanoseconds of a duration, saturating after 584 years.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked above; `try_from` is not const"
        )]
        {
            nanos as u64
        }
    }
}

/// A moment of the wall clock: milliseconds since the Unix epoch, for durable records only.
///
/// It can step backwards and differs between machines, so nothing that decides a timeout looks at it.
///
/// # Example
///
/// ```
/// use mainstay::time::Timestamp;
///
/// assert_eq!(Timestamp::from_millis(1_500).to_string(), "1.500");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch, before it when negative.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self` as these clocks tell it, zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(if millis > 0 { millis.unsigned_abs() } else { 0 })
    }

    /// The moment `duration` after `self`, saturating.
    pub(crate) fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Seconds since the Unix epoch with three decimals.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let millis = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", millis / 1_000, millis % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Tick::NEVER + Duration::from_secs(1), Tick::NEVER);
        assert_eq!(Tick::ZERO + Duration::MAX, Tick::NEVER);
        assert_eq!(Tick::ZERO.back(Duration::from_secs(1)), Tick::ZERO);
    }

    #[test]
    fn timestamps_print_both_sides_of_the_epoch() {
        assert_eq!(Timestamp::from_millis(-1).to_string(), "-0.001");
        assert_eq!(
            Timestamp::from_millis(i64::MIN).to_string(),
            "-9223372036854775.808"
        );
    }
}
