//! The only folder that knows `tracing` and `metrics`.
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
//! | `mainstay_degradation_level` | gauge: its place, 0 for the best | `policy` |
//! | `mainstay_degradation_changes_total` | counter | `policy`, `cause`: expired, facts, pinned, reloaded, unpinned |
//! | `mainstay_capability_mode` | gauge: 0 full, 1 limited, 2 write only, 3 read only, 4 queued, 5 manual, 6 disabled, 7 fail over | `policy`, `capability` |
//! | `mainstay_queue_depth` | gauge: entries of a durable queue, those of all instances that this one knows of | `policy` |
//! | `mainstay_queue_bytes` | gauge: their bytes | `policy` |
//! | `mainstay_queue_poisoned` | gauge: those of them that wait for an operator | `policy` |
//! | `mainstay_queue_oldest_seconds` | gauge: how long the oldest has waited, 0 where none does | `policy` |
//! | `mainstay_queue_entries_total` | counter: what became of entries, by this instance | `policy`, `outcome`: applied, dropped, poisoned, queued, retried |
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
//! | `degradation changed` | warn | `policy`, `from`, `to`, `cause` |
//! | `degradation commanded` | warn | `policy`, `command`, `of`, `mode`, `actor`, `reason`, `lasting` |
//! | `queued entry waits for an operator` | error | `policy`, `id`, `class` |
//! | `queue commanded` | warn | `policy`, `id`, `command`, `actor`, `reason` |
//! | `saga started` | debug | `saga`, `id` |
//! | `saga ended` | debug | `saga`, `id`, `end` |
//! | `saga waits for an operator` | error | `saga`, `id`, `class`, `step`, `allowed` |
//! | `step will be tried again` | debug | `saga`, `id`, `step`, `undo`, `attempt`, `after` |
//! | `saga left to the next engine` | info | `saga`, `id`, `why` |
//! | `saga taken over` | debug | `saga`, `id`, `recoveries` |
//! | `lease lost` | warn | `instance`, `number` |
//! | `saga is late` | warn | `saga`, `id`, `by` |
//! | `saga waits for its key` | warn | `saga`, `id` |
//! | `saga migrated` | info | `saga`, `id`, `from`, `to` |
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

mod degradation;
#[cfg(feature = "saga")]
mod journals;
mod policies;
#[cfg(feature = "saga")]
mod queues;
#[cfg(feature = "saga")]
mod sagas;
mod span;

use std::sync::{Arc, OnceLock};
#[cfg(feature = "saga")]
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata};

pub(crate) use self::degradation::*;
#[cfg(feature = "saga")]
pub(crate) use self::journals::*;
pub(crate) use self::policies::*;
#[cfg(feature = "saga")]
pub(crate) use self::queues::*;
#[cfg(feature = "saga")]
pub(crate) use self::sagas::*;
pub(crate) use self::span::*;

/// The name of a policy, as it appears in labels.
pub(crate) type Name = Arc<str>;

fn label(name: &Name) -> metrics::SharedString {
    metrics::SharedString::from_shared(Arc::clone(name))
}

static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

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
