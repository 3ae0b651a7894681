//! Target tracking: as many replicas as bring a signal to its target, with a cooldown in each direction.
//!
//! Use it where a signal is shared out among the replicas: busy share, memory, connections. Where replicas take minutes
//! to start, [`gpu`](crate::autoscale::gpu) looks ahead and this does not.
//!
//! # Rules
//!
//! 1. Wanted is the ready replicas times the signal over its target, rounded up. Within the tolerance of the target the
//!    count stays.
//! 2. It grows at most once in its cooldown, and not for what is starting already.
//! 3. It shrinks when neither a growth nor a shrinking lies within the other cooldown; an unknown past counts as a growth.
//! 4. A missing or stale signal changes nothing; what is expected may still raise the count. A gap between two decisions
//!    that is longer than a reading may be old is such a time; after it the past is unknown.
//! 5. With a foreseen rate ([`Signal::Expected`]) and a rate for each replica, the count is never below what that needs.
//! 6. The target is an absolute count within the bounds.

use crate::autoscale::pace::PaceState;
use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::words::ceil;
use crate::autoscale::{Amount, Autoscaler, Bounds, Decision, Sample, Signal};
use crate::num::{Period, Ratio};
use crate::time::Timestamp;

/// The settings of [`Tracking`].
///
/// # Example
///
/// ```
/// use mainstay::autoscale::tracking::TrackingConfig;
/// use mainstay::autoscale::{Amount, Bounds, Signal};
/// use mainstay::num::Period;
///
/// let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::new("cpu", 0.7)?)
///     .cooldowns(Period::secs(300), Period::secs(600));
/// assert_eq!(config.range().most(), 20);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackingConfig {
    bounds: Bounds,
    signal: Signal,
    target: Amount,
    shared: bool,
    tolerance: Ratio,
    up: Period,
    down: Period,
    foreseen: Option<Amount>,
    stale: Period,
}

impl TrackingConfig {
    /// Between these counts, so that `signal`, the mean of the replicas, is at `target`.
    #[must_use]
    pub const fn new(bounds: Bounds, signal: Signal, target: Amount) -> Self {
        Self {
            bounds,
            signal,
            target,
            shared: false,
            tolerance: Ratio::percent(10),
            up: Period::secs(60),
            down: Period::secs(300),
            foreseen: None,
            stale: Period::secs(60),
        }
    }

    /// The signal is a sum that the replicas share out, such as connections. Defaults to a mean.
    #[must_use]
    pub const fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// How far from its target the signal may be. Defaults to a tenth of it.
    #[must_use]
    pub const fn tolerance(mut self, share: Ratio) -> Self {
        self.tolerance = share;
        self
    }

    /// How long it waits to grow again, and to shrink. Default to 60 s and 300 s.
    #[must_use]
    pub const fn cooldowns(mut self, up: Period, down: Period) -> Self {
        self.up = up;
        self.down = down;
        self
    }

    /// How many requests a second each replica serves, so that a foreseen rate can raise the count. Defaults to none:
    /// what is foreseen changes nothing.
    #[must_use]
    pub const fn foreseen(mut self, each: Amount) -> Self {
        self.foreseen = Some(each);
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

    /// What is brought to its target.
    #[must_use]
    pub const fn tracked(&self) -> Signal {
        self.signal
    }

    /// The target.
    #[must_use]
    pub const fn goal(&self) -> Amount {
        self.target
    }

    /// Whether the signal is a sum that the replicas share out.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// How far from its target the signal may be.
    #[must_use]
    pub const fn tolerated(&self) -> Ratio {
        self.tolerance
    }

    /// How long it waits to grow again, and to shrink.
    #[must_use]
    pub const fn cooldown_times(&self) -> (Period, Period) {
        (self.up, self.down)
    }

    /// How many requests a second each replica serves, where a foreseen rate raises the count.
    #[must_use]
    pub const fn per_replica(&self) -> Option<Amount> {
        self.foreseen
    }

    /// How old a reading may be.
    #[must_use]
    pub const fn oldest(&self) -> Period {
        self.stale
    }
}

/// A policy that tracks a target.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
/// use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, Reading, Sample, Signal};
/// use mainstay::time::Timestamp;
///
/// let half = Amount::new("cpu", 0.5)?;
/// let mut policy = Tracking::new(TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, half));
/// let now = Timestamp::from_millis(0);
/// let sample = Sample::new(Fleet::new(4)).measured(Signal::Cpu, Reading::new(0.9, now));
/// assert_eq!(policy.decide(&sample, now).target(), 8);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    config: TrackingConfig,
    state: PaceState,
}

impl Tracking {
    /// Of replicas whose past nobody knows.
    #[must_use]
    pub fn new(config: TrackingConfig) -> Self {
        Self::resume(config, PaceState::unknown())
    }

    /// With the state that another process had.
    #[must_use]
    pub const fn resume(config: TrackingConfig, state: PaceState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> PaceState {
        self.state
    }

    /// Rule 1.
    fn wanted(
        &self,
        sample: &Sample,
        current: u32,
        now: Timestamp,
        why: &mut Reasoning,
    ) -> Option<u32> {
        let config = &self.config;
        let value = sample.fresh(config.signal, config.stale.get(), now);
        let step = why
            .step(config.signal.as_str())
            .given("target", config.target.get());
        let Some(value) = value else {
            step.gives("missing");
            return None;
        };
        let ready = f64::from(sample.fleet().ready());
        let mean = if config.shared {
            value / ready.max(1.0)
        } else {
            value
        };
        let ratio = mean / config.target.get();
        let inside = (ratio - 1.0).abs() <= config.tolerance.get();
        let wanted = if inside {
            current
        } else {
            ceil(ready.max(1.0) * ratio)
        };
        step.given("value", value)
            .given("ratio", ratio)
            .gives(wanted);
        Some(wanted)
    }
}

impl Autoscaler for Tracking {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let config = self.config;
        let mut why = Reasoning::with_capacity(3, 10);
        let ordered = sample.fleet().ordered();
        let current = config.bounds.nearest(ordered);
        self.state.see(config.stale.get(), now);
        let wanted = self.wanted(sample, current, now, &mut why);
        if wanted.is_none() {
            self.state.blind(now);
        }
        let expected = config.foreseen.and_then(|each| {
            let expected = sample.fresh(Signal::Expected, config.stale.get(), now)?;
            Some(ceil(expected / each.get()))
        });
        let floor = expected.unwrap_or(0);
        let wanted = wanted.unwrap_or(current);
        let paced = if wanted > current && !self.state.may_grow(config.up.get(), now)
            || wanted < current && !self.state.may_shrink(config.down.get(), now)
        {
            current
        } else {
            wanted
        };
        let target = config.bounds.nearest(paced.max(floor));
        self.state.moved(current, target, now);
        why.step("target")
            .given("wanted", wanted)
            .given("paced", paced)
            .given_if("expected", expected)
            .gives(target);
        Decision::new(ordered, target, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::{Fleet, Reading};

    fn policy(state: PaceState) -> Tracking {
        let target = Amount::new("cpu", 0.7).unwrap();
        let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, target)
            .cooldowns(Period::secs(300), Period::secs(600))
            .foreseen(Amount::of(10))
            .stale(Period::secs(600));
        Tracking::resume(config, state)
    }

    fn ask(policy: &mut Tracking, ready: u32, cpu: f64, secs: i64) -> u32 {
        let now = Timestamp::from_millis(secs * 1_000);
        let sample = Sample::new(Fleet::new(ready)).measured(Signal::Cpu, Reading::new(cpu, now));
        policy.decide(&sample, now).target()
    }

    #[test]
    fn rule_1_tolerance_is_closed() {
        let mut policy = policy(PaceState::empty());
        assert_eq!(ask(&mut policy, 10, 0.76, 0), 10);
        assert_eq!(ask(&mut policy, 10, 0.64, 0), 10);
        assert_eq!(ask(&mut policy, 10, 0.84, 0), 12);
    }

    #[test]
    fn rules_2_and_3_cooldowns() {
        let mut policy = policy(PaceState::empty());
        assert_eq!(ask(&mut policy, 4, 1.0, 0), 6);
        assert_eq!(ask(&mut policy, 6, 1.0, 299), 6);
        assert_eq!(ask(&mut policy, 6, 1.0, 300), 9);
        assert_eq!(ask(&mut policy, 9, 0.1, 899), 9);
        assert_eq!(ask(&mut policy, 9, 0.1, 900), 2);
    }

    #[test]
    fn rule_3_an_unknown_past_holds_and_an_empty_one_does_not() {
        assert_eq!(ask(&mut policy(PaceState::unknown()), 9, 0.1, 0), 9);
        assert_eq!(ask(&mut policy(PaceState::empty()), 9, 0.1, 0), 2);
    }

    #[test]
    fn rule_4_a_gap_between_decisions_is_blind_too() {
        for (gap, target) in [(600, 2), (601, 9)] {
            let mut policy = policy(PaceState::empty());
            assert_eq!(ask(&mut policy, 9, 0.7, 0), 9);
            assert_eq!(ask(&mut policy, 9, 0.1, gap), target, "{gap}");
        }
    }

    #[test]
    fn rules_4_and_5_blind_it_is_only_raised() {
        let now = Timestamp::from_millis(0);
        let expected =
            Sample::new(Fleet::new(5)).measured(Signal::Expected, Reading::new(80.0, now));
        assert_eq!(
            policy(PaceState::empty()).decide(&expected, now).target(),
            8
        );
        let fewer = Sample::new(Fleet::new(5)).measured(Signal::Expected, Reading::new(20.0, now));
        assert_eq!(policy(PaceState::empty()).decide(&fewer, now).target(), 5);
    }
}
