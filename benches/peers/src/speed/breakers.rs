//! Breakers: closed under each kind of trip, open, and one for each key.

use std::hint::black_box;
use std::time::Duration;

use failsafe::backoff::{self, Constant};
use failsafe::failure_policy::{consecutive_failures, success_rate_over_time_window};
use failsafe::futures::CircuitBreaker;
use mainstay::breaker::{BreakerConfig, BreakerLayer, KeyedBreakerLayer, Order, Trip, Window};
use mainstay::num::{Period, Ratio};
use recloser::{AsyncRecloser, Recloser};
use tower::Layer as _;
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, SlidingWindowType,
};

use super::callee::{Down, down, up};
use super::row::{Group, Row, Who};

const LONG: Duration = Duration::from_secs(3_600);
const WINDOW: Duration = Duration::from_secs(10);
const HALF: Ratio = Ratio::percent(50);

pub fn groups() -> Vec<Group> {
    vec![
        consecutive(),
        in_window(),
        rate_over_time(),
        rate_over_calls(),
        slow(),
        open(),
        keyed(),
    ]
}

fn bare() -> Row {
    Row::service(Who::Less, "bare", up())
}

fn mainstay(config: impl Into<BreakerConfig>) -> Row {
    let layer = BreakerLayer::new("peers", config);
    Row::service(Who::Ours, "mainstay", layer.layer(up()))
}

fn failsafe<C: CircuitBreaker + Send + Sync + 'static>(who: Who, breaker: C) -> Row {
    Row::shared(who, "failsafe", breaker, async |breaker: &C, n| {
        let call = std::future::ready(Ok::<_, Down>(n));
        drop(black_box(breaker.call(call).await));
    })
}

fn rejecting(backoff: Constant) -> impl CircuitBreaker + Send + Sync + 'static {
    let policy = consecutive_failures(1, backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

type Peer = CircuitBreakerConfigBuilder<tower_resilience_circuitbreaker::DefaultClassifier>;

fn tower_resilience(peer: Peer) -> Row {
    let layer = peer.build().expect("the peer accepts its own settings");
    Row::service(Who::Peer, "tower-resilience", layer.layer(up()))
}

fn consecutive() -> Group {
    let policy = consecutive_failures(5, backoff::constant(LONG));
    let failsafe_breaker = failsafe::Config::new().failure_policy(policy).build();
    Group {
        title: "breaker closed, consecutive",
        bare: bare(),
        rows: vec![
            mainstay(Trip::consecutive(5)),
            failsafe(Who::Peer, failsafe_breaker).remark("not a layer"),
            tower_resilience(CircuitBreakerLayer::builder().consecutive_failures(5)),
        ],
    }
}

fn in_window() -> Group {
    let policy = consecutive_failures(5, backoff::constant(LONG));
    let failsafe_breaker = failsafe::Config::new().failure_policy(policy).build();
    Group {
        title: "breaker closed, failures in window",
        bare: bare(),
        rows: vec![
            mainstay(Trip::in_window(5, Period::secs(60))),
            failsafe(Who::Less, failsafe_breaker)
                .remark("no peer counts so: this one, failures in a row"),
        ],
    }
}

fn rate_over_time() -> Group {
    let policy = success_rate_over_time_window(0.5, 100, WINDOW, backoff::constant(LONG));
    let failsafe_breaker = failsafe::Config::new().failure_policy(policy).build();
    let window = CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(WINDOW)
        .minimum_number_of_calls(100)
        .failure_rate_threshold(0.5);
    Group {
        title: "breaker closed, rate over time",
        bare: bare(),
        rows: vec![
            mainstay(Trip::rate(HALF, 100, Period::secs(10))),
            failsafe(Who::Peer, failsafe_breaker).remark("not a layer; a moving average"),
            tower_resilience(window).remark("walks over every call of the window"),
        ],
    }
}

fn rate_over_calls() -> Group {
    let shared = AsyncRecloser::from(Recloser::custom().closed_len(100).build());
    let recloser = Row::shared(
        Who::Peer,
        "recloser",
        shared,
        async |breaker: &AsyncRecloser, n| {
            let call = std::future::ready(Ok::<_, Down>(n));
            drop(black_box(breaker.call(call).await));
        },
    );
    let sync = Recloser::custom().closed_len(100).build();
    let sync = Row::shared(
        Who::Less,
        "recloser, sync",
        sync,
        async |breaker: &Recloser, n| {
            drop(black_box(breaker.call(|| Ok::<_, Down>(n))));
        },
    );
    let count = CircuitBreakerLayer::builder()
        .sliding_window_size(100)
        .failure_rate_threshold(0.5);
    Group {
        title: "breaker closed, rate over calls",
        bare: bare(),
        rows: vec![
            mainstay(Trip::rate_of(HALF, 100, Window::calls(100))),
            recloser.remark("not a layer"),
            sync.remark("not a layer, no futures"),
            tower_resilience(count),
        ],
    }
}

fn slow() -> Group {
    let rate = Trip::rate(HALF, 100, Period::secs(10));
    let slow = Trip::slow(Period::secs(1), HALF, 100, Window::Time(Period::secs(10)));
    let peer = CircuitBreakerLayer::builder()
        .sliding_window_size(100)
        .failure_rate_threshold(0.5)
        .slow_call_duration_threshold(Duration::from_secs(1))
        .slow_call_rate_threshold(0.5);
    Group {
        title: "breaker closed, rate and slowness",
        bare: bare(),
        rows: vec![
            mainstay(BreakerConfig::new(rate).or(slow)).remark("over time"),
            tower_resilience(peer).remark("over calls"),
        ],
    }
}

fn open() -> Group {
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::secs(3_600));
    let layer = BreakerLayer::new("peers", config);
    layer
        .handle()
        .open(Order::new("peers", "what a refusal costs"));
    let mainstay = Row::service(Who::Ours, "mainstay", layer.layer(up()));
    // The others open at the first call, which fails.
    let failsafe = Row::shared(
        Who::Peer,
        "failsafe",
        rejecting(backoff::constant(LONG)),
        refused,
    );
    let recloser = Recloser::custom().closed_len(1).open_wait(LONG).build();
    let recloser = Row::shared(
        Who::Peer,
        "recloser",
        AsyncRecloser::from(recloser),
        async |breaker: &AsyncRecloser, _| {
            let call = std::future::ready(Err::<u64, _>(Down::Failed));
            drop(black_box(breaker.call(call).await));
        },
    );
    let peer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .wait_duration_in_open(LONG)
        .build()
        .expect("the peer accepts its own settings");
    Group {
        title: "breaker open",
        bare: Row::service(Who::Less, "bare", down()),
        rows: vec![
            mainstay.remark("says when to come back"),
            failsafe.remark("not a layer"),
            recloser.remark("not a layer"),
            Row::service(Who::Peer, "tower-resilience", peer.layer(down())),
        ],
    }
}

async fn refused<C: CircuitBreaker>(breaker: &C, _: u64) {
    let call = std::future::ready(Err::<u64, _>(Down::Failed));
    drop(black_box(breaker.call(call).await));
}

fn keyed() -> Group {
    let layer = |trip| KeyedBreakerLayer::new("peers", trip, 1_000, |n: &u64| n % 16);
    let service = layer(Trip::consecutive(5)).layer(up());
    Group {
        title: "breaker of each of 16 keys, closed",
        bare: bare(),
        rows: vec![Row::service(Who::Ours, "mainstay", service).remark("bounded; no peer has one")],
    }
}
