//! How long the steps of this run took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Durations by step.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    by_step: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
}

/// What is shown of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) step: &'static str,
    pub(crate) runs: usize,
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Timings {
    /// Measures one run of a step, however it ends.
    pub(crate) async fn of<T>(&self, step: &'static str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = work.await;
        let took = started.elapsed();
        self.by_step
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(step)
            .or_default()
            .push(took);
        result
    }

    /// Everything that was measured, in microseconds, by step.
    pub(crate) fn micros(&self) -> BTreeMap<String, Vec<u64>> {
        let by_step = self.by_step.lock().unwrap_or_else(PoisonError::into_inner);
        let micros = |times: &Vec<Duration>| {
            let micros = times.iter().map(|time| u64::try_from(time.as_micros()));
            micros.map(|micros| micros.unwrap_or(u64::MAX)).collect()
        };
        let all = by_step.iter();
        all.map(|(step, times)| ((*step).to_owned(), micros(times)))
            .collect()
    }

    /// What several processes have measured, of these steps.
    pub(crate) fn from_micros(
        steps: &[&'static str],
        mut micros: BTreeMap<String, Vec<u64>>,
    ) -> Self {
        let of = |step: &&'static str| {
            let times = micros.remove(*step)?;
            Some((
                *step,
                times.into_iter().map(Duration::from_micros).collect(),
            ))
        };
        Self {
            by_step: Mutex::new(steps.iter().filter_map(of).collect()),
        }
    }

    /// Percentiles of the steps that ran, in the order of `steps`.
    pub(crate) fn percentiles(&self, steps: &[&'static str]) -> Vec<Percentiles> {
        let by_step = self.by_step.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |step: &&'static str| {
            let mut all = by_step.get(step)?.clone();
            all.sort_unstable();
            // The nearest rank: the smallest duration that so many percent do not exceed.
            let rank = |percent: usize| {
                all.get((all.len() * percent).div_ceil(100).max(1) - 1)
                    .copied()
            };
            Some(Percentiles {
                step,
                runs: all.len(),
                p50: rank(50)?,
                p90: rank(90)?,
                p99: rank(99)?,
                max: *all.last()?,
            })
        };
        steps.iter().filter_map(of).collect()
    }
}
