//! What is listed.

use super::Subject;
use super::work::{
    ALL, Checked, at, begin, beginning, create, ending, head, ids, labels, record, same,
};
use crate::journal::{Append, Listing, Status};

pub(super) async fn lists_follow_the_status(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let mut heads = Vec::new();
    for number in 0..5 {
        heads.push(create(&*journal, &number.to_string()).await?);
    }
    let [zero, one, two, three, four] = &*heads else {
        return Err("five logs were begun".to_owned().into());
    };
    for log in [one, three] {
        journal.append(ending(log, Status::Held)).await?;
    }
    let held = journal.list(Listing::new(Status::Held, ALL)).await?;
    same!(ids(&held), vec![one.id, three.id], "held logs");
    for log in &held {
        same!(log.place.records, 2, "records of a held log");
        same!(head(&*journal, log.id).await?, *log, "a held log");
    }
    let second = Listing::new(Status::Held, ALL).after(one.id);
    same!(
        ids(&journal.list(second).await?),
        vec![three.id],
        "held logs after the first"
    );
    let running = Listing::new(Status::Running, 2);
    same!(
        ids(&journal.list(running).await?),
        vec![zero.id, two.id],
        "two running logs"
    );
    same!(
        journal.list(Listing::new(Status::Running, 0)).await?.len(),
        0,
        "no running logs"
    );
    // A held log can run again.
    journal
        .append(record(one.id, one.place.after(), "[]"))
        .await?;
    let running = journal.list(Listing::new(Status::Running, ALL)).await?;
    same!(
        ids(&running),
        vec![zero.id, one.id, two.id, four.id],
        "running logs"
    );
    Ok(())
}

pub(super) async fn lists_can_be_narrowed(subject: &Subject) -> Checked {
    let journal = subject.journal().await;
    let mut logs = Vec::new();
    for (tenant, kind, key, stage, begun) in [
        ("acme", "pay", "1", "checking", 10),
        ("acme", "pay", "it's 2", "paying", 20),
        ("other", "pay", "1", "paying", 30),
        ("acme", "refund", "1", "paying", 40),
        ("", "refund", "3", "", 50),
    ] {
        let mut asked = beginning(tenant, kind, key).stage(stage);
        asked.at = at(begun);
        logs.push(begin(&*journal, asked).await?);
    }
    let [one, two, three, four, five] = &*logs else {
        return Err("five logs were begun".to_owned().into());
    };
    for (status, records) in [(Status::Running, 0), (Status::Held, 1), (Status::Ended, 2)] {
        if records > 0 {
            // What they wait for changes, and when they were updated; what they are stays.
            for log in &logs {
                let now = head(&*journal, log.id).await?;
                let updated = at(log.begun.as_millis() + 100 * records);
                let append = Append::new(log.id, now.place, status, labels("x"), 1, "[]", updated);
                journal.append(append).await?;
            }
        }
        let all = || Listing::new(status, ALL);
        let last = 100 * records;
        let cases = [
            ("all", all(), vec![one, two, three, four, five]),
            ("a kind", all().kind("refund"), vec![four, five]),
            ("no kind", all().kind("none"), vec![]),
            ("a tenant", all().tenant("acme"), vec![one, two, four]),
            ("the empty tenant", all().tenant(""), vec![five]),
            ("a key", all().key("1"), vec![one, three, four]),
            ("a key with a quote", all().key("it's 2"), vec![two]),
            (
                "tenant, kind and key",
                all().tenant("acme").kind("pay").key("1"),
                vec![one],
            ),
            ("a stage", all().stage("paying"), vec![two, three, four]),
            ("no stage", all().stage(""), vec![five]),
            ("begun before", all().begun_before(at(30)), vec![one, two]),
            (
                "updated before",
                all().updated_before(at(last + 21)),
                vec![one, two],
            ),
            (
                "kind and stage",
                all().kind("pay").stage("paying"),
                vec![two, three],
            ),
            (
                "a tenant after",
                all().tenant("acme").after(one.id),
                vec![two, four],
            ),
            (
                "a key after",
                all().key("1").after(one.id),
                vec![three, four],
            ),
            (
                "some of a tenant",
                {
                    let mut some = all().tenant("acme");
                    some.limit = 2;
                    some
                },
                vec![one, two],
            ),
        ];
        for (what, listing, due) in cases {
            let found = ids(&journal.list(listing).await?);
            let due: Vec<_> = due.iter().map(|log| log.id).collect();
            same!(found, due, format!("{} logs by {what}", status.as_str()));
        }
    }
    Ok(())
}
