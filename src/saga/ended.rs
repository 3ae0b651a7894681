//! How sagas end, and what operators are shown.

use serde::Serialize;

use super::SagaId;
use super::entry::{Class, Finish, Operation, Resolution};
use super::error::SagaError;
use super::history::History;
use super::machine::{Execution, Next};
use super::payload::Payload;
use crate::journal::Head;
use crate::time::Timestamp;

/// How a saga ended, or where it stopped. A domain result, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended<T> {
    /// Every step is done; the output of the last one.
    Completed(T),
    /// A step failed, and everything that was done is undone.
    #[non_exhaustive]
    Compensated {
        /// The step that failed.
        step: Box<str>,
        /// What it said.
        reason: Box<str>,
    },
    /// It waits for an operator. It is not over: after the operator's decision it goes on.
    Incident(Incident),
    /// An operator gave it up half way.
    #[non_exhaustive]
    Abandoned {
        /// Who.
        actor: Box<str>,
        /// Why.
        reason: Box<str>,
    },
}

/// A saga that waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Incident {
    /// The saga.
    pub saga: SagaId,
    /// Its definition.
    pub definition: Box<str>,
    /// Its tenant.
    pub tenant: Box<str>,
    /// Its business key.
    pub key: Box<str>,
    /// Counts the incidents of this saga from 1; 0 where its log cannot be read.
    pub number: u32,
    /// What kind of trouble.
    pub class: Class,
    /// The step that it is about, where it is about one.
    pub step: Option<Box<str>>,
    /// Whether the saga undoes (`true`) or goes forward.
    pub unwinding: bool,
    /// What the step or the engine said.
    pub error: Box<str>,
    /// How often it was tried: from the first time where that was written, else since the process last took the saga
    /// up.
    pub attempts: u32,
    /// When the saga began.
    pub begun: Timestamp,
    /// What an operator can do about it; [`Operation::hint`] says what each does.
    pub allowed: Vec<Operation>,
}

impl Incident {
    /// What an operator can do about it. Where the log cannot be read, it can be abandoned.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.allowed
    }

    /// An incident of a log that cannot be read, so that it is not in the log.
    pub(crate) fn unreadable(head: &Head, reason: &str) -> Self {
        Self {
            saga: head.id.into(),
            definition: (&*head.kind).into(),
            tenant: head.labels.tenant.as_str().into(),
            key: head.key.as_str().into(),
            number: 0,
            class: Class::Unreadable,
            step: None,
            unwinding: false,
            error: reason.into(),
            attempts: 0,
            begun: head.begun,
            allowed: vec![Operation::Abandon],
        }
    }

    /// The open incident of a saga, as its log tells it.
    pub(crate) fn of(head: &Head, history: &History) -> Option<Self> {
        let held = history.held.as_ref()?;
        Some(Self {
            number: held.number,
            class: held.class,
            step: held.step.clone(),
            unwinding: history.failure.is_some(),
            error: held.error.clone(),
            attempts: held.attempts,
            allowed: if held.allowed.is_empty() {
                vec![Operation::Abandon, Operation::Retry]
            } else {
                held.allowed.clone()
            },
            ..Self::unreadable(head, "")
        })
    }
}

/// An end without the type of its output.
#[derive(Clone, Debug)]
pub(crate) enum Rest {
    Completed(Payload),
    Compensated { step: Box<str>, reason: Box<str> },
    Incident(Incident),
    Abandoned { actor: Box<str>, reason: Box<str> },
}

impl Rest {
    /// The word for it, in events.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Compensated { .. } => "compensated",
            Self::Incident(_) => "incident",
            Self::Abandoned { .. } => "abandoned",
        }
    }

    /// The end of a log that cannot be read.
    pub(crate) fn given_up(by: Resolution) -> Self {
        Self::Abandoned {
            actor: by.actor,
            reason: by.reason,
        }
    }

    /// Where a saga rests according to its log; `None` while it is under way.
    pub(crate) fn of(head: &Head, history: &History) -> Option<Self> {
        if let Some(incident) = Incident::of(head, history) {
            return Some(Self::Incident(incident));
        }
        let rest = match history.finish? {
            Finish::Completed => Self::Completed(history.result()?.clone()),
            Finish::Compensated => {
                let failure = history.failure.as_ref()?;
                Self::Compensated {
                    step: failure.step.clone(),
                    reason: failure.error.clone(),
                }
            }
            Finish::Abandoned => {
                let by = history.abandonment()?;
                Self::Abandoned {
                    actor: by.actor.clone(),
                    reason: by.reason.clone(),
                }
            }
        };
        Some(rest)
    }

    /// Where a saga rests according to the machine.
    pub(crate) fn reached(head: &Head, execution: &Execution) -> Option<Self> {
        if let Some(held) = execution.held() {
            let history = History {
                held: Some(held.clone()),
                failure: execution.failure().cloned(),
                ..History::default()
            };
            return Self::of(head, &history);
        }
        match execution.next() {
            Next::End(Finish::Completed) => execution.result().cloned().map(Self::Completed),
            Next::End(Finish::Compensated) => {
                execution.failure().map(|failure| Self::Compensated {
                    step: failure.step.clone(),
                    reason: failure.error.clone(),
                })
            }
            _ => None,
        }
    }

    /// With the type of the output.
    pub(crate) fn typed<T: serde::de::DeserializeOwned>(self) -> Result<Ended<T>, SagaError> {
        Ok(match self {
            Self::Completed(output) => {
                Ended::Completed(output.read().map_err(|error| SagaError::Output(error.0))?)
            }
            Self::Compensated { step, reason } => Ended::Compensated { step, reason },
            Self::Incident(incident) => Ended::Incident(incident),
            Self::Abandoned { actor, reason } => Ended::Abandoned { actor, reason },
        })
    }
}
