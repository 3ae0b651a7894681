//! The guard of receivers on PostgreSQL: held against the answers of the guard on SQLite, and raced over connections.
//!
//! One server for all tests, a schema for each. Where there is no PostgreSQL they are reported as ignored, and with
//! `MAINSTAY_REQUIRE_SERVICES=1` they fail.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it starts a real server, and takes its seed from the environment"
)]

#[path = "journal_postgres/fixture.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod fixture;
#[path = "journal_postgres/suite.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod suite;

use std::time::Duration;

use mainstay::effect_guard::{
    Admitted, Call, EffectKey, Fence, GuardError, Passage, RequestDigest, Retention, Undone,
    postgres, sqlite,
};
use mainstay::rng::Rng;
use mainstay::time::Timestamp;
use tokio_postgres::{Client, NoTls, Transaction};

use self::fixture::Fixture;

fn main() {
    suite::run("effect_guard_postgres", |suite| {
        suite.test(
            "random_orders_are_those_of_sqlite",
            random_orders_are_those_of_sqlite,
        );
        suite.test(
            "a_second_call_waits_for_the_first_ones_transaction",
            a_second_call_waits_for_the_first_ones_transaction,
        );
        suite.test(
            "an_undo_under_way_and_its_call_end_as_one_after_the_other",
            an_undo_under_way_and_its_call_end_as_one_after_the_other,
        );
        suite.test(
            "a_cut_connection_leaves_the_effect_and_its_key_or_neither",
            a_cut_connection_leaves_the_effect_and_its_key_or_neither,
        );
        suite.test("an_effect_is_undone_once", an_effect_is_undone_once);
        suite.test(
            "senders_that_race_never_double_an_effect",
            senders_that_race_never_double_an_effect,
        );
        suite.test(
            "a_later_token_waits_until_the_earlier_ones_transaction_is_over",
            a_later_token_waits_until_the_earlier_ones_transaction_is_over,
        );
        suite.test(
            "keys_are_forgotten_when_nobody_may_send_them_any_more",
            keys_are_forgotten_when_nobody_may_send_them_any_more,
        );
    });
}

/// Every test has a schema of its own, in which its connections find and make their tables.
async fn connect(server: &Fixture) -> Client {
    let mut address = server.address();
    address.options(format!("-c search_path={}", server.schema.as_str()));
    let (client, connection) = address.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn receiver(server: &Fixture) -> Client {
    let client = connect(server).await;
    let schema = server.schema.as_str();
    let tables = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE IF NOT EXISTS effect (key text NOT NULL)"
    );
    client.batch_execute(&tables).await.unwrap();
    client.batch_execute(postgres::TABLES).await.unwrap();
    client
}

fn call(key: &str) -> Call {
    Call::new(EffectKey::new(key).unwrap())
}

async fn effects(client: &Client, key: &str) -> i64 {
    let count = "SELECT count(*) FROM effect WHERE key = $1";
    client.query_one(count, &[&key]).await.unwrap().get(0)
}

fn word(admitted: &Admitted) -> &'static str {
    match admitted {
        Admitted::Apply(_) => "apply",
        Admitted::AlreadyApplied(_) => "already",
        Admitted::Refused(_) => "refused",
        Admitted::Cancelled => "cancelled",
        Admitted::Forgotten => "forgotten",
        Admitted::OtherRequest => "other",
        Admitted::StaleToken => "stale",
        _ => unreachable!(),
    }
}

fn undo_word(undone: &Undone) -> &'static str {
    match undone {
        Undone::Undo(_) => "undo",
        Undone::AlreadyCancelled => "already",
        Undone::Forgotten => "forgotten",
        Undone::Nothing => "nothing",
        Undone::StaleToken => "stale",
        _ => unreachable!(),
    }
}

async fn apply(tx: &Transaction<'_>, call: &Call) -> Result<&'static str, GuardError> {
    let admitted = postgres::admit(tx, call).await?;
    let word = word(&admitted);
    match admitted {
        Admitted::Apply(permit) => {
            let key = call.key().as_str();
            tx.execute("INSERT INTO effect VALUES ($1)", &[&key])
                .await
                .unwrap();
            postgres::settle(tx, permit, &key).await?;
        }
        Admitted::AlreadyApplied(answer) => {
            assert_eq!(answer.read::<String>()?, call.key().as_str());
        }
        _ => {}
    }
    Ok(word)
}

async fn revert(tx: &Transaction<'_>, call: &Call) -> Result<&'static str, GuardError> {
    let undone = postgres::undo(tx, call).await?;
    let word = undo_word(&undone);
    if let Undone::Undo(answer) = undone {
        let key: String = answer.read()?;
        let gone = tx
            .execute("DELETE FROM effect WHERE key = $1", &[&key])
            .await;
        assert_eq!(gone.unwrap(), 1);
    }
    Ok(word)
}

/// The guard on SQLite is held against a naive model; here, the two are held against each other.
async fn random_orders_are_those_of_sqlite(server: Fixture) {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut client = receiver(&server).await;
    let mut lite = rusqlite::Connection::open_in_memory().unwrap();
    sqlite::create(&lite).unwrap();
    let mut words = std::collections::BTreeMap::<_, u32>::new();
    for operation in 0..1_500_u32 {
        let mut draw = |below: u64| rng.next_u64() % below;
        // Ten operations on a key, then a new one comes.
        let key = u64::from(operation / 25) + draw(3);
        let scope = ["a", "b"]
            .into_iter()
            .nth(usize::from(draw(4) == 0))
            .unwrap();
        let mut call = Call::new(
            EffectKey::new(&format!("key-{key}"))
                .unwrap()
                .within(scope)
                .unwrap(),
        )
        .request(RequestDigest::new([u8::from(draw(8) == 0); 32]));
        if draw(3) != 0 {
            let saga = format!("saga-{}", key / 2);
            call = call.fence(Fence::new(&saga, draw(4)).unwrap().within(scope).unwrap());
        }
        let (kind, crash) = (draw(8), draw(4) == 0);
        let here = client.transaction().await.unwrap();
        let there = lite.transaction().unwrap();
        let (one, other) = if kind < 2 {
            let one = undo_word(&postgres::undo(&here, &call).await.unwrap());
            (one, undo_word(&sqlite::undo(&there, &call).unwrap()))
        } else {
            let one = postgres::admit(&here, &call).await.unwrap();
            let other = sqlite::admit(&there, &call).unwrap();
            let words = (word(&one), word(&other));
            match (one, other) {
                (Admitted::Apply(one), Admitted::Apply(other)) => match kind {
                    2 => {
                        postgres::refuse(&here, one, &"no").await.unwrap();
                        sqlite::refuse(&there, other, &"no").unwrap();
                    }
                    3 => {
                        postgres::withdraw(&here, one).await.unwrap();
                        sqlite::withdraw(&there, other).unwrap();
                    }
                    4 => drop((one, other)),
                    _ => {
                        postgres::settle(&here, one, &operation).await.unwrap();
                        sqlite::settle(&there, other, &operation).unwrap();
                    }
                },
                (Admitted::AlreadyApplied(one), Admitted::AlreadyApplied(other))
                | (Admitted::Refused(one), Admitted::Refused(other)) => {
                    assert_eq!(one.as_str(), other.as_str())
                }
                _ => {}
            }
            words
        };
        assert_eq!(one, other, "{operation}: {call:?}");
        *words.entry((kind < 2, one)).or_default() += 1;
        if crash {
            here.rollback().await.unwrap();
            there.rollback().unwrap();
        } else {
            here.commit().await.unwrap();
            there.commit().unwrap();
        }
    }
    assert_eq!(words.len(), 10, "{words:?}");
    // And what they have written is the same, too.
    let rows =
        "SELECT scope, key, state, token, request, answer FROM mainstay_effect ORDER BY scope, key";
    type Entry = (
        String,
        String,
        String,
        Option<i64>,
        Option<String>,
        Option<String>,
    );
    let here: Vec<Entry> = client
        .query(rows, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| {
            (
                row.get(0),
                row.get(1),
                row.get(2),
                row.get(3),
                row.get(4),
                row.get(5),
            )
        })
        .collect();
    let mut select = lite.prepare(rows).unwrap();
    let there: Vec<Entry> = select
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(here.len() > 30);
    assert_eq!(here, there);
}

async fn a_second_call_waits_for_the_first_ones_transaction(server: Fixture) {
    let mut one = receiver(&server).await;
    for (commits, expected) in [(true, "already"), (false, "apply")] {
        let key = format!("key-{commits}");
        let first = one.transaction().await.unwrap();
        assert_eq!(apply(&first, &call(&key)).await.unwrap(), "apply");

        // One that does not wait for long is told that the key is busy.
        let mut two = connect(&server).await;
        let second = two.transaction().await.unwrap();
        second
            .batch_execute("SET LOCAL lock_timeout = '50ms'")
            .await
            .unwrap();
        assert!(matches!(
            apply(&second, &call(&key)).await,
            Err(GuardError::Busy(_))
        ));
        drop(second);

        // One that waits is told what became of the first. On a task of its own: the futures are `Send`.
        let waiting = server.clone();
        let of = call(&key);
        let third = tokio::spawn(async move {
            let mut three = connect(&waiting).await;
            let third = three.transaction().await.unwrap();
            let word = apply(&third, &of).await.unwrap();
            third.commit().await.unwrap();
            word
        });
        blocked(&two).await;
        assert!(!third.is_finished());
        if commits {
            first.commit().await.unwrap();
        } else {
            first.rollback().await.unwrap();
        }
        assert_eq!(third.await.unwrap(), expected);
        assert_eq!(effects(&one, &key).await, 1);
    }
}

/// Until somebody waits for a lock.
async fn blocked(client: &Client) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    for _ in 0..1_000 {
        let count: i64 = client.query_one(waiting, &[]).await.unwrap().get(0);
        if count > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits");
}

/// The undo overtakes the call while the call's transaction is open, and the other way round.
async fn an_undo_under_way_and_its_call_end_as_one_after_the_other(server: Fixture) {
    let mut one = receiver(&server).await;
    let look = receiver(&server).await;
    for undo_first in [true, false] {
        let key = format!("key-{undo_first}");
        let first = one.transaction().await.unwrap();
        if undo_first {
            assert_eq!(revert(&first, &call(&key)).await.unwrap(), "nothing");
        } else {
            assert_eq!(apply(&first, &call(&key)).await.unwrap(), "apply");
        }
        let other = server.clone();
        let of = call(&key);
        let second = tokio::spawn(async move {
            let mut two = connect(&other).await;
            let second = two.transaction().await.unwrap();
            let word = if undo_first {
                apply(&second, &of).await.unwrap()
            } else {
                revert(&second, &of).await.unwrap()
            };
            second.commit().await.unwrap();
            word
        });
        blocked(&look).await;
        first.commit().await.unwrap();
        assert_eq!(
            second.await.unwrap(),
            if undo_first { "cancelled" } else { "undo" }
        );
        assert_eq!(effects(&one, &key).await, 0);
    }
}

/// The connection is cut at every place between the key and the commit, and after it.
async fn a_cut_connection_leaves_the_effect_and_its_key_or_neither(server: Fixture) {
    let mut look = receiver(&server).await;
    for (place, there) in [
        ("admitted", 0),
        ("applied", 0),
        ("settled", 0),
        ("committed", 1),
    ] {
        let mut cut = connect(&server).await;
        let backend: i32 = cut
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0);
        let tx = cut.transaction().await.unwrap();
        let Admitted::Apply(permit) = postgres::admit(&tx, &call(place)).await.unwrap() else {
            panic!("{place} is known")
        };
        if place != "admitted" {
            tx.execute("INSERT INTO effect VALUES ($1)", &[&place])
                .await
                .unwrap();
        }
        if !["admitted", "applied"].contains(&place) {
            postgres::settle(&tx, permit, &place).await.unwrap();
        }
        if place == "committed" {
            tx.commit().await.unwrap();
            assert!(cut_off(&look, backend).await);
        } else {
            assert!(cut_off(&look, backend).await);
            assert!(tx.commit().await.is_err());
        }
        assert_eq!(effects(&look, place).await, there, "{place}");
        let tx = look.transaction().await.unwrap();
        let again = apply(&tx, &call(place)).await.unwrap();
        assert_eq!(
            again,
            if there == 1 { "already" } else { "apply" },
            "{place}"
        );
        tx.commit().await.unwrap();
        assert_eq!(effects(&look, place).await, 1, "{place}");
    }
}

/// Ends a backend and waits until it is gone.
async fn cut_off(client: &Client, backend: i32) -> bool {
    let end = "SELECT pg_terminate_backend($1, 10000)";
    client.query_one(end, &[&backend]).await.unwrap().get(0)
}

/// Two undos of one key, both of which find it applied: the second waits, and does not undo again.
async fn an_effect_is_undone_once(server: Fixture) {
    let mut one = receiver(&server).await;
    let look = connect(&server).await;
    let tx = one.transaction().await.unwrap();
    apply(&tx, &call("k")).await.unwrap();
    tx.commit().await.unwrap();
    let first = one.transaction().await.unwrap();
    assert_eq!(revert(&first, &call("k")).await.unwrap(), "undo");
    let other = server.clone();
    let second = tokio::spawn(async move {
        let mut two = connect(&other).await;
        let second = two.transaction().await.unwrap();
        revert(&second, &call("k")).await.unwrap()
    });
    blocked(&look).await;
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), "already");
    assert_eq!(effects(&one, "k").await, 0);
}

async fn senders_that_race_never_double_an_effect(server: Fixture) {
    let look = receiver(&server).await;
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let mut senders = Vec::new();
        for sender in 0..4_u32 {
            let server = server.clone();
            senders.push(tokio::spawn(async move {
                let mut db = connect(&server).await;
                let mut applied = 0_u32;
                for number in 0..40_u32 {
                    let number = (number * 7 + sender * 11) % 40;
                    let of = call(&format!("{}-{number}", isolation.len()));
                    // A busy key is asked for again, as a sender would.
                    loop {
                        let tx = db.build_transaction().start().await.unwrap();
                        let set = format!("SET TRANSACTION ISOLATION LEVEL {isolation}");
                        tx.batch_execute(&set).await.unwrap();
                        match apply(&tx, &of).await {
                            Ok(word) if tx.commit().await.is_ok() => {
                                applied += u32::from(word == "apply");
                                break;
                            }
                            Ok(_) | Err(GuardError::Busy(_)) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
                applied
            }));
        }
        let mut applied = 0;
        for sender in senders {
            applied += sender.await.unwrap();
        }
        assert_eq!(applied, 40, "{isolation}");
        for number in 0..40 {
            let key = format!("{}-{number}", isolation.len());
            assert_eq!(effects(&look, &key).await, 1, "{isolation}");
        }
    }
}

async fn a_later_token_waits_until_the_earlier_ones_transaction_is_over(server: Fixture) {
    let (mut one, look) = (receiver(&server).await, receiver(&server).await);
    let of = |token| Fence::new("saga", token).unwrap();
    let first = one.transaction().await.unwrap();
    assert_eq!(
        postgres::fence(&first, &of(1)).await.unwrap(),
        Passage::Current
    );
    let other = server.clone();
    let later = tokio::spawn(async move {
        let mut two = connect(&other).await;
        let second = two.transaction().await.unwrap();
        let passage = postgres::fence(&second, &of(2)).await.unwrap();
        second.commit().await.unwrap();
        passage
    });
    blocked(&look).await;
    first.commit().await.unwrap();
    assert_eq!(later.await.unwrap(), Passage::Current);
    let again = one.transaction().await.unwrap();
    let passage = postgres::fence(&again, &of(1)).await.unwrap();
    assert!(matches!(passage, Passage::Stale { greatest: 2, .. }));
}

async fn keys_are_forgotten_when_nobody_may_send_them_any_more(server: Fixture) {
    const HOUR: i64 = 3_600_000;
    let (mut db, mut other) = (receiver(&server).await, receiver(&server).await);
    let retention = Retention::valid_for(Duration::from_secs(10 * 3_600));
    let now = mainstay::rt::wall().as_millis();
    let tx = db.transaction().await.unwrap();
    for hours in 0..20_i64 {
        let fence = Fence::new(&format!("saga-{hours}"), 7).unwrap();
        let key = format!("key-{hours}");
        apply(&tx, &call(&key).fence(fence)).await.unwrap();
        let at = now - hours * HOUR - 60_000;
        tx.execute(
            "UPDATE mainstay_effect SET at = $2 WHERE key = $1",
            &[&key, &at],
        )
        .await
        .unwrap();
        let saga = format!("saga-{hours}");
        tx.execute(
            "UPDATE mainstay_fence SET at = $2 WHERE resource = $1",
            &[&saga, &at],
        )
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    // Somebody holds the oldest key: it is left for later.
    let holds = other.transaction().await.unwrap();
    assert_eq!(apply(&holds, &call("key-19")).await.unwrap(), "already");
    let mut batches = Vec::new();
    loop {
        let tx = db.transaction().await.unwrap();
        let gone = postgres::prune(&tx, &retention, 4).await.unwrap();
        tx.commit().await.unwrap();
        batches.push(gone);
        if gone < 4 {
            break;
        }
    }
    assert_eq!(batches, [4, 4, 4, 4, 1]);
    holds.commit().await.unwrap();
    let tx = db.transaction().await.unwrap();
    let sent = |key: &str, hours: i64| call(key).since(Timestamp::from_millis(now - hours * HOUR));
    assert_eq!(apply(&tx, &sent("key-19", 19)).await.unwrap(), "already");
    assert_eq!(apply(&tx, &sent("key-10", 12)).await.unwrap(), "already");
    assert_eq!(apply(&tx, &sent("key-15", 15)).await.unwrap(), "forgotten");
    assert_eq!(revert(&tx, &sent("key-15", 15)).await.unwrap(), "forgotten");
    assert_eq!(apply(&tx, &sent("new", 9)).await.unwrap(), "apply");
    tx.commit().await.unwrap();

    // A key that is forgotten while somebody asks for it: the asker waits, and sees the horizon.
    let prunes = db.transaction().await.unwrap();
    prunes
        .execute("UPDATE mainstay_effect SET at = 0 WHERE key = 'key-9'", &[])
        .await
        .unwrap();
    assert!(postgres::prune(&prunes, &retention, 100).await.unwrap() > 0);
    let asks = server.clone();
    let of = sent("key-9", 11);
    let asked = tokio::spawn(async move {
        let mut db = connect(&asks).await;
        let tx = db.transaction().await.unwrap();
        apply(&tx, &of).await.unwrap()
    });
    blocked(&other).await;
    prunes.commit().await.unwrap();
    assert_eq!(asked.await.unwrap(), "forgotten");
}
