//! The lives of the processes of one run, and what must hold after it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fault::Disturbance;
use super::line::Line;
use super::meddler::{INJECTED, Meddler, Second};
use super::trial::{Survey, Trial};
use crate::journal::{Journal, Log, Status};
use crate::saga::entry::Class;
use crate::saga::machine::Execution;
use crate::saga::probe::{Gate, Probe};
use crate::saga::{Ended, Handle, Recorded, SagaError, SagaId, Sagas, codec};

/// No run needs more restarts than it has crashes; a few more are for what goes wrong.
const SPARE_RESTARTS: usize = 3;

/// Each halt needs one decision, and may need it again after a crash.
const MOST_DECISIONS: usize = 100;

/// Where a saga rests; `None` where the process died first.
type Rest<Output> = Option<(SagaId, Ended<Output>)>;

impl<App, Input, Output> Trial<App, Input, Output>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync + Clone,
    Output: DeserializeOwned + fmt::Debug,
{
    pub(super) async fn check(
        &self,
        meddler: &Arc<Meddler>,
        disturbance: &Disturbance,
        fails: Option<&str>,
        survey: &mut Survey,
    ) -> Result<(), String> {
        let app = Arc::new((self.world)());
        let open = (self.store)();
        let mut rest = None;
        let mut journal = open();
        for life in 0..=disturbance.crashes.len().saturating_add(SPARE_RESTARTS) {
            if life > 0 {
                drop(journal);
                journal = open();
            }
            rest = if disturbance.stall.is_some() {
                self.two_lives(&app, &journal, meddler).await?
            } else {
                self.life(&app, &journal, meddler).await?
            };
            if rest.is_some() {
                break;
            }
        }
        let Some((id, ended)) = rest else {
            return Err(if meddler.is_endless() {
                "it goes on without end".into()
            } else {
                "it did not come to rest".into()
            });
        };
        self.legal(id, &*journal).await?;
        if let Some(step) = meddler.flipped() {
            return Err(format!("step {step} ran after an undo"));
        }
        if let Some(expected) = fails {
            failed(expected, &ended)?;
        }
        let count = match &ended {
            Ended::Completed(_) => &mut survey.completed,
            Ended::Compensated { .. } => &mut survey.compensated,
            Ended::Incident(_) | Ended::Abandoned { .. } => &mut survey.incidents,
        };
        *count = count.saturating_add(1);
        self.invariants
            .iter()
            .try_for_each(|rule| rule(&app, &ended))
    }

    async fn engine(
        &self,
        app: &Arc<App>,
        journal: Arc<dyn Journal>,
        probe: Arc<dyn Probe>,
    ) -> Result<Sagas<App>, String> {
        let mut builder = Sagas::builder(journal, Arc::clone(app))
            .register(&self.saga)
            .probe(probe);
        if let Some(codec) = &self.codec {
            builder = builder.codec(Arc::clone(codec));
        }
        builder
            .start()
            .await
            .map_err(|error| format!("the engine did not start: {error}"))
    }

    /// The life of one process: until the saga rests or the process dies.
    async fn life(
        &self,
        app: &Arc<App>,
        journal: &Arc<dyn Journal>,
        meddler: &Arc<Meddler>,
    ) -> Result<Rest<Output>, String> {
        let sagas = self
            .engine(app, Arc::clone(journal), Arc::clone(meddler) as _)
            .await?;
        let rest = self.ends(&sagas).await;
        // Nothing of this process may be left when the next one opens the journal.
        sagas.crash().await;
        rest
    }

    /// The lives of a process that is stopped for longer than its lease, and of one that takes over.
    async fn two_lives(
        &self,
        app: &Arc<App>,
        journal: &Arc<dyn Journal>,
        meddler: &Arc<Meddler>,
    ) -> Result<Rest<Output>, String> {
        let line = Line {
            inner: Arc::clone(journal),
            gate: Gate(meddler.stopped()),
        };
        let first = self
            .engine(app, Arc::new(line), Arc::clone(meddler) as _)
            .await?;
        let mut stopped = meddler.stopped();
        let mut zombie = std::pin::pin!(self.ends(&first));
        let ended = tokio::select! {
            biased;
            rest = &mut zombie => Some(rest),
            // Its sender outlives this.
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        // It is not stopped at a place that it does not reach.
        if let Some(rest) = ended {
            first.crash().await;
            return rest;
        }
        let second = self
            .engine(
                app,
                Arc::clone(journal),
                Arc::new(Second(Arc::clone(meddler))),
            )
            .await?;
        let rest = self.ends(&second).await?;
        meddler.wake();
        let told = zombie.await?;
        let told = told.map(|(_, ended)| format!("{ended:?}"));
        let known = rest.as_ref().map(|(_, ended)| format!("{ended:?}"));
        first.crash().await;
        second.crash().await;
        if told != known {
            return Err("the two instances tell different ends".into());
        }
        Ok(rest)
    }

    /// Starts the saga, or finds it, and waits for its rest.
    async fn ends(&self, sagas: &Sagas<App>) -> Result<Rest<Output>, String> {
        let handle = match sagas.start(&self.saga, "trial", self.input.clone()).await {
            Ok(handle) => handle,
            Err(SagaError::Stopping) => return Ok(None),
            Err(error) => return Err(format!("it did not start: {error}")),
        };
        for _ in 0..MOST_DECISIONS {
            match handle.ended().await {
                Ok(Ended::Incident(held))
                    if held.class == Class::Halted && *held.error == *INJECTED =>
                {
                    match Self::lets_go_on(sagas, &handle).await {
                        Ok(()) => {}
                        Err(SagaError::Stopping) => return Ok(None),
                        Err(error) => return Err(format!("it cannot go on: {error}")),
                    }
                }
                Ok(ended) => return Ok(Some((handle.id(), ended))),
                Err(SagaError::Stopping) => return Ok(None),
                Err(error) => return Err(format!("its end cannot be told: {error}")),
            }
        }
        Err("an operator lets it go on, and it does not".into())
    }

    /// As an operator does when the cause is gone. Another may have been faster.
    async fn lets_go_on(sagas: &Sagas<App>, handle: &Handle<Output>) -> Result<(), SagaError> {
        match sagas.retry(handle.id(), "trial", INJECTED).await {
            Err(SagaError::NotHeld(_)) => Ok(()),
            done => done,
        }
    }

    /// Whether the log and each of its beginnings could have been written by a correct engine.
    async fn legal(&self, id: SagaId, journal: &dyn Journal) -> Result<(), String> {
        let log = journal
            .load(id.log())
            .await
            .map_err(|error| error.to_string())?;
        if log.head.status == Status::Running {
            return Err("it rests, and its log says that it runs".into());
        }
        let shape = Arc::new(self.saga.shape().clone());
        let facts = codec::decode_dated(&log)?;
        let mut end = 0_usize;
        for record in 1..=log.records.len() {
            let beginning = Log {
                head: log.head.clone(),
                records: log.records.iter().take(record).cloned().collect(),
                mail: Vec::new(),
            };
            end = codec::decode(&beginning)?.len();
            let dated = facts.iter().take(end).map(|(fact, at)| (fact, *at));
            Execution::replay(Arc::clone(&shape), dated)
                .map_err(|illegal| format!("record {record} is illegal: {illegal}"))?;
        }
        if end == facts.len() {
            Ok(())
        } else {
            Err("its log cannot be read in parts".into())
        }
    }
}

/// A step that was made to fail is the one that failed.
fn failed<Output>(expected: &str, ended: &Ended<Output>) -> Result<(), String> {
    let failed = match ended {
        Ended::Compensated { step, .. } => Some(step),
        Ended::Incident(incident) => incident.step.as_ref(),
        Ended::Completed(_) | Ended::Abandoned { .. } => None,
    };
    match failed {
        Some(step) if **step == *expected => Ok(()),
        Some(step) => Err(format!("step {expected} was to fail, and {step} did")),
        None => Err(format!("step {expected} was to fail, and nothing did")),
    }
}
