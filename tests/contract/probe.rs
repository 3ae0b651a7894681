//! A service that can be told how to behave and notes how it is treated.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mainstay::error::{AsRejected, Rejected, TimedOut};
use tower::Service;

pub(crate) type Text = Full<Bytes>;
pub(crate) type Req = Request<Text>;

pub(crate) fn request() -> Req {
    Request::new(Text::default())
}

/// What the probe and the layers above it fail with: an error type that a user could have, without boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The probe's own word.
    Callee(u32),
    Rejected(Rejected),
    TimedOut(TimedOut),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
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
            Self::Rejected(rejected) => Some(*rejected),
            Self::Callee(_) | Self::TimedOut(_) => None,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

/// How the next calls behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Answer,
    /// Wakes itself and answers when polled again.
    PendOnce,
    /// Pends until [`Probe::release`].
    Hang,
    Fail(u32),
    PanicInCall,
    PanicInPoll,
}

/// The service below the layers; clones look at the same state, and each has its own readiness.
pub(crate) struct Probe {
    state: Arc<State>,
    /// Whether this clone said that it is ready and was not called since.
    promised: bool,
}

pub(crate) struct State {
    plan: Mutex<Plan>,
    calls: AtomicU32,
    polls: AtomicU32,
    in_flight: AtomicU32,
    uninvited: AtomicU32,
}

struct Plan {
    mode: Mode,
    ready: bool,
    ready_waker: Option<Waker>,
    call_waker: Option<Waker>,
}

impl Probe {
    pub(crate) fn new(mode: Mode) -> Self {
        let plan = Plan {
            mode,
            ready: true,
            ready_waker: None,
            call_waker: None,
        };
        let state = State {
            plan: Mutex::new(plan),
            calls: AtomicU32::new(0),
            polls: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            uninvited: AtomicU32::new(0),
        };
        Self {
            state: Arc::new(state),
            promised: false,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.plan.lock().unwrap().mode = mode;
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        let mut plan = self.state.plan.lock().unwrap();
        plan.ready = ready;
        if ready && let Some(waker) = plan.ready_waker.take() {
            waker.wake();
        }
    }

    /// Lets the calls that hang answer.
    pub(crate) fn release(&self) {
        let mut plan = self.state.plan.lock().unwrap();
        plan.mode = Mode::Answer;
        if let Some(waker) = plan.call_waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn polls(&self) -> u32 {
        self.state.polls.load(Ordering::SeqCst)
    }

    /// Calls whose future exists.
    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    /// Calls of a clone that had not said that it is ready.
    pub(crate) fn uninvited(&self) -> u32 {
        self.state.uninvited.load(Ordering::SeqCst)
    }

    /// How many probes and futures share the state.
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.state)
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            promised: false,
        }
    }
}

impl<B> Service<Request<B>> for Probe {
    type Response = Response<Text>;
    type Error = Fault;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut plan = self.state.plan.lock().unwrap();
        if plan.ready {
            self.promised = true;
            Poll::Ready(Ok(()))
        } else {
            self.promised = false;
            plan.ready_waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    fn call(&mut self, _request: Request<B>) -> Answer {
        if !std::mem::take(&mut self.promised) {
            self.state.uninvited.fetch_add(1, Ordering::SeqCst);
        }
        self.state.calls.fetch_add(1, Ordering::SeqCst);
        let mode = self.state.plan.lock().unwrap().mode;
        assert_ne!(mode, Mode::PanicInCall, "told to panic in call");
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        Answer {
            state: Arc::clone(&self.state),
            mode,
            polled: false,
        }
    }
}

/// The probe's future.
pub(crate) struct Answer {
    state: Arc<State>,
    mode: Mode,
    polled: bool,
}

impl Future for Answer {
    type Output = Result<Response<Text>, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.state.polls.fetch_add(1, Ordering::SeqCst);
        let first = !std::mem::replace(&mut self.polled, true);
        match self.mode {
            Mode::Fail(n) => return Poll::Ready(Err(Fault::Callee(n))),
            Mode::PanicInPoll | Mode::PanicInCall => panic!("told to panic in poll"),
            Mode::PendOnce if first => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Mode::Hang => {
                let mut plan = self.state.plan.lock().unwrap();
                if plan.mode == Mode::Hang {
                    plan.call_waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            Mode::Answer | Mode::PendOnce => {}
        }
        Poll::Ready(Ok(Response::new(Text::default())))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A waker that counts how often it is woken.
#[derive(Default)]
pub(crate) struct Bell(AtomicU64);

impl Bell {
    pub(crate) fn rung(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A bell and the waker that rings it.
pub(crate) fn bell() -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell::default());
    (Arc::clone(&bell), Waker::from(bell))
}
