//! dbos, the official crate of DBOS, a workflow of six steps on PostgreSQL. It has no compensations.

use std::sync::Arc;

use dbos::{Config, DBOS, RunOptions, WorkflowRef};

use super::super::job::{self, Answer, Engine, Opened, Place, STEPS};

async fn six(number: u64) -> dbos::Result<u64> {
    for step in STEPS {
        dbos::step(step, || async {
            job::step();
            dbos::Result::Ok(())
        })
        .await?;
    }
    Ok(number)
}

struct Dbos {
    six: WorkflowRef<u64, u64, dbos::EngineOnly>,
    /// Stops when it is dropped.
    _dbos: DBOS,
}

impl Engine for Dbos {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let id = number.to_string();
            let options = RunOptions {
                workflow_id: Some(&id),
                ..RunOptions::default()
            };
            job::expect(number, self.six.run_with(number, options).await?)
        })
    }
}

pub fn postgres(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let dbos = DBOS::new(Config {
            app_version: Some("1".to_owned()),
            max_connections: 32,
            ..Config::new("sagas", place.url()?)
        });
        let six = dbos.register_workflow("six", six)?;
        dbos.launch().await?;
        Ok(Arc::new(Dbos { six, _dbos: dbos }) as Opened)
    })
}
