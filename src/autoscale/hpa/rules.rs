//! How fast the count may move: an HPA's `behavior`.
//!
//! Rules:
//!
//! 1. What a direction leaves out is as in its default, field by field; a list of policies that is given takes the place
//!    of the whole list.
//! 2. Up by default: no window, the largest step of 4 pods in 15 s and 100 % in 15 s.
//! 3. Down by default: the controller's window, 100 % in 15 s.
//! 4. A window is 0 to 3600 s, a period 1 to 1800 s, a policy's value at least 1.

use crate::error::ConfigError;

/// Of what a policy's value is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PolicyKind {
    /// Of pods.
    Pods,
    /// Of hundredths of the pods that there were when the period began.
    Percent,
}

/// How many pods, or which share of them, a period may add or take away.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Policy, PolicyKind};
///
/// const SLOWLY: Policy = Policy::pods(2, 60); // two pods a minute
/// assert_eq!(SLOWLY.kind(), PolicyKind::Pods);
/// assert!(Policy::new(PolicyKind::Percent, 100, 1_801).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Policy {
    kind: PolicyKind,
    value: i32,
    period: u16,
}

/// The longest period of a policy, in seconds.
pub(super) const LONGEST_PERIOD: u16 = 1_800;
/// The longest window, in seconds.
pub(super) const LONGEST_WINDOW: u16 = 3_600;

impl Policy {
    /// So many pods in so many seconds, for literals.
    ///
    /// # Panics
    ///
    /// When the value is 0 or more than 2³¹−1, or the period is not from 1 to 1800; in a `const` that is a compile error.
    #[must_use]
    pub const fn pods(value: u32, seconds: u16) -> Self {
        Self::literal(PolicyKind::Pods, value, seconds)
    }

    /// So many percent of the pods in so many seconds, for literals.
    ///
    /// # Panics
    ///
    /// As [`pods`](Self::pods).
    #[must_use]
    pub const fn percent(value: u32, seconds: u16) -> Self {
        Self::literal(PolicyKind::Percent, value, seconds)
    }

    const fn literal(kind: PolicyKind, value: u32, period: u16) -> Self {
        assert!(value > 0 && value <= i32::MAX as u32, "1 to 2147483647");
        assert!(period > 0 && period <= LONGEST_PERIOD, "1 to 1800 seconds");
        #[expect(
            clippy::cast_possible_wrap,
            reason = "checked above; `try_from` is not const"
        )]
        let value = value as i32;
        Self {
            kind,
            value,
            period,
        }
    }

    /// Checks a policy that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `value` or `periodSeconds` when it is out of range.
    pub fn new(kind: PolicyKind, value: i32, seconds: i32) -> Result<Self, ConfigError> {
        if value < 1 {
            return Err(ConfigError::new(
                "value",
                value,
                "a count from 1 to 2147483647",
            ));
        }
        match u16::try_from(seconds) {
            Ok(period) if (1..=LONGEST_PERIOD).contains(&period) => Ok(Self {
                kind,
                value,
                period,
            }),
            _ => Err(ConfigError::new(
                "periodSeconds",
                seconds,
                "1 to 1800 seconds",
            )),
        }
    }

    /// Of what the value is a number.
    #[must_use]
    pub const fn kind(self) -> PolicyKind {
        self.kind
    }

    /// How many pods or percent.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.value
    }

    /// In how many seconds.
    #[must_use]
    pub const fn seconds(self) -> u16 {
        self.period
    }
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Select {
    /// None: the count does not move in this direction.
    Disabled,
    /// The one that allows the largest step.
    #[default]
    Max,
    /// The one that allows the smallest step.
    Min,
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(
    clippy::exhaustive_enums,
    reason = "a count moves in no third direction"
)]
pub enum Direction {
    /// Fewer replicas.
    Down,
    /// More replicas.
    Up,
}

/// How far a ratio may be from 1 before the count moves.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Tolerance;
///
/// let tolerance = Tolerance::new("tolerance", 0.1)?;
/// assert_eq!(tolerance.get(), 0.1);
/// assert!(Tolerance::new("tolerance", -0.1).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tolerance(f64);

impl Tolerance {
    /// A tenth: the controller's default.
    pub const TENTH: Self = Self(0.1);

    /// Checks a tolerance that was read from outside. More than 1 is legal.
    ///
    /// # Errors
    ///
    /// Names `field` when the value is below 0 or not finite.
    pub fn new(field: &'static str, value: f64) -> Result<Self, ConfigError> {
        if (0.0..=f64::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ConfigError::new(field, value, "a number of at least 0"))
        }
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The tolerances of both directions.
///
/// A ratio is inside from `1 - down` to `1 + up`, both ends included; what is no number is outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    up: Tolerance,
    down: Tolerance,
}

impl Tolerances {
    /// These two.
    #[must_use]
    pub const fn new(up: Tolerance, down: Tolerance) -> Self {
        Self { up, down }
    }

    /// Above 1.
    #[must_use]
    pub const fn up(self) -> Tolerance {
        self.up
    }

    /// Below 1.
    #[must_use]
    pub const fn down(self) -> Tolerance {
        self.down
    }

    /// Whether `ratio` is near enough to 1 that nothing moves.
    #[must_use]
    pub fn has(self, ratio: f64) -> bool {
        1.0 - self.down.0 <= ratio && ratio <= 1.0 + self.up.0
    }
}

/// The rules of one direction.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Policy, Rules, Select};
///
/// let slowly = Rules::down().window(300)?.policies([Policy::pods(1, 120)]);
/// assert_eq!(slowly.select_of(), Select::Max);
/// assert_eq!(Rules::up().policies_of().len(), 2);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    window: Option<u16>,
    select: Select,
    policies: Vec<Policy>,
    tolerance: Option<Tolerance>,
}

impl Rules {
    /// The default of scaling up.
    #[must_use]
    pub fn up() -> Self {
        Self {
            window: Some(0),
            select: Select::Max,
            policies: vec![Policy::pods(4, 15), Policy::percent(100, 15)],
            tolerance: None,
        }
    }

    /// The default of scaling down.
    #[must_use]
    pub fn down() -> Self {
        Self {
            window: None,
            select: Select::Max,
            policies: vec![Policy::percent(100, 15)],
            tolerance: None,
        }
    }

    /// The default of `direction`.
    #[must_use]
    pub fn of(direction: Direction) -> Self {
        match direction {
            Direction::Down => Self::down(),
            Direction::Up => Self::up(),
        }
    }

    /// For how many seconds recommendations are remembered. Defaults to 0 upwards, and to the controller's window
    /// downwards.
    ///
    /// # Errors
    ///
    /// Above 3600.
    pub fn window(mut self, seconds: u16) -> Result<Self, ConfigError> {
        if seconds > LONGEST_WINDOW {
            let expected = "0 to 3600 seconds";
            return Err(ConfigError::new(
                "stabilizationWindowSeconds",
                seconds,
                expected,
            ));
        }
        self.window = Some(seconds);
        Ok(self)
    }

    /// Which policy counts. Defaults to the one that allows the largest step.
    #[must_use]
    pub const fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }

    /// These policies in place of all that were there.
    #[must_use]
    pub fn policies(mut self, policies: impl IntoIterator<Item = Policy>) -> Self {
        self.policies = policies.into_iter().collect();
        self
    }

    /// The tolerance of this direction. Defaults to the controller's.
    #[must_use]
    pub const fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// The window in seconds; `None` is the controller's.
    #[must_use]
    pub const fn window_of(&self) -> Option<u16> {
        self.window
    }

    /// Which policy counts.
    #[must_use]
    pub const fn select_of(&self) -> Select {
        self.select
    }

    /// The policies.
    #[must_use]
    pub fn policies_of(&self) -> &[Policy] {
        &self.policies
    }

    /// The tolerance; `None` is the controller's.
    #[must_use]
    pub const fn tolerance_of(&self) -> Option<Tolerance> {
        self.tolerance
    }

    /// The longest period of a policy, in seconds.
    #[must_use]
    pub fn longest_period(&self) -> u16 {
        let periods = self.policies.iter().map(|policy| policy.period);
        periods.max().unwrap_or(0)
    }
}

/// The rules of both directions.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Behavior, Rules, Select};
///
/// let never_down = Behavior::new().down(Rules::down().select(Select::Disabled));
/// assert_eq!(never_down.up_of(), &Rules::up());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    up: Rules,
    down: Rules,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            up: Rules::up(),
            down: Rules::down(),
        }
    }
}

impl Behavior {
    /// The default rules of both directions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rules of scaling up.
    #[must_use]
    pub fn up(mut self, rules: Rules) -> Self {
        self.up = rules;
        self
    }

    /// The rules of scaling down.
    #[must_use]
    pub fn down(mut self, rules: Rules) -> Self {
        self.down = rules;
        self
    }

    /// The rules of scaling up.
    #[must_use]
    pub const fn up_of(&self) -> &Rules {
        &self.up
    }

    /// The rules of scaling down.
    #[must_use]
    pub const fn down_of(&self) -> &Rules {
        &self.down
    }

    /// How many seconds a change has to be remembered: the longest period of either direction.
    pub(super) fn longest_period(&self) -> u16 {
        self.up.longest_period().max(self.down.longest_period())
    }
}
