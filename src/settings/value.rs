//! Numbers, lengths of time and words: what has no keys of its own.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use super::duration;
use super::given::Given;
use super::place::{Place, Setting, as_data};
use crate::num::{Attempts, Factor, Period, Ratio};

fn text_of(given: &Given) -> Option<&str> {
    match given {
        Given::Text(text) => Some(text),
        _ => None,
    }
}

fn integer_of<T: TryFrom<i128>>(given: &Given) -> Option<T> {
    match given {
        Given::Integer(value) => T::try_from(*value).ok(),
        _ => None,
    }
}

/// A count that is not zero.
pub(crate) fn count_of(given: &Given) -> Option<NonZeroU32> {
    integer_of(given).and_then(NonZeroU32::new)
}

fn duration_of(given: &Given) -> Option<Duration> {
    text_of(given).and_then(duration::parse)
}

/// A length of time that is not zero.
pub(crate) fn period_of(given: &Given) -> Option<Period> {
    duration_of(given).and_then(|length| Period::new("period", length).ok())
}

/// A number, whole or not.
#[expect(
    clippy::cast_precision_loss,
    reason = "a number beyond 2⁵³ is far outside of any setting's range"
)]
pub(crate) const fn number_of(given: &Given) -> Option<f64> {
    match given {
        Given::Integer(value) => Some(*value as f64),
        Given::Number(value) => Some(*value),
        _ => None,
    }
}

/// A number, or one as a percentage.
pub(crate) fn amount_of(given: &Given) -> Option<f64> {
    let percent = text_of(given).and_then(|text| text.strip_suffix('%'));
    let percent = percent.and_then(|text| text.trim().parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0);
    share.or_else(|| number_of(given))
}

impl Setting for bool {
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = match given {
            Given::Bool(value) => Some(value),
            _ => None,
        };
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Bool(*self)
    }
}

impl Setting for u32 {
    fn expected() -> Cow<'static, str> {
        "a count from 0 to 4294967295".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = integer_of(&given);
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Integer((*self).into())
    }
}

impl Setting for NonZeroU32 {
    fn expected() -> Cow<'static, str> {
        "a count from 1 to 4294967295".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = count_of(&given);
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        self.get().write()
    }
}

impl Setting for Attempts {
    fn expected() -> Cow<'static, str> {
        NonZeroU32::expected()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = integer_of(&given).and_then(|total| Self::new("attempts", total).ok());
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        self.get().write()
    }
}

impl Setting for Duration {
    fn expected() -> Cow<'static, str> {
        "a length of time such as \"250ms\" or \"1m 30s\"".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = duration_of(&given);
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Text(duration::format(*self))
    }
}

impl Setting for Period {
    fn expected() -> Cow<'static, str> {
        "a length of time such as \"250ms\" or \"1m 30s\", above 0 and up to 584 years".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = period_of(&given);
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        self.get().write()
    }
}

impl Setting for Ratio {
    fn expected() -> Cow<'static, str> {
        "a number from 0 to 1, or a percentage such as \"50%\"".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = amount_of(&given).and_then(|share| Self::new("ratio", share).ok());
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Number(self.get())
    }
}

impl Setting for Factor {
    fn expected() -> Cow<'static, str> {
        "a number of at least 1".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = number_of(&given).and_then(|factor| Self::new("factor", factor).ok());
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Number(self.get())
    }
}

as_data!(Attempts, Factor, Period, Ratio);
