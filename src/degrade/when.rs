//! When a fact holds.

use std::sync::Arc;

use super::ladder::MOST;
use super::parts::Component;
use super::reading::{Read, Reading};
use crate::error::ConfigError;
use crate::health::Verdict;
use crate::num::Ratio;

/// When a fact holds: what is wrong, and never what is right.
///
/// There is no "not". So another thing that goes wrong can only make more facts hold.
///
/// # Example
///
/// ```
/// use mainstay::degrade::When;
///
/// // A regional outage: neither the primary nor any replica.
/// let outage = When::all([When::down("database_primary"), When::down("database_replicas")]);
/// assert_eq!(outage.to_string(), "database_primary down and database_replicas down");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct When<C = Arc<str>>(pub(super) Is<C>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Is<C> {
    /// That, or worse.
    Verdict(C, Verdict),
    ScoreAtMost(Option<C>, Ratio, Ratio),
    All(Vec<When<C>>),
    Any(Vec<When<C>>),
}

/// How deep conditions may be in one another.
const DEPTH: usize = 16;

impl When {
    /// The component is degraded, or down.
    #[must_use]
    pub fn degraded(component: impl Into<Arc<str>>) -> Self {
        Self(Is::Verdict(component.into(), Verdict::Degraded))
    }

    /// The component is down.
    #[must_use]
    pub fn down(component: impl Into<Arc<str>>) -> Self {
        Self(Is::Verdict(component.into(), Verdict::Down))
    }

    /// The weighted mean of the scores of all components about which something is known is at most `score`, and then until
    /// it is above it by more than `margin`. The two are less than 1 together.
    #[must_use]
    pub const fn score_at_most(score: Ratio, margin: Ratio) -> Self {
        Self(Is::ScoreAtMost(None, score, margin))
    }

    /// The same of the score of one component.
    #[must_use]
    pub fn scores_at_most(component: impl Into<Arc<str>>, score: Ratio, margin: Ratio) -> Self {
        Self(Is::ScoreAtMost(Some(component.into()), score, margin))
    }

    /// All of these, at least one.
    #[must_use]
    pub fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self(Is::All(conditions.into_iter().collect()))
    }

    /// Any of these, at least one.
    #[must_use]
    pub fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self(Is::Any(conditions.into_iter().collect()))
    }

    /// With the places of its components, unless something is wrong with it.
    pub(super) fn look_up(
        &self,
        place: &impl Fn(&str) -> Option<usize>,
        field: &str,
        errors: &mut Vec<ConfigError>,
    ) -> Option<When<usize>> {
        self.look(place, field, DEPTH, errors)
    }

    fn look(
        &self,
        place: &impl Fn(&str) -> Option<usize>,
        field: &str,
        depth: usize,
        errors: &mut Vec<ConfigError>,
    ) -> Option<When<usize>> {
        let Some(depth) = depth.checked_sub(1) else {
            let expected = format!("at most {DEPTH} conditions within one another");
            errors.push(ConfigError::new(field.to_owned(), "more", expected));
            return None;
        };
        let mut find = |name: &Arc<str>| {
            let found = place(name);
            if found.is_none() {
                let expected = "the name of a component";
                errors.push(ConfigError::new(field.to_owned(), name, expected));
            }
            found
        };
        let is = match &self.0 {
            Is::Verdict(name, verdict) => Is::Verdict(find(name)?, *verdict),
            Is::ScoreAtMost(_, score, margin) if score.get() + margin.get() >= 1.0 => {
                let value = score.get() + margin.get();
                let expected = "a score and margin below 1 together, or the fact never goes";
                errors.push(ConfigError::new(field.to_owned(), value, expected));
                return None;
            }
            Is::ScoreAtMost(Some(name), score, margin) => {
                Is::ScoreAtMost(Some(find(name)?), *score, *margin)
            }
            Is::ScoreAtMost(None, score, margin) => Is::ScoreAtMost(None, *score, *margin),
            Is::All(list) | Is::Any(list) if list.is_empty() => {
                let expected = "at least one condition";
                errors.push(ConfigError::new(field.to_owned(), "none", expected));
                return None;
            }
            Is::All(list) | Is::Any(list) if list.len() > MOST => {
                let expected = format!("at most {MOST} conditions");
                errors.push(ConfigError::new(field.to_owned(), list.len(), expected));
                return None;
            }
            Is::All(list) => Is::All(look_all(list, place, field, depth, errors)?),
            Is::Any(list) => Is::Any(look_all(list, place, field, depth, errors)?),
        };
        Some(When(is))
    }
}

fn look_all(
    list: &[When],
    place: &impl Fn(&str) -> Option<usize>,
    field: &str,
    depth: usize,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<When<usize>>> {
    // All of them, so that everything that is wrong is told.
    let looked: Vec<_> = list
        .iter()
        .map(|when| when.look(place, field, depth, errors))
        .collect();
    looked.into_iter().collect()
}

impl When<usize> {
    /// Whether it is so.
    pub(super) fn holds(&self, components: &[Component], known: &[Reading]) -> bool {
        self.is_so(components, known, false)
    }

    /// Whether a fact that holds goes on to hold: within its margins it does.
    pub(super) fn still_holds(&self, components: &[Component], known: &[Reading]) -> bool {
        self.is_so(components, known, true)
    }

    fn is_so(&self, components: &[Component], known: &[Reading], is_held: bool) -> bool {
        match &self.0 {
            Is::Verdict(at, least) => {
                let verdict = verdict(components, known, *at);
                verdict == Verdict::Down || verdict == *least
            }
            Is::ScoreAtMost(at, score, margin) => {
                let scored = match at {
                    Some(at) => known.get(*at).and_then(Reading::score),
                    None => weighted(components, known),
                };
                let margin = if is_held { margin.get() } else { 0.0 };
                scored.is_some_and(|scored| scored <= score.get() + margin)
            }
            Is::All(list) => list
                .iter()
                .all(|when| when.is_so(components, known, is_held)),
            Is::Any(list) => list
                .iter()
                .any(|when| when.is_so(components, known, is_held)),
        }
    }
}

fn verdict(components: &[Component], known: &[Reading], at: usize) -> Verdict {
    match (components.get(at), known.get(at)) {
        (Some(component), Some(Reading(Read::Score(score)))) => component.verdict_of(*score),
        (_, Some(Reading(Read::Verdict(verdict)))) => *verdict,
        _ => Verdict::Unknown,
    }
}

/// The weighted mean of the scores that are known; `None` where none is.
pub(super) fn weighted(components: &[Component], known: &[Reading]) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (component, reading) in components.iter().zip(known) {
        if let Some(score) = reading.score() {
            sum += component.weighs() * score;
            weights += component.weighs();
        }
    }
    // Between the least and the greatest score, whatever the rounding.
    (weights > 0.0).then(|| (sum / weights).clamp(0.0, 1.0))
}

impl<C: std::fmt::Display> std::fmt::Display for When<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (list, word) = match &self.0 {
            Is::Verdict(component, verdict) => return write!(f, "{component} {verdict}"),
            Is::ScoreAtMost(Some(component), score, _) => {
                return write!(f, "{component} at most {}", score.get());
            }
            Is::ScoreAtMost(None, score, _) => return write!(f, "score at most {}", score.get()),
            Is::All(list) => (list, "and"),
            Is::Any(list) => (list, "or"),
        };
        for (n, when) in list.iter().enumerate() {
            if n > 0 {
                write!(f, " {word} ")?;
            }
            match &when.0 {
                Is::All(list) | Is::Any(list) if list.len() > 1 => write!(f, "({when})")?,
                _ => write!(f, "{when}")?,
            }
        }
        Ok(())
    }
}
