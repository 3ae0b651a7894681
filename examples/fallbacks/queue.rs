//! What is done later: a bounded queue in memory, and a worker that tries each item until it succeeds.

use std::future::Future;
use std::time::Duration;

use mainstay::error::AsRejected;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tower::BoxError;

/// How much may wait. An outage of a minute at 16 batches a second; a queue without a bound only postpones the end.
const ROOM: usize = 1_000;
/// How long to wait after a failure that does not say.
const PAUSE: Duration = Duration::from_millis(100);

/// The end of a queue where things are put in. The worker ends when the last clone is gone and the queue is empty.
pub(crate) struct Queue<T>(mpsc::Sender<T>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Copy + Send + 'static> Queue<T> {
    /// A queue whose items are given to `attempt`, one after the other, until it succeeds.
    pub(crate) fn start<F, Fut>(attempt: F) -> (Self, JoinHandle<()>)
    where
        F: Fn(T) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send,
    {
        let (sender, mut items) = mpsc::channel(ROOM);
        let worker = tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                while let Err(error) = attempt(item).await {
                    // An open circuit says when it lets the next call in.
                    let hint = error.as_rejected().and_then(|rejected| rejected.hint());
                    tokio::time::sleep(hint.unwrap_or(PAUSE).max(Duration::from_millis(5))).await;
                }
            }
        });
        (Self(sender), worker)
    }

    /// Puts an item in, if there is room.
    pub(crate) fn put(&self, item: T) -> Result<(), &'static str> {
        self.0.try_send(item).map_err(|_| "the queue is full")
    }

    /// Puts an item in, as soon as there is room.
    pub(crate) async fn wait_and_put(&self, item: T) -> Result<(), &'static str> {
        let put = self.0.send(item).await;
        put.map_err(|_| "the queue has ended")
    }
}

/// The workers of the queues.
pub(crate) struct Queues([JoinHandle<()>; 2]);

impl Queues {
    pub(crate) const fn new(workers: [JoinHandle<()>; 2]) -> Self {
        Self(workers)
    }

    /// Waits until everything in the queues is done.
    pub(crate) async fn run_empty(self) -> Result<(), JoinError> {
        for worker in self.0 {
            worker.await?;
        }
        Ok(())
    }
}
