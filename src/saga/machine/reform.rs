//! A saga that goes on in another form (rules 28 to 30).

use std::collections::BTreeSet;

use super::{Course, Execution, Illegal, Retelling};
use crate::saga::entry::{Effect, Fact, Failure, Migrated};
use crate::time::Timestamp;

/// What a log says whatever its form is.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    form: Option<&'a str>,
    held: bool,
    over: bool,
}

impl<'a> Outline<'a> {
    pub(super) fn add(&mut self, fact: &'a Fact) -> Result<(), Illegal> {
        match fact {
            Fact::Started(started) => self.form = Some(&started.fingerprint),
            Fact::Incident(_) => self.held = true,
            Fact::Resolved(_) => self.held = false,
            Fact::Finished(_) => self.over = true,
            Fact::Migrated(migrated) => {
                let refuse = |why| Err(Illegal::new("migrated", why));
                if self.over || self.held {
                    return refuse("the saga is over, or waits for an operator");
                }
                if self.form != Some(&*migrated.from) {
                    return refuse("it had another form");
                }
                self.form = Some(&migrated.to);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Execution {
    /// Begins anew as a saga of this form, of which nothing is told yet.
    pub(super) fn reform(&mut self, migrated: &Migrated, at: Timestamp) -> Result<(), Illegal> {
        let refuse = |why| Err(Illegal::new("migrated", why));
        if !self.started || self.retelling.is_some() {
            return refuse("a saga begins with its start, and tells what was so in one record");
        }
        if *migrated.to != *self.shape.fingerprint() || migrated.version != self.shape.version {
            return refuse("it is to another form than this one");
        }
        let mut fresh = Self::new(self.shape.clone());
        fresh.started = true;
        fresh.incidents = migrated.incidents;
        fresh.proposals = migrated.proposals;
        fresh.cancel_answered = migrated.cancel_answered;
        fresh.overruled = migrated.overruled;
        let index = |name: &str| self.shape.steps.iter().position(|step| *step.name == *name);
        for (step, name) in &migrated.keys {
            let Some(index) = index(step) else {
                return refuse("it names a step that is none");
            };
            fresh.keys.insert(index, name.clone());
        }
        for generation in &migrated.generations {
            let Some(index) = index(&generation.step) else {
                return refuse("it names a step that is none");
            };
            fresh
                .generations
                .insert((index, generation.undo), generation.number);
        }
        let names: BTreeSet<&str> = (0..self.shape.steps.len())
            .map(|index| fresh.key_name(index))
            .collect();
        if names.len() != self.shape.steps.len() {
            return refuse("two steps would have one key");
        }
        fresh.tries.since = migrated.since.unwrap_or(at);
        fresh.retelling = (migrated.retold > 0).then_some(Retelling {
            left: migrated.retold,
            since: migrated.since,
            permitted: migrated.permitted,
        });
        *self = fresh;
        Ok(())
    }

    /// One more fact was told again, if any is.
    pub(super) fn told(&mut self) {
        let Some(retelling) = &mut self.retelling else {
            return;
        };
        retelling.left = retelling.left.saturating_sub(1);
        let told = *retelling;
        if told.left > 0 {
            return;
        }
        self.retelling = None;
        if let Some(since) = told.since {
            self.tries.since = since;
        }
        self.tries.intended &= !told.permitted;
    }

    /// Whether a failure that is told again is of a step that surely had no effect and is not next in this form.
    pub(super) fn is_gone(&self, failure: &Failure) -> bool {
        let next = self.frontier().map(|step| &step.name);
        self.retelling.is_some()
            && failure.effect == Effect::None
            && self.course == Course::Forward
            && next != Some(&failure.step)
    }
}

/// What can have been so in another form.
pub(super) const fn may_be_retold(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Done { .. }
            | Fact::Failed(_)
            | Fact::Unwind
            | Fact::Undone { .. }
            | Fact::Intent { .. }
            | Fact::RetryAt(_)
    )
}
