//! Rule 11: messages.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::Subject;
use super::work::{
    ALL, Checked, HOUR, at, begin, beginning, create, ending, ensure, head, join, only, post,
    record, same, wanted,
};
use crate::journal::{Beat, Journal, LogId, Mail, Postbox, Posted, Status};

async fn unread(journal: &dyn Journal, id: LogId) -> Result<Vec<String>, super::Broken> {
    let log = journal.load(id).await?;
    Ok(log.mail.into_iter().map(|mail| mail.dedup).collect())
}

pub(super) async fn rule_11_a_message_is_posted_once(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let (log, other) = (create(&*journal, "1").await?, create(&*journal, "2").await?);
    same!(
        journal.post(post(log.id, "a")).await?,
        Posted::Added(1),
        "the first message"
    );
    same!(
        journal.post(post(log.id, "b'")).await?,
        Posted::Added(2),
        "the second message"
    );
    let mut again = post(log.id, "a");
    again.body = "[\"something else\"]".to_owned();
    same!(
        journal.post(again).await?,
        Posted::Known(1),
        "the first message again"
    );
    same!(
        journal.post(post(other.id, "a")).await?,
        Posted::Added(1),
        "a message to another log"
    );
    same!(
        head(&*journal, log.id).await?.mail,
        Postbox::new(2, 0),
        "the postbox"
    );
    let due = [(1, "a"), (2, "b'")].map(|(number, dedup)| {
        Mail::new(number, dedup.to_owned(), 1, format!("[\"{dedup}\"]"), at(4))
    });
    same!(journal.load(log.id).await?.mail, due, "the messages");
    Ok(())
}

pub(super) async fn rule_11_a_message_is_posted_once_under_a_race(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let beside = subject.beside(&journal).await;
    let log = create(&*journal, "1").await?;
    let names: Vec<String> = (0..32).map(|number| format!("m{}", number / 2)).collect();
    let posts = names.iter().enumerate().map(|(at, name)| {
        let journal = if at % 2 == 0 { &journal } else { &beside };
        journal.post(post(log.id, name))
    });
    let mut numbers = BTreeSet::new();
    for posted in join_all(posts).await {
        if let Posted::Added(number) = posted? {
            ensure!(numbers.insert(number), "two messages have number {number}");
        }
    }
    same!(
        numbers,
        (1..=16).collect::<BTreeSet<u64>>(),
        "the numbers of the messages"
    );
    let found: BTreeSet<String> = unread(&*journal, log.id).await?.into_iter().collect();
    same!(
        found,
        names.into_iter().collect::<BTreeSet<_>>(),
        "the messages"
    );
    Ok(())
}

pub(super) async fn rule_11_unread_messages_are_loaded_in_order(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    for name in ["c", "a", "b"] {
        journal.post(post(log.id, name)).await?;
    }
    same!(
        unread(&*journal, log.id).await?,
        ["c", "a", "b"],
        "messages in the order of posting"
    );
    journal
        .append(record(log.id, log.place, "[]").read(2))
        .await?;
    same!(
        unread(&*journal, log.id).await?,
        ["b"],
        "messages after two were read"
    );
    same!(
        head(&*journal, log.id).await?.mail,
        Postbox::new(3, 2),
        "the postbox"
    );
    // A record that says nothing of mail reads none.
    journal
        .append(record(log.id, log.place.after(), "[]"))
        .await?;
    same!(
        unread(&*journal, log.id).await?,
        ["b"],
        "messages after a record that read none"
    );
    journal
        .append(record(log.id, log.place.after().after(), "[]").read(3))
        .await?;
    same!(
        unread(&*journal, log.id).await?.len(),
        0,
        "messages after all were read"
    );
    journal.post(post(log.id, "d")).await?;
    same!(
        unread(&*journal, log.id).await?,
        ["d"],
        "messages after another"
    );
    Ok(())
}

pub(super) async fn rule_11_a_message_is_known_after_it_was_read(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    journal.post(post(log.id, "a")).await?;
    journal
        .append(record(log.id, log.place, "[]").read(1))
        .await?;
    same!(
        journal.post(post(log.id, "a")).await?,
        Posted::Known(1),
        "a message that was read"
    );
    same!(
        head(&*journal, log.id).await?.mail,
        Postbox::new(1, 1),
        "the postbox"
    );
    same!(unread(&*journal, log.id).await?.len(), 0, "unread messages");
    Ok(())
}

pub(super) async fn rule_11_an_ended_log_takes_no_mail(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    journal.post(post(log.id, "a")).await?;
    journal.append(ending(&log, Status::Held)).await?;
    let held = head(&*journal, log.id).await?;
    same!(
        journal.post(post(log.id, "b")).await?,
        Posted::Added(2),
        "a message to a held log"
    );
    journal.append(ending(&held, Status::Ended)).await?;
    same!(
        journal.post(post(log.id, "c")).await?,
        Posted::Ended,
        "a message to an ended log"
    );
    same!(
        journal.post(post(log.id, "a")).await?,
        Posted::Known(1),
        "a message from before the end"
    );
    same!(
        head(&*journal, log.id).await?.mail,
        Postbox::new(2, 0),
        "the postbox"
    );
    same!(
        unread(&*journal, log.id).await?,
        ["a", "b"],
        "messages that nobody read"
    );
    Ok(())
}

pub(super) async fn rule_11_mail_ends_the_parking(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    journal
        .append(record(log.id, log.place, "[]").park(HOUR))
        .await?;
    same!(
        journal.claim(wanted()).await?.len(),
        0,
        "logs to claim while all are parked"
    );
    journal.post(post(log.id, "a")).await?;
    let woken = only(journal.claim(wanted()).await?)?;
    same!(
        (woken.id, woken.mail),
        (log.id, Postbox::new(1, 0)),
        "the log that woke, and its mail"
    );
    // The same message again wakes nobody: it is written already.
    journal
        .append(record(log.id, woken.place, "[]").read(1).park(HOUR))
        .await?;
    journal.post(post(log.id, "a")).await?;
    same!(
        journal.claim(wanted()).await?.len(),
        0,
        "logs to claim after a message that was read"
    );
    Ok(())
}

pub(super) async fn rule_11_mail_comes_before_parking(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    journal.post(post(log.id, "a")).await?;
    journal
        .append(record(log.id, log.place, "[]").park(HOUR))
        .await?;
    let woken = only(journal.claim(wanted()).await?)?;
    same!(woken.id, log.id, "a log that was parked with unread mail");
    Ok(())
}

pub(super) async fn rule_11_a_beat_names_the_logs_with_mail(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let (mine, theirs) = (join(&*journal).await?, join(&*journal).await?);
    let mut logs = Vec::new();
    for (key, owner) in [
        ("1", mine),
        ("2", mine),
        ("3", theirs),
        ("4", mine),
        ("5", mine),
    ] {
        logs.push(begin(&*journal, beginning("acme", "pay", key).owner(owner)).await?);
    }
    create(&*journal, "nobody's").await?;
    let [first, second, other, quiet, ended] = &*logs else {
        return Err("five logs were begun".to_owned().into());
    };
    let beat = |limit| journal.beat(Beat::new(mine, HOUR, limit));
    same!(
        beat(ALL).await?.mail.len(),
        0,
        "logs with mail where there is none"
    );
    for log in [second, first, other, ended] {
        journal.post(post(log.id, "a")).await?;
    }
    journal.append(ending(ended, Status::Ended)).await?;
    same!(
        beat(ALL).await?.mail,
        [first.id, second.id],
        "logs of the instance with mail"
    );
    same!(
        beat(1).await?.mail,
        [first.id],
        "one log of the instance with mail"
    );
    same!(
        beat(0).await?.mail.len(),
        0,
        "no log of the instance with mail"
    );
    journal
        .append(record(first.id, first.place, "[]").read(1))
        .await?;
    same!(
        beat(ALL).await?.mail,
        [second.id],
        "logs with mail after one was read"
    );
    same!(
        head(&*journal, quiet.id).await?.mail,
        Postbox::default(),
        "a log without mail"
    );
    Ok(())
}
