//! Who waits, behind whom, and what may be replayed now: the pure machine.
//!
//! # Rules
//!
//! 1. What waits, what is poisoned and what is being written down is counted, in entries and in bytes. Nothing is taken
//!    that would be more than either bound, nor what alone is longer than an entry, or than all that waits, may be.
//! 2. What is being written down is counted until that is decided. Where nobody will hear the answer it is counted until a
//!    look at the store that began later is over. What is found in the store before its answer is heard counts twice until
//!    then: too much is never taken, and room may be there a moment later.
//! 3. A new write of a lane that has an entry, of whatever state, goes behind it: it may not pass.
//! 4. Of each lane the oldest entry is replayed, and none other is while that is under way or waits.
//! 5. Only what this instance owns is replayed, at most so many at once, and of what is due that which has been due for
//!    longest, then the oldest. The first of a lane is due when it becomes the first: lanes whose first is fresh do not
//!    keep one waiting whose first has failed and is due again.
//! 6. An applied entry is gone when that is recorded; then the next of its lane may go.
//! 7. An entry that is to come later stays the first of its lane, and waits as the backoff says, and as the callee asks for
//!    up to an hour. What counts against it does so up to the attempts that it has; then it is poison.
//! 8. A poisoned entry stays the first of its lane, and nothing of its lane goes, until it is retried or dropped. Retried
//!    it begins anew, and has to be owned again. One that is damaged in the store is poison here and not there: what a look
//!    says of it changes nothing before it is owned anew.
//! 9. A look at the store replaces what is known, but for what has changed here since the look began, and for what is under
//!    way. Of an entry that it tells twice its last word counts.
//! 10. When the turn is over nothing is owned. What is under way ends as it ends, and its lane waits for it.
//! 11. A suspect is replayed alone: nothing else is under way when it begins, and nothing else begins before it has ended.
//!     So what dies with it says something about it, and nothing about others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::config::QueueConfig;
use super::lane::{EntryId, Lane};
use super::verdict::{Poison, Verdict};
use super::words::{Found, Full, Look, Ruling, Waits};
use crate::rng::Rng;
use crate::time::{Tick, Timestamp};

/// The longest that a callee can ask an entry to wait.
const LONGEST_WISH: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Waiting,
    UnderWay,
    Poisoned,
}

#[derive(Clone)]
struct Item {
    lane: Lane,
    bytes: u64,
    queued: Timestamp,
    is: Is,
    owned: bool,
    replays: u32,
    failures: u32,
    delays: u32,
    delay: Duration,
    /// Zero: when it becomes the first of its lane.
    due: Tick,
    /// It is poison here, and the store cannot say so.
    damaged: bool,
    /// Those who replay it may die of it.
    suspect: bool,
    /// The look that was the last to begin when it changed here.
    touched: u64,
}

#[derive(Clone, Default)]
struct Track {
    ids: BTreeSet<EntryId>,
    under_way: Option<EntryId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    entries: u64,
    bytes: u64,
}

impl Sum {
    const fn add(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    const fn take(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The entries of one queue, as one instance knows them. The rules are at the head of its file.
///
/// # Example
///
/// ```
/// use mainstay::queue::{EntryId, Found, Lane, Line, QueueConfig, Ruling, Verdict};
/// use mainstay::rng::Rng;
/// use mainstay::time::{Tick, Timestamp};
///
/// let (mut line, now, mut rng) = (Line::new(QueueConfig::new()), Tick::ZERO, Rng::new(1));
/// let lane = Lane::new("account-7");
/// for id in [1, 2] {
///     line.reserve(100).expect("there is room");
///     // ... it is written down, and has a number:
///     let found = Found::new(EntryId::new(id), lane.clone(), 100, Timestamp::from_millis(0));
///     line.queued(100, found.owned(true));
/// }
/// assert!(line.must_wait(&lane) && !line.must_wait(&Lane::new("account-8")));
///
/// assert_eq!(line.next(now), Some(EntryId::new(1)));
/// assert_eq!(line.next(now), None, "one at a time");
/// assert_eq!(line.settle(EntryId::new(1), Verdict::Applied, &mut rng, now), Some(Ruling::Apply));
/// // ... that is written down as well:
/// line.gone(EntryId::new(1));
/// assert_eq!(line.next(now), Some(EntryId::new(2)));
/// ```
#[derive(Clone)]
pub struct Line {
    config: QueueConfig,
    items: BTreeMap<EntryId, Item>,
    lanes: BTreeMap<Lane, Track>,
    /// The first of each lane that may go when it is due.
    ready: BTreeSet<(Tick, EntryId)>,
    /// Lanes whose first is poison.
    stopped: usize,
    poisoned: usize,
    under_way: u32,
    /// The suspect that is under way.
    alone: Option<EntryId>,
    bytes: u64,
    /// The latest time that was told.
    now: Tick,
    reserved: Sum,
    /// Written down or not, nobody knows: since the last look began, and before it.
    lost: Sum,
    lost_before: Sum,
    look: u64,
    looking: bool,
    /// What has gone since the last look began: answers that are older may still tell of it.
    gone: BTreeMap<EntryId, u64>,
}

impl Line {
    /// Of which nothing is known yet.
    #[must_use]
    pub const fn new(config: QueueConfig) -> Self {
        const NONE: Sum = Sum {
            entries: 0,
            bytes: 0,
        };
        Self {
            config,
            items: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            stopped: 0,
            poisoned: 0,
            under_way: 0,
            alone: None,
            bytes: 0,
            now: Tick::ZERO,
            reserved: NONE,
            lost: NONE,
            lost_before: NONE,
            look: 0,
            looking: false,
            gone: BTreeMap::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// Takes room for an entry that is about to be written down (rules 1, 2).
    ///
    /// # Errors
    ///
    /// Which bound there is no room in.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), Full> {
        let most = self.config.most_bytes();
        if bytes > u64::from(self.config.most_entry_bytes()).min(most) {
            return Err(Full::Entry);
        }
        if self.depth() >= u64::from(self.config.most_entries().get()) {
            return Err(Full::Entries);
        }
        if self.bytes().saturating_add(bytes) > most {
            return Err(Full::Bytes);
        }
        self.reserved.add(bytes);
        Ok(())
    }

    /// What took this room is written down, or found to have been before and not to be over.
    pub fn queued(&mut self, reserved: u64, found: Found) {
        self.reserved.take(reserved);
        // Replayed already, before this was heard; or known, and what is known is newer.
        self.learned(found);
    }

    /// It is not written down, or need not be counted.
    pub fn released(&mut self, bytes: u64) {
        self.reserved.take(bytes);
    }

    /// Whether it is written down will not be heard (rule 2).
    pub fn lost(&mut self, bytes: u64) {
        self.reserved.take(bytes);
        self.lost.add(bytes);
    }

    /// One is there, whoever queued it.
    pub fn learned(&mut self, found: Found) {
        if !self.gone.contains_key(&found.id) && !self.items.contains_key(&found.id) {
            self.insert(found);
        }
    }

    /// This instance owns it from now on.
    pub fn taken(&mut self, found: Found) {
        if self.items.contains_key(&found.id) {
            self.change(found.id, |item| {
                // Retried by somebody else, or it could not be owned.
                if item.is == Is::Poisoned {
                    item.anew();
                }
                item.owned = item.is == Is::Waiting;
                item.suspect = found.suspect;
            });
        } else {
            self.insert(found.owned(true));
        }
    }

    /// Whether a new write of this lane must go behind what waits (rule 3).
    #[must_use]
    pub fn must_wait(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane)
    }

    /// How many entries are counted (rules 1, 2).
    #[must_use]
    pub fn depth(&self) -> u64 {
        let lost = self.lost.entries.saturating_add(self.lost_before.entries);
        let held = self.reserved.entries.saturating_add(lost);
        (self.items.len() as u64).saturating_add(held)
    }

    /// How many bytes are counted.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let lost = self.lost.bytes.saturating_add(self.lost_before.bytes);
        let held = self.reserved.bytes.saturating_add(lost);
        self.bytes.saturating_add(held)
    }

    /// How many entries are poison.
    #[must_use]
    pub const fn poison(&self) -> usize {
        self.poisoned
    }

    /// How many are being replayed.
    #[must_use]
    pub const fn under_way(&self) -> u32 {
        self.under_way
    }

    /// When the oldest entry was queued.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.items.first_key_value().map(|(_, item)| item.queued)
    }

    /// Whether something waits that no operator has to look at first.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.lanes.len() > self.stopped
    }

    /// What is to be replayed now; it is under way until it is settled (rules 4, 5, 11).
    pub fn next(&mut self, now: Tick) -> Option<EntryId> {
        self.now = self.now.max(now);
        let (due, id) = self.due()?;
        if due > now {
            return None;
        }
        self.change(id, |item| {
            item.is = Is::UnderWay;
            item.replays = item.replays.saturating_add(1);
        });
        Some(id)
    }

    /// What is the next, and when, if nothing that is under way keeps it waiting.
    fn due(&self) -> Option<(Tick, EntryId)> {
        if self.under_way >= self.config.replays().get() || self.alone.is_some() {
            return None;
        }
        let (due, id) = self.ready.first().copied()?;
        (self.under_way == 0 || !self.is_suspect(id)).then_some((due, id))
    }

    /// Whether those who replay it may die of it (rule 11).
    #[must_use]
    pub fn is_suspect(&self, id: EntryId) -> bool {
        self.items.get(&id).is_some_and(|item| item.suspect)
    }

    /// It is no suspect any more, and that is recorded (rule 11).
    pub fn survived(&mut self, id: EntryId) {
        self.change(id, |item| item.suspect = false);
    }

    /// Which replay of the entry this is, the first is 1.
    #[must_use]
    pub fn replay(&self, id: EntryId) -> u32 {
        self.items.get(&id).map_or(0, |item| item.replays)
    }

    /// How many replays have counted against the entry.
    #[must_use]
    pub fn failures(&self, id: EntryId) -> u32 {
        self.items.get(&id).map_or(0, |item| item.failures)
    }

    /// A replay has ended. `None` for one that is not under way.
    pub fn settle(
        &mut self,
        id: EntryId,
        verdict: Verdict,
        rng: &mut Rng,
        now: Tick,
    ) -> Option<Ruling> {
        self.now = self.now.max(now);
        let most = self.config.most_attempts().get();
        let backoff = *self.config.delays();
        let item = self.items.get(&id)?;
        if item.is != Is::UnderWay {
            return None;
        }
        let (counts, after) = match verdict {
            Verdict::Applied => return Some(Ruling::Apply),
            Verdict::Refused => return Some(Ruling::Poison(Poison::Refused)),
            Verdict::Later { counts, after } => (counts, after),
        };
        let failures = item.failures.saturating_add(u32::from(counts));
        if counts && failures >= most {
            return Some(Ruling::Poison(Poison::Exhausted));
        }
        let delays = item.delays.saturating_add(1);
        let delay = backoff.delay(delays, item.delay, rng);
        let wish = after.unwrap_or_default().min(LONGEST_WISH);
        let due = now + delay.max(wish);
        self.change(id, |item| {
            item.is = Is::Waiting;
            item.failures = failures;
            item.delays = delays;
            item.delay = delay;
            item.due = due;
        });
        Some(Ruling::Wait(due))
    }

    /// That it has ended is recorded: applied, or dropped (rule 6).
    pub fn gone(&mut self, id: EntryId) {
        self.remove(id);
        self.gone.insert(id, self.look);
    }

    /// That it is poison is recorded (rule 8).
    pub fn poisoned(&mut self, id: EntryId) {
        self.change(id, |item| {
            item.is = Is::Poisoned;
            item.owned = false;
        });
    }

    /// Its record is damaged, and nothing can be added to it: poison that the store does not know of (rule 8).
    pub fn damaged(&mut self, id: EntryId) {
        self.change(id, |item| {
            item.is = Is::Poisoned;
            item.owned = false;
            item.damaged = true;
        });
    }

    /// How it ended could not be recorded, since it is not this instance's any more or the store does not answer.
    pub fn disowned(&mut self, id: EntryId) {
        self.change(id, |item| {
            item.owned = false;
            if item.is == Is::UnderWay {
                item.is = Is::Waiting;
            }
        });
    }

    /// This replay of it was broken off: it waits, and has to be owned again. Does nothing when that is settled.
    pub fn let_go(&mut self, id: EntryId, replay: u32) {
        let is_it = |item: &Item| item.is == Is::UnderWay && item.replays == replay;
        if self.items.get(&id).is_some_and(is_it) {
            self.disowned(id);
        }
    }

    /// An operator wants it to be tried again (rule 8).
    pub fn retried(&mut self, id: EntryId) {
        self.change(id, |item| {
            if item.is == Is::Poisoned {
                item.anew();
                item.owned = false;
            }
        });
    }

    /// This instance replays no more (rule 10).
    pub fn turn_over(&mut self) {
        self.ready.clear();
        for item in self.items.values_mut() {
            item.owned = false;
        }
    }

    /// When [`next`](Self::next) may have something, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.due().map(|(due, _)| due)
    }

    /// A look at the store begins (rule 9).
    pub fn look(&mut self) -> Look {
        self.look = self.look.saturating_add(1);
        self.looking = true;
        let lost = std::mem::take(&mut self.lost);
        let before = &mut self.lost_before;
        before.entries = before.entries.saturating_add(lost.entries);
        before.bytes = before.bytes.saturating_add(lost.bytes);
        Look(self.look)
    }

    /// The look has found these, all that there are. A look after which another began is passed over.
    pub fn looked(&mut self, look: Look, found: impl IntoIterator<Item = Found>) {
        if look.0 != self.look || !self.looking {
            return;
        }
        self.looking = false;
        self.lost_before = Sum::default();
        let found = found.into_iter().map(|found| (found.id, found));
        let found: BTreeMap<EntryId, Found> = found.collect();
        let seen: BTreeSet<EntryId> = found.keys().copied().collect();
        for (id, found) in found {
            if !self.gone.contains_key(&id) {
                self.merge(found, look);
            }
        }
        let old = self.items.iter().filter(|(id, item)| {
            !seen.contains(id) && item.touched < look.0 && item.is != Is::UnderWay
        });
        let old: Vec<EntryId> = old.map(|(id, _)| *id).collect();
        for id in old {
            self.remove(id);
        }
        self.gone.retain(|_, at| *at >= look.0);
    }

    /// Takes what a look says of an entry, unless it has changed here since the look began.
    fn merge(&mut self, found: Found, look: Look) {
        let Some(item) = self.items.get(&found.id) else {
            self.insert(found);
            return;
        };
        if item.is == Is::UnderWay || item.touched >= look.0 {
            return;
        }
        let is = Is::of(found.waits);
        if item.damaged && is == Is::Waiting {
            return;
        }
        self.change(found.id, |item| {
            item.damaged = false;
            if item.is == Is::Poisoned && is == Is::Waiting {
                item.anew();
            }
            item.is = is;
            item.owned = found.owned && is == Is::Waiting;
            item.suspect = found.suspect;
        });
    }

    fn insert(&mut self, found: Found) {
        let is = Is::of(found.waits);
        let Found {
            id, lane, bytes, ..
        } = found;
        self.hush(&lane);
        self.bytes = self.bytes.saturating_add(bytes);
        self.poisoned += usize::from(is == Is::Poisoned);
        self.lanes.entry(lane.clone()).or_default().ids.insert(id);
        let item = Item {
            lane: lane.clone(),
            bytes,
            queued: found.queued,
            is,
            owned: found.owned && is == Is::Waiting,
            replays: 0,
            failures: 0,
            delays: 0,
            delay: Duration::ZERO,
            due: Tick::ZERO,
            damaged: false,
            suspect: found.suspect,
            touched: self.look,
        };
        self.items.insert(id, item);
        self.rank(&lane);
    }

    fn change(&mut self, id: EntryId, change: impl FnOnce(&mut Item)) {
        let touched = self.look;
        let Some(lane) = self.items.get(&id).map(|item| item.lane.clone()) else {
            return;
        };
        self.hush(&lane);
        if let Some(item) = self.items.get_mut(&id) {
            let was = item.is;
            change(item);
            item.touched = touched;
            let (is, suspect) = (item.is, item.suspect);
            match (was, is) {
                (Is::UnderWay, Is::UnderWay) => {}
                (_, Is::UnderWay) if suspect => self.alone = Some(id),
                (Is::UnderWay, _) if self.alone == Some(id) => self.alone = None,
                _ => {}
            }
            self.count(was, -1);
            self.count(is, 1);
            if let Some(track) = self.lanes.get_mut(&lane) {
                match (was, is) {
                    (_, Is::UnderWay) => track.under_way = Some(id),
                    (Is::UnderWay, _) => track.under_way = None,
                    _ => {}
                }
            }
        }
        self.rank(&lane);
    }

    fn remove(&mut self, id: EntryId) {
        let Some(lane) = self.items.get(&id).map(|item| item.lane.clone()) else {
            return;
        };
        self.hush(&lane);
        if let Some(item) = self.items.remove(&id) {
            self.alone = self.alone.filter(|alone| *alone != id);
            self.count(item.is, -1);
            self.bytes = self.bytes.saturating_sub(item.bytes);
        }
        if let Some(track) = self.lanes.get_mut(&lane) {
            track.ids.remove(&id);
            if track.under_way == Some(id) {
                track.under_way = None;
            }
            if track.ids.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        self.rank(&lane);
    }

    const fn count(&mut self, is: Is, by: isize) {
        match is {
            Is::Waiting => {}
            Is::UnderWay if by > 0 => self.under_way = self.under_way.saturating_add(1),
            Is::UnderWay => self.under_way = self.under_way.saturating_sub(1),
            Is::Poisoned => self.poisoned = self.poisoned.saturating_add_signed(by),
        }
    }

    /// The first of a lane.
    fn first(&self, lane: &Lane) -> Option<(EntryId, &Item, bool)> {
        let track = self.lanes.get(lane)?;
        let id = track.ids.first()?;
        Some((*id, self.items.get(id)?, track.under_way.is_some()))
    }

    /// Before something of a lane changes.
    fn hush(&mut self, lane: &Lane) {
        if let Some((id, item, _)) = self.first(lane) {
            let (due, poisoned) = (item.due, item.is == Is::Poisoned);
            self.ready.remove(&(due, id));
            self.stopped = self.stopped.saturating_sub(usize::from(poisoned));
        }
    }

    /// After it has changed (rule 4).
    fn rank(&mut self, lane: &Lane) {
        let Some((id, item, busy)) = self.first(lane) else {
            return;
        };
        let (mut due, is, owned) = (item.due, item.is, item.owned);
        self.stopped += usize::from(is == Is::Poisoned);
        if is == Is::Waiting && owned && !busy {
            if due == Tick::ZERO {
                due = self.now;
                if let Some(item) = self.items.get_mut(&id) {
                    item.due = due;
                }
            }
            self.ready.insert((due, id));
        }
    }
}

impl Is {
    const fn of(waits: Waits) -> Self {
        match waits {
            Waits::Turn => Self::Waiting,
            Waits::Operator => Self::Poisoned,
        }
    }
}

impl Item {
    const fn anew(&mut self) {
        self.is = Is::Waiting;
        self.failures = 0;
        self.delays = 0;
        self.delay = Duration::ZERO;
        self.due = Tick::ZERO;
        self.damaged = false;
    }
}

/// How many, and not whose.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("depth", &self.depth())
            .field("bytes", &self.bytes())
            .field("lanes", &self.lanes.len())
            .field("under_way", &self.under_way)
            .field("poison", &self.poisoned)
            .field("oldest", &self.oldest())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
