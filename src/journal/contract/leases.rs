//! Rules 9 and 10: leases, parking, and what counts as a recovery.

use std::time::Duration;

use super::Subject;
use super::work::{
    Broken, Checked, HOUR, MOMENT, PAUSE, begin, beginning, create, ending, ensure, head, ids,
    join, lapse, only, record, refused, same, wanted,
};
use crate::journal::{Beat, InstanceId, Join, Journal, JournalError, Release, Status};

/// Tries for a renewal that a slow machine made too late.
const TRIES: usize = 20;

pub(super) async fn rule_9_a_lease_that_is_over_stays_over(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let beat = |instance| journal.beat(Beat::new(instance, HOUR, 0));
    let lapsed = join(&*journal).await?;
    beat(lapsed).await?;
    lapse(subject, &*journal, lapsed).await?;
    for _again in 0..2 {
        refused!(beat(lapsed).await, JournalError::Lapsed(id) if *id == lapsed, "a beat after the lease");
    }
    let left = join(&*journal).await?;
    journal.leave(left).await?;
    refused!(beat(left).await, JournalError::Lapsed(id) if *id == left, "a beat after leaving");
    let nobody = InstanceId::new(1 << 40);
    refused!(beat(nobody).await, JournalError::Lapsed(id) if *id == nobody, "a beat of nobody");
    let short = journal.join(Join::new("short", MOMENT)).await?;
    subject.pass(PAUSE).await;
    refused!(
        beat(short).await,
        JournalError::Lapsed(_),
        "a beat after a short lease"
    );
    // Others are not disturbed by any of this, nor by the joining that clears old leases away.
    let lives = join(&*journal).await?;
    beat(lives).await?;
    refused!(
        beat(lapsed).await,
        JournalError::Lapsed(_),
        "a beat long after the lease"
    );
    Ok(())
}

pub(super) async fn rule_9_a_beat_renews_a_lease(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    create(&*journal, "1").await?;
    let short = Duration::from_millis(100);
    let mut renewed = None;
    for _try in 0..TRIES {
        let instance = journal.join(Join::new("short", short)).await?;
        match journal.beat(Beat::new(instance, HOUR, 0)).await {
            Ok(_) => {
                renewed = Some(instance);
                break;
            }
            // The machine was away for longer than the lease.
            Err(JournalError::Lapsed(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let Some(instance) = renewed else {
        return Err(Broken(format!(
            "no lease of {short:?} could be renewed at once"
        )));
    };
    same!(
        journal.claim(wanted().owner(instance)).await?.len(),
        1,
        "logs for the instance"
    );
    subject.pass(short + PAUSE).await;
    same!(
        journal.claim(wanted()).await?.len(),
        0,
        "logs to claim after the lease was renewed"
    );
    journal.beat(Beat::new(instance, HOUR, 0)).await?;
    Ok(())
}

pub(super) async fn rule_9_no_instance_is_named_twice(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let first = join(&*journal).await?;
    let second = join(&*journal).await?;
    ensure!(second > first, "instance {second} follows {first}");
    journal.leave(second).await?;
    let third = join(&*journal).await?;
    ensure!(
        third > second,
        "instance {third} follows {second}, which left"
    );
    lapse(subject, &*journal, third).await?;
    drop(journal);
    let journal = subject.journal().await;
    let fourth = join(&*journal).await?;
    ensure!(
        fourth > third,
        "instance {fourth} follows {third}, which died"
    );
    Ok(())
}

pub(super) async fn rule_9_a_parked_log_waits_for_the_clock(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let owner = join(&*journal).await?;
    let (long, short) = (
        create(&*journal, "long").await?,
        create(&*journal, "short").await?,
    );
    let claimed = journal.claim(wanted().owner(owner)).await?;
    same!(ids(&claimed), vec![long.id, short.id], "logs to claim");
    for (log, delay) in claimed.iter().zip([HOUR, MOMENT]) {
        journal
            .append(record(log.id, log.place, "[]").park(delay))
            .await?;
        same!(
            head(&*journal, log.id).await?.owner,
            None,
            "the owner of a parked log"
        );
    }
    subject.pass(PAUSE).await;
    let woken = only(journal.claim(wanted().owner(owner)).await?)?;
    same!(woken.id, short.id, "the log that woke");
    // It is nobody's business that it was parked before.
    journal.append(record(woken.id, woken.place, "[]")).await?;
    same!(
        head(&*journal, woken.id).await?.owner,
        Some(owner),
        "the owner after it woke"
    );
    // Whoever parked it may think better of it.
    let parked = head(&*journal, long.id).await?;
    journal
        .append(record(long.id, parked.place, "[\"awake\"]"))
        .await?;
    same!(
        only(journal.claim(wanted().owner(owner)).await?)?.id,
        long.id,
        "a log that was parked no longer"
    );
    Ok(())
}

pub(super) async fn rule_10_recoveries_count_the_owners_that_died(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let log = create(&*journal, "1").await?;
    for deaths in 1..=3_u32 {
        let owner = join(&*journal).await?;
        let taken = only(journal.claim(wanted().owner(owner)).await?)?;
        same!(
            (taken.recoveries, taken.claims),
            (deaths, u64::from(deaths)),
            "recoveries and claims"
        );
        same!(
            head(&*journal, log.id).await?.recoveries,
            deaths,
            "recoveries as listed"
        );
        lapse(subject, &*journal, owner).await?;
    }
    let owner = join(&*journal).await?;
    let taken = only(journal.claim(wanted().owner(owner)).await?)?;
    journal.append(record(log.id, taken.place, "[]")).await?;
    let after = head(&*journal, log.id).await?;
    same!(
        (after.recoveries, after.claims),
        (0, 4),
        "recoveries and claims after a record"
    );
    Ok(())
}

pub(super) async fn rule_10_a_release_counts_as_no_recovery(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let owner = join(&*journal).await?;
    let begun = begin(&*journal, beginning("acme", "pay", "1").owner(owner)).await?;
    journal.release(Release::new(begun.id, begun.place)).await?;
    same!(
        head(&*journal, begun.id).await?.recoveries,
        0,
        "recoveries of a log that was only begun"
    );
    for claims in 1..=3_u64 {
        let taken = only(journal.claim(wanted().owner(owner)).await?)?;
        same!(
            (taken.recoveries, taken.claims),
            (1, claims),
            "recoveries and claims"
        );
        journal.release(Release::new(taken.id, taken.place)).await?;
        // A second time: the reply was lost.
        journal.release(Release::new(taken.id, taken.place)).await?;
        let free = head(&*journal, taken.id).await?;
        same!(
            (free.owner, free.recoveries),
            (None, 0),
            "owner and recoveries of what was given back"
        );
    }
    // What died before is not forgotten by it.
    let dies = join(&*journal).await?;
    only(journal.claim(wanted().owner(dies)).await?)?;
    lapse(subject, &*journal, dies).await?;
    let taken = only(journal.claim(wanted().owner(owner)).await?)?;
    same!(taken.recoveries, 2, "recoveries after a death");
    journal.release(Release::new(taken.id, taken.place)).await?;
    same!(
        head(&*journal, taken.id).await?.recoveries,
        1,
        "recoveries after a death and a release"
    );
    Ok(())
}

pub(super) async fn rule_10_a_release_elsewhere_does_nothing(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let (dies, lives) = (join(&*journal).await?, join(&*journal).await?);
    create(&*journal, "1").await?;
    let stale = only(journal.claim(wanted().owner(dies)).await?)?;
    lapse(subject, &*journal, dies).await?;
    let taken = only(journal.claim(wanted().owner(lives)).await?)?;
    journal.release(Release::new(stale.id, stale.place)).await?;
    same!(
        head(&*journal, taken.id).await?,
        taken,
        "the log after a release of the earlier epoch"
    );
    journal.append(record(taken.id, taken.place, "[]")).await?;
    let before = head(&*journal, taken.id).await?;
    journal.release(Release::new(taken.id, taken.place)).await?;
    same!(
        head(&*journal, taken.id).await?,
        before,
        "the log after a release of an earlier place"
    );
    Ok(())
}

pub(super) async fn rule_10_leaving_gives_back_what_was_owned(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let (leaves, stays) = (join(&*journal).await?, join(&*journal).await?);
    let theirs = create(&*journal, "theirs").await?;
    only(journal.claim(wanted().owner(stays)).await?)?;
    let begun = begin(&*journal, beginning("acme", "pay", "begun").owner(leaves)).await?;
    let claimed = create(&*journal, "claimed").await?;
    only(journal.claim(wanted().owner(leaves)).await?)?;
    let kept = head(&*journal, theirs.id).await?;
    journal.leave(leaves).await?;
    for id in [begun.id, claimed.id] {
        let free = head(&*journal, id).await?;
        same!(
            (free.owner, free.recoveries),
            (None, 0),
            "owner and recoveries of what was left"
        );
    }
    same!(
        head(&*journal, theirs.id).await?,
        kept,
        "the log of another instance"
    );
    let taken = journal.claim(wanted().owner(stays)).await?;
    same!(
        ids(&taken),
        vec![begun.id, claimed.id],
        "logs to claim after leaving"
    );
    // Again, and of somebody who was never there: nothing.
    for nobody in [leaves, InstanceId::new(1 << 40)] {
        journal.leave(nobody).await?;
        for before in &taken {
            same!(
                head(&*journal, before.id).await?,
                *before,
                "a log after leaving again"
            );
        }
    }
    Ok(())
}

pub(super) async fn rule_10_a_record_keeps_or_clears_the_owner(subject: &Subject) -> Checked {
    let journal: std::sync::Arc<dyn Journal> = subject.journal().await;
    let owner = join(&*journal).await?;
    for status in [Status::Held, Status::Ended] {
        let log = begin(
            &*journal,
            beginning("acme", "pay", status.as_str()).owner(owner),
        )
        .await?;
        journal.append(record(log.id, log.place, "[]")).await?;
        let mine = head(&*journal, log.id).await?;
        same!(mine.owner, Some(owner), "the owner after a record");
        journal.append(ending(&mine, status)).await?;
        let over = head(&*journal, log.id).await?;
        same!(
            over.owner,
            None,
            format!("the owner of a log that is {}", status.as_str())
        );
    }
    // What was held runs again for whoever claims it.
    let held = head(
        &*journal,
        only(
            journal
                .list(crate::journal::Listing::new(Status::Held, 9))
                .await?,
        )?
        .id,
    )
    .await?;
    journal
        .append(record(held.id, held.place, "[\"again\"]"))
        .await?;
    let again = only(journal.claim(wanted().owner(owner)).await?)?;
    same!(
        (again.id, again.owner),
        (held.id, Some(owner)),
        "a log that was held and runs again"
    );
    Ok(())
}
