//! The rules.
//!
//! 1. Closed admits every call. A result that counts is recorded; when the condition of any trip holds, the circuit
//!    opens, and the change says which it was. While it is closed after a recovery, a ramp may admit a share.
//! 2. Open rejects every call until the wait has passed, and says how much of it is left. The wait is `open_for`, longer
//!    for each round of probes that failed since the circuit was last closed, longer by chance and never shorter, and
//!    at least as long as the hint of the callee that opened it. It is fixed when the circuit opens; nothing that
//!    happens while it is open moves it but a command.
//! 3. The first call at or after that moment makes the circuit half-open and is its first probe.
//! 4. Half-open admits at most `max_in_flight` probes at a time, and no more in a round than its verdict needs. It
//!    rejects the others.
//! 5. The probes decide by successes or by their share of failures. Closing begins with clean counts. Where slowness
//!    trips, a slow probe has failed.
//! 6. A probe that has not answered within the half-open deadline has failed. One whose answer has begun and is still
//!    streaming then has succeeded: a long stream is no hang and must not hold a probe's place.
//! 7. A permit is settled once, or abandoned. Abandoned, ignored and rejected-below change no count and no state; they
//!    free the probe's place.
//! 8. A permit of an earlier generation changes nothing. Every change of state begins a generation.
//! 9. Time that steps back changes nothing.
//! 10. A command outranks the rules above: forced open rejects and never probes, forced closed admits and records
//!     nothing, observing admits and records, and says once for each crossing that the circuit would have opened. It
//!     ends by itself at its expiry. What was forced open goes on as an open circuit whose wait is over; the others
//!     go on closed, with clean counts.
//! 11. New settings keep the state, and the counts of every window whose shape they do not change; a window of another
//!     shape begins empty. A wait or a probe under way keeps the moment that it has; probes that are judged by
//!     another measure are counted from none.

mod commands;
#[cfg(feature = "tower")]
mod outline;

use std::num::NonZeroU32;
use std::time::Duration;

use super::config::{BreakerConfig, Share, Trips, Verdict, Window};
use super::words::{Admission, Cause, Mode, Permit, State, Totals, Transition};
use crate::error::{LayerKind, Reason, Rejected};
use crate::outcome::Outcome;
use crate::rng::Rng;
use crate::time::Tick;
use crate::window::{Recent, Sliding};

#[cfg(feature = "tower")]
pub(crate) use outline::Outlook;
#[cfg(feature = "tower")]
pub(super) use outline::Success;

#[derive(Clone, Debug)]
struct Probe {
    id: u32,
    admitted: Tick,
    answered: bool,
}

/// The round of probes of a half-open circuit.
#[derive(Clone, Debug, Default)]
struct Round {
    probes: Vec<Probe>,
    admitted: u32,
    succeeded: u32,
    failed: u32,
    slow: u32,
}

impl Round {
    const fn answered(&self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }

    fn oldest(&self) -> Option<Tick> {
        self.probes.iter().map(|probe| probe.admitted).min()
    }
}

#[derive(Clone, Debug)]
enum Phase {
    /// With the moment since when calls are let back in by and by, if they are.
    Closed {
        ramp: Option<Tick>,
    },
    Open {
        until: Tick,
    },
    HalfOpen(Round),
}

#[derive(Clone, Copy, Debug)]
struct Command {
    mode: Mode,
    /// [`Tick::NEVER`] for as long as nobody ends it.
    until: Tick,
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
    command: Option<Command>,
    generation: u64,
    /// Rounds of probes that failed since the circuit was last closed.
    rounds: u32,
    consecutive: u32,
    /// When the first of the failures in a row came.
    streak_began: Tick,
    /// When the last call failed or was slow.
    hit_at: Tick,
    recent: Recent,
    rate: Option<Sliding>,
    slow: Option<Sliding>,
    /// What the ramp owes the next call: one is admitted when it has come to a whole.
    credit: f64,
    /// While observing: the condition of a trip holds, and was told.
    crossed: bool,
    rng: Rng,
}

impl Breaker {
    /// A closed circuit. Its jitter is the same in every run; [`seeded`](Self::seeded) is for instances that differ.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self::seeded(config, Rng::new(0))
    }

    /// A closed circuit that draws the jitter of its waits from `rng`.
    #[must_use]
    pub fn seeded(config: BreakerConfig, rng: Rng) -> Self {
        Self {
            config,
            phase: Phase::Closed { ramp: None },
            command: None,
            generation: 0,
            rounds: 0,
            consecutive: 0,
            streak_began: Tick::ZERO,
            hit_at: Tick::ZERO,
            recent: Recent::new(needed(&config.trips)),
            rate: config.trips.rate.map(|share| window(share.window)),
            slow: config.trips.slow.map(|(share, _)| window(share.window)),
            credit: 0.0,
            crossed: false,
            rng,
        }
    }

    /// This circuit in the place of one whose permits may still be out: they are of an earlier generation.
    #[cfg(feature = "tower")]
    pub(super) const fn after(mut self, generation: u64) -> Self {
        self.generation = generation.saturating_add(1);
        self
    }

    /// Asks to let a call through.
    pub fn admit(&mut self, now: Tick) -> Admission {
        let mut transition = self.handle_timeout(now);
        if let Some(rejected) = self.refusal(now) {
            self.earns(now);
            return Admission {
                verdict: Err(rejected),
                transition,
            };
        }
        if self.earns(now) {
            self.credit -= 1.0;
        }
        if matches!(self.phase, Phase::Open { .. }) {
            let half_open = Phase::HalfOpen(Round::default());
            transition = Some(self.enter(half_open, Cause::WaitOver, now));
        }
        let mut permit = Permit {
            generation: self.generation,
            probe: 0,
        };
        if let Phase::HalfOpen(round) = &mut self.phase {
            round.admitted = round.admitted.saturating_add(1);
            permit.probe = round.admitted;
            round.probes.push(Probe {
                id: round.admitted,
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
        let refuse =
            |reason, left| Some(Rejected::new(LayerKind::Breaker, reason).retry_after(left));
        if let Some(command) = self.command.filter(|command| command.until > now) {
            return match command.mode {
                Mode::ForcedOpen if command.until == Tick::NEVER => {
                    Some(Rejected::new(LayerKind::Breaker, Reason::ForcedOpen))
                }
                Mode::ForcedOpen => refuse(Reason::ForcedOpen, command.until.since(now)),
                Mode::ForcedClosed | Mode::Observing => None,
            };
        }
        match &self.phase {
            Phase::Closed { .. } => {
                let (ramp, since) = self.ramp(now)?;
                let share = ramp.share(now.since(since)).get();
                let left = (since + ramp.over.get()).since(now);
                (self.credit + share < 1.0)
                    .then(|| refuse(Reason::Readmitting, left))
                    .flatten()
            }
            Phase::Open { until } if now < *until => refuse(Reason::CircuitOpen, until.since(now)),
            Phase::Open { .. } => None,
            Phase::HalfOpen(round) => {
                let half_open = &self.config.half_open;
                let out = u32::try_from(round.probes.len()).unwrap_or(u32::MAX);
                let spent = round.answered().saturating_add(out);
                let busy = out >= half_open.max_in_flight.get()
                    || spent >= half_open.verdict.probes().get();
                let oldest = round.oldest().filter(|_| busy)?;
                let left = (oldest + half_open.deadline.get()).since(now);
                refuse(Reason::ProbesBusy, left)
            }
        }
    }

    /// Says how an admitted call ended.
    ///
    /// For circuits that trip on slowness say how long it took: [`settle_after`](Self::settle_after).
    pub fn settle(&mut self, permit: Permit, outcome: Outcome, now: Tick) -> Option<Transition> {
        self.settle_after(permit, outcome, Duration::ZERO, now)
    }

    /// Says how an admitted call ended, and how long it took.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is settled once")]
    pub fn settle_after(
        &mut self,
        permit: Permit,
        outcome: Outcome,
        took: Duration,
        now: Tick,
    ) -> Option<Transition> {
        if permit.generation != self.generation {
            return None;
        }
        let earlier = self.handle_timeout(now);
        if permit.generation != self.generation {
            return earlier;
        }
        let known = self.release(&permit);
        if !outcome.counts() || self.mode() == Some(Mode::ForcedClosed) {
            return earlier;
        }
        let slow = self
            .config
            .trips
            .slow
            .is_some_and(|(_, after)| took > after.get());
        let hint = outcome.retry_after();
        match self.phase {
            Phase::Closed { .. } => self.record(outcome.is_failure(), slow, hint, now),
            // No permit of this generation is ever handed out.
            Phase::Open { .. } => None,
            // Its stream outlived the deadline: counted then, rule 6.
            Phase::HalfOpen(_) if !known => None,
            Phase::HalfOpen(_) => self.probed(outcome.is_failure(), slow, hint, now),
        }
    }

    /// Says that the answer to an admitted call has begun; its end is still to be settled.
    pub fn answered(&mut self, permit: &Permit) {
        if permit.generation == self.generation
            && let Phase::HalfOpen(round) = &mut self.phase
            && let Some(probe) = round
                .probes
                .iter_mut()
                .find(|probe| probe.id == permit.probe)
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

    /// When the machine wants to be told the time: the end of a command or of the wait, or the deadline of the oldest
    /// probe.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        let command = self.command.map(|command| command.until);
        let phase = match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(round) => round
                .oldest()
                .map(|oldest| oldest + self.config.half_open.deadline.get()),
        };
        let soonest = command.into_iter().chain(phase).min()?;
        (soonest != Tick::NEVER).then_some(soonest)
    }

    /// Tells the machine the time. A command ends, a probe that hung reopens the circuit; an open circuit waits for a
    /// call.
    pub fn handle_timeout(&mut self, now: Tick) -> Option<Transition> {
        if self.command.is_some_and(|command| command.until <= now) {
            return self.end_command(now);
        }
        if self.ramp(now).is_none()
            && let Phase::Closed { ramp } = &mut self.phase
        {
            *ramp = None;
        }
        let deadline = self.config.half_open.deadline.get();
        loop {
            let Phase::HalfOpen(round) = &mut self.phase else {
                return None;
            };
            // The oldest first: its answer, or its silence, came before that of the others.
            let (place, oldest) = round
                .probes
                .iter()
                .enumerate()
                .min_by_key(|(_, probe)| (probe.admitted, probe.id))?;
            if now < oldest.admitted + deadline {
                return None;
            }
            if !round.probes.swap_remove(place).answered {
                self.rounds = self.rounds.saturating_add(1);
                return Some(self.open(Cause::ProbeHung, None, now));
            }
            if let Some(decided) = self.probed(false, false, None, now) {
                return Some(decided);
            }
        }
    }

    /// The state as of the last event. A circuit that is forced open is open, one that is observed is closed.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    /// The command that the circuit is under, `None` if it follows its rules.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.command.map(|command| command.mode)
    }

    /// How long until an open circuit lets a probe through.
    #[must_use]
    pub fn time_left(&self, now: Tick) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => Some(until.since(now)),
            Phase::Closed { .. } | Phase::HalfOpen(_) => None,
        }
    }

    /// Failures that count at `now`, the most that any trip sees: in a row, within the window, or of the window's calls.
    #[must_use]
    pub fn failures(&mut self, now: Tick) -> u32 {
        let trips = &self.config.trips;
        let in_a_row = Some(self.consecutive);
        let recent = trips
            .in_window
            .map(|(_, window)| self.recent.len_within(window.get(), now));
        let of_calls = self.rate.as_mut().map(|rate| rate.totals(now).hits);
        let each = [in_a_row, recent, of_calls];
        each.into_iter().flatten().max().unwrap_or(0)
    }

    /// What the window of the failure rate holds at `now`; all zero without one.
    #[must_use]
    pub fn failing(&mut self, now: Tick) -> Totals {
        totals(self.rate.as_mut(), now)
    }

    /// What the window of the slow-call rate holds at `now`; all zero without one.
    #[must_use]
    pub fn slowness(&mut self, now: Tick) -> Totals {
        totals(self.slow.as_mut(), now)
    }

    /// Probes that are out and not yet settled.
    #[must_use]
    pub const fn probes(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen(round) => round.probes.len(),
            Phase::Closed { .. } | Phase::Open { .. } => 0,
        }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &BreakerConfig {
        &self.config
    }

    fn record(
        &mut self,
        failed: bool,
        slow: bool,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Transition> {
        let trips = self.config.trips;
        let mut cause = None;
        if failed || slow {
            self.hit_at = self.hit_at.max(now);
        }
        if trips.consecutive.is_some() || trips.streak.is_some() {
            if self.consecutive == 0 {
                self.streak_began = now;
            }
            self.consecutive = if failed {
                self.consecutive.saturating_add(1)
            } else {
                0
            };
        }
        if let Some(limit) = trips.consecutive
            && self.consecutive >= limit.get()
        {
            cause = Some(Cause::Consecutive);
        }
        if let Some((limit, spanning)) = trips.streak
            && self.consecutive >= limit.get()
            && now.since(self.streak_began) >= spanning.get()
        {
            cause = cause.or(Some(Cause::Streak));
        }
        if let Some((_, window)) = trips.in_window
            && failed
            && self.recent.record(window.get(), now)
        {
            cause = cause.or(Some(Cause::InWindow));
        }
        if let Some((share, window)) = trips.rate.zip(self.rate.as_mut())
            && trips_now(share, window, failed, now)
        {
            cause = cause.or(Some(Cause::Rate));
        }
        if let Some(((share, _), window)) = trips.slow.zip(self.slow.as_mut())
            && trips_now(share, window, slow, now)
        {
            cause = cause.or(Some(Cause::Slow));
        }
        if self.mode() != Some(Mode::Observing) {
            return cause.map(|cause| self.open(cause, hint, now));
        }
        let told = std::mem::replace(&mut self.crossed, cause.is_some());
        let cause = cause.filter(|_| !told)?;
        Some(Transition {
            from: State::Closed,
            to: State::Open,
            cause,
            at: now,
            observed: true,
        })
    }

    /// A probe has ended, or its time is over while its answer goes on.
    fn probed(
        &mut self,
        failed: bool,
        slow: bool,
        hint: Option<Duration>,
        now: Tick,
    ) -> Option<Transition> {
        let verdict = self.config.half_open.verdict;
        let slow_share = self.config.trips.slow.map(|(share, _)| share.ratio);
        let Phase::HalfOpen(round) = &mut self.phase else {
            return None;
        };
        let counted_failed = match verdict {
            Verdict::Successes { .. } => failed || slow,
            Verdict::Ratio { .. } => failed,
        };
        if counted_failed {
            round.failed = round.failed.saturating_add(1);
        } else {
            round.succeeded = round.succeeded.saturating_add(1);
        }
        round.slow = round.slow.saturating_add(u32::from(slow));
        let closes = match verdict {
            Verdict::Successes { needed, of } => {
                let tolerated = of.get().saturating_sub(needed.get());
                if round.failed > tolerated {
                    Some(false)
                } else {
                    (round.succeeded >= needed.get()).then_some(true)
                }
            }
            Verdict::Ratio { probes, ratio } => (round.answered() >= probes.get()).then(|| {
                let answered = f64::from(round.answered());
                let over =
                    |count: u32, ratio: f64| count > 0 && f64::from(count) >= ratio * answered;
                let slow = slow_share.is_some_and(|share| over(round.slow, share.get()));
                !over(round.failed, ratio.get()) && !slow
            }),
        };
        if closes? {
            self.rounds = 0;
            let ramp = self.config.ramp.map(|_| now);
            Some(self.enter(Phase::Closed { ramp }, Cause::Recovered, now))
        } else {
            self.rounds = self.rounds.saturating_add(1);
            Some(self.open(Cause::ProbeFailed, hint, now))
        }
    }

    fn open(&mut self, cause: Cause, hint: Option<Duration>, now: Tick) -> Transition {
        let base = self.config.open_for.get();
        let longest = self.config.longest.get().max(base);
        let rounds = i32::try_from(self.rounds).unwrap_or(i32::MAX);
        let grown = self.config.growth.map_or(base, |factor| {
            // An overflowing power is infinite and comes back as the longest.
            let wait = base.as_secs_f64() * factor.get().powi(rounds);
            Duration::try_from_secs_f64(wait).map_or(longest, |wait| wait.min(longest))
        });
        let share = self.config.jitter.get() * self.rng.unit();
        let jitter = Duration::try_from_secs_f64(grown.as_secs_f64() * share).unwrap_or_default();
        // A hint without bound would let a callee shut itself off for good. The jitter is that of the circuit's own wait:
        // a share of a long hint would be long for nothing.
        let hint = hint.unwrap_or_default().min(self.config.longest_hint.get());
        let wait = grown.max(hint).saturating_add(jitter);
        self.enter(Phase::Open { until: now + wait }, cause, now)
    }

    fn enter(&mut self, phase: Phase, cause: Cause, now: Tick) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.credit = 0.0;
        self.crossed = false;
        // An open circuit keeps what opened it, for whoever looks.
        if self.state() != State::Open {
            self.consecutive = 0;
            self.recent.clear();
            for window in self.rate.iter_mut().chain(&mut self.slow) {
                window.clear();
            }
        }
        Transition {
            from,
            to: self.state(),
            cause,
            at: now,
            observed: false,
        }
    }

    fn ramp(&self, now: Tick) -> Option<(super::config::Ramp, Tick)> {
        let Phase::Closed { ramp: Some(since) } = self.phase else {
            return None;
        };
        let ramp = self.config.ramp?;
        (now < since + ramp.over.get()).then_some((ramp, since))
    }

    /// Under a ramp each call, admitted or not, earns the next one its share; false without a ramp.
    fn earns(&mut self, now: Tick) -> bool {
        let ramp = self.ramp(now).filter(|_| self.command.is_none());
        if let Some((ramp, since)) = ramp {
            self.credit += ramp.share(now.since(since)).get();
        }
        ramp.is_some()
    }

    /// Frees the probe's place; false if it had none.
    fn release(&mut self, permit: &Permit) -> bool {
        if let Phase::HalfOpen(round) = &mut self.phase
            && let Some(place) = round
                .probes
                .iter()
                .position(|probe| probe.id == permit.probe)
        {
            round.probes.swap_remove(place);
            return true;
        }
        false
    }
}

/// Records a call, and says whether the share of hits is reached.
fn trips_now(share: Share, window: &mut Sliding, hit: bool, now: Tick) -> bool {
    window.record(hit, now);
    let totals = window.totals(now);
    let enough = totals.calls >= share.min_calls.get() && totals.hits > 0;
    enough && f64::from(totals.hits) >= share.ratio.get() * f64::from(totals.calls)
}

fn totals(window: Option<&mut Sliding>, now: Tick) -> Totals {
    let totals = window.map(|window| window.totals(now)).unwrap_or_default();
    Totals {
        calls: totals.calls,
        hits: totals.hits,
    }
}

fn window(window: Window) -> Sliding {
    match window {
        Window::Calls(calls) => Sliding::calls(calls),
        Window::Time(period) => Sliding::time(period),
    }
}

/// How many moments the in-window trip must know.
fn needed(trips: &Trips) -> NonZeroU32 {
    trips
        .in_window
        .map_or(NonZeroU32::MIN, |(failures, _)| failures)
}
