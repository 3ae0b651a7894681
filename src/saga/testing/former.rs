//! The definition from which a saga on trial is carried over.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::saga::{Ended, Handle, Recorded, Saga, SagaError, SagaId, Sagas, SagasBuilder, Shape};

type Ends = BoxFuture<'static, Result<Ended<()>, SagaError>>;

/// The old definition with its input, and without its types.
pub(super) struct Former<App> {
    pub(super) shape: Shape,
    pub(super) begins: Box<dyn Begins<App>>,
}

/// What the first process does.
pub(super) trait Begins<App> {
    fn register(&self, builder: SagasBuilder<App>) -> SagasBuilder<App>
    where
        App: Send + Sync + 'static;

    fn start(&self, sagas: Sagas<App>) -> BoxFuture<'static, Result<Begun, SagaError>>
    where
        App: Send + Sync + 'static;
}

struct Old<App, Input, Output> {
    saga: Saga<App, Input, Output>,
    input: Input,
}

/// A saga that began in the old form.
pub(super) struct Begun {
    pub(super) id: SagaId,
    /// How it rests, each time that it is asked; the output does not matter.
    pub(super) ends: Box<dyn Fn() -> Ends + Send>,
}

impl<App: Send + Sync + 'static> Former<App> {
    pub(super) fn new<Input, Output>(saga: &Saga<App, Input, Output>, input: Input) -> Self
    where
        Input: Recorded + Sync + Clone,
        Output: DeserializeOwned + Send + 'static,
    {
        Self {
            shape: saga.shape().clone(),
            begins: Box::new(Old {
                saga: saga.clone(),
                input,
            }),
        }
    }
}

impl<App, Input, Output> Begins<App> for Old<App, Input, Output>
where
    Input: Recorded + Sync + Clone,
    Output: DeserializeOwned + Send + 'static,
{
    fn register(&self, builder: SagasBuilder<App>) -> SagasBuilder<App>
    where
        App: Send + Sync + 'static,
    {
        builder.register(&self.saga)
    }

    fn start(&self, sagas: Sagas<App>) -> BoxFuture<'static, Result<Begun, SagaError>>
    where
        App: Send + Sync + 'static,
    {
        let (saga, input) = (self.saga.clone(), self.input.clone());
        Box::pin(async move {
            match sagas.start(&saga, "trial", input).await {
                Ok(handle) => Ok(begun(handle)),
                // Another instance was faster, with the input of the other form.
                Err(SagaError::OtherInput(id)) => Ok(begun(sagas.found::<IgnoredAny>(id))),
                Err(error) => Err(error),
            }
        })
    }
}

fn begun<Output: DeserializeOwned + Send + 'static>(handle: Handle<Output>) -> Begun {
    let id = handle.id();
    let handle = Arc::new(handle);
    Begun {
        id,
        ends: Box::new(move || {
            let handle = Arc::clone(&handle);
            Box::pin(async move {
                Ok(match handle.ended().await {
                    // The other form's, which another instance reached.
                    Ok(Ended::Completed(_)) | Err(SagaError::Output(_)) => Ended::Completed(()),
                    Ok(Ended::Compensated { step, reason }) => Ended::Compensated { step, reason },
                    Ok(Ended::Incident(incident)) => Ended::Incident(incident),
                    Ok(Ended::Abandoned { actor, reason }) => Ended::Abandoned { actor, reason },
                    Err(error) => return Err(error),
                })
            })
        }),
    }
}
