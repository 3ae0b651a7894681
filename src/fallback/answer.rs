use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use crate::error::Rejected;
use crate::outcome::Outcome;
use crate::sync::{Mutex, lock};

/// How the call ended that a fallback stands in for.
#[derive(Debug)]
pub struct Primary<'a, Res, Err> {
    result: Result<&'a Res, &'a Err>,
    outcome: Outcome,
    rejected: Option<Rejected>,
}

// Derived, these would ask for `Res: Clone`.
impl<Res, Err> Copy for Primary<'_, Res, Err> {}

impl<Res, Err> Clone for Primary<'_, Res, Err> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, Res, Err> Primary<'a, Res, Err> {
    pub(super) const fn new(
        result: Result<&'a Res, &'a Err>,
        outcome: Outcome,
        rejected: Option<Rejected>,
    ) -> Self {
        Self {
            result,
            outcome,
            rejected,
        }
    }

    /// What it returned.
    #[expect(
        clippy::missing_errors_doc,
        reason = "the call's error, not one of this function"
    )]
    pub const fn result(&self) -> Result<&'a Res, &'a Err> {
        self.result
    }

    /// How it counts.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The refusal, when a layer of this stack refused it; its hint says when to come back.
    #[must_use]
    pub const fn rejected(&self) -> Option<Rejected> {
        self.rejected
    }
}

/// What answers in place of a call.
///
/// Made by the constructors of [`FallbackLayer`](super::FallbackLayer); implement it for an answer of a type that can
/// be named.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer with a `{Res}` from a `{Kept}`",
    note = "a value must be of the service's response type and `Clone`; a function takes what \
            `.keep(..)` kept, `()` without it, and a `Primary<'_, {Res}, {Err}>`, and returns a \
            `Result<{Res}, _>` (or a future of one that borrows nothing of the `Primary`); \
            another service takes the whole request, is `Clone`, and responds with a `{Res}`"
)]
pub trait Answer<Kept, Res, Err> {
    /// Why it has no answer. It is dropped: the caller gets the call's own result.
    type Error;
    /// The answer to come.
    type Future: Future<Output = Result<Res, Self::Error>>;

    /// Whether it takes a place and is not started when the call's time is over. Not so for a value.
    const TAKES_TIME: bool = true;

    /// Whether the answer is a callee's, and classified as one: a failure is no answer. What a value or a function
    /// says is taken at its word.
    const IS_CALLEE: bool = false;

    /// Answers. `primary` is there to be looked at now; the future cannot keep it.
    fn answer(&self, kept: Kept, primary: Primary<'_, Res, Err>) -> Self::Future;
}

/// Answers with a value.
#[derive(Clone, Copy, Debug)]
pub struct Value<V>(V);

impl<V> Value<V> {
    pub(super) const fn new(value: V) -> Self {
        Self(value)
    }
}

#[diagnostic::do_not_recommend]
impl<Kept, Res: Clone, Err> Answer<Kept, Res, Err> for Value<Res> {
    type Error = Infallible;
    type Future = Ready<Result<Res, Infallible>>;

    const TAKES_TIME: bool = false;

    fn answer(&self, _kept: Kept, _primary: Primary<'_, Res, Err>) -> Self::Future {
        ready(Ok(self.0.clone()))
    }
}

/// Answers with what a function returns.
#[derive(Clone, Copy)]
pub struct Function<F>(F);

impl<F> Function<F> {
    pub(super) const fn new(function: F) -> Self {
        Self(function)
    }
}

#[diagnostic::do_not_recommend]
impl<Kept, Res, Err, F, E> Answer<Kept, Res, Err> for Function<F>
where
    F: Fn(Kept, Primary<'_, Res, Err>) -> Result<Res, E>,
{
    type Error = E;
    type Future = Ready<Result<Res, E>>;

    fn answer(&self, kept: Kept, primary: Primary<'_, Res, Err>) -> Self::Future {
        ready((self.0)(kept, primary))
    }
}

/// Answers with what the future of a function returns.
#[derive(Clone, Copy)]
pub struct AsyncFunction<F>(F);

impl<F> AsyncFunction<F> {
    pub(super) const fn new(function: F) -> Self {
        Self(function)
    }
}

#[diagnostic::do_not_recommend]
impl<Kept, Res, Err, F, Fut, E> Answer<Kept, Res, Err> for AsyncFunction<F>
where
    F: Fn(Kept, Primary<'_, Res, Err>) -> Fut,
    Fut: Future<Output = Result<Res, E>>,
{
    type Error = E;
    type Future = Fut;

    fn answer(&self, kept: Kept, primary: Primary<'_, Res, Err>) -> Fut {
        (self.0)(kept, primary)
    }
}

/// Answers with another service, a clone of it for each fallback.
pub struct OtherService<S>(Mutex<S>);

impl<S> OtherService<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

#[diagnostic::do_not_recommend]
impl<Req, Res, Err, S> Answer<Req, Res, Err> for OtherService<S>
where
    S: Service<Req, Response = Res> + Clone,
{
    type Error = S::Error;
    type Future = OtherCall<S, Req>;

    const IS_CALLEE: bool = true;

    fn answer(&self, request: Req, _primary: Primary<'_, Res, Err>) -> Self::Future {
        OtherCall::Ready {
            service: lock(&self.0).clone(),
            request: Some(request),
        }
    }
}

/// A call of another service, which is waited for until it is ready.
#[pin_project(project = OtherProj)]
#[expect(
    clippy::exhaustive_enums,
    reason = "its variants are of no use outside"
)]
pub enum OtherCall<S: Service<Req>, Req> {
    #[doc(hidden)]
    Ready { service: S, request: Option<Req> },
    #[doc(hidden)]
    Called {
        #[pin]
        future: S::Future,
    },
}

impl<S: Service<Req>, Req> Future for OtherCall<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                OtherProj::Called { future } => return future.poll(cx),
                OtherProj::Ready { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    match request.take() {
                        Some(request) => service.call(request),
                        // Only a future polled after it was ready comes here.
                        None => return Poll::Pending,
                    }
                }
            };
            self.set(Self::Called { future });
        }
    }
}

macro_rules! opaque {
    ($($name:ident)*) => {$(
        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque!(Function AsyncFunction OtherService);

impl<S: Service<Req>, Req> fmt::Debug for OtherCall<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherCall").finish_non_exhaustive()
    }
}
