//! Any sequence of operations against the circuit breaker, beside a model that keeps everything and forgets nothing.
//!
//! The model knows the numbered rules of `breaker/machine.rs` for the trips that are exact; of a rate, whose window
//! forgets in tenths, it checks what holds for any window.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::breaker::{Breaker, BreakerConfig, Cause, HalfOpen, Permit, State, Transition, Trip};
use mainstay::num::{Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    trip: AnyTrip,
    open_for_ms: u16,
    max_in_flight: u8,
    successes_to_close: u8,
    deadline_ms: u16,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum AnyTrip {
    Consecutive {
        failures: u8,
    },
    InWindow {
        failures: u8,
        window_ms: u16,
    },
    Rate {
        percent: u8,
        min_calls: u8,
        window_ms: u16,
    },
}

#[derive(Arbitrary, Debug)]
struct Step {
    /// Mostly forwards; backwards is a clock that steps back.
    millis: i16,
    op: Op,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Abandon { which: u8 },
    Admit,
    Answered { which: u8 },
    Settle { which: u8, how: How },
    Wake,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Failure,
    Ignored,
    Overload,
    Rejected,
    Success,
    Timeout,
}

impl How {
    fn outcome(self) -> Outcome {
        match self {
            Self::Failure => Outcome::Failure(Failure::Error),
            Self::Ignored => Outcome::Ignored,
            Self::Overload => Outcome::Overload { retry_after: None },
            Self::Rejected => Outcome::Rejected,
            Self::Success => Outcome::Success,
            Self::Timeout => Outcome::Failure(Failure::Timeout),
        }
    }
}

/// What the rules say must be, kept beside the machine.
struct Model {
    trip: AnyTrip,
    open_for: Duration,
    state: State,
    generation: u32,
    opened: Tick,
    /// Results that counted in this generation: when, and whether they were failures.
    results: Vec<(Tick, bool)>,
}

impl Model {
    /// Follows one change of state, and checks that it is one of the picture's arrows and happens now.
    fn follow(&mut self, transition: Option<Transition>, now: Tick) {
        let Some(transition) = transition else { return };
        assert_eq!(
            transition.from(),
            self.state,
            "a change starts where the circuit is"
        );
        assert_eq!(transition.at(), now);
        let legal = match (transition.from(), transition.to()) {
            (State::Closed, State::Open) => {
                matches!(
                    transition.cause(),
                    Cause::Consecutive | Cause::InWindow | Cause::Rate
                )
            }
            (State::Open, State::HalfOpen) => transition.cause() == Cause::WaitOver,
            (State::HalfOpen, State::Open) => {
                matches!(transition.cause(), Cause::ProbeFailed | Cause::ProbeHung)
            }
            (State::HalfOpen, State::Closed) => transition.cause() == Cause::Recovered,
            _ => false,
        };
        assert!(legal, "no such arrow: {transition:?}");
        self.state = transition.to();
        self.generation += 1;
        self.opened = now;
        self.results.clear();
    }

    /// Whether a closed circuit must open on the results so far; `None` where the window is not exact.
    fn trips(&self, now: Tick) -> Option<bool> {
        let failures = |since: Option<Duration>| {
            let within = |at: Tick| since.is_none_or(|since| now.since(at) <= since);
            self.results
                .iter()
                .filter(|(at, failed)| *failed && within(*at))
                .count()
        };
        match self.trip {
            AnyTrip::Consecutive { failures } => {
                let row = self
                    .results
                    .iter()
                    .rev()
                    .take_while(|(_, failed)| *failed)
                    .count();
                Some(row >= usize::from(failures.max(1)))
            }
            AnyTrip::InWindow {
                failures: limit,
                window_ms,
            } => {
                let window = Duration::from_millis(u64::from(window_ms.max(1)));
                Some(failures(Some(window)) >= usize::from(limit.max(1)))
            }
            AnyTrip::Rate { .. } => None,
        }
    }
}

struct Held {
    permit: Permit,
    generation: u32,
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let millis = |ms: u16| Period::millis(u32::from(ms.max(1)));
    let trip = match case.trip {
        AnyTrip::Consecutive { failures } => Trip::consecutive(u32::from(failures.max(1))),
        AnyTrip::InWindow {
            failures,
            window_ms,
        } => Trip::in_window(u32::from(failures.max(1)), millis(window_ms)),
        AnyTrip::Rate {
            percent,
            min_calls,
            window_ms,
        } => Trip::rate(
            Ratio::percent(percent.min(100)),
            u32::from(min_calls.max(1)),
            millis(window_ms),
        ),
    };
    let max_in_flight = u32::from(case.max_in_flight.max(1));
    let deadline = millis(case.deadline_ms);
    let open_for = millis(case.open_for_ms);
    let mut breaker = Breaker::new(BreakerConfig::new(trip).open_for(open_for).half_open(
        HalfOpen::new(max_in_flight, u32::from(case.successes_to_close.max(1))).deadline(deadline),
    ));
    let mut model = Model {
        trip: case.trip,
        open_for: open_for.get(),
        state: State::Closed,
        generation: 0,
        opened: Tick::ZERO,
        results: Vec::new(),
    };
    let mut held: Vec<Held> = Vec::new();
    let mut now = Tick::from_nanos(1 << 40);

    for step in case.steps {
        let by = Duration::from_millis(u64::from(step.millis.unsigned_abs()));
        // One step in sixteen or so goes back; results are recorded at the latest time seen.
        now = if step.millis < -30_000 {
            now.back(by / 1_000)
        } else {
            now + by
        };
        match step.op {
            Op::Admit => admit(&mut breaker, &mut model, &mut held, now),
            Op::Wake => {
                let transition = breaker.handle_timeout(now);
                assert!(
                    model.state == State::HalfOpen || transition.is_none(),
                    "only probes hang"
                );
                model.follow(transition, now);
            }
            Op::Answered { which } => {
                if let Some(held) = pick(&held, which) {
                    breaker.answered(&held.permit);
                }
            }
            Op::Abandon { which } => {
                if let Some(index) = index(&held, which) {
                    let failures = breaker.failures(now);
                    breaker.abandon(held.swap_remove(index).permit);
                    assert_eq!(
                        breaker.failures(now),
                        failures,
                        "rule 7: abandoned changes no count"
                    );
                }
            }
            Op::Settle { which, how } => {
                if let Some(index) = index(&held, which) {
                    let held = held.swap_remove(index);
                    settle(&mut breaker, &mut model, held, how.outcome(), now);
                }
            }
        }
        assert_eq!(breaker.state(), model.state);
        assert!(breaker.probes() <= max_in_flight as usize, "rule 4");
        assert_eq!(breaker.time_left(now).is_some(), model.state == State::Open);
        if model.state == State::Open {
            let until = model.opened + model.open_for;
            assert_eq!(
                breaker.poll_timeout(),
                Some(until),
                "rule 2: the moment is fixed"
            );
        }
    }
}

fn admit(breaker: &mut Breaker, model: &mut Model, held: &mut Vec<Held>, now: Tick) {
    let was_open_until = (model.state == State::Open).then(|| model.opened + model.open_for);
    let admission = breaker.admit(now);
    model.follow(admission.transition, now);
    match admission.verdict {
        Ok(permit) => {
            assert_ne!(model.state, State::Open, "rule 2");
            assert!(was_open_until.is_none_or(|until| now >= until), "rule 3");
            held.push(Held {
                permit,
                generation: model.generation,
            });
        }
        Err(rejected) => match model.state {
            State::Open => {
                let left = (model.opened + model.open_for).since(now);
                assert_eq!(rejected.hint(), Some(left), "rule 2: says how much is left");
            }
            State::HalfOpen => assert!(breaker.probes() > 0, "rule 4: never without a probe out"),
            _ => panic!("rule 1: closed admits every call"),
        },
    }
}

fn settle(breaker: &mut Breaker, model: &mut Model, held: Held, outcome: Outcome, now: Tick) {
    let before = model.state;
    let transition = breaker.settle(held.permit, outcome, now);
    if held.generation != model.generation || !outcome.counts() {
        // Rules 7 and 8. What may still be noticed on the way is that the time of other probes is over.
        let noticed = before == State::HalfOpen;
        assert!(
            transition.is_none() || noticed,
            "this result must not move the state"
        );
        model.follow(transition, now);
        return;
    }
    if before == State::Closed {
        let at = model.results.last().map_or(now, |(last, _)| now.max(*last));
        model.results.push((at, outcome.is_failure()));
        if let Some(trips) = model.trips(at) {
            assert_eq!(
                transition.is_some(),
                trips && outcome.is_failure(),
                "rule 1"
            );
        } else if transition.is_some() {
            assert!(
                model.results.iter().any(|(_, failed)| *failed),
                "a rate needs a failure"
            );
        }
    }
    model.follow(transition, now);
}

fn index(held: &[Held], which: u8) -> Option<usize> {
    usize::from(which).checked_rem(held.len())
}

fn pick(held: &[Held], which: u8) -> Option<&Held> {
    index(held, which).and_then(|index| held.get(index))
}
