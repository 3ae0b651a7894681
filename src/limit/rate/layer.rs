use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::config::RateConfig;
use super::gate::ByKey;
use super::handle::{KeyedRateHandle, RateHandle};
use super::keyed::KeyedRate;
use super::limiter::RateLimiter;
use super::service::RateService;
use crate::reject::AsError;

/// Puts a rate limit before a service.
///
/// One value is one limit: its clones and every service it made share it, however often `layer` is called. The permit
/// is taken in `call`; readiness is that of the inner service. A call that must wait does so within the limit's
/// patience and the deadline of its [`Scope`](crate::scope::Scope), holding the request and a ready service, and is
/// refused at once if its turn would come later than that. A call that is dropped while it waits gives its place back.
/// It belongs outermost, under the total deadline.
///
/// The inner service must be `Clone`: a call that waits keeps it for itself. Only then is it cloned.
///
/// - `G` is the limit: [`RateLimiter`], or one for each key, [`ByKey`].
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
#[derive(Clone)]
pub struct RateLayer<G = RateLimiter, R = AsError> {
    gate: G,
    refuse: R,
}

impl RateLayer {
    /// A limit named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: impl Into<RateConfig>) -> Self {
        RateLimiter::new(name, config).into()
    }

    /// A limit for each key: `key` tells that of a request.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::limit::rate::{KeyedRate, Rate, RateLayer};
    /// use mainstay::num::Period;
    /// use tower::{BoxError, ServiceBuilder, ServiceExt};
    ///
    /// struct Order { tenant: u64 }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let tenants = KeyedRate::new("tenants", Rate::burst(1, Period::secs(60)));
    /// let service = ServiceBuilder::new()
    ///     .layer(RateLayer::keyed(tenants, |order: &Order| order.tenant))
    ///     .service_fn(|_: Order| async { Ok::<_, BoxError>(()) });
    ///
    /// service.clone().oneshot(Order { tenant: 1 }).await?;
    /// assert!(service.clone().oneshot(Order { tenant: 1 }).await.is_err());
    /// service.clone().oneshot(Order { tenant: 2 }).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn keyed<K, F, Req>(limiter: KeyedRate<K>, key: F) -> RateLayer<ByKey<K, F>>
    where
        F: Fn(&Req) -> K,
    {
        RateLayer {
            gate: ByKey::new(limiter, key),
            refuse: AsError,
        }
    }
}

/// A layer that shares the limit with whoever else uses `limiter`.
impl From<RateLimiter> for RateLayer {
    fn from(limiter: RateLimiter) -> Self {
        Self {
            gate: limiter,
            refuse: AsError,
        }
    }
}

impl<G, R> RateLayer<G, R> {
    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> RateLayer<G, R2> {
        RateLayer {
            gate: self.gate,
            refuse,
        }
    }
}

impl<R> RateLayer<RateLimiter, R> {
    /// Watches and controls the limit.
    #[must_use]
    pub fn handle(&self) -> RateHandle {
        self.gate.handle()
    }
}

impl<K, F, R> RateLayer<ByKey<K, F>, R> {
    /// Watches and controls the limit.
    #[must_use]
    pub fn handle(&self) -> KeyedRateHandle<K> {
        self.gate.limiter.handle()
    }
}

impl<G: fmt::Debug, R> fmt::Debug for RateLayer<G, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLayer")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl<S, G: Clone, R: Clone> Layer<S> for RateLayer<G, R> {
    type Service = RateService<S, G, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateService::new(inner, self.gate.clone(), self.refuse.clone())
    }
}
