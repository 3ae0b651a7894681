use std::fmt;
use std::sync::Arc;

use crate::scope::TierName;

/// Who a tenant is: a text or a number. Cheap to clone.
///
/// # Example
///
/// ```
/// use mainstay::tenant::TenantId;
///
/// let acme = TenantId::from("acme");
/// assert_eq!(acme.to_string(), "acme");
/// assert_ne!(TenantId::from(7), TenantId::from("7"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Id);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Number(u64),
    Text(Arc<str>),
}

impl From<u64> for TenantId {
    fn from(number: u64) -> Self {
        Self(Id::Number(number))
    }
}

impl From<&str> for TenantId {
    fn from(text: &str) -> Self {
        Self(Id::Text(text.into()))
    }
}

impl From<String> for TenantId {
    fn from(text: String) -> Self {
        Self(Id::Text(text.into()))
    }
}

impl From<Arc<str>> for TenantId {
    fn from(text: Arc<str>) -> Self {
        Self(Id::Text(text))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

/// A tenant and the tier of service that it pays for, as authentication knows them.
///
/// Whoever authenticates a request puts one into its extensions; see [`FromExtensions`](super::FromExtensions).
///
/// # Example
///
/// ```
/// use mainstay::tenant::Tenant;
///
/// let acme = Tenant::new("acme", "enterprise");
/// assert_eq!(acme.tier_name(), "enterprise");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    id: TenantId,
    tier: Said,
}

/// A tier that the process knows is kept as a pointer; any other for the eye only.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Known(TierName),
    Other(Arc<str>),
}

impl Tenant {
    /// The tenant `id` in the tier named `tier`. A name that no pool knows is that of the lowest tier.
    #[must_use]
    pub fn new(id: impl Into<TenantId>, tier: impl AsRef<str>) -> Self {
        let tier = tier.as_ref();
        Self {
            id: id.into(),
            tier: TierName::known(tier).map_or_else(|| Said::Other(tier.into()), Said::Known),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> &TenantId {
        &self.id
    }

    /// The name of its tier.
    #[must_use]
    pub fn tier_name(&self) -> &str {
        match &self.tier {
            Said::Known(tier) => tier.as_str(),
            Said::Other(tier) => tier,
        }
    }
}
