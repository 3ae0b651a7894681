use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::handle::TenantHandle;
use super::identify::Caller;
use super::pool::{Pool, TenantPool};
use super::service::TenantService;
use crate::breaker::AtHead;
use crate::outcome::ByResult;
use crate::reject::AsError;

/// Admits the calls of a service to the seats of a pool, fairly by tier and tenant.
///
/// It stands on either side: around a server, where it knows the peer, and around calls that go out, to GPUs, say. Every
/// service that it makes shares the pool, as do other layers of it. A seat is taken in `call`, never in `poll_ready`; a
/// call that finds none waits in its future or is refused. A wait costs one allocation, everything else none. A future that
/// is dropped leaves the line or gives its seat back, and so does one that panics; a future that is kept after its answer
/// holds nothing. It belongs inside what authenticates the caller and the total deadline, which bounds the wait, and
/// outside of everything that does work.
///
/// What is below runs in the [scope](crate::scope::Scope) of the call's tier. A call that is made there, and comes to a
/// pool of which its outer call holds a seat, takes no second one; at another pool it has the outer call's tier, or its
/// own where that is higher.
///
/// - `I` says whose call it is: [`identify`](Self::identify).
/// - `C` says how a result counts where the capacity moves: [`classify`](Self::classify).
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
/// - `U` says until when a call lasts: [`until`](Self::until).
///
/// # Example
///
/// ```
/// use mainstay::num::count;
/// use mainstay::presets;
/// use mainstay::tenant::{Tenant, TenantConfig, TenantLayer, TenantPool};
/// use tower::{BoxError, ServiceBuilder, ServiceExt};
///
/// struct Request {
///     /// As authentication found it.
///     tenant: Option<Tenant>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let pool = TenantPool::new("erp", TenantConfig::new(count(64), presets::erp::tiers()))?;
/// let service = ServiceBuilder::new()
///     .layer(TenantLayer::by(&pool, |request: &Request| request.tenant.as_ref().into()))
///     .service_fn(|_: Request| async { Ok::<_, BoxError>("done") });
/// let tenant = Some(Tenant::new("acme", "enterprise"));
/// assert_eq!(service.oneshot(Request { tenant }).await?, "done");
/// # Ok(())
/// # }
/// ```
pub struct TenantLayer<I, C = ByResult, R = AsError, U = AtHead> {
    pool: Arc<Pool>,
    policy: Policy<I, C, R, U>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<I, C, R, U> {
    pub(super) identify: I,
    pub(super) classify: C,
    pub(super) refuse: R,
    pub(super) until: U,
}

#[cfg(feature = "http")]
impl TenantLayer<super::FromExtensions> {
    /// Admission to this pool, for the tenant that authentication left in the extensions of the request.
    #[must_use]
    pub fn new(pool: &TenantPool) -> Self {
        Self::identify(pool, super::FromExtensions)
    }
}

impl<I> TenantLayer<I> {
    /// Admission to this pool, for the tenant that `identify` finds.
    #[must_use]
    pub fn identify(pool: &TenantPool, identify: I) -> Self {
        Self {
            pool: Arc::clone(&pool.pool),
            policy: Policy {
                identify,
                classify: ByResult,
                refuse: AsError,
                until: AtHead,
            },
        }
    }

    /// Admission to this pool, for the tenant that a function finds in what somebody has authenticated of the request.
    #[must_use]
    pub fn by<Req>(pool: &TenantPool, identify: I) -> Self
    where
        I: for<'r> Fn(&'r Req) -> Caller<'r>,
    {
        Self::identify(pool, identify)
    }
}

impl<I, C, R, U> TenantLayer<I, C, R, U> {
    /// How a result counts where the [capacity moves](super::TenantConfig::adaptive). Defaults to [`ByResult`]: every error
    /// is a failure. Where the capacity is fixed nobody asks.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> TenantLayer<I, C2, R, U> {
        let Policy {
            identify,
            refuse,
            until,
            ..
        } = self.policy;
        TenantLayer {
            pool: self.pool,
            policy: Policy {
                identify,
                classify,
                refuse,
                until,
            },
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> TenantLayer<I, C, R2, U> {
        let Policy {
            identify,
            classify,
            until,
            ..
        } = self.policy;
        TenantLayer {
            pool: self.pool,
            policy: Policy {
                identify,
                classify,
                refuse,
                until,
            },
        }
    }

    /// Until when a call keeps its seat. Defaults to [`AtHead`]; under `http::AtEnd` it is to the end of its body.
    #[must_use]
    pub fn until<U2>(self, until: U2) -> TenantLayer<I, C, R, U2> {
        let Policy {
            identify,
            classify,
            refuse,
            ..
        } = self.policy;
        TenantLayer {
            pool: self.pool,
            policy: Policy {
                identify,
                classify,
                refuse,
                until,
            },
        }
    }

    /// Watches and changes the pool.
    #[must_use]
    pub fn handle(&self) -> TenantHandle {
        TenantHandle::new(Arc::clone(&self.pool))
    }
}

impl<I: Clone, C: Clone, R: Clone, U: Clone> Clone for TenantLayer<I, C, R, U> {
    fn clone(&self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            policy: self.policy.clone(),
        }
    }
}

impl<I, C, R, U> fmt::Debug for TenantLayer<I, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S, I: Clone, C: Clone, R: Clone, U: Clone> Layer<S> for TenantLayer<I, C, R, U> {
    type Service = TenantService<S, I, C, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        TenantService::new(inner, Arc::clone(&self.pool), self.policy.clone())
    }
}
