//! Fallbacks, of a call that needs none and of one that does.

use mainstay::fallback::{FallbackConfig, FallbackLayer};
use tower::Layer as _;
use tower_resilience_fallback::FallbackLayer as TowerResilience;

use super::callee::{Down, down, up};
use super::row::{Group, Row, Who};

pub fn groups() -> Vec<Group> {
    let ours = FallbackLayer::value("peers", FallbackConfig::default(), 0);
    let peer = TowerResilience::<u64, u64, Down>::value(0);
    vec![
        Group {
            title: "fallback, not needed",
            bare: Row::service(Who::Less, "bare", up()),
            rows: vec![
                Row::service(Who::Ours, "mainstay", ours.layer(up())),
                Row::service(Who::Peer, "tower-resilience", peer.layer(up())),
            ],
        },
        Group {
            title: "fallback, a value",
            bare: Row::service(Who::Less, "bare", down()),
            rows: vec![
                Row::service(Who::Ours, "mainstay", ours.layer(down())),
                Row::service(Who::Peer, "tower-resilience", peer.layer(down())),
            ],
        },
    ]
}
