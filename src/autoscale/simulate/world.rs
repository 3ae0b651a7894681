//! The rules:
//!
//! 1. Time goes in seconds. What arrives in a second joins one line; each replica that is ready takes its capacity from
//!    the front of it.
//! 2. A replica that is ordered is ready after the warm-up. One that is taken away serves no more and is paid for until it
//!    is drained; those that are starting go first, the latest of them, and cost nothing more.
//! 3. The policy is asked every interval. It sees what happened since the last time, and nothing during an outage.
//! 4. What counts is what arrives, and what is paid for, after the first seconds that it is told not to count.

use std::collections::VecDeque;

use super::outcome::{Moment, Outcome};
use super::shape::whole;
use super::trace::Trace;
use crate::autoscale::{Amount, Autoscaler, Fleet, Reading, Sample, Signal};
use crate::num::Period;
use crate::time::Timestamp;

/// What replicas are like, and what is counted.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::simulate::World;
/// use mainstay::autoscale::Amount;
/// use mainstay::num::Period;
///
/// let world = World::new(Amount::of(10), Period::secs(300))
///     .initial(10)
///     .interval(Period::secs(15))
///     .counted_from(86_400); // the first day is for learning
/// # let _ = world;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    capacity: f64,
    warm_up: u64,
    interval: u64,
    drain: u64,
    long: u64,
    initial: u32,
    from: u64,
    moments: bool,
}

/// How long a request is served, as far as a policy is told about latency: a second.
const SERVICE: f64 = 1.0;

impl World {
    /// Replicas that serve `capacity` requests a second each and take `warm_up` to start.
    #[must_use]
    pub const fn new(capacity: Amount, warm_up: Period) -> Self {
        Self {
            capacity: capacity.get(),
            warm_up: warm_up.get().as_secs(),
            interval: 15,
            drain: 30,
            long: 3,
            initial: 10,
            from: 0,
            moments: false,
        }
    }

    /// How often the policy is asked. Defaults to 15 s, as Kubernetes does; at least a second.
    #[must_use]
    pub const fn interval(mut self, interval: Period) -> Self {
        let seconds = interval.get().as_secs();
        self.interval = if seconds == 0 { 1 } else { seconds };
        self
    }

    /// How long a replica that is taken away is still paid for. Defaults to 30 s.
    #[must_use]
    pub const fn drain(mut self, time: Period) -> Self {
        self.drain = time.get().as_secs();
        self
    }

    /// From when on a wait is long. Defaults to 3 s; at least a second.
    #[must_use]
    pub const fn long(mut self, wait: Period) -> Self {
        let seconds = wait.get().as_secs();
        self.long = if seconds == 0 { 1 } else { seconds };
        self
    }

    /// How many replicas there are at first. Defaults to 10.
    #[must_use]
    pub const fn initial(mut self, replicas: u32) -> Self {
        self.initial = replicas;
        self
    }

    /// From which second on it counts. Defaults to the first.
    #[must_use]
    pub const fn counted_from(mut self, second: u64) -> Self {
        self.from = second;
        self
    }

    /// Whether [moments](Outcome::moments) are kept, one a minute. Defaults to no.
    #[must_use]
    pub const fn moments(mut self, kept: bool) -> Self {
        self.moments = kept;
        self
    }

    /// Replays `trace` under `policy`, from the Unix epoch on.
    pub fn run(&self, trace: &Trace, policy: &mut dyn Autoscaler) -> Outcome {
        let mut run = Run::new(*self);
        let mut reclaims = trace.reclaims().iter().copied().peekable();
        for (second, &arrivals) in (0_u64..).zip(trace.arrivals()) {
            while let Some((_, share)) = reclaims.next_if(|(at, _)| *at <= second) {
                let taken = whole(f64::from(run.ready) * share.get());
                run.ready = run
                    .ready
                    .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            }
            run.pass(second);
            if second.is_multiple_of(self.interval) {
                let out = trace.is_out(second);
                let sample = run.sample(second, out);
                let target = policy.decide(&sample, moment(second)).target();
                run.scale(target, second, out);
            }
            run.serve(second, arrivals);
        }
        run.end()
    }
}

fn moment(second: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(second.saturating_mul(1_000)).unwrap_or(i64::MAX))
}

/// A replay under way.
struct Run {
    world: World,
    ready: u32,
    starting: VecDeque<u64>,
    draining: VecDeque<u64>,
    line: VecDeque<(u64, f64)>,
    backlog: f64,
    came: u64,
    served: f64,
    could: f64,
    seen: bool,
    second: u64,
    direction: i8,
    turned: VecDeque<u64>,
    outcome: Outcome,
}

impl Run {
    fn new(world: World) -> Self {
        Self {
            world,
            ready: world.initial,
            starting: VecDeque::new(),
            draining: VecDeque::new(),
            line: VecDeque::new(),
            backlog: 0.0,
            came: 0,
            served: 0.0,
            could: 0.0,
            seen: false,
            second: 0,
            direction: 0,
            turned: VecDeque::new(),
            outcome: Outcome::default(),
        }
    }

    const fn counts(&self, second: u64) -> bool {
        second >= self.world.from
    }

    /// What starts becomes ready, what drains is gone.
    fn pass(&mut self, second: u64) {
        self.second = second;
        let over =
            |since: Option<&u64>, time: u64| since.is_some_and(|since| since + time <= second);
        while over(self.starting.front(), self.world.warm_up) {
            self.starting.pop_front();
            self.ready = self.ready.saturating_add(1);
        }
        while over(self.draining.front(), self.world.drain) {
            self.draining.pop_front();
        }
    }

    /// Rule 3.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn sample(&mut self, second: u64, out: bool) -> Sample {
        let now = moment(second);
        let draining = u32::try_from(self.draining.len()).unwrap_or(u32::MAX);
        let starting = self.starting.iter().map(|since| moment(*since));
        let fleet = Fleet::new(self.ready).starting(starting).draining(draining);
        let mut sample = Sample::new(fleet);
        if self.seen && !out {
            let span = self.world.interval as f64;
            let capacity = f64::from(self.ready) * self.world.capacity;
            let busy = if self.could > 0.0 {
                self.served / self.could
            } else {
                0.0
            };
            let latency = SERVICE + self.backlog / capacity.max(self.world.capacity);
            sample = sample
                .measured(Signal::Rate, Reading::new(self.came as f64 / span, now))
                .measured(Signal::Backlog, Reading::new(self.backlog.floor(), now))
                .measured(Signal::Cpu, Reading::new(busy, now))
                .measured(
                    Signal::InFlight,
                    Reading::new(self.backlog + self.served / span * SERVICE, now),
                )
                .measured(Signal::Latency, Reading::new(latency, now).of(self.came));
        }
        self.seen = true;
        (self.came, self.served, self.could) = (0, 0.0, 0.0);
        sample
    }

    /// Rule 2.
    fn scale(&mut self, target: u32, second: u64, out: bool) {
        let starting = u32::try_from(self.starting.len()).unwrap_or(u32::MAX);
        let ordered = self.ready.saturating_add(starting);
        let direction = match target.cmp(&ordered) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => {
                self.starting.extend((ordered..target).map(|_| second));
                1
            }
            std::cmp::Ordering::Less => {
                for _ in target..ordered {
                    if self.starting.pop_back().is_none() {
                        self.ready = self.ready.saturating_sub(1);
                        self.draining.push_back(second);
                    }
                }
                -1
            }
        };
        if self.counts(second) {
            if out && direction < 0 {
                self.outcome.blind_removals += 1;
            }
            if self.direction != 0 && direction != self.direction {
                self.outcome.turns += 1;
                self.turned.retain(|at| at + 3_600 > second);
                self.turned.push_back(second);
                let within = u32::try_from(self.turned.len()).unwrap_or(u32::MAX);
                self.outcome.most_turns = self.outcome.most_turns.max(within);
            }
        }
        self.direction = direction;
    }

    /// Rule 1.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn serve(&mut self, second: u64, arrivals: u32) {
        let came = f64::from(arrivals);
        self.came += u64::from(arrivals);
        if arrivals > 0 {
            self.line.push_back((second, came));
            self.backlog += came;
        }
        let capacity = f64::from(self.ready) * self.world.capacity;
        let mut left = capacity;
        while left > 0.0
            && let Some((since, waiting)) = self.line.front_mut()
        {
            let taken = waiting.min(left);
            *waiting -= taken;
            let (since, gone) = (*since, *waiting <= 1e-9);
            left -= taken;
            self.backlog = (self.backlog - taken).max(0.0);
            if gone {
                self.line.pop_front();
            }
            self.waited(since, second, taken);
        }
        self.served += capacity - left;
        self.could += capacity;
        let starting = self.starting.len() as u64;
        if self.counts(second) {
            self.outcome.requests += came;
            self.outcome.seconds += 1;
            let draining = self.draining.len() as u64;
            self.outcome.replica_seconds += u64::from(self.ready) + starting + draining;
        }
        if self.world.moments && second.is_multiple_of(60) {
            let wait = self.line.front().map_or(0, |(since, _)| second - since);
            self.outcome.moments.push(Moment {
                second,
                demand: came,
                capacity,
                ordered: (starting as f64).mul_add(self.world.capacity, capacity),
                backlog: self.backlog,
                wait: wait as f64,
            });
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn waited(&mut self, since: u64, until: u64, requests: f64) {
        if self.counts(since) {
            let wait = until - since;
            self.outcome.waited += requests * wait as f64;
            self.outcome.longest = self.outcome.longest.max(wait);
            if wait >= self.world.long {
                self.outcome.long += requests;
            }
        }
    }

    /// Those that still wait have waited until now.
    fn end(mut self) -> Outcome {
        for (since, waiting) in std::mem::take(&mut self.line) {
            self.waited(since, self.second, waiting);
        }
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::Decision;
    use crate::autoscale::reasoning::Reasoning;

    /// Always the same count.
    struct Fixed(u32);

    impl Autoscaler for Fixed {
        fn decide(&mut self, sample: &Sample, _now: Timestamp) -> Decision {
            Decision::new(sample.fleet().ordered(), self.0, Reasoning::new())
        }
    }

    fn world() -> World {
        World::new(Amount::of(10), Period::secs(60)).initial(1)
    }

    #[test]
    fn waits_are_those_of_one_line() {
        // 20 a second for 10 s at 10 a second: the last ones wait 10 s, and half of all less than 5.
        let mut arrivals = vec![20; 10];
        arrivals.extend([0; 30]);
        let outcome = world().run(&Trace::new("t", arrivals), &mut Fixed(1));
        assert_eq!(outcome.longest_wait(), 10);
        // Those that wait 3 s or more: all but the first 70 that are served.
        assert!(
            (outcome.long_share() - 0.7).abs() < 0.06,
            "{}",
            outcome.long_share()
        );
        assert!((outcome.replica_hours() * 3_600.0 - 40.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_ordered_serves_after_its_warm_up_and_costs_from_the_start() {
        let outcome = world().run(&Trace::new("t", vec![20; 120]), &mut Fixed(2));
        // 600 wait after a minute, and nobody works them off.
        assert_eq!(outcome.longest_wait(), 30);
        assert!((outcome.replica_hours() * 3_600.0 - 240.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_taken_away_is_paid_until_drained() {
        let outcome = world().run(&Trace::new("t", vec![0; 120]), &mut Fixed(0));
        assert!((outcome.replica_hours() * 3_600.0 - 30.0).abs() < 1e-6);
    }
}
