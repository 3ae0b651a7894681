/// How a request is made again.
///
/// A request goes in, the inner service's request comes out with what is kept to make it once more. [`CloneRequest`]
/// serves every `Clone`; `http::ReplayRequest` records a body as it is sent, up to a bound, and
/// `reqwest::TryClone` asks reqwest.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make a `{Req}` again",
    note = "`CloneRequest`, the default and what `Stack::service` uses, needs `Clone`; put what is \
            not behind an `Arc`, or for `http::Request` use a `RetryLayer` of your own with \
            `.replay_with(mainstay::http::ReplayRequest::new(..))`"
)]
pub trait Replay<Req> {
    /// What the inner service is called with.
    type Request;
    /// What is kept to make the request again.
    type Kept;

    /// The first request, and what makes it again; `None` if it must not or cannot be made twice.
    fn first(&self, request: Req) -> (Self::Request, Option<Self::Kept>);

    /// The request once more; `None` if it cannot be made again after all.
    fn again(&self, kept: &mut Self::Kept) -> Option<Self::Request>;
}

/// Clones the request. Whoever uses it says that the request may be made twice.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct CloneRequest;

#[diagnostic::do_not_recommend]
impl<Req: Clone> Replay<Req> for CloneRequest {
    type Request = Req;
    type Kept = Req;

    fn first(&self, request: Req) -> (Req, Option<Req>) {
        (request.clone(), Some(request))
    }

    fn again(&self, kept: &mut Req) -> Option<Req> {
        Some(kept.clone())
    }
}
