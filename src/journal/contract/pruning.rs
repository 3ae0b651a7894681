//! Rule 12: what is removed.

use super::Subject;
use super::work::{
    ALL, Checked, HOUR, PAUSE, begin, beginning, create, ending, ensure, head, ids, join, post,
    record, refused, same, wanted,
};
use crate::journal::{Begun, Journal, JournalError, Listing, LogId, Posted, Prune, Status};
use std::time::Duration;

async fn all(journal: &dyn Journal) -> Result<Vec<LogId>, super::Broken> {
    let mut found = Vec::new();
    for status in [Status::Running, Status::Held, Status::Ended] {
        found.extend(ids(&journal.list(Listing::new(status, ALL)).await?));
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) async fn rule_12_only_what_ended_is_pruned(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let owner = join(&*journal).await?;
    let running = create(&*journal, "running").await?;
    let owned = begin(&*journal, beginning("acme", "pay", "owned").owner(owner)).await?;
    let (held, parked) = (
        create(&*journal, "held").await?,
        create(&*journal, "parked").await?,
    );
    journal.append(ending(&held, Status::Held)).await?;
    journal
        .append(record(parked.id, parked.place, "[]").park(HOUR))
        .await?;
    let ended = create(&*journal, "ended").await?;
    journal.append(ending(&ended, Status::Ended)).await?;
    let other = begin(&*journal, beginning("acme", "refund", "ended")).await?;
    journal.append(ending(&other, Status::Ended)).await?;
    subject.pass(PAUSE).await;
    same!(
        journal.prune(Prune::new(HOUR, ALL)).await?,
        0,
        "logs that ended an hour ago"
    );
    same!(
        journal.prune(Prune::new(Duration::ZERO, 0)).await?,
        0,
        "a pruning of nothing"
    );
    let refunds = Prune::new(Duration::ZERO, ALL).kind("refund");
    same!(
        journal.prune(refunds.clone()).await?,
        1,
        "ended logs of a kind"
    );
    refused!(
        journal.load(other.id).await,
        JournalError::Missing(_),
        "the log that was pruned"
    );
    same!(
        journal.prune(refunds).await?,
        0,
        "ended logs of a kind, again"
    );
    same!(
        journal.prune(Prune::new(Duration::ZERO, ALL)).await?,
        1,
        "ended logs"
    );
    let left = vec![running.id, owned.id, held.id, parked.id];
    same!(all(&*journal).await?, left, "the logs that are left");
    same!(
        journal.prune(Prune::new(Duration::ZERO, ALL)).await?,
        0,
        "ended logs, again"
    );
    Ok(())
}

pub(super) async fn rule_12_the_oldest_goes_first(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let mut logs = Vec::new();
    for (key, kind) in [("1", "pay"), ("2", "refund"), ("3", "pay"), ("4", "pay")] {
        logs.push(begin(&*journal, beginning("acme", kind, key)).await?);
    }
    let [one, two, three, four] = &*logs else {
        return Err("four logs were begun".to_owned().into());
    };
    // The order in which they end is not the one in which they began.
    for log in [three, two, four, one] {
        journal.append(ending(log, Status::Ended)).await?;
        subject.pass(PAUSE).await;
    }
    let mut left = vec![one.id, two.id, three.id, four.id];
    for log in [three, two, four, one] {
        same!(
            journal.prune(Prune::new(Duration::ZERO, 1)).await?,
            1,
            "a pruning of one"
        );
        left.retain(|id| *id != log.id);
        same!(all(&*journal).await?, left, "the logs that are left");
    }
    Ok(())
}

pub(super) async fn rule_12_what_is_pruned_is_gone(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    journal.post(post(log.id, "a")).await?;
    let open = head(&*journal, log.id).await?;
    journal.append(ending(&open, Status::Ended)).await?;
    subject.pass(PAUSE).await;
    same!(
        journal.prune(Prune::new(Duration::ZERO, ALL)).await?,
        1,
        "ended logs"
    );
    refused!(
        journal.load(log.id).await,
        JournalError::Missing(_),
        "a pruned log"
    );
    let append = journal.append(record(log.id, log.place, "[]")).await;
    refused!(
        append,
        JournalError::Missing(_),
        "an append to a pruned log"
    );
    refused!(
        journal.post(post(log.id, "a")).await,
        JournalError::Missing(_),
        "a message to a pruned log"
    );
    drop(journal);
    let journal = subject.journal().await;
    let Begun::Created(again) = journal.begin(beginning("acme", "pay", "1")).await? else {
        return Err("the key of a pruned log is still taken".to_owned().into());
    };
    ensure!(
        again.id > log.id,
        "log {} has the key of log {}, which was pruned",
        again.id,
        log.id
    );
    let whole = journal.load(again.id).await?;
    same!(
        (whole.records.len(), whole.mail.len()),
        (1, 0),
        "records and messages of the new log"
    );
    same!(
        journal.post(post(again.id, "a")).await?,
        Posted::Added(1),
        "a message to the new log"
    );
    same!(
        ids(&journal.claim(wanted()).await?),
        vec![again.id],
        "logs to claim"
    );
    Ok(())
}
