use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower::Service;

use super::budget::Account;
use super::future::{ResponseFuture, State};
use super::layer::{Policy, Shared};
use super::replay::Replay;
use super::spread::{Share, Spread};
use crate::observe::{self, Span};
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::scope::Scope;

/// The service of [`RetryLayer`](super::RetryLayer).
pub struct RetryService<S, C, R, P> {
    inner: S,
    /// Shared with the calls under way, which clone the service out of it only when they retry.
    spare: Spread<Spare<S>>,
    shared: Arc<Shared>,
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
    pub(super) spare: Share<Spare<S>>,
    pub(super) account: Account,
}

impl<S> Ongoing<S> {
    /// Begins a call in the current scope; what lies below belongs into the scope that comes back.
    #[inline]
    fn begin(spare: &Spread<Spare<S>>, shared: &Shared) -> (Self, Scope) {
        let mut scope = Scope::current();
        let ongoing = Self {
            account: shared.budget.open(&mut scope),
            spare: spare.share(),
        };
        (ongoing, scope)
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
            shared: Arc::clone(&shared),
        };
        Self {
            inner,
            spare: Spread::new(spare),
            shared,
            policy,
        }
    }
}

impl<S: Clone, C: Clone, R: Clone, P: Clone> Clone for RetryService<S, C, R, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            spare: self.spare.clone(),
            shared: Arc::clone(&self.shared),
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
        if observe::wants_spans() {
            return self.begin_told(request);
        }
        self.begin(request)
    }
}

impl<S, C: Clone, R: Clone, P: Clone> RetryService<S, C, R, P> {
    /// Begins a call in the current scope.
    #[inline(always)]
    fn begin<Req>(&mut self, request: Req) -> ResponseFuture<S, Req, C, R, P>
    where
        P: Replay<Req>,
        S: Service<P::Request>,
    {
        let (ongoing, scope) = Ongoing::begin(&self.spare, &self.shared);
        let (first, kept) = self.policy.replay.first(request);
        let scope = scope.attempt(scope.attempt_number().max(1));
        let policy = self.policy.clone();
        // The last expression, so that the future is made in its place: it is long, and to move it costs.
        let _entered = scope.entered();
        ResponseFuture {
            state: State::Attempt {
                future: self.inner.call(first),
            },
            span: Span::NONE,
            kept,
            progress: None,
            last: None,
            ongoing,
            policy,
            first: scope.attempt_number(),
            scope,
            in_vain: false,
        }
    }

    /// Apart, so that a call costs a branch where nobody wants spans.
    #[cold]
    #[inline(never)]
    fn begin_told<Req>(&mut self, request: Req) -> ResponseFuture<S, Req, C, R, P>
    where
        P: Replay<Req>,
        S: Service<P::Request>,
    {
        let mut span = self.shared.span(Scope::current().attempt_number().max(1));
        let within = span.enter();
        let begun = self.begin(request);
        drop(within);
        ResponseFuture { span, ..begun }
    }
}

impl<S: fmt::Debug, C, R, P> fmt::Debug for RetryService<S, C, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
