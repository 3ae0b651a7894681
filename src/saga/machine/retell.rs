//! What of a saga is so in another form: the rules of [`migration`](crate::saga::migration), without its types.

use std::collections::BTreeMap;

use super::{Course, Execution};
use crate::saga::entry::{Effect, Fact, Failure, Finish, Generation, Migrated};
use crate::saga::migration::NotMigrated;
use crate::saga::payload::Payload;
use crate::saga::shape::{Kind, Shape, StepShape};

/// How the steps of one form are those of another.
pub(crate) struct Way<'a> {
    pub(crate) to: &'a Shape,
    /// For each step of the form that there is: the step that takes its place.
    pub(crate) images: &'a [Option<usize>],
    /// For each step of the form that there will be: the output with which it counts as done, where it is a check that
    /// was added.
    pub(crate) assumed: &'a [Option<Payload>],
    /// The output of the step with this index in the form that there will be.
    pub(crate) converted: &'a dyn Fn(usize, &Payload) -> Result<Payload, String>,
}

/// What is found out on the way along the chain of the new form.
#[derive(Default)]
struct Walk {
    facts: Vec<Fact>,
    /// The step of the new form that is next.
    place: usize,
    /// Whether it may have been begun.
    doubtful: bool,
}

impl Walk {
    fn done(&mut self, step: &StepShape, output: Payload) {
        if step.at_most_once {
            self.facts.push(intent(step, 1));
        }
        self.facts.push(Fact::Done {
            step: step.name.clone(),
            output,
        });
        self.place = self.place.saturating_add(1);
    }
}

fn intent(step: &StepShape, number: u32) -> Fact {
    Fact::Intent {
        step: step.name.clone(),
        number,
    }
}

impl Execution {
    /// The record by which the saga goes on in another form.
    pub(crate) fn retell(&self, way: &Way<'_>) -> Result<Vec<Fact>, NotMigrated> {
        if self.held.is_some() || matches!(self.course, Course::Over(_)) {
            let expected = "a saga that is under way";
            return Err(NotMigrated::refused(
                "",
                "one that waits, or is over",
                expected,
            ));
        }
        let keys = self.keys_in(way)?;
        let mut walk = self.walk(way)?;
        match &self.failure {
            None => self.go_on_in(way, &mut walk),
            Some(failure) => self.go_back_in(way, failure, &mut walk),
        }
        let in_doubt = self.failure.is_none() && walk.doubtful;
        let mut migrated = Migrated {
            from: self.shape.fingerprint().into(),
            to: way.to.fingerprint().into(),
            version: way.to.version,
            retold: u32::try_from(walk.facts.len()).unwrap_or(u32::MAX),
            keys,
            generations: Vec::new(),
            input: None,
            since: in_doubt.then_some(self.tries.since),
            permitted: in_doubt && self.tries.intents > 0 && !self.tries.intended,
            incidents: self.incidents,
            proposals: self.proposals,
            cancel_answered: self.cancel_answered,
            overruled: self.overruled,
        };
        for ((old, undo), number) in &self.generations {
            if let Some((_, step)) = way.image(*old) {
                migrated.generations.push(Generation {
                    step: step.name.clone(),
                    undo: *undo,
                    number: *number,
                });
            }
        }
        let mut record = vec![Fact::Migrated(migrated)];
        record.append(&mut walk.facts);
        if self.failure.is_none() && walk.place >= way.to.steps.len() {
            record.push(Fact::Finished(Finish::Completed));
        }
        Ok(record)
    }

    /// Rule 4: what a step had, the step that takes its place has.
    fn keys_in(&self, way: &Way<'_>) -> Result<BTreeMap<Box<str>, Box<str>>, NotMigrated> {
        let mut keys = BTreeMap::new();
        let mut names: BTreeMap<Box<str>, &StepShape> = BTreeMap::new();
        for old in 0..self.shape.steps.len() {
            let Some((_, step)) = way.image(old) else {
                continue;
            };
            let name: Box<str> = self.key_name(old).into();
            if name != step.name {
                keys.insert(step.name.clone(), name.clone());
            }
            names.insert(name, step);
        }
        for (index, step) in way.to.steps.iter().enumerate() {
            let is_new = !way.images.contains(&Some(index));
            if let Some(other) = names.get(&step.name).filter(|_| is_new) {
                let found = format!("a new step whose name makes the keys of `{}`", other.name);
                return Err(NotMigrated::refused(&step.name, found, "another name"));
            }
        }
        Ok(keys)
    }

    /// The step that may have been begun and is not done, where there is one.
    fn doubtful(&self) -> Option<usize> {
        let next = self.outputs.len();
        let begun = match &self.failure {
            None => self.may_have_happened(),
            Some(failure) => failure.effect == Effect::Possible,
        };
        begun.then_some(next)
    }

    /// Rules 1 to 3: along the new chain, up to where the saga is.
    fn walk(&self, way: &Way<'_>) -> Result<Walk, NotMigrated> {
        let doubtful = self.doubtful();
        let version = way.to.version;
        let mut walk = Walk::default();
        let effect = |old: &usize| self.kind(*old) != Some(Kind::Check);
        let begun: Vec<usize> = (0..self.outputs.len())
            .filter(effect)
            .chain(doubtful)
            .collect();
        for old in &begun {
            let in_doubt = doubtful == Some(*old);
            let how = if in_doubt {
                "may have been begun"
            } else {
                "is done"
            };
            let Some(was) = self.shape.steps.get(*old) else {
                continue;
            };
            let Some((image, takes_place)) = way.image(*old) else {
                let expected = format!("a step of version {version} that takes its place");
                return Err(NotMigrated::refused(
                    &was.name,
                    format!("one that {how}"),
                    expected,
                ));
            };
            while walk.place < image {
                self.pass_check(way, &mut walk, takes_place, how)?;
            }
            if walk.place > image {
                let found =
                    format!("one that {how}, and comes earlier than what was done before it");
                let expected = format!("the order of version {}", self.shape.version);
                return Err(NotMigrated::refused(&takes_place.name, found, expected));
            }
            self.fits(was, takes_place, in_doubt, how)?;
            if in_doubt {
                walk.doubtful = true;
                return Ok(walk);
            }
            let output = self.output_in(way, *old, image)?;
            walk.done(takes_place, output);
        }
        // Checks behind the last effect that have answered.
        let last = begun.last().copied();
        while let Some(old) = self.answered(way, walk.place) {
            if last.is_some_and(|last| old < last) {
                break;
            }
            let output = self.output_in(way, old, walk.place)?;
            let Some(step) = way.to.steps.get(walk.place) else {
                break;
            };
            walk.done(step, output);
        }
        Ok(walk)
    }

    /// Takes the next step of the new form for done, which stands before one that was begun: only a check can be.
    fn pass_check(
        &self,
        way: &Way<'_>,
        walk: &mut Walk,
        before: &StepShape,
        how: &str,
    ) -> Result<(), NotMigrated> {
        let Some(step) = way.to.steps.get(walk.place) else {
            walk.place = walk.place.saturating_add(1);
            return Ok(());
        };
        let assumed = way.assumed.get(walk.place).and_then(Option::as_ref);
        let assumed = assumed.filter(|_| step.kind == Kind::Check);
        let output = match (self.answered(way, walk.place), assumed) {
            (Some(old), _) => self.output_in(way, old, walk.place)?,
            (None, Some(output)) => output.clone(),
            (None, None) => {
                let found = "one that is not done";
                let expected = format!("that it comes after `{}`, which {how}", before.name);
                return Err(NotMigrated::refused(&step.name, found, expected));
            }
        };
        walk.done(step, output);
        Ok(())
    }

    /// The check of this form that has answered and is the check with this index in the new one.
    fn answered(&self, way: &Way<'_>, index: usize) -> Option<usize> {
        let step = way.to.steps.get(index)?;
        let old = way.images.iter().position(|image| *image == Some(index))?;
        let is_check = step.kind == Kind::Check && self.kind(old) == Some(Kind::Check);
        (is_check && old < self.outputs.len()).then_some(old)
    }

    fn kind(&self, old: usize) -> Option<Kind> {
        self.shape.steps.get(old).map(|step| step.kind)
    }

    fn output_in(&self, way: &Way<'_>, old: usize, new: usize) -> Result<Payload, NotMigrated> {
        let name = way.to.steps.get(new).map_or("", |step| &*step.name);
        let output = self.outputs.get(old);
        let output = output
            .ok_or_else(|| NotMigrated::refused(name, "one without an output", "its output"))?;
        (way.converted)(new, output)
            .map_err(|why| NotMigrated::refused(name, why, "an output that can be converted"))
    }

    /// Whether a step can take the place of one that was begun.
    fn fits(
        &self,
        was: &StepShape,
        is: &StepShape,
        in_doubt: bool,
        how: &str,
    ) -> Result<(), NotMigrated> {
        let refuse = |found: &str, expected: &str| {
            let expected = format!("{expected}, since it {how}");
            Err(NotMigrated::refused(&is.name, found, expected))
        };
        if was.kind != is.kind {
            return refuse(is.kind.as_str(), was.kind.as_str());
        }
        if !in_doubt || self.failure.is_some() {
            return Ok(());
        }
        if was.at_most_once && !is.at_most_once {
            return refuse("one that may run again", "one that runs at most once");
        }
        if is.in_journal {
            return refuse(
                "one that is one transaction with its record",
                "one that is not",
            );
        }
        Ok(())
    }

    /// What is known of the step that is next in the new form.
    fn go_on_in(&self, way: &Way<'_>, walk: &mut Walk) {
        let old = self.outputs.len();
        let Some((image, step)) = way.image(old) else {
            return;
        };
        if image != walk.place || self.kind(old) != Some(step.kind) {
            return;
        }
        if walk.doubtful && step.at_most_once {
            // One that might have run again does not from now on.
            let intents = self.tries.intents.max(1);
            walk.facts
                .extend((1..=intents).map(|number| intent(step, number)));
        }
        self.wait_in(step, walk);
    }

    fn wait_in(&self, step: &StepShape, walk: &mut Walk) {
        if let Some((again, _)) = &self.tries.waiting {
            let mut again = again.clone();
            again.step.clone_from(&step.name);
            walk.facts.push(Fact::RetryAt(again));
        }
    }

    /// Why it turned back, and how far it is.
    fn go_back_in(&self, way: &Way<'_>, failure: &Failure, walk: &mut Walk) {
        let mut failure = failure.clone();
        let order = self.undo_order(&failure);
        if let Some((_, step)) = way.image(self.outputs.len()) {
            failure.step.clone_from(&step.name);
        }
        walk.facts.extend([Fact::Failed(failure), Fact::Unwind]);
        let left = match &self.course {
            Course::Unwinding(stack) => stack.len(),
            Course::Forward | Course::Over(_) => 0,
        };
        let undone = order.iter().skip(left).rev();
        walk.facts.extend(
            undone
                .filter_map(|old| way.image(*old))
                .map(|(_, step)| Fact::Undone {
                    step: step.name.clone(),
                }),
        );
        let next = self.at().and_then(|(old, _, _)| way.image(old));
        if let Some((_, step)) = next {
            self.wait_in(step, walk);
        }
    }
}

impl Way<'_> {
    fn image(&self, old: usize) -> Option<(usize, &StepShape)> {
        let image = self.images.get(old).copied().flatten()?;
        Some((image, self.to.steps.get(image)?))
    }
}
