//! Thresholds: so many more when something is above, fewer when all of it has been calm for a while.
//!
//! Use it for what a table of an operations handbook says, such as "more than 100 waiting: two more". It knows no
//! proportions, so it is slow under a load that doubles; [`tracking`](crate::autoscale::tracking) is better where the
//! signal grows with the load of each replica.
//!
//! # Rules
//!
//! 1. A trigger that is above its threshold adds the step, at most once in a cooldown, and no more than is not starting
//!    already.
//! 2. Triggers that are all below their calm share for all of the calm time take the step down, and then it begins anew.
//! 3. A trigger whose reading is missing or stale asks for nothing, and nothing is taken away meanwhile. A gap between two
//!    decisions that is longer than a reading may be old is such a time; the calm begins anew after it.
//! 4. Of none, any load makes one; a threshold could never be reached there.
//! 5. The target is an absolute count within the bounds.

use std::time::Duration;

use crate::autoscale::pace::PaceState;
use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::{Amount, Autoscaler, Bounds, Decision, Sample, Signal};
use crate::num::{Period, Ratio};
use crate::time::Timestamp;

/// A signal and how much of it is too much.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::threshold::Trigger;
/// use mainstay::autoscale::{Amount, Signal};
///
/// let queue = Trigger::whole(Signal::Backlog, Amount::of(50));
/// let requests = Trigger::each(Signal::Rate, Amount::of(1_000));
/// assert_ne!(queue, requests);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trigger {
    signal: Signal,
    above: Amount,
    each: bool,
}

impl Trigger {
    /// Too much is above this in all; for shares and times, on average.
    #[must_use]
    pub const fn whole(signal: Signal, above: Amount) -> Self {
        Self {
            signal,
            above,
            each: false,
        }
    }

    /// Too much is above this for each replica that is ordered.
    #[must_use]
    pub const fn each(signal: Signal, above: Amount) -> Self {
        Self {
            signal,
            above,
            each: true,
        }
    }

    /// What is measured.
    #[must_use]
    pub const fn signal(self) -> Signal {
        self.signal
    }

    /// Above what it is too much.
    #[must_use]
    pub const fn threshold(self) -> Amount {
        self.above
    }

    /// Whether that is for each replica.
    #[must_use]
    pub const fn is_each(self) -> bool {
        self.each
    }

    /// How many times the threshold it is at, if that is known.
    fn at(self, sample: &Sample, stale: Duration, now: Timestamp) -> Option<f64> {
        let value = sample.fresh(self.signal, stale, now)?;
        let over = if self.each {
            f64::from(sample.fleet().ordered().max(1))
        } else {
            1.0
        };
        Some(value / over / self.above.get())
    }
}

/// The settings of a [`Threshold`].
///
/// # Example
///
/// ```
/// use mainstay::autoscale::threshold::{ThresholdConfig, Trigger};
/// use mainstay::autoscale::{Amount, Bounds, Signal};
///
/// let config = ThresholdConfig::new(Bounds::between(3, 50))
///     .when(Trigger::whole(Signal::Backlog, Amount::of(100)))
///     .steps(2, 1);
/// assert_eq!(config.triggers().len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdConfig {
    bounds: Bounds,
    triggers: Vec<Trigger>,
    up: u32,
    down: u32,
    cooldown: Period,
    calm: Ratio,
    calm_for: Period,
    stale: Period,
}

impl ThresholdConfig {
    /// Between these counts, without a trigger.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            triggers: Vec::new(),
            up: 1,
            down: 1,
            cooldown: Period::secs(60),
            calm: Ratio::percent(70),
            calm_for: Period::secs(300),
            stale: Period::secs(60),
        }
    }

    /// One more trigger; any of them is enough to grow, and all must be calm to shrink.
    #[must_use]
    pub fn when(mut self, trigger: Trigger) -> Self {
        self.triggers.push(trigger);
        self
    }

    /// How many are added and taken away at once. Default to one each.
    #[must_use]
    pub const fn steps(mut self, up: u32, down: u32) -> Self {
        self.up = up;
        self.down = down;
        self
    }

    /// How long it waits after growing before it grows again. Defaults to 60 s: as long as new ones take to show.
    #[must_use]
    pub const fn cooldown(mut self, time: Period) -> Self {
        self.cooldown = time;
        self
    }

    /// Which share of the thresholds is calm, and for how long it must be. Default to 70 % and 5 min.
    #[must_use]
    pub const fn calm(mut self, share: Ratio, time: Period) -> Self {
        self.calm = share;
        self.calm_for = time;
        self
    }

    /// How old a reading may be, and how far apart two decisions, so more than the interval. Defaults to 60 s.
    #[must_use]
    pub const fn stale(mut self, age: Period) -> Self {
        self.stale = age;
        self
    }

    /// Between which counts.
    #[must_use]
    pub const fn range(&self) -> Bounds {
        self.bounds
    }

    /// What makes it grow.
    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.triggers
    }

    /// How many are added and taken away at once.
    #[must_use]
    pub const fn step_sizes(&self) -> (u32, u32) {
        (self.up, self.down)
    }

    /// How long it waits after growing.
    #[must_use]
    pub const fn cooldown_time(&self) -> Period {
        self.cooldown
    }

    /// Which share of the thresholds is calm, and for how long it must be.
    #[must_use]
    pub const fn calm_times(&self) -> (Ratio, Period) {
        (self.calm, self.calm_for)
    }

    /// How old a reading may be.
    #[must_use]
    pub const fn oldest(&self) -> Period {
        self.stale
    }
}

/// A policy of thresholds.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::threshold::Threshold;
/// use mainstay::autoscale::{Autoscaler, Fleet, Reading, Sample, Signal};
/// use mainstay::presets::erp;
/// use mainstay::time::Timestamp;
///
/// let mut policy = Threshold::new(erp::stateless_scaling());
/// let now = Timestamp::from_millis(0);
/// let sample = Sample::new(Fleet::new(3))
///     .measured(Signal::Cpu, Reading::new(0.85, now))
///     .measured(Signal::Backlog, Reading::new(0.0, now));
/// assert_eq!(policy.decide(&sample, now).target(), 5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    config: ThresholdConfig,
    state: PaceState,
}

impl Threshold {
    /// Of replicas whose past nobody knows.
    #[must_use]
    pub fn new(config: ThresholdConfig) -> Self {
        Self::resume(config, PaceState::unknown())
    }

    /// With the state that another process had.
    #[must_use]
    pub const fn resume(config: ThresholdConfig, state: PaceState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> PaceState {
        self.state
    }
}

impl Autoscaler for Threshold {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let (config, state) = (&self.config, &mut self.state);
        let mut why = Reasoning::with_capacity(config.triggers.len() + 2, 12);
        let ordered = sample.fleet().ordered();
        let current = config.bounds.nearest(ordered);
        state.see(config.stale.get(), now);
        let (mut fired, mut loaded, mut calm, mut blind) = (false, false, true, false);
        for trigger in &config.triggers {
            let at = trigger.at(sample, config.stale.get(), now);
            let step = why
                .step(trigger.signal.as_str())
                .given("above", trigger.above.get());
            let step = step.given_if("times", at);
            match at {
                None => {
                    blind = true;
                    step.gives("missing");
                }
                Some(times) => {
                    fired |= times > 1.0;
                    loaded |= times > 0.0;
                    calm &= times < config.calm.get();
                    step.gives(times > 1.0);
                }
            }
        }
        if blind {
            state.blind(now);
        }
        let idle = state.calm(calm && !blind, config.calm_for.get(), now);
        let starting = ordered.saturating_sub(sample.fleet().ready());
        let (wanted, because) = if ordered == 0 && loaded {
            (current.max(1), "load and no replica")
        } else if fired && state.may_grow(config.cooldown.get(), now) {
            (
                current.saturating_add(config.up.saturating_sub(starting)),
                "above",
            )
        } else if fired {
            (current, "cooldown")
        } else if idle && state.may_shrink(config.calm_for.get(), now) {
            (current.saturating_sub(config.down), "calm")
        } else {
            (current, "nothing")
        };
        let target = config.bounds.nearest(wanted);
        state.moved(current, target, now);
        why.step("target")
            .given("from", ordered)
            .given("because", because)
            .gives(target);
        Decision::new(ordered, target, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::{Fleet, Reading};

    fn policy() -> Threshold {
        let config = ThresholdConfig::new(Bounds::between(0, 10))
            .when(Trigger::whole(Signal::Backlog, Amount::of(10)))
            .steps(2, 1);
        Threshold::resume(config, PaceState::empty())
    }

    fn ask(policy: &mut Threshold, fleet: Fleet, backlog: Option<f64>, secs: i64) -> u32 {
        let now = Timestamp::from_millis(secs * 1_000);
        let sample = Sample::new(fleet);
        let sample = match backlog {
            Some(backlog) => sample.measured(Signal::Backlog, Reading::new(backlog, now)),
            None => sample,
        };
        policy.decide(&sample, now).target()
    }

    #[test]
    fn rule_1_a_step_a_cooldown_less_what_starts() {
        let mut policy = policy();
        assert_eq!(ask(&mut policy, Fleet::new(3), Some(11.0), 0), 5);
        assert_eq!(ask(&mut policy, Fleet::new(5), Some(11.0), 30), 5);
        let starting = Fleet::new(4).starting([Timestamp::from_millis(0)]);
        assert_eq!(ask(&mut policy, starting, Some(11.0), 60), 6);
        // The threshold itself is not above it.
        assert_eq!(ask(&mut policy, Fleet::new(5), Some(10.0), 600), 5);
    }

    #[test]
    fn rule_2_calm_takes_one_at_a_time() {
        let mut policy = policy();
        let mut ready = 4;
        let mut changes = Vec::new();
        for secs in (0..1_000).step_by(15) {
            let target = ask(&mut policy, Fleet::new(ready), Some(1.0), secs);
            if target != ready {
                changes.push(secs);
            }
            ready = target;
        }
        assert_eq!((ready, changes), (1, vec![300, 615, 930]));
    }

    #[test]
    fn rule_3_what_is_missing_takes_nothing_away() {
        let mut policy = policy();
        for secs in (0..3_000).step_by(15) {
            assert_eq!(ask(&mut policy, Fleet::new(4), None, secs), 4);
        }
        assert_eq!(ask(&mut policy, Fleet::new(4), Some(0.0), 3_000), 4);
    }

    #[test]
    fn rule_3_a_gap_between_decisions_is_no_calm() {
        let mut policy = policy();
        assert_eq!(ask(&mut policy, Fleet::new(4), Some(0.0), 0), 4);
        let mut target = 4;
        for secs in (600..=900).step_by(15) {
            assert_eq!(target, 4, "{secs}");
            target = ask(&mut policy, Fleet::new(4), Some(0.0), secs);
        }
        assert_eq!(target, 3);
    }

    #[test]
    fn rule_4_of_none_any_load_makes_one() {
        let mut policy = policy();
        assert_eq!(ask(&mut policy, Fleet::new(0), Some(0.0), 0), 0);
        assert_eq!(ask(&mut policy, Fleet::new(0), Some(1.0), 15), 1);
    }
}
