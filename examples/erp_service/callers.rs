//! Who calls: each asks for one thing again and again, and counts what it got.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tower::BoxError;

/// Between two calls of one caller, and of one who writes.
const PAUSE: Duration = Duration::from_millis(30);
const PAUSE_OF_WRITERS: Duration = Duration::from_millis(100);
/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The phase twice, and one more once it is where it should be.
    stage: AtomicUsize,
    /// Of all calls, and of those that began when the phase was where it should be.
    got: Mutex<Got>,
    settled: Mutex<Got>,
    /// The entries that the service has taken, at once or for later, of each account in their order.
    taken: Mutex<BTreeMap<String, Vec<u32>>>,
    /// How many entries each account has sent.
    sent: Mutex<BTreeMap<String, u32>>,
    /// Nobody writes for now.
    pub(crate) is_paused: AtomicBool,
    is_over: AtomicBool,
}

impl Tally {
    fn note(&self, stage: usize, what: What, status: u16) {
        let is_settled = stage % 2 == 1;
        for got in [Some(&self.got), is_settled.then_some(&self.settled)] {
            let Some(got) = got else { continue };
            let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
            let statuses = got.entry((stage / 2, what)).or_default();
            *statuses.entry(status).or_default() += 1;
        }
    }

    pub(crate) fn begin(&self, phase: usize) {
        self.stage.store(phase * 2, Ordering::Release);
    }

    /// From now on the phase is where it should be.
    pub(crate) fn settle(&self, phase: usize) {
        self.stage.store(phase * 2 + 1, Ordering::Release);
    }

    pub(crate) fn got(&self) -> Got {
        let got = self.got.lock();
        got.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often callers who began once the phase was where it should be got this.
    pub(crate) fn settled(&self, phase: usize, what: What, status: u16) -> u32 {
        let settled = self.settled.lock();
        let settled = settled.unwrap_or_else(PoisonError::into_inner);
        let statuses = settled.get(&(phase, what));
        let times = statuses.and_then(|statuses| statuses.get(&status));
        times.copied().unwrap_or_default()
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

/// What they call with: over no proxy, whatever the environment says.
pub(crate) fn client() -> Result<reqwest::Client, BoxError> {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    Ok(http.build()?)
}

/// All callers.
pub(crate) struct Callers {
    tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    pub(crate) fn start(http: &reqwest::Client, url: &str, tally: &Arc<Tally>) -> Self {
        let mut tasks = Vec::new();
        for what in What::ALL {
            for place in 0..2 {
                let (http, tally, url) = (http.clone(), Arc::clone(tally), url.to_owned());
                let account = format!("account-{place}");
                tasks.push(tokio::spawn(call(http, url, what, account, tally)));
            }
        }
        Self {
            tally: Arc::clone(tally),
            tasks,
        }
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
        if what == What::Entries && tally.is_paused.load(Ordering::Acquire) {
            tokio::time::sleep(pause).await;
            continue;
        }
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
        let stage = tally.stage.load(Ordering::Acquire);
        let answer = request.send().await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        tally.note(stage, what, status);
        if what == What::Entries && matches!(status, 200 | 202) {
            let mut taken = tally.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.entry(account.clone()).or_default().push(number);
        }
        tokio::time::sleep(pause).await;
    }
}
