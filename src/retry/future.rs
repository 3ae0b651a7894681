use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Sleep;
use tower::Service;

use super::layer::Policy;
use super::policy::{Decision, GaveUp, Retry};
use super::replay::Replay;
use super::service::Spare;
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::rt;
use crate::scope::Scope;

/// The future of [`RetryService`](super::RetryService).
///
/// # Cancel safety
///
/// Dropping it drops the attempt or the wait that is under way; no further attempt is made.
#[pin_project]
pub struct ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request>,
{
    #[pin]
    state: State<S, S::Future, P::Request>,
    kept: Option<P::Kept>,
    /// Made with the first failure: a call that succeeds draws no number.
    retry: Option<Retry>,
    /// What the callee said last, should the next attempt not come about: rule 7 of the policy. An answer whose body
    /// is not read keeps its connection until then.
    last: Option<Result<S::Response, S::Error>>,
    spare: Arc<Spare<S>>,
    policy: Policy<C, R, P>,
    scope: Scope,
}

#[pin_project(project = StateProj)]
enum State<S, F, Req> {
    Attempt {
        #[pin]
        future: F,
    },
    Wait {
        #[pin]
        sleep: Sleep,
        request: Option<Req>,
    },
    /// The clone that the next attempt uses, until it is ready.
    Ready {
        service: S,
        request: Option<Req>,
    },
    Done,
}

impl<S, Req, C, R, P> ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request>,
{
    pub(super) fn new(
        make: impl FnOnce() -> S::Future,
        kept: Option<P::Kept>,
        spare: Arc<Spare<S>>,
        policy: Policy<C, R, P>,
    ) -> Self {
        let scope = Scope::current().attempt(1);
        let state = State::Attempt {
            future: scope.enter(make),
        };
        Self {
            state,
            kept,
            retry: None,
            last: None,
            spare,
            policy,
            scope,
        }
    }
}

impl<S, Req, C, R, P> Future for ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Refuse<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let scope = *this.scope;
            match this.state.as_mut().project() {
                StateProj::Attempt { future } => {
                    let result = ready!(scope.enter(|| future.poll(cx)));
                    let refused = this.policy.refuse.rejection(result.as_ref()).is_some();
                    if refused && let Some(last) = this.last.take() {
                        let attempt = this.retry.as_ref().map_or(1, Retry::attempt);
                        this.spare
                            .shared
                            .gave_up(attempt.saturating_sub(1), GaveUp::Refused);
                        this.state.set(State::Done);
                        return Poll::Ready(last);
                    }
                    let outcome = if refused {
                        Outcome::Rejected
                    } else {
                        this.policy.classify.classify(result.as_ref())
                    };
                    // The path without a failure ends here: no clock, no random number, no lock.
                    if !outcome.is_failure() {
                        this.state.set(State::Done);
                        return Poll::Ready(result);
                    }
                    let shared = &this.spare.shared;
                    let now = rt::now();
                    let retry = this
                        .retry
                        .get_or_insert_with(|| Retry::new(shared.config, shared.rng()));
                    let attempt = retry.attempt();
                    let mut again = || {
                        let kept = this.kept.as_mut();
                        kept.and_then(|kept| this.policy.replay.again(kept))
                            .ok_or(GaveUp::Request)
                    };
                    let next = match retry.decide(outcome, scope.deadline(), now) {
                        // The budget is asked last: a retry that is not made costs no token.
                        Decision::Retry { after } => again().and_then(|request| {
                            shared
                                .withdraw()
                                .then_some((after, request))
                                .ok_or(GaveUp::Budget)
                        }),
                        Decision::GiveUp(reason) => Err(reason),
                        Decision::Done => return Poll::Ready(result),
                    };
                    match next {
                        Ok((after, request)) => {
                            shared.retried(attempt, after);
                            *this.last = Some(result);
                            let sleep = rt::sleep_until(now + after);
                            this.state.set(State::Wait {
                                sleep,
                                request: Some(request),
                            });
                        }
                        Err(reason) => {
                            shared.gave_up(attempt, reason);
                            this.state.set(State::Done);
                            return Poll::Ready(result);
                        }
                    }
                }
                StateProj::Wait { sleep, request } => {
                    ready!(sleep.poll(cx));
                    let (service, request) = (this.spare.service(), request.take());
                    this.state.set(State::Ready { service, request });
                }
                StateProj::Ready { service, request } => {
                    ready!(scope.enter(|| service.poll_ready(cx)))?;
                    let attempt = this.retry.as_ref().map_or(1, Retry::attempt);
                    // The wait can end late, on a runtime that was held up or for want of readiness.
                    if scope.deadline().is_some_and(|at| rt::now() >= at)
                        && let Some(last) = this.last.take()
                    {
                        let made = attempt.saturating_sub(1);
                        this.spare.shared.gave_up(made, GaveUp::Deadline);
                        this.state.set(State::Done);
                        return Poll::Ready(last);
                    }
                    *this.scope = scope.attempt(attempt);
                    match request.take() {
                        Some(request) => {
                            let future = this.scope.enter(|| service.call(request));
                            this.state.set(State::Attempt { future });
                        }
                        None => return Poll::Pending,
                    }
                }
                StateProj::Done => return Poll::Pending,
            }
        }
    }
}

impl<S, Req, C, R, P> fmt::Debug for ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
