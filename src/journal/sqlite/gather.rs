//! How long a commit waits for company.
//!
//! Whoever is answered writes its next record at once, if anybody does. A writer that commits what it finds in its queue
//! at that moment takes the first few of them and leaves the others to the commit after it: from then on there are two
//! groups, each of which waits for the other's sync as well as for its own, and half as much is done.
//!
//! # Rules
//!
//! 1. Those whom the last commit answered, and those who came while it was under way, are the ones who write now. A batch
//!    of as many is complete. Whoever writes alone is complete alone and never waits. Who only reads waits for no sync
//!    and is not counted.
//! 2. A batch that is not complete is held open, after it was begun, for a quarter of what a sync takes at most, and never
//!    for more than 10 ms.
//! 3. A sync takes what the shorter of the last two took: what else happens during one, as now and then it does, is no
//!    reason to wait.
//! 4. A hold in which fewer than half of those came who were missing was in vain. The commits after it are not held: one,
//!    and two, four, up to 64 if the next was in vain too.

use std::time::Duration;

use crate::time::Tick;

/// Rule 2.
const SHARE: u32 = 4;

/// Rule 2.
const LONGEST: Duration = Duration::from_millis(10);

/// Rule 4.
const MOST_LEFT_OUT: u32 = 64;

/// What is known of those who write.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// How many make a batch complete.
    due: usize,
    /// What the last syncs took.
    syncs: [Duration; 2],
    begun: Tick,
    /// How many there were when the batch began to be held.
    held: Option<usize>,
    /// How many commits are not held from now on, and how many were not when it last began.
    left_out: u32,
    step: u32,
}

impl Gather {
    /// A batch begins.
    pub(super) const fn begin(&mut self, now: Tick) {
        self.begun = now;
        self.held = None;
    }

    /// How long a batch of `taken` writes is to be held open; `None` when it is to be committed.
    pub(super) fn hold(&mut self, taken: usize, now: Tick) -> Option<Duration> {
        if taken >= self.due || (self.left_out > 0 && self.held.is_none()) {
            return None;
        }
        let [one, other] = self.syncs;
        let patience = (one.min(other) / SHARE).min(LONGEST);
        let left = patience.saturating_sub(now.since(self.begun));
        if left.is_zero() {
            return None;
        }
        self.held.get_or_insert(taken);
        Some(left)
    }

    /// A batch of `taken` writes was committed, which took so long if anything was synced, and `waiting` came meanwhile.
    pub(super) fn committed(&mut self, taken: usize, waiting: usize, sync: Option<Duration>) {
        match self.held.take() {
            None => self.left_out = self.left_out.saturating_sub(1),
            Some(held) => {
                let (missing, came) = (self.due.saturating_sub(held), taken.saturating_sub(held));
                let in_vain = came < missing.div_ceil(2);
                self.step = if in_vain {
                    self.step.saturating_mul(2).clamp(1, MOST_LEFT_OUT)
                } else {
                    0
                };
                self.left_out = self.step;
            }
        }
        if let Some(sync) = sync {
            self.syncs = [self.syncs[1], sync];
        }
        self.due = taken.saturating_add(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_millis(4);

    fn at(micros: u64) -> Tick {
        Tick::from_nanos(micros * 1_000)
    }

    fn warm(due: usize) -> Gather {
        let mut gather = Gather::default();
        gather.committed(due, 0, Some(SYNC));
        gather.committed(due, 0, Some(SYNC));
        gather.begin(at(0));
        gather
    }

    #[test]
    fn rule_1_who_writes_alone_never_waits() {
        assert_eq!(warm(1).hold(1, at(0)), None);
        let mut many = warm(64);
        assert!(many.hold(63, at(0)).is_some());
        assert_eq!(many.hold(64, at(0)), None);
        let mut parted = warm(5);
        parted.committed(5, 59, Some(SYNC));
        assert!(parted.hold(63, at(0)).is_some(), "those who came meanwhile");
        assert_eq!(parted.hold(64, at(0)), None);
    }

    #[test]
    fn rule_2_a_quarter_of_a_sync_and_no_more() {
        let mut gather = warm(64);
        assert_eq!(gather.hold(1, at(0)), Some(SYNC / 4));
        assert_eq!(gather.hold(2, at(400)), Some(Duration::from_micros(600)));
        assert_eq!(gather.hold(2, at(1_000)), None);
        let mut slow = warm(64);
        slow.committed(64, 0, Some(Duration::from_secs(9)));
        slow.committed(64, 0, Some(Duration::from_secs(9)));
        assert_eq!(slow.hold(1, at(0)), Some(LONGEST));
        // Nothing is known yet.
        assert_eq!(Gather::default().hold(0, at(0)), None);
    }

    #[test]
    fn rule_3_one_long_sync_is_no_reason_to_wait() {
        let mut gather = warm(64);
        gather.committed(64, 0, Some(SYNC * 50));
        assert_eq!(gather.hold(1, at(0)), Some(SYNC / 4));
        gather.begin(at(0));
        gather.committed(0, 64, None);
        assert_eq!(
            gather.hold(1, at(0)),
            Some(SYNC / 4),
            "a batch that only read"
        );
    }

    #[test]
    fn rule_4_holds_in_vain_become_rare() {
        let mut gather = warm(64);
        let mut held = Vec::new();
        for commit in 0..400 {
            gather.begin(at(0));
            if gather.hold(10, at(0)).is_some() {
                held.push(commit);
            }
            // Twenty-one came at last, where 27 would have been half of those who were missing.
            gather.committed(31, 33, Some(SYNC));
        }
        assert_eq!(held, [0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394]);
        gather.left_out = 0;
        gather.begin(at(0));
        assert!(gather.hold(10, at(0)).is_some());
        gather.committed(37, 27, Some(SYNC));
        gather.begin(at(0));
        assert!(gather.hold(10, at(0)).is_some(), "half of them came");
    }

    /// Sixty-four who each write again a while after they were answered; how many commits they need for 640 records.
    fn commits(hold: bool) -> usize {
        let mut gather = Gather::default();
        // When each is back at the queue, in microseconds.
        let mut back: Vec<u64> = (0..64).map(|who| who * 7).collect();
        let (mut now, mut written, mut commits) = (0_u64, 0, 0);
        while written < 640 {
            back.sort_unstable();
            now = now.max(back[0]);
            gather.begin(at(now));
            let mut taken = back.iter().filter(|back| **back <= now).count();
            while hold
                && let Some(left) = gather.hold(taken, at(now))
                && let Some(next) = back.get(taken)
            {
                let until = now + u64::try_from(left.as_micros()).unwrap();
                now = until.min(*next);
                taken = back.iter().filter(|back| **back <= now).count();
            }
            now += 4_000;
            let waiting = back.iter().filter(|back| **back <= now).count() - taken;
            gather.committed(taken, waiting, Some(SYNC));
            for (who, back) in back.iter_mut().take(taken).enumerate() {
                *back = now + 50 + who as u64 * 7;
            }
            written += taken;
            commits += 1;
        }
        commits
    }

    #[test]
    fn all_who_write_share_a_commit() {
        let (held, not) = (commits(true), commits(false));
        assert!((10..=13).contains(&held), "{held}");
        assert!(not >= 19, "the control: {not}");
    }
}
