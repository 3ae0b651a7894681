//! Whole stacks: everything that a call to another service should go through.

use std::sync::Arc;
use std::time::Duration;

use mainstay::standard::Stack;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{BoxError, Layer as _, Service, ServiceBuilder, ServiceExt as _};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::callee::{Down, slow, up};
use super::retries::Budgeted;
use super::row::{Group, Row, Who};

const TOTAL: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(10);
const PLACES: usize = 1_000;

pub fn groups() -> Vec<Group> {
    vec![
        group("whole stack, ready call", up()),
        group("whole stack, pending call", slow()),
    ]
}

fn group<S>(title: &'static str, service: S) -> Group
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + Sync + 'static,
{
    let ours = Stack::standard("peers").service(service.clone());
    let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::new(Semaphore::new(PLACES)));
    let tower = ServiceBuilder::new()
        .timeout(TOTAL)
        .retry(Budgeted::new(0.2))
        .load_shed()
        .layer(limit.clone())
        .service(service.clone());
    let attempts = ServiceBuilder::new()
        .timeout(TOTAL)
        .retry(Budgeted::new(0.2))
        .load_shed()
        .layer(limit)
        .timeout(ATTEMPT)
        .service(service.clone());
    Group {
        title,
        bare: Row::service(Who::Less, "bare", service.clone()),
        rows: vec![
            Row::service(Who::Ours, "mainstay, standard", ours),
            Row::service(Who::Peer, "tower", attempts)
                .remark("timeout > retry > shed > limit > timeout: no breaker"),
            Row::service(Who::Less, "tower, no attempt timeout", tower)
                .remark("timeout > retry > shed > limit: no breaker"),
            Row::service(Who::Peer, "tower-resilience", tower_resilience(service))
                .remark("timeout > retry > breaker > bulkhead > timeout"),
        ],
    }
}

fn tower_resilience<S>(
    service: S,
) -> impl Service<u64, Response = u64, Error = BoxError> + Clone + Send + 'static
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + Sync + 'static,
{
    let limiter = |time| TimeLimiterLayer::builder().timeout_duration(time).build();
    let bulkhead = BulkheadLayer::builder()
        .max_concurrent_calls(PLACES)
        .reject_when_full()
        .build()
        .expect("the peer accepts its own settings");
    let breaker = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::CountBased)
        .failure_rate_threshold(0.5)
        .build()
        .expect("the peer accepts its own settings");
    let budget = RetryBudgetBuilder::new()
        .token_bucket()
        .build()
        .expect("the peer accepts its own settings");
    let retry = RetryLayer::<u64, u64, BoxError>::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(50))
        .budget(budget)
        .build();
    let service = limiter(ATTEMPT).layer(service).map_err(boxed);
    let service = bulkhead.layer(service).map_err(boxed);
    let service = breaker.layer(service).map_err(boxed);
    limiter(TOTAL).layer(retry.layer(service)).map_err(boxed)
}

fn boxed<E: std::fmt::Display>(error: E) -> BoxError {
    error.to_string().into()
}
