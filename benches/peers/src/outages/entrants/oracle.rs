use std::sync::Arc;

use super::{Call, Client, End, Entrant, Terms};
use crate::outages::callee::{Ask, Backend, Callee, Micros};

/// Knows the callee: sends what will be answered well and in time, once, and refuses the rest at once.
pub struct Oracle;

impl Entrant for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn preset(&self) -> &'static str {
        "Asks the model before it sends: an attempt is made only if it will be answered well within the attempt timeout, \
         and of the three it may make it picks the first that will. Greedy, so an upper bound for clients that do not \
         plan ahead, not a theorem."
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        match backend {
            Backend::Callee(callee) => Arc::new(OracleClient {
                callee,
                attempts: terms.attempts,
                limit: terms.attempt_timeout.as_micros() as Micros,
            }),
            // Services in between have nothing to add to what it knows.
            Backend::Hop(client) => client,
        }
    }
}

struct OracleClient {
    callee: Callee,
    attempts: u32,
    limit: Micros,
}

impl Client for OracleClient {
    fn call(&self, ask: Ask) -> Call {
        let sent = self.callee.send_if_good(ask, self.attempts, self.limit);
        Box::pin(async move {
            match sent {
                Some(pending) => End::of(pending.await),
                None => End::Refused(None),
            }
        })
    }
}
