//! Concurrency limits as data.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::config::ConcurrencyConfig;
use crate::settings::{Given, Place, Setting, as_data, count_of, table};

/// The calls under way: a count that has an end below that of its type.
#[derive(Clone, Copy)]
struct Calls(NonZeroU32);

impl Setting for Calls {
    fn expected() -> Cow<'static, str> {
        format!("a count from 1 to {}", ConcurrencyConfig::MAX).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = count_of(&given).filter(|calls| *calls <= ConcurrencyConfig::MAX);
        place.found(&given, read.map(Self))
    }

    fn write(&self) -> Given {
        self.0.write()
    }
}

impl Setting for ConcurrencyConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            Some(Self {
                limit: keys.set("limit", Calls(base.limit)).0,
                queue: keys.set("queue", base.queue),
                wait: keys.set("wait", base.wait),
                wait_share: keys.set("wait_share", base.wait_share),
            })
        })
    }

    fn write(&self) -> Given {
        table([
            ("limit", Calls(self.limit).write()),
            ("queue", self.queue.write()),
            ("wait", self.wait.write()),
            ("wait_share", self.wait_share.write()),
        ])
    }
}

as_data!(ConcurrencyConfig);
