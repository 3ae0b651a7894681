//! The services that the rows wrap: none does anything.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, Ready, poll_fn, ready};
use std::task::Poll;

use mainstay::error::{AsRejected, Rejected, TimedOut};
use tower::{BoxError, Service, service_fn};

/// What a call fails with: an error that costs nothing to make.
#[derive(Clone, Copy, Debug)]
pub enum Down {
    Failed,
    Refused(Rejected),
    TimedOut,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

impl From<Rejected> for Down {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected)
    }
}

impl From<TimedOut> for Down {
    fn from(_: TimedOut) -> Self {
        Self::TimedOut
    }
}

/// Of tower's own layers, whose errors are boxed.
impl From<BoxError> for Down {
    fn from(_: BoxError) -> Self {
        Self::Failed
    }
}

impl AsRejected for Down {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Refused(rejected) => Some(*rejected),
            Self::Failed | Self::TimedOut => None,
        }
    }
}

pub type Answer = Ready<Result<u64, Down>>;

/// Answers at once.
pub fn up() -> impl Service<u64, Response = u64, Error = Down, Future = Answer> + Clone + Send + Sync
{
    service_fn(|n: u64| ready(Ok(n)))
}

/// Fails at once.
pub fn down()
-> impl Service<u64, Response = u64, Error = Down, Future = Answer> + Clone + Send + Sync {
    service_fn(|_: u64| ready(Err(Down::Failed)))
}

/// Answers when it is polled for the second time.
pub fn slow()
-> impl Service<u64, Response = u64, Error = Down, Future: Future + Send> + Clone + Send + Sync {
    service_fn(|n: u64| {
        let mut first = true;
        poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(n))
        })
    })
}

/// Fails every other time that a thread asks.
pub fn fails_once()
-> impl Service<u64, Response = u64, Error = Down, Future = Answer> + Clone + Send + Sync {
    service_fn(|n: u64| ready(every_other(n)))
}

/// See [`fails_once`].
pub fn every_other(n: u64) -> Result<u64, Down> {
    thread_local! {
        static FAILED: Cell<bool> = const { Cell::new(false) };
    }
    let fails = !FAILED.get();
    FAILED.set(fails);
    if fails { Err(Down::Failed) } else { Ok(n) }
}
