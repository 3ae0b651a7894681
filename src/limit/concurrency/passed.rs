use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::thread;

/// Threads of one limit that count side by side; beyond it they share.
const SHARDS: usize = 16;

/// How many calls had a place: each thread adds to a place of its own, which it has to itself on most machines.
///
/// A load and a store, which cost a call nothing, where an addition in one step costs a sixth of what the whole limit does. Of
/// threads that share a place, one that is put to sleep between the two takes back what the others have counted there
/// meanwhile: the total may step back, and those who compare totals have to take that for a new beginning.
pub(super) struct Passed([Shard; SHARDS]);

/// On cache lines of its own.
#[repr(align(128))]
struct Shard(AtomicU64);

impl Passed {
    pub(super) const fn new() -> Self {
        Self([const { Shard(AtomicU64::new(0)) }; SHARDS])
    }

    #[inline]
    pub(super) fn add(&self) {
        if let Some(Shard(calls)) = self.0.get(thread() % SHARDS) {
            let so_far = calls.load(Ordering::Relaxed);
            calls.store(so_far.wrapping_add(1), Ordering::Relaxed);
        }
    }

    pub(super) fn total(&self) -> u64 {
        let each = self
            .0
            .iter()
            .map(|Shard(calls)| calls.load(Ordering::Relaxed));
        each.fold(0, u64::wrapping_add)
    }
}
