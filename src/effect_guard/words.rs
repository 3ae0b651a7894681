//! What a sender says of a call, checked when it is said.

use std::fmt;
use std::time::Duration;

use crate::error::ConfigError;
use crate::time::Timestamp;

/// The longest key, scope or resource, in bytes: an index holds them.
const LONGEST: usize = 200;

/// The key under which an effect is made once.
///
/// 1 to 200 visible ASCII letters; the idempotency key of a saga's step is 32 hexadecimal ones. Whoever
/// serves several senders keeps their keys [apart](Self::within), by what it knows of the sender and not by what the
/// sender says, or one could ask for another's answers.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::EffectKey;
///
/// # fn main() -> Result<(), mainstay::ConfigError> {
/// let key = EffectKey::new("569f16332c65a72834ae77eb2c240829")?.within("acme")?;
/// assert_eq!((key.scope(), key.as_str().len()), ("acme", 32));
/// assert!(EffectKey::new("").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKey {
    scope: Box<str>,
    key: Box<str>,
}

impl EffectKey {
    /// A key in no scope.
    ///
    /// # Errors
    ///
    /// Names `effect.key` when it is empty, longer than 200 bytes, or has other letters than visible ASCII.
    pub fn new(key: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            scope: "".into(),
            key: visible("effect.key", key)?,
        })
    }

    /// The same key in a scope of its own: a tenant, or whoever was authenticated as the sender.
    ///
    /// # Errors
    ///
    /// Names `effect.scope`, as [`new`](Self::new) does the key.
    pub fn within(mut self, scope: &str) -> Result<Self, ConfigError> {
        self.scope = visible("effect.scope", scope)?;
        Ok(self)
    }

    /// The scope; empty where there is only one.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }
}

fn visible(field: &'static str, text: &str) -> Result<Box<str>, ConfigError> {
    if (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        // Its length and not itself: what a stranger sends is not repeated.
        Err(ConfigError::new(
            field,
            format_args!("{} bytes", text.len()),
            "1 to 200 visible ASCII letters",
        ))
    }
}

/// A digest of what is asked for, so that another request under a known key is seen.
///
/// 32 bytes of a cryptographic digest; which one is the receiver's choice, as long as it stays.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::RequestDigest;
///
/// let digest = RequestDigest::new([0xab; 32]);
/// assert!(digest.to_string().starts_with("abab"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest([u8; 32]);

impl RequestDigest {
    /// A digest that was made elsewhere.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the fields of a request that say what is to be done, each with its length. Leave out what may differ
    /// between two attempts: deadlines, attempt numbers, trace ids.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::effect_guard::RequestDigest;
    ///
    /// let one = RequestDigest::of(&[b"pay", b"INV-1", b"129900"]);
    /// assert_ne!(one, RequestDigest::of(&[b"pay", b"INV-1", b"1299", b"00"]));
    /// ```
    #[cfg(feature = "saga")]
    #[must_use]
    pub fn of(fields: &[&[u8]]) -> Self {
        use sha2::{Digest as _, Sha256};
        let mut digest = Sha256::new();
        for field in fields {
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        Self(digest.finalize().into())
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 hexadecimal letters.
impl fmt::Display for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestDigest({self})")
    }
}

/// A fencing token, and what it is the token of.
///
/// Tokens are compared within one resource only. The token of a saga's step counts the turns of that saga's writers and
/// says nothing about any other saga: the resource must name the saga, by its business key or its id and journal. A
/// resource that several sagas change needs a token from whoever hands that resource out.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::Fence;
///
/// # fn main() -> Result<(), mainstay::ConfigError> {
/// let fence = Fence::new("invoice_payment/INV-1", 7)?.within("acme")?;
/// assert_eq!(fence.token(), 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    scope: Box<str>,
    resource: Box<str>,
    token: i64,
}

impl Fence {
    /// The token of a resource in no scope.
    ///
    /// # Errors
    ///
    /// Names `fence.resource` when it is not 1 to 200 visible ASCII letters, and `fence.token` above `i64::MAX`, which
    /// is what a table holds.
    pub fn new(resource: &str, token: u64) -> Result<Self, ConfigError> {
        let fits = "at most 9223372036854775807";
        Ok(Self {
            scope: "".into(),
            resource: visible("fence.resource", resource)?,
            token: i64::try_from(token)
                .map_err(|_| ConfigError::new("fence.token", token, fits))?,
        })
    }

    /// The same in a scope of its own, as [`EffectKey::within`].
    ///
    /// # Errors
    ///
    /// Names `fence.scope`, as [`new`](Self::new) does the resource.
    pub fn within(mut self, scope: &str) -> Result<Self, ConfigError> {
        self.scope = visible("fence.scope", scope)?;
        Ok(self)
    }

    /// The scope; empty where there is only one.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// What it is the token of.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token.unsigned_abs()
    }

    /// As a table holds it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) const fn as_i64(&self) -> i64 {
        self.token
    }
}

/// What a sender says of a call, or of the undo of one.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::{Call, EffectKey, Fence, RequestDigest};
/// use mainstay::time::Timestamp;
///
/// # fn main() -> Result<(), mainstay::ConfigError> {
/// let call = Call::new(EffectKey::new("569f16332c65a72834ae77eb2c240829")?)
///     .request(RequestDigest::new([7; 32]))
///     .fence(Fence::new("invoice_payment/INV-1", 2)?)
///     .since(Timestamp::from_millis(1_764_129_600_000));
/// assert_eq!(call.key().scope(), "");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    key: EffectKey,
    request: Option<RequestDigest>,
    fence: Option<Fence>,
    since: Option<Timestamp>,
}

impl Call {
    /// A call, or the undo of a call, by the key of the call: in an undo of a saga that is `Cx::undoes`, not the undo's
    /// own key.
    #[must_use]
    pub const fn new(key: EffectKey) -> Self {
        Self {
            key,
            request: None,
            fence: None,
            since: None,
        }
    }

    /// What is asked for. Defaults to none, and then nothing is compared; an undo needs none.
    #[must_use]
    pub const fn request(mut self, request: RequestDigest) -> Self {
        self.request = Some(request);
        self
    }

    /// The sender's token. Defaults to none, and then only the key is looked at.
    #[must_use]
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// When the sender may have sent this key for the first time, or earlier: when its saga began, say. Defaults to not
    /// known; then a key that was [forgotten](Retention) cannot be told from one that never came.
    #[must_use]
    pub const fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &EffectKey {
        &self.key
    }

    pub(super) const fn digest(&self) -> Option<RequestDigest> {
        self.request
    }

    pub(super) const fn fenced(&self) -> Option<&Fence> {
        self.fence.as_ref()
    }

    pub(super) const fn first_sent(&self) -> Option<Timestamp> {
        self.since
    }
}

/// For how long keys are remembered.
///
/// A sender may repeat a key, or undo it, until the key's validity is over; the sender's `key_valid_for` must be at most
/// what is promised here. The receiver remembers for that and a slack longer, since a call takes time to arrive and no
/// two clocks agree.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::Retention;
/// use mainstay::time::Timestamp;
/// use std::time::Duration;
///
/// let day = Duration::from_secs(24 * 3_600);
/// let retention = Retention::valid_for(30 * day).slack(day);
/// let now = Timestamp::from_millis(100 * 86_400_000);
/// assert_eq!(retention.horizon(now), Timestamp::from_millis(70 * 86_400_000));
/// assert_eq!(retention.forget_before(now), Timestamp::from_millis(69 * 86_400_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    valid_for: Duration,
    slack: Duration,
}

impl Retention {
    /// Promises senders that a key is known for this long after it was first sent. Sagas that wait for a person, or for
    /// an outage to end, undo late: think of weeks.
    #[must_use]
    pub const fn valid_for(valid_for: Duration) -> Self {
        Self {
            valid_for,
            slack: Duration::from_secs(3_600),
        }
    }

    /// How much longer entries are kept than is promised: the longest time that a call is under way, and the most by
    /// which clocks differ. Defaults to an hour, which is long for both.
    #[must_use]
    pub const fn slack(mut self, slack: Duration) -> Self {
        self.slack = slack;
        self
    }

    /// Keys that were first sent before this moment are no longer honoured when they are not known.
    #[must_use]
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        back(now, self.valid_for)
    }

    /// Entries that did not change since this moment may be forgotten.
    #[must_use]
    pub fn forget_before(&self, now: Timestamp) -> Timestamp {
        back(now, self.valid_for.saturating_add(self.slack))
    }
}

fn back(now: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_checked_and_not_repeated() {
        for bad in ["", "a b", "é", "a\n", &"a".repeat(201)] {
            let error = EffectKey::new(bad).map(drop);
            let Err(error) = error else {
                panic!("{bad:?} was taken")
            };
            assert_eq!(error.field(), "effect.key");
            assert!(bad.len() < 3 || !error.to_string().contains(bad));
        }
        assert!(EffectKey::new(&"a".repeat(200)).is_ok());
        assert!(Fence::new("r", i64::MAX as u64).is_ok());
        assert!(Fence::new("r", i64::MAX as u64 + 1).is_err());
        assert!(Fence::new("r", 1).is_ok_and(|fence| fence.within(" ").is_err()));
    }

    #[test]
    fn a_retention_saturates() {
        let long = Retention::valid_for(Duration::MAX).slack(Duration::MAX);
        let now = Timestamp::from_millis(5);
        assert!(long.forget_before(now) <= long.horizon(now));
        assert!(long.horizon(now).as_millis() < 0);
    }
}
