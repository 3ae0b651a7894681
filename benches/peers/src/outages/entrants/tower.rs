use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::error::Overloaded;
use tower::retry::Policy;
use tower::retry::backoff::{
    Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _,
};
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::bare::end;
use super::{Call, Client, Entrant, Terms};
use crate::outages::callee::{Answer, Ask, Backend, Fault};

/// Four times what is under way at the normal load, so that it binds only when something is wrong.
const LIMIT: usize = 100;

/// What can be built from tower alone.
pub struct Tower;

impl Entrant for Tower {
    fn name(&self) -> &'static str {
        "tower"
    }

    fn preset(&self) -> &'static str {
        "`timeout(deadline) > retry > load_shed > concurrency_limit(100) > timeout(attempt)`. The retry policy, which \
         tower leaves to its user: 3 attempts, `ExponentialBackoff` from 50 ms with jitter 0.99 (its default), \
         `TpsBudget` of 10 s, 10 a second and 20 % (its default), waits for Retry-After, does not retry what its own \
         limit shed. The limit is four times what is under way at the normal load of 1,000 rps. tower has no breaker."
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client> {
        let permits = Arc::new(Semaphore::new(LIMIT));
        let policy = Patient {
            left: terms.attempts - 1,
            budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2)),
            backoff: ExponentialBackoffMaker::default().make_backoff(),
        };
        let service = ServiceBuilder::new()
            .timeout(terms.deadline)
            .retry(policy)
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(
                &permits,
            )))
            .timeout(terms.attempt_timeout)
            .service(backend);
        Arc::new(TowerClient {
            service: BoxCloneSyncService::new(service),
            permits,
        })
    }
}

struct TowerClient {
    service: BoxCloneSyncService<Ask, Answer, BoxError>,
    permits: Arc<Semaphore>,
}

impl Client for TowerClient {
    fn call(&self, ask: Ask) -> Call {
        let call = self.service.clone().oneshot(ask);
        Box::pin(async move { end(call.await) })
    }

    fn leaked(&self) -> usize {
        LIMIT - self.permits.available_permits()
    }
}

#[derive(Clone)]
struct Patient {
    left: u32,
    budget: Arc<TpsBudget>,
    backoff: ExponentialBackoff,
}

impl Policy<Ask, Answer, BoxError> for Patient {
    type Future = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

    fn retry(
        &mut self,
        _: &mut Ask,
        result: &mut Result<Answer, BoxError>,
    ) -> Option<Self::Future> {
        let Err(error) = result else {
            self.budget.deposit();
            return None;
        };
        if self.left == 0 || error.is::<Overloaded>() || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        let hint = match error.downcast_ref::<Fault>() {
            Some(Fault::Busy(Some(hint))) => *hint,
            _ => Duration::ZERO,
        };
        let hint = tokio::time::Instant::now() + hint;
        let backoff = self.backoff.next_backoff();
        Some(Box::pin(async move {
            backoff.await;
            tokio::time::sleep_until(hint).await;
        }))
    }

    fn clone_request(&mut self, ask: &Ask) -> Option<Ask> {
        Some(*ask)
    }
}
