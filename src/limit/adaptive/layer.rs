use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::config::AdaptiveConfig;
use super::driver::Driver;
use super::handle::AdaptiveHandle;
use crate::breaker::AtHead;
use crate::limit::concurrency::{ConcurrencyService, Drive, Gate, Policy};
use crate::observe::Name;
use crate::outcome::ByResult;
use crate::reject::AsError;

/// Bounds how many calls of a service are under way, by as many as it answers well.
///
/// It is a [`ConcurrencyLayer`](crate::limit::concurrency::ConcurrencyLayer) whose limit moves: one value is one limit,
/// which its clones and every service it made share; a place is taken in `call`; a call that finds none waits in its
/// future or is refused; a future that is dropped leaves the line or gives its place back.
///
/// It measures what lies below it. Around the retry, where it belongs, that is a request with all its attempts: a call
/// holds one place for all of them, is refused before the first and never between two, and its time grows with its
/// attempts, which is what overload does. Below the retry it measures attempts, and refuses retries too.
///
/// - `C` says how a result counts: [`classify`](Self::classify).
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
/// - `U` says until when a call lasts: [`until`](Self::until).
pub struct AdaptiveLayer<C = ByResult, R = AsError, U = AtHead> {
    gate: Arc<Gate>,
    driver: Arc<Driver>,
    policy: Policy<C, R, U>,
}

impl AdaptiveLayer {
    /// A limit named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: AdaptiveConfig) -> Self {
        let name: Name = name.into();
        let driver = Arc::new(Driver::new(Arc::clone(&name), config));
        let drive: Arc<dyn Drive> = Arc::clone(&driver) as _;
        Self {
            gate: Gate::new(name, driver.seating(), Some(drive)),
            driver,
            policy: Policy::default(),
        }
    }
}

impl<C, R, U> AdaptiveLayer<C, R, U> {
    /// How a result counts. Defaults to [`ByResult`]: every error is a failure.
    ///
    /// A classifier that knows timeouts and overload lets the limit fall sooner; a failure of any other kind counts by
    /// the time that it took.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> AdaptiveLayer<C2, R, U> {
        let Policy { refuse, until, .. } = self.policy;
        AdaptiveLayer {
            gate: self.gate,
            driver: self.driver,
            policy: Policy {
                classify,
                refuse,
                until,
            },
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> AdaptiveLayer<C, R2, U> {
        let Policy {
            classify, until, ..
        } = self.policy;
        AdaptiveLayer {
            gate: self.gate,
            driver: self.driver,
            policy: Policy {
                classify,
                refuse,
                until,
            },
        }
    }

    /// Until when a call lasts. Defaults to [`AtHead`]; under `http::AtEnd` it keeps its place, and its time counts, to
    /// the end of its body.
    #[must_use]
    pub fn until<U2>(self, until: U2) -> AdaptiveLayer<C, R, U2> {
        let Policy {
            classify, refuse, ..
        } = self.policy;
        AdaptiveLayer {
            gate: self.gate,
            driver: self.driver,
            policy: Policy {
                classify,
                refuse,
                until,
            },
        }
    }

    /// Watches and steers the limit from outside.
    #[must_use]
    pub fn handle(&self) -> AdaptiveHandle {
        AdaptiveHandle::new(Arc::clone(&self.gate), Arc::clone(&self.driver))
    }
}

impl<C: Clone, R: Clone, U: Clone> Clone for AdaptiveLayer<C, R, U> {
    fn clone(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
            driver: Arc::clone(&self.driver),
            policy: self.policy.clone(),
        }
    }
}

impl<C, R, U> fmt::Debug for AdaptiveLayer<C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone, R: Clone, U: Clone> Layer<S> for AdaptiveLayer<C, R, U> {
    type Service = ConcurrencyService<S, C, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyService::new(inner, Arc::clone(&self.gate), self.policy.clone())
    }
}
