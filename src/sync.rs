//! The atomics and locks that shells share state with: std's, or loom's when the models of `mainstay_loom` run.

#[cfg(not(mainstay_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[cfg(mainstay_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(mainstay_loom)]
pub(crate) use std::sync::PoisonError;

/// Machines do not panic, so a poisoned lock is another thread's story.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
