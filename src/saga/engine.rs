//! What all sagas of one engine share: definitions, who runs, and how much at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::SagaId;
use super::definition::Registered;
use super::ended::Incident;
use super::entry::Fact;
use super::error::SagaError;
use super::handle::{Here, Phase};
use super::history::Form;
use super::intake::Backlog;
use super::lease::Standing;
use super::migration::Migrations;
use super::operator::Audit;
use super::probe::{Probe, Site, Wish};
use super::room::{Room, Seat};
use super::run::{Leave, Run};
use super::seal::PayloadCodec;
use super::shape::Shape;
use crate::journal::{Answer, Head, Journal, JournalError, LogId};
use crate::observe::{self, JournalCall, JournalCalls, Spanned, StepTimes};
use crate::retry::Backoff;
use crate::rng::Rng;
use crate::rt;
use crate::time::Tick;

/// Between tries to reach the journal, while it fails for a reason that may pass.
pub(super) const ASK_AGAIN: Backoff =
    Backoff::exponential(Duration::from_millis(50), Duration::from_secs(5));

tokio::task_local! {
    /// Set while a step or an undo runs: its saga holds a place among those in flight.
    static IN_STEP: ();
}

/// Runs a step, so that what it starts can tell.
pub(super) async fn in_step<T>(step: impl Future<Output = T>) -> T {
    IN_STEP.scope((), step).await
}

/// Whether a step is what asks.
pub(super) fn is_in_step() -> bool {
    IN_STEP.try_with(|()| ()).is_ok()
}

/// How much an engine does at once, and how often.
pub(super) struct Bounds {
    /// Places in flight.
    pub(super) room: Arc<Room>,
    /// Sagas that are taken over and wait for one.
    pub(super) backlog: usize,
    /// Runs of a saga over which processes died.
    pub(super) crash_limit: u32,
}

/// A name and a version.
pub(super) type Edition = (Box<str>, u32);

/// Those that are registered.
pub(super) type Definitions<App> = HashMap<Edition, Arc<dyn Registered<App>>>;

pub(super) struct Engine<App> {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) app: Arc<App>,
    pub(super) definitions: Definitions<App>,
    pub(super) migrations: Migrations<App>,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) codec: Option<Arc<dyn PayloadCodec>>,
    pub(super) backlog: Backlog,
    room: Arc<Room>,
    /// How the journal answers, and how long steps take, for those who watch.
    pub(super) calls: JournalCalls,
    pub(super) times: StepTimes,
    /// How often a saga over which processes died is run, before an operator must look.
    pub(super) crash_limit: u32,
    /// One at a time of those sagas, so that it is known which of them it is.
    suspects: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    live: watch::Sender<usize>,
    /// Who this engine is in the journal.
    pub(super) standing: watch::Sender<Standing>,
    /// Somebody has a reason to look for sagas that nobody carries on.
    pub(super) look: Notify,
    /// A run ended that should not have, so that its saga is this engine's and nobody's work.
    orphans: AtomicBool,
    /// How many refusals of operators may still be told.
    pub(super) audit: Audit,
    /// A probe wants this process to die.
    died: AtomicBool,
    /// When sagas that were parked here are due.
    pub(super) due: Mutex<BTreeSet<Tick>>,
    /// Tasks that last as long as the engine.
    pub(super) services: Mutex<Vec<JoinHandle<()>>>,
    tables: Mutex<Tables>,
}

/// What changes while sagas come and go. Every entry is removed by the task that it is about.
#[derive(Default)]
struct Tables {
    cells: HashMap<BusinessKey, Arc<Cell>>,
    /// The same cells, as soon as their logs are known.
    logs: HashMap<LogId, Arc<Cell>>,
    /// `None` for a task that the runtime has not yet been given.
    tasks: HashMap<u64, Option<AbortHandle>>,
    /// Whether tasks are cut off; one that comes later is as well.
    cut_off: bool,
    next_task: u64,
    unreadable: BTreeMap<SagaId, Incident>,
}

/// What makes a saga the same saga for whoever starts it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BusinessKey {
    pub(super) tenant: Box<str>,
    pub(super) definition: Box<str>,
    pub(super) key: Box<str>,
}

impl BusinessKey {
    pub(super) fn of(head: &Head) -> Self {
        Self {
            tenant: head.labels.tenant.as_str().into(),
            definition: (&*head.kind).into(),
            key: head.key.as_str().into(),
        }
    }
}

/// A saga that this process starts or carries on, for all who wait for it.
pub(super) struct Cell {
    pub(super) digest: String,
    pub(super) phase: watch::Sender<Phase>,
    /// Told, with `notify_one`, when something was posted to the saga's log; its run then reads the mail.
    pub(super) mail: Notify,
}

impl Cell {
    pub(super) fn new(digest: String, phase: Phase) -> Arc<Self> {
        Arc::new(Self {
            digest,
            phase: watch::Sender::new(phase),
            mail: Notify::new(),
        })
    }

    fn log(&self) -> Option<LogId> {
        match &*self.phase.borrow() {
            Phase::Starting | Phase::Refused(_) => None,
            Phase::Running(id)
            | Phase::Rested(id, _)
            | Phase::Elsewhere(id, _)
            | Phase::Stopped(id, _) => Some(id.log()),
        }
    }

    /// Completes when nobody starts the saga or carries it on here.
    pub(super) async fn gone(&self) {
        let mut phase = self.phase.subscribe();
        let here = |phase: &Phase| matches!(phase, Phase::Starting | Phase::Running(_));
        // The sender lives as long as `self`.
        drop(phase.wait_for(|phase| !here(phase)).await);
    }
}

impl<App: Send + Sync + 'static> Engine<App> {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        app: Arc<App>,
        (definitions, migrations): (Definitions<App>, Migrations<App>),
        probe: Option<Arc<dyn Probe>>,
        codec: Option<Arc<dyn PayloadCodec>>,
        bounds: Bounds,
    ) -> Self {
        let steps = definitions.values().flat_map(|definition| {
            let shape = definition.shape();
            let saga: observe::Name = (&*shape.name).into();
            let steps = shape.steps.iter();
            steps.map(move |step| (Arc::clone(&saga), step.name.clone()))
        });
        Self {
            calls: JournalCalls::new(journal.vitals().store),
            times: StepTimes::of(steps),
            journal,
            app,
            definitions,
            migrations,
            probe,
            codec,
            backlog: Backlog::new(bounds.backlog),
            room: bounds.room,
            crash_limit: bounds.crash_limit,
            suspects: Arc::new(Semaphore::new(1)),
            stop: watch::Sender::new(false),
            live: watch::Sender::new(0),
            standing: watch::Sender::default(),
            look: Notify::new(),
            orphans: AtomicBool::new(false),
            audit: Audit::default(),
            died: AtomicBool::new(false),
            due: Mutex::default(),
            services: Mutex::default(),
            tables: Mutex::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Held for single changes, none of which can panic half way.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn definition(&self, name: &str, version: u32) -> Option<Arc<dyn Registered<App>>> {
        self.definitions.get(&(name.into(), version)).cloned()
    }

    /// The definition that is registered here and has this form.
    pub(super) fn known(&self, form: Form<'_>) -> Option<Arc<dyn Registered<App>>> {
        self.definition(form.definition, form.version)
            .filter(|known| known.fingerprint() == form.fingerprint)
    }

    /// Whether sagas of this definition and version are carried on here.
    pub(super) fn takes_up(&self, name: &str, version: u32) -> bool {
        let mut taken_over = self.migrations.editions();
        self.definitions.contains_key(&(name.into(), version))
            || taken_over.any(|(kind, from)| *kind == *name && from == version)
    }

    /// What is known here of a form, also of one that is only taken over from.
    pub(super) fn shape_of(&self, form: Form<'_>) -> Option<Arc<Shape>> {
        match self.known(form) {
            Some(known) => Some(Arc::clone(known.shape())),
            None => {
                let (plan, _) = self.migrations.of(form)?;
                Some(Arc::clone(plan.from()))
            }
        }
    }

    // === the journal ===

    /// Asks the journal, again and again while it fails for a reason that may pass, until the engine stops.
    ///
    /// What is asked must be the same work when it is asked twice; every method of a journal is.
    pub(super) async fn ask<'a, T>(
        &'a self,
        question: impl Fn(&'a dyn Journal) -> Answer<'a, T>,
    ) -> Result<T, JournalError> {
        self.ask_for(None, question).await
    }

    /// The same, and tells how long each answer took.
    pub(super) async fn ask_as<'a, T>(
        &'a self,
        call: JournalCall,
        question: impl Fn(&'a dyn Journal) -> Answer<'a, T>,
    ) -> Result<T, JournalError> {
        self.ask_for(Some(call), question).await
    }

    /// Tells how long an answer took.
    pub(super) async fn timed<T>(
        &self,
        call: JournalCall,
        answer: Answer<'_, T>,
    ) -> Result<T, JournalError> {
        let asked = rt::now();
        let answer = answer.await;
        let failed = matches!(
            &answer,
            Err(JournalError::Backend(_) | JournalError::Refused(_) | JournalError::Closed(_))
        );
        self.calls.answered(call, rt::now().since(asked), failed);
        answer
    }

    async fn ask_for<'a, T>(
        &'a self,
        call: Option<JournalCall>,
        question: impl Fn(&'a dyn Journal) -> Answer<'a, T>,
    ) -> Result<T, JournalError> {
        let mut rng = None;
        let mut delay = Duration::ZERO;
        let mut number = 0_u32;
        loop {
            let answer = question(&*self.journal);
            let answer = match call {
                Some(call) => self.timed(call, answer).await,
                None => answer.await,
            };
            let error = match answer {
                Err(error) if error.is_transient() => error,
                answer => return answer,
            };
            number = number.saturating_add(1);
            let rng = rng.get_or_insert_with(|| Rng::new(rt::entropy()));
            delay = ASK_AGAIN.delay(number, delay, rng);
            tokio::select! {
                biased;
                () = self.stopping() => return Err(error),
                () = rt::sleep(delay) => {}
            }
        }
    }

    // === stopping ===

    /// Turns true when the engine stops.
    pub(super) fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Completes when the engine stops.
    pub(super) async fn stopping(&self) {
        // The sender lives as long as `self`, so the wait ends with the value only.
        drop(self.stop.subscribe().wait_for(|stop| *stop).await);
    }

    /// Completes when no task is left.
    pub(super) async fn idle(&self) {
        drop(self.live.subscribe().wait_for(|live| *live == 0).await);
    }

    pub(super) fn live(&self) -> usize {
        *self.live.borrow()
    }

    pub(super) fn abort(&self) -> usize {
        let tasks: Vec<Option<AbortHandle>> = {
            let mut tables = self.tables();
            tables.cut_off = true;
            tables.tasks.values().cloned().collect()
        };
        tasks.iter().flatten().for_each(AbortHandle::abort);
        tasks.len()
    }

    /// Room for one more saga in flight, in turn; `None` when the engine stops first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in the queue and nothing else.
    pub(super) async fn permit(&self, tenant: &str, definition: &str) -> Option<Seat> {
        tokio::select! {
            biased;
            () = self.stopping() => None,
            seat = self.room.place(tenant, definition) => Some(seat),
        }
    }

    /// The place of the one suspected saga that runs; `None` when the engine stops first.
    ///
    /// # Cancel safety
    ///
    /// As [`permit`](Self::permit).
    pub(super) async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.stopping() => None,
            permit = Arc::clone(&self.suspects).acquire_owned() => permit.ok(),
        }
    }

    // === who runs ===

    pub(super) fn cell(&self, key: &BusinessKey) -> Option<Arc<Cell>> {
        self.tables().cells.get(key).cloned()
    }

    /// Enters a cell unless the key has one; then that one is returned.
    pub(super) fn enter(&self, key: &BusinessKey, cell: &Arc<Cell>) -> Option<Arc<Cell>> {
        let mut tables = self.tables();
        if let Some(other) = tables.cells.get(key) {
            return Some(Arc::clone(other));
        }
        tables.cells.insert(key.clone(), Arc::clone(cell));
        if let Some(log) = cell.log() {
            tables.logs.insert(log, Arc::clone(cell));
        }
        None
    }

    /// A cell that was entered without a log has one now.
    pub(super) fn runs(&self, cell: &Arc<Cell>, log: LogId) {
        self.tables().logs.insert(log, Arc::clone(cell));
        cell.phase.send_replace(Phase::Running(log.into()));
    }

    /// Whether a log is carried on here.
    pub(super) fn carries(&self, log: LogId) -> bool {
        self.tables().logs.contains_key(&log)
    }

    pub(super) fn sagas(&self) -> usize {
        self.tables().cells.len()
    }

    pub(super) fn keep_unreadable(&self, incident: Incident) {
        self.tables().unreadable.insert(incident.saga, incident);
    }

    pub(super) fn is_unreadable(&self, saga: SagaId) -> bool {
        self.tables().unreadable.contains_key(&saga)
    }

    pub(super) fn forget_unreadable(&self, saga: SagaId) {
        self.tables().unreadable.remove(&saga);
    }

    pub(super) fn unreadable(&self) -> Vec<Incident> {
        self.tables().unreadable.values().cloned().collect()
    }

    /// Runs work on a task that is counted, can be stopped, and leaves nothing behind.
    pub(super) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let number = {
            let mut tables = self.tables();
            let number = tables.next_task;
            tables.next_task = number.wrapping_add(1);
            tables.tasks.insert(number, None);
            number
        };
        self.live.send_modify(|live| *live = live.saturating_add(1));
        let counted = Counted {
            engine: Arc::clone(self),
            number,
        };
        // Without the lock: a runtime that ends, or is not there, drops the task in here, and its drop takes the lock.
        let task = rt::spawn(async move {
            let _counted = counted;
            // A panic of ours must not take the count with it; the saga is in the journal.
            drop(AssertUnwindSafe(work).catch_unwind().await);
        });
        let mut tables = self.tables();
        let cut_off = tables.cut_off;
        // Its place is gone if it has ended already.
        if let Some(place) = tables.tasks.get_mut(&number) {
            *place = Some(task.abort_handle());
        }
        drop(tables);
        if cut_off {
            task.abort();
        }
    }

    /// These logs have mail.
    pub(super) fn mail(&self, logs: &[LogId]) {
        let tables = self.tables();
        for cell in logs.iter().filter_map(|log| tables.logs.get(log)) {
            cell.mail.notify_one();
        }
    }

    /// Carries a saga on and tells all who wait. The cell must have been entered.
    pub(super) async fn carry(
        self: Arc<Self>,
        head: Head,
        facts: Option<Vec<Fact>>,
        cell: Arc<Cell>,
        permit: Seat,
        span: observe::Span,
    ) {
        let leaving = Leaving {
            engine: Arc::clone(&self),
            key: BusinessKey::of(&head),
            cell: Arc::clone(&cell),
        };
        let _counted = Carried::new(&head.kind);
        let run = Run::new(self, head, cell, permit).carry(facts);
        let phase = Spanned::new(span, run, Phase::ended).await;
        leaving.tell(phase);
    }

    /// Stops as a process that dies: nothing more is done and nothing given back.
    pub(super) fn die(&self) -> Leave {
        self.died.store(true, Ordering::Relaxed);
        self.stop();
        Leave::Stopped(SagaError::Stopping)
    }

    /// Whether what is unfinished is given back: when the engine stops, unless it is to look as if it had died.
    pub(super) fn hands_over(&self) -> bool {
        self.is_stopping() && !self.died.load(Ordering::Relaxed)
    }

    /// Whether a saga was left that is this engine's and nobody's work. Forgets it.
    pub(super) fn has_orphans(&self) -> bool {
        self.orphans.swap(false, Ordering::Relaxed)
    }

    /// Lets a probe stop the process around a write.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(super) async fn probed(&self, site: &Site, before: bool) -> Result<(), Leave> {
        let Some(probe) = &self.probe else {
            return Ok(());
        };
        let wish = if before {
            probe.before(site)
        } else {
            probe.after(site)
        };
        match wish {
            Wish::Crash => Err(self.die()),
            Wish::Stop(gate, _) => {
                gate.passed().await;
                Ok(())
            }
            Wish::Go | Wish::Cancel | Wish::End(_) | Wish::Twice => Ok(()),
        }
    }
}

impl<App: Send + Sync + 'static> Here for Engine<App> {
    fn phase(&self, log: LogId) -> Option<watch::Receiver<Phase>> {
        let tables = self.tables();
        tables.logs.get(&log).map(|cell| cell.phase.subscribe())
    }

    fn unreadable(&self, saga: SagaId) -> Option<Incident> {
        self.tables().unreadable.get(&saga).cloned()
    }
}

/// Counts a saga that is carried on, for those who watch.
struct Carried(observe::Name);

impl Carried {
    fn new(saga: &observe::Name) -> Self {
        observe::saga_running(saga, 1.0);
        Self(Arc::clone(saga))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        observe::saga_running(&self.0, -1.0);
    }
}

/// Removes a task from the table, whichever way it ends.
struct Counted<App: Send + Sync + 'static> {
    engine: Arc<Engine<App>>,
    number: u64,
}

impl<App: Send + Sync + 'static> Drop for Counted<App> {
    fn drop(&mut self) {
        self.engine.tables().tasks.remove(&self.number);
        self.engine
            .live
            .send_modify(|live| *live = live.saturating_sub(1));
    }
}

/// Removes a cell from the table, whichever way its task ends, and tells those who wait.
pub(super) struct Leaving<App: Send + Sync + 'static> {
    engine: Arc<Engine<App>>,
    key: BusinessKey,
    cell: Arc<Cell>,
}

impl<App: Send + Sync + 'static> Leaving<App> {
    pub(super) const fn new(engine: Arc<Engine<App>>, key: BusinessKey, cell: Arc<Cell>) -> Self {
        Self { engine, key, cell }
    }

    pub(super) fn tell(&self, phase: Phase) {
        if matches!(phase, Phase::Stopped(..)) && !self.engine.is_stopping() {
            self.engine.orphans.store(true, Ordering::Relaxed);
        }
        // First out of the table: who is told an end and starts again finds the journal's answer, not this one.
        {
            let mut tables = self.engine.tables();
            tables.cells.remove(&self.key);
            if let Some(log) = self.cell.log() {
                tables.logs.remove(&log);
            }
        }
        self.cell.phase.send_replace(phase);
    }
}

impl<App: Send + Sync + 'static> Drop for Leaving<App> {
    fn drop(&mut self) {
        let unfinished = match &*self.cell.phase.borrow() {
            Phase::Starting => Phase::Refused(SagaError::Stopping),
            Phase::Running(id) => Phase::Stopped(*id, SagaError::Stopping),
            Phase::Rested(..) | Phase::Elsewhere(..) | Phase::Refused(_) | Phase::Stopped(..) => {
                return;
            }
        };
        self.tell(unfinished);
    }
}
