//! What a log says about a saga without knowing its definition.
//!
//! Operators and callers of ended sagas ask this, and so does recovery before it trusts a definition.

use super::entry::{
    Class, Denial, Fact, Failure, Finish, Migrated, Operation, Proposal, Resolution, Started,
    Trouble,
};
use super::payload::Payload;

/// Which chain of steps a saga's facts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    pub(crate) definition: &'a str,
    pub(crate) version: u32,
    pub(crate) fingerprint: &'a str,
}

impl<'a> Form<'a> {
    /// The one with which it began, or to which it was carried over last.
    pub(crate) fn of(started: &'a Started, migrated: Option<&'a Migrated>) -> Self {
        Self {
            definition: &started.definition,
            version: migrated.map_or(started.version, |migrated| migrated.version),
            fingerprint: migrated.map_or(&started.fingerprint, |migrated| &migrated.to),
        }
    }
}

/// The outline of a saga.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) started: Option<Started>,
    /// The last time that it was carried over to another form.
    pub(crate) migrated: Option<Migrated>,
    pub(crate) failure: Option<Failure>,
    pub(crate) held: Option<Trouble>,
    pub(crate) incidents: u32,
    /// Of the whole saga.
    pub(crate) proposals: u32,
    /// The one that can be agreed to.
    pub(crate) proposal: Option<Proposal>,
    /// What was proposed and turned away about the open incident.
    pub(crate) proposed: usize,
    pub(crate) denials: Vec<Denial>,
    pub(crate) resolution: Option<Resolution>,
    pub(crate) finish: Option<Finish>,
    pub(crate) last_output: Option<Payload>,
}

impl History {
    pub(crate) fn of<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        let mut history = Self::default();
        for fact in facts {
            match fact {
                Fact::Started(started) => history.started = Some(started.clone()),
                Fact::Done { output, .. } => history.last_output = Some(output.clone()),
                Fact::Failed(failure) => history.failure = Some(failure.clone()),
                Fact::Cancelled(cancellation) => history.failure = Some(cancellation.failure()),
                Fact::Incident(trouble) => {
                    history.incidents = trouble.number;
                    history.held = Some(trouble.clone());
                    history.proposal = None;
                    history.proposed = 0;
                    history.denials.clear();
                }
                Fact::Proposed(proposal) => {
                    history.proposals = proposal.number;
                    history.proposed = history.proposed.saturating_add(1);
                    history.proposal = Some(proposal.clone());
                }
                Fact::TurnedDown { .. } => history.proposal = None,
                Fact::Refused(denial) => history.denials.push(denial.clone()),
                Fact::Resolved(resolution) => {
                    history.held = None;
                    history.proposal = None;
                    history.resolution = Some(resolution.clone());
                }
                Fact::Migrated(migrated) => {
                    // What follows says it again, in the words of the form that it has now.
                    history.failure = None;
                    history.last_output = None;
                    history.migrated = Some(migrated.clone());
                }
                Fact::Finished(finish) => history.finish = Some(*finish),
                Fact::Unwind
                | Fact::Undone { .. }
                | Fact::Intent { .. }
                | Fact::RetryAt(_)
                | Fact::CancelRefused { .. }
                | Fact::Suspected { .. } => {}
            }
        }
        history
    }

    /// The definition whose form it has: name, version and fingerprint. `None` where it does not begin with a start.
    pub(crate) fn form(&self) -> Option<Form<'_>> {
        let started = self.started.as_ref()?;
        Some(Form::of(started, self.migrated.as_ref()))
    }

    /// The output of a completed saga.
    pub(crate) fn result(&self) -> Option<&Payload> {
        self.last_output
            .as_ref()
            .filter(|_| self.finish == Some(Finish::Completed))
    }

    /// The next incident, about the saga as a whole.
    pub(crate) fn trouble(&self, class: Class, error: impl Into<Box<str>>) -> Trouble {
        Trouble {
            number: self.incidents.saturating_add(1),
            class,
            step: None,
            error: error.into(),
            attempts: 0,
            allowed: vec![Operation::Abandon, Operation::Retry],
        }
    }

    /// Who gave it up and why.
    pub(crate) fn abandonment(&self) -> Option<&Resolution> {
        self.resolution
            .as_ref()
            .filter(|resolution| resolution.operation == Operation::Abandon)
    }
}
