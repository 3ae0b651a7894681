//! One suite for every journal. The numbers are those of the rules in the documentation of [`Journal`].

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it races tasks, and takes its seed from the environment"
)]

use std::sync::Arc;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{
    Append, Begin, Begun, Claim, Epoch, Head, Journal, JournalError, Labels, Listing, LogId, Place,
    Status,
};
use mainstay::rng::Rng;
use mainstay::time::Timestamp;

/// Makes a journal and opens it again. Dropping what an opening returned is the end of a process.
type Reopen = Box<dyn Fn() -> Arc<dyn Journal>>;

fn memory() -> Reopen {
    let journal = MemoryJournal::new();
    Box::new(move || Arc::new(journal.clone()))
}

fn sqlite() -> Reopen {
    let folder = tempfile::tempdir().unwrap();
    Box::new(move || Arc::new(SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap()))
}

/// Runs every rule of the suite on the stores.
macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod on_memory { $(#[tokio::test] async fn $rule() { super::$rule(super::memory()).await; })* }
        mod on_sqlite { $(#[tokio::test] async fn $rule() { super::$rule(super::sqlite()).await; })* }
    };
}

contract![
    rule_1_one_log_per_key,
    rule_1_one_log_per_key_under_a_race,
    rule_2_an_append_elsewhere_is_refused,
    rule_2_one_of_many_wins_a_place,
    rule_3_a_lost_reply_is_no_conflict,
    rule_4_what_was_acknowledged_is_there_after_opening,
    rule_6_a_claim_takes_running_logs_of_known_kinds,
    rule_6_a_claim_shuts_the_earlier_writer_out,
    rule_7_a_log_is_read_whole,
    rule_8_a_missing_log_is_an_answer,
    lists_follow_the_status,
    random_work_agrees_with_a_model,
];

fn labels(tenant: &str) -> Arc<Labels> {
    Arc::new(Labels::new(tenant).subject("person-7").key_id("key-3"))
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn beginning(tenant: &str, kind: &str, key: &str) -> Begin {
    Begin::new(
        labels(tenant),
        kind,
        key,
        format!("digest of {key}"),
        1,
        "[\"first\"]",
        at(1),
    )
}

async fn create(journal: &dyn Journal, key: &str) -> Head {
    match journal.begin(beginning("acme", "pay", key)).await.unwrap() {
        Begun::Created(head) => head,
        other => panic!("{other:?}"),
    }
}

fn record(id: LogId, expect: Place, body: &str) -> Append {
    Append::new(id, expect, Status::Running, labels("acme"), 1, body, at(2))
}

fn ending(id: LogId, expect: Place, status: Status) -> Append {
    Append::new(id, expect, status, labels("acme"), 1, "[\"last\"]", at(3))
}

async fn rule_1_one_log_per_key(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    assert_eq!(head.place, Place::new(Epoch::FIRST, 1));
    let Begun::Existing(again) = journal
        .begin(beginning("acme", "pay", "INV-1"))
        .await
        .unwrap()
    else {
        panic!("the key was taken")
    };
    assert_eq!(again, head);
    // Another tenant, another kind: another log.
    for (tenant, kind) in [("other", "pay"), ("acme", "refund"), ("", "pay")] {
        let begun = journal
            .begin(beginning(tenant, kind, "INV-1"))
            .await
            .unwrap();
        let Begun::Created(other) = begun else {
            panic!("{tenant} {kind} shares a log")
        };
        assert_ne!(other.id, head.id);
        assert!(other.id > head.id);
    }
    // The key stays taken after the end.
    journal
        .append(ending(head.id, head.place, Status::Ended))
        .await
        .unwrap();
    let Begun::Existing(ended) = journal
        .begin(beginning("acme", "pay", "INV-1"))
        .await
        .unwrap()
    else {
        panic!("the key was taken")
    };
    assert_eq!(ended.status, Status::Ended);
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 2);
}

async fn rule_1_one_log_per_key_under_a_race(open: Reopen) {
    let journal = open();
    let racers = (0..32).map(|_| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            journal
                .begin(beginning("acme", "pay", "INV-1"))
                .await
                .unwrap()
        })
    });
    let mut created = 0;
    for racer in racers.collect::<Vec<_>>() {
        created += usize::from(matches!(racer.await.unwrap(), Begun::Created(_)));
    }
    assert_eq!(created, 1);
}

async fn rule_2_an_append_elsewhere_is_refused(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    for wrong in [
        Place::new(Epoch::FIRST, 0),
        Place::new(Epoch::FIRST, 2),
        Place::new(Epoch::FIRST.next(), 1),
        Place::new(Epoch::new(0), 1),
    ] {
        let refused = journal
            .append(record(head.id, wrong, "[]"))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, JournalError::Conflict { found, expected, .. } if found == head.place && expected == wrong),
            "{refused:?}"
        );
    }
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 1);
    journal
        .append(record(head.id, head.place, "[]"))
        .await
        .unwrap();
}

async fn rule_2_one_of_many_wins_a_place(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    let racers = (0..32).map(|racer| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            journal
                .append(record(head.id, head.place, &format!("[{racer}]")))
                .await
        })
    });
    let mut won = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(()) => won += 1,
            Err(JournalError::Conflict { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 2);
}

async fn rule_3_a_lost_reply_is_no_conflict(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    let mine = record(head.id, head.place, "[\"mine\"]");
    journal.append(mine.clone()).await.unwrap();
    journal.append(mine.clone()).await.unwrap();
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 2);
    // Another record at that place is one.
    let other = record(head.id, head.place, "[\"other\"]");
    assert!(matches!(
        journal.append(other).await,
        Err(JournalError::Conflict { .. })
    ));
    // And once something follows, or the turn is over, the same record is one too.
    journal
        .append(record(head.id, head.place.after(), "[]"))
        .await
        .unwrap();
    assert!(matches!(
        journal.append(mine).await,
        Err(JournalError::Conflict { .. })
    ));
    let last = record(head.id, head.place.after(), "[]");
    journal
        .claim(Claim::new(vec![("pay".into(), 1)], 10))
        .await
        .unwrap();
    assert!(matches!(
        journal.append(last).await,
        Err(JournalError::Conflict { .. })
    ));
}

async fn rule_4_what_was_acknowledged_is_there_after_opening(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    journal
        .append(record(
            head.id,
            head.place,
            "[\"umlaut ä, quote ' and \\u0000\"]",
        ))
        .await
        .unwrap();
    let before = journal.load(head.id).await.unwrap();
    drop(journal);
    let journal = open();
    assert_eq!(journal.load(head.id).await.unwrap(), before);
    assert_eq!(before.records[0].labels, *labels("acme"));
    assert_eq!(before.records[1].at, at(2));
    assert_eq!(before.records[1].seq, 2);
    // Ids go on counting.
    assert!(create(&*journal, "INV-2").await.id > head.id);
}

async fn rule_6_a_claim_takes_running_logs_of_known_kinds(open: Reopen) {
    let journal = open();
    let running = create(&*journal, "running").await;
    let held = create(&*journal, "held").await;
    let ended = create(&*journal, "ended").await;
    let late = create(&*journal, "late").await;
    journal
        .append(ending(held.id, held.place, Status::Held))
        .await
        .unwrap();
    journal
        .append(ending(ended.id, ended.place, Status::Ended))
        .await
        .unwrap();
    journal
        .begin(beginning("acme", "other", "other"))
        .await
        .unwrap();

    assert!(
        journal
            .claim(Claim::new(vec![], 10))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        journal
            .claim(Claim::new(vec![("unknown' OR 1=1".into(), 1)], 10))
            .await
            .unwrap()
            .is_empty()
    );
    let page = journal
        .claim(Claim::new(vec![("pay".into(), 1), ("none".into(), 1)], 1))
        .await
        .unwrap();
    assert_eq!(
        page.iter().map(|head| head.id).collect::<Vec<_>>(),
        [running.id]
    );
    assert_eq!(page[0].place, Place::new(Epoch::FIRST.next(), 1));
    assert_eq!(page[0].claims, 1);
    let rest = Claim::new(vec![("pay".into(), 1)], 10).after(running.id);
    let page = journal.claim(rest).await.unwrap();
    assert_eq!(
        page.iter().map(|head| head.id).collect::<Vec<_>>(),
        [late.id]
    );
    // A claim takes what others have claimed: there are no leases in these stores.
    assert_eq!(
        journal
            .claim(Claim::new(vec![("pay".into(), 1)], 10))
            .await
            .unwrap()
            .len(),
        2
    );
}

async fn rule_6_a_claim_shuts_the_earlier_writer_out(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    let claimed = journal
        .claim(Claim::new(vec![("pay".into(), 1)], 10))
        .await
        .unwrap()
        .remove(0);
    let stale = journal.append(record(head.id, head.place, "[]")).await;
    assert!(
        matches!(stale, Err(JournalError::Conflict { .. })),
        "{stale:?}"
    );
    journal
        .append(record(head.id, claimed.place, "[]"))
        .await
        .unwrap();
    let log = journal.load(head.id).await.unwrap();
    assert_eq!(log.records[1].epoch, Epoch::FIRST.next());
    assert_eq!(log.head.claims, 1);
}

async fn rule_7_a_log_is_read_whole(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    let mut place = head.place;
    for number in 2..200 {
        journal
            .append(record(head.id, place, &format!("[{number}]")))
            .await
            .unwrap();
        place = place.after();
    }
    let log = journal.load(head.id).await.unwrap();
    assert_eq!(log.head.place, place);
    let seqs: Vec<u64> = log.records.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, (1..200).collect::<Vec<u64>>());
    assert_eq!(log.records[198].body, "[199]");
}

async fn rule_8_a_missing_log_is_an_answer(open: Reopen) {
    let journal = open();
    let head = create(&*journal, "INV-1").await;
    let nobody = LogId::new(4_711);
    assert!(matches!(journal.load(nobody).await, Err(JournalError::Missing(id)) if id == nobody));
    let append = journal.append(record(nobody, head.place, "[]")).await;
    assert!(
        matches!(append, Err(JournalError::Missing(id)) if id == nobody),
        "{append:?}"
    );
    // And the store goes on.
    journal
        .append(record(head.id, head.place, "[]"))
        .await
        .unwrap();
}

async fn lists_follow_the_status(open: Reopen) {
    let journal = open();
    let mut heads = Vec::new();
    for number in 0..5 {
        heads.push(create(&*journal, &number.to_string()).await);
    }
    journal
        .append(ending(heads[1].id, heads[1].place, Status::Held))
        .await
        .unwrap();
    journal
        .append(ending(heads[3].id, heads[3].place, Status::Held))
        .await
        .unwrap();
    let held = journal.list(Listing::new(Status::Held, 10)).await.unwrap();
    assert_eq!(
        held.iter().map(|head| head.id).collect::<Vec<_>>(),
        [heads[1].id, heads[3].id]
    );
    assert_eq!(held[0].key, "1");
    assert_eq!(held[0].place.records, 2);
    let second = Listing::new(Status::Held, 10).after(heads[1].id);
    assert_eq!(journal.list(second).await.unwrap().len(), 1);
    assert_eq!(
        journal
            .list(Listing::new(Status::Running, 2))
            .await
            .unwrap()
            .len(),
        2
    );
    // A held log can run again.
    journal
        .append(record(heads[1].id, heads[1].place.after(), "[]"))
        .await
        .unwrap();
    assert_eq!(
        journal
            .list(Listing::new(Status::Running, 10))
            .await
            .unwrap()
            .len(),
        4
    );
}

/// The same random work on the store and on the memory journal: every answer and every log agree, across openings.
async fn random_work_agrees_with_a_model(open: Reopen) {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut below = move |bound: u64| rng.next_u64() % bound;
    let index = |number: u64| usize::try_from(number).unwrap();
    let model = MemoryJournal::new();
    let mut journal = open();
    for step in 0..600 {
        let id = LogId::new(below(12) + 1);
        let place = Place::new(Epoch::new(below(3) + 1), below(6));
        match below(8) {
            0 | 1 => {
                let begin = beginning(["acme", "b"][index(below(2))], "pay", &below(6).to_string());
                assert_eq!(
                    journal.begin(begin.clone()).await.unwrap(),
                    model.begin(begin).await.unwrap()
                );
            }
            2..=4 => {
                // Mostly at the right place, so that logs grow.
                let place = match model.load(id).await {
                    Ok(log) if below(3) > 0 => log.head.place,
                    _ => place,
                };
                let status = [Status::Running, Status::Running, Status::Held][index(below(3))];
                let append = Append::new(
                    id,
                    place,
                    status,
                    labels("acme"),
                    1,
                    format!("[{step}]"),
                    at(step),
                );
                let (theirs, ours) = (
                    journal.append(append.clone()).await,
                    model.append(append).await,
                );
                assert_eq!(format!("{theirs:?}"), format!("{ours:?}"));
            }
            5 => {
                let claim = Claim::new(vec![("pay".into(), 1)], index(below(4))).after(id);
                assert_eq!(
                    journal.claim(claim.clone()).await.unwrap(),
                    model.claim(claim).await.unwrap()
                );
            }
            6 => {
                let (theirs, ours) = (journal.load(id).await, model.load(id).await);
                assert_eq!(format!("{theirs:?}"), format!("{ours:?}"));
            }
            _ => {
                drop(journal);
                journal = open();
            }
        }
    }
    for status in [Status::Running, Status::Held, Status::Ended] {
        let listing = Listing::new(status, 100);
        assert_eq!(
            journal.list(listing.clone()).await.unwrap(),
            model.list(listing).await.unwrap()
        );
    }
}
