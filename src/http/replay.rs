use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request};
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

use crate::retry::Replay;

/// Whether a request says of itself that it may be made twice: by its method, or by an `idempotency-key` header.
///
/// # Source
///
/// RFC 9110 §9.2.2; the header is that of the IETF draft "The Idempotency-Key HTTP Header Field".
#[must_use]
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

/// Makes an `http::Request` again, its body recorded as it is sent.
///
/// Only a request that says of itself that it may be made twice is ([`is_idempotent`]), unless
/// [`all_idempotent`](Self::all_idempotent) vouches for all. A body longer than the bound is sent once and not kept.
/// The inner service gets a `Request<ReplayBody<B>>`, or what [`wrap`](Self::wrap) makes of it.
#[derive(Clone, Copy, Debug)]
pub struct ReplayRequest<W = Identity> {
    bound: usize,
    all: bool,
    wrap: W,
}

/// Leaves the body as it is.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct Identity;

impl ReplayRequest {
    /// Keeps at most `bound` bytes of a body.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self {
            bound,
            all: false,
            wrap: Identity,
        }
    }

    /// Gives the inner service a body of its own type, such as `axum::body::Body::new`.
    pub fn wrap<W>(self, wrap: W) -> ReplayRequest<W> {
        ReplayRequest {
            bound: self.bound,
            all: self.all,
            wrap,
        }
    }
}

impl<W> ReplayRequest<W> {
    /// Vouches that the callee applies every request once, however often it comes.
    #[must_use]
    pub fn all_idempotent(mut self, all: bool) -> Self {
        self.all = all;
        self
    }

    fn start<B: Body>(&self, request: Request<B>) -> (Request<ReplayBody<B>>, Option<Kept<B>>)
    where
        B::Data: Buf,
    {
        let (head, body) = request.into_parts();
        if !self.all && !is_idempotent(&head.method, &head.headers) {
            return (
                Request::from_parts(head, ReplayBody(Reel::Once(body))),
                None,
            );
        }
        let tape = Tape {
            bound: self.bound,
            size_hint: body.size_hint(),
            body: Some(body),
            chunks: VecDeque::new(),
            kept: 0,
            trailers: None,
            ended: false,
            broken_by: None,
            issued: 1,
            showing: 1,
        };
        let tape = Arc::new(Mutex::new(tape));
        let kept = Kept {
            head: head.clone(),
            tape: Arc::clone(&tape),
        };
        let body = ReplayBody(Reel::Recorded {
            tape,
            showing: 1,
            next: 0,
        });
        (Request::from_parts(head, body), Some(kept))
    }
}

/// What makes a request again.
pub struct Kept<B> {
    head: http::request::Parts,
    tape: Arc<Mutex<Tape<B>>>,
}

impl<B> Kept<B> {
    fn again(&mut self) -> Option<Request<ReplayBody<B>>> {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        if tape.broken_by.is_some() {
            return None;
        }
        tape.issued += 1;
        let showing = tape.issued;
        drop(tape);
        let tape = Arc::clone(&self.tape);
        let body = ReplayBody(Reel::Recorded {
            tape,
            showing,
            next: 0,
        });
        Some(Request::from_parts(self.head.clone(), body))
    }
}

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<B: Body> Replay<Request<B>> for ReplayRequest<Identity> {
    type Request = Request<ReplayBody<B>>;
    type Kept = Kept<B>;

    fn first(&self, request: Request<B>) -> (Self::Request, Option<Kept<B>>) {
        self.start(request)
    }

    fn again(&self, kept: &mut Kept<B>) -> Option<Self::Request> {
        kept.again()
    }
}

#[diagnostic::do_not_recommend]
impl<B, B2, W> Replay<Request<B>> for ReplayRequest<W>
where
    B: Body,
    W: Fn(ReplayBody<B>) -> B2,
{
    type Request = Request<B2>;
    type Kept = Kept<B>;

    fn first(&self, request: Request<B>) -> (Self::Request, Option<Kept<B>>) {
        let (request, kept) = self.start(request);
        (request.map(&self.wrap), kept)
    }

    fn again(&self, kept: &mut Kept<B>) -> Option<Self::Request> {
        Some(kept.again()?.map(&self.wrap))
    }
}

/// The recording of a body.
struct Tape<B> {
    bound: usize,
    size_hint: SizeHint,
    /// What was not read yet.
    body: Option<B>,
    chunks: VecDeque<Bytes>,
    kept: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// The showing in which it became too long, or its source failed: it cannot be shown again.
    broken_by: Option<u32>,
    issued: u32,
    /// Which showing may read on; the ones before are over.
    showing: u32,
}

/// A body that is recorded as it is sent.
pub struct ReplayBody<B>(Reel<B>);

enum Reel<B> {
    Once(B),
    Recorded {
        tape: Arc<Mutex<Tape<B>>>,
        showing: u32,
        next: usize,
    },
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Reel::Once(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => {
                        Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                    }
                    Err(error) => Err(error.into()),
                }))
            }
            Reel::Recorded {
                tape,
                showing,
                next,
            } => {
                let mut tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
                // The attempt before may still hold its body somewhere. It may finish as long as no later one is sent:
                // the retry that this request was made again for can still be refused.
                tape.showing = tape.showing.max(*showing);
                if tape.showing != *showing {
                    return Poll::Ready(Some(Err("a later attempt sends this body".into())));
                }
                // A showing that was made before and not begun has nothing to show: what is left is not the whole.
                if tape.broken_by.is_some_and(|by| by != *showing) {
                    return Poll::Ready(Some(Err("the body is not kept any more".into())));
                }
                tape.poll_frame(next, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Reel::Once(body) => body.is_end_stream(),
            Reel::Recorded {
                tape,
                showing,
                next,
            } => {
                let tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
                let is_lost = tape.broken_by.is_some_and(|by| by != *showing);
                let more = is_lost || *next < tape.chunks.len() || tape.trailers.is_some();
                !more && (tape.ended || tape.body.as_ref().is_none_or(Body::is_end_stream))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Reel::Once(body) => body.size_hint(),
            Reel::Recorded { tape, next: 0, .. } => {
                tape.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .size_hint
            }
            // Only what is asked before the first frame becomes a Content-Length.
            Reel::Recorded { .. } => SizeHint::default(),
        }
    }
}

impl<B> Tape<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(
        &mut self,
        next: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(chunk) = self.chunks.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        let Some(body) = self.body.as_mut().filter(|_| !self.ended) else {
            // The trailers follow the last chunk, once.
            let trailers = self.trailers.clone().filter(|_| *next == self.chunks.len());
            *next = next.saturating_add(1);
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.broken_by = Some(self.showing);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                self.ended = true;
                *next = next.saturating_add(1);
                return Poll::Ready(None);
            }
        };
        let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        if let Some(data) = frame.data_ref() {
            self.kept = self.kept.saturating_add(data.len());
            if self.broken_by.is_some() || self.kept > self.bound {
                // Sent on, not kept; what was kept so far is of no use any more.
                self.broken_by = Some(self.showing);
                self.chunks.clear();
                *next = 0;
            } else {
                self.chunks.push_back(data.clone());
                *next += 1;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.ended = true;
            *next = next.saturating_add(1);
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl<B> fmt::Debug for Tape<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}
