//! What only the PostgreSQL journal promises.

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
use mainstay::journal::{
    Append, Beat, Begin, Begun, Claim, Head, Join, Journal, JournalError, Labels, Listing, Place,
    Status,
};

use super::fixture::{Fixture, at, beginning, create, ending, pool, psql, record};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("rules::opening_migrates_nothing", opening_migrates_nothing);
    suite.test(
        "rules::what_is_printed_makes_the_tables",
        printed_migrations,
    );
    suite.test("rules::many_may_migrate_at_once", racing_migrations);
    suite.test("rules::a_later_version_is_refused", later_version);
    suite.test(
        "rules::an_earlier_version_that_lacks_an_index_will_do",
        earlier_version,
    );
    suite.test(
        "rules::a_server_that_does_not_sync_is_refused",
        unsafe_settings,
    );
    suite.test("rules::missing_rights_are_no_passing_fault", missing_rights);
    suite.test("rules::a_refused_record_spoils_no_other", refused_record);
    suite.test("rules::errors_tell_no_secrets", no_secrets);
    suite.test(
        "rules::a_damaged_log_leaves_the_others_readable",
        damaged_logs,
    );
    suite.test("rules::two_journals_never_claim_the_same_log", claims_race);
    suite.test(
        "rules::clocks_of_the_instances_do_not_matter",
        skewed_clocks,
    );
    suite.test(
        "rules::a_heartbeat_that_waited_for_a_claim_comes_late",
        late_heartbeat,
    );
    suite.test("rules::writers_share_commits", shared_commits);
    suite.test(
        "rules::a_server_that_does_not_answer_is_a_passing_fault",
        silence,
    );
    suite.test("rules::a_role_needs_no_more_than_its_tables", modest_role);
}

async fn opening_migrates_nothing(fixture: Fixture) {
    let refused = PostgresJournal::open(pool(fixture.address()), fixture.config())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, JournalError::Schema { found: 0, .. }),
        "{refused:?}"
    );
    let refused = PostgresJournal::open(pool(fixture.address()), fixture.config())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, JournalError::Schema { found: 0, .. }),
        "{refused:?}"
    );
    create(&fixture.journal().await, "1").await;
}

async fn printed_migrations(fixture: Fixture) {
    let client = fixture.psql().await;
    for step in PostgresJournal::migrations(&fixture.config()) {
        client.batch_execute(&step.to_string()).await.unwrap();
    }
    let head = create(&fixture.open().await, "1").await;
    // And `migrate` finds nothing to do.
    assert_eq!(
        fixture
            .journal()
            .await
            .load(head.id)
            .await
            .unwrap()
            .records
            .len(),
        1
    );
}

async fn racing_migrations(fixture: Fixture) {
    let racers = (0..6).map(|_| {
        let (address, config) = (fixture.address(), fixture.config());
        tokio::spawn(async move { PostgresJournal::migrate(&pool(address), &config).await })
    });
    for racer in futures::future::join_all(racers).await {
        racer.unwrap().unwrap();
    }
    create(&fixture.open().await, "1").await;
}

async fn later_version(fixture: Fixture) {
    fixture.migrated().await;
    let insert = format!(
        "INSERT INTO {}.migration (version) VALUES (99)",
        fixture.schema
    );
    fixture.psql().await.batch_execute(&insert).await.unwrap();
    let refused = PostgresJournal::open(pool(fixture.address()), fixture.config())
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            JournalError::Schema {
                found: 99,
                known: 2,
                ..
            }
        ),
        "{refused:?}"
    );
    let refused = PostgresJournal::migrate(&pool(fixture.address()), &fixture.config())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, JournalError::Schema { found: 99, .. }),
        "{refused:?}"
    );
}

/// A new program is rolled out first, and works on the tables as they are until somebody migrates.
async fn earlier_version(fixture: Fixture) {
    let client = fixture.psql().await;
    let steps = PostgresJournal::migrations(&fixture.config());
    client.batch_execute(steps[0].sql()).await.unwrap();
    let journal = fixture.open().await;
    let head = create(&journal, "1").await;
    journal.append(ending(&head, head.place)).await.unwrap();
    let ended = Listing::new(Status::Ended, 9).tenant(&*head.labels.tenant);
    assert_eq!(journal.list(ended).await.unwrap().len(), 1);
    fixture.migrated().await;
    create(&journal, "2").await;
    create(&fixture.open().await, "3").await;
}

async fn unsafe_settings(fixture: Fixture) {
    fixture.migrated().await;
    let mut address = fixture.address();
    address.options("-c synchronous_commit=off");
    let refused = PostgresJournal::open(pool(address), fixture.config())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, JournalError::Unsafe { setting: "synchronous_commit", found, .. } if found == "off"),
        "{refused:?}"
    );
    // Slower, not less safe.
    let mut address = fixture.address();
    address.options("-c synchronous_commit=local");
    PostgresJournal::open(pool(address), fixture.config())
        .await
        .unwrap();
}

async fn missing_rights(fixture: Fixture) {
    let journal = fixture.journal().await;
    let head = create(&journal, "1").await;
    let (schema, role) = (&fixture.schema, format!("role_{}", fixture.schema));
    let client = fixture.psql().await;
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};"
    );
    client.batch_execute(&grant).await.unwrap();
    let mut address = fixture.address();
    address.user(&role);
    let journal = fixture.open_at(address.clone()).await;
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 1);
    for refused in [
        journal
            .append(record(&head, head.place, "[]"))
            .await
            .unwrap_err(),
        journal.begin(beginning("2")).await.unwrap_err(),
        PostgresJournal::migrate(&pool(address), &PostgresConfig::new())
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(refused, JournalError::Refused(_)) && !refused.is_transient(),
            "{refused:?}"
        );
        assert!(
            refused.source().unwrap().to_string().contains("42501"),
            "{refused:?}"
        );
    }
}

async fn modest_role(fixture: Fixture) {
    fixture.migrated().await;
    let (schema, role) = (&fixture.schema, format!("role_{}", fixture.schema));
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};"
    );
    fixture.psql().await.batch_execute(&grant).await.unwrap();
    let mut address = fixture.address();
    address.user(&role);
    let journal = fixture.open_at(address).await;
    let head = create(&journal, "1").await;
    let owner = journal
        .join(Join::new("a", Duration::from_secs(60)))
        .await
        .unwrap();
    let heads = journal
        .claim(Claim::new(vec![("pay".into(), 1)], 10).owner(owner))
        .await
        .unwrap();
    journal.append(ending(&head, heads[0].place)).await.unwrap();
    journal.leave(owner).await.unwrap();
    assert_eq!(
        journal
            .prune(mainstay::journal::Prune::new(Duration::ZERO, 10))
            .await
            .unwrap(),
        1
    );
}

async fn refused_record(fixture: Fixture) {
    let journal = fixture.journal().await;
    let mut heads = Vec::new();
    for key in 0..40 {
        heads.push(create(&journal, &key.to_string()).await);
    }
    // One lies where the next record of its log is to come.
    let insert = format!(
        "INSERT INTO {}.record (log, seq, epoch, at, tenant, format, body) VALUES ({}, 2, 1, 0, 'acme', 1, '[]')",
        fixture.schema, heads[7].id
    );
    fixture.psql().await.batch_execute(&insert).await.unwrap();
    let appends = heads
        .iter()
        .map(|head| journal.append(record(head, head.place, "[2]")));
    for (answer, head) in futures::future::join_all(appends)
        .await
        .into_iter()
        .zip(&heads)
    {
        if head.id == heads[7].id {
            assert!(
                matches!(answer, Err(JournalError::Damaged { id, .. }) if id == head.id),
                "{answer:?}"
            );
        } else {
            answer.unwrap();
            assert_eq!(journal.load(head.id).await.unwrap().records.len(), 2);
        }
    }
    // Keys beyond what an index holds, and texts beyond what the server holds. Random, or it would be compressed.
    let mut rng = mainstay::rng::Rng::new(7);
    let long: String = (0..1_000)
        .map(|_| format!("{:x}", rng.next_u64()))
        .collect();
    let begins = ["a", "b", &long, "nul\0", "c"].map(|key| journal.begin(beginning(key)));
    let answers = futures::future::join_all(begins).await;
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Begun::Created(_)) => assert!([0, 1, 4].contains(&number)),
            Err(JournalError::Refused(_)) => assert!([2, 3].contains(&number)),
            other => panic!("{number}: {other:?}"),
        }
    }
    let nul = journal
        .append(record(&heads[0], heads[0].place.after(), "[\0]"))
        .await
        .unwrap_err();
    assert!(matches!(nul, JournalError::Refused(_)), "{nul:?}");
}

fn whole(error: &JournalError) -> String {
    let mut text = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause:?} {cause}"));
        source = cause.source();
    }
    text
}

async fn no_secrets(fixture: Fixture) {
    let journal = fixture.journal().await;
    let head = create(&journal, "1").await;
    // A broken constraint, whose message quotes the row.
    let check = format!(
        "ALTER TABLE {}.record ADD CONSTRAINT short CHECK (length(body) < 20) NOT VALID",
        fixture.schema
    );
    fixture.psql().await.batch_execute(&check).await.unwrap();
    let body = "[\"a secret of a customer's\"]";
    let refused = journal
        .append(record(&head, head.place, body))
        .await
        .unwrap_err();
    assert!(matches!(refused, JournalError::Refused(_)), "{refused:?}");
    assert!(
        whole(&refused).contains("23514") && whole(&refused).contains("short"),
        "{}",
        whole(&refused)
    );
    assert!(!whole(&refused).contains("secret"), "{}", whole(&refused));

    let mut address = fixture.address();
    address.password("hunter2").dbname("nowhere");
    let refused = PostgresJournal::open(pool(address), fixture.config())
        .await
        .unwrap_err();
    assert!(
        !refused.is_transient() && !whole(&refused).contains("hunter2"),
        "{}",
        whole(&refused)
    );
    let mut address = tokio_postgres::Config::new();
    // Nobody listens there.
    address
        .host("127.0.0.1")
        .port(1)
        .user("u")
        .password("hunter2");
    let refused = PostgresJournal::open(pool(address), fixture.config())
        .await
        .unwrap_err();
    assert!(
        refused.is_transient() && !whole(&refused).contains("hunter2"),
        "{}",
        whole(&refused)
    );
    let mut address = fixture.address();
    address.password("hunter2");
    let journal = fixture
        .open_at(address.clone())
        .await
        .listen(address, tokio_postgres::NoTls);
    assert!(!format!("{journal:?}").contains("hunter2"), "{journal:?}");
}

async fn damaged_logs(fixture: Fixture) {
    let journal = fixture.journal().await;
    let mut heads = Vec::new();
    for key in ["gap", "short", "status", "mail", "good"] {
        let head = create(&journal, key).await;
        journal
            .append(record(&head, head.place, "[2]"))
            .await
            .unwrap();
        journal
            .append(record(&head, head.place.after(), "[3]"))
            .await
            .unwrap();
        journal
            .post(mainstay::journal::Post::new(head.id, "m", 1, "[]", at(1)))
            .await
            .unwrap();
        heads.push(head);
    }
    let (schema, client) = (&fixture.schema, fixture.psql().await);
    for damage in [
        format!(
            "DELETE FROM {schema}.record WHERE log = {} AND seq = 2",
            heads[0].id
        ),
        format!(
            "DELETE FROM {schema}.record WHERE log = {} AND seq = 3",
            heads[1].id
        ),
        format!(
            "UPDATE {schema}.log SET status = 'gone' WHERE id = {}",
            heads[2].id
        ),
        format!("DELETE FROM {schema}.mail WHERE log = {}", heads[3].id),
    ] {
        client.batch_execute(&damage).await.unwrap();
    }
    for head in &heads[..4] {
        let damaged = journal.load(head.id).await.unwrap_err();
        assert!(
            matches!(damaged, JournalError::Damaged { id, .. } if id == head.id),
            "{damaged:?}"
        );
    }
    assert_eq!(journal.load(heads[4].id).await.unwrap().records.len(), 3);
    assert_eq!(
        journal
            .list(Listing::new(Status::Running, 10))
            .await
            .unwrap()
            .len(),
        4
    );
}

async fn claims_race(fixture: Fixture) {
    let journal = fixture.journal().await;
    let begins = (0..400).map(|key: u32| journal.begin(beginning(&key.to_string())));
    for begun in futures::future::join_all(begins).await {
        begun.unwrap();
    }
    let claimants = (0..4).map(|name: u32| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            let journal = fixture.open().await;
            let owner = journal
                .join(Join::new(name.to_string(), Duration::from_secs(600)))
                .await
                .unwrap();
            let mut mine: Vec<Head> = Vec::new();
            let mut empty = 0;
            while empty < 20 {
                let claim = Claim::new(vec![("pay".into(), 1)], 7).owner(owner);
                let heads = journal.claim(claim).await.unwrap();
                empty = if heads.is_empty() { empty + 1 } else { 0 };
                assert!(heads.len() <= 7 && heads.is_sorted_by_key(|head| head.id));
                mine.extend(heads);
            }
            mine
        })
    });
    let mut all = HashSet::new();
    for claimant in futures::future::join_all(claimants).await {
        for head in claimant.unwrap() {
            assert_eq!((head.place.epoch.get(), head.claims), (2, 1));
            assert!(all.insert(head.id), "{} was claimed twice", head.id);
        }
    }
    assert_eq!(all.len(), 400, "and none was forgotten");
}

/// The writers' clocks are anywhere in time; leases, parking and pruning go by the server's.
async fn skewed_clocks(fixture: Fixture) {
    let journal = fixture.journal().await;
    let owner = journal
        .join(Join::new("a", Duration::from_secs(600)))
        .await
        .unwrap();
    for (key, now) in [i64::MIN, -1, 0, 4_102_444_800_000, i64::MAX]
        .into_iter()
        .enumerate()
    {
        let labels = Arc::new(Labels::new("acme"));
        let begin = Begin::new(
            Arc::clone(&labels),
            "pay",
            key.to_string(),
            "d",
            1,
            "[]",
            at(now),
        )
        .owner(owner);
        let Begun::Created(head) = journal.begin(begin).await.unwrap() else {
            panic!("the key was free")
        };
        let all = || Claim::new(vec![("pay".into(), 1)], 10);
        assert!(
            journal.claim(all()).await.unwrap().is_empty(),
            "its owner lives"
        );
        let append = Append::new(
            head.id,
            head.place,
            Status::Running,
            Arc::clone(&labels),
            1,
            "[1]",
            at(now),
        );
        journal
            .append(append.park(Duration::from_millis(200)))
            .await
            .unwrap();
        assert!(
            journal.claim(all()).await.unwrap().is_empty(),
            "it is parked"
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
        let head = journal.claim(all().owner(owner)).await.unwrap().remove(0);
        assert_eq!(
            (head.begun, head.updated),
            (at(now), at(now)),
            "what was written is what was said"
        );
        let end = Append::new(head.id, head.place, Status::Ended, labels, 1, "[]", at(now));
        journal.append(end).await.unwrap();
        let prune = mainstay::journal::Prune::new(Duration::from_secs(60), 10);
        assert_eq!(
            journal.prune(prune).await.unwrap(),
            0,
            "it has ended just now"
        );
    }
    let forever = mainstay::journal::Prune::new(Duration::MAX, 10);
    assert_eq!(journal.prune(forever).await.unwrap(), 0);
    let long = journal.join(Join::new("b", Duration::MAX)).await.unwrap();
    journal
        .beat(Beat::new(long, Duration::MAX, 10))
        .await
        .unwrap();
}

/// A claim that is under way has ended a lease: a heartbeat that comes now waits, and is told so. A heartbeat that is
/// under way keeps its lease: a claim that comes now does not wait, and leaves the logs alone.
async fn late_heartbeat(fixture: Fixture) {
    let journal = fixture.journal().await;
    let owner = journal
        .join(Join::new("a", Duration::from_secs(600)))
        .await
        .unwrap();
    let client = fixture.psql().await;
    let schema = &fixture.schema;
    client
        .batch_execute(&format!("BEGIN; DELETE FROM {schema}.instance"))
        .await
        .unwrap();
    let beat = journal.beat(Beat::new(owner, Duration::from_secs(600), 10));
    let commit = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (beat, ()) = futures::join!(beat, commit);
    assert!(
        matches!(beat, Err(JournalError::Lapsed(id)) if id == owner),
        "{beat:?}"
    );

    let owner = journal
        .join(Join::new("b", Duration::from_millis(100)))
        .await
        .unwrap();
    journal.begin(beginning("1").owner(owner)).await.unwrap();
    let beat = format!("BEGIN; UPDATE {schema}.instance SET until = until + interval '1 hour'");
    client.batch_execute(&beat).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let claim = || Claim::new(vec![("pay".into(), 1)], 10);
    assert!(journal.claim(claim()).await.unwrap().is_empty());
    client.batch_execute("COMMIT").await.unwrap();
    assert!(journal.claim(claim()).await.unwrap().is_empty());
    let over = format!("UPDATE {schema}.instance SET until = now()");
    client.batch_execute(&over).await.unwrap();
    assert_eq!(journal.claim(claim()).await.unwrap().len(), 1);
}

async fn shared_commits(fixture: Fixture) {
    let journal = fixture.journal().await;
    let sagas = (0..128).map(|key: u32| {
        let journal = &journal;
        async move {
            let head = create(journal, &key.to_string()).await;
            let mut place: Place = head.place;
            for number in 0..6 {
                journal
                    .append(record(&head, place, &format!("[{number}]")))
                    .await
                    .unwrap();
                place = place.after();
            }
        }
    });
    futures::future::join_all(sagas).await;
    let written = journal.written();
    assert_eq!(written.operations, 128 * 7);
    let vitals = journal.vitals();
    assert_eq!((vitals.store, vitals.listening), ("postgres", None));
    assert_eq!(vitals.operations, Some(written.operations));
    assert!(written.commits < 128 * 7 / 4, "{written:?}");
}

async fn silence(fixture: Fixture) {
    fixture.migrated().await;
    let config = fixture.config().patience(Duration::from_millis(300));
    let journal = PostgresJournal::open(pool(fixture.address()), config)
        .await
        .unwrap();
    let head = create(&journal, "1").await;
    let client = fixture.psql().await;
    let lock = format!(
        "BEGIN; LOCK TABLE {}.log IN ACCESS EXCLUSIVE MODE",
        fixture.schema
    );
    client.batch_execute(&lock).await.unwrap();
    let append = record(&head, head.place, "[2]");
    let (append_answer, load, list) = futures::join!(
        journal.append(append.clone()),
        journal.load(head.id),
        journal.list(Listing::new(Status::Running, 10)),
    );
    for refused in [
        append_answer.unwrap_err(),
        load.unwrap_err(),
        list.unwrap_err(),
    ] {
        assert!(
            refused.is_transient() && whole(&refused).contains("300ms"),
            "{}",
            whole(&refused)
        );
    }
    client.batch_execute("COMMIT").await.unwrap();
    // Whether the one that nobody waited for is written before or after this one: it is one record.
    journal.append(append).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 2);
    drop(psql(fixture.address()).await);
}
