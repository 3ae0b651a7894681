use std::fmt;
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::gate::Gate;
use crate::reject::Refuse;

/// The service of [`RateLayer`](super::RateLayer).
#[derive(Clone)]
pub struct RateService<S, G, R> {
    inner: S,
    gate: G,
    refuse: R,
}

impl<S, G, R> RateService<S, G, R> {
    pub(super) const fn new(inner: S, gate: G, refuse: R) -> Self {
        Self {
            inner,
            gate,
            refuse,
        }
    }
}

impl<S, Req, G, R> Service<Req> for RateService<S, G, R>
where
    S: Service<Req> + Clone,
    G: Gate<Req>,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, G::Turn, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let refuse = self.refuse.clone();
        match self.gate.admit(&request) {
            Ok(None) => ResponseFuture::called(self.inner.call(request), refuse),
            Ok(Some(turn)) => {
                // The one that said it is ready goes with the call, so that it is made when its turn comes and not
                // when another service gets ready.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::waiting(turn, ready, request, refuse)
            }
            Err(rejected) => ResponseFuture::refused(rejected, refuse),
        }
    }
}

impl<S: fmt::Debug, G, R> fmt::Debug for RateService<S, G, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
