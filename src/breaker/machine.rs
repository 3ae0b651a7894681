//! The rules.
//!
//! 1. Closed admits every call. A result that counts is recorded; when the trip's condition holds, the circuit opens.
//! 2. Open rejects every call until `open_for` has passed, and says how much of it is left. The moment is fixed when
//!    the circuit opens; nothing that happens while it is open moves it.
//! 3. The first call at or after that moment makes the circuit half-open and is its first probe.
//! 4. Half-open admits at most `max_in_flight` probes at a time and rejects the others.
//! 5. `successes_to_close` successes close the circuit, with clean counts. Any failure opens it anew.
//! 6. A probe that has not answered within the half-open deadline has failed. One whose answer has begun and is still
//!    streaming then has succeeded: a long stream is no hang and must not hold a probe's place.
//! 7. A permit is settled once, or abandoned. Abandoned, ignored and rejected-below change no count and no state; they
//!    free the probe's place.
//! 8. A permit of an earlier generation changes nothing. Every change of state begins a generation.
//! 9. Time that steps back changes nothing.

use std::time::Duration;

use super::config::{BreakerConfig, HalfOpen, Trip};
use crate::error::{LayerKind, Reason, Rejected};
use crate::outcome::Outcome;
use crate::time::Tick;
use crate::window::{Counts, Recent};

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls pass, to find out whether the callee is back.
    HalfOpen,
}

impl State {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// So many failures in a row.
    Consecutive,
    /// So many failures within the window.
    InWindow,
    /// Such a share of the calls failed.
    Rate,
    /// A probe failed.
    ProbeFailed,
    /// A probe did not answer within the half-open deadline.
    ProbeHung,
    /// The circuit was open for as long as it should be.
    WaitOver,
    /// Enough probes succeeded.
    Recovered,
}

impl Cause {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::InWindow => "in_window",
            Self::Rate => "rate",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeHung => "probe_hung",
            Self::WaitOver => "wait_over",
            Self::Recovered => "recovered",
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    from: State,
    to: State,
    cause: Cause,
    at: Tick,
}

impl Transition {
    /// The state before.
    #[must_use]
    pub const fn from(&self) -> State {
        self.from
    }

    /// The state after.
    #[must_use]
    pub const fn to(&self) -> State {
        self.to
    }

    /// Why.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// When.
    #[must_use]
    pub const fn at(&self) -> Tick {
        self.at
    }
}

/// What an admission hands out: give it back with the outcome, or abandon it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is neither settled nor abandoned keeps its probe's place until the half-open deadline"]
pub struct Permit {
    pub(super) generation: u64,
    /// Tells a probe from its siblings; 0 for a call admitted while closed.
    pub(super) probe: u32,
}

/// The decision about a call: the permit or the refusal, and the change of state that it brought.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Admission {
    /// The permit or the refusal.
    pub verdict: Result<Permit, Rejected>,
    /// Asking can move the state: an open circuit whose time is over, a probe that hung.
    pub transition: Option<Transition>,
}

#[derive(Clone, Debug)]
struct Probe {
    id: u32,
    admitted: Tick,
    answered: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Closed,
    Open {
        until: Tick,
    },
    HalfOpen {
        probes: Vec<Probe>,
        admitted: u32,
        successes: u32,
    },
}

/// A circuit breaker: a plain value that is told what happens and when.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{Breaker, State, Trip};
/// use mainstay::outcome::{Failure, Outcome};
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let mut breaker = Breaker::new(Trip::consecutive(1).into());
/// let now = Tick::ZERO;
/// let permit = breaker.admit(now).verdict?;
/// breaker.settle(permit, Outcome::Failure(Failure::Error), now);
/// assert_eq!(breaker.state(), State::Open);
///
/// let rejected = breaker.admit(now + Duration::from_secs(1)).verdict.unwrap_err();
/// assert_eq!(rejected.hint(), Some(Duration::from_secs(4)));
/// # Ok::<(), mainstay::error::Rejected>(())
/// ```
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    generation: u64,
    consecutive: u32,
    recent: Recent,
    counts: Counts,
}

impl Breaker {
    /// A closed circuit.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        let one = std::num::NonZeroU32::MIN;
        let (needed, window) = match config.trip {
            Trip::Consecutive(_) => (one, config.open_for),
            Trip::InWindow { failures, window } => (failures, window),
            Trip::Rate { window, .. } => (one, window),
        };
        Self {
            config,
            phase: Phase::Closed,
            generation: 0,
            consecutive: 0,
            recent: Recent::new(needed),
            counts: Counts::new(window),
        }
    }

    /// Asks to let a call through.
    pub fn admit(&mut self, now: Tick) -> Admission {
        let mut transition = self.handle_timeout(now);
        if let Some(rejected) = self.refusal(now) {
            return Admission {
                verdict: Err(rejected),
                transition,
            };
        }
        if let Phase::Open { .. } = self.phase {
            let half_open = Phase::HalfOpen {
                probes: Vec::new(),
                admitted: 0,
                successes: 0,
            };
            transition = Some(self.enter(half_open, Cause::WaitOver, now));
        }
        let mut permit = Permit {
            generation: self.generation,
            probe: 0,
        };
        if let Phase::HalfOpen {
            probes, admitted, ..
        } = &mut self.phase
        {
            *admitted = admitted.saturating_add(1);
            permit.probe = *admitted;
            probes.push(Probe {
                id: *admitted,
                admitted: now,
                answered: false,
            });
        }
        Admission {
            verdict: Ok(permit),
            transition,
        }
    }

    /// The refusal that a call would get now, `None` if it would be admitted. Changes nothing.
    #[must_use]
    pub fn refusal(&self, now: Tick) -> Option<Rejected> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => (now < *until).then(|| {
                Rejected::new(LayerKind::Breaker, Reason::CircuitOpen).retry_after(until.since(now))
            }),
            Phase::HalfOpen { probes, .. } => {
                let HalfOpen {
                    max_in_flight,
                    deadline,
                    ..
                } = self.config.half_open;
                let busy = probes.len() >= max_in_flight.get() as usize;
                let oldest = probes
                    .iter()
                    .map(|probe| probe.admitted)
                    .min()
                    .filter(|_| busy)?;
                let left = (oldest + deadline.get()).since(now);
                Some(Rejected::new(LayerKind::Breaker, Reason::ProbesBusy).retry_after(left))
            }
        }
    }

    /// Says how an admitted call ended.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is settled once")]
    pub fn settle(&mut self, permit: Permit, outcome: Outcome, now: Tick) -> Option<Transition> {
        let hung = self.handle_timeout(now);
        if permit.generation != self.generation {
            return hung;
        }
        let known = self.release(&permit);
        if !outcome.counts() {
            return hung;
        }
        match self.phase {
            Phase::Closed => self.record(outcome.is_failure(), now),
            // No permit of this generation is ever handed out.
            Phase::Open { .. } => None,
            // Its stream outlived the deadline: counted then, rule 6.
            Phase::HalfOpen { .. } if !known => None,
            Phase::HalfOpen { .. } if outcome.is_failure() => {
                Some(self.open(Cause::ProbeFailed, now))
            }
            Phase::HalfOpen { .. } => self.probe_succeeded(now),
        }
    }

    /// Says that the answer to an admitted call has begun; its end is still to be settled.
    pub fn answered(&mut self, permit: &Permit) {
        if permit.generation == self.generation
            && let Phase::HalfOpen { probes, .. } = &mut self.phase
            && let Some(probe) = probes.iter_mut().find(|probe| probe.id == permit.probe)
        {
            probe.answered = true;
        }
    }

    /// Says that nobody waits for an admitted call any more and that nothing is known about its end.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is given back once")]
    pub fn abandon(&mut self, permit: Permit) {
        if permit.generation == self.generation {
            self.release(&permit);
        }
    }

    /// When the machine wants to be told the time: the end of the wait, or the deadline of the oldest probe.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen { probes, .. } => {
                let deadline = self.config.half_open.deadline.get();
                probes
                    .iter()
                    .map(|probe| probe.admitted)
                    .min()
                    .map(|oldest| oldest + deadline)
            }
        }
    }

    /// Tells the machine the time. A probe that hung reopens the circuit; an open circuit waits for a call.
    pub fn handle_timeout(&mut self, now: Tick) -> Option<Transition> {
        let deadline = self.config.half_open.deadline.get();
        loop {
            let Phase::HalfOpen { probes, .. } = &mut self.phase else {
                return None;
            };
            let place = probes
                .iter()
                .position(|probe| now >= probe.admitted + deadline)?;
            if !probes.swap_remove(place).answered {
                return Some(self.open(Cause::ProbeHung, now));
            }
            if let Some(closed) = self.probe_succeeded(now) {
                return Some(closed);
            }
        }
    }

    /// The state as of the last event.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How long until an open circuit lets a probe through.
    #[must_use]
    pub fn time_left(&self, now: Tick) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => Some(until.since(now)),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// Failures that count at `now`: in a row, within the window, or of the window's calls.
    #[must_use]
    pub fn failures(&mut self, now: Tick) -> u32 {
        match self.config.trip {
            Trip::Consecutive(_) => self.consecutive,
            Trip::InWindow { window, .. } => self.recent.len_within(window.get(), now),
            Trip::Rate { .. } => self.counts.totals(now).failures,
        }
    }

    /// Probes that are out and not yet settled.
    #[must_use]
    pub const fn probes(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen { probes, .. } => probes.len(),
            Phase::Closed | Phase::Open { .. } => 0,
        }
    }

    #[cfg(feature = "tower")]
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the next success would change anything while closed: only then must a shell report it.
    #[cfg(feature = "tower")]
    pub(super) const fn minds_successes(&self) -> bool {
        match self.config.trip {
            Trip::Consecutive(_) => self.consecutive > 0,
            Trip::InWindow { .. } => false,
            Trip::Rate { .. } => true,
        }
    }

    fn record(&mut self, failed: bool, now: Tick) -> Option<Transition> {
        let tripped = match self.config.trip {
            Trip::Consecutive(limit) => {
                self.consecutive = if failed {
                    self.consecutive.saturating_add(1)
                } else {
                    0
                };
                (self.consecutive >= limit.get()).then_some(Cause::Consecutive)
            }
            Trip::InWindow { window, .. } => {
                (failed && self.recent.record(window.get(), now)).then_some(Cause::InWindow)
            }
            Trip::Rate {
                ratio, min_calls, ..
            } => {
                self.counts.record(failed, now);
                let totals = self.counts.totals(now);
                let failed = f64::from(totals.failures);
                let enough = totals.calls >= min_calls.get() && totals.failures > 0;
                (enough && failed >= ratio.get() * f64::from(totals.calls)).then_some(Cause::Rate)
            }
        };
        tripped.map(|cause| self.open(cause, now))
    }

    fn open(&mut self, cause: Cause, now: Tick) -> Transition {
        let until = now + self.config.open_for.get();
        self.enter(Phase::Open { until }, cause, now)
    }

    fn enter(&mut self, phase: Phase, cause: Cause, now: Tick) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.consecutive = 0;
        self.recent.clear();
        self.counts.clear();
        Transition {
            from,
            to: self.state(),
            cause,
            at: now,
        }
    }

    fn probe_succeeded(&mut self, now: Tick) -> Option<Transition> {
        let Phase::HalfOpen { successes, .. } = &mut self.phase else {
            return None;
        };
        *successes = successes.saturating_add(1);
        (*successes >= self.config.half_open.successes_to_close.get())
            .then(|| self.enter(Phase::Closed, Cause::Recovered, now))
    }

    /// Frees the probe's place; false if it had none.
    fn release(&mut self, permit: &Permit) -> bool {
        if let Phase::HalfOpen { probes, .. } = &mut self.phase
            && let Some(place) = probes.iter().position(|probe| probe.id == permit.probe)
        {
            probes.swap_remove(place);
            return true;
        }
        false
    }
}
