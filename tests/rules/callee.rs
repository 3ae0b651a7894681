//! The callee of these tests: does what it is told, and notes how it is treated.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::error::{AsRejected, LayerKind, Reason, Rejected, TimedOut};
use mainstay::outcome::{Classify, Failure, Outcome};
use mainstay::rng::Rng;
use tower::{Service, ServiceExt};

/// What a call fails with: the callee's own words, and those of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Down,
    /// Asks to come back after so long.
    Busy(Duration),
    /// The request was wrong, which says nothing about the callee.
    Wrong,
    Refused(Rejected),
    TimedOut(TimedOut),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected)
    }
}

impl From<TimedOut> for Fault {
    fn from(timed_out: TimedOut) -> Self {
        Self::TimedOut(timed_out)
    }
}

impl AsRejected for Fault {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Refused(rejected) => Some(*rejected),
            Self::Down | Self::Busy(_) | Self::Wrong | Self::TimedOut(_) => None,
        }
    }
}

impl Fault {
    /// Why it was refused; `None` if the callee said it.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.as_rejected().map(|rejected| rejected.reason())
    }
}

/// Knows all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judge;

impl Classify<u32, Fault> for Judge {
    fn classify(&self, result: Result<&u32, &Fault>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(Fault::Down) => Outcome::Failure(Failure::Error),
            Err(Fault::Busy(after)) => Outcome::Overload {
                retry_after: Some(*after),
            },
            Err(Fault::Wrong) => Outcome::Ignored,
            Err(Fault::Refused(_)) => Outcome::Rejected,
            Err(Fault::TimedOut(_)) => Outcome::Failure(Failure::Timeout),
        }
    }
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Answer,
    Fail,
    Busy(Duration),
    Wrong,
    /// As a layer further down would refuse it.
    Refused,
    Hang,
    PanicInCall,
    PanicInPoll,
    AnswerAfter(Duration),
    FailAfter(Duration),
    WrongAfter(Duration),
}

impl Turn {
    /// One of those that a bad day has.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let time = Duration::from_millis(rng.next_u64() % 700);
        match rng.next_u64() % 14 {
            0..=3 => Self::Answer,
            4 | 5 => Self::AnswerAfter(time),
            6 => Self::Fail,
            7 | 8 => Self::FailAfter(time),
            9 => Self::Busy(time),
            10 => Self::WrongAfter(time),
            11 => Self::Hang,
            12 => Self::PanicInCall,
            _ => Self::PanicInPoll,
        }
    }
}

enum Script {
    Always(Turn),
    Drawn(Rng),
}

struct State {
    script: Mutex<Script>,
    waiting: Mutex<Waiting>,
    calls: AtomicU32,
    in_flight: AtomicU32,
    asked: AtomicU64,
}

struct Waiting {
    ready: bool,
    wakers: Vec<Waker>,
}

/// Clones are the same callee. Its answer is the request.
#[derive(Clone)]
pub(crate) struct Callee {
    state: Arc<State>,
}

impl Callee {
    pub(crate) fn new(turn: Turn) -> Self {
        Self::of(Script::Always(turn))
    }

    /// Each call goes as chance has it.
    pub(crate) fn drawing(rng: Rng) -> Self {
        Self::of(Script::Drawn(rng))
    }

    fn of(script: Script) -> Self {
        let waiting = Waiting {
            ready: true,
            wakers: Vec::new(),
        };
        let state = State {
            script: Mutex::new(script),
            waiting: Mutex::new(waiting),
            calls: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            asked: AtomicU64::new(0),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// From now on every call goes so.
    pub(crate) fn set(&self, turn: Turn) {
        *self.state.script.lock().unwrap() = Script::Always(turn);
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        let mut waiting = self.state.waiting.lock().unwrap();
        waiting.ready = ready;
        if ready {
            let wakers = std::mem::take(&mut waiting.wakers);
            drop(waiting);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// Calls whose future exists.
    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    /// How often it was asked whether it is ready.
    pub(crate) fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// How many services and calls hold on to it.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    fn next(&self) -> Turn {
        match &mut *self.state.script.lock().unwrap() {
            Script::Always(turn) => *turn,
            Script::Drawn(rng) => Turn::draw(rng),
        }
    }
}

struct InFlight(Callee);

impl InFlight {
    fn new(callee: Callee) -> Self {
        callee.state.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(callee)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Without the panic hook, which would fill the output.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("told to panic"))
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<u32, Fault>> + Send>>;

impl Service<u32> for Callee {
    type Response = u32;
    type Error = Fault;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.state.asked.fetch_add(1, Ordering::SeqCst);
        let mut waiting = self.state.waiting.lock().unwrap();
        if waiting.ready {
            return Poll::Ready(Ok(()));
        }
        if !waiting
            .wakers
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            waiting.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn call(&mut self, request: u32) -> Answer {
        self.state.calls.fetch_add(1, Ordering::SeqCst);
        let turn = self.next();
        if turn == Turn::PanicInCall {
            panic_quietly();
        }
        let in_flight = InFlight::new(self.clone());
        // Counted from the call, whenever it is first polled.
        let called = tokio::time::Instant::now();
        let after = move |time| tokio::time::sleep_until(called + time);
        Box::pin(async move {
            let _in_flight = in_flight;
            match turn {
                Turn::Answer => {}
                Turn::Fail => return Err(Fault::Down),
                Turn::Busy(after) => return Err(Fault::Busy(after)),
                Turn::Wrong => return Err(Fault::Wrong),
                Turn::Refused => {
                    return Err(Rejected::new(LayerKind::Rate, Reason::RateLimit).into());
                }
                Turn::Hang => std::future::pending().await,
                Turn::PanicInCall | Turn::PanicInPoll => panic_quietly(),
                Turn::AnswerAfter(time) => after(time).await,
                Turn::FailAfter(time) => {
                    after(time).await;
                    return Err(Fault::Down);
                }
                Turn::WrongAfter(time) => {
                    after(time).await;
                    return Err(Fault::Wrong);
                }
            }
            Ok(request)
        })
    }
}

/// A call that was made as a service may be: when it is ready.
pub(crate) async fn start<S>(service: &mut S, request: u32) -> Pin<Box<S::Future>>
where
    S: Service<u32, Error = Fault>,
{
    Box::pin(service.ready().await.unwrap().call(request))
}

/// One call from its beginning to its end.
pub(crate) async fn ask<S>(service: &S, request: u32) -> Result<S::Response, S::Error>
where
    S: Service<u32> + Clone,
{
    service.clone().oneshot(request).await
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(future).poll(&mut cx)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
