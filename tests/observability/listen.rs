//! Who listens: one that writes down what is told, one that looks at the handles while it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::Snapshotter;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use crate::table::Row;

/// Every metric in the snapshot, as rows like those of the table, and the values of its labels.
pub(crate) fn metrics_in(
    snapshotter: &Snapshotter,
) -> (Vec<Row>, BTreeSet<(String, String, String)>) {
    let (mut rows, mut values) = (BTreeSet::new(), BTreeSet::new());
    for (key, ..) in snapshotter.snapshot().into_vec() {
        let kind = format!("{:?}", key.kind()).to_lowercase();
        let name = key.key().name().to_owned();
        let mut labels = BTreeSet::new();
        for label in key.key().labels() {
            labels.insert(label.key().to_owned());
            let value = label.value().to_owned();
            values.insert((name.clone(), label.key().to_owned(), value));
        }
        rows.insert(Row { name, kind, labels });
    }
    (rows.into_iter().collect(), values)
}

type Rows = Arc<Mutex<BTreeSet<Row>>>;

/// Writes down the events and the spans of mainstay.
#[derive(Clone, Default)]
pub(crate) struct Ears {
    events: Rows,
    spans: Rows,
    times: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Ears {
    pub(crate) fn heard(&self) -> Vec<Row> {
        self.events.lock().unwrap().iter().cloned().collect()
    }

    /// How often an event was heard.
    pub(crate) fn times(&self, event: &str) -> u32 {
        let times = self.times.lock().unwrap();
        times.get(event).copied().unwrap_or(0)
    }

    pub(crate) fn opened(&self) -> Vec<Row> {
        self.spans.lock().unwrap().iter().cloned().collect()
    }
}

fn row(name: String, metadata: &tracing::Metadata<'_>) -> Row {
    let fields = metadata.fields().iter().map(|field| field.name());
    Row {
        name,
        kind: metadata.level().as_str().to_lowercase(),
        labels: fields
            .filter(|name| *name != "message")
            .map(str::to_owned)
            .collect(),
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Ears {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("mainstay")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let row = row(span.metadata().name().to_owned(), span.metadata());
        self.spans.lock().unwrap().insert(row);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let row = row(message.0, event.metadata());
        *self
            .times
            .lock()
            .unwrap()
            .entry(row.name.clone())
            .or_default() += 1;
        self.events.lock().unwrap().insert(row);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

type Look = Arc<dyn Fn() + Send + Sync>;

/// What a listener may look at: the handles of the policies that are driven.
#[derive(Clone, Default)]
pub(crate) struct Handles {
    looks: Arc<Mutex<Vec<Look>>>,
    /// A look may call a policy, which tells of it.
    looking: Arc<AtomicBool>,
}

impl Handles {
    /// `look` asks a handle everything that it can be asked, or calls a policy.
    pub(crate) fn watch(&self, look: impl Fn() + Send + Sync + 'static) {
        self.looks.lock().unwrap().push(Arc::new(look));
    }

    fn look(&self) {
        if self.looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let looks = self.looks.lock().unwrap().clone();
        for look in looks {
            look();
        }
        self.looking.store(false, Ordering::Relaxed);
    }
}

/// Looks at every handle whenever it is told something. Under a lock of a policy that would wait for ever.
#[derive(Clone)]
pub(crate) struct Curious(
    pub(crate) Handles,
    pub(crate) Arc<Mutex<BTreeMap<&'static str, u64>>>,
);

impl Curious {
    fn told(&self, what: &'static str) {
        *self.1.lock().unwrap().entry(what).or_default() += 1;
        self.0.look();
    }
}

impl Recorder for Curious {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.told("counter");
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.told("gauge");
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.told("histogram");
        Histogram::noop()
    }
}

impl Subscriber for Curious {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("mainstay")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.told("span");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        self.told("span");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.told("event");
    }

    fn enter(&self, _: &Id) {
        self.told("span");
    }

    fn exit(&self, _: &Id) {
        self.told("span");
    }

    fn try_close(&self, _: Id) -> bool {
        self.told("span");
        true
    }
}
