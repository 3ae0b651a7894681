use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;

use crate::rt;
use crate::time::Tick;

/// Says how a body ends whose time is over.
pub trait Expire<B: Body> {
    /// The last frame; `None` for an end without a word.
    fn expire(&self) -> Option<Result<Frame<B::Data>, B::Error>>;
}

/// A body that ends at a deadline, however far it has come.
#[pin_project]
pub struct Bounded<B, X> {
    /// `None` once the time is over.
    #[pin]
    body: Option<B>,
    /// Outside of the task's budget: a body that uses the budget up must not hold off its own end.
    #[pin]
    sleep: Option<Unconstrained<Sleep>>,
    at: Tick,
    expire: X,
}

impl<B, X> Bounded<B, X> {
    pub(crate) const fn new(body: B, at: Tick, expire: X) -> Self {
        Self {
            body: Some(body),
            sleep: None,
            at,
            expire,
        }
    }
}

impl<B: Body, X: Expire<B>> Body for Bounded<B, X> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if *this.at == Tick::NEVER {
            return Poll::Pending;
        }
        if this.sleep.is_none() {
            let sleep = unconstrained(rt::sleep_until(*this.at));
            this.sleep.set(Some(sleep));
        }
        match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
            Some(Poll::Ready(())) => {
                this.body.set(None);
                Poll::Ready(this.expire.expire())
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B, X> fmt::Debug for Bounded<B, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
