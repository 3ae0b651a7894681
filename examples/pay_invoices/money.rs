//! Money: integer minor units with a currency. Never a float, and no sum that overflows unnoticed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A currency that the ledger books. How many digits stand after the point differs: none, two or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Currency {
    Bhd,
    Chf,
    Eur,
    Gbp,
    Jpy,
    Krw,
    Kwd,
    Tnd,
    Usd,
}

impl Currency {
    pub(crate) const ALL: [Self; 9] = [
        Self::Bhd,
        Self::Chf,
        Self::Eur,
        Self::Gbp,
        Self::Jpy,
        Self::Krw,
        Self::Kwd,
        Self::Tnd,
        Self::Usd,
    ];

    /// The code of ISO 4217.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Bhd => "BHD",
            Self::Chf => "CHF",
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Jpy => "JPY",
            Self::Krw => "KRW",
            Self::Kwd => "KWD",
            Self::Tnd => "TND",
            Self::Usd => "USD",
        }
    }

    /// Digits after the point; the minor unit is 10⁻ᵉ of the major one.
    pub(crate) fn exponent(self) -> u32 {
        match self {
            Self::Jpy | Self::Krw => 0,
            Self::Chf | Self::Eur | Self::Gbp | Self::Usd => 2,
            Self::Bhd | Self::Kwd | Self::Tnd => 3,
        }
    }

    /// The minor units in one major unit.
    pub(crate) fn scale(self) -> i64 {
        10_i64.pow(self.exponent())
    }
}

impl FromStr for Currency {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|currency| currency.code() == code)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|currency| currency.code()).collect();
                format!("unknown currency; expected one of {}", known.join(", "))
            })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Money {
    pub(crate) minor: i64,
    pub(crate) currency: Currency,
}

impl Money {
    /// Reads an amount to be paid as exports write it: digits, and a point with at most the currency's own digits.
    ///
    /// Whatever would need a guess is refused: a thousands separator, a decimal comma, a sign, an exponent, more
    /// digits than the currency has.
    pub(crate) fn parse(text: &str, currency: Currency) -> Result<Self, String> {
        let (major, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if major.is_empty() || !digits(major) || !digits(fraction) || text.ends_with('.') {
            return Err(
                "not an amount; expected digits with a decimal point, such as 1234.50".to_owned(),
            );
        }
        let exponent = currency.exponent() as usize;
        if fraction.len() > exponent {
            return Err(format!("too many decimals; {currency} has {exponent}"));
        }
        // `1234` and `.5` in a currency of two digits become the digits `123450`: no arithmetic, so nothing rounds.
        let minor: i64 = format!("{major}{fraction:0<exponent$}")
            .parse()
            .map_err(|_| "amount too large; expected less than 2^63 minor units".to_owned())?;
        if minor == 0 {
            return Err("nothing to pay; expected an amount above zero".to_owned());
        }
        Ok(Self { minor, currency })
    }

    /// The sum, unless the currencies differ or it does not fit.
    pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor)?;
        (self.currency == other.currency).then_some(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.currency.scale().unsigned_abs();
        let (major, minor) = (
            self.minor.unsigned_abs() / scale,
            self.minor.unsigned_abs() % scale,
        );
        let sign = if self.minor < 0 { "-" } else { "" };
        match self.currency.exponent() as usize {
            0 => write!(f, "{sign}{major} {}", self.currency),
            width => write!(f, "{sign}{major}.{minor:0width$} {}", self.currency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(text: &str, currency: Currency) -> Option<i64> {
        Money::parse(text, currency).ok().map(|money| money.minor)
    }

    #[test]
    fn minor_units_follow_the_currency() {
        assert_eq!(minor("1234.5", Currency::Eur), Some(123_450));
        assert_eq!(minor("1234", Currency::Jpy), Some(1_234));
        assert_eq!(minor("0.001", Currency::Kwd), Some(1));
        assert_eq!(
            Money {
                minor: 5,
                currency: Currency::Kwd
            }
            .to_string(),
            "0.005 KWD"
        );
        assert_eq!(
            Money {
                minor: 1_234,
                currency: Currency::Jpy
            }
            .to_string(),
            "1234 JPY"
        );
    }

    #[test]
    fn what_needs_a_guess_is_refused() {
        for text in [
            "", ".5", "5.", "-1", "+1", "1e3", "1,5", "1.234,5", "1 000", "0", "0.00", "0.001",
            "٣", "NaN",
        ] {
            assert_eq!(minor(text, Currency::Eur), None, "{text:?}");
        }
        assert_eq!(minor("1200.50", Currency::Jpy), None);
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!(minor("92233720368547758.07", Currency::Eur), Some(i64::MAX));
        assert_eq!(minor("92233720368547758.08", Currency::Eur), None);
        let most = Money {
            minor: i64::MAX,
            currency: Currency::Eur,
        };
        let cent = Money {
            minor: 1,
            currency: Currency::Eur,
        };
        assert_eq!(most.checked_add(cent), None);
        assert_eq!(
            cent.checked_add(Money {
                minor: 1,
                currency: Currency::Usd
            }),
            None
        );
    }
}
