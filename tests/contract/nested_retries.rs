//! Retry layers around one another: in one stack, in code that calls another stack, and in another process.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::probe::Text;
use http::{HeaderName, Request, Response};
use mainstay::context::{Call, Context};
use mainstay::http::{AttemptHeader, ByStatus, DeadlineHeader};
use mainstay::num::{Attempts, Ratio};
use mainstay::outcome::Outcome;
use mainstay::retry::{
    Backoff, BudgetConfig, Jitter, Nesting, RetryConfig, RetryLayer, SharedBudget,
};
use mainstay::scope::{CallLayer, Scope};
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

/// So many attempts without a wait and without a budget.
fn config(attempts: Attempts) -> RetryConfig {
    let backoff = Backoff::constant(Duration::ZERO).jitter(Jitter::None);
    RetryConfig::new(attempts).backoff(backoff).without_budget()
}

fn twice() -> RetryLayer {
    RetryLayer::new("nested", config(Attempts::total(2)))
}

/// A callee that always fails, and how often it was called.
fn failing() -> (BoxCloneService<(), (), BoxError>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |()| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err::<(), BoxError>("down".into()) }
    });
    (BoxCloneService::new(service), calls)
}

/// So often is the callee called in 100 calls through three layers of three retries each.
async fn three_layers(config: RetryConfig, budget: Option<SharedBudget>) -> u32 {
    let (mut service, calls) = failing();
    for name in ["inner", "middle", "outer"] {
        let mut layer = RetryLayer::new(name, config);
        if let Some(budget) = &budget {
            layer = layer.shared_budget(budget);
        }
        service = BoxCloneService::new(layer.layer(service));
    }
    for _ in 0..100 {
        let error = service.clone().oneshot(()).await.unwrap_err();
        assert_eq!(error.to_string(), "down", "the callee's own word");
    }
    calls.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn rule_r11() {
    let once = config(Attempts::retries(3));
    let each = once.nesting(Nesting::Each);
    assert_eq!(
        three_layers(each, None).await,
        6_400,
        "each layer for itself"
    );
    assert_eq!(three_layers(once, None).await, 400, "one of them retries");
    for config in [each, once] {
        // Earns a tenth of a retry with each call, and has three to begin with.
        let shared = BudgetConfig::new(Ratio::percent(10)).per_second(0).burst(3);
        let attempts = three_layers(config, Some(SharedBudget::new(shared))).await;
        assert!((110..=113).contains(&attempts), "{attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_budget_counts_a_call_once_however_many_layers_it_passes() {
    let ratio = BudgetConfig::new(Ratio::percent(50)).per_second(0).burst(0);
    let budget = SharedBudget::new(ratio);
    let grow = BudgetConfig::new(Ratio::percent(50))
        .per_second(0)
        .burst(1_000);
    budget.reload(grow);
    let service = twice().shared_budget(&budget).layer(
        twice()
            .shared_budget(&budget)
            .layer(service_fn(|()| async { Ok::<_, BoxError>(()) })),
    );
    for _ in 0..100 {
        service.clone().oneshot(()).await.unwrap();
    }
    assert!((budget.tokens() - 50.0).abs() < 1e-9, "{budget:?}");
    // Another policy with a call of its own adds to it and draws on it.
    let (down, calls) = failing();
    let other = RetryLayer::new("other", config(Attempts::total(100))).shared_budget(&budget);
    other.layer(down).oneshot(()).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 51, "50.5 retries, so 50");
}

/// Whatever code stands between the layers: an attempt in which a layer below has tried in vain is not repeated.
#[tokio::test(start_paused = true)]
async fn the_layer_within_another_service_is_seen_across_awaits() {
    let (down, calls) = failing();
    let inner = twice().layer(down);
    let between = service_fn(move |()| {
        let inner = inner.clone();
        async move {
            let result = inner.oneshot(()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            result.map_err(|_| BoxError::from("could not"))
        }
    });
    let outer = twice();
    let handle = outer.handle();
    let error = outer.layer(between).oneshot(()).await.unwrap_err();
    assert_eq!(error.to_string(), "could not");
    assert_eq!((calls.load(Ordering::Relaxed), handle.given_up()), (2, 1));
    assert_eq!(handle.retries(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_did_not_retry_leaves_it_to_the_one_around_it() {
    // Its settings say once, or the request cannot be made again.
    let (down, calls) = failing();
    let once = RetryLayer::new("once", config(Attempts::NO_RETRY));
    twice()
        .layer(once.layer(down))
        .oneshot(())
        .await
        .unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 2);

    // It succeeded after a retry, and what came after it failed.
    let tried = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tried);
    let flaky = service_fn(move |()| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                Err(BoxError::from("once"))
            } else {
                Ok(())
            }
        }
    });
    let inner = twice().layer(flaky);
    let between = service_fn(move |()| {
        let inner = inner.clone();
        async move {
            inner.oneshot(()).await?;
            Err::<(), BoxError>("after it".into())
        }
    });
    twice().layer(between).oneshot(()).await.unwrap_err();
    assert_eq!(
        tried.load(Ordering::Relaxed),
        3,
        "twice, and in the second attempt once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_budget_or_a_callee_that_forbids_a_retry_forbids_it_to_all_layers() {
    let (down, calls) = failing();
    let empty = BudgetConfig::new(Ratio::ZERO).per_second(0).burst(0);
    let inner = RetryLayer::new("inner", config(Attempts::total(2)).budget(empty));
    twice()
        .layer(inner.layer(down))
        .oneshot(())
        .await
        .unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    let (down, calls) = failing();
    let patient = |_: Result<&(), &BoxError>| Outcome::Overload {
        retry_after: Some(Duration::from_secs(3_600)),
    };
    let inner = twice().classify(patient).layer(down);
    twice().layer(inner).oneshot(()).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_caller_that_is_on_a_retry_is_attempted_once() {
    for (attempt, attempts) in [(0, 2), (1, 2), (2, 1), (7, 1)] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = Arc::clone(&seen);
        let callee = service_fn(move |()| {
            note.lock().unwrap().push(Scope::current().attempt_number());
            async { Err::<(), BoxError>("down".into()) }
        });
        let service = ServiceBuilder::new()
            .layer(CallLayer::new())
            .layer(twice())
            .service(callee);
        let call = Call::new(()).within(Context::new().attempt(attempt));
        service.oneshot(call).await.unwrap_err();
        let numbers: Vec<_> = (attempt.max(1)..).take(attempts).collect();
        assert_eq!(*seen.lock().unwrap(), numbers, "the number goes on");
    }
}

/// Two processes: the client's attempt travels in a header, and a server that trusts it retries nothing in its turn.
#[tokio::test(start_paused = true)]
async fn the_number_of_an_attempt_travels_and_only_trusted_callers_are_believed() {
    let own = ("x-request-attempt", AttemptHeader::default(), "2");
    let grpc = ("grpc-previous-rpc-attempts", AttemptHeader::grpc(), "1");
    for (name, header, second, trusted) in
        [own, grpc].into_iter().flat_map(|(name, header, second)| {
            [true, false].map(|trusted| (name, header.clone(), second, trusted))
        })
    {
        let name = HeaderName::from_static(name);
        let (down, backend) = failing();
        let backend_client = BoxCloneService::new(twice().layer(down));
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = Arc::clone(&told);
        let handler = service_fn(move |request: Request<()>| {
            let value = request.headers().get(&name).cloned();
            note.lock().unwrap().push(value);
            let client = backend_client.clone();
            async move {
                let status = if client.oneshot(()).await.is_ok() {
                    200
                } else {
                    500
                };
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(status)
                        .body(Text::default())
                        .unwrap(),
                )
            }
        });
        let honour = DeadlineHeader::default().honour();
        let honour = if trusted {
            honour.attempt(header.clone())
        } else {
            honour
        };
        // What crosses the network crosses no scope.
        let server = honour.layer(handler);
        let network = service_fn(move |request: Request<()>| {
            let server = server.clone();
            async move { tokio::spawn(server.oneshot(request)).await.unwrap() }
        });
        let client = ServiceBuilder::new()
            .layer(
                twice()
                    .classify(ByStatus)
                    .refuse_with(mainstay::http::AsResponse),
            )
            .layer(DeadlineHeader::default().carry().attempt(header))
            .service(network);
        let answer = client.oneshot(Request::new(())).await.unwrap();
        assert_eq!(answer.status(), 500);
        let told: Vec<_> = told
            .lock()
            .unwrap()
            .iter()
            .map(|value| {
                value
                    .as_ref()
                    .map(|value| value.to_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(told, [None, Some(second.to_owned())]);
        let calls = if trusted { 2 + 1 } else { 2 * 2 };
        assert_eq!(backend.load(Ordering::Relaxed), calls, "trusted: {trusted}");
    }
}
