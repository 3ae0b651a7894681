use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use tower::{Layer, Service};

use super::attempt::AttemptHeader;
use crate::deadline::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
use crate::rt;
use crate::scope::{Scope, Scoped};

/// The header in which the time left travels to the next process.
///
/// # Example
///
/// ```
/// use mainstay::http::DeadlineHeader;
///
/// let ours = DeadlineHeader::millis(http::HeaderName::from_static("x-time-left-ms"));
/// let carry = ours.clone().carry(); // on the client, next to the transport
/// let honour = ours.honour(); // on the server, outside of its `DeadlineLayer`
/// # let _ = (carry, honour);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineHeader {
    name: HeaderName,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Grpc,
    Millis,
}

impl DeadlineHeader {
    /// Whole milliseconds, relative, in a header of this name.
    #[must_use]
    pub const fn millis(name: HeaderName) -> Self {
        Self {
            name,
            unit: Unit::Millis,
        }
    }

    /// gRPC's own `grpc-timeout`.
    #[must_use]
    pub const fn grpc() -> Self {
        Self {
            name: HeaderName::from_static("grpc-timeout"),
            unit: Unit::Grpc,
        }
    }

    /// Writes the time left into each request: the client's half.
    #[must_use]
    pub const fn carry(self) -> CarryLayer {
        CarryLayer {
            header: self,
            attempt: None,
        }
    }

    /// Reads the time left from each request: the server's half, and the client's for a limit that the caller set on
    /// the request itself.
    #[must_use]
    pub const fn honour(self) -> HonourLayer {
        HonourLayer {
            header: self,
            attempt: None,
        }
    }

    /// The time left that `headers` tells, in the scope; it only shortens what the scope says already.
    fn read(&self, headers: &http::HeaderMap) -> Scope {
        let scope = Scope::current();
        let value = headers
            .get(&self.name)
            .and_then(|value| value.to_str().ok());
        let left = value.and_then(|value| match self.unit {
            Unit::Grpc => parse_grpc_timeout(value),
            Unit::Millis => parse_millis(value),
        });
        match left {
            Some(left) => scope.until(rt::now() + left),
            None => scope,
        }
    }

    /// Writes the time left, where the scope knows one.
    pub(crate) fn write(&self, headers: &mut http::HeaderMap) {
        let Some(deadline) = self.read(headers).deadline() else {
            return;
        };
        let left = deadline.since(rt::now());
        let value = match self.unit {
            Unit::Grpc => HeaderValue::from_str(&format_grpc_timeout(left)).ok(),
            Unit::Millis => Some(HeaderValue::from(
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            )),
        };
        if let Some(value) = value {
            headers.insert(self.name.clone(), value);
        }
    }
}

/// `x-request-timeout-ms`: there is no standard header, so the name says what it holds.
impl Default for DeadlineHeader {
    fn default() -> Self {
        Self::millis(HeaderName::from_static("x-request-timeout-ms"))
    }
}

/// Tells the callee how much time is left, and if asked to, which attempt this is.
///
/// It belongs next to the transport, so that each attempt tells its own. Clones share nothing.
#[derive(Clone, Debug)]
pub struct CarryLayer {
    header: DeadlineHeader,
    attempt: Option<AttemptHeader>,
}

impl CarryLayer {
    /// Writes the number of the attempt too. A first attempt is not mentioned.
    #[must_use]
    pub fn attempt(mut self, header: AttemptHeader) -> Self {
        self.attempt = Some(header);
        self
    }
}

impl<S> Layer<S> for CarryLayer {
    type Service = CarryService<S>;

    fn layer(&self, inner: S) -> CarryService<S> {
        CarryService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`CarryLayer`].
#[derive(Clone, Debug)]
pub struct CarryService<S> {
    inner: S,
    layer: CarryLayer,
}

impl<S, B> Service<Request<B>> for CarryService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.header.write(request.headers_mut());
        if let Some(attempt) = &self.layer.attempt {
            attempt.write(request.headers_mut());
        }
        self.inner.call(request)
    }
}

/// Takes over the time that the caller has left, and from callers that are trusted the number of their attempt.
///
/// It puts the deadline into the scope and enforces nothing: a [`DeadlineLayer`](crate::deadline::DeadlineLayer)
/// below refuses what is too late and ends what takes too long. A header that cannot be read says nothing. Clones share
/// nothing.
#[derive(Clone, Debug)]
pub struct HonourLayer {
    header: DeadlineHeader,
    attempt: Option<AttemptHeader>,
}

impl HonourLayer {
    /// Believes the number of the attempt that the caller tells: within a call that its caller retries, the policies
    /// here retry nothing (see [`Nesting`](crate::retry::Nesting)). For callers that are trusted only; anybody else
    /// could turn retries off.
    #[must_use]
    pub fn attempt(mut self, header: AttemptHeader) -> Self {
        self.attempt = Some(header);
        self
    }
}

impl<S> Layer<S> for HonourLayer {
    type Service = HonourService<S>;

    fn layer(&self, inner: S) -> HonourService<S> {
        HonourService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`HonourLayer`].
#[derive(Clone, Debug)]
pub struct HonourService<S> {
    inner: S,
    layer: HonourLayer,
}

impl<S, B> Service<Request<B>> for HonourService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scoped<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut scope = self.layer.header.read(request.headers());
        if let Some(attempt) = &self.layer.attempt {
            scope = attempt.read(request.headers(), scope);
        }
        Scoped::new(scope, || self.inner.call(request))
    }
}
