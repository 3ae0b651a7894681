use std::sync::Arc;

use mainstay::breaker::{BreakerConfig, BreakerHandle, BreakerLayer, HalfOpen};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::num::Period;
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};

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
         answers carry Retry-After, the same layers with the same settings and a classifier that reads it."
    }

    fn has_circuit(&self) -> bool {
        true
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        let deadline = Period::new("deadline", terms.deadline).expect("a deadline takes time");
        let attempt =
            Period::new("attempt_timeout", terms.attempt_timeout).expect("an attempt takes time");
        if terms.hints {
            return by_hint(&terms.name, deadline, attempt, backend);
        }
        let stack = Stack::standard(terms.name.as_str())
            .deadline(deadline)
            .attempt_timeout(attempt);
        Arc::new(MainstayClient {
            service: BoxCloneSyncService::new(stack.service(backend)),
            breaker: stack.handle().breaker().clone(),
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

/// The standard stack over a transport whose answers say more than yes and no, as `Stack::grpc` and `Stack::reqwest`
/// build it.
fn by_hint(name: &str, deadline: Period, attempt: Period, backend: Backend) -> Arc<dyn Client> {
    let half_open = HalfOpen::new(1, 1).deadline(Period::secs(20));
    let breaker =
        BreakerLayer::new(name, BreakerConfig::default().half_open(half_open)).classify(classify);
    let handle = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(name, deadline))
        .layer(RetryLayer::new(name, RetryConfig::default()).classify(classify))
        .layer(breaker)
        .layer(TimeoutLayer::new(name, attempt))
        .service(backend);
    Arc::new(MainstayClient {
        service: BoxCloneSyncService::new(service),
        breaker: handle,
    })
}

struct MainstayClient {
    service: BoxCloneSyncService<Ask, Answer, Fault>,
    breaker: BreakerHandle,
}

impl Client for MainstayClient {
    fn call(&self, ask: Ask) -> Call {
        let call = self.service.clone().oneshot(ask);
        Box::pin(async move { End::of(call.await) })
    }

    fn leaked(&self) -> usize {
        self.breaker.probes()
    }
}
