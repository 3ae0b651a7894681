use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::Status;

use super::GrpcHealthService;
use crate::health::serving::Serving;
use crate::rt;
use crate::time::Tick;

/// How many watches there may be, and how many there are.
#[derive(Clone)]
pub(super) struct Places {
    taken: Arc<AtomicU32>,
    /// How many watches began so far.
    begun: Arc<AtomicU32>,
    most: NonZeroU32,
}

impl Places {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self {
            taken: Arc::default(),
            begun: Arc::default(),
            most,
        }
    }
}

/// How long a watch lives at least, and by how much one lives longer than the one before it, of so many: those that began
/// together do not end together.
const AGE: Duration = Duration::from_secs(3_600);
const STEP: Duration = Duration::from_secs(6);
const STEPS: u32 = 100;

impl Places {
    /// How long the next watch lives.
    fn age(&self) -> Duration {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        AGE + STEP * (number % STEPS)
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
    ends: Tick,
    sleep: Pin<Box<Sleep>>,
    _place: Place,
}

impl Watching {
    pub(super) fn new(served: GrpcHealthService, name: String, place: Place) -> Self {
        let ends = rt::now() + served.places.age();
        Self {
            ends,
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
            if rt::now() >= self.ends {
                self.has_ended = true;
                return Poll::Ready(Some(Err(Status::unavailable("come again"))));
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let next = rt::now() + self.served.every.get();
            self.sleep = Box::pin(rt::sleep_until(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::health::Health;
    use crate::num::count;

    async fn next(watch: &mut Pin<Box<Watching>>) -> Option<Result<Serving, tonic::Code>> {
        let next = poll_fn(|cx| watch.as_mut().poll_next(cx)).await;
        next.map(|next| next.map_err(|status| status.code()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_when_it_is_old() {
        let served = GrpcHealthService::new(Health::builder().build().unwrap());
        let places = Places::new(count(2));
        let watch = || {
            let place = Place::take(&places).unwrap();
            Box::pin(Watching::new(served.clone(), String::new(), place))
        };
        let began = rt::now();
        let (mut first, mut second) = (watch(), watch());
        for watch in [&mut first, &mut second] {
            assert_eq!(next(watch).await, Some(Ok(Serving::Serving)));
        }
        assert_eq!(next(&mut first).await, Some(Err(tonic::Code::Unavailable)));
        assert_eq!(rt::now().since(began), AGE);
        assert_eq!(next(&mut first).await, None);
        assert_eq!(next(&mut second).await, Some(Err(tonic::Code::Unavailable)));
        assert_eq!(rt::now().since(began), AGE + STEP, "not together");
    }
}
