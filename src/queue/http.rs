//! HTTP requests as entries.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
};
use http_body::Body;
use serde::{Deserialize, Serialize};

use super::codec::{Captured, Codec, Draft, Entry, Receipt};
use super::error::QueueError;
use super::lane::Lane;
use super::verdict::Verdict;
use crate::http::{of_head, status_only};
use crate::rt;
use crate::saga::base64;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

const TOKEN: HeaderName = HeaderName::from_static("x-fencing-token");

/// More of a body than this is not read, whatever the queue takes.
const LONGEST: usize = 256 << 10;

/// What of a request its lane may depend on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'r> {
    /// The method.
    pub method: &'r Method,
    /// The address.
    pub uri: &'r Uri,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// What layers further out have added, such as who the caller is.
    pub extensions: &'r Extensions,
}

type LaneOf = dyn Fn(&RequestHead<'_>) -> Lane + Send + Sync;

/// Queues `http::Request`s, for axum, hyper and reqwest alike. `B` is the type of their bodies; where the same codec goes to
/// the layer it need not be named.
///
/// An entry is the method, the path and query, those headers that are [kept](Self::header), and the body. Nothing else is:
/// **no credentials**, so whoever replays is trusted by the callee itself, or stands behind where callers are
/// authenticated; no extensions, so what handlers take from them has to be found again from what is kept. **Whatever tells
/// the callee whose the request is must be kept**, as the header of a tenant is in the example: without it a replay is booked
/// under nobody. The path and query are in the store as they are, so a secret in a query is one there.
///
/// Keys are each tenant's own, and the tenant is that of the [lane](Self::lane). By default there is none, and all callers
/// share one space of keys: where callers do not trust each other take the tenant from who was authenticated (an extension,
/// or a header that a proxy sets and no caller can), or one of them can learn that a key was used, and take it first.
///
/// A replayed request has the caller's `idempotency-key` and an `x-fencing-token`, the turn's [token](Entry::token). Its
/// address is the path and query alone: a client puts the callee's host in front of it.
///
/// | answer of the callee | verdict |
/// |---|---|
/// | 2xx | applied |
/// | 429, 503, 502, none | later, and not counted against the entry |
/// | 401, 407, 425 | the same: it is this program, or the moment, that is refused |
/// | 408, 504, other 5xx except 501 and 505 | later |
/// | 409, 412, 423 | later: the first request under the key may be under way still, the turn may be another's |
/// | every other | poison |
///
/// A caller whose request is queued gets 202 and `{"status":"queued","entry":17}`, with its key in `idempotency-key`; the
/// status of a known key may be `poisoned` or `applied` as well. 400 says that the key or the body is none, 410 that an
/// operator has dropped the entry, 413 that the request is too long, 422 that the key is that of another request. A second
/// request is the same as the first by lane, method, path and query, the headers that are kept, and body.
///
/// # Example
///
/// ```
/// use axum::body::Body;
/// use http::HeaderName;
/// use mainstay::queue::{HttpCodec, Lane};
///
/// // One lane for each account, whatever else the path says; tenants by a header that a proxy sets, and that is kept so that
/// // a replay has it too.
/// const TENANT: HeaderName = HeaderName::from_static("x-tenant");
/// let codec = HttpCodec::<Body>::new().header(&TENANT).lane(|head| {
///     let account = head.uri.path().split('/').nth(2).unwrap_or_default();
///     let tenant = head.headers.get(TENANT).and_then(|tenant| tenant.to_str().ok());
///     Lane::new(account).tenant(tenant.unwrap_or_default())
/// });
/// # let _ = codec;
/// ```
pub struct HttpCodec<B> {
    lane: Arc<LaneOf>,
    kept: BTreeSet<Box<str>>,
    body: usize,
    makes_keys: bool,
    body_type: PhantomData<fn() -> B>,
}

impl<B> HttpCodec<B> {
    /// A lane for each path, in no tenant; a body of 256 KiB at most; requests without a key are refused.
    ///
    /// In no tenant all callers share one space of keys. Where there are several, [`lane`](Self::lane) has to give the
    /// tenant of the authenticated caller.
    #[must_use]
    pub fn new() -> Self {
        let kept = [
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            IF_UNMODIFIED_SINCE,
        ];
        Self {
            lane: Arc::new(|head| Lane::new(head.uri.path())),
            kept: kept.iter().map(|name| name.as_str().into()).collect(),
            body: LONGEST,
            makes_keys: false,
            body_type: PhantomData,
        }
    }

    /// Whose order is kept, and which tenant's the entry and its key are. Defaults to the path, in no tenant. The tenant must
    /// be the authenticated caller's; what the callee knows it by must be [kept](Self::header).
    #[must_use]
    pub fn lane(mut self, lane: impl Fn(&RequestHead<'_>) -> Lane + Send + Sync + 'static) -> Self {
        self.lane = Arc::new(lane);
        self
    }

    /// Keeps this header too. Defaults to the type, encoding and language of the content, and to what the write depends on:
    /// `if-match`, `if-none-match`, `if-unmodified-since`. What is kept stands in the store in plain text, unless the queue
    /// seals: think before credentials are. And it is compared: under one key another value is another request, so keep
    /// nothing that a client changes from one attempt to the next.
    #[must_use]
    pub fn header(mut self, name: &HeaderName) -> Self {
        self.kept.insert(name.as_str().into());
        self
    }

    /// At most so many bytes of a body are read. Defaults to 256 KiB.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }

    /// Makes a key for a request that has none. Defaults to no: such a request is refused as degraded, because its caller,
    /// who cannot be told apart from another, would double it by trying again.
    #[must_use]
    pub const fn generate_keys(mut self, makes: bool) -> Self {
        self.makes_keys = makes;
        self
    }

    fn draft(
        &self,
        head: &http::request::Parts,
        lane: Lane,
        body: &[u8],
    ) -> Result<Draft, QueueError> {
        let made;
        let key = match head.headers.get(KEY) {
            // What is no text is no key either.
            Some(key) => key.to_str().unwrap_or_default(),
            None if self.makes_keys => {
                made = format!("{:016x}{:016x}", rt::entropy(), rt::entropy());
                &made
            }
            None => return Err(QueueError::NoKey),
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let kept = head.headers.iter();
        let mut kept: Vec<(&str, &[u8])> = kept
            .filter(|(name, _)| self.kept.contains(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        // Their order says nothing, but that of the values of one does.
        kept.sort_by_key(|(name, _)| *name);
        let letters = |(name, value): &(&str, &[u8])| ((*name).to_owned(), Letters::of(value));
        let written = Written {
            method: head.method.as_str().to_owned(),
            path: path.to_owned(),
            headers: kept.iter().map(letters).collect(),
            body: Letters::of(body),
        };
        // Text throughout.
        let payload = serde_json::to_vec(&written).map_err(|_| QueueError::BrokenOff)?;
        let same = [head.method.as_str().as_bytes(), path.as_bytes(), body];
        let kept = kept
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value]);
        let same = same.into_iter().chain(kept);
        Ok(Draft::new(key, lane, payload)?.same_by(same))
    }
}

impl<B> Clone for HttpCodec<B> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            kept: self.kept.clone(),
            body: self.body,
            makes_keys: self.makes_keys,
            body_type: PhantomData,
        }
    }
}

impl<B> Default for HttpCodec<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> fmt::Debug for HttpCodec<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCodec")
            .field("kept", &self.kept)
            .field("body", &self.body)
            .field("makes_keys", &self.makes_keys)
            .finish_non_exhaustive()
    }
}

/// A request, as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Letters)>,
    #[serde(default, skip_serializing_if = "Letters::is_empty")]
    body: Letters,
}

/// Bytes that an operator can read where they are text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Letters {
    Text(String),
    Bytes { base64: String },
}

impl Letters {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes {
                base64: base64::encode(bytes),
            },
        }
    }

    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Bytes { base64 } => base64::decode(&base64),
        }
    }

    const fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Default for Letters {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// The whole body, if it is no longer than this.
async fn read<B>(body: B, most: usize) -> Result<Vec<u8>, QueueError>
where
    B: Body,
{
    let mut body = pin!(body);
    if body.size_hint().lower() > most as u64 {
        return Err(QueueError::TooLong);
    }
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| QueueError::BrokenOff)?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if read.len().saturating_add(data.remaining()) > most {
            return Err(QueueError::TooLong);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(read)
}

impl<B, B2, E> Codec<Request<B>, Response<B2>, E> for HttpCodec<B>
where
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
    B2: From<String>,
{
    fn lane(&self, request: &Request<B>) -> Lane {
        (self.lane)(&RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        })
    }

    fn capture(&self, request: Request<B>) -> Captured {
        let lane = Codec::<_, Response<B2>, E>::lane(self, &request);
        let codec = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            if !codec.makes_keys && !head.headers.contains_key(KEY) {
                return Err(QueueError::NoKey);
            }
            let body = read(body, codec.body).await?;
            codec.draft(&head, lane, &body)
        })
    }

    fn restore(&self, entry: &Entry) -> Option<Request<B>> {
        let written: Written = serde_json::from_slice(entry.payload()).ok()?;
        let body = Bytes::from(written.body.bytes()?);
        let mut request = Request::new(B::from(body));
        *request.method_mut() = Method::from_bytes(written.method.as_bytes()).ok()?;
        *request.uri_mut() = written.path.parse().ok()?;
        let headers = request.headers_mut();
        for (name, value) in written.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(&value.bytes()?).ok()?);
        }
        headers.insert(KEY, HeaderValue::from_str(entry.key()).ok()?);
        headers.insert(TOKEN, HeaderValue::from(entry.token()));
        Some(request)
    }

    fn queued(&self, receipt: &Receipt) -> Result<Response<B2>, E> {
        let (stage, entry) = (receipt.stage, receipt.entry);
        let body = format!(r#"{{"status":"{stage}","entry":{entry}}}"#);
        let mut response = Response::new(B2::from(body));
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::from_str(&receipt.key) {
            headers.insert(KEY, key);
        }
        Ok(response)
    }

    fn refused(&self, error: &QueueError) -> Result<Response<B2>, E> {
        let status = match error {
            QueueError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            QueueError::OtherRequest(_) => StatusCode::UNPROCESSABLE_ENTITY,
            QueueError::Dropped(_) => StatusCode::GONE,
            QueueError::Config(_) | QueueError::BrokenOff => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Ok(status_only(status))
    }

    fn judge(&self, result: Result<&Response<B2>, &E>) -> Verdict {
        let Ok(response) = result else {
            return Verdict::AWAY;
        };
        let status = response.status();
        let outcome = of_head(status, response.headers());
        if outcome.is_failure() {
            return outcome.into();
        }
        match status.as_u16() {
            200..=299 => Verdict::Applied,
            401 | 407 | 425 => Verdict::AWAY,
            409 | 412 | 423 => Verdict::FAILED,
            _ => Verdict::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_as_the_table_says() {
        let judge = |status: u16| {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Codec::<Request<http_body_util::Full<Bytes>>, _, ()>::judge(
                &HttpCodec::new(),
                Ok(&response),
            )
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(judge(status), Verdict::Applied, "{status}");
        }
        for status in [429, 503, 502, 401, 407, 425] {
            let away = Verdict::Later {
                counts: false,
                after: None,
            };
            assert_eq!(judge(status), away, "{status}");
        }
        for status in [408, 504, 500, 507, 409, 412, 423] {
            assert_eq!(judge(status), Verdict::FAILED, "{status}");
        }
        for status in [302, 304, 400, 403, 404, 405, 410, 413, 422, 501, 505] {
            assert_eq!(judge(status), Verdict::Refused, "{status}");
        }
    }
}
