//! The breaker with a circuit for each key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::breaker::{
    BreakerConfig, KeyedBreakerLayer, Mode, Order, State, Switch, Trip, Window,
};
use mainstay::num::{Period, Ratio};
use mainstay_test_support::live_bytes;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

fn config() -> BreakerConfig {
    BreakerConfig::new(Trip::consecutive(1)).open_for(Period::secs(3_600))
}

/// Fails for the keys that are odd.
async fn odd_fails(key: u64) -> Result<u64, BoxError> {
    if key % 2 == 1 {
        Err("odd".into())
    } else {
        Ok(key)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_opens_its_own_circuit() {
    let layer = KeyedBreakerLayer::new("keyed", config(), 10, |key: &u64| *key);
    let handle = layer.handle();
    // As a router does: once per route, all of them one set of circuits.
    let one = layer.layer(service_fn(odd_fails));
    let two = layer.layer(service_fn(odd_fails));
    assert!(one.oneshot(1).await.is_err());
    assert_eq!(handle.circuit(&1).unwrap().state(), State::Open);
    let refused = two.clone().oneshot(1).await.unwrap_err().to_string();
    assert!(refused.starts_with("refused by breaker"), "{refused}");
    assert_eq!(two.oneshot(2).await.unwrap(), 2);
    assert_eq!(handle.tripped().len(), 1);
}

/// Vector X03.
#[tokio::test(start_paused = true)]
async fn rule_x03_a_million_keys_keep_to_the_bound() {
    let layer = KeyedBreakerLayer::new("keyed", config(), 1_000, |key: &u64| *key);
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(odd_fails));
    assert!(service.ready().await.unwrap().call(1).await.is_err());
    let mut at_bound = 0;
    for key in 1..=1_000_000_u64 {
        assert!(service.ready().await.unwrap().call(key * 2).await.is_ok());
        if key == 2_000 {
            at_bound = live_bytes();
        }
    }
    assert!(handle.keys() <= 1_000);
    assert_eq!(handle.circuit(&1).unwrap().state(), State::Open, "kept");
    assert_eq!(handle.untracked(), 0);
    let grown = live_bytes() - at_bound;
    assert!(grown < 64 * 1024, "{grown} bytes more than at the bound");
}

#[tokio::test(start_paused = true)]
async fn where_all_must_stay_calls_pass_uncounted() {
    let layer = KeyedBreakerLayer::new("keyed", config(), 4, |key: &u64| *key);
    let handle = layer.handle();
    let service = layer.layer(service_fn(odd_fails));
    for key in 0..100 {
        drop(service.clone().oneshot(key * 2 + 1).await);
    }
    assert_eq!(handle.keys(), 4);
    assert_eq!(handle.tripped().len(), 4);
    assert_eq!(handle.untracked(), 96);
    // They pass, however often they fail.
    let error = service.oneshot(201).await.unwrap_err().to_string();
    assert_eq!(error, "odd");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_with_failures_or_a_call_under_way_stays() {
    let rate = Trip::rate_of(Ratio::percent(50), 100, Window::calls(100));
    let layer = KeyedBreakerLayer::new("keyed", rate, 2, |key: &u64| *key);
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(odd_fails));
    assert!(service.ready().await.unwrap().call(1).await.is_err());
    let under_way = service.ready().await.unwrap().call(2);
    assert_eq!(service.ready().await.unwrap().call(4).await.unwrap(), 4);
    assert!(handle.circuit(&1).is_some() && handle.circuit(&2).is_some());
    assert_eq!(handle.untracked(), 1);
    drop(under_way);
    assert_eq!(service.ready().await.unwrap().call(4).await.unwrap(), 4);
    assert!(handle.circuit(&2).is_none(), "it had nothing to lose");
    assert_eq!(handle.keys(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_switch_commands_circuits_that_are_still_to_come() {
    let region = Switch::new();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let layer = KeyedBreakerLayer::new("keyed", config(), 10, |key: &u64| *key);
    let service = layer.switched_by(&region).layer(service_fn(move |_: u64| {
        seen.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, BoxError>(()) }
    }));
    assert!(service.clone().oneshot(1).await.is_ok());
    region.force(
        Mode::ForcedOpen,
        Order::new("test", "drill").lasting(Period::secs(60)),
    );
    assert!(service.clone().oneshot(1).await.is_err());
    assert!(service.clone().oneshot(2).await.is_err());
    tokio::time::advance(Period::secs(61).get()).await;
    assert!(
        service.clone().oneshot(1).await.is_ok(),
        "it ended by itself"
    );
    assert!(service.clone().oneshot(2).await.is_ok());
    assert!(service.clone().oneshot(3).await.is_ok(), "it is over");
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert_eq!(region.circuits(), 3);
}

#[tokio::test(start_paused = true)]
async fn settings_reach_the_circuits_that_are_and_those_to_come() {
    let layer = KeyedBreakerLayer::new("keyed", Trip::consecutive(2), 10, |key: &u64| *key);
    let handle = layer.handle();
    let service = layer.layer(service_fn(odd_fails));
    drop(service.clone().oneshot(1).await);
    handle.reload(config());
    drop(service.clone().oneshot(1).await);
    drop(service.clone().oneshot(3).await);
    assert_eq!(handle.tripped().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_a_row_of_long_ago_does_not_keep_a_place_for_ever() {
    let config = BreakerConfig::new(Trip::consecutive(2))
        .or(Trip::in_window(9, Period::secs(3_600)))
        .or(Trip::rate_of(Ratio::percent(50), 5, Window::calls(5)));
    for (trip, kept_for) in [
        (config, 3_600),
        (BreakerConfig::default(), 600),
        (BreakerConfig::new(Trip::consecutive(2)), 600),
    ] {
        let layer = KeyedBreakerLayer::new("keyed", trip, 4, |key: &u64| *key);
        let handle = layer.handle();
        let service = layer.layer(service_fn(odd_fails));
        for key in [1, 3, 5, 7] {
            drop(service.clone().oneshot(key).await);
        }
        tokio::time::advance(Duration::from_secs(kept_for - 1)).await;
        assert_eq!(service.clone().oneshot(2).await.unwrap(), 2);
        assert_eq!(handle.untracked(), 1, "recent failures stay");
        tokio::time::advance(Duration::from_secs(2)).await;
        for key in 1..=100 {
            assert_eq!(service.clone().oneshot(key * 2).await.unwrap(), key * 2);
        }
        assert_eq!((handle.keys(), handle.untracked()), (4, 1));
    }
}
