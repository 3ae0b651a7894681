//! What is done to a saga.

use std::collections::BTreeSet;

use crate::saga::shape::{Kind, Shape, StepShape};

/// How a step or an undo misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It says, every time and without having done anything, that it will not succeed.
    Fails,
    /// It says, every time and truly, that no attempt has had an effect or will.
    Refuses,
    /// It ends without an answer, every time and without having done anything.
    UnknownBefore,
    /// It does its work and ends without an answer, every time.
    UnknownAfter,
    /// Its first attempt asks to be made again, without having done anything.
    RetryBefore,
    /// Its first attempt does its work and asks to be made again.
    RetryAfter,
    /// Its first attempt does its work and asks to be made again after two seconds: a wait that is written down.
    RetryLater,
    /// It asks, every time and without having done anything, to be made again. Not done to what is tried without end.
    RetryAlways,
    /// Its first attempt does its work and panics.
    Panics,
    /// Its first attempt asks for an operator, without having done anything; the operator lets the saga go on.
    Halts,
    /// The saga is [cancelled](crate::saga::Sagas::cancel) while its first attempt is made.
    Cancelled,
    /// Each attempt of it is made twice. Not done to a step that runs at most once.
    Twice,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::Fails,
        Self::Refuses,
        Self::UnknownBefore,
        Self::UnknownAfter,
        Self::RetryBefore,
        Self::RetryAfter,
        Self::RetryLater,
        Self::RetryAlways,
        Self::Panics,
        Self::Halts,
        Self::Cancelled,
        Self::Twice,
    ];

    /// The word for it in schedules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Refuses => "refuses",
            Self::UnknownBefore => "unknown_before",
            Self::UnknownAfter => "unknown_after",
            Self::RetryBefore => "retry_before",
            Self::RetryAfter => "retry_after",
            Self::RetryLater => "retry_later",
            Self::RetryAlways => "retry_always",
            Self::Panics => "panics",
            Self::Halts => "halts",
            Self::Cancelled => "cancelled",
            Self::Twice => "twice",
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Fails => "fails without having done anything",
            Self::Refuses => "is refused for good, without having done anything",
            Self::UnknownBefore => "does nothing and ends without an answer",
            Self::UnknownAfter => "does its work and ends without an answer",
            Self::RetryBefore => "does nothing and asks to be made again, once",
            Self::RetryAfter => "does its work and asks to be made again, once",
            Self::RetryLater => "does its work and asks to be made again later, once",
            Self::RetryAlways => "does nothing and asks to be made again, always",
            Self::Panics => "does its work and panics, once",
            Self::Halts => "does nothing and asks for an operator, once",
            Self::Cancelled => "is made while the saga is cancelled",
            Self::Twice => "is made twice",
        }
    }

    /// Whether the step surely had no effect and will not be done.
    pub(super) const fn is_sure_failure(self) -> bool {
        matches!(self, Self::Fails | Self::Refuses)
    }
}

/// What is done to one run of a saga.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disturbance {
    /// Steps that misbehave, and how.
    pub steps: Vec<(Box<str>, Fault)>,
    /// Undos that misbehave, named by their step, and how.
    pub undos: Vec<(Box<str>, Fault)>,
    /// The places at which the process dies, numbered as the run reaches them.
    pub crashes: BTreeSet<usize>,
    /// The place at which the process is stopped for longer than its lease, while another instance takes the saga over
    /// and ends it; then the first one goes on.
    pub stall: Option<usize>,
}

impl Disturbance {
    pub(super) fn step(name: &str, fault: Fault) -> Self {
        Self {
            steps: vec![(name.into(), fault)],
            ..Self::default()
        }
    }

    pub(super) fn and_undo(mut self, name: &str, fault: Fault) -> Self {
        self.undos.push((name.into(), fault));
        self
    }

    pub(super) fn and_crash(mut self, place: usize) -> Self {
        self.crashes.insert(place);
        self
    }

    pub(super) const fn and_stall(mut self, place: usize) -> Self {
        self.stall = Some(place);
        self
    }

    /// How many things are done.
    pub(super) fn len(&self) -> usize {
        let faults = self.steps.len().saturating_add(self.undos.len());
        let places = self
            .crashes
            .len()
            .saturating_add(usize::from(self.stall.is_some()));
        faults.saturating_add(places)
    }

    /// Whether nothing happens at a place.
    pub(super) fn is_placeless(&self) -> bool {
        self.crashes.is_empty() && self.stall.is_none()
    }

    /// The step that is made to fail, where that is all that is done to steps.
    pub(super) fn fails(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [(step, fault)] if fault.is_sure_failure() => Some(step),
            _ => None,
        }
    }

    /// Every single misbehaviour that a saga of this shape can show, and every undo misbehaving once a later step
    /// fails.
    pub(super) fn all_of(shape: &Shape) -> Vec<Self> {
        let mut all = Vec::new();
        for (index, step) in shape.steps.iter().enumerate() {
            all.extend(
                faults(step)
                    .into_iter()
                    .map(|fault| Self::step(&step.name, fault)),
            );
            // A later step fails surely, so that this one is undone, and its undo misbehaves.
            let later = shape.steps.iter().skip(index.saturating_add(1));
            let Some(breaks) = later.clone().find(|later| later.kind != Kind::Then) else {
                continue;
            };
            if step.kind == Kind::Step {
                all.extend(UNDO_FAULTS.map(|fault| {
                    Self::step(&breaks.name, Fault::Fails).and_undo(&step.name, fault)
                }));
            }
        }
        all
    }
}

/// How an undo can misbehave without the saga being stuck for good.
const UNDO_FAULTS: [Fault; 7] = [
    Fault::RetryBefore,
    Fault::RetryAfter,
    Fault::RetryLater,
    Fault::Panics,
    Fault::Halts,
    Fault::Cancelled,
    Fault::Twice,
];

/// How a step can misbehave without the saga being stuck for good.
fn faults(step: &StepShape) -> Vec<Fault> {
    // After the pivot a step that never succeeds is tried for ever.
    let all = Fault::ALL.into_iter().filter(|fault| match step.kind {
        Kind::Check => !matches!(
            fault,
            Fault::Refuses | Fault::UnknownAfter | Fault::RetryAfter
        ),
        Kind::Step | Kind::Pivot => true,
        Kind::Then => UNDO_FAULTS.contains(fault),
    });
    all.filter(|fault| match fault {
        Fault::Twice => !step.at_most_once,
        Fault::RetryAlways => step.attempts.is_some(),
        _ => true,
    })
    .collect()
}
