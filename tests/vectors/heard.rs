//! The events that are told while a case runs through real layers, and the paused clock that it runs on.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::util::SubscriberInitExt;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing that can be missing")
}

/// Listens on this thread until it is dropped.
pub(crate) struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    _listening: Box<dyn std::any::Any>,
}

impl Heard {
    pub(crate) fn listen() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let page = Page(Arc::clone(&text));
        let listening = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || page.clone())
            .finish()
            .set_default();
        Self {
            text,
            _listening: Box::new(listening),
        }
    }

    /// A line for each event, `LEVEL target: message field="value"`.
    pub(crate) fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[derive(Clone)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
