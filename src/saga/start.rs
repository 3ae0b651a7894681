//! The beginning of a saga: the one write that makes it one.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::SagaId;
use super::codec;
use super::engine::{BusinessKey, Cell, Engine, Leaving};
use super::entry::{FORMAT, Fact};
use super::error::SagaError;
use super::handle::{Phase, look};
use super::probe::{Site, What};
use crate::journal::{Begin, Begun, Labels};
use crate::observe;
use crate::rt;

/// Drawn once per saga.
pub(super) fn nonce() -> String {
    format!("{:016x}", rt::entropy())
}

/// A saga that is about to be in the journal.
pub(super) struct Start<App: Send + Sync + 'static> {
    pub(super) labels: Arc<Labels>,
    pub(super) facts: Vec<Fact>,
    pub(super) leaving: Leaving<App>,
}

impl<App: Send + Sync + 'static> Start<App> {
    /// Writes the start, and carries the saga on if it is new.
    pub(super) async fn begin(
        self,
        engine: Arc<Engine<App>>,
        key: BusinessKey,
        cell: Arc<Cell>,
        permit: OwnedSemaphorePermit,
    ) {
        let begin = match codec::encode(&self.facts) {
            Ok(body) => Begin::new(
                self.labels,
                &*key.definition,
                key.key,
                cell.digest.clone(),
                FORMAT,
                body,
                rt::wall(),
            ),
            Err(error) => {
                return self
                    .leaving
                    .tell(Phase::Refused(SagaError::Input(error.to_string())));
            }
        };
        let site = Site {
            what: What::Write,
            step: "".into(),
        };
        if engine.probed(&site, true).is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        let begun = engine.journal.begin(begin).await;
        if engine.probed(&site, false).is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        match begun {
            Err(error) => self.leaving.tell(Phase::Refused(error.into())),
            Ok(Begun::Created(head)) => {
                observe::saga_started(&head.kind, head.id.get());
                cell.phase.send_replace(Phase::Running(head.id.into()));
                engine.carry(head, Some(self.facts), cell, permit).await;
            }
            Ok(Begun::Existing(head)) => {
                drop(permit);
                let id: SagaId = head.id.into();
                if head.digest != cell.digest {
                    return self.leaving.tell(Phase::Refused(SagaError::OtherInput(id)));
                }
                let phase = match look(&*engine.journal, id).await {
                    Ok(Some(rest)) => Phase::Rested(id, rest),
                    Ok(None) => Phase::Elsewhere(id),
                    Err(error) => Phase::Refused(error),
                };
                self.leaving.tell(phase);
            }
        }
    }
}
