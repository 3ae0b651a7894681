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

/// The future of [`ConcurrencyService`](super::ConcurrencyService).
///
/// # Cancel safety
///
/// Dropping it leaves the line, or drops the call and gives its place back.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req, C, R, U> {
    #[pin]
    state: State<S, Req, S::Future>,
    policy: Policy<C, R, U>,
}

#[pin_project(project = StateProj)]
enum State<S, Req, F> {
    Waiting {
        service: S,
        /// Taken when the service is called.
        request: Option<Req>,
        place: Place,
        /// Made when the wait begins. Outside of the task's budget: the end of a wait must not be held off.
        #[pin]
        sleep: Option<Unconstrained<Sleep>>,
    },
    Called {
        /// Dropped before the seat, which it takes.
        #[pin]
        future: F,
        seat: Option<Seat>,
    },
    Rejected(Option<Rejected>),
}

impl<S: Service<Req>, Req, C, R, U> ResponseFuture<S, Req, C, R, U> {
    pub(super) const fn called(future: S::Future, seat: Seat, policy: Policy<C, R, U>) -> Self {
        let state = State::Called {
            future,
            seat: Some(seat),
        };
        Self { state, policy }
    }

    pub(super) const fn waiting(
        service: S,
        request: Req,
        place: Place,
        policy: Policy<C, R, U>,
    ) -> Self {
        let state = State::Waiting {
            service,
            request: Some(request),
            place,
            sleep: None,
        };
        Self { state, policy }
    }

    pub(super) const fn rejected(rejected: Rejected, policy: Policy<C, R, U>) -> Self {
        let state = State::Rejected(Some(rejected));
        Self { state, policy }
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
                StateProj::Waiting {
                    service,
                    request,
                    place,
                    sleep,
                } => {
                    let next = match ready!(wait(place, sleep, cx)) {
                        Ok(seat) => match request.take() {
                            Some(request) => State::Called {
                                future: service.call(request),
                                seat: Some(seat),
                            },
                            // A call below panicked, and the caller polls on.
                            None => return Poll::Pending,
                        },
                        Err(rejected) => State::Rejected(Some(rejected)),
                    };
                    this.state.set(next);
                    continue;
                }
            };
            let result = ready!(future.poll(cx));
            let outcome = match refuse.rejection(result.as_ref()) {
                Some(_) => Outcome::Rejected,
                None => classify.classify(result.as_ref()),
            };
            return Poll::Ready(match (result, seat.take()) {
                (Ok(response), Some(seat)) => Ok(until.track(response, outcome, seat)),
                (Err(error), Some(seat)) => {
                    seat.settle(outcome);
                    Err(error)
                }
                // Only a future polled after it was ready comes here.
                (result, None) => result.map(|response| until.plain(response)),
            });
        }
    }
}

/// Waits for a seat, as long as the place allows.
fn wait(
    place: &mut Place,
    mut sleep: Pin<&mut Option<Unconstrained<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Seat, Rejected>> {
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

impl<S: Service<Req>, Req, C, R, U> fmt::Debug for ResponseFuture<S, Req, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
