//! The typed chain. What a chain must not say, its types have no word for.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Recorded};
use super::definition::{Asking, Backward, Definition, Forward, Saga, Stage};
use super::error::{DefinitionError, Reconciled};
use super::policy::Policy;
use super::shape::{Kind, Shape, StepShape};

/// Before the pivot: checks, steps with their undo, and the pivot may follow.
#[derive(Debug)]
#[non_exhaustive]
pub enum Before {}

/// After the pivot: only steps that go forward may follow.
#[derive(Debug)]
#[non_exhaustive]
pub enum After {}

/// After the pivot, directly behind a step that was given a `Given`: it can still be told how it is
/// [reconciled](Builder::reconcile).
pub struct AfterStep<Given> {
    given: PhantomData<fn(Given)>,
}

impl<Given> fmt::Debug for AfterStep<Given> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterStep")
    }
}

/// The phases after the pivot. No other type is of use as one: nothing makes a builder in it.
pub trait Onward {}

impl Onward for After {}
impl<Given> Onward for AfterStep<Given> {}

/// A chain under construction, whose last step returns `Given`.
///
/// In the phase [`Before`] the pivot one can add checks, steps with their undo, and one pivot; [`After`] it (and
/// [`AfterStep`]) only steps that go forward. A step is not part of the chain until its undo is there ([`WithoutUndo`]).
#[must_use = "a chain defines nothing until it is built"]
pub struct Builder<App, Input, Given, Phase> {
    draft: Draft<App, Input>,
    chain: PhantomData<fn(Given) -> Phase>,
}

/// A step that waits for its undo: call [`undo`](Self::undo).
///
/// What cannot be undone is a [`pivot`](Builder::pivot), or comes [after](Builder::then) one. What changes nothing is a
/// [`check`](Builder::check).
#[must_use = "a step before the pivot needs its undo"]
pub struct WithoutUndo<App, Input, Given, Output> {
    draft: Draft<App, Input>,
    chain: PhantomData<fn(Given) -> Output>,
}

struct Draft<App, Input> {
    name: String,
    version: u32,
    deadline: Option<Duration>,
    shapes: Vec<StepShape>,
    stages: Vec<Stage<App, Input>>,
    /// The first thing that is wrong; the chain goes on so that its types do.
    wrong: Option<DefinitionError>,
}

impl<App, Input> Builder<App, Input, (), Before> {
    pub(super) fn new(name: String) -> Self {
        let wrong = (!is_name(&name)).then(|| DefinitionError::BadName(name.clone()));
        let draft = Draft {
            name,
            version: 1,
            deadline: None,
            shapes: Vec::new(),
            stages: Vec::new(),
            wrong,
        };
        Self {
            draft,
            chain: PhantomData,
        }
    }

    /// The version of this definition, from 1. Defaults to 1.
    ///
    /// Raise it with every change of the chain. Sagas that began with an earlier version go on where that version is
    /// registered too, or where a [migration](super::Migration) takes them over; elsewhere nobody takes them up.
    pub fn version(mut self, version: u32) -> Self {
        if version == 0 {
            self.draft.refuse(DefinitionError::NoVersion);
        }
        self.draft.version = version;
        self
    }

    /// How long a saga may take until its pivot is done, from its start. Defaults to no limit.
    ///
    /// When that is over, the attempt that runs may end, no further one begins, and what was done is undone. A pivot
    /// that may have had its effect by then is asked, or an operator is. After the pivot, while the saga undoes, and
    /// once an operator let it go on, the deadline does nothing. In this process it is counted by the monotonic clock,
    /// over restarts by the wall clock.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        if deadline.is_zero() {
            let name = self.draft.name.clone();
            self.draft.refuse(DefinitionError::NoTime(name));
        }
        self.draft.deadline = Some(deadline);
        self
    }
}

impl<App, Input, Given> Builder<App, Input, Given, Before>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
    Given: Recorded,
{
    /// Adds a step that reads and changes nothing, so that there is nothing to undo.
    ///
    /// It may run again after a crash, and may then answer differently; see rule 3 of the
    /// [machine](super::machine).
    pub fn check<A>(
        self,
        name: impl Into<String>,
        action: A,
    ) -> Builder<App, Input, A::Output, Before>
    where
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        self.add(name.into(), Kind::Check, action)
    }

    /// Adds a step that can be undone. Its undo must follow.
    pub fn step<A>(
        mut self,
        name: impl Into<String>,
        action: A,
    ) -> WithoutUndo<App, Input, Given, A::Output>
    where
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        self.draft.push(name.into(), Kind::Step, action);
        WithoutUndo {
            draft: self.draft,
            chain: PhantomData,
        }
    }

    /// Adds the point of no return. When it is done, the saga goes forward until it is complete.
    pub fn pivot<A>(
        self,
        name: impl Into<String>,
        action: A,
    ) -> Builder<App, Input, A::Output, AfterStep<Given>>
    where
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        self.add(name.into(), Kind::Pivot, action)
    }
}

impl<App, Input, Given, Output> WithoutUndo<App, Input, Given, Output>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
    Given: Recorded,
    Output: Recorded,
{
    /// How to find out whether the step had its effect, after an attempt whose end is not known.
    ///
    /// It is given what the step was given, and has the step's idempotency key. It is asked where the engine would
    /// have to guess: when attempts ended without an answer, after a crash in a step that runs
    /// [at most once](super::Step::at_most_once), and when the [key](super::Step::key_valid_for) may be forgotten. It
    /// is tried as an undo is, in memory; without an answer the step is undone with `None`.
    pub fn reconcile<R>(mut self, reconcile: R) -> Self
    where
        R: Action<App, Input, Given, Output = Reconciled<Output>>,
    {
        self.draft.reconcile::<R, Given, Output>(reconcile);
        self
    }

    /// How the step is undone.
    ///
    /// The undo is given what the step returned, or `None` when that is not known: then the step may have happened,
    /// may still be on its way, or may never have been called. The undo must cope with all three, and runs again
    /// until it says that it is done.
    pub fn undo<U>(mut self, undo: U) -> Builder<App, Input, Output, Before>
    where
        U: Action<App, Input, Option<Output>, Output = ()>,
    {
        self.draft.undo(undo);
        Builder {
            draft: self.draft,
            chain: PhantomData,
        }
    }
}

impl<App, Input, Given, Output> Builder<App, Input, Output, AfterStep<Given>>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
    Given: Recorded,
    Output: Recorded,
{
    /// How to find out whether the pivot, or the step after it, had its effect; see [`WithoutUndo::reconcile`]. Without
    /// an answer it is an incident.
    pub fn reconcile<R>(mut self, reconcile: R) -> Builder<App, Input, Output, After>
    where
        R: Action<App, Input, Given, Output = Reconciled<Output>>,
    {
        self.draft.reconcile::<R, Given, Output>(reconcile);
        Builder {
            draft: self.draft,
            chain: PhantomData,
        }
    }
}

impl<App, Input, Given, Phase> Builder<App, Input, Given, Phase>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
    Given: Recorded,
    Phase: Onward,
{
    /// Adds a step after the pivot. It is tried until it is done, and never undone.
    pub fn then<A>(
        self,
        name: impl Into<String>,
        action: A,
    ) -> Builder<App, Input, A::Output, AfterStep<Given>>
    where
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        self.add(name.into(), Kind::Then, action)
    }
}

impl<App, Input, Given, Phase> Builder<App, Input, Given, Phase> {
    /// Checks names and numbers, and fixes the definition.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, in the order of the chain.
    pub fn build(self) -> Result<Saga<App, Input, Given>, DefinitionError> {
        self.draft.finish().map(Saga::new)
    }

    fn add<A, Next>(
        mut self,
        name: String,
        kind: Kind,
        action: A,
    ) -> Builder<App, Input, A::Output, Next>
    where
        App: Send + Sync + 'static,
        Input: Recorded + Sync,
        Given: Recorded,
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        self.draft.push(name, kind, action);
        Builder {
            draft: self.draft,
            chain: PhantomData,
        }
    }
}

impl<App, Input> Draft<App, Input> {
    fn refuse(&mut self, error: DefinitionError) {
        self.wrong.get_or_insert(error);
    }

    fn push<A, Given>(&mut self, name: String, kind: Kind, action: A)
    where
        App: Send + Sync + 'static,
        Input: Recorded + Sync,
        Given: Recorded,
        A: Action<App, Input, Given>,
        A::Output: Recorded,
    {
        if !is_name(&name) {
            self.refuse(DefinitionError::BadName(name.clone()));
        }
        match Policy::of_step(&name, kind, &action.settings()) {
            Ok(policy) => {
                let shape = StepShape::new(name, kind)
                    .attempts(policy.attempts)
                    .at_most_once(policy.at_most_once)
                    .key_valid_for(policy.key_valid_for)
                    .in_journal(policy.in_journal.is_some());
                self.shapes.push(shape);
                self.stages.push(Stage {
                    run: Arc::new(Forward::new(action)),
                    policy,
                    undo: None,
                    reconcile: None,
                });
            }
            Err(error) => self.refuse(error),
        }
    }

    fn undo<U, Output>(&mut self, undo: U)
    where
        App: Send + Sync + 'static,
        Input: Recorded + Sync,
        Output: Recorded,
        U: Action<App, Input, Option<Output>, Output = ()>,
    {
        // A refused step is not there; the chain is refused as a whole then.
        let (Some(shape), Some(stage)) = (self.shapes.pop(), self.stages.last_mut()) else {
            return;
        };
        match Policy::of_undo(&shape.name, &undo.settings()) {
            Ok(policy) => {
                self.shapes.push(shape.undo_attempts(policy.attempts));
                stage.undo = Some((Arc::new(Backward::new(undo)), policy));
            }
            Err(error) => self.refuse(error),
        }
    }

    fn reconcile<R, Given, Output>(&mut self, reconcile: R)
    where
        App: Send + Sync + 'static,
        Input: Recorded + Sync,
        Given: Recorded,
        Output: Recorded,
        R: Action<App, Input, Given, Output = Reconciled<Output>>,
    {
        let (Some(shape), Some(stage)) = (self.shapes.pop(), self.stages.last_mut()) else {
            return;
        };
        match Policy::of_undo(&shape.name, &reconcile.settings()) {
            Ok(policy) => {
                self.shapes.push(shape.reconciles(true));
                let asking = Asking::<R, Given, Output>::new(reconcile);
                stage.reconcile = Some((Arc::new(asking), policy));
            }
            Err(error) => self.refuse(error),
        }
    }

    fn finish(self) -> Result<Definition<App, Input>, DefinitionError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.shapes.is_empty() {
            return Err(DefinitionError::Empty);
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.shapes.iter().find(|step| !names.insert(&step.name)) {
            return Err(DefinitionError::Duplicate(twice.name.to_string()));
        }
        let shape = Shape::new(self.name, self.version, self.shapes);
        let fingerprint = shape.fingerprint();
        Ok(Definition {
            shape: Arc::new(shape),
            fingerprint,
            stages: self.stages,
            deadline: self.deadline,
        })
    }
}

fn is_name(name: &str) -> bool {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "_-.:".contains(letter);
    (1..=100).contains(&name.len()) && name.chars().all(legal)
}

impl<App, Input, Given, Phase> fmt::Debug for Builder<App, Input, Given, Phase> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.draft.name)
            .field("steps", &self.draft.shapes)
            .finish()
    }
}

impl<App, Input, Given, Output> fmt::Debug for WithoutUndo<App, Input, Given, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithoutUndo")
            .field("steps", &self.draft.shapes)
            .finish()
    }
}
