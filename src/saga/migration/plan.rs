//! A migration that fits its two forms, and what it makes of a log.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Convert, Migration, NotMigrated};
use crate::saga::entry::Fact;
use crate::saga::error::DefinitionError;
use crate::saga::machine::{Execution, Illegal, Way};
use crate::saga::payload::Payload;
use crate::saga::shape::{Kind, Shape};
use crate::saga::spot;
use crate::time::Timestamp;

/// A [`Migration`] that fits the form from which it comes and the one to which it goes.
///
/// [`Saga::migrate`](crate::saga::Saga::migrate) makes one; [`Saga::migrations`](crate::saga::Saga::migrations) has them, for
/// tests of single logs.
#[derive(Clone)]
pub struct Plan {
    from: Arc<Shape>,
    fingerprint: Box<str>,
    to: Arc<Shape>,
    /// For each step of `from`.
    images: Vec<Option<usize>>,
    /// For each step of `to`.
    assumed: Vec<Option<Payload>>,
    converts: Vec<Option<Convert>>,
    input: Option<Convert>,
}

impl Migration {
    /// Compares what is said with both forms.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Migration`] with the first thing that does not fit.
    pub fn plan(self, to: &Shape) -> Result<Plan, DefinitionError> {
        let from = &self.from;
        let wrong = |what: String, found: String, expected: &'static str| {
            Err(DefinitionError::Migration {
                from: from.version,
                what,
                found,
                expected,
            })
        };
        if from.name != to.name {
            let expected = "the name of the definition";
            return wrong("the name".into(), format!("`{}`", from.name), expected);
        }
        if from.version >= to.version {
            let expected = "a version before that of the definition";
            return wrong("the version".into(), from.version.to_string(), expected);
        }
        let index = |shape: &Shape, name: &str| {
            let mut steps = shape.steps.iter();
            steps.position(|step| *step.name == *name)
        };
        let said = |name: &str| format!("step `{name}`");
        let mut images: Vec<Option<usize>> = vec![None; from.steps.len()];
        let mut taken = vec![false; to.steps.len()];
        let mut named = vec![false; from.steps.len()];
        for (old, new) in &self.renamed {
            let (Some(before), Some(after)) = (index(from, old), index(to, new)) else {
                let expected = "a step of the old form and one of the new";
                return wrong(said(old), format!("that it is called `{new}`"), expected);
            };
            let twice = mark(&mut named, before);
            if twice || mark(&mut taken, after) {
                let expected = "each step to be named once";
                return wrong(said(old), "that it is named twice".into(), expected);
            }
            if let Some(image) = images.get_mut(before) {
                *image = Some(after);
            }
        }
        for name in &self.removed {
            let Some(before) = index(from, name) else {
                let expected = "a step of the old form";
                return wrong(said(name), "that it is removed".into(), expected);
            };
            if mark(&mut named, before) {
                let expected = "each step to be named once";
                return wrong(said(name), "that it is named twice".into(), expected);
            }
            if index(to, name).is_some_and(|after| !taken.get(after).is_some_and(|taken| *taken)) {
                let expected = "no other step of its name";
                return wrong(said(name), "that it is removed".into(), expected);
            }
        }
        for (before, step) in from.steps.iter().enumerate() {
            if named.get(before).is_some_and(|named| *named) {
                continue;
            }
            let after = index(to, &step.name).filter(|after| !mark(&mut taken, *after));
            let Some(after) = after else {
                let expected = "to be renamed or removed";
                return wrong(said(&step.name), "that it is gone".into(), expected);
            };
            if let Some(image) = images.get_mut(before) {
                *image = Some(after);
            }
        }
        let mut assumed: Vec<Option<Payload>> = vec![None; to.steps.len()];
        for (name, output) in &self.added {
            let Some(after) = index(to, name) else {
                let expected = "a step of the new form";
                return wrong(said(name), "that it is added".into(), expected);
            };
            if mark(&mut taken, after) {
                let expected = "a step that takes no other's place";
                return wrong(said(name), "that it is added".into(), expected);
            }
            if index(from, name).is_some() {
                let expected = "a name that no step had: keys are made of it";
                return wrong(said(name), "that it is added".into(), expected);
            }
            let is_check = to.steps.get(after).map(|step| step.kind) == Some(Kind::Check);
            match output {
                Some(Err(error)) => return wrong(said(name), error.clone(), "an output"),
                Some(Ok(_)) if !is_check => {
                    let expected = "a check: what was not done has no effect";
                    return wrong(said(name), "that it counts as done".into(), expected);
                }
                Some(Ok(output)) => {
                    if let Some(assumed) = assumed.get_mut(after) {
                        *assumed = Some(output.clone());
                    }
                }
                None => {}
            }
        }
        if let Some(new) = taken.iter().position(|taken| !taken) {
            let name = to.steps.get(new).map_or("", |step| &*step.name);
            let expected = "to be added, or the new name of a step";
            return wrong(said(name), "that it is new".into(), expected);
        }
        let mut converts: Vec<Option<Convert>> = vec![None; to.steps.len()];
        for (name, convert) in &self.converted {
            let after = index(to, name).filter(|after| images.contains(&Some(*after)));
            let Some(place) = after.and_then(|after| converts.get_mut(after)) else {
                let expected = "a step that there was";
                return wrong(said(name), "that its output is converted".into(), expected);
            };
            *place = Some(Arc::clone(convert));
        }
        Ok(Plan {
            fingerprint: from.fingerprint().into(),
            to: Arc::new(to.clone()),
            images,
            assumed,
            converts,
            input: self.input,
            from: Arc::new(self.from),
        })
    }
}

/// Marks a step, and says whether it was marked before.
fn mark(marks: &mut [bool], index: usize) -> bool {
    marks
        .get_mut(index)
        .is_some_and(|mark| std::mem::replace(mark, true))
}

impl Plan {
    /// The form that sagas have.
    #[must_use]
    pub const fn from(&self) -> &Arc<Shape> {
        &self.from
    }

    /// The form that they get.
    #[must_use]
    pub const fn to(&self) -> &Arc<Shape> {
        &self.to
    }

    /// The fingerprint of the form that sagas have.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether a saga that is past this check, which was added, counts it as done.
    #[must_use]
    pub fn answers(&self, check: &str) -> bool {
        let mut steps = self.to.steps.iter().zip(&self.assumed);
        steps.any(|(step, answer)| *step.name == *check && answer.is_some())
    }

    /// Steps that have another name now: the one that they had, and the one that they have.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let images = self.from.steps.iter().zip(&self.images);
        images.filter_map(|(old, image)| {
            let new = self.to.steps.get((*image)?)?;
            (old.name != new.name).then_some((&*old.name, &*new.name))
        })
    }

    /// The record that carries a saga over, from all the facts of its log with the times at which they were written.
    ///
    /// Pure: the same facts give the same record, as long as the functions that convert do. Sealed payloads must have been
    /// opened.
    ///
    /// # Errors
    ///
    /// [`NotMigrated::Refused`] where an effect might be lost or done twice, and [`NotMigrated::Illegal`] where the facts
    /// are not those of a saga of the old form.
    pub fn apply(&self, facts: &[(Fact, Timestamp)]) -> Result<Vec<Fact>, NotMigrated> {
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        let execution =
            Execution::replay(Arc::clone(&self.from), dated).map_err(NotMigrated::Illegal)?;
        let converted = |index: usize, output: &Payload| self.converted(index, output);
        let mut record = execution.retell(&Way {
            to: &self.to,
            images: &self.images,
            assumed: &self.assumed,
            converted: &converted,
        })?;
        if let (Some(convert), Some(input)) = (
            &self.input,
            spot::input_of(facts.iter().map(|(fact, _)| fact)),
        ) {
            let input = self::converted(convert, input).map_err(|why| {
                NotMigrated::refused("", format!("an input: {why}"), "one that can be converted")
            })?;
            if let Some(Fact::Migrated(migrated)) = record.first_mut() {
                migrated.input = Some(input);
            }
        }
        // Whatever is wrong with it is found before it is written.
        self.read(facts, &record).map_err(NotMigrated::Illegal)?;
        Ok(record)
    }

    /// Which step takes the place of the old form's step with this index, and what an output of that becomes. `None` where
    /// it is gone.
    pub(in crate::saga) fn becomes(
        &self,
        old: usize,
        output: &Payload,
    ) -> Result<Option<(usize, Payload)>, String> {
        let image = self.images.get(old).copied().flatten();
        image
            .map(|new| Ok((new, self.converted(new, output)?)))
            .transpose()
    }

    fn converted(&self, new: usize, output: &Payload) -> Result<Payload, String> {
        match self.converts.get(new) {
            Some(Some(convert)) => converted(convert, output),
            _ => Ok(output.clone()),
        }
    }

    /// The saga as it will be once this record is added.
    pub(super) fn read(
        &self,
        facts: &[(Fact, Timestamp)],
        record: &[Fact],
    ) -> Result<Execution, Illegal> {
        let at = facts.last().map_or(Timestamp::default(), |(_, at)| *at);
        let before = facts.iter().map(|(fact, at)| (fact, *at));
        let whole = before.chain(record.iter().map(|fact| (fact, at)));
        Execution::replay(Arc::clone(&self.to), whole)
    }
}

/// A panic in the user's function must not end the task that calls it.
fn converted(convert: &Convert, payload: &Payload) -> Result<Payload, String> {
    catch_unwind(AssertUnwindSafe(|| convert(payload)))
        .unwrap_or_else(|_| Err("converting it panicked".into()))
}

/// Names of steps, and neither functions nor outputs.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}
