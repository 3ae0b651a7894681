//! What is outside the processes and outlives them: the journal, the receivers of effects, calls that are on their way.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mainstay::saga::entry::Fact;

/// A hash of what something prints: an execution prints all that it knows.
pub fn printed(what: &impl Debug) -> u64 {
    struct Into(DefaultHasher);
    impl Write for Into {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut into = Into(DefaultHasher::new());
    write!(into, "{what:?}").unwrap();
    into.0.finish()
}

/// Facts that became durable together.
#[derive(Debug)]
pub struct Record {
    pub epoch: u64,
    pub facts: Vec<Fact>,
    hash: u64,
}

/// One log of a journal that appends at an expected position under an epoch.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub records: Vec<Arc<Record>>,
    pub epoch: u64,
    /// How many records a power failure leaves: all of them, in a journal that does not lie.
    pub synced: usize,
    /// Whose lease covers the saga.
    pub owner: Option<usize>,
}

impl Log {
    pub fn push(&mut self, epoch: u64, facts: Vec<Fact>) {
        let hash = printed(&facts);
        let record = Record { epoch, facts, hash };
        self.records.push(Arc::new(record));
    }

    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.records.iter().flat_map(|record| &record.facts)
    }

    /// What is left after a power failure.
    pub fn durable(&self) -> impl Iterator<Item = &Fact> {
        let synced = self.records.iter().take(self.synced);
        synced.flat_map(|record| &record.facts)
    }

    pub fn ended(&self) -> Option<&Fact> {
        self.facts()
            .last()
            .filter(|last| matches!(last, Fact::Finished(_)))
    }
}

impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for record in &self.records {
            (record.epoch, record.hash).hash(state);
        }
        (self.epoch, self.synced).hash(state);
    }
}

/// A call on its way to the receiver of one step's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub step: usize,
    pub undo: bool,
    /// The epoch under which it was sent.
    pub token: u64,
}

/// What the receiver of one step's effect knows. All of them refuse what was undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// Applied and not undone.
    pub stands: bool,
    /// How often it was applied.
    pub times: u8,
    tombstone: bool,
    newest: u64,
    /// How many calls were done although a newer token had been seen.
    pub stale: u8,
}

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Refused,
    Stale,
}

impl Receiver {
    /// Takes a call. One with `keys` applies a key once; one with `tokens` refuses all but the newest.
    pub fn take(&mut self, call: Call, keys: bool, tokens: bool) -> Reply {
        if !self.sees(call.token, tokens) {
            return Reply::Stale;
        }
        if call.undo {
            self.stands = false;
            self.tombstone = true;
            return Reply::Done;
        }
        if self.tombstone {
            return Reply::Refused;
        }
        if !(keys && self.stands) {
            self.times += 1;
        }
        self.stands = true;
        Reply::Done
    }

    /// Sees a token, and says whether it goes on.
    pub fn sees(&mut self, token: u64, tokens: bool) -> bool {
        if token < self.newest {
            if tokens {
                return false;
            }
            self.stale = 1;
        }
        self.newest = self.newest.max(token);
        true
    }

    /// Whether nothing that is on its way to it will be applied any more.
    pub fn is_quiet(&self, step: usize, late: &[Call]) -> bool {
        late.iter()
            .all(|call| call.step != step || call.undo || call.token < self.newest)
    }

    /// Whether a call that arrives later can change anything.
    pub fn may_heed(&self, call: Call, keys: bool, tokens: bool) -> bool {
        let stale = tokens && call.token < self.newest;
        let over = self.tombstone || (keys && self.stands && !call.undo);
        let undone = self.tombstone && !self.stands;
        !stale && if call.undo { !undone } else { !over }
    }
}
