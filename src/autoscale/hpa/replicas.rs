//! How one metric becomes a count.
//!
//! Rules. `current` is the count in the target's spec; ratios are doubles; sums are exact and then capped at the ends of
//! an `i64`; counts are capped at the ends of an `i32`.
//!
//! 1. Utilization: the usage of the pods that have a sample and a request, in percent of what these request, cut to a
//!    whole percent *before* it is divided by the target. Weighted by request, so not the mean of percentages.
//! 2. An average: the sum over all samples that are left, divided by their number and cut to a whole thousandth.
//! 3. First pass, over ready pods: `r`. Where nothing is missing, and no pod is unready while `r > 1`: inside the
//!    tolerance `current`, else `⌈r · ready pods⌉`.
//! 4. Second pass, where something is: missing pods count in full on the way down (a utilization: their request, times
//!    the target if that is above 100 %; an average: the target) and as 0 on the way up; unready pods count as 0 on the
//!    way up and not at all on the way down. Then `r₂` over the `m` values there are.
//! 5. `current` where `r₂` is inside the tolerance or on the other side of 1 than `r`; else `n = ⌈r₂ · m⌉`, or `current`
//!    where `n` is on the other side of `current` than `r₂` is of 1 (more pods than the spec says: a rolling update).
//! 6. Reported is always the first pass.
//! 7. A value in all: `r = u / target`. At `current = 0`: `⌈r⌉`, without tolerance. Else inside the tolerance `current`,
//!    else `⌈r · pods that run and are ready⌉`; so with pods none of which is ready, 0, however large `u` is. Without
//!    any pod there is no count.
//! 8. A value a pod: `r = u / (target · status)`, where `status` is the count in the target's status. Inside the
//!    tolerance `status`, else `⌈u / target⌉`. Reported is `⌈u / status⌉`. No pod is looked at.

use super::classify::{Class, Met, Named, Timing, class, walk};
use super::metric::MetricError;
use super::pod::{Pod, Sample};
use super::quantity::capped;
use super::rules::Tolerances;
use crate::autoscale::reasoning::Reasoning;
use crate::time::Timestamp;

/// The count that one metric asks for, and what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Proposal {
    /// How many replicas.
    pub replicas: i32,
    /// The utilization in percent, where there is one.
    pub percent: Option<i32>,
    /// In thousandths: the average of the pods, or the value in all or a pod, as the target says.
    pub value: i64,
}

/// How much of their requests pods use.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Tally, Utilization};
///
/// let used: Tally = [(50, 100), (76, 100)].into_iter().collect();
/// let used = used.utilization()?;
/// assert_eq!((used.percent(), used.average()), (63, 63));
/// assert_eq!(used.ratio(50), 1.26);
/// # Ok::<(), mainstay::autoscale::hpa::MetricError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utilization {
    percent: i32,
    average: i64,
}

impl Utilization {
    /// In whole percent of what is requested.
    #[must_use]
    pub const fn percent(self) -> i32 {
        self.percent
    }

    /// Thousandths a pod.
    #[must_use]
    pub const fn average(self) -> i64 {
        self.average
    }

    /// The percentage as a multiple of its target.
    #[must_use]
    pub fn ratio(self, target_percent: i32) -> f64 {
        f64::from(self.percent) / f64::from(target_percent)
    }
}

/// A running sum of usage, and of requests where there are any.
///
/// It is made of pairs of usage and request for a [`Utilization`], or of values alone for an average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    count: u64,
    used: i128,
    requested: i128,
}

impl Tally {
    fn add(&mut self, used: i128, requested: i64) {
        self.count = self.count.saturating_add(1);
        self.used = self.used.saturating_add(used);
        self.requested = self.requested.saturating_add(requested.into());
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            used: self.used.saturating_add(other.used),
            requested: self.requested.saturating_add(other.requested),
        }
    }

    /// By rule 1.
    ///
    /// # Errors
    ///
    /// [`MetricError::NoMatchingMetrics`] when nothing is requested.
    pub fn utilization(self) -> Result<Utilization, MetricError> {
        let used = i128::from(capped(self.used));
        let requested = i128::from(capped(self.requested));
        let percent = used.saturating_mul(100).checked_div(requested);
        let percent = percent.ok_or(MetricError::NoMatchingMetrics)?;
        let ends = if percent < 0 { i32::MIN } else { i32::MAX };
        Ok(Utilization {
            percent: i32::try_from(percent).unwrap_or(ends),
            average: self.average().unwrap_or(0),
        })
    }

    /// By rule 2; `None` of nothing.
    #[must_use]
    pub fn average(self) -> Option<i64> {
        let sum = i128::from(capped(self.used));
        sum.checked_div(self.count.into()).map(capped)
    }
}

/// Pairs of usage and request, in thousandths.
impl FromIterator<(i64, i64)> for Tally {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(pairs: I) -> Self {
        let mut tally = Self::default();
        for (used, requested) in pairs {
            tally.add(used.into(), requested);
        }
        tally
    }
}

/// Values, in thousandths.
impl FromIterator<i64> for Tally {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        values.into_iter().map(|value| (value, 0)).collect()
    }
}

/// `⌈x⌉` as far as it fits; 0 for what is no number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` caps floats, which is the rule"
)]
pub(super) fn ceiled(x: f64) -> i32 {
    x.ceil() as i32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the rules are stated in doubles, and so is what Kubernetes computes"
)]
pub(super) const fn double(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2⁵³ pods")]
fn times(ratio: f64, count: u64) -> i32 {
    ceiled(ratio * count as f64)
}

/// What every rule about pods looks at.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{PodMetric, Pod, Sample, Tolerance, Tolerances};
/// use mainstay::autoscale::reasoning::Reasoning;
/// use mainstay::time::Timestamp;
///
/// let now = Timestamp::from_millis(0);
/// let pods = [Pod::new("a"), Pod::new("b")];
/// let samples = [Sample::new("a", 30_000, now, 60), Sample::new("b", 50_000, now, 60)];
/// let tenth = Tolerances::new(Tolerance::TENTH, Tolerance::TENTH);
/// let metric = PodMetric::new(&pods, &samples, 2, tenth, now);
/// let proposal = metric.by_average(20_000, &mut Reasoning::new())?;
/// assert_eq!((proposal.replicas, proposal.value), (4, 40_000));
/// # Ok::<(), mainstay::autoscale::hpa::MetricError>(())
/// ```
#[derive(Debug)]
pub struct PodMetric<'a> {
    pods: Held<'a>,
    samples: &'a [Sample],
    current: i32,
    tolerances: Tolerances,
    timing: Option<Timing>,
    pod_level: bool,
    now: Timestamp,
}

/// The pods in order: for one metric, or for all of a decision.
#[derive(Debug)]
enum Held<'a> {
    Own(Named<'a, Pod>),
    Lent(&'a Named<'a, Pod>),
}

impl<'a> PodMetric<'a> {
    /// A metric that is not CPU, of these pods.
    #[must_use]
    pub fn new(
        pods: &'a [Pod],
        samples: &'a [Sample],
        current: i32,
        tolerances: Tolerances,
        now: Timestamp,
    ) -> Self {
        Self::of(
            Held::Own(Named::pods(pods)),
            samples,
            current,
            tolerances,
            now,
        )
    }

    pub(super) fn lent(
        pods: &'a Named<'a, Pod>,
        samples: &'a [Sample],
        current: i32,
        tolerances: Tolerances,
        now: Timestamp,
    ) -> Self {
        Self::of(Held::Lent(pods), samples, current, tolerances, now)
    }

    fn of(
        pods: Held<'a>,
        samples: &'a [Sample],
        current: i32,
        tolerances: Tolerances,
        now: Timestamp,
    ) -> Self {
        Self {
            pods,
            samples,
            current,
            tolerances,
            timing: None,
            pod_level: false,
            now,
        }
    }

    /// It is CPU, of which the first samples of a pod are not believed.
    #[must_use]
    pub const fn cpu(mut self, timing: Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    /// Whether what pods request as a whole counts. Defaults to no.
    #[must_use]
    pub const fn pod_level_requests(mut self, count: bool) -> Self {
        self.pod_level = count;
        self
    }

    fn pods(&self) -> &Named<'a, Pod> {
        match &self.pods {
            Held::Own(pods) => pods,
            Held::Lent(pods) => pods,
        }
    }

    fn walk(&self, mut visit: impl FnMut(Option<(&'a Pod, Class)>, Option<&'a Sample>)) {
        let cpu = self.timing.is_some();
        let timing = self.timing.unwrap_or_default();
        walk(self.pods(), self.samples, |met| match met {
            Met::Pod(pod, sample) => {
                let class = class(pod, sample, cpu, timing, self.now);
                visit(Some((pod, class)), sample);
            }
            Met::Stranger(sample) => visit(None, Some(sample)),
        });
    }

    /// The count for a target in percent of what is requested, of one container or of all: rules 1 and 3 to 6.
    ///
    /// # Errors
    ///
    /// Without pods, without samples that count, and when any pod does not say what it requests.
    pub fn by_utilization(
        &self,
        resource: &str,
        container: Option<&str>,
        target_percent: i32,
        why: &mut Reasoning,
    ) -> Result<Proposal, MetricError> {
        if self.pods().is_empty() {
            return Err(MetricError::NoPods);
        }
        let full = i128::from(target_percent.max(100));
        let mut sorted = Sorted::default();
        let mut refused = None;
        self.walk(|pod, sample| {
            let Some((pod, class)) = pod else {
                sorted.strangers = sorted.strangers.saturating_add(1);
                return;
            };
            match pod.request(resource, container, self.pod_level) {
                Ok(request) => {
                    let full = i128::from(request).saturating_mul(full) / 100;
                    sorted.put(class, sample, full, request);
                }
                Err(error) => {
                    // Whether there are samples at all is asked before what is wrong with requests.
                    sorted.put(class, sample, 0, 0);
                    refused.get_or_insert(error);
                }
            }
        });
        if sorted.ready.count == 0 && sorted.strangers == 0 {
            return Err(MetricError::NoMetrics);
        }
        if let Some(error) = refused {
            return Err(error);
        }
        let seen = sorted.ready.utilization()?;
        sorted.said(why, self.samples.len());
        why.step("utilization")
            .given("percent", seen.percent)
            .given("target", target_percent)
            .gives(seen.ratio(target_percent));
        let again = |all: Tally| Some(all.utilization().ok()?.ratio(target_percent));
        let strangers = sorted.strangers;
        let ratio = seen.ratio(target_percent);
        let replicas = self.two_passes(&sorted, ratio, strangers, again, why);
        Ok(Proposal {
            replicas,
            percent: Some(seen.percent),
            value: seen.average,
        })
    }

    /// The count for a target a pod, in thousandths: rules 2 to 6.
    ///
    /// # Errors
    ///
    /// Without pods and without samples that count.
    pub fn by_average(&self, target: i64, why: &mut Reasoning) -> Result<Proposal, MetricError> {
        if self.pods().is_empty() {
            return Err(MetricError::NoPods);
        }
        let mut sorted = Sorted::default();
        let mut strangers = Tally::default();
        self.walk(|pod, sample| match (pod, sample) {
            (Some((_, class)), sample) => sorted.put(class, sample, target.into(), 0),
            (None, Some(sample)) => strangers.add(sample.value.into(), 0),
            (None, None) => {}
        });
        sorted.strangers = strangers.count;
        let first = sorted.ready.and(strangers);
        let average = first.average().ok_or(MetricError::NoMetrics)?;
        let ratio_of = |average: i64| double(average) / double(target);
        let ratio = ratio_of(average);
        sorted.said(why, self.samples.len());
        why.step("average")
            .given("milli", average)
            .given("target milli", target)
            .gives(ratio);
        let again = |all: Tally| all.and(strangers).average().map(ratio_of);
        let replicas = self.two_passes(&sorted, ratio, strangers.count, again, why);
        Ok(Proposal {
            replicas,
            percent: None,
            value: average,
        })
    }

    /// Rules 3 to 5. `again` is the ratio of what was filled in.
    fn two_passes(
        &self,
        sorted: &Sorted,
        r: f64,
        strangers: u64,
        again: impl Fn(Tally) -> Option<f64>,
        why: &mut Reasoning,
    ) -> i32 {
        let up_unready = sorted.unready.count > 0 && r > 1.0;
        if sorted.missing_full.count == 0 && !up_unready {
            let inside = self.tolerances.has(r);
            let replicas = if inside {
                self.current
            } else {
                times(r, sorted.ready.count)
            };
            why.step("ready pods")
                .given("ratio", r)
                .given("inside tolerance", inside)
                .given("ready", sorted.ready.count)
                .gives(replicas);
            return replicas;
        }
        let mut all = sorted.ready;
        if r < 1.0 {
            all = all.and(sorted.missing_full);
        } else if r > 1.0 {
            all = all.and(Tally {
                used: 0,
                ..sorted.missing_full
            });
        }
        if up_unready {
            all = all.and(sorted.unready);
        }
        let m = all.count.saturating_add(strangers);
        let r2 = again(all).unwrap_or(r);
        let n = times(r2, m);
        let inside = self.tolerances.has(r2);
        let turned = (r < 1.0 && r2 > 1.0) || (r > 1.0 && r2 < 1.0);
        let against = (r2 < 1.0 && n > self.current) || (r2 > 1.0 && n < self.current);
        let replicas = if inside || turned || against {
            self.current
        } else {
            n
        };
        why.step("missing and unready pods")
            .given("ratio", r)
            .given("ratio with them", r2)
            .given("pods", m)
            .given("inside tolerance", inside)
            .given("turned round", turned)
            .given("against the count", against)
            .gives(replicas);
        replicas
    }
}

/// What the pass over pods and samples leaves.
#[derive(Default)]
struct Sorted {
    /// With their samples.
    ready: Tally,
    /// With a usage of 0.
    unready: Tally,
    /// With a usage as if in full use.
    missing_full: Tally,
    ignored: u64,
    strangers: u64,
}

impl Sorted {
    fn put(&mut self, class: Class, sample: Option<&Sample>, full: i128, requested: i64) {
        match class {
            Class::Ready => {
                let used = sample.map_or(0, |sample| sample.value);
                self.ready.add(used.into(), requested);
            }
            Class::Unready => self.unready.add(0, requested),
            Class::Missing => self.missing_full.add(full, requested),
            Class::Ignored => self.ignored = self.ignored.saturating_add(1),
        }
    }

    fn said(&self, why: &mut Reasoning, samples: usize) {
        why.step("pods")
            .given("ready", self.ready.count)
            .given("unready", self.unready.count)
            .given("missing", self.missing_full.count)
            .given("ignored", self.ignored)
            .given("unknown", self.strangers)
            .gives(samples);
    }
}

/// The sum of an external metric's series, in thousandths; capped.
#[must_use]
pub fn sum(values: &[i64]) -> i64 {
    capped(values.iter().map(|value| i128::from(*value)).sum())
}

/// The count for a value in all, in thousandths: rule 7.
///
/// # Errors
///
/// When `current` is not 0, the ratio is outside of the tolerance, and there is no pod.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Tolerance, Tolerances, by_total};
/// use mainstay::autoscale::reasoning::Reasoning;
///
/// let tenth = Tolerances::new(Tolerance::TENTH, Tolerance::TENTH);
/// let proposal = by_total(20_000, 15_000, 3, tenth, &[], &mut Reasoning::new());
/// assert!(proposal.is_err()); // no pods
/// let from_zero = by_total(20_000, 15_000, 0, tenth, &[], &mut Reasoning::new())?;
/// assert_eq!(from_zero.replicas, 2);
/// # Ok::<(), mainstay::autoscale::hpa::MetricError>(())
/// ```
pub fn by_total(
    total: i64,
    target: i64,
    current: i32,
    tolerances: Tolerances,
    pods: &[Pod],
    why: &mut Reasoning,
) -> Result<Proposal, MetricError> {
    let ratio = double(total) / double(target);
    let inside = current != 0 && tolerances.has(ratio);
    let mut ready = None;
    let replicas = if current == 0 {
        ceiled(ratio)
    } else if inside {
        current
    } else if pods.is_empty() {
        return Err(MetricError::NoPods);
    } else {
        let serving = pods.iter().filter(|pod| pod.serves()).count();
        let serving = u64::try_from(serving).unwrap_or(u64::MAX);
        ready = Some(serving);
        times(ratio, serving)
    };
    why.step("total value")
        .given("milli", total)
        .given("target milli", target)
        .given("ratio", ratio)
        .given("inside tolerance", inside)
        .given_if("ready", ready)
        .gives(replicas);
    Ok(Proposal {
        replicas,
        percent: None,
        value: total,
    })
}

/// The count for a value a pod of a metric that is one for all of them, in thousandths: rule 8.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Tolerance, Tolerances, by_total_average};
/// use mainstay::autoscale::reasoning::Reasoning;
///
/// let tenth = Tolerances::new(Tolerance::TENTH, Tolerance::TENTH);
/// let proposal = by_total_average(8_600, 2_867, 5, tenth, &mut Reasoning::new());
/// assert_eq!((proposal.replicas, proposal.value), (3, 1_720));
/// ```
#[must_use]
pub fn by_total_average(
    total: i64,
    target: i64,
    status: i32,
    tolerances: Tolerances,
    why: &mut Reasoning,
) -> Proposal {
    let ratio = double(total) / (double(target) * f64::from(status));
    let inside = tolerances.has(ratio);
    let replicas = if inside {
        status
    } else {
        ceiled(double(total) / double(target))
    };
    why.step("value a pod")
        .given("milli", total)
        .given("target milli", target)
        .given("status replicas", status)
        .given("ratio", ratio)
        .given("inside tolerance", inside)
        .gives(replicas);
    Proposal {
        replicas,
        percent: None,
        value: per_pod(total, status),
    }
}

/// `⌈total / status⌉`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` caps floats, which is the rule"
)]
fn per_pod(total: i64, status: i32) -> i64 {
    (double(total) / f64::from(status)).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::hpa::pod::Container;
    use crate::autoscale::hpa::rules::Tolerance;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn tenth() -> Tolerances {
        Tolerances::new(Tolerance::TENTH, Tolerance::TENTH)
    }

    fn pod(name: &str, request: i64) -> Pod {
        let long_ago = Timestamp::from_millis(0);
        let app = Container::new("app").request("cpu", request);
        Pod::new(name)
            .started(long_ago)
            .ready(true, long_ago)
            .container(app)
    }

    fn cpu(pods: &[Pod], values: &[(&str, i64)], current: i32, target: i32) -> Proposal {
        let sample = |(name, value): &(&str, i64)| Sample::new(*name, *value, NOW, 60);
        let samples: Vec<_> = values.iter().map(sample).collect();
        let metric = PodMetric::new(pods, &samples, current, tenth(), NOW).cpu(Timing::default());
        metric
            .by_utilization("cpu", None, target, &mut Reasoning::new())
            .unwrap()
    }

    #[test]
    fn rule_1_is_weighted_and_cut_before_the_ratio() {
        // Means of percentages: (90 + 10) / 2 = 50; by weight (90 + 90) / (100 + 900) = 18.
        let pods = [pod("a", 100), pod("b", 900)];
        let proposal = cpu(&pods, &[("a", 90), ("b", 90)], 2, 18);
        assert_eq!((proposal.percent, proposal.replicas), (Some(18), 2));
        let pods = [pod("a", 1_000)];
        assert_eq!(
            cpu(&pods, &[("a", 559)], 1, 50).replicas,
            1,
            "55 % of 50 % is 1.1"
        );
        assert_eq!(cpu(&pods, &[("a", 560)], 1, 50).replicas, 2);
    }

    #[test]
    fn rule_3_counts_ready_pods_and_not_the_spec() {
        let pods = [pod("a", 100), pod("b", 100)];
        assert_eq!(cpu(&pods, &[("a", 100), ("b", 100)], 10, 50).replicas, 4);
    }

    #[test]
    fn rule_4_missing_pods_count_in_full_down_and_as_nothing_up() {
        let pods = [pod("a", 100), pod("b", 100)];
        // Down: (20 + 100) / 200 = 60 % of 80 % is 0.75, of 2 pods 2.
        assert_eq!(cpu(&pods, &[("a", 20)], 2, 80).replicas, 2);
        // A target above 100 %: (20 + 200) / 200 = 110 % of 200 % is 0.55, of 2 pods 2; at 100 % it would be 0.3.
        assert_eq!(cpu(&pods, &[("a", 20)], 2, 200).replicas, 2);
        // Up: 150 / 200 = 75 % of 50 % is 1.5, of 2 pods 3.
        assert_eq!(cpu(&pods, &[("a", 150)], 2, 50).replicas, 3);
    }

    #[test]
    fn rule_5_a_rolling_update_does_not_turn_the_count_round() {
        // Six pods where the spec says 3: 100 % of 50 % with one missing, 83 % is 1.66, of 6 pods 10: up from 3.
        let pods: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .map(|name| pod(name, 100))
            .into();
        let used: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name, 20)).into();
        // 20 % of 50 % is 0.4; with the missing one 33 % is 0.66, of 6 pods 4, which is more than 3.
        assert_eq!(cpu(&pods, &used, 3, 50).replicas, 3);
        assert_eq!(cpu(&pods, &used, 5, 50).replicas, 4);
    }

    #[test]
    fn samples_of_no_pod_are_averaged_and_counted_but_not_part_of_utilization() {
        let pods = [pod("a", 100), pod("c", 100)];
        // One missing, one stranger: 120 % of 50 %, with the missing one 60 % is 1.2, of 3 values 4.
        let proposal = cpu(&pods, &[("a", 120), ("b", 1_000)], 2, 50);
        assert_eq!((proposal.percent, proposal.replicas), (Some(120), 4));
        let samples = [Sample::new("a", 10, NOW, 0), Sample::new("b", 30, NOW, 0)];
        let metric = PodMetric::new(&pods, &samples, 2, tenth(), NOW);
        let proposal = metric.by_average(10, &mut Reasoning::new()).unwrap();
        // (10 + 30 + 0) / 3 = 13 of 10, of 3 values 4.
        assert_eq!((proposal.value, proposal.replicas), (20, 4));
    }

    #[test]
    fn errors_come_in_the_order_of_kubernetes() {
        let nothing = &mut Reasoning::new();
        let metric = PodMetric::new(&[], &[], 1, tenth(), NOW);
        assert_eq!(metric.by_average(1, nothing), Err(MetricError::NoPods));
        assert_eq!(
            metric.by_utilization("cpu", None, 1, nothing),
            Err(MetricError::NoPods)
        );
        let bare = [Pod::new("a").container(Container::new("app"))];
        let metric = PodMetric::new(&bare, &[], 1, tenth(), NOW);
        assert_eq!(
            metric.by_utilization("cpu", None, 1, nothing),
            Err(MetricError::NoMetrics)
        );
        let samples = [Sample::new("a", 1, NOW, 0)];
        let metric = PodMetric::new(&bare, &samples, 1, tenth(), NOW);
        let error = metric.by_utilization("cpu", None, 1, nothing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing request for cpu in container app of Pod a"
        );
        let error = metric
            .by_utilization("cpu", Some("x"), 1, nothing)
            .unwrap_err();
        assert_eq!(error.to_string(), "container x not found in Pod a");
        let free = [Pod::new("a").container(Container::new("app").request("cpu", 0))];
        let metric = PodMetric::new(&free, &samples, 1, tenth(), NOW);
        let error = metric.by_utilization("cpu", None, 1, nothing);
        assert_eq!(error, Err(MetricError::NoMatchingMetrics));
    }

    #[test]
    fn a_pod_that_is_ignored_must_say_what_it_requests_all_the_same() {
        let ignored = Pod::new("b")
            .deleting(true)
            .container(Container::new("app"));
        let pods = [pod("a", 100), ignored];
        let samples = [Sample::new("a", 1, NOW, 0)];
        let metric = PodMetric::new(&pods, &samples, 1, tenth(), NOW);
        let error = metric
            .by_utilization("cpu", None, 1, &mut Reasoning::new())
            .unwrap_err();
        assert_eq!(error.as_str(), "missing_request");
    }

    #[test]
    fn extremes_are_capped() {
        let pods = [pod("a", 1), pod("b", 1)];
        let most = cpu(&pods, &[("a", i64::MAX), ("b", i64::MAX)], 2, 1);
        assert_eq!(most.percent, Some(i32::MAX));
        assert_eq!(most.replicas, i32::MAX);
        assert_eq!(most.value, i64::MAX / 2);
        let least = cpu(&pods, &[("a", i64::MIN), ("b", i64::MIN)], 2, 1);
        assert_eq!((least.percent, least.replicas), (Some(i32::MIN), i32::MIN));
        let why = &mut Reasoning::new();
        for total in [i64::MIN, -1, 0, 1, i64::MAX] {
            for target in [i64::MIN, 0, 1, i64::MAX] {
                for count in [i32::MIN, 0, 1, i32::MAX] {
                    let _ = by_total_average(total, target, count, tenth(), why);
                    assert!(by_total(total, target, count, tenth(), &pods, why).is_ok());
                }
            }
        }
        assert_eq!(sum(&[i64::MAX, i64::MAX, -1]), i64::MAX);
        assert_eq!(sum(&[i64::MIN, i64::MIN]), i64::MIN);
    }

    #[test]
    fn rule_7_with_pods_of_which_none_is_ready_it_is_0() {
        let pods = [Pod::new("a")];
        let why = &mut Reasoning::new();
        assert_eq!(
            by_total(i64::MAX, 1, 3, tenth(), &pods, why)
                .unwrap()
                .replicas,
            0
        );
        let deleting = [pod("a", 1).deleting(true)];
        assert_eq!(
            by_total(30, 10, 3, tenth(), &deleting, why)
                .unwrap()
                .replicas,
            3
        );
    }

    #[test]
    fn rule_8_at_no_replicas_the_tolerance_does_not_hold() {
        let why = &mut Reasoning::new();
        assert_eq!(by_total_average(4_500, 1_000, 0, tenth(), why).replicas, 5);
        assert_eq!(by_total_average(0, 1_000, 0, tenth(), why).replicas, 0);
    }

    #[test]
    fn rule_8_a_capped_sum_is_shared_out_too() {
        let each = |status| {
            let why = &mut Reasoning::new();
            by_total_average(i64::MAX, 1, status, tenth(), why).value
        };
        assert_eq!(each(1), i64::MAX);
        assert_eq!(each(2), 4_611_686_018_427_387_904);
    }
}
