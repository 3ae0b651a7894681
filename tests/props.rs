//! Random operations on the machines of the breaker and the retry, held against naive models.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::time::Duration;

use mainstay::breaker::{Breaker, BreakerConfig, HalfOpen, Permit, State, Trip};
use mainstay::deadline::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
use mainstay::http::parse_retry_after;
use mainstay::num::{Attempts, Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{Backoff, Budget, BudgetConfig, Decision, Jitter, Retry, RetryConfig};
use mainstay::rng::Rng;
use mainstay::time::{Tick, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Admit,
    /// Settles one of the permits that are out.
    Settle(usize, u8),
    Abandon(usize),
    Timeout,
    Pass(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Admit),
        4 => (any::<usize>(), 0..6_u8).prop_map(|(which, how)| Op::Settle(which, how)),
        1 => any::<usize>().prop_map(Op::Abandon),
        1 => Just(Op::Timeout),
        2 => any::<u16>().prop_map(Op::Pass),
    ]
}

fn outcome(how: u8) -> Outcome {
    match how {
        0 | 1 => Outcome::Success,
        2 => Outcome::Failure(Failure::Error),
        3 => Outcome::Overload { retry_after: None },
        4 => Outcome::Ignored,
        _ => Outcome::Rejected,
    }
}

const OPEN_FOR: u64 = 20_000;
const HALF_OPEN: u64 = 10_000;

fn trip() -> impl Strategy<Value = Trip> {
    prop_oneof![
        (1..5_u32).prop_map(Trip::consecutive),
        (1..5_u32, 1..60_u32).prop_map(|(n, s)| Trip::in_window(n, Period::secs(s))),
        (0..=100_u8, 1..10_u32, 1..60_u32).prop_map(|(p, n, s)| Trip::rate(
            Ratio::percent(p),
            n,
            Period::secs(s)
        )),
    ]
}

/// The naive model: everything that ever happened, looked through anew each time. In milliseconds.
struct Model {
    trip: Trip,
    places: usize,
    closes: usize,
    /// `(generation began, state)`.
    state: State,
    since: u64,
    /// Counted results since the state began: `(when, failed)`.
    results: Vec<(u64, bool)>,
    /// Probes that are out: `(id, admitted)`.
    probes: Vec<(usize, u64)>,
}

impl Model {
    fn enter(&mut self, state: State, now: u64) {
        (self.state, self.since) = (state, now);
        self.results.clear();
        self.probes.clear();
    }

    fn time(&mut self, now: u64) {
        if self.probes.iter().any(|(_, at)| now >= at + HALF_OPEN) {
            self.enter(State::Open, now);
        }
    }

    fn admit(&mut self, id: usize, now: u64) -> bool {
        self.time(now);
        match self.state {
            State::Closed => true,
            State::Open if now < self.since + OPEN_FOR => false,
            _ => {
                if self.state == State::Open {
                    self.enter(State::HalfOpen, now);
                }
                let place = self.probes.len() < self.places;
                if place {
                    self.probes.push((id, now));
                }
                place
            }
        }
    }

    fn settle(&mut self, id: usize, current: bool, outcome: Outcome, now: u64) {
        self.time(now);
        // The generation may have ended just now.
        let current =
            current && (self.state != State::HalfOpen || self.probes.iter().any(|(p, _)| *p == id));
        if !current || self.state == State::Open {
            return;
        }
        self.probes.retain(|(probe, _)| *probe != id);
        if !outcome.counts() {
            return;
        }
        let failed = outcome.is_failure();
        self.results.push((now, failed));
        match self.state {
            State::HalfOpen if failed => self.enter(State::Open, now),
            State::HalfOpen if self.results.len() >= self.closes => self.enter(State::Closed, now),
            State::Closed if self.tripped(now) => self.enter(State::Open, now),
            _ => {}
        }
    }

    fn tripped(&self, now: u64) -> bool {
        let failed = self.results.last().is_some_and(|(_, failed)| *failed);
        match self.trip {
            Trip::Consecutive(limit) => {
                let run = self
                    .results
                    .iter()
                    .rev()
                    .take_while(|(_, failed)| *failed)
                    .count();
                run >= limit.get() as usize
            }
            Trip::InWindow { failures, window } => {
                let from = now.saturating_sub(u64::try_from(window.get().as_millis()).unwrap());
                let live = self
                    .results
                    .iter()
                    .filter(|(at, failed)| *failed && *at >= from)
                    .count();
                failed && live >= failures.get() as usize
            }
            Trip::Rate {
                ratio,
                min_calls,
                window,
            } => {
                // Ten buckets, aligned to the clock's origin, as the rule says.
                let width = u64::try_from(window.get().as_millis()).unwrap() / 10;
                let live = |at: u64| now / width - at / width < 10;
                let calls = self.results.iter().filter(|(at, _)| live(*at)).count();
                let failures = self
                    .results
                    .iter()
                    .filter(|(at, failed)| *failed && live(*at))
                    .count();
                failures > 0
                    && calls >= min_calls.get() as usize
                    && failures as f64 >= ratio.get() * calls as f64
            }
            _ => unreachable!("a trip that the strategy does not make"),
        }
    }
}

fn tick(millis: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(millis)
}

proptest! {
    #[test]
    fn a_breaker_does_what_its_model_does(
        trip in trip(), places in 1..4_u32, closes in 1..4_u32,
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let half_open = HalfOpen::new(places, closes).deadline(Period::millis(10_000));
        let config = BreakerConfig::new(trip).open_for(Period::millis(20_000)).half_open(half_open);
        let mut breaker = Breaker::new(config);
        let mut model = Model {
            trip, places: places as usize, closes: closes as usize,
            state: State::Closed, since: 0, results: vec![], probes: vec![],
        };
        let mut out: Vec<(usize, Permit, u64)> = vec![];
        // Counts the generations as the breaker's transitions tell them.
        let (mut now, mut id, mut generation) = (0_u64, 0_usize, 0_u64);
        for op in ops {
            match op {
                Op::Admit => {
                    let admission = breaker.admit(tick(now));
                    generation += u64::from(admission.transition.is_some());
                    // A hung probe and the end of a wait never fall on one call: the wait begins with the hang.
                    prop_assert_eq!(admission.verdict.is_ok(), model.admit(id, now));
                    match admission.verdict {
                        Ok(permit) => out.push((id, permit, generation)),
                        Err(rejected) => prop_assert!(rejected.hint().is_some()),
                    }
                    id += 1;
                }
                Op::Settle(which, how) if !out.is_empty() => {
                    let (id, permit, admitted_in) = out.swap_remove(which % out.len());
                    let current = admitted_in == generation;
                    let changed = breaker.settle(permit, outcome(how), tick(now));
                    generation += u64::from(changed.is_some());
                    model.settle(id, current, outcome(how), now);
                }
                Op::Abandon(which) if !out.is_empty() => {
                    let (id, permit, admitted_in) = out.swap_remove(which % out.len());
                    breaker.abandon(permit);
                    if admitted_in == generation {
                        model.probes.retain(|(probe, _)| *probe != id);
                    }
                }
                Op::Timeout => {
                    generation += u64::from(breaker.handle_timeout(tick(now)).is_some());
                    model.time(now);
                }
                Op::Settle(..) | Op::Abandon(_) => {}
                Op::Pass(millis) => now += u64::from(millis),
            }
            prop_assert_eq!(breaker.state(), model.state);
            prop_assert_eq!(breaker.probes(), model.probes.len());
            prop_assert!(breaker.probes() <= places as usize);
        }
    }

    #[test]
    fn a_budget_never_gives_more_than_it_says(
        percent in 0..=100_u8, per_second in 0..20_u32, burst in 0..20_u32,
        ops in prop::collection::vec((0..3_u8, 0..2_000_u64), 1..400),
    ) {
        let config = BudgetConfig::new(Ratio::percent(percent)).per_second(per_second).burst(burst);
        let mut budget = Budget::new(config, Tick::ZERO);
        let (mut requests, mut retries, mut now) = (0_u32, 0_u32, 0_u64);
        for (op, value) in ops {
            match op {
                0 => { budget.deposit(); requests += 1; }
                1 => retries += u32::from(budget.withdraw(tick(now))),
                _ => now += value,
            }
            let earned = f64::from(requests) * f64::from(percent) / 100.0;
            let floor = f64::from(per_second) * (now as f64 / 1_000.0 + 1.0);
            prop_assert!(f64::from(retries) <= earned + floor + f64::from(burst) + 1e-6);
        }
    }

    #[test]
    fn a_delay_is_within_the_bounds_of_its_jitter(
        growth in 0..3_u8, factor in 1.0..10.0_f64, initial in 0..100_000_u64, max in 0..1_000_000_u64,
        jitter in 0..7_u8, retry in 0..200_u32, previous in 0..1_000_000_u64, seed: u64,
    ) {
        let ms = Duration::from_millis;
        let (initial, max) = (ms(initial), ms(max));
        let backoff = match growth {
            0 => Backoff::constant(initial.min(max)),
            1 => Backoff::linear(initial, max),
            _ => Backoff::exponential(initial, max).factor(Factor::new("factor", factor).unwrap()),
        };
        let jitter = match jitter {
            0 => Jitter::None,
            1 => Jitter::Add(Ratio::percent(20)),
            2 => Jitter::Scale { low: Ratio::percent(50), high: Ratio::ONE },
            3 => Jitter::Full,
            4 => Jitter::Equal,
            5 => Jitter::Around(Ratio::percent(20)),
            _ => Jitter::Decorrelated,
        };
        let plain = backoff.jitter(Jitter::None).delay(retry, ms(previous), &mut Rng::new(seed));
        let delay = backoff.jitter(jitter).delay(retry, ms(previous), &mut Rng::new(seed));
        let slack = Duration::from_micros(1);
        // A constant delay has no cap: jitter that adds lengthens it.
        let longest = if growth == 0 { plain * 2 } else { backoff.max() };
        prop_assert!(delay <= longest);
        match jitter {
            Jitter::None => prop_assert_eq!(delay, plain),
            Jitter::Add(_) => prop_assert!(delay + slack >= plain),
            Jitter::Scale { .. } | Jitter::Equal => prop_assert!(delay + slack >= plain / 2 && delay <= plain),
            Jitter::Around(_) => prop_assert!(delay + slack >= plain.mul_f64(0.8)),
            Jitter::Full => prop_assert!(delay <= plain),
            _ => prop_assert!(delay <= (ms(previous) * 3).max(initial) + slack),
        }
    }

    #[test]
    fn a_retry_ends_and_never_undercuts_or_overruns(
        attempts in 1..10_u32, hint in prop::option::of(0..100_000_u64),
        deadline in prop::option::of(0..200_000_u64), seed: u64,
    ) {
        let config = RetryConfig::new(Attempts::total(attempts));
        let mut retry = Retry::new(config, Rng::new(seed));
        let retry_after = hint.map(Duration::from_millis);
        let deadline = deadline.map(tick);
        let mut now = Tick::ZERO;
        let mut made = 1;
        while let Decision::Retry { after } =
            retry.decide(Outcome::Overload { retry_after }, deadline, now)
        {
            made += 1;
            let patience = Duration::from_secs(60);
            let in_bounds = |hint: Duration| {
                let most = (hint + hint / 4).max(config.delays().max()) + Duration::from_nanos(1);
                (hint..=most).contains(&after) && hint <= patience
            };
            prop_assert!(retry_after.is_none_or(in_bounds), "{after:?}");
            now = now + after;
            prop_assert!(deadline.is_none_or(|deadline| now < deadline));
        }
        prop_assert!(made <= attempts);
        prop_assert_eq!(retry.decide(Outcome::Success, deadline, now), Decision::Done);
    }

    #[test]
    fn wire_formats_take_anything(text in ".{0,40}", nanos: u64, now: i64) {
        let _ = (parse_millis(&text), parse_grpc_timeout(&text));
        let _ = parse_retry_after(&text, Timestamp::from_millis(now));
        let left = Duration::from_nanos(nanos);
        let read = parse_grpc_timeout(&format_grpc_timeout(left)).unwrap();
        prop_assert!(read <= left && left - read <= left / 50_000 + Duration::from_nanos(1));
    }
}
