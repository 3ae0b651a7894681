//! Sagas as those see them who watch: their spans, over restarts, and their figures, at rest and in great numbers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Answer, Head, Journal, Listing, pass_on};
use mainstay::saga::{Cx, Ended, Key, Saga, Sagas, StepError};
use mainstay::time::Timestamp;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Instrument, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::runtime;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    parent: Option<&'static str>,
    follows: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
    /// How many spans were closed before it.
    closed: Option<usize>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}").trim_matches('"').to_owned();
        let before = self.fields.insert(field.name(), value);
        assert_eq!(before, None, "{}: {field} is told twice", self.name);
    }
}

/// Writes spans down as tracing's own registry has them.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<(Id, Seen)>>>);

impl Book {
    fn change(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        let mut all = self.0.lock().unwrap();
        // A number is given out again when its span is closed.
        let (_, seen) = all.iter_mut().rfind(|(known, _)| known == id).unwrap();
        change(seen);
    }

    fn seen(&self) -> Vec<Seen> {
        let all = self.0.lock().unwrap();
        all.iter().map(|(_, seen)| seen.clone()).collect()
    }

    /// `parent > name outcome`.
    fn tree(&self) -> Vec<String> {
        let short = |name: &str| name.trim_start_matches("mainstay.").to_owned();
        let line = |seen: Seen| {
            let parent = seen.parent.map(|name| format!("{} > ", short(name)));
            let outcome = seen.fields.get("outcome").map_or("", String::as_str);
            let line = format!(
                "{}{} {outcome}",
                parent.unwrap_or_default(),
                short(seen.name)
            );
            line.trim().to_owned()
        };
        self.seen().into_iter().map(line).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Book {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("mainstay") || metadata.target() == "own"
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen {
            name: attributes.metadata().name(),
            parent: context
                .span(id)
                .and_then(|span| span.parent())
                .map(|parent| parent.name()),
            ..Seen::default()
        };
        attributes.record(&mut seen);
        self.0.lock().unwrap().push((id.clone(), seen));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |seen| values.record(seen));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        // As a real one does, which finds nothing when that span is closed.
        let follows = context.span(follows).unwrap().name();
        self.change(id, |seen| seen.follows = Some(follows));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let before = self
            .seen()
            .iter()
            .filter(|seen| seen.closed.is_some())
            .count();
        self.change(&id, |seen| seen.closed = Some(before));
    }
}

/// What `drive` makes to be seen.
fn book<F: Future<Output = ()>>(drive: impl FnOnce() -> F) -> Book {
    let book = Book::default();
    let subscriber = Registry::default().with(book.clone());
    tracing::subscriber::with_default(subscriber, || {
        // The tasks of the runtime are polled within it, and have nothing to do with it.
        let _main = tracing::info_span!(target: "own", "main").entered();
        runtime().block_on(drive());
    });
    book
}

async fn first(cx: Cx<(), u32>, (): ()) -> Result<u32, StepError> {
    let span = tracing::info_span!(target: "own", "own");
    async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match cx.attempt() {
            1 => Err(StepError::retry("once more")),
            _ => Ok(*cx.input()),
        }
    }
    .instrument(span)
    .await
}

async fn undone(_: Cx<(), u32>, _: Option<u32>) -> Result<(), StepError> {
    Ok(())
}

async fn second(cx: Cx<(), u32>, _: u32) -> Result<(), StepError> {
    match *cx.input() {
        0 => Ok(()),
        1 => Err(StepError::fail("no")),
        2 => panic!("not so"),
        _ => {
            // For as long as nobody hurries.
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(cx.traceparent(), Some(TRACEPARENT));
            Ok(())
        }
    }
}

fn saga() -> Saga<(), u32, ()> {
    Saga::builder("test")
        .step("first", first)
        .undo(undone)
        .pivot("second", second)
        .build()
        .unwrap()
}

/// Its records are an hour old when they are listed: no test waits on the wall clock.
#[derive(Debug)]
struct Aged {
    inner: MemoryJournal,
}

impl Journal for Aged {
    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        Box::pin(async {
            let mut heads = self.inner.list(listing).await?;
            for head in &mut heads {
                head.updated = Timestamp::from_millis(head.updated.as_millis() - 3_600_000);
            }
            Ok(heads)
        })
    }

    pass_on!(inner: begin append claim load join beat leave release post prune vitals changed);
}

async fn engine(journal: &MemoryJournal, saga: &Saga<(), u32, ()>) -> Sagas<()> {
    let inner = journal.clone();
    let aged = Arc::new(Aged { inner });
    let builder = Sagas::builder(aged, ()).register(saga);
    builder.start().await.unwrap()
}

#[test]
fn steps_lie_in_their_saga_and_their_own_spans_in_them() {
    let book = book(|| async {
        let saga = saga();
        let sagas = engine(&MemoryJournal::new(), &saga).await;
        let request = tracing::info_span!(target: "own", "request");
        let started = sagas.start(&saga, "1", 1).instrument(request).await;
        let ended = started.unwrap().ended().await.unwrap();
        assert!(matches!(ended, Ended::Compensated { .. }), "{ended:?}");
        sagas.shutdown(Duration::from_secs(1)).await;
    });
    assert_eq!(
        book.tree(),
        [
            "main",
            "main > request",
            "saga compensated",
            "saga > saga.step retry",
            "saga.step > own",
            "saga > saga.step done",
            "saga.step > own",
            "saga > saga.step failed",
            "saga > saga.step done",
        ]
    );
    let seen = book.seen();
    let [_, request, saga, steps @ ..] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(saga.follows, Some("request"));
    assert_eq!(
        request.closed,
        Some(0),
        "the caller's span ends when it says so"
    );
    assert!(seen.iter().all(|span| span.closed.is_some()), "{seen:?}");
    let field = |span: &Seen, name: &str| span.fields.get(name).cloned().unwrap_or_default();
    for (name, value) in [
        ("saga", "test"),
        ("version", "1"),
        ("id", "1"),
        ("epoch", "1"),
    ] {
        assert_eq!(field(saga, name), value, "{name}");
    }
    assert!(!saga.fields.contains_key("traceparent"), "{saga:?}");
    assert!(!saga.fields.contains_key("error.type"), "{saga:?}");
    let attempts: Vec<_> = steps
        .iter()
        .filter(|span| span.name == "mainstay.saga.step")
        .map(|span| ["step", "part", "attempt", "error.type"].map(|name| field(span, name)))
        .collect();
    assert_eq!(
        attempts,
        [
            ["first", "run", "1", "retry"],
            ["first", "run", "2", ""],
            ["second", "run", "1", "failed"],
            ["first", "undo", "1", ""],
        ]
    );
}

#[test]
fn a_panic_and_an_engine_that_is_dropped_close_their_spans() {
    let book = book(|| async {
        let saga = saga();
        let sagas = engine(&MemoryJournal::new(), &saga).await;
        let failed = sagas.start(&saga, "2", 2).await.unwrap().ended().await;
        assert!(matches!(failed, Ok(Ended::Incident(_))), "{failed:?}");
        let left = sagas.start(&saga, Key::new("3").traceparent(TRACEPARENT), 3);
        let left = left.await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(sagas);
        assert!(left.ended().await.is_err());
    });
    let tree = book.tree();
    assert!(
        tree.contains(&"saga unknown_outcome".to_owned()),
        "{tree:?}"
    );
    assert!(
        tree.contains(&"saga > saga.step panicked".to_owned()),
        "{tree:?}"
    );
    assert!(
        tree.contains(&"saga > saga.step abandoned".to_owned()),
        "{tree:?}"
    );
    assert!(tree.contains(&"saga abandoned".to_owned()), "{tree:?}");
    assert!(book.seen().iter().all(|span| span.closed.is_some()));
}

/// Each run has a span of its own; what links them is in their fields, and the start's origin in all of them.
#[test]
fn the_runs_of_a_saga_are_linked_over_restarts() {
    let book = book(|| async {
        let (saga, journal) = (saga(), MemoryJournal::new());
        let sagas = engine(&journal, &saga).await;
        let key = Key::new("1").traceparent(TRACEPARENT);
        let started = sagas.start(&saga, key, 3).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Cut off in the middle of the second step.
        sagas.shutdown(Duration::from_secs(1)).await;
        let next = engine(&journal, &saga).await;
        // Another context for the same saga is another request, which finds what the first one began.
        let other = TRACEPARENT.replace("b7ad6b7169203331", "00f067aa0ba902b7");
        let key = Key::new("1").traceparent(&other);
        let found = next.start(&saga, key, 3).await.unwrap();
        assert_eq!(found.id(), started.id());
        assert!(matches!(found.ended().await.unwrap(), Ended::Completed(())));
        next.shutdown(Duration::from_secs(1)).await;
    });
    let seen = book.seen();
    let runs: Vec<_> = seen
        .iter()
        .filter(|span| span.name == "mainstay.saga")
        .collect();
    let [before, after] = runs[..] else {
        panic!("two runs are expected: {runs:?}");
    };
    for run in [before, after] {
        assert_eq!(run.fields["id"], "1", "{run:?}");
        assert_eq!(run.fields["traceparent"], TRACEPARENT, "{run:?}");
    }
    assert_ne!(before.fields["epoch"], after.fields["epoch"]);
    assert_ne!(before.fields["instance"], after.fields["instance"]);
    assert_eq!(after.fields["outcome"], "completed");
    let step = seen.iter().rfind(|span| span.name == "mainstay.saga.step");
    assert_eq!(step.unwrap().fields["id"], "1");
}

/// What was told, as `name{label=value,..}`. A look at the recorder sets its gauges to zero, so those that are told by
/// differences are added up.
struct Figures {
    snapshotter: Snapshotter,
    seen: BTreeMap<String, f64>,
}

const BY_DIFFERENCES: [&str; 2] = ["mainstay_sagas_running", "mainstay_saga_backlog"];
const AGES: [&str; 2] = [
    "mainstay_saga_incident_age_seconds",
    "mainstay_saga_stalled_seconds",
];

impl Figures {
    fn look(&mut self) -> &BTreeMap<String, f64> {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let key = key.key();
            let labels = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()));
            let labels = labels.collect::<Vec<_>>().join(",");
            let seen = self.seen.entry(format!("{}{{{labels}}}", key.name()));
            let seen = seen.or_default();
            match value {
                DebugValue::Gauge(value) if BY_DIFFERENCES.contains(&key.name()) => {
                    *seen += value.into_inner();
                }
                DebugValue::Gauge(value) => *seen = value.into_inner(),
                DebugValue::Counter(value) => *seen += value as f64,
                DebugValue::Histogram(values) => *seen += values.len() as f64,
            }
        }
        &self.seen
    }
}

/// A thousand tenants and keys, an incident, a saga that hangs: as many series as one saga has, and at the end the gauges
/// are where they began.
#[test]
#[expect(clippy::float_cmp, reason = "these are whole numbers")]
fn figures_are_bounded_and_end_at_zero() {
    let recorder = DebuggingRecorder::new();
    let mut figures = Figures {
        snapshotter: recorder.snapshotter(),
        seen: BTreeMap::new(),
    };
    metrics::with_local_recorder(&recorder, || {
        runtime().block_on(async {
            let (saga, journal) = (saga(), MemoryJournal::new());
            let sagas = engine(&journal, &saga).await;
            let start = |n: u32, input| {
                let key = Key::new(format!("key-{n}")).tenant(format!("tenant-{n}"));
                sagas.start(&saga, key.traceparent(TRACEPARENT), input)
            };
            let mut handles = Vec::new();
            for n in 0..1_000 {
                handles.push(start(n, n % 2).await.unwrap());
            }
            for handle in handles {
                handle.ended().await.unwrap();
            }
            let all = figures.look();
            assert!(all.len() < 24, "{} series: {all:#?}", all.len());
            let told = |word: &str| all.keys().any(|name| name.contains(word));
            assert!(!told("tenant") && !told("key-"), "{all:#?}");
            let attempts = "mainstay_saga_step_duration_seconds{saga=test,step=first,part=run}";
            assert_eq!(all[attempts], 2_000.0, "each attempt counts");

            let held = start(1_000, 2).await.unwrap().ended().await.unwrap();
            assert!(matches!(held, Ended::Incident(_)), "{held:?}");
            let hangs = start(1_001, 3).await.unwrap();
            tokio::time::sleep(Duration::from_secs(16)).await;
            let busy = figures.look();
            assert_eq!(busy["mainstay_sagas_running{saga=test}"], 1.0);
            for age in AGES {
                let age = busy[&format!("{age}{{saga=test}}")];
                assert!((3_600.0..3_660.0).contains(&age), "{age}");
            }
            // They are told once more after that look, which set them to zero.
            let hangs_too = start(1_002, 3).await.unwrap();
            tokio::time::sleep(Duration::from_secs(16)).await;
            sagas.shutdown(Duration::from_secs(1)).await;
            drop((hangs, hangs_too));
            let rest = figures.look();
            for gauge in BY_DIFFERENCES.iter().chain(&AGES) {
                let shown: Vec<_> = rest
                    .iter()
                    .filter(|(name, _)| name.starts_with(gauge))
                    .collect();
                // Nothing was taken over, so nothing is known of a backlog.
                assert!(!shown.is_empty() || *gauge == BY_DIFFERENCES[1], "{gauge}");
                assert!(shown.iter().all(|(_, value)| **value == 0.0), "{shown:?}");
            }
        });
    });
}
