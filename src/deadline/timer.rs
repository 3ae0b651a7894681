//! The timers of the time limits around one call, as few as will do.
//!
//! A call in a stack is under two limits at least, and a timer costs more than all of the layers. The limit of the
//! attempt runs out first, or with the total. So the layer around it makes no timer while a limit within has one that
//! wakes the same task in time: it is polled then, and looks again.
//!
//! Which timer that is, a limit says on its way out of a poll, and what was said last holds until the timer is dropped.
//! A layer around relies on it only if it was said within its own poll and for its own waker. A future that was polled
//! with another waker, to have one look at it or in a set of futures, is none that it can rely on; neither is one that
//! was dropped in the same poll.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project::{pin_project, pinned_drop};
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;

use crate::rt;
use crate::time::Tick;

/// Who will be woken, and when.
#[derive(Clone, Copy)]
struct Said {
    at: Tick,
    waker: (usize, usize),
}

const NOTHING: Said = Said {
    at: Tick::NEVER,
    waker: (0, 0),
};

thread_local! {
    static SAID: Cell<Said> = const { Cell::new(NOTHING) };
}

fn id(waker: &Waker) -> (usize, usize) {
    (
        waker.data().addr(),
        std::ptr::from_ref(waker.vtable()).addr(),
    )
}

/// What is within is polled now: nothing has been said yet.
#[inline]
pub(super) fn listen() {
    SAID.set(NOTHING);
}

/// Whether a limit within has said, since [`listen`], that this task will be woken at `at` or before.
pub(super) fn is_set_within(at: Tick, cx: &Context<'_>) -> bool {
    let said = SAID.get();
    said.at <= at && said.at != Tick::NEVER && said.waker == id(cx.waker())
}

/// A timer that says when it wakes.
#[pin_project(PinnedDrop)]
pub(super) struct Timer {
    /// Outside of the task's budget: a callee that uses the budget up must not hold off its own end.
    #[pin]
    sleep: Unconstrained<Sleep>,
    at: Tick,
}

impl Timer {
    pub(super) fn until(at: Tick) -> Self {
        Self {
            sleep: unconstrained(rt::sleep_until(at)),
            at,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.sleep.poll(cx);
        if polled.is_pending() {
            SAID.set(Said {
                at: *this.at,
                waker: id(cx.waker()),
            });
        }
        polled
    }
}

#[pinned_drop]
impl PinnedDrop for Timer {
    fn drop(self: Pin<&mut Self>) {
        SAID.set(NOTHING);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use futures::FutureExt;
    use futures::stream::{FuturesUnordered, StreamExt};
    use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

    use super::super::{DeadlineLayer, TimeoutLayer};
    use super::*;
    use crate::num::Period;

    const ATTEMPT: Period = Period::secs(1);
    const TOTAL: Duration = Duration::from_secs(30);

    /// An attempt that is cut off after a second, at the latest.
    fn attempt() -> impl Future<Output = Result<(), BoxError>> {
        let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
        TimeoutLayer::new("test", ATTEMPT).layer(hangs).call(())
    }

    /// How long a call takes that does `work`, under a deadline.
    async fn lasts<F>(work: impl Fn() -> F) -> Duration
    where
        F: Future<Output = Result<(), BoxError>>,
    {
        let begun = rt::now();
        let total = Period::new("total", TOTAL).unwrap();
        let service = DeadlineLayer::new("test", total).layer(service_fn(|()| work()));
        service.oneshot(()).await.unwrap_err();
        rt::now().since(begun)
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_within_wakes_for_both() {
        let waker = futures::task::noop_waker();
        let cx = &mut Context::from_waker(&waker);
        let mut call = std::pin::pin!(attempt());
        listen();
        assert!(call.as_mut().poll(cx).is_pending());
        let at = rt::now() + ATTEMPT.get();
        assert!(is_set_within(at, cx));
        assert!(
            !is_set_within(at.back(Duration::from_nanos(1)), cx),
            "sooner"
        );
        let other = futures::task::waker(std::sync::Arc::new(Nobody));
        assert!(!is_set_within(at, &Context::from_waker(&other)), "others");
        assert_eq!(lasts(attempt).await, ATTEMPT.get());
    }

    struct Nobody;

    impl futures::task::ArcWake for Nobody {
        fn wake_by_ref(_: &std::sync::Arc<Self>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_was_left_in_the_same_poll_wakes_nobody() {
        let work = || async {
            futures::select_biased! {
                never = attempt().fuse() => never,
                () = std::future::ready(()).fuse() => pending().await,
            }
        };
        assert_eq!(lasts(work).await, TOTAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_was_looked_at_with_another_waker_wakes_somebody_else() {
        let work = || async {
            let mut call = std::pin::pin!(attempt());
            assert!(call.as_mut().now_or_never().is_none());
            pending().await
        };
        assert_eq!(lasts(work).await, TOTAL);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds_after_the_attempt_has_ended() {
        let work = || async {
            attempt().await.unwrap_err();
            pending().await
        };
        assert_eq!(lasts(work).await, TOTAL);
        let set = || async {
            let mut set: FuturesUnordered<_> = (0..3).map(|_| attempt()).collect();
            while set.next().await.is_some() {}
            pending().await
        };
        assert_eq!(lasts(set).await, TOTAL);
    }
}
