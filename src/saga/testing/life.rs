//! The lives of the processes of one run, and what must hold after it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fault::Disturbance;
use super::line::Line;
use super::meddler::{INJECTED, Meddler, Second};
use super::trial::{Survey, Trial};
use crate::journal::{Journal, Log, Status};
use crate::saga::entry::{Class, Fact};
use crate::saga::history::History;
use crate::saga::machine::Execution;
use crate::saga::probe::{Gate, Probe};
use crate::saga::{Ended, Handle, Recorded, SagaError, SagaId, Sagas, Shape, codec};

/// No run needs more restarts than it has crashes; a few more are for what goes wrong.
const SPARE_RESTARTS: usize = 3;

/// Each halt needs one decision, and may need it again after a crash.
const MOST_DECISIONS: usize = 100;

/// Where a saga rests; `None` where the process died first.
type Rest<Output> = Option<(SagaId, End<Output>)>;

/// How a saga rests, in one form or the other.
enum End<Output> {
    New(Ended<Output>),
    /// In the form from which it was to be carried over, and was not.
    Old(Ended<()>),
}

impl<Output> End<Output> {
    /// Where and why, whatever its output is.
    fn outline(&self) -> Ended<()> {
        match self {
            Self::Old(ended) => ended.clone(),
            Self::New(Ended::Completed(_)) => Ended::Completed(()),
            Self::New(Ended::Compensated { step, reason }) => Ended::Compensated {
                step: step.clone(),
                reason: reason.clone(),
            },
            Self::New(Ended::Incident(incident)) => Ended::Incident(incident.clone()),
            Self::New(Ended::Abandoned { actor, reason }) => Ended::Abandoned {
                actor: actor.clone(),
                reason: reason.clone(),
            },
        }
    }
}

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
                self.life(&app, &journal, meddler, life == 0).await?
            };
            if rest.is_some() {
                break;
            }
        }
        let Some((id, end)) = rest else {
            return Err(if meddler.is_endless() {
                "it goes on without end".into()
            } else {
                "it did not come to rest".into()
            });
        };
        let migrated = self.legal(id, &*journal).await?;
        if let Some(step) = meddler.flipped() {
            return Err(format!("step {step} ran after an undo"));
        }
        if let Some(expected) = fails {
            failed(expected, &end.outline())?;
        }
        survey.migrated = survey.migrated.saturating_add(usize::from(migrated));
        let count = match end.outline() {
            Ended::Completed(_) => &mut survey.completed,
            Ended::Compensated { .. } => &mut survey.compensated,
            Ended::Incident(_) | Ended::Abandoned { .. } => &mut survey.incidents,
        };
        *count = count.saturating_add(1);
        match &end {
            End::New(ended) => self
                .invariants
                .iter()
                .try_for_each(|rule| rule(&app, ended)),
            // What is to hold is said of the other form.
            End::Old(_) => Ok(()),
        }
    }

    async fn engine(
        &self,
        app: &Arc<App>,
        journal: Arc<dyn Journal>,
        probe: Arc<dyn Probe>,
        first: bool,
    ) -> Result<Sagas<App>, String> {
        let builder = Sagas::builder(journal, Arc::clone(app)).probe(probe);
        let mut builder = match &self.former {
            Some(former) if first => former.begins.register(builder),
            _ => builder.register(&self.saga),
        };
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
        first: bool,
    ) -> Result<Rest<Output>, String> {
        let sagas = self
            .engine(app, Arc::clone(journal), Arc::clone(meddler) as _, first)
            .await?;
        let rest = self.rests(&sagas, first).await;
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
            .engine(app, Arc::new(line), Arc::clone(meddler) as _, true)
            .await?;
        let mut stopped = meddler.stopped();
        let mut zombie = std::pin::pin!(self.rests(&first, true));
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
                false,
            )
            .await?;
        let rest = self.rests(&second, false).await?;
        meddler.wake();
        let told = zombie.await?;
        let told = told.as_ref().map(|(_, end)| self.words(end));
        let known = rest.as_ref().map(|(_, end)| self.words(end));
        first.crash().await;
        second.crash().await;
        if told != known {
            return Err("the two instances tell different ends".into());
        }
        Ok(rest)
    }

    /// What an end says; of two forms the outputs may differ.
    fn words(&self, end: &End<Output>) -> String {
        match end {
            End::New(ended) if self.former.is_none() => format!("{ended:?}"),
            end => format!("{:?}", end.outline()),
        }
    }

    /// Starts the saga, or finds it, and waits for its rest.
    async fn rests(&self, sagas: &Sagas<App>, first: bool) -> Result<Rest<Output>, String> {
        let wrong = |error| match error {
            SagaError::Stopping => Ok(None),
            error => Err(format!("it did not start: {error}")),
        };
        if let Some(former) = self.former.as_ref().filter(|_| first) {
            return match former.begins.start(sagas.clone()).await {
                Ok(begun) => {
                    let ends = async || (begun.ends)().await.map(End::Old);
                    Self::ends(sagas, begun.id, ends).await
                }
                Err(error) => wrong(error),
            };
        }
        let handle: Handle<Output> =
            match sagas.start(&self.saga, "trial", self.input.clone()).await {
                Ok(handle) => handle,
                // It began with the input of the other form.
                Err(SagaError::OtherInput(id)) if self.former.is_some() => sagas.found(id),
                Err(error) => return wrong(error),
            };
        let ends = async || match handle.ended().await {
            // It ended in the other form, before the process died.
            Err(SagaError::Output(_)) if self.former.is_some() => {
                Ok(End::Old(Ended::Completed(())))
            }
            ended => ended.map(End::New),
        };
        Self::ends(sagas, handle.id(), ends).await
    }

    /// Waits for its rest, and lets it go on where it stopped for an operator.
    async fn ends(
        sagas: &Sagas<App>,
        id: SagaId,
        ends: impl AsyncFn() -> Result<End<Output>, SagaError>,
    ) -> Result<Rest<Output>, String> {
        for _ in 0..MOST_DECISIONS {
            match ends().await {
                Ok(End::New(Ended::Incident(held)) | End::Old(Ended::Incident(held)))
                    if held.class == Class::Halted && *held.error == *INJECTED =>
                {
                    match Self::lets_go_on(sagas, id).await {
                        Ok(()) => {}
                        Err(SagaError::Stopping) => return Ok(None),
                        Err(error) => return Err(format!("it cannot go on: {error}")),
                    }
                }
                Ok(end) => return Ok(Some((id, end))),
                Err(SagaError::Stopping) => return Ok(None),
                Err(error) => return Err(format!("its end cannot be told: {error}")),
            }
        }
        Err("an operator lets it go on, and it does not".into())
    }

    /// The form that a saga with these facts has.
    fn shape_of(&self, facts: &[Fact]) -> Result<Arc<Shape>, String> {
        let history = History::of(facts);
        let form = history.form().ok_or("it does not begin with a start")?;
        let former = self.former.iter().map(|former| &former.shape);
        let between = self.saga.migrations().map(|plan| &**plan.from());
        let mut shapes = std::iter::once(self.saga.shape())
            .chain(former)
            .chain(between);
        let shape = shapes.find(|shape| shape.fingerprint() == form.fingerprint);
        let shape = shape.ok_or("it has a form that is none of its definitions'")?;
        Ok(Arc::new(shape.clone()))
    }

    /// As an operator does when the cause is gone. Another may have been faster.
    async fn lets_go_on(sagas: &Sagas<App>, id: SagaId) -> Result<(), SagaError> {
        match sagas.retry(id, "trial", INJECTED).await {
            Err(SagaError::NotHeld(_)) => Ok(()),
            done => done,
        }
    }

    /// Whether the log and each of its beginnings could have been written by a correct engine. Returns whether it was
    /// carried over.
    async fn legal(&self, id: SagaId, journal: &dyn Journal) -> Result<bool, String> {
        let log = journal
            .load(id.log())
            .await
            .map_err(|error| error.to_string())?;
        if log.head.status == Status::Running {
            return Err("it rests, and its log says that it runs".into());
        }
        let facts = codec::decode_dated(&log)?;
        let mut end = 0_usize;
        for record in 1..=log.records.len() {
            let beginning = Log {
                head: log.head.clone(),
                records: log.records.iter().take(record).cloned().collect(),
                mail: Vec::new(),
            };
            let beginning = codec::decode(&beginning)?;
            end = beginning.len();
            let shape = self.shape_of(&beginning)?;
            let dated = facts.iter().take(end).map(|(fact, at)| (fact, *at));
            Execution::replay(shape, dated)
                .map_err(|illegal| format!("record {record} is illegal: {illegal}"))?;
        }
        if end == facts.len() {
            Ok(facts
                .iter()
                .any(|(fact, _)| matches!(fact, Fact::Migrated(_))))
        } else {
            Err("its log cannot be read in parts".into())
        }
    }
}

/// A step that was made to fail is the one that failed.
fn failed(expected: &str, ended: &Ended<()>) -> Result<(), String> {
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
