//! What sagas tell, on their way and to operators.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use metrics::{Key, Label};
use tracing::field::Empty;

use super::span::{span, wants_spans};
use super::{Keys, Name, Span, label};

pub(crate) fn saga_started(saga: &Name, id: u64) {
    metrics::counter!("mainstay_sagas_started_total", "saga" => label(saga)).increment(1);
    tracing::debug!(saga = &**saga, id, "saga started");
}

pub(crate) fn saga_ended(saga: &Name, id: u64, end: &'static str) {
    metrics::counter!("mainstay_sagas_rested_total", "saga" => label(saga), "end" => end)
        .increment(1);
    tracing::debug!(saga = &**saga, id, end, "saga ended");
}

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

pub(crate) fn saga_left(saga: &Name, id: u64, why: &'static str) {
    tracing::info!(saga = &**saga, id, why, "saga left to the next engine");
}

/// A saga was claimed, so many times in a row without a record of it.
pub(crate) fn saga_claimed(saga: &Name, id: u64, recoveries: u32) {
    metrics::counter!("mainstay_sagas_claimed_total", "saga" => label(saga)).increment(1);
    tracing::debug!(saga = &**saga, id, recoveries, "saga taken over");
}

/// One more is carried on, or one less.
pub(crate) fn saga_running(saga: &Name, more: f64) {
    metrics::gauge!("mainstay_sagas_running", "saga" => label(saga)).increment(more);
}

/// One more waits for room, or one less.
pub(crate) fn saga_backlog(more: f64) {
    metrics::gauge!("mainstay_saga_backlog").increment(more);
}

/// The journal no longer believes in an instance. `instance` is the name that people gave it.
pub(crate) fn saga_lease_lost(instance: &str, number: u64) {
    metrics::counter!("mainstay_saga_lease_losses_total").increment(1);
    tracing::warn!(instance, number, "lease lost");
}

/// Somebody wanted of a saga what they may not. Who it was is in the saga's history, as far as that is bounded.
pub(crate) fn operator_refused(saga: &Name, id: u64, act: &'static str) {
    tracing::warn!(saga = &**saga, id, act, "operator refused");
}

/// The caller of a start, for the span of the saga to follow. Nothing where nobody listens.
pub(crate) struct Origin(Option<Box<tracing::Span>>);

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

const SAGA: &str = "mainstay.saga";

/// Tells the span that this is called in from where its saga came.
pub(crate) fn saga_came_from(traceparent: &str) {
    if wants_spans() {
        let span = tracing::Span::current();
        if span.metadata().is_some_and(|is| is.name() == SAGA) {
            span.record("traceparent", traceparent);
        }
    }
}

/// What an attempt of a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ask,
    Run,
    Undo,
}

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

/// Tells how long the attempts of the steps of definitions took. Its keys are made once per definition, step and part.
pub(crate) struct StepTimes(HashMap<Name, HashMap<Box<str>, Keys<3>>>);

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

/// How long a saga of this definition has waited for an operator, and how long one under way has written nothing.
pub(crate) fn saga_ages(saga: &Name, incident: Duration, stalled: Duration) {
    metrics::gauge!("mainstay_saga_incident_age_seconds", "saga" => label(saga)).set(incident);
    metrics::gauge!("mainstay_saga_stalled_seconds", "saga" => label(saga)).set(stalled);
}

/// The time for the whole is over, and the saga can no longer turn back.
pub(crate) fn saga_late(saga: &Name, id: u64, by: Duration) {
    tracing::warn!(saga = &**saga, id, ?by, "saga is late");
}

/// A saga goes on as one of another version of its definition.
pub(crate) fn saga_migrated(saga: &Name, id: u64, from: u32, to: u32) {
    tracing::info!(saga = &**saga, id, from, to, "saga migrated");
}

/// The codec cannot give the key of a saga that is under way.
pub(crate) fn saga_waits_for_key(saga: &Name, id: u64) {
    tracing::warn!(saga = &**saga, id, "saga waits for its key");
}
