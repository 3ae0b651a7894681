//! The rules, as the document has them; what is mended is marked with *.
//!
//! 1. More than 50 waiting: adds what the queue needs, a replica for as many waiting as one serves in a second, and the
//!    buffer.
//! 2. Else a p95 above 3 s, of enough samples*: adds 2.
//! 3. Else more than 80 % of the capacity in use: adds 1.
//! 4. Else less than 30 % for longer than 30 min: takes 1 away, and waits again.
//! 5. \* Those that are starting count as capacity and against what is added.
//! 6. \* No decision adds more than the step, and the result is an absolute count within the bounds.
//! 7. \* A metric that is missing or stale adds nothing and takes nothing away: without rate and backlog it is not known to
//!    be idle, nor after a gap between two decisions that is longer than a reading may be old.

use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::words::ceil;
use crate::autoscale::{Amount, Autoscaler, Bounds, Decision, Sample, Signal};
use crate::num::{Period, Ratio};
use crate::time::Timestamp;

/// The settings of [`Documented`]; the numbers that the document has none for are named as such.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::gpu::DocumentedConfig;
///
/// let config = DocumentedConfig::new();
/// assert_eq!((config.range().least(), config.range().most()), (4, 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DocumentedConfig {
    bounds: Bounds,
    capacity: Amount,
    queue: u32,
    latency: Period,
    busy: Ratio,
    idle: Ratio,
    idle_for: Period,
    buffer: u32,
    step: u32,
    samples: u64,
    stale: Period,
}

impl Default for DocumentedConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl DocumentedConfig {
    /// The document's numbers: 4 to 20 nodes of 10 requests a second, 50 waiting, 3 s, 80 %, 30 % for 30 min.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bounds: Bounds::between(4, 20),
            capacity: Amount::of(10),
            queue: 50,
            latency: Period::secs(3),
            busy: Ratio::percent(80),
            idle: Ratio::percent(30),
            idle_for: Period::secs(1_800),
            buffer: 1,
            step: 5,
            samples: 20,
            stale: Period::secs(60),
        }
    }

    /// Between which counts. Defaults to 4 and 20.
    #[must_use]
    pub const fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// How many requests a second one serves. Defaults to 10.
    #[must_use]
    pub const fn capacity(mut self, capacity: Amount) -> Self {
        self.capacity = capacity;
        self
    }

    /// How many are added beyond what a queue needs. Defaults to 1; the document names it and gives no number.
    #[must_use]
    pub const fn buffer(mut self, buffer: u32) -> Self {
        self.buffer = buffer;
        self
    }

    /// The most that one decision adds. Defaults to 5; the document has 1 in one place and no limit in another.
    #[must_use]
    pub const fn step(mut self, step: u32) -> Self {
        self.step = step;
        self
    }

    /// Of how many requests a p95 must be. Defaults to 20, the fewest of which one in twenty is one; the document has none.
    #[must_use]
    pub const fn samples(mut self, samples: u64) -> Self {
        self.samples = samples;
        self
    }

    /// Between which counts.
    #[must_use]
    pub const fn range(&self) -> Bounds {
        self.bounds
    }
}

/// What [`Documented`] remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DocumentedState {
    /// Since when less than 30 % has been in use.
    idle: Option<Timestamp>,
    /// When it was last asked.
    #[cfg_attr(feature = "serde", serde(default))]
    asked: Option<Timestamp>,
}

/// The decision of the platform's document, its defects mended: for comparison, not for use.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::gpu::{Documented, DocumentedConfig};
/// use mainstay::autoscale::{Autoscaler, Fleet, Reading, Sample, Signal};
/// use mainstay::time::Timestamp;
///
/// let now = Timestamp::from_millis(0);
/// let mut documented = Documented::new(DocumentedConfig::new());
/// // As written, 600 waiting would ask for 61 more; there are 20 at most.
/// let sample = Sample::new(Fleet::new(18)).measured(Signal::Backlog, Reading::new(600.0, now));
/// assert_eq!(documented.decide(&sample, now).target(), 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Documented {
    config: DocumentedConfig,
    state: DocumentedState,
}

impl Documented {
    /// With nothing known.
    #[must_use]
    pub fn new(config: DocumentedConfig) -> Self {
        Self::resume(config, DocumentedState::default())
    }

    /// With the state that another process had.
    #[must_use]
    pub const fn resume(config: DocumentedConfig, state: DocumentedState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> DocumentedState {
        self.state
    }

    /// Rules 1 to 3 and 5: how many to add, and by which rule.
    fn adds(&self, sample: &Sample, used: Option<f64>, now: Timestamp) -> (u32, &'static str) {
        let (config, stale) = (&self.config, self.config.stale.get());
        let starting = u32::try_from(sample.fleet().starts().len()).unwrap_or(u32::MAX);
        let queue = sample.fresh(Signal::Backlog, stale, now);
        let counted = sample.reading(Signal::Latency).and_then(|p95| p95.count());
        let latency = sample
            .fresh(Signal::Latency, stale, now)
            .filter(|_| counted.is_none_or(|count| count >= config.samples));
        if let Some(queue) = queue.filter(|queue| *queue > f64::from(config.queue)) {
            let needed = ceil(queue / config.capacity.get()).saturating_add(config.buffer);
            (needed.saturating_sub(starting), "queue")
        } else if latency.is_some_and(|p95| p95 > config.latency.get().as_secs_f64()) {
            (2_u32.saturating_sub(starting), "latency")
        } else if used.is_some_and(|used| used > config.busy.get()) {
            (1, "busy")
        } else {
            (0, "nothing")
        }
    }

    /// Rules 4 and 7: whether one is to be taken away.
    fn idles(&mut self, used: Option<f64>, now: Timestamp) -> bool {
        let last = self.state.asked.replace(now);
        if last.is_some_and(|last| now.since(last) > self.config.stale.get()) {
            self.state.idle = None;
        }
        let Some(used) = used else {
            self.state.idle = None;
            return false;
        };
        if used >= self.config.idle.get() {
            self.state.idle = None;
            return false;
        }
        let since = *self.state.idle.get_or_insert(now);
        let long = now.since(since) > self.config.idle_for.get();
        if long {
            self.state.idle = None;
        }
        long
    }
}

impl Autoscaler for Documented {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let mut why = Reasoning::with_capacity(3, 8);
        let ordered = sample.fleet().ordered();
        let capacity = f64::from(ordered) * self.config.capacity.get();
        let rate = sample.fresh(Signal::Rate, self.config.stale.get(), now);
        // Of nothing everything is in use, and of nothing used nothing.
        let used = rate.map(|rate| if rate > 0.0 { rate / capacity } else { 0.0 });
        let (add, rule) = self.adds(sample, used, now);
        let queue = sample.fresh(Signal::Backlog, self.config.stale.get(), now);
        if rate.is_none() || queue.is_none() {
            let step = why.step("signals").given("rate", rate.is_some());
            step.given("backlog", queue.is_some()).gives("missing");
        }
        let idle = self.idles(used.filter(|_| queue.is_some()), now);
        let wanted = if add > 0 {
            ordered.saturating_add(add.min(self.config.step))
        } else {
            ordered.saturating_sub(u32::from(idle && rule == "nothing"))
        };
        why.step("rule")
            .given_if("used", used)
            .given("idle for long", idle)
            .given("adds", add)
            .gives(rule);
        let target = self.config.bounds.nearest(wanted);
        why.step("clamp").given("wanted", wanted).gives(target);
        Decision::new(ordered, target, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::{Fleet, Reading};

    /// Of ten with hardly any load.
    fn ask(policy: &mut Documented, backlog: Option<f64>, secs: i64) -> u32 {
        let now = Timestamp::from_millis(secs * 1_000);
        let sample = Sample::new(Fleet::new(10)).measured(Signal::Rate, Reading::new(1.0, now));
        let sample = match backlog {
            Some(backlog) => sample.measured(Signal::Backlog, Reading::new(backlog, now)),
            None => sample,
        };
        policy.decide(&sample, now).target()
    }

    #[test]
    fn rule_4_takes_one_away_after_half_an_hour() {
        let mut policy = Documented::new(DocumentedConfig::new());
        for secs in (0..=1_800).step_by(15) {
            assert_eq!(ask(&mut policy, Some(0.0), secs), 10, "{secs}");
        }
        assert_eq!(ask(&mut policy, Some(0.0), 1_815), 9);
    }

    #[test]
    fn rule_7_nothing_is_taken_away_without_a_backlog() {
        let mut policy = Documented::new(DocumentedConfig::new());
        for secs in (0..=4_000).step_by(15) {
            assert_eq!(ask(&mut policy, None, secs), 10, "{secs}");
        }
    }

    #[test]
    fn rule_7_a_gap_between_decisions_is_not_idle() {
        let mut policy = Documented::new(DocumentedConfig::new());
        assert_eq!(ask(&mut policy, Some(0.0), 0), 10);
        for secs in (3_600..=5_400).step_by(15) {
            assert_eq!(ask(&mut policy, Some(0.0), secs), 10, "{secs}");
        }
        assert_eq!(ask(&mut policy, Some(0.0), 5_415), 9);
    }
}
