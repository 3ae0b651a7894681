//! The state of everything, and what is changed in it on purpose to see the search find it.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mainstay::saga::entry::Fact;
use mainstay::saga::machine::Execution;
use mainstay::saga::{Payload, Shape};
use mainstay::time::Timestamp;

use super::outside::{Call, Log, Receiver, printed};

/// How the world is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// The journal acknowledges a record before it has it: a crash loses the last one.
    AcknowledgesEarly,
    /// The journal looks at the position of a record and not at the epoch.
    NoEpoch,
    /// A step that ended without an answer is not undone.
    UndoesOnlyAnswered,
    /// That the saga unwinds is not written before its end.
    KeepsUnwinding,
    /// Receivers do not look at tokens.
    NoTokens,
}

/// How much may go wrong in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub crashes: u8,
    /// Leases that end while their instance lives on, and believes in them.
    pub lapses: u8,
    /// Attempts that do not simply succeed.
    pub misfortunes: u8,
    /// Incidents after which an operator lets the saga go on.
    pub decisions: u8,
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Setup {
    pub shape: Arc<Shape>,
    /// Steps whose receivers do not know keys.
    pub keyless: Vec<usize>,
    pub left: Left,
    /// Whether it may be cancelled, at any time.
    pub cancels: bool,
    /// Whether the time of the whole may end, at any time.
    pub expires: bool,
    /// Whether a wait after an attempt may be written down.
    pub waits: bool,
    pub defect: Defect,
    /// Looks at what is done to receivers alone, not at how the processes came to it.
    pub only_effects: bool,
}

impl Setup {
    pub fn tokens(&self) -> bool {
        self.defect != Defect::NoTokens
    }

    pub fn keys(&self, step: usize) -> bool {
        !self.keyless.contains(&step)
    }
}

/// An instance that carries the saga on, or believes so.
#[derive(Clone, Debug)]
pub struct Life {
    pub mind: Execution,
    pub epoch: u64,
    /// How many records it knows of.
    pub seen: usize,
    /// The number of the attempt that it makes, or makes next.
    pub attempt: u32,
    /// What it is about to write after an attempt.
    pub writes: Option<Vec<Fact>>,
    /// With [`Defect::KeepsUnwinding`]: what it should have written.
    pub kept: Vec<Fact>,
}

/// A life and its hash; the same for both instances, which are alike.
#[derive(Clone, Debug)]
pub struct Known {
    pub life: Arc<Life>,
    hash: u64,
}

impl From<Life> for Known {
    fn from(life: Life) -> Self {
        let hash = printed(&life);
        Self {
            life: Arc::new(life),
            hash,
        }
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    pub log: Log,
    pub instances: [Option<Known>; 2],
    pub receivers: Vec<Receiver>,
    /// Calls whose sender does not wait for them any more. They arrive at any time, or never.
    pub late: Vec<Call>,
    /// The epoch under which an undo was begun first.
    pub undoing: Option<u64>,
    pub left: Left,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It dies, after it has sent a call.
    Crash(usize, Option<Call>),
    /// The lease ends, and the instance goes on.
    Lapse(usize),
    /// It takes the saga over, and reads its log.
    Claim(usize),
    /// An attempt ends.
    Ends(usize, Outcome),
    /// A call arrives that nobody waits for any more.
    Arrives(Call),
    /// It decides what to write without an attempt, and writes it.
    Decide(usize, Why),
    /// Its record reaches the journal, which takes it.
    Append(usize),
    /// Its record reaches the journal, which refuses it: it lets go.
    Fenced(usize),
    /// It has nothing more to do.
    Rests(usize),
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the receiver answers.
    Answered,
    /// Surely without effect, for good.
    Fails,
    /// Without effect, and no attempt has had one or will.
    Refuses,
    /// Without effect, this time.
    Retries,
    /// Without an answer; the call is on its way still.
    TimesOut,
    /// Without an answer, and it is not to be tried again; the call is on its way still.
    Unknown,
    /// An operator must look.
    Halts,
}

/// Why something is written between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Due,
    Cancelled,
    Expired,
    Operator,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |who: usize| if who == 0 { "A" } else { "B" };
        let what = |call: Call| if call.undo { "undo of" } else { "step" };
        match *self {
            Self::Crash(who, None) => write!(f, "{} crashes", name(who)),
            Self::Crash(who, Some(call)) => {
                write!(
                    f,
                    "{} crashes on {} {}, which is sent",
                    name(who),
                    what(call),
                    call.step
                )
            }
            Self::Lapse(who) => write!(f, "{}'s lease ends, and it goes on", name(who)),
            Self::Claim(who) => write!(f, "{} takes the saga over", name(who)),
            Self::Ends(who, outcome) => write!(f, "{}'s attempt ends: {outcome:?}", name(who)),
            Self::Arrives(call) => {
                write!(
                    f,
                    "{} {} under {} arrives late",
                    what(call),
                    call.step,
                    call.token
                )
            }
            Self::Decide(who, why) => write!(f, "{} writes: {why:?}", name(who)),
            Self::Append(who) => write!(f, "{}'s record is in the journal", name(who)),
            Self::Fenced(who) => write!(f, "{}'s record is refused", name(who)),
            Self::Rests(who) => write!(f, "{} has nothing to do", name(who)),
        }
    }
}

/// An output that shows who made it.
pub fn payload(text: &str) -> Payload {
    serde_json::from_str(text).unwrap()
}

pub const AT: Timestamp = Timestamp::from_millis(0);

impl World {
    /// The saga is in the journal, and its first instance has just begun it.
    pub fn new(setup: &Setup) -> Self {
        let mut log = Log {
            epoch: 1,
            owner: Some(0),
            synced: 1,
            ..Log::default()
        };
        log.push(1, Execution::begin(&setup.shape, "nonce", payload("7")));
        let facts = log.facts().map(|fact| (fact, AT));
        let mind = Execution::fresh(Arc::clone(&setup.shape), facts).unwrap();
        let life = Life {
            mind,
            epoch: 1,
            seen: 1,
            attempt: 1,
            writes: None,
            kept: Vec::new(),
        };
        Self {
            log,
            instances: [Some(life.into()), None],
            receivers: vec![Receiver::default(); setup.shape.steps.len()],
            late: Vec::new(),
            undoing: None,
            left: setup.left,
        }
    }

    /// A number for this state. The two instances are alike, so it does not tell which is which.
    pub fn canonical(&self) -> u128 {
        let half = |salt: u8| {
            let mut into = DefaultHasher::new();
            salt.hash(&mut into);
            self.log.hash(&mut into);
            let mut instances: Vec<(u64, bool)> = self
                .instances
                .iter()
                .enumerate()
                .map(|(who, known)| {
                    let hash = known.as_ref().map_or(0, |known| known.hash);
                    (hash, self.log.owner == Some(who))
                })
                .collect();
            instances.sort_unstable();
            instances.hash(&mut into);
            (&self.receivers, &self.late, self.undoing, self.left).hash(&mut into);
            u128::from(into.finish())
        };
        half(1) << 64 | half(2)
    }

    pub fn life(&self, who: usize) -> Option<&Life> {
        self.instances[who].as_ref().map(|known| &*known.life)
    }

    pub fn with(&self, who: usize, life: Life) -> Self {
        let mut next = self.clone();
        next.instances[who] = Some(life.into());
        next
    }

    /// Sends a call that nobody waits for.
    pub fn send(&mut self, setup: &Setup, call: Call) {
        self.late.push(call);
        self.late.sort_unstable();
        self.forget(setup);
    }

    /// Forgets calls that cannot change anything any more.
    pub fn forget(&mut self, setup: &Setup) {
        let receivers = &self.receivers;
        self.late.retain(|call| {
            receivers[call.step].may_heed(*call, setup.keys(call.step), setup.tokens())
        });
    }
}
