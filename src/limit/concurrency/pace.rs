use std::time::Duration;

use crate::error::Rejected;
use crate::time::{Tick, nanos};

/// How fast a line moves, learned while it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    last: Option<Tick>,
    step: Step,
}

/// Nanoseconds from one grant to the next, smoothed; 0 while unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) u64);

/// A new interval weighs an eighth: the pace of the last dozen grants.
const WEIGHT: u64 = 8;

impl Pace {
    pub(crate) const fn new() -> Self {
        Self {
            last: None,
            step: Step(0),
        }
    }

    /// A waiter was granted a place; others wait behind it or not.
    pub(crate) fn granted(&mut self, others: bool, now: Tick) {
        if let Some(last) = self.last {
            let step = nanos(now.since(last)).max(1);
            self.step.0 = match self.step.0 {
                0 => step,
                old => (old - old / WEIGHT).saturating_add(step / WEIGHT).max(1),
            };
        }
        self.last = others.then_some(now);
    }

    /// The line is empty: what passes until the next grant says nothing.
    pub(crate) const fn interrupt(&mut self) {
        self.last = None;
    }

    pub(crate) const fn step(&self) -> Step {
        self.step
    }
}

impl Step {
    /// The refusal with the time in which as many as wait are granted a place, and one more.
    pub(crate) fn hint(self, rejected: Rejected, waiting: u32) -> Rejected {
        match self.0 {
            0 => rejected,
            step => {
                let steps = u64::from(waiting).saturating_add(1);
                rejected.retry_after(Duration::from_nanos(step.saturating_mul(steps)))
            }
        }
    }
}
