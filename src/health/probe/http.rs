use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use bytes::Buf;
use http_body::Body;
use tower::Service;

use super::{Probe, Seen};
use crate::health::expected::Expected;
use crate::health::sample::{Sample, Why};
use crate::sync::{Mutex, lock};

/// Looks at a component by a request over HTTP.
///
/// Good is every status of success, or what [`expects`](Self::expects) says. An answer that is not good, and none, are bad
/// samples. The request has no body. Redirections are answers as any other, unless the client follows them by itself.
///
/// The client is the caller's, with its TLS and its connections; give it none that retries or breaks circuits, since then it is
/// that which is looked at. The address and the headers, which may hold secrets, are not in the `Debug` of this, and nothing
/// of an answer but its status is told to anybody. A body of which nothing is expected is not read; over HTTP/1 that
/// costs a connection where there is one, so let the component answer shortly.
///
/// # Cancel safety
///
/// A look that is dropped drops its call.
///
/// # Example: over reqwest
///
/// ```
/// use mainstay::health::{Expected, HttpProbe, Watch};
/// use mainstay::num::Period;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let probe = HttpProbe::reqwest(reqwest::Client::new(), "http://127.0.0.1:8080/healthz".parse()?)?
///     .expects(Expected::default().body(256, |body| body == b"green"));
/// let watch = Watch::new("ledger", probe).every(Period::secs(5)).timeout(Period::secs(2));
/// # drop(watch);
/// # Ok(())
/// # }
/// ```
///
/// # Example: over a service of tower
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use mainstay::health::{HttpProbe, Watch};
/// use tower::service_fn;
///
/// // A client of hyper's, or any other; here what it would ask.
/// let client = service_fn(|request: Request<String>| async move {
///     assert_eq!(request.uri().path(), "/healthz");
///     Ok::<_, Infallible>(Response::new(String::new()))
/// });
/// let watch = Watch::new("ledger", HttpProbe::over(client, http::Uri::from_static("http://ledger/healthz")));
/// # drop(watch);
/// ```
#[derive(Clone)]
pub struct HttpProbe {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    expected: Expected,
    client: Arc<dyn Client>,
}

/// What is asked, and what is expected of the answer.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) expected: Expected,
}

pub(super) type Asking = Pin<Box<dyn Future<Output = Sample> + Send>>;

/// The clients that there are, by what they do here.
pub(super) trait Client: Send + Sync {
    fn ask(&self, ask: Ask) -> Asking;
}

impl HttpProbe {
    /// Asks by GET, over a clone of this service for each look.
    pub fn over<S, B, R>(service: S, uri: Uri) -> Self
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
        B: Default + Send + 'static,
        R: Body<Data: Send> + Send + 'static,
    {
        let service = Mutex::new(service);
        Self::by(
            Arc::new(Over(move |ask| {
                let service = lock(&service).clone();
                Box::pin(call(service, ask)) as Asking
            })),
            uri,
        )
    }

    pub(super) fn by(client: Arc<dyn Client>, uri: Uri) -> Self {
        Self {
            method: Method::GET,
            uri,
            headers: HeaderMap::new(),
            expected: Expected::default(),
            client,
        }
    }

    /// Asks by HEAD, for which there is no body: what is expected of one is told of an empty one.
    #[must_use]
    pub fn head(mut self) -> Self {
        self.method = Method::HEAD;
        self
    }

    /// Sends this header as well. It is marked as sensitive, so that nobody logs it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    /// What a good answer is. Default any status of success, whatever the body.
    #[must_use]
    pub fn expects(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }
}

impl Probe for HttpProbe {
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        self.client.ask(Ask {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            expected: self.expected.clone(),
        })
    }
}

impl fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe")
            .field("method", &self.method)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

struct Over<F>(F);

impl<F: Fn(Ask) -> Asking + Send + Sync> Client for Over<F> {
    fn ask(&self, ask: Ask) -> Asking {
        (self.0)(ask)
    }
}

async fn call<S, B, R>(mut service: S, ask: Ask) -> Sample
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Default,
    R: Body,
{
    if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
        return Sample::down(Why::Unreachable);
    }
    let mut request = Request::new(B::default());
    *request.method_mut() = ask.method;
    *request.uri_mut() = ask.uri;
    *request.headers_mut() = ask.headers;
    let Ok(response) = service.call(request).await else {
        return Sample::down(Why::Unreachable);
    };
    let status = response.status().as_u16();
    let Some(longest) = ask.expected.reads(status) else {
        return ask.expected.judge(status, None);
    };
    match read(response.into_body(), longest).await {
        Ok(body) => ask.expected.judge(status, body.as_deref()),
        Err(Broken) => Sample::down(Why::Malformed),
    }
}

/// It broke off.
struct Broken;

/// The body, or `None` if it is longer than this.
async fn read<R: Body>(body: R, longest: usize) -> Result<Option<Vec<u8>>, Broken> {
    let mut body = pin!(body);
    let mut read = Vec::new();
    loop {
        let promised = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if promised > longest.saturating_sub(read.len()) {
            return Ok(None);
        }
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            return Ok(Some(read));
        };
        // Trailers say nothing here.
        let Ok(mut data) = frame.map_err(|_| Broken)?.into_data() else {
            continue;
        };
        if data.remaining() > longest.saturating_sub(read.len()) {
            return Ok(None);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
}
