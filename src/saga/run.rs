//! Carries one saga on: asks the machine, does what it says, writes what became true.
//!
//! The barriers, in the words of the code below:
//!
//! 1. The start is durable before `start` returns and before the first effect (`Engine::begin`).
//! 2. An output is durable before the next effect: `record` returns before the loop asks the machine again.
//! 3. The decision to unwind is durable before the first undo: the same.
//! 4. An undo is durable before the one that follows it: the same.
//! 5. The end is durable before anybody is told: the phase changes after the last `record`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::SagaId;
use super::codec;
use super::cx::{Call, Purpose, idempotency_key};
use super::definition::{Opened, Registered};
use super::ended::{Incident, Rest};
use super::engine::{ASK_AGAIN, Engine, in_step};
use super::entry::{Class, Fact, Started};
use super::error::SagaError;
use super::handle::Phase;
use super::history::History;
use super::machine::{Attempt, Ending, Execution, Next, Verdict};
use super::offer;
use super::probe::{Site, What, Wish};
use super::seal::PATIENCE;
use super::sealing::{Sealing, Unsealed};
use super::spot;
use crate::journal::{Append, Head, JournalError, Place};
use crate::observe;
use crate::rng::Rng;
use crate::rt;

/// Why a run ends before its saga does.
pub(super) enum Leave {
    /// The engine stops, or the journal has.
    Stopped(SagaError),
    /// Somebody else carries the saga on.
    Elsewhere,
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
    engine: Arc<Engine<App>>,
    head: Head,
    place: Place,
    permit: Option<OwnedSemaphorePermit>,
    rng: Rng,
    /// How payloads are written, with the nonce they are bound to; until it is known none is.
    sealing: Option<(Sealing, Box<str>)>,
}

impl<App: Send + Sync + 'static> Run<App> {
    pub(super) fn new(engine: Arc<Engine<App>>, head: Head, permit: OwnedSemaphorePermit) -> Self {
        let place = head.place;
        Self {
            engine,
            head,
            place,
            permit: Some(permit),
            rng: Rng::new(rt::entropy()),
            sealing: None,
        }
    }

    fn id(&self) -> SagaId {
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
            Err(Leave::Stopped(error)) => Phase::Stopped(id, error),
            Err(Leave::Elsewhere) => Phase::Elsewhere(id),
            Err(Leave::Unreadable(reason)) => {
                let incident = Incident::unreadable(&self.head, &reason);
                self.engine.keep_unreadable(incident.clone());
                Phase::Rested(id, Rest::Incident(incident))
            }
        }
    }

    async fn go(&mut self, facts: Option<Vec<Fact>>) -> Result<Rest, Leave> {
        let fresh = facts.is_some();
        let mut facts = match facts {
            Some(facts) => facts,
            None => self.read().await?,
        };
        let mut history = History::of(&facts);
        if let Some(rest) = Rest::of(&self.head, &history) {
            return offer::opened(self.engine.codec.as_deref(), &self.head, &facts, rest)
                .await
                .map_err(Leave::Stopped);
        }
        let Some(mut started) = history.started.take() else {
            return Err(Leave::Unreadable("it does not begin with a start".into()));
        };
        let definition = match self.engine.definition(&started.definition, started.version) {
            Some(definition) if definition.fingerprint() == &*started.fingerprint => definition,
            found => {
                let why = changed(found.as_deref().map(Registered::fingerprint), &started);
                return self.hold(history, Class::DefinitionChanged, why).await;
            }
        };
        // Only now: what is held for another reason needs no key.
        let sealing = self.fetch().await?;
        let opened = sealing.and_then(|sealing| {
            // Those of a saga that has just begun are as they were given.
            let opened = if fresh {
                Ok(())
            } else {
                sealing.open(&started.nonce, &mut facts)
            };
            self.sealing = Some((sealing, started.nonce.clone()));
            opened
        });
        if let Err(error) = opened {
            return self
                .hold(history, Class::Unreadable, error.to_string())
                .await;
        }
        if let Some(Fact::Started(plain)) = facts.first() {
            started.clone_from(plain);
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
        let mut execution = if fresh {
            let mut execution = Execution::new(shape);
            execution.written(&facts).map(|()| execution)
        } else {
            Execution::replay(shape, &facts)
        }
        .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?;
        drop(facts);
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
                    number = number.saturating_add(1);
                    delay = ASK_AGAIN.delay(number, delay, &mut self.rng);
                    self.wait(delay).await?;
                }
                answer => return Ok(answer),
            }
        }
    }

    async fn read(&self) -> Result<Vec<Fact>, Leave> {
        let log = self
            .engine
            .ask(|journal| journal.load(self.head.id))
            .await?;
        codec::decode(&log).map_err(Leave::Unreadable)
    }

    /// Stops before anything is done, for a reason that concerns the saga as a whole.
    async fn hold(&mut self, history: History, class: Class, error: String) -> Result<Rest, Leave> {
        let trouble = history.trouble(class, error);
        let facts = [Fact::Incident(trouble.clone())];
        self.write(&facts).await?;
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
        loop {
            let next = execution.next();
            // What is durable is told, also by an engine that stops.
            if !matches!(next, Next::Hold | Next::End(_)) {
                self.go_on()?;
            }
            match next {
                Next::Write => self.record(execution, &[]).await?,
                Next::Run(step) => {
                    self.step(execution, definition, opened, started, step, false)
                        .await?
                }
                Next::Undo(step) => {
                    self.step(execution, definition, opened, started, step, true)
                        .await?
                }
                Next::Hold | Next::End(_) => {
                    return Rest::reached(&self.head, execution)
                        .ok_or_else(|| Leave::Unreadable("an end that is none".into()));
                }
            }
        }
    }

    /// Makes attempts of one step or undo until something about it is durable, or may wait for the next record.
    async fn step(
        &mut self,
        execution: &mut Execution,
        definition: &dyn Registered<App>,
        opened: &dyn Opened,
        started: &Started,
        step: usize,
        undo: bool,
    ) -> Result<(), Leave> {
        let (Some(policy), Some(name)) = (
            definition.policy(step, undo),
            definition.shape().steps.get(step).map(|step| &step.name),
        ) else {
            return Err(Leave::Unreadable(
                "a step that the definition does not have".into(),
            ));
        };
        let purpose = if undo { Purpose::Undo } else { Purpose::Do };
        let site = Site {
            what: if undo { What::Undo } else { What::Run },
            step: name.clone(),
        };
        let key = idempotency_key(self.id(), started, name, purpose);
        let undoes = undo.then(|| idempotency_key(self.id(), started, name, Purpose::Do));
        let business_key: Arc<str> = self.head.key.as_str().into();
        let given = if undo {
            execution.output_of(step)
        } else {
            execution.input_of(step)
        }
        .cloned();
        let first = rt::now();
        let over = policy.deadline.map(|deadline| first + deadline);
        let mut delay = Duration::ZERO;
        for number in 1_u32.. {
            self.go_on()?;
            let until = rt::now() + policy.timeout;
            let call = || Call {
                saga: self.id(),
                step: name.clone(),
                key: key.clone(),
                undoes: undoes.clone(),
                attempt: number,
                epoch: self.place.epoch,
                labels: Arc::clone(&self.head.labels),
                business_key: Arc::clone(&business_key),
                deadline: over.map_or(until, |over| over.min(until)),
            };
            let attempt = || in_step(opened.attempt(step, undo, call(), given.clone()));
            let ending = if over.is_some_and(|over| rt::now() >= over) {
                // The wait before this attempt took the rest of the time.
                Ending::TimedOut
            } else {
                self.attempt(&site, attempt).await?
            };
            let hint = match &ending {
                Ending::RetryAfter(_, after) => *after,
                _ => Duration::ZERO,
            };
            let last = over.is_some_and(|over| rt::now() >= over);
            match execution.settle(ending, Attempt::new(number, last)) {
                Ok(Verdict::Ride) => return Ok(()),
                Ok(Verdict::Record(facts)) => return self.record(execution, &facts).await,
                Ok(Verdict::Again) => {
                    delay = policy.backoff.delay(number, delay, &mut self.rng);
                    // No longer than there is time: its end is to be noticed when it comes.
                    let left = over.map_or(Duration::MAX, |over| over.since(rt::now()));
                    let after = delay.max(hint).min(left);
                    let id = self.head.id.get();
                    observe::saga_retried(&self.head.kind, id, name, undo, number, after);
                    self.wait(after).await?;
                }
                Err(illegal) => return Err(Leave::Unreadable(illegal.to_string())),
            }
        }
        // 2³² attempts take longer than the backoff of any policy lets a process live.
        Err(Leave::Stopped(SagaError::Stopping))
    }

    /// One attempt, and what a probe wants around it.
    async fn attempt<F: Future<Output = Ending>>(
        &self,
        site: &Site,
        attempt: impl Fn() -> F,
    ) -> Result<Ending, Leave> {
        let Some(probe) = &self.engine.probe else {
            return Ok(attempt().await);
        };
        let mut ending = match probe.before(site) {
            Wish::Crash => return Err(Leave::Stopped(SagaError::Stopping)),
            Wish::End(ending) => return Ok(ending),
            Wish::Go => attempt().await,
            Wish::Twice => {
                drop(attempt().await);
                attempt().await
            }
        };
        match probe.after(site) {
            Wish::Crash => return Err(Leave::Stopped(SagaError::Stopping)),
            Wish::End(other) => ending = other,
            Wish::Twice => ending = attempt().await,
            Wish::Go => {}
        }
        Ok(ending)
    }

    /// Waits between attempts. Waiting sagas do not count as in flight, so that they hold up no others.
    async fn wait(&mut self, delay: Duration) -> Result<(), Leave> {
        drop(self.permit.take());
        let engine = Arc::clone(&self.engine);
        let woken = async {
            rt::sleep(delay).await;
            engine.permit().await
        };
        tokio::select! {
            biased;
            () = self.engine.stopping() => Err(Leave::Stopped(SagaError::Stopping)),
            permit = woken => {
                self.permit = Some(permit.ok_or(Leave::Stopped(SagaError::Stopping))?);
                Ok(())
            }
        }
    }

    fn go_on(&self) -> Result<(), Leave> {
        if self.engine.is_stopping() {
            Err(Leave::Stopped(SagaError::Stopping))
        } else {
            Ok(())
        }
    }

    /// Makes the facts durable, together with those that waited, and only then true.
    async fn record(&mut self, execution: &mut Execution, facts: &[Fact]) -> Result<(), Leave> {
        let entry = execution.entry(facts);
        self.write(&entry).await?;
        execution
            .written(facts)
            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))
    }

    async fn write(&mut self, facts: &[Fact]) -> Result<(), Leave> {
        let unwritable =
            |why: String| Leave::Unreadable(format!("a record that cannot be written: {why}"));
        let sealed = match &self.sealing {
            Some((sealing, nonce)) => sealing
                .seal(nonce, facts)
                .map_err(|error| unwritable(error.to_string()))?,
            None if spot::kinds_of(facts) != (false, false) => {
                return Err(unwritable("its key is not known".into()));
            }
            None => facts.into(),
        };
        let body = codec::encode(&sealed).map_err(|error| unwritable(error.to_string()))?;
        let format = codec::format(&sealed)
            .ok_or_else(|| unwritable("it would be sealed in part".into()))?;
        let append = Append::new(
            self.head.id,
            self.place,
            codec::status(facts),
            Arc::clone(&self.head.labels),
            format,
            body,
            rt::wall(),
        );
        let site = Site {
            what: What::Write,
            step: "".into(),
        };
        self.engine.probed(&site, true)?;
        // The same record at the same place: if it is there already, the journal says so.
        self.engine
            .ask(|journal| journal.append(append.clone()))
            .await?;
        self.place = self.place.after();
        self.engine.probed(&site, false)
    }
}

fn changed(found: Option<&str>, started: &Started) -> String {
    let (name, version) = (&started.definition, started.version);
    match found {
        Some(found) => format!(
            "{name} version {version} began with fingerprint {}, this program has {found}",
            started.fingerprint
        ),
        None => format!("{name} version {version} is not registered here"),
    }
}
