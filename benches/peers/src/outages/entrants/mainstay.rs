use std::sync::Arc;

use mainstay::num::Period;
use mainstay::outcome::{Failure, Outcome};
use mainstay::standard::{Stack, StackHandle};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::{Call, Client, End, Entrant, Terms};
use crate::outages::callee::{Answer, Ask, Backend, Fault};

/// `Stack::standard`, with defaults only.
pub struct Mainstay;

impl Entrant for Mainstay {
    fn name(&self) -> &'static str {
        "mainstay"
    }

    fn preset(&self) -> &'static str {
        "`Stack::standard(name)` with nothing set but the deadline and the attempt timeout that all are told. Where \
         answers carry Retry-After, `Stack::service_by` with a classifier that reads it."
    }

    fn has_circuit(&self) -> bool {
        true
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        let deadline = Period::new("deadline", terms.deadline).expect("a deadline takes time");
        let attempt =
            Period::new("attempt_timeout", terms.attempt_timeout).expect("an attempt takes time");
        let stack = Stack::standard(terms.name.as_str())
            .deadline(deadline)
            .attempt_timeout(attempt);
        let service = if terms.hints {
            BoxCloneSyncService::new(stack.service_by(classify, backend))
        } else {
            BoxCloneSyncService::new(stack.service(backend))
        };
        Arc::new(MainstayClient {
            service,
            handle: stack.handle(),
        })
    }
}

/// How [`Fault`] counts: as an HTTP client's answers would.
pub fn classify(result: Result<&Answer, &Fault>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(Fault::Busy(Some(hint))) => Outcome::Overload {
            retry_after: Some(*hint),
        },
        Err(Fault::Busy(None)) => Outcome::Failure(Failure::Unavailable),
        Err(Fault::Late | Fault::Gateway) => Outcome::Failure(Failure::Timeout),
        Err(Fault::Down) => Outcome::Failure(Failure::Error),
        Err(Fault::Refused(_)) => Outcome::Rejected,
    }
}

struct MainstayClient {
    service: BoxCloneSyncService<Ask, Answer, Fault>,
    handle: StackHandle,
}

impl Client for MainstayClient {
    fn call(&self, ask: Ask) -> Call {
        let call = self.service.clone().oneshot(ask);
        Box::pin(async move { End::of(call.await) })
    }

    fn leaked(&self) -> usize {
        self.handle.breaker().probes() + self.handle.limit().in_flight() as usize
    }
}
