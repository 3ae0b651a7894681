//! Bodies frame by frame, for what only a broken callee sends.

use axum::body::Body;
use http_body::Frame;
use http_body_util::StreamBody;

/// A body of these frames; an `Err` breaks it off.
pub(crate) fn frames(
    frames: impl IntoIterator<
        Item = Result<Frame<bytes::Bytes>, std::io::Error>,
        IntoIter: Send + 'static,
    >,
) -> Body {
    Body::new(StreamBody::new(tokio_stream::iter(frames)))
}

pub(crate) fn broken() -> Result<Frame<bytes::Bytes>, std::io::Error> {
    Err(std::io::ErrorKind::ConnectionReset.into())
}
