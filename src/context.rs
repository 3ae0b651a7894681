//! What travels with a call: until when, for whom, which attempt.

use std::sync::Arc;

use crate::time::Tick;

/// The context of one call.
///
/// What comes in from outside this process is clamped by the edge that reads it: a deadline only shortens; tenant,
/// tier, attempt and key are believed only from a trusted peer.
///
/// # Example
///
/// ```
/// use mainstay::context::{Call, Context};
/// use mainstay::time::Tick;
///
/// let context = Context::new().deadline(Tick::from_nanos(900)).tenant("acme");
/// // A deadline only shortens.
/// assert_eq!(context.clone().deadline(Tick::from_nanos(1_000)), context);
///
/// let call = Call::new("pay invoice 7").within(context);
/// assert_eq!(call.context().until(), Some(Tick::from_nanos(900)));
/// assert_eq!(call.into_inner(), "pay invoice 7");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    deadline: Option<Tick>,
    attempt: u32,
    tenant: Option<Arc<str>>,
    tier: Option<Arc<str>>,
    idempotency_key: Option<Arc<str>>,
}

impl Context {
    /// A context that says nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The call must be over at `deadline`. The nearest of several deadlines holds.
    #[must_use]
    pub fn deadline(mut self, deadline: Tick) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        self
    }

    /// Which attempt this is, counted from 1; 0 where nobody counts.
    #[must_use]
    pub const fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Whose call it is.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Which tier of service the tenant has.
    #[must_use]
    pub fn tier(mut self, tier: impl Into<Arc<str>>) -> Self {
        self.tier = Some(tier.into());
        self
    }

    /// The key under which the receiver applies the effect once.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// When the call must be over.
    #[must_use]
    pub const fn until(&self) -> Option<Tick> {
        self.deadline
    }

    /// Which attempt this is, counted from 1; 0 where nobody counts.
    #[must_use]
    pub const fn attempt_number(&self) -> u32 {
        self.attempt
    }

    /// Whose call it is.
    #[must_use]
    pub fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Which tier of service the tenant has.
    #[must_use]
    pub fn tier_name(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// The key under which the receiver applies the effect once.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

/// A request with its context, for services whose request type has no room for one.
///
/// [`CallLayer`](crate::scope::CallLayer) turns a service of `Req` into one of `Call<Req>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call<Req> {
    request: Req,
    context: Context,
}

impl<Req> Call<Req> {
    /// A request whose context says nothing.
    pub fn new(request: Req) -> Self {
        Self {
            request,
            context: Context::new(),
        }
    }

    /// The same request in this context.
    #[must_use]
    pub fn within(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// The context.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The request.
    pub const fn request(&self) -> &Req {
        &self.request
    }

    /// The request without its context.
    pub fn into_inner(self) -> Req {
        self.request
    }
}
