use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tower::Layer;

use super::budget::Budget;
use super::policy::{GaveUp, RetryConfig};
use super::replay::CloneRequest;
use super::service::RetryService;
use crate::observe::{self, Name};
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::rng::Rng;
use crate::rt;

/// What the clones of one policy share.
pub(super) struct Shared {
    name: Name,
    pub(super) config: RetryConfig,
    budget: Option<Mutex<Budget>>,
    /// While the budget is full a deposit changes nothing, and needs no lock.
    full: AtomicBool,
    /// Each call's jitter forks off it with one addition.
    seed: AtomicU64,
    retries: AtomicU64,
    given_up: AtomicU64,
}

impl Shared {
    pub(super) fn rng(&self) -> Rng {
        Rng::new(
            self.seed
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed),
        )
        .fork()
    }

    pub(super) fn deposit(&self) {
        if self.full.load(Ordering::Relaxed) {
            return;
        }
        self.with_budget(Budget::deposit);
    }

    pub(super) fn withdraw(&self) -> bool {
        let now = rt::now();
        self.with_budget(|budget| budget.withdraw(now))
            .unwrap_or(true)
    }

    fn with_budget<T>(&self, f: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        let budget = self.budget.as_ref()?;
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut budget);
        self.full.store(budget.is_full(), Ordering::Relaxed);
        Some(result)
    }

    pub(super) fn retried(&self, attempt: u32, after: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        observe::retried(&self.name, attempt, after);
    }

    pub(super) fn gave_up(&self, attempt: u32, reason: GaveUp) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        observe::gave_up(&self.name, attempt, reason);
    }
}

/// Tries a failed call again.
///
/// One value is one policy: its clones and every service it made share the budget and the counts. It needs an inner
/// service that is `Clone`, and clones it only when it retries. The attempt number travels in the
/// [`Scope`](crate::scope::Scope). A refusal of this stack is never retried. Dropping the future stops everything.
///
/// - `C` says how a result counts: [`classify`](Self::classify).
/// - `R` recognises a refusal of a layer below: [`refuse_with`](Self::refuse_with).
/// - `P` makes a request again: [`replay_with`](Self::replay_with).
pub struct RetryLayer<C = ByResult, R = AsError, P = CloneRequest> {
    shared: Arc<Shared>,
    policy: Policy<C, R, P>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy<C, R, P> {
    pub(super) classify: C,
    pub(super) refuse: R,
    pub(super) replay: P,
}

impl RetryLayer {
    /// A policy named `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: RetryConfig) -> Self {
        Self::seeded(name, config, rt::entropy())
    }

    /// A policy whose jitter repeats itself for the same seed, for tests and drills.
    #[must_use]
    pub fn seeded(name: impl Into<Arc<str>>, config: RetryConfig, seed: u64) -> Self {
        let budget = config
            .allowance()
            .map(|budget| Budget::new(budget, rt::now()));
        let shared = Shared {
            name: name.into(),
            config,
            full: AtomicBool::new(budget.as_ref().is_none_or(Budget::is_full)),
            budget: budget.map(Mutex::new),
            seed: AtomicU64::new(seed),
            retries: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            policy: Policy::default(),
        }
    }
}

impl<C, R, P> RetryLayer<C, R, P> {
    /// How a result counts. Defaults to [`ByResult`]: every error is a failure.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> RetryLayer<C2, R, P> {
        let Policy { refuse, replay, .. } = self.policy;
        RetryLayer {
            shared: self.shared,
            policy: Policy {
                classify,
                refuse,
                replay,
            },
        }
    }

    /// How a refusal of a layer below is recognised. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> RetryLayer<C, R2, P> {
        let Policy {
            classify, replay, ..
        } = self.policy;
        RetryLayer {
            shared: self.shared,
            policy: Policy {
                classify,
                refuse,
                replay,
            },
        }
    }

    /// How a request is made again. Defaults to [`CloneRequest`].
    #[must_use]
    pub fn replay_with<P2>(self, replay: P2) -> RetryLayer<C, R, P2> {
        let Policy {
            classify, refuse, ..
        } = self.policy;
        RetryLayer {
            shared: self.shared,
            policy: Policy {
                classify,
                refuse,
                replay,
            },
        }
    }

    /// Watches the policy from outside.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Clone, R: Clone, P: Clone> Clone for RetryLayer<C, R, P> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            policy: self.policy.clone(),
        }
    }
}

impl<C, R, P> fmt::Debug for RetryLayer<C, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S: Clone, C: Clone, R: Clone, P: Clone> Layer<S> for RetryLayer<C, R, P> {
    type Service = RetryService<S, C, R, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, Arc::clone(&self.shared), self.policy.clone())
    }
}

/// Watches a retry policy from outside.
#[derive(Clone)]
pub struct RetryHandle {
    shared: Arc<Shared>,
}

impl RetryHandle {
    /// Attempts beyond the first, of all calls so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.shared.retries.load(Ordering::Relaxed)
    }

    /// Calls that failed and were not tried again.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.shared.given_up.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("name", &self.shared.name)
            .field("retries", &self.retries())
            .field("given_up", &self.given_up())
            .finish()
    }
}
