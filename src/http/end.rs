use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::breaker::{Ending, Settle, Until};
use crate::outcome::{Failure, Outcome};

/// Says how a call counts whose body came to its end.
pub trait ClassifyEnd {
    /// The outcome of an answer with these trailers, `None` where it had none.
    fn at_end(&self, trailers: Option<&HeaderMap>) -> Outcome;

    /// Whether the verdict stands in trailers, so that a body is not over when its bytes are. Defaults to no.
    fn in_trailers(&self) -> bool {
        false
    }

    /// Whether an answer with this head has said all that counts. Defaults to no.
    fn is_final(&self, _status: StatusCode, _headers: &HeaderMap) -> bool {
        false
    }
}

/// A call ends with the end of its body, where gRPC puts its status.
///
/// An answer whose head already says failure ends there. A body that breaks off is a failure. A body that the caller
/// drops before its end says nothing, unless the call's deadline has passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtEnd<C>(C);

impl<C> AtEnd<C> {
    /// Judges the end by `classify`.
    pub const fn new(classify: C) -> Self {
        Self(classify)
    }
}

impl<B: Body, C: ClassifyEnd + Clone, E: Ending> Until<Response<B>, E> for AtEnd<C> {
    type Response = Response<Tracked<B, C, E>>;

    fn plain(&self, response: Response<B>) -> Self::Response {
        response.map(Tracked::untracked)
    }

    fn track(&self, response: Response<B>, head: Outcome, settle: E) -> Self::Response {
        // A rejection, a failure or an ignored answer does not become anything else by its end.
        if head != Outcome::Success || self.0.is_final(response.status(), response.headers()) {
            settle.settle(head);
            return self.plain(response);
        }
        settle.answered();
        let left = response.headers().get(CONTENT_LENGTH);
        let left = left.and_then(|length| length.to_str().ok()?.parse().ok());
        let left = left.filter(|_| !self.0.in_trailers());
        response.map(|body| {
            let mut tracked = Tracked {
                body,
                left,
                end: Some((settle, self.0.clone())),
            };
            // A head without a body is all there is.
            if tracked.body.is_end_stream() {
                Tracked::<B, C, E>::settle(&mut tracked.end, |classify| classify.at_end(None));
            }
            tracked
        })
    }
}

/// A body that reports its end.
#[pin_project]
pub struct Tracked<B: Body, C: ClassifyEnd, E: Ending = Settle> {
    #[pin]
    body: B,
    /// Bytes that the head announced and that are still to come.
    left: Option<u64>,
    end: Option<(E, C)>,
}

impl<B: Body, C: ClassifyEnd, E: Ending> Tracked<B, C, E> {
    const fn untracked(body: B) -> Self {
        Self {
            body,
            left: None,
            end: None,
        }
    }

    fn settle(end: &mut Option<(E, C)>, outcome: impl FnOnce(&C) -> Outcome) {
        if let Some((settle, classify)) = end.take() {
            settle.settle(outcome(&classify));
        }
    }
}

impl<B: Body, C: ClassifyEnd, E: Ending> Body for Tracked<B, C, E> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let sent = frame.data_ref().map_or(0, Buf::remaining);
                if let Some(left) = this.left {
                    *left = left.saturating_sub(u64::try_from(sent).unwrap_or(u64::MAX));
                }
                if let Some(trailers) = frame.trailers_ref() {
                    Self::settle(this.end, |classify| classify.at_end(Some(trailers)));
                } else if *this.left == Some(0) || this.body.is_end_stream() {
                    // Nobody has to ask again after the last frame, and a server does not once all that it announced
                    // is sent.
                    Self::settle(this.end, |classify| classify.at_end(None));
                }
            }
            Some(Err(_)) => Self::settle(this.end, |_| Outcome::Failure(Failure::Unavailable)),
            None => Self::settle(this.end, |classify| classify.at_end(None)),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body + Default, C: ClassifyEnd, E: Ending> Default for Tracked<B, C, E> {
    fn default() -> Self {
        Self::untracked(B::default())
    }
}

impl<B: Body + From<String>, C: ClassifyEnd, E: Ending> From<String> for Tracked<B, C, E> {
    fn from(body: String) -> Self {
        Self::untracked(body.into())
    }
}

impl<B: Body, C: ClassifyEnd, E: Ending> fmt::Debug for Tracked<B, C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("open", &self.end.is_some())
            .finish_non_exhaustive()
    }
}
