use std::fmt;

use crate::retry::Replay;

/// What is kept of a request, should the fallback need it.
///
/// It is paid for by every call, those that succeed too, so each kind of fallback keeps as little as it can:
/// [`Nothing`] for a value, a [`Part`] for a function, the [`Whole`] for another service.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep what a fallback needs of a `{Req}`",
    note = "a fallback service keeps the whole request, which by default needs `Clone`; for an \
            `http::Request` use `.replay_with(mainstay::http::ReplayRequest::new(..))`",
    note = "a function keeps a part of it: `.keep(|request: &{Req}| ..)`"
)]
pub trait Keep<Req> {
    /// What the inner service is called with.
    type Request;
    /// What is kept while the call is under way.
    type Held;
    /// What the fallback gets.
    type Kept;

    /// The request for the inner service, and what is kept of it.
    fn hold(&self, request: Req) -> (Self::Request, Self::Held);

    /// What the fallback gets; `None` if the request was not kept or cannot be made again.
    fn release(&self, held: Self::Held) -> Option<Self::Kept>;
}

/// Keeps nothing: the fallback does not need the request.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct Nothing;

impl<Req> Keep<Req> for Nothing {
    type Request = Req;
    type Held = ();
    type Kept = ();

    fn hold(&self, request: Req) -> (Req, ()) {
        (request, ())
    }

    fn release(&self, (): ()) -> Option<()> {
        Some(())
    }
}

/// Keeps what a function takes out of the request, such as the key of a cache.
#[derive(Clone, Copy)]
pub struct Part<F>(F);

impl<F> Part<F> {
    pub(super) const fn new(take: F) -> Self {
        Self(take)
    }
}

impl<Req, F, T> Keep<Req> for Part<F>
where
    F: Fn(&Req) -> T,
{
    type Request = Req;
    type Held = T;
    type Kept = T;

    fn hold(&self, request: Req) -> (Req, T) {
        let part = (self.0)(&request);
        (request, part)
    }

    fn release(&self, held: T) -> Option<T> {
        Some(held)
    }
}

impl<F> fmt::Debug for Part<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

/// Keeps the whole request, as a [`Replay`] can make it again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole<P>(P);

impl<P> Whole<P> {
    pub(super) const fn new(replay: P) -> Self {
        Self(replay)
    }
}

impl<Req, P: Replay<Req>> Keep<Req> for Whole<P> {
    type Request = P::Request;
    type Held = Option<P::Kept>;
    type Kept = P::Request;

    fn hold(&self, request: Req) -> (P::Request, Option<P::Kept>) {
        self.0.first(request)
    }

    fn release(&self, held: Option<P::Kept>) -> Option<P::Request> {
        self.0.again(&mut held?)
    }
}
