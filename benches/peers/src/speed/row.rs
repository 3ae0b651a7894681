//! What is measured: groups of rows, each a way to make calls.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::Runtime;
use tokio::task::unconstrained;
use tower::{Service, ServiceExt as _};

/// Rows that wrap the same service.
pub struct Group {
    pub title: &'static str,
    /// The bare call, whose cost is taken off every other row.
    pub bare: Row,
    pub rows: Vec<Row>,
}

/// How a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Ours, which peers are compared with.
    Ours,
    /// A peer that does the same work.
    Peer,
    /// Leaves out part of the work, for scale.
    Less,
}

pub struct Row {
    pub name: &'static str,
    pub who: Who,
    /// What it does besides, or leaves out.
    pub remark: &'static str,
    /// What one thread runs, made on that thread.
    pub make: Box<dyn Fn() -> Run + Send + Sync>,
}

/// Makes so many calls.
pub type Run = Box<dyn FnMut(&Runtime, u32)>;

impl Row {
    /// Calls through a service, of which each thread has a clone.
    ///
    /// A call that is pending is polled again at once: a turn of the runtime would cost more than any layer. Hence
    /// without tokio's budget, which would run out.
    pub fn service<S>(who: Who, name: &'static str, service: S) -> Self
    where
        S: Service<u64> + Clone + Send + 'static,
    {
        let service = Mutex::new(service);
        Self::new(who, name, move || {
            let mut service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::new(move |runtime, n| {
                runtime.block_on(unconstrained(async {
                    for i in 0..n {
                        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                        if ready.is_ok() {
                            let mut call = pin!(service.call(i.into()));
                            drop(black_box(poll_fn(|cx| again(call.as_mut(), cx)).await));
                        }
                    }
                }));
            })
        })
    }

    /// Calls through a service that waits for a timer, and so for the runtime.
    pub fn waiting<S>(who: Who, name: &'static str, service: S) -> Self
    where
        S: Service<u64> + Clone + Send + Sync + 'static,
    {
        Self::shared(who, name, service, async |service: &S, n| {
            drop(black_box(service.clone().oneshot(n).await));
        })
    }

    /// Calls through what is no service: `call` makes one, with what all threads share.
    pub fn shared<T, F>(who: Who, name: &'static str, shared: T, call: F) -> Self
    where
        T: Send + Sync + 'static,
        F: AsyncFn(&T, u64) + Clone + Send + Sync + 'static,
    {
        let shared = Arc::new(shared);
        Self::new(who, name, move || {
            let (shared, call) = (Arc::clone(&shared), call.clone());
            Box::new(move |runtime, n| {
                runtime.block_on(async {
                    for i in 0..n {
                        call(&shared, i.into()).await;
                    }
                });
            })
        })
    }

    fn new(who: Who, name: &'static str, make: impl Fn() -> Run + Send + Sync + 'static) -> Self {
        Self {
            name,
            who,
            remark: "",
            make: Box::new(make),
        }
    }

    pub const fn remark(mut self, remark: &'static str) -> Self {
        self.remark = remark;
        self
    }
}

/// Polls until it is ready.
fn again<F: Future>(mut call: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
    }
}
