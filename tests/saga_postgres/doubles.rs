//! Three processes share one journal. One of them is killed every 200 ms, at random, and started again; one is stopped
//! in front of an effect for longer than its lease, and woken when others have gone on without it.
//!
//! The receiver checks keys and tokens: nothing is lost, nothing is done twice, no stale effect is done. The control is
//! the same run with a receiver that checks keys alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay::rng::Rng;

use super::fixture::{Fixture, seed};
use super::instance::{LEASE, Orders, expected};
use super::receiver::{Books, Receiver};
use super::size;
use super::suite::Suite;

const INSTANCES: u32 = 3;
const KILL_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn add(suite: &mut Suite) {
    suite.test(
        "doubles::killed_and_stopped_instances_lose_and_double_nothing",
        checked,
    );
    suite.test(
        "doubles::without_a_check_of_tokens_stale_effects_are_done",
        unchecked,
    );
}

async fn checked(fixture: Fixture) {
    let sagas = size("MAINSTAY_SAGAS", 800);
    let (books, chaos) = run(&fixture, sagas, true).await;
    assert_eq!(books.stale, 0, "stale effects were done");
    assert_eq!(books.overwritten, 0, "a stale effect came last");
    assert!(chaos.kills > 10 && chaos.stops > 1, "{chaos:?}");
    assert!(books.refused > 0, "no stale effect was sent: {chaos:?}");
}

async fn unchecked(fixture: Fixture) {
    // Enough to see some.
    let sagas = size("MAINSTAY_SAGAS", 300).min(2_000);
    let (books, chaos) = run(&fixture, sagas, false).await;
    assert!(books.stale > 0, "{chaos:?}");
    assert_eq!(books.refused, 0);
}

/// What was done to the instances.
#[derive(Debug, Default)]
struct Chaos {
    kills: u32,
    stops: u32,
}

async fn run(fixture: &Fixture, sagas: u32, tokens: bool) -> (Books, Chaos) {
    fixture.migrated().await;
    let client = fixture.psql().await;
    let orders = Orders {
        address: fixture.server().address(),
        journal: fixture.schema.to_string(),
        receiver: format!("{}_receiver", fixture.schema),
        tokens,
    };
    Receiver::install(&client, &orders.receiver).await;
    let began = Instant::now();
    let patience = Duration::from_secs(120) + Duration::from_millis(150) * sagas;
    let mut rng = Rng::new(seed());
    let mut herd = Herd::start(orders.clone(), sagas);
    let ended = format!(
        "SELECT count(*) FILTER (WHERE status = 'ended'), count(*) FILTER (WHERE status = 'held') FROM {}.log",
        fixture.schema
    );
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        herd.disturb(&mut rng);
        if looked.elapsed() < Duration::from_millis(250) {
            continue;
        }
        looked = Instant::now();
        let row = client.query_one(&ended, &[]).await.unwrap();
        let (ended, held): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(held, 0, "incidents: {}", incidents(&client, fixture).await);
        if ended == i64::from(sagas) {
            break;
        }
        assert!(
            began.elapsed() < patience,
            "{ended} of {sagas} have ended, {:?}",
            herd.chaos
        );
    }
    let chaos = herd.end(&mut rng).await;
    let books = Books::read(&client, &orders.receiver).await;
    let recoveries = format!(
        "SELECT sum(recoveries)::bigint, max(recoveries), (SELECT count(*) FROM {schema}.record WHERE body LIKE '%suspected%')
         FROM {schema}.log",
        schema = fixture.schema
    );
    let row = client.query_one(&recoveries, &[]).await.unwrap();
    let (all, most, suspected): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    println!(
        "{sagas} sagas in {:.1} s, tokens checked: {tokens}; {chaos:?}; {all} recoveries, at most {most} in a row, \
         {suspected} suspicions; {} effects, {} let through, {} stale done, {} overwritten, {} stale refused",
        began.elapsed().as_secs_f64(),
        books.applied.values().map(Vec::len).sum::<usize>(),
        books.let_through,
        books.stale,
        books.overwritten,
        books.refused
    );
    // Nothing lost, nothing doubled: saga by saga what an undisturbed run leaves, in its order.
    for n in 0..sagas {
        let applied = books
            .applied
            .get(&n.to_string())
            .cloned()
            .unwrap_or_default();
        assert_eq!(applied, expected(n), "saga {n}");
    }
    assert_eq!(books.applied.len(), sagas as usize);
    (books, chaos)
}

async fn incidents(client: &tokio_postgres::Client, fixture: &Fixture) -> String {
    let schema = &fixture.schema;
    let held = format!(
        "SELECT l.key, string_agg(r.body, ' | ' ORDER BY r.seq) FROM {schema}.log l JOIN {schema}.record r ON r.log = l.id WHERE status = 'held' GROUP BY l.key LIMIT 3"
    );
    let rows = client.query(&held, &[]).await.unwrap();
    let told = rows
        .iter()
        .map(|row| format!("{}: {}", row.get::<_, String>(0), row.get::<_, String>(1)));
    told.collect::<Vec<_>>().join("; ")
}

/// What an instance has said.
#[derive(Debug, Default)]
struct Said {
    ready: bool,
    /// The first saga that it has not started.
    from: Option<u32>,
    stopping: usize,
}

struct Instance {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Said>>,
    from: u32,
}

impl Instance {
    fn start(orders: &Orders, from: u32, to: u32) -> Self {
        let mut command = orders.command(from, to, INSTANCES);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(Said::default()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = heard.lock().unwrap();
                match line.split_once(' ').unwrap_or((&line, "")) {
                    ("ready", _) => said.ready = true,
                    ("started", "all") => said.from = Some(u32::MAX),
                    ("started", from) => said.from = from.parse().ok().or(said.from),
                    ("stopping", _) => said.stopping += 1,
                    _ => {}
                }
            }
        });
        Self {
            child,
            stdin,
            said,
            from,
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let said = self.said.lock().unwrap().from;
        self.from = said.unwrap_or(self.from);
    }

    fn wake(&self) {
        let process = self.child.id().to_string();
        let woken = Command::new("kill").args(["-s", "CONT", &process]).status();
        assert!(woken.unwrap().success());
    }
}

/// One that is to stop, or has, and is not killed meanwhile.
#[derive(Clone, Copy)]
enum Spared {
    Asked(usize, Instant),
    Stopped(usize, Instant),
    Woken(usize, Instant),
}

struct Herd {
    orders: Orders,
    to: u32,
    instances: Vec<Instance>,
    spared: Option<Spared>,
    killed: Instant,
    chaos: Chaos,
}

impl Herd {
    fn start(orders: Orders, to: u32) -> Self {
        let instances = (0..INSTANCES)
            .map(|from| Instance::start(&orders, from, to))
            .collect();
        Self {
            orders,
            to,
            instances,
            spared: None,
            killed: Instant::now(),
            chaos: Chaos::default(),
        }
    }

    fn disturb(&mut self, rng: &mut Rng) {
        let now = Instant::now();
        let any = |rng: &mut Rng| usize::try_from(rng.next_u64() % u64::from(INSTANCES)).unwrap();
        self.spared = match self.spared {
            None => {
                let which = any(rng);
                let instance = &mut self.instances[which];
                if instance.said.lock().unwrap().ready {
                    instance.stdin.write_all(b"stop\n").unwrap();
                    Some(Spared::Asked(which, now + Duration::from_secs(2)))
                } else {
                    None
                }
            }
            Some(Spared::Asked(which, until)) => {
                let mut said = self.instances[which].said.lock().unwrap();
                if said.stopping > 0 {
                    said.stopping = 0;
                    self.chaos.stops += 1;
                    // One and a half leases, to two and a half.
                    let longer = Duration::from_millis(rng.next_u64() % 1_500);
                    Some(Spared::Stopped(which, now + LEASE.get() * 3 / 2 + longer))
                } else {
                    // It has nothing to do.
                    (now < until).then_some(Spared::Asked(which, until))
                }
            }
            Some(Spared::Stopped(which, until)) if now > until => {
                self.instances[which].wake();
                Some(Spared::Woken(which, now + Duration::from_millis(300)))
            }
            Some(Spared::Woken(_, until)) if now > until => None,
            same => same,
        };
        if now >= self.killed + KILL_EVERY {
            self.killed = now;
            let spared = self.spared.map(|spared| match spared {
                Spared::Asked(which, _) | Spared::Stopped(which, _) | Spared::Woken(which, _) => {
                    which
                }
            });
            let mut which = any(rng);
            if spared == Some(which) {
                which = (which + 1) % self.instances.len();
            }
            let instance = &mut self.instances[which];
            instance.kill();
            *instance = Instance::start(&self.orders, instance.from, self.to);
            self.chaos.kills += 1;
        }
    }

    /// Lets whoever was stopped say what it has to say.
    async fn end(mut self, rng: &mut Rng) -> Chaos {
        while let Some(Spared::Stopped(..) | Spared::Woken(..)) = self.spared {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.killed = Instant::now();
            self.disturb(rng);
        }
        std::mem::take(&mut self.chaos)
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        for instance in &mut self.instances {
            instance.kill();
        }
    }
}
