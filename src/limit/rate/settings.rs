//! Rate limits as data.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::config::{KeyedRateConfig, Rate, RateConfig};
use crate::num::Period;
use crate::settings::{Given, Keys, Place, Setting, as_data, joined, one_of, table, word};

/// A [`Rate`] without its numbers.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Burst,
    Even,
    Windows,
}

const KINDS: [(&str, Kind); 3] = [
    ("burst", Kind::Burst),
    ("even", Kind::Even),
    ("windows", Kind::Windows),
];

impl Setting for Kind {
    fn expected() -> Cow<'static, str> {
        one_of(&KINDS).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &KINDS)
    }

    fn write(&self) -> Given {
        word(match self {
            Self::Burst => "burst",
            Self::Even => "even",
            Self::Windows => "windows",
        })
    }
}

impl Kind {
    const fn of(rate: Rate) -> (Self, NonZeroU32, Period) {
        match rate {
            Rate::Burst {
                permits, period, ..
            } => (Self::Burst, permits, period),
            Rate::Even { permits, period } => (Self::Even, permits, period),
            Rate::Windows { permits, period } => (Self::Windows, permits, period),
        }
    }
}

fn rate(keys: &mut Keys<'_>) -> Option<Rate> {
    let kind = keys.kind(None)?;
    let permits = keys.needs("permits", None);
    let period = keys.needs("period", None);
    let burst = match kind {
        Kind::Burst => keys.maybe("burst"),
        Kind::Even | Kind::Windows => None,
    };
    let (permits, period) = (permits?, period?);
    Some(match kind {
        Kind::Burst => Rate::Burst {
            burst: burst.unwrap_or(permits),
            permits,
            period,
        },
        Kind::Even => Rate::Even { permits, period },
        Kind::Windows => Rate::Windows { permits, period },
    })
}

impl Setting for Rate {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), rate)
    }

    fn write(&self) -> Given {
        let (kind, permits, period) = Kind::of(*self);
        let rate = table([
            ("kind", kind.write()),
            ("permits", permits.write()),
            ("period", period.write()),
        ]);
        match self {
            Self::Burst { burst, .. } => joined(rate, [("burst", burst.write())]),
            Self::Even { .. } | Self::Windows { .. } => rate,
        }
    }
}

fn limit(keys: &mut Keys<'_>) -> Option<RateConfig> {
    let rate = rate(keys);
    let patience = keys.set("patience", None);
    Some(RateConfig {
        rate: rate?,
        patience,
    })
}

/// The keys of a [`Rate`], and how long a call may wait.
impl Setting for RateConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), limit)
    }

    fn write(&self) -> Given {
        joined(
            self.rate().write(),
            [("patience", self.longest_wait().write())],
        )
    }
}

/// The keys of a [`RateConfig`], and how many keys are remembered.
impl Setting for KeyedRateConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let each = limit(keys);
            // The default of what has no default as a whole.
            let bound = Self::new(Rate::even(1, Period::secs(1))).max_keys;
            let max_keys = keys.set("max_keys", bound);
            Some(Self {
                each: each?,
                max_keys,
            })
        })
    }

    fn write(&self) -> Given {
        joined(self.each.write(), [("max_keys", self.max_keys.write())])
    }
}

as_data!(KeyedRateConfig, Rate, RateConfig);
