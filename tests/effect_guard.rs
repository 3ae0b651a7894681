//! The guard of receivers on SQLite: held against a naive model, raced, killed, and made to forget.
//!
//! The random test prints its seed; `MAINSTAY_SEED` sets it.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it races threads, kills processes, and takes its seed from the environment"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mainstay::effect_guard::sqlite as guard;
use mainstay::effect_guard::{
    Admitted, Call, EffectKey, Fence, GuardError, Passage, RequestDigest, Retention, Undone,
};
use mainstay::rng::Rng;
use mainstay::time::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};

fn call(key: &str) -> Call {
    Call::new(EffectKey::new(key).unwrap())
}

/// A receiver: the guard's tables, and one of its own in which every effect is a row.
fn receiver(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS effect (key TEXT NOT NULL)")
        .unwrap();
    guard::create(&db).unwrap();
    db
}

fn in_memory() -> Connection {
    receiver(Path::new(":memory:"))
}

fn begin(db: &mut Connection) -> Transaction<'_> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap()
}

fn effects(db: &Connection, key: &str) -> u32 {
    db.query_row("SELECT count(*) FROM effect WHERE key = ?1", [key], |row| {
        row.get(0)
    })
    .unwrap()
}

/// What a receiver does with a call: its effect is a row, its answer the key.
fn apply(tx: &Transaction<'_>, call: &Call) -> Result<&'static str, GuardError> {
    Ok(match guard::admit(tx, call)? {
        Admitted::Apply(permit) => {
            tx.execute("INSERT INTO effect VALUES (?1)", [call.key().as_str()])
                .unwrap();
            guard::settle(tx, permit, &call.key().as_str())?;
            "applied"
        }
        Admitted::AlreadyApplied(answer) => {
            assert_eq!(answer.read::<String>()?, call.key().as_str());
            "already"
        }
        Admitted::Refused(answer) => {
            assert_eq!(answer.read::<String>()?, "no");
            "refused"
        }
        Admitted::Cancelled => "cancelled",
        Admitted::Forgotten => "forgotten",
        Admitted::OtherRequest => "other",
        Admitted::StaleToken => "stale",
        _ => unreachable!(),
    })
}

fn revert(tx: &Transaction<'_>, call: &Call) -> Result<&'static str, GuardError> {
    Ok(match guard::undo(tx, call)? {
        Undone::Undo(answer) => {
            let key: String = answer.read()?;
            let gone = tx.execute("DELETE FROM effect WHERE key = ?1", [key]);
            assert_eq!(gone.unwrap(), 1);
            "undone"
        }
        Undone::AlreadyCancelled => "already",
        Undone::Forgotten => "forgotten",
        Undone::Nothing => "nothing",
        Undone::StaleToken => "stale",
        _ => unreachable!(),
    })
}

fn refuse(tx: &Transaction<'_>, call: &Call) -> Result<&'static str, GuardError> {
    Ok(match guard::admit(tx, call)? {
        Admitted::Apply(permit) => {
            guard::refuse(tx, permit, &"no")?;
            "no"
        }
        _ => "known",
    })
}

/// What was committed, in its order, and nothing else. It looks everything up by reading it all again.
#[derive(Default)]
struct Naive {
    events: Vec<(usize, u8, &'static str)>,
    tokens: Vec<u64>,
}

impl Naive {
    fn cancelled(&self, key: usize) -> bool {
        let ends = ["undone", "nothing"];
        self.events
            .iter()
            .any(|(of, _, event)| *of == key && ends.contains(event))
    }

    fn first(&self, key: usize) -> Option<(u8, &'static str)> {
        let firsts = ["applied", "no"];
        let event = self
            .events
            .iter()
            .find(|(of, _, event)| *of == key && firsts.contains(event))?;
        Some((event.1, event.2))
    }

    fn is_stale(&self, token: Option<u64>) -> bool {
        token.is_some_and(|token| self.tokens.iter().any(|seen| *seen > token))
    }

    fn call(&self, key: usize, request: u8, token: Option<u64>, refuses: bool) -> &'static str {
        match self.first(key) {
            _ if self.cancelled(key) => "cancelled",
            Some((first, _)) if first != request => "other",
            Some((_, "applied")) => "already",
            Some(_) => "refused",
            None if self.is_stale(token) => "stale",
            None if refuses => "no",
            None => "applied",
        }
    }

    fn undo(&self, key: usize, token: Option<u64>) -> &'static str {
        match self.first(key) {
            _ if self.cancelled(key) => "already",
            _ if self.is_stale(token) => "stale",
            Some((_, "applied")) => "undone",
            _ => "nothing",
        }
    }

    fn effects(&self, key: usize) -> u32 {
        let applied = matches!(self.first(key), Some((_, "applied")));
        u32::from(applied && !self.cancelled(key))
    }
}

/// Calls, undos, late calls and duplicates in any order, with tokens and crashes: every answer is the model's, and a key
/// has its effect once or not at all.
#[test]
fn random_orders_are_those_of_the_model() {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut told: HashMap<&str, u32> = HashMap::new();
    for _ in 0..300 {
        let mut db = in_memory();
        let mut model = Naive::default();
        for _ in 0..60 {
            let mut draw = |below: u64| rng.next_u64() % below;
            let key = usize::try_from(draw(3)).unwrap();
            let request = u8::from(draw(8) == 0);
            let token = (draw(3) != 0).then(|| draw(4));
            let (kind, crash) = (draw(6), draw(4) == 0);
            let mut call = call(&format!("key-{key}")).request(RequestDigest::new([request; 32]));
            if let Some(token) = token {
                call = call.fence(Fence::new("saga", token).unwrap());
            }
            let tx = begin(&mut db);
            let (expected, got) = match kind {
                0 | 1 => (model.undo(key, token), revert(&tx, &call).unwrap()),
                2 => {
                    let got = match refuse(&tx, &call).unwrap() {
                        "known" => apply(&tx, &call).unwrap(),
                        no => no,
                    };
                    (model.call(key, request, token, true), got)
                }
                _ => (
                    model.call(key, request, token, false),
                    apply(&tx, &call).unwrap(),
                ),
            };
            assert_eq!(got, expected, "{call:?} of {:?}", model.events);
            *told.entry(got).or_default() += 1;
            if crash {
                drop(tx);
            } else {
                tx.commit().unwrap();
                model.events.push((key, request, got));
                model.tokens.extend(token);
            }
            for key in 0..3 {
                assert_eq!(effects(&db, &format!("key-{key}")), model.effects(key));
            }
        }
    }
    // The test has met everything that it is about.
    for word in [
        "applied",
        "already",
        "cancelled",
        "no",
        "nothing",
        "other",
        "refused",
        "stale",
        "undone",
    ] {
        assert!(
            told.get(word).is_some_and(|times| *times > 20),
            "{word}: {told:?}"
        );
    }
}

/// Everybody sends everything, and half of it is undone, over connections of their own.
#[test]
fn senders_that_race_never_double_an_effect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receiver.sqlite");
    drop(receiver(&path));
    let applied: Vec<BTreeMap<String, u32>> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let path = &path;
                scope.spawn(move || {
                    let mut db = receiver(path);
                    db.busy_timeout(Duration::from_secs(60)).unwrap();
                    let mut applied = BTreeMap::new();
                    for number in 0..40 {
                        // In an order of its own.
                        let number = (number * 7 + sender * 11) % 40;
                        let key = format!("key-{number}");
                        let tx = begin(&mut db);
                        if apply(&tx, &call(&key)).unwrap() == "applied" {
                            *applied.entry(key.clone()).or_default() += 1;
                        }
                        tx.commit().unwrap();
                        if number % 2 == 0 && sender < 2 {
                            let tx = begin(&mut db);
                            revert(&tx, &call(&key)).unwrap();
                            tx.commit().unwrap();
                        }
                    }
                    applied
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect()
    });
    let db = receiver(&path);
    for number in 0..40_u32 {
        let key = format!("key-{number}");
        let times: u32 = applied.iter().filter_map(|by| by.get(&key)).sum();
        assert_eq!(times, 1, "{key}");
        assert_eq!(effects(&db, &key), number % 2, "{key}");
    }
}

#[test]
fn a_second_call_waits_and_is_then_refused_as_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receiver.sqlite");
    let (mut one, mut two) = (receiver(&path), receiver(&path));
    two.busy_timeout(Duration::from_millis(20)).unwrap();
    let first = begin(&mut one);
    assert_eq!(apply(&first, &call("k")).unwrap(), "applied");
    // Deferred, so that it is the guard that meets the first one's lock.
    let second = two.transaction().unwrap();
    assert!(matches!(
        apply(&second, &call("k")),
        Err(GuardError::Busy(_))
    ));
    drop(second);
    first.commit().unwrap();
    let second = two.transaction().unwrap();
    assert_eq!(apply(&second, &call("k")).unwrap(), "already");
    second.commit().unwrap();
    // A deferred transaction that has read what is no longer so is refused, too.
    let second = two.transaction().unwrap();
    second
        .query_row("SELECT count(*) FROM effect", [], |row| {
            row.get::<_, u32>(0)
        })
        .unwrap();
    let first = begin(&mut one);
    assert_eq!(apply(&first, &call("l")).unwrap(), "applied");
    first.commit().unwrap();
    assert!(matches!(
        apply(&second, &call("l")),
        Err(GuardError::Busy(_))
    ));
    drop(second);
    assert_eq!((effects(&one, "k"), effects(&one, "l")), (1, 1));
}

/// Where the child of [`a_crash_leaves_the_effect_and_its_key_or_neither`] dies.
const MOMENTS: [&str; 5] = ["admitted", "applied", "settled", "committed", "undone"];

#[test]
#[ignore = "a child of another test"]
fn dies() {
    let path = std::env::var("MAINSTAY_TEST_FILE").unwrap();
    let moment = std::env::var("MAINSTAY_TEST_MOMENT").unwrap();
    let die = |here: &str| {
        if here == moment {
            std::process::abort();
        }
    };
    let mut db = receiver(Path::new(&path));
    let tx = begin(&mut db);
    let Admitted::Apply(permit) = guard::admit(&tx, &call("k")).unwrap() else {
        panic!("the key is known")
    };
    die("admitted");
    tx.execute("INSERT INTO effect VALUES ('k')", []).unwrap();
    die("applied");
    guard::settle(&tx, permit, &"k").unwrap();
    die("settled");
    tx.commit().unwrap();
    die("committed");
    let tx = begin(&mut db);
    assert_eq!(revert(&tx, &call("k")).unwrap(), "undone");
    die("undone");
}

#[test]
fn a_crash_leaves_the_effect_and_its_key_or_neither() {
    for moment in MOMENTS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receiver.sqlite");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "dies", "--ignored"])
            .env("MAINSTAY_TEST_FILE", &path)
            .env("MAINSTAY_TEST_MOMENT", moment)
            .output()
            .unwrap();
        assert!(!child.status.success(), "it did not die when {moment}");
        let mut db = receiver(&path);
        let there = u32::from(["committed", "undone"].contains(&moment));
        assert_eq!(effects(&db, "k"), there, "{moment}");
        let tx = begin(&mut db);
        let again = apply(&tx, &call("k")).unwrap();
        assert_eq!(
            again,
            if there == 1 { "already" } else { "applied" },
            "{moment}"
        );
        tx.commit().unwrap();
        assert_eq!(effects(&db, "k"), 1, "{moment}");
        let tx = begin(&mut db);
        assert_eq!(revert(&tx, &call("k")).unwrap(), "undone");
        tx.commit().unwrap();
        assert_eq!(effects(&db, "k"), 0, "{moment}");
    }
}

/// Tenants, or senders, do not get each other's answers.
#[test]
fn scopes_are_apart() {
    let mut db = in_memory();
    let tx = begin(&mut db);
    let of = |scope| Call::new(EffectKey::new("k").unwrap().within(scope).unwrap());
    assert_eq!(apply(&tx, &of("acme")).unwrap(), "applied");
    assert_eq!(apply(&tx, &of("globex")).unwrap(), "applied");
    assert_eq!(apply(&tx, &call("k")).unwrap(), "applied");
    assert_eq!(guard::undo(&tx, &of("acme")).unwrap().kind(), "undo");
    assert_eq!(apply(&tx, &of("globex")).unwrap(), "already");
    assert_eq!(apply(&tx, &of("acme")).unwrap(), "cancelled");
}

trait Kind {
    fn kind(&self) -> &'static str;
}

impl Kind for Undone {
    fn kind(&self) -> &'static str {
        match self {
            Self::Undo(_) => "undo",
            _ => "other",
        }
    }
}

#[test]
fn a_fence_lets_the_latest_pass_and_nobody_before_it() {
    let mut db = in_memory();
    let tx = begin(&mut db);
    let of = |resource, token| Fence::new(resource, token).unwrap();
    for (token, passes) in [
        (2, true),
        (2, true),
        (1, false),
        (5, true),
        (4, false),
        (5, true),
    ] {
        let passage = guard::fence(&tx, &of("r", token)).unwrap();
        assert_eq!(passage == Passage::Current, passes, "{token}");
    }
    assert!(matches!(
        guard::fence(&tx, &of("r", 3)).unwrap(),
        Passage::Stale { greatest: 5, .. }
    ));
    assert_eq!(
        guard::fence(&tx, &of("other", 1)).unwrap(),
        Passage::Current
    );
    let elsewhere = of("r", 1).within("acme").unwrap();
    assert_eq!(guard::fence(&tx, &elsewhere).unwrap(), Passage::Current);
}

#[test]
fn a_permit_is_settled_where_it_was_given() {
    let mut db = in_memory();
    let tx = begin(&mut db);
    let Admitted::Apply(permit) = guard::admit(&tx, &call("k")).unwrap() else {
        panic!()
    };
    drop(tx);
    let tx = begin(&mut db);
    assert!(matches!(
        guard::settle(&tx, permit, &1),
        Err(GuardError::Elsewhere)
    ));
    // What is withdrawn can come again; what is only dropped counts as applied.
    let Admitted::Apply(permit) = guard::admit(&tx, &call("k")).unwrap() else {
        panic!()
    };
    guard::withdraw(&tx, permit).unwrap();
    let Admitted::Apply(permit) = guard::admit(&tx, &call("k")).unwrap() else {
        panic!()
    };
    drop(permit);
    let Admitted::AlreadyApplied(answer) = guard::admit(&tx, &call("k")).unwrap() else {
        panic!()
    };
    assert_eq!(answer.read::<Option<u32>>().unwrap(), None);
    assert!(matches!(answer.read::<u32>(), Err(GuardError::Answer(_))));
}

#[test]
fn what_somebody_else_wrote_is_damage() {
    let mut db = in_memory();
    let tx = begin(&mut db);
    apply(&tx, &call("k").request(RequestDigest::new([1; 32]))).unwrap();
    tx.execute("UPDATE mainstay_effect SET request = 'x'", [])
        .unwrap();
    assert!(matches!(
        guard::admit(&tx, &call("k")),
        Err(GuardError::Damaged {
            column: "request",
            ..
        })
    ));
    tx.execute("UPDATE mainstay_effect SET state = 'x'", [])
        .unwrap();
    assert!(matches!(
        guard::undo(&tx, &call("k")),
        Err(GuardError::Damaged {
            column: "state",
            ..
        })
    ));
}

/// Forgets in small batches, the oldest first, and never before senders have stopped.
#[test]
fn keys_are_forgotten_when_nobody_may_send_them_any_more() {
    const HOUR: i64 = 3_600_000;
    let mut db = in_memory();
    let now = mainstay::rt::wall().as_millis();
    let retention = Retention::valid_for(Duration::from_secs(10 * 3_600));
    let tx = begin(&mut db);
    for hours in 0..20 {
        let key =
            call(&format!("key-{hours}")).fence(Fence::new(&format!("saga-{hours}"), 7).unwrap());
        apply(&tx, &key).unwrap();
        for table in [
            "UPDATE mainstay_effect SET at = ?2 WHERE key = 'key-' || ?1",
            "UPDATE mainstay_fence SET at = ?2 WHERE resource = 'saga-' || ?1",
        ] {
            // A minute inside of the hour, so that the time that the test takes does not count.
            tx.execute(table, [hours, now - hours * HOUR - 60_000])
                .unwrap();
        }
    }
    tx.commit().unwrap();
    let keys = |db: &Connection| -> i64 {
        db.query_row("SELECT count(*) FROM mainstay_effect", [], |row| row.get(0))
            .unwrap()
    };
    // Promised for ten hours, kept for eleven: nine of twenty go, and their fences.
    let mut batches = Vec::new();
    loop {
        let tx = begin(&mut db);
        let gone = guard::prune(&tx, &retention, 4).unwrap();
        tx.commit().unwrap();
        batches.push(gone);
        if gone < 4 {
            break;
        }
        let oldest = "SELECT max(?1 - at) FROM mainstay_effect";
        let oldest: i64 = db.query_row(oldest, [now], |row| row.get(0)).unwrap();
        assert!(oldest <= (19 - 4 * i64::try_from(batches.len()).unwrap()).max(10) * HOUR + 60_000);
    }
    assert_eq!(batches, [4, 4, 4, 4, 2]);
    assert_eq!(keys(&db), 11);

    let tx = begin(&mut db);
    let sent = |key: &str, hours: i64| call(key).since(Timestamp::from_millis(now - hours * HOUR));
    // Known keys are answered, however old they are.
    assert_eq!(apply(&tx, &sent("key-10", 12)).unwrap(), "already");
    // Forgotten ones are not taken for new ones, and leave nothing behind.
    assert_eq!(apply(&tx, &sent("key-15", 15)).unwrap(), "forgotten");
    assert_eq!(revert(&tx, &sent("key-15", 15)).unwrap(), "forgotten");
    assert_eq!(revert(&tx, &sent("key-15", 15)).unwrap(), "forgotten");
    // Young ones are new.
    assert_eq!(apply(&tx, &sent("new", 9)).unwrap(), "applied");
    // Who does not say when it began is taken at its word.
    assert_eq!(apply(&tx, &call("key-15")).unwrap(), "applied");
    // The horizon does not go back when less is promised later.
    tx.commit().unwrap();
    let tx = begin(&mut db);
    guard::prune(
        &tx,
        &Retention::valid_for(Duration::from_secs(100 * 3_600)),
        4,
    )
    .unwrap();
    assert_eq!(apply(&tx, &sent("key-16", 11)).unwrap(), "forgotten");
}
