use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::{Attempts, Period, count};
use crate::retry::Backoff;

/// The settings of a durable queue.
///
/// # Example
///
/// ```
/// use mainstay::num::{Attempts, count};
/// use mainstay::queue::QueueConfig;
///
/// let config = QueueConfig::new().entries(count(50_000)).bytes(256 << 20).attempts(Attempts::total(5));
/// assert_eq!(config.most_entries().get(), 50_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueConfig {
    entries: NonZeroU32,
    bytes: u64,
    entry_bytes: u32,
    parallel: NonZeroU32,
    attempts: Attempts,
    backoff: Backoff,
    within: Period,
    look: Period,
    lease: Period,
    keep: Period,
}

impl QueueConfig {
    /// The defaults of each setter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: count(10_000),
            bytes: 64 << 20,
            entry_bytes: 256 << 10,
            parallel: count(8),
            attempts: Attempts::total(10),
            backoff: Backoff::exponential(Duration::from_millis(200), Duration::from_secs(30)),
            within: Period::secs(30),
            look: Period::secs(1),
            lease: Period::secs(15),
            keep: Period::secs(86_400),
        }
    }

    /// How many entries may wait, poisoned ones included.
    ///
    /// Defaults to 10,000: some minutes of an ERP's writes, replayed in less than a minute.
    #[must_use]
    pub const fn entries(mut self, entries: NonZeroU32) -> Self {
        self.entries = entries;
        self
    }

    /// How many bytes all that wait may have, keys and lanes included.
    ///
    /// Defaults to 64 MiB, as much as 10,000 entries of 6 KiB.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// How many bytes one entry may have, keys and lanes included. One that is longer than all that may wait is never taken
    /// either, whatever stands here.
    ///
    /// Defaults to 256 KiB. Documents belong elsewhere, with their place in the entry.
    #[must_use]
    pub const fn entry_bytes(mut self, bytes: u32) -> Self {
        self.entry_bytes = bytes;
        self
    }

    /// How many entries are replayed at once, each of another lane.
    ///
    /// Defaults to 8: what comes back is not knocked over again.
    #[must_use]
    pub const fn parallel(mut self, replays: NonZeroU32) -> Self {
        self.parallel = replays;
        self
    }

    /// How often an entry may fail until it is poison. What says nothing about the entry is not counted
    /// ([`Verdict::AWAY`](super::Verdict::AWAY)), nor is what was before a restart.
    ///
    /// Defaults to 10 attempts, which with the default backoff take between one and two minutes on average.
    #[must_use]
    pub const fn attempts(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long an entry, and with it its lane, waits until it is tried again.
    ///
    /// Defaults to 200 ms, doubling up to 30 s, with full jitter.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long one replay may take until it counts as failed.
    ///
    /// Defaults to 30 s. Put a deadline of the callee's own below it.
    #[must_use]
    pub const fn within(mut self, within: Period) -> Self {
        self.within = within;
        self
    }

    /// How long it takes until this instance knows of what others have queued, and sees that the gate is open.
    ///
    /// Defaults to 1 s. Stores that hint are looked at sooner, after a tenth of it. Looks take a twentieth of the time at
    /// most: one that takes 100 ms is followed by the next after 2 s, whatever stands here.
    #[must_use]
    pub const fn look(mut self, look: Period) -> Self {
        self.look = look;
        self
    }

    /// How long an instance that is silent keeps its turn to replay.
    ///
    /// Defaults to 15 s, as the leases of sagas.
    #[must_use]
    pub const fn lease(mut self, lease: Period) -> Self {
        self.lease = lease;
        self
    }

    /// For how long an applied or dropped entry is remembered, so that the same key is not queued again.
    ///
    /// Defaults to a day: longer than clients retry.
    #[must_use]
    pub const fn keep(mut self, keep: Period) -> Self {
        self.keep = keep;
        self
    }

    /// How many entries may wait.
    #[must_use]
    pub const fn most_entries(&self) -> NonZeroU32 {
        self.entries
    }

    /// How many bytes may wait.
    #[must_use]
    pub const fn most_bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes one entry may have.
    #[must_use]
    pub const fn most_entry_bytes(&self) -> u32 {
        self.entry_bytes
    }

    /// How many entries are replayed at once.
    #[must_use]
    pub const fn replays(&self) -> NonZeroU32 {
        self.parallel
    }

    /// How often an entry may fail.
    #[must_use]
    pub const fn most_attempts(&self) -> Attempts {
        self.attempts
    }

    /// How long an entry waits until it is tried again.
    #[must_use]
    pub const fn delays(&self) -> &Backoff {
        &self.backoff
    }

    /// How long one replay may take.
    #[must_use]
    pub const fn longest_replay(&self) -> Period {
        self.within
    }

    /// How long it takes until this instance knows what others do.
    #[must_use]
    pub const fn looks_every(&self) -> Period {
        self.look
    }

    /// How long an instance that is silent keeps its turn.
    #[must_use]
    pub const fn leased_for(&self) -> Period {
        self.lease
    }

    /// For how long what has ended is remembered.
    #[must_use]
    pub const fn kept_for(&self) -> Period {
        self.keep
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self::new()
    }
}
