//! The rules.
//!
//! 1. A ladder is told what is known about components. Of each the last reading counts; in what order those came that
//!    are told at once does not matter.
//! 2. While nothing is known about a component, what was known last goes on to count, until its
//!    [`Unknown`](super::Unknown) says as what it counts then. One of which nothing was ever known leads to no fact and
//!    weighs nothing.
//! 3. A fact comes when its condition has held for as long as its pace asks: at once, unless told otherwise.
//! 4. A fact goes when its condition, with its margin, has not held for as long as its pace asks without a break, and it
//!    has stayed for its least time.
//! 5. A fact that came as often as the flap budget allows, within its time, goes only after the longer calm.
//! 6. The level is the worst of those of all facts that hold; the best where none does.
//! 7. What is served of a capability is the meet of its modes over all facts that hold, whatever the level.
//! 8. An operator's pin of a capability takes the place of its mode, and one of the level that of the level and of all
//!    modes that are not pinned themselves, until it is taken away or over. Facts come and go underneath.
//! 9. Every change of the level or of a mode is told once, with what brought it about and all that was known.
//! 10. A new ladder keeps what is known, and the facts and pins that it still has, by their names.
//! 11. Time that steps back changes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::{Cause, Change, Moved};
use super::ladder::{Ladder, MOST, meet};
use super::mode::Mode;
use super::pace::Pace;
use super::parts::{Component, Level, Unknown};
use super::reading::Reading;
use super::when::weighted;
use crate::error::ConfigError;
use crate::order::Order;
use crate::time::Tick;

/// How degraded the system is: a plain value that is told what is known and when.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::degrade::{Degradation, Kind, Reading};
/// use mainstay::health::Verdict;
/// use mainstay::presets::erp;
/// use mainstay::time::Tick;
///
/// let mut system = Degradation::new(erp::degradation());
/// let now = Tick::ZERO;
/// for part in ["gpu_cluster", "database_primary", "database_replicas"] {
///     assert!(system.observe(part, Reading::from(Verdict::Up), now)?.is_none());
/// }
/// // Worse at once.
/// let change = system.observe("gpu_cluster", Reading::from(Verdict::Down), now)?.expect("a change");
/// assert_eq!((change.from().index(), change.to().index()), (0, 2));
/// assert_eq!(system.mode("inference").map(|mode| mode.kind()), Some(Kind::Disabled));
///
/// // Better slowly: the GPU is back, and it is believed after a while.
/// assert!(system.observe("gpu_cluster", Reading::from(Verdict::Up), now)?.is_none());
/// let later = now + Duration::from_secs(60);
/// assert!(system.next_timeout() <= later);
/// let change = system.decide(later).expect("a change");
/// assert_eq!(change.to().index(), 0);
/// assert_eq!(system.mode("inference").map(|mode| mode.kind()), Some(Kind::Full));
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Degradation {
    ladder: Arc<Ladder>,
    /// What was told last, and what counts.
    known: Vec<Known>,
    counts: Vec<Reading>,
    facts: Vec<Standing>,
    pinned: Option<Pin<usize>>,
    pins: Vec<Option<Pin<Mode>>>,
    level: usize,
    modes: Vec<Mode>,
    latest: Tick,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    told: Reading,
    /// Since when nothing is known, and told to the machine: `None` while something is, or before the machine was ever asked.
    unknown_since: Option<Tick>,
}

/// How a fact stands.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// Since when it holds.
    held: Option<Tick>,
    /// Since when its condition is other than what is held.
    otherwise: Option<Tick>,
    /// When it came, the latest last; as many as the flap budget counts.
    came: VecDeque<Tick>,
}

#[derive(Clone, Debug)]
struct Pin<T> {
    at: T,
    order: Order,
    until: Tick,
}

impl Degradation {
    /// At the best level: nothing is known yet.
    #[must_use]
    pub fn new(ladder: Ladder) -> Self {
        let known = Known {
            told: Reading::UNKNOWN,
            unknown_since: None,
        };
        Self {
            known: vec![known; ladder.components.len()],
            counts: vec![Reading::UNKNOWN; ladder.components.len()],
            facts: vec![Standing::default(); ladder.facts.len()],
            pinned: None,
            pins: vec![None; ladder.capabilities.len()],
            level: 0,
            modes: vec![Mode::Full; ladder.capabilities.len()],
            latest: Tick::ZERO,
            ladder: Arc::new(ladder),
        }
    }

    /// The ladder.
    #[must_use]
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// The level that holds, 0 for the best.
    #[must_use]
    pub const fn level(&self) -> usize {
        self.level
    }

    /// What is served of a capability; `None` if the ladder does not know it.
    #[must_use]
    pub fn mode(&self, capability: &str) -> Option<&Mode> {
        self.modes.get(self.ladder.capability(capability)?)
    }

    /// What is served of each capability, in the order of [`Ladder::capabilities`].
    #[must_use]
    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }

    /// The names of the facts that hold.
    pub fn facts(&self) -> impl Iterator<Item = &str> {
        let standing = self.ladder.facts.iter().zip(&self.facts);
        standing
            .filter(|(_, standing)| standing.held.is_some())
            .map(|(fact, _)| &*fact.name)
    }

    /// What counts of each component, by name; what is unknown and held is what was known last.
    pub fn readings(&self) -> impl Iterator<Item = (&str, Reading)> {
        let components = self.ladder.components.iter().map(Component::name);
        components.zip(self.counts.iter().copied())
    }

    /// The components of which nothing is known now, whatever they count as.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = self.ladder.components.iter().zip(&self.known);
        known
            .filter(|(_, known)| !known.told.is_known())
            .map(|(component, _)| component.name())
    }

    /// The weighted mean of the scores that count; `None` while nothing is known.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        weighted(&self.ladder.components, &self.counts)
    }

    /// Something was learned about a component. Says whether anything changes.
    ///
    /// # Errors
    ///
    /// If the ladder has no such component.
    pub fn observe(
        &mut self,
        component: &str,
        reading: Reading,
        now: Tick,
    ) -> Result<Option<Change>, ConfigError> {
        self.observe_all([(component, reading)], now)
    }

    /// Several things were learned at once. In what order they are given does not matter, but that of two of one
    /// component the later counts: no fact comes because one of them was told before another.
    ///
    /// # Errors
    ///
    /// If the ladder has no such component; then nothing was told.
    pub fn observe_all<'r>(
        &mut self,
        readings: impl IntoIterator<Item = (&'r str, Reading)>,
        now: Tick,
    ) -> Result<Option<Change>, ConfigError> {
        let mut found = Vec::new();
        for (component, reading) in readings {
            let Some(at) = self.ladder.component(component) else {
                let expected = "the name of a component of the ladder";
                return Err(ConfigError::new("component", component, expected));
            };
            found.push((at, reading));
        }
        let now = self.at(now);
        for (at, reading) in found {
            if let Some(known) = self.known.get_mut(at) {
                known.told = reading;
                if reading.is_known() {
                    known.unknown_since = None;
                }
            }
        }
        Ok(self.settle(now))
    }

    /// Time has passed. Says whether anything changes.
    pub fn decide(&mut self, now: Tick) -> Option<Change> {
        let now = self.at(now);
        self.settle(now)
    }

    /// When to [`decide`](Self::decide) next if nothing is told before; [`Tick::NEVER`] if time alone changes nothing.
    #[must_use]
    pub fn next_timeout(&self) -> Tick {
        let facts = self.ladder.facts.iter().zip(&self.facts);
        let facts = facts.filter_map(|(fact, standing)| standing.due(fact.pace));
        let known = self.ladder.components.iter().zip(&self.known);
        let known = known.zip(&self.counts);
        let known = known.filter_map(|((component, known), count)| match component.of_unknown() {
            // What counts already is not due any more.
            Unknown::After(so_long, verdict) if *count != Reading::from(verdict) => {
                Some(known.unknown_since? + so_long.get())
            }
            _ => None,
        });
        let pins = self.pins.iter().flatten().map(|pin| pin.until);
        let pins = pins.chain(self.pinned.iter().map(|pin| pin.until));
        facts.chain(known).chain(pins).min().unwrap_or(Tick::NEVER)
    }

    /// An operator sets the level, and with it what is served of every capability that is not pinned itself.
    ///
    /// # Errors
    ///
    /// If the ladder has no such level.
    pub fn pin_level(
        &mut self,
        level: &str,
        order: Order,
        now: Tick,
    ) -> Result<Option<Change>, ConfigError> {
        let levels = &self.ladder.levels;
        let Some(at) = levels.iter().position(|each| each.name() == level) else {
            let expected = "the name of a level of the ladder";
            return Err(ConfigError::new("level", level, expected));
        };
        let now = self.at(now);
        let until = order.until(now);
        let cause = Cause::Pinned(order.clone());
        self.pinned = Some(Pin { at, order, until });
        Ok(self.conclude(cause, now))
    }

    /// An operator sets what is served of one capability.
    ///
    /// # Errors
    ///
    /// If the ladder has no such capability.
    pub fn pin(
        &mut self,
        capability: &str,
        mode: Mode,
        order: Order,
        now: Tick,
    ) -> Result<Option<Change>, ConfigError> {
        let now = self.at(now);
        let until = order.until(now);
        let cause = Cause::Pinned(order.clone());
        let at = mode;
        *self.pin_of(capability)? = Some(Pin { at, order, until });
        Ok(self.conclude(cause, now))
    }

    /// An operator takes the pin of the level away. Nothing happens where there is none.
    pub fn unpin_level(&mut self, order: Order, now: Tick) -> Option<Change> {
        let now = self.at(now);
        self.pinned.take()?;
        self.conclude(Cause::Unpinned(order), now)
    }

    /// An operator takes the pin of a capability away. Nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// If the ladder has no such capability.
    pub fn unpin(
        &mut self,
        capability: &str,
        order: Order,
        now: Tick,
    ) -> Result<Option<Change>, ConfigError> {
        let now = self.at(now);
        Ok(match self.pin_of(capability)?.take() {
            Some(_) => self.conclude(Cause::Unpinned(order), now),
            None => None,
        })
    }

    /// The pin of the level, if there is one: its level and whose order it is.
    #[must_use]
    pub fn pinned_level(&self) -> Option<(&str, &Order)> {
        let pin = self.pinned.as_ref()?;
        let level = self.ladder.levels.get(pin.at)?;
        Some((level.name(), &pin.order))
    }

    /// The pins of capabilities.
    pub fn pins(&self) -> impl Iterator<Item = (&str, &Mode, &Order)> {
        let pins = self.ladder.capabilities.iter().zip(&self.pins);
        pins.filter_map(|(name, pin)| {
            let pin = pin.as_ref()?;
            Some((&**name, &pin.at, &pin.order))
        })
    }

    /// Another ladder. What is known of components stays, as do facts that hold and pins, by their names.
    pub fn reload(&mut self, ladder: Ladder, now: Tick) -> Option<Change> {
        let now = self.at(now);
        let before = self.clone();
        *self = Self::new(ladder);
        self.latest = now;
        let old = &before.ladder;
        for (at, component) in self.ladder.components.iter().enumerate() {
            let was = old.component(component.name());
            let was = was.and_then(|was| Some((before.known.get(was)?, before.counts.get(was)?)));
            if let (Some((known, counts)), Some(to), Some(count)) =
                (was, self.known.get_mut(at), self.counts.get_mut(at))
            {
                (*to, *count) = (*known, *counts);
            }
        }
        for (fact, standing) in self.ladder.facts.iter().zip(&mut self.facts) {
            let was = old.facts.iter().position(|was| was.name == fact.name);
            if let Some(was) = was.and_then(|was| before.facts.get(was)) {
                standing.clone_from(was);
            }
        }
        for (name, pin) in self.ladder.capabilities.iter().zip(&mut self.pins) {
            let was = old.capability(name).and_then(|was| before.pins.get(was));
            if let Some(was) = was {
                pin.clone_from(was);
            }
        }
        if let Some(pin) = &before.pinned {
            let name = old.levels.get(pin.at).map(Level::name);
            let mut levels = self.ladder.levels.iter();
            let at = levels.position(|level| Some(level.name()) == name);
            self.pinned = at.map(|at| Pin { at, ..pin.clone() });
        }
        self.judge(now);
        self.expire(now);
        self.concluded(before.level_name(), before.served(), Cause::Reloaded, now)
    }

    /// Rule 11.
    fn at(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn pin_of(&mut self, capability: &str) -> Result<&mut Option<Pin<Mode>>, ConfigError> {
        let at = self.ladder.capability(capability);
        at.and_then(|at| self.pins.get_mut(at)).ok_or_else(|| {
            let expected = "the name of a capability of the ladder";
            ConfigError::new("capability", capability, expected)
        })
    }

    /// Lets facts come and go, and pins end, and says what that changes.
    fn settle(&mut self, now: Tick) -> Option<Change> {
        let (came, went) = self.judge(now);
        let expired = self.expire(now);
        if came.is_empty() && went.is_empty() && expired.is_empty() {
            return None;
        }
        let cause = if came.is_empty() && went.is_empty() {
            Cause::Expired(expired)
        } else {
            let name = |at: usize| self.ladder.facts.get(at).map(|fact| Arc::clone(&fact.name));
            Cause::Facts {
                came: came.into_iter().filter_map(name).collect(),
                went: went.into_iter().filter_map(name).collect(),
                expired,
            }
        };
        self.conclude(cause, now)
    }

    /// Rules 2 to 5. The places of the facts that came, and of those that went.
    fn judge(&mut self, now: Tick) -> (Vec<usize>, Vec<usize>) {
        let components = &self.ladder.components;
        let counts = self.counts.iter_mut().zip(&mut self.known);
        for ((count, known), component) in counts.zip(components) {
            if known.told.is_known() {
                *count = known.told;
                continue;
            }
            // Since it was first told, or since the machine was first asked: before that nobody waited for it.
            let since = *known.unknown_since.get_or_insert(now);
            if let Unknown::After(so_long, verdict) = component.of_unknown()
                && now >= since + so_long.get()
            {
                *count = Reading::from(verdict);
            }
        }
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for (at, (fact, standing)) in self.ladder.facts.iter().zip(&mut self.facts).enumerate() {
            let is_so = match standing.held {
                None => fact.when.holds(components, &self.counts),
                Some(_) => fact.when.still_holds(components, &self.counts),
            };
            if is_so == standing.held.is_some() {
                standing.otherwise = None;
                continue;
            }
            standing.otherwise.get_or_insert(now);
            if standing.due(fact.pace).is_some_and(|due| due <= now) {
                standing.otherwise = None;
                if is_so {
                    standing.comes(fact.pace, now);
                    came.push(at);
                } else {
                    standing.held = None;
                    went.push(at);
                }
            }
        }
        (came, went)
    }

    /// Ends the pins whose time is over.
    fn expire(&mut self, now: Tick) -> Vec<Order> {
        let mut expired = Vec::new();
        if let Some(pin) = self.pinned.take_if(|pin| pin.until <= now) {
            expired.push(pin.order);
        }
        for pin in &mut self.pins {
            if let Some(pin) = pin.take_if(|pin| pin.until <= now) {
                expired.push(pin.order);
            }
        }
        expired
    }

    /// Rules 6 to 9.
    fn conclude(&mut self, cause: Cause, now: Tick) -> Option<Change> {
        let (level, served) = (self.level_name(), self.served());
        self.concluded(level, served, cause, now)
    }

    /// What is served of each capability, with its name.
    fn served(&self) -> Vec<(Arc<str>, Mode)> {
        let names = self.ladder.capabilities.iter().cloned();
        names.zip(self.modes.iter().cloned()).collect()
    }

    fn level_name(&self) -> (usize, Arc<str>) {
        let level = self.ladder.levels.get(self.level);
        (
            self.level,
            level.map_or_else(|| "".into(), |level| level.name().into()),
        )
    }

    fn concluded(
        &mut self,
        from: (usize, Arc<str>),
        before: Vec<(Arc<str>, Mode)>,
        cause: Cause,
        now: Tick,
    ) -> Option<Change> {
        self.level = 0;
        self.modes.fill(Mode::Full);
        if let Some(pin) = &self.pinned {
            self.level = pin.at;
            if let Some(pinned) = self.ladder.modes.get(pin.at) {
                self.modes.clone_from(pinned);
            }
        } else {
            for (fact, standing) in self.ladder.facts.iter().zip(&self.facts) {
                if standing.held.is_some() {
                    self.level = self.level.max(fact.level);
                    meet(&mut self.modes, &fact.modes);
                }
            }
        }
        for (mode, pin) in self.modes.iter_mut().zip(&self.pins) {
            if let Some(pin) = pin {
                mode.clone_from(&pin.at);
            }
        }
        let to = self.level_name();
        // A capability that one of two ladders does not have is served in full under that one.
        let now_served = self.served().into_iter();
        let came = now_served.filter(|(name, _)| before.iter().all(|(was, _)| was != name));
        let came: Vec<_> = came.map(|(name, mode)| (name, Mode::Full, mode)).collect();
        let stayed = before.into_iter().map(|(name, was)| {
            let mode = self.mode(&name).cloned().unwrap_or_default();
            (name, was, mode)
        });
        let all = stayed.chain(came);
        let moved: Vec<_> = all
            .filter(|(_, was, mode)| was != mode)
            .map(|(name, was, mode)| Moved::new(name, was, mode))
            .collect();
        if from == to && moved.is_empty() {
            return None;
        }
        let readings = self
            .readings()
            .map(|(name, reading)| (name.into(), reading));
        let readings = readings.collect();
        Some(Change::new(from, to, cause, moved, readings, now))
    }
}

impl Standing {
    /// When it comes or goes, if its condition stays as it is.
    fn due(&self, pace: Pace) -> Option<Tick> {
        let otherwise = self.otherwise?;
        let Some(held) = self.held else {
            return Some(otherwise + pace.confirmation());
        };
        let (flaps, within, hold) = pace.flap_budget();
        let oldest = self
            .came
            .front()
            .filter(|_| self.came.len() >= flaps as usize);
        let flaps = oldest.is_some_and(|oldest| held.since(*oldest) <= within.get());
        let calm = if flaps {
            hold.get().max(pace.calm().get())
        } else {
            pace.calm().get()
        };
        Some((otherwise + calm).max(held + pace.stay().get()))
    }

    fn comes(&mut self, pace: Pace, now: Tick) {
        self.held = Some(now);
        // A budget of any size keeps a bounded number of times.
        let flaps = (pace.flap_budget().0 as usize).min(MOST);
        while self.came.len() >= flaps {
            self.came.pop_front();
        }
        self.came.push_back(now);
    }
}
