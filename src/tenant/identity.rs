use std::fmt;
use std::sync::Arc;

use super::tier::Weight;
use crate::scope::TierName;

/// Who a tenant is: a text or a number. Cheap to clone.
///
/// # Example
///
/// ```
/// use mainstay::tenant::TenantKey;
///
/// let acme = TenantKey::from("acme");
/// assert_eq!(acme.to_string(), "acme");
/// assert_ne!(TenantKey::from(7), TenantKey::from("7"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey(Id);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Number(u64),
    Text(Arc<str>),
}

impl From<u64> for TenantKey {
    fn from(number: u64) -> Self {
        Self(Id::Number(number))
    }
}

impl From<&str> for TenantKey {
    fn from(text: &str) -> Self {
        Self(Id::Text(text.into()))
    }
}

impl From<String> for TenantKey {
    fn from(text: String) -> Self {
        Self(Id::Text(text.into()))
    }
}

impl From<Arc<str>> for TenantKey {
    fn from(text: Arc<str>) -> Self {
        Self(Id::Text(text))
    }
}

impl fmt::Display for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for TenantKey {
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
    key: TenantKey,
    tier: Said,
    weight: Weight,
}

/// A tier that the process knows is kept as a pointer; any other for the eye only.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Known(TierName),
    Other(Arc<str>),
}

impl Tenant {
    /// The tenant `key` in the tier named `tier`. A name that a pool does not know is that of its lowest tier.
    #[must_use]
    pub fn new(key: impl Into<TenantKey>, tier: impl AsRef<str>) -> Self {
        let tier = tier.as_ref();
        Self {
            key: key.into(),
            tier: TierName::known(tier).map_or_else(|| Said::Other(tier.into()), Said::Known),
            weight: Weight::ONE,
        }
    }

    /// How much it counts beside the other tenants of its tier.
    ///
    /// Defaults to 1.
    #[must_use]
    pub const fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Who it is.
    #[must_use]
    pub const fn key(&self) -> &TenantKey {
        &self.key
    }

    /// How much it counts.
    #[must_use]
    pub const fn share_weight(&self) -> Weight {
        self.weight
    }

    /// Its tier, if any pool of the process knows the name.
    pub(super) fn tier(&self) -> Option<TierName> {
        match &self.tier {
            Said::Known(tier) => Some(*tier),
            // It may have got to know it since.
            Said::Other(tier) => TierName::known(tier),
        }
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
