//! Which answers over HTTP are good: a plain value that is told a status and a body.
//!
//! 1. A status that is not expected is bad, whatever the body says: the body is not asked for.
//! 2. Where nothing is expected of the body it is not read.
//! 3. A body that is longer than the bound is bad, and its beginning is not judged.
//! 4. Nothing of a body is kept.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::sample::{Sample, Why};
use crate::error::ConfigError;

/// The statuses of HTTP that have a place in the set: three digits.
const FIRST: u16 = 100;
const LAST: u16 = 999;
const WORDS: usize = (LAST as usize + 64) / 64;

/// Which answers over HTTP are good.
///
/// # Example
///
/// ```
/// use mainstay::health::{Expected, Sample, Why};
///
/// // A gateway that asks for credentials is there; of others it must say that it is green, in at most 1 KiB.
/// let expected = Expected::statuses([200..=299, 401..=401])?
///     .body(1_024, |body| body.is_empty() || body.starts_with(b"green"));
/// assert_eq!(expected.judge(200, Some(b"green")), Sample::UP);
/// assert_eq!(expected.judge(200, Some(b"red")), Sample::down(Why::Answer));
/// assert_eq!(expected.judge(503, None), Sample::down(Why::Status(503)));
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Expected {
    statuses: [u64; WORDS],
    body: Option<Body>,
}

#[derive(Clone)]
struct Body {
    longest: usize,
    is_good: Arc<IsGood>,
}

type IsGood = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Any status of success, whatever the body.
impl Default for Expected {
    fn default() -> Self {
        let mut expected = Self::nothing();
        expected.add(200..=299);
        expected
    }
}

impl Expected {
    /// These statuses and no others.
    ///
    /// # Errors
    ///
    /// If there is none, or one that is not of three digits, or a range that ends before it begins.
    pub fn statuses(
        ranges: impl IntoIterator<Item = RangeInclusive<u16>>,
    ) -> Result<Self, ConfigError> {
        let mut expected = Self::nothing();
        for range in ranges {
            let (first, last) = (*range.start(), *range.end());
            if first < FIRST || last > LAST || last < first {
                let given = format!("{first}..={last}");
                let wanted = "a range of statuses between 100 and 999";
                return Err(ConfigError::new("statuses", given, wanted));
            }
            expected.add(range);
        }
        if expected.statuses.iter().all(|word| *word == 0) {
            return Err(ConfigError::new("statuses", "none", "at least one"));
        }
        Ok(expected)
    }

    /// What the body must be, of which at most `longest` bytes are read. Default anything, and then it is not read.
    ///
    /// Keep it small: it is held in memory at each look. A longer body is bad.
    #[must_use]
    pub fn body(
        mut self,
        longest: usize,
        is_good: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.body = Some(Body {
            longest,
            is_good: Arc::new(is_good),
        });
        self
    }

    /// How much of the body must be read of an answer with this status; `None` where none of it matters.
    #[must_use]
    pub fn reads(&self, status: u16) -> Option<usize> {
        let body = self.body.as_ref()?;
        self.has(status).then_some(body.longest)
    }

    /// What an answer is worth. The body is `None` where it was not read, or was longer than the bound.
    #[must_use]
    pub fn judge(&self, status: u16, body: Option<&[u8]>) -> Sample {
        if !self.has(status) {
            return Sample::down(Why::Status(status));
        }
        match (&self.body, body) {
            (None, _) => Sample::UP,
            (Some(expected), Some(body)) if body.len() <= expected.longest => {
                if (expected.is_good)(body) {
                    Sample::UP
                } else {
                    Sample::down(Why::Answer)
                }
            }
            (Some(_), _) => Sample::down(Why::Long),
        }
    }

    /// Whether it is one of the expected statuses.
    #[must_use]
    pub fn has(&self, status: u16) -> bool {
        let word = self.statuses.get(usize::from(status / 64));
        word.is_some_and(|word| word & 1 << (status % 64) != 0)
    }

    const fn nothing() -> Self {
        Self {
            statuses: [0; WORDS],
            body: None,
        }
    }

    fn add(&mut self, range: RangeInclusive<u16>) {
        for status in range {
            if let Some(word) = self.statuses.get_mut(usize::from(status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
    }
}

/// The ranges of statuses, and how much of a body is read.
impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for status in (FIRST..=LAST).filter(|status| self.has(*status)) {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == status => *last = *last.start()..=status,
                _ => ranges.push(status..=status),
            }
        }
        f.debug_struct("Expected")
            .field("statuses", &ranges)
            .field("body", &self.body.as_ref().map(|body| body.longest))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules 1 and 2.
    #[test]
    fn a_status_is_in_the_set_or_bad() {
        let expected = Expected::statuses([204..=206, 100..=100, 999..=999]).unwrap();
        for status in 0..=u16::MAX {
            let is_good = matches!(status, 204..=206 | 100 | 999);
            let sample = if is_good {
                Sample::UP
            } else {
                Sample::down(Why::Status(status))
            };
            assert_eq!(expected.judge(status, None), sample);
            assert_eq!(expected.reads(status), None);
        }
        assert_eq!(
            format!("{expected:?}"),
            "Expected { statuses: [100..=100, 204..=206, 999..=999], body: None }"
        );
        let any = Expected::default();
        assert!(any.has(200) && any.has(299) && !any.has(199) && !any.has(300));
    }

    /// Rules 1 and 3.
    #[test]
    fn a_body_is_judged_whole_or_not_at_all() {
        let expected = Expected::default().body(4, |body| body == b"good");
        assert_eq!((expected.reads(200), expected.reads(500)), (Some(4), None));
        assert_eq!(expected.judge(200, Some(b"good")), Sample::UP);
        assert_eq!(expected.judge(200, Some(b"goo")), Sample::down(Why::Answer));
        assert_eq!(expected.judge(200, Some(b"goody")), Sample::down(Why::Long));
        assert_eq!(expected.judge(200, None), Sample::down(Why::Long));
        assert_eq!(
            expected.judge(500, Some(b"good")),
            Sample::down(Why::Status(500))
        );
        let anything = Expected::default().body(4, |_| true);
        assert_eq!(anything.judge(200, Some(b"")), Sample::UP);
        assert_eq!(anything.judge(200, Some(b"12345")), Sample::down(Why::Long));
    }

    #[test]
    fn a_set_that_cannot_be_is_refused() {
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let wrong = [99..=200, 200..=1_000, 300..=200];
        for range in wrong {
            assert_eq!(Expected::statuses([range]).unwrap_err().field(), "statuses");
        }
        let error = Expected::statuses([]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "statuses: expected at least one, got none"
        );
    }
}
