//! How pods are sorted, in one pass over pods and samples in the order of their names.
//!
//! Rules; the first that matches counts:
//!
//! 1. A pod that is being deleted or failed is ignored.
//! 2. One that is pending is unready, even with a sample.
//! 3. One without a sample is missing.
//! 4. For CPU, a pod is unready (a) without a start or a `Ready` condition; (b) while it initializes, when it is not ready
//!    or its sample began before it last changed; (c) afterwards, when it is not ready and never was: its condition last
//!    changed before it had run for the readiness delay.
//! 5. Every other pod is ready. For other metrics than CPU that includes running pods that are not.
//!
//! At the very end of the initialization a pod does not initialize any more; a condition that changed at the very end of
//! the readiness delay counts as ready.

use std::cmp::Ordering;

use super::pod::{Pod, Sample};
use crate::time::Timestamp;

/// How long pods are given before their CPU usage is believed.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Timing;
///
/// let timing = Timing::default().cpu_initialization(120);
/// assert_eq!(timing, Timing::default().cpu_initialization(120).initial_readiness_delay(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Milliseconds.
    cpu_initialization: i64,
    /// Milliseconds.
    initial_readiness_delay: i64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            cpu_initialization: 300_000,
            initial_readiness_delay: 30_000,
        }
    }
}

impl Timing {
    /// For how many seconds after its start a pod initializes. Defaults to 300 s, as the controller's flag does.
    #[must_use]
    pub fn cpu_initialization(mut self, seconds: u32) -> Self {
        self.cpu_initialization = i64::from(seconds) * 1_000;
        self
    }

    /// For how many seconds after its start a pod that turns unready was never ready. Defaults to 30 s, as the
    /// controller's flag does.
    #[must_use]
    pub fn initial_readiness_delay(mut self, seconds: u32) -> Self {
        self.initial_readiness_delay = i64::from(seconds) * 1_000;
        self
    }
}

/// What a pod counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// Not at all.
    Ignored,
    /// Its sample is missing.
    Missing,
    /// Its sample counts.
    Ready,
    /// Its sample does not count yet.
    Unready,
}

/// How the pods were sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Classes<'a> {
    /// How many are ready.
    pub ready: usize,
    /// The names of the unready ones.
    pub unready: Vec<&'a str>,
    /// The names of those without a sample.
    pub missing: Vec<&'a str>,
    /// The names of those that do not count.
    pub ignored: Vec<&'a str>,
}

/// Sorts pods by rules 1 to 5. The names are in order.
#[must_use]
pub fn classify<'a>(
    pods: &'a [Pod],
    samples: &[Sample],
    cpu: bool,
    timing: Timing,
    now: Timestamp,
) -> Classes<'a> {
    let mut classes = Classes::default();
    walk(&Named::pods(pods), samples, |met| {
        let Met::Pod(pod, sample) = met else { return };
        match class(pod, sample, cpu, timing, now) {
            Class::Ready => classes.ready += 1,
            Class::Unready => classes.unready.push(pod.name()),
            Class::Missing => classes.missing.push(pod.name()),
            Class::Ignored => classes.ignored.push(pod.name()),
        }
    });
    classes
}

pub(super) fn class(
    pod: &Pod,
    sample: Option<&Sample>,
    cpu: bool,
    timing: Timing,
    now: Timestamp,
) -> Class {
    if pod.is_ignored() {
        return Class::Ignored;
    }
    if pod.is_pending() {
        return Class::Unready;
    }
    let Some(sample) = sample else {
        return Class::Missing;
    };
    let (true, life) = (cpu, pod.life()) else {
        return Class::Ready;
    };
    let (Some(started), Some((ready, changed))) = life else {
        return Class::Unready;
    };
    let after = |at: Timestamp, millis: i64| at.as_millis().saturating_add(millis);
    let unready = if after(started, timing.cpu_initialization) > now.as_millis() {
        !ready || sample.at.as_millis() < after(changed, sample.window)
    } else {
        !ready && after(started, timing.initial_readiness_delay) > changed.as_millis()
    };
    if unready {
        Class::Unready
    } else {
        Class::Ready
    }
}

/// Things with names, in the order of these: as they stand, or by way of one sort.
#[derive(Debug)]
pub(super) struct Named<'a, T> {
    items: &'a [T],
    order: Option<Vec<usize>>,
}

impl<'a> Named<'a, Pod> {
    pub(super) fn pods(pods: &'a [Pod]) -> Self {
        Self::by(pods, Pod::name)
    }
}

impl<'a> Named<'a, Sample> {
    fn samples(samples: &'a [Sample]) -> Self {
        Self::by(samples, Sample::pod)
    }
}

impl<'a, T> Named<'a, T> {
    fn by(items: &'a [T], name: impl Fn(&'a T) -> &'a str) -> Self {
        let order = (!items.is_sorted_by(|a, b| name(a) <= name(b))).then(|| {
            let mut order: Vec<_> = (0..items.len()).collect();
            // Equal names stay in the order in which they came: of their samples the last one counts.
            order.sort_by_key(|place| items.get(*place).map(&name));
            order
        });
        Self { items, order }
    }

    fn get(&self, place: usize) -> Option<&'a T> {
        match &self.order {
            None => self.items.get(place),
            Some(order) => self.items.get(*order.get(place)?),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// What the pass meets.
pub(super) enum Met<'a, 's> {
    Pod(&'a Pod, Option<&'s Sample>),
    /// A sample that names no pod there is.
    Stranger(&'s Sample),
}

/// One pass over both in the order of names: each pod with its sample, and each sample that has no pod.
pub(super) fn walk<'a, 's>(
    pods: &Named<'a, Pod>,
    samples: &'s [Sample],
    mut visit: impl FnMut(Met<'a, 's>),
) {
    let samples = Named::samples(samples);
    let mut met = None;
    let mut next = 0;
    let mut place = 0;
    // The last of the samples with the name of that at `at`, and where the next name begins.
    let last_of = |at: usize| -> Option<(&'s Sample, usize)> {
        let mut sample = samples.get(at)?;
        let mut end = at + 1;
        while let Some(other) = samples.get(end).filter(|other| other.pod() == sample.pod()) {
            sample = other;
            end += 1;
        }
        Some((sample, end))
    };
    while let Some(pod) = pods.get(place) {
        let Some((sample, end)) = last_of(next) else {
            visit(Met::Pod(pod, None));
            place += 1;
            continue;
        };
        match sample.pod().cmp(pod.name()) {
            Ordering::Less => {
                if met != Some(next) {
                    visit(Met::Stranger(sample));
                }
                next = end;
            }
            Ordering::Equal => {
                met = Some(next);
                visit(Met::Pod(pod, Some(sample)));
                place += 1;
            }
            Ordering::Greater => {
                visit(Met::Pod(pod, None));
                place += 1;
            }
        }
    }
    while let Some((sample, end)) = last_of(next) {
        if met != Some(next) {
            visit(Met::Stranger(sample));
        }
        next = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::hpa::pod::Phase;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn only(pod: &Pod, sample: Option<&Sample>, cpu: bool) -> Class {
        let timing = Timing::default();
        class(pod, sample, cpu, timing, at(1_000))
    }

    fn sample(seconds: i64, window: u32) -> Sample {
        Sample::new("a", 1, at(seconds), window)
    }

    #[test]
    fn rules_1_to_3_hold_for_every_metric() {
        let pod = || Pod::new("a");
        for cpu in [true, false] {
            let fresh = sample(1_000, 0);
            let some = || Some(&fresh);
            assert_eq!(only(&pod().deleting(true), some(), cpu), Class::Ignored);
            assert_eq!(
                only(&pod().phase(Phase::Failed), some(), cpu),
                Class::Ignored
            );
            assert_eq!(
                only(&pod().phase(Phase::Pending), some(), cpu),
                Class::Unready
            );
            assert_eq!(only(&pod(), None, cpu), Class::Missing);
        }
        let unready = pod().started(at(900)).ready(false, at(900));
        assert_eq!(only(&unready, Some(&sample(950, 0)), false), Class::Ready);
        assert_eq!(only(&unready, Some(&sample(950, 0)), true), Class::Unready);
        assert_eq!(only(&pod(), Some(&sample(950, 0)), true), Class::Unready);
    }

    #[test]
    fn rule_4_stands_at_its_edges() {
        let pod =
            |started, ready, changed| Pod::new("a").started(at(started)).ready(ready, at(changed));
        // Initialization ends at the 300th second exactly.
        assert_eq!(
            only(&pod(700, false, 800), Some(&sample(990, 0)), true),
            Class::Ready
        );
        assert_eq!(
            only(&pod(701, false, 800), Some(&sample(990, 0)), true),
            Class::Unready
        );
        // A sample may begin exactly when the pod turned ready.
        assert_eq!(
            only(&pod(900, true, 960), Some(&sample(990, 30)), true),
            Class::Ready
        );
        assert_eq!(
            only(&pod(900, true, 961), Some(&sample(990, 30)), true),
            Class::Unready
        );
        // Never ready, until the 30th second exactly.
        assert_eq!(
            only(&pod(100, false, 129), Some(&sample(990, 0)), true),
            Class::Unready
        );
        assert_eq!(
            only(&pod(100, false, 130), Some(&sample(990, 0)), true),
            Class::Ready
        );
    }

    #[test]
    fn pods_and_samples_meet_in_whatever_order_they_come() {
        let pods = ["c", "a", "b"].map(Pod::new);
        let samples = ["x", "c", "0", "a", "c"].map(|name| Sample::new(name, 1, at(0), 0));
        let mut seen = Vec::new();
        walk(&Named::pods(&pods), &samples, |met| {
            seen.push(match met {
                Met::Pod(pod, sample) => (pod.name().to_owned(), sample.is_some()),
                Met::Stranger(sample) => (format!("?{}", sample.pod()), true),
            });
        });
        let expected = [
            ("?0", true),
            ("a", true),
            ("b", false),
            ("c", true),
            ("?x", true),
        ];
        assert_eq!(seen, expected.map(|(name, has)| (name.to_owned(), has)));
    }

    #[test]
    fn of_samples_with_one_name_the_last_counts_once() {
        let pods = [Pod::new("a"), Pod::new("a")];
        let samples = [1, 2].map(|value| Sample::new("a", value, at(0), 0));
        let mut values = Vec::new();
        walk(&Named::pods(&pods), &samples, |met| match met {
            Met::Pod(_, sample) => values.push(sample.map(Sample::milli)),
            Met::Stranger(_) => values.push(None),
        });
        assert_eq!(values, [Some(2), Some(2)]);
    }
}
