use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt};
use tower_resilience_adaptive::{AdaptiveError, AdaptiveLimiterLayer, Aimd};
use tower_resilience_circuitbreaker::{
    CircuitBreakerError, CircuitBreakerLayer, CircuitState, SlidingWindowType,
};
use tower_resilience_retry::{ExponentialRandomBackoff, RetryBudgetBuilder, RetryLayer};
use tower_resilience_timelimiter::{TimeLimiterError, TimeLimiterLayer};

use super::{Call, Client, End, Entrant, Terms};
use crate::outages::callee::{Answer, Ask, Backend, Fault};
use crate::outages::drive::State;

/// The peer with every part.
pub struct TowerResilience;

impl Entrant for TowerResilience {
    fn name(&self) -> &'static str {
        "tower-resilience"
    }

    fn preset(&self) -> &'static str {
        "retry > breaker > adaptive limit > time limiter, and tokio's `timeout` around the whole, since the time \
         limiter does not cover waiting for readiness. Breaker: `standard()` (half of the calls, 3 probes), over 10 s \
         because its window of 100 calls does not slide (it found a total outage after 12 s), judged from 20 calls on, \
         open for 5 s instead of 30 s, which an outage of 15 s would punish. Retry: 3 attempts, random exponential \
         backoff from 50 ms, its token bucket with its defaults, no retry of its own open circuit. Limit: `Aimd` with its \
         defaults, the best of its three here (with `Gradient2` and `Vegas` goodput stayed under a half after one error \
         in five). It cannot wait for Retry-After. In S1-hang its circuit never opens: under the shrunken limit calls \
         queue for almost all of their deadline, and an attempt that the deadline cuts off counts for nothing."
    }

    fn needs_real_time(&self) -> bool {
        true
    }

    fn has_circuit(&self) -> bool {
        true
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        let attempt = TimeLimiterLayer::builder()
            .timeout_duration(terms.attempt_timeout)
            .build();
        let guarded = attempt.layer(backend).map_err(|error| match error {
            TimeLimiterError::Timeout => Fault::Late,
            TimeLimiterError::Inner(fault) => fault,
        });
        let limit = Aimd::builder()
            .build()
            .expect("the peer accepts its own defaults");
        let limited =
            AdaptiveLimiterLayer::new(limit)
                .layer(guarded)
                .map_err(|error| match error {
                    AdaptiveError::Service(fault) => Said::Fault(fault),
                    AdaptiveError::LimitReached => Said::Refused,
                });
        let (watch, name) = (terms.watch.clone(), terms.name.clone());
        let breaker = CircuitBreakerLayer::standard()
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(Duration::from_secs(10))
            .minimum_number_of_calls(20)
            .wait_duration_in_open(Duration::from_secs(5))
            .on_state_transition(move |_, to| {
                let to = match to {
                    CircuitState::Closed => State::Closed,
                    CircuitState::Open => State::Open,
                    CircuitState::HalfOpen => State::HalfOpen,
                };
                watch.note(&name, to);
            })
            .build()
            .expect("the peer accepts its own preset");
        let broken = breaker.layer(limited).map_err(|error| match error {
            CircuitBreakerError::OpenCircuit => Said::Refused,
            CircuitBreakerError::Inner(said) => said,
        });
        let budget = RetryBudgetBuilder::new()
            .token_bucket()
            .build()
            .expect("the peer accepts its own defaults");
        let retry = RetryLayer::<Ask, Answer, Said>::builder()
            .max_attempts(terms.attempts as usize)
            .backoff(
                ExponentialRandomBackoff::new(Duration::from_millis(50), 0.5)
                    .expect("a half is within 0 and 1"),
            )
            .budget(budget)
            .retry_on(|said: &Said| matches!(said, Said::Fault(_)))
            .build();
        Arc::new(ResilienceClient {
            service: BoxCloneSyncService::new(retry.layer(broken)),
            deadline: terms.deadline,
        })
    }
}

#[derive(Clone, Debug)]
enum Said {
    Fault(Fault),
    Refused,
}

struct ResilienceClient {
    service: BoxCloneSyncService<Ask, Answer, Said>,
    deadline: Duration,
}

impl Client for ResilienceClient {
    fn call(&self, ask: Ask) -> Call {
        let call = timeout(self.deadline, self.service.clone().oneshot(ask));
        Box::pin(async move {
            match call.await {
                Ok(Ok(answer)) => End::Good(answer),
                Ok(Err(Said::Fault(fault))) => End::of(Err(fault)),
                Ok(Err(Said::Refused)) => End::Refused(None),
                Err(_) => End::Late,
            }
        })
    }
}
