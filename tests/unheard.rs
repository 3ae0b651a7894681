//! Whoever does not listen gets no span, and pays for none.
//!
//! Alone in its process: while any thread listens for everything, tracing makes spans on every other thread as well.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mainstay::journal::memory::MemoryJournal;
use mainstay::saga::{Cx, Ended, Key, Saga, Sagas, StepError};
use mainstay::standard::Stack;
use mainstay_test_support::allocations;
use tower::{BoxError, Service, service_fn};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;

/// Wants events of some weight, and is not to be given a span.
struct Sober;

impl Subscriber for Sober {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        panic!("{} was not asked for", span.metadata().name())
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn no_span_is_built_for_who_does_not_want_it() {
    let up = service_fn(|n: u32| std::future::ready(Ok::<_, BoxError>(n)));
    let mut service = Stack::standard("quiet").service(up);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut call = || {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let polled = pin!(service.call(1)).poll(&mut cx);
        assert!(matches!(polled, Poll::Ready(Ok(1))));
    };
    call();
    assert_eq!(allocations(&mut call).0, 0, "nobody listens");
    tracing::subscriber::with_default(Sober, || {
        call();
        assert_eq!(allocations(&mut call).0, 0, "somebody does, for less");
    });
}

async fn once_more(cx: Cx<(), u32>, (): ()) -> Result<(), StepError> {
    match cx.attempt() {
        1 => Err(StepError::retry("once more")),
        _ => Ok(()),
    }
}

/// A saga with the context of a trace, whose step is tried twice.
#[test]
fn no_span_of_a_saga_is_built_for_who_does_not_want_it() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let saga = Saga::builder("quiet")
        .check("once_more", once_more)
        .build()
        .unwrap();
    let sagas = runtime.block_on(async {
        let builder = Sagas::builder(Arc::new(MemoryJournal::new()), ()).register(&saga);
        builder.start().await.unwrap()
    });
    let run = |number: u32| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let key = Key::new(format!("{number}")).traceparent(trace);
        runtime.block_on(async {
            let handle = sagas.start(&saga, key, 7).await.unwrap();
            assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
        });
    };
    // Tables grow now and then, so the least of a few runs is what one costs.
    let least = |from: u32| {
        let counted = (from..from + 32).map(|number| allocations(|| run(number)).0);
        counted.min().unwrap()
    };
    run(0);
    let unheard = least(100);
    let heard_for_less = tracing::subscriber::with_default(Sober, || least(200));
    assert_eq!(unheard, heard_for_less);
    runtime.block_on(sagas.shutdown(std::time::Duration::from_secs(1)));
}
