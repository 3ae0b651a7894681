use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Sleep;
use tower::Service;

use super::gate::Turn;
use crate::error::Rejected;
use crate::reject::Refuse;
use crate::rt;

/// The future of [`RateService`](super::RateService).
///
/// # Cancel safety
///
/// Dropping it drops the call. While it waits for its turn, dropping it gives its place in the line back.
#[pin_project]
pub struct ResponseFuture<S, Req, T, R>
where
    S: Service<Req>,
{
    #[pin]
    state: State<S, Req, S::Future, T>,
    refuse: R,
}

#[pin_project(project = StateProj)]
enum State<S, Req, F, T> {
    Called {
        #[pin]
        future: F,
    },
    Waiting {
        /// Made when the wait is first polled.
        #[pin]
        sleep: Option<Sleep>,
        call: Option<(T, S, Req)>,
    },
    Refused(Option<Rejected>),
}

impl<S, Req, T, R> ResponseFuture<S, Req, T, R>
where
    S: Service<Req>,
{
    #[inline]
    pub(super) const fn called(future: S::Future, refuse: R) -> Self {
        let state = State::Called { future };
        Self { state, refuse }
    }

    pub(super) const fn waiting(turn: T, ready: S, request: Req, refuse: R) -> Self {
        let state = State::Waiting {
            sleep: None,
            call: Some((turn, ready, request)),
        };
        Self { state, refuse }
    }

    pub(super) const fn refused(rejected: Rejected, refuse: R) -> Self {
        let state = State::Refused(Some(rejected));
        Self { state, refuse }
    }
}

impl<S, Req, T, R> Future for ResponseFuture<S, Req, T, R>
where
    S: Service<Req>,
    T: Turn,
    R: Refuse<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let future = match this.state.as_mut().project() {
                StateProj::Called { future } => return future.poll(cx),
                StateProj::Refused(rejected) => {
                    return match rejected.take() {
                        Some(rejected) => Poll::Ready(this.refuse.refuse(rejected)),
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting { mut sleep, call } => {
                    if sleep.is_none()
                        && let Some((turn, ..)) = call
                    {
                        sleep.set(Some(rt::sleep_until(turn.at())));
                    }
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    // Only a future polled after its call panicked has none.
                    let Some((turn, mut service, request)) = call.take() else {
                        return Poll::Pending;
                    };
                    turn.take();
                    service.call(request)
                }
            };
            this.state.set(State::Called { future });
        }
    }
}

impl<S, Req, T, R> fmt::Debug for ResponseFuture<S, Req, T, R>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
