//! `LISTEN` and `NOTIFY`: who is told, and who is not.

use std::time::Duration;

use mainstay::journal::postgres::PostgresJournal;
use mainstay::journal::{Answer, Claim, Join, Journal, Post, Release};
use tokio_postgres::NoTls;

use super::fixture::{Fixture, at, beginning, create, ending, eventually, record};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("wakeups::whoever_waits_hears_of_free_logs_and_mail", heard);
    suite.test("wakeups::the_hot_path_is_silent", silent);
    suite.test("wakeups::a_lost_connection_is_made_again", again);
    suite.test("wakeups::without_a_listener_a_journal_hears_itself", alone);
}

async fn listening(fixture: &Fixture) -> PostgresJournal {
    let journal = fixture.open().await.listen(fixture.address(), NoTls);
    eventually("it listens", async || journal.is_listening()).await;
    assert_eq!(journal.vitals().listening, Some(true));
    journal
}

async fn woken(changed: Answer<'_, ()>) -> bool {
    tokio::time::timeout(Duration::from_secs(5), changed)
        .await
        .is_ok()
}

async fn heard(fixture: Fixture) {
    let writer = fixture.journal().await;
    let other = listening(&fixture).await;
    let owner = writer
        .join(Join::new("a", Duration::from_secs(600)))
        .await
        .unwrap();
    let claim = || Claim::new(vec![("pay".into(), 1)], 10).owner(owner);

    let changed = other.changed();
    let head = create(&writer, "1").await;
    assert!(woken(changed).await, "a log without an owner");

    let head = writer
        .claim(claim())
        .await
        .map(|mut heads| heads.pop().unwrap_or(head))
        .unwrap();
    let changed = other.changed();
    writer
        .release(Release::new(head.id, head.place))
        .await
        .unwrap();
    assert!(woken(changed).await, "a log that is given back");

    let head = writer.claim(claim()).await.unwrap().remove(0);
    let changed = other.changed();
    writer
        .post(Post::new(head.id, "once", 1, "[]", at(1)))
        .await
        .unwrap();
    assert!(woken(changed).await, "mail, whoever owns the log");

    let changed = other.changed();
    let park = record(&head, head.place, "[2]").park(Duration::from_secs(600));
    writer.append(park).await.unwrap();
    assert!(
        woken(changed).await,
        "one that would be parked and has mail"
    );

    let head = writer.claim(claim()).await.unwrap().remove(0);
    assert_eq!(head.place.records, 2);
    let changed = other.changed();
    writer.leave(owner).await.unwrap();
    assert!(woken(changed).await, "an instance that leaves");
}

async fn silent(fixture: Fixture) {
    let writer = fixture.journal().await;
    let other = listening(&fixture).await;
    let owner = writer
        .join(Join::new("a", Duration::from_secs(600)))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let changed = other.changed();
    let own = writer.changed();
    let mainstay::journal::Begun::Created(head) =
        writer.begin(beginning("1").owner(owner)).await.unwrap()
    else {
        panic!("the key was free")
    };
    let mut place = head.place;
    for number in 0..5 {
        writer
            .append(record(&head, place, &format!("[{number}]")))
            .await
            .unwrap();
        place = place.after();
    }
    writer.append(ending(&head, place)).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_millis(400), changed).await;
    assert!(heard.is_err(), "nothing became free");
    assert!(
        tokio::time::timeout(Duration::from_millis(10), own)
            .await
            .is_err()
    );
}

async fn again(fixture: Fixture) {
    let writer = fixture.journal().await;
    let other = listening(&fixture).await;
    let changed = other.changed();
    let kill = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN \"mainstay:{}\"'",
        fixture.schema
    );
    let killed = fixture.psql().await.query(&kill, &[]).await.unwrap();
    assert_eq!(killed.len(), 1);
    assert!(woken(changed).await, "what it may have missed");
    eventually("it listens again", async || other.is_listening()).await;
    let changed = other.changed();
    create(&writer, "1").await;
    assert!(woken(changed).await);
}

async fn alone(fixture: Fixture) {
    let journal = fixture.journal().await;
    let changed = journal.changed();
    let head = create(&journal, "1").await;
    assert!(woken(changed).await && !journal.is_listening());
    let changed = journal.changed();
    journal
        .post(Post::new(head.id, "once", 1, "[]", at(1)))
        .await
        .unwrap();
    assert!(woken(changed).await);
}
