use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tower::Service;

use super::driver::Health;

/// Answers `/livez` and `/readyz`: a service to mount, for every body that can be made from a `String`.
///
/// - `/livez` is 200 while the process answers at all. That a component is down is no reason to restart this process.
/// - `/readyz` is 200 while [`readiness`](Health::readiness) says so, and else 503; its text says which components stand in
///   the way. It names components, so it belongs on a port that only the platform reaches.
/// - Everything else is 404, and other methods than GET and HEAD are 405.
///
/// # Example: in axum
///
/// ```
/// use axum::Router;
/// use axum::body::Body;
/// use mainstay::health::{ConsecutiveConfig, Health, HealthService};
///
/// # fn main() -> Result<(), mainstay::error::ConfigErrors> {
/// let health = Health::builder()
///     .reported("database", ConsecutiveConfig::default())
///     .needs("database")
///     .build()?;
/// let served: HealthService<Body> = HealthService::new(health);
/// let app: Router = Router::new()
///     .route_service("/livez", served.clone())
///     .route_service("/readyz", served);
/// # drop(app);
/// # Ok(())
/// # }
/// ```
pub struct HealthService<B> {
    health: Health,
    body: PhantomData<fn() -> B>,
}

impl<B> HealthService<B> {
    /// Serves what is known there.
    #[must_use]
    pub const fn new(health: Health) -> Self {
        Self {
            health,
            body: PhantomData,
        }
    }
}

impl<B> Clone for HealthService<B> {
    fn clone(&self) -> Self {
        Self::new(self.health.clone())
    }
}

impl<B> fmt::Debug for HealthService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HealthService").field(&self.health).finish()
    }
}

impl<B: From<String>, ReqBody> Service<Request<ReqBody>> for HealthService<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (status, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "live".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => {
                let readiness = self.health.readiness();
                let status = if readiness.is_ready() {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                (status, readiness.to_string())
            }
            (_, "/livez" | "/readyz") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(B::from(text));
        *response.status_mut() = status;
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
        }
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, never);
        ready(Ok(response))
    }
}
