//! What can be a step: an async function, or one with settings.

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cx::Cx;
use super::error::StepError;
use super::policy::{Settings, Step};

/// Something that a saga can do: `async fn(Cx<App, Input>, Given) -> Result<Output, StepError>`.
///
/// `Given` is the output of the step before (the first step is given `()`); an undo is given `Option` of its own step's
/// output. Implemented for functions and closures, and for [`Step`]; there is no other way to have one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand here in this saga",
    label = "this must be `async fn(Cx<{App}, {Input}>, {Given}) -> Result<_, StepError>`",
    note = "a step is given what the step before it returns, the first step `()`, and an undo `Option` of what its step returns",
    note = "its future must be `Send`: hold no `Rc`, `RefCell` borrow or lock guard across an `.await`",
    note = "settings go around the function: `Step::new(function).timeout(..)`"
)]
pub trait Action<App, Input, Given>: Send + Sync + 'static {
    /// What it returns.
    type Output;

    /// Begins an attempt.
    #[doc(hidden)]
    fn call(
        &self,
        cx: Cx<App, Input>,
        given: Given,
    ) -> BoxFuture<'static, Result<Self::Output, StepError>>;

    /// Its settings.
    #[doc(hidden)]
    fn settings(&self) -> Settings {
        Settings::default()
    }
}

impl<F, Fut, App, Input, Given, Output> Action<App, Input, Given> for F
where
    F: Fn(Cx<App, Input>, Given) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, StepError>> + Send + 'static,
{
    type Output = Output;

    fn call(
        &self,
        cx: Cx<App, Input>,
        given: Given,
    ) -> BoxFuture<'static, Result<Output, StepError>> {
        Box::pin(self(cx, given))
    }
}

impl<A, App, Input, Given> Action<App, Input, Given> for Step<A>
where
    A: Action<App, Input, Given>,
{
    type Output = A::Output;

    fn call(
        &self,
        cx: Cx<App, Input>,
        given: Given,
    ) -> BoxFuture<'static, Result<A::Output, StepError>> {
        self.action.call(cx, given)
    }

    fn settings(&self) -> Settings {
        self.settings.clone().around(&self.action.settings())
    }
}

/// What a journal can keep: the input of a saga and the outputs of its steps.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded in a journal",
    label = "this value must outlive a crash",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own what it holds"
)]
pub trait Recorded: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Recorded for T {}
