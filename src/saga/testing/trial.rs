//! Runs, restarts and checks.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fault::{Disturbance, Meddler};
use crate::journal::memory::MemoryJournal;
use crate::journal::{Journal, Status};
use crate::saga::machine::Execution;
use crate::saga::{Ended, Recorded, Saga, SagaId, Sagas, codec};

/// No run needs more restarts than it has crashes; a few more are for what goes wrong.
const SPARE_RESTARTS: usize = 3;

/// Opens the journal of one run, again after every crash.
pub type Opener = Box<dyn Fn() -> Arc<dyn Journal>>;

type Invariant<App, Output> = Box<dyn Fn(&App, &Ended<Output>) -> Result<(), String>>;

/// A saga on trial. See the [module](super).
pub struct Trial<App, Input, Output> {
    saga: Saga<App, Input, Output>,
    input: Input,
    world: Box<dyn Fn() -> App>,
    store: Box<dyn Fn() -> Opener>,
    invariants: Vec<Invariant<App, Output>>,
    double: bool,
}

/// What a trial covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// How many runs there were.
    pub runs: usize,
    /// How many of them had crashes.
    pub crashed: usize,
    /// How many ended with every step done.
    pub completed: usize,
    /// How many ended with everything undone.
    pub compensated: usize,
    /// How many ended waiting for an operator.
    pub incidents: usize,
}

/// A rule that did not hold, and what was done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// What was done to the saga.
    pub disturbance: Disturbance,
    /// What did not hold.
    pub reason: String,
    /// The places that the run passed, in order.
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; done to the saga: {}; the run: {}",
            self.reason,
            self.disturbance,
            self.story.join(" | ")
        )
    }
}

impl std::error::Error for Violation {}

impl<App, Input, Output> Trial<App, Input, Output>
where
    App: Send + Sync + 'static,
    Input: Recorded + Sync + Clone,
    Output: DeserializeOwned + fmt::Debug,
{
    /// A trial of a saga with this input. Each run has a world of its own.
    pub fn new(
        saga: &Saga<App, Input, Output>,
        input: Input,
        world: impl Fn() -> App + 'static,
    ) -> Self {
        Self {
            saga: saga.clone(),
            input,
            world: Box::new(world),
            store: Box::new(|| {
                let journal = MemoryJournal::new();
                Box::new(move || {
                    journal.restarted();
                    Arc::new(journal.clone())
                })
            }),
            invariants: Vec::new(),
            double: false,
        }
    }

    /// Where the runs keep their journals: called once per run, its result once per opening. Defaults to memory.
    #[must_use]
    pub fn store(mut self, store: impl Fn() -> Opener + 'static) -> Self {
        self.store = Box::new(store);
        self
    }

    /// What must hold after every run, whatever was done to it.
    #[must_use]
    pub fn holds(
        mut self,
        rule: impl Fn(&App, &Ended<Output>) -> Result<(), String> + 'static,
    ) -> Self {
        self.invariants.push(Box::new(rule));
        self
    }

    /// Also tries every pair of crashes, of the undisturbed run and of every run in which a step fails. Runs grow with
    /// the square of the steps.
    #[must_use]
    pub const fn double_crashes(mut self) -> Self {
        self.double = true;
        self
    }

    /// Runs everything.
    ///
    /// # Errors
    ///
    /// The first disturbance under which a rule does not hold.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the trial.
    pub async fn run(&self) -> Result<Survey, Box<Violation>> {
        let mut survey = Survey::default();
        let mut misbehaviours = vec![Disturbance::default()];
        misbehaviours.extend(Disturbance::all_of(self.saga.shape()));
        // Few before many: what is wrong without a crash is told without one.
        let mut places = Vec::new();
        for misbehaviour in &misbehaviours {
            places.push(self.once(misbehaviour.clone(), &mut survey).await?);
        }
        let mut pairs = Vec::new();
        for (misbehaviour, places) in misbehaviours.iter().zip(places) {
            for place in 0..places {
                let crash = misbehaviour.clone().and_crash(place);
                let reached = self.once(crash.clone(), &mut survey).await?;
                pairs.push((crash, place, reached));
            }
        }
        if self.double {
            for (crash, place, reached) in pairs {
                for second in place.saturating_add(1)..reached {
                    self.once(crash.clone().and_crash(second), &mut survey)
                        .await?;
                }
            }
        }
        Ok(survey)
    }

    /// One run in a world of its own, with as many restarts as it has crashes. Returns how many places it reached.
    ///
    /// # Errors
    ///
    /// When a rule does not hold.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the run.
    pub async fn once(
        &self,
        disturbance: Disturbance,
        survey: &mut Survey,
    ) -> Result<usize, Box<Violation>> {
        survey.runs = survey.runs.saturating_add(1);
        if !disturbance.crashes.is_empty() {
            survey.crashed = survey.crashed.saturating_add(1);
        }
        let meddler = Arc::new(Meddler::new(disturbance.clone()));
        match self.check(&meddler, &disturbance, survey).await {
            Ok(()) => Ok(meddler.places()),
            Err(reason) => Err(Box::new(Violation {
                disturbance,
                reason,
                story: meddler.story(),
            })),
        }
    }

    async fn check(
        &self,
        meddler: &Arc<Meddler>,
        disturbance: &Disturbance,
        survey: &mut Survey,
    ) -> Result<(), String> {
        let app = Arc::new((self.world)());
        let open = (self.store)();
        let mut rest = None;
        for _ in 0..=disturbance.crashes.len().saturating_add(SPARE_RESTARTS) {
            rest = self.live(&app, open(), meddler).await?;
            if rest.is_some() {
                break;
            }
        }
        let Some((id, ended)) = rest else {
            return Err("it did not come to rest".into());
        };
        self.legal(id, &*open()).await?;
        if let Some(step) = meddler.flipped() {
            return Err(format!("step {step} ran after an undo"));
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

    /// The life of one process: until the saga rests or the process dies.
    async fn live(
        &self,
        app: &Arc<App>,
        journal: Arc<dyn Journal>,
        meddler: &Arc<Meddler>,
    ) -> Result<Option<(SagaId, Ended<Output>)>, String> {
        let sagas = Sagas::builder(journal, Arc::clone(app))
            .register(&self.saga)
            .probe(Arc::clone(meddler) as _)
            .start()
            .await
            .map_err(|error| format!("the engine did not start: {error}"))?;
        let rest = match sagas.start(&self.saga, "trial", self.input.clone()).await {
            Ok(handle) => match handle.ended().await {
                Ok(ended) => Some((handle.id(), ended)),
                Err(crate::saga::SagaError::Stopping) => None,
                Err(error) => return Err(format!("its end cannot be told: {error}")),
            },
            Err(crate::saga::SagaError::Stopping) => None,
            Err(error) => return Err(format!("it did not start: {error}")),
        };
        // Nothing of this process may be left when the next one opens the journal.
        sagas.crash().await;
        Ok(rest)
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
            let beginning = crate::journal::Log {
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

impl<App, Input, Output> fmt::Debug for Trial<App, Input, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("saga", &self.saga)
            .finish_non_exhaustive()
    }
}
