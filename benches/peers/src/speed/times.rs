//! Attempt timeouts and total deadlines, over a call that answers at once and over one that is pending first.

use std::time::Duration;

use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::num::Period;
use tower::timeout::TimeoutLayer as Tower;
use tower::{Layer as _, Service};
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::callee::{Down, slow, up};
use super::row::{Group, Row, Who};

const LONG: Duration = Duration::from_secs(30);

pub fn groups() -> Vec<Group> {
    vec![
        timeout("attempt timeout, ready call", up()),
        timeout("attempt timeout, pending call", slow()),
        both("deadline and timeout, ready call", up()),
        both("deadline and timeout, pending call", slow()),
    ]
}

fn timeout<S>(title: &'static str, service: S) -> Group
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + Sync + 'static,
{
    let ours = TimeoutLayer::new("peers", Period::secs(30)).layer(service.clone());
    let total = DeadlineLayer::new("peers", Period::secs(30)).layer(service.clone());
    let tower = Tower::new(LONG).layer(service.clone());
    let peer = TimeLimiterLayer::builder().timeout_duration(LONG).build();
    Group {
        title,
        bare: Row::service(Who::Less, "bare", service.clone()),
        rows: vec![
            Row::service(Who::Ours, "mainstay", ours),
            Row::service(Who::Ours, "mainstay, total deadline", total),
            Row::service(Who::Peer, "tower", tower).remark("errors are boxed"),
            Row::service(Who::Peer, "tower-resilience", peer.layer(service)),
        ],
    }
}

fn both<S>(title: &'static str, service: S) -> Group
where
    S: Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + Sync + 'static,
{
    let ours = TimeoutLayer::new("peers", Period::secs(10)).layer(service.clone());
    let ours = DeadlineLayer::new("peers", Period::secs(30)).layer(ours);
    let tower = Tower::new(LONG / 3).layer(service.clone());
    let tower = Tower::new(LONG).layer(tower);
    Group {
        title,
        bare: Row::service(Who::Less, "bare", service),
        rows: vec![
            Row::service(Who::Ours, "mainstay", ours).remark("layers below know the time left"),
            Row::service(Who::Peer, "tower", tower).remark("two timeouts, errors are boxed"),
        ],
    }
}
