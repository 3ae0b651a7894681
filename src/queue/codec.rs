//! What a request looks like as an entry, and back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::error::QueueError;
use super::fact::Stage;
use super::lane::{EntryId, Lane};
use super::verdict::Verdict;
use crate::effect_guard::EffectKey;
use crate::error::ConfigError;
use crate::saga::digest::Digest;
use crate::time::Timestamp;

/// What is to be queued.
///
/// # Example
///
/// ```
/// use mainstay::queue::{Draft, Lane};
///
/// let draft = Draft::new("order-17", Lane::new("account-7"), b"100".to_vec())?;
/// assert!(Draft::new("", Lane::new("account-7"), Vec::new()).is_err());
/// # let _ = draft;
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Draft {
    pub(super) key: EffectKey,
    pub(super) lane: Lane,
    pub(super) payload: Vec<u8>,
    pub(super) same: Option<Digest>,
    pub(super) subject: Option<String>,
}

impl Draft {
    /// An entry under the caller's idempotency key, in this lane.
    ///
    /// # Errors
    ///
    /// If the key is not 1 to 200 visible ASCII letters, as an [`EffectKey`] is, or the name of the lane's tenant is longer
    /// than 200 bytes or has control characters.
    pub fn new(key: &str, lane: Lane, payload: Vec<u8>) -> Result<Self, ConfigError> {
        if !lane.is_whole() {
            // Not the name: it is a tenant's.
            let expected = "at most 200 bytes without control characters";
            return Err(ConfigError::new("queue.tenant", "another", expected));
        }
        Ok(Self {
            key: EffectKey::new(key)?,
            lane,
            payload,
            same: None,
            subject: None,
        })
    }

    /// What makes a second request under the same key the same one. Defaults to the payload; say less where the payload
    /// has what differs from one attempt to the next, such as the ids of traces.
    #[must_use]
    pub fn same_by<'a>(mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        self.same = Some(parts.into_iter().fold(Digest::new(), Digest::field));
        self
    }

    /// Whose data the payload holds, for a codec of seals that has a key for each subject. In plain text in the store.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// How many bytes it counts.
    pub(super) fn bytes(&self) -> u64 {
        let names = self.key.as_str().len() + self.lane.as_str().len();
        (names as u64).saturating_add(self.payload.len() as u64)
    }

    /// The digest by which a second one is told from another.
    pub(super) fn digest(&self) -> Digest {
        let same = || Digest::new().field(&self.payload);
        let same = self.same.clone().unwrap_or_else(same);
        Digest::new()
            .field(self.lane.as_str().as_bytes())
            .field(same.hex(32).as_bytes())
    }
}

/// How long it is, never what it says.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// What is replayed.
#[derive(Clone)]
pub struct Entry {
    pub(super) id: EntryId,
    pub(super) key: String,
    pub(super) lane: Lane,
    pub(super) payload: Vec<u8>,
    pub(super) token: u64,
    pub(super) replay: u32,
    pub(super) queued: Timestamp,
}

impl Entry {
    /// Which one.
    #[must_use]
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// The idempotency key: the same with each replay, and what the callee knows it by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its lane.
    #[must_use]
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// What was queued.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The fencing token of this turn, which is higher than that of every turn before, on whatever instance: for a
    /// [`Fence`](crate::effect_guard::Fence).
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// Which replay this is since the entry was taken up, the first is 1. There may have been more before a restart.
    #[must_use]
    pub const fn replay(&self) -> u32 {
        self.replay
    }

    /// When it was queued.
    #[must_use]
    pub const fn queued(&self) -> Timestamp {
        self.queued
    }
}

/// How long it is, never what it says.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("bytes", &self.payload.len())
            .field("token", &self.token)
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}

/// The proof that an entry is durable: it will be applied, or an operator will hear of it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Which entry.
    pub entry: EntryId,
    /// Its idempotency key.
    pub key: String,
    /// How far it has come: of a key that was queued before it may be applied already.
    pub stage: Stage,
}

/// Not the key.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("entry", &self.entry)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// What becomes of a request that is captured.
pub type Captured = Pin<Box<dyn Future<Output = Result<Draft, QueueError>> + Send>>;

/// Makes an entry of a request, a request of an entry, and says what callers and answers mean. For HTTP there is
/// `HttpCodec`.
///
/// # Example
///
/// ```
/// use mainstay::queue::{Captured, Codec, Draft, Entry, Lane, QueueError, Receipt, Verdict};
/// use tower::BoxError;
///
/// /// Amounts to add to an account, each under a key.
/// #[derive(Clone, Copy)]
/// struct Postings;
///
/// type Posting = (String, u32, i64);
///
/// impl Codec<Posting, &'static str, BoxError> for Postings {
///     fn lane(&self, (_, account, _): &Posting) -> Lane {
///         Lane::new(account.to_string())
///     }
///     fn capture(&self, (key, account, amount): Posting) -> Captured {
///         let draft = Draft::new(&key, Lane::new(account.to_string()), amount.to_string().into());
///         Box::pin(async { Ok(draft?) })
///     }
///     fn restore(&self, entry: &Entry) -> Option<Posting> {
///         let amount = std::str::from_utf8(entry.payload()).ok()?.parse().ok()?;
///         Some((entry.key().to_owned(), entry.lane().as_str().parse().ok()?, amount))
///     }
///     fn queued(&self, _: &Receipt) -> Result<&'static str, BoxError> {
///         Ok("queued")
///     }
///     fn refused(&self, error: &QueueError) -> Result<&'static str, BoxError> {
///         Err(error.to_string().into())
///     }
///     fn judge(&self, result: Result<&&'static str, &BoxError>) -> Verdict {
///         result.map_or(Verdict::FAILED, |_| Verdict::Applied)
///     }
/// }
/// ```
pub trait Codec<Req, Res, Err> {
    /// The lane of a request: asked where something waits, or may have to.
    fn lane(&self, request: &Req) -> Lane;

    /// Makes a draft of a request, in the lane of [`lane`](Self::lane).
    fn capture(&self, request: Req) -> Captured;

    /// Makes a request of an entry, its idempotency key on it. `None` when what it says is none: then it is poison.
    fn restore(&self, entry: &Entry) -> Option<Req>;

    /// What a caller is told whose request is queued.
    ///
    /// # Errors
    ///
    /// If that is how callers are told.
    fn queued(&self, receipt: &Receipt) -> Result<Res, Err>;

    /// What a caller is told whose request cannot be queued, ever: a key that is none or that of another request, a request
    /// that is too long, an entry that was dropped. What may pass later is refused as any other gate does.
    ///
    /// # Errors
    ///
    /// That is the point, where refusals leave as errors.
    fn refused(&self, error: &QueueError) -> Result<Res, Err>;

    /// How a replay ended.
    fn judge(&self, result: Result<&Res, &Err>) -> Verdict;
}
