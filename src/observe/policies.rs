//! What policies tell: refusals, circuits, limits, retries, fallbacks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Key, Label};

use super::span::span;
use super::{Counter, Keys, METADATA, Name, Span, label};
use crate::breaker::{Change, Order, State};
use crate::error::{LayerKind, Reason, Rejected};
use crate::fallback::Ending;
use crate::limit::adaptive;
use crate::limit::rate::RateConfig;
use crate::retry::GaveUp;

/// Tells of the refusals of one policy.
pub(crate) struct Rejections {
    policy: Name,
    /// By reason: a policy is always the same kind of layer.
    keys: Keys<{ Reason::ALL.len() }>,
}

impl Rejections {
    pub(crate) const fn new(policy: Name) -> Self {
        Self {
            policy,
            keys: Keys::new(),
        }
    }

    /// Those of the policies named so whose layer is of this kind.
    ///
    /// They stay for as long as the process runs, as the series of a recorder do: a call under way has a plain reference to
    /// them, since counting owners would cost it more than the rest of a deadline. So the names of policies are few, and
    /// never made of a tenant or a key.
    pub(crate) fn of(layer: LayerKind, policy: &Name) -> &'static Self {
        static ALL: Mutex<BTreeMap<(&str, Name), &'static Rejections>> =
            Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || &*Box::leak(Box::new(Self::new(Arc::clone(policy))));
        let named = Arc::clone(policy);
        all.entry((layer.as_str(), named)).or_insert_with(new)
    }

    pub(crate) const fn policy(&self) -> &Name {
        &self.policy
    }

    /// The span of a whole call.
    #[inline]
    pub(crate) fn call(&self) -> Span {
        Span::of(|| span!("mainstay.call", policy = &*self.policy))
    }

    /// The span of a wait in the line of a limit.
    pub(crate) fn wait(&self, layer: LayerKind) -> Span {
        let layer = layer.as_str();
        Span::of(|| span!("mainstay.wait", policy = &*self.policy, layer))
    }

    pub(crate) fn note(&self, rejected: &Rejected) {
        let (layer, reason) = (rejected.layer().as_str(), rejected.reason().as_str());
        self.keys.increment(rejected.reason() as usize, || {
            let labels = vec![
                Label::new("policy", label(&self.policy)),
                Label::new("layer", layer),
                Label::new("reason", reason),
            ];
            Key::from_parts("mainstay_rejections_total", labels)
        });
        let policy = &*self.policy;
        tracing::debug!(policy, layer, reason, retry_after = ?rejected.hint(), "rejected");
    }
}

impl fmt::Debug for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejections")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Tells how many calls a limit has under way, and how many wait.
///
/// Each call adds one and takes it away again, so that the gauges end where they began, however the calls ended. The
/// keys are made with the first call, so that the others allocate nothing.
pub(crate) struct Occupancy {
    policy: Name,
    in_flight: OnceLock<Key>,
    limit: OnceLock<Key>,
    waiting: OnceLock<Key>,
}

const IN_FLIGHT: &str = "mainstay_concurrency_in_flight";
const LIMIT: &str = "mainstay_concurrency_limit";
const WAITING: &str = "mainstay_concurrency_waiting";

impl Occupancy {
    pub(crate) const fn new(policy: Name) -> Self {
        Self {
            policy,
            in_flight: OnceLock::new(),
            limit: OnceLock::new(),
            waiting: OnceLock::new(),
        }
    }

    /// So many calls may be under way.
    pub(crate) fn limit(&self, calls: u32) {
        self.gauge(&self.limit, LIMIT, |limit| limit.set(calls));
    }

    /// A call has a place.
    pub(crate) fn entered(&self) {
        self.gauge(&self.in_flight, IN_FLIGHT, |calls| calls.increment(1.0));
    }

    /// Its call is over.
    pub(crate) fn left(&self) {
        self.gauge(&self.in_flight, IN_FLIGHT, |calls| calls.decrement(1.0));
    }

    /// A call waits.
    pub(crate) fn joined(&self) {
        self.gauge(&self.waiting, WAITING, |calls| calls.increment(1.0));
    }

    /// It does no longer.
    pub(crate) fn went(&self) {
        self.gauge(&self.waiting, WAITING, |calls| calls.decrement(1.0));
    }

    #[inline]
    fn gauge(&self, key: &OnceLock<Key>, name: &'static str, f: impl FnOnce(&metrics::Gauge)) {
        let key = key
            .get_or_init(|| Key::from_parts(name, vec![Label::new("policy", label(&self.policy))]));
        metrics::with_recorder(|recorder| {
            f(&recorder.register_gauge(key, &METADATA));
        });
    }
}

/// How many calls may be under way.
pub(crate) fn limit(policy: &Name, limit: u32) {
    metrics::gauge!(LIMIT, "policy" => label(policy)).set(limit);
}

/// An adaptive limit moved, by its rules or on an operator's order.
pub(crate) fn limit_changed(policy: &Name, change: &adaptive::Change, order: Option<&Order>) {
    let (from, to, cause) = (change.from(), change.to(), change.cause().as_str());
    limit(policy, to.get());
    metrics::counter!(
        "mainstay_limit_changes_total", "policy" => label(policy), "cause" => cause
    )
    .increment(1);
    let policy = &**policy;
    match order {
        Some(order) => {
            let (actor, reason) = (order.actor(), order.reason());
            tracing::info!(policy, from, to, cause, actor, reason, "limit commanded");
        }
        None => tracing::debug!(policy, from, to, cause, "limit moved"),
    }
}

pub(crate) fn transition(policy: &Name, change: &Change) {
    let transition = change.transition();
    if !transition.is_observed() {
        state(policy, transition.to());
    }
    changed(policy, change);
}

/// The state of a circuit.
pub(crate) fn state(policy: &Name, state: State) {
    let level = match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    };
    metrics::gauge!("mainstay_breaker_state", "policy" => label(policy)).set(level);
}

/// Of a policy with a circuit for each key: its gauge says how many are open.
pub(crate) fn keyed_transition(policy: &Name, change: &Change) {
    let transition = change.transition();
    if !transition.is_observed() {
        let open = || metrics::gauge!("mainstay_breaker_open_keys", "policy" => label(policy));
        match (transition.from(), transition.to()) {
            (State::Open, State::Open) => {}
            (State::Open, _) => open().decrement(1.0),
            (_, State::Open) => open().increment(1.0),
            _ => {}
        }
    }
    changed(policy, change);
}

fn changed(policy: &Name, change: &Change) {
    let transition = change.transition();
    let (from, to) = (transition.from().as_str(), transition.to().as_str());
    let cause = transition.cause().as_str();
    if transition.is_observed() {
        metrics::counter!(
            "mainstay_breaker_would_have_opened_total",
            "policy" => label(policy), "cause" => cause
        )
        .increment(1);
        tracing::warn!(policy = &**policy, cause, "circuit would have opened");
        return;
    }
    metrics::counter!(
        "mainstay_breaker_transitions_total",
        "policy" => label(policy), "to" => to, "cause" => cause
    )
    .increment(1);
    let actor = change.order().map(Order::actor);
    let reason = change.order().map(Order::reason);
    let policy = &**policy;
    if transition.to() == State::Open {
        tracing::warn!(policy, from, to, cause, actor, reason, "circuit opened");
    } else {
        tracing::info!(policy, from, to, cause, actor, reason, "circuit changed");
    }
}

/// Somebody commands a circuit, whether or not that changes its state.
pub(crate) fn commanded(policy: &Name, command: &'static str, order: &Order) {
    let (actor, reason) = (order.actor(), order.reason());
    let lasting = order.duration().map(crate::num::Period::get);
    tracing::warn!(
        policy = &**policy,
        command,
        actor,
        reason,
        ?lasting,
        "circuit commanded"
    );
}

/// How many circuits a keyed policy has.
pub(crate) fn keys(policy: &Name, keys: usize) {
    metrics::gauge!("mainstay_breaker_keys", "policy" => label(policy)).set(keys as f64);
}

/// A call went through without a circuit, since all places are taken by circuits that must be kept.
pub(crate) fn untracked(policy: &Name) {
    metrics::counter!("mainstay_breaker_untracked_total", "policy" => label(policy)).increment(1);
}

/// Tells of the retries of one policy.
pub(crate) struct Retries {
    policy: Name,
    retried: Keys<1>,
    gave_up: Keys<{ GaveUp::ALL.len() }>,
}

impl Retries {
    pub(crate) const fn new(policy: Name) -> Self {
        Self {
            policy,
            retried: Keys::new(),
            gave_up: Keys::new(),
        }
    }

    pub(crate) const fn policy(&self) -> &Name {
        &self.policy
    }

    /// The span of attempt number `attempt`.
    #[inline]
    pub(crate) fn attempt(&self, attempt: u32) -> Span {
        Span::of(|| span!("mainstay.attempt", policy = &*self.policy, attempt))
    }

    pub(crate) fn retried(&self, attempt: u32, after: Duration) {
        self.retried.increment(0, || {
            let labels = vec![Label::new("policy", label(&self.policy))];
            Key::from_parts("mainstay_retries_total", labels)
        });
        tracing::debug!(policy = &*self.policy, attempt, ?after, "will retry");
    }

    pub(crate) fn gave_up(&self, attempt: u32, reason: GaveUp) {
        let why = reason.as_str();
        self.gave_up.increment(reason as usize, || {
            let labels = vec![
                Label::new("policy", label(&self.policy)),
                Label::new("reason", why),
            ];
            Key::from_parts("mainstay_retries_given_up_total", labels)
        });
        tracing::debug!(policy = &*self.policy, attempt, reason = why, "gave up");
    }

    /// Once, until the budget allows a retry again.
    pub(crate) fn budget_exhausted(&self) {
        tracing::warn!(policy = &*self.policy, "retry budget exhausted");
    }
}

pub(crate) fn timed_out(policy: &Name, after: Duration) {
    metrics::counter!("mainstay_attempt_timeouts_total", "policy" => label(policy)).increment(1);
    tracing::debug!(policy = &**policy, ?after, "attempt timed out");
}

/// Tells of the fallbacks of one policy.
pub(crate) struct Fallbacks {
    policy: Name,
    keys: Keys<{ Ending::ALL.len() }>,
}

impl Fallbacks {
    pub(crate) const fn new(policy: Name) -> Self {
        Self {
            policy,
            keys: Keys::new(),
        }
    }

    pub(crate) const fn policy(&self) -> &Name {
        &self.policy
    }

    /// The span of a fallback that takes time.
    pub(crate) fn span(&self) -> Span {
        Span::of(|| span!("mainstay.fallback", policy = &*self.policy))
    }

    pub(crate) fn note(&self, ending: Ending, because: &'static str) {
        let outcome = ending.as_str();
        self.keys.increment(ending as usize, || {
            let labels = vec![
                Label::new("policy", label(&self.policy)),
                Label::new("outcome", outcome),
            ];
            Key::from_parts("mainstay_fallbacks_total", labels)
        });
        let policy = &*self.policy;
        tracing::debug!(policy, outcome, because, "fallback");
    }
}
pub(crate) fn delayed(delays: &Counter, wait: Duration) {
    delays.increment();
    tracing::debug!(policy = &*delays.policy, ?wait, "waits for its turn");
}

pub(crate) fn rate_reloaded(policy: &Name, config: &RateConfig) {
    tracing::info!(policy = &**policy, ?config, "rate changed");
}
