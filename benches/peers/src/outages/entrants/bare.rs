use std::sync::Arc;

use tower::timeout::Timeout;
use tower::{BoxError, ServiceExt};

use super::{Call, Client, End, Entrant, Terms};
use crate::outages::callee::{Ask, Backend, Fault};

/// One attempt with a timeout.
pub struct Bare;

impl Entrant for Bare {
    fn name(&self) -> &'static str {
        "bare timeout"
    }

    fn preset(&self) -> &'static str {
        "`tower::timeout` with the attempt timeout; one attempt, nothing else. What a client has that nobody thought about."
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        Arc::new(BareClient(Timeout::new(backend, terms.attempt_timeout)))
    }
}

struct BareClient(Timeout<Backend>);

impl Client for BareClient {
    fn call(&self, ask: Ask) -> Call {
        let call = self.0.clone().oneshot(ask);
        Box::pin(async move { end(call.await) })
    }
}

/// How a call through tower's own layers ended.
pub fn end(result: Result<crate::outages::callee::Answer, BoxError>) -> End {
    match result {
        Ok(answer) => End::Good(answer),
        Err(error) => {
            if let Some(fault) = error.downcast_ref::<Fault>() {
                End::of(Err(fault.clone()))
            } else if error.is::<tower::timeout::error::Elapsed>() {
                End::Late
            } else {
                // What is left is tower's `Overloaded`.
                End::Refused(None)
            }
        }
    }
}
