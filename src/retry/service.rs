use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::layer::{Policy, Shared};
use super::replay::Replay;
use crate::outcome::Classify;
use crate::reject::Refuse;

/// The service of [`RetryLayer`](super::RetryLayer).
pub struct RetryService<S, C, R, P> {
    inner: S,
    /// Shared with the calls under way, which clone the service out of it only when they retry.
    spare: Arc<Spare<S>>,
    policy: Policy<C, R, P>,
}

pub(super) struct Spare<S> {
    service: Mutex<S>,
    pub(super) shared: Arc<Shared>,
}

impl<S: Clone> Spare<S> {
    pub(super) fn service(&self) -> S {
        self.service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Clone, C, R, P> RetryService<S, C, R, P> {
    pub(super) fn new(inner: S, shared: Arc<Shared>, policy: Policy<C, R, P>) -> Self {
        let spare = Spare {
            service: Mutex::new(inner.clone()),
            shared,
        };
        Self {
            inner,
            spare: Arc::new(spare),
            policy,
        }
    }
}

impl<S: Clone, C: Clone, R: Clone, P: Clone> Clone for RetryService<S, C, R, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            spare: Arc::clone(&self.spare),
            policy: self.policy.clone(),
        }
    }
}

impl<S, Req, C, R, P> Service<Req> for RetryService<S, C, R, P>
where
    P: Replay<Req> + Clone,
    S: Service<P::Request> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.spare.shared.deposit();
        let (first, kept) = self.policy.replay.first(request);
        let make = || self.inner.call(first);
        ResponseFuture::new(make, kept, Arc::clone(&self.spare), self.policy.clone())
    }
}

impl<S: fmt::Debug, C, R, P> fmt::Debug for RetryService<S, C, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
