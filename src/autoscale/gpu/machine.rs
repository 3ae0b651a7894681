//! The rules:
//!
//! 1. The target is an absolute count within the bounds, whatever the sample holds. What somebody else ordered beyond the
//!    last one is the target from then on, so that it goes by the rules that anything is taken away by.
//! 2. Without a fresh rate and backlog nothing is taken away, and nothing for a whole hold after they are back; an
//!    expected load may still raise the target. A gap between two decisions that is longer than a reading may be old is
//!    such a time.
//! 3. Load is the rate, or what makes the share that is not reserved large enough for everybody else, if that is more.
//! 4. Needed is the greatest of the usual load with its headroom, the present load with its trend and its surge, and the
//!    expected load with its surge; and on top of it what works off the backlog that will be left when a replica that is
//!    ordered now is ready. Replicas that are starting serve in that sum from when they will be ready.
//! 5. More than the target: grows to it at once.
//! 6. Fewer, by the dead band more than whole replicas, for all of the hold, and no growth within it: shrinks to the most
//!    that was needed in it, and to no fewer than leave the same backlog as all of them when that is simulated.
//! 7. To shrink after growing is a turn; turns are at least the flap budget apart.
//! 8. An unknown past holds as rule 2 says; an empty one does not.

use std::time::Duration;

use super::config::GpuConfig;
use super::project::Projection;
use super::state::{GpuState, Load};
use crate::autoscale::reasoning::Reasoning;
use crate::autoscale::words::ceil;
use crate::autoscale::{Autoscaler, Decision, Sample, Signal};
use crate::time::Timestamp;

/// In how many parts the hold is remembered.
const PARTS: i64 = 16;
/// Far beyond any load, so that sums and products stay numbers.
const CEILING: f64 = 1e15;
/// How much of the cluster may be reserved at most.
const RESERVABLE: f64 = 0.99;

/// The autoscaler of a GPU cluster.
///
/// # Example: what starts is counted
///
/// ```
/// use mainstay::autoscale::gpu::{Gpu, GpuConfig};
/// use mainstay::autoscale::{Amount, Autoscaler, Bounds, Fleet, Reading, Sample, Signal};
/// use mainstay::num::Period;
/// use mainstay::time::Timestamp;
///
/// let config = GpuConfig::new(Bounds::between(1, 50), Amount::of(10), Period::secs(300));
/// let mut gpu = Gpu::new(config);
/// let sample = |fleet, backlog, now| {
///     Sample::new(fleet)
///         .measured(Signal::Rate, Reading::new(100.0, now))
///         .measured(Signal::Backlog, Reading::new(backlog, now))
/// };
/// let begin = Timestamp::from_millis(0);
/// let first = gpu.decide(&sample(Fleet::new(8), 0.0, begin), begin).target();
/// // 150 s later they are half started, and the backlog has grown as it had to: nothing more is ordered.
/// let later = Timestamp::from_millis(150_000);
/// let starting = (8..first).map(|_| begin);
/// let second = gpu.decide(&sample(Fleet::new(8).starting(starting), 3_000.0, later), later);
/// assert_eq!(second.target(), first);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    config: GpuConfig,
    state: GpuState,
}

/// What the metrics say, if they say anything.
struct Seen {
    load: f64,
    backlog: f64,
}

impl Gpu {
    /// Of a cluster whose past nobody knows.
    #[must_use]
    pub fn new(config: GpuConfig) -> Self {
        Self::resume(config, GpuState::unknown())
    }

    /// With the state that another process had, or that was [empty](GpuState::empty).
    #[must_use]
    pub const fn resume(config: GpuConfig, state: GpuState) -> Self {
        Self { config, state }
    }

    /// What it remembers.
    #[must_use]
    pub const fn state(&self) -> &GpuState {
        &self.state
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &GpuConfig {
        &self.config
    }

    /// Takes other settings and keeps what it remembers.
    pub const fn reload(&mut self, config: GpuConfig) {
        self.config = config;
    }

    /// Rules 2 and 3.
    fn see(&self, sample: &Sample, now: Timestamp) -> Option<Seen> {
        let fresh = |signal| sample.fresh(signal, self.config.stale.get(), now);
        let rate = fresh(Signal::Rate)?.min(CEILING);
        let backlog = fresh(Signal::Backlog)?.min(CEILING);
        let reserved = fresh(Signal::ReservedRate).unwrap_or(0.0);
        let others = (rate - reserved).max(0.0);
        let share = 1.0 - self.config.reserve.get().min(RESERVABLE);
        Some(Seen {
            load: rate.max(others / share),
            backlog,
        })
    }

    /// How many replicas an expected load needs.
    fn expected(&self, sample: &Sample, now: Timestamp) -> Option<f64> {
        let expected = sample.fresh(Signal::Expected, self.config.stale.get(), now)?;
        let needed = expected.min(CEILING) * self.config.spare_now().get();
        Some(needed / self.config.capacity.get())
    }

    /// Rule 2: without sight.
    fn blind(&mut self, current: u32, expected: Option<f64>, why: &mut Reasoning) -> u32 {
        self.state.sight = None;
        self.state.empty = false;
        let step = why.step("blind").given("ordered", current);
        let raised = expected.map_or(0, |need| self.config.bounds.nearest(ceil(need)));
        let target = current.max(raised);
        step.given_if("expected", expected).gives(target);
        target
    }

    /// Rule 4, in replicas.
    fn need(
        &self,
        seen: &Seen,
        load: &Load,
        expected: Option<f64>,
        projection: &Projection,
        why: &mut Reasoning,
    ) -> f64 {
        let config = &self.config;
        let capacity = config.capacity.get();
        let (headroom, surge) = (config.headroom.get(), config.spare_now().get());
        let rise = load.rise(config.warm_up.get());
        let usual = load.base * headroom / capacity;
        let present = (load.level + rise) * surge / capacity;
        why.step("load")
            .given("seen", seen.load)
            .given("level", load.level)
            .given("rise", rise)
            .given("usual", load.base)
            .gives(load.level + rise);
        let left = projection.left(seen.backlog, load.level, u32::MAX);
        let backlog = left / config.drain.get().as_secs_f64() / capacity;
        why.step("backlog")
            .given("now", seen.backlog)
            .given("drain", config.drain.get())
            .given("left when ready", left)
            .gives(backlog);
        let need = usual.max(present).max(expected.unwrap_or(0.0)) + backlog;
        why.step("needed")
            .given("usual and headroom", usual)
            .given("present and surge", present)
            .given_if("expected", expected)
            .given("for the backlog", backlog)
            .gives(need);
        need
    }

    /// The most that was needed within the hold, `need` included.
    fn remember(&mut self, need: f64, now: Timestamp) -> f64 {
        let hold = i64::try_from(self.config.hold_time().as_millis()).unwrap_or(i64::MAX);
        let part = now.as_millis().div_euclid((hold / PARTS).max(1));
        let needs = &mut self.state.needs;
        // Of parts to come there are some only where the clock stepped back.
        needs.retain(|(at, _)| *at <= part && at.saturating_add(PARTS) >= part);
        match needs.last_mut() {
            Some((at, most)) if *at == part => *most = most.max(need),
            _ => needs.push((part, need)),
        }
        needs.iter().map(|(_, need)| *need).fold(need, f64::max)
    }

    /// Whether rules 2, 6 and 7 let it shrink, and if not, why.
    fn shrinks(&self, sight: Timestamp, now: Timestamp) -> Result<(), &'static str> {
        let hold = self.config.hold_time();
        let within = |since: Option<Timestamp>, time: Duration| {
            since.is_some_and(|since| now.since(since) < time)
        };
        if !self.state.empty && now.since(sight) < hold {
            Err("not seen for a whole hold")
        } else if within(self.state.grew, hold) {
            Err("grew within the hold")
        } else if self.state.growing && within(self.state.turned, self.config.flap.get()) {
            Err("flap budget spent")
        } else {
            Ok(())
        }
    }
}

impl Autoscaler for Gpu {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let fleet = sample.fleet();
        let mut why = Reasoning::with_capacity(6, 24);
        let bounds = self.config.bounds;
        let current = bounds.nearest(self.state.target.unwrap_or(0).max(fleet.ordered()));
        let expected = self.expected(sample, now);
        let Some(seen) = self.see(sample, now) else {
            let target = self.blind(current, expected, &mut why);
            self.state.target = Some(target);
            return Decision::new(fleet.ordered(), target, why);
        };

        let stale = self.config.stale.get();
        let load = match self.state.load {
            Some(mut load) => {
                if now.since(load.at()) > stale {
                    self.state.sight = None;
                }
                load.follow(seen.load, now);
                load
            }
            None => Load::first(seen.load, now),
        };
        self.state.load = Some(load);
        let sight = *self.state.sight.get_or_insert(now);

        let (capacity, horizon) = (self.config.capacity.get(), self.config.warm_up.get());
        let projection = Projection::new(fleet, capacity, horizon.as_secs_f64(), now);
        let need = self.need(&seen, &load, expected, &projection, &mut why);
        let wanted = bounds.nearest(ceil(need));
        let most = self.remember(need, now);
        let enough = bounds.nearest(ceil(most + self.config.band.get()));

        let target = if wanted > current {
            self.state.growing = true;
            self.state.grew = Some(now);
            why.step("grow").given("from", current).gives(wanted);
            wanted
        } else if enough < current {
            match self.shrinks(sight, now) {
                Ok(()) => {
                    let least = projection.least(seen.backlog, load.level, enough, current);
                    if least < current && self.state.growing {
                        self.state.growing = false;
                        self.state.turned = Some(now);
                    }
                    why.step("shrink")
                        .given("from", current)
                        .given("needed within the hold", most)
                        .given("simulated", least)
                        .gives(least);
                    least
                }
                Err(reason) => {
                    why.step("hold")
                        .given("enough", enough)
                        .given("because", reason)
                        .gives(current);
                    current
                }
            }
        } else {
            why.step("hold").given("wanted", wanted).gives(current);
            current
        };
        self.state.target = Some(target);
        Decision::new(fleet.ordered(), target, why)
    }
}

#[cfg(test)]
mod tests;
