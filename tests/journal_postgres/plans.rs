//! What the server does for a claim, a list and a heartbeat when ended logs outnumber all others: the plans that it
//! really ran, from its log.

use std::num::NonZeroU32;
use std::time::Duration;

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::postgres::PostgresJournal;
use mainstay::journal::{Beat, Claim, Join, Journal, Listing, Place, Post, Prune, Status};
use tokio_postgres::NoTls;

use super::fixture::{Fixture, at, create, eventually, pool, record};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("plans::ended_logs_cost_claims_and_lists_nothing", plans);
    suite.test(
        "plans::appends_go_by_id_also_when_the_table_was_small",
        small,
    );
}

/// The plan of many appends is kept, and the first of them meets a table whose reading as a whole would be cheapest.
async fn small(fixture: Fixture) {
    fixture.migrated().await;
    let one = Pool::builder(Manager::new(fixture.address(), NoTls))
        .max_size(1)
        .build()
        .unwrap();
    let config = fixture.config().writers(NonZeroU32::MIN);
    let journal = PostgresJournal::open(one.clone(), config).await.unwrap();
    let mut heads = Vec::new();
    for key in 0..40 {
        heads.push(create(&journal, &key.to_string()).await);
    }
    let (schema, client) = (&fixture.schema, fixture.psql().await);
    let scans = format!(
        "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'log' AND schemaname = '{schema}'"
    );
    let counted = async || {
        let row = client.query_one(&scans, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    // The server tells of what a connection did a second later, or when it has nothing to do.
    eventually("the begins are counted", async || counted().await.1 >= 40).await;
    let (before, by_id) = counted().await;
    for number in 1..=10 {
        let appends = heads
            .iter()
            .map(|head| journal.append(record(head, Place::new(head.place.epoch, number), "[2]")));
        for answer in futures::future::join_all(appends).await {
            answer.unwrap();
        }
    }
    eventually("the appends are counted", async || {
        counted().await.1 >= by_id + 390
    })
    .await;
    assert_eq!(counted().await.0, before, "the whole table was read");
    // Nothing of it stays with the connection, which is the caller's.
    let lent = one.get().await.unwrap();
    for (setting, usual) in [
        ("enable_seqscan", "on"),
        ("enable_hashjoin", "on"),
        ("enable_mergejoin", "on"),
        ("plan_cache_mode", "auto"),
    ] {
        let row = lent
            .query_one(&format!("SHOW {setting}"), &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), usual, "{setting}");
    }
}

async fn plans(fixture: Fixture) {
    fixture.migrated().await;
    let (schema, client) = (&fixture.schema, fixture.psql().await);
    let fill = format!(
        "INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                   recoveries, posted, read, begun, updated, ended)
         SELECT 'acme', 'pay', 1, 'ended-' || n, '', 'ended', '', 1, 0, 0, 0, 0, 0, 0, 0, now() FROM generate_series(1, 200000) n;
         INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                   recoveries, posted, read, begun, updated, wake)
         SELECT 'acme', 'pay', 1, 'parked-' || n, '', 'running', '', 1, 0, 0, 0, 0, 0, 0, 0, now() + interval '1 day'
         FROM generate_series(1, 20000) n;
         INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                   recoveries, posted, read, begun, updated, ended)
         SELECT 'other', 'pay', 1, 'other-' || n, '', 'ended', '', 1, 0, 0, 0, 0, 0, 0, 0, now() FROM generate_series(1, 20) n;
         INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                   recoveries, posted, read, begun, updated, ended)
         SELECT 'acme', 'refund', 1, 'refund-' || n, '', 'ended', '', 1, 0, 0, 0, 0, 0, 0, 0, now() FROM generate_series(1, 3) n;
         INSERT INTO {schema}.instance (name, until) VALUES ('alive', now() + interval '1 day');
         INSERT INTO {schema}.log (tenant, kind, version, key, digest, status, stage, epoch, records, claims,
                                   recoveries, posted, read, begun, updated, owner)
         SELECT 'acme', 'pay', 1, 'owned-' || n, '', 'running', '', 1, 0, 0, 0, 0, 0, 0, 0, 1 FROM generate_series(1, 20000) n;"
    );
    client.batch_execute(&fill).await.unwrap();
    client
        .batch_execute(&format!("ANALYZE {schema}.log, {schema}.instance"))
        .await
        .unwrap();

    let mut address = fixture.address();
    address.options(
        "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on \
         -c auto_explain.log_timing=off",
    );
    let config = fixture.config().writers(NonZeroU32::MIN);
    let journal = PostgresJournal::open(pool(address), config).await.unwrap();
    let before = fixture.server().log().len();
    let owner = journal
        .join(Join::new("plans", Duration::from_secs(600)))
        .await
        .unwrap();
    let mut heads = Vec::new();
    for key in 0..40 {
        heads.push(create(&journal, &key.to_string()).await);
    }
    let claim = Claim::new(vec![("pay".into(), 1), ("other".into(), 2)], 32).owner(owner);
    assert_eq!(journal.claim(claim).await.unwrap().len(), 32);
    journal
        .post(Post::new(heads[0].id, "m", 1, "[]", at(1)))
        .await
        .unwrap();
    assert_eq!(
        journal
            .beat(Beat::new(owner, Duration::from_secs(600), 10))
            .await
            .unwrap()
            .mail,
        [heads[0].id]
    );
    assert_eq!(
        journal
            .list(Listing::new(Status::Running, 100))
            .await
            .unwrap()
            .len(),
        100
    );
    assert!(
        journal
            .list(Listing::new(Status::Held, 100))
            .await
            .unwrap()
            .is_empty()
    );
    let mut by_key = Listing::new(Status::Ended, 10);
    by_key.key = Some("ended-7".to_owned());
    assert_eq!(journal.list(by_key).await.unwrap().len(), 1);
    let mut of_a_tenant = Listing::new(Status::Ended, 10);
    of_a_tenant.tenant = Some("other".to_owned());
    assert_eq!(journal.list(of_a_tenant).await.unwrap().len(), 10);
    let of_a_kind = Listing::new(Status::Ended, 10).kind("refund");
    assert_eq!(journal.list(of_a_kind).await.unwrap().len(), 3);
    assert_eq!(
        journal
            .prune(Prune::new(Duration::from_secs(3600), 10))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        journal.prune(Prune::new(Duration::ZERO, 10)).await.unwrap(),
        10
    );
    let appends = heads[32..]
        .iter()
        .map(|head| journal.append(record(head, head.place, "[2]")));
    for answer in futures::future::join_all(appends).await {
        answer.unwrap();
    }
    drop(journal);
    let mut log = String::new();
    let mine = format!("\"{schema}\".log");
    eventually("the server writes its log", async || {
        log = fixture.server().log()[before..].to_owned();
        log.matches("DELETE FROM").count() >= 6
    })
    .await;
    let mut plans = log
        .split("LOG:  ")
        .filter(|entry| entry.contains("plan:") && entry.contains(&mine));
    for index in [
        "log_free",
        "log_parked",
        "log_owned",
        "log_open",
        "log_mail",
        "log_ended",
        "log_past",
        "log_past_of",
        "log_pkey",
    ] {
        assert!(
            log.contains(&format!("using {index} on")) || log.contains(&format!("on {index} ")),
            "{index} is not used:\n{log}"
        );
    }
    if let Some(scan) = plans.find(|plan| plan.contains("Seq Scan on log")) {
        panic!("all logs are read:\n{scan}");
    }
    // A sixth of all logs is open, and behind all others: they are not walked by their ids.
    let lists = log.split("LOG:  ").filter(|entry| {
        entry.contains("plan:") && entry.contains(&mine) && entry.contains("ORDER BY l.status")
    });
    let lists: Vec<&str> = lists.collect();
    assert!(lists.len() >= 2, "{log}");
    for list in lists {
        assert!(list.contains("using log_open on"), "{list}");
    }
    // The claim reads what it takes, not what others own or what is parked.
    let claim = log
        .split("LOG:  ")
        .find(|entry| entry.contains("WITH RECURSIVE"))
        .unwrap();
    for line in claim
        .lines()
        .filter(|line| line.contains("Scan") && line.contains("actual rows="))
    {
        let rows: f64 = line
            .split("actual rows=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(rows <= 32.0, "{line}\n{claim}");
    }
    for removed in claim.split("Rows Removed by Filter: ").skip(1) {
        let rows: u32 = removed.split_whitespace().next().unwrap().parse().unwrap();
        assert!(rows < 100, "{claim}");
    }
    // Compiling takes longer than the claim.
    assert!(!claim.contains("JIT:"), "{claim}");
}
