//! The only file that knows `tracing` and `metrics`.
//!
//! Every name and label that mainstay emits stands here. The label `policy` is the name that the user gave the policy,
//! never a tenant, endpoint or key, so the number of series is the number of policies. No payload is ever recorded.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `mainstay_rejections_total` | counter | `policy`, `layer`, `reason` |
//! | `mainstay_breaker_transitions_total` | counter | `policy`, `to`, `cause` |
//! | `mainstay_breaker_would_have_opened_total` | counter | `policy`, `cause` |
//! | `mainstay_breaker_state` | gauge: 0 closed, 1 half-open, 2 open | `policy` |
//! | `mainstay_breaker_keys` | gauge: circuits of a keyed policy | `policy` |
//! | `mainstay_breaker_open_keys` | gauge: those of them that are open | `policy` |
//! | `mainstay_breaker_untracked_total` | counter: calls without a circuit, all places being taken | `policy` |
//! | `mainstay_retries_total` | counter | `policy` |
//! | `mainstay_retries_given_up_total` | counter | `policy`, `reason` |
//! | `mainstay_attempt_timeouts_total` | counter | `policy` |
//! | `mainstay_fallbacks_total` | counter | `policy`, `outcome`: abandoned, failed, full, late, no_request, served |
//! | `mainstay_concurrency_limit` | gauge: how many calls may be under way | `policy` |
//! | `mainstay_concurrency_in_flight` | gauge: how many are | `policy` |
//! | `mainstay_concurrency_waiting` | gauge: how many wait for a place | `policy` |
//! | `mainstay_limit_changes_total` | counter | `policy`, `cause` |
//! | `mainstay_rate_delays_total` | counter: calls that had to wait for their turn | `policy` |
//! | `mainstay_rate_overflows_total` | counter: calls whose key found no room | `policy` |
//! | `mainstay_sagas_started_total` | counter | `saga` |
//! | `mainstay_sagas_rested_total` | counter | `saga`, `end`: completed, compensated, abandoned, incident |
//! | `mainstay_saga_incidents_total` | counter | `saga`, `class` |
//! | `mainstay_saga_retries_total` | counter | `saga`, `step` |
//! | `mainstay_sagas_claimed_total` | counter: sagas taken over from nobody or from an instance that is gone | `saga` |
//! | `mainstay_sagas_running` | gauge: sagas that this process carries on | `saga` |
//! | `mainstay_saga_backlog` | gauge: sagas that were taken over and wait for room | |
//! | `mainstay_saga_lease_losses_total` | counter | |
//! | `mainstay_saga_step_duration_seconds` | histogram | `saga`, `step`, `part`: ask, run, undo |
//! | `mainstay_saga_incident_age_seconds` | gauge: how long one has waited for an operator, 0 where none does | `saga` |
//! | `mainstay_saga_stalled_seconds` | gauge: how long a saga under way has written nothing, 0 where none is | `saga` |
//! | `mainstay_journal_duration_seconds` | histogram | `store`, `call`: append, begin, claim |
//! | `mainstay_journal_faults_total` | counter: calls that the store failed | `store`, `call`: append, begin, claim |
//! | `mainstay_journal_operations_total` | counter: operations that wrote | `store` |
//! | `mainstay_journal_commits_total` | counter: commits that they shared | `store` |
//! | `mainstay_journal_listening` | gauge: 1 while changes are heard at once, else 0 | `store` |
//!
//! The label `saga` is the name of a definition and `step` the name of one of its steps. Events about a saga carry its
//! id, by which its history is found; never its input, its outputs, its business key or the words of an error.
//!
//! The label `store` is the store's own name for its kind, so that two journals of one kind in one process share their
//! series. `rate(operations) / rate(commits)` is how many writes share a commit. Both counters, whether changes are
//! heard, and the two ages are looked at every 15 s by each engine, the ages in the 64 sagas of their status that began
//! first: what has been in trouble for longest is among those, sooner or later. Of several instances the greatest age
//! counts.
//!
//! | event | level | fields |
//! |---|---|---|
//! | `rejected` | debug | `policy`, `layer`, `reason`, `retry_after` |
//! | `circuit opened` | warn | `policy`, `from`, `to`, `cause`; of a command also `actor`, `reason` |
//! | `circuit changed` | info | `policy`, `from`, `to`, `cause`; of a command also `actor`, `reason` |
//! | `circuit would have opened` | warn | `policy`, `cause` |
//! | `circuit commanded` | warn | `policy`, `command`, `actor`, `reason`, `lasting` |
//! | `will retry` | debug | `policy`, `attempt`, `after` |
//! | `gave up` | debug | `policy`, `attempt`, `reason` |
//! | `retry budget exhausted` | warn | `policy` |
//! | `attempt timed out` | debug | `policy`, `after` |
//! | `fallback` | debug | `policy`, `outcome`, `because` |
//! | `limit moved` | debug | `policy`, `from`, `to`, `cause` |
//! | `limit commanded` | info | `policy`, `from`, `to`, `cause`, `actor`, `reason` |
//! | `waits for its turn` | debug | `policy`, `wait` |
//! | `rate changed` | info | `policy`, `config` |
//! | `saga started` | debug | `saga`, `id` |
//! | `saga ended` | debug | `saga`, `id`, `end` |
//! | `saga waits for an operator` | error | `saga`, `id`, `class`, `step`, `allowed` |
//! | `step will be tried again` | debug | `saga`, `id`, `step`, `undo`, `attempt`, `after` |
//! | `saga left to the next engine` | info | `saga`, `id`, `why` |
//! | `saga taken over` | debug | `saga`, `id`, `recoveries` |
//! | `lease lost` | warn | `instance`, `number` |
//! | `saga is late` | warn | `saga`, `id`, `by` |
//! | `saga waits for its key` | warn | `saga`, `id` |
//! | `journal hears no changes` | warn | `store` |
//! | `journal hears changes again` | info | `store` |
//! | `operator refused` | warn | `saga`, `id`, `act` |
//!
//! | span | level | fields |
//! |---|---|---|
//! | `mainstay.call` | debug | `policy`, `outcome`, `error.type`, `otel.status_code` |
//! | `mainstay.wait` | debug | `policy`, `layer`, `outcome`, `error.type`, `otel.status_code` |
//! | `mainstay.attempt` | debug | `policy`, `attempt`, `outcome`, `error.type`, `otel.status_code` |
//! | `mainstay.fallback` | debug | `policy`, `outcome`, `error.type`, `otel.status_code` |
//! | `mainstay.saga` | debug | `saga`, `version`, `id`, `epoch`, `instance`, `traceparent`, `outcome`, `error.type`, `otel.status_code` |
//! | `mainstay.saga.step` | debug | `saga`, `id`, `step`, `part`, `attempt`, `outcome`, `error.type`, `otel.status_code` |
//!
//! - `mainstay.call` is one call of a [`DeadlineLayer`](crate::deadline::DeadlineLayer), the outermost of a
//!   [`standard`](crate::standard) stack: its waits and attempts lie in it. It ends `answered`, with an `error`, or with
//!   the reason of a refusal, `deadline_exceeded` among them.
//! - `mainstay.wait` is the time in the line of a limit, and says of which `layer`. It ends `admitted`, or with the
//!   reason of the refusal. A call that need not wait has none.
//! - `mainstay.attempt` is one attempt of a [`RetryLayer`](crate::retry::RetryLayer), numbered as the scope numbers it.
//!   It ends as the classifier says: `success`, `ignored`, `error`, `timeout`, `unavailable`, `overload`; or with the
//!   reason of the refusal. The pauses between attempts are the gaps between these spans.
//! - `mainstay.fallback` is an answer that takes time, from another service or a function; a value has none. It ends `served` or
//!   `failed`.
//! - `mainstay.saga` is one run of a saga: from when a process takes it up until it rests, is parked or is left. It is the
//!   root of a trace of its own, since a saga outlives whoever started it, and `follows_from` the caller's span where it was
//!   just started: a link, in OpenTelemetry's words. It ends `completed`, `compensated`, `abandoned` by an operator,
//!   `parked`, `stopping`, or, as an error, with the class of an incident, `taken`, `lapsed` or `journal_refused`.
//! - `mainstay.saga.step` is one attempt of a step, of its undo, or of the question about it (`part`: `run`, `undo`, `ask`);
//!   the step's own spans lie in it. It ends `done`, `not_applied`, or as an error, `retry`, `failed`, `refused`, `unknown`,
//!   `halted`, `timeout`, `panicked`, `unreadable`, `unrecordable`.
//!
//! Each can also end `abandoned`, dropped by its caller or by a deadline further out, and `panicked`. `error.type` and
//! `otel.status_code` are OpenTelemetry's names, recorded only of an end that is an error: the same word, and `ERROR`.
//! A span is entered while what it is about is called and polled, so that the callee's own spans lie in it, and left in
//! between. It ends with the head of an answer. A refusal and a change of a circuit are events in the span in which they
//! come about. To see the spans let `mainstay=debug` through, in the filter of the subscriber.
//!
//! Nothing is told under a lock, so a recorder or subscriber may look at any handle. Where nobody listens, a refusal, a
//! fallback and a success build nothing, and no span is made: to ask for one costs a load and a branch.
//!
//! `docs/grafana/mainstay.json` is a dashboard of these metrics, `docs/prometheus/mainstay.rules.yml` has alerts on
//! them, both by the names that `metrics-exporter-prometheus` gives them. `tests/observability.rs` holds these tables,
//! the dashboard and the alerts against what is really emitted.
//!
//! # Sagas over restarts
//!
//! A span ends with its process, and `follows_from` knows only spans that live. So what links the runs of a saga is in
//! their fields: all have its `id`; each has the number under which the journal knows the `instance`, and the `epoch` of
//! its turn, which its steps send as their fencing token and which grows with every takeover. Whoever asks the trace store
//! for `id` finds every run, on every machine.
//!
//! The link to the request from which the saga came is durable as well. `Key::traceparent` takes the caller's W3C trace
//! context into the first record, each run tells it as `traceparent`, and a step has it from `Cx::traceparent`. With
//! tracing-opentelemetry (seen with version 0.34) a step makes a link of it, after any number of restarts:
//! `Span::current().add_link(context)`, of `OpenTelemetrySpanExt`, where `context` is what a `TraceContextPropagator`
//! reads from it; `docs/instances.md` has the lines. mainstay does not do that itself, since the version of
//! `opentelemetry` in its interface would have to be the program's. Nor does it take the ambient context: `tracing`
//! does not know it.

use std::collections::BTreeMap;
#[cfg(feature = "saga")]
use std::collections::HashMap;
use std::fmt;
#[cfg(feature = "saga")]
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
#[cfg(feature = "saga")]
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata};
use tracing::field::Empty;
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

use crate::breaker::{Change, Order, State};
use crate::error::{LayerKind, Reason, Rejected};
use crate::fallback::Ending;
use crate::limit::adaptive;
use crate::limit::rate::RateConfig;
use crate::outcome::Outcome;
use crate::retry::GaveUp;

/// The name of a policy, as it appears in labels.
pub(crate) type Name = Arc<str>;

fn label(name: &Name) -> metrics::SharedString {
    metrics::SharedString::from_shared(Arc::clone(name))
}

static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A span with the fields that tell its end.
macro_rules! span {
    ($name:literal, $($field:tt)*) => {
        tracing::debug_span!(
            $name,
            $($field)*,
            outcome = Empty,
            "error.type" = Empty,
            "otel.status_code" = Empty
        )
    };
}

/// Whether somebody may want the spans of policies: one relaxed load.
#[inline]
pub(crate) fn wants_spans() -> bool {
    let level = LevelFilter::DEBUG;
    level <= STATIC_MAX_LEVEL && level <= LevelFilter::current()
}

/// A span of a policy, or none where nobody listens.
///
/// One word in the future that keeps it; the span itself is put elsewhere when there is one. It is closed when it is
/// told its end; dropped before that, what it is about was abandoned.
#[derive(Debug)]
#[must_use = "it is closed when it is dropped"]
pub(crate) struct Span(Option<Box<tracing::Span>>);

impl Span {
    pub(crate) const NONE: Self = Self(None);

    #[inline]
    fn of(open: impl FnOnce() -> tracing::Span) -> Self {
        if wants_spans() {
            Self::open(open)
        } else {
            Self::NONE
        }
    }

    #[cold]
    #[inline(never)]
    fn open(open: impl FnOnce() -> tracing::Span) -> Self {
        let span = open();
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    #[inline]
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The span, which leaves none behind.
    pub(crate) const fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Within the span, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> Within<'_> {
        if self.0.is_none() {
            return Within::NOTHING;
        }
        self.entered()
    }

    #[cold]
    #[inline(never)]
    fn entered(&mut self) -> Within<'_> {
        if let Some(span) = &self.0 {
            _ = span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        }
        Within(Some(self))
    }

    /// Tells the end and closes the span.
    #[inline]
    pub(crate) fn end(&mut self, ended: impl FnOnce() -> Ended) {
        if let Some(span) = self.0.take() {
            close(span, ended);
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        self.end(|| Ended::well("abandoned"));
    }
}

#[cold]
#[inline(never)]
fn close(span: Box<tracing::Span>, ended: impl FnOnce() -> Ended) {
    let Ended { word, is_error } = ended();
    span.record("outcome", word);
    if is_error {
        span.record("error.type", word);
        span.record("otel.status_code", "ERROR");
    }
    drop(span);
}

/// While this thread is within a span.
#[must_use = "the span is left when it is dropped"]
pub(crate) struct Within<'a>(Option<&'a mut Span>);

impl Within<'_> {
    /// Within no span.
    pub(crate) const NOTHING: Self = Self(None);

    /// Leaves the span, and tells its end and closes it.
    #[inline]
    pub(crate) fn end(mut self, ended: impl FnOnce() -> Ended) {
        if let Some(span) = self.0.take() {
            leave(span);
            span.end(ended);
        }
    }
}

impl Drop for Within<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            leave(span);
            if std::thread::panicking() {
                span.end(|| Ended::badly("panicked"));
            }
        }
    }
}

#[cold]
#[inline(never)]
fn leave(span: &Span) {
    if let Some(span) = &span.0 {
        _ = span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    }
}

/// How what a span is about has ended.
pub(crate) struct Ended {
    word: &'static str,
    is_error: bool,
}

impl Ended {
    pub(crate) const fn well(word: &'static str) -> Self {
        let is_error = false;
        Self { word, is_error }
    }

    pub(crate) const fn badly(word: &'static str) -> Self {
        let is_error = true;
        Self { word, is_error }
    }

    pub(crate) const fn rejected(reason: Reason) -> Self {
        Self::badly(reason.as_str())
    }

    /// As a classifier says, or a layer below that refused.
    pub(crate) fn of(outcome: Outcome, rejected: Option<Rejected>) -> Self {
        let word = outcome.word(rejected.map(|rejected| rejected.reason()));
        match outcome {
            Outcome::Success | Outcome::Ignored => Self::well(word),
            _ => Self::badly(word),
        }
    }
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Served | Ending::Abandoned => Self::well(ending.as_str()),
            _ => Self::badly(ending.as_str()),
        }
    }
}

/// The keys of one policy's counters that differ in one label.
///
/// Each is made when it is first needed, so that under overload a count costs no allocation.
struct Keys<const N: usize>([OnceLock<Key>; N]);

impl<const N: usize> Keys<N> {
    const fn new() -> Self {
        Self([const { OnceLock::new() }; N])
    }

    fn increment(&self, n: usize, make: impl FnOnce() -> Key) {
        if let Some(key) = self.0.get(n) {
            let key = key.get_or_init(make);
            metrics::with_recorder(|recorder| {
                recorder.register_counter(key, &METADATA).increment(1);
            });
        }
    }

    #[cfg(feature = "saga")]
    fn took(&self, n: usize, took: Duration, make: impl FnOnce() -> Key) {
        if let Some(key) = self.0.get(n) {
            let key = key.get_or_init(make);
            metrics::with_recorder(|recorder| {
                recorder.register_histogram(key, &METADATA).record(took);
            });
        }
    }
}

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
        static METADATA: Metadata<'_> =
            Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
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

/// A counter whose only label is the policy.
pub(crate) struct Counter {
    name: &'static str,
    policy: Name,
    key: Keys<1>,
}

impl Counter {
    pub(crate) const fn new(name: &'static str, policy: Name) -> Self {
        Self {
            name,
            policy,
            key: Keys::new(),
        }
    }

    pub(crate) fn increment(&self) {
        self.key.increment(0, || {
            Key::from_parts(self.name, vec![Label::new("policy", label(&self.policy))])
        });
    }
}

pub(crate) fn delayed(delays: &Counter, wait: Duration) {
    delays.increment();
    tracing::debug!(policy = &*delays.policy, ?wait, "waits for its turn");
}

pub(crate) fn rate_reloaded(policy: &Name, config: &RateConfig) {
    tracing::info!(policy = &**policy, ?config, "rate changed");
}

#[cfg(feature = "saga")]
pub(crate) fn saga_started(saga: &Name, id: u64) {
    metrics::counter!("mainstay_sagas_started_total", "saga" => label(saga)).increment(1);
    tracing::debug!(saga = &**saga, id, "saga started");
}

#[cfg(feature = "saga")]
pub(crate) fn saga_ended(saga: &Name, id: u64, end: &'static str) {
    metrics::counter!("mainstay_sagas_rested_total", "saga" => label(saga), "end" => end)
        .increment(1);
    tracing::debug!(saga = &**saga, id, end, "saga ended");
}

#[cfg(feature = "saga")]
pub(crate) fn saga_held(
    saga: &Name,
    id: u64,
    class: &'static str,
    step: Option<&str>,
    allowed: impl fmt::Display,
) {
    metrics::counter!("mainstay_sagas_rested_total", "saga" => label(saga), "end" => "incident")
        .increment(1);
    metrics::counter!("mainstay_saga_incidents_total", "saga" => label(saga), "class" => class)
        .increment(1);
    tracing::error!(
        saga = &**saga,
        id,
        class,
        step,
        %allowed,
        "saga waits for an operator"
    );
}

#[cfg(feature = "saga")]
pub(crate) fn saga_retried(
    saga: &Name,
    id: u64,
    step: &str,
    undo: bool,
    attempt: u32,
    after: Duration,
) {
    metrics::counter!("mainstay_saga_retries_total", "saga" => label(saga), "step" => step.to_owned())
        .increment(1);
    tracing::debug!(
        saga = &**saga,
        id,
        step,
        undo,
        attempt,
        ?after,
        "step will be tried again"
    );
}

#[cfg(feature = "saga")]
pub(crate) fn saga_left(saga: &Name, id: u64, why: &'static str) {
    tracing::info!(saga = &**saga, id, why, "saga left to the next engine");
}

/// A saga was claimed, so many times in a row without a record of it.
#[cfg(feature = "saga")]
pub(crate) fn saga_claimed(saga: &Name, id: u64, recoveries: u32) {
    metrics::counter!("mainstay_sagas_claimed_total", "saga" => label(saga)).increment(1);
    tracing::debug!(saga = &**saga, id, recoveries, "saga taken over");
}

/// One more is carried on, or one less.
#[cfg(feature = "saga")]
pub(crate) fn saga_running(saga: &Name, more: f64) {
    metrics::gauge!("mainstay_sagas_running", "saga" => label(saga)).increment(more);
}

/// One more waits for room, or one less.
#[cfg(feature = "saga")]
pub(crate) fn saga_backlog(more: f64) {
    metrics::gauge!("mainstay_saga_backlog").increment(more);
}

/// The journal no longer believes in an instance. `instance` is the name that people gave it.
#[cfg(feature = "saga")]
pub(crate) fn saga_lease_lost(instance: &str, number: u64) {
    metrics::counter!("mainstay_saga_lease_losses_total").increment(1);
    tracing::warn!(instance, number, "lease lost");
}

/// Somebody wanted of a saga what they may not. Who it was is in the saga's history, as far as that is bounded.
#[cfg(feature = "saga")]
pub(crate) fn operator_refused(saga: &Name, id: u64, act: &'static str) {
    tracing::warn!(saga = &**saga, id, act, "operator refused");
}

/// The caller of a start, for the span of the saga to follow. Nothing where nobody listens.
#[cfg(feature = "saga")]
pub(crate) struct Origin(Option<Box<tracing::Span>>);

#[cfg(feature = "saga")]
impl Origin {
    /// A saga that is taken up follows nobody.
    pub(crate) const NONE: Self = Self(None);

    /// The span in which this is called.
    pub(crate) fn here() -> Self {
        if !wants_spans() {
            return Self::NONE;
        }
        let span = tracing::Span::current();
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }
}

/// The span of one run of a saga: the root of a trace.
#[cfg(feature = "saga")]
pub(crate) fn saga_run(
    saga: &Name,
    version: u32,
    id: u64,
    epoch: u64,
    instance: Option<u64>,
    origin: Origin,
) -> Span {
    let span = Span::of(|| {
        tracing::debug_span!(
            parent: None,
            "mainstay.saga",
            saga = &**saga,
            version,
            id,
            epoch,
            instance,
            traceparent = Empty,
            outcome = Empty,
            "error.type" = Empty,
            "otel.status_code" = Empty
        )
    });
    // The caller's span is held for no longer than this takes: it ends when the caller says so.
    if let (Some(span), Some(origin)) = (&span.0, origin.0) {
        span.follows_from(&*origin);
    }
    span
}

#[cfg(feature = "saga")]
const SAGA: &str = "mainstay.saga";

/// Tells the span that this is called in from where its saga came.
#[cfg(feature = "saga")]
pub(crate) fn saga_came_from(traceparent: &str) {
    if wants_spans() {
        let span = tracing::Span::current();
        if span.metadata().is_some_and(|is| is.name() == SAGA) {
            span.record("traceparent", traceparent);
        }
    }
}

/// What an attempt of a step is about.
#[cfg(feature = "saga")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ask,
    Run,
    Undo,
}

#[cfg(feature = "saga")]
impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Run => "run",
            Self::Undo => "undo",
        }
    }
}

/// The span of attempt number `attempt` of a part of a step.
#[cfg(feature = "saga")]
pub(crate) fn saga_step(saga: &Name, id: u64, step: &str, part: Part, attempt: u32) -> Span {
    let part = part.as_str();
    Span::of(|| {
        span!(
            "mainstay.saga.step",
            saga = &**saga,
            id,
            step,
            part,
            attempt
        )
    })
}

/// A future in its span, which is told how it ended.
#[cfg(feature = "saga")]
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Spanned<F, E> {
    // First, so that spans within it are closed before it.
    #[pin]
    future: F,
    span: Span,
    ended: E,
}

#[cfg(feature = "saga")]
impl<F: Future, E: Fn(&F::Output) -> Ended> Spanned<F, E> {
    pub(crate) const fn new(span: Span, future: F, ended: E) -> Self {
        Self {
            future,
            span,
            ended,
        }
    }
}

#[cfg(feature = "saga")]
impl<F: Future, E: Fn(&F::Output) -> Ended> Future for Spanned<F, E> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let within = this.span.enter();
        let polled = this.future.poll(cx);
        if let Poll::Ready(output) = &polled {
            within.end(|| (this.ended)(output));
        }
        polled
    }
}

/// Tells how long the attempts of the steps of definitions took. Its keys are made once per definition, step and part.
#[cfg(feature = "saga")]
pub(crate) struct StepTimes(HashMap<Name, HashMap<Box<str>, Keys<3>>>);

#[cfg(feature = "saga")]
impl StepTimes {
    /// Of these definitions and steps, and of no others.
    pub(crate) fn of(steps: impl IntoIterator<Item = (Name, Box<str>)>) -> Self {
        let mut all: HashMap<Name, HashMap<Box<str>, Keys<3>>> = HashMap::new();
        for (saga, step) in steps {
            all.entry(saga).or_default().insert(step, Keys::new());
        }
        Self(all)
    }

    pub(crate) fn took(&self, saga: &str, step: &str, part: Part, took: Duration) {
        let Some((saga, steps)) = self.0.get_key_value(saga) else {
            return;
        };
        if let Some(keys) = steps.get(step) {
            keys.took(part as usize, took, || {
                let labels = vec![
                    Label::new("saga", label(saga)),
                    Label::new("step", step.to_owned()),
                    Label::new("part", part.as_str()),
                ];
                Key::from_parts("mainstay_saga_step_duration_seconds", labels)
            });
        }
    }
}

/// What a journal is asked that is worth a figure.
#[cfg(feature = "saga")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalCall {
    Append,
    Begin,
    Claim,
}

#[cfg(feature = "saga")]
impl JournalCall {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Begin => "begin",
            Self::Claim => "claim",
        }
    }
}

/// Tells how a store answers one engine.
#[cfg(feature = "saga")]
pub(crate) struct JournalCalls {
    store: &'static str,
    took: Keys<3>,
    failed: Keys<3>,
}

#[cfg(feature = "saga")]
impl JournalCalls {
    pub(crate) const fn new(store: &'static str) -> Self {
        Self {
            store,
            took: Keys::new(),
            failed: Keys::new(),
        }
    }

    /// It answered, or failed.
    pub(crate) fn answered(&self, call: JournalCall, took: Duration, failed: bool) {
        let labels = || {
            vec![
                Label::new("store", self.store),
                Label::new("call", call.as_str()),
            ]
        };
        self.took.took(call as usize, took, || {
            Key::from_parts("mainstay_journal_duration_seconds", labels())
        });
        if failed {
            self.failed.increment(call as usize, || {
                Key::from_parts("mainstay_journal_faults_total", labels())
            });
        }
    }

    /// So much it has written, since it was opened.
    pub(crate) fn written(&self, operations: u64, commits: u64) {
        metrics::counter!("mainstay_journal_operations_total", "store" => self.store)
            .absolute(operations);
        metrics::counter!("mainstay_journal_commits_total", "store" => self.store)
            .absolute(commits);
    }

    /// Whether it hears of changes at once, and whether that is news.
    pub(crate) fn listening(&self, hears: bool, news: bool) {
        metrics::gauge!("mainstay_journal_listening", "store" => self.store).set(f64::from(hears));
        let store = self.store;
        match (hears, news) {
            (false, true) => tracing::warn!(store, "journal hears no changes"),
            (true, true) => tracing::info!(store, "journal hears changes again"),
            _ => {}
        }
    }
}

/// How long a saga of this definition has waited for an operator, and how long one under way has written nothing.
#[cfg(feature = "saga")]
pub(crate) fn saga_ages(saga: &Name, incident: Duration, stalled: Duration) {
    metrics::gauge!("mainstay_saga_incident_age_seconds", "saga" => label(saga)).set(incident);
    metrics::gauge!("mainstay_saga_stalled_seconds", "saga" => label(saga)).set(stalled);
}

/// The time for the whole is over, and the saga can no longer turn back.
#[cfg(feature = "saga")]
pub(crate) fn saga_late(saga: &Name, id: u64, by: Duration) {
    tracing::warn!(saga = &**saga, id, ?by, "saga is late");
}

/// The codec cannot give the key of a saga that is under way.
#[cfg(feature = "saga")]
pub(crate) fn saga_waits_for_key(saga: &Name, id: u64) {
    tracing::warn!(saga = &**saga, id, "saga waits for its key");
}
