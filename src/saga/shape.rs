//! What a definition looks like from outside: names, kinds and how often each is tried.

use std::num::NonZeroU32;
use std::time::Duration;

use super::digest::Digest;

/// What kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Reads, changes nothing.
    Check,
    /// Can be undone.
    Step,
    /// The point of no return.
    Pivot,
    /// After the point of no return: retried until done.
    Then,
}

impl Kind {
    /// The word for it, in fingerprints and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Step => "step",
            Self::Pivot => "pivot",
            Self::Then => "then",
        }
    }
}

/// One step of a [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepShape {
    /// Its name, unique in the definition.
    pub name: Box<str>,
    /// What kind of step.
    pub kind: Kind,
    /// How often it is tried; `None` is until it is done.
    pub attempts: Option<NonZeroU32>,
    /// How often its undo is tried before an operator is asked; `None` is until it is done.
    pub undo_attempts: Option<NonZeroU32>,
    /// Whether it is never run again after an attempt whose end is not known.
    pub at_most_once: bool,
    /// Whether it can be asked, after an attempt whose end is not known, if it had its effect.
    pub reconciles: bool,
    /// How long the receiver of its effect remembers a key; `None` is for ever.
    pub key_valid_for: Option<Duration>,
    /// Whether its effect and its record are one transaction ([`tx`](super::tx)), so that it is never in doubt.
    pub in_journal: bool,
}

impl StepShape {
    /// A step of this kind that is tried once, and so is its undo.
    pub fn new(name: impl Into<Box<str>>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            attempts: Some(NonZeroU32::MIN),
            undo_attempts: Some(NonZeroU32::MIN),
            at_most_once: false,
            reconciles: false,
            key_valid_for: None,
            in_journal: false,
        }
    }

    /// How often the step is tried.
    #[must_use]
    pub const fn attempts(mut self, attempts: Option<NonZeroU32>) -> Self {
        self.attempts = attempts;
        self
    }

    /// How often the undo is tried.
    #[must_use]
    pub const fn undo_attempts(mut self, attempts: Option<NonZeroU32>) -> Self {
        self.undo_attempts = attempts;
        self
    }

    /// Whether it is never run again after an attempt whose end is not known.
    #[must_use]
    pub const fn at_most_once(mut self, at_most_once: bool) -> Self {
        self.at_most_once = at_most_once;
        self
    }

    /// Whether it can be asked if it had its effect.
    #[must_use]
    pub const fn reconciles(mut self, reconciles: bool) -> Self {
        self.reconciles = reconciles;
        self
    }

    /// How long the receiver of its effect remembers a key.
    #[must_use]
    pub const fn key_valid_for(mut self, time: Option<Duration>) -> Self {
        self.key_valid_for = time;
        self
    }

    /// Whether its effect and its record are one transaction.
    #[must_use]
    pub const fn in_journal(mut self, in_journal: bool) -> Self {
        self.in_journal = in_journal;
        self
    }
}

impl StepShape {
    /// Whether what it depends on must be durable before it runs (rule 3 of the [machine](super::machine)).
    pub(crate) fn needs_answers(&self) -> bool {
        self.kind != Kind::Check && !self.in_journal
    }
}

/// The chain of steps of one version of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// The definition's name.
    pub name: Box<str>,
    /// The definition's version.
    pub version: u32,
    /// Its steps in order.
    pub steps: Vec<StepShape>,
}

impl Shape {
    /// A chain of steps. The definition builder checks the order of kinds; whoever calls this answers for it.
    pub fn new(name: impl Into<Box<str>>, version: u32, steps: Vec<StepShape>) -> Self {
        Self {
            name: name.into(),
            version,
            steps,
        }
    }

    /// What must not change while sagas are under way: the name, the version, and each step's name and kind in order,
    /// and whether it runs at most once or in the journal's transaction.
    ///
    /// The rule: what a written fact *means* is part of it, what is decided *next* is not. A log without the intent of
    /// a step says that the step never ran if it runs at most once, and that it may have run if it does not, so the two
    /// are two definitions; so is one whose step leaves nothing without its record. Attempts, timeouts, deadlines, how long a key is remembered and whether a step can be
    /// reconciled only change what is done from now on: a saga may get them while it is under way, and one that waits
    /// for an operator often should.
    ///
    /// Types are not part of it, since their names change with the compiler; an output that no longer reads as the
    /// type of the next step is found when it is read, and held.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let start = Digest::new()
            .field(b"mainstay saga 1")
            .field(self.name.as_bytes())
            .field(&self.version.to_be_bytes());
        self.steps
            .iter()
            .fold(start, |digest, step| {
                let digest = digest
                    .field(step.kind.as_str().as_bytes())
                    .field(step.name.as_bytes());
                // Only where it is so: definitions from before it keep their fingerprints.
                let digest = if step.at_most_once {
                    digest.field(b"at most once")
                } else {
                    digest
                };
                if step.in_journal {
                    digest.field(b"in journal")
                } else {
                    digest
                }
            })
            .hex(16)
    }
}
