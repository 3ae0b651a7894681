//! The probe that carries out what is done to a saga.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::fault::{Disturbance, Fault};
use crate::saga::machine::Ending;
use crate::saga::probe::{Gate, Probe, Site, What, Wish};

/// Long enough to be written down.
const LATER: Duration = Duration::from_secs(2);

/// A run that passes more places does not come to rest.
const ENDLESS: usize = 10_000;

/// What injected endings say.
pub(super) const INJECTED: &str = "injected";

/// Carries out a disturbance, and notes what the run did. It outlives the crashes.
#[derive(Debug)]
pub(super) struct Meddler {
    disturbance: Disturbance,
    /// Steps that a migration renames: what is done to one is done to it under both names.
    names: BTreeMap<Box<str>, Box<str>>,
    notes: Mutex<Notes>,
    stopped: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Every place that was reached, crashed or not.
    places: Vec<String>,
    /// Every attempt that was made, in order.
    attempts: Vec<(What, Box<str>)>,
    /// Steps and undos that have misbehaved once, where once is all.
    had: BTreeSet<(bool, Box<str>)>,
}

impl Meddler {
    pub(super) fn new(disturbance: Disturbance, names: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self {
            disturbance,
            names,
            notes: Mutex::default(),
            stopped: watch::Sender::new(false),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places the run reached.
    pub(super) fn places(&self) -> usize {
        self.notes().places.len()
    }

    /// Whether it goes on without end.
    pub(super) fn is_endless(&self) -> bool {
        self.places() > ENDLESS
    }

    /// What the places were.
    pub(super) fn story(&self) -> Vec<String> {
        self.notes().places.clone()
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

    /// Whether the process is stopped; changes when it stops and when it is woken.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    pub(super) fn wake(&self) {
        self.stopped.send_replace(false);
    }

    fn fault(&self, site: &Site) -> Option<Fault> {
        let faults = match site.what {
            What::Run => &self.disturbance.steps,
            What::Undo => &self.disturbance.undos,
            What::Ask | What::Write => return None,
        };
        faults
            .iter()
            .find(|(step, _)| self.last_name(step) == self.last_name(&site.step))
            .map(|(_, fault)| *fault)
    }

    /// The name that a step has in the end.
    fn last_name<'a>(&'a self, mut step: &'a str) -> &'a str {
        // Names may come back, but no step is renamed more often than there are renamings.
        for _ in 0..self.names.len() {
            match self.names.get(step) {
                Some(name) => step = name,
                None => break,
            }
        }
        step
    }

    /// Notes a place, and says whether the process dies there.
    fn dies(&self, site: &Site, when: &str) -> bool {
        let mut notes = self.notes();
        let place = notes.places.len();
        if place > ENDLESS {
            return true;
        }
        let step = &site.step;
        notes.places.push(match site.what {
            What::Ask => format!("{when} asking about {step}"),
            What::Run => format!("{when} step {step}"),
            What::Undo => format!("{when} the undo of {step}"),
            What::Write => format!("{when} a record"),
        });
        drop(notes);
        self.disturbance.crashes.contains(&place)
    }

    /// Stops the process at the place that was noted last, if it is to be stopped there.
    fn stops(&self, then: Wish) -> Wish {
        let place = self.places().checked_sub(1);
        if place.is_some() && self.disturbance.stall == place {
            self.stopped.send_replace(true);
            return Wish::Stop(Gate(self.stopped()), Box::new(then));
        }
        then
    }

    fn first(&self, site: &Site) -> bool {
        self.notes()
            .had
            .insert((site.what == What::Undo, self.last_name(&site.step).into()))
    }

    fn attempt(&self, site: &Site) {
        if site.what != What::Write {
            self.notes().attempts.push((site.what, site.step.clone()));
        }
    }

    fn misbehaves_before(&self, site: &Site) -> Wish {
        let end = |ending: fn(Box<str>) -> Ending| Wish::End(ending(INJECTED.into()));
        match self.fault(site) {
            Some(Fault::Fails) => end(Ending::Fail),
            Some(Fault::Refuses) => end(Ending::Refused),
            Some(Fault::UnknownBefore) => end(Ending::Unknown),
            Some(Fault::RetryAlways) => end(Ending::Retry),
            Some(Fault::RetryBefore) if self.first(site) => end(Ending::Retry),
            Some(Fault::Halts) if self.first(site) => end(Ending::Halt),
            Some(Fault::Cancelled) if self.first(site) => Wish::Cancel,
            Some(Fault::Twice) => Wish::Twice,
            _ => Wish::Go,
        }
    }

    fn misbehaves_after(&self, site: &Site) -> Wish {
        match self.fault(site) {
            Some(Fault::UnknownAfter) => Wish::End(Ending::Unknown(INJECTED.into())),
            Some(Fault::RetryAfter) if self.first(site) => {
                Wish::End(Ending::Retry(INJECTED.into()))
            }
            Some(Fault::RetryLater) if self.first(site) => {
                Wish::End(Ending::RetryAfter(INJECTED.into(), LATER))
            }
            Some(Fault::Panics) if self.first(site) => Wish::End(Ending::Panicked),
            _ => Wish::Go,
        }
    }
}

impl Probe for Meddler {
    fn before(&self, site: &Site) -> Wish {
        if self.dies(site, "before") {
            return Wish::Crash;
        }
        self.attempt(site);
        self.stops(self.misbehaves_before(site))
    }

    fn after(&self, site: &Site) -> Wish {
        if self.dies(site, "after") {
            return Wish::Crash;
        }
        self.stops(self.misbehaves_after(site))
    }
}

/// The same for the instance that takes over: steps misbehave there as well, and nothing is done at places.
#[derive(Debug)]
pub(super) struct Second(pub(super) std::sync::Arc<Meddler>);

impl Probe for Second {
    fn before(&self, site: &Site) -> Wish {
        if self.0.is_endless() {
            return Wish::Crash;
        }
        self.0.attempt(site);
        self.0.misbehaves_before(site)
    }

    fn after(&self, site: &Site) -> Wish {
        self.0.misbehaves_after(site)
    }
}
