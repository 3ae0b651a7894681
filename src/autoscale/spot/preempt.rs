//! The rules:
//!
//! 1. A warning says by when the machine is gone. Jobs are saved one after the other, so many at a time, in the order of
//!    their urgency and then of what would be lost.
//! 2. A job that can write its checkpoint before the machine is gone, less a reserve, does. One that cannot makes an
//!    emergency save, if there is time for that; one without that time begins anew from its last checkpoint.
//! 3. A job is queued anew only when what was planned for it is acknowledged, and not at all in the pool that is taken away.
//!    It is queued under a higher epoch, so that the machine cannot go on with it should it live longer than it said.
//! 4. Urgent is what lost work, in the queue; what lost none keeps its place.

use std::time::Duration;

use crate::num::Period;

/// How soon a job must run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Urgency {
    /// In its turn.
    Normal,
    /// Before those.
    High,
    /// Before everything else.
    Urgent,
}

/// A job on a machine that is taken away.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    name: String,
    urgency: Urgency,
    checkpoint: Duration,
    emergency: Duration,
    unsaved: Duration,
    epoch: u64,
}

impl Job {
    /// A job, how long it takes to write a checkpoint, and how much work has been done since the last.
    #[must_use]
    pub fn new(name: impl Into<String>, checkpoint: Duration, unsaved: Duration) -> Self {
        Self {
            name: name.into(),
            urgency: Urgency::Normal,
            checkpoint,
            emergency: checkpoint,
            unsaved,
            epoch: 0,
        }
    }

    /// How soon it must run again. Defaults to in its turn.
    #[must_use]
    pub fn urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// How long an emergency save takes. Defaults to as long as a checkpoint.
    #[must_use]
    pub fn emergency(mut self, time: Duration) -> Self {
        self.emergency = time;
        self
    }

    /// The epoch under which it runs.
    #[must_use]
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }
}

/// What is done for a job before its machine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rescue {
    /// It writes a checkpoint, and is queued when that is acknowledged.
    Checkpoint,
    /// It saves what it can.
    Emergency,
    /// There is no time: it is queued at once, from its last checkpoint.
    Restart,
}

/// What is planned for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    job: String,
    rescue: Rescue,
    begins: Duration,
    ends: Duration,
    urgency: Urgency,
    lost: Duration,
    epoch: u64,
}

impl Plan {
    /// Which job.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// What is done for it.
    #[must_use]
    pub const fn rescue(&self) -> Rescue {
        self.rescue
    }

    /// When that begins, counted from the warning.
    #[must_use]
    pub const fn begins(&self) -> Duration {
        self.begins
    }

    /// By when it is acknowledged; if it is not by then, it is as with [`Rescue::Restart`].
    #[must_use]
    pub const fn ends(&self) -> Duration {
        self.ends
    }

    /// How it is queued anew.
    #[must_use]
    pub const fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// How much work is lost if all goes as planned.
    #[must_use]
    pub const fn lost(&self) -> Duration {
        self.lost
    }

    /// The epoch under which it is queued.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// How jobs are saved from a machine that is taken away.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::spot::{Job, Preemption, Rescue};
/// use std::time::Duration;
///
/// let secs = Duration::from_secs;
/// let jobs = [
///     Job::new("small", secs(20), secs(600)),
///     Job::new("large", secs(300), secs(900)).emergency(secs(30)),
/// ];
/// let plans = Preemption::new().plan(&jobs, secs(120));
/// assert_eq!((plans[0].job(), plans[0].rescue()), ("large", Rescue::Emergency));
/// assert_eq!((plans[1].job(), plans[1].rescue()), ("small", Rescue::Checkpoint));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preemption {
    at_once: u32,
    reserve: Duration,
    interval: Period,
}

impl Default for Preemption {
    fn default() -> Self {
        Self::new()
    }
}

impl Preemption {
    /// The defaults, each stated at its setter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at_once: 1,
            reserve: Duration::from_secs(10),
            interval: Period::secs(900),
        }
    }

    /// How many are saved at once. Defaults to one: they share a disk and a network.
    #[must_use]
    pub const fn at_once(mut self, jobs: u32) -> Self {
        self.at_once = if jobs == 0 { 1 } else { jobs };
        self
    }

    /// How long before the machine is gone all must be done. Defaults to 10 s.
    #[must_use]
    pub const fn reserve(mut self, time: Duration) -> Self {
        self.reserve = time;
        self
    }

    /// How often jobs write checkpoints when nothing happens. Defaults to 15 min.
    #[must_use]
    pub const fn interval(mut self, time: Period) -> Self {
        self.interval = time;
        self
    }

    /// Whether a job that wrote its last checkpoint so long ago should write one.
    #[must_use]
    pub fn is_due(&self, since: Duration) -> bool {
        since >= self.interval.get()
    }

    /// What is done for each job, in the order in which it begins: rules 1 to 4.
    #[must_use]
    pub fn plan(&self, jobs: &[Job], left: Duration) -> Vec<Plan> {
        let left = left.saturating_sub(self.reserve);
        let mut jobs: Vec<&Job> = jobs.iter().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.urgency, job.unsaved)));
        let lanes = usize::try_from(self.at_once)
            .unwrap_or(usize::MAX)
            .min(jobs.len())
            .max(1);
        let mut free = vec![Duration::ZERO; lanes];
        let plan = |job: &Job| {
            let lane = free.iter_mut().min();
            let begins = lane.as_deref().copied().unwrap_or_default();
            let fits = |time: Duration| begins.saturating_add(time) <= left;
            let (rescue, takes, lost) = if fits(job.checkpoint) {
                (Rescue::Checkpoint, job.checkpoint, Duration::ZERO)
            } else if fits(job.emergency) {
                (Rescue::Emergency, job.emergency, Duration::ZERO)
            } else {
                (Rescue::Restart, Duration::ZERO, job.unsaved)
            };
            let ends = begins.saturating_add(takes);
            if let Some(lane) = lane {
                *lane = ends;
            }
            let urgency = match rescue {
                Rescue::Checkpoint => job.urgency,
                Rescue::Emergency => job.urgency.max(Urgency::High),
                Rescue::Restart => Urgency::Urgent,
            };
            Plan {
                job: job.name.clone(),
                rescue,
                begins,
                ends,
                urgency,
                lost,
                epoch: job.epoch.saturating_add(1),
            }
        };
        jobs.into_iter().map(plan).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn rule_1_one_after_the_other_with_the_time_that_is_left() {
        let jobs: Vec<Job> = (0..4)
            .map(|n| Job::new(n.to_string(), secs(40), secs(n)))
            .collect();
        let plans = Preemption::new().plan(&jobs, secs(120));
        let rescues: Vec<_> = plans.iter().map(Plan::rescue).collect();
        use Rescue::{Checkpoint, Restart};
        assert_eq!(rescues, [Checkpoint, Checkpoint, Restart, Restart]);
        assert_eq!(plans[1].begins(), secs(40));
        let twice = Preemption::new().at_once(2).plan(&jobs, secs(120));
        assert!(twice.iter().all(|plan| plan.rescue() == Checkpoint));
    }

    #[test]
    fn rule_1_the_urgent_ones_and_then_what_would_be_lost() {
        let jobs = [
            Job::new("a", secs(1), secs(5)),
            Job::new("b", secs(1), secs(9)),
            Job::new("c", secs(1), secs(1)).urgency(Urgency::High),
        ];
        let plans = Preemption::new().plan(&jobs, secs(60));
        let order: Vec<_> = plans.iter().map(Plan::job).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn rules_3_and_4_epochs_rise_and_losers_are_urgent() {
        let jobs = [Job::new("a", secs(100), secs(7)).epoch(u64::MAX)];
        let plans = Preemption::new().plan(&jobs, Duration::ZERO);
        assert_eq!(
            (plans[0].epoch(), plans[0].urgency()),
            (u64::MAX, Urgency::Urgent)
        );
        assert_eq!(plans[0].lost(), secs(7));
        assert!(Preemption::new().plan(&[], secs(1)).is_empty());
        let forever = [Job::new("a", Duration::MAX, Duration::MAX)];
        assert_eq!(
            Preemption::new().plan(&forever, Duration::MAX)[0].rescue(),
            Rescue::Restart
        );
    }
}
