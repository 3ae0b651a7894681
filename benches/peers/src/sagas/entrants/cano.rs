//! cano: a compensatable task per step, alone and with its checkpoint store on redb.
//!
//! There is one way to open that store, and redb commits with a sync unless told otherwise; nothing is left to set. An
//! id per run is required with a store.

use std::sync::Arc;

use cano::prelude::*;

use super::super::job::{self, Answer, Engine, Opened, Place};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    One,
    Two,
    Three,
    Four,
    Five,
    Six,
    Done,
}

macro_rules! tasks {
    ($($name:ident -> $next:ident,)+) => {
        $(
            struct $name;

            #[saga::task(state = State)]
            impl $name {
                type Output = ();

                async fn run(&self, _res: &Resources) -> Result<(TaskResult<State>, ()), CanoError> {
                    job::step();
                    Ok((TaskResult::Single(State::$next), ()))
                }

                async fn compensate(&self, _res: &Resources, _output: ()) -> Result<(), CanoError> {
                    Ok(())
                }
            }
        )+

        fn workflow() -> Workflow<State> {
            Workflow::bare()
                $(.register_with_compensation(State::$name, $name))+
                .add_exit_state(State::Done)
        }
    };
}

tasks! {
    One -> Two,
    Two -> Three,
    Three -> Four,
    Four -> Five,
    Five -> Six,
    Six -> Done,
}

struct Cano {
    workflow: Workflow<State>,
    stored: bool,
}

impl Engine for Cano {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let token = CancellationToken::disabled();
            // A clone shares the states; the id is a run's own.
            let end = if self.stored {
                let run = self.workflow.clone().with_workflow_id(number.to_string());
                run.orchestrate(State::One, token).await?
            } else {
                self.workflow.orchestrate(State::One, token).await?
            };
            match end {
                State::Done => Ok(()),
                other => Err(format!("saga {number} ended in {other:?}").into()),
            }
        })
    }
}

pub fn bare(_place: Place) -> Answer<'static, Opened> {
    Box::pin(async {
        let workflow = workflow();
        workflow.validate()?;
        let cano = Cano {
            workflow,
            stored: false,
        };
        Ok(Arc::new(cano) as Opened)
    })
}

pub fn redb(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let store = Arc::new(RedbCheckpointStore::new(place.folder.join("sagas.redb"))?);
        let workflow = workflow().with_checkpoint_store(store);
        workflow.validate()?;
        let cano = Cano {
            workflow,
            stored: true,
        };
        Ok(Arc::new(cano) as Opened)
    })
}
