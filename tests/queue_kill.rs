//! `kill -9` at random moments, again and again, on one durable queue: what was acknowledged is applied, once and in order,
//! by a receiver that is in a process of its own, remembers keys, and is never killed.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test panics to fail; it kills real processes at real moments, and takes its seed from the environment"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::degrade::{Degrade, Ladder, Level, Mode, Order};
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::num::{Period, count};
use mainstay::queue::{
    Captured, Codec, Draft, Entry, Lane, Queue, QueueConfig, QueueError, QueueLayer, Receipt,
    Verdict,
};
use mainstay::retry::Backoff;
use mainstay::rng::Rng;
use tower::{BoxError, Layer, ServiceExt};

/// Lanes, each with a client that writes one after the other.
const LANES: u32 = 6;

/// Every so many writes one is refused when it first comes.
const POISON: u32 = 11;

// ---- the receiver -------------------------------------------------------------------------------------------------

/// One delivery: lane, number, token.
type Delivery = (u32, u32, u64);

/// What the receiver has in its file, and what came.
struct Receiver {
    address: std::net::SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    /// Connections whose sender may still be heard.
    open: Arc<AtomicUsize>,
    path: PathBuf,
}

impl Receiver {
    /// Applies a key once, in its own database, before it answers.
    fn start(folder: &Path) -> Self {
        let path = folder.join("receiver.sqlite");
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let books = rusqlite::Connection::open(&path).unwrap();
        books
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE applied
                 (seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL, n INTEGER NOT NULL)",
            )
            .unwrap();
        let books = Arc::new(Mutex::new(books));
        let deliveries = Arc::<Mutex<Vec<Delivery>>>::default();
        let log = Arc::clone(&deliveries);
        let open = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, books, log) = (stream.unwrap(), Arc::clone(&books), Arc::clone(&log));
                let count = Arc::clone(&count);
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // A sender that is killed breaks off.
                    let _broken = serve(&stream, &books, &log);
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            deliveries,
            open,
            path,
        }
    }

    /// Waits until nothing that a dead sender has sent is still under way.
    fn settle(&self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"\n").unwrap();
        // Answered, so accepted, and so is all that was sent before.
        BufReader::new(&stream)
            .read_line(&mut String::new())
            .unwrap();
        while self.open.load(Ordering::SeqCst) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn applied(&self) -> BTreeMap<u32, Vec<u32>> {
        let books = rusqlite::Connection::open(&self.path).unwrap();
        let mut rows = books
            .prepare("SELECT lane, n FROM applied ORDER BY seq")
            .unwrap();
        let rows = rows
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        let mut applied: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (lane, n) in rows.map(Result::unwrap) {
            applied.entry(lane).or_default().push(n);
        }
        applied
    }
}

/// Lines of `lane n token`; answers `done` or `refused`.
fn serve(
    stream: &TcpStream,
    books: &Mutex<rusqlite::Connection>,
    log: &Mutex<Vec<Delivery>>,
) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut answers = stream;
        if line.is_empty() {
            answers.write_all(b"\n")?;
            continue;
        }
        let words: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let small = |at: usize| u32::try_from(words[at]).unwrap();
        let (lane, n, token) = (small(0), small(1), words[2]);
        // One at a time: the order of the log is that of the effects.
        let books = books.lock().unwrap();
        let first = !log
            .lock()
            .unwrap()
            .iter()
            .any(|seen| (seen.0, seen.1) == (lane, n));
        log.lock().unwrap().push((lane, n, token));
        let answer = if n % POISON == 0 && first {
            "refused\n"
        } else {
            let insert = "INSERT OR IGNORE INTO applied (key, lane, n) VALUES (?1, ?2, ?3)";
            books
                .execute(insert, (format!("{lane}-{n}"), lane, n))
                .unwrap();
            "done\n"
        };
        drop(books);
        answers.write_all(answer.as_bytes())?;
    }
    Ok(())
}

// ---- the sender, which is killed ----------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct Write {
    lane: u32,
    n: u32,
    token: u64,
}

#[derive(Clone, Copy)]
struct Writes;

impl Codec<Write, &'static str, BoxError> for Writes {
    fn lane(&self, write: &Write) -> Lane {
        Lane::new(write.lane.to_string())
    }

    fn capture(&self, write: Write) -> Captured {
        let (lane, key) = (
            Lane::new(write.lane.to_string()),
            format!("{}-{}", write.lane, write.n),
        );
        Box::pin(async move { Ok(Draft::new(&key, lane, write.n.to_string().into_bytes())?) })
    }

    fn restore(&self, entry: &Entry) -> Option<Write> {
        Some(Write {
            lane: entry.lane().as_str().parse().ok()?,
            n: std::str::from_utf8(entry.payload()).ok()?.parse().ok()?,
            token: entry.token(),
        })
    }

    fn queued(&self, _: &Receipt) -> Result<&'static str, BoxError> {
        Ok("queued")
    }

    fn refused(&self, error: &QueueError) -> Result<&'static str, BoxError> {
        Err(error.clone().into())
    }

    fn judge(&self, result: Result<&&'static str, &BoxError>) -> Verdict {
        match result {
            Ok(&"refused") => Verdict::Refused,
            Ok(_) => Verdict::Applied,
            Err(_) => Verdict::AWAY,
        }
    }
}

async fn deliver(address: String, write: Write) -> Result<&'static str, BoxError> {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let line = format!("{} {} {}\n", write.lane, write.n, write.token);
    stream.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    tokio::io::BufReader::new(stream)
        .read_line(&mut answer)
        .await?;
    match answer.as_str() {
        "done\n" => Ok("done"),
        "refused\n" => Ok("refused"),
        _ => Err("the line went dead".into()),
    }
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn config() -> QueueConfig {
    let millis = Duration::from_millis;
    QueueConfig::new()
        .look(Period::millis(20))
        .parallel(count(3))
        .backoff(Backoff::exponential(millis(1), millis(5)))
}

/// Each lane's client goes on where it was acknowledged last, while the gate shuts and opens; says what is acknowledged;
/// and dies when it is killed. Without a number of writes it only drains.
#[test]
#[ignore = "a child process of the test below"]
fn child_writes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = PathBuf::from(setting("MAINSTAY_TEST_FOLDER"));
        let drains = setting("DRAINS") == "1";
        let address = setting("RECEIVER");
        let journal = Arc::new(SqliteJournal::open(folder.join("queue.sqlite")).unwrap());
        let ladder = Ladder::new("test").level(Level::new("all").cell("writes", Mode::Full));
        let degrade = Degrade::new(ladder.build().unwrap());
        let gate = degrade.gate("writes").unwrap();
        let order = || Order::new("ann", "drill");
        if !drains {
            degrade.pin("writes", Mode::Queued, order()).unwrap();
        }
        let queue = Queue::open("killed", journal, config()).await.unwrap();
        let service = tower::service_fn(move |write| deliver(address.clone(), write));
        let drain = queue.drain(gate.clone(), Writes, service.clone());
        println!("\nready");
        // An operator who has a look every few milliseconds.
        let operated = queue.clone();
        tokio::spawn(async move {
            loop {
                for incident in operated.poisoned(10).await.unwrap() {
                    // Somebody else may have been quicker, which only this program is.
                    operated.retry(incident.entry, &order()).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        if drains {
            while !queue.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drain.stop().await;
            println!("\nall");
            return;
        }
        let layer = QueueLayer::new(gate, queue, Writes);
        let (froms, seed): (_, u64) = (setting("FROM"), setting("SEED").parse().unwrap());
        for (lane, from) in (0..LANES).zip(froms.split(' ')) {
            let from: u32 = from.parse().unwrap();
            let ledger = layer.clone().layer(service.clone());
            let mut rng = Rng::new(seed ^ u64::from(lane));
            tokio::spawn(async move {
                for n in from.. {
                    let write = Write { lane, n, token: 0 };
                    loop {
                        match ledger.clone().oneshot(write.clone()).await {
                            // Refused at once is not acknowledged: its client tries again.
                            Ok("refused") | Err(_) => {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                            }
                            Ok(how) => {
                                println!("\nacknowledged {lane} {n} {how}");
                                break;
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(rng.next_u64() % 12)).await;
                }
            });
        }
        let mut rng = Rng::new(seed);
        loop {
            degrade.unpin("writes", order()).unwrap();
            tokio::time::sleep(Duration::from_millis(2 + rng.next_u64() % 50)).await;
            degrade.pin("writes", Mode::Queued, order()).unwrap();
            tokio::time::sleep(Duration::from_millis(2 + rng.next_u64() % 15)).await;
        }
    });
}

// ---- the test -----------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Said {
    /// In each lane all up to here.
    acknowledged: BTreeMap<u32, u32>,
    queued: u32,
    passed: u32,
    all: bool,
}

fn run(
    folder: &Path,
    receiver: &Receiver,
    seed: u64,
    kill_after: Option<Duration>,
    said: &mut Said,
) {
    let mut from = String::new();
    for lane in 0..LANES {
        let next = said.acknowledged.get(&lane).map_or(0, |last| last + 1);
        write!(from, "{next} ").unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes", "--ignored", "--nocapture"])
        .env("MAINSTAY_TEST_FOLDER", folder)
        .env("RECEIVER", receiver.address.to_string())
        .env("FROM", from.trim())
        .env("SEED", seed.to_string())
        .env("DRAINS", if kill_after.is_some() { "0" } else { "1" })
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The killer's clock starts when the child has opened its queue.
    let ready = lines.by_ref().any(|line| line.unwrap() == "ready");
    assert!(ready, "the child did not start");
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    if let Some(after) = kill_after {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let heard = rest.join().unwrap();
    receiver.settle();
    assert!(kill_after.is_some() || status.success(), "{heard:?}");
    for line in &heard {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["acknowledged", lane, n, how] => {
                let (lane, n): (u32, u32) = (lane.parse().unwrap(), n.parse().unwrap());
                let last = said.acknowledged.insert(lane, n);
                assert_eq!(last.map_or(0, |last| last + 1), n);
                *(if how == "queued" {
                    &mut said.queued
                } else {
                    &mut said.passed
                }) += 1;
            }
            ["all"] => said.all = true,
            _ => {}
        }
    }
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_is_done_twice() {
    let wish = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|wish| wish.parse::<u64>().ok())
    };
    let seed = wish("MAINSTAY_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let kills = wish("MAINSTAY_KILLS").unwrap_or(100);
    let mut rng = Rng::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path());
    let mut said = Said::default();
    let mut in_the_middle = 0;
    for _ in 0..kills {
        // Most soon, some after the queue has run empty.
        let most = if rng.next_u64().is_multiple_of(4) {
            300_000
        } else {
            60_000
        };
        let after = Duration::from_micros(2_000 + rng.next_u64() % most);
        run(
            folder.path(),
            &receiver,
            rng.next_u64(),
            Some(after),
            &mut said,
        );
        in_the_middle += u64::from(waiting(folder.path()) > 0);
    }
    let (queued, passed) = (said.queued, said.passed);
    run(folder.path(), &receiver, 0, None, &mut said);
    assert!(said.all);
    assert_eq!(waiting(folder.path()), 0);

    // Nothing is lost, and the order of each lane is kept: all that was acknowledged, in order. At its end there may be
    // one that was written when its process was killed, before it could say so.
    let applied = receiver.applied();
    for (lane, last) in &said.acknowledged {
        let applied = &applied[lane];
        let count = u32::try_from(applied.len()).unwrap();
        let expected: Vec<u32> = (0..count).collect();
        assert_eq!(applied, &expected, "lane {lane}");
        let more = (count - 1).checked_sub(*last);
        assert!(
            more.is_some_and(|more| more <= 1),
            "lane {lane}: {last}, and {more:?} more"
        );
    }

    // Nothing is done twice: what is brought again is the last that was brought in its lane, which may not have been
    // recorded; and never under the token of an earlier turn.
    let deliveries = receiver.deliveries.lock().unwrap();
    let mut last: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    let mut again = 0;
    let mut keys = BTreeSet::new();
    for (lane, n, token) in &*deliveries {
        let is_new = keys.insert((*lane, *n));
        again += u32::from(!is_new && n % POISON != 0);
        if let Some((before, turn)) = last.get(lane) {
            assert!(n >= before, "lane {lane}: {n} came after {before}");
            assert!(
                *token == 0 || token >= turn,
                "lane {lane}: token {token} after {turn}"
            );
        }
        let turn = last.get(lane).map_or(0, |(_, turn)| *turn);
        last.insert(*lane, (*n, turn.max(*token)));
    }
    println!(
        "{kills} kills, {in_the_middle} with entries that waited; {queued} writes were queued and {passed} passed; {again} \
         deliveries of others than the poisoned ones were repeated, and recognised by their keys"
    );
    assert!(
        in_the_middle > kills / 4,
        "the kills did not hit entries that waited"
    );
    // Whether a write finds its lane empty while the gate is open is a matter of the machine's load: said, and not asked.
    assert!(queued > 0);
}

fn waiting(folder: &Path) -> u32 {
    let shell = rusqlite::Connection::open(folder.join("queue.sqlite")).unwrap();
    let count = "SELECT count(*) FROM log WHERE kind = 'queue/killed' AND status <> 'ended'";
    shell.query_row(count, [], |row| row.get(0)).unwrap()
}
