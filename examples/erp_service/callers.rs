//! Who calls: each asks for one thing again and again, and counts what it got.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tower::BoxError;

/// Between two calls of one caller, and of one who writes: the queue must be faster than they are to run empty.
const PAUSE: Duration = Duration::from_millis(30);
const PAUSE_OF_WRITERS: Duration = Duration::from_millis(100);
/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Inference,
    Documents,
    Reports,
    Books,
    Entries,
}

impl What {
    pub(crate) const ALL: [Self; 5] = [
        Self::Inference,
        Self::Documents,
        Self::Reports,
        Self::Books,
        Self::Entries,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Documents => "documents",
            Self::Reports => "reports",
            Self::Books => "ledger reads",
            Self::Entries => "ledger writes",
        }
    }
}

/// What callers got: by phase and by what they asked for, how often which status. 0 where there was no answer.
pub(crate) type Got = BTreeMap<(usize, What), BTreeMap<u16, u32>>;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) phase: AtomicUsize,
    got: Mutex<Got>,
    /// The entries that the service has taken, at once or for later, of each account in their order.
    taken: Mutex<BTreeMap<String, Vec<u32>>>,
    /// How many entries each account has sent.
    sent: Mutex<BTreeMap<String, u32>>,
    is_over: AtomicBool,
}

impl Tally {
    fn note(&self, phase: usize, what: What, status: u16) {
        let mut got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        *got.entry((phase, what))
            .or_default()
            .entry(status)
            .or_default() += 1;
    }

    pub(crate) fn got(&self) -> Got {
        self.got
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn taken(&self) -> BTreeMap<String, Vec<u32>> {
        let taken = self.taken.lock();
        taken.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn sent(&self) -> BTreeMap<String, u32> {
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// All callers.
pub(crate) struct Callers {
    tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    pub(crate) fn start(url: &str, tally: &Arc<Tally>) -> Result<Self, BoxError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let mut tasks = Vec::new();
        for what in What::ALL {
            for place in 0..2 {
                let (http, tally, url) = (http.clone(), Arc::clone(tally), url.to_owned());
                let account = format!("account-{place}");
                tasks.push(tokio::spawn(call(http, url, what, account, tally)));
            }
        }
        Ok(Self {
            tally: Arc::clone(tally),
            tasks,
        })
    }

    /// Nobody calls any more, and what is under way is answered.
    pub(crate) async fn stop(self) -> Result<(), BoxError> {
        self.tally.is_over.store(true, Ordering::Release);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

async fn call(http: reqwest::Client, url: String, what: What, account: String, tally: Arc<Tally>) {
    let pause = if what == What::Entries {
        PAUSE_OF_WRITERS
    } else {
        PAUSE
    };
    let mut number = 0;
    while !tally.is_over() {
        number += 1;
        let request = match what {
            What::Inference => http.post(format!("{url}/inference")),
            What::Documents => http.post(format!("{url}/documents")),
            What::Reports => http.get(format!("{url}/reports")),
            What::Books => http.get(format!("{url}/ledger/{account}")),
            What::Entries => {
                let mut sent = tally.sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.insert(account.clone(), number);
                http.post(format!("{url}/ledger/{account}/{number}"))
                    .header("idempotency-key", format!("{account}-{number}"))
            }
        };
        let phase = tally.phase.load(Ordering::Acquire);
        let answer = request.send().await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        tally.note(phase, what, status);
        if what == What::Entries && matches!(status, 200 | 202) {
            let mut taken = tally.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.entry(account.clone()).or_default().push(number);
        }
        tokio::time::sleep(pause).await;
    }
}
