//! A whole stack as data.

use super::config::StackConfig;
use crate::settings::{Given, Place, Setting, as_data, table};

/// What the file leaves out of a part is as in the stack's own defaults, which are not always those of the part.
impl Setting for StackConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            let config = Self {
                deadline: keys.set("deadline", base.deadline),
                attempt_timeout: keys.set("attempt_timeout", base.attempt_timeout),
                limit: keys.set("limit", base.limit),
                retry: keys.set("retry", base.retry),
                breaker: keys.set("breaker", base.breaker),
            };
            Some(config.consistent())
        })
    }

    fn write(&self) -> Given {
        table([
            ("deadline", self.deadline.write()),
            ("attempt_timeout", self.attempt_timeout.write()),
            ("limit", self.limit.write()),
            ("retry", self.retry.write()),
            ("breaker", self.breaker.write()),
        ])
    }
}

as_data!(StackConfig);
