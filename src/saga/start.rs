//! The beginning of a saga: the one write that makes it one.

use std::sync::Arc;

use super::SagaId;
use super::codec;
use super::engine::{BusinessKey, Cell, Engine, Leaving};
use super::entry::Fact;
use super::error::SagaError;
use super::handle::{Away, Phase, rest};
use super::offer::Offer;
use super::probe::{Site, What};
use super::room::Seat;
use super::run::run_span;
use super::spot::nonce_of;
use crate::journal::{Begin, Begun, Epoch, Head, JournalError, Place};
use crate::observe::{self, JournalCall, Origin};
use crate::rt;

/// Drawn once per saga.
pub(super) fn nonce() -> String {
    format!("{:016x}", rt::entropy())
}

/// A saga that is about to be in the journal.
pub(super) struct Start<App: Send + Sync + 'static> {
    pub(super) version: u32,
    pub(super) offer: Arc<Offer>,
    pub(super) facts: Vec<Fact>,
    /// Its first step.
    pub(super) stage: Arc<str>,
    pub(super) leaving: Leaving<App>,
    /// Who starts it.
    pub(super) origin: Origin,
}

impl<App: Send + Sync + 'static> Start<App> {
    /// Writes the start, and carries the saga on if it is new.
    pub(super) async fn begin(
        self,
        engine: Arc<Engine<App>>,
        key: BusinessKey,
        cell: Arc<Cell>,
        permit: Option<Seat>,
    ) {
        let sealing = &self.offer.sealing;
        let sealed = match sealing.proven(nonce_of(&self.facts), &self.facts) {
            Ok(sealed) => sealed,
            Err(error) => return self.leaving.tell(Phase::Refused(error.into())),
        };
        let begin = match (codec::encode(&sealed), codec::format(&sealed)) {
            (Ok(body), Some(format)) => Begin::new(
                Arc::clone(sealing.labels()),
                &*key.definition,
                key.key,
                cell.digest.clone(),
                format,
                body,
                rt::wall(),
            ),
            (Err(error), _) => {
                return self
                    .leaving
                    .tell(Phase::Refused(SagaError::Input(error.to_string())));
            }
            (_, None) => {
                let why = "it would be sealed in part".to_owned();
                return self.leaving.tell(Phase::Refused(SagaError::Input(why)));
            }
        };
        let site = Site {
            what: What::Write,
            step: "".into(),
        };
        // What begins here is carried on here.
        let Some(instance) = engine.instance().await else {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        };
        let begin = begin
            .version(self.version)
            .owner(instance)
            .stage(self.stage.clone());
        if engine.probed(&site, true).await.is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        let begun = begin_once(&engine, &begin).await;
        if engine.probed(&site, false).await.is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        match begun {
            Err(error) => self.leaving.tell(Phase::Refused(error.into())),
            Ok(Begun::Created(head)) => {
                observe::saga_started(&head.kind, head.id.get());
                // Before the caller is told, so that its span is not kept open beyond its end.
                let span = run_span(&head, self.origin);
                engine.runs(&cell, head.id);
                let permit = match permit {
                    Some(permit) => Some(permit),
                    None => engine.permit(&head.labels.tenant, &head.kind).await,
                };
                // Without one the engine stops, and those who wait are told so by the drop of what leaves.
                match permit {
                    Some(permit) => {
                        let facts = Some(self.facts);
                        // A future of its own: it lives far longer than all that was needed until here.
                        Box::pin(engine.carry(head, facts, cell, permit, span)).await;
                    }
                    None => engine.give_back(&head).await,
                }
            }
            Ok(Begun::Existing(head)) => {
                drop(permit);
                // Most keys are new.
                let phase = Box::pin(found(&engine, &self.offer, &head)).await;
                self.leaving.tell(phase);
            }
        }
    }
}

/// What became of the saga that has the key already, if it is one of the same input.
async fn found<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    offer: &Offer,
    head: &Head,
) -> Phase {
    let id: SagaId = head.id.into();
    let codec = engine.codec.as_deref();
    match offer.is_of(codec, &head.digest).await {
        Ok(true) => {}
        Ok(false) => return Phase::Refused(SagaError::OtherInput(id)),
        Err(error) => return Phase::Refused(error.of(id)),
    }
    let log = engine.ask(|journal| journal.load(id.log())).await;
    let rest = match log {
        Ok(log) => rest(codec, &log).await,
        Err(error) => Err(error.into()),
    };
    match rest {
        Ok(Some(rest)) => Phase::Rested(id, rest),
        Ok(None) => Phase::Elsewhere(id, Away::Taken),
        Err(error) => Phase::Refused(error),
    }
}

/// Begins a log, whatever replies are lost: one that is found after a lost reply, and that nobody has touched since, is
/// this start's own if it begins with the same record. The nonce in it makes that certain.
async fn begin_once<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    begin: &Begin,
) -> Result<Begun, JournalError> {
    let begun = engine.ask_as(JournalCall::Begin, |journal| journal.begin(begin.clone()));
    let head = match begun.await? {
        Begun::Existing(head) if head.place == Place::new(Epoch::FIRST, 1) => head,
        begun => return Ok(begun),
    };
    let log = engine.ask(|journal| journal.load(head.id)).await?;
    let mine =
        log.head.place == head.place && log.records.iter().all(|record| record.body == begin.body);
    Ok(if mine {
        Begun::Created(head)
    } else {
        Begun::Existing(head)
    })
}
