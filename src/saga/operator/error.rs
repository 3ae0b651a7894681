//! How an operator is told no.

use crate::journal::JournalError;
use crate::saga::SagaId;
use crate::saga::error::SagaError;

/// Why an operator's wish was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The actor may not do this.
    #[error("denied: {why}")]
    #[non_exhaustive]
    Denied {
        /// What the authoriser said.
        why: Box<str>,
    },
    /// There is no such proposal, or another took its place, or it was turned down or carried out.
    #[error("saga {id} has no open proposal {number}")]
    #[non_exhaustive]
    NoProposal {
        /// The saga.
        id: SagaId,
        /// The number that was given.
        number: u32,
    },
    /// Whoever proposed something cannot be the second person to agree.
    #[error("proposal {number} of saga {id} must be approved by another person")]
    #[non_exhaustive]
    SameActor {
        /// The saga.
        id: SagaId,
        /// The number of the proposal.
        number: u32,
    },
    /// So many proposals were made about this incident that no more are written.
    #[error("saga {0} has too many proposals about this incident")]
    TooMany(SagaId),
    /// The saga, or the journal, says no.
    #[error(transparent)]
    Saga(#[from] SagaError),
}

impl From<JournalError> for OperatorError {
    fn from(error: JournalError) -> Self {
        Self::Saga(error.into())
    }
}
