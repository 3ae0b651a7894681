use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::config::BreakerConfig;
use super::handle::BreakerHandle;
use super::lease::{Lease, Place};
use super::service::BreakerService;
use super::settle::AtHead;
use super::switch::Switch;
use crate::error::LayerKind;
use crate::observe::Rejections;
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::rt;

/// Puts a circuit breaker around a service.
///
/// One value is one circuit: its clones and every service it made share it, however often `layer` is called. A permit
/// is taken in `call`; an open circuit is ready and answers in `call` even while the inner service is not. A future
/// that is dropped gives its permit back. It belongs inside the retry and outside the attempt timeout.
///
/// - `C` says how a result counts: [`classify`](Self::classify).
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
/// - `U` says until when a call lasts: [`until`](Self::until).
pub struct BreakerLayer<C = ByResult, R = AsError, U = AtHead> {
    lease: Arc<Lease>,
    policy: Policy<C, R, U>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy<C, R, U> {
    pub(super) classify: C,
    pub(super) refuse: R,
    pub(super) until: U,
}

impl<C, R, U> Policy<C, R, U> {
    pub(super) fn classify<C2>(self, classify: C2) -> Policy<C2, R, U> {
        let Self { refuse, until, .. } = self;
        Policy {
            classify,
            refuse,
            until,
        }
    }

    pub(super) fn refuse_with<R2>(self, refuse: R2) -> Policy<C, R2, U> {
        let Self {
            classify, until, ..
        } = self;
        Policy {
            classify,
            refuse,
            until,
        }
    }

    pub(super) fn until<U2>(self, until: U2) -> Policy<C, R, U2> {
        let Self {
            classify, refuse, ..
        } = self;
        Policy {
            classify,
            refuse,
            until,
        }
    }
}

impl BreakerLayer {
    /// A circuit named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: impl Into<BreakerConfig>) -> Self {
        Self::seeded(name, config, rt::entropy())
    }

    /// A circuit whose waits have the same jitter for the same seed, for tests and drills.
    #[must_use]
    pub fn seeded(name: impl Into<Arc<str>>, config: impl Into<BreakerConfig>, seed: u64) -> Self {
        let rejections = Rejections::of(LayerKind::Breaker, &name.into());
        Self {
            lease: Arc::new(Lease::new(rejections, config.into(), seed)),
            policy: Policy::default(),
        }
    }
}

impl<C, R, U> BreakerLayer<C, R, U> {
    /// How a result counts. Defaults to [`ByResult`]: every error is a failure, and no response is. Around HTTP or gRPC
    /// say `http::ByStatus` or `grpc::ByStatus`: with the default a callee that answers 500 to everything is healthy.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> BreakerLayer<C2, R, U> {
        BreakerLayer {
            lease: self.lease,
            policy: self.policy.classify(classify),
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> BreakerLayer<C, R2, U> {
        BreakerLayer {
            lease: self.lease,
            policy: self.policy.refuse_with(refuse),
        }
    }

    /// Until when a call lasts. Defaults to [`AtHead`]; `http::AtEnd` watches the body to its end.
    #[must_use]
    pub fn until<U2>(self, until: U2) -> BreakerLayer<C, R, U2> {
        BreakerLayer {
            lease: self.lease,
            policy: self.policy.until(until),
        }
    }

    /// Puts the circuit on `switch`, which commands many.
    #[must_use]
    pub fn switched_by(self, switch: &Switch) -> Self {
        let place: Arc<dyn Place> = Arc::clone(&self.lease) as _;
        switch.put(&place);
        self
    }

    /// Watches and commands the circuit from outside.
    #[must_use]
    pub fn handle(&self) -> BreakerHandle {
        BreakerHandle::new(Arc::clone(&self.lease) as _)
    }
}

impl<C: Clone, R: Clone, U: Clone> Clone for BreakerLayer<C, R, U> {
    fn clone(&self) -> Self {
        Self {
            lease: Arc::clone(&self.lease),
            policy: self.policy.clone(),
        }
    }
}

impl<C, R, U> fmt::Debug for BreakerLayer<C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone, R: Clone, U: Clone> Layer<S> for BreakerLayer<C, R, U> {
    type Service = BreakerService<S, C, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService::new(inner, Arc::clone(&self.lease), self.policy.clone())
    }
}
