use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;
use tower::Service;

use super::seat::{TenantSeat, Wait};
use crate::breaker::{Ending, Until};
use crate::error::Rejected;
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::rt;
use crate::scope::{self, Scope};

/// The future of [`TenantService`](super::TenantService).
///
/// # Cancel safety
///
/// Dropping it leaves the line, or drops the call and gives its seat back.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req, C, R, U> {
    #[pin]
    pub(super) state: State<S, Req, S::Future>,
    pub(super) classify: C,
    pub(super) refuse: R,
    pub(super) until: U,
}

#[pin_project(project = StateProj)]
pub(super) enum State<S, Req, F> {
    /// Apart from the others, since it is large: a call that need not wait would pay for it whenever its future moves.
    Waiting(Pin<Box<Waiting<S, Req>>>),
    Called {
        /// Dropped before the seat, which it takes.
        #[pin]
        future: F,
        /// Empty once the call is over.
        seat: TenantSeat,
    },
    Rejected(Option<Rejected>),
}

#[pin_project(project = WaitingProj)]
pub(super) struct Waiting<S, Req> {
    service: S,
    /// Taken when the service is called.
    request: Option<Req>,
    wait: Wait,
    /// Made when the wait begins. Outside of the task's budget: the end of a wait must not be held off.
    #[pin]
    sleep: Option<Unconstrained<Sleep>>,
}

/// In the scope of a call that has this seat: what is called there has its tier, and takes no other seat of its pool.
#[inline]
pub(super) fn within(seat: &TenantSeat) -> Option<scope::Within> {
    let (pool, tier) = seat.whose()?;
    let scope = Scope::current().in_tier(tier);
    Some(scope::within(scope, scope::held().with(pool.token())))
}

impl<S, Req> Waiting<S, Req> {
    pub(super) fn boxed(service: S, request: Req, wait: Wait) -> Pin<Box<Self>> {
        Box::pin(Self {
            service,
            request: Some(request),
            wait,
            sleep: None,
        })
    }

    /// Waits for a seat, as long as its place allows.
    fn poll_seat(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<TenantSeat, Rejected>> {
        let WaitingProj {
            wait, mut sleep, ..
        } = self.project();
        if let Poll::Ready(seat) = wait.poll(cx) {
            return Poll::Ready(seat);
        }
        if sleep.is_none() {
            sleep.set(Some(unconstrained(rt::sleep_until(wait.until()))));
        }
        match sleep.as_pin_mut().map(|sleep| sleep.poll(cx)) {
            Some(Poll::Ready(())) => wait.give_up().map_or(Poll::Pending, Poll::Ready),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    /// Calls the service that was taken along. `None` when that was done before, and panicked.
    fn call(self: Pin<&mut Self>, seat: &TenantSeat) -> Option<S::Future>
    where
        S: Service<Req>,
    {
        let WaitingProj {
            service, request, ..
        } = self.project();
        let request = request.take()?;
        let _within = within(seat);
        Some(service.call(request))
    }
}

impl<S, Req, C, R, U> Future for ResponseFuture<S, Req, C, R, U>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error>,
    R: Refuse<S::Response, S::Error>,
    U: Until<S::Response, TenantSeat>,
{
    type Output = Result<U::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let until = this.until;
        loop {
            let (future, seat) = match this.state.as_mut().project() {
                StateProj::Called { future, seat } => (future, seat),
                StateProj::Rejected(rejected) => {
                    return match rejected.take() {
                        Some(rejected) => {
                            Poll::Ready(this.refuse.refuse(rejected).map(|r| until.plain(r)))
                        }
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting(waiting) => {
                    let next = match ready!(waiting.as_mut().poll_seat(cx)) {
                        Ok(seat) => match waiting.as_mut().call(&seat) {
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
            let within = within(seat);
            let result = ready!(future.poll(cx));
            drop(within);
            let outcome = match this.refuse.rejection(result.as_ref()) {
                Some(_) => Outcome::Rejected,
                None => this.classify.classify(result.as_ref()),
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
