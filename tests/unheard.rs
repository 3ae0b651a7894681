//! Whoever does not listen gets no span, and pays for none.
//!
//! Alone in its process: while any thread listens for everything, tracing makes spans on every other thread as well.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

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
