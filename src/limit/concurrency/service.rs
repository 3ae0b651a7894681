use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::count::Count;
use super::future::{ResponseFuture, State, Wait};
use super::gate::{Entry, Gate, Seat};
use super::layer::Policy;
use crate::breaker::{AtHead, Until};
use crate::outcome::{ByResult, Classify};
use crate::reject::{AsError, Refuse};

/// The service of [`ConcurrencyLayer`](super::ConcurrencyLayer), and of the layers whose limit moves.
///
/// A call that has to wait takes the inner service along, which was ready, and leaves a clone: hence `S: Clone`.
pub struct ConcurrencyService<S, C = ByResult, R = AsError, U = AtHead> {
    inner: S,
    /// Whether the inner service said that it is ready, and was not called since.
    ready: bool,
    gate: Arc<Gate>,
    /// The gate's count as the last call found it.
    seen: Count,
    policy: Policy<C, R, U>,
}

impl<S, C, R, U> ConcurrencyService<S, C, R, U> {
    pub(crate) fn new(inner: S, gate: Arc<Gate>, policy: Policy<C, R, U>) -> Self {
        let seen = gate.seats().count();
        Self {
            inner,
            ready: false,
            gate,
            seen,
            policy,
        }
    }
}

impl<S, Req, C, R, U> Service<Req> for ConcurrencyService<S, C, R, U>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
    U: Until<S::Response, Seat> + Clone,
{
    type Response = U::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R, U>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Asked first: a refusal does not need the inner service, so nobody waits for it, and nothing is reserved in it
        // that a refused call would not give back.
        if self.gate.seats().is_shut() {
            return Poll::Ready(Ok(()));
        }
        let ready = self.inner.poll_ready(cx);
        self.ready = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // Ready only to refuse: had a place come free meanwhile, the inner service still could not be called.
        let invited = std::mem::take(&mut self.ready);
        if invited && let Some(seat) = self.gate.admit(&mut self.seen) {
            let policy = self.policy.clone();
            return ResponseFuture {
                state: State::Called {
                    future: self.inner.call(request),
                    seat,
                },
                policy,
            };
        }
        self.hold_back(request, invited)
    }
}

impl<S: Clone, C, R, U> ConcurrencyService<S, C, R, U> {
    #[cold]
    fn hold_back<Req>(&mut self, request: Req, invited: bool) -> ResponseFuture<S, Req, C, R, U>
    where
        S: Service<Req>,
        C: Clone,
        R: Clone,
        U: Clone,
    {
        let state = match self.gate.hold_back(invited) {
            Entry::Refused(rejected) => State::Rejected(Some(rejected)),
            Entry::Seated(seat) => State::Called {
                future: self.inner.call(request),
                seat,
            },
            Entry::Waits(place) => {
                let left = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, left);
                State::Waiting(Wait::boxed(ready, request, place))
            }
        };
        let policy = self.policy.clone();
        ResponseFuture { state, policy }
    }
}

impl<S: Clone, C: Clone, R: Clone, U: Clone> Clone for ConcurrencyService<S, C, R, U> {
    fn clone(&self) -> Self {
        // Not ready: readiness belongs to the clone of the inner service that said so.
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.gate),
            self.policy.clone(),
        )
    }
}

impl<S: fmt::Debug, C, R, U> fmt::Debug for ConcurrencyService<S, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
