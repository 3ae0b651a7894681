//! Kubernetes' quantities: `500m`, `1Gi`, `1e3`.
//!
//! Rules, as `resource.Quantity` has them:
//!
//! 1. A sign, digits with at most one point, and a suffix: `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or an exponent
//!    `e` or `E` with a whole number. `1E` is exa, `1E3` is a thousand.
//! 2. What is finer than a billionth is rounded away from zero; what is larger than 2⁶³−1 is that.
//! 3. It is written back in the family of suffixes that it came in, with no fraction and the largest suffix that fits.

use std::fmt;
use std::str::FromStr;

/// Billionths in a whole.
const NANOS: i128 = 1_000_000_000;
/// The largest quantity, in billionths.
const MOST: i128 = i64::MAX as i128 * NANOS;

/// The families of suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    Binary,
    Decimal,
    Exponent,
}

/// A number with a suffix, exact to a billionth.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Quantity;
///
/// let half: Quantity = "500m".parse()?;
/// assert_eq!(half, "0.5".parse()?);
/// assert_eq!(half.milli(), 500);
/// assert_eq!("1Gi".parse::<Quantity>()?.milli(), 1_073_741_824_000);
/// assert_eq!("1e3".parse::<Quantity>()?.milli(), 1_000_000);
/// assert_eq!("0.5Ki".parse::<Quantity>()?.to_string(), "512");
/// assert!("1Go".parse::<Quantity>().is_err());
/// # Ok::<(), mainstay::autoscale::hpa::NotAQuantity>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    family: Family,
}

/// Two quantities are equal when their values are, however they are written.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Quantity {
    /// So many thousandths.
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self {
            nanos: milli as i128 * (NANOS / 1_000),
            family: Family::Decimal,
        }
    }

    /// Thousandths, rounded up; capped at the ends of the type.
    #[must_use]
    pub fn milli(self) -> i64 {
        let unit = NANOS / 1_000;
        let floor = self.nanos.div_euclid(unit);
        let ceiled = floor + i128::from(self.nanos.rem_euclid(unit) != 0);
        capped(ceiled)
    }

    /// As a number.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the nearest number is what is asked for"
    )]
    pub const fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is more than nothing.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.nanos > 0
    }

    /// Whether it is less than nothing.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

/// `value` as far as it fits.
pub(super) fn capped(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// A text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAQuantity;

impl fmt::Display for NotAQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no quantity such as 500m, 1Gi or 1e3")
    }
}

impl std::error::Error for NotAQuantity {}

/// What a suffix multiplies by.
enum Suffix {
    /// Ten to the power.
    Ten(i64),
    /// Two to the power.
    Two(u32),
}

fn suffix(text: &str) -> Option<(Suffix, Family)> {
    let ten = |power| Some((Suffix::Ten(power), Family::Decimal));
    let two = |power| Some((Suffix::Two(power), Family::Binary));
    match text {
        "n" => return ten(-9),
        "u" => return ten(-6),
        "m" => return ten(-3),
        "" => return ten(0),
        "k" => return ten(3),
        "M" => return ten(6),
        "G" => return ten(9),
        "T" => return ten(12),
        "P" => return ten(15),
        "E" => return ten(18),
        "Ki" => return two(10),
        "Mi" => return two(20),
        "Gi" => return two(30),
        "Ti" => return two(40),
        "Pi" => return two(50),
        "Ei" => return two(60),
        _ => {}
    }
    let power = text.strip_prefix(['e', 'E'])?;
    let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power: i32 = power.parse().ok()?;
    Some((Suffix::Ten(power.into()), Family::Exponent))
}

/// `digits · 10^power` in whole numbers, rounded up and capped.
fn scaled(whole: &str, fraction: &str, power: i64) -> i128 {
    let mut digits = String::with_capacity(whole.len() + fraction.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let mut power = power - as_power(fraction.len());
    let without_end = digits.trim_end_matches('0');
    power += as_power(digits.len() - without_end.len());
    let digits = without_end.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let length = as_power(digits.len()) + power;
    if length > 29 {
        return MOST;
    }
    if power >= 0 {
        let mut value: i128 = digits.parse().unwrap_or(MOST);
        for _ in 0..power {
            value = value.saturating_mul(10);
        }
        return value.min(MOST);
    }
    let kept = usize::try_from(length).unwrap_or(0);
    let kept = digits.get(..kept).unwrap_or_default();
    // The last digit that is not zero was cut off, so there is a rest.
    let value: i128 = if kept.is_empty() {
        0
    } else {
        kept.parse().unwrap_or(MOST)
    };
    value.saturating_add(1).min(MOST)
}

fn as_power(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

/// `whole.fraction · 2^power` in billionths, rounded up and capped.
fn doubled(whole: &str, fraction: &str, power: u32) -> i128 {
    /// So many digits at a time: times 2⁶⁰ they fit.
    const CHUNK: usize = 18;
    let scale = 1_i128 << power;
    let whole = whole.trim_start_matches('0');
    let whole = match whole.len() {
        0 => 0,
        1..=19 => whole.parse::<i128>().unwrap_or(MOST),
        _ => return MOST,
    };
    let chunk = |at: usize| {
        let digits = fraction.bytes().skip(at).chain(std::iter::repeat(b'0'));
        let digit = |value: i128, byte: u8| value * 10 + i128::from(byte.saturating_sub(b'0'));
        digits.take(CHUNK).fold(0, digit)
    };
    let ten_to_18 = NANOS * NANOS;
    let first = chunk(0) * scale;
    let (quotient, rest) = (first / NANOS, first % NANOS);
    let second = rest * ten_to_18 + chunk(CHUNK) * scale;
    let more = fraction.bytes().skip(2 * CHUNK).any(|byte| byte != b'0');
    let unit = ten_to_18 * NANOS;
    let up = second % unit != 0 || more;
    let fraction = quotient + second / unit + i128::from(up);
    let whole = whole.saturating_mul(scale).saturating_mul(NANOS);
    whole.saturating_add(fraction).min(MOST)
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.bytes().position(|byte| !byte.is_ascii_digit());
        let (whole, rest) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let end = rest.bytes().position(|byte| !byte.is_ascii_digit());
                rest.split_at(end.unwrap_or(rest.len()))
            }
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(NotAQuantity);
        }
        let (suffix, mut family) = suffix(rest).ok_or(NotAQuantity)?;
        let nanos = match suffix {
            Suffix::Ten(power) => scaled(whole, fraction, power + 9),
            Suffix::Two(power) => doubled(whole, fraction, power),
        };
        if family == Family::Binary && nanos < NANOS {
            family = Family::Decimal;
        }
        let nanos = if text.starts_with('-') { -nanos } else { nanos };
        Ok(Self { nanos, family })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TENS: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        const TWOS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let whole = self.nanos % NANOS == 0;
        let units = self.nanos / NANOS;
        if self.family == Family::Binary && whole && units.abs() >= 1_024 {
            let (mut value, mut step) = (units, 0);
            while value % 1_024 == 0 && step + 1 < TWOS.len() {
                value /= 1_024;
                step += 1;
            }
            return write!(f, "{value}{}", TWOS.get(step).unwrap_or(&""));
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mut value, mut step) = (self.nanos, 0);
        while value % 1_000 == 0 && step + 1 < TENS.len() {
            value /= 1_000;
            step += 1;
        }
        let power = as_power(step) * 3 - 9;
        match self.family {
            Family::Exponent if power != 0 => write!(f, "{value}e{power}"),
            _ => write!(f, "{value}{}", TENS.get(step).unwrap_or(&"")),
        }
    }
}

/// As text, the way that Kubernetes writes it.
#[cfg(feature = "serde")]
impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milli(text: &str) -> Option<i64> {
        text.parse::<Quantity>().ok().map(Quantity::milli)
    }

    #[test]
    fn rule_1_what_is_a_quantity() {
        for (text, expected) in [
            ("0", 0),
            ("100", 100_000),
            ("+1", 1_000),
            ("-1.5", -1_500),
            (".5", 500),
            ("5.", 5_000),
            ("500m", 500),
            ("1500000u", 1_500),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1e-3", 1),
            ("1E+1", 10_000),
            ("0000000000000000000000000000000000000000012", 12_000),
            ("0.001", 1),
            ("2E", i64::MAX),
        ] {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "m",
            "1 ",
            " 1",
            "1K",
            "1ki",
            "1e",
            "1e1.5",
            "1.2.3",
            "--1",
            "1mm",
            "0x10",
            "1Go",
            "NaN",
            "١",
            "1e99999999999",
        ] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    #[test]
    fn rule_2_fine_values_are_rounded_up_and_large_ones_capped() {
        assert_eq!("1n".parse::<Quantity>().unwrap().nanos, 1);
        assert_eq!("0.1n".parse::<Quantity>().unwrap().nanos, 1);
        assert_eq!("-0.1n".parse::<Quantity>().unwrap().nanos, -1);
        assert_eq!("1.0000000001".parse::<Quantity>().unwrap().nanos, NANOS + 1);
        assert_eq!("1e-40".parse::<Quantity>().unwrap().nanos, 1);
        assert_eq!(milli("1n"), Some(1));
        assert_eq!(milli("-1n"), Some(0));
        assert_eq!(milli("1e2147483647"), Some(i64::MAX));
        assert_eq!(milli("-9Ei"), Some(i64::MIN));
        for text in [
            "100E",
            "1e30",
            "99999999999999999999999999999999999999999",
            "100000000000Ei",
            "8Ei",
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().nanos, MOST, "{text}");
        }
        // Half a billionth of an exbi, and what is finer than a billionth of a unit.
        assert_eq!(
            "0.0000000000000000005Ei".parse::<Quantity>().unwrap().nanos,
            576_460_753
        );
        assert_eq!(
            "0.00000000000000000000000000000000000001Ei"
                .parse::<Quantity>()
                .unwrap()
                .nanos,
            1
        );
        assert_eq!("0.0009765625Ki".parse::<Quantity>().unwrap().nanos, NANOS);
    }

    #[test]
    fn rule_3_it_is_written_in_its_own_family() {
        for (text, expected) in [
            ("0", "0"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("100000", "100k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1536Mi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.1Mi", "104857600m"),
            ("1e3", "1e3"),
            ("1e0", "1"),
            ("-12e4", "-120e3"),
            ("-1Gi", "-1Gi"),
        ] {
            let read: Quantity = text.parse().unwrap();
            assert_eq!(read.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Quantity>().unwrap(), read, "{text}");
        }
    }
}
