//! Under which name a saga is started.

use crate::journal::Labels;

/// A business key with what the journal labels the saga's records with.
///
/// # Example
///
/// ```
/// use mainstay::saga::Key;
///
/// let plain: Key = "INV-1".into();
/// let of_a_tenant = Key::new("INV-1").tenant("acme").subject("customer-7");
/// ```
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) key: Box<str>,
    pub(super) labels: Labels,
}

impl Key {
    /// A key, unique per tenant and definition.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self {
            key: key.into(),
            labels: Labels::new(""),
        }
    }

    /// Whose saga this is. Two tenants can have the same key and never see each other's saga.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.labels.tenant = tenant.into();
        self
    }

    /// Whose data the saga's payloads hold.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.labels.subject = Some(subject.into());
        self
    }

    /// The key under which payloads are to be sealed. The [codec](super::seal) may grant it or choose another; where
    /// nothing seals, a start that asks for a key is refused. Most callers leave the choice to the codec.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.labels.key_id = Some(key_id.into());
        self
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}
