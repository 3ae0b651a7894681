//! Random operations on the limits of the calls under way: the concurrency machine against a naive model, its layer
//! against the machine, and what the adaptive machine must keep whatever it is told.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::error::{Reason, Rejected};
use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, AdaptiveLayer, Bounds, Cause, Sample};
use mainstay::limit::concurrency::{
    Admission, Concurrency, ConcurrencyConfig, ConcurrencyLayer, Left, Ticket,
};
use mainstay::num::{Factor, Period, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::scope::Scope;
use mainstay::time::Tick;
use proptest::prelude::*;
use tower::{BoxError, Layer, Service, service_fn};

#[derive(Clone, Debug)]
enum Op {
    /// A call whose deadline is so many milliseconds away, or never.
    Admit(Option<u16>),
    /// One of those under way is over.
    Release(usize),
    /// One of those in the line goes, granted or not.
    Leave(usize),
    /// Time passes; those whose time is over leave.
    Pass(u16),
    Resize {
        limit: u32,
        queue: u32,
        wait: u32,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::option::of(0..200_u16).prop_map(Op::Admit),
        4 => any::<usize>().prop_map(Op::Release),
        2 => any::<usize>().prop_map(Op::Leave),
        2 => (0..150_u16).prop_map(Op::Pass),
        1 => (1..6_u32, 0..5_u32, 1..200_u32)
            .prop_map(|(limit, queue, wait)| Op::Resize { limit, queue, wait }),
    ]
}

fn config(limit: u32, queue: u32, wait: u32) -> ConcurrencyConfig {
    ConcurrencyConfig::new(count(limit))
        .queue(queue)
        .wait(Period::millis(wait))
}

fn at(millis: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(millis)
}

/// Everybody in one list: who is under way, and who waits until when.
#[derive(Default)]
struct Model {
    limit: usize,
    queue: usize,
    wait: u64,
    under_way: usize,
    line: VecDeque<(u64, u64)>,
    /// Granted, and not yet come for it.
    granted: Vec<u64>,
    next: u64,
}

impl Model {
    fn resize(&mut self, limit: u32, queue: u32, wait: u32) {
        self.limit = limit as usize;
        self.queue = queue as usize;
        self.wait = wait.into();
    }

    /// `None` refused, `Some(None)` admitted, `Some(Some(id))` waits.
    fn admit(&mut self, deadline: u64, now: u64) -> Option<Option<u64>> {
        if self.line.is_empty() && self.under_way < self.limit {
            self.under_way += 1;
            return Some(None);
        }
        let until = deadline.min(now + self.wait);
        if self.line.len() >= self.queue || until <= now {
            return None;
        }
        self.next += 1;
        self.line.push_back((self.next, until));
        Some(Some(self.next))
    }

    fn grant(&mut self) -> Option<u64> {
        if self.under_way >= self.limit {
            return None;
        }
        let (id, _) = self.line.pop_front()?;
        self.under_way += 1;
        self.granted.push(id);
        Some(id)
    }

    fn release(&mut self) -> Option<u64> {
        self.under_way -= 1;
        self.grant()
    }

    /// Whether it had a place.
    fn leave(&mut self, id: u64) -> bool {
        if let Some(place) = self.granted.iter().position(|granted| *granted == id) {
            self.granted.swap_remove(place);
            return true;
        }
        self.line.retain(|(waits, _)| *waits != id);
        false
    }
}

proptest! {
    #[test]
    fn the_machine_is_the_naive_model(ops in proptest::collection::vec(op(), 1..200)) {
        let mut machine = Concurrency::new(config(2, 2, 100));
        let mut model = Model::default();
        model.resize(2, 2, 100);
        let mut now = 0;
        let mut running = 0_usize;
        let mut line: Vec<(Ticket, u64)> = Vec::new();
        let known = |line: &[(Ticket, u64)], ticket: Option<Ticket>| {
            ticket.map(|ticket| line.iter().find(|(t, _)| *t == ticket).unwrap().1)
        };
        for op in ops {
            match op {
                Op::Admit(deadline) => {
                    let deadline = deadline.map_or(u64::MAX / 2_000_000, |d| now + u64::from(d));
                    let got = match machine.admit(at(deadline), at(now)) {
                        Admission::Admitted => {
                            running += 1;
                            Some(None)
                        }
                        Admission::Waits { ticket, until } => {
                            prop_assert!(until > at(now));
                            line.push((ticket, model.next + 1));
                            Some(Some(model.next + 1))
                        }
                        Admission::Refused(rejected) => {
                            prop_assert_eq!(rejected.reason(), Reason::ConcurrencyLimit);
                            None
                        }
                        other => panic!("{other:?}"),
                    };
                    prop_assert_eq!(got, model.admit(deadline, now));
                }
                Op::Release(_) if running > 0 => {
                    running -= 1;
                    let got = machine.release(at(now));
                    prop_assert_eq!(known(&line, got), model.release());
                }
                Op::Leave(which) if !line.is_empty() => {
                    let (ticket, id) = line.swap_remove(which % line.len());
                    let left = machine.leave(ticket);
                    let granted = model.leave(id);
                    prop_assert_eq!(left == Left::Admitted, granted);
                    running += usize::from(granted);
                    prop_assert!(matches!(machine.leave(ticket), Left::Empty(_)), "once");
                }
                Op::Release(_) | Op::Leave(_) => {}
                Op::Pass(millis) => {
                    now += u64::from(millis);
                    while let Some(ticket) = machine.handle_timeout(at(now)) {
                        let place = line.iter().position(|(t, _)| *t == ticket).unwrap();
                        let (_, id) = line.swap_remove(place);
                        let until = model.line.iter().find(|(waits, _)| *waits == id);
                        prop_assert!(until.is_some_and(|(_, until)| *until <= now));
                        prop_assert!(matches!(machine.leave(ticket), Left::Empty(_)));
                        model.leave(id);
                    }
                    let next = model.line.iter().map(|(_, until)| at(*until)).min();
                    prop_assert_eq!(machine.poll_timeout(), next);
                }
                Op::Resize { limit, queue, wait } => {
                    machine.resize(config(limit, queue, wait));
                    model.resize(limit, queue, wait);
                    loop {
                        let got = machine.grant(at(now));
                        prop_assert_eq!(known(&line, got), model.grant());
                        if got.is_none() {
                            break;
                        }
                    }
                }
            }
            prop_assert_eq!(machine.in_flight() as usize, model.under_way);
            prop_assert_eq!(machine.waiting() as usize, model.line.len());
            prop_assert_eq!(model.under_way, running + model.granted.len());
        }
    }
}

type Call = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

/// The layer's calls beside the machine's: what one says, the other says.
struct Both {
    machine: Concurrency,
    layer: ConcurrencyLayer,
    calls: Vec<(Stand, Call)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Runs,
    Waits(Ticket),
    Granted(Ticket),
}

impl Both {
    fn poll(call: &mut Call) -> Poll<Result<(), BoxError>> {
        call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Somebody was granted a place: it is polled, and calls.
    fn granted(&mut self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else {
            return;
        };
        let waits = |(stand, _): &&mut (Stand, Call)| *stand == Stand::Waits(ticket);
        self.calls.iter_mut().find(waits).unwrap().0 = Stand::Granted(ticket);
    }

    fn settle(&mut self) {
        for (stand, call) in &mut self.calls {
            if let Stand::Granted(ticket) = *stand {
                assert_eq!(self.machine.leave(ticket), Left::Admitted);
                assert!(Self::poll(call).is_pending());
                *stand = Stand::Runs;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_layer_does_what_the_machine_says(ops in proptest::collection::vec(op(), 1..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let first = config(2, 2, 100);
            let mut both = Both {
                machine: Concurrency::new(first),
                layer: ConcurrencyLayer::new("props", first),
                calls: Vec::new(),
            };
            for op in ops {
                step(&mut both, op).await?;
                let handle = both.layer.handle();
                prop_assert_eq!(handle.in_flight(), both.machine.in_flight());
                prop_assert_eq!(handle.waiting(), both.machine.waiting());
            }
            both.calls.clear();
            let handle = both.layer.handle();
            prop_assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
            Ok(())
        })?;
    }
}

async fn step(both: &mut Both, op: Op) -> Result<(), TestCaseError> {
    let now = mainstay::rt::now();
    match op {
        Op::Admit(deadline) => {
            let deadline = deadline.map_or(Tick::NEVER, |d| now + Duration::from_millis(d.into()));
            let mut service = both.layer.layer(service_fn(|()| async {
                std::future::pending::<Result<(), BoxError>>().await
            }));
            let mut call: Call = Scope::current().until(deadline).enter(|| {
                let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
                assert!(ready.is_ready());
                Box::pin(service.call(()))
            });
            let polled = Both::poll(&mut call);
            match (both.machine.admit(deadline, now), polled) {
                (Admission::Admitted, Poll::Pending) => both.calls.push((Stand::Runs, call)),
                (Admission::Waits { ticket, .. }, Poll::Pending) => {
                    both.calls.push((Stand::Waits(ticket), call));
                }
                (Admission::Refused(mine), Poll::Ready(Err(theirs))) => {
                    prop_assert_eq!(Some(&mine), theirs.downcast_ref::<Rejected>());
                }
                (mine, theirs) => panic!("{mine:?} {theirs:?}"),
            }
        }
        Op::Release(which) | Op::Leave(which) if !both.calls.is_empty() => {
            let place = which % both.calls.len();
            let (stand, call) = both.calls.remove(place);
            drop(call);
            let turn = match stand {
                Stand::Runs => both.machine.release(now),
                Stand::Waits(ticket) => {
                    prop_assert!(matches!(both.machine.leave(ticket), Left::Empty(_)));
                    None
                }
                Stand::Granted(_) => panic!("those were settled"),
            };
            both.granted(turn);
            both.settle();
        }
        Op::Release(_) | Op::Leave(_) => {}
        Op::Pass(millis) => {
            tokio::time::advance(Duration::from_millis(millis.into())).await;
            let now = mainstay::rt::now();
            let mut over = Vec::new();
            while let Some(ticket) = both.machine.handle_timeout(now) {
                // In the order in which the layer's are polled, since each sees the line that the others left.
                over.push(ticket);
                let Left::Empty(mine) = both.machine.leave(ticket) else {
                    panic!("its turn had not come");
                };
                let stand = Stand::Waits(ticket);
                let place = both.calls.iter().position(|(s, _)| *s == stand).unwrap();
                let (_, mut call) = both.calls.remove(place);
                match Both::poll(&mut call) {
                    Poll::Ready(Err(theirs)) => {
                        prop_assert_eq!(Some(&mine), theirs.downcast_ref::<Rejected>());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        Op::Resize { limit, queue, wait } => {
            let config = config(limit, queue, wait);
            both.layer.handle().reload(config);
            both.machine.resize(config);
            while let Some(ticket) = both.machine.grant(now) {
                both.granted(Some(ticket));
            }
            both.settle();
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Told {
    /// Calls that took so many microseconds, one after the other.
    Calls {
        many: u8,
        took: u32,
        outcome: u8,
        in_flight: u32,
        apart: u32,
    },
    Held,
    Idle(u32),
    Pin(u32, u16),
    Release,
    Reload(u32, u32),
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        8 => (any::<u8>(), 0..3_000_000_u32, 0..6_u8, 0..300_u32, 0..50_000_u32).prop_map(
            |(many, took, outcome, in_flight, apart)| Told::Calls { many, took, outcome, in_flight, apart }
        ),
        4 => Just(Told::Held),
        1 => any::<u32>().prop_map(Told::Idle),
        1 => (1..400_u32, any::<u16>()).prop_map(|(limit, millis)| Told::Pin(limit, millis)),
        1 => Just(Told::Release),
        1 => (1..50_u32, 0..300_u32).prop_map(|(least, more)| Told::Reload(least, more)),
    ]
}

proptest! {
    #[test]
    fn an_adaptive_limit_keeps_its_bounds_and_gives_its_reasons(
        told in proptest::collection::vec(told(), 1..120),
        tolerance in 1.0..4.0_f64,
        samples in 1..200_u32,
        window in 1..2_000_u32,
    ) {
        let config = AdaptiveConfig::new()
            .tolerance(Factor::new("tolerance", tolerance).unwrap())
            .samples(count(samples))
            .window(Period::millis(window))
            .relearn(Period::secs(2))
            .queue(1);
        let mut now = at(1_000);
        let mut adaptive = Adaptive::new(config, now);
        for told in told {
            let before = adaptive.limit();
            let mut held = false;
            match told {
                Told::Calls { many, took, outcome, in_flight, apart } => {
                    for _ in 0..many {
                        now = now + Duration::from_micros(apart.into());
                        let started = now.back(Duration::from_micros(took.into()));
                        let outcome = [
                            Outcome::Success,
                            Outcome::Failure(Failure::Error),
                            Outcome::Failure(Failure::Timeout),
                            Outcome::Overload { retry_after: None },
                            Outcome::Ignored,
                            Outcome::Rejected,
                        ][usize::from(outcome)];
                        let before = adaptive.limit();
                        let sample = Sample::new(started, outcome).in_flight(in_flight);
                        let change = adaptive.observe(sample, now);
                        prop_assert_eq!(change.map_or(before, |change| change.to()), adaptive.limit());
                        if let Some(change) = change {
                            prop_assert_eq!((change.from(), change.at()), (before, now));
                            prop_assert!(outcome.counts());
                            let (from, to) = (change.from(), change.to());
                            match change.cause() {
                                Cause::Congested | Cause::Lost | Cause::Measuring => {
                                    prop_assert!(to < from, "{change:?}");
                                }
                                Cause::Demand => prop_assert!(to > from && to.get() <= 2 * from.get()),
                                Cause::Measured => prop_assert!(to >= from),
                                Cause::Unanswered => prop_assert_eq!(to, from),
                                Cause::Released => {}
                                other => panic!("{other:?} is nobody's order"),
                            }
                        }
                    }
                }
                Told::Held => {
                    adaptive.held_back();
                    held = true;
                }
                Told::Idle(millis) => now = now + Duration::from_millis(millis.into()),
                Told::Pin(limit, millis) => {
                    let until = now + Duration::from_millis(millis.into());
                    adaptive.pin(count(limit), until, now);
                    prop_assert_eq!(adaptive.limit(), count(limit));
                }
                Told::Release => {
                    adaptive.release(now);
                    prop_assert_eq!(adaptive.pinned(), None);
                }
                Told::Reload(least, more) => {
                    let bounds = Bounds::between(least, least + more);
                    adaptive.reload(adaptive.config().bounds(bounds), now);
                }
            }
            if held {
                prop_assert_eq!(adaptive.limit(), before, "by itself it moves nothing");
            }
            let range = adaptive.config().range();
            let limit = adaptive.limit();
            if adaptive.pinned().is_none() {
                prop_assert!(limit >= range.least() && limit <= range.most(), "{limit} {range:?}");
                prop_assert!(adaptive.queue() <= range.most().get());
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Open,
    /// One of those under way ends: with an answer, an error, or without its caller.
    End(usize, u8),
    Pass(u8),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Open),
        6 => (any::<usize>(), 0..8_u8).prop_map(|(which, how)| Move::End(which, how)),
        3 => (0..12_u8).prop_map(Move::Pass),
    ]
}

type Door = tokio::sync::oneshot::Sender<Result<(), BoxError>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_layer_moves_as_its_machine_does(
        moves in proptest::collection::vec(moves(), 1..1_500),
        queue in 0..2_u32,
    ) {
        let config = AdaptiveConfig::new()
            .bounds(Bounds::between(1, 12))
            .start(count(4))
            .samples(count(10))
            .window(Period::millis(30))
            .relearn(Period::millis(300))
            .wait(Period::secs(3_600))
            .queue(queue);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let causes = runtime.block_on(shadow(config, moves))?;
        println!("{causes:?}");
    }
}

/// The layer and the two machines side by side; says how the limit moved.
async fn shadow(config: AdaptiveConfig, moves: Vec<Move>) -> Result<Vec<Cause>, TestCaseError> {
    let layer = AdaptiveLayer::new("props", config);
    let handle = layer.handle();
    let mut adaptive = Adaptive::new(config, mainstay::rt::now());
    let mut seats = Concurrency::new(seating(&adaptive));
    let mut running: Vec<(Tick, Call, Door)> = Vec::new();
    let mut line: VecDeque<(Ticket, Call, Door)> = VecDeque::new();
    let mut causes = Vec::new();
    for step in moves {
        let now = mainstay::rt::now();
        match step {
            Move::Open => {
                let (door, opened) = tokio::sync::oneshot::channel();
                let opened = Arc::new(Mutex::new(Some(opened)));
                let mut service = layer.layer(service_fn(move |()| {
                    let opened = opened.lock().unwrap().take();
                    async move { opened.unwrap().await.unwrap() }
                }));
                let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
                prop_assert!(ready.is_ready());
                let mut call: Call = Box::pin(service.call(()));
                let polled = Both::poll(&mut call);
                match seats.admit(Tick::NEVER, now) {
                    Admission::Admitted => running.push((now, call, door)),
                    Admission::Waits { ticket, .. } => {
                        adaptive.held_back();
                        prop_assert!(polled.is_pending());
                        line.push_back((ticket, call, door));
                    }
                    _ => {
                        adaptive.held_back();
                        prop_assert!(polled.is_ready());
                    }
                }
            }
            Move::End(which, how) if !running.is_empty() => {
                let (started, mut call, door) = running.swap_remove(which % running.len());
                let outcome = match how {
                    0 => None,
                    1 => Some(Outcome::Failure(Failure::Error)),
                    _ => Some(Outcome::Success),
                };
                match outcome {
                    None => drop(call),
                    Some(outcome) => {
                        let answer = if outcome == Outcome::Success {
                            Ok(())
                        } else {
                            Err("down".into())
                        };
                        door.send(answer).unwrap();
                        prop_assert!(Both::poll(&mut call).is_ready());
                    }
                }
                let in_flight = seats.in_flight();
                let mut turns = Vec::from_iter(seats.release(now));
                if let Some(outcome) = outcome {
                    let sample = Sample::new(started, outcome).in_flight(in_flight);
                    let change = adaptive.observe(sample, now);
                    causes.extend(change.map(|change| change.cause()));
                    seats.resize(seating(&adaptive));
                    turns.extend(std::iter::from_fn(|| seats.grant(now)));
                }
                for ticket in turns {
                    let (first, mut call, door) = line.pop_front().unwrap();
                    prop_assert_eq!(ticket, first);
                    prop_assert_eq!(seats.leave(ticket), Left::Admitted);
                    if seats.waiting() > 0 {
                        adaptive.held_back();
                    }
                    prop_assert!(Both::poll(&mut call).is_pending());
                    running.push((now, call, door));
                }
            }
            Move::End(..) => {}
            Move::Pass(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
        }
        prop_assert_eq!(handle.limit(), adaptive.limit());
        prop_assert_eq!(handle.last_change(), adaptive.last_change());
        prop_assert_eq!(handle.baseline(), adaptive.baseline());
        prop_assert_eq!(handle.recent(), adaptive.recent());
        prop_assert_eq!(handle.in_flight(), seats.in_flight());
        prop_assert_eq!(handle.waiting(), seats.waiting());
    }
    drop((running, line));
    prop_assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    Ok(causes)
}

fn seating(adaptive: &Adaptive) -> ConcurrencyConfig {
    ConcurrencyConfig::new(adaptive.limit())
        .queue(adaptive.queue())
        .wait(adaptive.config().longest_wait())
        .wait_share(adaptive.patience())
}
