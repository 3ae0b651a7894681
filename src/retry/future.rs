use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Sleep;
use tower::Service;

use super::layer::Policy;
use super::policy::{Decision, GaveUp, Progress};
use super::replay::Replay;
use super::service::Ongoing;
use crate::observe::{Ended, Span, Within};
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::rt;
use crate::scope::{self, Scope};

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
    pub(super) state: State<S, S::Future, P::Request>,
    /// Of the attempt under way. Closed after what the attempt does when it is dropped.
    pub(super) span: Span,
    pub(super) kept: Option<P::Kept>,
    /// Made with the first failure: a call that succeeds draws no number.
    pub(super) progress: Option<Progress>,
    /// What the callee said last, should the next attempt not come about: rule 7 of the policy. An answer whose body
    /// is not read keeps its connection until then.
    pub(super) last: Option<Result<S::Response, S::Error>>,
    pub(super) ongoing: Ongoing<S>,
    pub(super) policy: Policy<C, R, P>,
    /// Of the attempt under way.
    pub(super) scope: Scope,
    /// The number of the first attempt: more than 1 when a caller further out is on a retry.
    pub(super) first: u32,
    /// Whether a retry layer within the attempt under way gave up.
    pub(super) in_vain: bool,
}

#[pin_project(project = StateProj)]
pub(super) enum State<S, F, Req> {
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

impl<S, Req, C, R, P> Future for ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Refuse<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.span.is_open() {
            let mut polled = Poll::Pending;
            self.poll_within(cx, &mut polled);
            return polled;
        }
        self.poll_call::<false>(cx)
    }
}

impl<S, Req, C, R, P> ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request> + Clone,
    C: Classify<S::Response, S::Error>,
    R: Refuse<S::Response, S::Error>,
{
    /// Polls the call, and each attempt within its span.
    #[cold]
    #[inline(never)]
    fn poll_within(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        polled: &mut Poll<<Self as Future>::Output>,
    ) {
        *polled = self.poll_call::<true>(cx);
    }

    #[inline(always)]
    fn poll_call<const SPAN: bool>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<<Self as Future>::Output> {
        loop {
            let mut this = self.as_mut().project();
            if let StateProj::Attempt { future } = this.state.as_mut().project() {
                let within = if SPAN {
                    this.span.enter()
                } else {
                    Within::NOTHING
                };
                let (watch, entered) = (scope::watch_retries(), this.scope.entered());
                let polled = future.poll(cx);
                drop(entered);
                *this.in_vain |= watch.end();
                let result = ready!(polled);
                let outcome = if this.policy.refuse.rejection(result.as_ref()).is_some() {
                    Outcome::Rejected
                } else {
                    this.policy.classify.classify(result.as_ref())
                };
                let refuse = &this.policy.refuse;
                within.end(|| Ended::of(outcome, refuse.rejection(result.as_ref())));
                // The path without a failure ends here: no clock, no random number, no lock.
                let final_word = outcome != Outcome::Rejected || this.last.is_none();
                if !outcome.is_failure() && final_word {
                    this.ongoing.settle(outcome);
                    this.state.set(State::Done);
                    return Poll::Ready(result);
                }
                match self.as_mut().after(result, outcome) {
                    Ok(()) => {}
                    Err(last) => return Poll::Ready(last),
                }
            }
            match ready!(self.as_mut().poll_next(cx)) {
                Ok(()) => {}
                Err(last) => return Poll::Ready(last),
            }
            if !SPAN && self.span.is_open() {
                let mut polled = Poll::Pending;
                self.poll_within(cx, &mut polled);
                return polled;
            }
        }
    }
}

impl<S, Req, C, R, P> ResponseFuture<S, Req, C, R, P>
where
    P: Replay<Req>,
    S: Service<P::Request> + Clone,
{
    /// Waits for the next attempt, or says with what the call ends. Apart from `poll`, which stays small enough to
    /// be inlined.
    #[cold]
    #[inline(never)]
    fn after(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
        outcome: Outcome,
    ) -> Result<(), Result<S::Response, S::Error>> {
        let mut this = self.project();
        let now = rt::now();
        let Ongoing { spare, account } = this.ongoing;
        let shared = &spare.shared;
        let progress = this
            .progress
            .get_or_insert_with(|| Progress::new(shared.rng(), *this.first));
        let attempt = progress.attempt();
        if outcome == Outcome::Rejected {
            shared.budget.abandon(account);
            shared.gave_up(attempt.saturating_sub(1), *this.in_vain, GaveUp::Refused);
            this.state.set(State::Done);
            return Err(this.last.take().unwrap_or(result));
        }
        progress.in_vain = *this.in_vain;
        let config = shared.config();
        let next = match progress.decide(&config, outcome, this.scope.deadline(), now) {
            Decision::Retry { after } => {
                let kept = this.kept.as_mut();
                match kept.and_then(|kept| this.policy.replay.again(kept)) {
                    // Asked last: a retry that is not made costs no token.
                    Some(request) if shared.budget.admit(account, outcome, now) => {
                        Ok((after, request))
                    }
                    // It counted the failure when it was asked.
                    Some(_) => {
                        shared.budget.abandon(account);
                        Err(GaveUp::Budget)
                    }
                    None => Err(GaveUp::Request),
                }
            }
            Decision::GiveUp(reason) => Err(reason),
            // The caller looked.
            Decision::Done => return Err(result),
        };
        match next {
            Ok((after, request)) => {
                shared.retried(attempt, after);
                *this.last = Some(result);
                *this.in_vain = false;
                let request = Some(request);
                // A timer that has run out is only seen when the runtime next looks, up to a millisecond later.
                this.state.set(if after.is_zero() {
                    let service = spare.service();
                    State::Ready { service, request }
                } else {
                    let sleep = rt::sleep_until(now + after);
                    State::Wait { sleep, request }
                });
                Ok(())
            }
            Err(reason) => {
                if reason != GaveUp::Budget {
                    shared.budget.settle(account, outcome);
                }
                shared.gave_up(attempt, *this.in_vain, reason);
                this.state.set(State::Done);
                Err(result)
            }
        }
    }

    /// Begins the next attempt when its time has come, or says with what the call ends.
    #[expect(
        clippy::type_complexity,
        reason = "the result of the call, in the place of an error"
    )]
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Result<S::Response, S::Error>>> {
        let mut this = self.project();
        let scope = *this.scope;
        loop {
            match this.state.as_mut().project() {
                StateProj::Wait { sleep, request } => {
                    ready!(sleep.poll(cx));
                    let service = this.ongoing.spare.service();
                    let request = request.take();
                    this.state.set(State::Ready { service, request });
                }
                StateProj::Ready { service, request } => {
                    if let Err(error) = ready!(scope.enter(|| service.poll_ready(cx))) {
                        this.state.set(State::Done);
                        return Poll::Ready(Err(Err(error)));
                    }
                    let attempt = this.progress.as_ref().map_or(1, Progress::attempt);
                    // The wait can end late, on a runtime that was held up or for want of readiness.
                    if scope.deadline().is_some_and(|at| rt::now() >= at)
                        && let Some(last) = this.last.take()
                    {
                        this.ongoing.abandon();
                        let shared = &this.ongoing.spare.shared;
                        shared.gave_up(attempt.saturating_sub(1), false, GaveUp::Deadline);
                        this.state.set(State::Done);
                        return Poll::Ready(Err(last));
                    }
                    let number = this.first.saturating_add(attempt.saturating_sub(1));
                    *this.scope = scope.attempt(number);
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    *this.span = this.ongoing.spare.shared.span(number);
                    let within = this.span.enter();
                    let future = this.scope.enter(|| service.call(request));
                    drop(within);
                    this.state.set(State::Attempt { future });
                    return Poll::Ready(Ok(()));
                }
                StateProj::Attempt { .. } => return Poll::Ready(Ok(())),
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
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
