//! The spans of a call: how they nest, when they are entered, and how they end.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a span's id is its place in the book, and a test panics to fail"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay::breaker::{BreakerLayer, Order, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::fallback::{FallbackConfig, FallbackLayer, Outcomes};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{Rate, RateConfig, RateLayer};
use mainstay::num::{Attempts, Period, Ratio, count};
use mainstay::retry::{Backoff, Jitter, RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use mainstay::tenant::tier::{Tier, Tiers};
use mainstay::tenant::{Caller, TenantConfig, TenantLayer, TenantPool};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// A span as it was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    entered: u32,
    owners: u32,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}").trim_matches('"').to_owned();
        let before = self.fields.insert(field.name(), value);
        assert_eq!(
            before,
            None,
            "{}: {} is told twice",
            self.name,
            field.name()
        );
    }
}

#[derive(Debug, Default)]
struct Book {
    spans: Vec<Seen>,
    /// Those that the thread is in.
    within: Vec<u64>,
    /// Each event with the name of the span it came about in.
    events: Vec<(String, &'static str)>,
}

/// Writes down the spans of mainstay and of a callee, up to a level.
#[derive(Clone)]
struct Scribe(Arc<Mutex<Book>>, tracing::Level);

impl Scribe {
    fn new() -> Self {
        Self(Arc::default(), tracing::Level::DEBUG)
    }

    /// What `f` makes.
    fn hears<T>(f: impl FnOnce(&Self) -> T) -> (T, Self) {
        let scribe = Self::new();
        let made = tracing::subscriber::with_default(scribe.clone(), || f(&scribe));
        (made, scribe)
    }

    /// Every span, all of them left and closed.
    #[track_caller]
    fn spans(&self) -> Vec<Seen> {
        let book = self.0.lock().unwrap();
        assert!(book.within.is_empty(), "{book:?}");
        for span in &book.spans {
            assert_eq!(span.owners, 0, "{span:?} is open");
        }
        book.spans.clone()
    }

    /// `name outcome`, with the name of the parent before it.
    #[track_caller]
    fn tree(&self) -> Vec<String> {
        let spans = self.spans();
        let short = |id: u64| spans[id as usize - 1].name.trim_start_matches("mainstay.");
        let line = |(span, id): (&Seen, u64)| {
            let parent = span
                .parent
                .map_or(String::new(), |id| format!("{} > ", short(id)));
            let outcome = span.fields.get("outcome").map_or("", String::as_str);
            format!("{parent}{} {outcome}", short(id)).trim().to_owned()
        };
        spans.iter().zip(1..).map(line).collect()
    }

    fn within(&self) -> usize {
        self.0.lock().unwrap().within.len()
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let target = metadata.target();
        (target.starts_with("mainstay") || target == "callee") && *metadata.level() <= self.1
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.1.into())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut book = self.0.lock().unwrap();
        let mut seen = Seen {
            name: attributes.metadata().name(),
            parent: book.within.last().copied(),
            owners: 1,
            ..Seen::default()
        };
        attributes.record(&mut seen);
        book.spans.push(seen);
        Id::from_u64(book.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut book = self.0.lock().unwrap();
        values.record(&mut book.spans[id.into_u64() as usize - 1]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let mut book = self.0.lock().unwrap();
        let name = book
            .within
            .last()
            .map_or("", |id| book.spans[*id as usize - 1].name);
        book.events.push((seen.fields["message"].clone(), name));
    }

    fn enter(&self, id: &Id) {
        let mut book = self.0.lock().unwrap();
        book.within.push(id.into_u64());
        book.spans[id.into_u64() as usize - 1].entered += 1;
    }

    fn exit(&self, id: &Id) {
        let left = self.0.lock().unwrap().within.pop();
        assert_eq!(
            left,
            Some(id.into_u64()),
            "the last that was entered is left first"
        );
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().spans[id.into_u64() as usize - 1].owners += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut book = self.0.lock().unwrap();
        let span = &mut book.spans[id.into_u64() as usize - 1];
        span.owners -= 1;
        span.owners == 0
    }
}

/// Has a span of its own, from its call to its answer.
fn callee(
    answers: &'static [Result<u32, &'static str>],
) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone {
    let calls = Arc::new(Mutex::new(0));
    service_fn(move |_: u32| {
        let mut calls = calls.lock().unwrap();
        let answer = answers[*calls % answers.len()];
        *calls += 1;
        let span = tracing::debug_span!(target: "callee", "callee");
        async move {
            tokio::task::yield_now().await;
            tracing::debug!(target: "callee", "works");
            drop(span);
            answer.map_err(Into::into)
        }
    })
}

fn retry(attempts: u32) -> RetryLayer {
    let backoff = Backoff::constant(Duration::from_millis(1)).jitter(Jitter::None);
    RetryLayer::new(
        "test",
        RetryConfig::new(Attempts::total(attempts)).backoff(backoff),
    )
}

fn wait<F: Future>(future: F) -> F::Output {
    crate::runtime().block_on(future)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_attempts_lie_in_the_call_and_the_callees_spans_in_the_attempts() {
    let stack = Stack::standard("ledger");
    let service = stack.service(callee(&[Err("down"), Ok(1)]));
    let (result, scribe) = Scribe::hears(|_| wait(service.oneshot(1)));
    assert!(result.is_ok());
    assert_eq!(
        scribe.tree(),
        [
            "call answered",
            "call > attempt error",
            "attempt > callee",
            "call > attempt success",
            "attempt > callee",
        ]
    );
    let spans = scribe.spans();
    for span in spans.iter().filter(|span| span.name != "callee") {
        assert_eq!(span.fields["policy"], "ledger", "{span:?}");
    }
    assert_eq!(spans[1].fields["attempt"], "1");
    assert_eq!(spans[3].fields["attempt"], "2");
    assert_eq!(spans[1].fields["error.type"], "error");
    assert_eq!(spans[1].fields["otel.status_code"], "ERROR");
    for well in [&spans[0], &spans[3]] {
        assert!(!well.fields.contains_key("error.type"), "{well:?}");
        assert!(!well.fields.contains_key("otel.status_code"), "{well:?}");
    }
    // Once for the call and once for each poll of the callee: it pends once.
    assert_eq!((spans[1].entered, spans[3].entered), (3, 3));
    let events = scribe.0.lock().unwrap().events.clone();
    let works = ("works".to_owned(), "mainstay.attempt");
    let again = ("will retry".to_owned(), "mainstay.call");
    assert_eq!(events, [works.clone(), again, works]);
}

#[test]
fn a_span_is_left_between_polls() {
    let stack = Stack::standard("ledger");
    let service = stack.service(callee(&[Ok(1)]));
    let runtime = crate::runtime();
    let _guard = runtime.enter();
    let (_, scribe) = Scribe::hears(|scribe| {
        let mut call = Box::pin(service.oneshot(1));
        assert!(poll(&mut call).is_pending());
        assert_eq!(scribe.within(), 0);
        assert!(poll(&mut call).is_ready());
        assert_eq!(scribe.within(), 0);
        assert_eq!(
            scribe.spans().len(),
            3,
            "closed with the answer, not with the future"
        );
        drop(call);
    });
    assert_eq!(
        scribe.tree(),
        [
            "call answered",
            "call > attempt success",
            "attempt > callee"
        ]
    );
}

#[test]
fn a_refusal_is_told_in_the_span_in_which_it_came_about() {
    let breaker = BreakerLayer::new("test", Trip::consecutive(1));
    breaker.handle().open(Order::new("test", "drill"));
    let deadline = DeadlineLayer::new("test", Period::secs(1));
    let service = deadline.layer(retry(3).layer(breaker.layer(callee(&[Ok(1)]))));
    let (result, scribe) = Scribe::hears(|_| wait(service.oneshot(1)));
    assert!(result.is_err());
    assert_eq!(
        scribe.tree(),
        ["call circuit_open", "call > attempt circuit_open"]
    );
    let events = scribe.0.lock().unwrap().events.clone();
    assert!(
        events.contains(&("rejected".to_owned(), "mainstay.attempt")),
        "{events:?}"
    );
}

#[test]
fn what_is_dropped_is_abandoned() {
    let stack = Stack::standard("ledger");
    let service = stack.service(callee(&[Ok(1)]));
    let runtime = crate::runtime();
    let _guard = runtime.enter();
    for polls in 0..2 {
        let service = service.clone();
        let (_, scribe) = Scribe::hears(|_| {
            let mut service = service;
            assert!(
                service
                    .poll_ready(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
            );
            let mut call = Box::pin(service.call(1));
            for _ in 0..polls {
                assert!(poll(&mut call).is_pending());
            }
        });
        let tree = scribe.tree();
        assert_eq!(
            tree,
            [
                "call abandoned",
                "call > attempt abandoned",
                "attempt > callee"
            ]
        );
        assert!(!scribe.spans()[0].fields.contains_key("error.type"));
    }
}

#[test]
fn a_call_out_of_time_says_so_and_abandons_its_attempt() {
    let deadline = DeadlineLayer::new("test", Period::secs(1));
    let hangs = service_fn(|_: u32| std::future::pending::<Result<u32, BoxError>>());
    let service = deadline.layer(retry(2).layer(hangs));
    let (result, scribe) = Scribe::hears(|_| wait(service.oneshot(1)));
    assert!(result.is_err());
    assert_eq!(
        scribe.tree(),
        ["call deadline_exceeded", "call > attempt abandoned"]
    );
    let events = scribe.0.lock().unwrap().events.clone();
    assert_eq!(events, [("rejected".to_owned(), "mainstay.call")]);
}

#[test]
fn a_panic_leaves_and_ends_the_spans() {
    let runtime = crate::runtime();
    let _guard = runtime.enter();
    for in_call in [true, false] {
        let panics = service_fn(move |_: u32| {
            assert!(!in_call, "in the call");
            async move {
                if in_call {
                    Ok::<u32, BoxError>(1)
                } else {
                    panic!("in the poll")
                }
            }
        });
        let mut service = Stack::standard("ledger").service(panics);
        let (_, scribe) = Scribe::hears(|scribe| {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(service.poll_ready(&mut cx).is_ready());
            let called = catch_unwind(AssertUnwindSafe(|| Box::pin(service.call(1))));
            assert_eq!(called.is_err(), in_call);
            if let Ok(mut call) = called {
                assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut call))).is_err());
                assert_eq!(
                    scribe.spans().len(),
                    2,
                    "ended before the future is dropped"
                );
            }
        });
        assert_eq!(scribe.tree(), ["call panicked", "call > attempt panicked"]);
        assert_eq!(scribe.spans()[1].fields["otel.status_code"], "ERROR");
    }
}

#[test]
fn a_wait_has_a_span_with_its_end() {
    let config = ConcurrencyConfig::new(count(1))
        .queue(2)
        .wait(Period::secs(1));
    let limit = ConcurrencyLayer::new("test", config);
    let hangs = limit.layer(service_fn(|n: u32| async move {
        tokio::time::sleep(Duration::from_millis(n.into())).await;
        Ok::<_, BoxError>(n)
    }));
    let (_, scribe) = Scribe::hears(|_| {
        wait(async {
            let first = hangs.clone().oneshot(1);
            let second = hangs.clone().oneshot(9_000);
            let (first, second, third) = tokio::join!(first, second, hangs.clone().oneshot(0));
            assert!(first.is_ok() && second.is_ok() && third.is_err());
            let mut under_way = Box::pin(hangs.clone().oneshot(9_000));
            assert!(poll(&mut under_way).is_pending());
            let mut waits = Box::pin(hangs.clone().oneshot(9_000));
            assert!(poll(&mut waits).is_pending());
            drop(waits);
        });
    });
    assert_eq!(
        scribe.tree(),
        ["wait admitted", "wait queue_timeout", "wait abandoned"]
    );
    assert_eq!(scribe.spans()[0].fields["layer"], "concurrency");

    let second = Period::secs(1);
    let rate = RateConfig::new(Rate::even(1, second)).patience(second);
    let paced = RateLayer::new("test", rate).layer(callee(&[Ok(1)]));
    let (_, scribe) = Scribe::hears(|_| {
        wait(async {
            let (first, second) = tokio::join!(paced.clone().oneshot(1), paced.clone().oneshot(1));
            assert!(first.is_ok() && second.is_ok());
        });
    });
    assert_eq!(scribe.tree(), ["callee", "wait admitted", "callee"]);
    assert_eq!(scribe.spans()[1].fields["layer"], "rate");
}

#[test]
fn a_fallback_that_takes_time_has_a_span() {
    let all = FallbackConfig::new(Outcomes::NONE.failures());
    for (answers, end) in [
        (&[Ok(7)], "fallback served"),
        (&[Err("too")], "fallback failed"),
    ] {
        let fallback = FallbackLayer::service("test", all, callee(answers));
        let service = fallback.layer(callee(&[Err("down")]));
        let (result, scribe) = Scribe::hears(|_| wait(service.oneshot(1)));
        assert_eq!(result.is_ok(), answers[0].is_ok());
        assert_eq!(scribe.tree(), ["callee", end, "fallback > callee"]);
        let events = scribe.0.lock().unwrap().events.clone();
        assert_eq!(
            events.last(),
            Some(&("fallback".to_owned(), "mainstay.fallback"))
        );
    }
    let value = FallbackLayer::value("test", all, 7);
    let (_, scribe) = Scribe::hears(|_| wait(value.layer(callee(&[Err("down")])).oneshot(1)));
    assert_eq!(scribe.tree(), ["callee"]);
}

/// Panics when a span is told its end.
struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("mainstay")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {
        panic!("it cannot be written down");
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A call that waits is let in and whoever listens panics, or leaves: then
/// nothing of it is in use.
fn panics_at_the_end_of_a_wait<S>(service: &S, in_use: impl Fn() -> (u32, u32), is_let_in: bool)
where
    S: Service<u32, Response = u32, Error = BoxError> + Clone,
{
    let call = |n| {
        let mut service = service.clone();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        Box::pin(service.call(n))
    };
    let poll = |future: &mut std::pin::Pin<Box<S::Future>>| {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    };
    let mut holder = call(0);
    assert!(!poll(&mut holder));
    tracing::subscriber::with_default(Panics, || {
        let mut waiter = call(1);
        assert!(!poll(&mut waiter));
        assert_eq!(in_use(), (1, 1));
        if is_let_in {
            drop(holder);
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| poll(&mut waiter)));
        assert_eq!(panicked.is_err(), is_let_in);
        drop(catch_unwind(AssertUnwindSafe(|| drop(waiter))));
    });
    assert_eq!(in_use(), (0, 0), "is let in: {is_let_in}");
}

#[test]
fn a_listener_that_panics_when_a_wait_ends_costs_no_seat() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let _guard = runtime.enter();
    let hangs = || service_fn(|_: u32| std::future::pending::<Result<u32, BoxError>>());
    for is_let_in in [false, true] {
        let tier = Tier::new("only").tenant_share(Ratio::ONE);
        let config = TenantConfig::new(count(1), Tiers::new([tier]).unwrap());
        let pool = TenantPool::new("panics", config).unwrap();
        let (layer, handle) = (
            TenantLayer::by(&pool, |_: &u32| Caller::Unknown),
            pool.handle(),
        );
        let in_use = || (handle.in_flight(), handle.waiting());
        panics_at_the_end_of_a_wait(&layer.layer(hangs()), in_use, is_let_in);
        let config = ConcurrencyConfig::new(count(1)).queue(1);
        let layer = ConcurrencyLayer::new("panics", config);
        let handle = layer.handle();
        let in_use = || (handle.in_flight(), handle.waiting());
        panics_at_the_end_of_a_wait(&layer.layer(hangs()), in_use, is_let_in);
    }
}
