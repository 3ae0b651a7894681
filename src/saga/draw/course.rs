//! How far a saga is, as its facts tell it, legal or not.

use std::collections::BTreeSet;

use super::graph::Look;
use crate::saga::entry::{Effect, Fact, Failure, Finish, Operation, Trouble};
use crate::saga::shape::{Kind, Shape};

#[derive(Default)]
pub(super) struct Course<'a> {
    done: BTreeSet<&'a str>,
    undone: BTreeSet<&'a str>,
    failed: Option<Failure>,
    held: Option<&'a Trouble>,
    finish: Option<Finish>,
    /// The step that runs, and the one whose undo does.
    next: Option<Box<str>>,
    next_undo: Option<Box<str>>,
}

impl<'a> Course<'a> {
    pub(super) fn of(shape: &Shape, facts: &'a [Fact]) -> Self {
        let mut course = Self::default();
        for fact in facts {
            match fact {
                Fact::Started(_)
                | Fact::Unwind
                | Fact::Intent { .. }
                | Fact::RetryAt(_)
                | Fact::CancelRefused { .. }
                | Fact::Suspected { .. }
                | Fact::Proposed(_)
                | Fact::TurnedDown { .. }
                | Fact::Refused(_) => {}
                Fact::Done { step, .. } => {
                    course.done.insert(step);
                }
                Fact::Failed(failure) => course.failed = Some(failure.clone()),
                Fact::Cancelled(cancellation) => course.failed = Some(cancellation.failure()),
                Fact::Undone { step } => {
                    course.undone.insert(step);
                }
                Fact::Incident(trouble) => course.held = Some(trouble),
                Fact::Resolved(resolution) if resolution.operation == Operation::Abandon => {}
                Fact::Resolved(_) => course.held = None,
                Fact::Migrated(_) => {
                    // What follows says it again, in the words of the form that it has now.
                    course.done.clear();
                    course.undone.clear();
                    course.failed = None;
                }
                Fact::Finished(finish) => course.finish = Some(*finish),
            }
        }
        if course.held.is_none() && course.finish.is_none() {
            let mut steps = shape.steps.iter();
            if course.failed.is_some() {
                let next = steps.rfind(|step| {
                    step.kind == Kind::Step
                        && course.must_undo(&step.name)
                        && !course.is_undone(&step.name)
                });
                course.next_undo = next.map(|step| step.name.clone());
            } else {
                let next = steps.find(|step| !course.done.contains(&*step.name));
                course.next = next.map(|step| step.name.clone());
            }
        }
        course
    }

    fn is_undone(&self, step: &str) -> bool {
        self.undone.contains(step)
    }

    fn failed_here(&self, step: &str) -> Option<&Failure> {
        self.failed
            .as_ref()
            .filter(|failure| &*failure.step == step)
    }

    /// Whether it stopped here: it waits, or was given up.
    fn stopped(&self, step: &str, undoing: bool) -> Option<(Look, &'static str)> {
        if !self.is_held(step, undoing) {
            return None;
        }
        match self.finish {
            None => Some((Look::Held, "waits for an operator")),
            Some(Finish::Abandoned) => Some((Look::Failed, "given up here")),
            Some(_) => None,
        }
    }

    fn is_held(&self, step: &str, undoing: bool) -> bool {
        self.failed.is_some() == undoing
            && self
                .held
                .is_some_and(|held| held.step.as_deref() == Some(step))
    }

    /// Whether it was, or may have been, done in a saga that turned back.
    pub(super) fn must_undo(&self, step: &str) -> bool {
        let in_doubt = |failure: &Failure| failure.effect == Effect::Possible;
        self.failed.is_some()
            && (self.done.contains(step) || self.failed_here(step).is_some_and(in_doubt))
    }

    pub(super) fn step(&self, step: &str) -> (Look, String) {
        if let Some((look, word)) = self.stopped(step, false) {
            return (look, word.into());
        }
        let (look, word) = match self.failed_here(step) {
            _ if self.done.contains(step) => (Look::Done, "done"),
            Some(failure) if failure.effect == Effect::None => (Look::Failed, "failed"),
            Some(_) => (Look::Doubt, "failed, may have had its effect"),
            None if self.next.as_deref() == Some(step) => (Look::Next, "next"),
            None => (Look::Ahead, "not run"),
        };
        (look, word.into())
    }

    pub(super) fn undo(&self, step: &str) -> (Look, String) {
        let (look, word) = if self.is_undone(step) {
            (Look::Undone, "undone")
        } else if let Some(stopped) = self.stopped(step, true) {
            stopped
        } else if self.next_undo.as_deref() == Some(step) {
            (Look::Next, "next")
        } else if self.must_undo(step) {
            (Look::Ahead, "to be undone")
        } else {
            (Look::Ahead, "not needed")
        };
        (look, word.into())
    }

    pub(super) fn end(&self, finish: Finish) -> (Look, String) {
        if self.finish == Some(finish) {
            (Look::Done, "ended here".into())
        } else {
            (Look::Ahead, "not reached".into())
        }
    }

    pub(super) const fn is_abandoned(&self) -> bool {
        matches!(self.finish, Some(Finish::Abandoned))
    }

    /// Of the saga as a whole.
    pub(super) fn whole(&self) -> (Look, String) {
        let direction = if self.failed.is_some() {
            "going back"
        } else {
            "going forward"
        };
        match (self.finish, self.held) {
            (Some(Finish::Completed), _) => (Look::Done, "completed".into()),
            (Some(Finish::Compensated), _) => (Look::Undone, "compensated".into()),
            (Some(Finish::Abandoned), _) => (Look::Failed, "abandoned".into()),
            (None, Some(held)) => (
                Look::Held,
                format!(
                    "{direction} · incident {}: {}",
                    held.number,
                    held.class.as_str()
                ),
            ),
            (None, None) => (Look::Next, direction.into()),
        }
    }
}
