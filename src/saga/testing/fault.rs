//! What is done to a saga, and the probe that does it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::saga::machine::Ending;
use crate::saga::probe::{Probe, Site, What, Wish};
use crate::saga::shape::{Kind, Shape, StepShape};

/// Long enough to be written down.
const LATER: Duration = Duration::from_secs(2);

/// How a step or an undo misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It says, every time and without having done anything, that it will not succeed.
    Fails,
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
    /// The saga is [cancelled](crate::saga::Sagas::cancel) while its first attempt is made.
    Cancelled,
    /// Each attempt of it is made twice. Not done to a step that runs at most once.
    Twice,
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

    /// Every single misbehaviour that a saga of this shape can show, and every undo misbehaving once a later step
    /// fails.
    pub(super) fn all_of(shape: &Shape) -> Vec<Self> {
        let mut all = Vec::new();
        for (index, step) in shape.steps.iter().enumerate() {
            all.extend(
                faults(step)
                    .iter()
                    .map(|fault| Self::step(&step.name, *fault)),
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
const UNDO_FAULTS: [Fault; 5] = [
    Fault::RetryBefore,
    Fault::RetryAfter,
    Fault::RetryLater,
    Fault::Cancelled,
    Fault::Twice,
];

/// How a step can misbehave without the saga being stuck for good.
fn faults(step: &StepShape) -> Vec<Fault> {
    let all: &[Fault] = match step.kind {
        Kind::Check => &[
            Fault::Fails,
            Fault::UnknownBefore,
            Fault::RetryBefore,
            Fault::RetryLater,
            Fault::Cancelled,
            Fault::Twice,
        ],
        Kind::Step | Kind::Pivot => &[
            Fault::Fails,
            Fault::UnknownBefore,
            Fault::UnknownAfter,
            Fault::RetryBefore,
            Fault::RetryAfter,
            Fault::RetryLater,
            Fault::Cancelled,
            Fault::Twice,
        ],
        // After the pivot a step that never succeeds is tried for ever.
        Kind::Then => &UNDO_FAULTS,
    };
    all.iter()
        .copied()
        .filter(|fault| *fault != Fault::Twice || !step.at_most_once)
        .collect()
}

/// One line that says how to make it happen again.
impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(
            self.steps
                .iter()
                .map(|(step, fault)| format!("step {step}: {fault:?}")),
        );
        parts.extend(
            self.undos
                .iter()
                .map(|(step, fault)| format!("undo of {step}: {fault:?}")),
        );
        parts.extend(
            self.crashes
                .iter()
                .map(|place| format!("crash at place {place}")),
        );
        if parts.is_empty() {
            f.write_str("nothing")
        } else {
            f.write_str(&parts.join(", "))
        }
    }
}

/// Carries out a disturbance, and notes what the run did. It outlives the crashes.
#[derive(Debug)]
pub(super) struct Meddler {
    disturbance: Disturbance,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Every place that was reached, crashed or not.
    places: Vec<String>,
    /// Every attempt that was made, in order.
    attempts: Vec<(What, Box<str>)>,
    /// Steps and undos that have had their one retry.
    retried: BTreeSet<(bool, Box<str>)>,
}

impl Meddler {
    pub(super) fn new(disturbance: Disturbance) -> Self {
        Self {
            disturbance,
            notes: Mutex::default(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places the run reached.
    pub(super) fn places(&self) -> usize {
        self.notes().places.len()
    }

    /// What the places were, the crashes marked.
    pub(super) fn story(&self) -> Vec<String> {
        let notes = self.notes();
        let mark = |(place, what): (usize, &String)| {
            let crash = if self.disturbance.crashes.contains(&place) {
                " (crash)"
            } else {
                ""
            };
            format!("{place}: {what}{crash}")
        };
        notes.places.iter().enumerate().map(mark).collect()
    }

    /// The first step that ran after an undo.
    pub(super) fn flipped(&self) -> Option<Box<str>> {
        let notes = self.notes();
        let undone = notes
            .attempts
            .iter()
            .skip_while(|(what, _)| *what != What::Undo);
        undone
            .into_iter()
            .find(|(what, _)| *what == What::Run)
            .map(|(_, step)| step.clone())
    }

    fn fault(&self, site: &Site) -> Option<Fault> {
        let faults = match site.what {
            What::Run => &self.disturbance.steps,
            What::Undo => &self.disturbance.undos,
            What::Ask | What::Write => return None,
        };
        faults
            .iter()
            .find(|(step, _)| *step == site.step)
            .map(|(_, fault)| *fault)
    }

    /// Notes a place and says whether the process dies there.
    fn dies(&self, site: &Site, when: &str) -> bool {
        let mut notes = self.notes();
        let place = notes.places.len();
        notes
            .places
            .push(format!("{when} {:?} {}", site.what, site.step));
        self.disturbance.crashes.contains(&place)
    }

    fn first(&self, site: &Site) -> bool {
        self.notes()
            .retried
            .insert((site.what == What::Undo, site.step.clone()))
    }
}

impl Probe for Meddler {
    fn before(&self, site: &Site) -> Wish {
        if self.dies(site, "before") {
            return Wish::Crash;
        }
        if site.what != What::Write {
            self.notes().attempts.push((site.what, site.step.clone()));
        }
        match self.fault(site) {
            Some(Fault::Fails) => Wish::End(Ending::Fail("injected".into())),
            Some(Fault::UnknownBefore) => Wish::End(Ending::Unknown("injected".into())),
            Some(Fault::RetryBefore) if self.first(site) => {
                Wish::End(Ending::Retry("injected".into()))
            }
            Some(Fault::Cancelled) if self.first(site) => Wish::Cancel,
            Some(Fault::Twice) => Wish::Twice,
            _ => Wish::Go,
        }
    }

    fn after(&self, site: &Site) -> Wish {
        if self.dies(site, "after") {
            return Wish::Crash;
        }
        match self.fault(site) {
            Some(Fault::UnknownAfter) => Wish::End(Ending::Unknown("injected".into())),
            Some(Fault::RetryAfter) if self.first(site) => {
                Wish::End(Ending::Retry("injected".into()))
            }
            Some(Fault::RetryLater) if self.first(site) => {
                Wish::End(Ending::RetryAfter("injected".into(), LATER))
            }
            _ => Wish::Go,
        }
    }
}
