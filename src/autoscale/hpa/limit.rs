//! How far and how fast a count may move.
//!
//! Rules:
//!
//! 1. Without `behavior`, a count may at most double, or rise to 4 if that is more; it is brought into the bounds, the
//!    smallest count first.
//! 2. With it, each policy says how far the count may be from where it stood when the policy's period began: the current
//!    count less what was added since, plus what was taken away since. Upwards, percentages are rounded up; downwards, cut.
//! 3. `Max` takes the policy that allows the largest step, `Min` the smallest, `Disabled` none.
//! 4. A limit never turns a count round: it is at least the current count upwards and at most that downwards, as after a
//!    policy was made stricter.
//! 5. The reason names what was in the way: the bound, or the limit where it is the narrower one.

use super::condition::Reason;
use super::history::{ScaleEvent, change_within};
use super::replicas::{ceiled, double};
use super::rules::{Direction, Policy, PolicyKind, Rules, Select};
use crate::error::ConfigError;
use crate::time::Timestamp;

/// The smallest and the largest count.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Bounds;
///
/// let bounds = Bounds::new(3, 50)?;
/// assert_eq!((bounds.min(), bounds.max()), (3, 50));
/// assert!(Bounds::new(3, 2).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bounds {
    min: i32,
    max: i32,
}

impl Bounds {
    /// Checks bounds that were read from outside.
    ///
    /// # Errors
    ///
    /// Names `minReplicas` below 0, and `maxReplicas` below 1 or the smallest count.
    pub fn new(min: i32, max: i32) -> Result<Self, ConfigError> {
        if min < 0 {
            let expected = "a count from 0 to 2147483647";
            return Err(ConfigError::new("minReplicas", min, expected));
        }
        if max < 1 {
            let expected = "a count from 1 to 2147483647";
            return Err(ConfigError::new("maxReplicas", max, expected));
        }
        if max < min {
            let expected = format!("a count of at least minReplicas, {min}");
            return Err(ConfigError::new("maxReplicas", max, expected));
        }
        Ok(Self { min, max })
    }

    /// The smallest count.
    #[must_use]
    pub const fn min(self) -> i32 {
        self.min
    }

    /// The largest count.
    #[must_use]
    pub const fn max(self) -> i32 {
        self.max
    }
}

/// How fast a count may rise without `behavior`: to so many times itself, and to so many at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    factor: u16,
    floor: u16,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            factor: 2,
            floor: 4,
        }
    }
}

impl Growth {
    /// To `factor` times the current count, and to `floor` at least. Kubernetes has 2 and 4.
    ///
    /// # Errors
    ///
    /// Names `factor` below 1: such a limit would take replicas away.
    pub fn new(factor: u16, floor: u16) -> Result<Self, ConfigError> {
        if factor == 0 {
            return Err(ConfigError::new(
                "factor",
                factor,
                "a factor from 1 to 65535",
            ));
        }
        Ok(Self { factor, floor })
    }

    fn limit(self, current: i32) -> i32 {
        let grown = i64::from(current) * i64::from(self.factor);
        count(grown.max(self.floor.into()))
    }
}

/// As far as it fits.
fn count(value: i64) -> i32 {
    let end = if value < 0 { i32::MIN } else { i32::MAX };
    i32::try_from(value).unwrap_or(end)
}

/// Brings `desired` into the bounds: rule 1.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Bounds, Growth, Reason, clamp};
///
/// let bounds = Bounds::new(1, 100)?;
/// assert_eq!(clamp(3, 50, bounds, Growth::default()), (6, Reason::ScaleUpLimit));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[must_use]
pub fn clamp(current: i32, desired: i32, bounds: Bounds, growth: Growth) -> (i32, Reason) {
    let limit = growth.limit(current);
    let top = bounds.max.min(limit);
    if desired < bounds.min {
        (bounds.min, Reason::TooFewReplicas)
    } else if desired <= top {
        (desired, Reason::DesiredWithinRange)
    } else if bounds.max > limit {
        (top, Reason::ScaleUpLimit)
    } else {
        (top, Reason::TooManyReplicas)
    }
}

/// What was changed lately, in each direction.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Direction, Events, Policy, Rules, ScaleEvent};
/// use mainstay::time::Timestamp;
///
/// let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
/// let added = [ScaleEvent::new(3, at(0))];
/// let events = Events::new(&added, &[], at(30));
/// let rules = Rules::up().policies([Policy::pods(5, 60)]);
/// assert_eq!(events.limit(Direction::Up, 10, &rules), 12); // 7 a minute ago, and 5
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    up: &'a [ScaleEvent],
    down: &'a [ScaleEvent],
    now: Timestamp,
}

impl<'a> Events<'a> {
    /// These logs, as seen now.
    #[must_use]
    pub const fn new(up: &'a [ScaleEvent], down: &'a [ScaleEvent], now: Timestamp) -> Self {
        Self { up, down, now }
    }

    /// How far the rules let the count move: rules 2 and 3.
    #[must_use]
    pub fn limit(self, direction: Direction, current: i32, rules: &Rules) -> i32 {
        let up = direction == Direction::Up;
        let limits = rules.policies_of().iter();
        let limits = limits.map(|policy| self.reach(*policy, up, current));
        // Without a policy there is no limit to be the smallest step, and no step to be the largest.
        let largest = match rules.select_of() {
            Select::Disabled => return current,
            Select::Max => up,
            Select::Min => !up,
        };
        if largest {
            limits.max().unwrap_or(i32::MIN)
        } else {
            limits.min().unwrap_or(i32::MAX)
        }
    }

    fn reach(self, policy: Policy, up: bool, current: i32) -> i32 {
        let within = |log| change_within(log, policy.seconds(), self.now);
        let added = within(self.up);
        let start = i64::from(current).saturating_sub(added);
        let start = start.saturating_add(within(self.down));
        let value = policy.value();
        match (policy.kind(), up) {
            (PolicyKind::Pods, true) => count(start.saturating_add(value.into())),
            (PolicyKind::Pods, false) => count(start.saturating_sub(value.into())),
            (PolicyKind::Percent, true) => ceiled(double(start) * (1.0 + f64::from(value) / 100.0)),
            (PolicyKind::Percent, false) => cut(double(start) * (1.0 - f64::from(value) / 100.0)),
        }
    }

    /// Brings `desired` into the bounds and limits: rules 2 to 5.
    #[must_use]
    pub fn clamp(
        self,
        current: i32,
        desired: i32,
        bounds: Bounds,
        up: &Rules,
        down: &Rules,
    ) -> (i32, Reason) {
        if desired > current {
            let limit = self.limit(Direction::Up, current, up).max(current);
            let top = bounds.max.min(limit);
            if desired > top {
                let reason = if bounds.max > limit {
                    Reason::ScaleUpLimit
                } else {
                    Reason::TooManyReplicas
                };
                return (top, reason);
            }
        } else if desired < current {
            let limit = self.limit(Direction::Down, current, down).min(current);
            let bottom = bounds.min.max(limit);
            if desired < bottom {
                let reason = if bounds.min < limit {
                    Reason::ScaleDownLimit
                } else {
                    Reason::TooFewReplicas
                };
                return (bottom, reason);
            }
        }
        (desired, Reason::DesiredWithinRange)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` cuts and caps floats, which is the rule"
)]
const fn cut(x: f64) -> i32 {
    x as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn within(min: i32, max: i32) -> Bounds {
        Bounds::new(min, max).unwrap()
    }

    #[test]
    fn rule_1_the_smallest_count_comes_first() {
        let growth = Growth::default();
        assert_eq!(
            clamp(1, 0, within(9, 10), growth),
            (9, Reason::TooFewReplicas)
        );
        assert_eq!(
            clamp(1, 5, within(1, 10), growth),
            (4, Reason::ScaleUpLimit)
        );
        assert_eq!(
            clamp(5, 11, within(1, 10), growth),
            (10, Reason::TooManyReplicas)
        );
        assert_eq!(
            clamp(5, 10, within(1, 10), growth),
            (10, Reason::DesiredWithinRange)
        );
        assert!(Growth::new(0, 4).is_err());
        assert_eq!(
            clamp(i32::MAX, i32::MAX, within(1, i32::MAX), growth).0,
            i32::MAX
        );
    }

    #[test]
    fn rule_2_both_logs_count_in_both_directions() {
        let (up, down) = ([ScaleEvent::new(4, at(90))], [ScaleEvent::new(1, at(95))]);
        let events = Events::new(&up, &down, at(100));
        let pods = Rules::up().policies([Policy::pods(5, 60)]);
        assert_eq!(events.limit(Direction::Up, 10, &pods), 12);
        assert_eq!(events.limit(Direction::Down, 10, &pods), 2);
        let percent = Rules::up().policies([Policy::percent(10, 60)]);
        assert_eq!(events.limit(Direction::Up, 10, &percent), 8, "⌈7.7⌉");
        assert_eq!(events.limit(Direction::Down, 10, &percent), 6, "6.3");
    }

    #[test]
    fn rule_3_select_takes_the_larger_or_the_smaller_step() {
        let events = Events::new(&[], &[], at(0));
        let both = [Policy::pods(2, 60), Policy::percent(50, 60)];
        let rules = |select| Rules::up().policies(both).select(select);
        assert_eq!(events.limit(Direction::Up, 10, &rules(Select::Max)), 15);
        assert_eq!(events.limit(Direction::Up, 10, &rules(Select::Min)), 12);
        assert_eq!(
            events.limit(Direction::Up, 10, &rules(Select::Disabled)),
            10
        );
        assert_eq!(events.limit(Direction::Down, 10, &rules(Select::Max)), 5);
        assert_eq!(events.limit(Direction::Down, 10, &rules(Select::Min)), 8);
        assert_eq!(
            events.limit(Direction::Down, 10, &rules(Select::Disabled)),
            10
        );
    }

    #[test]
    fn rule_3_disabled_holds_and_says_so() {
        let events = Events::new(&[], &[], at(0));
        let off = Rules::down().select(Select::Disabled);
        let held = events.clamp(10, 3, within(1, 50), &Rules::up(), &off);
        assert_eq!(held, (10, Reason::ScaleDownLimit));
        let off = Rules::up().select(Select::Disabled);
        let held = events.clamp(10, 30, within(1, 50), &off, &Rules::down());
        assert_eq!(held, (10, Reason::ScaleUpLimit));
    }

    #[test]
    fn rule_4_a_stricter_policy_does_not_turn_the_count_round() {
        let up = [ScaleEvent::new(20, at(0))];
        let events = Events::new(&up, &[], at(10));
        let strict = Rules::up().policies([Policy::pods(5, 60)]);
        let held = events.clamp(100, 200, within(1, 1_000), &strict, &Rules::down());
        assert_eq!(held, (100, Reason::ScaleUpLimit));
        let events = Events::new(&[], &up, at(10));
        let strict = Rules::down().policies([Policy::pods(5, 60)]);
        let held = events.clamp(100, 2, within(1, 1_000), &Rules::up(), &strict);
        assert_eq!(held, (100, Reason::ScaleDownLimit));
    }

    #[test]
    fn extremes_are_capped() {
        let up = [ScaleEvent::new(i32::MAX, at(0)); 3];
        for (up, down) in [(&up[..], &[][..]), (&[][..], &up[..]), (&up[..], &up[..])] {
            let events = Events::new(up, down, at(1));
            for current in [i32::MIN, 0, i32::MAX] {
                for policy in [
                    Policy::pods(i32::MAX.unsigned_abs(), 60),
                    Policy::percent(i32::MAX.unsigned_abs(), 60),
                ] {
                    let rules = Rules::up().policies([policy]);
                    for direction in [Direction::Up, Direction::Down] {
                        let _ = events.limit(direction, current, &rules);
                    }
                }
            }
        }
    }
}
