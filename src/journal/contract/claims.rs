//! Rule 6: what a claim hands out.

use std::collections::BTreeSet;

use super::Subject;
use super::work::{
    ALL, Checked, begin, beginning, create, ending, ensure, head, ids, join, lapse, only, record,
    refused, same, wanted,
};
use crate::journal::{Claim, Epoch, JournalError, Place, Status};

pub(super) async fn rule_6_a_claim_takes_running_logs_of_known_kinds(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let running = create(&*journal, "running").await?;
    let held = create(&*journal, "held").await?;
    let ended = create(&*journal, "ended").await?;
    let late = create(&*journal, "late").await?;
    journal.append(ending(&held, Status::Held)).await?;
    journal.append(ending(&ended, Status::Ended)).await?;
    begin(&*journal, beginning("acme", "other", "other")).await?;

    same!(
        journal.claim(Claim::new(vec![], ALL)).await?.len(),
        0,
        "logs of no kind"
    );
    let odd = Claim::new(vec![("unknown' OR 1=1".into(), 1)], ALL);
    same!(journal.claim(odd).await?.len(), 0, "logs of an odd kind");
    let page = Claim::new(vec![("pay".into(), 1), ("none".into(), 1)], 1);
    let page = only(journal.claim(page).await?)?;
    same!(page.id, running.id, "the first claim");
    same!(page.place, Place::new(Epoch::FIRST.next(), 1), "its place");
    same!(
        (page.claims, page.owner),
        (1, None),
        "its claims and its owner"
    );
    same!(
        head(&*journal, page.id).await?,
        page,
        "what a claim answers and what is listed"
    );
    let rest = only(journal.claim(wanted().after(running.id)).await?)?;
    same!(rest.id, late.id, "the second claim");
    // Whoever claims for nobody in particular has no lease, so the next claim takes it over.
    same!(
        journal.claim(wanted()).await?.len(),
        2,
        "logs that nobody owns"
    );
    Ok(())
}

pub(super) async fn rule_6_a_claim_shuts_the_earlier_writer_out(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    let claimed = only(journal.claim(wanted()).await?)?;
    let stale = journal.append(record(log.id, log.place, "[]")).await;
    refused!(
        stale,
        JournalError::Conflict { .. },
        "an append of the earlier epoch"
    );
    journal.append(record(log.id, claimed.place, "[]")).await?;
    let log = journal.load(log.id).await?;
    let epoch = log.records.last().map(|record| record.epoch);
    same!(
        epoch,
        Some(Epoch::FIRST.next()),
        "the epoch of the second record"
    );
    same!(log.head.claims, 1, "claims");
    Ok(())
}

pub(super) async fn rule_6_a_claim_takes_the_versions_asked_for(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let old = create(&*journal, "old").await?;
    let new = begin(&*journal, beginning("acme", "pay", "new").version(2)).await?;
    let other = begin(&*journal, beginning("acme", "refund", "other").version(2)).await?;
    let one = Claim::new(vec![("pay".into(), 2)], ALL);
    same!(
        ids(&journal.claim(one).await?),
        vec![new.id],
        "logs of version 2"
    );
    let none = Claim::new(vec![("pay".into(), 3), ("refund".into(), 1)], ALL);
    same!(
        journal.claim(none).await?.len(),
        0,
        "logs of versions that are not there"
    );
    let both = Claim::new(vec![("refund".into(), 2), ("pay".into(), 1)], ALL);
    same!(
        ids(&journal.claim(both).await?),
        vec![old.id, other.id],
        "logs of two kinds"
    );
    Ok(())
}

pub(super) async fn rule_6_a_record_moves_its_log_to_another_version(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "INV-1").await?;
    let ended = create(&*journal, "INV-2").await?;
    let of = |version| Claim::new(vec![("pay".into(), version)], ALL);
    let stale = record(log.id, ended.place.after(), "[]").version(7);
    refused!(
        journal.append(stale).await,
        JournalError::Conflict { .. },
        "a record that does not follow"
    );
    same!(
        head(&*journal, log.id).await?.version,
        1,
        "the version after a record that was refused"
    );
    journal
        .append(record(log.id, log.place, "[2]").version(2))
        .await?;
    let moved = head(&*journal, log.id).await?;
    same!(moved.version, 2, "the version after a record that says so");
    journal
        .append(ending(&ended, Status::Ended).version(3))
        .await?;
    same!(
        head(&*journal, ended.id).await?.version,
        3,
        "the version after an end that says so"
    );
    same!(
        journal.claim(of(1)).await?.len(),
        0,
        "logs of the version that it was"
    );
    let claimed = only(journal.claim(of(2)).await?)?;
    same!(
        (claimed.id, claimed.version),
        (log.id, 2),
        "the log of the version that it is"
    );
    journal.append(record(log.id, claimed.place, "[3]")).await?;
    same!(
        journal.load(log.id).await?.head.version,
        2,
        "the version after a record that says nothing"
    );
    Ok(())
}

pub(super) async fn rule_6_a_claim_leaves_out_tenants(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let mut logs = Vec::new();
    for tenant in ["a", "b's \"", "", "c"] {
        logs.push(begin(&*journal, beginning(tenant, "pay", "1")).await?);
    }
    let logs = ids(&logs);
    let except = vec!["b's \"".to_owned(), String::new(), "nobody".to_owned()];
    let some = ids(&journal.claim(wanted().except(except)).await?);
    let due: Vec<_> = [logs.first(), logs.last()]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    same!(some, due, "logs of the tenants that are wanted");
    same!(
        ids(&journal.claim(wanted().except(Vec::new())).await?),
        logs,
        "logs of all tenants"
    );
    Ok(())
}

pub(super) async fn rule_6_a_claim_leaves_live_owners_alone(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    let (dies, lives) = (join(&*journal).await?, join(&*journal).await?);
    let claimed = only(journal.claim(wanted().owner(dies)).await?)?;
    same!(claimed.owner, Some(dies), "the owner after a claim");
    for claim in [wanted().owner(lives), wanted(), wanted().owner(dies)] {
        same!(
            journal.claim(claim).await?.len(),
            0,
            "logs to claim while their owner lives"
        );
    }
    lapse(subject, &*journal, dies).await?;
    let taken = only(journal.claim(wanted().owner(lives)).await?)?;
    same!(
        (taken.id, taken.owner),
        (log.id, Some(lives)),
        "the log and its next owner"
    );
    same!(taken.place, Place::new(Epoch::new(3), 1), "its place");
    let stale = journal.append(record(log.id, claimed.place, "[]")).await;
    refused!(
        stale,
        JournalError::Conflict { .. },
        "an append of an owner that was taken for dead"
    );
    Ok(())
}

pub(super) async fn rule_6_a_claim_takes_the_oldest_first(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let mut logs = Vec::new();
    for number in 0..5 {
        logs.push(create(&*journal, &number.to_string()).await?.id);
    }
    let owner = join(&*journal).await?;
    let page = |limit| Claim::new(vec![("pay".into(), 1)], limit).owner(owner);
    same!(journal.claim(page(0)).await?.len(), 0, "a claim of nothing");
    let mut claimed = ids(&journal.claim(page(2)).await?);
    same!(claimed.len(), 2, "a claim of two");
    claimed.extend(ids(&journal.claim(page(ALL)).await?));
    same!(claimed, logs, "two claims, oldest first");
    Ok(())
}

pub(super) async fn rule_6_no_log_goes_to_two_claims(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let beside = subject.beside(&journal).await;
    let mut logs = BTreeSet::new();
    for number in 0..40 {
        logs.insert(create(&*journal, &number.to_string()).await?.id);
    }
    let (one, two) = (join(&*journal).await?, join(&*beside).await?);
    let mut taken = BTreeSet::new();
    // Six at a time by four callers: the race is on until nothing is left.
    for _round in 0..40 {
        let page = |owner| Claim::new(vec![("pay".into(), 1)], 6).owner(owner);
        let (a, b, c, d) = futures::join!(
            journal.claim(page(one)),
            beside.claim(page(two)),
            journal.claim(page(one)),
            beside.claim(page(two)),
        );
        for (heads, owner) in [(a?, one), (b?, two), (c?, one), (d?, two)] {
            for head in heads {
                same!(head.owner, Some(owner), "the owner of what was claimed");
                ensure!(taken.insert(head.id), "log {} went to two claims", head.id);
            }
        }
    }
    same!(taken, logs, "logs that were claimed");
    Ok(())
}

pub(super) async fn rule_6_a_log_begun_with_an_owner_is_its(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let (dies, lives) = (join(&*journal).await?, join(&*journal).await?);
    let log = begin(&*journal, beginning("acme", "pay", "1").owner(dies)).await?;
    same!(
        (log.owner, log.claims, log.recoveries),
        (Some(dies), 0, 0),
        "a log with an owner"
    );
    same!(
        head(&*journal, log.id).await?,
        log,
        "the log as it is listed"
    );
    same!(
        journal.claim(wanted().owner(lives)).await?.len(),
        0,
        "logs without an owner"
    );
    journal.append(record(log.id, log.place, "[]")).await?;
    lapse(subject, &*journal, dies).await?;
    let taken = only(journal.claim(wanted().owner(lives)).await?)?;
    same!(
        (taken.owner, taken.recoveries),
        (Some(lives), 1),
        "after its owner died"
    );
    Ok(())
}
