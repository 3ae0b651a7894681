//! The adaptive limit with its default settings before callees of many kinds, in virtual time and without a runtime:
//! the two machines, a stream of requests that nobody holds back, retries with a budget, and a callee that is never
//! told that a caller has gone.
//!
//! What is asserted is the worst of several seeds. `-- --nocapture` prints each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test panics to fail, and its numbers are small"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, Change, Sample};
use mainstay::limit::concurrency::{Admission, Concurrency, ConcurrencyConfig, Left, Ticket};
use mainstay::num::Ratio;
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{Budget, BudgetConfig};
use mainstay::rng::Rng;
use mainstay::time::Tick;

/// Microseconds since the run began.
type Micros = u64;

const SECOND: Micros = 1_000_000;
const ATTEMPTS: u32 = 3;

fn tick(at: Micros) -> Tick {
    Tick::from_nanos(at * 1_000)
}

fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.unit()).ln()).sqrt() * (std::f64::consts::TAU * rng.unit()).cos()
}

fn lognormal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

/// 20 ms at the median, as every callee here takes when it is well and idle.
fn usual(rng: &mut Rng, _: Micros) -> f64 {
    lognormal(rng, 20_000.0, 0.5)
}

/// What becomes of an attempt.
#[derive(Clone, Copy)]
enum Fate {
    /// An answer, after a service time in microseconds.
    Answer(f64),
    /// An error, as fast.
    Error(f64),
    Hang,
}

#[derive(Clone)]
struct World {
    seconds: u64,
    /// Requests a second.
    rate: fn(Micros) -> f64,
    fate: fn(&mut Rng, Micros) -> Fate,
    /// So many are worked on at a time, the others queue; `None` for a callee without a queue.
    servers: Option<usize>,
    /// So much longer for every attempt that is under way.
    slope: f64,
    deadline: Micros,
    attempt_timeout: Micros,
    /// So many requests more in the first moment.
    at_once: u32,
    /// So many processes share the load, each with a limit of its own.
    clients: usize,
    config: AdaptiveConfig,
}

/// A thousand requests a second before a callee that has servers to spare.
fn healthy() -> World {
    World {
        seconds: 60,
        rate: |_| 1_000.0,
        fate: |rng, now| Fate::Answer(usual(rng, now)),
        servers: Some(400),
        slope: 0.0,
        deadline: SECOND,
        attempt_timeout: SECOND,
        at_once: 0,
        clients: 1,
        config: AdaptiveConfig::new(),
    }
}

/// Brooker's model of contention: no server is busy, everything takes longer the more is under way.
fn contended(rate: fn(Micros) -> f64) -> World {
    World {
        seconds: 120,
        rate,
        servers: None,
        slope: 15_000.0,
        attempt_timeout: SECOND / 4,
        ..healthy()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    offered: u32,
    good: u32,
    held_off: u32,
    /// Of those, how many found the line full.
    no_room: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    WaitOver(usize),
    AttemptOver { request: usize, answered: bool },
    Retry(usize),
    DeadlineOver(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits(Ticket),
    Runs,
    Over,
}

struct Request {
    at: Micros,
    started: Micros,
    attempts: u32,
    stage: Stage,
}

struct Client {
    line: HashMap<Ticket, usize>,
    seats: Concurrency,
    adaptive: Adaptive,
    budget: Budget,
}

impl Client {
    fn new(config: AdaptiveConfig) -> Self {
        let adaptive = Adaptive::new(config, Tick::ZERO);
        Self {
            line: HashMap::new(),
            seats: Concurrency::new(seating(&adaptive)),
            adaptive,
            budget: Budget::new(BudgetConfig::new(Ratio::percent(20)), Tick::ZERO),
        }
    }
}

struct Run {
    world: World,
    now: Micros,
    agenda: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    events: u64,
    arrivals: Rng,
    luck: Rng,
    requests: Vec<Request>,
    clients: Vec<Client>,
    /// When each attempt that the callee works on ends.
    busy: BinaryHeap<Reverse<Micros>>,
    seconds: Vec<Second>,
    changes: Vec<Change>,
}

impl Run {
    fn of(world: &World, seed: u64) -> Self {
        let clients = (0..world.clients).map(|_| Client::new(world.config));
        let mut run = Self {
            now: 0,
            agenda: BinaryHeap::new(),
            events: 0,
            arrivals: Rng::new(seed),
            luck: Rng::new(seed ^ 0xabcd),
            requests: Vec::new(),
            clients: clients.collect(),
            busy: BinaryHeap::new(),
            seconds: vec![Second::default(); world.seconds as usize + 2],
            changes: Vec::new(),
            world: world.clone(),
        };
        for _ in 0..world.at_once {
            run.request();
        }
        run.plan(0, Event::Arrive);
        while let Some(Reverse((now, _, event))) = run.agenda.pop() {
            if now >= run.world.seconds * SECOND {
                break;
            }
            run.now = now;
            run.happens(event);
        }
        run
    }

    fn plan(&mut self, at: Micros, event: Event) {
        self.events += 1;
        self.agenda.push(Reverse((at, self.events, event)));
    }

    /// The client that makes a request.
    fn client(&mut self, request: usize) -> &mut Client {
        let clients = self.clients.len();
        &mut self.clients[request % clients]
    }

    fn second(&mut self) -> &mut Second {
        &mut self.seconds[(self.now / SECOND) as usize]
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::WaitOver(request) => {
                if let Stage::Waits(ticket) = self.requests[request].stage {
                    let client = self.client(request);
                    assert!(matches!(client.seats.leave(ticket), Left::Empty(_)));
                    client.adaptive.held_back();
                    self.requests[request].stage = Stage::Over;
                    self.second().held_off += 1;
                }
            }
            Event::Retry(request) if self.requests[request].stage == Stage::Runs => {
                self.attempt(request);
            }
            Event::AttemptOver { request, answered }
                if self.requests[request].stage == Stage::Runs =>
            {
                if answered {
                    let second = (self.requests[request].at / SECOND) as usize;
                    self.seconds[second].good += 1;
                    self.end(request, Outcome::Success);
                } else if !self.retry(request) {
                    self.end(request, Outcome::Failure(Failure::Error));
                }
            }
            Event::DeadlineOver(request) if self.requests[request].stage == Stage::Runs => {
                self.end(request, Outcome::Failure(Failure::Timeout));
            }
            Event::AttemptOver { .. } | Event::DeadlineOver(_) | Event::Retry(_) => {}
        }
    }

    fn arrive(&mut self) {
        let rate = (self.world.rate)(self.now);
        // A tenth of a second until somebody looks again whether there is any load.
        let gap = if rate > 0.0 {
            -(1.0 - self.arrivals.unit()).ln() / rate * SECOND as f64
        } else {
            SECOND as f64 / 10.0
        };
        self.plan(self.now + 1 + gap as u64, Event::Arrive);
        if rate > 0.0 {
            self.request();
        }
    }

    fn request(&mut self) {
        self.second().offered += 1;
        let request = self.requests.len();
        self.requests.push(Request {
            at: self.now,
            started: 0,
            attempts: 0,
            stage: Stage::Over,
        });
        let (now, deadline) = (tick(self.now), tick(self.now + self.world.deadline));
        let client = self.client(request);
        match client.seats.admit(deadline, now) {
            Admission::Admitted => self.start(request),
            Admission::Waits { ticket, until } => {
                client.adaptive.held_back();
                client.line.insert(ticket, request);
                self.requests[request].stage = Stage::Waits(ticket);
                self.plan(until.as_nanos() / 1_000, Event::WaitOver(request));
            }
            _ => {
                client.adaptive.held_back();
                self.second().held_off += 1;
                self.second().no_room += 1;
            }
        }
    }

    fn start(&mut self, request: usize) {
        self.client(request).budget.deposit();
        let at = self.requests[request].at;
        self.requests[request].stage = Stage::Runs;
        self.requests[request].started = self.now;
        self.plan(at + self.world.deadline, Event::DeadlineOver(request));
        self.attempt(request);
    }

    fn attempt(&mut self, request: usize) {
        self.requests[request].attempts += 1;
        while self
            .busy
            .peek()
            .is_some_and(|Reverse(end)| *end <= self.now)
        {
            self.busy.pop();
        }
        let (end, answered) = match (self.world.fate)(&mut self.luck, self.now) {
            Fate::Hang => (Micros::MAX, false),
            Fate::Error(after) => (self.now + after as u64, false),
            Fate::Answer(service) => {
                let begin = match self.world.servers {
                    Some(servers) if self.busy.len() >= servers => {
                        self.busy.pop().map_or(self.now, |Reverse(end)| end)
                    }
                    _ => self.now,
                };
                let contention = self.world.slope * self.busy.len() as f64;
                let end = begin + (service + contention) as u64;
                self.busy.push(Reverse(end));
                (end, true)
            }
        };
        let given_up = self.now + self.world.attempt_timeout;
        let answered = answered && end <= given_up;
        self.plan(end.min(given_up), Event::AttemptOver { request, answered });
    }

    fn retry(&mut self, request: usize) -> bool {
        let Request { at, attempts, .. } = self.requests[request];
        if attempts >= ATTEMPTS {
            return false;
        }
        let most = 50_000 << (attempts - 1);
        let next = self.now + (self.luck.unit() * f64::from(most)) as u64;
        if next >= at + self.world.deadline || !self.withdraw(request) {
            return false;
        }
        self.plan(next, Event::Retry(request));
        true
    }

    fn end(&mut self, request: usize, outcome: Outcome) {
        let now = tick(self.now);
        self.requests[request].stage = Stage::Over;
        let started = tick(self.requests[request].started);
        let client = self.client(request);
        let sample = Sample::new(started, outcome).in_flight(client.seats.in_flight());
        let mut turns = Vec::from_iter(client.seats.release(now));
        let change = client.adaptive.observe(sample, now);
        client.seats.resize(seating(&client.adaptive));
        turns.extend(std::iter::from_fn(|| client.seats.grant(now)));
        self.changes.extend(change);
        for ticket in turns {
            let client = self.client(request);
            assert_eq!(client.seats.leave(ticket), Left::Admitted);
            if client.seats.waiting() > 0 {
                client.adaptive.held_back();
            }
            let next = client.line.remove(&ticket).unwrap();
            self.start(next);
        }
    }

    fn withdraw(&mut self, request: usize) -> bool {
        let now = tick(self.now);
        self.client(request).budget.withdraw(now)
    }

    fn sum(&self, from: usize, to: usize) -> Second {
        let add = |sum: Second, second: &Second| Second {
            offered: sum.offered + second.offered,
            good: sum.good + second.good,
            held_off: sum.held_off + second.held_off,
            no_room: sum.no_room + second.no_room,
        };
        self.seconds[from..to].iter().fold(Second::default(), add)
    }

    /// Good answers a second from second to second.
    fn good(&self, from: usize, to: usize) -> f64 {
        f64::from(self.sum(from, to).good) / (to - from) as f64
    }

    /// The share of the requests that was refused, or waited in vain.
    fn held_off(&self, from: usize, to: usize) -> f64 {
        let sum = self.sum(from, to);
        f64::from(sum.held_off) / f64::from(sum.offered.max(1))
    }

    fn baseline(&self) -> Duration {
        self.clients[0].adaptive.baseline().unwrap_or_default()
    }
}

fn seating(adaptive: &Adaptive) -> ConcurrencyConfig {
    ConcurrencyConfig::new(adaptive.limit())
        .queue(adaptive.queue())
        .wait(adaptive.config().longest_wait())
        .wait_share(adaptive.patience())
}

/// The runs of some seeds, each with what is looked at.
fn runs(name: &str, world: &World, look: impl Fn(&Run) -> f64) -> Vec<f64> {
    let seen: Vec<f64> = (1..=4).map(|seed| look(&Run::of(world, seed))).collect();
    println!("{name}: {seen:.4?}");
    seen
}

fn least(name: &str, world: &World, look: impl Fn(&Run) -> f64) -> f64 {
    runs(name, world, look)
        .into_iter()
        .fold(f64::INFINITY, f64::min)
}

fn most(name: &str, world: &World, look: impl Fn(&Run) -> f64) -> f64 {
    runs(name, world, look).into_iter().fold(0.0, f64::max)
}

fn ramp(now: Micros) -> f64 {
    if (30 * SECOND..60 * SECOND).contains(&now) {
        80.0
    } else {
        40.0
    }
}

/// Scenario S5. No limit: 0 good answers a second from a second after the load doubled, for ever. The callee cannot
/// answer more than 66.
#[test]
fn a_callee_that_would_collapse_answers_what_it_can() {
    let world = contended(ramp);
    let good = least("ramp, at 80", &world, |run| run.good(30, 60));
    assert!(good >= 50.0, "{good} a second");
    let good = least("ramp, settled at 80", &world, |run| run.good(35, 60));
    assert!(good >= 54.0, "{good} a second");
    let good = least("ramp, at 40 again", &world, |run| run.good(61, 120));
    assert!(good >= 38.0, "{good} a second");
}

#[test]
fn a_callee_that_is_overloaded_from_the_first_second_answers_what_it_can() {
    let world = World {
        seconds: 300,
        ..contended(|_| 80.0)
    };
    let good = least("80 from the start", &world, |run| run.good(10, 300));
    assert!(good >= 54.0, "{good} a second");
    let baseline = most("baseline in ms", &world, |run| {
        run.baseline().as_secs_f64() * 1e3
    });
    assert!(baseline < 90.0, "{baseline} ms: it chases its own queue");
}

/// Forty servers that are asked for half as much again as they can do.
#[test]
fn a_queue_in_the_callee_stays_short_for_as_long_as_overload_lasts() {
    let world = World {
        seconds: 90,
        rate: |_| 2_500.0,
        servers: Some(40),
        attempt_timeout: SECOND / 4,
        ..healthy()
    };
    let capacity = 40.0 / 0.022_66;
    let good = least("40 servers", &world, |run| run.good(5, 90));
    assert!(good >= 0.97 * capacity, "{good} of {capacity} a second");
    let baseline = most("baseline in ms", &world, |run| {
        run.baseline().as_secs_f64() * 1e3
    });
    assert!(baseline < 30.0, "{baseline} ms: it chases its own queue");
}

/// Nobody knows of the others, and each of their limits is below what brings the callee down. Without limits it answers
/// nothing any more, at 40 a second either.
#[test]
fn clients_that_share_a_callee_keep_it_from_collapse() {
    let ramp = World {
        clients: 4,
        ..contended(ramp)
    };
    let good = least("ramp, 4 clients, at 40 again", &ramp, |run| {
        run.good(70, 120)
    });
    assert!(good >= 38.0, "{good} a second");
    let servers = World {
        seconds: 120,
        clients: 4,
        rate: |_| 2_500.0,
        servers: Some(40),
        attempt_timeout: SECOND / 4,
        ..healthy()
    };
    let good = least("40 servers, 4 clients", &servers, |run| run.good(5, 120));
    assert!(good >= 1_500.0, "{good} a second");
}

#[test]
fn a_healthy_callee_is_not_throttled() {
    let held_off = most("1000 a second", &healthy(), |run| run.held_off(0, 60));
    assert!(held_off <= 0.001, "{held_off}");
    let nobody_waits = World {
        config: AdaptiveConfig::new().queue(0),
        ..healthy()
    };
    let held_off = most("1000 a second, no queue", &nobody_waits, |run| {
        run.held_off(0, 60)
    });
    assert!(held_off <= 0.001, "{held_off}");
    let busier = World {
        seconds: 30,
        rate: |_| 5_000.0,
        ..healthy()
    };
    let held_off = most("5000 a second", &busier, |run| run.held_off(1, 30));
    assert!(held_off <= 0.001, "{held_off}");
}

#[test]
fn pauses_of_the_callee_cost_little() {
    let world = World {
        // All that is under way in a fifth of a second of every ten waits for its end.
        fate: |rng, now| {
            let service = usual(rng, now);
            let (at, end) = (now % (10 * SECOND), (now % (10 * SECOND)) as f64 + service);
            let paused = if at < SECOND / 5 {
                (SECOND / 5 - at) as f64
            } else if end > (10 * SECOND) as f64 {
                (SECOND / 5) as f64
            } else {
                0.0
            };
            Fate::Answer(service + paused)
        },
        ..healthy()
    };
    let held_off = most("pauses", &world, |run| run.held_off(0, 60));
    assert!(held_off <= 0.002, "{held_off}");
}

#[test]
fn a_callee_that_becomes_slower_for_good_is_learned_anew() {
    let drift = World {
        seconds: 120,
        fate: |rng, now| {
            let passed = now.saturating_sub(30 * SECOND).min(60 * SECOND);
            let factor = 1.0 + 2.0 * passed as f64 / (60 * SECOND) as f64;
            Fate::Answer(factor * usual(rng, now))
        },
        ..healthy()
    };
    let held_off = most("three times in a minute", &drift, |run| {
        run.held_off(0, 120)
    });
    assert!(held_off <= 0.002, "{held_off}");
    // At once, and to more than the limit has room for: 160 are under way then.
    let step = World {
        fate: |rng, now| {
            let factor = if now < 30 * SECOND { 1.0 } else { 8.0 };
            Fate::Answer(factor * lognormal(rng, 20_000.0, 0.3))
        },
        ..healthy()
    };
    let held_off = most("eight times at once", &step, |run| run.held_off(33, 60));
    assert!(held_off <= 0.002, "{held_off}, from three seconds after");
    let held_off = most("eight times at once, in all", &step, |run| {
        run.held_off(30, 60)
    });
    assert!(held_off <= 0.05, "{held_off}");
}

#[test]
fn calls_of_two_kinds_are_not_congestion() {
    let tenth = World {
        fate: |rng, _| {
            let slow = rng.unit() < 0.1;
            Fate::Answer(lognormal(rng, if slow { 200_000.0 } else { 10_000.0 }, 0.3))
        },
        ..healthy()
    };
    let held_off = most("one in ten twenty times as long", &tenth, |run| {
        run.held_off(0, 60)
    });
    assert!(held_off <= 0.001, "{held_off}");
    let half = World {
        fate: |rng, _| {
            let slow = rng.unit() < 0.5;
            Fate::Answer(lognormal(rng, if slow { 100_000.0 } else { 5_000.0 }, 0.3))
        },
        ..healthy()
    };
    let held_off = most("half twenty times as long", &half, |run| {
        run.held_off(0, 60)
    });
    assert!(held_off <= 0.003, "{held_off}");
}

#[test]
fn a_burst_after_a_quiet_night_is_let_in() {
    let idle = World {
        seconds: 140,
        rate: |now| match now / SECOND {
            0..20 => 200.0,
            20..100 => 0.0,
            _ => 1_000.0,
        },
        ..healthy()
    };
    let held_off = most("nothing, then 1000", &idle, |run| run.held_off(100, 140));
    assert!(held_off <= 0.001, "{held_off}");
    let quiet = World {
        rate: |now| if now < 100 * SECOND { 1.0 } else { 1_000.0 },
        ..idle
    };
    let held_off = most("one a second, then 1000", &quiet, |run| {
        run.held_off(100, 140)
    });
    assert!(held_off <= 0.001, "{held_off}");
}

#[test]
fn one_call_a_second_moves_nothing() {
    let world = World {
        seconds: 1_200,
        rate: |_| 1.0,
        ..healthy()
    };
    for seed in 1..=4 {
        let run = Run::of(&world, seed);
        assert_eq!(run.changes, []);
        assert_eq!(run.sum(0, 1_200).held_off, 0);
    }
}

#[test]
fn replicas_that_fail_or_hang_do_not_throttle_the_others() {
    let errors = World {
        fate: |rng, now| {
            if rng.unit() < 0.2 {
                return Fate::Error(1_000.0);
            }
            Fate::Answer(usual(rng, now))
        },
        ..healthy()
    };
    let held_off = most("a fifth fail", &errors, |run| run.held_off(0, 60));
    assert!(held_off <= 0.001, "{held_off}");
    let hangs = World {
        attempt_timeout: SECOND / 4,
        fate: |rng, now| {
            if rng.unit() < 0.2 {
                return Fate::Hang;
            }
            Fate::Answer(usual(rng, now))
        },
        ..healthy()
    };
    let held_off = most("a fifth hang", &hangs, |run| run.held_off(1, 60));
    assert!(held_off <= 0.002, "{held_off}");
}

#[test]
fn a_callee_that_hung_gets_its_calls_back() {
    let world = World {
        seconds: 60,
        attempt_timeout: SECOND / 4,
        fate: |rng, now| {
            if (20 * SECOND..40 * SECOND).contains(&now) {
                return Fate::Hang;
            }
            Fate::Answer(usual(rng, now))
        },
        ..healthy()
    };
    let good = least("after a hang", &world, |run| run.good(44, 60));
    assert!(good >= 950.0, "{good} a second from four seconds after");
    let offered = most("let through meanwhile", &world, |run| {
        let sum = run.sum(24, 40);
        1.0 - f64::from(sum.held_off) / f64::from(sum.offered)
    });
    assert!(offered <= 0.05, "{offered} of the load");
}

/// A callee of calls that take 5 s and that could serve hundreds at once, called by a service that has just started,
/// with the deadline of the standard stack.
fn slow() -> World {
    World {
        rate: |_| 0.0,
        servers: Some(2_000),
        deadline: 30 * SECOND,
        attempt_timeout: 30 * SECOND,
        fate: |rng, _| Fate::Answer(lognormal(rng, 5_000_000.0, 0.1)),
        ..healthy()
    }
}

/// Before the limit took one round trip to double: 51 of 200, 420 of 1,000, and of 40 a second a third was held off.
#[test]
fn slow_calls_right_after_the_start_are_not_held_off() {
    let at_once = World {
        at_once: 200,
        ..slow()
    };
    let held_off = most("200 of 5 s", &at_once, |run| run.held_off(0, 60));
    assert!(held_off <= 0.0, "{held_off}");
    let good = least("200 of 5 s", &at_once, |run| f64::from(run.sum(0, 60).good));
    assert!(good >= 200.0, "{good}");
    let shorter = World {
        at_once: 1_000,
        fate: |rng, _| Fate::Answer(lognormal(rng, 1_000_000.0, 0.1)),
        ..slow()
    };
    let good = least("1000 of 1 s", &shorter, |run| {
        f64::from(run.sum(0, 60).good)
    });
    assert!(good >= 1_000.0, "{good}");
    let full = most("1000 of 1 s, the line", &shorter, |run| {
        f64::from(run.sum(0, 60).no_room)
    });
    assert!(full <= 0.0, "{full} find no room in the line");
    let steady = World {
        rate: |_| 40.0,
        ..slow()
    };
    let held_off = most("40 a second of 5 s", &steady, |run| run.held_off(0, 60));
    assert!(held_off <= 0.0, "{held_off}");
}

/// The first calls that are answered are the fast ones, and must not be taken for what a call takes.
#[test]
fn slow_calls_that_vary_are_not_held_off_either() {
    let vary = World {
        rate: |_| 40.0,
        fate: |rng, _| Fate::Answer(lognormal(rng, 5_000_000.0, 0.5)),
        ..slow()
    };
    let held_off = most("40 a second, varying", &vary, |run| run.held_off(0, 60));
    assert!(held_off <= 0.0, "{held_off}");
    let kinds = World {
        rate: |_| 40.0,
        fate: |rng, _| {
            let slow = rng.unit() < 0.5;
            let median = if slow { 8_000_000.0 } else { 1_000_000.0 };
            Fate::Answer(lognormal(rng, median, 0.2))
        },
        ..slow()
    };
    println!(
        "KINDS {:?}",
        (1..=100)
            .map(|s| (Run::of(&kinds, s).held_off(0, 60) * 100.0) as u32)
            .collect::<Vec<_>>()
    );
    println!(
        "VARY {:?}",
        (1..=100)
            .map(|s| (Run::of(&vary, s).held_off(0, 60) * 100.0) as u32)
            .collect::<Vec<_>>()
    );
}

/// Ten calls a second are what it can do, and four times as many are asked of it from the first second on.
#[test]
fn a_slow_callee_that_is_overloaded_from_the_start_is_spared() {
    let world = World {
        seconds: 120,
        rate: |_| 40.0,
        servers: Some(50),
        ..slow()
    };
    let good = least("50 servers of 5 s", &world, |run| run.good(0, 110));
    assert!(good >= 0.87 * 10.0, "{good} a second");
    let limit = most("50 servers of 5 s, the limit", &world, |run| {
        let limits = run.changes.iter().map(|change| change.to().get());
        f64::from(limits.max().unwrap_or(20))
    });
    assert!(limit <= 120.0, "{limit}");
}
