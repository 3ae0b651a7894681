//! Payloads that only the holder of a key can read.
//!
//! By default a journal is made for the eye: whoever opens it reads what sagas work on. Where that is personal or
//! secret, [`SagasBuilder::codec`](super::SagasBuilder::codec) names who seals: inputs and outputs are then sealed
//! before they are written and opened after they are read, and everything else stays as it is. With the shell of the
//! database one still sees which steps are done and how a saga ended, and nothing of what it was about:
//!
//! ```json
//! [{"started":{"definition":"invoice_payment","version":1,"fingerprint":"9c..","nonce":"51..","input":{"sealed":"lEw3.."}}}]
//! [{"done":{"step":"create_payment","output":{"sealed":"Zm9v.."}}},{"finished":"completed"}]
//! ```
//!
//! Use it where the journal's disk, backups and administrators are trusted less than the program, and where the data of
//! a person must be erased from journals and backups that are never rewritten: one key per subject, and forgetting the
//! key erases every payload sealed with it. Do not use it in place of the encryption of a disk, which also covers what
//! stays readable here: tenant, subject, business key, key id, names of steps, **texts of errors**, reasons of
//! operators, sizes and times. None of them may hold what is to stay secret.
//!
//! # Who does what
//!
//! ```text
//!  start ── choose(labels) ──▶ key id ──▶ the log's label, for its whole life
//!            │
//!            ▼
//!          fetch(labels with the key id) ──▶ a Seal          async: a key service may be asked
//!                                             │
//!               plain payload ── seal ──▶ record ── open ──▶ plain payload      no waiting, no I/O
//! ```
//!
//! Fetching is asynchronous and apart from sealing because they fail differently. A key service that is away is waited
//! for, before an effect is made; a key in hand has nothing to wait for, so that nothing can come between an effect and
//! its record. The engine fetches once per start, once per run of a saga in a process, and once for each result that is
//! read from the journal; a codec over a network should keep keys for a while, and forget them when told that a subject
//! is erased.
//!
//! # Rules
//!
//! 1. One log, one key: the one that was chosen at its start, so that forgetting it erases the whole. New keys are for
//!    new logs; old logs ask for their own.
//! 2. A sealed payload is bound to its place: tenant, subject, key id, definition, business key, the log's nonce, the
//!    step, and whether it is an input or an output. Moved anywhere else it does not open, if the cipher authenticates
//!    what it is given as `bound_to`.
//! 3. A log that began sealed has no plain payload, and the other way round. A log whose labels have no key id is plain,
//!    and is carried on as ever, unless [`admits_plain`](PayloadCodec::admits_plain) says no.
//! 4. Without its key a saga that is under way becomes an incident of the class
//!    [`Unreadable`](super::entry::Class::Unreadable) that names the key id, and can be abandoned, or retried once the
//!    key is back. So does one whose key service is away for [`PATIENCE`], and one whose payload does not open. A
//!    completed saga answers [`SagaError::Erased`](super::SagaError::Erased) in place of its result. Lists, incidents
//!    and the ends that have no result need no key.
//! 5. Whether a second start brings the same input is told by a digest. That of a sealed log is made with its key
//!    ([`Seal::digest`]), over the input together with what names the log: an amount cannot be found by trying all
//!    amounts, and two logs with the same input do not look alike. After the key is gone the question has no answer, and
//!    the second start is told that the saga was erased.
//! 6. Sealed records have a format of their own, [`SEALED_FORMAT`]. A program from before it refuses them and does not
//!    take ciphertext for a value.
//!
//! What sealing cannot do: whoever can write the journal can still remove records from its end, put back an older
//! state of the whole log, or abandon a saga. It guards what payloads say, and their places.
//!
//! # Example
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex, PoisonError};
//!
//! use chacha20poly1305::aead::{Aead, Generate, Payload};
//! use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
//! use hmac::{Hmac, Mac};
//! use mainstay::journal::{Labels, memory::MemoryJournal};
//! use mainstay::saga::seal::{Keyed, PayloadCodec, Seal, SealError};
//! use mainstay::saga::{Cx, Ended, Key as SagaKey, Saga, Sagas, StepError};
//! use sha2::Sha256;
//!
//! /// One key per subject. A real one keeps them wrapped by a key service; here they are in memory.
//! /// That a key is gone is remembered, so that its name is not given to another.
//! #[derive(Default)]
//! struct Vault(Mutex<HashMap<String, Option<[u8; 32]>>>);
//!
//! impl Vault {
//!     /// Erases a subject: from now on nobody reads what was sealed for it.
//!     fn forget(&self, key_id: &str) {
//!         self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key_id.to_owned(), None);
//!     }
//! }
//!
//! impl PayloadCodec for Vault {
//!     fn choose<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Option<String>> {
//!         Box::pin(async move {
//!             let Some(subject) = &labels.subject else { return Ok(None) }; // about nobody: stays plain
//!             let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
//!             let mut names = (1_u32..).map(|number| format!("{}/{subject}/{number}", labels.tenant));
//!             let name = names.find(|name| !matches!(keys.get(name), Some(None))).ok_or(SealError::Gone)?;
//!             keys.entry(name.clone()).or_insert_with(|| Some(Key::generate().into()));
//!             Ok(Some(name))
//!         })
//!     }
//!
//!     fn fetch<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
//!         Box::pin(async move {
//!             let key_id = labels.key_id.as_deref().ok_or(SealError::Gone)?;
//!             let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
//!             let key = keys.get(key_id).copied().flatten().ok_or(SealError::Gone)?;
//!             Ok(Arc::new(SubjectKey(key)) as Arc<dyn Seal>)
//!         })
//!     }
//! }
//!
//! struct SubjectKey([u8; 32]);
//!
//! impl SubjectKey {
//!     /// One key, one use: each is derived from the subject's.
//!     fn derived(&self, purpose: &[u8], message: &[u8]) -> [u8; 32] {
//!         let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
//!         mac.update(purpose);
//!         mac.update(message);
//!         mac.finalize().into_bytes().into()
//!     }
//!     fn cipher(&self) -> XChaCha20Poly1305 {
//!         XChaCha20Poly1305::new(&self.derived(b"seal", b"").into())
//!     }
//! }
//!
//! impl Seal for SubjectKey {
//!     fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
//!         let nonce = XNonce::generate(); // 24 random bytes: no counter to keep over crashes
//!         let sealed = self.cipher().encrypt(&nonce, Payload { msg: plain, aad: bound_to });
//!         let sealed = sealed.map_err(|_| SealError::refused("it is too long"))?;
//!         Ok([&nonce[..], &sealed].concat())
//!     }
//!     fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
//!         let (nonce, sealed) = sealed.split_at_checked(24).ok_or(SealError::refused("it is cut short"))?;
//!         let nonce = XNonce::try_from(nonce).map_err(|_| SealError::refused("it is cut short"))?;
//!         let opened = self.cipher().decrypt(&nonce, Payload { msg: sealed, aad: bound_to });
//!         opened.map_err(|_| SealError::refused("it is not what was sealed here"))
//!     }
//!     fn digest(&self, message: &[u8]) -> [u8; 32] {
//!         self.derived(b"digest", message)
//!     }
//! }
//!
//! async fn greet(cx: Cx<(), String>, (): ()) -> Result<String, StepError> {
//!     Ok(format!("Dear {}", cx.input()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let letter = Saga::builder("letter").check("greet", greet).build()?;
//! let vault = Arc::new(Vault::default());
//! let journal = Arc::new(MemoryJournal::new());
//! let sagas = Sagas::builder(journal, ()).codec(vault.clone()).register(&letter).start().await?;
//!
//! let key = || SagaKey::new("L-1").tenant("acme").subject("customer-7");
//! let handle = sagas.start(&letter, key(), "Ada".to_owned()).await?;
//! assert_eq!(handle.ended().await?, Ended::Completed("Dear Ada".to_owned()));
//!
//! vault.forget("acme/customer-7/1");
//! let error = match sagas.start(&letter, key(), "Ada".to_owned()).await {
//!     Ok(handle) => handle.ended().await.expect_err("nothing is left to read"),
//!     Err(error) => error,
//! };
//! assert!(matches!(error, mainstay::saga::SagaError::Erased { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! Crypto-shredding: M. Kleppmann, "Designing Data-Intensive Applications", 2017, chapter 12; NIST SP 800-88, section
//! 2.5, "Cryptographic Erase". Why a payload is bound to its place: RFC 5116, section 2.1, associated data.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::cut;
use crate::journal::Labels;

/// The version of the record format in which payloads are sealed; else it is [`FORMAT`](super::entry::FORMAT).
pub const SEALED_FORMAT: u16 = 2;

/// How long a saga that is under way waits for a key service that is away, until it becomes an incident: longer than a
/// restart of such a service, short enough that somebody hears of it the same day.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How long one question to a codec may take before it counts as [`SealError::Unavailable`].
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a codec answers: it is an object, so its futures are boxed.
pub type Keyed<'a, T> = Pin<Box<dyn Future<Output = Result<T, SealError>> + Send + 'a>>;

/// Which key seals what, and where keys come from. The [module](self) has the whole and an example.
///
/// # Cancel safety
///
/// The engine drops these futures when it stops, when a start is dropped, and after [`ANSWER_WITHIN`].
pub trait PayloadCodec: Send + Sync + 'static {
    /// Names the key of a saga that is about to start; `None` leaves its payloads plain.
    ///
    /// The labels are the caller's; their `key_id` is what the caller asked for, which the codec may grant, replace or
    /// refuse. A key that does not exist yet is to be made, and durable, before this returns. The name is 1 to 200
    /// characters, none of them a control character, stays readable in the journal, and must never name another key.
    ///
    /// # Errors
    ///
    /// The start is refused with it, and nothing is written.
    fn choose<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Option<String>>;

    /// Fetches the key that `labels.key_id` names, for the labels of a log that may be years old.
    ///
    /// # Errors
    ///
    /// [`SealError::Gone`] when the key was destroyed, which is final; [`SealError::Unavailable`] when it cannot be had
    /// now; [`SealError::Refused`] when it may not be had.
    fn fetch<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Arc<dyn Seal>>;

    /// Whether a log without a key id may be carried on and read. Defaults to yes, so that sagas from before the codec
    /// end. Once they have, say no: then nobody who can write the journal passes plain payloads off as the program's.
    fn admits_plain(&self, labels: &Labels) -> bool {
        let _ = labels;
        true
    }
}

/// A key in hand.
///
/// The methods are called from the engine's tasks: they compute, and neither wait nor ask anybody. One that panics is
/// taken to have answered [`SealError::Refused`].
pub trait Seal: Send + Sync {
    /// Seals `plain`, so that only [`open`](Self::open) with the same `bound_to` returns it. Two calls with the same
    /// payload must not look alike. `bound_to` is authenticated and not kept: it is the same bytes in every version of
    /// this crate.
    ///
    /// # Errors
    ///
    /// [`SealError::Refused`] when it cannot be sealed. Texts must not quote it.
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Opens what [`seal`](Self::seal) returned.
    ///
    /// # Errors
    ///
    /// [`SealError::Refused`] when it is not what was sealed, or was sealed for another place. Texts must not quote it.
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError>;

    /// A digest of `message` that nobody computes without the key, the same each time: HMAC-SHA-256, or BLAKE3 with a
    /// key. The key should not be the cipher's own but derived from the same one.
    fn digest(&self, message: &[u8]) -> [u8; 32];
}

/// Why a payload cannot be sealed or opened. Texts go to the journal, to operators and to callers, so they must quote
/// neither payloads nor keys; they are cut after 1,000 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The key was destroyed. What was sealed with it is erased.
    Gone,
    /// The key cannot be had now; trying again may help.
    Unavailable(Box<str>),
    /// What was to be sealed or opened is not accepted.
    Refused(Box<str>),
}

impl SealError {
    /// The key cannot be had now.
    pub fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable(cut(&why.to_string()))
    }

    /// What was to be sealed or opened is not accepted.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::Refused(cut(&why.to_string()))
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the key is gone, and with it what it sealed"),
            Self::Unavailable(why) => write!(f, "the key cannot be had now: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl std::error::Error for SealError {}
