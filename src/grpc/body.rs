use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use pin_project::pin_project;
use tonic::Status;
use tower::{Layer, Service};

use crate::http::{Bounded, Expire};
use crate::scope::Scope;
use crate::time::Tick;

/// Ends an answer at the deadline of its call, however far it has come.
///
/// A gRPC deadline covers the whole call, its streams included. A body that is not done by then ends with
/// `DEADLINE_EXCEEDED` in its trailers. It belongs inside the breaker, which sees that end like any other. Clones share
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct BodyDeadlineLayer;

impl<S> Layer<S> for BodyDeadlineLayer {
    type Service = BodyDeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyDeadlineService { inner }
    }
}

/// The service of [`BodyDeadlineLayer`].
#[derive(Clone, Debug)]
pub struct BodyDeadlineService<S> {
    inner: S,
}

impl<S, Req, B> Service<Request<Req>> for BodyDeadlineService<S>
where
    S: Service<Request<Req>, Response = Response<B>>,
{
    type Response = Response<Bounded<B, DeadlineTrailers>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let at = Scope::current().deadline().unwrap_or(Tick::NEVER);
        let future = self.inner.call(request);
        ResponseFuture { future, at }
    }
}

/// The future of [`BodyDeadlineService`].
///
/// # Cancel safety
///
/// Dropping it drops the call.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F> {
    #[pin]
    future: F,
    at: Tick,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Bounded<B, DeadlineTrailers>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let at = *this.at;
        Poll::Ready(
            result.map(|response| response.map(|body| Bounded::new(body, at, DeadlineTrailers))),
        )
    }
}

/// The trailers that end an answer whose time is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeadlineTrailers;

impl<B: Body> Expire<B> for DeadlineTrailers {
    fn expire(&self) -> Option<Result<Frame<B::Data>, B::Error>> {
        let mut trailers = HeaderMap::new();
        // A message of ASCII always fits into a header.
        let told = Status::deadline_exceeded("the deadline has passed").add_header(&mut trailers);
        told.ok().map(|()| Ok(Frame::trailers(trailers)))
    }
}

impl<B: Default> Default for Bounded<B, DeadlineTrailers> {
    fn default() -> Self {
        Self::new(B::default(), Tick::NEVER, DeadlineTrailers)
    }
}
