use super::identity::Tenant;
use super::slot::TenantSlot;

/// Whose call it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Caller<'r> {
    /// A tenant whose slot is at hand.
    At(&'r TenantSlot),
    /// A tenant.
    Known(&'r Tenant),
    /// A tenant that was put together for this call.
    Named(Tenant),
    /// Nobody who is known: one of the lowest tier, together with everybody else of whom that is true.
    Unknown,
}

impl From<Tenant> for Caller<'_> {
    fn from(tenant: Tenant) -> Self {
        Self::Named(tenant)
    }
}

impl<'r> From<&'r Tenant> for Caller<'r> {
    fn from(tenant: &'r Tenant) -> Self {
        Self::Known(tenant)
    }
}

impl<'r> From<&'r TenantSlot> for Caller<'r> {
    fn from(slot: &'r TenantSlot) -> Self {
        Self::At(slot)
    }
}

impl<'r, T: Into<Self>> From<Option<T>> for Caller<'r> {
    fn from(known: Option<T>) -> Self {
        known.map_or(Caller::Unknown, Into::into)
    }
}

/// Says whose call a request is, by facts that somebody has authenticated.
///
/// Never by a header, or anything else that whoever calls can write: a tenant that chooses its own name and tier has all
/// of them. A closure that returns a [`Caller`] is one.
pub trait Identify<Req> {
    /// Whose call it is.
    fn identify<'r>(&'r self, request: &'r Req) -> Caller<'r>;
}

impl<Req, F> Identify<Req> for F
where
    F: for<'r> Fn(&'r Req) -> Caller<'r>,
{
    #[inline]
    fn identify<'r>(&'r self, request: &'r Req) -> Caller<'r> {
        self(request)
    }
}

/// The tenant that authentication left in the extensions of the request: a [`TenantSlot`], or else a [`Tenant`]. A
/// request without either is nobody's who is known.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct FromExtensions;

#[cfg(feature = "http")]
impl<B> Identify<http::Request<B>> for FromExtensions {
    fn identify<'r>(&'r self, request: &'r http::Request<B>) -> Caller<'r> {
        let facts = request.extensions();
        match facts.get::<TenantSlot>() {
            Some(slot) => slot.into(),
            None => facts.get::<Tenant>().into(),
        }
    }
}

/// Every call is one tenant's: for a client that calls in its name, or a job that works for it.
#[derive(Clone, Debug)]
pub struct Always(TenantSlot);

impl Always {
    /// The tenant of this slot.
    #[must_use]
    pub const fn new(slot: TenantSlot) -> Self {
        Self(slot)
    }
}

impl<Req> Identify<Req> for Always {
    #[inline]
    fn identify<'r>(&'r self, _request: &'r Req) -> Caller<'r> {
        Caller::At(&self.0)
    }
}
