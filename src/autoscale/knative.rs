//! Two windows, as Knative's pod autoscaler has them: a stable one, and a short one for panics.
//!
//! Use it for replicas that start within seconds, and for services that go to zero. It follows the load closely in both
//! directions, so where a replica takes minutes to start or to drain it flaps; [`gpu`](crate::autoscale::gpu) is for
//! those.
//!
//! # Rules
//!
//! 1. Wanted is the mean of the load over the stable window divided by the target of one replica, and the same for the
//!    panic window. Neither is above the ready replicas times the rate up, nor below them divided by the rate down.
//! 2. A panic begins when the panic window wants twice as many as are ready, and ends when that has not been so for a
//!    stable window. While it lasts the count only grows.
//! 3. After the last load zero replicas are wanted only when the stable window is empty of it and the grace is over.
//! 4. Fewer are wanted only if fewer were wanted for all of the delay.
//! 5. Without a fresh reading nothing changes. When there has been none for longer than the stable window, nobody knows
//!    whether there was load, nor what was wanted: grace and delay begin anew.
//!
//! # Source
//!
//! Knative Serving, "Configuring autoscaling": `stable-window`, `panic-window-percentage`, `panic-threshold-percentage`,
//! `max-scale-up-rate`, `max-scale-down-rate`, `scale-to-zero-grace-period`, `scale-down-delay`, with their defaults.

use std::time::Duration;

use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::words::ceil;
use crate::autoscale::{Amount, Autoscaler, Bounds, Decision, Sample, Signal};
use crate::num::{Factor, Period};
use crate::time::Timestamp;

/// In how many parts a window is remembered, at most.
const PARTS: i64 = 60;
/// Far beyond any load, so that sums stay numbers.
const CEILING: f64 = 1e15;

/// The settings of [`Knative`].
///
/// # Example
///
/// ```
/// use mainstay::autoscale::knative::KnativeConfig;
/// use mainstay::autoscale::{Amount, Bounds};
///
/// // 70 % of 10 requests a second for each.
/// let config = KnativeConfig::new(Bounds::between(0, 50), Amount::of(7));
/// assert_eq!(config.range().least(), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnativeConfig {
    bounds: Bounds,
    target: Amount,
    signal: Signal,
    stable: Period,
    panic: Period,
    threshold: Factor,
    up: Factor,
    down: Factor,
    grace: Duration,
    delay: Duration,
}

impl KnativeConfig {
    /// Between `bounds`, so that each replica has `target` of the load.
    #[must_use]
    pub fn new(bounds: Bounds, target: Amount) -> Self {
        Self {
            bounds,
            target,
            signal: Signal::Rate,
            stable: Period::secs(60),
            panic: Period::secs(6),
            threshold: Factor::TWO,
            up: Factor::percent(60_000),
            down: Factor::TWO,
            grace: Duration::from_secs(30),
            delay: Duration::ZERO,
        }
    }

    /// What the load is. Defaults to the rate; [`Signal::InFlight`] is the other one that Knative has.
    #[must_use]
    pub const fn signal(mut self, signal: Signal) -> Self {
        self.signal = signal;
        self
    }

    /// The two windows. Default to 60 s, and a tenth of it.
    #[must_use]
    pub const fn windows(mut self, stable: Period, panic: Period) -> Self {
        self.stable = stable;
        self.panic = panic;
        self
    }

    /// How many times as many as are ready must be wanted for a panic. Defaults to 2.
    #[must_use]
    pub const fn threshold(mut self, times: Factor) -> Self {
        self.threshold = times;
        self
    }

    /// By how many times the ready ones may grow in one decision. Defaults to 600; Knative has 1,000, which in one
    /// decision is as good as no limit too.
    #[must_use]
    pub const fn up(mut self, times: Factor) -> Self {
        self.up = times;
        self
    }

    /// By how many times they may shrink in one decision. Defaults to 2.
    #[must_use]
    pub const fn down(mut self, times: Factor) -> Self {
        self.down = times;
        self
    }

    /// How long the last replica stays after the window is empty. Defaults to 30 s.
    #[must_use]
    pub const fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// For how long fewer must be wanted. Defaults to none.
    #[must_use]
    pub const fn delay(mut self, time: Duration) -> Self {
        self.delay = time;
        self
    }

    /// Between which counts.
    #[must_use]
    pub const fn range(&self) -> Bounds {
        self.bounds
    }
}

/// What [`Knative`] remembers.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct KnativeState {
    /// Part of the stable window, sum and count of the readings in it.
    seen: Vec<(i64, f64, u32)>,
    /// Since when the past has been seen.
    since: Option<Timestamp>,
    panicked: Option<Timestamp>,
    panic_most: u32,
    loaded: Option<Timestamp>,
    /// When there was last a reading.
    read: Option<Timestamp>,
    /// Part of the delay, and the most that was wanted in it.
    wanted: Vec<(i64, u32)>,
}

/// A policy with a stable and a panic window.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::knative::{Knative, KnativeConfig};
/// use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, Reading, Sample, Signal};
/// use mainstay::time::Timestamp;
///
/// let mut policy = Knative::new(KnativeConfig::new(Bounds::between(0, 50), Amount::of(7)));
/// let now = Timestamp::from_millis(0);
/// let sample = Sample::new(Fleet::new(2)).measured(Signal::Rate, Reading::new(70.0, now));
/// let decision = policy.decide(&sample, now);
/// assert_eq!(decision.target(), 10);
/// assert!(decision.why().last("panic").is_some());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Knative {
    config: KnativeConfig,
    state: KnativeState,
}

impl Knative {
    /// With nothing known.
    #[must_use]
    pub fn new(config: KnativeConfig) -> Self {
        Self::resume(config, KnativeState::default())
    }

    /// With the state that another process had.
    #[must_use]
    pub const fn resume(config: KnativeConfig, state: KnativeState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> &KnativeState {
        &self.state
    }

    fn part(time: Duration) -> i64 {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        (millis / PARTS).max(1)
    }

    /// Remembers `load`, and gives the means over both windows.
    fn means(&mut self, load: f64, now: Timestamp) -> (f64, f64) {
        let length = Self::part(self.config.stable.get());
        let part = now.as_millis().div_euclid(length);
        let seen = &mut self.state.seen;
        seen.retain(|(at, ..)| *at <= part && at.saturating_add(PARTS) > part);
        match seen.last_mut() {
            Some((at, sum, count)) if *at == part => {
                *sum += load;
                *count = count.saturating_add(1);
            }
            _ => seen.push((part, load, 1)),
        }
        let panic = i64::try_from(self.config.panic.get().as_millis()).unwrap_or(i64::MAX);
        let short = (panic / length).clamp(1, PARTS);
        let mean = |parts: i64| {
            let (mut sum, mut count) = (0.0, 0.0);
            for (_, part_sum, part_count) in seen
                .iter()
                .filter(|(at, ..)| at.saturating_add(parts) > part)
            {
                sum += part_sum;
                count += f64::from(*part_count);
            }
            sum / f64::max(count, 1.0)
        };
        (mean(PARTS), mean(short))
    }

    /// Rule 5, when there is a reading.
    fn read(&mut self, ordered: u32, now: Timestamp) {
        let last = self.state.read.replace(now);
        if last.is_some_and(|last| now.since(last) > self.config.stable.get()) {
            self.state.since = None;
            self.state.loaded = None;
            self.delayed(ordered, now);
        }
    }

    /// Rule 4.
    fn delayed(&mut self, wanted: u32, now: Timestamp) -> u32 {
        if self.config.delay.is_zero() {
            return wanted;
        }
        let part = now.as_millis().div_euclid(Self::part(self.config.delay));
        let most = &mut self.state.wanted;
        most.retain(|(at, _)| *at <= part && at.saturating_add(PARTS) >= part);
        match most.last_mut() {
            Some((at, most)) if *at == part => *most = wanted.max(*most),
            _ => most.push((part, wanted)),
        }
        most.iter().map(|(_, most)| *most).fold(wanted, u32::max)
    }

    /// Rule 2.
    fn panics(&mut self, urgent: u32, ready: u32, now: Timestamp) -> bool {
        let state = &mut self.state;
        if f64::from(urgent) >= self.config.threshold.get() * f64::from(ready.max(1)) {
            if state.panicked.is_none() {
                state.panic_most = 0;
            }
            state.panicked = Some(now);
        } else if state
            .panicked
            .is_some_and(|last| now.since(last) >= self.config.stable.get())
        {
            state.panicked = None;
        }
        state.panicked.is_some()
    }
}

impl Autoscaler for Knative {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let mut why = Reasoning::with_capacity(4, 12);
        let config = self.config;
        let (ordered, ready) = (sample.fleet().ordered(), sample.fleet().ready());
        let Some(load) = sample.fresh(config.signal, config.stable.get(), now) else {
            let target = config.bounds.nearest(ordered);
            why.step("blind").given("ordered", ordered).gives(target);
            return Decision::new(ordered, target, why);
        };
        self.read(ordered, now);
        if load > 0.0 {
            self.state.loaded = Some(now);
        }
        let since = *self.state.since.get_or_insert(now);
        let (stable, short) = self.means(load.min(CEILING), now);
        let base = f64::from(ready.max(1));
        // Down from none is none; down from one is one, until rule 3 lets it go.
        let floor = ceil((base / config.down.get()).floor());
        let limit = ceil(base * config.up.get());
        let count = |mean: f64| ceil(mean / config.target.get()).clamp(floor.min(limit), limit);
        let (mut wanted, urgent) = (count(stable), count(short));
        why.step("windows")
            .given("stable", stable)
            .given("panic", short)
            .gives(wanted);

        if self.panics(urgent, ready, now) {
            let most = self.state.panic_most.max(urgent).max(wanted).max(ready);
            self.state.panic_most = most;
            why.step("panic")
                .given("wanted", urgent)
                .given("ready", ready)
                .gives(most);
            wanted = most;
        }
        let wanted = self.delayed(wanted, now);
        let empty = config.stable.get().saturating_add(config.grace);
        let idle = now.since(self.state.loaded.unwrap_or(since)) >= empty;
        let wanted = if idle {
            0
        } else {
            wanted.max(u32::from(ordered > 0))
        };
        let target = config.bounds.nearest(wanted);
        why.step("target")
            .given("idle", idle)
            .given("wanted", wanted)
            .gives(target);
        Decision::new(ordered, target, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::{Fleet, Reading};

    fn at(secs: i64, ready: u32, rate: f64, policy: &mut Knative) -> u32 {
        let now = Timestamp::from_millis(secs * 1_000);
        let sample = Sample::new(Fleet::new(ready)).measured(Signal::Rate, Reading::new(rate, now));
        policy.decide(&sample, now).target()
    }

    fn policy() -> Knative {
        Knative::new(KnativeConfig::new(Bounds::between(0, 100), Amount::of(10)))
    }

    #[test]
    fn rule_2_a_panic_only_grows() {
        let mut policy = policy();
        for secs in (0..60).step_by(2) {
            assert_eq!(at(secs, 2, 20.0, &mut policy), 2);
        }
        let target = at(60, 2, 80.0, &mut policy);
        assert_eq!(target, 4);
        let held = at(66, target, 0.0, &mut policy);
        assert!(held >= target);
        // A stable window later the calm counts again.
        let after = (68..140)
            .step_by(2)
            .map(|secs| at(secs, target, 10.0, &mut policy))
            .last();
        assert!(after.unwrap() < target);
    }

    #[test]
    fn rule_3_zero_comes_after_window_and_grace() {
        let mut policy = policy();
        assert_eq!(at(0, 1, 5.0, &mut policy), 1);
        assert_eq!(at(60, 1, 0.0, &mut policy), 1);
        assert_eq!(at(88, 1, 0.0, &mut policy), 1);
        assert_eq!(at(90, 1, 0.0, &mut policy), 0);
    }

    #[test]
    fn rule_1_shrinks_by_half_at_most() {
        assert_eq!(at(0, 40, 10.0, &mut policy()), 20);
    }

    #[test]
    fn rule_5_after_a_gap_grace_and_delay_begin_anew() {
        let mut one = policy();
        assert_eq!(at(0, 1, 5.0, &mut one), 1);
        assert_eq!(at(600, 1, 0.0, &mut one), 1);
        assert_eq!(at(644, 1, 0.0, &mut one), 1);
        assert_eq!(at(689, 1, 0.0, &mut one), 1);
        assert_eq!(at(690, 1, 0.0, &mut one), 0);
        let config = KnativeConfig::new(Bounds::between(0, 100), Amount::of(10));
        let mut slow = Knative::new(config.delay(Duration::from_secs(120)));
        assert_eq!(at(0, 8, 80.0, &mut slow), 8);
        assert_eq!(at(600, 8, 40.0, &mut slow), 8);
        assert_eq!(at(660, 8, 40.0, &mut slow), 8);
        assert_eq!(at(719, 8, 40.0, &mut slow), 8);
        assert_eq!(at(724, 8, 40.0, &mut slow), 4);
    }

    #[test]
    fn rule_5_nothing_changes_unseen() {
        let sample = Sample::new(Fleet::new(7));
        assert_eq!(
            policy().decide(&sample, Timestamp::from_millis(0)).target(),
            7
        );
    }
}
