use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::Status;

use super::GrpcHealthService;
use crate::health::serving::Serving;
use crate::rt;

/// How many watches there may be, and how many there are.
#[derive(Clone)]
pub(super) struct Places {
    taken: Arc<AtomicU32>,
    most: NonZeroU32,
}

impl Places {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.taken.load(Ordering::Relaxed);
        write!(f, "{taken} of {}", self.most)
    }
}

/// The place of one watch.
pub(super) struct Place(Arc<AtomicU32>);

impl Place {
    pub(super) fn take(places: &Places) -> Option<Self> {
        let one_more = |taken| (taken < places.most.get()).then_some(taken + 1);
        let taken = &places.taken;
        let is_taken = taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        is_taken.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How a service is, and each change. Only the latest is told: a caller that reads slowly holds up nothing.
pub(super) struct Watching {
    served: GrpcHealthService,
    name: String,
    told: Option<Serving>,
    has_ended: bool,
    sleep: Pin<Box<Sleep>>,
    _place: Place,
}

impl Watching {
    pub(super) fn new(served: GrpcHealthService, name: String, place: Place) -> Self {
        Self {
            served,
            name,
            told: None,
            has_ended: false,
            sleep: Box::pin(rt::sleep_until(rt::now())),
            _place: place,
        }
    }
}

impl Stream for Watching {
    type Item = Result<Serving, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            // Before it is looked at, so that who drains in between is seen at the next look.
            let is_draining = self.served.health.is_draining();
            let serving = self.served.serving(&self.name);
            let serving = serving.unwrap_or(Serving::ServiceUnknown);
            if self.told != Some(serving) {
                self.told = Some(serving);
                return Poll::Ready(Some(Ok(serving)));
            }
            if is_draining {
                self.has_ended = true;
                return Poll::Ready(Some(Err(Status::unavailable("the server ends"))));
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let next = rt::now() + self.served.every.get();
            self.sleep = Box::pin(rt::sleep_until(next));
        }
    }
}
