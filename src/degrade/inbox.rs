//! What listeners are told, each change once and in its order.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use super::change::Change;
use crate::sync::{Mutex, lock};

/// How many changes wait for a listener that does not look.
const BOUND: usize = 256;

/// Hears every change from when it was made: [`Degrade::changes`](super::Degrade::changes).
///
/// A change is told once, in its order. Of a listener that does not look 256 changes wait; after that the oldest goes, and
/// [`missed`](Self::missed) counts it: what holds now is always in [`Degrade::status`](super::Degrade::status).
pub struct Changes(Arc<Inbox>);

struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    changes: VecDeque<Arc<Change>>,
    missed: u64,
    waker: Option<Waker>,
    is_closed: bool,
}

impl Changes {
    /// The next change; `None` once the ladder has no handle any more and everything was told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        poll_fn(|cx| {
            let mut waiting = lock(&self.0.0);
            match waiting.changes.pop_front() {
                Some(change) => Poll::Ready(Some(change)),
                None if waiting.is_closed => Poll::Ready(None),
                None => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next change, if one waits.
    pub fn try_next(&mut self) -> Option<Arc<Change>> {
        lock(&self.0.0).changes.pop_front()
    }

    /// How many were lost because nobody looked.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.0.0).missed
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.0.0);
        f.debug_struct("Changes")
            .field("waiting", &waiting.changes.len())
            .field("missed", &waiting.missed)
            .finish()
    }
}

/// All who listen.
#[derive(Default)]
pub(super) struct Listeners(Vec<Weak<Inbox>>);

impl Listeners {
    pub(super) fn join(&mut self) -> Changes {
        self.0.retain(|inbox| inbox.strong_count() > 0);
        let inbox = Arc::new(Inbox(Mutex::new(Waiting::default())));
        self.0.push(Arc::downgrade(&inbox));
        Changes(inbox)
    }

    /// Puts a change where each finds it. Whom to wake, once no lock is held.
    pub(super) fn tell(&mut self, change: &Arc<Change>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.0.retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else {
                return false;
            };
            let mut waiting = lock(&inbox.0);
            if waiting.changes.len() >= BOUND {
                waiting.changes.pop_front();
                waiting.missed += 1;
            }
            waiting.changes.push_back(Arc::clone(change));
            wakers.extend(waiting.waker.take());
            true
        });
        wakers
    }

    /// Nothing will be told any more.
    pub(super) fn close(&mut self) {
        for inbox in self.0.drain(..).filter_map(|inbox| inbox.upgrade()) {
            let waker = {
                let mut waiting = lock(&inbox.0);
                waiting.is_closed = true;
                waiting.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
