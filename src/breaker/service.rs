use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::handle::Circuit;
use super::layer::Policy;
use super::settle::{Settle, Until};
use crate::outcome::Classify;
use crate::reject::Refuse;

/// The service of [`BreakerLayer`](super::BreakerLayer).
pub struct BreakerService<S, C, R, U> {
    inner: S,
    /// Whether the last `poll_ready` was ready only to refuse, the inner service being pending.
    refusing: bool,
    circuit: Arc<Circuit>,
    policy: Policy<C, R, U>,
}

impl<S, C, R, U> BreakerService<S, C, R, U> {
    pub(super) const fn new(inner: S, circuit: Arc<Circuit>, policy: Policy<C, R, U>) -> Self {
        Self {
            inner,
            refusing: false,
            circuit,
            policy,
        }
    }
}

/// A clone shares the circuit and not the readiness.
impl<S: Clone, C: Clone, R: Clone, U: Clone> Clone for BreakerService<S, C, R, U> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.circuit),
            self.policy.clone(),
        )
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.inner.poll_ready(cx);
        // A refusal does not need the inner service, so nobody waits for it to be ready.
        self.refusing = ready.is_pending() && self.circuit.rejects();
        if self.refusing {
            Poll::Ready(Ok(()))
        } else {
            ready
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // Had the circuit's wait ended meanwhile, the inner service still could not be called.
        let admitted = if std::mem::take(&mut self.refusing) {
            Err(self.circuit.refusal())
        } else {
            self.circuit.admit()
        };
        match admitted {
            Ok(permit) => {
                let settle = Settle::new(Arc::clone(&self.circuit), permit);
                ResponseFuture::called(self.inner.call(request), settle, self.policy.clone())
            }
            Err(rejected) => ResponseFuture::rejected(rejected, self.policy.clone()),
        }
    }
}

impl<S: fmt::Debug, C, R, U> fmt::Debug for BreakerService<S, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
