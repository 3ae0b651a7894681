//! The rules.
//!
//! The limit is how many calls may be under way. Calls are watched in windows; at the end of each the limit is looked
//! at once. Times are averaged on a scale of doublings, so that a few slow calls do not drown the others.
//!
//! *What a window sees*
//!
//! 1. A call that is over counts as long as it took. One that failed counts as the baseline at least: a fast error is
//!    no fast answer. One that timed out, or that the callee refused for overload, counts as eight times the baseline
//!    at least. One that was ignored, refused by a layer below or abandoned by its caller does not count.
//! 2. A call that began before the limit last moved does not count: it says nothing about the limit that is.
//! 3. A window is over after `samples` calls (four times the limit if that is fewer, and ten at least) and `window`,
//!    but not before two round trips. It is over earlier, after `samples`, when calls were held back and nothing speaks
//!    against a greater limit; and after sixteen that took four times the baseline. After 30 s it is over anyway; one of
//!    fewer than ten calls is thrown away. While the limit doubles one round trip is enough, and calls for half the
//!    limit, in the first window for all of it: ten at least, half of them answered, and none that ended before the
//!    first was held back. So calls of seconds need no more rounds than calls of milliseconds.
//!
//! *The baseline: how long a call takes when few are under way*
//!
//! 4. It falls halfway to every whole window that is faster. It follows a window both ways in which never more than a
//!    quarter of the limit were under way. It rises on nothing else but a measurement, so that overload that lasts is
//!    never taken for normal. The first window sets it until there was one of `samples`, and that until there was a
//!    whole one. Nobody is swamped by a baseline that fewer than `samples` set.
//! 5. A measurement pins the limit to a quarter, but not below three or the least bound, and goes on until calls stop
//!    getting faster; the fastest set it. Windows of which fewer than half were answered are no measurement; after four
//!    times `window` of them the limit stays where it was pinned. Of a limit that is no higher than that, the window that
//!    asks for the measurement is it.
//!
//! *The limit*
//!
//! 6. What is tolerable is `tolerance` times the baseline. A window of longer calls calls for
//!    `used × tolerable / time`, half at least, and room for a few that wait in the callee: the root of what is used.
//!    Used is the limit if calls were held back, else as many as were under way at most.
//! 7. If that is no more than the limit, the baseline is measured; if it was within `relearn`, the limit becomes it.
//!    But when no call was held back, and they took less than four times the baseline, the limit is not in anybody's
//!    way and stays.
//! 8. If it is more, the limit grows: by one, then by twice as many each time, until a window is congested. At first,
//!    and after a measurement that found a slower callee, it doubles; as long as no whole window has set the baseline,
//!    until calls take a quarter longer. A window that sets a longer baseline says that those before saw the fast calls
//!    only, or that the callee has begun to queue, and nobody knows which: the limit stays, or falls by half if calls
//!    were held back that took longer than is tolerable. If no call was held back, it grows to twice as many as were
//!    under way at most: a limit of which less than half is used does not grow.
//! 9. If fewer than half of a window's calls were answered, and the others took longer than the baseline, the limit
//!    becomes half of what is used. It does not grow while fewer than half are answered.
//! 10. A limit that nobody uses does not move: without calls there is no window.
//!
//! *The operator*
//!
//! 11. A pinned limit does not move until it is released or its time is over; then it goes on from where it was.
//! 12. New settings keep the limit, brought within the bounds, and the baseline. The window begins anew.
//! 13. Time that steps back changes nothing.
//!
//! *The line*
//!
//! 14. So many calls may wait for each place. While the limit doubles, the line has room for as many at least as may
//!     ever be under way, and a call may wait for two fifths more of its time: the line moves twice as fast with each
//!     round trip.

use std::num::NonZeroU32;
use std::time::Duration;

use super::config::AdaptiveConfig;
use super::octaves::Octaves;
use super::window::{LONGEST, ROUNDS, SWAMPED, Tally, Terms};
use super::words::{Cause, Change, Sample};
use crate::num::Ratio;
use crate::time::Tick;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Watching,
    Measuring {
        pin: u32,
        began: Tick,
        best: Option<Octaves>,
    },
}

/// By what a baseline was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// Fewer calls than a window needs.
    Few,
    /// Enough of them, in less time than a window needs.
    Short,
    Whole,
}

/// An adaptive limit: a plain value that is told what happens and when.
///
/// It says how many may be under way and leaves the counting to others, such as
/// [`Concurrency`](crate::limit::concurrency::Concurrency).
///
/// # Example
///
/// ```
/// use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, Cause, Sample};
/// use mainstay::outcome::Outcome;
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let mut adaptive = Adaptive::new(AdaptiveConfig::new(), Tick::ZERO);
/// assert_eq!(adaptive.limit().get(), 20);
///
/// // Calls of 10 ms, as many under way as may be.
/// let changes = (1..=60).filter_map(|n| {
///     let now = Tick::ZERO + Duration::from_millis(10 * n);
///     let started = now.back(Duration::from_millis(10));
///     adaptive.observe(Sample::new(started, Outcome::Success).in_flight(20), now)
/// });
/// assert_eq!(changes.map(|change| change.cause()).collect::<Vec<_>>(), [Cause::Demand]);
/// assert_eq!(adaptive.limit().get(), 40);
/// ```
#[derive(Clone, Debug)]
pub struct Adaptive {
    config: AdaptiveConfig,
    limit: u32,
    /// By how much it grows next, unless it doubles.
    step: u32,
    /// Whether it doubles: nothing has spoken against it so far.
    doubles: bool,
    phase: Phase,
    pin: Option<(NonZeroU32, Tick)>,
    baseline: Option<Octaves>,
    trust: Trust,
    /// The mean of the last window.
    recent: Option<Octaves>,
    /// When the baseline was last measured.
    measured: Option<Tick>,
    /// When the limit last moved.
    since: Tick,
    began: Tick,
    tally: Tally,
    peak: u32,
    last: Option<Change>,
}

/// A window of fewer calls says nothing.
const FEWEST: u32 = 10;

/// A measurement lets so many calls through at a time, at least: one that hangs must not stop it.
const PROBES: u32 = 3;

/// The share of the limit that is left while the baseline is measured. The tolerance is far below it, so that a queue
/// in the callee, which grows in proportion to the calls, is never measured away: a quarter of the calls wait for a
/// quarter of the time.
const QUARTER: u32 = 4;

/// A quarter longer than a baseline that no whole window has set: the limit stops doubling.
const LONGER: u32 = Octaves::STEPS / 3;

/// While the limit doubles a call may wait for so many times its share: of half a minute 21 s, in which a callee of 5 s
/// doubles its calls three times, and 9 s are left for the answer.
const HOPE: f64 = 1.4;

/// Calls get faster as long as a window takes at most this much of the one before: five sixths.
const FASTER: u32 = Octaves::STEPS / 4;

/// So many windows without answers and a measurement is given up.
const PATIENCE: u32 = 4;

/// From twice what is tolerable on, there is no room for calls that wait in the callee: too many do.
const CROWDED: f64 = 2.0;

impl Adaptive {
    /// The limit at its start, with nothing known.
    #[must_use]
    pub fn new(config: AdaptiveConfig, now: Tick) -> Self {
        let limit = config.initial().get();
        Self {
            config,
            limit,
            step: 1,
            doubles: true,
            phase: Phase::Watching,
            pin: None,
            baseline: None,
            trust: Trust::Few,
            recent: None,
            measured: None,
            since: now,
            began: now,
            tally: Tally::default(),
            peak: 0,
            last: None,
        }
    }

    /// How many calls may be under way now.
    #[must_use]
    pub fn limit(&self) -> NonZeroU32 {
        let limit = match (self.pin, self.phase) {
            (Some((limit, _)), _) => return limit,
            (None, Phase::Measuring { pin, .. }) => pin,
            (None, Phase::Watching) => self.limit,
        };
        NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN)
    }

    /// How many calls may wait now. A measurement, which is short, leaves the line as it was.
    ///
    /// A window that moves nothing may change it, so ask after each [`observe`](Self::observe).
    #[must_use]
    pub fn queue(&self) -> u32 {
        let limit = self.pin.map_or(self.limit, |(limit, _)| limit.get());
        let depth = self.config.queue_depth();
        let line = limit.saturating_mul(depth);
        if depth > 0 && self.is_starting() {
            line.max(self.config.range().most().get())
        } else {
            line
        }
    }

    /// How much of the time that its deadline leaves a call may spend waiting that comes now.
    #[must_use]
    pub fn patience(&self) -> Ratio {
        let share = self.config.patience();
        if !self.is_starting() {
            return share;
        }
        let longer = (share.get() * HOPE).min(1.0);
        Ratio::new("wait_share", longer).unwrap_or(share)
    }

    /// Says that a call was refused, or has to wait: also when one comes in and others still do, or has waited in vain.
    pub fn held_back(&mut self) {
        self.tally = self.terms().held(self.tally);
    }

    /// Says that a call is over.
    pub fn observe(&mut self, sample: Sample, now: Tick) -> Option<Change> {
        let terms = self.terms();
        let call = terms.weigh(sample.started, sample.outcome, now)?;
        if !self.tally.is_full() {
            self.tally = self.tally.plus(call);
        }
        self.peak = self.peak.max(sample.in_flight);
        if !terms.is_due(self.tally, now) {
            return None;
        }
        let (tally, peak) = (self.tally, self.peak);
        self.judge(tally, peak, now)
    }

    /// Pins the limit, within the bounds or not, until `until` or until it is released.
    pub fn pin(&mut self, limit: NonZeroU32, until: Tick, now: Tick) -> Option<Change> {
        let from = self.limit();
        self.pin = Some((limit, until));
        self.phase = Phase::Watching;
        self.moved(from, Cause::Pinned, now)
    }

    /// Lets the limit move again.
    pub fn release(&mut self, now: Tick) -> Option<Change> {
        let from = self.limit();
        self.pin.take()?;
        self.moved(from, Cause::Released, now)
    }

    /// Replaces the settings.
    pub fn reload(&mut self, config: AdaptiveConfig, now: Tick) -> Option<Change> {
        let from = self.limit();
        self.config = config;
        self.limit = config.range().nearest(self.limit);
        self.phase = Phase::Watching;
        self.moved(from, Cause::Reloaded, now)
    }

    /// When the machine wants to be told the time: at the end of a pin.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.pin
            .map(|(_, until)| until)
            .filter(|until| *until != Tick::NEVER)
    }

    /// Tells the machine the time. A pin whose time is over is released.
    pub fn handle_timeout(&mut self, now: Tick) -> Option<Change> {
        let over = self.pin.is_some_and(|(_, until)| now >= until);
        if over { self.release(now) } else { None }
    }

    /// How long a call takes when few are under way, as far as that is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline.map(Octaves::time)
    }

    /// How long the calls of the last window took, lost ones weighed.
    #[must_use]
    pub fn recent(&self) -> Option<Duration> {
        self.recent.map(Octaves::time)
    }

    /// The last move of the limit.
    #[must_use]
    pub const fn last_change(&self) -> Option<Change> {
        self.last
    }

    /// The pin, and until when it holds.
    #[must_use]
    pub const fn pinned(&self) -> Option<(NonZeroU32, Tick)> {
        self.pin
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> AdaptiveConfig {
        self.config
    }

    /// By what the window that is open is weighed.
    pub(super) fn terms(&self) -> Terms {
        let round = self.recent.map_or(Duration::ZERO, Octaves::time);
        let rounds = self.began + round.saturating_mul(ROUNDS);
        // What a tally cannot hold must not be waited for.
        let most = self.config.fewest_samples().get();
        let most = most.clamp(FEWEST, Tally::FULL);
        let (needed, measuring) = match self.phase {
            Phase::Measuring { pin, .. } => (pin.saturating_mul(2), true),
            Phase::Watching => (self.limit.saturating_mul(4), false),
        };
        let baseline = self.baseline.unwrap_or_default();
        let needed = needed.clamp(FEWEST, most);
        let starting = self.is_starting();
        let early = match self.baseline {
            _ if !starting => needed,
            None => self.limit,
            Some(_) => self.limit / 2,
        };
        let tolerance = if starting && self.trust < Trust::Whole {
            LONGER
        } else {
            Octaves::times(self.config.tolerated().get())
        };
        let pinned = self.pin.map_or(Tick::NEVER, |(_, until)| until);
        Terms {
            since: self.since,
            baseline,
            crowded: match self.baseline {
                Some(baseline) => baseline.plus(tolerance),
                None => Octaves::new(u32::MAX),
            },
            needed,
            early: early.clamp(FEWEST, needed),
            firm: self.trust > Trust::Few,
            measuring,
            // Less than a round trip by an eighth: those that were let in at once end at once, a little early or late.
            round: if starting {
                self.began + (round - round / 8)
            } else {
                rounds
            },
            whole: rounds.max(self.began + self.config.shortest_window().get()),
            longest: pinned.min(self.began + LONGEST),
        }
    }

    /// The window is over: looks at it, begins another, and says how the limit moved.
    pub(super) fn judge(&mut self, tally: Tally, peak: u32, now: Tick) -> Option<Change> {
        let terms = self.terms();
        self.begin(now);
        if let Some(released) = self.handle_timeout(now) {
            return Some(released);
        }
        if tally.calls() < FEWEST {
            return None;
        }
        let from = self.limit();
        let answered = tally.answered() >= tally.calls().div_ceil(2);
        let cause = match self.phase {
            Phase::Measuring { pin, began, best } => {
                self.measure(tally.mean(), answered, pin, began, best, now)?
            }
            Phase::Watching => {
                self.recent = Some(tally.mean());
                let before = self.baseline;
                let anew = answered && self.learn(tally, peak, terms, now);
                if self.pin.is_some() {
                    return None;
                }
                match before {
                    Some(before)
                        if anew && self.is_starting() && tally.mean() > before.plus(LONGER) =>
                    {
                        self.doubt(tally, before)?
                    }
                    _ => self.look(tally, peak, answered, now)?,
                }
            }
        };
        self.moved(from, cause, now)
    }

    /// Rule 4. Says whether the window set the baseline.
    fn learn(&mut self, tally: Tally, peak: u32, terms: Terms, now: Tick) -> bool {
        let mean = tally.mean();
        let few = peak <= self.quarter(self.limit) && !tally.was_held();
        let enough = tally.calls() >= terms.needed;
        let trust = match now >= terms.whole && (enough || now >= terms.longest) {
            true => Trust::Whole,
            false if enough => Trust::Short,
            false => Trust::Few,
        };
        let anew = self.baseline.is_none() || trust > self.trust;
        self.baseline = Some(match self.baseline {
            Some(old) if !anew && trust < Trust::Whole => old,
            Some(old) if !anew && (few || mean < old) => old.middle(mean),
            Some(old) if !anew => old,
            _ => mean,
        });
        self.trust = self.trust.max(trust);
        anew
    }

    /// Rule 8, where a window that sets the baseline takes longer than the one `before`.
    fn doubt(&mut self, tally: Tally, before: Octaves) -> Option<Cause> {
        self.creep();
        let tolerance = Octaves::times(self.config.tolerated().get());
        let half = self.config.range().nearest(self.limit / 2);
        let tolerable = tally.mean() <= before.plus(tolerance);
        if tolerable || !tally.was_held() || half >= self.limit {
            return None;
        }
        self.limit = half;
        Some(Cause::Congested)
    }

    /// Rule 5.
    fn measure(
        &mut self,
        mean: Octaves,
        answered: bool,
        pin: u32,
        began: Tick,
        best: Option<Octaves>,
        now: Tick,
    ) -> Option<Cause> {
        let patience = self.config.shortest_window().get().saturating_mul(PATIENCE);
        let late = now.since(began) >= patience;
        if !answered {
            if !late {
                return None;
            }
            self.limit = pin;
            self.creep();
            self.phase = Phase::Watching;
            return Some(Cause::Unanswered);
        }
        let fastest = best.map_or(mean, |best| best.min(mean));
        if !late && best.is_none_or(|best| mean.plus(FASTER) < best) {
            let best = Some(fastest);
            self.phase = Phase::Measuring { pin, began, best };
            return None;
        }
        let tolerance = Octaves::times(self.config.tolerated().get());
        let slower = self
            .baseline
            .is_some_and(|old| fastest > old.plus(tolerance));
        self.baseline = Some(fastest);
        self.trust = Trust::Whole;
        self.measured = Some(now);
        self.creep();
        self.doubles = slower;
        self.phase = Phase::Watching;
        Some(Cause::Measured)
    }

    /// Rules 6 to 9.
    fn look(&mut self, tally: Tally, peak: u32, answered: bool, now: Tick) -> Option<Cause> {
        let mean = tally.mean();
        let held = tally.was_held();
        let baseline = self.baseline.unwrap_or(mean);
        let excess = mean.over(baseline) / self.config.tolerated().get();
        let used = if held {
            self.limit
        } else {
            peak.min(self.limit)
        };
        if !answered && (self.baseline.is_none() || mean > baseline) {
            self.creep();
            let half = self.config.range().nearest(used / 2);
            if half >= self.limit {
                return None;
            }
            self.limit = half;
            return Some(Cause::Lost);
        }
        let target = self.config.range().nearest(target(used, excess));
        if excess > 1.0 && target <= self.limit {
            self.creep();
            if !held && mean <= baseline.plus(SWAMPED) {
                return None;
            }
            let age = self.config.baseline_age().get();
            let stale = self.measured.is_none_or(|at| now.since(at) >= age);
            let pin = self.quarter(used);
            if stale && pin >= self.limit {
                // A measurement could let through no fewer, so this was one. Without it a limit that has fallen to its
                // least would never be learned anew.
                self.baseline = Some(mean);
                self.trust = Trust::Whole;
                self.measured = Some(now);
                self.doubles = true;
                return None;
            }
            if stale {
                let (began, best) = (now, None);
                self.phase = Phase::Measuring { pin, began, best };
                return Some(Cause::Measuring);
            }
            if target == self.limit {
                return None;
            }
            self.limit = target;
            return Some(Cause::Congested);
        }
        if !answered {
            return None;
        }
        if self.doubles && self.trust < Trust::Whole && mean > baseline.plus(LONGER) {
            self.creep();
        }
        let step = if self.doubles { self.limit } else { self.step };
        let mut grown = self.limit.saturating_add(step);
        if excess > 1.0 {
            grown = grown.min(target);
        }
        if !held {
            // Less than half of it is used: no reason to grow.
            grown = grown.min(peak.saturating_mul(2));
        }
        let grown = self.config.range().nearest(grown);
        if grown <= self.limit {
            return None;
        }
        self.step = step.saturating_mul(2).min(grown);
        self.limit = grown;
        Some(Cause::Demand)
    }

    /// From now on it grows by little.
    const fn creep(&mut self) {
        self.step = 1;
        self.doubles = false;
    }

    /// Whether the limit doubles and has not got there.
    fn is_starting(&self) -> bool {
        let watching = self.pin.is_none() && matches!(self.phase, Phase::Watching);
        watching && self.doubles && self.limit < self.config.range().most().get()
    }

    fn quarter(&self, of: u32) -> u32 {
        let least = self.config.range().least().get();
        (of / QUARTER).max(PROBES).max(least)
    }

    fn begin(&mut self, now: Tick) {
        self.began = self.began.max(now);
        self.tally = Tally::default();
        self.peak = 0;
    }

    fn moved(&mut self, from: NonZeroU32, cause: Cause, now: Tick) -> Option<Change> {
        self.begin(now);
        self.since = self.since.max(now);
        let change = Change {
            from,
            to: self.limit(),
            cause,
            at: now,
        };
        self.last = Some(change);
        Some(change)
    }
}

/// The limit that calls for, when `used` calls take `excess` times as long as is tolerable.
fn target(used: u32, excess: f64) -> u32 {
    let share = excess.max(1.0).recip().max(0.5);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a u32 is one"
    )]
    let target = (f64::from(used) * share) as u32;
    if excess >= CROWDED {
        target
    } else {
        target.saturating_add(used.isqrt())
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
