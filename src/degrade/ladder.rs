//! What a ladder is made of: components, levels with their cells, facts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::mode::Mode;
use super::reading::Reading;
use super::when::When;
use crate::error::{ConfigError, ConfigErrors};
use crate::health::Verdict;
use crate::num::{Period, Ratio};

/// Most of anything that a ladder has: levels, components, capabilities, facts.
pub(super) const MOST: usize = 1_000;

/// The greatest weight: sums of them stay far from where numbers end.
const HEAVIEST: f64 = 1_000_000.0;

/// A component that a ladder is told about.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Component, Unknown};
/// use mainstay::health::Verdict;
/// use mainstay::num::{Period, Ratio};
///
/// let gpu = Component::new("gpu_cluster")
///     .weight(2.0)
///     .degraded_at(Ratio::percent(80))
///     .unknown(Unknown::After(Period::secs(60), Verdict::Degraded));
/// assert_eq!(gpu.name(), "gpu_cluster");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    name: Arc<str>,
    weight: f64,
    degraded_at: Ratio,
    down_at: Ratio,
    unknown: Unknown,
}

/// What a component counts as while nothing is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unknown {
    /// What was known last goes on to count, and nothing where nothing ever was: a monitor that is down degrades nobody.
    #[default]
    Hold,
    /// As with `Hold`, and after so long as this verdict.
    After(Period, Verdict),
}

impl Component {
    /// A component with weight 1, degraded at a score of half or less, down at a tenth or less, and
    /// [held](Unknown::Hold) while it is unknown.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            weight: 1.0,
            degraded_at: Ratio::percent(50),
            down_at: Ratio::percent(10),
            unknown: Unknown::Hold,
        }
    }

    /// How much its score counts in the whole: more than 0, at most a million. Default 1.
    #[must_use]
    pub const fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// At this score or less it counts as degraded. Default 50 %.
    #[must_use]
    pub const fn degraded_at(mut self, score: Ratio) -> Self {
        self.degraded_at = score;
        self
    }

    /// At this score or less it counts as down. Default 10 %.
    #[must_use]
    pub const fn down_at(mut self, score: Ratio) -> Self {
        self.down_at = score;
        self
    }

    /// What it counts as while nothing is known about it. Default [`Unknown::Hold`].
    #[must_use]
    pub const fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn of_unknown(&self) -> Unknown {
        self.unknown
    }

    pub(super) const fn weighs(&self) -> f64 {
        self.weight
    }

    /// The verdict that a score stands for.
    pub(super) fn verdict_of(&self, score: Ratio) -> Verdict {
        if score.get() <= self.down_at.get() {
            Verdict::Down
        } else if score.get() <= self.degraded_at.get() {
            Verdict::Degraded
        } else {
            Verdict::Up
        }
    }

    fn check(&self, errors: &mut Vec<ConfigError>) {
        if !(self.weight > 0.0 && self.weight <= HEAVIEST) {
            let field = format!("components.{}.weight", self.name);
            let expected = format!("a number above 0 and at most {HEAVIEST}");
            errors.push(ConfigError::new(field, self.weight, expected));
        }
        if self.down_at.get() > self.degraded_at.get() {
            let field = format!("components.{}.down_at", self.name);
            let expected = format!("at most degraded_at, {}", self.degraded_at.get());
            errors.push(ConfigError::new(field, self.down_at.get(), expected));
        }
        if let Unknown::After(_, Verdict::Unknown) = self.unknown {
            let field = format!("components.{}.unknown", self.name);
            errors.push(ConfigError::new(field, "unknown", "up, degraded or down"));
        }
    }
}

/// One capability at one level, or while one fact holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    capability: Arc<str>,
    mode: Mode,
    is_ours: bool,
}

impl Cell {
    /// Which capability.
    #[must_use]
    pub fn capability(&self) -> &str {
        &self.capability
    }

    /// What is served of it.
    #[must_use]
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether whoever wrote the ladder down decided it, because the document that the ladder is from says nothing.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.is_ours
    }
}

fn cell(capability: Arc<str>, mode: Mode, is_ours: bool) -> Cell {
    Cell {
        capability,
        mode,
        is_ours,
    }
}

/// A named level: what people call the state that the system is in, and what is served then.
///
/// A capability that has no cell is served in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    name: Arc<str>,
    action: Option<Arc<str>>,
    cells: Vec<Cell>,
}

impl Level {
    /// A level at which everything is served in full, until cells say otherwise.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            action: None,
            cells: Vec::new(),
        }
    }

    /// What is served of a capability.
    #[must_use]
    pub fn cell(mut self, capability: impl Into<Arc<str>>, mode: Mode) -> Self {
        self.cells.push(cell(capability.into(), mode, false));
        self
    }

    /// The same, of a capability about which the document that the ladder is from says nothing.
    #[must_use]
    pub fn ours(mut self, capability: impl Into<Arc<str>>, mode: Mode) -> Self {
        self.cells.push(cell(capability.into(), mode, true));
        self
    }

    /// What people or listeners do about it, as a text.
    #[must_use]
    pub fn action(mut self, action: impl Into<Arc<str>>) -> Self {
        self.action = Some(action.into());
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is to be done about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.action.as_deref()
    }

    /// Its cells.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }
}

/// Something that holds or does not, and what follows: a level for people, and modes for callers.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Fact, When};
/// use mainstay::num::Period;
///
/// let fact = Fact::new("GPU cluster down", When::down("gpu_cluster"), "AI unavailable")
///     .better_after(Period::secs(120));
/// assert_eq!(fact.name(), "GPU cluster down");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    name: Arc<str>,
    when: When,
    level: Arc<str>,
    cells: Option<Vec<Cell>>,
    pace: Option<Pace>,
}

impl Fact {
    /// While `when` is so, the system is at `level` or worse, and no capability is served better than at that level.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, when: When, level: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            when,
            level: level.into(),
            cells: None,
            pace: None,
        }
    }

    /// What is served of a capability while it holds. The first such cell takes the place of the level's cells: then the
    /// level is only the word for it.
    #[must_use]
    pub fn cell(mut self, capability: impl Into<Arc<str>>, mode: Mode) -> Self {
        let cells = self.cells.get_or_insert_default();
        cells.push(cell(capability.into(), mode, false));
        self
    }

    /// The same, of a capability about which the document that the ladder is from says nothing.
    #[must_use]
    pub fn ours(mut self, capability: impl Into<Arc<str>>, mode: Mode) -> Self {
        let cells = self.cells.get_or_insert_default();
        cells.push(cell(capability.into(), mode, true));
        self
    }

    /// How it comes and goes, if not as the [ladder's](Ladder::pace) others do.
    #[must_use]
    pub const fn pace(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// It goes after so long without it: [`Pace::better_after`].
    #[must_use]
    pub fn better_after(mut self, calm: Period) -> Self {
        self.pace = Some(self.pace.unwrap_or_default().better_after(calm));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it holds.
    #[must_use]
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// The name of the level that it stands for.
    #[must_use]
    pub fn level(&self) -> &str {
        &self.level
    }
}

/// How a fact comes and goes: worse at once, better slowly.
///
/// # Example
///
/// ```
/// use mainstay::degrade::Pace;
/// use mainstay::num::{Period, count};
///
/// // It must hold for 5 s to count, stays for at least a minute, and leaves after 30 s of calm.
/// let pace = Pace::new()
///     .worse_after(std::time::Duration::from_secs(5))
///     .dwell(Period::secs(60))
///     .better_after(Period::secs(30))
///     .flaps(count(3), Period::secs(600), Period::secs(300));
/// assert_eq!(pace.calm(), Period::secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    worse_after: Duration,
    dwell: Period,
    better_after: Period,
    flaps: u32,
    within: Period,
    hold: Period,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// It comes at once, stays for 30 s at least, and goes after 30 s without it; after the fourth time in ten minutes it
    /// goes only after five minutes without it.
    ///
    /// At once, because what reports is expected to confirm (see [`health`](crate::health)); 30 s, because that is what
    /// the next three of most probes take.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            worse_after: Duration::ZERO,
            dwell: Period::secs(30),
            better_after: Period::secs(30),
            flaps: 4,
            within: Period::secs(600),
            hold: Period::secs(300),
        }
    }

    /// It comes after it has been so for this long without a break. Default zero: at once.
    #[must_use]
    pub const fn worse_after(mut self, so_long: Duration) -> Self {
        self.worse_after = so_long;
        self
    }

    /// It stays for at least this long. Default 30 s.
    #[must_use]
    pub const fn dwell(mut self, least: Period) -> Self {
        self.dwell = least;
        self
    }

    /// It goes after it has not been so for this long without a break. Default 30 s.
    #[must_use]
    pub const fn better_after(mut self, calm: Period) -> Self {
        self.better_after = calm;
        self
    }

    /// Once it has come `times` within `within`, it goes only after `hold` without it. Default 4 within 10 min, 5 min.
    #[must_use]
    pub const fn flaps(
        mut self,
        times: std::num::NonZeroU32,
        within: Period,
        hold: Period,
    ) -> Self {
        self.flaps = times.get();
        self.within = within;
        self.hold = hold;
        self
    }

    /// After how long it comes.
    #[must_use]
    pub const fn confirmation(&self) -> Duration {
        self.worse_after
    }

    /// How long it stays at least.
    #[must_use]
    pub const fn stay(&self) -> Period {
        self.dwell
    }

    /// After how long without it it goes.
    #[must_use]
    pub const fn calm(&self) -> Period {
        self.better_after
    }

    /// How often within what time is too often, and after how long without it it goes then.
    #[must_use]
    pub const fn flap_budget(&self) -> (u32, Period, Period) {
        (self.flaps, self.within, self.hold)
    }
}

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
    /// Of the levels and facts, as they were given.
    cells: Vec<(Arc<str>, Cell)>,
}

/// A fact whose names were looked up.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rung {
    pub(super) name: Arc<str>,
    pub(super) when: When<usize>,
    pub(super) level: usize,
    pub(super) modes: Vec<Mode>,
    pub(super) pace: Pace,
}

impl Ladder {
    /// Begins a ladder. Levels are given from best to worst.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "a ladder is checked as a whole")]
    pub fn new(name: impl Into<Arc<str>>) -> LadderBuilder {
        LadderBuilder {
            name: name.into(),
            components: Vec::new(),
            levels: Vec::new(),
            capabilities: Vec::new(),
            facts: Vec::new(),
            pace: Pace::new(),
            is_cumulative: false,
        }
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

    /// Every cell that was written down, with the name of its level or fact.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &Cell)> {
        self.cells.iter().map(|(of, cell)| (&**of, cell))
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

/// A ladder that is being written down: [`build`](Self::build) checks it.
#[derive(Clone, Debug)]
#[must_use]
pub struct LadderBuilder {
    name: Arc<str>,
    components: Vec<Component>,
    levels: Vec<Level>,
    capabilities: Vec<Arc<str>>,
    facts: Vec<Fact>,
    pace: Pace,
    is_cumulative: bool,
}

impl LadderBuilder {
    /// It is told about this component.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// The next worse level; the first is the best.
    pub fn level(mut self, level: Level) -> Self {
        self.levels.push(level);
        self
    }

    /// It decides about this capability as well, though no cell names it.
    pub fn capability(mut self, name: impl Into<Arc<str>>) -> Self {
        self.capabilities.push(name.into());
        self
    }

    /// This fact leads to one of the levels.
    pub fn fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }

    /// A fact for each band of the weighted score of all components: at `score` or less, `level`.
    ///
    /// It holds until the score is above `score` by more than `margin`: between the two nothing changes.
    pub fn band(self, level: impl Into<Arc<str>>, score: Ratio, margin: Ratio) -> Self {
        let level = level.into();
        let name = format!("score at most {}", score.get());
        self.fact(Fact::new(name, When::score_at_most(score, margin), level))
    }

    /// How facts come and go that say nothing of their own.
    pub const fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// At each level the cells of all better ones hold as well.
    pub const fn cumulative(mut self) -> Self {
        self.is_cumulative = true;
        self
    }

    /// Checks everything and looks up the names.
    ///
    /// # Errors
    ///
    /// With everything that is wrong: no level, names that are empty, doubled or unknown, a best level that serves less
    /// than everything, a weight that is no number above 0, a condition of nothing.
    pub fn build(self) -> Result<Ladder, ConfigErrors> {
        let mut errors = Vec::new();
        let Self {
            name,
            components,
            levels,
            mut capabilities,
            facts,
            pace,
            is_cumulative,
        } = self;
        names(
            "components",
            components.iter().map(|each| &each.name),
            &mut errors,
        );
        names("levels", levels.iter().map(|each| &each.name), &mut errors);
        names("facts", facts.iter().map(|each| &each.name), &mut errors);
        for component in &components {
            component.check(&mut errors);
        }
        match levels.first() {
            None => errors.push(ConfigError::new("levels", "none", "at least one")),
            Some(best) => {
                for cell in best.cells.iter().filter(|cell| cell.mode != Mode::Full) {
                    let field = format!("levels.{}.{}", best.name, cell.capability);
                    errors.push(ConfigError::new(
                        field,
                        &cell.mode,
                        "full, at the best level",
                    ));
                }
            }
        }
        let mut cells = Vec::new();
        let of_levels = levels
            .iter()
            .map(|level| ("levels", &level.name, &level.cells));
        let of_facts = facts
            .iter()
            .filter_map(|fact| Some(("facts", &fact.name, fact.cells.as_ref()?)));
        for (part, of, its) in of_levels.chain(of_facts) {
            let part = format!("{part}.{of}");
            names(&part, its.iter().map(|cell| &cell.capability), &mut errors);
            cells.extend(its.iter().map(|cell| (Arc::clone(of), cell.clone())));
            capabilities.extend(its.iter().map(|cell| Arc::clone(&cell.capability)));
        }
        capabilities.sort_unstable();
        capabilities.dedup();
        bound("capabilities", capabilities.len(), &mut errors);
        if capabilities.first().is_some_and(|name| name.is_empty()) {
            errors.push(ConfigError::new("capabilities", "\"\"", "a name"));
        }

        let row = |cells: &[Cell]| -> Vec<Mode> {
            let mode = |capability: &Arc<str>| {
                let cell = cells.iter().find(|cell| cell.capability == *capability);
                cell.map_or(Mode::Full, |cell| cell.mode.clone())
            };
            capabilities.iter().map(mode).collect()
        };
        let mut modes: Vec<Vec<Mode>> = Vec::with_capacity(levels.len());
        for level in &levels {
            let mut row = row(&level.cells);
            if let Some(better) = modes.last()
                && is_cumulative
            {
                meet(&mut row, better);
            }
            modes.push(row);
        }
        let place = |name: &str| components.iter().position(|each| &*each.name == name);
        let mut rungs = Vec::with_capacity(facts.len());
        for fact in facts {
            let within = format!("facts.{}", fact.name);
            let when = fact
                .when
                .look_up(&place, &format!("{within}.when"), &mut errors);
            let level = levels.iter().position(|level| level.name == fact.level);
            if level.is_none() {
                let field = format!("{within}.level");
                errors.push(ConfigError::new(field, &fact.level, "the name of a level"));
            }
            if let (Some(when), Some(level)) = (when, level) {
                rungs.push(Rung {
                    name: fact.name,
                    when,
                    level,
                    modes: match &fact.cells {
                        Some(cells) => row(cells),
                        None => modes.get(level).cloned().unwrap_or_default(),
                    },
                    pace: fact.pace.unwrap_or(pace),
                });
            }
        }
        ConfigErrors::check(errors)?;
        Ok(Ladder {
            name,
            components,
            levels,
            capabilities,
            facts: rungs,
            modes,
            cells,
        })
    }
}

/// Each is a name of its own, and there are not too many.
fn names<'a>(
    field: &str,
    names: impl Iterator<Item = &'a Arc<str>>,
    errors: &mut Vec<ConfigError>,
) {
    let mut seen: Vec<&Arc<str>> = names.collect();
    bound(field, seen.len(), errors);
    seen.sort_unstable();
    if seen.first().is_some_and(|name| name.is_empty()) {
        errors.push(ConfigError::new(field.to_owned(), "\"\"", "a name"));
    }
    let mut doubled = seen.windows(2).filter(|pair| pair[0] == pair[1]);
    if let Some(pair) = doubled.next() {
        errors.push(ConfigError::new(
            field.to_owned(),
            pair[0],
            "each name once",
        ));
    }
}

fn bound(field: &str, n: usize, errors: &mut Vec<ConfigError>) {
    if n > MOST {
        let expected = format!("at most {MOST}");
        errors.push(ConfigError::new(field.to_owned(), n, expected));
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
                let is_ours = cells.any(|cell| cell.is_ours && cell.capability == *capability);
                let star = if is_ours { "*" } else { "" };
                let mode = modes.get(at).unwrap_or(&Mode::Full);
                write!(f, " | {mode}{star}")?;
            }
        }
        Ok(())
    }
}
