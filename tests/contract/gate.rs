//! What only a gate can be asked: what passes in which mode, refusals without the inner service, listeners, pins.

use std::time::Duration;

use futures::FutureExt;
use mainstay::degrade::{
    Cause, Component, Degrade, Fact, GateLayer, Kind, Ladder, Level, Mode, Order, Reading, When,
};
use mainstay::error::{AsRejected, LayerKind, Reason};
use mainstay::health::Verdict::{Down, Up};
use mainstay::http::{AsResponse, ByMethod};
use mainstay::num::Period;
use tower::{Layer, Service, ServiceExt};

use super::checks::poll;
use super::probe::{Mode as Behaviour, Probe, Req, request};

/// A capability `x` that is served so while `part` is down.
pub(crate) fn degrade(mode: Mode) -> Degrade {
    let ladder = Ladder::new("contract")
        .component(Component::new("part"))
        .level(Level::new("well"))
        .level(Level::new("badly").cell("x", mode))
        .fact(Fact::new("part down", When::down("part"), "badly"));
    Degrade::new(ladder.build().unwrap())
}

fn asking(method: http::Method) -> Req {
    let mut request = request();
    *request.method_mut() = method;
    request
}

#[tokio::test(start_paused = true)]
async fn what_is_served_passes_and_nothing_else() {
    let served = [
        (Mode::Full, true, true),
        (Mode::limited("less"), true, true),
        (Mode::WriteOnly, false, true),
        (Mode::ReadOnly, true, false),
        (Mode::Queued, false, false),
        (Mode::Manual, false, false),
        (Mode::Disabled, false, false),
        (Mode::FailOver, false, false),
    ];
    for (mode, reads, writes) in served {
        let degrade = degrade(mode.clone());
        degrade.observe("part", Reading::from(Down)).unwrap();
        let gate = degrade.gate("x").unwrap();
        assert_eq!(gate.mode(), mode);
        let probe = Probe::new(Behaviour::Answer);
        let by_method = GateLayer::new(gate.clone())
            .access(ByMethod)
            .layer(probe.clone());
        let whole = GateLayer::new(gate).layer(probe.clone());
        for (method, passes) in [(http::Method::GET, reads), (http::Method::POST, writes)] {
            let got = by_method.clone().oneshot(asking(method)).await;
            assert_eq!(got.is_ok(), passes, "{mode}");
        }
        let both = whole.oneshot(request()).await;
        assert_eq!(both.is_ok(), reads && writes, "{mode}");
        if let Err(refused) = both {
            let refused = refused.as_rejected().unwrap();
            let failed_over = mode == Mode::FailOver;
            let reason = if failed_over {
                Reason::FailedOver
            } else {
                Reason::Degraded
            };
            assert_eq!(
                (refused.layer(), refused.reason()),
                (LayerKind::Gate, reason)
            );
            assert_eq!(refused.hint(), Some(Duration::from_secs(30)));
        }
        let calls = u32::from(reads) + u32::from(writes) + u32::from(reads && writes);
        assert_eq!((probe.calls(), probe.uninvited()), (calls, 0), "{mode}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shut_gate_is_ready_and_answers_while_the_inner_service_is_not() {
    let degrade = degrade(Mode::Disabled);
    let probe = Probe::new(Behaviour::Answer);
    let layer = GateLayer::new(degrade.gate("x").unwrap()).refuse_with(AsResponse);
    let mut service = layer.retry_after(Period::secs(7)).layer(probe.clone());
    degrade.observe("part", Reading::from(Down)).unwrap();
    probe.set_ready(false);
    let ready = ServiceExt::<Req>::ready(&mut service)
        .now_or_never()
        .expect("ready to refuse");
    let answer = ready.unwrap().call(request()).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[http::header::RETRY_AFTER], "7");

    // Ready only to refuse: that the gate opens meanwhile does not make the inner service ready.
    let ready = ServiceExt::<Req>::ready(&mut service)
        .now_or_never()
        .expect("ready to refuse");
    let service = ready.unwrap();
    degrade
        .pin("x", Mode::Full, Order::new("alice", "test"))
        .unwrap();
    let refused = service.call(request()).await.unwrap();
    assert_eq!(refused.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((probe.calls(), probe.uninvited()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_capability_that_the_ladder_does_not_know_is_an_error() {
    let error = degrade(Mode::Disabled).gate("y").unwrap_err();
    assert_eq!(error.to_string(), "capability: expected one of x, got y");
}

/// Facts go and pins end without anybody asking, and whoever listens is told once.
#[tokio::test(start_paused = true)]
async fn whoever_drives_sees_that_time_has_passed() {
    let degrade = degrade(Mode::Disabled);
    let gate = degrade.gate("x").unwrap();
    let (mut changes, mut also) = (degrade.changes(), degrade.changes());
    let driver = tokio::spawn(degrade.clone().drive());
    tokio::task::yield_now().await;
    degrade.observe("part", Reading::from(Down)).unwrap();
    assert_eq!(gate.kind(), Kind::Disabled);
    degrade.observe("part", Reading::from(Up)).unwrap();
    let began = tokio::time::Instant::now();
    let worse = changes.next().await.unwrap();
    let better = changes.next().await.unwrap();
    assert_eq!((worse.to().name(), better.to().name()), ("badly", "well"));
    assert_eq!(
        began.elapsed().as_secs(),
        30,
        "the calm of the default pace"
    );
    assert_eq!(gate.kind(), Kind::Full);

    let order = Order::new("alice", "drill").lasting(Period::secs(60));
    degrade.pin_level("badly", order).unwrap();
    assert!(matches!(
        changes.next().await.unwrap().cause(),
        Cause::Pinned(_)
    ));
    assert!(matches!(
        changes.next().await.unwrap().cause(),
        Cause::Expired(_)
    ));
    assert_eq!(began.elapsed().as_secs(), 90);

    // The other listener has lost nothing by looking late, and hears that it is over.
    let mut heard = 0;
    while also.try_next().is_some() {
        heard += 1;
    }
    assert_eq!((heard, also.missed()), (4, 0));
    driver.abort();
    drop(driver.await);
    drop(degrade);
    assert!(also.next().await.is_none());
}

/// A listener that never looks costs a bounded number of changes, and one that is gone nothing.
#[tokio::test(start_paused = true)]
async fn a_listener_that_does_not_look_is_bounded() {
    let degrade = degrade(Mode::Disabled);
    let mut idle = degrade.changes();
    drop(degrade.changes());
    for turn in 0..300 {
        let mode = if turn % 2 == 0 {
            Mode::Manual
        } else {
            Mode::ReadOnly
        };
        degrade.pin("x", mode, Order::new("alice", "test")).unwrap();
    }
    assert_eq!(idle.missed(), 44);
    let mut next = Box::pin(idle.next());
    let std::task::Poll::Ready(Some(first)) = poll(&mut next) else {
        panic!("256 wait");
    };
    assert_eq!(
        first.moved()[0].to(),
        &Mode::Manual,
        "the oldest that was kept"
    );
}

/// A new ladder is under every gate at once; what it does not know is open.
#[tokio::test(start_paused = true)]
async fn a_reload_reaches_the_gates() {
    let degrade = degrade(Mode::Disabled);
    let gate = degrade.gate("x").unwrap();
    degrade.observe("part", Reading::from(Down)).unwrap();
    assert_eq!(gate.kind(), Kind::Disabled);
    let part = || {
        Ladder::new("contract")
            .component(Component::new("part"))
            .level(Level::new("well"))
    };
    let fact = Fact::new("part down", When::down("part"), "badly");
    let gentler = part()
        .level(Level::new("badly").cell("x", Mode::ReadOnly))
        .fact(fact);
    degrade.reload(gentler.build().unwrap());
    assert_eq!(gate.kind(), Kind::ReadOnly);
    let other = || part().capability("y").build().unwrap();
    degrade.reload(other());
    assert_eq!(gate.kind(), Kind::Full);
    assert!(degrade.gate("x").is_err());

    // Also where the level keeps its name: a pin of what the new ladder does not have.
    let with_x = || part().capability("x").build().unwrap();
    degrade.reload(with_x());
    degrade
        .pin("x", Mode::Disabled, Order::new("alice", "test"))
        .unwrap();
    assert_eq!(gate.kind(), Kind::Disabled);
    degrade.reload(other());
    assert_eq!(gate.kind(), Kind::Full);
    degrade.reload(with_x());
    assert_eq!(degrade.gate("x").unwrap().kind(), Kind::Full);
}
