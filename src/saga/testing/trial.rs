//! Runs, restarts and checks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::fault::{Disturbance, Fault};
use super::former::Former;
use super::meddler::Meddler;
use super::violation::Violation;
use crate::journal::Journal;
use crate::journal::memory::MemoryJournal;
use crate::rt::{self, Alarm};
use crate::saga::migration::Plan;
use crate::saga::seal::PayloadCodec;
use crate::saga::{Ended, Recorded, Saga};

/// The schedule that is repeated in place of all others.
const REPEATED: &str = "MAINSTAY_TRIAL";

/// Opens the journal of one run, again after every crash.
pub type Opener = Box<dyn Fn() -> Arc<dyn Journal>>;

type Invariant<App, Output> = Box<dyn Fn(&App, &Ended<Output>) -> Result<(), String>>;

/// A saga on trial. See the [module](super).
pub struct Trial<App, Input, Output> {
    pub(super) saga: Saga<App, Input, Output>,
    pub(super) input: Input,
    pub(super) world: Box<dyn Fn() -> App>,
    pub(super) store: Box<dyn Fn() -> Opener>,
    pub(super) codec: Option<Arc<dyn PayloadCodec>>,
    pub(super) former: Option<Former<App>>,
    pub(super) invariants: Vec<Invariant<App, Output>>,
    without: Vec<Fault>,
    double: bool,
    stale: bool,
    patience: Duration,
}

/// What a trial covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// How many runs there were.
    pub runs: usize,
    /// How many of them had crashes.
    pub crashed: usize,
    /// How many of them had an instance that was stopped for longer than its lease.
    pub stalled: usize,
    /// How many ended with every step done.
    pub completed: usize,
    /// How many ended with everything undone.
    pub compensated: usize,
    /// How many ended waiting for an operator.
    pub incidents: usize,
    /// How many were carried over to another form.
    pub migrated: usize,
}

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
            codec: None,
            former: None,
            invariants: Vec::new(),
            without: Vec::new(),
            double: false,
            stale: true,
            patience: Duration::from_secs(30),
        }
    }

    /// Where the runs keep their journals: called once per run, its result once per opening. Defaults to memory.
    ///
    /// [Stale instances](Self::stale_instances) are then left out, unless they are asked for after this.
    #[must_use]
    pub fn store(mut self, store: impl Fn() -> Opener + 'static) -> Self {
        self.store = Box::new(store);
        self.stale = false;
        self
    }

    /// Whether instances are stopped for longer than their lease and woken. Defaults to yes; what only ever runs in one
    /// process, and not for longer than its lease without the processor, needs it not. For a store whose leases go by
    /// tokio's clock, as memory's do, and that can be opened once and used by two engines.
    #[must_use]
    pub const fn stale_instances(mut self, stale: bool) -> Self {
        self.stale = stale;
        self
    }

    /// Seals payloads, as [`SagasBuilder::codec`](crate::saga::SagasBuilder::codec) does. Defaults to none.
    #[must_use]
    pub fn codec(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Begins the saga with another definition, an earlier version with this input, and carries it on with the one on trial
    /// alone, by its [migrations](crate::saga::migration).
    ///
    /// A run without a crash or a stop ends in the old form, and only its places are noted. In each of the others the
    /// first process knows only the old definition and those after it only the new one, so that the saga is carried over
    /// wherever the first one left it; and each second crash is tried as well, where nothing else goes wrong. Misbehaviours
    /// are those of the steps of both forms. A saga that cannot be carried over ends as an incident, of which
    /// [what holds](Self::holds) is told; [`Survey::migrated`] counts those that were.
    ///
    /// The input of the trial is what the new definition would be started with, and may be of another type: then it is used
    /// only where the first process died before the saga began.
    #[must_use]
    pub fn migrating_from<OldInput, OldOutput>(
        mut self,
        old: &Saga<App, OldInput, OldOutput>,
        input: OldInput,
    ) -> Self
    where
        OldInput: Recorded + Sync + Clone,
        OldOutput: DeserializeOwned + Send + 'static,
    {
        self.former = Some(Former::new(old, input));
        self
    }

    /// Leaves out what cannot happen to this saga, for instance [`Fault::Cancelled`] where nobody cancels, or what takes
    /// too long.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.without.push(fault);
        self
    }

    /// How long one run may take by a real clock before it counts as one that does not come to rest. Defaults to 30 s.
    /// One that passes 10,000 places does as well.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
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

    /// Runs everything; or, where the environment has `MAINSTAY_TRIAL`, the one schedule that it says.
    ///
    /// # Errors
    ///
    /// The first disturbance under which a rule does not hold: one with as few faults as possible.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the trial.
    pub async fn run(&self) -> Result<Survey, Box<Violation>> {
        if let Some(schedule) = rt::wish(REPEATED) {
            return self.replay(&schedule).await;
        }
        self.all(self.misbehaviours(), true, self.stale).await
    }

    /// Only lets each step fail, surely without effect, and asserts that it was this step that failed.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn fail_at_each_step(&self) -> Result<Survey, Box<Violation>> {
        self.only(|fault| fault.is_sure_failure()).await
    }

    /// Only lets each step end without an answer, before and after its effect.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn unknown_at_each_step(&self) -> Result<Survey, Box<Violation>> {
        self.only(|fault| matches!(fault, Fault::UnknownBefore | Fault::UnknownAfter))
            .await
    }

    /// Only makes each step, and each undo, twice.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn each_step_twice(&self) -> Result<Survey, Box<Violation>> {
        self.only(|fault| fault == Fault::Twice).await
    }

    /// Only lets the process die at each place of the undisturbed run, and with [`double_crashes`](Self::double_crashes)
    /// at each two.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn crash_at_each_place(&self) -> Result<Survey, Box<Violation>> {
        self.all(Vec::new(), true, false).await
    }

    /// Only stops the process at each place of the undisturbed run for longer than its lease.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn stall_at_each_place(&self) -> Result<Survey, Box<Violation>> {
        self.all(Vec::new(), false, true).await
    }

    /// Of the steps of the form on trial, and of those of the one before it.
    fn misbehaviours(&self) -> Vec<Disturbance> {
        let mut all = Disturbance::all_of(self.saga.shape());
        for of_old in self
            .former
            .iter()
            .flat_map(|old| Disturbance::all_of(&old.shape))
        {
            let renamed = self.names();
            let mut steps = of_old.steps.iter().chain(&of_old.undos);
            // One that is renamed has those of the name that it gets.
            if !all.contains(&of_old) && !steps.any(|(step, _)| renamed.contains_key(step)) {
                all.push(of_old);
            }
        }
        all
    }

    /// What steps are called after a migration that renames them.
    fn names(&self) -> BTreeMap<Box<str>, Box<str>> {
        let migrations = self.saga.migrations().filter(|_| self.former.is_some());
        migrations
            .flat_map(Plan::renamed)
            .map(|(old, new)| (old.into(), new.into()))
            .collect()
    }

    /// Whether the first process has a step of this name.
    fn begins_with(&self, step: &str) -> bool {
        let first = self
            .former
            .as_ref()
            .map_or(self.saga.shape(), |old| &old.shape);
        first.steps.iter().any(|known| *known.name == *step)
    }

    async fn only(&self, which: impl Fn(Fault) -> bool) -> Result<Survey, Box<Violation>> {
        let mut some = self.misbehaviours();
        some.retain(|some| {
            // An undo misbehaves where a later step fails.
            let faults = if some.undos.is_empty() {
                &some.steps
            } else {
                &some.undos
            };
            faults.iter().all(|(_, fault)| which(*fault))
        });
        self.all(some, false, false).await
    }

    /// Repeats one run: `schedule` is the last line of a [`Violation`], or a printed [`Disturbance`].
    ///
    /// # Errors
    ///
    /// When a rule does not hold, or this is no schedule.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn replay(&self, schedule: &str) -> Result<Survey, Box<Violation>> {
        let mut survey = Survey::default();
        match schedule.parse() {
            Ok(disturbance) => {
                self.once(disturbance, &mut survey).await?;
                Ok(survey)
            }
            Err(error) => Err(Box::new(Violation {
                disturbance: Disturbance::default(),
                reason: error.to_string(),
                story: Vec::new(),
            })),
        }
    }

    /// Runs with nothing, with each of these, and with a crash or a stop at each place of all of these runs. Few faults
    /// before many, so that what is wrong is told with as few as possible.
    async fn all(
        &self,
        misbehaviours: Vec<Disturbance>,
        crashes: bool,
        stalls: bool,
    ) -> Result<Survey, Box<Violation>> {
        let mut survey = Survey::default();
        let mut now = vec![Disturbance::default()];
        let mut later = misbehaviours;
        later.retain(|one| {
            let faults = one.steps.iter().chain(&one.undos);
            faults
                .into_iter()
                .all(|(_, fault)| !self.without.contains(fault))
        });
        let mut completes = false;
        for size in 0_usize.. {
            let (due, rest) = later.into_iter().partition(|one| one.len() <= size);
            later = rest;
            now.extend::<Vec<_>>(due);
            if now.is_empty() && later.is_empty() {
                break;
            }
            let mut next = Vec::new();
            for disturbance in std::mem::take(&mut now) {
                // A crash before it may leave an earlier step in doubt, which then counts as the one that failed.
                let failed = disturbance.fails().filter(|step| {
                    completes && disturbance.is_placeless() && self.begins_with(step)
                });
                let expects = failed.map(Box::<str>::from);
                let reached = self
                    .one(disturbance.clone(), expects.as_deref(), &mut survey)
                    .await?;
                if size == 0 {
                    completes = survey.completed > 0;
                }
                let crashed = disturbance.crashes.last().copied();
                let from = crashed.map_or(0, |last| last.saturating_add(1));
                let behaves = disturbance.steps.is_empty() && disturbance.undos.is_empty();
                let double = self.double || (self.former.is_some() && behaves);
                let again = crashed.is_none() || (double && disturbance.crashes.len() == 1);
                if crashes && again && disturbance.stall.is_none() {
                    next.extend((from..reached).map(|place| disturbance.clone().and_crash(place)));
                }
                if stalls && disturbance.is_placeless() {
                    next.extend((0..reached).map(|place| disturbance.clone().and_stall(place)));
                }
            }
            now = next;
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
        self.one(disturbance, None, survey).await
    }

    async fn one(
        &self,
        disturbance: Disturbance,
        fails: Option<&str>,
        survey: &mut Survey,
    ) -> Result<usize, Box<Violation>> {
        survey.runs = survey.runs.saturating_add(1);
        if !disturbance.crashes.is_empty() {
            survey.crashed = survey.crashed.saturating_add(1);
        }
        if disturbance.stall.is_some() {
            survey.stalled = survey.stalled.saturating_add(1);
        }
        let meddler = Arc::new(Meddler::new(disturbance.clone(), self.names()));
        let mut alarm = Alarm::after(self.patience);
        let checked = tokio::select! {
            biased;
            checked = self.check(&meddler, &disturbance, fails, survey) => checked,
            () = alarm.rings() => {
                Err(format!("it did not come to rest within {:?} of real time", self.patience))
            }
        };
        match checked {
            Ok(()) => Ok(meddler.places()),
            Err(reason) => Err(Box::new(Violation {
                disturbance,
                reason,
                story: meddler.story(),
            })),
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
