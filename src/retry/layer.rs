use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::budget::SharedBudget;
use super::policy::{GaveUp, RetryConfig};
use super::replay::CloneRequest;
use super::service::RetryService;
use crate::observe::{Retries, Span};
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::rng::Rng;
use crate::rt;
use crate::scope;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// What the clones of one policy share.
pub(super) struct Shared {
    observe: Retries,
    /// Read when an attempt failed.
    config: Mutex<RetryConfig>,
    pub(super) budget: SharedBudget,
    /// The settings' own budget does not matter to a policy that shares one.
    budget_is_shared: bool,
    /// 1 since the budget refused a retry, until it allows one.
    exhausted: AtomicU64,
    /// Each call's jitter forks off it with one addition.
    seed: AtomicU64,
    retries: AtomicU64,
    given_up: AtomicU64,
}

impl Shared {
    fn new(name: Arc<str>, config: RetryConfig, shared: Option<SharedBudget>, seed: u64) -> Self {
        Self {
            observe: Retries::new(name),
            config: Mutex::new(config),
            budget_is_shared: shared.is_some(),
            budget: shared.unwrap_or_else(|| SharedBudget::from_config(config.allowance())),
            exhausted: AtomicU64::new(0),
            seed: AtomicU64::new(seed),
            retries: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    pub(super) fn config(&self) -> RetryConfig {
        *lock(&self.config)
    }

    /// The span of attempt number `attempt`.
    #[inline]
    pub(super) fn span(&self, attempt: u32) -> Span {
        self.observe.attempt(attempt)
    }

    pub(super) fn rng(&self) -> Rng {
        let seed = self
            .seed
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Rng::new(seed).fork()
    }

    pub(super) fn retried(&self, attempt: u32, after: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        // Read first: written by every retry, it would be fought over.
        if self.exhausted.load(Ordering::Relaxed) != 0 {
            self.exhausted.store(0, Ordering::Relaxed);
        }
        self.observe.retried(attempt, after);
    }

    /// A call ends with a failure after so many attempts.
    pub(super) fn gave_up(&self, attempts: u32, in_vain: bool, reason: GaveUp) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        self.observe.gave_up(attempts, reason);
        if reason == GaveUp::Budget && self.exhausted.swap(1, Ordering::Relaxed) == 0 {
            self.observe.budget_exhausted();
        }
        // A layer further out has no better chance, or is not to take one: rule 10.
        let forbidden = matches!(reason, GaveUp::Budget | GaveUp::Hint | GaveUp::Pushback);
        if attempts > 1 || in_vain || forbidden {
            scope::retried_in_vain();
        }
    }
}

/// Tries a failed call again.
///
/// One value is one policy: its clones and every service it made share the budget and the counts. It needs an inner
/// service that is `Clone`, and clones it only when it retries. The attempt number travels in the
/// [`Scope`](crate::scope::Scope). A refusal of this stack is never retried. Dropping the future stops everything.
///
/// Of several retry layers around one another the innermost retries, and the others let its failure pass: see
/// [`Nesting`](super::Nesting). What all of them add together is bounded by one
/// [`SharedBudget`].
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
        Self {
            shared: Arc::new(Shared::new(name.into(), config, None, seed)),
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

    /// Draws on a budget that others draw on too, instead of one of its own: the settings' budget does not matter then.
    ///
    /// This makes another policy of the layer, with the same name and settings: what was cloned of it before keeps its
    /// budget.
    #[must_use]
    pub fn shared_budget(self, budget: &SharedBudget) -> Self {
        let name = Arc::clone(self.shared.observe.policy());
        let (config, seed) = (self.shared.config(), self.shared.rng().next_u64());
        let shared = Shared::new(name, config, Some(budget.clone()), seed);
        Self {
            shared: Arc::new(shared),
            policy: self.policy,
        }
    }

    /// Watches and steers the policy from outside.
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

/// Watches and steers a retry policy from outside.
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

impl RetryHandle {
    /// The settings.
    #[must_use]
    pub fn config(&self) -> RetryConfig {
        self.shared.config()
    }

    /// Replaces the settings.
    ///
    /// Calls under way take them over when their attempt fails, waits that have begun end as they were meant to. A budget
    /// of the same kind keeps its tokens within the new bounds, another kind starts full; one that is
    /// [shared](RetryLayer::shared_budget) stays as it is and has a [`reload`](SharedBudget::reload) of its own. Counts go
    /// on.
    pub fn reload(&self, config: RetryConfig) {
        *lock(&self.shared.config) = config;
        if !self.shared.budget_is_shared {
            self.shared.budget.replace(config.allowance());
        }
    }

    /// What the budget has left: retries, or the tokens that a quota or a throttle counts. `None` without a budget.
    #[must_use]
    pub fn tokens(&self) -> Option<f64> {
        self.shared.budget.left()
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("name", self.shared.observe.policy())
            .field("retries", &self.retries())
            .field("given_up", &self.given_up())
            .field("tokens", &self.tokens())
            .finish()
    }
}
