//! A ladder: data that was checked.

use std::fmt;
use std::sync::Arc;

use super::builder::LadderBuilder;
use super::mode::Mode;
use super::pace::Pace;
use super::parts::{Cell, Component, Level};
use super::reading::Reading;
use super::when::When;

/// Most of anything that a ladder has: levels, components, capabilities, facts.
pub(super) const MOST: usize = 1_000;

/// How long a name may be, in characters: it stands in logs and in labels.
pub(super) const LONGEST_NAME: usize = 200;

/// Levels from best to worst, what is served at each, and the facts that lead there: data, checked as a whole.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Component, Fact, Ladder, Level, Mode, When};
///
/// let ladder = Ladder::new("shop")
///     .component(Component::new("gpu"))
///     .component(Component::new("database"))
///     .level(Level::new("everything"))
///     .level(Level::new("no pictures").cell("pictures", Mode::Disabled))
///     .level(Level::new("looking only").cell("orders", Mode::ReadOnly))
///     .fact(Fact::new("no GPU", When::down("gpu"), "no pictures"))
///     .fact(Fact::new("no database", When::down("database"), "looking only"))
///     .build()?;
/// assert_eq!(ladder.capabilities().collect::<Vec<_>>(), ["orders", "pictures"]);
///
/// let unknown = Ladder::new("shop")
///     .level(Level::new("everything"))
///     .fact(Fact::new("no GPU", When::down("gpu"), "nothing"))
///     .build();
/// let errors: Vec<_> = unknown.unwrap_err().iter().map(ToString::to_string).collect();
/// assert_eq!(errors[0], "facts.no GPU.when: expected the name of a component, got gpu");
/// assert_eq!(errors[1], "facts.no GPU.level: expected the name of a level, got nothing");
/// # Ok::<(), mainstay::error::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    pub(super) name: Arc<str>,
    pub(super) components: Vec<Component>,
    pub(super) levels: Vec<Level>,
    /// By name; what is at what place is what [`Rung::modes`] are in the order of.
    pub(super) capabilities: Vec<Arc<str>>,
    pub(super) facts: Vec<Rung>,
    /// What is served at each level, in the order of the capabilities.
    pub(super) modes: Vec<Vec<Mode>>,
    /// Of the facts that have none of their own.
    pub(super) pace: Pace,
    pub(super) is_cumulative: bool,
}

/// A fact whose names were looked up.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rung {
    pub(super) name: Arc<str>,
    pub(super) when: When<usize>,
    pub(super) level: usize,
    /// Its own, in place of the level's.
    pub(super) cells: Option<Vec<Cell>>,
    pub(super) modes: Vec<Mode>,
    pub(super) pace: Pace,
}

impl Ladder {
    /// Begins a ladder. Levels are given from best to worst.
    #[expect(clippy::new_ret_no_self, reason = "a ladder is checked as a whole")]
    pub fn new(name: impl Into<Arc<str>>) -> LadderBuilder {
        LadderBuilder::new(name.into())
    }

    /// A name, and nothing of a ladder yet.
    #[cfg(feature = "serde")]
    pub(super) const fn unwritten(name: Arc<str>) -> Self {
        Self {
            name,
            components: Vec::new(),
            levels: Vec::new(),
            capabilities: Vec::new(),
            facts: Vec::new(),
            modes: Vec::new(),
            pace: Pace::new(),
            is_cumulative: false,
        }
    }

    /// The same ladder, with every fact coming and going at this pace, those too that have one of their own: for drills and
    /// demonstrations of a ladder that is somebody else's.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::degrade::{Degrade, Pace};
    /// use mainstay::num::Period;
    /// use mainstay::presets::erp;
    ///
    /// let quick = Pace::new().dwell(Period::millis(500)).better_after(Period::millis(500));
    /// let degrade = Degrade::new(erp::degradation().paced(quick));
    /// # let _ = degrade;
    /// ```
    #[must_use]
    pub fn paced(mut self, pace: Pace) -> Self {
        self.pace = pace;
        for fact in &mut self.facts {
            fact.pace = pace;
        }
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its levels, from best to worst.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The components that it is told about, in the order in which they were given.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The capabilities that it decides about, in alphabetical order.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(|name| &**name)
    }

    /// The names of its facts.
    pub fn facts(&self) -> impl Iterator<Item = &str> {
        self.facts.iter().map(|fact| &*fact.name)
    }

    /// What is served of a capability at a level; `None` if there is no such level or capability.
    #[must_use]
    pub fn mode(&self, level: usize, capability: &str) -> Option<&Mode> {
        let at = self.capability(capability)?;
        self.modes.get(level)?.get(at)
    }

    /// Every cell that was written down, with the name of its level or fact: of each of these in alphabetical order.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &Cell)> {
        let of_levels = self.levels.iter().map(|level| (&level.name, &level.cells));
        let facts = self.facts.iter();
        let of_facts = facts.filter_map(|fact| Some((&fact.name, fact.cells.as_ref()?)));
        let all = of_levels.chain(of_facts);
        all.flat_map(|(of, cells)| cells.iter().map(|cell| (&**of, cell)))
    }

    /// How those facts come and go that say nothing of their own.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether at each level the cells of all better ones hold as well.
    #[must_use]
    pub const fn is_cumulative(&self) -> bool {
        self.is_cumulative
    }

    /// The level and the modes that hold when all that is known is `readings`, in whatever order: no history, no pace.
    ///
    /// Readings of components that the ladder does not have are passed over, and of two of one component the later counts.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::degrade::{Kind, Reading};
    /// use mainstay::health::Verdict;
    /// use mainstay::presets::erp;
    ///
    /// let ladder = erp::degradation();
    /// // Level 3 only limits inference, level 2 disables it: what holds is decided for each capability by itself.
    /// let now = ladder.assess([
    ///     ("gpu_cluster", Reading::from(Verdict::Down)),
    ///     ("database_replicas", Reading::from(Verdict::Degraded)),
    /// ]);
    /// assert_eq!(now.level(), 3);
    /// assert_eq!(now.mode("inference").map(|mode| mode.kind()), Some(Kind::Disabled));
    /// ```
    #[must_use]
    pub fn assess<'r>(
        &self,
        readings: impl IntoIterator<Item = (&'r str, Reading)>,
    ) -> Assessment<'_> {
        let mut known = vec![Reading::UNKNOWN; self.components.len()];
        for (name, reading) in readings {
            if let Some(at) = self.component(name)
                && let Some(known) = known.get_mut(at)
            {
                *known = reading;
            }
        }
        let mut level = 0;
        let mut modes = vec![Mode::Full; self.capabilities.len()];
        for fact in &self.facts {
            if fact.when.holds(&self.components, &known) {
                level = level.max(fact.level);
                meet(&mut modes, &fact.modes);
            }
        }
        Assessment {
            ladder: self,
            level,
            modes,
        }
    }

    pub(super) fn component(&self, name: &str) -> Option<usize> {
        self.components.iter().position(|each| &*each.name == name)
    }

    pub(super) fn capability(&self, name: &str) -> Option<usize> {
        self.capabilities
            .binary_search_by(|each| (**each).cmp(name))
            .ok()
    }
}

pub(super) fn meet(modes: &mut [Mode], others: &[Mode]) {
    for (mode, other) in modes.iter_mut().zip(others) {
        if *other != Mode::Full {
            *mode = mode.meet(other);
        }
    }
}

/// What [`Ladder::assess`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment<'a> {
    ladder: &'a Ladder,
    level: usize,
    modes: Vec<Mode>,
}

impl Assessment<'_> {
    /// The level, 0 for the best.
    #[must_use]
    pub const fn level(&self) -> usize {
        self.level
    }

    /// What is served of a capability, `None` if the ladder does not know it.
    #[must_use]
    pub fn mode(&self, capability: &str) -> Option<&Mode> {
        self.modes.get(self.ladder.capability(capability)?)
    }
}

impl fmt::Display for Ladder {
    /// The table: a line for each capability, a column for each level. A cell of our own has a star.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        for level in &self.levels {
            write!(f, " | {}", level.name)?;
        }
        for (at, capability) in self.capabilities.iter().enumerate() {
            write!(f, "\n{capability}")?;
            for (level, modes) in self.levels.iter().zip(&self.modes) {
                let mut cells = level.cells.iter();
                let is_ours =
                    cells.any(|cell| cell.is_ours() && cell.capability() == &**capability);
                let star = if is_ours { "*" } else { "" };
                let mode = modes.get(at).unwrap_or(&Mode::Full);
                write!(f, " | {mode}{star}")?;
            }
        }
        Ok(())
    }
}
