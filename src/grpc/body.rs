use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;
use tonic::Status;
use tower::{Layer, Service};

use crate::rt;
use crate::scope::Scope;
use crate::time::Tick;

/// Ends an answer at the deadline of its call, however far it has come.
///
/// A gRPC deadline covers the whole call, its streams included. A body that is not done by then ends with
/// `DEADLINE_EXCEEDED` in its trailers. It belongs inside the breaker, which sees that end like any other. Clones share
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
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
    type Response = Response<Bounded<B>>;
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
    type Output = Result<Response<Bounded<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let at = *this.at;
        Poll::Ready(result.map(|response| response.map(|body| Bounded::new(body, at))))
    }
}

/// A body that ends at a deadline.
#[pin_project]
pub struct Bounded<B> {
    /// `None` once the time is over.
    #[pin]
    body: Option<B>,
    /// Outside of the task's budget: a body that uses the budget up must not hold off its own end.
    #[pin]
    sleep: Option<Unconstrained<Sleep>>,
    at: Tick,
}

impl<B> Bounded<B> {
    const fn new(body: B, at: Tick) -> Self {
        Self {
            body: Some(body),
            sleep: None,
            at,
        }
    }
}

impl<B: Body> Body for Bounded<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if *this.at == Tick::NEVER {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            let sleep = unconstrained(rt::sleep_until(*this.at));
            this.sleep.set(Some(sleep));
        }
        match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
            Some(Poll::Ready(())) => {
                this.body.set(None);
                let mut trailers = HeaderMap::new();
                // A message of ASCII always fits into a header.
                let told =
                    Status::deadline_exceeded("the deadline has passed").add_header(&mut trailers);
                Poll::Ready(told.ok().map(|()| Ok(Frame::trailers(trailers))))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // The deadline can cut it short, so only what is certain about a body that is there.
        let mut hint = SizeHint::default();
        if let Some(upper) = self.body.as_ref().and_then(|body| body.size_hint().upper()) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Default> Default for Bounded<B> {
    fn default() -> Self {
        Self::new(B::default(), Tick::NEVER)
    }
}

impl<B> fmt::Debug for Bounded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
