//! Fallbacks as data: for what they answer, and how many at a time. The answer itself is code.

use std::borrow::Cow;

use super::config::FallbackConfig;
use super::outcomes::Outcomes;
use crate::settings::{Given, Place, Setting, as_data, one_of, table, word};

/// A list of the names of [`Outcomes::names`].
impl Setting for Outcomes {
    fn expected() -> Cow<'static, str> {
        format!("a list of {}", one_of(&words())).into()
    }

    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let words = words();
        place
            .list(given, Self::expected(), |given, place| {
                place.choice(&given, &words)
            })
            .map(|each| each.into_iter().fold(Self::NONE, Self::and))
    }

    fn write(&self) -> Given {
        Given::List(self.names().map(word).collect())
    }
}

/// Each outcome that can be stated, by its name.
fn words() -> Vec<(&'static str, Outcomes)> {
    Outcomes::each()
        .filter_map(|one| Some((one.names().next()?, one)))
        .collect()
}

impl Setting for FallbackConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            Some(Self {
                max_in_flight: keys.set("max_in_flight", base.max_in_flight),
                outcomes: keys.set("outcomes", base.outcomes),
            })
        })
    }

    fn write(&self) -> Given {
        table([
            ("max_in_flight", self.max_in_flight.write()),
            ("outcomes", self.outcomes.write()),
        ])
    }
}

as_data!(FallbackConfig, Outcomes);
