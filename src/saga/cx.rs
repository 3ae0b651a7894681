//! What a step is lent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::SagaId;
use super::digest::Digest;
use super::entry::Started;
use super::tx::Recorder;
use crate::journal::{Epoch, Labels};
use crate::rt;
use crate::time::Tick;

/// The context of one attempt: lends the application and the saga's input, and names the attempt.
///
/// It is owned, so that the step's future can be `Send` and live as long as it needs; clones are cheap.
pub struct Cx<App, Input> {
    app: Arc<App>,
    input: Arc<Input>,
    call: Arc<Call>,
}

/// What is the same for a step whatever its types.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) saga: SagaId,
    pub(crate) step: Box<str>,
    pub(crate) key: String,
    pub(crate) undoes: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) epoch: Epoch,
    pub(crate) labels: Arc<Labels>,
    pub(crate) business_key: Arc<str>,
    pub(crate) deadline: Tick,
    pub(crate) traceparent: Option<Arc<str>>,
    /// Of a step that writes its own record.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "no store lends transactions")
    )]
    pub(crate) recorder: Option<Arc<Recorder>>,
}

impl<App, Input> Cx<App, Input> {
    pub(crate) const fn new(app: Arc<App>, input: Arc<Input>, call: Arc<Call>) -> Self {
        Self { app, input, call }
    }

    /// The application: clients, pools, settings.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What the saga was started with.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// 32 hexadecimal letters that name this step of this saga, or its undo.
    ///
    /// The same on every attempt, instance and restart, and different for every saga, step and undo. Send it with
    /// every effect; a receiver that applies a key once makes the effect happen once. Where a step is asked whether it
    /// had its effect, it is the key of the step. Only an operator's
    /// [`RetryAsNew`](super::entry::Operation::RetryAsNew) changes it.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.call.key
    }

    /// In an undo: the key under which the step was, or may have been, made. `None` in a step.
    ///
    /// An undo that was given no output can name by it what is to be undone, and a receiver that hears of the undo
    /// first can refuse the step when it comes late.
    #[must_use]
    pub fn undoes(&self) -> Option<&str> {
        self.call.undoes.as_deref()
    }

    /// Which attempt this is, from 1. Never part of the key.
    ///
    /// Counted from the first one where the waits between them were long enough to be written down, a second or more;
    /// attempts in quick succession that nothing was written about are counted since this process took the saga up.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.call.attempt
    }

    /// The saga.
    #[must_use]
    pub fn saga_id(&self) -> SagaId {
        self.call.saga
    }

    /// The step's name; an undo has the name of the step that it undoes.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.call.step
    }

    /// The number of this writer's turn. A later one is greater, so a resource that remembers the greatest it has seen
    /// can refuse a process that lost the saga and does not know it yet.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.call.epoch.get()
    }

    /// The tenant whose work this is; empty where there is only one.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.call.labels.tenant
    }

    /// The business key under which the saga was started.
    #[must_use]
    pub fn business_key(&self) -> &str {
        &self.call.business_key
    }

    /// The trace context from which the saga came, where its caller [gave one](super::Key::traceparent): to link the
    /// step's spans with the request that began it all, whichever process runs the step.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.call.traceparent.as_deref()
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.call.recorder.as_ref()
    }

    /// When this attempt is over, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Tick {
        self.call.deadline
    }

    /// How long this attempt may still take.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.call.deadline.since(rt::now())
    }
}

impl<App, Input> Clone for Cx<App, Input> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            input: Arc::clone(&self.input),
            call: Arc::clone(&self.call),
        }
    }
}

/// Saga, step and attempt, never the input.
impl<App, Input> fmt::Debug for Cx<App, Input> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("saga", &self.call.saga)
            .field("step", &self.call.step)
            .field("attempt", &self.call.attempt)
            .finish_non_exhaustive()
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Do,
    Undo,
}

/// The idempotency key of a step: a digest of what names it, and of nothing that changes.
pub(crate) fn idempotency_key(
    saga: SagaId,
    started: &Started,
    step: &str,
    purpose: Purpose,
    generation: u32,
) -> String {
    let purpose: &[u8] = match purpose {
        Purpose::Do => b"do",
        Purpose::Undo => b"undo",
    };
    let digest = Digest::new()
        .field(b"mainstay key 1")
        .field(started.definition.as_bytes())
        .field(&saga.get().to_be_bytes())
        .field(started.nonce.as_bytes())
        .field(step.as_bytes())
        .field(purpose);
    match generation {
        0 => digest.hex(16),
        later => digest.field(&later.to_be_bytes()).hex(16),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::journal::LogId;
    use crate::saga::payload::Payload;

    #[test]
    fn keys_differ_by_all_that_names_them_and_by_nothing_else() {
        let started = |definition: &str, nonce: &str, version| Started {
            definition: definition.into(),
            version,
            fingerprint: "f".into(),
            nonce: nonce.into(),
            input: Payload::unit(),
            traceparent: None,
        };
        let id = |number| LogId::new(number).into();
        let one = idempotency_key(id(1), &started("pay", "n", 1), "a", Purpose::Do, 0);
        let mut keys = HashSet::from([one.clone()]);
        for other in [
            idempotency_key(id(1), &started("pay", "n", 1), "a", Purpose::Undo, 0),
            idempotency_key(id(1), &started("pay", "n", 1), "b", Purpose::Do, 0),
            idempotency_key(id(2), &started("pay", "n", 1), "a", Purpose::Do, 0),
            idempotency_key(id(1), &started("pay", "m", 1), "a", Purpose::Do, 0),
            idempotency_key(id(1), &started("refund", "n", 1), "a", Purpose::Do, 0),
            idempotency_key(id(1), &started("pay", "n", 1), "a", Purpose::Do, 1),
            idempotency_key(id(1), &started("pay", "n", 1), "a", Purpose::Do, 2),
        ] {
            assert!(keys.insert(other));
        }
        // A migrated saga keeps its keys.
        assert_eq!(
            one,
            idempotency_key(id(1), &started("pay", "n", 2), "a", Purpose::Do, 0)
        );
        // A key of today is the key of every later version of this crate: a receiver remembers it.
        assert_eq!(one, "569f16332c65a72834ae77eb2c240829");
    }
}
