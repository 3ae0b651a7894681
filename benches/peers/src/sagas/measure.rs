//! One measurement: so many sagas in flight until the time is over, every one of them waited for and checked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_peers_syncs as syncs;
use serde_json::{Value, json};

use super::job::{self, Opened, Outcome, STEPS};

/// How long sagas may take to come to rest once no more are started.
const DRAIN: Duration = Duration::from_secs(6);
/// A slow engine is given more time, until each place has seen two sagas end; but no more than this.
const LONGEST: Duration = Duration::from_secs(6);
/// So many sagas at most are run before the measurement: enough for every connection of every pool.
const WARM: usize = 32;
/// A saga that never waits for anything holds on to its thread; after this long the place lets others have it.
const TURN: Duration = Duration::from_millis(1);
/// Whoever fails this often is not asked again.
const ENOUGH_ERRORS: u64 = 50;

/// What a measurement found.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Sagas that were completed within the time, and the time.
    pub within: u64,
    pub window: f64,
    /// All that were completed, and those before that do not count.
    pub completed: u64,
    pub warmed: u64,
    /// Milliseconds from the call that starts a saga until its end is known.
    pub p50: f64,
    pub p99: f64,
    /// Synchronous writes of the process, or of the database server, and how many sagas they were for.
    pub syncs: Option<u64>,
    pub synced: u64,
    /// Those of the middle one of the sagas, where each was alone.
    pub lone: Option<u64>,
    /// Transactions that the engine says it has written.
    pub commits: Option<u64>,
    /// Steps that were done.
    pub steps: u64,
    /// Sagas that had not ended when they were no longer waited for.
    pub left: u64,
    /// Processor time: of mainstay's writer thread, of all others.
    pub work: [f64; 2],
    pub errors: u64,
    pub error: Option<String>,
}

impl Run {
    pub fn rate(&self) -> f64 {
        self.within as f64 / self.window
    }

    pub fn syncs_per_saga(&self) -> Option<f64> {
        let syncs = self.syncs? as f64;
        (self.synced > 0).then(|| syncs / self.synced as f64)
    }

    /// Microseconds of processor time.
    pub fn work_per_saga(&self) -> f64 {
        self.work.iter().sum::<f64>() * 1e6 / self.completed as f64
    }

    /// What does not add up, if anything: a saga that failed, or steps that were done twice or not at all.
    pub fn flaw(&self) -> Option<String> {
        let each = STEPS.len() as u64;
        let expected = self.completed * each..=(self.completed + self.left) * each;
        if self.errors > 0 {
            let first = self.error.as_deref().unwrap_or("no reason given");
            Some(format!("{} failed: {first}", self.errors))
        } else if self.completed == 0 {
            Some("none completed".to_owned())
        } else if !expected.contains(&self.steps) {
            Some(format!(
                "{} sagas, {} steps expected, {} done",
                self.completed,
                expected.start(),
                self.steps
            ))
        } else {
            let left = || format!("{} not ended {} s later", self.left, DRAIN.as_secs());
            (self.left > 0).then(left)
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "within": self.within, "window": self.window, "completed": self.completed, "warmed": self.warmed,
            "p50": self.p50, "p99": self.p99, "syncs": self.syncs, "synced": self.synced,
            "lone": self.lone, "commits": self.commits,
            "steps": self.steps, "left": self.left, "work": self.work, "errors": self.errors, "error": self.error,
        })
    }

    pub fn read(text: &str) -> Outcome<Self> {
        let value: Value = serde_json::from_str(text)?;
        let number = |name: &str| value[name].as_f64().ok_or_else(|| format!("no {name}"));
        let count = |name: &str| value[name].as_u64().ok_or_else(|| format!("no {name}"));
        Ok(Self {
            within: count("within")?,
            window: number("window")?,
            completed: count("completed")?,
            warmed: count("warmed")?,
            p50: value["p50"].as_f64().unwrap_or(f64::NAN),
            p99: value["p99"].as_f64().unwrap_or(f64::NAN),
            syncs: value["syncs"].as_u64(),
            synced: count("synced")?,
            lone: value["lone"].as_u64(),
            commits: value["commits"].as_u64(),
            steps: count("steps")?,
            left: count("left")?,
            work: [0, 1].map(|at: usize| value["work"][at].as_f64().unwrap_or(f64::NAN)),
            errors: count("errors")?,
            error: value["error"].as_str().map(str::to_owned),
        })
    }
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    completed: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
}

/// What one place in flight has seen, readable while a saga in it does not end.
#[derive(Default)]
struct Seen {
    /// When each saga ended, how long it took, and how many syncs the process made meanwhile.
    sagas: Vec<(Instant, Duration, u64)>,
    error: Option<String>,
}

impl Shared {
    fn note(&self, seen: &Mutex<Seen>, ended: Outcome<()>, saga: (Instant, Duration, u64)) {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(()) => {
                self.completed.fetch_add(1, Ordering::Relaxed);
                seen.sagas.push(saga);
            }
            Err(error) => {
                seen.error.get_or_insert_with(|| error.to_string());
                if self.errors.fetch_add(1, Ordering::Relaxed) >= ENOUGH_ERRORS {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

async fn carry_on(engine: Opened, shared: Arc<Shared>, seen: Arc<Mutex<Seen>>) {
    let mut turn = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let before = syncs::counted().unwrap_or(0);
        let start = Instant::now();
        let ended = engine.saga(number).await;
        let end = Instant::now();
        let syncs = syncs::counted().unwrap_or(0) - before;
        shared.note(&seen, ended, (end, end - start, syncs));
        if end - turn >= TURN {
            tokio::task::yield_now().await;
            turn = Instant::now();
        }
    }
}

/// Runs sagas for about `time`, after a few that do not count: connections are made then.
pub async fn measure(engine: &Opened, flight: usize, time: Duration) -> Outcome<Run> {
    let warmed = flight.min(WARM);
    let warm = (0..warmed).map(|place| {
        let engine = Arc::clone(engine);
        // Numbers that the measurement does not come to.
        let number = u64::from(u32::MAX) + place as u64;
        tokio::spawn(async move { engine.saga(number).await })
    });
    for warm in warm.collect::<Vec<_>>() {
        warm.await??;
    }

    let shared = Arc::new(Shared::default());
    let (synced, committed) = (syncs::counted(), engine.commits());
    let (stepped, worked) = (job::steps(), work());
    let start = Instant::now();
    let places = (0..flight).map(|_| {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let place = carry_on(Arc::clone(engine), Arc::clone(&shared), Arc::clone(&seen));
        (tokio::spawn(place), seen)
    });
    let mut places: Vec<_> = places.collect();

    let enough = 2 * flight as u64;
    loop {
        let passed = start.elapsed();
        let done = shared.completed.load(Ordering::Relaxed) >= enough;
        let over = passed >= LONGEST || (passed >= time && done);
        if over || shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let left = time.saturating_sub(passed);
        tokio::time::sleep(left.clamp(Duration::from_millis(5), Duration::from_millis(250))).await;
    }
    shared.stop.store(true, Ordering::Relaxed);
    let end = Instant::now();

    let mut run = Run {
        window: (end - start).as_secs_f64(),
        warmed: warmed as u64,
        ..Run::default()
    };
    let (mut each, mut syncs_of_each) = (Vec::new(), Vec::new());
    let until = tokio::time::Instant::now() + DRAIN;
    for (place, seen) in &mut places {
        match tokio::time::timeout_at(until, &mut *place).await {
            Ok(ended) => ended?,
            Err(_) => run.left += 1,
        }
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, took, syncs) in &seen.sagas {
            run.within += u64::from(*at <= end);
            each.push(*took);
            syncs_of_each.push(*syncs);
        }
        run.error = run.error.or_else(|| seen.error.clone());
    }
    run.syncs = syncs::counted().zip(synced).map(|(now, then)| now - then);
    syncs_of_each.sort_unstable();
    let middle = syncs_of_each.get(syncs_of_each.len() / 2).copied();
    run.lone = middle.filter(|_| flight == 1 && run.syncs.is_some());
    run.commits = engine
        .commits()
        .zip(committed)
        .map(|(now, then)| now - then);
    run.steps = job::steps() - stepped;
    let now = work();
    run.work = [0, 1].map(|at: usize| now[at].saturating_sub(worked[at]).as_secs_f64());
    run.completed = each.len() as u64;
    run.synced = run.completed;
    run.errors = shared.errors.load(Ordering::Relaxed);
    each.sort_unstable();
    let at = |share: usize| {
        let each = each.get(each.len() * share / 100);
        each.map_or(f64::NAN, |each| each.as_secs_f64() * 1_000.0)
    };
    (run.p50, run.p99) = (at(50), at(99));
    Ok(run)
}

/// How long mainstay's writer thread and all other threads have been on a processor, where the system says so.
fn work() -> [Duration; 2] {
    let mut work = [Duration::ZERO; 2];
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    for thread in threads {
        let read =
            |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let nanos = read("schedstat")
            .split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok());
        let other = usize::from(!read("comm").starts_with("mainstay-journ"));
        work[other] += Duration::from_nanos(nanos.unwrap_or(0));
    }
    work
}
