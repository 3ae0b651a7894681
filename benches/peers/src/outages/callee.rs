//! The callee: a discrete-event model that knows, when an attempt arrives, when and how it will be answered.
//!
//! A callee with servers works first come, first served. It is never told that a caller has gone: an attempt that was
//! given up keeps its place in the queue and its server, which is what makes overload last. A callee with a slope has
//! no queue; everything takes longer the more is under way (Brooker's model of contention).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay::error::{AsRejected, Rejected, TimedOut};
use mainstay::rng::Rng;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::entrants::Client;

/// Microseconds since the run began.
pub type Micros = u64;

pub const SECOND: Micros = 1_000_000;
const MILLI: Micros = 1_000;

/// An error or a refusal costs the callee this much, and no server.
const FAST: Micros = MILLI;

/// One request: its number, and which of the client instances makes it.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub id: u32,
    pub client: u16,
}

/// A good answer, and how long the callee worked for it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub work: Micros,
}

/// How a call fails, in the words of an error type that a user of any entrant would write.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 500.
    Down,
    /// 429 or 503, with or without Retry-After.
    Busy(Option<Duration>),
    /// 504 of a hop in between.
    Gateway,
    /// A refusal of the caller's own stack.
    Refused(Rejected),
    /// The attempt was given up.
    Late,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected)
    }
}

impl From<TimedOut> for Fault {
    fn from(_: TimedOut) -> Self {
        Self::Late
    }
}

impl AsRejected for Fault {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Refused(rejected) => Some(*rejected),
            Self::Down | Self::Busy(_) | Self::Gateway | Self::Late => None,
        }
    }
}

/// What the callee can do while nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// How many requests are worked on at a time; none for a callee without a queue.
    pub servers: Option<usize>,
    /// How many wait at most; more are refused with 503.
    pub queue: usize,
    /// Median of the service time, which is lognormal with sigma 0.5.
    pub median: Micros,
    /// Added for every request that is already under way.
    pub slope: Micros,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// This share of attempts gets an error at once.
    Errors(f64),
    /// The first attempt gets an error, and no other.
    Once,
    /// No answer ever comes.
    Hang,
    /// The service takes so many times as long.
    Slow(f64),
    /// The service of one call in a hundred takes so many times as long.
    Tail(f64),
    /// 429 with this Retry-After, at once.
    Busy(Duration),
}

/// Trouble from a moment to another.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    pub from: Micros,
    pub to: Micros,
    pub trouble: Trouble,
}

/// A restart with empty caches: at first everything takes `1 / share` times as long, then less with each answer.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    pub from: Micros,
    pub share: f64,
    /// As many answers later everything is as fast as before.
    pub answers: f64,
}

/// What one attempt will come to.
#[derive(Clone, Copy, Debug)]
struct Reply {
    /// When; `None` for a hang.
    at: Option<Micros>,
    result: Result<Answer, Kind>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Down,
    Busy(Option<Duration>),
}

/// An attempt as the callee saw it, kept where hints are judged.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub at: Micros,
    pub client: u16,
    /// The request had been told to wait until later.
    pub early_request: bool,
    /// The client had been told to wait until later, on behalf of this or another request.
    pub early_client: bool,
}

/// What the callee remembers of a run.
#[derive(Debug, Default)]
pub struct Seen {
    /// Attempts per tenth of a second.
    pub tenths: Vec<u32>,
    /// How long it worked, in all.
    pub work: Micros,
    /// By request: when its first attempt arrived is the caller's business; how many came is this.
    pub tries: Vec<u8>,
    pub attempts: Vec<Attempt>,
}

struct State {
    seed: u64,
    model: Model,
    episodes: Vec<Episode>,
    cold: Option<Cold>,
    /// When each busy server is free again.
    busy: BinaryHeap<Reverse<Micros>>,
    /// When those who wait will be served; in order, since the queue is one.
    waiting: VecDeque<Micros>,
    /// Since the restart.
    answers: f64,
    once_done: bool,
    /// By request and by client: the moment before which it was told not to come back.
    request_hints: Vec<Micros>,
    client_hints: Vec<Micros>,
    keeps_attempts: bool,
    seen: Seen,
}

impl State {
    fn forget(&mut self, now: Micros) {
        while self.waiting.front().is_some_and(|start| *start <= now) {
            self.waiting.pop_front();
        }
        while self.busy.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.busy.pop();
        }
    }

    /// What an attempt that arrives now will come to; nothing changes yet.
    fn foresee(&self, id: u32, attempt: u32, now: Micros) -> Reply {
        let key = (u64::from(id) << 8 | u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::new(self.seed ^ key).fork();
        let luck = rng.unit();
        let fast = |kind| Reply {
            at: Some(now + FAST),
            result: Err(kind),
        };
        let mut factor = 1.0;
        for episode in &self.episodes {
            if now < episode.from || now >= episode.to {
                continue;
            }
            match episode.trouble {
                Trouble::Errors(share) if luck < share => return fast(Kind::Down),
                Trouble::Once if !self.once_done => return fast(Kind::Down),
                Trouble::Errors(_) | Trouble::Once => {}
                Trouble::Hang => {
                    return Reply {
                        at: None,
                        result: Err(Kind::Down),
                    };
                }
                Trouble::Slow(times) => factor *= times,
                Trouble::Tail(times) if luck < 0.01 => factor *= times,
                Trouble::Tail(_) => {}
                Trouble::Busy(hint) => return fast(Kind::Busy(Some(hint))),
            }
        }
        if let Some(cold) = self.cold
            && now >= cold.from
        {
            let warm = (self.answers / cold.answers).min(1.0);
            factor /= cold.share + (1.0 - cold.share) * warm;
        }
        let normal =
            (-2.0 * (1.0 - rng.unit()).ln()).sqrt() * (std::f64::consts::TAU * rng.unit()).cos();
        let service = (self.model.median as f64 * (0.5 * normal).exp() * factor) as Micros;
        let (start, work) = match self.model.servers {
            None => (now, service + self.model.slope * self.busy.len() as u64),
            Some(servers) if self.busy.len() < servers => (now, service),
            Some(_) => {
                if self.waiting.len() >= self.model.queue {
                    return fast(Kind::Busy(None));
                }
                let free = self.busy.peek().map_or(now, |Reverse(end)| *end);
                (free.max(now), service)
            }
        };
        Reply {
            at: Some(start + work),
            result: Ok(Answer { work }),
        }
    }

    fn arrive(&mut self, ask: Ask, skip: u32, now: Micros) -> Reply {
        self.forget(now);
        let id = ask.id as usize;
        grow(&mut self.seen.tries, id);
        grow(&mut self.request_hints, id);
        grow(&mut self.client_hints, ask.client.into());
        let tenth = (now / (SECOND / 10)) as usize;
        grow(&mut self.seen.tenths, tenth);
        self.seen.tenths[tenth] += 1;
        self.seen.tries[id] = self.seen.tries[id].saturating_add(1);
        if self.keeps_attempts {
            self.seen.attempts.push(Attempt {
                at: now,
                client: ask.client,
                early_request: now < self.request_hints[id],
                early_client: now < self.client_hints[usize::from(ask.client)],
            });
        }
        let attempt = u32::from(self.seen.tries[id]) + skip;
        let reply = self.foresee(ask.id, attempt, now);
        match (reply.at, reply.result) {
            (Some(end), Ok(Answer { work })) => {
                self.seen.work += work;
                self.answers += if self.cold.is_some_and(|cold| now >= cold.from) {
                    1.0
                } else {
                    0.0
                };
                if self.model.servers == Some(self.busy.len()) {
                    self.busy.pop();
                    self.waiting.push_back(end - work);
                }
                self.busy.push(Reverse(end));
            }
            (Some(at), Err(Kind::Busy(Some(hint)))) => {
                let until = at + hint.as_micros() as Micros;
                self.request_hints[id] = until;
                self.client_hints[usize::from(ask.client)] = until;
            }
            (Some(_), Err(Kind::Down)) => self.once_done = true,
            _ => {}
        }
        reply
    }
}

fn grow<T: Clone + Default>(list: &mut Vec<T>, index: usize) {
    if list.len() <= index {
        list.resize(index + 1 + index / 4, T::default());
    }
}

/// The callee of one run; clones are the same callee.
#[derive(Clone)]
pub struct Callee {
    state: Arc<Mutex<State>>,
    start: Instant,
}

impl Callee {
    pub fn new(
        seed: u64,
        model: Model,
        episodes: Vec<Episode>,
        cold: Option<Cold>,
        keeps_attempts: bool,
    ) -> Self {
        let state = State {
            seed: Rng::new(seed).fork().next_u64(),
            model,
            episodes,
            cold,
            busy: BinaryHeap::new(),
            waiting: VecDeque::new(),
            answers: 0.0,
            once_done: false,
            request_hints: Vec::new(),
            client_hints: Vec::new(),
            keeps_attempts,
            seen: Seen::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            start: Instant::now(),
        }
    }

    pub fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    pub fn at(&self, at: Micros) -> Instant {
        self.start + Duration::from_micros(at)
    }

    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.lock().seen)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, ask: Ask, skip: u32) -> Pending {
        let reply = self.lock().arrive(ask, skip, self.now());
        Pending {
            sleep: reply
                .at
                .map(|at| Box::pin(tokio::time::sleep_until(self.at(at)))),
            result: reply.result,
        }
    }

    /// For the oracle: the best of the next `attempts` attempts, sent, if it is answered well within `limit`.
    pub fn send_if_good(&self, ask: Ask, attempts: u32, limit: Micros) -> Option<Pending> {
        let now = self.now();
        let skip = {
            let mut state = self.lock();
            state.forget(now);
            (0..attempts).find(|skip| {
                let reply = state.foresee(ask.id, 1 + skip, now);
                reply.result.is_ok() && reply.at.is_some_and(|at| at <= now + limit)
            })?
        };
        Some(self.send(ask, skip))
    }
}

/// An attempt under way.
pub struct Pending {
    sleep: Option<std::pin::Pin<Box<Sleep>>>,
    result: Result<Answer, Kind>,
}

impl Future for Pending {
    type Output = Result<Answer, Fault>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.result;
        match self.sleep.as_mut().map(|sleep| sleep.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(result.map_err(|kind| match kind {
                Kind::Down => Fault::Down,
                Kind::Busy(hint) => Fault::Busy(hint),
            })),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

/// What a client calls: the callee, or a service in between that is a client itself.
#[derive(Clone)]
pub enum Backend {
    Callee(Callee),
    Hop(Arc<dyn Client>),
}

impl Service<Ask> for Backend {
    type Response = Answer;
    type Error = Fault;
    type Future = BackendFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> BackendFuture {
        match self {
            Self::Callee(callee) => BackendFuture::Callee(callee.send(ask, 0)),
            Self::Hop(client) => BackendFuture::Hop(client.call(ask)),
        }
    }
}

/// An attempt at either.
pub enum BackendFuture {
    Callee(Pending),
    Hop(super::entrants::Call),
}

impl Future for BackendFuture {
    type Output = Result<Answer, Fault>;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Callee(pending) => std::pin::Pin::new(pending).poll(cx),
            Self::Hop(call) => call
                .as_mut()
                .poll(cx)
                .map(super::entrants::End::over_the_wire),
        }
    }
}
