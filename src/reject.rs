//! How a refusal leaves a layer: as an error, or as a response.
//!
//! A layer keeps the inner service's error type. Where that type can be made from a [`Rejected`], the refusal leaves
//! as an error ([`AsError`], the default). Where it cannot, because a transport owns it or because it is
//! `Infallible`, the refusal leaves as a response that carries the [`Rejected`] in its extensions: see
//! `http::AsResponse` and `grpc::AsResponse`. Either way the value is one level deep, however many layers it passes.

use crate::error::{AsRejected, Rejected, TimedOut};
use crate::time::Tick;

/// Turns a refusal into what the service returns, and recognises one that a layer below made.
#[diagnostic::on_unimplemented(
    message = "a refusal cannot leave this layer as `Result<{Res}, {Err}>` by way of `{Self}`",
    note = "with `AsError` the error type must implement `From<Rejected>` and `AsRejected`, as \
            `tower::BoxError` does; when the error type is not yours to extend (axum's \
            `Infallible`, tonic's and reqwest's transport errors), let the refusal leave as a \
            response: `.refuse_with(mainstay::http::AsResponse)` or \
            `.refuse_with(mainstay::grpc::AsResponse)`"
)]
pub trait Refuse<Res, Err> {
    /// What the caller sees of `rejected`.
    ///
    /// # Errors
    ///
    /// That is the point, where refusals leave as errors.
    fn refuse(&self, rejected: Rejected) -> Result<Res, Err>;

    /// The refusal in `result`, when a layer below made it.
    fn rejection(&self, result: Result<&Res, &Err>) -> Option<Rejected>;
}

/// Turns an attempt that timed out into what the service returns.
#[diagnostic::on_unimplemented(
    message = "a timed-out attempt cannot leave this layer as `Result<{Res}, {Err}>` by way of `{Self}`",
    note = "with `AsError` the error type must implement `From<TimedOut>`, as `tower::BoxError` \
            does: make it one with `.map_err(tower::BoxError::from)`, or use \
            `.refuse_with(mainstay::http::AsResponse)` or `.refuse_with(mainstay::grpc::AsResponse)`"
)]
pub trait GiveUp<Res, Err> {
    /// What the caller sees of `timed_out`.
    ///
    /// # Errors
    ///
    /// That is the point, where timeouts leave as errors.
    fn give_up(&self, timed_out: TimedOut) -> Result<Res, Err>;

    /// Whether `result` is how a transport or a callee that was told of the limit `at` says that time is over.
    ///
    /// Theirs may be the first timer to fire, and the caller sees the same whichever it was. Defaults to no.
    fn is_expiry(&self, _result: Result<&Res, &Err>, _at: Tick) -> bool {
        false
    }
}

/// Refusals leave as errors: the service's error type is made from them.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct AsError;

#[diagnostic::do_not_recommend]
impl<Res, Err> Refuse<Res, Err> for AsError
where
    Err: From<Rejected> + AsRejected,
{
    fn refuse(&self, rejected: Rejected) -> Result<Res, Err> {
        Err(rejected.into())
    }

    fn rejection(&self, result: Result<&Res, &Err>) -> Option<Rejected> {
        result.err().and_then(AsRejected::as_rejected)
    }
}

#[diagnostic::do_not_recommend]
impl<Res, Err> GiveUp<Res, Err> for AsError
where
    Err: From<TimedOut>,
{
    fn give_up(&self, timed_out: TimedOut) -> Result<Res, Err> {
        Err(timed_out.into())
    }
}
