//! What a health is made of, and what does not fit together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::consecutive::{Consecutive, ConsecutiveConfig};
use super::crowding::CrowdingConfig;
use super::driver::{Health, Shared};
use super::follow::{Follows, Signal, Source};
use super::known::Known;
use super::probe::Watch;
use super::verdict::Verdict;
use super::windowed::{Windowed, WindowedConfig};
use crate::degrade::{Degrade, Teller};
use crate::error::{ConfigError, ConfigErrors};
use crate::num::Period;
use crate::observe::Name;
use crate::sync::Mutex;

/// What a [`Health`] looks at, and whom it tells: [`build`](Self::build) checks it.
#[derive(Debug)]
#[must_use]
pub struct HealthBuilder {
    name: Option<Name>,
    watches: Vec<Watch>,
    reported: Vec<(Arc<str>, ConsecutiveConfig)>,
    windowed: Vec<(Arc<str>, WindowedConfig)>,
    needed: Vec<Arc<str>>,
    followed: Vec<(Arc<str>, Vec<Signal>)>,
    crowding: CrowdingConfig,
    ladder: Option<Degrade>,
    tolerance: Period,
    calm: Period,
}

impl HealthBuilder {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            watches: Vec::new(),
            reported: Vec::new(),
            windowed: Vec::new(),
            needed: Vec::new(),
            followed: Vec::new(),
            crowding: CrowdingConfig::new(),
            ladder: None,
            tolerance: Period::secs(2),
            calm: Period::secs(30),
        }
    }

    /// Its label in metrics and events. Defaults to the name of the ladder that it tells, else `health`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A component that is looked at.
    pub fn watch(mut self, watch: Watch) -> Self {
        self.watches.push(watch);
        self
    }

    /// A component that nobody looks at: whoever uses it [reports](Health::report).
    pub fn reported(mut self, name: impl Into<Arc<str>>, rows: ConsecutiveConfig) -> Self {
        self.reported.push((name.into(), rows));
        self
    }

    /// What is called of a component anyway is judged by a window: its share of errors, and how long all but a few take.
    ///
    /// Whoever calls [reports](Health::report_call) each call. A component that is looked at or reported as well is as
    /// bad as the worse of both says, and its looks count in the window too; one that is not has only its window. Until
    /// there are as many calls as it takes nothing is known by it.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use mainstay::health::{Health, Verdict, WindowedConfig};
    /// use mainstay::num::{Period, Ratio};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mainstay::error::ConfigErrors> {
    /// // Degraded when one call in twenty takes longer than a second.
    /// let calls = WindowedConfig::new(Period::secs(30))
    ///     .slower(Ratio::percent(95), Duration::from_secs(10))
    ///     .slower_degraded(Duration::from_secs(1));
    /// let health = Health::builder().windowed("inference", calls).build()?;
    /// for n in 0..100 {
    ///     let took = if n % 10 == 0 { 3_000 } else { 80 };
    ///     health.report_call("inference", false, Duration::from_millis(took))?;
    /// }
    /// assert_eq!(health.verdict("inference"), Some(Verdict::Degraded));
    /// # Ok(())
    /// # }
    /// ```
    pub fn windowed(mut self, name: impl Into<Arc<str>>, window: WindowedConfig) -> Self {
        self.windowed.push((name.into(), window));
        self
    }

    /// Follows a component from the beginning: see [`Health::follow`]. If nobody looks at it or reports it, it is only followed.
    pub fn follow(mut self, name: impl Into<Arc<str>>, source: &impl Source) -> Self {
        self.followed.push((name.into(), source.signals()));
        self
    }

    /// How figures of limits and queues that are followed become verdicts. Default [`CrowdingConfig::new`].
    pub const fn crowding(mut self, config: CrowdingConfig) -> Self {
        self.crowding = config;
        self
    }

    /// Without this component nothing can be served: [`Health::readiness`]. If nobody looks at it or reports it, it stands in
    /// the way only while it is down.
    pub fn needs(mut self, name: impl Into<Arc<str>>) -> Self {
        self.needed.push(name.into());
        self
    }

    /// Tells this ladder, whose components all of these are.
    pub fn tell(mut self, ladder: Degrade) -> Self {
        self.ladder = Some(ladder);
        self
    }

    /// A turn that is late by more than `tolerance` tilts the observer for `calm`. Default 2 s and 30 s.
    pub const fn tilt(mut self, tolerance: Period, calm: Period) -> Self {
        self.tolerance = tolerance;
        self.calm = calm;
        self
    }

    /// Checks the names and times.
    ///
    /// # Errors
    ///
    /// With each name that is there twice, or that the ladder does not have, each watch whose verdict would be stale before
    /// the next look, and each window whose limits disagree. Also with each component that is followed, and neither looked at
    /// nor reported, while the ladder [holds](crate::degrade::Unknown::Hold) what it knew: once a gate is shut for it nobody
    /// would call, and the gate would stay shut for good.
    pub fn build(self) -> Result<Health, ConfigErrors> {
        let watched = self
            .watches
            .iter()
            .map(|watch| (watch.shared_name(), watch.rows));
        let mut all: Vec<_> = watched.chain(self.reported).collect();
        let looked = all.len();
        let windowed = self.windowed.iter().map(|(name, _)| name);
        for name in windowed.chain(self.followed.iter().map(|(name, _)| name)) {
            if !all.iter().any(|(each, _)| each == name) {
                all.push((Arc::clone(name), ConsecutiveConfig::default()));
            }
        }
        let mut errors = Vec::new();
        let known = self.ladder.as_ref().map(Degrade::components);
        for (at, (name, _)) in all.iter().enumerate() {
            if all.iter().take(at).any(|(before, _)| before == name) {
                errors.push(ConfigError::new("components", name, "each name once"));
            }
            if let Some(known) = &known
                && !known.iter().any(|known| **known == **name)
            {
                let expected = format!("a component of the ladder: {}", known.join(", "));
                errors.push(ConfigError::new("components", name, expected));
            }
        }
        let followed = || self.followed.iter().map(|(name, _)| name);
        let only = all.iter().skip(looked).map(|(name, _)| name);
        let only = only.filter(|name| followed().any(|each| each == *name));
        let only: Vec<_> = only.cloned().collect();
        for name in &only {
            if self
                .ladder
                .as_ref()
                .is_some_and(|ladder| ladder.holds(name))
            {
                let expected = "a component that is looked at or reported as well, or that the ladder gives up by \
                                Unknown::After";
                errors.push(ConfigError::new("follow", name, expected));
            }
        }
        if let Err(error) = self.crowding.check() {
            errors.push(error.within("crowding"));
        }
        for watch in &self.watches {
            let least = watch.every.get().saturating_add(watch.timeout.get());
            let stale = watch.rows.stale().get();
            if stale <= least {
                let expected = format!("more than an interval and a timeout, {least:?}");
                let field = format!("{}.rows.stale_after", watch.name());
                errors.push(ConfigError::new(field, format!("{stale:?}"), expected));
            }
        }
        for (at, (name, window)) in self.windowed.iter().enumerate() {
            if let Err(error) = window.check() {
                errors.push(error.within(&format!("{name}.window")));
            }
            if self.windowed.iter().take(at).any(|(each, _)| each == name) {
                errors.push(ConfigError::new("windowed", name, "each name once"));
            }
        }
        let window = |name: &Arc<str>| {
            let mut windows = self.windowed.iter();
            let (_, config) = windows.find(|(each, _)| each == name)?;
            Some(Windowed::new(*config))
        };
        let mut needed = Vec::new();
        for name in &self.needed {
            match all.iter().position(|(each, _)| each == name) {
                Some(at) => needed.push(at),
                None => errors.push(ConfigError::new("needs", name, "one of the components")),
            }
        }
        ConfigErrors::check(errors)?;
        let of_ladder = || self.ladder.as_ref().map(Degrade::name).map(Arc::clone);
        let name = self.name.or_else(of_ladder);
        let teller = self.ladder.as_ref().map(|ladder| {
            let names = all.iter().map(|(name, _)| Arc::clone(name)).collect();
            ladder.is_told_by(Teller { names, only })
        });
        let health = Health(Arc::new(Shared {
            looked,
            _teller: teller,
            name: name.unwrap_or_else(|| "health".into()),
            told: Mutex::new(vec![Verdict::Unknown; all.len()]),
            watches: self.watches,
            needed,
            is_draining: AtomicBool::new(false),
            names: all.iter().map(|(name, _)| Arc::clone(name)).collect(),
            rows: Mutex::new(
                all.iter()
                    .map(|(name, rows)| Known::new(Consecutive::new(*rows), window(name)))
                    .collect(),
            ),
            follows: Follows::new(self.crowding),
            ladder: self.ladder,
            tolerance: self.tolerance,
            calm: self.calm,
        }));
        for (name, signals) in self.followed {
            health.follow_all(health.place(&name)?, signals)?;
        }
        Ok(health)
    }
}
