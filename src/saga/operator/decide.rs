//! What the program itself sees and decides, and how a decision is carried out.

use std::sync::Arc;

use crate::journal::{Append, Head, Journal, JournalError, Listing, Log, LogId, Status};
use crate::observe::{self, JournalCall};
use crate::rt;
use crate::saga::SagaId;
use crate::saga::codec;
use crate::saga::ended::Incident;
use crate::saga::engine::{BusinessKey, Cell, Engine, Leaving};
use crate::saga::entry::{Class, Fact, Operation};
use crate::saga::error::SagaError;
use crate::saga::handle::{self, Away, Phase};
use crate::saga::history::{Form, History};
use crate::saga::machine::{Decision, Execution, give_up, give_up_unread};
use crate::saga::offer;
use crate::saga::payload::Payload;
use crate::saga::sagas::Sagas;

/// Incidents are listed in pages of this size.
const PAGE: usize = 256;

impl<App: Send + Sync + 'static> Sagas<App> {
    /// Every saga that waits for an operator, oldest first: those that the journal holds, of whatever definition, and
    /// those whose logs this engine could not read.
    ///
    /// # Errors
    ///
    /// [`SagaError::Journal`]. A log that cannot be read is listed and is no error.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn incidents(&self) -> Result<Vec<Incident>, SagaError> {
        let journal = &self.engine().journal;
        let mut incidents = self.engine().unreadable();
        let mut listing = Listing::new(Status::Held, PAGE);
        loop {
            let page = journal.list(listing.clone()).await?;
            let Some(last) = page.last() else { break };
            listing = listing.after(last.id);
            for head in page {
                let incident = match self.read(head.id.into()).await {
                    Ok((log, history)) => Incident::of(&log.head, &history),
                    Err(SagaError::Unreadable { reason, .. }) => {
                        Some(Incident::unreadable(&head, &reason))
                    }
                    Err(error) => return Err(error),
                };
                incidents.extend(incident);
            }
        }
        incidents.sort_by_key(|incident| incident.saga);
        Ok(incidents)
    }

    /// Unfinished sagas of definitions, and of versions of them, that were not registered here, oldest first. Nobody in this
    /// process carries them on: after a version was taken out of a program, this is where its sagas are seen.
    ///
    /// # Errors
    ///
    /// [`SagaError::Journal`].
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn unregistered(&self) -> Result<Vec<Head>, SagaError> {
        let engine = self.engine();
        let mut found = Vec::new();
        let mut listing = Listing::new(Status::Running, PAGE);
        loop {
            let page = engine.journal.list(listing.clone()).await?;
            let Some(last) = page.last() else { break };
            listing = listing.after(last.id);
            let unknown = |head: &Head| !engine.takes_up(&head.kind, head.version);
            found.extend(page.into_iter().filter(unknown));
        }
        Ok(found)
    }

    /// Lets a saga that waits go on where it stopped, in the direction it had.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotHeld`] when it does not wait, [`SagaError::StillHeld`] when the program's definition is still
    /// not the one whose form the saga has, and none that takes it over ([`migration`](crate::saga::migration)),
    /// [`SagaError::Unsigned`] without an actor or a reason, [`SagaError::Journal`] with a conflict when another operator
    /// was faster.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded; the saga then goes on at once or with the next engine.
    pub async fn retry(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), SagaError> {
        self.decide(saga, Decision::new(Operation::Retry, actor, reason))
            .await
    }

    /// Ends a saga that waits, as it is. What was done stays done, and nothing is undone.
    ///
    /// One whose log cannot be read is ended without being read: its log stays as it is, with one record at its end that
    /// says who and why.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry), without `StillHeld`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded.
    pub async fn abandon(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), SagaError> {
        self.decide(saga, Decision::new(Operation::Abandon, actor, reason))
            .await
    }

    /// Carries out an operator's decision about a saga that waits: any of [`Incident::operations`].
    ///
    /// This is the word of the program itself: nobody is asked whether the actor may. For people, see
    /// [`operator`](Self::operator).
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry); [`SagaError::NotAllowed`] when the operation makes no sense there, or its output does
    /// not read as the step's.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded; the saga then goes on at once or with the next engine.
    pub async fn decide(&self, saga: SagaId, decision: Decision) -> Result<(), SagaError> {
        self.decide_at(saga, decision, Expect::default()).await
    }

    /// The same, of a saga that is still as the caller saw it.
    pub(super) async fn decide_at(
        &self,
        saga: SagaId,
        decision: Decision,
        expect: Expect,
    ) -> Result<(), SagaError> {
        if !decision.is_signed() {
            return Err(SagaError::Unsigned);
        }
        if self.engine().is_stopping() {
            return Err(SagaError::Stopping);
        }
        let sagas = self.clone();
        let (answer, answered) = tokio::sync::oneshot::channel();
        // On a task of its own: a caller that goes away must not leave a decision that nobody carries out.
        let engine = Arc::clone(self.engine());
        self.engine().spawn(async move {
            let result = decide(&sagas, saga, &decision, expect).await;
            drop(sagas);
            drop(engine);
            // A caller that no longer listens finds the decision in the history.
            drop(answer.send(result));
        });
        answered.await.unwrap_or(Err(SagaError::Stopping))
    }

    pub(super) async fn read(&self, id: SagaId) -> Result<(Log, History), SagaError> {
        read(&*self.engine().journal, id).await
    }
}

/// What a decision was made about. It is not carried out about anything else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expect {
    /// The number of the open incident.
    pub(super) incident: Option<u32>,
    /// The number of the open proposal.
    pub(super) proposal: Option<u32>,
}

impl Expect {
    pub(super) fn of(self, saga: SagaId, history: &History) -> Result<(), SagaError> {
        let open = history.held.as_ref().map_or(0, |held| held.number);
        if let Some(expected) = self.incident.filter(|expected| *expected != open) {
            return Err(SagaError::NotAllowed {
                id: saga,
                reason: format!("incident {expected} is over, {open} is open"),
            });
        }
        let open = history.proposal.as_ref().map(|proposal| proposal.number);
        if self.proposal.is_some() && self.proposal != open {
            return Err(SagaError::NotAllowed {
                id: saga,
                reason: "the proposal is off, or another took its place".into(),
            });
        }
        Ok(())
    }
}

async fn read(journal: &dyn Journal, id: SagaId) -> Result<(Log, History), SagaError> {
    let (log, facts) = load(journal, id).await?;
    Ok((log, History::of(&facts)))
}

/// A log and its facts.
pub(in crate::saga) async fn load(
    journal: &dyn Journal,
    id: SagaId,
) -> Result<(Log, Vec<Fact>), SagaError> {
    let log = match journal.load(id.log()).await {
        Err(JournalError::Damaged { reason, .. }) => {
            return Err(SagaError::Unreadable { id, reason });
        }
        other => other?,
    };
    let facts = codec::decode(&log).map_err(|reason| SagaError::Unreadable { id, reason })?;
    Ok((log, facts))
}

/// Whether this very record is where it was to be.
async fn is_written<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    append: &Append,
) -> Result<bool, JournalError> {
    let log = engine.ask(|journal| journal.load(append.id)).await?;
    let place = append.expect.after();
    let mut records = log.records.iter();
    Ok(records.any(|record| record.seq == place.records && record.body == append.body))
}

/// The facts by which a decision becomes true, and what the saga is at then.
pub(super) fn prepare<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    log: &Log,
    history: &History,
    decision: &Decision,
) -> Result<(Vec<Fact>, Option<Arc<str>>), SagaError> {
    let saga: SagaId = log.head.id.into();
    let Some(held) = &history.held else {
        return Err(SagaError::NotHeld(saga));
    };
    if decision.operation() == Operation::Abandon {
        return Ok((give_up(held, decision), None));
    }
    let still = SagaError::StillHeld {
        id: saga,
        class: Class::DefinitionChanged,
    };
    let Some(form) = history.form() else {
        return Err(still);
    };
    let shape = engine.shape_of(form).ok_or(still)?;
    let unreadable = |reason| SagaError::Unreadable { id: saga, reason };
    let facts = codec::decode_dated(log).map_err(unreadable)?;
    let dated = facts.iter().map(|(fact, at)| (fact, *at));
    let execution = Execution::replay(Arc::clone(&shape), dated)
        .map_err(|illegal| unreadable(illegal.to_string()))?;
    let not_allowed = |reason| SagaError::NotAllowed { id: saga, reason };
    let facts = execution
        .decide(decision)
        .map_err(|illegal| not_allowed(illegal.to_string()))?;
    for fact in &facts {
        if let Fact::Done { step, output } = fact {
            let mut steps = shape.steps.iter();
            let index = steps.position(|known| known.name == *step).unwrap_or(0);
            let fits = reads(engine, form, index, output);
            fits.map_err(|why| not_allowed(format!("the output: {why}")))?;
        }
    }
    let stage = execution.stage_after(&facts);
    Ok((facts, stage))
}

/// Whether an operator's word for the output of a step reads as one. Of a form that is only taken over from the types are
/// not known: there, what the output becomes is to read as that of the step that takes its place.
///
/// It must not be refused because the saga is to be carried over first. One that waits is not, and what else there is for
/// a step in doubt is to run it again.
fn reads<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    form: Form<'_>,
    index: usize,
    output: &Payload,
) -> Result<(), String> {
    if let Some(known) = engine.known(form) {
        return known.fits(index, output).map_err(|error| error.0);
    }
    let Some((plan, to)) = engine.migrations.of(form) else {
        return Err("its type is not known here".into());
    };
    match plan.becomes(index, output)? {
        Some((index, output)) => to.fits(index, &output).map_err(|error| error.0),
        // Nothing will read it.
        None => Ok(()),
    }
}

/// Adds what an operator said where the log ends. Nothing is written if it has gone on since it was read.
pub(super) async fn add<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    head: &Head,
    history: &History,
    facts: &[Fact],
    stage: Option<Arc<str>>,
) -> Result<(), SagaError> {
    let nonce = history.started.as_ref().map(|started| &*started.nonce);
    let codec = engine.codec.as_deref();
    let added = offer::added(codec, head, nonce.unwrap_or_default(), facts).await?;
    let unwritable = |reason: String| SagaError::Unreadable {
        id: head.id.into(),
        reason,
    };
    let body = codec::encode(&added).map_err(|error| unwritable(error.to_string()))?;
    let format =
        codec::format(&added).ok_or_else(|| unwritable("it would be sealed in part".into()))?;
    let mut append = Append::new(
        head.id,
        head.place,
        codec::status(facts),
        Arc::clone(&head.labels),
        format,
        body,
        rt::wall(),
    );
    append.stage = stage;
    // A decision whose reply is lost is a decision: it must be carried out.
    let written = engine
        .ask_as(JournalCall::Append, |journal| {
            journal.append(append.clone())
        })
        .await;
    if let Err(error) = written {
        // The log is free for all as soon as the decision is written: if its reply was lost, somebody may have it.
        let conflict = matches!(error, JournalError::Conflict { .. });
        if !conflict || !is_written(engine, &append).await? {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Records the decision and, for a retry, carries the saga on.
async fn decide<App: Send + Sync + 'static>(
    sagas: &Sagas<App>,
    saga: SagaId,
    decision: &Decision,
    expect: Expect,
) -> Result<(), SagaError> {
    let engine = sagas.engine();
    let (log, history) = match sagas.read(saga).await {
        Err(SagaError::Unreadable { reason, .. }) => {
            if expect.incident.is_some_and(|incident| incident != 0) {
                return Err(SagaError::Unreadable { id: saga, reason });
            }
            return give_up_unreadable(engine, saga, decision, reason).await;
        }
        read => read?,
    };
    if history.held.is_none() && engine.is_unreadable(saga) {
        // Its facts read, and are not those of a saga.
        let reason = "it breaks the rules of sagas".to_owned();
        return give_up_unreadable(engine, saga, decision, reason).await;
    }
    if history.held.is_none() {
        return Err(SagaError::NotHeld(saga));
    }
    expect.of(saga, &history)?;
    let (facts, stage) = prepare(engine, &log, &history, decision)?;
    let head = log.head;
    let cell = Cell::new(head.digest.clone(), Phase::Running(saga));
    let business = BusinessKey::of(&head);
    // Entered before the decision is written, so that whoever starts the same key from now on finds this run.
    if engine.enter(&business, &cell).is_some() {
        return Err(SagaError::NotHeld(saga));
    }
    let leaving = Leaving::new(Arc::clone(engine), business, cell);
    add(&**engine, &head, &history, &facts, stage).await?;
    let codec = engine.codec.as_deref();
    if codec::status(&facts) == Status::Running {
        // Nobody's now. Whoever claims it first carries it on, this engine most likely.
        leaving.tell(Phase::Elsewhere(saga, Away::Taken));
        engine.look();
    } else if let Ok(Some(rest)) = handle::look(&*engine.journal, codec, saga).await {
        observe::saga_ended(&head.kind, saga.get(), rest.as_str());
        leaving.tell(Phase::Rested(saga, rest));
    }
    Ok(())
}

/// Ends a log without reading it (rule 26 of the machine).
async fn give_up_unreadable<App: Send + Sync + 'static>(
    engine: &Arc<Engine<App>>,
    saga: SagaId,
    decision: &Decision,
    reason: String,
) -> Result<(), SagaError> {
    if decision.operation() != Operation::Abandon {
        return Err(SagaError::Unreadable { id: saga, reason });
    }
    let head = find(&*engine.journal, saga).await?;
    if head.status == Status::Ended || engine.carries(head.id) {
        return Err(SagaError::NotHeld(saga));
    }
    // A newer program may read what this one cannot.
    if head.owner.is_some() && head.owner != engine.known_as() {
        return Err(SagaError::NotAllowed {
            id: saga,
            reason: "another instance carries it on, and may be able to read it".into(),
        });
    }
    let facts = give_up_unread(decision);
    add(&**engine, &head, &History::default(), &facts, None).await?;
    engine.forget_unreadable(saga);
    observe::saga_ended(&head.kind, saga.get(), "abandoned");
    Ok(())
}

/// The head of a log, whether or not the log can be read.
pub(super) async fn find(journal: &dyn Journal, saga: SagaId) -> Result<Head, SagaError> {
    let before = saga.get().checked_sub(1).map(LogId::new);
    for status in [Status::Held, Status::Running, Status::Ended] {
        let mut listing = Listing::new(status, 1);
        listing.after = before;
        let found = journal.list(listing).await?;
        if let Some(head) = found.into_iter().find(|head| head.id == saga.log()) {
            return Ok(head);
        }
    }
    Err(JournalError::Missing(saga.log()).into())
}
