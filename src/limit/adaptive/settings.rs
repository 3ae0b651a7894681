//! Adaptive limits as data.

use super::config::{AdaptiveConfig, Bounds};
use crate::settings::{Given, Place, Setting, as_data, table};

impl Setting for Bounds {
    fn base() -> Option<Self> {
        Some(AdaptiveConfig::new().range())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.or_else(Self::base)?;
        place.table(given, Self::expected(), |keys| {
            let least = keys.set("least", base.least());
            let most = keys.set("most", base.most());
            let bounds = Self::new("bounds", least, most);
            if bounds.is_err() {
                keys.refuse(
                    "most",
                    most,
                    format!("at least as many as least, which is {least}"),
                );
            }
            bounds.ok()
        })
    }

    fn write(&self) -> Given {
        table([
            ("least", self.least().write()),
            ("most", self.most().write()),
        ])
    }
}

impl Setting for AdaptiveConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            Some(Self {
                bounds: keys.set("bounds", base.bounds),
                start: keys.set("start", base.start),
                tolerance: keys.set("tolerance", base.tolerance),
                window: keys.set("window", base.window),
                samples: keys.set("samples", base.samples),
                relearn: keys.set("relearn", base.relearn),
                queue: keys.set("queue", base.queue),
                wait: keys.set("wait", base.wait),
                wait_share: keys.set("wait_share", base.wait_share),
            })
        })
    }

    fn write(&self) -> Given {
        table([
            ("start", self.start.write()),
            ("tolerance", self.tolerance.write()),
            ("window", self.window.write()),
            ("samples", self.samples.write()),
            ("relearn", self.relearn.write()),
            ("queue", self.queue.write()),
            ("wait", self.wait.write()),
            ("wait_share", self.wait_share.write()),
            ("bounds", self.bounds.write()),
        ])
    }
}

as_data!(AdaptiveConfig, Bounds);
