//! A definition with its types taken off, as the engine carries it.

use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::action::{Action, Recorded};
use super::builder::{Before, Builder};
use super::cx::{Call, Cx};
use super::error::{StepError, cut};
use super::machine::Ending;
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
}

/// What the engine knows of one step.
pub(super) struct Stage<App, Input> {
    pub(super) run: Arc<dyn Erased<App, Input>>,
    pub(super) policy: Policy,
    pub(super) undo: Option<(Arc<dyn Erased<App, Input>>, Policy)>,
}

/// A step or an undo that reads what it is given and writes what it returns.
pub(super) trait Erased<App, Input>: Send + Sync {
    fn attempt(
        self: Arc<Self>,
        cx: Cx<App, Input>,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending>;
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
    /// The policy of a step, or of its undo.
    fn policy(&self, step: usize, undo: bool) -> Option<&Policy>;
    /// Reads the input, once for all steps of a run.
    fn open(
        self: Arc<Self>,
        app: Arc<App>,
        input: &Payload,
    ) -> Result<Box<dyn Opened>, PayloadError>;
}

/// A definition with an application and an input: what one run calls.
pub(super) trait Opened: Send + Sync {
    /// Begins an attempt of a step or its undo.
    fn attempt(
        &self,
        step: usize,
        undo: bool,
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

    fn policy(&self, step: usize, undo: bool) -> Option<&Policy> {
        let stage = self.stages.get(step)?;
        if undo {
            stage.undo.as_ref().map(|(_, policy)| policy)
        } else {
            Some(&stage.policy)
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
        undo: bool,
        call: Call,
        given: Option<Payload>,
    ) -> BoxFuture<'static, Ending> {
        let stage = self.definition.stages.get(step);
        let action = if undo {
            stage
                .and_then(|stage| stage.undo.as_ref())
                .map(|(action, _)| action)
        } else {
            stage.map(|stage| &stage.run)
        };
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
