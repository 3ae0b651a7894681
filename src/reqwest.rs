//! The standard stack for reqwest, as a middleware: `client.get(url).send()` stays as it is.
//!
//! What changes are types. The client is a `reqwest_middleware::ClientWithMiddleware` and errors are
//! `reqwest_middleware::Error`; name them with `cargo add reqwest-middleware`. `.json()`, `.query()`, `.form()` and
//! `.multipart()` of a request are features of that crate, off by default. The versions are reqwest 0.13 and
//! reqwest-middleware 0.5.
//!
//! For a [fallback](crate::fallback), make the call a service:
//! `service_fn(move |id: u64| fetch(client.clone(), id))` with errors as `tower::BoxError`. A status of 503 is an answer
//! to reqwest, and an error only after `.error_for_status()?`.
//!
//! # Example
//!
//! ```
//! use mainstay::standard::Stack;
//!
//! let client = Stack::standard("rates").reqwest(reqwest::Client::new());
//! let request = client.get("http://127.0.0.1:8080/rates/EUR"); // `.send().await?` as always
//! # let _ = request;
//! ```

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::reqwest::{Body, Client, Request, Response, ResponseBuilderExt};
use http::Extensions;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use tower::{BoxError, Service, ServiceBuilder};

use crate::error::{AsRejected, Rejected, TimedOut, rejection};
use crate::http::{
    AsResponse, Bounded, ByStatus, DeadlineHeader, Expire, is_idempotent, of_head, problem,
};
use crate::outcome::{Classify, Failure, Outcome};
use crate::reject::{GiveUp, Refuse};
use crate::retry::Replay;
use crate::rt;
use crate::scope::Scope;
use crate::standard::Stack;
use crate::time::Tick;

impl Stack {
    /// Puts the stack around a reqwest client.
    ///
    /// A refusal is an error: `reqwest_middleware::Error::Middleware`, which
    /// [`AsRejected`] tells from any other; [`Rejected::is_untried`] says whether the request surely was not sent. A
    /// request is retried when it is idempotent
    /// ([`is_idempotent`], or [`Stack::idempotent`] vouches) and its body can be cloned: a stream cannot. The deadline
    /// holds for the body of the answer too.
    #[must_use]
    pub fn reqwest(&self, client: Client) -> ClientWithMiddleware {
        ClientBuilder::new(client)
            .with(StackMiddleware {
                stack: self.clone(),
            })
            .build()
    }
}

/// A [`Stack`] among other middlewares. Those added after it run once per attempt.
#[derive(Clone, Debug)]
pub struct StackMiddleware {
    stack: Stack,
}

impl From<Stack> for StackMiddleware {
    fn from(stack: Stack) -> Self {
        Self { stack }
    }
}

#[async_trait::async_trait]
impl Middleware for StackMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let stack = &self.stack;
        let replay = TryClone {
            all: stack.idempotent,
        };
        let attempt = Attempt {
            next,
            extensions: extensions.clone(),
            header: stack.header.clone(),
        };
        let mut service = ServiceBuilder::new()
            .layer(stack.deadline.clone())
            .layer(stack.limit.clone().classify(ByStatus))
            .layer(stack.retry.clone().classify(ByStatus).replay_with(replay))
            .layer(stack.breaker.clone().classify(ByStatus))
            .layer(stack.attempt.clone())
            .service(attempt);
        let limit = stack.deadline.handle().limit();
        let until = Scope::current().until(rt::now() + limit.get());
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let response = service.call(request).await?;
        Ok(bounded(response, until.deadline().unwrap_or(Tick::NEVER)))
    }
}

/// The answer with a body that ends at the deadline as well: a callee that stalls after the head has not answered.
fn bounded(response: Response, at: Tick) -> Response {
    let url = response.url().clone();
    let (mut head, body) = http::Response::from(response).into_parts();
    // The URL is no part of an `http::Response`; reqwest reads it back from the extensions.
    if let Ok(told) = http::Response::builder().url(url).body(()) {
        head.extensions.extend(told.into_parts().0.extensions);
    }
    let body = Bounded::new(body.map_err(BoxError::from), at, TimedOutBody);
    http::Response::from_parts(head, Body::wrap(body)).into()
}

/// Ends a body with an error of which `reqwest::Error::is_timeout` is true.
struct TimedOutBody;

impl<B: HttpBody<Error = BoxError>> Expire<B> for TimedOutBody {
    fn expire(&self) -> Option<Result<Frame<B::Data>, BoxError>> {
        // No `Rejected`: the request was sent, and answered in part.
        let late = "the deadline has passed";
        let error = std::io::Error::new(std::io::ErrorKind::TimedOut, late);
        Some(Err(error.into()))
    }
}

/// One attempt: the rest of the chain.
#[derive(Clone)]
struct Attempt<'a> {
    next: Next<'a>,
    extensions: Extensions,
    header: DeadlineHeader,
}

impl<'a> Service<Request> for Attempt<'a> {
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        self.header.write(request.headers_mut());
        let (next, mut extensions) = (self.next.clone(), self.extensions.clone());
        Box::pin(async move { next.run(request, &mut extensions).await })
    }
}

/// Makes a `reqwest::Request` again, if it is idempotent and its body is no stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct TryClone {
    all: bool,
}

impl TryClone {
    /// Only requests that say of themselves that they may be made twice.
    #[must_use]
    pub const fn new() -> Self {
        Self { all: false }
    }

    /// Vouches that the callee applies every request once, however often it comes.
    #[must_use]
    pub const fn all_idempotent(mut self, all: bool) -> Self {
        self.all = all;
        self
    }
}

impl Replay<Request> for TryClone {
    type Request = Request;
    type Kept = Request;

    fn first(&self, request: Request) -> (Request, Option<Request>) {
        let may = self.all || is_idempotent(request.method(), request.headers());
        let kept = if may { request.try_clone() } else { None };
        (request, kept)
    }

    fn again(&self, kept: &mut Request) -> Option<Request> {
        kept.try_clone()
    }
}

impl Classify<Response, ::reqwest::Error> for ByStatus {
    fn classify(&self, result: Result<&Response, &::reqwest::Error>) -> Outcome {
        match result {
            Ok(response) => of_head(response.status(), response.headers()),
            // The request could not be made, or was led in a circle: the callee never had a say.
            Err(error) if error.is_builder() || error.is_redirect() => Outcome::Ignored,
            Err(error) if error.is_timeout() => Outcome::Failure(Failure::Timeout),
            Err(_) => Outcome::Failure(Failure::Unavailable),
        }
    }
}

impl Classify<Response, Error> for ByStatus {
    fn classify(&self, result: Result<&Response, &Error>) -> Outcome {
        match result {
            Ok(response) => of_head(response.status(), response.headers()),
            Err(Error::Reqwest(error)) => self.classify(Err::<&Response, _>(error)),
            Err(Error::Middleware(error)) if error.is::<TimedOut>() => {
                Outcome::Failure(Failure::Timeout)
            }
            Err(Error::Middleware(_)) => Outcome::Failure(Failure::Error),
        }
    }
}

/// For a bare `reqwest::Client` as a tower service, whose error type cannot be made from outside.
impl<E> Refuse<Response, E> for AsResponse {
    fn refuse(&self, rejected: Rejected) -> Result<Response, E> {
        Ok(problem::<::reqwest::Body>(rejected).into())
    }

    fn rejection(&self, result: Result<&Response, &E>) -> Option<Rejected> {
        result.ok()?.extensions().get().copied()
    }
}

impl<E> GiveUp<Response, E> for AsResponse {
    fn give_up(&self, timed_out: TimedOut) -> Result<Response, E> {
        let response: Result<http::Response<::reqwest::Body>, E> = self.give_up(timed_out);
        response.map(Response::from)
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::middleware(rejected)
    }
}

impl From<TimedOut> for Error {
    fn from(timed_out: TimedOut) -> Self {
        Self::middleware(timed_out)
    }
}

impl AsRejected for Error {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Middleware(error) => rejection(error.as_ref()),
            Self::Reqwest(error) => rejection(error),
        }
    }
}
