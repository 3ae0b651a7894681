//! What the engine says while it works: enough to find a saga, and never what it is about.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::num::Attempts;
use mainstay::saga::{Cx, Ended, Key, Saga, Sagas, Step, StepError};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Heard {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn pay(cx: Cx<(), String>, (): ()) -> Result<String, StepError> {
    Ok(format!("output {}", cx.input()))
}

async fn void(cx: Cx<(), String>, _: Option<String>) -> Result<(), StepError> {
    Err(StepError::retry(format!("error {}", cx.input())))
}

async fn post(cx: Cx<(), String>, _: String) -> Result<(), StepError> {
    Err(StepError::fail(format!("error {}", cx.input())))
}

#[tokio::test(start_paused = true)]
async fn no_payload_key_or_error_text_is_ever_said() {
    let heard = Heard::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(heard.clone())
        .finish();
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let guard = tracing::subscriber::set_default(subscriber);
    let metrics = metrics::set_default_local_recorder(&recorder);

    let saga = Saga::builder("quiet")
        .step("pay", pay)
        .undo(Step::new(void).attempts(Attempts::total(2)))
        .pivot("post", post)
        .build()
        .unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let sagas = Sagas::builder(Arc::clone(&journal) as _, ())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let key = Key::new("SECRET-key")
        .tenant("SECRET-tenant")
        .subject("SECRET-subject");
    let handle = sagas
        .start(&saga, key, "SECRET-input".to_owned())
        .await
        .unwrap();
    let ended = handle.ended().await.unwrap();
    assert!(matches!(ended, Ended::Incident(_)));
    sagas
        .abandon(handle.id(), "SECRET-actor", "SECRET-reason")
        .await
        .unwrap();
    let shown = format!("{sagas:?} {handle:?} {journal:?} {saga:?}");
    sagas.shutdown(Duration::from_secs(1)).await;
    drop((guard, metrics));

    let said = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
    let counted = format!("{:?}", snapshotter.snapshot().into_vec());
    println!("{said}");
    for place in [&said, &counted, &shown] {
        assert!(!place.contains("SECRET"), "{place}");
    }
    assert!(
        said.contains("saga waits for an operator") && said.contains("undo_failed"),
        "{said}"
    );
    assert!(
        counted.contains("mainstay_saga_incidents_total"),
        "{counted}"
    );
}
