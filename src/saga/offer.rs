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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Begin, LogId};
    use crate::saga::seal::{Keyed, Seal};
    use crate::time::Timestamp;

    /// Turns bytes around: a place where something is sealed, and no cipher.
    struct Around;

    impl Seal for Around {
        fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
            Ok(plain.iter().chain(bound_to).rev().copied().collect())
        }
        fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
            let whole: Vec<u8> = sealed.iter().rev().copied().collect();
            let plain = whole.strip_suffix(bound_to);
            plain.map(<[u8]>::to_vec).ok_or(SealError::Gone)
        }
        fn digest(&self, _: &[u8]) -> [u8; 32] {
            [0; 32]
        }
    }

    impl PayloadCodec for Around {
        fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
            Box::pin(async { Ok(Some("k1".into())) })
        }
        fn fetch<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
            Box::pin(async move {
                match labels.key_id.as_deref() {
                    Some("k1") => Ok(Arc::new(Self) as Arc<dyn Seal>),
                    _ => Err(SealError::Gone),
                }
            })
        }
    }

    fn head(labels: Labels) -> Head {
        let at = Timestamp::from_millis(0);
        let begin = Begin::new(Arc::new(labels), "pay", "INV-1", "", 1, "[]", at);
        Head::of(LogId::new(1), &begin)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_adds_to_a_log_what_the_log_is() {
        let done = [Fact::Done {
            step: "charge".into(),
            output: Payload::of(&"by hand").unwrap(),
        }];
        let (sealed, plain) = (head(Labels::new("").key_id("k1")), head(Labels::new("")));
        let gone = head(Labels::new("").key_id("k0"));
        let codec: Option<&dyn PayloadCodec> = Some(&Around);

        let added = added(codec, &sealed, "51", &done).await.unwrap();
        assert_eq!(kinds_of(&added), (true, false));
        let mut opened = added.into_owned();
        let sealing = Sealing::of_log(codec, &sealed).await.unwrap();
        sealing.open("51", &mut opened).unwrap();
        assert_eq!(opened, done);
        assert!(sealing.open("52", &mut opened).is_err(), "of another log");

        for codec in [codec, None] {
            let added = super::added(codec, &plain, "51", &done).await.unwrap();
            assert_eq!(kinds_of(&added), (false, true));
        }
        let refused = super::added(None, &sealed, "51", &done).await;
        assert!(
            matches!(refused, Err(SagaError::Sealed { .. })),
            "{refused:?}"
        );
        let refused = super::added(codec, &gone, "51", &done).await;
        assert!(
            matches!(refused, Err(SagaError::Erased { .. })),
            "{refused:?}"
        );
        // Without a payload no key is asked for.
        assert!(
            super::added(codec, &gone, "51", &[Fact::Unwind])
                .await
                .is_ok()
        );
        assert!(
            super::added(None, &sealed, "51", &[Fact::Unwind])
                .await
                .is_ok()
        );
    }
}
