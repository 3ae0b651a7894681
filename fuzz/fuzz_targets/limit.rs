//! Any settings and any sequence of events against the limits of the calls under way.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, Bounds, Cause, Sample};
use mainstay::limit::concurrency::{Admission, Concurrency, ConcurrencyConfig, Left, Ticket};
use mainstay::num::{Factor, Period, Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    settings: Settings,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
struct Settings {
    least: u16,
    more: u32,
    start: u32,
    tolerance: f64,
    window: u64,
    samples: u32,
    relearn: u64,
    queue: u8,
    wait: u64,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Admit(Option<u32>),
    /// One of those under way ends so.
    End(u8, End),
    /// One of those in the line goes.
    Leave(u8),
    /// Calls of one kind, as many under way as may be.
    Many(u8, u32, End),
    Pass(u32),
    PassLong(u64),
    Back(u32),
    Pin(u32, u32),
    Release,
    Reload(Settings),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum End {
    Abandoned,
    Error,
    Ignored,
    Overload,
    Rejected,
    Success,
    Timeout,
}

impl End {
    fn outcome(self) -> Option<Outcome> {
        Some(match self {
            Self::Abandoned => return None,
            Self::Error => Outcome::Failure(Failure::Error),
            Self::Ignored => Outcome::Ignored,
            Self::Overload => Outcome::Overload { retry_after: None },
            Self::Rejected => Outcome::Rejected,
            Self::Success => Outcome::Success,
            Self::Timeout => Outcome::Failure(Failure::Timeout),
        })
    }
}

impl Settings {
    fn config(&self) -> AdaptiveConfig {
        let period = |nanos: u64| {
            let nanos = Duration::from_nanos(nanos.max(1));
            Period::new("period", nanos).expect("it is neither zero nor too long")
        };
        let least = u32::from(self.least).max(1);
        let config = AdaptiveConfig::new()
            .bounds(Bounds::between(least, least.saturating_add(self.more)))
            .start(count(self.start.max(1)))
            .window(period(self.window))
            .samples(count(self.samples.max(1)))
            .relearn(period(self.relearn))
            .queue(u32::from(self.queue))
            .wait(period(self.wait));
        match Factor::new("tolerance", self.tolerance) {
            Ok(tolerance) => config.tolerance(tolerance),
            Err(_) => config,
        }
    }
}

fn seating(adaptive: &Adaptive) -> ConcurrencyConfig {
    ConcurrencyConfig::new(adaptive.limit())
        .queue(adaptive.queue())
        .wait(adaptive.config().longest_wait())
}

struct World {
    adaptive: Adaptive,
    seats: Concurrency,
    running: Vec<Tick>,
    line: Vec<Ticket>,
    now: Tick,
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let now = Tick::from_nanos(1 << 40);
    let adaptive = Adaptive::new(case.settings.config(), now);
    let mut world = World {
        seats: Concurrency::new(seating(&adaptive)),
        adaptive,
        running: Vec::new(),
        line: Vec::new(),
        now,
    };
    for op in case.ops {
        world.happens(op);
        world.holds();
    }
}

impl World {
    fn happens(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Admit(deadline) => {
                let deadline = deadline.map_or(Tick::NEVER, |nanos| {
                    now + Duration::from_nanos(nanos.into())
                });
                match self.seats.admit(deadline, now) {
                    Admission::Admitted => self.running.push(now),
                    Admission::Waits { ticket, until } => {
                        assert!(until > now);
                        self.adaptive.held_back();
                        self.line.push(ticket);
                    }
                    _ => self.adaptive.held_back(),
                }
            }
            Op::End(which, end) if !self.running.is_empty() => {
                let started = self
                    .running
                    .swap_remove(usize::from(which) % self.running.len());
                self.end(started, end);
            }
            Op::Leave(which) if !self.line.is_empty() => {
                let ticket = self.line.swap_remove(usize::from(which) % self.line.len());
                self.leave(ticket);
            }
            Op::End(..) | Op::Leave(_) => {}
            Op::Many(many, took, end) => {
                for _ in 0..many {
                    self.now = self.now + Duration::from_micros(500);
                    let started = self.now.back(Duration::from_nanos(took.into()));
                    if let Some(outcome) = end.outcome() {
                        let sample = Sample::new(started, outcome).in_flight(u32::MAX);
                        self.observe(sample);
                    }
                }
            }
            Op::Pass(nanos) => self.pass(Duration::from_nanos(nanos.into())),
            Op::PassLong(nanos) => self.pass(Duration::from_nanos(nanos)),
            Op::Back(nanos) => self.now = now.back(Duration::from_nanos(nanos.into())),
            Op::Pin(limit, nanos) => {
                let limit = count(limit.max(1));
                self.adaptive
                    .pin(limit, now + Duration::from_nanos(nanos.into()), now);
                assert_eq!(self.adaptive.limit(), limit);
                self.resize();
            }
            Op::Release => {
                self.adaptive.release(now);
                assert_eq!(self.adaptive.pinned(), None);
                self.resize();
            }
            Op::Reload(settings) => {
                self.adaptive.reload(settings.config(), now);
                self.resize();
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if self.adaptive.handle_timeout(self.now).is_some() {
            self.resize();
        }
        while let Some(ticket) = self.seats.handle_timeout(self.now) {
            self.line.retain(|waits| *waits != ticket);
            assert!(matches!(self.seats.leave(ticket), Left::Empty(_)));
        }
    }

    fn leave(&mut self, ticket: Ticket) {
        if self.seats.leave(ticket) == Left::Admitted {
            self.running.push(self.now);
        }
        assert!(matches!(self.seats.leave(ticket), Left::Empty(_)), "once");
    }

    fn end(&mut self, started: Tick, end: End) {
        let in_flight = self.seats.in_flight();
        let turn = self.seats.release(self.now);
        self.granted(turn);
        if let Some(outcome) = end.outcome() {
            self.observe(Sample::new(started, outcome).in_flight(in_flight));
        }
    }

    /// Whose turn came takes its place at once.
    fn granted(&mut self, turn: Option<Ticket>) {
        if let Some(ticket) = turn {
            self.line.retain(|waits| *waits != ticket);
            assert_eq!(self.seats.leave(ticket), Left::Admitted);
            self.running.push(self.now);
        }
    }

    fn observe(&mut self, sample: Sample) {
        let before = self.adaptive.limit();
        let Some(change) = self.adaptive.observe(sample, self.now) else {
            assert_eq!(self.adaptive.limit(), before);
            return;
        };
        assert_eq!(
            (change.from(), change.to()),
            (before, self.adaptive.limit())
        );
        match change.cause() {
            Cause::Congested | Cause::Lost | Cause::Measuring => assert!(change.to() < before),
            Cause::Demand => assert!(change.to().get() <= before.get().saturating_mul(2)),
            Cause::Measured | Cause::Unanswered => assert!(change.to() >= before),
            Cause::Released => {}
            other => panic!("{other:?} is nobody's order"),
        }
        self.resize();
    }

    fn resize(&mut self) {
        self.seats.resize(seating(&self.adaptive));
        while let Some(ticket) = self.seats.grant(self.now) {
            self.granted(Some(ticket));
        }
    }

    fn holds(&self) {
        assert_eq!(self.seats.in_flight() as usize, self.running.len());
        assert_eq!(self.seats.waiting() as usize, self.line.len());
        let range = self.adaptive.config().range();
        if self.adaptive.pinned().is_none() {
            let limit = self.adaptive.limit();
            assert!(
                limit >= range.least() && limit <= range.most(),
                "{limit} {range:?}"
            );
        }
    }
}
