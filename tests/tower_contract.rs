//! One set of checks, run against each layer: readiness, clones, drops, panics, errors, wakers, scope, allocations.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

mod contract;

use contract::checks;
use contract::probe::Probe;
use mainstay::breaker::{BreakerLayer, Trip};
use mainstay::context::Call;
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::degrade::{GateLayer, Mode};
use mainstay::fallback::{FallbackConfig, FallbackLayer, Outcomes, Primary};
use mainstay::http::{AtEnd, DeadlineHeader};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{KeyedRate, Rate, RateConfig, RateLayer};
use mainstay::num::{Attempts, Period};
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::scope::CallLayer;
use mainstay::standard::Stack;
use mainstay::{grpc, http};
use tower::{Layer, ServiceBuilder};

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;

fn breaker() -> BreakerLayer {
    BreakerLayer::new("contract", Trip::consecutive(3))
}

/// More than any check calls.
fn rate() -> RateLayer {
    RateLayer::new("contract", Rate::burst(1_000, Period::secs(1)))
}

fn by_key() -> KeyedRate<u64> {
    KeyedRate::new("contract", Rate::burst(1_000, Period::secs(1)))
}

fn retry() -> RetryLayer {
    RetryLayer::new("contract", RetryConfig::new(Attempts::total(3)))
}

fn deadline() -> DeadlineLayer {
    DeadlineLayer::new("contract", Period::secs(5))
}

fn concurrency() -> ConcurrencyLayer {
    ConcurrencyLayer::new("contract", ConcurrencyConfig::default())
}

fn adaptive() -> AdaptiveLayer {
    AdaptiveLayer::new("contract", AdaptiveConfig::new())
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::new("contract", Period::secs(1))
}

fn gate() -> GateLayer {
    let degrade = contract::gate::degrade(Mode::Disabled);
    GateLayer::new(degrade.gate("x").unwrap())
}

/// What the probe says of itself passes: only refusals are answered for.
fn refusals() -> FallbackConfig {
    FallbackConfig::new(Outcomes::NONE.refusals())
}

type Answer = ::http::Response<contract::probe::Text>;

fn none(
    kept: u16,
    _primary: Primary<'_, Answer, contract::probe::Fault>,
) -> Result<Answer, &'static str> {
    none_of(kept)
}

fn none_of(_kept: u16) -> Result<Answer, &'static str> {
    Err("no answer")
}

fn version(request: &contract::probe::Req) -> u16 {
    u16::from(request.version() == ::http::Version::HTTP_11)
}

fn of<S>(layer: impl Layer<Probe, Service = S>) -> impl Fn(Probe) -> S {
    move |probe| layer.layer(probe)
}

macro_rules! contract {
    (@checks $wrap:expr; $($check:ident),*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $check() {
            checks::$check($wrap).await;
        }
    )*};
    ($($name:ident: $wrap:expr;)*) => {$(
        mod $name {
            use super::*;
            contract!(@checks $wrap;
                readiness, clones_have_their_own_readiness, errors_pass_unchanged,
                a_dropped_call_leaves_nothing, a_panic_below_does_no_harm, spurious_polls_do_nothing,
                the_scope_ends_with_the_poll);
        }
    )*};
}

macro_rules! without_allocation {
    ($($name:ident: $wrap:expr;)*) => {
        mod success_allocates_nothing {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    checks::success_allocates_nothing($wrap).await;
                }
            )*
        }
    };
}

contract! {
    breaker_at_head: of(breaker());
    breaker_in_window: of(BreakerLayer::new("contract", Trip::in_window(3, Period::secs(60))));
    breaker_by_rate: of(BreakerLayer::new("contract", mainstay::breaker::BreakerConfig::default()));
    breaker_http: of(breaker().classify(http::ByStatus).refuse_with(http::AsResponse));
    breaker_http_at_end: of(breaker().classify(http::ByStatus).refuse_with(http::AsResponse)
        .until(AtEnd::new(http::ByStatus)));
    breaker_grpc_at_end: of(breaker().classify(grpc::ByStatus).refuse_with(grpc::AsResponse)
        .until(AtEnd::new(grpc::ByStatus)));
    gate_as_error: of(gate());
    gate_http: of(gate().access(http::ByMethod).refuse_with(http::AsResponse));
    gate_grpc: of(gate().refuse_with(grpc::AsResponse));
    rate_as_error: of(rate());
    rate_in_windows: of(RateLayer::new("contract", RateConfig::new(Rate::windows(1_000, Period::secs(1)))));
    rate_http: of(rate().refuse_with(http::AsResponse));
    rate_grpc: of(rate().refuse_with(grpc::AsResponse));
    rate_by_key: of(RateLayer::keyed(by_key(), |_: &contract::probe::Req| 7));
    retry_by_clone: of(retry());
    retry_by_replay: of(retry().classify(http::ByStatus).refuse_with(http::AsResponse)
        .replay_with(http::ReplayRequest::new(1024)));
    fallback_value: of(FallbackLayer::value("contract", refusals(), Answer::default()));
    fallback_function: of(FallbackLayer::function("contract", refusals(), none).keep(version));
    fallback_async: of(FallbackLayer::async_function("contract", refusals(),
        |kept, _: Primary<'_, Answer, contract::probe::Fault>| async move { none_of(kept) }).keep(version));
    fallback_service: of(FallbackLayer::service("contract", refusals(), Probe::new(contract::probe::Mode::Answer)));
    fallback_replay: of(FallbackLayer::service("contract", refusals(), Probe::new(contract::probe::Mode::Answer))
        .classify(http::ByStatus).refuse_with(http::AsResponse).replay_with(http::ReplayRequest::new(1024)));
    deadline_as_error: of(deadline());
    deadline_http: of(deadline().refuse_with(http::AsResponse));
    deadline_grpc: of(deadline().refuse_with(grpc::AsResponse));
    grpc_body_deadline: of(grpc::BodyDeadlineLayer);
    timeout_as_error: of(timeout());
    timeout_http: of(timeout().refuse_with(http::AsResponse));
    timeout_grpc: of(timeout().refuse_with(grpc::AsResponse));
    concurrency_at_head: of(concurrency());
    concurrency_with_a_line: of(ConcurrencyLayer::new("contract", ConcurrencyConfig::default().queue(5)));
    concurrency_http_at_end: of(concurrency().refuse_with(http::AsResponse).until(AtEnd::new(http::ByStatus)));
    adaptive_at_head: of(adaptive());
    adaptive_grpc_at_end: of(adaptive().classify(grpc::ByStatus).refuse_with(grpc::AsResponse)
        .until(AtEnd::new(grpc::ByStatus)));
    carry: of(DeadlineHeader::default().carry());
    honour: of(DeadlineHeader::grpc().honour());
    call: |probe| ServiceBuilder::new().map_request(Call::new).layer(CallLayer::new()).service(probe);
    stack: { let stack = Stack::standard("contract"); move |probe| stack.service(probe) };
    stack_grpc: {
        let stack = Stack::standard("contract");
        move |probe: Probe| ServiceBuilder::new()
            .map_request(|request: contract::probe::Req| request.map(tonic::body::Body::new))
            .service(stack.grpc(probe))
    };
}

// The replay of a body keeps it on the heap, and a header with the time left is a string: those two allocate.
without_allocation! {
    breaker_at_head: of(breaker());
    breaker_in_window: of(BreakerLayer::new("contract", Trip::in_window(3, Period::secs(60))));
    breaker_by_rate: of(BreakerLayer::new("contract", mainstay::breaker::BreakerConfig::default()));
    breaker_http_at_end: of(breaker().classify(http::ByStatus).refuse_with(http::AsResponse)
        .until(AtEnd::new(http::ByStatus)));
    gate_as_error: of(gate());
    gate_http: of(gate().access(http::ByMethod).refuse_with(http::AsResponse));
    rate_as_error: of(rate());
    rate_by_key: of(RateLayer::keyed(by_key(), |_: &contract::probe::Req| 7));
    retry_by_clone: of(retry());
    fallback_value: of(FallbackLayer::value("contract", refusals(), Answer::default()));
    fallback_function: of(FallbackLayer::function("contract", refusals(), none).keep(version));
    fallback_service: of(FallbackLayer::service("contract", refusals(), Probe::new(contract::probe::Mode::Answer)));
    deadline_as_error: of(deadline());
    timeout_as_error: of(timeout());
    grpc_body_deadline: of(grpc::BodyDeadlineLayer);
    concurrency_at_head: of(concurrency());
    concurrency_with_a_line: of(ConcurrencyLayer::new("contract", ConcurrencyConfig::default().queue(5)));
    concurrency_http_at_end: of(concurrency().refuse_with(http::AsResponse).until(AtEnd::new(http::ByStatus)));
    adaptive_at_head: of(adaptive());
    adaptive_grpc_at_end: of(adaptive().classify(grpc::ByStatus).refuse_with(grpc::AsResponse)
        .until(AtEnd::new(grpc::ByStatus)));
    carry: of(DeadlineHeader::default().carry());
    honour: of(DeadlineHeader::grpc().honour());
    call: |probe| ServiceBuilder::new().map_request(Call::new).layer(CallLayer::new()).service(probe);
    stack: { let stack = Stack::standard("contract"); move |probe| stack.service(probe) };
}
