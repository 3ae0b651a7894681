//! Any settings, any operations and any commands against the circuit breaker: what must hold whatever they are.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::breaker::{
    Breaker, BreakerConfig, HalfOpen, Mode, Permit, Ramp, State, Trip, Window,
};
use mainstay::num::{Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    config: Config,
    other: Config,
    steps: Vec<(u16, Op)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Config {
    trips: [AnyTrip; 3],
    open_ms: u16,
    factor: u8,
    longest_ms: u32,
    jitter: u8,
    half_open: AnyHalfOpen,
    deadline_ms: u16,
    ramp: Option<(u8, u16)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum AnyTrip {
    Consecutive(u8),
    InWindow(u8, u16),
    Rate(u8, u8, AnyWindow),
    Slow(u16, u8, u8, AnyWindow),
    Streak(u8, u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum AnyWindow {
    Calls(u8),
    Time(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum AnyHalfOpen {
    Successes(u8, u8, u8),
    Ratio(u8, u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Abandon(u8),
    Admit,
    Answered(u8),
    Force(u8, Option<u16>),
    Open,
    OpenUntil(u16),
    ProbeNow,
    Release,
    Reload,
    Reset,
    Settle(u8, u8, u16),
    Wake,
}

fn millis(ms: u16) -> Period {
    Period::millis(u32::from(ms.max(1)))
}

fn count(n: u8) -> u32 {
    u32::from(n.max(1))
}

fn share(percent: u8) -> Ratio {
    Ratio::percent(percent % 101)
}

impl AnyWindow {
    fn get(self) -> Window {
        match self {
            Self::Calls(n) => Window::calls(count(n)),
            Self::Time(ms) => Window::Time(millis(ms)),
        }
    }
}

impl AnyTrip {
    fn get(self) -> Trip {
        match self {
            Self::Consecutive(n) => Trip::consecutive(count(n)),
            Self::InWindow(n, ms) => Trip::in_window(count(n), millis(ms)),
            Self::Streak(n, ms) => Trip::streak(count(n), millis(ms)),
            Self::Rate(percent, n, window) => Trip::rate_of(share(percent), count(n), window.get()),
            Self::Slow(ms, percent, n, window) => {
                Trip::slow(millis(ms), share(percent), count(n), window.get())
            }
        }
    }
}

impl Config {
    fn get(self) -> BreakerConfig {
        let half_open = match self.half_open {
            AnyHalfOpen::Successes(at_once, n, of) => {
                HalfOpen::new(count(at_once), count(n)).out_of(u32::from(of))
            }
            AnyHalfOpen::Ratio(n, percent) => HalfOpen::ratio(count(n), share(percent)),
        };
        let [first, second, third] = self.trips.map(AnyTrip::get);
        let factor = Factor::new("factor", f64::from(self.factor.max(1))).expect("at least 1");
        let config = BreakerConfig::new(first)
            .or(second)
            .or(third)
            .open_for(millis(self.open_ms))
            .growing(factor, Period::millis(self.longest_ms.max(1)))
            .jitter(share(self.jitter))
            .half_open(half_open.deadline(millis(self.deadline_ms)));
        match self.ramp {
            Some((from, ms)) => config.ramp(Ramp::linear(share(from), millis(ms))),
            None => config,
        }
    }
}

fn outcome(how: u8) -> Outcome {
    match how % 6 {
        0 => Outcome::Success,
        1 => Outcome::Failure(Failure::Error),
        2 => Outcome::Overload {
            retry_after: Some(Duration::from_secs(u64::MAX)),
        },
        3 => Outcome::Ignored,
        4 => Outcome::Rejected,
        _ => Outcome::Failure(Failure::Timeout),
    }
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let configs = [case.config.get(), case.other.get()];
    let mut breaker = Breaker::new(configs[0]);
    let mut held: Vec<Permit> = Vec::new();
    let (mut now, mut turn) = (Tick::ZERO, 0);
    for (passed, op) in case.steps {
        now = now + Duration::from_millis(u64::from(passed));
        let index = |which: u8| usize::from(which).checked_rem(held.len());
        match op {
            Op::Admit => {
                let admission = breaker.admit(now);
                match admission.verdict {
                    Ok(permit) => {
                        assert_ne!(
                            breaker.state(),
                            State::Open,
                            "an open circuit admits nobody"
                        );
                        held.push(permit);
                    }
                    Err(rejected) => {
                        let forced = breaker.mode() == Some(Mode::ForcedOpen);
                        assert!(rejected.hint().is_some() || forced);
                        let half_open = breaker.state() == State::HalfOpen;
                        assert!(!half_open || breaker.probes() > 0, "wedged");
                    }
                }
            }
            Op::Settle(which, how, took) => {
                if let Some(index) = index(which) {
                    let took = Duration::from_millis(u64::from(took));
                    let permit = held.swap_remove(index);
                    let _ = breaker.settle_after(permit, outcome(how), took, now);
                }
            }
            Op::Abandon(which) => {
                if let Some(index) = index(which) {
                    breaker.abandon(held.swap_remove(index));
                }
            }
            Op::Answered(which) => {
                if let Some(permit) = index(which).and_then(|index| held.get(index)) {
                    breaker.answered(permit);
                }
            }
            Op::Force(mode, lasting) => {
                let modes = [Mode::ForcedOpen, Mode::ForcedClosed, Mode::Observing];
                let mode = modes[usize::from(mode) % 3];
                let until =
                    lasting.map_or(Tick::NEVER, |ms| now + Duration::from_millis(u64::from(ms)));
                let _ = breaker.force(mode, until, now);
                let expected = if mode == Mode::ForcedOpen {
                    State::Open
                } else {
                    State::Closed
                };
                assert_eq!(breaker.state(), expected);
            }
            Op::Open => {
                let _ = breaker.open_now(now);
                assert_eq!(breaker.state(), State::Open);
            }
            Op::OpenUntil(ms) => {
                let until = now + Duration::from_millis(u64::from(ms));
                let _ = breaker.open_until(until, now);
                assert_eq!(breaker.time_left(now), Some(until.since(now)));
            }
            Op::ProbeNow => {
                let _ = breaker.probe_now(now);
                assert_ne!(breaker.state(), State::Open);
            }
            Op::Release => {
                let _ = breaker.release_command(now);
                assert_eq!(breaker.mode(), None);
            }
            Op::Reset => {
                let _ = breaker.reset(now);
                assert_eq!((breaker.state(), breaker.mode()), (State::Closed, None));
            }
            Op::Reload => {
                turn = 1 - turn;
                let state = breaker.state();
                breaker.reload(configs[turn]);
                assert_eq!(breaker.state(), state, "settings move no state");
            }
            Op::Wake => {
                let _ = breaker.handle_timeout(now);
            }
        }
        assert!(breaker.probes() <= held.len(), "a probe nobody holds");
        if let Some(left) = breaker.time_left(now) {
            let longest = configs.iter().map(|c| {
                let wait = c.longest().get().max(c.opening());
                wait.max(c.patience().get()) + wait.mul_f64(c.spread().get())
            });
            let commanded = Duration::from_millis(u64::from(u16::MAX));
            assert!(left <= longest.max().unwrap_or_default().max(commanded));
        }
    }
    // Whatever happened, no permit is kept and no circuit stays shut.
    for permit in held {
        breaker.abandon(permit);
    }
    assert_eq!(breaker.probes(), 0);
    let _ = breaker.release_command(now);
    let far = now + Duration::from_secs(100_000_000);
    assert!(breaker.admit(far).verdict.is_ok());
}
