//! How the engine uses a codec: chooses and fetches keys, and seals and opens what is in facts.
//!
//! Plain is a case of its own and not a cipher that does nothing: what is written as sealed was sealed, and a payload
//! that is not what its log began as is refused (rule 3 of [`seal`](super::seal)).

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::SagaId;
use super::base64;
use super::entry::Fact;
use super::error::{SagaError, cut};
use super::payload::{MAX_PAYLOAD, Payload};
use super::seal::{ANSWER_WITHIN, Keyed, PayloadCodec, Seal, SealError};
use super::spot::{Spot, payload_mut, payload_of};
use crate::journal::{Head, Labels};
use crate::rt;

/// Before the digest of a sealed input, so that it is not taken for a plain one, and the key id follows.
pub(super) const SEALED_DIGEST: &str = "sealed:";

/// Key ids are shown to people.
const LONGEST_KEY_ID: usize = 200;

/// A payload that could not be sealed or opened, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsealed {
    key_id: String,
    at: String,
    error: SealError,
}

impl Unsealed {
    pub(super) fn new(key_id: Option<&str>, at: impl Into<String>, error: SealError) -> Self {
        let error = match error {
            SealError::Unavailable(why) => SealError::Unavailable(cut(&why)),
            SealError::Refused(why) => SealError::Refused(cut(&why)),
            SealError::Gone => SealError::Gone,
        };
        Self {
            key_id: cut(key_id.unwrap_or_default()).into(),
            at: at.into(),
            error,
        }
    }

    pub(super) const fn is_unavailable(&self) -> bool {
        matches!(self.error, SealError::Unavailable(_))
    }

    /// In the words of a caller who asks about this saga.
    pub(super) fn of(self, id: SagaId) -> SagaError {
        match self.error {
            SealError::Gone => SagaError::Erased {
                id,
                key_id: self.key_id,
            },
            _ => self.into(),
        }
    }
}

impl From<Unsealed> for SagaError {
    fn from(unsealed: Unsealed) -> Self {
        Self::Sealed {
            key_id: unsealed.key_id,
            error: unsealed.error,
        }
    }
}

impl fmt::Display for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key `{}`, {}: {}", self.key_id, self.at, self.error)
    }
}

/// What a sealed payload looks like in a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    #[serde(borrow)]
    sealed: &'a str,
}

/// One log's key, or that it has none, with what its payloads are bound to.
#[derive(Clone)]
pub(super) struct Sealing {
    pub(super) key: Option<Arc<dyn Seal>>,
    /// Whether there is a codec at all.
    codec: bool,
    pub(super) labels: Arc<Labels>,
    pub(super) kind: Arc<str>,
    pub(super) business_key: Arc<str>,
}

impl Sealing {
    /// For a saga that is about to start: under the key that the codec chooses, which its labels then name.
    pub(super) async fn choose(
        codec: Option<&dyn PayloadCodec>,
        mut labels: Labels,
        kind: &str,
        business_key: &str,
    ) -> Result<Self, Unsealed> {
        let asked = labels.key_id.clone();
        let refused =
            |why: &str| Unsealed::new(asked.as_deref(), "its start", SealError::refused(why));
        match codec {
            // Who asks for a key must not find plain payloads.
            None if asked.is_some() => return Err(refused("this engine has no codec")),
            None => {}
            Some(codec) => {
                let chosen = answer(async { codec.choose(&labels).await }.boxed())
                    .await
                    .map_err(|error| Unsealed::new(asked.as_deref(), "its start", error))?;
                let usable = |key_id: &String| {
                    (1..=LONGEST_KEY_ID).contains(&key_id.chars().count())
                        && !key_id.chars().any(char::is_control)
                };
                if chosen.as_ref().is_some_and(|key_id| !usable(key_id)) {
                    return Err(refused("the codec chose a name that is none"));
                }
                if chosen.is_none() && asked.is_some() {
                    return Err(refused("the codec chose no key"));
                }
                labels.key_id = chosen;
            }
        }
        Self::under(codec, Arc::new(labels), kind.into(), business_key.into()).await
    }

    /// For a log that there is.
    pub(super) async fn of_log(
        codec: Option<&dyn PayloadCodec>,
        head: &Head,
    ) -> Result<Self, Unsealed> {
        let labels = Arc::clone(&head.labels);
        Self::under(
            codec,
            labels,
            Arc::clone(&head.kind),
            head.key.as_str().into(),
        )
        .await
    }

    pub(super) async fn under(
        codec: Option<&dyn PayloadCodec>,
        labels: Arc<Labels>,
        kind: Arc<str>,
        business_key: Arc<str>,
    ) -> Result<Self, Unsealed> {
        let key = match (codec, &labels.key_id) {
            // A label without a codec seals nothing; a payload that is sealed all the same is found when it is opened.
            (None, _) => None,
            (Some(codec), None) if codec.admits_plain(&labels) => None,
            (Some(_), None) => {
                let error = SealError::refused("the codec admits no plain payloads");
                return Err(Unsealed::new(None, "the log", error));
            }
            (Some(codec), Some(key_id)) => Some(
                answer(async { codec.fetch(&labels).await }.boxed())
                    .await
                    .map_err(|error| Unsealed::new(Some(key_id), "the log", error))?,
            ),
        };
        Ok(Self {
            key,
            codec: codec.is_some(),
            labels,
            kind,
            business_key,
        })
    }

    /// The labels of the log's records.
    pub(super) const fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// The facts as they are written.
    pub(super) fn seal<'a>(
        &self,
        nonce: &str,
        facts: &'a [Fact],
    ) -> Result<Cow<'a, [Fact]>, Unsealed> {
        let Some(key) = &self.key else {
            return Ok(Cow::Borrowed(facts));
        };
        let mut facts = facts.to_vec();
        self.each(&mut facts, |spot, payload| {
            self.sealed(&**key, nonce, spot, payload)
        })?;
        Ok(Cow::Owned(facts))
    }

    /// Makes of the facts of a log what is true. After an error some of them are opened and some are not.
    pub(super) fn open<'a>(
        &self,
        nonce: &str,
        facts: impl IntoIterator<Item = &'a mut Fact>,
    ) -> Result<(), Unsealed> {
        self.each(facts, |spot, payload| self.opened(nonce, spot, payload))
    }

    /// The facts as they are written, after a look whether they come back: a codec that cannot read what it wrote is
    /// found before anything is done, and not by a recovery.
    pub(super) fn proven<'a>(
        &self,
        nonce: &str,
        facts: &'a [Fact],
    ) -> Result<Cow<'a, [Fact]>, Unsealed> {
        let sealed = self.seal(nonce, facts)?;
        if let Cow::Owned(sealed) = &sealed {
            let mut opened = sealed.clone();
            self.open(nonce, &mut opened)?;
            if opened != facts {
                let error = SealError::refused("what the codec seals does not come back");
                let key_id = self.labels.key_id.as_deref();
                return Err(Unsealed::new(key_id, "its start", error));
            }
        }
        Ok(sealed)
    }

    fn each<'a>(
        &self,
        facts: impl IntoIterator<Item = &'a mut Fact>,
        change: impl Fn(Spot<'_>, &Payload) -> Result<Payload, SealError>,
    ) -> Result<(), Unsealed> {
        for fact in facts {
            let Some((spot, payload)) = payload_of(fact) else {
                continue;
            };
            let changed = change(spot, payload).map_err(|error| {
                Unsealed::new(self.labels.key_id.as_deref(), spot.to_string(), error)
            })?;
            if let Some(payload) = payload_mut(fact) {
                *payload = changed;
            }
        }
        Ok(())
    }

    fn sealed(
        &self,
        key: &dyn Seal,
        nonce: &str,
        place: Spot<'_>,
        payload: &Payload,
    ) -> Result<Payload, SealError> {
        if payload.is_sealed() {
            return Err(SealError::refused("it is sealed already"));
        }
        let bound_to = self.bound_to(nonce, place);
        let bytes = guarded(|| key.seal(payload.as_str().as_bytes(), &bound_to))?;
        // Ciphers add tens of bytes; one that doubles a payload is none.
        if bytes.len() > MAX_PAYLOAD.saturating_mul(2) {
            return Err(SealError::refused("it became too long"));
        }
        let text = base64::encode(&bytes);
        Payload::of_sealed(&Sealed { sealed: &text }).map_err(|error| SealError::refused(error.0))
    }

    fn opened(
        &self,
        nonce: &str,
        place: Spot<'_>,
        payload: &Payload,
    ) -> Result<Payload, SealError> {
        let key = match (&self.key, payload.is_sealed()) {
            (None, false) => return Ok(payload.clone()),
            (Some(key), true) => key,
            (None, true) if !self.codec => {
                return Err(SealError::refused(
                    "it is sealed, and this engine has no codec",
                ));
            }
            (None, true) => {
                return Err(SealError::refused(
                    "it is sealed, and its log has no key id",
                ));
            }
            (Some(_), false) => return Err(SealError::refused("it is plain in a sealed log")),
        };
        let sealed: Sealed<'_> = serde_json::from_str(payload.as_str())
            .map_err(|_| SealError::refused("it is not in the form of sealed payloads"))?;
        let bytes = base64::decode(sealed.sealed)
            .ok_or_else(|| SealError::refused("it is not in the letters of sealed payloads"))?;
        let bound_to = self.bound_to(nonce, place);
        let plain = guarded(|| key.open(&bytes, &bound_to))?;
        Payload::of_text(plain)
            .ok_or_else(|| SealError::refused("what was sealed is not one JSON value"))
    }

    /// What a payload is bound to (rule 2): a list of fields, each preceded by its length. The same for ever, since
    /// what was sealed must open.
    fn bound_to(&self, nonce: &str, place: Spot<'_>) -> Vec<u8> {
        let labels = &*self.labels;
        let present = |label: &Option<String>| if label.is_some() { "1" } else { "0" };
        fields(&[
            "mainstay sealed payload 1",
            &labels.tenant,
            present(&labels.subject),
            labels.subject.as_deref().unwrap_or_default(),
            labels.key_id.as_deref().unwrap_or_default(),
            &self.kind,
            &self.business_key,
            nonce,
            place.field,
            place.step,
        ])
    }

    /// The digest of an input (rule 5).
    pub(super) fn digest(&self, input: &Payload) -> Result<String, Unsealed> {
        let Some(key) = &self.key else {
            return Ok(input.digest());
        };
        let key_id = self.labels.key_id.as_deref().unwrap_or_default();
        let message = fields(&[
            "mainstay sealed digest 1",
            &self.labels.tenant,
            &self.kind,
            &self.business_key,
            &input.canonical(),
        ]);
        let digest = guarded(|| Ok(key.digest(&message)))
            .map_err(|error| Unsealed::new(Some(key_id), "the digest", error))?;
        let hex: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(format!("{SEALED_DIGEST}{key_id}:{hex}"))
    }
}

/// Everything but the key.
impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing")
            .field("labels", &self.labels)
            .field("sealed", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

fn fields(fields: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

/// A codec's answer, in bounded time and without its panic.
async fn answer<T>(question: Keyed<'_, T>) -> Result<T, SealError> {
    tokio::select! {
        biased;
        answer = AssertUnwindSafe(question).catch_unwind() => {
            answer.unwrap_or_else(|_| Err(SealError::unavailable("the codec panicked")))
        }
        () = rt::sleep(ANSWER_WITHIN) => Err(SealError::unavailable("the codec did not answer in time")),
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, SealError>) -> Result<T, SealError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SealError::refused("the codec panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saga::digest::Digest;

    #[test]
    fn what_payloads_are_bound_to_is_pinned() {
        // What was sealed by any version of this crate must open in every later one.
        let mut labels = Labels::new("acme").key_id("k1");
        let of = |labels: &Labels| Sealing {
            key: None,
            codec: true,
            labels: Arc::new(labels.clone()),
            kind: "pay".into(),
            business_key: "INV-1".into(),
        };
        let spot = Spot {
            field: "output",
            step: "charge",
        };
        let bound = of(&labels).bound_to("51", spot);
        assert_eq!(Digest::new().field(&bound).hex(8), "222a6de6deecf898");
        labels.subject = Some(String::new());
        assert_ne!(
            bound,
            of(&labels).bound_to("51", spot),
            "no subject is not an empty one"
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(fields(&["ab", "c"]), fields(&["a", "bc"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_codec_that_hangs_or_panics_is_away() {
        let hung = answer::<()>(Box::pin(std::future::pending())).await;
        assert!(matches!(hung, Err(SealError::Unavailable(_))));
        let panicked = answer::<()>(Box::pin(async { panic!("secret") })).await;
        let error = panicked.unwrap_err();
        assert!(
            matches!(error, SealError::Unavailable(_)) && !error.to_string().contains("secret")
        );
    }
}
