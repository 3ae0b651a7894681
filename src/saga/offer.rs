//! The two ends of a saga where a caller's values are: what a start brings, and what an end gives.

use std::borrow::Cow;
use std::sync::Arc;

use super::SagaId;
use super::ended::Rest;
use super::entry::Fact;
use super::error::SagaError;
use super::payload::Payload;
use super::seal::{PayloadCodec, SealError};
use super::sealing::{SEALED_DIGEST, Sealing, Unsealed};
use super::spot::{kinds_of, nonce_of};
use crate::journal::{Head, Labels};

/// What a start brings: the input, and how it will be told from others.
pub(super) struct Offer {
    pub(super) input: Payload,
    pub(super) digest: String,
    pub(super) sealing: Sealing,
}

impl Offer {
    pub(super) fn new(input: Payload, sealing: Sealing) -> Result<Self, Unsealed> {
        Ok(Self {
            digest: sealing.digest(&input)?,
            input,
            sealing,
        })
    }

    /// Whether a saga that began with this digest began with this input. One that began under another key is asked
    /// with that key.
    pub(super) async fn is_of(
        &self,
        codec: Option<&dyn PayloadCodec>,
        digest: &str,
    ) -> Result<bool, Unsealed> {
        if self.digest == digest {
            return Ok(true);
        }
        let Some((key_id, _)) = digest
            .strip_prefix(SEALED_DIGEST)
            .and_then(|rest| rest.rsplit_once(':'))
        else {
            // It began plain.
            return Ok(self.sealing.key.is_some() && self.input.digest() == digest);
        };
        let mine = &self.sealing;
        if mine.key.is_some() && mine.labels.key_id.as_deref() == Some(key_id) {
            return Ok(false);
        }
        if codec.is_none() {
            let error = SealError::refused("it is sealed, and this engine has no codec");
            return Err(Unsealed::new(Some(key_id), "the digest", error));
        }
        let mut labels = Labels::clone(&mine.labels);
        labels.key_id = Some(key_id.into());
        let kind = Arc::clone(&mine.kind);
        let business_key = Arc::clone(&mine.business_key);
        let then = Sealing::under(codec, Arc::new(labels), kind, business_key).await?;
        Ok(then.digest(&self.input)? == digest)
    }
}

/// A rest whose result can be read.
pub(super) async fn opened(
    codec: Option<&dyn PayloadCodec>,
    head: &Head,
    facts: &[Fact],
    rest: Rest,
) -> Result<Rest, SagaError> {
    if !matches!(rest, Rest::Completed(_)) {
        return Ok(rest);
    }
    let mut result = facts
        .iter()
        .rfind(|fact| matches!(fact, Fact::Done { .. }))
        .cloned();
    let id: SagaId = head.id.into();
    let sealing = Sealing::of_log(codec, head)
        .await
        .map_err(|error| error.of(id))?;
    sealing
        .open(nonce_of(facts), &mut result)
        .map_err(|error| error.of(id))?;
    Ok(match result {
        Some(Fact::Done { output, .. }) => Rest::Completed(output),
        _ => rest,
    })
}

/// What an operator adds to a log, as it is written. The key is fetched only where there is a payload among it.
pub(super) async fn added<'a>(
    codec: Option<&dyn PayloadCodec>,
    head: &Head,
    nonce: &str,
    facts: &'a [Fact],
) -> Result<Cow<'a, [Fact]>, SagaError> {
    if kinds_of(facts) == (false, false) {
        return Ok(Cow::Borrowed(facts));
    }
    let id: SagaId = head.id.into();
    let sealing = Sealing::of_log(codec, head)
        .await
        .map_err(|error| error.of(id))?;
    // A log that began sealed takes nothing plain, also from an engine without a codec.
    if codec.is_none() && head.labels.key_id.is_some() {
        let error = SealError::refused("this engine has no codec");
        return Err(Unsealed::new(head.labels.key_id.as_deref(), "the log", error).into());
    }
    sealing.seal(nonce, facts).map_err(|error| error.of(id))
}
