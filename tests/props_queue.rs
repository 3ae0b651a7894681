//! What holds of the line of a queue, whatever comes in whatever order: against a store that answers late, and looks that
//! are old when they are told.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the number of cases comes from the environment, and a test panics to fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay::num::{Attempts, count};
use mainstay::queue::{
    EntryId, Found, Full, Lane, Line, Look, QueueConfig, Ruling, Verdict, Waits,
};
use mainstay::retry::Backoff;
use mainstay::rng::Rng;
use mainstay::time::{Tick, Timestamp};
use proptest::prelude::*;

const LANES: u8 = 3;
const ENTRIES: u32 = 6;
const BYTES: u64 = 40;
const PARALLEL: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Room is taken and the entry written; the answer is not heard yet.
    Write {
        lane: u8,
        bytes: u8,
    },
    /// The oldest answer is heard, or its caller has gone.
    Answer {
        heard: bool,
    },
    /// Another instance writes one.
    Other {
        lane: u8,
    },
    /// Everything that nobody owns is owned from now on, and that is heard.
    Claim,
    /// The turn is over.
    TurnOver,
    /// Another instance finds that what it owns is poison, or applies it.
    OtherEnds {
        which: u8,
        poison: bool,
    },
    /// A look begins, reads the store in three listings (poison, what waits, poison), and is told.
    Look,
    Read,
    Told,
    /// Time passes.
    Pass {
        millis: u16,
    },
    /// The next replays begin.
    Next,
    /// One of those under way ends so.
    Settle {
        which: u8,
        how: u8,
    },
    /// An operator retries or drops a poisoned one, here or elsewhere.
    Decide {
        which: u8,
        drop: bool,
        here: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..LANES, 1_u8..20).prop_map(|(lane, bytes)| Op::Write { lane, bytes }),
        4 => prop::bool::weighted(0.8).prop_map(|heard| Op::Answer { heard }),
        1 => (0..LANES).prop_map(|lane| Op::Other { lane }),
        2 => Just(Op::Claim),
        1 => Just(Op::TurnOver),
        2 => Just(Op::Look),
        2 => (any::<u8>(), prop::bool::weighted(0.7))
            .prop_map(|(which, poison)| Op::OtherEnds { which, poison }),
        6 => Just(Op::Read),
        2 => Just(Op::Told),
        2 => (0_u16..500).prop_map(|millis| Op::Pass { millis }),
        5 => Just(Op::Next),
        5 => (any::<u8>(), 0_u8..8).prop_map(|(which, how)| Op::Settle { which, how }),
        2 => (any::<u8>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, drop, here)| Op::Decide { which, drop, here }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Running,
    Held,
    Applied,
    Dropped,
}

#[derive(Clone, Debug)]
struct Kept {
    lane: u8,
    bytes: u64,
    status: Status,
    owned: bool,
    /// Those who owned it have died.
    suspect: bool,
    /// Its writer has been told, or a look that was told has seen it.
    known: bool,
}

/// The store, the line, and everything that was ever done.
struct World {
    line: Line,
    store: BTreeMap<u64, Kept>,
    answers: Vec<(u64, u64)>,
    look: Option<(Look, Vec<Vec<Found>>)>,
    /// What has become poison elsewhere since the look began: nobody decides about it before that is over.
    fresh: BTreeSet<u64>,
    under_way: BTreeSet<u64>,
    /// First calls in each lane, and the entry that was called last.
    last: BTreeMap<u8, u64>,
    others: bool,
    rng: Rng,
    now: Tick,
}

fn lane(lane: u8) -> Lane {
    Lane::new(lane.to_string())
}

impl World {
    fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(10), Duration::from_millis(300));
        let config = QueueConfig::new()
            .entries(count(ENTRIES))
            .bytes(BYTES)
            .entry_bytes(16)
            .parallel(count(PARALLEL))
            .attempts(Attempts::total(3))
            .backoff(backoff);
        Self {
            line: Line::new(config),
            store: BTreeMap::new(),
            answers: Vec::new(),
            look: None,
            fresh: BTreeSet::new(),
            under_way: BTreeSet::new(),
            last: BTreeMap::new(),
            others: false,
            rng: Rng::new(7),
            now: Tick::ZERO,
        }
    }

    fn found(&self, id: u64) -> Found {
        let kept = &self.store[&id];
        let found = Found::new(
            EntryId::new(id),
            lane(kept.lane),
            kept.bytes,
            Timestamp::from_millis(0),
        );
        let waits = match kept.status {
            Status::Held => Waits::Operator,
            _ => Waits::Turn,
        };
        found.waits(waits).owned(kept.owned).suspect(kept.suspect)
    }

    fn open(&self) -> impl Iterator<Item = (&u64, &Kept)> {
        let open = |kept: &Kept| matches!(kept.status, Status::Running | Status::Held);
        self.store.iter().filter(move |(_, kept)| open(kept))
    }

    fn insert(&mut self, lane: u8, bytes: u64) -> u64 {
        let id = self.store.len() as u64 + 1;
        let kept = Kept {
            lane,
            bytes,
            status: Status::Running,
            owned: false,
            suspect: false,
            known: false,
        };
        self.store.insert(id, kept);
        id
    }

    fn change(&mut self, id: u64, status: Status) {
        let kept = self.store.get_mut(&id).unwrap();
        kept.status = status;
        kept.owned = false;
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Write { lane, bytes } => {
                let bytes = u64::from(bytes);
                let (depth, sum) = (self.line.depth(), self.line.bytes());
                match self.line.reserve(bytes) {
                    Ok(()) => {
                        assert!(depth < ENTRIES.into() && sum + bytes <= BYTES && bytes <= 16);
                        let id = self.insert(lane, bytes);
                        self.answers.push((id, bytes));
                    }
                    Err(Full::Entry) => assert!(bytes > 16),
                    Err(Full::Entries) => assert!(depth >= ENTRIES.into()),
                    Err(Full::Bytes) => assert!(sum + bytes > BYTES),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Op::Answer { heard } if !self.answers.is_empty() => {
                let (id, bytes) = self.answers.remove(0);
                if heard {
                    // What was written, whatever became of it since: a head is as old as its answer.
                    let mut found = self.found(id);
                    (found.waits, found.owned) = (Waits::Turn, false);
                    self.line.queued(bytes, found);
                    self.store.get_mut(&id).unwrap().known = true;
                } else {
                    self.line.lost(bytes);
                }
            }
            Op::Other { lane } if self.open().count() < 20 => {
                self.others = true;
                self.insert(lane, 1);
            }
            Op::Claim => {
                let free = |kept: &Kept| kept.status == Status::Running && !kept.owned;
                let ids: Vec<u64> = self
                    .store
                    .iter()
                    .filter(|(_, kept)| free(kept))
                    .map(|(id, _)| *id)
                    .collect();
                for id in ids {
                    let kept = self.store.get_mut(&id).unwrap();
                    (kept.owned, kept.known) = (true, true);
                    kept.suspect |= self.rng.next_u64().is_multiple_of(4);
                    let found = self.found(id);
                    self.line.taken(found);
                }
            }
            // As the driver does: only when nothing is under way.
            Op::TurnOver if self.under_way.is_empty() => {
                self.line.turn_over();
                self.store.values_mut().for_each(|kept| kept.owned = false);
                // Nor is a look told that began in the turn.
                self.look = None;
            }
            Op::OtherEnds { which, poison } => {
                let theirs = |kept: &Kept| kept.status == Status::Running && !kept.owned;
                let theirs = self.store.iter().filter(|(_, kept)| theirs(kept));
                let theirs: Vec<u64> = theirs.map(|(id, _)| *id).collect();
                if let Some(id) = theirs
                    .get(usize::from(which) % theirs.len().max(1))
                    .copied()
                {
                    self.others = true;
                    self.fresh.insert(id);
                    let status = if poison {
                        Status::Held
                    } else {
                        Status::Applied
                    };
                    self.change(id, status);
                }
            }
            Op::Look => {
                self.look = Some((self.line.look(), Vec::new()));
                self.fresh.clear();
            }
            Op::Read => {
                let read = self.look.as_ref().map_or(3, |(_, read)| read.len());
                let status = [Status::Held, Status::Running, Status::Held].get(read);
                let listed = self.open().filter(|(_, kept)| Some(&kept.status) == status);
                let listed = listed.map(|(id, _)| self.found(*id)).collect();
                if let (Some((_, read)), Some(_)) = (&mut self.look, status) {
                    read.push(listed);
                }
            }
            Op::Told => {
                let read = self.look.as_ref().map_or(0, |(_, read)| read.len());
                if let Some((look, found)) = self.look.take_if(|_| read == 3) {
                    let found: Vec<Found> = found.into_iter().flatten().collect();
                    for found in &found {
                        self.store.get_mut(&found.id.get()).unwrap().known = true;
                    }
                    self.line.looked(look, found);
                }
            }
            Op::Pass { millis } => self.now = self.now + Duration::from_millis(millis.into()),
            Op::Next => {
                while let Some(id) = self.line.next(self.now) {
                    self.called(id.get());
                }
            }
            Op::Settle { which, how } if !self.under_way.is_empty() => {
                let at = usize::from(which) % self.under_way.len();
                let id = *self.under_way.iter().nth(at).unwrap();
                self.settle(id, how);
            }
            Op::Decide { which, drop, here } => {
                let held = |id: &u64, kept: &Kept| {
                    kept.status == Status::Held && (here || !self.fresh.contains(id))
                };
                let held = self.store.iter().filter(|(id, kept)| held(id, kept));
                let held: Vec<u64> = held.map(|(id, _)| *id).collect();
                let Some(id) = held.get(usize::from(which) % held.len().max(1)).copied() else {
                    return;
                };
                self.change(
                    id,
                    if drop {
                        Status::Dropped
                    } else {
                        Status::Running
                    },
                );
                match (here, drop) {
                    (true, true) => self.line.gone(EntryId::new(id)),
                    (true, false) => self.line.retried(EntryId::new(id)),
                    (false, _) => self.others = true,
                }
            }
            _ => {}
        }
        self.check();
    }

    fn called(&mut self, id: u64) {
        let kept = &self.store[&id];
        let own = kept.lane;
        assert_eq!(kept.status, Status::Running, "{id} is over, or poison");
        assert!(kept.owned, "{id} is not owned");
        // Rule 4, of what this instance can know.
        let first = self.open().find(|(_, kept)| kept.lane == own && kept.known);
        assert_eq!(first.map(|(id, _)| *id), Some(id), "it passes another");
        let busy = self
            .under_way
            .iter()
            .any(|other| self.store[other].lane == own);
        assert!(!busy, "two of a lane");
        // Rule 11, of what this instance knows: another may have replayed it since.
        assert_eq!(self.line.is_suspect(EntryId::new(id)), kept.suspect);
        let suspect = |id: &u64| self.store[id].suspect;
        assert!(!self.under_way.iter().any(suspect), "beside a suspect");
        assert!(!kept.suspect || self.under_way.is_empty(), "not alone");
        assert!(self.under_way.insert(id));
        assert!(self.under_way.len() <= PARALLEL as usize, "rule 5");
        self.last.insert(own, id);
    }

    fn settle(&mut self, id: u64, how: u8) {
        let entry = EntryId::new(id);
        let verdict = match how {
            0..=3 => Verdict::Applied,
            4 => Verdict::Refused,
            5 => Verdict::AWAY,
            _ => Verdict::FAILED,
        };
        let failures = self.line.failures(entry);
        if how > 4 && self.rng.next_u64().is_multiple_of(2) {
            self.line.survived(entry);
            assert!(!self.line.is_suspect(entry));
            self.store.get_mut(&id).unwrap().suspect = false;
        }
        let ruling = self.line.settle(entry, verdict, &mut self.rng, self.now);
        self.under_way.remove(&id);
        match ruling.unwrap() {
            Ruling::Apply => {
                assert_eq!(verdict, Verdict::Applied);
                self.change(id, Status::Applied);
                self.line.gone(entry);
            }
            Ruling::Poison(_) => {
                assert!(verdict == Verdict::Refused || failures == 2, "rule 7");
                self.change(id, Status::Held);
                self.line.poisoned(entry);
            }
            Ruling::Wait(due) => {
                assert!(due >= self.now && verdict != Verdict::Applied);
                assert!(verdict == Verdict::AWAY || failures < 2, "rule 7");
            }
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) {
        // Rule 3: whatever was acknowledged here and is not over stands in the way of what comes later.
        for (id, kept) in self.open() {
            if kept.known {
                assert!(
                    self.line.must_wait(&lane(kept.lane)),
                    "{id} could be passed"
                );
            }
        }
        // Rule 1, where nobody else writes.
        if !self.others {
            let there: Vec<u64> = self.open().map(|(_, kept)| kept.bytes).collect();
            assert!(there.len() <= ENTRIES as usize);
            assert!(there.iter().sum::<u64>() <= BYTES);
            let open = self.open().filter(|(_, kept)| kept.known).count() as u64;
            assert!(self.line.depth() >= open, "what waits is counted");
        }
        assert_eq!(self.line.under_way() as usize, self.under_way.len());
    }

    /// With a store that answers, everything is applied in the end.
    fn drain(&mut self) {
        for id in std::mem::take(&mut self.under_way) {
            self.under_way.insert(id);
            self.settle(id, 0);
        }
        while !self.answers.is_empty() {
            self.act(Op::Answer { heard: true });
        }
        while self.store.values().any(|kept| kept.status == Status::Held) {
            self.act(Op::Decide {
                which: 0,
                drop: false,
                here: true,
            });
        }
        for _ in 0..500 {
            for op in [
                Op::Claim,
                Op::Look,
                Op::Read,
                Op::Read,
                Op::Read,
                Op::Told,
                Op::Pass { millis: 500 },
                Op::Next,
            ] {
                self.act(op);
            }
            for id in self.under_way.clone() {
                self.settle(id, 0);
            }
        }
        let over = |kept: &Kept| matches!(kept.status, Status::Applied | Status::Dropped);
        assert!(self.store.values().all(over), "{:?}", self.store);
        assert_eq!(
            (self.line.depth(), self.line.bytes()),
            (0, 0),
            "{:?}",
            self.line
        );
        assert!(!self.line.has_work() && self.line.poll_timeout().is_none());
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(400))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_is_passed_lost_or_done_twice(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in ops {
            world.act(op);
        }
        world.drain();
    }
}
