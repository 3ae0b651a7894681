//! Figures of a run, and the lines that they must keep to.

use super::measure::Measured;
use super::world::Run;

/// A figure. Tiers and groups are named by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Seat time of a tier, of all that there was.
    TierShare(usize),
    /// Seat time of a group, of all that there was.
    GroupShare(usize),
    /// Seat time of a group's poorest and richest tenant, of all that there was.
    PoorestShare(usize),
    RichestShare(usize),
    /// Requests served, of those whose callers stayed.
    Served(usize),
    /// The same of the group's worst-served tenant.
    WorstServed(usize),
    WaitMean(usize),
    WaitP50(usize),
    WaitP99(usize),
    WaitMax(usize),
    /// How long a group's refused requests were in the dark, on average and at most.
    NoMean(usize),
    NoMax(usize),
    /// Seat time in use.
    Used,
    /// Seat time free while somebody waited.
    Idle,
    /// Requests lost or still counted after the end.
    Leaked,
    /// Starts without a free seat.
    Over,
    /// Requests whose patience the policy did not see end.
    Late,
    /// The most tenants remembered.
    Tracked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Millis,
    Count,
}

impl Metric {
    pub fn unit(self) -> Unit {
        match self {
            Self::TierShare(_)
            | Self::GroupShare(_)
            | Self::PoorestShare(_)
            | Self::RichestShare(_)
            | Self::Served(_)
            | Self::WorstServed(_)
            | Self::Used
            | Self::Idle => Unit::Percent,
            Self::WaitMean(_)
            | Self::WaitP50(_)
            | Self::WaitP99(_)
            | Self::WaitMax(_)
            | Self::NoMean(_)
            | Self::NoMax(_) => Unit::Millis,
            Self::Leaked | Self::Over | Self::Late | Self::Tracked => Unit::Count,
        }
    }

    /// In per cent, milliseconds or as a count; none where the policy has no such figure.
    pub fn of(self, measured: &Measured) -> Option<f64> {
        let group = |group: usize| &measured.groups[group];
        let waits = |place: usize, of: fn(&super::measure::Durations) -> f64| {
            let waits = &group(place).waits;
            (waits.count() > 0).then(|| of(waits) * 1e3)
        };
        let noes = |place: usize, of: fn(&super::measure::Durations) -> f64| {
            let noes = &group(place).refusals;
            (noes.count() > 0).then(|| of(noes) * 1e3)
        };
        let share = |used: f64| Some(used / measured.capacity * 100.0);
        match self {
            Self::TierShare(tier) => share(measured.used[tier]),
            Self::GroupShare(place) => share(group(place).used),
            Self::PoorestShare(place) => share(measured.spread[place].0),
            Self::RichestShare(place) => share(measured.spread[place].1),
            Self::Served(place) => Some(group(place).served_share() * 100.0),
            Self::WorstServed(place) => Some(measured.worst[place] * 100.0),
            Self::WaitMean(place) => waits(place, super::measure::Durations::mean),
            Self::WaitP50(place) => waits(place, |waits| waits.quantile(0.5)),
            Self::WaitP99(place) => waits(place, |waits| waits.quantile(0.99)),
            Self::WaitMax(place) => waits(place, super::measure::Durations::max),
            Self::NoMean(place) => noes(place, super::measure::Durations::mean),
            Self::NoMax(place) => noes(place, super::measure::Durations::max),
            Self::Used => share(measured.used.iter().sum()),
            Self::Idle => share(measured.idle),
            Self::Leaked => Some(measured.leaked as f64),
            Self::Over => Some(measured.over as f64),
            Self::Late => Some(measured.late as f64),
            Self::Tracked => measured.tracked.map(|tracked| tracked as f64),
        }
    }

    /// A short name, for the head of a column.
    pub fn label(self, run: &Run) -> String {
        let tier = |tier: usize| run.tiers[tier].name.as_str();
        let group = |group: usize| run.groups[group].name.as_str();
        match self {
            Self::TierShare(place) => format!("{} share", tier(place)),
            Self::GroupShare(place) => format!("{} share", group(place)),
            Self::PoorestShare(place) => format!("{} least share", group(place)),
            Self::RichestShare(place) => format!("{} most share", group(place)),
            Self::Served(place) => format!("{} served", group(place)),
            Self::WorstServed(place) => format!("{} worst served", group(place)),
            Self::WaitMean(place) => format!("{} mean", group(place)),
            Self::WaitP50(place) => format!("{} p50", group(place)),
            Self::WaitP99(place) => format!("{} p99", group(place)),
            Self::WaitMax(place) => format!("{} max", group(place)),
            Self::NoMean(place) => format!("{} mean no", group(place)),
            Self::NoMax(place) => format!("{} max no", group(place)),
            Self::Used => "used".to_owned(),
            Self::Idle => "idle".to_owned(),
            Self::Leaked => "leaked".to_owned(),
            Self::Over => "over".to_owned(),
            Self::Late => "late".to_owned(),
            Self::Tracked => "tracked".to_owned(),
        }
    }

    pub fn figure(self, value: f64) -> String {
        match self.unit() {
            Unit::Percent if value > 99.0 && value < 100.0 => format!("{value:.2}"),
            Unit::Percent => format!("{value:.1}"),
            Unit::Millis if value >= 100.0 => format!("{value:.0}"),
            Unit::Millis if value >= 10.0 => format!("{value:.1}"),
            Unit::Millis => format!("{value:.2}"),
            Unit::Count => format!("{value:.0}"),
        }
    }

    pub fn unit_name(self) -> &'static str {
        match self.unit() {
            Unit::Percent => " %",
            Unit::Millis => " ms",
            Unit::Count => "",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// This, give or take so much.
    About(f64, f64),
}

/// A line. It is met when every seed meets it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub metric: Metric,
    pub bound: Bound,
}

impl Bar {
    pub fn holds(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(least) => value >= least - 1e-9,
            Bound::AtMost(most) => value <= most + 1e-9,
            Bound::About(middle, off) => (value - middle).abs() <= off + 1e-9,
        }
    }

    pub fn bound(&self) -> String {
        let figure = |value: f64| {
            let text = format!("{value}");
            format!("{text}{}", self.metric.unit_name())
        };
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {}", figure(least)),
            Bound::AtMost(most) => format!("≤ {}", figure(most)),
            Bound::About(middle, off) => format!("{middle} ± {}", figure(off)),
        }
    }
}

pub fn at_least(metric: Metric, bound: f64) -> Bar {
    let bound = Bound::AtLeast(bound);
    Bar { metric, bound }
}

pub fn at_most(metric: Metric, bound: f64) -> Bar {
    let bound = Bound::AtMost(bound);
    Bar { metric, bound }
}

pub fn about(metric: Metric, middle: f64, off: f64) -> Bar {
    let bound = Bound::About(middle, off);
    Bar { metric, bound }
}
