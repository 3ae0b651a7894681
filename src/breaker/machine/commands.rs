//! What somebody outside says: other settings, and commands that outrank the rules (rules 10 and 11).

use super::{Breaker, Command, Phase, Round, needed, window};
use crate::breaker::config::{BreakerConfig, Share, Trips};
use crate::breaker::words::{Cause, Mode, State, Transition};
use crate::time::Tick;

impl Breaker {
    /// Replaces the settings: rule 11.
    pub fn reload(&mut self, config: BreakerConfig) {
        let (old, new) = (self.config.trips, config.trips);
        let shape = |share: Option<Share>| share.map(|share| share.window);
        if shape(old.rate) != shape(new.rate) {
            self.rate = new.rate.map(|share| window(share.window));
        }
        // A call that was slow by the old measure may not be by the new one.
        let slow = |trips: &Trips| trips.slow.map(|(share, after)| (share.window, after));
        if slow(&old) != slow(&new) {
            self.slow = new.slow.map(|(share, _)| window(share.window));
        }
        self.recent.resize(needed(&new));
        if new.in_window.is_none() {
            self.recent.clear();
        }
        match &mut self.phase {
            Phase::Closed { ramp } => *ramp = ramp.filter(|_| config.ramp.is_some()),
            Phase::HalfOpen(round)
                if self.config.half_open.verdict != config.half_open.verdict
                    || slow(&old) != slow(&new) =>
            {
                (round.succeeded, round.failed, round.slow) = (0, 0, 0);
            }
            Phase::HalfOpen(_) | Phase::Open { .. } => {}
        }
        if new.consecutive.is_none() && new.streak.is_none() {
            self.consecutive = 0;
        }
        self.config = config;
    }

    /// Forgets everything and closes the circuit; a command ends.
    pub fn reset(&mut self, now: Tick) -> Option<Transition> {
        self.command = None;
        self.close_clean(now)
    }

    /// Opens the circuit for as long as it would have opened itself. One that is open stays as it is.
    pub fn open_now(&mut self, now: Tick) -> Option<Transition> {
        self.command = None;
        let open = matches!(self.phase, Phase::Open { .. });
        (!open).then(|| self.open(Cause::Commanded, None, now))
    }

    /// Opens the circuit until `until`, then it probes as always. One that is open stays so until then.
    pub fn open_until(&mut self, until: Tick, now: Tick) -> Option<Transition> {
        self.command = None;
        if let Phase::Open { until: planned } = &mut self.phase {
            *planned = until;
            return None;
        }
        Some(self.enter(Phase::Open { until }, Cause::Commanded, now))
    }

    /// Ends the wait of an open circuit: the next call is a probe. `None` if it is not open.
    pub fn probe_now(&mut self, now: Tick) -> Option<Transition> {
        let forced = self.mode() == Some(Mode::ForcedOpen);
        self.command = self.command.filter(|_| !forced);
        matches!(self.phase, Phase::Open { .. })
            .then(|| self.enter(Phase::HalfOpen(Round::default()), Cause::Commanded, now))
    }

    /// Puts the circuit under a command, until `until` or, with [`Tick::NEVER`], until it is released: rule 10.
    pub fn force(&mut self, mode: Mode, until: Tick, now: Tick) -> Option<Transition> {
        self.command = Some(Command { mode, until });
        match mode {
            Mode::ForcedOpen => {
                let from = self.state();
                let open = self.enter(Phase::Open { until: now }, Cause::Commanded, now);
                (from != State::Open).then_some(open)
            }
            Mode::ForcedClosed | Mode::Observing => self.close_clean(now),
        }
    }

    /// Ends the command that the circuit is under, if it is under one: rule 10.
    pub fn release_command(&mut self, now: Tick) -> Option<Transition> {
        self.command.and_then(|_| self.end_command(now))
    }

    pub(super) fn end_command(&mut self, now: Tick) -> Option<Transition> {
        let forced_open = self.mode() == Some(Mode::ForcedOpen);
        self.command = None;
        if forced_open {
            None
        } else {
            self.close_clean(now)
        }
    }

    fn close_clean(&mut self, now: Tick) -> Option<Transition> {
        let from = self.state();
        self.rounds = 0;
        let closed = self.enter(Phase::Closed { ramp: None }, Cause::Commanded, now);
        (from != State::Closed).then_some(closed)
    }
}
