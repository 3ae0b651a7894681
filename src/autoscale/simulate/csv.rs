use std::fmt;

use super::trace::Trace;

/// The longest trace in seconds: a year and a half.
const LONGEST: i64 = 50_000_000;

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotATrace {
    line: usize,
    what: &'static str,
}

impl NotATrace {
    /// The line, counted from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for NotATrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.what)
    }
}

impl std::error::Error for NotATrace {}

impl Trace {
    /// Reads a CSV file with one row a request, whose first column is the time of arrival.
    ///
    /// Times are such as `2023-11-16 18:17:03.9799600`, with a space or a `T` in the middle and a `Z` or nothing at the
    /// end, or numbers of seconds. Rows need not be in order. The first line is passed over when it holds no time, and
    /// empty lines are. A column called `count` says how many arrived then, where there is one.
    ///
    /// # Errors
    ///
    /// Names the line that is not understood, or says that there is none or that they are too far apart (a year and a
    /// half).
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::autoscale::simulate::Trace;
    ///
    /// let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
    ///             2023-11-16 18:17:03.9799600,4808,10\n\
    ///             2023-11-16 18:17:05.0319600,3180,8\n";
    /// assert_eq!(Trace::from_csv("code", text)?.arrivals(), [1, 0, 1]);
    /// # Ok::<(), mainstay::autoscale::simulate::NotATrace>(())
    /// ```
    pub fn from_csv(name: impl Into<String>, text: &str) -> Result<Self, NotATrace> {
        let mut rows = Vec::new();
        let mut counts = None;
        for (at, line) in text.lines().enumerate() {
            let bad = |what| NotATrace { line: at + 1, what };
            let mut fields = line.trim().split(',').map(str::trim);
            let first = fields.next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            let Some(second) = second(first) else {
                if rows.is_empty() && counts.is_none() {
                    counts = Some(fields.position(|field| field.eq_ignore_ascii_case("count")));
                    continue;
                }
                return Err(bad("a time such as 2023-11-16 18:17:03.97, or seconds"));
            };
            let count = match counts.flatten() {
                None => 1,
                Some(place) => fields
                    .nth(place)
                    .and_then(|field| field.parse::<u32>().ok())
                    .ok_or_else(|| bad("a count"))?,
            };
            rows.push((second, count));
        }
        let begins = rows.iter().map(|(second, _)| *second).min();
        let ends = rows.iter().map(|(second, _)| *second).max();
        let (Some(begins), Some(ends)) = (begins, ends) else {
            let what = "at least one row with a time";
            return Err(NotATrace { line: 1, what });
        };
        let length = ends.saturating_sub(begins);
        if length >= LONGEST {
            let what = "times that are at most a year and a half apart";
            return Err(NotATrace { line: 1, what });
        }
        let length = usize::try_from(length.saturating_add(1)).unwrap_or_default();
        let mut arrivals = vec![0_u32; length];
        for (second, count) in rows {
            let place = usize::try_from(second.saturating_sub(begins)).unwrap_or_default();
            if let Some(there) = arrivals.get_mut(place) {
                *there = there.saturating_add(count);
            }
        }
        Ok(Self::new(name, arrivals))
    }
}

/// The whole second of a time: since the Unix epoch, or since wherever the numbers count from.
fn second(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "checked")]
        return (seconds.abs() < 1e12).then(|| seconds.floor() as i64);
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.splitn(3, '-').map(str::parse::<u16>);
    let mut part = || parts.next()?.ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let time = time.strip_suffix('Z').unwrap_or(time);
    let mut parts = time.splitn(3, ':');
    let hour: u16 = parts.next()?.parse().ok()?;
    let minute: u16 = parts.next()?.parse().ok()?;
    let second: u16 = parts.next()?.split('.').next()?.parse().ok()?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let of_day = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    fits.then(|| days(year.into(), month.into(), day.into()) * 86_400 + of_day)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar: years begin in March, so that the leap day is the last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_known_dates() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2023, 11, 16), 19_677);
    }

    #[test]
    fn rows_out_of_order_and_counts() {
        let trace = Trace::from_csv("t", "second,count\n5,2\n3,1\n\n5.9,4\n").unwrap();
        assert_eq!(trace.arrivals(), [1, 0, 6]);
    }

    #[test]
    fn what_is_no_trace_is_named_by_its_line() {
        for (text, line) in [
            ("", 1),
            ("a,b\nc,d\n", 2),
            ("1\n2\nx\n", 3),
            ("t,count\n1,x\n", 2),
            ("0\n99999999999\n", 1),
            ("2023-13-01 00:00:00\n2023-13-01 00:00:00\n", 2),
        ] {
            assert_eq!(
                Trace::from_csv("t", text).unwrap_err().line(),
                line,
                "{text}"
            );
        }
    }
}
