use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;
use tower::Service;

use super::gate::{Place, Seat};
use super::layer::Policy;
use crate::breaker::{Ending, Until};
use crate::error::Rejected;
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::rt;
use crate::scope;

/// The future of [`ConcurrencyService`](super::ConcurrencyService).
///
/// # Cancel safety
///
/// Dropping it leaves the line, or drops the call and gives its place back.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req, C, R, U> {
    #[pin]
    pub(super) state: State<S, Req, S::Future>,
    pub(super) policy: Policy<C, R, U>,
}

#[pin_project(project = StateProj)]
pub(super) enum State<S, Req, F> {
    /// Apart from the others, since it is large: a call that need not wait would pay for it whenever its future moves.
    Waiting(Pin<Box<Wait<S, Req>>>),
    Called {
        /// Dropped before the seat, which it takes.
        #[pin]
        future: F,
        /// Empty once the call is over.
        seat: Seat,
    },
    Rejected(Option<Rejected>),
}

#[pin_project(project = WaitProj)]
pub(super) struct Wait<S, Req> {
    service: S,
    /// Taken when the service is called.
    request: Option<Req>,
    place: Place,
    /// Made when the wait begins. Outside of the task's budget: the end of a wait must not be held off.
    #[pin]
    sleep: Option<Unconstrained<Sleep>>,
}

impl<S, Req> Wait<S, Req> {
    pub(super) fn boxed(service: S, request: Req, place: Place) -> Pin<Box<Self>> {
        Box::pin(Self {
            service,
            request: Some(request),
            place,
            sleep: None,
        })
    }

    /// Waits for a seat, as long as the place allows.
    fn poll_seat(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Seat, Rejected>> {
        let WaitProj {
            place, mut sleep, ..
        } = self.project();
        if let Poll::Ready(seat) = place.poll(cx) {
            return Poll::Ready(Ok(seat));
        }
        if sleep.is_none() {
            sleep.set(Some(unconstrained(rt::sleep_until(place.until()))));
        }
        match sleep.as_pin_mut().map(|sleep| sleep.poll(cx)) {
            Some(Poll::Ready(())) => place.give_up().map_or(Poll::Pending, Poll::Ready),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    /// Calls the service that was taken along. `None` when that was done before, and panicked.
    fn call(self: Pin<&mut Self>) -> Option<S::Future>
    where
        S: Service<Req>,
    {
        let WaitProj {
            service, request, ..
        } = self.project();
        Some(service.call(request.take()?))
    }
}

impl<S, Req, C, R, U> Future for ResponseFuture<S, Req, C, R, U>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error>,
    R: Refuse<S::Response, S::Error>,
    U: Until<S::Response, Seat>,
{
    type Output = Result<U::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Policy {
            classify,
            refuse,
            until,
        } = this.policy;
        loop {
            let (future, seat) = match this.state.as_mut().project() {
                StateProj::Called { future, seat } => (future, seat),
                StateProj::Rejected(rejected) => {
                    return match rejected.take() {
                        Some(rejected) => {
                            Poll::Ready(refuse.refuse(rejected).map(|r| until.plain(r)))
                        }
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting(wait) => {
                    let next = match ready!(wait.as_mut().poll_seat(cx)) {
                        Ok(seat) => match wait.as_mut().call() {
                            Some(future) => State::Called { future, seat },
                            None => return Poll::Pending,
                        },
                        Err(rejected) => State::Rejected(Some(rejected)),
                    };
                    this.state.set(next);
                    continue;
                }
            };
            let _ending = scope::ending();
            let result = ready!(future.poll(cx));
            let outcome = match refuse.rejection(result.as_ref()) {
                Some(_) => Outcome::Rejected,
                None => classify.classify(result.as_ref()),
            };
            let seat = seat.take();
            return Poll::Ready(match result {
                Ok(response) => Ok(until.track(response, outcome, seat)),
                Err(error) => {
                    seat.settle(outcome);
                    Err(error)
                }
            });
        }
    }
}

impl<S: Service<Req>, Req, C, R, U> fmt::Debug for ResponseFuture<S, Req, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
