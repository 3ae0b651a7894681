//! Spans that tell their end, and cost a load where nobody listens.

#[cfg(feature = "saga")]
use std::pin::Pin;
#[cfg(feature = "saga")]
use std::task::{Context, Poll};

use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

use crate::error::{Reason, Rejected};
use crate::fallback::Ending;
use crate::outcome::Outcome;

/// A span with the fields that tell its end.
macro_rules! span {
    ($name:literal, $($field:tt)*) => {
        tracing::debug_span!(
            $name,
            $($field)*,
            outcome = ::tracing::field::Empty,
            "error.type" = ::tracing::field::Empty,
            "otel.status_code" = ::tracing::field::Empty
        )
    };
}
pub(super) use span;

/// Whether somebody may want the spans of policies: one relaxed load.
#[inline]
pub(crate) fn wants_spans() -> bool {
    let level = LevelFilter::DEBUG;
    level <= STATIC_MAX_LEVEL && level <= LevelFilter::current()
}

/// A span of a policy, or none where nobody listens.
///
/// One word in the future that keeps it; the span itself is put elsewhere when there is one. It is closed when it is
/// told its end; dropped before that, what it is about was abandoned.
#[derive(Debug)]
#[must_use = "it is closed when it is dropped"]
pub(crate) struct Span(pub(super) Option<Box<tracing::Span>>);

impl Span {
    pub(crate) const NONE: Self = Self(None);

    #[inline]
    pub(super) fn of(open: impl FnOnce() -> tracing::Span) -> Self {
        if wants_spans() {
            Self::open(open)
        } else {
            Self::NONE
        }
    }

    #[cold]
    #[inline(never)]
    fn open(open: impl FnOnce() -> tracing::Span) -> Self {
        let span = open();
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    #[inline]
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The span, which leaves none behind.
    pub(crate) const fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Within the span, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> Within<'_> {
        if self.0.is_none() {
            return Within::NOTHING;
        }
        self.entered()
    }

    #[cold]
    #[inline(never)]
    fn entered(&mut self) -> Within<'_> {
        if let Some(span) = &self.0 {
            _ = span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        }
        Within(Some(self))
    }

    /// Tells the end and closes the span.
    #[inline]
    pub(crate) fn end(&mut self, ended: impl FnOnce() -> Ended) {
        if let Some(span) = self.0.take() {
            close(span, ended);
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        self.end(|| Ended::well("abandoned"));
    }
}

#[cold]
#[inline(never)]
fn close(span: Box<tracing::Span>, ended: impl FnOnce() -> Ended) {
    let Ended { word, is_error } = ended();
    span.record("outcome", word);
    if is_error {
        span.record("error.type", word);
        span.record("otel.status_code", "ERROR");
    }
    drop(span);
}

/// While this thread is within a span.
#[must_use = "the span is left when it is dropped"]
pub(crate) struct Within<'a>(Option<&'a mut Span>);

impl Within<'_> {
    /// Within no span.
    pub(crate) const NOTHING: Self = Self(None);

    /// Leaves the span, and tells its end and closes it.
    #[inline]
    pub(crate) fn end(mut self, ended: impl FnOnce() -> Ended) {
        if let Some(span) = self.0.take() {
            leave(span);
            span.end(ended);
        }
    }
}

impl Drop for Within<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            leave(span);
            if std::thread::panicking() {
                span.end(|| Ended::badly("panicked"));
            }
        }
    }
}

#[cold]
#[inline(never)]
fn leave(span: &Span) {
    if let Some(span) = &span.0 {
        _ = span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    }
}

/// How what a span is about has ended.
pub(crate) struct Ended {
    word: &'static str,
    is_error: bool,
}

impl Ended {
    pub(crate) const fn well(word: &'static str) -> Self {
        let is_error = false;
        Self { word, is_error }
    }

    pub(crate) const fn badly(word: &'static str) -> Self {
        let is_error = true;
        Self { word, is_error }
    }

    pub(crate) const fn rejected(reason: Reason) -> Self {
        Self::badly(reason.as_str())
    }

    /// As a classifier says, or a layer below that refused.
    pub(crate) fn of(outcome: Outcome, rejected: Option<Rejected>) -> Self {
        let word = outcome.word(rejected.map(|rejected| rejected.reason()));
        match outcome {
            Outcome::Success | Outcome::Ignored => Self::well(word),
            _ => Self::badly(word),
        }
    }
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Served | Ending::Abandoned => Self::well(ending.as_str()),
            _ => Self::badly(ending.as_str()),
        }
    }
}

/// A future in its span, which is told how it ended.
#[cfg(feature = "saga")]
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Spanned<F, E> {
    // First, so that spans within it are closed before it.
    #[pin]
    future: F,
    span: Span,
    ended: E,
}

#[cfg(feature = "saga")]
impl<F: Future, E: Fn(&F::Output) -> Ended> Spanned<F, E> {
    pub(crate) const fn new(span: Span, future: F, ended: E) -> Self {
        Self {
            future,
            span,
            ended,
        }
    }
}

#[cfg(feature = "saga")]
impl<F: Future, E: Fn(&F::Output) -> Ended> Future for Spanned<F, E> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let within = this.span.enter();
        let polled = this.future.poll(cx);
        if let Poll::Ready(output) = &polled {
            within.end(|| (this.ended)(output));
        }
        polled
    }
}
