//! What takes two people: proposals, approvals, and what was turned away.

use super::authorize::Act;
use super::decide::{Expect, add, prepare};
use super::desk::{Command, Decided, Operator};
use super::error::OperatorError;
use crate::saga::SagaId;
use crate::saga::entry::{Denial, Fact, Proposal};
use crate::saga::error::{SagaError, cut};
use crate::saga::machine::Decision;

/// So many proposals are written about one incident.
pub const MOST_PROPOSALS: usize = 16;

/// So many refusals are written about one incident.
pub const MOST_REFUSALS: usize = 16;

impl<App: Send + Sync + 'static> Operator<App> {
    /// Writes down what another person must agree to. It is checked as if it were to be carried out.
    pub(super) async fn propose(
        &self,
        saga: SagaId,
        command: &Command,
        decision: &Decision,
    ) -> Result<Decided, OperatorError> {
        let engine = self.sagas.engine();
        if engine.is_stopping() {
            return Err(SagaError::Stopping.into());
        }
        let (log, _, history) = self.history(saga).await?;
        let Some(held) = &history.held else {
            return Err(SagaError::NotHeld(saga).into());
        };
        let expect = Expect {
            incident: Some(command.incident),
            proposal: None,
        };
        expect.of(saga, &history)?;
        if history.proposed >= MOST_PROPOSALS {
            return Err(OperatorError::TooMany(saga));
        }
        prepare(&**engine, &log, &history, decision)?;
        let number = history.proposals.saturating_add(1);
        let proposal = Proposal {
            number,
            incident: held.number,
            operation: decision.operation(),
            step: held.step.clone(),
            output: decision.given().cloned(),
            actor: decision.actor().into(),
            reason: decision.reason().into(),
        };
        let facts = [Fact::Proposed(proposal)];
        add(&**engine, &log.head, &history, &facts, None).await?;
        Ok(Decided::Proposed(number))
    }

    /// Agrees to what somebody else proposed, which is then carried out as they said, with this actor as the approver.
    ///
    /// # Errors
    ///
    /// [`OperatorError::NoProposal`], [`OperatorError::SameActor`], [`OperatorError::Denied`]; else as
    /// [`decide`](Self::decide).
    ///
    /// # Cancel safety
    ///
    /// As [`decide`](Self::decide).
    pub async fn approve(&self, saga: SagaId, number: u32) -> Result<(), OperatorError> {
        let (log, mut facts, proposal) = self.proposal(saga, number).await?;
        if is_same(&proposal.actor, &self.actor) {
            return Err(OperatorError::SameActor { id: saga, number });
        }
        let act = Act::Approve(proposal.operation);
        let about = Some((number, &*proposal.actor));
        let reason = Some(&*proposal.reason);
        self.allowed(act, &log.head, reason, about).await?;
        let mut decision = Decision::new(proposal.operation, &proposal.actor, &proposal.reason)
            .approver(self.actor.clone());
        if proposal.output.is_some() {
            // The start first: what is sealed is bound to it.
            facts.retain(|fact| match fact {
                Fact::Started(_) => true,
                Fact::Proposed(known) => known.number == number,
                _ => false,
            });
            self.open(&log.head, facts.iter_mut()).await?;
            let output = facts.into_iter().find_map(|fact| match fact {
                Fact::Proposed(proposal) => proposal.output,
                _ => None,
            });
            if let Some(output) = output {
                decision = decision.output(output);
            }
        }
        let expect = Expect {
            incident: Some(proposal.incident),
            proposal: Some(number),
        };
        Ok(self.sagas.decide_at(saga, decision, expect).await?)
    }

    /// Turns down what was proposed; whoever proposed it may take it back so. The saga waits on.
    ///
    /// # Errors
    ///
    /// [`OperatorError::NoProposal`], [`OperatorError::Denied`], [`SagaError::Unsigned`] without a reason,
    /// [`SagaError::Journal`] with a conflict when another operator was faster.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it recorded.
    pub async fn turn_down(
        &self,
        saga: SagaId,
        number: u32,
        reason: &str,
    ) -> Result<(), OperatorError> {
        if reason.trim().is_empty() {
            return Err(SagaError::Unsigned.into());
        }
        let (log, _, proposal) = self.proposal(saga, number).await?;
        let act = Act::TurnDown(proposal.operation);
        let about = Some((number, &*proposal.actor));
        self.allowed(act, &log.head, Some(reason), about).await?;
        let facts = [Fact::TurnedDown {
            proposal: number,
            actor: self.actor.clone(),
            reason: cut(reason),
        }];
        let engine = self.sagas.engine();
        let (log, _, history) = self.history(saga).await?;
        let open = history.proposal.as_ref();
        if open.is_none_or(|open| open.number != number) {
            return Err(OperatorError::NoProposal { id: saga, number });
        }
        Ok(add(&**engine, &log.head, &history, &facts, None).await?)
    }

    async fn proposal(
        &self,
        saga: SagaId,
        number: u32,
    ) -> Result<(crate::journal::Log, Vec<Fact>, Proposal), OperatorError> {
        let (log, facts, history) = self.history(saga).await?;
        let open = history.proposal.filter(|open| open.number == number);
        let open = open.ok_or(OperatorError::NoProposal { id: saga, number })?;
        Ok((log, facts, open))
    }

    /// Writes a refusal about an open incident, once for each actor and operation, and not without end.
    pub(super) async fn write_refusal(
        &self,
        act: Act,
        saga: SagaId,
        proposal: Option<u32>,
        why: &str,
    ) -> Result<(), OperatorError> {
        let (Act::Decide(operation) | Act::Approve(operation) | Act::TurnDown(operation)) = act
        else {
            return Ok(());
        };
        let (log, _, history) = self.history(saga).await?;
        let Some(held) = &history.held else {
            return Ok(());
        };
        let denial = Denial {
            incident: held.number,
            operation,
            proposal,
            actor: self.actor.clone(),
            why: why.into(),
        };
        let is_known = |known: &Denial| {
            (&known.actor, known.operation, known.proposal.is_some())
                == (&denial.actor, operation, proposal.is_some())
        };
        if history.denials.len() >= MOST_REFUSALS || history.denials.iter().any(is_known) {
            return Ok(());
        }
        let facts = [Fact::Refused(denial)];
        Ok(add(&**self.sagas.engine(), &log.head, &history, &facts, None).await?)
    }
}

/// Whether two names are surely the same person's.
fn is_same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}
