//! Retries: of a call that succeeds, and of one that fails once.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use mainstay::num::{Attempts, Ratio};
use mainstay::retry::{Backoff, BudgetConfig, Jitter, RetryConfig, RetryLayer};
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::retry::{Policy, RetryLayer as Tower};
use tower::{Layer as _, Service};
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer as TowerResilience};

use super::callee::{Answer, Down, every_other, fails_once, up};
use super::row::{Group, Row, Who};

pub fn groups() -> Vec<Group> {
    vec![succeeds(), fails()]
}

fn succeeds() -> Group {
    let unbudgeted = RetryConfig::new(Attempts::total(3)).without_budget();
    let unbudgeted = RetryLayer::new("peers", unbudgeted).layer(up());
    let service = RetryLayer::new("peers", RetryConfig::new(Attempts::total(3))).layer(up());
    let peer = peer(0.2, Duration::from_millis(50)).layer(up());
    let backon = Row::shared(Who::Less, "backon", (), async |(): &(), n| {
        let call = || ready(Ok::<u64, Down>(n));
        let _ = black_box(call.retry(constant()).await);
    });
    Group {
        title: "retry with budget, succeeds",
        bare: Row::service(Who::Less, "bare", up()),
        rows: vec![
            Row::service(Who::Ours, "mainstay", service),
            Row::service(Who::Ours, "mainstay, without a budget", unbudgeted),
            tower(0.2, up()).remark("no backoff, no deadline"),
            Row::service(Who::Peer, "tower-resilience", peer),
            backon.remark("not a layer, no budget"),
        ],
    }
}

/// Every call needs a second attempt, without a wait: the budget allows one for each.
fn fails() -> Group {
    let config = RetryConfig::new(Attempts::total(3))
        .backoff(Backoff::constant(Duration::ZERO).jitter(Jitter::None))
        .budget(BudgetConfig::new(Ratio::ONE));
    let service = RetryLayer::new("peers", config).layer(fails_once());
    let peer = peer(1.0, Duration::ZERO).layer(fails_once());
    let backon = Row::shared(Who::Less, "backon", (), async |(): &(), n| {
        let call = || ready(every_other(n));
        let _ = black_box(call.retry(constant()).await);
    });
    Group {
        title: "retry with budget, fails once",
        bare: Row::service(Who::Less, "bare", up()),
        rows: vec![
            Row::service(Who::Ours, "mainstay", service),
            tower(1.0, fails_once()).remark("no backoff, no deadline"),
            Row::waiting(Who::Peer, "tower-resilience", peer)
                .remark("waits for a timer, even for nothing"),
            backon.remark("not a layer, no budget; waits for a timer, even for nothing"),
        ],
    }
}

fn constant() -> ConstantBuilder {
    ConstantBuilder::default()
        .with_delay(Duration::ZERO)
        .with_max_times(2)
}

fn tower<S>(ratio: f32, service: S) -> Row
where
    S: Service<u64, Response = u64, Error = Down, Future = Answer> + Clone + Send + 'static,
{
    Row::service(
        Who::Peer,
        "tower, TpsBudget",
        Tower::new(Budgeted::new(ratio)).layer(service),
    )
}

fn peer(ratio: f64, wait: Duration) -> TowerResilience<u64, u64, Down> {
    // It refunds a whole token for every success; more than are ever missing are there.
    let budget = RetryBudgetBuilder::new()
        .token_bucket()
        .tokens_per_second(1_000_000.0 * ratio)
        .max_tokens(1_000_000)
        .initial_tokens(1_000_000)
        .build()
        .expect("the peer accepts its own settings");
    TowerResilience::builder()
        .max_attempts(3)
        .fixed_backoff(wait)
        .budget(budget)
        .build()
}

/// tower's own retry with a budget, as its documentation shows it.
#[derive(Clone)]
pub struct Budgeted {
    left: u32,
    budget: Arc<TpsBudget>,
}

impl Budgeted {
    pub fn new(ratio: f32) -> Self {
        Self {
            left: 2,
            budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, ratio)),
        }
    }
}

impl<E> Policy<u64, u64, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Self::Future> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        if self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
