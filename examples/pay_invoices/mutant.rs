//! Engines that are broken on purpose. The tests run them to show that a broken engine would be noticed; nobody else
//! has a use for them.
//!
//! Both are wrappers of a journal, since the journal is where an engine's promises are kept or broken.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay::journal::{
    Answer, Append, Begin, Begun, Claim, Head, Journal, Listing, Log, LogId, Place,
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A record is acknowledged before it is durable.
    AckEarly,
    /// The decision to unwind, and each undo, is not recorded before the whole unwinding is over.
    NoUnwind,
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ack-early" => Ok(Self::AckEarly),
            "no-unwind" => Ok(Self::NoUnwind),
            _ => Err("ack-early or no-unwind".to_owned()),
        }
    }
}

/// Breaks a journal in this way.
pub(crate) fn breaking(journal: Arc<dyn Journal>, mutant: Option<Mutant>) -> Arc<dyn Journal> {
    match mutant {
        None => journal,
        Some(Mutant::AckEarly) => Arc::new(AckEarly::new(journal)),
        Some(Mutant::NoUnwind) => Arc::new(NoUnwind {
            journal,
            held_back: Mutex::default(),
        }),
    }
}

/// How long a record is on its way to the disk after it was acknowledged.
const LAG: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct AckEarly {
    journal: Arc<dyn Journal>,
    queue: mpsc::UnboundedSender<Late>,
}

#[derive(Debug)]
enum Late {
    Append(Box<Append>, Instant),
    Flush(oneshot::Sender<()>),
}

impl AckEarly {
    fn new(journal: Arc<dyn Journal>) -> Self {
        let (queue, mut late) = mpsc::unbounded_channel();
        let behind = Arc::clone(&journal);
        tokio::spawn(async move {
            while let Some(next) = late.recv().await {
                match next {
                    Late::Append(append, at) => {
                        tokio::time::sleep_until(at + LAG).await;
                        if let Err(error) = behind.append(*append).await {
                            eprintln!("a record that was acknowledged is lost: {error}");
                        }
                    }
                    Late::Flush(done) => drop(done.send(())),
                }
            }
        });
        Self { journal, queue }
    }

    async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        drop(self.queue.send(Late::Flush(done)));
        drop(flushed.await);
    }
}

impl Journal for AckEarly {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.journal.begin(begin)
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        drop(
            self.queue
                .send(Late::Append(Box::new(append), Instant::now())),
        );
        Box::pin(async { Ok(()) })
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        Box::pin(async {
            self.flush().await;
            self.journal.claim(claim).await
        })
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        Box::pin(async move {
            self.flush().await;
            self.journal.load(id).await
        })
    }

    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        Box::pin(async {
            self.flush().await;
            self.journal.list(listing).await
        })
    }

    mainstay::journal::pass_on!(journal: join beat leave release post prune changed);
}

#[derive(Debug)]
struct NoUnwind {
    journal: Arc<dyn Journal>,
    /// Facts of unwindings that are under way, and in how many records they came.
    held_back: Mutex<HashMap<LogId, (Vec<Value>, u64)>>,
}

impl NoUnwind {
    /// What is really written, if anything.
    fn rewrite(&self, mut append: Append) -> Option<Append> {
        let Ok(Value::Array(facts)) = serde_json::from_str(&append.body) else {
            return Some(append);
        };
        let has = |name: &str| {
            facts
                .iter()
                .any(|fact| fact == name || fact.get(name).is_some())
        };
        let unwinding = (has("unwind") || has("undone")) && !has("finished");
        let mut held_back = self
            .held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (waiting, records) = held_back.entry(append.id).or_default();
        waiting.extend(facts);
        if unwinding {
            *records += 1;
            return None;
        }
        append.body = Value::Array(std::mem::take(waiting)).to_string();
        append.expect = Place::new(append.expect.epoch, append.expect.records - *records);
        Some(append)
    }
}

impl Journal for NoUnwind {
    fn append(&self, append: Append) -> Answer<'_, ()> {
        match self.rewrite(append) {
            Some(append) => self.journal.append(append),
            None => Box::pin(async { Ok(()) }),
        }
    }

    mainstay::journal::pass_on!(journal: begin claim load list join beat leave release post prune changed);
}
