//! Messages and replies that get lost: whatever the moment, the same call again finds what was done.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::time::Duration;

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::postgres::PostgresJournal;
use mainstay::journal::{
    Begun, Claim, Epoch, Head, Join, Journal, JournalError, Place, Post, Posted, Prune, Release,
};
use mainstay::rng::Rng;
use tokio_postgres::NoTls;

use super::fixture::{Fixture, at, beginning, create, ending, record, seed};
use super::proxy::Proxy;
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test(
        "replies::a_reply_that_is_lost_is_found_by_the_same_call",
        lost_replies,
    );
    suite.test(
        "replies::a_connection_cut_at_any_message_loses_and_doubles_nothing",
        cut_anywhere,
    );
    suite.test(
        "replies::random_cuts_under_load_lose_and_double_nothing",
        random_cuts,
    );
}

/// A journal behind a proxy, with one writer and so many connections: with one the moments can be counted.
async fn behind(fixture: &Fixture, proxy: &Proxy, connections: usize) -> PostgresJournal {
    let address = fixture
        .server()
        .address_through(proxy.port)
        .parse()
        .unwrap();
    let pool = Pool::builder(Manager::new(address, NoTls))
        .max_size(connections)
        .build()
        .unwrap();
    let config = fixture
        .config()
        .writers(NonZeroU32::MIN)
        .patience(Duration::from_secs(5));
    PostgresJournal::open(pool, config).await.unwrap()
}

/// Asks again for as long as the answer is that it may have happened.
async fn insist<T: Debug>(mut ask: impl AsyncFnMut() -> Result<T, JournalError>) -> (T, u32) {
    for failures in 0..50 {
        match ask().await {
            Ok(answer) => return (answer, failures),
            Err(refusal) if refusal.is_transient() => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    panic!("fifty failures for one cut");
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Message,
    Reply,
}

fn lose(proxy: &Proxy, what: Lost) {
    match what {
        Lost::Message => proxy.cut_before_the_server(0),
        Lost::Reply => proxy.cut_after_the_work(),
    }
}

async fn lost_replies(fixture: Fixture) {
    fixture.migrated().await;
    let proxy = Proxy::to(fixture.server().port()).await;
    let journal = behind(&fixture, &proxy, 1).await;
    // Statements are prepared once per connection; what follows counts messages, so let it be done.
    let warm = create(&journal, "warm").await;
    journal
        .append(record(&warm, warm.place, "[]"))
        .await
        .unwrap();
    for what in [Lost::Message, Lost::Reply] {
        let key = format!("{what:?}");
        // A new connection prepares first.
        create(&journal, &format!("warm {key}")).await;
        lose(&proxy, what);
        let failed = journal.begin(beginning(&key)).await.unwrap_err();
        assert!(failed.is_transient(), "{failed:?}");
        let (begun, _) = insist(async || journal.begin(beginning(&key)).await).await;
        let head = match (what, begun) {
            (Lost::Message, Begun::Created(head)) | (Lost::Reply, Begun::Existing(head)) => head,
            other => panic!("{other:?}"),
        };
        assert_eq!(head.place, Place::new(Epoch::FIRST, 1));

        // Prepared on this connection, then lost.
        journal
            .append(record(&head, head.place, "[1]"))
            .await
            .unwrap();
        let append = record(&head, head.place.after(), "[2]");
        lose(&proxy, what);
        let failed = journal.append(append.clone()).await.unwrap_err();
        assert!(failed.is_transient(), "{failed:?}");
        let there = fixture.open().await.load(head.id).await.unwrap();
        assert_eq!(
            there.records.len(),
            if what == Lost::Reply { 3 } else { 2 },
            "{what:?}"
        );
        insist(async || journal.append(append.clone()).await).await;
        assert_eq!(journal.load(head.id).await.unwrap().records.len(), 3);

        let post = || Post::new(head.id, "once", 1, "[]", at(4));
        drop(
            journal
                .post(Post::new(head.id, "warm", 1, "[]", at(4)))
                .await,
        );
        lose(&proxy, what);
        let failed = journal.post(post()).await.unwrap_err();
        assert!(failed.is_transient(), "{failed:?}");
        let (posted, _) = insist(async || journal.post(post()).await).await;
        assert_eq!(
            posted,
            if what == Lost::Reply {
                Posted::Known(2)
            } else {
                Posted::Added(2)
            }
        );

        // A claim whose reply is lost has happened; its logs are free again when its owner is gone.
        let owner = journal
            .join(Join::new("a", Duration::from_secs(600)))
            .await
            .unwrap();
        let claim = || Claim::new(vec![("pay".into(), 1)], 10).owner(owner);
        lose(&proxy, what);
        let failed = journal.claim(claim()).await.unwrap_err();
        assert!(failed.is_transient(), "{failed:?}");
        let (heads, _) = insist(async || journal.claim(claim()).await).await;
        assert_eq!(heads.is_empty(), what == Lost::Reply, "{heads:?}");
        lose(&proxy, what);
        assert!(journal.leave(owner).await.unwrap_err().is_transient());
        insist(async || journal.leave(owner).await).await;
        let (heads, _) =
            insist(async || journal.claim(Claim::new(vec![("pay".into(), 1)], 10)).await).await;
        let now = heads.iter().find(|head| head.key == key).unwrap().clone();
        assert_eq!(now.recoveries, 1, "what was given back does not count");
        insist(async || journal.release(Release::new(now.id, now.place)).await).await;
        insist(async || journal.append(ending(&now, now.place)).await).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        lose(&proxy, what);
        assert!(
            journal
                .prune(Prune::new(Duration::ZERO, 10))
                .await
                .unwrap_err()
                .is_transient()
        );
        let (pruned, _) =
            insist(async || journal.prune(Prune::new(Duration::ZERO, 10)).await).await;
        assert_eq!(pruned, usize::from(what == Lost::Message));
    }
}

/// A saga's life, with the k-th message or answer lost, for every k that it has.
async fn cut_anywhere(fixture: Fixture) {
    fixture.migrated().await;
    let mut most = 0;
    for what in [Lost::Message, Lost::Reply] {
        for k in 0..200 {
            let proxy = Proxy::to(fixture.server().port()).await;
            let journal = behind(&fixture, &proxy, 1).await;
            match what {
                Lost::Message => proxy.cut_before_the_server(k),
                Lost::Reply => proxy.cut_after_the_server(k),
            }
            let key = format!("{what:?}-{k}");
            let (begun, mut failures) = insist(async || journal.begin(beginning(&key)).await).await;
            let (Begun::Created(head) | Begun::Existing(head)) = begun else {
                panic!("{begun:?}")
            };
            let mut place = head.place;
            for number in 2..6 {
                let append = record(&head, place, &format!("[{number}]"));
                failures += insist(async || journal.append(append.clone()).await)
                    .await
                    .1;
                place = place.after();
            }
            failures += insist(async || journal.append(ending(&head, place)).await)
                .await
                .1;
            let (log, failed) = insist(async || journal.load(head.id).await).await;
            failures += failed;
            let bodies: Vec<&str> = log.records.iter().map(|record| &*record.body).collect();
            assert_eq!(
                bodies,
                ["[\"first\"]", "[2]", "[3]", "[4]", "[5]", "[\"last\"]"],
                "{key}"
            );
            if failures == 0 {
                most = most.max(k);
                break;
            }
        }
    }
    // Fewer would mean that the proxy cut nothing.
    assert!(most > 10, "{most} moments");
    println!("{most} moments at most");
}

async fn random_cuts(fixture: Fixture) {
    fixture.migrated().await;
    let proxy = Proxy::to(fixture.server().port()).await;
    let journal = behind(&fixture, &proxy, 6).await;
    let mut rng = Rng::new(seed());
    let chaos = async {
        for _ in 0..60 {
            let k = i64::try_from(rng.next_u64() % 20).unwrap();
            if rng.next_u64().is_multiple_of(2) {
                proxy.cut_before_the_server(k);
            } else {
                proxy.cut_after_the_server(k);
            }
            tokio::time::sleep(Duration::from_millis(rng.next_u64() % 40)).await;
        }
        proxy.heal();
    };
    let writers = (0..24).map(|writer| {
        let journal = &journal;
        async move {
            let mut logs: Vec<(Head, u32)> = Vec::new();
            for saga in 0..6 {
                let key = format!("{writer}-{saga}");
                let (begun, failed) = insist(async || journal.begin(beginning(&key)).await).await;
                let (Begun::Created(head) | Begun::Existing(head)) = begun else {
                    panic!("{begun:?}")
                };
                let mut failures = failed;
                let mut place = head.place;
                for number in 0..6 {
                    let append = record(&head, place, &format!("[{number}]"));
                    failures += insist(async || journal.append(append.clone()).await)
                        .await
                        .1;
                    place = place.after();
                }
                logs.push((head, failures));
            }
            logs
        }
    });
    let (logs, ()) = futures::join!(futures::future::join_all(writers), chaos);
    let mut failures = 0;
    let calm = fixture.open().await;
    for (head, failed) in logs.into_iter().flatten() {
        let log = calm.load(head.id).await.unwrap();
        assert_eq!(log.records.len(), 7, "{}", head.key);
        for (number, record) in log.records.iter().skip(1).enumerate() {
            assert_eq!(record.body, format!("[{number}]"));
        }
        failures += failed;
    }
    println!("{failures} calls failed and were made again");
    assert!(failures > 0, "nothing was cut");
}
