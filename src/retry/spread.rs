use std::ops::Deref;
use std::sync::Arc;

use crate::sync;

/// Threads that count owners side by side; beyond it they share.
const PLACES: usize = 8;

/// Owners of one value, of which each thread counts its own.
///
/// A call under way owns what it needs to retry, and the threads of one policy would contend for the count, which costs
/// as much as all the rest of a call that succeeds.
pub(super) struct Spread<T> {
    places: Arc<[Place<T>; PLACES]>,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Apart<T>(Arc<T>);

type Place<T> = Arc<Apart<T>>;

/// One of the owners of a value that is [`Spread`].
pub(super) struct Share<T>(Place<T>);

impl<T> Spread<T> {
    pub(super) fn new(value: T) -> Self {
        let value = Arc::new(value);
        let place = |_| Arc::new(Apart(Arc::clone(&value)));
        Self {
            places: Arc::new(std::array::from_fn(place)),
        }
    }

    /// One more owner.
    #[inline]
    pub(super) fn share(&self) -> Share<T> {
        let [first, ..] = &*self.places;
        let own = self.places.get(sync::thread() % PLACES);
        Share(Arc::clone(own.unwrap_or(first)))
    }
}

impl<T> Clone for Spread<T> {
    fn clone(&self) -> Self {
        Self {
            places: Arc::clone(&self.places),
        }
    }
}

impl<T> Deref for Share<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let Apart(value) = &*self.0;
        value
    }
}
