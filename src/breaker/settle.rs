use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::circuit::{Circuit, Pass};
use super::words::Permit;
use crate::outcome::Outcome;
use crate::scope::Scope;
use crate::time::Tick;

/// The open end of a call that a circuit let in: says how it ended, once.
///
/// Dropped before that, the call counts as a failure of the callee if its deadline has passed, and not at all if it
/// has not: a caller who goes away says nothing about the callee.
#[derive(Debug)]
pub struct Settle(Open<&'static Circuit>);

/// As [`Settle`], of a call that one of the circuits of a keyed policy let in.
#[derive(Debug)]
pub struct KeyedSettle(Open<Arc<Circuit>>);

struct Open<H: Deref<Target = Circuit>> {
    circuit: H,
    generation: u64,
    deadline: Tick,
    /// When the call was let in, where it matters how long it takes.
    since: Tick,
    probe: u32,
    settled: bool,
}

impl<H: Deref<Target = Circuit>> Open<H> {
    #[inline]
    fn new(circuit: H, pass: Pass) -> Self {
        let Pass { permit, since } = pass;
        Self {
            circuit,
            generation: permit.generation,
            deadline: Scope::current().ends(),
            since,
            probe: permit.probe,
            settled: false,
        }
    }

    const fn permit(&self) -> Permit {
        Permit {
            generation: self.generation,
            probe: self.probe,
        }
    }

    #[inline]
    fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.circuit.settle(self.permit(), outcome, self.since);
    }

    fn answered(&self) {
        if self.probe != 0 {
            self.circuit.answered(&self.permit());
        }
    }
}

impl<H: Deref<Target = Circuit>> Drop for Open<H> {
    #[inline]
    fn drop(&mut self) {
        // Nobody waits for a call without a deadline that is no probe.
        if !self.settled && (self.probe != 0 || self.deadline != Tick::NEVER) {
            let permit = self.permit();
            self.circuit.abandon(permit, self.deadline, self.since);
        }
    }
}

impl<H: Deref<Target = Circuit>> fmt::Debug for Open<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("permit", &self.permit())
            .field("settled", &self.settled)
            .finish_non_exhaustive()
    }
}

impl Settle {
    #[inline]
    pub(super) fn new(circuit: &'static Circuit, pass: Pass) -> Self {
        Self(Open::new(circuit, pass))
    }
}

impl KeyedSettle {
    #[inline]
    pub(super) fn new(circuit: Arc<Circuit>, pass: Pass) -> Self {
        Self(Open::new(circuit, pass))
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
    #[inline]
    fn settle(self, outcome: Outcome) {
        self.0.settle(outcome);
    }

    fn answered(&self) {
        self.0.answered();
    }
}

impl Ending for KeyedSettle {
    #[inline]
    fn settle(self, outcome: Outcome) {
        self.0.settle(outcome);
    }

    fn answered(&self) {
        self.0.answered();
    }
}

/// Until when a call lasts: the head of its answer, or the end of its body.
///
/// `E` is what a policy wants to be told: a breaker its [`Settle`] or [`KeyedSettle`], a limit the place that the call
/// takes.
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

    #[inline]
    fn track(&self, response: Res, head: Outcome, ending: E) -> Res {
        ending.settle(head);
        response
    }
}
