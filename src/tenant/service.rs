use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::{ResponseFuture, State, Waiting};
use super::identify::Identify;
use super::layer::Policy;
use super::pool::{Entry, Pool};
use super::seat::TenantSeat;
use crate::breaker::{AtHead, Until};
use crate::outcome::{ByResult, Classify};
use crate::reject::{AsError, Refuse};
use crate::scope::{self, Scope};

/// The service of [`TenantLayer`](super::TenantLayer).
///
/// A call that has to wait takes the inner service along, which was ready, and leaves a clone: hence `S: Clone`.
pub struct TenantService<S, I, C = ByResult, R = AsError, U = AtHead> {
    inner: S,
    pool: Arc<Pool>,
    policy: Policy<I, C, R, U>,
}

impl<S, I, C, R, U> TenantService<S, I, C, R, U> {
    pub(super) const fn new(inner: S, pool: Arc<Pool>, policy: Policy<I, C, R, U>) -> Self {
        Self {
            inner,
            pool,
            policy,
        }
    }
}

impl<S, Req, I, C, R, U> Service<Req> for TenantService<S, I, C, R, U>
where
    S: Service<Req> + Clone,
    I: Identify<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
    U: Until<S::Response, TenantSeat> + Clone,
{
    type Response = U::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R, U>;

    /// As the inner service is. A seat is taken in `call`: which tenant calls is not known before.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let held = scope::held();
        if held.has(self.pool.token()) {
            let future = self.inner.call(request);
            return self.called(future, TenantSeat::EMPTY);
        }
        let scope = Scope::current();
        let caller = self.policy.identify.identify(&request);
        let whose = self.pool.whose(&caller, scope);
        let entry = match self.pool.check_quota(&caller, &whose) {
            Err(rejected) => Entry::Refused(rejected),
            Ok(()) => {
                let closed = match self.pool.admit(&whose) {
                    Ok(seat) => {
                        drop(caller);
                        return self.call_with(request, seat);
                    }
                    Err(closed) => closed,
                };
                self.pool.hold_back(&caller, &whose, closed)
            }
        };
        drop(caller);
        self.hold_back(request, entry)
    }
}

impl<S, I, C: Clone, R: Clone, U: Clone> TenantService<S, I, C, R, U> {
    #[inline]
    fn call_with<Req>(&mut self, request: Req, seat: TenantSeat) -> ResponseFuture<S, Req, C, R, U>
    where
        S: Service<Req>,
    {
        let within = super::future::within(&seat);
        let future = self.inner.call(request);
        drop(within);
        self.called(future, seat)
    }

    #[inline]
    fn called<Req>(&self, future: S::Future, seat: TenantSeat) -> ResponseFuture<S, Req, C, R, U>
    where
        S: Service<Req>,
    {
        ResponseFuture {
            state: State::Called { future, seat },
            classify: self.policy.classify.clone(),
            refuse: self.policy.refuse.clone(),
            until: self.policy.until.clone(),
        }
    }

    #[cold]
    fn hold_back<Req>(&mut self, request: Req, entry: Entry) -> ResponseFuture<S, Req, C, R, U>
    where
        S: Service<Req> + Clone,
    {
        let state = match entry {
            Entry::Refused(rejected) => State::Rejected(Some(rejected)),
            Entry::Seated(seat) => return self.call_with(request, seat),
            Entry::Waits(wait) => {
                let left = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, left);
                State::Waiting(Waiting::boxed(ready, request, wait))
            }
        };
        ResponseFuture {
            state,
            classify: self.policy.classify.clone(),
            refuse: self.policy.refuse.clone(),
            until: self.policy.until.clone(),
        }
    }
}

impl<S: Clone, I: Clone, C: Clone, R: Clone, U: Clone> Clone for TenantService<S, I, C, R, U> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            Arc::clone(&self.pool),
            self.policy.clone(),
        )
    }
}

impl<S: fmt::Debug, I, C, R, U> fmt::Debug for TenantService<S, I, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
