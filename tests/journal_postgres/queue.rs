//! A durable queue of several instances: one replays, whoever queued it, and another goes on when it dies.

use std::sync::Arc;
use std::time::Duration;

use mainstay::journal::Journal;
use mainstay::num::Period;
use mainstay::queue::{Queue, QueueConfig};
use tokio_postgres::NoTls;

use super::fixture::{Fixture, eventually};
use super::suite::Suite;
use super::world::{Postings, World, levels, posting};

pub(crate) fn add(suite: &mut Suite) {
    suite.test("queue::instances_take_turns_and_keep_the_order", turns);
}

async fn turns(fixture: Fixture) {
    fixture.migrated().await;
    let (_degrade, gate) = levels();
    let world = World::new();
    let config = QueueConfig::new()
        .look(Period::millis(100))
        .lease(Period::millis(1_500));
    let mut queues = Vec::new();
    let mut drains = Vec::new();
    for _ in 0..3 {
        let journal = fixture.open().await.listen(fixture.address(), NoTls);
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let queue = Queue::open("ledger", journal, config).await.unwrap();
        drains.push(queue.drain(gate.clone(), Postings, world.service()));
        queues.push(queue);
    }
    // Each client writes one after the other, to an instance after the other.
    let clients = (0..6).map(|account| {
        let queues = queues.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let at = usize::try_from(account + n).unwrap() % queues.len();
                queues[at]
                    .enqueue(posting(account, n).draft().unwrap())
                    .await
                    .unwrap();
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    // Whoever had the turn: one of them dies without a word.
    drop(drains.remove(0));
    for client in clients {
        client.await.unwrap();
    }
    eventually("all is applied", async || {
        (0..6).all(|account| world.applied(account).len() == 25)
    })
    .await;
    for account in 0..6 {
        assert_eq!(world.applied(account), (0..25).collect::<Vec<_>>());
    }
    let turns: Vec<u64> = world.tokens();
    assert!(turns.windows(2).all(|pair| pair[0] <= pair[1]), "{turns:?}");
    // But the one that has no drain any more, and so does not look.
    eventually("each knows it", async || {
        queues.iter().skip(1).all(Queue::is_idle)
    })
    .await;
    for drain in drains {
        drain.stop().await;
    }
}
