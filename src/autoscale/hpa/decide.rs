//! The whole decision.
//!
//! Rules:
//!
//! 1. A target at 0 is paused, unless 0 is allowed, or (with [`FromZero::Owned`]) the autoscaler took it there itself and
//!    has not seen it elsewhere since.
//! 2. A count outside of the bounds is brought into them at once: metrics, windows and rates are not asked.
//! 3. Otherwise each metric gives a count or an error, one whose target is not above 0 an error, and the largest count
//!    counts, 0 at least. Where all fail, or some
//!    fail and the others ask for less than there is, nothing changes, and the first failure is the reason.
//! 4. An external metric with a fallback that has been failing for as long as that says gives the fallback's count.
//! 5. What the metrics ask for is held by the windows (`history.rs`), then limited (`limit.rs`).
//! 6. The count changes when what comes out is another one. `AbleToScale`: `SucceededRescale` after a change, else what
//!    stabilization says, and `SucceededGetScale` where rule 3 was not reached or failed.
//! 7. A change is remembered where there is `behavior`, once it was really made; for as long as any policy of either
//!    direction looks back.
//! 8. A target that was at 0 by the autoscaler's own doing comes back to the smallest count, should that have been raised.

use std::borrow::Cow;
use std::fmt;

use super::classify::Named;
use super::condition::{Condition, Conditions, Reason};
use super::config::{FromZero, Hpa};
use super::history::{record_scale_event, stabilize, stabilize_with_behavior};
use super::limit::{Events, clamp};
use super::metric::{Metric, MetricError, Source, Target};
use super::pod::{Pod, Sample};
use super::replicas::{PodMetric, Proposal, by_total, by_total_average, sum};
use super::state::State;
use crate::autoscale::reasoning::Reasoning;
use crate::time::Timestamp;

/// What one metric showed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reading<'a> {
    /// It could not be had, and why.
    Failed(&'a str),
    /// A sample of each pod, of a metric of pods. In the order of the pods' names they cost no sort.
    Pods(&'a [Sample]),
    /// The value of an object, or of each series of an external metric, in thousandths. No series is no reading.
    Values(&'a [i64]),
}

/// What an autoscaler sees at one time.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Observation, Reading};
///
/// let seen = Observation::new(3).readings(&[Reading::Values(&[4_500])]);
/// assert_eq!(seen.replicas(), 3);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    spec: i32,
    status: i32,
    pods: &'a [Pod],
    readings: &'a [Reading<'a>],
}

impl<'a> Observation<'a> {
    /// So many replicas in the target's spec and in its status; no pods and no readings.
    #[must_use]
    pub const fn new(replicas: i32) -> Self {
        Self {
            spec: replicas,
            status: replicas,
            pods: &[],
            readings: &[],
        }
    }

    /// So many replicas in the target's status.
    #[must_use]
    pub const fn status(mut self, replicas: i32) -> Self {
        self.status = replicas;
        self
    }

    /// The target's pods. In the order of their names they cost no sort.
    #[must_use]
    pub const fn pods(mut self, pods: &'a [Pod]) -> Self {
        self.pods = pods;
        self
    }

    /// A reading of each metric, in the order of [`Hpa::metrics`].
    #[must_use]
    pub const fn readings(mut self, readings: &'a [Reading<'a>]) -> Self {
        self.readings = readings;
        self
    }

    /// How many replicas the target's spec says.
    #[must_use]
    pub const fn replicas(&self) -> i32 {
        self.spec
    }
}

/// What one metric came to.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outcome {
    /// The count that it asks for, or why it asks for none.
    pub proposal: Result<Proposal, MetricError>,
    /// The count that its fallback asks for in its place.
    pub fallback: Option<i32>,
}

impl Outcome {
    const fn replicas(&self) -> Option<i32> {
        match (&self.proposal, self.fallback) {
            (Ok(proposal), _) => Some(proposal.replicas),
            (Err(_), fallback) => fallback,
        }
    }
}

/// What should be, why, and what is to be remembered.
///
/// # Example
///
/// See [`Hpa::decide`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a decision is made to be carried out, and has the state of the next one"]
pub struct Decision {
    from: i32,
    replicas: i32,
    cause: Cow<'static, str>,
    conditions: Conditions,
    outcomes: Vec<Outcome>,
    reasoning: Reasoning,
    state: State,
    /// Whether the change would be the autoscaler's own going to zero.
    to_zero: bool,
    longest_period: Option<u16>,
    now: Timestamp,
}

impl Decision {
    /// How many replicas there should be.
    #[must_use]
    pub const fn replicas(&self) -> i32 {
        self.replicas
    }

    /// Whether that is another count than there is.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.replicas != self.from
    }

    /// What Kubernetes says of the cause in the event of a change: `New size: 4; reason: …`. Empty where nothing is
    /// asked for.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The conditions that this decision sets.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What each metric came to, in the order of [`Hpa::metrics`]; empty where they were not asked.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Each rule that was applied.
    #[must_use]
    pub const fn reasoning(&self) -> &Reasoning {
        &self.reasoning
    }

    /// The state of the next decision, when the target was changed as decided or nothing was to be changed.
    #[must_use]
    pub fn applied(self) -> State {
        let mut state = self.state;
        if self.replicas == self.from {
            return state;
        }
        if let Some(longest) = self.longest_period {
            let (log, change) = if self.replicas > self.from {
                (&mut state.up, self.replicas.saturating_sub(self.from))
            } else {
                (&mut state.down, self.from.saturating_sub(self.replicas))
            };
            record_scale_event(log, change, longest, self.now);
        }
        state.zero_is_ours = self.to_zero;
        state
    }

    /// The state of the next decision, when the target could not be changed: what was asked for is remembered, and no
    /// change.
    #[must_use]
    pub fn refused(self) -> State {
        self.state
    }
}

/// The reasoning, and the count.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.reasoning)?;
        if self.is_change() {
            let (from, to, cause) = (self.from, self.replicas, &self.cause);
            write!(f, "from {from} to {to} replicas: {cause}")
        } else {
            write!(f, "{} replicas as they are", self.replicas)
        }
    }
}

/// What was decided and why; not the state, which is [`State`]'s own.
#[cfg(feature = "serde")]
impl serde::Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut fields = serializer.serialize_struct("Decision", 6)?;
        fields.serialize_field("from", &self.from)?;
        fields.serialize_field("replicas", &self.replicas)?;
        fields.serialize_field("cause", &self.cause)?;
        fields.serialize_field("conditions", &self.conditions)?;
        fields.serialize_field("outcomes", &self.outcomes)?;
        fields.serialize_field("reasoning", &self.reasoning)?;
        fields.end()
    }
}

/// A decision as it is being made.
struct Making<'a> {
    hpa: &'a Hpa,
    seen: &'a Observation<'a>,
    state: State,
    now: Timestamp,
    why: Reasoning,
    outcomes: Vec<Outcome>,
    conditions: Conditions,
}

/// So many steps, and facts of a step, that few decisions need more room.
const STEPS: usize = 6;
const FACTS: usize = 6;

impl Hpa {
    /// Decides how many replicas there should be: rules 1 to 8.
    ///
    /// # Inputs
    ///
    /// - `state`: what the last decision left, [`State::unknown`] the first time.
    /// - `seen`: the target's counts, its pods, and a reading of each metric.
    /// - `now`: by the clock of the pods' and samples' times. Should it step back, windows and periods last longer by as
    ///   much; they never last shorter.
    ///
    /// # Result
    ///
    /// A count and all of its reasons. Never fails and never panics: a metric that is missing or makes no sense is a
    /// failure of that metric.
    ///
    /// # Source
    ///
    /// The HPA controller of Kubernetes 1.33 to 1.37; see the [module](super).
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::autoscale::hpa::{
    ///     Bounds, Hpa, Metric, Observation, Quantity, Reading, Source, State, Target,
    /// };
    /// use mainstay::time::Timestamp;
    ///
    /// let queue = Metric::new(Source::external("queue"), Target::AverageValue(Quantity::from_milli(30_000)));
    /// let hpa = Hpa::new(Bounds::new(1, 10)?).metric(queue);
    ///
    /// let seen = Observation::new(2).readings(&[Reading::Values(&[100_000])]);
    /// let decision = hpa.decide(State::unknown(), &seen, Timestamp::from_millis(0));
    /// assert_eq!(decision.replicas(), 4);
    /// assert_eq!(decision.cause(), "external metric queue(nil) above target");
    /// println!("{decision}"); // each step, in words
    /// let state = decision.applied(); // once the target was scaled
    /// assert_eq!(state.history().map(<[_]>::len), Some(2));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn decide(&self, state: State, seen: &Observation<'_>, now: Timestamp) -> Decision {
        let metrics = self.metrics().len();
        let steps = metrics.saturating_mul(3).saturating_add(STEPS);
        let making = Making {
            hpa: self,
            seen,
            state,
            now,
            why: Reasoning::with_capacity(steps, steps.saturating_mul(FACTS)),
            outcomes: Vec::new(),
            conditions: Conditions {
                able_to_scale: Condition::of(true, Reason::SucceededGetScale),
                scaling_active: None,
                scaling_limited: None,
                scaled_to_zero: None,
            },
        };
        making.decide()
    }
}

impl Making<'_> {
    fn decide(mut self) -> Decision {
        let (current, bounds) = (self.seen.spec, self.hpa.bounds());
        let initial = super::history::Recommendation::new(current, self.now);
        self.state.history.get_or_insert_with(|| vec![initial]);
        if current > 0 {
            // Somebody brought it back from the zero that was ours: the next one may be a pause.
            self.state.zero_is_ours = false;
        }

        let owned = self.hpa.controller_of().zero_of() == FromZero::Owned;
        let ours = owned && self.state.zero_is_ours;
        if current == 0 {
            let may = match self.hpa.controller_of().zero_of() {
                FromZero::Always => bounds.min() == 0,
                FromZero::Owned => ours && (bounds.min() != 0 || self.hpa.sees_beyond_pods()),
            };
            self.why
                .step("from zero")
                .given("min", bounds.min())
                .given("zero is ours", self.state.zero_is_ours)
                .gives(if may { "may come back" } else { "paused" });
            if !may {
                let paused = Condition::of(false, Reason::ScalingDisabled);
                self.conditions.scaling_active = Some(paused);
                return self.end(current, "");
            }
        } else if current > bounds.max() || current < bounds.min() {
            let (to, cause) = if current > bounds.max() {
                let cause = "Current number of replicas above Spec.MaxReplicas";
                (bounds.max(), cause)
            } else {
                let cause = "Current number of replicas below Spec.MinReplicas";
                (bounds.min(), cause)
            };
            self.why
                .step("outside of the bounds")
                .given("current", current)
                .given("min", bounds.min())
                .given("max", bounds.max())
                .gives(to);
            return self.end(to, cause);
        }

        let Some((desired, chosen)) = self.metrics() else {
            return self.end(current, "");
        };
        let mut cause = Cow::Borrowed("");
        if desired > current {
            // With a count of 0 for each metric no name is taken, and then nothing is above a count that is not negative.
            let label = chosen.map_or("", Metric::label);
            cause = Cow::Owned(format!("{label} above target"));
        } else if desired < current {
            cause = Cow::Borrowed("All metrics below target");
        }
        let held = self.hold(desired);
        let mut replicas = self.limit(held);
        if current == 0 && bounds.min() != 0 && ours && replicas < bounds.min() {
            self.why
                .step("back from zero")
                .given("limited", replicas)
                .given("min", bounds.min())
                .gives(bounds.min());
            replicas = bounds.min();
            if cause.is_empty() {
                cause = Cow::Borrowed("Current number of replicas below Spec.MinReplicas");
            }
        }
        self.end(replicas, cause)
    }

    /// Rules 3 and 4: the count that the metrics ask for, and the metric that asks for it.
    fn metrics(&mut self) -> Option<(i32, Option<&Metric>)> {
        let hpa = self.hpa;
        let pods = Named::pods(self.seen.pods);
        let mut asked = 0_i32;
        let mut chosen = None;
        let mut failed = 0_usize;
        let mut first = None;
        self.outcomes.reserve_exact(hpa.metrics().len());
        for (place, metric) in hpa.metrics().iter().enumerate() {
            let outcome = self.metric(place, metric, &pods);
            match (outcome.replicas(), &outcome.proposal) {
                (Some(replicas), _) => {
                    // Kubernetes takes the count for unset while it is 0.
                    if chosen.is_none() || asked == 0 || replicas > asked {
                        asked = replicas;
                        chosen = Some(metric);
                    }
                }
                (None, Err(error)) => {
                    failed = failed.saturating_add(1);
                    if first.is_none() {
                        first = Some((
                            metric.source().failure(),
                            metric.complaint(error, hpa.namespace_of()),
                        ));
                    }
                }
                (None, Ok(_)) => {}
            }
            self.outcomes.push(outcome);
        }
        let labels = hpa.metrics().iter().map(Metric::label);
        // A metric that is not asked for any more is not remembered either.
        self.state
            .failing
            .retain(|(known, _)| labels.clone().any(|label| label == known));
        let current = self.seen.spec;
        let all_failed = failed >= hpa.metrics().len();
        let step = self.why.step("largest of the metrics");
        let step = step
            .given("metrics", hpa.metrics().len())
            .given("failed", failed);
        if all_failed || (failed > 0 && asked < current) {
            let step = step.given_if("asked", (!all_failed).then_some(asked));
            step.given("current", current)
                .gives("no change: a metric failed");
            if let Some((reason, complaint)) = first {
                let message =
                    format!("the HPA was unable to compute the replica count: {complaint}");
                self.conditions.scaling_active = Some(Condition::new(false, reason, message));
            }
            return None;
        }
        let label = chosen.map_or("", Metric::label);
        let desired = asked.max(0);
        step.given("current", current).gives(desired);
        let message =
            format!("the HPA was able to successfully calculate a replica count from {label}");
        let found = Condition::new(true, Reason::ValidMetricFound, message);
        self.conditions.scaling_active = Some(found);
        Some((desired, chosen))
    }

    fn metric(&mut self, place: usize, metric: &Metric, pods: &Named<'_, Pod>) -> Outcome {
        let reading = self.seen.readings.get(place).copied();
        let proposal = self.propose(metric, reading, pods);
        let mut fallback = None;
        if let Source::External {
            fallback: Some(stated),
            ..
        } = metric.source()
        {
            let label = metric.label();
            if proposal.is_ok() || !self.hpa.controller_of().takes_fallback() {
                self.state.failing.retain(|(known, _)| known != label);
            } else {
                let since = self.state.failing_since(label).unwrap_or_else(|| {
                    self.state.failing.push((label.to_owned(), self.now));
                    self.now
                });
                let failing = self.now.as_millis().saturating_sub(since.as_millis());
                let taken = failing >= i64::from(stated.seconds()) * 1_000;
                fallback = taken.then_some(stated.replicas());
                self.why
                    .step("fallback")
                    .given("failing ms", failing)
                    .given("after s", stated.seconds())
                    .given("replicas", stated.replicas())
                    .gives(taken);
            }
        }
        let outcome = Outcome { proposal, fallback };
        let step = self
            .why
            .step("metric")
            .given("name", metric.label().to_owned());
        match (outcome.replicas(), &outcome.proposal) {
            (Some(replicas), _) => step.gives(replicas),
            (None, Err(error)) => step.gives(error.to_string()),
            (None, Ok(_)) => step.gives("nothing"),
        }
        outcome
    }

    fn propose(
        &mut self,
        metric: &Metric,
        reading: Option<Reading<'_>>,
        pods: &Named<'_, Pod>,
    ) -> Result<Proposal, MetricError> {
        if let Source::Unknown(kind) = metric.source() {
            return Err(MetricError::UnknownSource(kind.clone()));
        }
        // Divided by 0, no load would be no number, and that a count of 0.
        let is_above_0 = match metric.target() {
            Target::Utilization(percent) => percent > 0,
            Target::AverageValue(quantity) | Target::Value(quantity) => quantity.milli() > 0,
        };
        if !is_above_0 {
            return Err(MetricError::InvalidTarget);
        }
        if let Some(Reading::Failed(error)) = reading {
            return Err(MetricError::Fetch(error.to_owned()));
        }
        if matches!(reading, Some(Reading::Values([]))) {
            return Err(MetricError::NoReading);
        }
        let tolerances = self.hpa.tolerances();
        let (current, status) = (self.seen.spec, self.seen.status);
        let why = &mut self.why;
        let pod_metric = |samples| {
            let controller = self.hpa.controller_of();
            let read = PodMetric::lent(pods, samples, current, tolerances, self.now);
            let read = read.pod_level_requests(controller.has_pod_level_requests());
            if metric.source().is_cpu() {
                read.cpu(controller.timing_of())
            } else {
                read
            }
        };
        match (metric.source(), metric.target(), reading) {
            (
                Source::Resource { resource },
                Target::Utilization(target),
                Some(Reading::Pods(samples)),
            ) => pod_metric(samples).by_utilization(resource, None, target, why),
            (
                Source::ContainerResource {
                    resource,
                    container,
                },
                Target::Utilization(target),
                Some(Reading::Pods(samples)),
            ) => pod_metric(samples).by_utilization(resource, Some(container), target, why),
            (
                Source::Resource { .. } | Source::ContainerResource { .. } | Source::Pods { .. },
                Target::AverageValue(target),
                Some(Reading::Pods(samples)),
            ) => pod_metric(samples).by_average(target.milli(), why),
            (
                Source::Object { .. } | Source::External { .. },
                Target::Value(target),
                Some(Reading::Values(values)),
            ) => by_total(
                sum(values),
                target.milli(),
                current,
                tolerances,
                self.seen.pods,
                why,
            ),
            (
                Source::Object { .. } | Source::External { .. },
                Target::AverageValue(target),
                Some(Reading::Values(values)),
            ) => Ok(by_total_average(
                sum(values),
                target.milli(),
                status,
                tolerances,
                why,
            )),
            (Source::Resource { .. } | Source::ContainerResource { .. }, Target::Value(_), _)
            | (Source::Pods { .. }, Target::Utilization(_) | Target::Value(_), _)
            | (Source::Object { .. } | Source::External { .. }, Target::Utilization(_), _) => {
                Err(MetricError::InvalidTarget)
            }
            _ => Err(MetricError::NoReading),
        }
    }

    /// Rule 5: held by the windows.
    fn hold(&mut self, desired: i32) -> i32 {
        let current = self.seen.spec;
        let window = self.hpa.controller_of().down_window_of();
        let log = self.state.history.get_or_insert_default();
        let step = self.why.step("stabilize").given("desired", desired);
        let (held, reason) = match self.hpa.behavior_of() {
            None => {
                let held = stabilize(log, desired, window, self.now);
                step.given("window s", u32::from(window)).gives(held);
                (
                    held,
                    (held != desired).then_some(Reason::ScaleDownStabilized),
                )
            }
            Some(behavior) => {
                let up = behavior.up_of().window_of().unwrap_or(0);
                let down = behavior.down_of().window_of().unwrap_or(window);
                let held = stabilize_with_behavior(log, current, desired, up, down, self.now);
                step.given("current", current)
                    .given("up window s", u32::from(up))
                    .given("down window s", u32::from(down))
                    .gives(held.0);
                held
            }
        };
        let reason = reason.unwrap_or(Reason::ReadyForNewScale);
        self.conditions.able_to_scale = Condition::of(true, reason);
        held
    }

    /// Rule 5: limited.
    fn limit(&mut self, held: i32) -> i32 {
        let current = self.seen.spec;
        let bounds = self.hpa.bounds();
        let (replicas, reason) = match self.hpa.behavior_of() {
            None => clamp(current, held, bounds, self.hpa.controller_of().growth_of()),
            Some(behavior) => {
                let events = Events::new(&self.state.up, &self.state.down, self.now);
                events.clamp(current, held, bounds, behavior.up_of(), behavior.down_of())
            }
        };
        self.why
            .step("limit")
            .given("held", held)
            .given("current", current)
            .given("min", bounds.min())
            .given("max", bounds.max())
            .given("reason", reason.as_str())
            .gives(replicas);
        let limited = Condition::of(replicas != held, reason);
        self.conditions.scaling_limited = Some(limited);
        replicas
    }

    fn end(mut self, replicas: i32, cause: impl Into<Cow<'static, str>>) -> Decision {
        let from = self.seen.spec;
        let min = self.hpa.bounds().min();
        let to_zero = from > 0 && replicas == 0 && min == 0 && self.hpa.sees_beyond_pods();
        if replicas != from {
            let message =
                format!("the HPA controller was able to update the target scale to {replicas}");
            self.conditions.able_to_scale = Condition::new(true, Reason::SucceededRescale, message);
            if self.hpa.controller_of().zero_of() == FromZero::Owned {
                let reason = if to_zero {
                    Reason::ScaledToZero
                } else {
                    Reason::NotScaledToZero
                };
                self.conditions.scaled_to_zero = Some(Condition::of(to_zero, reason));
            }
        }
        let behavior = self.hpa.behavior_of();
        Decision {
            from,
            replicas,
            cause: cause.into(),
            conditions: self.conditions,
            outcomes: self.outcomes,
            reasoning: self.why,
            state: self.state,
            to_zero,
            longest_period: behavior.map(super::rules::Behavior::longest_period),
            now: self.now,
        }
    }
}
