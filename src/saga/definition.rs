//! A definition with its types taken off, as the engine carries it.

use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::action::{Action, Recorded};
use super::builder::{Before, Builder};
use super::cx::{Call, Cx};
use super::error::{DefinitionError, Reconciled, StepError, cut};
use super::machine::Ending;
use super::migration::{Migration, Plan};
use super::payload::{Payload, PayloadError};
use super::policy::Policy;
use super::shape::Shape;
use crate::rt;
use crate::scope::{Scope, Scoped};
use crate::time::Tick;

/// The definition of a saga: what it does to an `Input` with an `App`, and the `Output` of its last step.
///
/// Clones are the same definition. [Register](super::SagasBuilder::register) it, and give it to
/// [`Sagas::start`](super::Sagas::start).
pub struct Saga<App, Input, Output> {
    pub(super) definition: Arc<Definition<App, Input>>,
    pub(super) migrations: Vec<Arc<Plan>>,
    output: PhantomData<fn() -> Output>,
}

impl<App, Input> Saga<App, Input, ()> {
    /// Begins a definition. Its name is part of every journal record and of every idempotency key: it stays.
    pub fn builder(name: impl Into<String>) -> Builder<App, Input, (), Before> {
        Builder::new(name.into())
    }
}

impl<App, Input, Output> Saga<App, Input, Output> {
    pub(super) fn new(definition: Definition<App, Input>) -> Self {
        Self {
            definition: Arc::new(definition),
            migrations: Vec::new(),
            output: PhantomData,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.shape.name
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.definition.shape.version
    }

    /// Its steps.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.definition.shape
    }

    /// Takes sagas over that have the form of an earlier version: see [`migration`](super::migration).
    ///
    /// An engine where this definition is registered then takes up sagas of that version as well.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Migration`] when what is said does not fit the two forms.
    pub fn migrate(mut self, migration: Migration) -> Result<Self, DefinitionError> {
        let plan = migration.plan(self.shape())?;
        self.migrations.push(Arc::new(plan));
        Ok(self)
    }

    /// The migrations by which it takes sagas over.
    pub fn migrations(&self) -> impl Iterator<Item = &Plan> {
        self.migrations.iter().map(|plan| &**plan)
    }

    /// What a resumed saga is compared with; see [`Shape::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.definition.fingerprint
    }
}

impl<App, Input, Output> Clone for Saga<App, Input, Output> {
    fn clone(&self) -> Self {
        Self {
            definition: Arc::clone(&self.definition),
            migrations: self.migrations.clone(),
            output: PhantomData,
        }
    }
}

impl<App, Input, Output> fmt::Debug for Saga<App, Input, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Saga").field(&self.definition.shape).finish()
    }
}

/// A definition with its application and input, and without the types of its steps.
pub(super) struct Definition<App, Input> {
    pub(super) shape: Arc<Shape>,
    pub(super) fingerprint: String,
    pub(super) stages: Vec<Stage<App, Input>>,
    pub(super) deadline: Option<Duration>,
}

/// What is done of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Reconcile,
    Run,
    Undo,
}

/// What the engine knows of one step.
pub(super) struct Stage<App, Input> {
    pub(super) run: Arc<dyn Erased<App, Input>>,
    pub(super) policy: Policy,
    pub(super) undo: Option<(Arc<dyn Erased<App, Input>>, Policy)>,
    pub(super) reconcile: Option<(Arc<dyn Erased<App, Input>>, Policy)>,
}

/// A step or an undo that reads what it is given and writes what it returns.
pub(super) trait Erased<App, Input>: Send + Sync {
    fn attempt(
        self: Arc<Self>,
        cx: Cx<App, Input>,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending>;

    /// Whether an operator's word for the output reads as one.
    fn fits(&self, output: &Payload) -> Result<(), PayloadError>;
}

/// A step: given the payload of the step before.
pub(super) struct Forward<A, Given> {
    action: A,
    given: PhantomData<fn(Given)>,
}

/// An undo: given the payload of its own step, if there is one.
pub(super) struct Backward<A, Given> {
    action: A,
    given: PhantomData<fn(Given)>,
}

/// The question whether a step had its effect: given what the step was given.
pub(super) struct Asking<A, Given, Output> {
    action: A,
    given: PhantomData<fn(Given) -> Output>,
}

impl<A, Given, Output> Asking<A, Given, Output> {
    pub(super) const fn new(action: A) -> Self {
        Self {
            action,
            given: PhantomData,
        }
    }
}

impl<A, Given> Forward<A, Given> {
    pub(super) const fn new(action: A) -> Self {
        Self {
            action,
            given: PhantomData,
        }
    }
}

impl<A, Given> Backward<A, Given> {
    pub(super) const fn new(action: A) -> Self {
        Self {
            action,
            given: PhantomData,
        }
    }
}

impl<App, Input, A, Given> Erased<App, Input> for Forward<A, Given>
where
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Recorded,
    A: Action<App, Input, Given>,
    A::Output: Recorded,
{
    fn attempt(
        self: Arc<Self>,
        cx: Cx<App, Input>,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending> {
        let deadline = cx.deadline();
        Box::pin(guard(deadline, async move {
            match given.unwrap_or_else(Payload::unit).read() {
                Ok(given) => ending(self.action.call(cx, given).await),
                Err(error) => Ending::Unreadable(error.0.into()),
            }
        }))
    }

    fn fits(&self, output: &Payload) -> Result<(), PayloadError> {
        read_whole::<A::Output>(output)
    }
}

impl<App, Input, A, Given, Output> Erased<App, Input> for Asking<A, Given, Output>
where
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Recorded,
    Output: Recorded,
    A: Action<App, Input, Given, Output = Reconciled<Output>>,
{
    fn attempt(
        self: Arc<Self>,
        cx: Cx<App, Input>,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending> {
        let deadline = cx.deadline();
        Box::pin(guard(deadline, async move {
            match given.unwrap_or_else(Payload::unit).read() {
                Ok(given) => match self.action.call(cx, given).await {
                    Ok(Reconciled::Applied(output)) => ending(Ok(output)),
                    Ok(Reconciled::NotApplied) => Ending::NotApplied,
                    Ok(Reconciled::Unknown) => Ending::Unknown("it cannot tell".into()),
                    Err(error) => ending::<Output>(Err(error)),
                },
                Err(error) => Ending::Unreadable(error.0.into()),
            }
        }))
    }

    fn fits(&self, output: &Payload) -> Result<(), PayloadError> {
        read_whole::<Output>(output)
    }
}

/// A panic while the user's type is read must not end the task that reads it.
fn read_whole<T: Recorded>(payload: &Payload) -> Result<(), PayloadError> {
    std::panic::catch_unwind(AssertUnwindSafe(|| payload.read::<T>().map(drop)))
        .unwrap_or_else(|_| Err(PayloadError("reading it panicked".into())))
}

impl<App, Input, A, Given> Erased<App, Input> for Backward<A, Given>
where
    App: Send + Sync + 'static,
    Input: Send + Sync + 'static,
    Given: Recorded,
    A: Action<App, Input, Option<Given>, Output = ()>,
{
    fn attempt(
        self: Arc<Self>,
        cx: Cx<App, Input>,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending> {
        let deadline = cx.deadline();
        Box::pin(guard(deadline, async move {
            match given.map(|given| given.read()).transpose() {
                Ok(given) => ending(self.action.call(cx, given).await),
                Err(error) => Ending::Unreadable(error.0.into()),
            }
        }))
    }

    fn fits(&self, output: &Payload) -> Result<(), PayloadError> {
        output.read()
    }
}

/// What the user's answer says.
fn ending<Output: Recorded>(answer: Result<Output, StepError>) -> Ending {
    match answer {
        Ok(output) => match Payload::of(&output) {
            Ok(output) => Ending::Done(output),
            Err(error) => Ending::Unrecordable(error.0.into()),
        },
        // Cut once more: a variant can be made without the function that cuts.
        Err(StepError::Retry(why)) => Ending::Retry(cut(&why)),
        Err(StepError::RetryAfter(why, after)) => Ending::RetryAfter(cut(&why), after),
        Err(StepError::Refused(why)) => Ending::Refused(cut(&why)),
        Err(StepError::Fail(why)) => Ending::Fail(cut(&why)),
        Err(StepError::Unknown(why)) => Ending::Unknown(cut(&why)),
        Err(StepError::Halt(why)) => Ending::Halt(cut(&why)),
    }
}

/// Runs the user's code to its end, to its deadline, or to its panic. Everything of the user's is inside: reading,
/// writing and dropping as well as running.
async fn guard(deadline: Tick, attempt: impl Future<Output = Ending> + Send) -> Ending {
    // The stack below sees the deadline, so that a call is not tried beyond it.
    let scope = Scope::current().until(deadline);
    let timed = Scoped::new(scope, || async move {
        tokio::select! {
            biased;
            ending = attempt => ending,
            () = rt::sleep_until(deadline) => Ending::TimedOut,
        }
    });
    // The future is dropped with whatever a panic left in it; what it shares is the user's to keep whole.
    AssertUnwindSafe(timed)
        .catch_unwind()
        .await
        .unwrap_or(Ending::Panicked)
}

/// A definition without its input's type, as the engine registers it.
pub(super) trait Registered<App>: Send + Sync {
    fn shape(&self) -> &Arc<Shape>;
    fn fingerprint(&self) -> &str;
    /// How long a saga may take until its pivot is done.
    fn deadline(&self) -> Option<Duration>;
    /// The policy of a step, of its undo, or of the question about it.
    fn policy(&self, step: usize, task: Task) -> Option<&Policy>;
    /// The first step that needs the transactions of another kind of journal than this, and the kind that it needs.
    fn misplaced(&self, medium: Option<&str>) -> Option<(&str, &'static str)>;
    /// Whether an operator's word for the output of a step reads as one.
    fn fits(&self, step: usize, output: &Payload) -> Result<(), PayloadError>;
    /// Reads the input, once for all steps of a run.
    fn open(
        self: Arc<Self>,
        app: Arc<App>,
        input: &Payload,
    ) -> Result<Box<dyn Opened>, PayloadError>;
}

/// A definition with an application and an input: what one run calls.
pub(super) trait Opened: Send + Sync {
    /// Begins an attempt of a step, its undo, or the question about it.
    fn attempt(
        &self,
        step: usize,
        task: Task,
        call: Call,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending>;
}

struct Bound<App, Input> {
    definition: Arc<Definition<App, Input>>,
    app: Arc<App>,
    input: Arc<Input>,
}

impl<App, Input> Registered<App> for Definition<App, Input>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
{
    fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    fn policy(&self, step: usize, task: Task) -> Option<&Policy> {
        let stage = self.stages.get(step)?;
        match task {
            Task::Run => Some(&stage.policy),
            Task::Undo => stage.undo.as_ref().map(|(_, policy)| policy),
            Task::Reconcile => stage.reconcile.as_ref().map(|(_, policy)| policy),
        }
    }

    fn misplaced(&self, medium: Option<&str>) -> Option<(&str, &'static str)> {
        let mut steps = self.shape.steps.iter().zip(&self.stages);
        steps.find_map(|(step, stage)| {
            let undo = stage.undo.as_ref().map(|(_, policy)| policy);
            let mut needed = [Some(&stage.policy), undo].into_iter().flatten();
            needed.find_map(|policy| {
                let needed = policy.in_journal.filter(|needed| medium != Some(*needed))?;
                Some((&*step.name, needed))
            })
        })
    }

    fn fits(&self, step: usize, output: &Payload) -> Result<(), PayloadError> {
        match self.stages.get(step) {
            Some(stage) => stage.run.fits(output),
            None => Err(PayloadError("there is no such step".into())),
        }
    }

    fn open(
        self: Arc<Self>,
        app: Arc<App>,
        input: &Payload,
    ) -> Result<Box<dyn Opened>, PayloadError> {
        // A panic while the user's type is read must not leave a saga that nobody is shown.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| input.read()));
        let input = read.unwrap_or_else(|_| Err(PayloadError("reading it panicked".into())));
        let input = Arc::new(input?);
        Ok(Box::new(Bound {
            definition: self,
            app,
            input,
        }))
    }
}

impl<App, Input> Opened for Bound<App, Input>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync,
{
    fn attempt(
        &self,
        step: usize,
        task: Task,
        call: Call,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending> {
        let stage = self.definition.stages.get(step);
        let action = stage.and_then(|stage| match task {
            Task::Run => Some(&stage.run),
            Task::Undo => stage.undo.as_ref().map(|(action, _)| action),
            Task::Reconcile => stage.reconcile.as_ref().map(|(action, _)| action),
        });
        let Some(action) = action else {
            // The machine walks the shape, and the builder makes shape and stages of one piece.
            return Box::pin(async { Ending::Halt("the definition has no such step".into()) });
        };
        let cx = Cx::new(
            Arc::clone(&self.app),
            Arc::clone(&self.input),
            Arc::new(call),
        );
        Arc::clone(action).attempt(cx, given)
    }
}
