//! How a ladder is written down, and checked as a whole.

use std::sync::Arc;

use super::ladder::{LONGEST_NAME, Ladder, MOST, Rung, meet};
use super::mode::Mode;
use super::pace::Pace;
use super::parts::{Cell, Component, Fact, Level};
use super::when::When;
use crate::error::{ConfigError, ConfigErrors};
use crate::num::Ratio;

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
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self {
            name,
            components: Vec::new(),
            levels: Vec::new(),
            capabilities: Vec::new(),
            facts: Vec::new(),
            pace: Pace::new(),
            is_cumulative: false,
        }
    }

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
    /// With everything that is wrong: no level, names that are empty, longer than 200 characters, doubled or unknown, a best
    /// level that serves less than everything, a weight that is no number above 0, a condition of nothing, more than 1,000
    /// of anything, a note or an action of more than 1,000 characters.
    pub fn build(self) -> Result<Ladder, ConfigErrors> {
        let mut errors = Vec::new();
        let Self {
            name,
            components,
            mut levels,
            mut capabilities,
            mut facts,
            pace,
            is_cumulative,
        } = self;
        named("name", &name, &mut errors);
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
        for level in &levels {
            level.check(&mut errors);
        }
        let of_levels = levels
            .iter_mut()
            .map(|level| ("levels", &level.name, &mut level.cells));
        let of_facts = facts
            .iter_mut()
            .filter_map(|fact| Some(("facts", &fact.name, fact.cells.as_mut()?)));
        for (part, of, its) in of_levels.chain(of_facts) {
            let part = format!("{part}.{of}");
            names(&part, its.iter().map(|cell| &cell.capability), &mut errors);
            for cell in its.iter() {
                cell.check(&part, &mut errors);
            }
            // A ladder is the same in whatever order its cells were written down.
            its.sort_by(|one, other| one.capability.cmp(&other.capability));
            capabilities.extend(its.iter().map(|cell| Arc::clone(&cell.capability)));
        }
        capabilities.sort_unstable();
        capabilities.dedup();
        bound("capabilities", capabilities.len(), &mut errors);
        for name in &capabilities {
            named("capabilities", name, &mut errors);
        }

        let row = |cells: &[Cell]| -> Vec<Mode> {
            let mode = |capability: &Arc<str>| {
                let at = cells.binary_search_by(|cell| cell.capability.cmp(capability));
                let cell = at.ok().and_then(|at| cells.get(at));
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
                    cells: fact.cells,
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
            pace,
            is_cumulative,
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
    for name in &seen {
        named(field, name, errors);
    }
    let doubled = seen.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(one),
        _ => None,
    });
    if let Some(name) = doubled {
        errors.push(ConfigError::new(field.to_owned(), name, "each name once"));
    }
}

/// It is a name, and no longer than one.
fn named(field: &str, name: &str, errors: &mut Vec<ConfigError>) {
    if name.is_empty() {
        errors.push(ConfigError::new(field.to_owned(), "\"\"", "a name"));
    }
    at_most(field, name, LONGEST_NAME, errors);
}

/// The text is no longer than that.
pub(super) fn at_most(field: &str, text: &str, longest: usize, errors: &mut Vec<ConfigError>) {
    let length = text.chars().count();
    if length > longest {
        let (found, expected) = (format!("{length} characters"), format!("at most {longest}"));
        errors.push(ConfigError::new(field.to_owned(), found, expected));
    }
}

fn bound(field: &str, n: usize, errors: &mut Vec<ConfigError>) {
    if n > MOST {
        let expected = format!("at most {MOST}");
        errors.push(ConfigError::new(field.to_owned(), n, expected));
    }
}
