//! The rules.
//!
//! 1. A result whose outcome is not stated passes unchanged. The path of a success ends here: no clock, no lock, no
//!    count.
//! 2. At or after the call's deadline no fallback is started. A value is answered with all the same: it starts nothing.
//! 3. A fallback takes a place before it starts; where none is free the result passes unchanged.
//! 4. The place is free again when the fallback has answered, failed, panicked or been dropped, and not before.
//! 5. A fallback that has no answer, and another service whose answer is a failure or a refusal, leave the caller the
//!    call's own result.
//! 6. Every fallback that was called for is counted once, by how it ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use super::answer::{Answer, Primary};
use super::ending::Ending;
use super::handle::Turn;
use super::keep::Keep;
use super::layer::{Fallback, Policy};
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::rt;
use crate::scope::Scope;

/// The future of [`FallbackService`](super::FallbackService).
///
/// # Cancel safety
///
/// Dropping it drops the call or the fallback that is under way, and frees the fallback's place.
#[pin_project]
pub struct ResponseFuture<F, Req, Res, Err, A, K, C, R>
where
    K: Keep<Req>,
    A: Answer<K::Kept, Res, Err>,
{
    #[pin]
    state: State<F, A::Future, K::Held, Result<Res, Err>>,
    fallback: Arc<Fallback<A>>,
    policy: Policy<K, C, R>,
}

#[pin_project(project = StateProj)]
enum State<F, A, H, O> {
    Call {
        #[pin]
        future: F,
        held: Option<H>,
    },
    /// Dropped in this order: the place is free when the fallback is gone.
    Fallback {
        #[pin]
        future: A,
        turn: Turn,
        primary: Option<O>,
    },
    Done,
}

impl<F, Req, Res, Err, A, K, C, R> ResponseFuture<F, Req, Res, Err, A, K, C, R>
where
    K: Keep<Req>,
    A: Answer<K::Kept, Res, Err>,
{
    pub(super) const fn new(
        future: F,
        held: K::Held,
        fallback: Arc<Fallback<A>>,
        policy: Policy<K, C, R>,
    ) -> Self {
        let state = State::Call {
            future,
            held: Some(held),
        };
        Self {
            state,
            fallback,
            policy,
        }
    }
}

impl<F, Req, Res, Err, A, K, C, R> Future for ResponseFuture<F, Req, Res, Err, A, K, C, R>
where
    F: Future<Output = Result<Res, Err>>,
    K: Keep<Req>,
    A: Answer<K::Kept, Res, Err>,
    C: Classify<Res, Err>,
    R: Refuse<Res, Err>,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (policy, shared) = (this.policy, &this.fallback.shared);
        loop {
            match this.state.as_mut().project() {
                StateProj::Call { future, held } => {
                    let result = ready!(future.poll(cx));
                    let held = held.take();
                    // What the call still holds below, it holds no longer while the fallback runs.
                    this.state.set(State::Done);
                    let rejected = policy.refuse.rejection(result.as_ref());
                    let outcome = match rejected {
                        Some(_) => Outcome::Rejected,
                        None => policy.classify.classify(result.as_ref()),
                    };
                    if matches!(outcome, Outcome::Success | Outcome::Ignored) {
                        return Poll::Ready(result);
                    }
                    let config = shared.config();
                    let reason = rejected.map(|rejected| rejected.reason());
                    if !config.stated().contains(outcome, reason) {
                        return Poll::Ready(result);
                    }
                    let because = outcome.word(reason);
                    let mut turn = if A::TAKES_TIME {
                        let deadline = Scope::current().deadline();
                        if deadline.is_some_and(|at| rt::now() >= at) {
                            shared.note(Ending::Late, because);
                            return Poll::Ready(result);
                        }
                        match Turn::in_place(shared, config, because) {
                            Some(turn) => turn,
                            None => {
                                shared.note(Ending::Full, because);
                                return Poll::Ready(result);
                            }
                        }
                    } else {
                        Turn::at_once(Arc::clone(shared), because)
                    };
                    let Some(kept) = held.and_then(|held| policy.keep.release(held)) else {
                        turn.end(Ending::NoRequest);
                        return Poll::Ready(result);
                    };
                    let primary = Primary::new(result.as_ref(), outcome, rejected);
                    if A::TAKES_TIME {
                        turn.begin();
                    }
                    let within = turn.enter();
                    let future = this.fallback.answer.answer(kept, primary);
                    drop(within);
                    this.state.set(State::Fallback {
                        future,
                        turn,
                        primary: Some(result),
                    });
                }
                StateProj::Fallback {
                    future,
                    turn,
                    primary,
                } => {
                    let within = turn.enter();
                    let answer = ready!(future.poll(cx)).ok();
                    drop(within);
                    let is_answer = |response: &Res| {
                        let result = Ok(response);
                        policy.refuse.rejection(result).is_none()
                            && matches!(
                                policy.classify.classify(result),
                                Outcome::Success | Outcome::Ignored
                            )
                    };
                    let answer = answer.filter(|response| !A::IS_CALLEE || is_answer(response));
                    turn.end(match answer {
                        Some(_) => Ending::Served,
                        None => Ending::Failed,
                    });
                    let primary = primary.take();
                    this.state.set(State::Done);
                    return match answer.map(Ok).or(primary) {
                        Some(result) => Poll::Ready(result),
                        None => Poll::Pending,
                    };
                }
                StateProj::Done => return Poll::Pending,
            }
        }
    }
}

impl<F, Req, Res, Err, A, K, C, R> fmt::Debug for ResponseFuture<F, Req, Res, Err, A, K, C, R>
where
    K: Keep<Req>,
    A: Answer<K::Kept, Res, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Call { .. } => "Call",
            State::Fallback { .. } => "Fallback",
            State::Done => "Done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
