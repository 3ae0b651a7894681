use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::sample::Sample;
use crate::error::ConfigError;
use crate::time::Timestamp;

/// Between what a count of replicas moves. The least may be zero; it is not above the most.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::Bounds;
///
/// const BOUNDS: Bounds = Bounds::between(4, 20);
/// assert_eq!((BOUNDS.nearest(1), BOUNDS.nearest(60)), (4, 20));
/// assert!(Bounds::new("bounds", 20, 4).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    least: u32,
    most: u32,
}

impl Bounds {
    /// Checks bounds that were read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the least is above the most.
    pub fn new(field: &'static str, least: u32, most: u32) -> Result<Self, ConfigError> {
        if least <= most {
            Ok(Self { least, most })
        } else {
            let value = format!("{least}..={most}");
            Err(ConfigError::new(
                field,
                value,
                "the least not above the most",
            ))
        }
    }

    /// From `least` to `most`, for literals.
    ///
    /// # Panics
    ///
    /// When `least` is above `most`; in a `const` that is a compile error.
    #[must_use]
    pub const fn between(least: u32, most: u32) -> Self {
        assert!(least <= most, "the least is not above the most");
        Self { least, most }
    }

    /// The least.
    #[must_use]
    pub const fn least(self) -> u32 {
        self.least
    }

    /// The most.
    #[must_use]
    pub const fn most(self) -> u32 {
        self.most
    }

    /// The nearest count within.
    #[must_use]
    pub const fn nearest(self, count: u32) -> u32 {
        if count < self.least {
            self.least
        } else if count > self.most {
            self.most
        } else {
            count
        }
    }
}

/// An amount of something for each replica, or of something to reach: finite and above zero.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::Amount;
///
/// const CAPACITY: Amount = Amount::of(10);
/// assert_eq!(Amount::new("capacity", 10.0)?, CAPACITY);
/// assert!(Amount::new("capacity", 0.0).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Amount(f64);

impl Amount {
    /// Checks an amount that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the value is not finite, or not above zero.
    pub fn new(field: &'static str, value: f64) -> Result<Self, ConfigError> {
        if value > 0.0 && value.is_finite() {
            Ok(Self(value))
        } else {
            Err(ConfigError::new(field, value, "a finite number above 0"))
        }
    }

    /// A whole amount, for literals.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn of(amount: u32) -> Self {
        assert!(amount > 0, "an amount is not zero");
        Self(amount as f64)
    }

    /// So many percent of one, for literals of shares.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        assert!(percent > 0, "an amount is not zero");
        Self(percent as f64 / 100.0)
    }

    /// The amount as a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// How many replicas should run, and why.
///
/// The count is absolute, so that a decision that is carried out twice does no harm.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Decision {
    from: u32,
    target: u32,
    why: Reasoning,
}

impl Decision {
    /// To have `target` replicas where `from` are ordered.
    #[must_use]
    pub const fn new(from: u32, target: u32, why: Reasoning) -> Self {
        Self { from, target, why }
    }

    /// How many were ordered before: ready and starting.
    #[must_use]
    pub const fn from(&self) -> u32 {
        self.from
    }

    /// How many there should be.
    #[must_use]
    pub const fn target(&self) -> u32 {
        self.target
    }

    /// Whether there should be more or fewer than before.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.from != self.target
    }

    /// Whether it was made without a signal that the policy goes by, since that was missing or too old. A policy says so by a
    /// step of a rule called `blind`, or by one that gives `missing`.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let mut steps = self.why.steps();
        steps.any(|step| step.rule() == "blind" || step.result().as_text() == Some("missing"))
    }

    /// With at least so many, as the rule called `rule` asks.
    #[must_use]
    pub(super) fn raised(mut self, least: u32, rule: &'static str) -> Self {
        let target = self.target.max(least);
        let step = self.why.step(rule).given("least", least);
        step.given("wanted", self.target).gives(target);
        self.target = target;
        self
    }

    /// With more steps.
    #[must_use]
    pub(super) fn explained(mut self, steps: impl FnOnce(&mut Reasoning)) -> Self {
        steps(&mut self.why);
        self
    }

    /// The steps that led here.
    #[must_use]
    pub const fn why(&self) -> &Reasoning {
        &self.why
    }
}

/// Decides from samples how many replicas should run. Every policy of this module is one.
///
/// A policy is a plain value that remembers what it saw. To try one without consequences, clone it and throw the clone
/// away.
pub trait Autoscaler {
    /// Takes a sample and says how many replicas there should be.
    ///
    /// Total: whatever the sample holds, the answer is within the policy's bounds.
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision;
}

impl<A: Autoscaler + ?Sized> Autoscaler for Box<A> {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        (**self).decide(sample, now)
    }
}

/// The least whole number of replicas that is not below `need`, capped; none for what is not a number.
pub(super) fn ceil(need: f64) -> u32 {
    // What is whole but for the last bits of a quotient needs no replica more.
    const ROUNDING: f64 = 1e-9;
    let up = (need - ROUNDING).ceil();
    if up >= f64::from(u32::MAX) {
        u32::MAX
    } else if up > 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the greatest u32, checked above"
        )]
        {
            up as u32
        }
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::gpu::{Documented, DocumentedConfig, Gpu, GpuConfig};
    use crate::autoscale::knative::{Knative, KnativeConfig};
    use crate::autoscale::threshold::{Threshold, ThresholdConfig, Trigger};
    use crate::autoscale::tracking::{Tracking, TrackingConfig};
    use crate::autoscale::{Fleet, Reading, Signal};
    use crate::num::Period;

    #[test]
    fn every_policy_says_when_it_is_blind() {
        let bounds = Bounds::between(2, 20);
        let threshold = ThresholdConfig::new(bounds)
            .when(Trigger::whole(Signal::Cpu, Amount::percent(70)))
            .when(Trigger::whole(Signal::Backlog, Amount::of(100)));
        let gpu = GpuConfig::new(bounds, Amount::of(10), Period::secs(300));
        let tracking = TrackingConfig::new(bounds, Signal::Cpu, Amount::percent(60));
        let policies: [(&str, Box<dyn Autoscaler>); 5] = [
            (
                "documented",
                Box::new(Documented::new(DocumentedConfig::new())),
            ),
            ("gpu", Box::new(Gpu::new(gpu))),
            (
                "knative",
                Box::new(Knative::new(KnativeConfig::new(bounds, Amount::of(1)))),
            ),
            ("threshold", Box::new(Threshold::new(threshold))),
            ("tracking", Box::new(Tracking::new(tracking))),
        ];
        let now = Timestamp::from_millis(86_400_000);
        let fleet = || Sample::new(Fleet::new(4));
        let all = |at: Timestamp| {
            let signals = Signal::ALL.into_iter();
            signals.fold(fleet(), |sample, signal| {
                sample.measured(signal, Reading::new(0.5, at))
            })
        };
        for (name, mut policy) in policies {
            assert!(!policy.decide(&all(now), now).is_blind(), "{name}");
            assert!(policy.decide(&fleet(), now).is_blind(), "{name}");
            let stale = all(Timestamp::from_millis(0));
            assert!(policy.decide(&stale, now).is_blind(), "{name}");
            assert!(!policy.decide(&all(now), now).is_blind(), "{name}");
        }
    }
}
