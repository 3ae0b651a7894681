//! Carries one saga on: asks the machine, does what it says, writes what became true.
//!
//! The barriers, in the words of the code below:
//!
//! 1. The start is durable before `start` returns and before the first effect (`Engine::begin`).
//! 2. An output is durable before the next effect: `record` returns before the loop asks the machine again.
//! 3. The decision to unwind is durable before the first undo: the same.
//! 4. An undo is durable before the one that follows it: the same.
//! 5. The end is durable before anybody is told: the phase changes after the last `record`.
//! 6. The intent of a step that runs at most once is durable before it runs: the machine asks for it (`Next::Write`).
//! 7. A long wait is durable before it begins, so that a restart goes on waiting and counting where it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::SagaId;
use super::codec;
use super::definition::{Opened, Registered, Task};
use super::ended::{Incident, Rest};
use super::engine::{ASK_AGAIN, Cell, Engine};
use super::entry::{Class, Fact, Started};
use super::error::SagaError;
use super::handle::{Away, Phase};
use super::heed::Letter;
use super::history::{Form, History};
use super::machine::{Execution, Next};
use super::offer;
use super::probe::Site;
use super::room::Seat;
use super::seal::PATIENCE;
use super::sealing::{Sealing, Unsealed};
use super::spot;
use crate::journal::{Append, Head, InstanceId, JournalError, Labels, LogId, Place, Release};
use crate::observe::{self, JournalCall, Origin};
use crate::rng::Rng;
use crate::rt;
use crate::time::{Tick, Timestamp};

/// A saga that was taken over so often without a record in between is suspected (rule 23): once is any crash.
const SUSPICIOUS: u32 = 2;

/// Why a run ends before its saga does.
pub(super) enum Leave {
    /// The engine stops, or the journal has.
    Stopped(SagaError),
    /// Somebody else carries the saga on.
    Elsewhere,
    /// The lease of the instance that owned the saga is over: somebody else may carry it on, and nothing of it may be
    /// begun here.
    Lapsed,
    /// Nothing is to be done for so long; then whoever claims the saga carries it on.
    Parked(Duration),
    /// Its log cannot be read; nothing may be added to it.
    Unreadable(String),
}

impl From<JournalError> for Leave {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Conflict { .. } => Self::Elsewhere,
            JournalError::Damaged { reason, .. } => Self::Unreadable(reason),
            other => Self::Stopped(other.into()),
        }
    }
}

/// One saga, taken up.
pub(super) struct Run<App> {
    pub(super) engine: Arc<Engine<App>>,
    pub(super) head: Head,
    pub(super) cell: Arc<Cell>,
    pub(super) place: Place,
    pub(super) permit: Option<Seat>,
    /// While it makes the first attempt of a suspected saga.
    pub(super) alone: Option<OwnedSemaphorePermit>,
    /// Seeded when it is first drawn from: most runs wait for nothing, and a draw of entropy is a call of the system.
    rng: Option<Rng>,
    /// Messages that were read and not answered, oldest first.
    pub(super) letters: VecDeque<Letter>,
    /// The number of the last message that was read.
    pub(super) seen: u64,
    /// The number of the last message that was answered; the next record says so.
    pub(super) answered: u64,
    /// Whether the mail is to be read before anything else is done.
    pub(super) posted: bool,
    /// When the time of the whole is over.
    pub(super) over: Option<Tick>,
    /// Whether it was told that the time of the whole is over and changes nothing.
    pub(super) late: bool,
    /// The trace context from which the saga came.
    pub(super) traceparent: Option<Arc<str>>,
    /// How payloads are written, with the nonce they are bound to; until it is known none is.
    sealing: Option<(Sealing, Box<str>)>,
}

/// The span of the run that begins here.
pub(super) fn run_span(head: &Head, origin: Origin) -> observe::Span {
    observe::saga_run(
        &head.kind,
        head.version,
        head.id.get(),
        head.place.epoch.get(),
        head.owner.map(InstanceId::get),
        origin,
    )
}

/// What one run of a saga works with.
pub(super) struct Work<'a, App> {
    pub(super) definition: &'a dyn Registered<App>,
    pub(super) opened: &'a dyn Opened,
    pub(super) started: &'a Started,
}

impl<App: Send + Sync + 'static> Run<App> {
    pub(super) fn new(engine: Arc<Engine<App>>, head: Head, cell: Arc<Cell>, permit: Seat) -> Self {
        let place = head.place;
        Self {
            engine,
            head,
            cell,
            place,
            permit: Some(permit),
            alone: None,
            rng: None,
            letters: VecDeque::new(),
            seen: 0,
            answered: 0,
            posted: false,
            over: None,
            late: false,
            traceparent: None,
            sealing: None,
        }
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::new(rt::entropy()))
    }

    pub(super) fn id(&self) -> SagaId {
        self.head.id.into()
    }

    /// Carries the saga to its rest, or as far as this process gets. `facts` are those of a saga that has just begun;
    /// without them the log is read.
    pub(super) async fn carry(mut self, facts: Option<Vec<Fact>>) -> Phase {
        let phase = self.phase(facts).await;
        phase.report(&self.head.kind);
        phase
    }

    async fn phase(&mut self, facts: Option<Vec<Fact>>) -> Phase {
        let id = self.id();
        match self.go(facts).await {
            Ok(rest) => Phase::Rested(id, rest),
            Err(Leave::Stopped(error)) => {
                self.hand_over(&error).await;
                Phase::Stopped(id, error)
            }
            Err(Leave::Elsewhere) => Phase::Elsewhere(id, Away::Taken),
            Err(Leave::Lapsed) => Phase::Elsewhere(id, Away::Lapsed),
            Err(Leave::Parked(delay)) => {
                self.engine.wake_at(rt::now() + delay);
                Phase::Elsewhere(id, Away::Parked)
            }
            Err(Leave::Unreadable(reason)) => {
                let incident = Incident::unreadable(&self.head, &reason);
                self.engine.keep_unreadable(incident.clone());
                Phase::Rested(id, Rest::Incident(incident))
            }
        }
    }

    /// An engine that stops gives the saga back, so that another takes it at once. Not one that stops as if it had died.
    async fn hand_over(&self, error: &SagaError) {
        if matches!(error, SagaError::Stopping) && self.engine.hands_over() {
            let release = Release::new(self.head.id, self.place);
            // If this is lost, the end of the lease gives it back.
            drop(self.engine.journal.release(release).await);
        }
    }

    async fn go(&mut self, facts: Option<Vec<Fact>>) -> Result<Rest, Leave> {
        let fresh = facts.is_some();
        let mut facts = match facts {
            Some(facts) => {
                let begun = self.head.begun;
                facts.into_iter().map(|fact| (fact, begun)).collect()
            }
            None => self.read().await?,
        };
        let mut history = History::of(facts.iter().map(|(fact, _)| fact));
        if let Some(rest) = Rest::of(&self.head, &history) {
            let facts: Vec<Fact> = facts.into_iter().map(|(fact, _)| fact).collect();
            return offer::opened(self.engine.codec.as_deref(), &self.head, &facts, rest)
                .await
                .map_err(Leave::Stopped);
        }
        let Some(mut started) = history.started.take() else {
            return Err(Leave::Unreadable("it does not begin with a start".into()));
        };
        if let Some(traceparent) = &started.traceparent {
            observe::saga_came_from(traceparent);
            self.traceparent = Some((&**traceparent).into());
        }
        let form = Form::of(&started, history.migrated.as_ref());
        let known = self.engine.known(form);
        let is_behind = self.engine.migrations.of(form).is_some();
        if known.is_none() && !is_behind {
            let found = self.engine.definition(form.definition, form.version);
            let why = changed(found.as_deref().map(Registered::fingerprint), form);
            return self.hold(history, Class::DefinitionChanged, why).await;
        }
        // Only now: what is held for another reason needs no key.
        let sealing = self.fetch().await?;
        let opened = sealing.and_then(|sealing| {
            // Those of a saga that has just begun are as they were given.
            let opened = if fresh {
                Ok(())
            } else {
                sealing.open(&started.nonce, facts.iter_mut().map(|(fact, _)| fact))
            };
            self.sealing = Some((sealing, started.nonce.clone()));
            opened
        });
        if let Err(error) = opened {
            return self
                .hold(history, Class::Unreadable, error.to_string())
                .await;
        }
        let mut suspected = self.head.recoveries >= SUSPICIOUS;
        // What has just begun has the form that it is to have.
        let definition = match known.filter(|_| fresh || !is_behind) {
            Some(known) => known,
            None => {
                // What it is carried over to does not say so any more.
                suspected |= matches!(facts.last(), Some((Fact::Suspected { .. }, _)));
                if suspected && let Some(rest) = self.suspect_behind(&mut facts).await? {
                    return Ok(rest);
                }
                match self.reform(&mut facts).await? {
                    Ok(definition) => definition,
                    Err(why) => {
                        let history = History::of(facts.iter().map(|(fact, _)| fact));
                        return self.hold(history, Class::DefinitionChanged, why).await;
                    }
                }
            }
        };
        if let Some(input) = spot::input_of(facts.iter().map(|(fact, _)| fact)) {
            started.input.clone_from(input);
        }
        let opened =
            match Arc::clone(&definition).open(Arc::clone(&self.engine.app), &started.input) {
                Ok(opened) => opened,
                Err(error) => {
                    return self
                        .hold(history, Class::Unreadable, format!("the input: {error}"))
                        .await;
                }
            };
        let shape = Arc::clone(definition.shape());
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        let mut execution = if fresh {
            Execution::fresh(shape, dated)
        } else {
            Execution::replay(shape, dated)
        }
        .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?;
        drop(facts);
        let since = rt::wall().since(self.head.begun);
        let deadline = definition.deadline();
        self.over = deadline.map(|deadline| rt::now() + deadline.saturating_sub(since));
        // Where it was not carried over after all, that was done already.
        if !fresh && self.alone.is_none() && (suspected || execution.is_suspected()) {
            self.suspect(&mut execution).await?;
        }
        self.steps(&mut execution, &*definition, &*opened, &started)
            .await
    }

    /// The saga's key, waited for while it cannot be had, but not for ever.
    async fn fetch(&mut self) -> Result<Result<Sealing, Unsealed>, Leave> {
        if self.engine.codec.is_none() {
            // Nobody is asked, so there is nothing to wait for.
            return Ok(Sealing::of_log(None, &self.head).await);
        }
        let first = rt::now();
        let mut delay = Duration::ZERO;
        let mut number = 0_u32;
        loop {
            let engine = Arc::clone(&self.engine);
            let answer = tokio::select! {
                biased;
                () = engine.stopping() => return Err(Leave::Stopped(SagaError::Stopping)),
                answer = Sealing::of_log(engine.codec.as_deref(), &self.head) => answer,
            };
            match answer {
                Err(error) if error.is_unavailable() && rt::now().since(first) < PATIENCE => {
                    if number == 0 {
                        observe::saga_waits_for_key(&self.head.kind, self.head.id.get());
                    }
                    number = number.saturating_add(1);
                    delay = ASK_AGAIN.delay(number, delay, self.rng());
                    self.wait(rt::now() + delay).await?;
                }
                answer => return Ok(answer),
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<(Fact, Timestamp)>, Leave> {
        let log = self
            .engine
            .ask(|journal| journal.load(self.head.id))
            .await?;
        self.take_mail(&log)?;
        codec::decode_dated(&log).map_err(Leave::Unreadable)
    }

    /// Stops before anything is done, for a reason that concerns the saga as a whole.
    pub(super) async fn hold(
        &mut self,
        history: History,
        class: Class,
        error: String,
    ) -> Result<Rest, Leave> {
        let trouble = history.trouble(class, error);
        let facts = [Fact::Incident(trouble.clone())];
        self.write(&facts, None, None).await?;
        let held = History {
            held: Some(trouble),
            ..history
        };
        Rest::of(&self.head, &held)
            .ok_or_else(|| Leave::Unreadable("an incident that is none".into()))
    }

    async fn steps(
        &mut self,
        execution: &mut Execution,
        definition: &dyn Registered<App>,
        opened: &dyn Opened,
        started: &Started,
    ) -> Result<Rest, Leave> {
        let work = Work {
            definition,
            opened,
            started,
        };
        loop {
            // What is durable is told, also by an engine that stops.
            if matches!(execution.next(), Next::Hold | Next::End(_)) {
                return Rest::reached(&self.head, execution)
                    .ok_or_else(|| Leave::Unreadable("an end that is none".into()));
            }
            self.go_on()?;
            if self.heed(execution).await? {
                continue;
            }
            execution.check_key(rt::wall());
            match execution.next() {
                Next::Write => {
                    let due = execution.due();
                    self.record(execution, &due).await?;
                }
                Next::Run(step) => self.step(execution, &work, step, Task::Run).await?,
                Next::Undo(step) => self.step(execution, &work, step, Task::Undo).await?,
                Next::Reconcile(step) => {
                    self.step(execution, &work, step, Task::Reconcile).await?;
                }
                Next::Hold | Next::End(_) => {}
            }
        }
    }

    pub(super) fn go_on(&self) -> Result<(), Leave> {
        if self.engine.is_stopping() {
            Err(Leave::Stopped(SagaError::Stopping))
        } else {
            Ok(())
        }
    }

    /// Makes the facts durable, together with those that waited, and only then true.
    pub(super) async fn record(
        &mut self,
        execution: &mut Execution,
        facts: &[Fact],
    ) -> Result<(), Leave> {
        self.record_and(execution, facts, None).await
    }

    /// The same, and nobody carries the saga on for a while if `park` says so; the run must then end.
    pub(super) async fn record_and(
        &mut self,
        execution: &mut Execution,
        facts: &[Fact],
        park: Option<Duration>,
    ) -> Result<(), Leave> {
        let entry = execution.entry(facts);
        let stage = execution.stage_after(facts);
        let at = self.write(&entry, stage, park).await?;
        execution
            .written(facts, at)
            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))
    }

    pub(super) async fn write(
        &mut self,
        facts: &[Fact],
        stage: Option<Arc<str>>,
        park: Option<Duration>,
    ) -> Result<Timestamp, Leave> {
        let append = self
            .writing()
            .append(facts, stage, park)
            .map_err(|why| Leave::Unreadable(format!("a record that cannot be written: {why}")))?;
        let at = append.at;
        let site = Site::write();
        self.engine.probed(&site, true).await?;
        // The same record at the same place: if it is there already, the journal says so.
        self.engine
            .ask_as(JournalCall::Append, |journal| {
                journal.append(append.clone())
            })
            .await?;
        self.wrote();
        self.engine.probed(&site, false).await?;
        Ok(at)
    }

    /// One more record is there.
    pub(super) fn wrote(&mut self) {
        self.place = self.place.after();
        // It got further, so whatever ends the process is not this alone.
        self.alone = None;
    }

    /// What the next record needs besides its facts.
    pub(super) fn writing(&self) -> Writing {
        Writing {
            id: self.head.id,
            place: self.place,
            labels: Arc::clone(&self.head.labels),
            answered: self.answered,
            sealing: self.sealing.clone(),
        }
    }
}

/// Makes facts the next record of a log.
pub(super) struct Writing {
    id: LogId,
    place: Place,
    labels: Arc<Labels>,
    answered: u64,
    sealing: Option<(Sealing, Box<str>)>,
}

impl Writing {
    pub(super) fn append(
        &self,
        facts: &[Fact],
        stage: Option<Arc<str>>,
        park: Option<Duration>,
    ) -> Result<Append, String> {
        let sealed = match &self.sealing {
            Some((sealing, nonce)) => sealing
                .seal(nonce, facts)
                .map_err(|error| error.to_string())?,
            None if spot::kinds_of(facts) != (false, false) => {
                return Err("its key is not known".into());
            }
            None => facts.into(),
        };
        let body = codec::encode(&sealed).map_err(|error| error.to_string())?;
        let format = codec::format(&sealed).ok_or("it would be sealed in part")?;
        let mut append = Append::new(
            self.id,
            self.place,
            codec::status(facts),
            Arc::clone(&self.labels),
            format,
            body,
            rt::wall(),
        );
        append.stage = stage;
        append.version = spot::version_of(facts);
        if let Some(delay) = park {
            append = append.park(delay);
        }
        if self.answered > 0 {
            append = append.read(self.answered);
        }
        Ok(append)
    }
}

/// Why a saga of this form cannot go on here.
pub(super) fn changed(found: Option<&str>, form: Form<'_>) -> String {
    let (name, version) = (form.definition, form.version);
    match found {
        Some(found) => format!(
            "{name} version {version} has fingerprint {}, this program has {found}",
            form.fingerprint
        ),
        None => format!("{name} version {version} is not registered here"),
    }
}
