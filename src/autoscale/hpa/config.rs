//! The settings of an autoscaler, and those that Kubernetes keeps in flags of the controller.

use super::classify::Timing;
use super::limit::{Bounds, Growth};
use super::metric::{Metric, Source, Target};
use super::rules::{Behavior, LONGEST_WINDOW, Tolerance, Tolerances};
use crate::error::ConfigError;

/// Who may bring a target back from zero replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FromZero {
    /// Every autoscaler whose smallest count is 0: Kubernetes up to 1.36.
    Always,
    /// One that took the target to zero itself: Kubernetes from 1.37 on (KEP-2021). Anybody else's zero is a pause.
    #[default]
    Owned,
}

/// What is not in a manifest: the controller's flags, and which of the newer rules hold.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Controller, FromZero, Timing};
///
/// let older = Controller::default().zero(FromZero::Always).external_fallback(false);
/// assert_eq!(older.down_window_of(), 300);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    tolerance: Tolerances,
    down_window: u16,
    timing: Timing,
    growth: Growth,
    from_zero: FromZero,
    external_fallback: bool,
    pod_level_requests: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            tolerance: Tolerances::new(Tolerance::TENTH, Tolerance::TENTH),
            down_window: 300,
            timing: Timing::default(),
            growth: Growth::default(),
            from_zero: FromZero::Owned,
            external_fallback: true,
            pod_level_requests: true,
        }
    }
}

impl Controller {
    /// Kubernetes' defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tolerances where `behavior` has none. Defaults to a tenth in both directions.
    #[must_use]
    pub const fn tolerance(mut self, tolerance: Tolerances) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// For how many seconds scaling down waits where `behavior` does not say. Defaults to 300.
    ///
    /// # Errors
    ///
    /// Above 3600.
    pub fn down_window(mut self, seconds: u16) -> Result<Self, ConfigError> {
        if seconds > LONGEST_WINDOW {
            return Err(ConfigError::new(
                "down_window",
                seconds,
                "0 to 3600 seconds",
            ));
        }
        self.down_window = seconds;
        Ok(self)
    }

    /// How long pods are given. Defaults to 300 s to initialize and 30 s to turn ready.
    #[must_use]
    pub const fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// How fast a count may rise without `behavior`. Defaults to twofold, or 4.
    #[must_use]
    pub const fn growth(mut self, growth: Growth) -> Self {
        self.growth = growth;
        self
    }

    /// Who may bring a target back from zero. Defaults to who took it there.
    #[must_use]
    pub const fn zero(mut self, from_zero: FromZero) -> Self {
        self.from_zero = from_zero;
        self
    }

    /// Whether the fallback of an external metric is taken (KEP-5679). Defaults to yes: who states one means it. Where
    /// the gate of the cluster is off, say no.
    #[must_use]
    pub const fn external_fallback(mut self, taken: bool) -> Self {
        self.external_fallback = taken;
        self
    }

    /// Whether what pods request as a whole counts (KEP-2837). Defaults to yes; without such requests nothing changes.
    #[must_use]
    pub const fn pod_level_requests(mut self, count: bool) -> Self {
        self.pod_level_requests = count;
        self
    }

    /// The window of scaling down in seconds.
    #[must_use]
    pub const fn down_window_of(&self) -> u16 {
        self.down_window
    }

    pub(super) const fn timing_of(&self) -> Timing {
        self.timing
    }

    pub(super) const fn growth_of(&self) -> Growth {
        self.growth
    }

    pub(super) const fn zero_of(&self) -> FromZero {
        self.from_zero
    }

    pub(super) const fn takes_fallback(&self) -> bool {
        self.external_fallback
    }

    pub(super) const fn has_pod_level_requests(&self) -> bool {
        self.pod_level_requests
    }
}

/// A horizontal pod autoscaler: bounds, metrics, behaviour.
///
/// Read one from a manifest with `Manifest`, or make one here.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Behavior, Bounds, Hpa, Metric, Policy, Rules, Source, Target};
///
/// let finance = Hpa::new(Bounds::new(3, 50)?)
///     .metric(Metric::new(Source::resource("cpu"), Target::Utilization(70)))
///     .behavior(
///         Behavior::new()
///             .up(Rules::up().window(60)?.policies([Policy::pods(2, 60)]))
///             .down(Rules::down().window(300)?.policies([Policy::pods(1, 120)])),
///     );
/// assert_eq!(finance.metrics().len(), 1);
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Hpa {
    namespace: String,
    bounds: Bounds,
    /// Never empty.
    metrics: Vec<Metric>,
    is_default: bool,
    behavior: Option<Behavior>,
    controller: Controller,
}

impl Hpa {
    /// Between these bounds, by the default metric: CPU at 80 % of what is requested.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            namespace: "default".to_owned(),
            bounds,
            metrics: vec![Metric::new(
                Source::resource("cpu"),
                Target::Utilization(80),
            )],
            is_default: true,
            behavior: None,
            controller: Controller::default(),
        }
    }

    /// The namespace, for messages. Defaults to `default`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// One more metric; the first one takes the place of the default.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        if std::mem::take(&mut self.is_default) {
            self.metrics.clear();
        }
        self.metrics.push(metric);
        self
    }

    /// How fast the count may move. Defaults to nothing, which is not the same as [`Behavior::new`].
    #[must_use]
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = Some(behavior);
        self
    }

    /// The controller's flags. Defaults to Kubernetes' defaults.
    #[must_use]
    pub const fn controller(mut self, controller: Controller) -> Self {
        self.controller = controller;
        self
    }

    /// The smallest and the largest count.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The metrics, of which an [observation](super::Observation) has a reading each, in this order.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// How fast the count may move.
    #[must_use]
    pub const fn behavior_of(&self) -> Option<&Behavior> {
        self.behavior.as_ref()
    }

    /// The controller's flags.
    #[must_use]
    pub const fn controller_of(&self) -> &Controller {
        &self.controller
    }

    /// The namespace.
    #[must_use]
    pub fn namespace_of(&self) -> &str {
        &self.namespace
    }

    /// The tolerances that hold: those of `behavior`, and the controller's where it has none.
    #[must_use]
    pub fn tolerances(&self) -> Tolerances {
        let of = |rules: &super::rules::Rules| rules.tolerance_of();
        let flag = self.controller.tolerance;
        let up = self
            .behavior
            .as_ref()
            .and_then(|behavior| of(behavior.up_of()));
        let down = self
            .behavior
            .as_ref()
            .and_then(|behavior| of(behavior.down_of()));
        Tolerances::new(up.unwrap_or(flag.up()), down.unwrap_or(flag.down()))
    }

    /// Whether a metric can be had while there is no pod.
    pub(super) fn sees_beyond_pods(&self) -> bool {
        self.metrics
            .iter()
            .any(|metric| metric.source().is_outside_of_pods())
    }
}
