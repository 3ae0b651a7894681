use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::config::ConcurrencyConfig;
use super::gate::Gate;
use super::handle::ConcurrencyHandle;
use super::service::ConcurrencyService;
use crate::breaker::AtHead;
use crate::outcome::ByResult;
use crate::reject::AsError;

/// Bounds how many calls of a service are under way.
///
/// One value is one limit: its clones and every service it made share it, however often `layer` is called. A place is
/// taken in `call`, never in `poll_ready`; one that finds no place waits in its future, first come, first served, or is
/// refused. A wait costs one allocation, everything else none. A future that is dropped leaves the line or gives its
/// place back. It belongs outside the retry, so that a
/// call holds one place for all its attempts, and inside the total deadline, which bounds the wait.
///
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
/// - `U` says until when a call lasts: [`until`](Self::until).
pub struct ConcurrencyLayer<R = AsError, U = AtHead> {
    gate: Arc<Gate>,
    policy: Policy<ByResult, R, U>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy<C, R, U> {
    pub(crate) classify: C,
    pub(crate) refuse: R,
    pub(crate) until: U,
}

impl ConcurrencyLayer {
    /// A limit named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: ConcurrencyConfig) -> Self {
        Self {
            gate: Gate::new(name.into(), config, None),
            policy: Policy::default(),
        }
    }
}

impl<R, U> ConcurrencyLayer<R, U> {
    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> ConcurrencyLayer<R2, U> {
        let Policy {
            classify, until, ..
        } = self.policy;
        ConcurrencyLayer {
            gate: self.gate,
            policy: Policy {
                classify,
                refuse,
                until,
            },
        }
    }

    /// Until when a call lasts. Defaults to [`AtHead`]; under `http::AtEnd` it keeps its place to the end of its body.
    #[must_use]
    pub fn until<U2>(self, until: U2) -> ConcurrencyLayer<R, U2> {
        let Policy {
            classify, refuse, ..
        } = self.policy;
        ConcurrencyLayer {
            gate: self.gate,
            policy: Policy {
                classify,
                refuse,
                until,
            },
        }
    }

    /// Watches and changes the limit from outside.
    #[must_use]
    pub fn handle(&self) -> ConcurrencyHandle {
        ConcurrencyHandle::new(Arc::clone(&self.gate))
    }
}

impl<R: Clone, U: Clone> Clone for ConcurrencyLayer<R, U> {
    fn clone(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
            policy: self.policy.clone(),
        }
    }
}

impl<R, U> fmt::Debug for ConcurrencyLayer<R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S, R: Clone, U: Clone> Layer<S> for ConcurrencyLayer<R, U> {
    type Service = ConcurrencyService<S, ByResult, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyService::new(inner, Arc::clone(&self.gate), self.policy.clone())
    }
}
