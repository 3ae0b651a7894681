use std::f64::consts::TAU;

use crate::rng::Rng;

/// How the load of a generated trace goes. All have a daily mean near 100 requests a second, but for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// 60 a second, and now and then up to three times as much for up to 20 minutes: nobody can foresee when.
    Bursts,
    /// 5 a second, and 150 during one hour of the day, which begins at ten or within 7 minutes of it.
    BusyHour,
    /// From 40 at night to 160 in the afternoon, every day the same.
    Diurnal,
    /// As diurnal, with a day on which hardly anybody works: the last but one.
    Holiday,
    /// As diurnal, and twice a day there are no metrics for up to an hour.
    Outage,
    /// As diurnal, and once a day half of the replicas are taken away.
    Reclaim,
    /// As diurnal, each day up to two hours earlier or later.
    Shifted,
    /// 50 and 150 a second, two hours each.
    Square,
    /// Levels that change on the hour, five times a day.
    Steps,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 9] = [
        Self::Bursts,
        Self::BusyHour,
        Self::Diurnal,
        Self::Holiday,
        Self::Outage,
        Self::Reclaim,
        Self::Shifted,
        Self::Square,
        Self::Steps,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bursts => "bursts",
            Self::BusyHour => "busy hour",
            Self::Diurnal => "diurnal",
            Self::Holiday => "holiday",
            Self::Outage => "metric outage",
            Self::Reclaim => "spot reclaim",
            Self::Shifted => "shifted days",
            Self::Square => "square wave",
            Self::Steps => "steps",
        }
    }

    /// Whether what comes can be foreseen from what came.
    #[must_use]
    pub const fn is_structured(self) -> bool {
        !matches!(self, Self::Bursts)
    }
}

/// Requests a second over a day that begins at midnight.
fn sun(hour: f64) -> f64 {
    60.0_f64.mul_add(-((hour - 2.0) / 24.0 * TAU).cos(), 100.0)
}

fn steps(hour: u64) -> f64 {
    match hour {
        7..9 => 90.0,
        9..12 | 13..17 => 160.0,
        12 => 110.0,
        17..20 => 80.0,
        _ => 40.0,
    }
}

/// A shape under way: what it draws by lot is drawn in the order of time.
#[derive(Debug)]
pub(super) struct Course {
    shape: Shape,
    days: u32,
    /// By how many hours each day is shifted.
    shifts: Vec<f64>,
    burst: f64,
    ends: u64,
    next: u64,
}

impl Course {
    pub(super) fn new(shape: Shape, days: u32, rng: &mut Rng) -> Self {
        let shifts = (0..days).map(|_| 4.0 * (rng.unit() - 0.5)).collect();
        Self {
            shape,
            days,
            shifts,
            burst: 1.0,
            ends: 0,
            next: 3_600,
        }
    }

    /// The mean number of requests in this second.
    pub(super) fn rate(&mut self, second: u64, rng: &mut Rng) -> f64 {
        let (day, of_day) = (second / 86_400, second % 86_400);
        #[expect(clippy::cast_precision_loss, reason = "less than a day")]
        let hour = of_day as f64 / 3_600.0;
        let shift = usize::try_from(day)
            .ok()
            .and_then(|day| self.shifts.get(day));
        let shift = shift.copied().unwrap_or(0.0);
        match self.shape {
            Shape::Diurnal | Shape::Outage | Shape::Reclaim => sun(hour),
            Shape::Holiday if day + 2 == u64::from(self.days) => 30.0 + 0.25 * sun(hour),
            Shape::Holiday => sun(hour),
            Shape::Shifted => sun((hour + shift).clamp(0.0, 24.0)),
            Shape::Steps => steps(of_day / 3_600),
            Shape::Square if (of_day / 7_200).is_multiple_of(2) => 50.0,
            Shape::Square => 150.0,
            Shape::BusyHour => {
                let begins = 10.0 + shift / 16.0;
                if (begins..begins + 1.0).contains(&hour) {
                    150.0
                } else {
                    5.0
                }
            }
            Shape::Bursts => {
                if second >= self.next {
                    self.burst = 1.5 + 1.5 * rng.unit();
                    self.ends = second + 120 + whole(1_080.0 * rng.unit());
                    self.next = self.ends + 600 + whole(-5_400.0 * (1.0 - rng.unit()).ln());
                }
                if second < self.ends {
                    60.0 * self.burst
                } else {
                    60.0
                }
            }
        }
    }
}

/// The whole seconds of a time that is neither negative nor long.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a few days"
)]
pub(super) const fn whole(seconds: f64) -> u64 {
    seconds as u64
}
