use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::rt;

/// Work that blocks, at most one at a time: what nobody waits for any more goes on, so without this each look at
/// something that hangs would leave a thread behind.
#[derive(Clone, Default)]
pub(super) struct One(Arc<AtomicBool>);

/// The one before has not ended.
pub(super) struct Busy;

impl One {
    /// What it gives; `None` if it panicked or the system had no thread.
    ///
    /// Dropping this waits no longer; the work goes on, and until it has ended there is no other.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Busy> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Err(Busy);
        }
        let place = Place(Arc::clone(&self.0));
        let work = move || {
            let _place = place;
            Some(work())
        };
        Ok(rt::wait_blocking(work).await)
    }
}

/// Frees the place, also where the work panics or is never begun.
struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_hangs_holds_the_one_place() {
        let one = One::default();
        let (go_on, waits) = mpsc::channel::<()>();
        let mut first = Box::pin(one.run(move || waits.recv()));
        let is_begun = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending()));
        assert!(is_begun.await);
        assert!(one.run(|| ()).await.is_err());
        // Nobody waits for it any more, and it goes on all the same.
        drop(first);
        assert!(one.run(|| ()).await.is_err());
        drop(go_on);
        while one.run(|| ()).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(one.run(|| 7).await.ok().flatten(), Some(7));
        let panicked = one.run(|| panic!("a test's own")).await;
        assert!(panicked.is_ok_and(|value: Option<()>| value.is_none()));
        assert!(one.run(|| ()).await.is_ok());
    }
}
