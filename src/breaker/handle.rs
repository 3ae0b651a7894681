use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::config::BreakerConfig;
use super::machine::{Breaker, Permit, State, Transition};
use crate::error::{LayerKind, Reason, Rejected};
use crate::observe::{self, Name, Rejections};
use crate::outcome::Outcome;
use crate::rt;
use crate::time::Tick;

/// Closed: calls pass without asking the machine.
const FREE: u64 = 1;
/// A success changes something: it must be reported even while closed.
const MINDS: u64 = 2;
const FLAGS: u32 = 2;

/// One circuit, shared by every clone of its layer.
///
/// The machine under its mutex is the truth. What the success path needs of it is republished after every change in
/// one word, `generation << 2 | MINDS | FREE`, so that a call through a closed circuit takes no lock.
pub(super) struct Circuit {
    rejections: Rejections,
    word: AtomicU64,
    machine: Mutex<Tracked>,
}

struct Tracked {
    breaker: Breaker,
    last: Option<Transition>,
    openings: u64,
}

impl Circuit {
    pub(super) fn new(name: Name, config: BreakerConfig) -> Self {
        let breaker = Breaker::new(config);
        let word = AtomicU64::new(word(&breaker));
        Self {
            rejections: Rejections::new(name),
            word,
            machine: Mutex::new(Tracked {
                breaker,
                last: None,
                openings: 0,
            }),
        }
    }

    pub(super) fn admit(&self) -> Result<Permit, Rejected> {
        let word = self.word.load(Ordering::Acquire);
        if word & FREE != 0 {
            return Ok(Permit {
                generation: word >> FLAGS,
                probe: 0,
            });
        }
        let now = rt::now();
        let verdict = self.with(|breaker| {
            let admission = breaker.admit(now);
            (admission.verdict, admission.transition)
        });
        if let Err(rejected) = &verdict {
            self.rejections.note(rejected);
        }
        verdict
    }

    /// Whether a call would be refused now.
    pub(super) fn rejects(&self) -> bool {
        if self.word.load(Ordering::Acquire) & FREE != 0 {
            return false;
        }
        let now = rt::now();
        self.with(|breaker| {
            let hung = breaker.handle_timeout(now);
            (breaker.refusal(now).is_some(), hung)
        })
    }

    /// The refusal for a caller who was let through `poll_ready` only because the circuit would refuse.
    pub(super) fn refusal(&self) -> Rejected {
        let now = rt::now();
        let refusal = self.with(|breaker| (breaker.refusal(now), None));
        let over =
            || Rejected::new(LayerKind::Breaker, Reason::CircuitOpen).retry_after(Duration::ZERO);
        let rejected = refusal.unwrap_or_else(over);
        self.rejections.note(&rejected);
        rejected
    }

    pub(super) fn settle(&self, permit: Permit, outcome: Outcome) {
        let word = self.word.load(Ordering::Acquire);
        if permit.generation != word >> FLAGS {
            return;
        }
        // The result of a call that raced with a failure is taken as having come before it.
        let changes_nothing = match outcome {
            Outcome::Success => word & MINDS == 0,
            other => !other.counts(),
        };
        if word & FREE != 0 && changes_nothing {
            return;
        }
        let now = rt::now();
        self.with(|breaker| ((), breaker.settle(permit, outcome, now)));
    }

    pub(super) fn answered(&self, permit: &Permit) {
        if permit.probe != 0 {
            self.with(|breaker| (breaker.answered(permit), None));
        }
    }

    /// Gives a permit back: as a failure of the callee when the call's deadline has passed, else unjudged.
    pub(super) fn abandon(&self, permit: Permit, deadline: Tick) {
        if deadline != Tick::NEVER && rt::now() >= deadline {
            let timeout = Outcome::Failure(crate::outcome::Failure::Timeout);
            return self.settle(permit, timeout);
        }
        if permit.probe != 0 {
            self.with(|breaker| (breaker.abandon(permit), None));
        }
    }

    /// One machine call under the lock; what it did is told to the world after the lock is gone.
    fn with<T>(&self, f: impl FnOnce(&mut Breaker) -> (T, Option<Transition>)) -> T {
        let (result, transition) = {
            // Machines do not panic, so a poisoned lock is another thread's story.
            let mut tracked = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let (result, transition) = f(&mut tracked.breaker);
            if let Some(transition) = transition {
                tracked.last = Some(transition);
                tracked.openings += u64::from(transition.to() == State::Open);
            }
            self.word.store(word(&tracked.breaker), Ordering::Release);
            (result, transition)
        };
        if let Some(transition) = transition {
            observe::transition(self.rejections.policy(), &transition);
        }
        result
    }
}

fn word(breaker: &Breaker) -> u64 {
    let free = if breaker.state() == State::Closed {
        FREE
    } else {
        0
    };
    let minds = if breaker.minds_successes() { MINDS } else { 0 };
    breaker.generation() << FLAGS | minds | free
}

/// Watches a circuit from outside.
///
/// Clones, and the layer and services they came from, look at the same circuit.
#[derive(Clone)]
pub struct BreakerHandle {
    pub(super) circuit: Arc<Circuit>,
}

impl BreakerHandle {
    /// The state as of the last call. An open circuit whose time is over stays open until somebody calls.
    #[must_use]
    pub fn state(&self) -> State {
        self.circuit.with(|breaker| (breaker.state(), None))
    }

    /// The last change and its cause; `None` while the circuit has never opened.
    #[must_use]
    pub fn last_change(&self) -> Option<Transition> {
        self.circuit
            .machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last
    }

    /// How often the circuit opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.circuit
            .machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .openings
    }

    /// Failures that count now, in the sense of the trip.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let now = rt::now();
        self.circuit.with(|breaker| (breaker.failures(now), None))
    }

    /// Probes that are out.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.circuit.with(|breaker| (breaker.probes(), None))
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle")
            .field("name", self.circuit.rejections.policy())
            .field("state", &self.state())
            .field("last_change", &self.last_change())
            .finish()
    }
}
