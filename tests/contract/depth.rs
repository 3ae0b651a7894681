//! Errors never nest, however deep the stack is.

use mainstay::breaker::{BreakerLayer, Trip};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, Reason, Rejected};
use mainstay::http::AsResponse;
use mainstay::num::{Attempts, Period};
use mainstay::retry::{RetryConfig, RetryLayer};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::probe::{Mode, Probe, Req, request};

fn stack(
    probe: Probe,
    trip: &BreakerLayer,
) -> impl Service<Req, Response: Send, Error = BoxError> + Clone {
    let outer = |name| BreakerLayer::new(name, Trip::consecutive(100));
    let retry = |name| RetryLayer::new(name, RetryConfig::new(Attempts::total(2)));
    ServiceBuilder::new()
        .layer(DeadlineLayer::new("total", Period::secs(60)))
        .layer(retry("outer"))
        .layer(outer("outer"))
        .layer(DeadlineLayer::new("middle", Period::secs(50)))
        .layer(retry("inner"))
        .layer(outer("middle"))
        .layer(TimeoutLayer::new("attempt", Period::secs(10)))
        .layer(trip.clone())
        .map_err(BoxError::from)
        .service(probe)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_one_level_deep_through_seven_layers() {
    let breaker = BreakerLayer::new("innermost", Trip::consecutive(1));
    let probe = Probe::new(Mode::Fail(7));
    let service = stack(probe.clone(), &breaker);
    let fault = service.clone().oneshot(request()).await.err().unwrap();
    assert!(
        fault.is::<super::probe::Fault>(),
        "its own retry was refused: {fault}"
    );
    let refused = service.oneshot(request()).await.err().unwrap();
    let rejected = refused.downcast_ref::<Rejected>().unwrap();
    assert_eq!(rejected.reason(), Reason::CircuitOpen);
    // Its own source, which says whether an attempt was sent, and nothing beneath it.
    assert!(refused.source().is_some_and(|own| own.source().is_none()));
    assert_eq!(refused.as_rejected(), Some(*rejected));
    assert_eq!(probe.calls(), 1, "no layer retried the refusal");
}

#[tokio::test(start_paused = true)]
async fn the_callees_error_is_one_level_deep_through_seven_layers() {
    let breaker = BreakerLayer::new("innermost", Trip::consecutive(100));
    let probe = Probe::new(Mode::Fail(7));
    let error = stack(probe.clone(), &breaker)
        .oneshot(request())
        .await
        .err()
        .unwrap();
    let fault = error.downcast_ref::<super::probe::Fault>();
    assert_eq!(fault, Some(&super::probe::Fault::Callee(7)));
    assert!(error.source().is_none());
    assert_eq!(
        probe.calls(),
        2,
        "the innermost of two retries retried, the other did not"
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_one_level_deep_through_seven_layers() {
    let breaker = BreakerLayer::new("innermost", Trip::consecutive(100));
    let error = stack(Probe::new(Mode::Hang), &breaker)
        .oneshot(request())
        .await
        .err()
        .unwrap();
    assert!(error.is::<mainstay::error::TimedOut>() || error.is::<Rejected>());
    assert!(error.source().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_as_a_response_passes_outer_layers_as_what_it_is() {
    let inner = BreakerLayer::new("inner", Trip::consecutive(1))
        .classify(mainstay::http::ByStatus)
        .refuse_with(AsResponse);
    let outer = BreakerLayer::new("outer", Trip::consecutive(2))
        .classify(mainstay::http::ByStatus)
        .refuse_with(AsResponse);
    let retry = RetryLayer::new("outer", RetryConfig::new(Attempts::total(3)))
        .classify(mainstay::http::ByStatus)
        .refuse_with(AsResponse);
    let (watch, retries) = (outer.handle(), retry.handle());
    let probe = Probe::new(Mode::Fail(1));
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("total", Period::secs(60)).refuse_with(AsResponse))
        .layer(retry)
        .layer(outer)
        .layer(inner)
        .service(probe.clone());
    let opening = service.clone().oneshot(request()).await;
    assert_eq!(opening.err(), Some(super::probe::Fault::Callee(1)));
    for _ in 0..10 {
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 503);
        let rejected = response.extensions().get::<Rejected>().unwrap();
        assert_eq!(rejected.reason(), Reason::CircuitOpen);
    }
    assert_eq!(probe.calls(), 1);
    assert_eq!(watch.openings(), 0, "a breaker counts no refusal");
    assert_eq!(retries.retries(), 1, "a retry retries none");
}
