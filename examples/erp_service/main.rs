//! An ERP whose parts break one after the other: AI, reports, documents and a ledger behind the ladder of
//! [`presets::erp`](mainstay::presets::erp).
//!
//! ```text
//! cargo run --release --example erp_service
//! ```
//!
//! The program starts [backends] on the loopback interface: a GPU cluster, a primary database with two replicas, an event
//! store, a vector database. In front of them stands an axum [service] whose routes are behind gates, and [callers] that ask
//! it for everything all the time. Then the GPU cluster hangs, a replica closes its port, the primary fails, and the region
//! with it. [Health][health] looks at the backends, and follows the circuits and limits in front of them; the ladder says how bad
//! it is and what may still be served; a listener prints each change.
//!
//! What is posted to the ledger while the primary is down is taken, kept in a file, and done later, while every fifth answer of
//! the primary is lost: in the end the ledger's own record must have every entry that the service took exactly once, and
//! those of each account in their order. The program checks that and what else it claims: exit code 0 if it holds, 1 if not.
//! It takes about half a minute, and longer on a machine that is busy.

#![expect(
    clippy::disallowed_methods,
    reason = "a program may look at the clock, spawn and sleep; mainstay's machines may not"
)]

mod backends;
mod callers;
mod health;
mod screen;
mod service;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay::degrade::{Change, Changes, Degrade, Status};
use mainstay::health::{Health, Verdict};
use tower::BoxError;

use backends::{Backends, Fault};
use callers::{Callers, Tally, What};
use screen::Seen;
use service::Service;

/// How long a phase goes on once it is where it should be, and how long it may take until then.
const STAYS: Duration = Duration::from_millis(1_200);
const PATIENCE: Duration = Duration::from_secs(60);

/// What breaks, the level that it should lead to, and what callers who begin at that level must get sooner or later.
struct Phase {
    title: &'static str,
    gpu: Fault,
    primary: Fault,
    replicas: [Fault; 2],
    level: usize,
    shows: &'static [(What, u16)],
}

const WELL: Phase = Phase {
    title: "everything is well",
    gpu: Fault::None,
    primary: Fault::None,
    replicas: [Fault::None, Fault::None],
    level: 0,
    shows: &[],
};

const PHASES: [Phase; 8] = [
    WELL,
    Phase {
        title: "the GPU cluster hangs",
        gpu: Fault::Hangs,
        level: 2,
        shows: &[
            (What::Inference, 503),
            (What::Documents, 202),
            (What::Entries, 200),
            (What::Reports, 200),
        ],
        ..WELL
    },
    Phase {
        title: "it is back",
        ..WELL
    },
    Phase {
        title: "a replica closes its port",
        replicas: [Fault::None, Fault::Closed],
        level: 3,
        ..WELL
    },
    Phase {
        title: "it is back",
        ..WELL
    },
    Phase {
        title: "the primary fails, and loses answers",
        primary: Fault::LosesAnswers,
        level: 4,
        shows: &[(What::Entries, 202), (What::Books, 200)],
        ..WELL
    },
    Phase {
        title: "the region fails: the replicas too",
        primary: Fault::Errors,
        replicas: [Fault::Closed, Fault::Hangs],
        level: 5,
        ..WELL
    },
    Phase {
        title: "all is back, but for every fifth answer",
        primary: Fault::LosesSome,
        shows: &[(What::Inference, 200), (What::Entries, 200)],
        ..WELL
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        // The list has said what does not hold.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("erp_service: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let folder = tempfile::tempdir()?;
    let mut backends = Backends::start().await?;
    let service = Service::start(&backends, folder.path()).await?;
    let heard = Heard::default();
    let listener = tokio::spawn(listen(
        service.degrade.changes(),
        service.degrade.clone(),
        service.health.clone(),
        heard.clone(),
    ));
    let tally = Arc::new(Tally::default());
    let http = callers::client()?;
    let callers = Callers::start(&http, &service.url, &tally);

    let mut all = Vec::new();
    for (number, phase) in PHASES.iter().enumerate() {
        tally.begin(number);
        // In the end the queue must run empty, whoever is the faster.
        let is_last = number + 1 == PHASES.len();
        tally.is_paused.store(is_last, Ordering::Release);
        screen::begin(number, phase.title);
        backends
            .fail(phase.gpu, phase.primary, phase.replicas)
            .await?;
        let seen = watch(number, phase, &service, &http, &tally).await;
        screen::block(number, &seen, &tally.got());
        all.push(seen);
    }
    callers.stop().await?;
    let began = Instant::now();
    while !is_quiet(&service, &heard) && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    listener.abort();
    screen::table(&all, &tally.got());
    let claims = claims(&all, &service, &backends, &tally, &heard);
    println!();
    for (holds, claim) in &claims {
        let word = if *holds { "holds:" } else { "DOES NOT HOLD:" };
        println!("{word} {claim}");
    }
    Ok(claims.iter().all(|(holds, _)| *holds))
}

/// Whether nothing waits any more, and the last change that was told led back to the best level.
fn is_quiet(service: &Service, heard: &Heard) -> bool {
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let is_well = heard.last().is_none_or(|last| last.to().index() == 0);
    is_well && service.degrade.status().level == 0 && service.queue.status().depth == 0
}

/// Waits until the ladder says what the phase is for, and where all is well until nothing waits, and a while longer, until
/// callers have got what they should. What is served is noted when the level is reached: a machine that stands still for a
/// moment may open a circuit later.
async fn watch(
    number: usize,
    phase: &Phase,
    service: &Service,
    http: &reqwest::Client,
    tally: &Tally,
) -> Seen {
    let began = Instant::now();
    let (mut reached, mut waited) = (None, 0);
    let status = loop {
        waited = waited.max(service.queue.status().depth);
        let status = service.degrade.status();
        let is_done = phase.level > 0 || service.queue.status().depth == 0;
        if is_done && is_as_written(&status, phase.level) {
            reached = Some(began.elapsed());
            break status;
        }
        if began.elapsed() >= PATIENCE {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let ready = http.get(format!("{}/readyz", service.url)).send().await;
    let settled = Instant::now();
    tally.is_paused.store(false, Ordering::Release);
    if reached.is_some() {
        tally.settle(number);
    }
    let has_shown = || {
        phase
            .shows
            .iter()
            .all(|(what, status)| tally.settled(number, *what, *status) > 0)
    };
    while settled.elapsed() < STAYS
        || (reached.is_some() && !has_shown() && settled.elapsed() < PATIENCE)
    {
        waited = waited.max(service.queue.status().depth);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Seen {
        title: phase.title,
        status,
        reached,
        waited,
        waits: service.queue.status().depth,
        ready: ready.map_or(0, |ready| ready.status().as_u16()),
    }
}

/// Whether the level is this one, and of every capability that is served which its column says.
fn is_as_written(status: &Status, level: usize) -> bool {
    let ladder = health::ladder();
    let mut served = status.modes.iter();
    status.level == level && served.all(|(name, mode)| ladder.mode(level, name) == Some(mode))
}

/// What is known of each component that is not up, and who besides a probe says so.
fn known(health: &Health) -> Vec<String> {
    let bad = |verdict| matches!(verdict, Verdict::Down | Verdict::Degraded);
    let each = health.verdicts().into_iter();
    let each = each.filter(|(_, verdict)| *verdict != Verdict::Up);
    each.map(|(name, verdict)| {
        let signals = health.signals(&name).into_iter();
        let signals = signals.filter(|(_, says)| bad(*says)).map(|(of, says)| {
            let what = if of.is_circuit() { "circuit" } else { "limit" };
            format!("{what} {} is {says}", of.name())
        });
        let probe = health.why(&name).map(|why| format!("probe: {why}"));
        let who: Vec<_> = signals.chain(probe).collect();
        if who.is_empty() {
            return format!("{name} {verdict}");
        }
        format!("{name} {verdict} ({})", who.join(", "))
    })
    .collect()
}

/// Every change that was told.
type Heard = Arc<Mutex<Vec<Arc<Change>>>>;

/// A listener: it prints, and would notify, scale or start a failover. The assessment does nothing of that, and waits for none
/// of it.
async fn listen(mut changes: Changes, degrade: Degrade, health: Health, heard: Heard) {
    while let Some(change) = changes.next().await {
        println!("   change    {change}");
        let inputs = change.readings().filter(|(_, reading)| reading.is_known());
        let inputs: Vec<_> = inputs.map(|(name, is)| format!("{name} {is}")).collect();
        println!("   inputs    {}", inputs.join(", "));
        let now = known(&health);
        if !now.is_empty() {
            println!("   told by   {}", now.join("; "));
        }
        if change.to().index() > change.from().index()
            && let Some(advice) = degrade.status().advice
        {
            println!("   to do     {advice}");
        }
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(change);
    }
}

/// What the example is for.
fn claims(
    all: &[Seen],
    service: &Service,
    backends: &Backends,
    tally: &Tally,
    heard: &Heard,
) -> Vec<(bool, String)> {
    let mut claims = Vec::new();
    for (seen, phase) in all.iter().zip(&PHASES) {
        let holds = seen.reached.is_some() && is_as_written(&seen.status, phase.level);
        let claim = format!("{}: level {}, served as written", seen.title, phase.level);
        claims.push((holds, claim));
    }
    let got = |phase, all: &[(What, u16)]| {
        let mut each = all.iter();
        each.all(|(what, status)| tally.settled(phase, *what, *status) > 0)
    };
    claims.push((
        got(1, &[(What::Inference, 503), (What::Documents, 202)]),
        "without GPUs inference is refused at once, and documents are typed in by hand".to_owned(),
    ));
    claims.push((
        got(1, &[(What::Entries, 200), (What::Reports, 200)]),
        "and entries and reports go on".to_owned(),
    ));
    claims.push((
        got(5, &[(What::Entries, 202), (What::Books, 200)]),
        "without the primary the books are read, and entries are taken for later".to_owned(),
    ));
    claims.push((
        got(7, &[(What::Inference, 200), (What::Entries, 200)]),
        "in the end everything is done at once again".to_owned(),
    ));
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let follows = heard.windows(2).all(|pair| match pair {
        [before, after] => before.to() == after.from() && before.at() <= after.at(),
        _ => true,
    });
    let ends = heard.last().map(|change| change.to().index());
    claims.push((
        follows && ends == Some(0),
        format!("{} changes were told, each once and in order", heard.len()),
    ));
    claims.extend(ledger(service, backends, tally));
    claims
}

/// The ledger's own record, against what the service took.
fn ledger(service: &Service, backends: &Backends, tally: &Tally) -> Vec<(bool, String)> {
    let queue = service.queue.status();
    let (taken, sent) = (tally.taken(), tally.sent());
    let record = backends.record.lock();
    let record = record.unwrap_or_else(PoisonError::into_inner);
    let total: usize = taken.values().map(Vec::len).sum();
    let has = |account: &str| record.entries.get(account).map_or(&[][..], Vec::as_slice);
    let once = taken.iter().all(|(account, numbers)| {
        let has = has(account);
        let times = |number| has.iter().filter(|each| *each == number).count();
        numbers.iter().all(|number| times(number) == 1)
    });
    // What was not taken may be there, since an answer can be lost; and no more than once either.
    let twice = record.entries.values().any(|entries| {
        let different: BTreeSet<_> = entries.iter().collect();
        different.len() < entries.len()
    });
    // Of what was not taken an attempt that was given up may have come later.
    let in_order = taken.iter().all(|(account, numbers)| {
        let those = has(account).iter().filter(|each| numbers.contains(each));
        those.is_sorted()
    });
    let known = record.entries.iter().all(|(account, entries)| {
        let sent = sent.get(account).copied().unwrap_or_default();
        entries.iter().all(|number| *number <= sent)
    });
    vec![
        (
            queue.depth == 0 && queue.poisoned == 0,
            "the queue is empty, and nothing in it was refused for good".to_owned(),
        ),
        (
            total > 0 && once && !twice,
            format!("each of {total} entries that were taken is in the ledger exactly once"),
        ),
        (
            in_order && known && record.repeats > 0,
            format!(
                "those of an account are in their order, and nobody else's; {} came again and were not applied again",
                record.repeats
            ),
        ),
    ]
}
