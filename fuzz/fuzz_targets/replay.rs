//! Any body in any pieces, sent once or again and again, read to the end or left half-way: each showing is what the
//! first one would have been.

#![no_main]

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use mainstay::http::{ReplayBody, ReplayRequest};
use mainstay::retry::Replay;

#[derive(Arbitrary, Debug)]
struct Case {
    bound: u16,
    post: bool,
    vouched: bool,
    pieces: Vec<Piece>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Piece {
    Data(Vec<u8>),
    Pending,
    /// Nothing comes after it.
    Error,
    /// Nothing comes after them.
    Trailers(u8),
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Polls the latest showing.
    Poll,
    /// Polls one of the showings before.
    PollOld(u8),
    Again,
}

/// The request's own body.
struct Source(VecDeque<Piece>);

impl Body for Source {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Piece::Pending) => Poll::Pending,
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Piece::Error) => {
                self.0.clear();
                Poll::Ready(Some(Err("the source broke")))
            }
            Some(Piece::Trailers(value)) => {
                self.0.clear();
                Poll::Ready(Some(Ok(Frame::trailers(trailers(value)))))
            }
        }
    }
}

fn trailers(value: u8) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("end", HeaderValue::from(u16::from(value)));
    trailers
}

/// What one showing has said so far.
#[derive(Debug, Default)]
struct Shown {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    failed: bool,
}

/// What the whole body says, if it is read to the end.
fn whole(pieces: &[Piece]) -> Shown {
    let mut shown = Shown::default();
    for piece in pieces {
        match piece {
            Piece::Data(data) => shown.data.extend_from_slice(data),
            Piece::Pending => {}
            Piece::Error => {
                shown.failed = true;
                return shown;
            }
            Piece::Trailers(value) => {
                shown.trailers = Some(trailers(*value));
                break;
            }
        }
    }
    shown.ended = true;
    shown
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let expected = whole(&case.pieces);
    let method = if case.post { Method::POST } else { Method::PUT };
    let body = Source(case.pieces.into());
    let request = Request::builder().method(method).uri("/x").body(body);
    let request = request.expect("these parts make a request");
    let replay = ReplayRequest::new(case.bound.into()).all_idempotent(case.vouched);
    let (first, mut kept) = replay.first(request);
    assert_eq!(
        kept.is_some(),
        !case.post || case.vouched,
        "who says that it may be made twice?"
    );

    let mut showings = vec![(first.into_body(), Shown::default())];
    // The latest that was polled has the source from then on.
    let mut latest_polled = 0;
    let mut read = 0;
    // The showing in which the body became too long, or its source failed.
    let mut broken_by = None;
    for step in case.steps {
        let place = match step {
            Step::Again => {
                let Some(kept) = kept.as_mut() else { continue };
                let again = replay.again(kept);
                assert_eq!(
                    again.is_none(),
                    broken_by.is_some(),
                    "only what is kept whole is sent again"
                );
                if let Some(again) = again {
                    assert_eq!(again.uri(), "/x");
                    showings.push((again.into_body(), Shown::default()));
                }
                continue;
            }
            Step::Poll => showings.len() - 1,
            Step::PollOld(which) => usize::from(which) % showings.len(),
        };
        let Some((body, shown)) = showings.get_mut(place) else {
            continue;
        };
        if shown.failed || shown.ended {
            continue;
        }
        if place < latest_polled {
            assert!(
                matches!(poll(body), Poll::Ready(Some(Err(_)))),
                "a later one sends it"
            );
            shown.failed = true;
            continue;
        }
        latest_polled = place;
        if broken_by.is_some_and(|by| by != place) {
            assert!(
                matches!(poll(body), Poll::Ready(Some(Err(_)))),
                "it is not kept whole"
            );
            shown.failed = true;
            continue;
        }
        show(body, shown, &expected);
        read = read.max(shown.data.len());
        if kept.is_some() && (read > usize::from(case.bound) || shown.failed) {
            broken_by = broken_by.or(Some(place));
        }
    }
}

/// One poll, which goes on where the showing was.
fn show(body: &mut ReplayBody<Source>, shown: &mut Shown, expected: &Shown) {
    let at_end = body.is_end_stream();
    match poll(body) {
        Poll::Pending => assert!(!at_end),
        Poll::Ready(None) => {
            assert!(
                expected.ended && shown.data == expected.data,
                "it ended too early"
            );
            assert_eq!(shown.trailers, expected.trailers);
            shown.ended = true;
        }
        Poll::Ready(Some(Err(_))) => {
            assert!(expected.failed && !at_end, "only the source breaks");
            assert_eq!(shown.data, expected.data);
            shown.failed = true;
        }
        Poll::Ready(Some(Ok(frame))) => {
            assert!(!at_end, "it said that it was over");
            match frame.into_data() {
                Ok(data) => shown.data.extend_from_slice(&data),
                Err(frame) => {
                    assert!(shown.trailers.is_none(), "trailers come once");
                    shown.trailers = frame.into_trailers().ok();
                }
            }
            assert!(
                expected.data.starts_with(&shown.data),
                "the same bytes in the same order"
            );
        }
    }
}

fn poll(
    body: &mut ReplayBody<Source>,
) -> Poll<Option<Result<Frame<Bytes>, <ReplayBody<Source> as Body>::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}
