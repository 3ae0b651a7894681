use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::answer::Answer;
use super::future::ResponseFuture;
use super::keep::Keep;
use super::layer::{Fallback, Policy};
use crate::outcome::Classify;
use crate::reject::Refuse;

/// The service of [`FallbackLayer`](super::FallbackLayer).
pub struct FallbackService<S, A, K, C, R> {
    inner: S,
    fallback: Arc<Fallback<A>>,
    policy: Policy<K, C, R>,
}

impl<S, A, K, C, R> FallbackService<S, A, K, C, R> {
    pub(super) const fn new(inner: S, fallback: Arc<Fallback<A>>, policy: Policy<K, C, R>) -> Self {
        Self {
            inner,
            fallback,
            policy,
        }
    }
}

impl<S: Clone, A, K: Clone, C: Clone, R: Clone> Clone for FallbackService<S, A, K, C, R> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.fallback),
            self.policy.clone(),
        )
    }
}

impl<S, Req, A, K, C, R> Service<Req> for FallbackService<S, A, K, C, R>
where
    K: Keep<Req> + Clone,
    S: Service<K::Request>,
    A: Answer<K::Kept, S::Response, S::Error>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Req, S::Response, S::Error, A, K, C, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (request, held) = self.policy.keep.hold(request);
        let future = self.inner.call(request);
        ResponseFuture::new(
            future,
            held,
            Arc::clone(&self.fallback),
            self.policy.clone(),
        )
    }
}

impl<S: fmt::Debug, A, K, C, R> fmt::Debug for FallbackService<S, A, K, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
