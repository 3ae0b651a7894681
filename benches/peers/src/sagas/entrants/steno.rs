//! steno, which has no store of its own but the one in memory. A node with an action and an undo per step.

use std::sync::Arc;

use slog::{Discard, Logger, o};
use steno::{
    Action, ActionContext, ActionError, ActionFunc, ActionRegistry, Dag, DagBuilder,
    InMemorySecStore, Node, SagaDag, SagaId, SagaName, SagaType, SecClient, UndoResult,
};

use super::super::job::{self, Answer, Engine, Opened, Place, STEPS};

#[derive(Debug)]
struct Six;

impl SagaType for Six {
    type ExecContextType = ();
}

type Context = ActionContext<Six>;

async fn nothing(_cx: Context) -> Result<(), ActionError> {
    job::step();
    Ok(())
}

async fn last(cx: Context) -> Result<u64, ActionError> {
    job::step();
    cx.saga_params()
}

async fn undo(_cx: Context) -> UndoResult {
    Ok(())
}

struct Steno {
    client: SecClient,
    registry: Arc<ActionRegistry<Six>>,
    dag: Dag,
}

impl Engine for Steno {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let id = SagaId::new_v4();
            let dag = SagaDag::new(self.dag.clone(), number.into());
            let registry = Arc::clone(&self.registry);
            let end = self
                .client
                .saga_create(id, Arc::new(()), Arc::new(dag), registry)
                .await?;
            self.client.saga_start(id).await?;
            let done = end.await.kind.map_err(|failed| {
                let node = failed.error_node_name.as_ref().to_owned();
                format!("saga {number} failed at {node}: {}", failed.error_source)
            })?;
            job::expect(number, done.lookup_node_output("six")?)
        })
    }
}

pub fn memory(_place: Place) -> Answer<'static, Opened> {
    Box::pin(async {
        let client = steno::sec(
            Logger::root(Discard, o!()),
            Arc::new(InMemorySecStore::new()),
        );
        let mut registry = ActionRegistry::new();
        let mut dag = DagBuilder::new(SagaName::new("six"));
        for step in STEPS {
            let action: Arc<dyn Action<Six>> = match step {
                "six" => ActionFunc::new_action(step, last, undo),
                _ => ActionFunc::new_action(step, nothing, undo),
            };
            registry.register(Arc::clone(&action));
            dag.append(Node::action(step, step, action.as_ref()));
        }
        let steno = Steno {
            client,
            registry: Arc::new(registry),
            dag: dag.build()?,
        };
        Ok(Arc::new(steno) as Opened)
    })
}
