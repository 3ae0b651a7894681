//! The numbers of autoscalers as data: thresholds, target tracking, GPU clusters.

use std::borrow::Cow;

use super::gpu::GpuConfig;
use super::threshold::{ThresholdConfig, Trigger};
use super::tracking::TrackingConfig;
use super::{Amount, Bounds, Signal};
use crate::settings::{Given, Place, Setting, amount_of, as_data, one_of, table, word};

/// A rule for every minute of a day is more than anybody has.
const MOST_TRIGGERS: usize = 100;

impl Setting for Amount {
    fn expected() -> Cow<'static, str> {
        "a number above 0, or a percentage such as \"70%\"".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let amount = amount_of(&given).and_then(|amount| Self::new("amount", amount).ok());
        place.found(&given, amount)
    }

    fn write(&self) -> Given {
        Given::Number(self.get())
    }
}

fn signals() -> [(&'static str, Signal); 9] {
    Signal::ALL.map(|signal| (signal.as_str(), signal))
}

impl Setting for Signal {
    fn expected() -> Cow<'static, str> {
        one_of(&signals()).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &signals())
    }

    fn write(&self) -> Given {
        word(self.as_str())
    }
}

impl Setting for Bounds {
    fn expected() -> Cow<'static, str> {
        "a table of least and most".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let least = keys.needs("least", None);
            let most = keys.needs("most", None);
            let (least, most) = (least?, most?);
            let bounds = Self::new("bounds", least, most);
            if bounds.is_err() {
                let expected = format!("at least as many as least, which is {least}");
                keys.refuse("most", most, expected);
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

impl Setting for Trigger {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let signal = keys.needs("signal", None);
            let above = keys.needs("above", None);
            let each = keys.set("each", false);
            let of = if each { Self::each } else { Self::whole };
            Some(of(signal?, above?))
        })
    }

    fn write(&self) -> Given {
        table([
            ("signal", self.signal().write()),
            ("above", self.threshold().write()),
            ("each", self.is_each().write()),
        ])
    }
}

/// What makes a fleet grow.
struct Triggers(Vec<Trigger>);

impl Setting for Triggers {
    fn expected() -> Cow<'static, str> {
        format!("a list of 1 to {MOST_TRIGGERS} triggers").into()
    }

    fn read(given: Given, _: Option<Self>, mut place: Place<'_>) -> Option<Self> {
        match &given {
            Given::List(list) if (1..=MOST_TRIGGERS).contains(&list.len()) => {
                let each = |given, place: Place<'_>| Trigger::read(given, None, place);
                place.list(given, Self::expected(), each).map(Self)
            }
            _ => {
                place.refuse(&given, Self::expected());
                None
            }
        }
    }

    fn write(&self) -> Given {
        Given::List(self.0.iter().map(Setting::write).collect())
    }
}

impl Setting for ThresholdConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            // Any bounds: the others have defaults of their own.
            let base = Self::new(Bounds::between(0, 0));
            let bounds = keys.needs("bounds", None);
            let triggers = keys.needs("triggers", None::<Triggers>);
            let (up, down) = base.step_sizes();
            let (share, time) = base.calm_times();
            let up = keys.set("up", up);
            let down = keys.set("down", down);
            let cooldown = keys.set("cooldown", base.cooldown_time());
            let share = keys.set("calm", share);
            let time = keys.set("calm_for", time);
            let stale = keys.set("stale", base.oldest());
            let config = Self::new(bounds?)
                .steps(up, down)
                .cooldown(cooldown)
                .calm(share, time)
                .stale(stale);
            Some(triggers?.0.into_iter().fold(config, Self::when))
        })
    }

    fn write(&self) -> Given {
        let (up, down) = self.step_sizes();
        let (share, time) = self.calm_times();
        table([
            ("bounds", self.range().write()),
            ("up", up.write()),
            ("down", down.write()),
            ("cooldown", self.cooldown_time().write()),
            ("calm", share.write()),
            ("calm_for", time.write()),
            ("stale", self.oldest().write()),
            ("triggers", Triggers(self.triggers().to_vec()).write()),
        ])
    }
}

impl Setting for TrackingConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let base = Self::new(Bounds::between(0, 0), Signal::Cpu, Amount::of(1));
            let bounds = keys.needs("bounds", None);
            let signal = keys.needs("signal", None);
            let target = keys.needs("target", None);
            let shared = keys.set("shared", false);
            let tolerance = keys.set("tolerance", base.tolerated());
            let (up, down) = base.cooldown_times();
            let up = keys.set("up", up);
            let down = keys.set("down", down);
            let foreseen: Option<Amount> = keys.set("foreseen", None);
            let stale = keys.set("stale", base.oldest());
            let mut config = Self::new(bounds?, signal?, target?)
                .tolerance(tolerance)
                .cooldowns(up, down)
                .stale(stale);
            if shared {
                config = config.shared();
            }
            Some(match foreseen {
                Some(each) => config.foreseen(each),
                None => config,
            })
        })
    }

    fn write(&self) -> Given {
        let (up, down) = self.cooldown_times();
        table([
            ("signal", self.tracked().write()),
            ("target", self.goal().write()),
            ("shared", self.is_shared().write()),
            ("tolerance", self.tolerated().write()),
            ("up", up.write()),
            ("down", down.write()),
            ("foreseen", self.per_replica().write()),
            ("stale", self.oldest().write()),
            ("bounds", self.range().write()),
        ])
    }
}

impl Setting for GpuConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let base = Self::new(
                Bounds::between(0, 0),
                Amount::of(1),
                crate::num::Period::secs(1),
            );
            let bounds = keys.needs("bounds", None);
            let capacity = keys.needs("capacity", None);
            let warm_up = keys.needs("warm_up", None);
            let headroom = keys.set("headroom", base.headroom);
            let surge = keys.set("surge", base.surge);
            let reserve = keys.set("reserve", base.reserve);
            let drain = keys.set("drain", base.drain);
            let band = keys.set("band", base.band);
            let hold = keys.set("hold", base.hold);
            let flap = keys.set("flap", base.flap);
            let stale = keys.set("stale", base.stale);
            Some(
                Self::new(bounds?, capacity?, warm_up?)
                    .headroom(headroom)
                    .surge(surge)
                    .reserve(reserve)
                    .drain(drain)
                    .band(band)
                    .hold(hold)
                    .flap(flap)
                    .stale(stale),
            )
        })
    }

    fn write(&self) -> Given {
        table([
            ("capacity", self.capacity.write()),
            ("warm_up", self.warm_up.write()),
            ("headroom", self.headroom.write()),
            ("surge", self.surge.write()),
            ("reserve", self.reserve.write()),
            ("drain", self.drain.write()),
            ("band", self.band.write()),
            ("hold", self.hold.write()),
            ("flap", self.flap.write()),
            ("stale", self.stale.write()),
            ("bounds", self.bounds.write()),
        ])
    }
}

as_data!(
    Amount,
    Bounds,
    GpuConfig,
    ThresholdConfig,
    TrackingConfig,
    Trigger
);
