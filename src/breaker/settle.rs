use std::fmt;
use std::sync::Arc;

use super::circuit::Circuit;
use super::words::Permit;
use crate::outcome::Outcome;
use crate::scope::Scope;
use crate::time::Tick;

/// The open end of an admitted call: says how it ended, once.
///
/// Dropped before that, the call counts as a failure of the callee if its deadline has passed, and not at all if it
/// has not: a caller who goes away says nothing about the callee.
pub struct Settle {
    circuit: Arc<Circuit>,
    permit: Option<Permit>,
    deadline: Tick,
    /// When the call was let in, where it matters how long it takes.
    since: Option<Tick>,
}

impl Settle {
    pub(super) fn new(circuit: Arc<Circuit>, permit: Permit, since: Option<Tick>) -> Self {
        let deadline = Scope::current().deadline().unwrap_or(Tick::NEVER);
        Self {
            circuit,
            permit: Some(permit),
            deadline,
            since,
        }
    }

    /// The call ended so.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.circuit.settle(permit, outcome, self.since);
        }
    }

    /// The answer has begun and goes on.
    pub fn answered(&self) {
        if let Some(permit) = &self.permit {
            self.circuit.answered(permit);
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.circuit.abandon(permit, self.deadline, self.since);
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// The open end of a call that a policy let through. It is told once how the call ended; dropped before that, the call
/// was abandoned.
pub trait Ending {
    /// The call ended so.
    fn settle(self, outcome: Outcome);

    /// The answer has begun and goes on. Defaults to nothing.
    fn answered(&self) {}
}

impl Ending for Settle {
    fn settle(self, outcome: Outcome) {
        Self::settle(self, outcome);
    }

    fn answered(&self) {
        Self::answered(self);
    }
}

/// Until when a call lasts: the head of its answer, or the end of its body.
///
/// `E` is what a policy wants to be told: a breaker its [`Settle`], a limit the place that the call takes.
pub trait Until<Res, E: Ending = Settle> {
    /// What the service returns: `Res`, or `Res` with a body that reports its end.
    type Response;

    /// A response that nobody waits for the end of.
    fn plain(&self, response: Res) -> Self::Response;

    /// A response whose head counts as `head`; `ending` is owed the verdict.
    fn track(&self, response: Res, head: Outcome, ending: E) -> Self::Response;
}

/// A call ends with the head of its answer.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct AtHead;

impl<Res, E: Ending> Until<Res, E> for AtHead {
    type Response = Res;

    fn plain(&self, response: Res) -> Res {
        response
    }

    fn track(&self, response: Res, head: Outcome, ending: E) -> Res {
        ending.settle(head);
        response
    }
}
