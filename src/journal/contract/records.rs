//! Rules 1 to 4, 7 and 8: keys, places and records.

use futures::future::join_all;

use super::Subject;
use super::work::{
    ALL, Checked, HOUR, NOBODY, at, begin, beginning, create, ending, ensure, head, join, labels,
    post, record, refused, same, wanted,
};
use crate::journal::{
    Begun, Claim, Epoch, Head, Journal, JournalError, Place, Postbox, Release, Status,
};

async fn existing(journal: &dyn Journal, tenant: &str, key: &str) -> Result<Head, super::Broken> {
    match journal.begin(beginning(tenant, "pay", key)).await? {
        Begun::Existing(head) => Ok(head),
        Begun::Created(head) => Err(format!("a key that was taken made {head:?}").into()),
    }
}

pub(super) async fn rule_1_one_log_per_key(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let first = create(&*journal, "INV-1").await?;
    same!(first.place, Place::new(Epoch::FIRST, 1), "a new log");
    same!(first.mail, Postbox::default(), "a new log's mail");
    same!(
        existing(&*journal, "acme", "INV-1").await?,
        first,
        "the same key again"
    );
    // Another tenant, another kind: another log.
    let mut last = first.id;
    for (tenant, kind) in [("other", "pay"), ("acme", "refund"), ("", "pay")] {
        let other = begin(&*journal, beginning(tenant, kind, "INV-1")).await?;
        ensure!(
            other.id > last,
            "{} follows {last} in the order of beginning",
            other.id
        );
        last = other.id;
    }
    // The key stays taken after the end.
    journal.append(ending(&first, Status::Ended)).await?;
    let ended = existing(&*journal, "acme", "INV-1").await?;
    same!(ended.status, Status::Ended, "the key of an ended log");
    same!(
        journal.load(first.id).await?.records.len(),
        2,
        "records after a second begin"
    );
    Ok(())
}

pub(super) async fn rule_1_one_log_per_key_under_a_race(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let beside = subject.beside(&journal).await;
    let racers = (0..32).map(|racer| {
        let journal = if racer % 2 == 0 { &journal } else { &beside };
        journal.begin(beginning("acme", "pay", "INV-1"))
    });
    let mut created = 0;
    let mut found = Vec::new();
    for begun in join_all(racers).await {
        match begun? {
            Begun::Created(head) => {
                created += 1;
                found.push(head.id);
            }
            Begun::Existing(head) => found.push(head.id),
        }
    }
    same!(created, 1, "logs that were created for one key");
    found.dedup();
    same!(found.len(), 1, "logs that one key names");
    Ok(())
}

pub(super) async fn rule_1_a_second_begin_writes_nothing(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let owner = join(&*journal).await?;
    let first = begin(
        &*journal,
        beginning("acme", "pay", "1").stage("at first").version(3),
    )
    .await?;
    let mut other = beginning("acme", "pay", "1")
        .stage("later")
        .version(4)
        .owner(owner);
    other.digest = "another".to_owned();
    other.body = "[\"another\"]".to_owned();
    other.at = at(99);
    let Begun::Existing(again) = journal.begin(other).await? else {
        return Err("one key has two logs, one for each version"
            .to_owned()
            .into());
    };
    same!(again, first, "the answer to a second begin");
    same!(
        head(&*journal, first.id).await?,
        first,
        "the log after a second begin"
    );
    Ok(())
}

pub(super) async fn rule_2_an_append_elsewhere_is_refused(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    for wrong in [
        Place::new(Epoch::FIRST, 0),
        Place::new(Epoch::FIRST, 2),
        Place::new(Epoch::FIRST.next(), 1),
        Place::new(Epoch::new(0), 1),
    ] {
        match journal.append(record(log.id, wrong, "[]")).await {
            Err(JournalError::Conflict {
                id,
                expected,
                found,
            }) if id == log.id && found == log.place && expected == wrong => {}
            other => {
                let reason = format!("an append at {wrong} of a log at {}: {other:?}", log.place);
                return Err(reason.into());
            }
        }
    }
    same!(
        journal.load(log.id).await?.records.len(),
        1,
        "records after refused appends"
    );
    journal.append(record(log.id, log.place, "[]")).await?;
    Ok(())
}

pub(super) async fn rule_2_one_of_many_wins_a_place(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let beside = subject.beside(&journal).await;
    let log = create(&*journal, "INV-1").await?;
    let racers = (0..32).map(|racer| {
        let journal = if racer % 2 == 0 { &journal } else { &beside };
        journal.append(record(log.id, log.place, &format!("[{racer}]")))
    });
    let mut won = 0;
    for outcome in join_all(racers).await {
        match outcome {
            Ok(()) => won += 1,
            Err(JournalError::Conflict { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    same!(won, 1, "appends that won one place");
    same!(
        journal.load(log.id).await?.records.len(),
        2,
        "records after a race"
    );
    Ok(())
}

pub(super) async fn rule_3_a_lost_reply_is_no_conflict(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    let mine = record(log.id, log.place, "[\"mine\"]");
    journal.append(mine.clone()).await?;
    journal.append(mine.clone()).await?;
    same!(
        journal.load(log.id).await?.records.len(),
        2,
        "records after a repeated append"
    );
    let other = record(log.id, log.place, "[\"other\"]");
    refused!(
        journal.append(other).await,
        JournalError::Conflict { .. },
        "another record at that place"
    );
    journal
        .append(record(log.id, log.place.after(), "[]"))
        .await?;
    refused!(
        journal.append(mine).await,
        JournalError::Conflict { .. },
        "the same record once another follows"
    );
    let last = record(log.id, log.place.after(), "[]");
    journal.claim(wanted()).await?;
    refused!(
        journal.append(last).await,
        JournalError::Conflict { .. },
        "the same record once the turn is over"
    );
    Ok(())
}

pub(super) async fn rule_3_a_repeated_append_changes_nothing(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    let parks = record(log.id, log.place, "[\"sleep\"]")
        .park(HOUR)
        .stage("asleep");
    journal.append(parks.clone()).await?;
    journal.post(post(log.id, "wake")).await?;
    let before = head(&*journal, log.id).await?;
    journal.append(parks).await?;
    same!(
        head(&*journal, log.id).await?,
        before,
        "the log after a repeated append"
    );
    same!(
        journal.claim(wanted()).await?.len(),
        1,
        "logs to claim: a repeated append parks nothing"
    );
    Ok(())
}

pub(super) async fn rule_4_what_was_acknowledged_is_there_after_opening(
    subject: &Subject,
) -> Checked {
    let journal = subject.journal().await;
    let owner = join(&*journal).await?;
    let log = begin(
        &*journal,
        beginning("acme", "pay", "INV-1").owner(owner).version(7),
    )
    .await?;
    let text = "[\"umlaut ä, quote ' and \\u0000\"]";
    journal
        .append(record(log.id, log.place, text).stage("ä' half way"))
        .await?;
    let before = journal.load(log.id).await?;
    drop(journal);
    let journal = subject.journal().await;
    same!(journal.load(log.id).await?, before, "the log after opening");
    same!(before.head.owner, Some(owner), "its owner");
    let [first, second] = &*before.records else {
        return Err(format!("{} records where two were written", before.records.len()).into());
    };
    same!(first.labels, *labels("acme"), "labels");
    same!(first.at, at(1), "the time of the first record");
    same!(second.at, at(2), "the time of the second record");
    same!(
        (first.seq, second.seq),
        (1, 2),
        "the numbers of the records"
    );
    same!(second.body, text, "the second record");
    let next = create(&*journal, "INV-2").await?.id;
    ensure!(
        next > log.id,
        "log {next} after log {}: ids go on counting",
        log.id
    );
    Ok(())
}

pub(super) async fn rule_4_parking_and_mail_are_there_after_opening(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let parked = create(&*journal, "parked").await?;
    journal
        .append(record(parked.id, parked.place, "[]").park(HOUR))
        .await?;
    let posted = create(&*journal, "posted").await?;
    journal.post(post(posted.id, "a")).await?;
    journal.post(post(posted.id, "b")).await?;
    let before = journal.load(posted.id).await?;
    same!(before.mail.len(), 2, "unread messages");
    drop(journal);
    let journal = subject.journal().await;
    same!(
        journal.load(posted.id).await?,
        before,
        "a log with mail after opening"
    );
    let claimed = super::work::ids(&journal.claim(wanted()).await?);
    same!(
        claimed,
        vec![posted.id],
        "logs to claim after opening: one is parked"
    );
    Ok(())
}

pub(super) async fn rule_7_a_log_is_read_whole(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    let mut place = log.place;
    for number in 2..200 {
        journal
            .append(record(log.id, place, &format!("[{number}]")))
            .await?;
        place = place.after();
    }
    let log = journal.load(log.id).await?;
    same!(log.head.place, place, "where the log ends");
    let seqs: Vec<u64> = log.records.iter().map(|record| record.seq).collect();
    same!(seqs, (1..200).collect::<Vec<u64>>(), "the records");
    let last = log.records.last().map(|record| record.body.as_str());
    same!(last, Some("[199]"), "the last record");
    Ok(())
}

pub(super) async fn rule_7_a_head_says_what_its_records_said(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = begin(
        &*journal,
        beginning("acme", "pay", "1").stage("new").version(3),
    )
    .await?;
    same!(
        (&*log.kind, log.version, &*log.stage),
        ("pay", 3, "new"),
        "kind, version and stage"
    );
    same!(
        (log.begun, log.updated),
        (at(1), at(1)),
        "the times of a new log"
    );
    same!(log.digest, "digest of 1", "its digest");
    same!(head(&*journal, log.id).await?, log, "a new log");
    journal
        .append(record(log.id, log.place, "[]").stage("half way"))
        .await?;
    let next = head(&*journal, log.id).await?;
    same!(next.place, log.place.after(), "its place after a record");
    same!(&*next.stage, "half way", "its stage after a record");
    same!(
        (next.begun, next.updated),
        (at(1), at(2)),
        "its times after a record"
    );
    journal.append(ending(&next, Status::Held)).await?;
    let held = head(&*journal, log.id).await?;
    same!(
        (held.status, &*held.stage),
        (Status::Held, "half way"),
        "a held log"
    );
    journal
        .append(ending(&held, Status::Ended).stage(""))
        .await?;
    let ended = head(&*journal, log.id).await?;
    same!(
        (ended.status, &*ended.stage),
        (Status::Ended, ""),
        "an ended log"
    );
    Ok(())
}

pub(super) async fn rule_8_a_missing_log_is_an_answer(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    refused!(
        journal.load(NOBODY).await,
        JournalError::Missing(NOBODY),
        "loading no log"
    );
    let append = journal.append(record(NOBODY, log.place, "[]")).await;
    refused!(append, JournalError::Missing(NOBODY), "appending to no log");
    let post = journal.post(post(NOBODY, "a")).await;
    refused!(post, JournalError::Missing(NOBODY), "posting to no log");
    let release = journal.release(Release::new(NOBODY, log.place)).await;
    refused!(release, JournalError::Missing(NOBODY), "giving no log back");
    // And the store goes on.
    journal.append(record(log.id, log.place, "[]")).await?;
    Ok(())
}

pub(super) async fn rule_8_a_refusal_fails_nobody_else(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    let other = create(&*journal, "2").await?;
    let (good, stale, none, begun, claimed) = futures::join!(
        journal.append(record(log.id, log.place, "[1]")),
        journal.append(record(other.id, other.place.after(), "[2]")),
        journal.load(NOBODY),
        journal.begin(beginning("acme", "pay", "3")),
        journal.claim(Claim::new(vec![("none".into(), 1)], ALL)),
    );
    good?;
    refused!(
        stale,
        JournalError::Conflict { .. },
        "a stale append among others"
    );
    refused!(none, JournalError::Missing(_), "a missing log among others");
    ensure!(
        matches!(begun?, Begun::Created(_)),
        "a key was taken that was free"
    );
    same!(claimed?.len(), 0, "logs of no kind");
    same!(
        journal.load(log.id).await?.records.len(),
        2,
        "records of the log that was written"
    );
    same!(
        journal.load(other.id).await?.records.len(),
        1,
        "records of the other log"
    );
    Ok(())
}
