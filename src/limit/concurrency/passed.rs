use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::thread;

/// Threads of one limit that count side by side; beyond it they share.
const SHARDS: usize = 16;

/// How many calls had a place: each thread adds to a place of its own, which it has to itself on most machines.
///
/// Added in one step: of a load and a store between which a thread is put to sleep, the store would take back all that others
/// have counted in the same place meanwhile.
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
            calls.fetch_add(1, Ordering::Relaxed);
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
