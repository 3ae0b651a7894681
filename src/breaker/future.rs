use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::layer::Policy;
use super::settle::{Ending, Settle, Until};
use crate::error::Rejected;
use crate::outcome::{Classify, Outcome};
use crate::reject::Refuse;
use crate::scope;

/// The future of [`BreakerService`](super::BreakerService).
///
/// # Cancel safety
///
/// Dropping it drops the call and gives the permit back.
#[pin_project]
pub struct ResponseFuture<F, Res, Err, C, R, U, E = Settle> {
    #[pin]
    pub(super) state: Call<F, E>,
    pub(super) policy: Policy<C, R, U>,
    pub(super) marker: std::marker::PhantomData<fn() -> (Res, Err)>,
}

#[pin_project(project = CallProj)]
pub(super) enum Call<F, E> {
    Called {
        #[pin]
        future: F,
        /// `None` where no circuit watches the call.
        settle: Option<E>,
    },
    Rejected(Option<Rejected>),
}

impl<F, Res, Err, C, R, U, E> Future for ResponseFuture<F, Res, Err, C, R, U, E>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
    R: Refuse<Res, Err>,
    U: Until<Res, E>,
    E: Ending,
{
    type Output = Result<U::Response, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Policy {
            classify,
            refuse,
            until,
        } = this.policy;
        let (future, settle) = match this.state.project() {
            CallProj::Called { future, settle } => (future, settle),
            CallProj::Rejected(rejected) => {
                return match rejected.take() {
                    Some(rejected) => Poll::Ready(refuse.refuse(rejected).map(|r| until.plain(r))),
                    None => Poll::Pending,
                };
            }
        };
        let _ending = scope::ending();
        let result = std::task::ready!(future.poll(cx));
        let outcome = match refuse.rejection(result.as_ref()) {
            Some(_) => Outcome::Rejected,
            None => classify.classify(result.as_ref()),
        };
        Poll::Ready(match (result, settle.take()) {
            (Ok(response), Some(settle)) => Ok(until.track(response, outcome, settle)),
            (Err(error), Some(settle)) => {
                settle.settle(outcome);
                Err(error)
            }
            // No circuit watches the call.
            (result, None) => result.map(|response| until.plain(response)),
        })
    }
}

impl<F, Res, Err, C, R, U, E> fmt::Debug for ResponseFuture<F, Res, Err, C, R, U, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
