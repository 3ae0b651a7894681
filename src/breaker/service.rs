use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::circuit::Circuit;
use super::future::{Call, ResponseFuture};
use super::layer::Policy;
use super::lease::Lease;
use super::settle::{Settle, Until};
use crate::error::{LayerKind, Reason, Rejected};
use crate::outcome::Classify;
use crate::reject::Refuse;

/// The service of [`BreakerLayer`](super::BreakerLayer).
pub struct BreakerService<S, C, R, U> {
    inner: S,
    /// Whether the inner service said that it is ready and has not been called since.
    ready: bool,
    /// What the next call is refused with, when readiness only means that.
    refusal: Option<Rejected>,
    /// Where this caller waits for the inner service.
    parked: Option<usize>,
    circuit: &'static Circuit,
    /// What makes the circuit this policy's.
    lease: Arc<Lease>,
    policy: Policy<C, R, U>,
}

impl<S, C, R, U> BreakerService<S, C, R, U> {
    pub(super) fn new(inner: S, lease: Arc<Lease>, policy: Policy<C, R, U>) -> Self {
        Self {
            inner,
            ready: false,
            refusal: None,
            parked: None,
            circuit: lease.circuit(),
            lease,
            policy,
        }
    }

    /// Refuses a call that was ready only to be refused: had the circuit's wait ended meanwhile, the inner service still
    /// could not be called.
    #[cold]
    fn refuse(&mut self) -> Rejected {
        let refusal = self.refusal.take().or_else(|| self.circuit.refusal());
        refusal.unwrap_or_else(|| {
            Rejected::new(LayerKind::Breaker, Reason::CircuitOpen).retry_after(Duration::ZERO)
        })
    }
}

impl<S, Req, C, R, U> Service<Req> for BreakerService<S, C, R, U>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
    U: Until<S::Response> + Clone,
{
    type Response = U::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, C, R, U>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Asked first: a refusal does not need the inner service, so nobody waits for it, and nothing is reserved in it
        // that a refused call would not give back.
        self.refusal = self.circuit.refusal();
        if self.refusal.is_some() {
            self.circuit.unpark(&mut self.parked);
            return Poll::Ready(Ok(()));
        }
        let ready = self.inner.poll_ready(cx);
        self.ready = matches!(ready, Poll::Ready(Ok(())));
        if ready.is_ready() {
            self.circuit.unpark(&mut self.parked);
            return ready;
        }
        // Whoever waits for the inner service is woken when the circuit opens, which may have happened by now.
        self.circuit.park(&mut self.parked, cx.waker());
        self.refusal = self.circuit.refusal();
        if self.refusal.is_some() {
            self.circuit.unpark(&mut self.parked);
            return Poll::Ready(Ok(()));
        }
        ready
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let admitted = if std::mem::take(&mut self.ready) {
            self.circuit.admit()
        } else {
            Err(self.refuse())
        };
        let policy = self.policy.clone();
        let state = match admitted {
            Ok(pass) => {
                let settle = Some(Settle::new(self.circuit, pass));
                Call::Called {
                    future: self.inner.call(request),
                    settle,
                }
            }
            Err(rejected) => {
                self.lease.rejections().note(&rejected);
                Call::Rejected(Some(rejected))
            }
        };
        ResponseFuture {
            state,
            policy,
            marker: PhantomData,
        }
    }
}

impl<S, C, R, U> Drop for BreakerService<S, C, R, U> {
    fn drop(&mut self) {
        self.circuit.unpark(&mut self.parked);
    }
}

impl<S: Clone, C: Clone, R: Clone, U: Clone> Clone for BreakerService<S, C, R, U> {
    fn clone(&self) -> Self {
        // Not ready: readiness belongs to the clone of the inner service that said so.
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.lease),
            self.policy.clone(),
        )
    }
}

impl<S: fmt::Debug, C, R, U> fmt::Debug for BreakerService<S, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
