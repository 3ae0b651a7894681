//! One person's view of all sagas.

use std::fmt;
use std::sync::Arc;

use super::authorize::{Act, Authorize, Permission, Request, ask};
use super::decide::{Expect, find};
use super::error::OperatorError;
use super::search::{Page, Search, Summary};
use super::story::{Shown, Story, entries, redact};
use crate::journal::{Head, JournalError, Log, Status};
use crate::observe;
use crate::rt;
use crate::saga::SagaId;
use crate::saga::cancel::CancelAnswer;
use crate::saga::codec;
use crate::saga::draw::Drawing;
use crate::saga::ended::Incident;
use crate::saga::entry::{Fact, Operation};
use crate::saga::error::{SagaError, cut};
use crate::saga::history::History;
use crate::saga::machine::Decision;
use crate::saga::payload::Payload;
use crate::saga::sagas::Sagas;
use crate::saga::sealing::Sealing;
use crate::saga::spot::nonce_of;

/// What an operator decides about one incident.
///
/// # Example
///
/// ```
/// use mainstay::saga::Payload;
/// use mainstay::saga::entry::Operation;
/// use mainstay::saga::operator::Command;
///
/// let output: Payload = serde_json::from_str(r#"{"transfer":7}"#)?;
/// let command = Command::new(Operation::SupplyOutput, 1, "the bank has it, statement 12").output(output);
/// # drop(command);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(super) operation: Operation,
    pub(super) incident: u32,
    pub(super) reason: Box<str>,
    pub(super) output: Option<Payload>,
}

impl Command {
    /// Does this about the incident with this [number](Incident::number), for this reason; long texts are cut.
    #[must_use]
    pub fn new(operation: Operation, incident: u32, reason: &str) -> Self {
        Self {
            operation,
            incident,
            reason: cut(reason),
            output: None,
        }
    }

    /// With the output that [`Operation::SupplyOutput`] needs.
    #[must_use]
    pub fn output(mut self, output: Payload) -> Self {
        self.output = Some(output);
        self
    }

    fn by(&self, actor: &str) -> Decision {
        let decision = Decision::new(self.operation, actor, &self.reason);
        match &self.output {
            Some(output) => decision.output(output.clone()),
            None => decision,
        }
    }
}

/// What became of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decided {
    /// It is recorded, and the saga goes on or has ended.
    CarriedOut,
    /// It waits for another person, under this number. The saga waits on.
    Proposed(u32),
}

impl<App: Send + Sync + 'static> Sagas<App> {
    /// What one person sees of the sagas and may do with them, as far as `authorize` says.
    ///
    /// `actor` is the name under which everything is recorded. The program must have made sure of it.
    ///
    /// The [module](super) has an example.
    #[must_use]
    pub fn operator(&self, authorize: Arc<dyn Authorize>, actor: &str) -> Operator<App> {
        Operator {
            sagas: self.clone(),
            authorize,
            actor: cut(actor),
        }
    }
}

/// One person's view of the sagas: made by [`Sagas::operator`]. The [module](super) has the rules and an example.
///
/// It holds the engine as a clone of [`Sagas`] does: make one for each request and drop it.
pub struct Operator<App: Send + Sync + 'static> {
    pub(super) sagas: Sagas<App>,
    authorize: Arc<dyn Authorize>,
    pub(super) actor: Box<str>,
}

impl<App: Send + Sync + 'static> Operator<App> {
    /// A page of the sagas that the actor may [list](Act::List), oldest first.
    ///
    /// With a [class](Search::class) the logs of a page are read, without one none is.
    ///
    /// # Errors
    ///
    /// [`SagaError::Journal`]. Nobody is told what they may not see.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn search(&self, search: &Search) -> Result<Page<Summary>, OperatorError> {
        let (heads, next) = self.heads(search).await?;
        let mut found = Vec::new();
        for head in heads {
            let fits = match search.class {
                None => true,
                Some(class) => {
                    let incident = self.incident_of(&head).await?;
                    incident.is_some_and(|incident| incident.class == class)
                }
            };
            let summary = Summary::of(&head);
            if fits && self.may_list(&summary).await {
                found.push(summary);
            }
        }
        Ok(Page::new(found, next))
    }

    /// A page of the open incidents of sagas that the actor may [list](Act::List), oldest first, each with what can be
    /// [decided](Incident::operations) about it. The status that the search says is taken for
    /// [held](Status::Held). The first page also has the sagas whose logs this engine could not read.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn incidents(&self, search: &Search) -> Result<Page<Incident>, OperatorError> {
        let (heads, next) = self.heads(&search.held()).await?;
        let mut found = Vec::new();
        if search.listing.after.is_none() {
            for incident in self.sagas.engine().unreadable() {
                let head = match find(&*self.sagas.engine().journal, incident.saga).await {
                    Ok(head) if head.status == Status::Running => head,
                    // Held, it is among the others; ended or gone, it is none.
                    Ok(_) | Err(SagaError::Journal(JournalError::Missing(_))) => continue,
                    Err(error) => return Err(error.into()),
                };
                if search.fits(&incident) && self.may_list(&Summary::of(&head)).await {
                    found.push(incident);
                }
            }
        }
        for head in heads {
            let Some(incident) = self.incident_of(&head).await? else {
                continue;
            };
            let fits = search.class.is_none_or(|class| class == incident.class);
            if fits && self.may_list(&Summary::of(&head)).await {
                found.push(incident);
            }
        }
        Ok(Page::new(found, next))
    }

    /// The history of one saga: every fact with its record, its time and its epoch; errors, attempts, timings, and what
    /// was proposed and refused. Payloads are redacted unless the authoriser grants them.
    ///
    /// A log that cannot be read in whole is told as far as it can be.
    ///
    /// # Errors
    ///
    /// [`OperatorError::Denied`], [`SagaError::Journal`].
    ///
    /// # Cancel safety
    ///
    /// Changes nothing, but a denial may be written.
    pub async fn story(&self, saga: SagaId) -> Result<Story, OperatorError> {
        let (log, damage) = self.log(saga).await?;
        let granted = self.allowed_to_read(&log.head).await?;
        let (mut entries, wrong) = entries(&log);
        let facts = entries.iter_mut().map(|entry| &mut entry.fact);
        let shown = if granted {
            match self.open(&log.head, facts).await {
                Ok(()) => Shown::Yes,
                Err(error) => {
                    redact(entries.iter_mut().map(|entry| &mut entry.fact));
                    Shown::Sealed(error.to_string())
                }
            }
        } else {
            redact(facts);
            Shown::Redacted
        };
        Ok(Story::of(&log, entries, shown, damage.or(wrong)))
    }

    /// Where one saga stands, to be drawn: its definition where this program knows it, else the steps that its history
    /// names. There is no payload, error or name of a person in it.
    ///
    /// # Errors
    ///
    /// As [`story`](Self::story).
    ///
    /// # Cancel safety
    ///
    /// As [`story`](Self::story).
    pub async fn drawing(&self, saga: SagaId) -> Result<Drawing, OperatorError> {
        let (log, _) = self.log(saga).await?;
        self.allowed_to_read(&log.head).await?;
        let (entries, _) = entries(&log);
        let facts: Vec<Fact> = entries.into_iter().map(|entry| entry.fact).collect();
        let history = History::of(&facts);
        let form = history.form();
        let shape = form.and_then(|form| self.sagas.engine().shape_of(form));
        Ok(match shape {
            Some(shape) => Drawing::of_execution(&shape, &facts),
            None => Drawing::of_log(&facts),
        })
    }

    /// Decides about the open incident of a saga, or proposes to where two must agree.
    ///
    /// # Errors
    ///
    /// [`OperatorError::Denied`]; [`OperatorError::TooMany`] of proposals; else as [`Sagas::decide`], and
    /// [`SagaError::NotAllowed`] when the command was about an incident that is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision or the proposal recorded; the saga then goes on as decided.
    pub async fn decide(&self, saga: SagaId, command: &Command) -> Result<Decided, OperatorError> {
        let decision = command.by(&self.actor);
        if !decision.is_signed() {
            return Err(SagaError::Unsigned.into());
        }
        let head = self.head(saga).await?;
        let act = Act::Decide(command.operation);
        let reason = Some(&*command.reason);
        match self.permission(act, &head, reason, None).await {
            Permission::Granted { .. } => {
                let expect = Expect {
                    incident: Some(command.incident),
                    proposal: None,
                };
                self.sagas.decide_at(saga, decision, expect).await?;
                Ok(Decided::CarriedOut)
            }
            Permission::NeedsSecond if command.incident == 0 => {
                let why = "a proposal is written into the log, and this one cannot be read";
                Err(self.refused(act, &head, None, why).await)
            }
            Permission::NeedsSecond => self.propose(saga, command, &decision).await,
            Permission::Denied { why } => Err(self.refused(act, &head, None, &why).await),
        }
    }

    /// Asks for a saga to be undone, see [`Sagas::cancel`].
    ///
    /// # Errors
    ///
    /// [`OperatorError::Denied`], also where the authoriser wants a second person; else as [`Sagas::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sagas::cancel`].
    pub async fn cancel(&self, saga: SagaId, reason: &str) -> Result<CancelAnswer, OperatorError> {
        let head = self.head(saga).await?;
        self.allowed(Act::Cancel, &head, Some(reason), None).await?;
        Ok(self.sagas.cancel(saga, &self.actor, reason).await?)
    }

    // === what is asked of the journal ===

    async fn heads(&self, search: &Search) -> Result<(Vec<Head>, Option<SagaId>), OperatorError> {
        let heads = self
            .sagas
            .engine()
            .journal
            .list(search.listing.clone())
            .await?;
        let is_full = heads.len() >= search.listing.limit;
        let next = heads.last().filter(|_| is_full).map(|head| head.id.into());
        Ok((heads, next))
    }

    pub(super) async fn head(&self, saga: SagaId) -> Result<Head, OperatorError> {
        Ok(find(&*self.sagas.engine().journal, saga).await?)
    }

    /// A log, and what the store says is wrong with it; then it has a head only.
    async fn log(&self, saga: SagaId) -> Result<(Log, Option<String>), OperatorError> {
        let journal = &self.sagas.engine().journal;
        match journal.load(saga.log()).await {
            Err(JournalError::Damaged { reason, .. }) => {
                let head = find(&**journal, saga).await?;
                let log = Log {
                    head,
                    records: Vec::new(),
                    mail: Vec::new(),
                };
                Ok((log, Some(reason)))
            }
            log => Ok((log?, None)),
        }
    }

    async fn incident_of(&self, head: &Head) -> Result<Option<Incident>, OperatorError> {
        match self.sagas.read(head.id.into()).await {
            Ok((log, history)) => Ok(Incident::of(&log.head, &history)),
            Err(SagaError::Unreadable { reason, .. }) => {
                Ok(Some(Incident::unreadable(head, &reason)))
            }
            // It was pruned since it was listed.
            Err(SagaError::Journal(JournalError::Missing(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what is sealed, or leaves some of it sealed and says why.
    pub(super) async fn open<'a>(
        &self,
        head: &Head,
        facts: impl Iterator<Item = &'a mut Fact>,
    ) -> Result<(), SagaError> {
        let id: SagaId = head.id.into();
        let codec = self.sagas.engine().codec.as_deref();
        let sealing = Sealing::of_log(codec, head).await;
        let sealing = sealing.map_err(|error| error.of(id))?;
        let mut facts: Vec<&mut Fact> = facts.collect();
        let nonce = match facts.first() {
            Some(first) => nonce_of(std::slice::from_ref(&**first)).to_owned(),
            None => return Ok(()),
        };
        let facts = facts.iter_mut().map(|fact| &mut **fact);
        sealing.open(&nonce, facts).map_err(|error| error.of(id))
    }

    // === what is asked of the authoriser ===

    pub(super) async fn permission(
        &self,
        act: Act,
        head: &Head,
        reason: Option<&str>,
        proposer: Option<&str>,
    ) -> Permission {
        self.asked(act, &Summary::of(head), reason, proposer).await
    }

    async fn asked(
        &self,
        act: Act,
        saga: &Summary,
        reason: Option<&str>,
        proposer: Option<&str>,
    ) -> Permission {
        if self.actor.trim().is_empty() {
            return Permission::denied("an operator has a name");
        }
        let request = Request {
            actor: &self.actor,
            act,
            saga,
            reason,
            proposer,
        };
        ask(&*self.authorize, request).await
    }

    async fn may_list(&self, saga: &Summary) -> bool {
        let answer = self.asked(Act::List, saga, None, None).await;
        matches!(answer, Permission::Granted { .. })
    }

    /// Whether payloads are shown, to one who may read at all.
    async fn allowed_to_read(&self, head: &Head) -> Result<bool, OperatorError> {
        self.allowed(Act::Read, head, None, None).await
    }

    /// Where there is no second person.
    pub(super) async fn allowed(
        &self,
        act: Act,
        head: &Head,
        reason: Option<&str>,
        about: Option<(u32, &str)>,
    ) -> Result<bool, OperatorError> {
        let proposer = about.map(|(_, proposer)| proposer);
        let why = match self.permission(act, head, reason, proposer).await {
            Permission::Granted { payloads } => return Ok(payloads),
            Permission::NeedsSecond => "only decisions about incidents can be proposed".into(),
            Permission::Denied { why } => why,
        };
        let number = about.map(|(number, _)| number);
        Err(self.refused(act, head, number, &why).await)
    }

    /// Writes a refusal down, as far as that is bounded, and says it.
    pub(super) async fn refused(
        &self,
        act: Act,
        head: &Head,
        proposal: Option<u32>,
        why: &str,
    ) -> OperatorError {
        let engine = self.sagas.engine();
        let why = cut(why);
        if !matches!(act, Act::List | Act::Read | Act::Cancel) && head.status == Status::Held {
            // It was refused, whether or not that could be written.
            drop(
                self.write_refusal(act, head.id.into(), proposal, &why)
                    .await,
            );
        }
        if engine.audit.admit(rt::now()) {
            observe::operator_refused(&head.kind, head.id.get(), act.as_str());
        }
        OperatorError::Denied { why }
    }

    /// A log that can be read, with its history.
    pub(super) async fn history(
        &self,
        saga: SagaId,
    ) -> Result<(Log, Vec<Fact>, History), OperatorError> {
        let log = self.sagas.engine().journal.load(saga.log()).await?;
        let facts =
            codec::decode(&log).map_err(|reason| SagaError::Unreadable { id: saga, reason })?;
        let history = History::of(&facts);
        Ok((log, facts, history))
    }
}

impl<App: Send + Sync + 'static> Clone for Operator<App> {
    fn clone(&self) -> Self {
        Self {
            sagas: self.sagas.clone(),
            authorize: Arc::clone(&self.authorize),
            actor: self.actor.clone(),
        }
    }
}

impl<App: Send + Sync + 'static> fmt::Debug for Operator<App> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator")
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}
