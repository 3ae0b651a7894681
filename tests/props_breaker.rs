//! Random operations on the breaker's machine, held against a model that keeps everything that ever happened and
//! looks through it anew each time; and on its layer, held against the machine.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::breaker::{
    Breaker, BreakerConfig, BreakerLayer, HalfOpen, Mode, Order, Permit, Ramp, State, Trip,
    Verdict, Window,
};
use mainstay::num::{Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::time::Tick;
use proptest::prelude::*;
use tower::{BoxError, Layer, Service};

#[derive(Clone, Debug)]
enum Op {
    Admit,
    /// Settles one of the permits that are out, after so many milliseconds.
    Settle(usize, u8, u16),
    Abandon(usize),
    Answered(usize),
    Timeout,
    Pass(u16),
    Force(Mode, Option<u16>),
    Release,
    Reset,
    OpenUntil(u16),
    ProbeNow,
    /// Takes the other settings.
    Reload,
}

fn op(rare: u32) -> impl Strategy<Value = Op> {
    let mode = prop_oneof![
        Just(Mode::ForcedOpen),
        Just(Mode::ForcedClosed),
        Just(Mode::Observing)
    ];
    prop_oneof![
        40 => Just(Op::Admit),
        40 => (any::<usize>(), 0..6_u8, 0..3_000_u16).prop_map(|(w, how, took)| Op::Settle(w, how, took)),
        5 => any::<usize>().prop_map(Op::Abandon),
        5 => any::<usize>().prop_map(Op::Answered),
        5 => Just(Op::Timeout),
        20 => any::<u16>().prop_map(Op::Pass),
        rare => (mode, prop::option::of(any::<u16>())).prop_map(|(m, t)| Op::Force(m, t)),
        rare => Just(Op::Release),
        rare => Just(Op::Reset),
        rare => any::<u16>().prop_map(Op::OpenUntil),
        rare => Just(Op::ProbeNow),
        rare => Just(Op::Reload),
    ]
}

fn outcome(how: u8) -> Outcome {
    match how {
        0 | 1 => Outcome::Success,
        2 => Outcome::Failure(Failure::Error),
        3 => Outcome::Overload {
            // Longer than a wait, and than what growth leads to: it decides.
            retry_after: Some(Duration::from_secs(45)),
        },
        4 => Outcome::Ignored,
        _ => Outcome::Rejected,
    }
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..12_u32).prop_map(Window::calls),
        (1..60_u32).prop_map(|s| Window::Time(Period::secs(s))),
    ]
}

fn trip() -> impl Strategy<Value = Trip> {
    let share = || (0..=100_u8).prop_map(Ratio::percent);
    prop_oneof![
        (1..5_u32).prop_map(Trip::consecutive),
        (1..5_u32, 1..20_u32).prop_map(|(n, s)| Trip::streak(n, Period::secs(s))),
        (1..5_u32, 1..60_u32).prop_map(|(n, s)| Trip::in_window(n, Period::secs(s))),
        (share(), 1..10_u32, window()).prop_map(|(p, n, w)| Trip::rate_of(p, n, w)),
        (1..3_u32, share(), 1..10_u32, window()).prop_map(|(s, p, n, w)| Trip::slow(
            Period::secs(s),
            p,
            n,
            w
        )),
    ]
}

fn half_open() -> impl Strategy<Value = HalfOpen> {
    let deadline = Period::millis(10_000);
    prop_oneof![
        (1..4_u32, 1..4_u32, 0..6_u32)
            .prop_map(move |(at_once, n, of)| HalfOpen::new(at_once, n).out_of(of)),
        (1..5_u32, 0..=100_u8).prop_map(|(n, p)| HalfOpen::ratio(n, Ratio::percent(p))),
    ]
    .prop_map(move |half_open| half_open.deadline(deadline))
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    let trips = prop::collection::vec(trip(), 1..4);
    let ramp = prop::option::of((0..=100_u8, 1..40_u32));
    let longest_hint = prop_oneof![Just(30_u32), Just(60)];
    let grows = prop::option::of(prop_oneof![Just(25_u32), Just(70)]);
    let all = (trips, half_open(), grows, ramp, longest_hint);
    all.prop_map(|(trips, half_open, grows, ramp, longest_hint)| {
        let mut trips = trips.into_iter();
        let config = BreakerConfig::new(trips.next().unwrap());
        let config = trips.fold(config, BreakerConfig::or);
        let config = config
            .open_for(Period::secs(20))
            .longest_hint(Period::secs(longest_hint))
            .half_open(half_open);
        let config = match grows {
            Some(longest) => config.growing(Factor::TWO, Period::secs(longest)),
            None => config,
        };
        match ramp {
            Some((from, secs)) => {
                config.ramp(Ramp::linear(Ratio::percent(from), Period::secs(secs)))
            }
            None => config,
        }
    })
}

const DEADLINE: u64 = 10_000;

/// A result that counted, in the state that is.
#[derive(Clone, Copy)]
struct Seen {
    at: u64,
    failed: bool,
    took: u64,
}

/// A probe that is out.
struct Out {
    id: usize,
    at: u64,
    answered: bool,
}

/// The naive model, in milliseconds.
struct Model {
    config: BreakerConfig,
    state: State,
    until: u64,
    rounds: u32,
    seen: Vec<Seen>,
    /// Where in `seen` the window of the failure rate, of slowness and of the other trips begins.
    began: [usize; 2],
    /// Where failures in a row, and those within a time, begin to count: after settings that did not count them.
    run_began: usize,
    recent_began: usize,
    probes: Vec<Out>,
    mode: Option<(Mode, u64)>,
    generation: u64,
    crossed: bool,
    ramp: Option<u64>,
    credit: f64,
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap()
}

impl Model {
    fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            until: 0,
            rounds: 0,
            seen: vec![],
            began: [0; 2],
            run_began: 0,
            recent_began: 0,
            probes: vec![],
            mode: None,
            generation: 0,
            crossed: false,
            ramp: None,
            credit: 0.0,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.seen.clear();
        self.began = [0; 2];
        self.run_began = 0;
        self.recent_began = 0;
        self.probes.clear();
        self.crossed = false;
        self.ramp = None;
        self.credit = 0.0;
        if state == State::Closed {
            self.rounds = 0;
        }
    }

    fn open(&mut self, hint: Option<Duration>, now: u64) {
        let base = millis(self.config.opening());
        let longest = millis(self.config.longest().get()).max(base);
        let mut wait = base;
        if let Some(factor) = self.config.growth() {
            for _ in 0..self.rounds.min(10) {
                let grown = Duration::from_millis(wait).mul_f64(factor.get());
                wait = millis(grown).min(longest);
            }
        }
        let hint = hint
            .map_or(0, millis)
            .min(millis(self.config.patience().get()));
        self.enter(State::Open);
        self.until = now + wait.max(hint);
    }

    fn time(&mut self, now: u64) {
        if let Some((mode, until)) = self.mode
            && until <= now
        {
            self.mode = None;
            if mode != Mode::ForcedOpen {
                self.enter(State::Closed);
            }
            return;
        }
        self.ramp = self.ramp.filter(|_| self.share(now).is_some());
        while self.state == State::HalfOpen
            && let Some(first) = self.probes.first()
            && now >= first.at + DEADLINE
        {
            if !self.probes.remove(0).answered {
                self.rounds += 1;
                self.open(None, now);
                return;
            }
            self.probed(false, 0, None, now);
        }
    }

    fn forced(&self) -> Option<Mode> {
        self.mode.map(|(mode, _)| mode)
    }

    /// The share that a ramp admits now, `None` when there is none or it is over.
    fn share(&self, now: u64) -> Option<f64> {
        let (ramp, since) = (self.config.readmission()?, self.ramp?);
        (now < since + millis(ramp.length().get()))
            .then(|| ramp.share(Duration::from_millis(now - since)).get())
    }

    fn admit(&mut self, id: usize, now: u64) -> bool {
        self.time(now);
        match self.forced() {
            Some(Mode::ForcedOpen) => return false,
            Some(_) => return true,
            None => {}
        }
        match self.state {
            State::Closed => match self.share(now) {
                Some(share) => {
                    self.credit += share;
                    let admitted = self.credit >= 1.0;
                    self.credit -= if admitted { 1.0 } else { 0.0 };
                    admitted
                }
                None => true,
            },
            State::Open if now < self.until => false,
            _ => {
                if self.state == State::Open {
                    self.enter(State::HalfOpen);
                }
                let half_open = self.config.probing();
                let at_once = half_open.at_once().get() as usize;
                let of = half_open.verdict().probes().get() as usize;
                let place = self.probes.len() < at_once && self.seen.len() + self.probes.len() < of;
                if place {
                    self.probes.push(Out {
                        id,
                        at: now,
                        answered: false,
                    });
                }
                place
            }
        }
    }

    fn settle(&mut self, id: usize, admitted: u64, outcome: Outcome, took: u64, now: u64) {
        if admitted != self.generation {
            return;
        }
        self.time(now);
        if admitted != self.generation {
            return;
        }
        let probe = self.probes.iter().position(|probe| probe.id == id);
        if let Some(place) = probe {
            self.probes.remove(place);
        }
        if !outcome.counts() || self.forced() == Some(Mode::ForcedClosed) {
            return;
        }
        let (failed, hint) = (outcome.is_failure(), outcome.retry_after());
        match self.state {
            State::Closed => {
                self.seen.push(Seen {
                    at: now,
                    failed,
                    took,
                });
                let tripped = self.config.trips().any(|trip| self.tripped(trip, now));
                if self.forced() == Some(Mode::Observing) {
                    self.crossed = tripped;
                } else if tripped {
                    self.open(hint, now);
                }
            }
            State::HalfOpen if probe.is_some() => self.probed(failed, took, hint, now),
            _ => {}
        }
    }

    fn slow(&self, took: u64) -> bool {
        self.config
            .trips()
            .any(|trip| matches!(trip, Trip::Slow { after, .. } if took > millis(after.get())))
    }

    fn probed(&mut self, failed: bool, took: u64, hint: Option<Duration>, now: u64) {
        self.seen.push(Seen {
            at: now,
            failed,
            took,
        });
        let count = |f: &dyn Fn(&Seen) -> bool| {
            u32::try_from(self.seen.iter().filter(|s| f(s)).count()).unwrap()
        };
        let all = count(&|_| true);
        let over =
            |hits: u32, ratio: Ratio| hits > 0 && f64::from(hits) >= ratio.get() * f64::from(all);
        let closes = match self.config.probing().verdict() {
            Verdict::Ratio { probes, .. } if all < probes.get() => return,
            Verdict::Ratio { ratio, .. } => {
                let slow = self.config.trips().any(|trip| match trip {
                    Trip::Slow { ratio, .. } => over(count(&|s| self.slow(s.took)), ratio),
                    _ => false,
                });
                !over(count(&|s| s.failed), ratio) && !slow
            }
            Verdict::Successes { needed, of } => {
                let bad = count(&|s| s.failed || self.slow(s.took));
                if bad > of.get() - needed.get() {
                    false
                } else if all - bad >= needed.get() {
                    true
                } else {
                    return;
                }
            }
            _ => unreachable!("a verdict that the strategy does not make"),
        };
        if closes {
            self.enter(State::Closed);
            self.ramp = self.config.readmission().map(|_| now);
        } else {
            self.rounds += 1;
            self.open(hint, now);
        }
    }

    /// The failures in a row, the latest first.
    fn run(&self) -> Vec<Seen> {
        let seen = self.seen.get(self.run_began..).unwrap();
        let run = seen.iter().rev().take_while(|s| s.failed);
        run.copied().collect()
    }

    fn tripped(&self, trip: Trip, now: u64) -> bool {
        let last = self.seen.last().copied().unwrap();
        let share = |ratio: Ratio, min: u32, window: Window, began, hit: &dyn Fn(&Seen) -> bool| {
            let seen = self.seen.get(began..).unwrap();
            let live: Vec<_> = match window {
                Window::Calls(n) => {
                    let from = seen.len().saturating_sub(n.get() as usize);
                    seen.get(from..).unwrap().to_vec()
                }
                Window::Time(period) => {
                    // Ten buckets, aligned to the clock's origin, as the rule says.
                    let width = millis(period.get()) / 10;
                    let live = |at: u64| now / width - at / width < 10;
                    seen.iter().copied().filter(|s| live(s.at)).collect()
                }
                _ => unreachable!("a window that the strategy does not make"),
            };
            let hits = live.iter().filter(|s| hit(s)).count();
            hits > 0 && live.len() >= min as usize && hits as f64 >= ratio.get() * live.len() as f64
        };
        match trip {
            Trip::Consecutive(limit) => self.run().len() >= limit.get() as usize,
            Trip::Streak { failures, spanning } => {
                let run = self.run();
                run.len() >= failures.get() as usize
                    && now - run.last().unwrap().at >= millis(spanning.get())
            }
            Trip::InWindow { failures, window } => {
                let from = now.saturating_sub(millis(window.get()));
                let live = |s: &&Seen| s.failed && s.at >= from;
                let seen = self.seen.get(self.recent_began..).unwrap();
                last.failed && seen.iter().filter(live).count() >= failures.get() as usize
            }
            Trip::Rate {
                ratio,
                min_calls,
                window,
            } => share(ratio, min_calls.get(), window, self.began[0], &|s| s.failed),
            Trip::Slow {
                after,
                ratio,
                min_calls,
                window,
            } => share(ratio, min_calls.get(), window, self.began[1], &|s| {
                s.took > millis(after.get())
            }),
            _ => unreachable!("a trip that the strategy does not make"),
        }
    }
}

fn tick(millis: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(millis)
}

fn run(config: BreakerConfig, other: BreakerConfig, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut breaker = Breaker::new(config);
    let mut model = Model::new(config);
    let mut out: Vec<(usize, Permit, u64)> = vec![];
    let (mut now, mut id) = (0_u64, 0_usize);
    for op in ops {
        let len = out.len().max(1);
        match op {
            Op::Admit => {
                let admission = breaker.admit(tick(now));
                prop_assert_eq!(admission.verdict.is_ok(), model.admit(id, now));
                match admission.verdict {
                    Ok(permit) => out.push((id, permit, model.generation)),
                    Err(rejected) => {
                        let endless = model.mode == Some((Mode::ForcedOpen, u64::MAX));
                        prop_assert_eq!(rejected.hint().is_none(), endless);
                        if model.state == State::Open && model.mode.is_none() {
                            let left = Duration::from_millis(model.until - now);
                            prop_assert_eq!(rejected.hint(), Some(left));
                        }
                    }
                }
                id += 1;
            }
            Op::Settle(which, how, took) if !out.is_empty() => {
                let (id, permit, admitted) = out.swap_remove(which % len);
                let took = u64::from(took);
                let last = Duration::from_millis(took);
                let _ = breaker.settle_after(permit, outcome(how), last, tick(now));
                model.settle(id, admitted, outcome(how), took, now);
            }
            Op::Abandon(which) if !out.is_empty() => {
                let (id, permit, admitted) = out.swap_remove(which % len);
                breaker.abandon(permit);
                if admitted == model.generation {
                    model.probes.retain(|probe| probe.id != id);
                }
            }
            Op::Answered(which) if !out.is_empty() => {
                let (id, permit, admitted) = out.get(which % len).unwrap();
                breaker.answered(permit);
                if *admitted == model.generation {
                    for probe in model.probes.iter_mut().filter(|probe| probe.id == *id) {
                        probe.answered = true;
                    }
                }
            }
            Op::Settle(..) | Op::Abandon(_) | Op::Answered(_) => {}
            Op::Timeout => {
                let _ = breaker.handle_timeout(tick(now));
                model.time(now);
            }
            Op::Pass(millis) => now += u64::from(millis),
            Op::Force(mode, lasting) => {
                let until = lasting.map(|lasting| now + u64::from(lasting) + 1);
                let end = until.map_or(Tick::NEVER, tick);
                let _ = breaker.force(mode, end, tick(now));
                model.mode = Some((mode, until.unwrap_or(u64::MAX)));
                model.enter(if mode == Mode::ForcedOpen {
                    State::Open
                } else {
                    State::Closed
                });
                model.until = now;
            }
            Op::Release => {
                let _ = breaker.release_command(tick(now));
                if let Some((mode, _)) = model.mode.take()
                    && mode != Mode::ForcedOpen
                {
                    model.enter(State::Closed);
                }
            }
            Op::Reset => {
                let _ = breaker.reset(tick(now));
                model.mode = None;
                model.enter(State::Closed);
            }
            Op::OpenUntil(left) => {
                let until = now + u64::from(left);
                let _ = breaker.open_until(tick(until), tick(now));
                model.mode = None;
                if model.state != State::Open {
                    model.enter(State::Open);
                }
                model.until = until;
            }
            Op::ProbeNow => {
                let _ = breaker.probe_now(tick(now));
                model.mode = model.mode.filter(|(mode, _)| *mode != Mode::ForcedOpen);
                if model.state == State::Open {
                    model.enter(State::HalfOpen);
                }
            }
            Op::Reload => {
                let next = if model.config == config {
                    other
                } else {
                    config
                };
                breaker.reload(next);
                reload(&mut model, next);
            }
        }
        prop_assert_eq!(breaker.state(), model.state);
        prop_assert_eq!(breaker.mode(), model.forced());
        prop_assert_eq!(breaker.probes(), model.probes.len());
    }
    Ok(())
}

fn reload(model: &mut Model, next: BreakerConfig) {
    let find = |config: &BreakerConfig, slow: bool| {
        config.trips().find_map(|trip| match trip {
            Trip::Rate { window, .. } if !slow => Some((window, None)),
            Trip::Slow { window, after, .. } if slow => Some((window, Some(after))),
            _ => None,
        })
    };
    for (place, slow) in [(0, false), (1, true)] {
        if find(&model.config, slow) != find(&next, slow) {
            model.began[place] = model.seen.len();
        }
    }
    model.ramp = model.ramp.filter(|_| next.readmission().is_some());
    let both = |kind: fn(&Trip) -> bool| {
        model.config.trips().any(|trip| kind(&trip)) && next.trips().any(|trip| kind(&trip))
    };
    if !both(|trip| matches!(trip, Trip::Consecutive(_) | Trip::Streak { .. })) {
        model.run_began = model.seen.len();
    }
    if !both(|trip| matches!(trip, Trip::InWindow { .. })) {
        model.recent_began = model.seen.len();
    }
    // It knows the moments of as many failures as the trip needs.
    for trip in next.trips() {
        if let Trip::InWindow { failures, .. } = trip {
            let seen = model.seen.iter().enumerate().skip(model.recent_began);
            let failed: Vec<_> = seen.filter(|(_, s)| s.failed).map(|(i, _)| i).collect();
            let known = failed.len().saturating_sub(failures.get() as usize);
            model.recent_began = failed.get(known).copied().unwrap_or(model.seen.len());
        }
    }
    if model.state == State::HalfOpen
        && (model.config.probing().verdict() != next.probing().verdict()
            || find(&model.config, true) != find(&next, true))
    {
        model.seen.clear();
    }
    model.config = next;
}

proptest! {
    #[test]
    fn a_breaker_does_what_its_model_does(
        config in config(), other in config(), ops in prop::collection::vec(op(1), 1..300),
    ) {
        run(config, other, ops)?;
    }
}

/// A service whose calls end when they are told to.
#[derive(Clone, Default)]
struct Gate {
    results: Arc<Mutex<Vec<Option<Outcome>>>>,
}

struct Waiting {
    gate: Gate,
    place: usize,
}

impl Service<()> for Gate {
    type Response = Outcome;
    type Error = BoxError;
    type Future = Waiting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Waiting {
        let mut results = self.results.lock().unwrap();
        results.push(None);
        Waiting {
            gate: self.clone(),
            place: results.len() - 1,
        }
    }
}

impl Future for Waiting {
    type Output = Result<Outcome, BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.gate.results.lock().unwrap()[self.place];
        result.map_or(Poll::Pending, |outcome| Poll::Ready(Ok(outcome)))
    }
}

fn as_told(result: Result<&Outcome, &BoxError>) -> Outcome {
    result.copied().unwrap_or(Outcome::Rejected)
}

/// The layer, with its paths outside of the lock, beside the machine that is asked everything.
async fn layer_beside_machine(
    config: BreakerConfig,
    other: BreakerConfig,
    ops: Vec<Op>,
) -> Result<(), TestCaseError> {
    let layer = BreakerLayer::seeded("props", config, 0).classify(as_told);
    let handle = layer.handle();
    let gate = Gate::default();
    let mut service = layer.layer(gate.clone());
    let mut machine = Breaker::new(config);
    let mut out = vec![];
    let mut current = config;
    let mut cx = Context::from_waker(Waker::noop());
    let order = || Order::new("props", "because");
    for op in ops {
        let now = mainstay::rt::now();
        let len = out.len().max(1);
        match op {
            Op::Admit => {
                // As the layer does: readiness tells the machine the time.
                prop_assert!(service.poll_ready(&mut cx).is_ready());
                let place = gate.results.lock().unwrap().len();
                let mut call = Box::pin(service.call(()));
                let verdict = machine.admit(now).verdict;
                let refused = call.as_mut().poll(&mut cx).is_ready();
                prop_assert_eq!(refused, verdict.is_err());
                if let Ok(permit) = verdict {
                    // A call counts as fast that came before the settings that time calls.
                    let timed = current
                        .trips()
                        .any(|trip| matches!(trip, Trip::Slow { .. }));
                    out.push((call, place, permit, timed.then_some(now)));
                }
            }
            Op::Settle(which, how, _) if !out.is_empty() => {
                let (mut call, place, permit, since) = out.swap_remove(which % len);
                gate.results.lock().unwrap()[place] = Some(outcome(how));
                prop_assert!(call.as_mut().poll(&mut cx).is_ready());
                let took = since.map_or(Duration::ZERO, |since| now.since(since));
                let _ = machine.settle_after(permit, outcome(how), took, now);
            }
            Op::Abandon(which) if !out.is_empty() => {
                let (call, _, permit, _) = out.swap_remove(which % len);
                drop(call);
                machine.abandon(permit);
            }
            Op::Pass(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
            Op::Force(mode, lasting) => {
                let lasting = lasting.map(|lasting| Period::millis(u32::from(lasting) + 1));
                let until = lasting.map_or(Tick::NEVER, |lasting| now + lasting.get());
                let order = lasting.map_or(order(), |lasting| order().lasting(lasting));
                handle.force(mode, order);
                let _ = machine.force(mode, until, now);
            }
            Op::Release => {
                handle.release(order());
                let _ = machine.release_command(now);
            }
            Op::Reset => {
                handle.reset(order());
                let _ = machine.reset(now);
            }
            Op::OpenUntil(left) => {
                let until = now + Duration::from_millis(left.into());
                handle.open_until(until, order());
                let _ = machine.open_until(until, now);
            }
            Op::ProbeNow => {
                handle.probe_now(order());
                let _ = machine.probe_now(now);
            }
            Op::Reload => {
                current = if current == config { other } else { config };
                handle.reload(current);
                machine.reload(current);
            }
            Op::Timeout | Op::Settle(..) | Op::Abandon(_) | Op::Answered(_) => {}
        }
        // Looked at the machine's side only now, so that the layer is not helped by looks.
        if gate.results.lock().unwrap().len() % 8 == 0 {
            let now = mainstay::rt::now();
            prop_assert_eq!(handle.state(), machine.state());
            prop_assert_eq!(handle.failing(), machine.failing(now));
            prop_assert_eq!(handle.slowness(), machine.slowness(now));
            prop_assert_eq!(handle.failures(), machine.failures(now));
            prop_assert_eq!(handle.probes(), machine.probes());
        }
    }
    let now = mainstay::rt::now();
    let _ = machine.handle_timeout(now);
    prop_assert_eq!(handle.command().map(|(mode, _)| mode), machine.mode());
    prop_assert_eq!(handle.state(), machine.state());
    prop_assert_eq!(handle.failing(), machine.failing(now));
    // All permits come back, however the calls end.
    drop(out);
    prop_assert_eq!(handle.probes(), 0);
    Ok(())
}

proptest! {
    #[test]
    fn the_layer_does_what_the_machine_does(
        config in config(), other in config(), ops in prop::collection::vec(op(1), 1..200),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(layer_beside_machine(config, other, ops))?;
    }
}
