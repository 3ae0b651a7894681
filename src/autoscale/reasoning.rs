//! Why a decision came out as it did, step by step, as data and as text.
//!
//! Use it wherever a policy decides: each rule that was applied leaves one step with the facts that it looked at and
//! what it came to. Operators read the text, dashboards and tests read the data. Not for logs of what happened over
//! time: it is the story of one decision, and its length depends on the settings and not on how long a service runs.
//!
//! ```text
//!   settings ─┐
//!   state ────┼─► decide ─► wanted count, new state, Reasoning ─┬─► Display: one line a step
//!   sample ───┘                                                 └─► steps(), serde
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::autoscale::reasoning::Reasoning;
//!
//! let mut why = Reasoning::new();
//! why.step("tolerance").given("ratio", 1.26).given("up", 0.1).gives("outside");
//! why.step("wanted").given("ready", 3_i32).given("ratio", 1.26).gives(4_i32);
//!
//! assert_eq!(
//!     why.to_string(),
//!     "tolerance: ratio 1.26, up 0.1 => outside\nwanted: ready 3, ratio 1.26 => 4"
//! );
//! let last = why.last("wanted").unwrap();
//! assert_eq!(last.result().as_integer(), Some(4));
//! ```

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What a step looked at, or came to.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::reasoning::Value;
/// use std::time::Duration;
///
/// assert_eq!(Value::from(Duration::from_secs(300)).to_string(), "300s");
/// assert_eq!(Value::from(u64::MAX), Value::Integer(i64::MAX)); // integers saturate
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number; what does not fit is capped.
    Integer(i64),
    /// A number; it may be infinite or not a number, as a ratio over nothing is.
    #[cfg_attr(feature = "serde", serde(with = "number"))]
    Number(f64),
    /// A length of time.
    Span(Duration),
    /// A word or a sentence.
    Text(Cow<'static, str>),
}

/// Unlike a number, a reasoning is equal to itself: what is no number is equal to what is no number.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Flag(a), Self::Flag(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => {
                a.total_cmp(b).is_eq() || (a.is_nan() && b.is_nan())
            }
            (Self::Span(a), Self::Span(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Value {
    /// The whole number, when it is one.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, when it is one that is not whole by type.
    #[must_use]
    pub const fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// The words, when it is words.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(true) => f.write_str("yes"),
            Self::Flag(false) => f.write_str("no"),
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Span(length) => write!(f, "{length:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Span(value)
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(value: Cow<'static, str>) -> Self {
        Self::Text(value)
    }
}

/// A named value that a step looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fact {
    name: Cow<'static, str>,
    value: Value,
}

impl Fact {
    /// How the rule calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }
}

/// Where a step's facts end in the list of all facts: they begin where those of the step before end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    rule: Cow<'static, str>,
    result: Value,
    end: usize,
}

/// The steps of one decision, in the order in which they were taken.
///
/// Two lists hold all of it, so that to explain costs two allocations and not two a step.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::reasoning::{Reasoning, Value};
///
/// let mut why = Reasoning::new();
/// why.step("clamp").given("wanted", 70_i32).given("most", 50_i32).gives(50_i32);
/// let rules: Vec<_> = why.steps().map(|step| step.rule().to_owned()).collect();
/// assert_eq!(rules, ["clamp"]);
/// assert_eq!(why.last("clamp").and_then(|step| step.fact("most").cloned()), Some(Value::Integer(50)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    heads: Vec<Head>,
    facts: Vec<Fact>,
}

impl Reasoning {
    /// No step yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heads: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// No step yet, and room for so many steps and facts.
    #[must_use]
    pub fn with_capacity(steps: usize, facts: usize) -> Self {
        Self {
            heads: Vec::with_capacity(steps),
            facts: Vec::with_capacity(facts),
        }
    }

    /// Begins a step of the rule that is called `rule`. It is written when it [gives](Applied::gives) its result.
    pub fn step(&mut self, rule: impl Into<Cow<'static, str>>) -> Applied<'_> {
        // Facts of a step that never gave a result are nobody's.
        let begin = self.heads.last().map_or(0, |head| head.end);
        self.facts.truncate(begin);
        Applied {
            reasoning: self,
            rule: rule.into(),
        }
    }

    /// How many steps there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Each step, the first one first.
    #[must_use]
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = Step<'_>> {
        (0..self.heads.len()).filter_map(|place| self.at(place))
    }

    /// The last step of the rule that is called `rule`.
    #[must_use]
    pub fn last(&self, rule: &str) -> Option<Step<'_>> {
        self.steps().rfind(|step| step.rule() == rule)
    }

    /// These steps, and those of `other` after them.
    pub fn append(&mut self, other: Self) {
        let base = self.heads.last().map_or(0, |head| head.end);
        self.facts.truncate(base);
        self.heads.extend(other.heads.into_iter().map(|head| Head {
            end: base.saturating_add(head.end),
            ..head
        }));
        self.facts.extend(other.facts);
    }

    fn at(&self, place: usize) -> Option<Step<'_>> {
        let head = self.heads.get(place)?;
        let before = place
            .checked_sub(1)
            .and_then(|before| self.heads.get(before));
        let begin = before.map_or(0, |before| before.end);
        Some(Step {
            head,
            facts: self.facts.get(begin..head.end).unwrap_or_default(),
        })
    }
}

/// One line a step: `rule: name value, name value => result`.
impl fmt::Display for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// One rule as it was applied: the facts that it looked at, and what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'r> {
    head: &'r Head,
    facts: &'r [Fact],
}

impl<'r> Step<'r> {
    /// The rule's name.
    #[must_use]
    pub fn rule(self) -> &'r str {
        &self.head.rule
    }

    /// What it looked at, in the rule's order.
    #[must_use]
    pub const fn facts(self) -> &'r [Fact] {
        self.facts
    }

    /// The first fact that is called `name`.
    #[must_use]
    pub fn fact(self, name: &str) -> Option<&'r Value> {
        let fact = self.facts.iter().find(|fact| fact.name == name);
        fact.map(Fact::value)
    }

    /// What it came to.
    #[must_use]
    pub const fn result(self) -> &'r Value {
        &self.head.result
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule())?;
        for (place, fact) in self.facts.iter().enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            write!(f, "{before}{} {}", fact.name, fact.value)?;
        }
        write!(f, " => {}", self.head.result)
    }
}

/// A step that is being written: facts are added until it gives its result.
#[derive(Debug)]
#[must_use = "a step is written when it gives its result"]
pub struct Applied<'r> {
    reasoning: &'r mut Reasoning,
    rule: Cow<'static, str>,
}

impl Applied<'_> {
    /// A fact that the rule looked at.
    pub fn given(self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.reasoning.facts.push(Fact {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// A fact that is only there sometimes.
    pub fn given_if(
        self,
        name: impl Into<Cow<'static, str>>,
        value: Option<impl Into<Value>>,
    ) -> Self {
        match value {
            Some(value) => self.given(name, value),
            None => self,
        }
    }

    /// What the rule came to. This writes the step.
    pub fn gives(self, result: impl Into<Value>) {
        self.reasoning.heads.push(Head {
            rule: self.rule,
            result: result.into(),
            end: self.reasoning.facts.len(),
        });
    }
}

/// As a list of steps, each with its rule, its facts and its result.
#[cfg(feature = "serde")]
mod data {
    use std::borrow::Cow;

    use serde::ser::SerializeSeq;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Fact, Head, Reasoning, Step, Value};

    #[derive(Serialize)]
    struct Written<'r> {
        rule: &'r str,
        facts: &'r [Fact],
        result: &'r Value,
    }

    #[derive(Deserialize)]
    struct Read {
        rule: Cow<'static, str>,
        facts: Vec<Fact>,
        result: Value,
    }

    impl Serialize for Step<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let written = Written {
                rule: self.rule(),
                facts: self.facts(),
                result: self.result(),
            };
            written.serialize(serializer)
        }
    }

    impl Serialize for Reasoning {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(Some(self.len()))?;
            for step in self.steps() {
                list.serialize_element(&step)?;
            }
            list.end()
        }
    }

    impl<'de> Deserialize<'de> for Reasoning {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let mut reasoning = Self::new();
            for read in Vec::<Read>::deserialize(deserializer)? {
                reasoning.facts.extend(read.facts);
                reasoning.heads.push(Head {
                    rule: read.rule,
                    result: read.result,
                    end: reasoning.facts.len(),
                });
            }
            Ok(reasoning)
        }
    }
}

/// Numbers that JSON has no words for are written as text.
#[cfg(feature = "serde")]
mod number {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Finite(f64),
        Other(String),
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde calls"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            Written::Finite(*value).serialize(serializer)
        } else {
            Written::Other(value.to_string()).serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Finite(value) => Ok(value),
            Written::Other(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_steps() -> Reasoning {
        let mut why = Reasoning::new();
        why.step("a")
            .given("x", 1_i32)
            .given("y", f64::INFINITY)
            .gives(true);
        why.step("b").gives("nothing to do");
        why
    }

    #[test]
    fn a_step_has_its_own_facts_and_no_others() {
        let why = two_steps();
        let steps: Vec<_> = why.steps().collect();
        assert_eq!(steps[0].facts().len(), 2);
        assert_eq!(steps[1].facts().len(), 0);
        assert_eq!(steps[0].fact("x"), Some(&Value::Integer(1)));
        assert_eq!(steps[1].fact("x"), None);
        assert_eq!(why.to_string(), "a: x 1, y inf => yes\nb => nothing to do");
    }

    #[test]
    fn what_is_no_number_is_equal_to_itself() {
        let nothing = Value::Number(f64::NAN);
        assert_eq!(nothing, nothing.clone());
        assert_ne!(nothing, Value::Number(0.0));
        assert_ne!(Value::Integer(0), Value::Number(0.0));
    }

    #[test]
    fn a_step_that_gave_no_result_leaves_nothing() {
        let mut why = Reasoning::new();
        drop(why.step("lost").given("x", 1_i32));
        why.step("kept").given("y", 2_i32).gives(3_i32);
        assert_eq!(why.to_string(), "kept: y 2 => 3");
        let lost = two_steps();
        let mut joined = two_steps();
        drop(joined.step("lost").given("x", 1_i32));
        joined.append(lost);
        assert_eq!(joined.len(), 4);
        assert_eq!(joined.last("a").map(|step| step.facts().len()), Some(2));
        assert_eq!(
            joined.to_string(),
            "a: x 1, y inf => yes\nb => nothing to do\na: x 1, y inf => yes\nb => nothing to do"
        );
    }

    #[cfg(feature = "saga")]
    #[test]
    fn what_is_written_is_read_back() {
        let mut why = two_steps();
        why.step("c")
            .given("window", Duration::from_secs(300))
            .given("ratio", 0.1)
            .gives(f64::NEG_INFINITY);
        let text = serde_json::to_string(&why).unwrap();
        assert!(
            text.starts_with(r#"[{"rule":"a","facts":[{"name":"x","value":{"integer":1}}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Reasoning>(&text).unwrap(), why);
    }
}
