use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::timeout;
use tower::Service as _;

use super::{Call, Client, End, Entrant, Terms};
use crate::outages::callee::{Ask, Backend, Fault};

/// Retries of a closure, with backoff and jitter, without a budget.
pub struct Backon;

impl Entrant for Backon {
    fn name(&self) -> &'static str {
        "backon"
    }

    fn preset(&self) -> &'static str {
        "`ExponentialBuilder` with jitter, 3 attempts, from 50 ms (its own second would leave no time for a retry), \
         `adjust` waits for Retry-After; tokio's `timeout` around each attempt and around the whole. backon has no \
         budget, no limit and no breaker."
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        Arc::new(BackonClient {
            backend,
            terms: terms.clone(),
        })
    }
}

struct BackonClient {
    backend: Backend,
    terms: Terms,
}

impl Client for BackonClient {
    fn call(&self, ask: Ask) -> Call {
        let (mut backend, attempt_timeout) = (self.backend.clone(), self.terms.attempt_timeout);
        let attempt = move || {
            let call = backend.call(ask);
            async move {
                timeout(attempt_timeout, call)
                    .await
                    .unwrap_or(Err(Fault::Late))
            }
        };
        let backoff = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_times(self.terms.attempts as usize - 1)
            .with_jitter();
        let call = attempt.retry(backoff).adjust(|fault, delay| match fault {
            Fault::Busy(Some(hint)) => delay.map(|delay| delay.max(*hint)),
            _ => delay,
        });
        let deadline = self.terms.deadline;
        Box::pin(async move { End::of(timeout(deadline, call).await.unwrap_or(Err(Fault::Late))) })
    }
}
