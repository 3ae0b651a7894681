//! What a ladder is made of: components, levels with their cells, facts.

use std::sync::Arc;

use super::builder::at_most;
use super::mode::Mode;
use super::pace::Pace;
use super::when::When;
use crate::error::ConfigError;
use crate::health::Verdict;
use crate::num::{Period, Ratio};

/// The greatest weight: sums of them stay far from where numbers end.
pub(super) const HEAVIEST: f64 = 1_000_000.0;

/// How long a note and what is to be done may be, in characters, and how many notes a cell may have.
pub(super) const LONGEST_TEXT: usize = 1_000;
pub(super) const MOST_NOTES: usize = 100;

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
    pub(super) name: Arc<str>,
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

    #[cfg(feature = "serde")]
    pub(super) const fn degrades(&self) -> Ratio {
        self.degraded_at
    }

    #[cfg(feature = "serde")]
    pub(super) const fn goes_down(&self) -> Ratio {
        self.down_at
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

    pub(super) fn check(&self, errors: &mut Vec<ConfigError>) {
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
    pub(super) capability: Arc<str>,
    pub(super) mode: Mode,
    pub(super) is_ours: bool,
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

    pub(super) fn check(&self, within: &str, errors: &mut Vec<ConfigError>) {
        if let Mode::Limited(notes) = &self.mode {
            let field = format!("{within}.{}", self.capability);
            notes
                .iter()
                .for_each(|note| at_most(&field, note, LONGEST_TEXT, errors));
            let n = notes.iter().count();
            if n > MOST_NOTES {
                let expected = format!("at most {MOST_NOTES} notes");
                errors.push(ConfigError::new(field, n, expected));
            }
        }
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
    pub(super) name: Arc<str>,
    action: Option<Arc<str>>,
    pub(super) cells: Vec<Cell>,
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

    /// Its cells; in a ladder, in alphabetical order.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(super) fn check(&self, errors: &mut Vec<ConfigError>) {
        let field = format!("levels.{}.action", self.name);
        at_most(
            &field,
            self.advice().unwrap_or_default(),
            LONGEST_TEXT,
            errors,
        );
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
    pub(super) name: Arc<str>,
    pub(super) when: When,
    pub(super) level: Arc<str>,
    pub(super) cells: Option<Vec<Cell>>,
    pub(super) pace: Option<Pace>,
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

    /// How it comes and goes, if not as the [ladder's](super::LadderBuilder::pace) others do.
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
