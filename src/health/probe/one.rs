use std::sync::Arc;
use std::time::Duration;

use crate::health::sample::{Sample, Why};
use crate::rt;
use crate::sync::{Mutex, lock};
use crate::time::Tick;

/// Work that blocks, at most one at a time: what nobody waits for any more goes on, so without this each look at
/// something that hangs would leave a thread behind. It holds up no runtime that ends.
#[derive(Clone, Default)]
pub(super) struct One(Arc<Mutex<Option<Tick>>>);

/// The one before has not ended, and began so long ago.
pub(super) struct Busy(Duration);

/// What has not ended after so long hangs.
const HANGS: Duration = Duration::from_secs(1);

impl Busy {
    /// Two looks at the same moment, by clones of one probe, say nothing of what they look at; one that hangs does.
    pub(super) fn sample(&self) -> Sample {
        if self.0 >= HANGS {
            Sample::down(Why::Busy)
        } else {
            Sample::unknown(Why::Busy)
        }
    }
}

impl One {
    /// What it gives; `None` if it panicked or the system had no thread.
    ///
    /// Dropping this waits no longer; the work goes on, and until it has ended there is no other.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Busy> {
        let now = rt::now();
        {
            let mut began = lock(&self.0);
            if let Some(began) = *began {
                return Err(Busy(now.since(began)));
            }
            *began = Some(now);
        }
        let place = Place(Arc::clone(&self.0));
        let work = move || {
            let _place = place;
            work()
        };
        Ok(rt::wait_detached("mainstay-look", work).await)
    }
}

/// Frees the place, also where the work panics or is never begun.
struct Place(Arc<Mutex<Option<Tick>>>);

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    /// Two looks at once are no news; one that does not end is.
    #[tokio::test(start_paused = true)]
    async fn busy_is_bad_once_it_hangs() {
        let one = One::default();
        let (go_on, waits) = mpsc::channel::<()>();
        let mut first = Box::pin(one.run(move || waits.recv()));
        let is_begun = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending()));
        assert!(is_begun.await);
        let says = || async { one.run(|| ()).await.err().map(|busy| busy.sample()) };
        assert_eq!(says().await, Some(Sample::unknown(Why::Busy)));
        rt::sleep_until(rt::now() + HANGS).await;
        assert_eq!(says().await, Some(Sample::down(Why::Busy)));
        drop(go_on);
    }

    /// A runtime that is dropped does not wait for it.
    #[test]
    fn what_hangs_holds_up_no_runtime() {
        let (go_on, waits) = mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        runtime.block_on(async {
            let work = move || waits.recv_timeout(Duration::from_secs(5)).is_ok();
            let one = One::default();
            let mut first = Box::pin(one.run(work));
            poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await
        });
        drop(runtime);
        assert!(go_on.send(()).is_ok(), "it goes on");
    }

    #[tokio::test]
    async fn what_hangs_holds_the_holds_the_one_place() {
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
