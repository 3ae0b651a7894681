//! The atomics and locks that shells share state with: std's, or loom's when the models of `mainstay_loom` run.

#[cfg(not(mainstay_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(mainstay_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use std::cell::Cell;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;

/// Machines do not panic, so a poisoned lock is another thread's story.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A small number of the calling thread, for choosing a place that it shares with few others.
#[inline]
pub(crate) fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| match own.get() {
        usize::MAX => {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            own.set(next);
            next
        }
        number => number,
    })
}
