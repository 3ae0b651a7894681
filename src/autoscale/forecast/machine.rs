//! The rules:
//!
//! 1. A day has 288 bins of five minutes; a bin holds the mean of the rates that were observed in it.
//! 2. Usual is the median, the upper one of two, of what the days before had in the same bin, once enough of them had
//!    anything. One odd day changes nothing.
//! 3. How today compares: what came in the last hour against what was usual then, up to one and a half times as much. A
//!    holiday is seen as one within the hour.
//! 4. Foreseen is the most that is usual from now until the lead and the time it may come early are over, as today
//!    compares.
//! 5. Each bin's forecast is kept until the bin is over, and judged then. It is trusted while the forecasts of the last day
//!    were too high by no more than the excess; too low ones do no harm, since a forecast only raises.
//! 6. A rate that is no number or negative is not observed; nor is one of an earlier bin, after a step back of the clock.

use std::time::Duration;

use super::config::ForecastConfig;
use crate::time::Timestamp;

/// How long a bin is.
const BIN: i64 = 300_000;
/// How many of them make a day.
const BINS: i64 = 288;
/// How many bins make the hour that today is compared over.
const HOUR: f64 = 12.0;
/// How many forecasts are judged before any is trusted.
const JUDGED: u32 = 12;
/// The most that today may be above other days.
const BUSIEST: f64 = 1.5;
/// Far beyond any load, so that sums stay numbers.
const CEILING: f64 = 1e15;

/// Learns what days look like, and says what is to be expected.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::forecast::{Forecast, ForecastConfig};
/// use mainstay::num::Period;
/// use mainstay::time::Timestamp;
/// use std::time::Duration;
///
/// let mut forecast = Forecast::new(ForecastConfig::new().lead(Period::secs(600)));
/// let hour = 3_600_000;
/// let minutes = |from: i64, to: i64| (from * hour..to * hour).step_by(60_000);
/// for at in minutes(0, 72 + 8) {
///     let busy = (9..10).contains(&(at / hour % 24));
///     forecast.observe(if busy { 100.0 } else { 5.0 }, Timestamp::from_millis(at));
/// }
/// // On the fourth day at eight nothing is near, at five to nine the busy hour is.
/// let eight = Timestamp::from_millis((72 + 8) * hour);
/// assert!(forecast.expected(eight).is_some_and(|rate| rate < 6.0));
/// let nearly_nine = Timestamp::from_millis((72 + 9) * hour - 300_000);
/// assert!(forecast.expected(nearly_nine).is_some_and(|rate| rate > 90.0));
/// assert!(forecast.is_trusted());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    config: ForecastConfig,
    state: ForecastState,
}

/// What a [`Forecast`] remembers. As data it lives on in the next process.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ForecastState {
    /// The days that are known, the latest last; that under way is one of them.
    days: Vec<Day>,
    /// The bin under way, and what was observed in it.
    bin: Option<i64>,
    sum: f64,
    samples: u32,
    /// What came and what was usual then, both weighted towards the last hour.
    came: f64,
    usual: f64,
    /// Forecasts whose bins are not over.
    pending: Vec<(i64, f64)>,
    /// By how much forecasts were too high, and what came, both weighted towards the last day.
    excess: f64,
    total: f64,
    judged: u32,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Day {
    day: i64,
    bins: Vec<Option<f64>>,
}

impl Forecast {
    /// With no day known.
    #[must_use]
    pub fn new(config: ForecastConfig) -> Self {
        Self::resume(config, ForecastState::default())
    }

    /// With the days that another process knew.
    #[must_use]
    pub const fn resume(config: ForecastConfig, state: ForecastState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> &ForecastState {
        &self.state
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &ForecastConfig {
        &self.config
    }

    /// Takes a measured rate.
    pub fn observe(&mut self, rate: f64, now: Timestamp) {
        if !(0.0..=f64::MAX).contains(&rate) {
            return;
        }
        let bin = bin_of(now);
        match self.state.bin {
            Some(under_way) if bin < under_way => return,
            Some(under_way) if bin == under_way => {}
            under_way => {
                if let Some(over) = under_way {
                    self.close(over);
                }
                self.begin(bin);
            }
        }
        self.state.sum += rate.min(CEILING);
        self.state.samples = self.state.samples.saturating_add(1);
    }

    /// The rate that is expected at most until the lead is over: rule 4. `None` where too few days are known.
    #[must_use]
    pub fn expected(&self, now: Timestamp) -> Option<f64> {
        let first = bin_of(now);
        let ahead = self
            .config
            .looks_ahead()
            .get()
            .saturating_add(self.config.earliest().get());
        let last = bin_of(now.after(ahead)).min(first.saturating_add(BINS));
        let bins = (first..=last).filter_map(|bin| self.guess(bin));
        bins.reduce(f64::max)
    }

    /// Whether its forecasts of the last day came out well enough: rule 5.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let state = &self.state;
        state.judged >= JUDGED && state.excess <= self.config.greatest_excess().get() * state.total
    }

    fn begin(&mut self, bin: i64) {
        self.state.bin = Some(bin);
        self.state.sum = 0.0;
        self.state.samples = 0;
        let ahead = self
            .config
            .looks_ahead()
            .get()
            .min(Duration::from_secs(86_400));
        let ahead = i64::try_from(ahead.as_millis()).unwrap_or(BIN);
        let to = bin.saturating_add(ahead.saturating_add(BIN - 1) / BIN);
        self.state.pending.retain(|(at, _)| *at >= bin);
        if let Some(guess) = self.guess(to) {
            self.state.pending.push((to, guess));
        }
    }

    /// Rules 1, 3 and 5 for a bin that is over.
    fn close(&mut self, bin: i64) {
        if self.state.samples == 0 {
            return;
        }
        let mean = self.state.sum / f64::from(self.state.samples);
        if let Some(usual) = self.usual(bin) {
            let keep = 1.0 - 1.0 / HOUR;
            self.state.came = self.state.came * keep + mean;
            self.state.usual = self.state.usual * keep + usual;
        }
        #[expect(clippy::cast_precision_loss, reason = "288")]
        let keep = 1.0 - 1.0 / BINS as f64;
        let state = &mut self.state;
        for &(_, guess) in state.pending.iter().filter(|(at, _)| *at == bin) {
            state.excess = state.excess * keep + (guess - mean).max(0.0);
            state.total = state.total * keep + mean;
            state.judged = state.judged.saturating_add(1);
        }
        self.write(bin, mean);
    }

    fn write(&mut self, bin: i64, mean: f64) {
        let (day, place) = (bin.div_euclid(BINS), place_of(bin));
        let days = &mut self.state.days;
        if days.last().is_none_or(|last| last.day < day) {
            let bins = vec![None; usize::try_from(BINS).unwrap_or_default()];
            days.push(Day { day, bins });
        }
        let kept = usize::try_from(self.config.memory().get()).unwrap_or(usize::MAX);
        let surplus = days.len().saturating_sub(kept.saturating_add(1));
        days.drain(..surplus);
        let slot = days.last_mut().and_then(|today| today.bins.get_mut(place));
        if let Some(slot) = slot {
            *slot = Some(mean);
        }
    }

    /// Rule 2.
    fn usual(&self, bin: i64) -> Option<f64> {
        let (day, place) = (bin.div_euclid(BINS), place_of(bin));
        let past = self.state.days.iter().filter(|past| past.day < day);
        let mut had: Vec<f64> = past
            .filter_map(|past| past.bins.get(place).copied().flatten())
            .collect();
        had.sort_unstable_by(f64::total_cmp);
        let enough = usize::try_from(self.config.fewest_days().get()).unwrap_or(usize::MAX);
        if had.len() < enough {
            return None;
        }
        had.get(had.len() / 2).copied()
    }

    /// Rule 3. Little is added on both sides, so that of two small numbers neither is many times the other.
    fn today(&self) -> f64 {
        let little = 0.05 * self.state.usual + 1.0;
        let compared = (self.state.came + little) / (self.state.usual + little);
        compared.clamp(0.0, BUSIEST)
    }

    fn guess(&self, bin: i64) -> Option<f64> {
        self.usual(bin).map(|usual| usual * self.today())
    }
}

const fn bin_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(BIN)
}

fn place_of(bin: i64) -> usize {
    usize::try_from(bin.rem_euclid(BINS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Period;

    const HOUR: i64 = 3_600_000;

    fn learned(days: i64, rate: impl Fn(i64, i64) -> f64) -> Forecast {
        let mut forecast = Forecast::new(ForecastConfig::new().lead(Period::secs(300)));
        for at in (0..days * 24 * HOUR).step_by(60_000) {
            let (day, hour) = (at / HOUR / 24, at / HOUR % 24);
            forecast.observe(rate(day, hour), Timestamp::from_millis(at));
        }
        forecast
    }

    const fn at(day: i64, hour: i64) -> Timestamp {
        Timestamp::from_millis((day * 24 + hour) * HOUR)
    }

    #[test]
    fn rule_2_nothing_before_enough_days_are_known() {
        let one = learned(1, |_, _| 5.0);
        assert_eq!(one.expected(at(1, 0)), None);
        assert!(!one.is_trusted());
        assert!(learned(3, |_, _| 5.0).is_trusted());
    }

    #[test]
    fn rule_2_an_odd_day_is_not_the_pattern() {
        let forecast = learned(5, |day, _| if day == 4 { 500.0 } else { 5.0 });
        // Today compares to the last hour of the odd day, at most by half as much again.
        assert!(forecast.expected(at(5, 0)).unwrap() <= 7.6);
    }

    #[test]
    fn rule_3_a_holiday_is_seen_as_one() {
        let forecast = learned(4, |day, _| if day == 3 { 20.0 } else { 100.0 });
        let expected = forecast.expected(at(3, 23)).unwrap();
        assert!(expected < 30.0, "{expected}");
    }

    #[test]
    fn rule_5_what_is_too_high_is_not_trusted() {
        // A busy hour that stops coming after the fourth day.
        let forecast = learned(
            6,
            |day, hour| if day < 4 && hour == 9 { 100.0 } else { 1.0 },
        );
        assert!(!forecast.is_trusted());
    }

    #[test]
    fn rule_6_the_clock_may_step_back() {
        let mut forecast = learned(3, |_, _| 5.0);
        let before = forecast.clone();
        forecast.observe(f64::MAX, at(1, 0));
        forecast.observe(f64::NAN, at(3, 0));
        forecast.observe(-1.0, at(3, 0));
        assert_eq!(forecast, before);
    }

    #[test]
    fn days_are_bounded() {
        let forecast = learned(40, |_, _| 1.0);
        assert!(forecast.state.days.len() <= 8);
        assert!(forecast.state.pending.len() <= 3);
    }
}
