use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower::Service;

use super::budget::Account;
use super::future::ResponseFuture;
use super::layer::{Policy, Shared};
use super::replay::Replay;
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::scope::Scope;
use crate::time::Tick;

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

/// A call under way: what it needs of the policy, and what it has to do with the budget.
///
/// Whichever way it ends, a panic while it begins included, its account is closed.
pub(super) struct Ongoing<S> {
    pub(super) spare: Arc<Spare<S>>,
    account: Account,
}

impl<S> Ongoing<S> {
    /// Begins a call in the current scope; what lies below belongs into the scope that comes back.
    fn begin(spare: &Arc<Spare<S>>) -> (Self, Scope) {
        let mut scope = Scope::current();
        let ongoing = Self {
            account: spare.shared.budget.open(&mut scope),
            spare: Arc::clone(spare),
        };
        (ongoing, scope)
    }

    pub(super) fn admit(&mut self, outcome: Outcome, now: Tick) -> bool {
        let Self { spare, account } = self;
        spare.shared.budget.admit(account, outcome, now)
    }

    pub(super) fn settle(&mut self, outcome: Outcome) {
        let Self { spare, account } = self;
        if outcome != Outcome::Success || account.minds_success() {
            spare.shared.budget.settle(account, outcome);
        }
    }

    pub(super) fn abandon(&mut self) {
        let Self { spare, account } = self;
        if account.is_open() {
            spare.shared.budget.abandon(account);
        }
    }
}

impl<S> Drop for Ongoing<S> {
    fn drop(&mut self) {
        self.abandon();
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (ongoing, scope) = Ongoing::begin(&self.spare);
        let (first, kept) = self.policy.replay.first(request);
        let scope = scope.attempt(scope.attempt_number().max(1));
        let entered = scope.entered();
        let future = self.inner.call(first);
        drop(entered);
        ResponseFuture::new(future, kept, ongoing, scope, self.policy.clone())
    }
}

impl<S: fmt::Debug, C, R, P> fmt::Debug for RetryService<S, C, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
