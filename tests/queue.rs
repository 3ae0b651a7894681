//! The durable queue behind a gate: what is acknowledged is applied once and in order, whatever fails in between.
//!
//! All time is virtual but where a file is involved.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

#[path = "queue/deadly.rs"]
mod deadly;
#[path = "queue/http.rs"]
mod http;
#[path = "queue/sealed.rs"]
mod sealed;
#[path = "queue/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use mainstay::degrade::{Access, Kind, Mode};
use mainstay::error::{AsRejected, Reason};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Claim, Journal, Labels, Listing, Status};
use mainstay::num::{Attempts, Period, count};
use mainstay::queue::{
    Draft, Fact, Lane, Poison, Queue, QueueConfig, QueueError, QueueLayer, Stage, Verdict,
};
use mainstay::retry::{Backoff, Jitter};
use mainstay_test_support::allocations;
use tower::{BoxError, Layer, Service, ServiceExt};
use world::{Broken, Postings, Says, World, levels, order, posting, sleep};

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;

fn quick() -> QueueConfig {
    let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(2));
    QueueConfig::new().backoff(backoff.jitter(Jitter::None))
}

async fn open(journal: &Arc<MemoryJournal>, config: QueueConfig) -> Queue {
    Queue::open("ledger", journal.clone(), config)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_applied_once_and_in_order() {
    let (degrade, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick()).await;
    let drain = queue.drain(gate.clone(), Postings, world.service());
    let ledger = QueueLayer::new(gate.clone(), queue.clone(), Postings).layer(world.service());

    degrade.pin("writes", Mode::Queued, order()).unwrap();
    for n in 1..=5 {
        for account in 1..=3 {
            let said = ledger.clone().oneshot(posting(account, n)).await.unwrap();
            assert_eq!(said, "queued");
        }
    }
    sleep(60).await;
    assert!(world.calls().is_empty(), "the gate is shut");
    assert_eq!(queue.status().depth, 15);

    degrade.unpin("writes", order()).unwrap();
    sleep(5).await;
    for account in 1..=3 {
        assert_eq!(world.applied(account), [1, 2, 3, 4, 5]);
    }
    assert_eq!(world.calls().len(), 15, "each once");
    assert_eq!((queue.status().depth, queue.status().bytes), (0, 0));
    assert!(queue.is_idle());

    // The same key again: it is known for as long as it is kept, whatever the gate says.
    let draft = |n: i64| posting(1, n).draft().unwrap();
    let receipt = queue.enqueue(draft(5)).await.unwrap();
    assert_eq!(receipt.stage, Stage::Applied);
    assert!(
        !format!("{receipt:?}").contains("1-5"),
        "the key is its caller's"
    );
    // And an open gate over an empty queue lets pass.
    assert_eq!(ledger.oneshot(posting(1, 6)).await.unwrap(), "done");
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_never_passes_one_that_waits_in_its_lane() {
    let (degrade, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick()).await;
    let drain = queue.drain(gate.clone(), Postings, world.service());
    let ledger = QueueLayer::new(gate.clone(), queue.clone(), Postings).layer(world.service());
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    ledger.clone().oneshot(posting(1, 1)).await.unwrap();
    ledger.clone().oneshot(posting(1, 2)).await.unwrap();
    world.hang(1, 1);
    degrade.unpin("writes", order()).unwrap();
    sleep(2).await;
    assert_eq!(world.calls(), [(1, 1)], "it hangs");

    let said = ledger.clone().oneshot(posting(1, 3)).await.unwrap();
    assert_eq!(said, "queued", "behind the two");
    let said = ledger.clone().oneshot(posting(2, 1)).await.unwrap();
    assert_eq!(said, "done", "nobody waits there");
    world.go_on();
    sleep(2).await;
    assert_eq!(world.applied(1), [1, 2, 3]);
    assert_eq!(ledger.oneshot(posting(1, 4)).await.unwrap(), "done");
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn both_bounds_hold_and_say_when_to_come_back() {
    let (degrade, gate) = levels();
    let world = World::new();
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    let refused = |error: BoxError| error.as_rejected().unwrap();
    let bytes = posting(1, 1).bytes();
    for config in [
        quick().entries(count(3)),
        quick().bytes(3 * bytes + bytes / 2),
    ] {
        let queue = open(&Arc::default(), config).await;
        let ledger = QueueLayer::new(gate.clone(), queue.clone(), Postings);
        let ledger = ledger.retry_after(Period::secs(7)).layer(world.service());
        for n in 1..=3 {
            ledger.clone().oneshot(posting(1, n)).await.unwrap();
        }
        let rejected = refused(ledger.clone().oneshot(posting(1, 4)).await.unwrap_err());
        assert_eq!(rejected.reason(), Reason::QueueFull);
        assert_eq!(rejected.hint(), Some(Duration::from_secs(7)));
        assert_eq!(queue.status().depth, 3);
        // Whoever has lost its receipt gets it nevertheless; another request under its key does not.
        let again = ledger.clone().oneshot(posting(1, 3)).await.unwrap();
        assert_eq!(again, "queued");
        let other = posting(1, 9).with_key("1-3").draft().unwrap();
        let other = queue.enqueue(other).await;
        assert!(
            matches!(other, Err(QueueError::OtherRequest(_))),
            "{other:?}"
        );
        assert_eq!(queue.status().depth, 3);
        // What is applied makes room.
        let drain = queue.drain(gate.clone(), Postings, world.service());
        degrade.unpin("writes", order()).unwrap();
        sleep(3).await;
        degrade.pin("writes", Mode::Queued, order()).unwrap();
        assert_eq!(ledger.oneshot(posting(1, 4)).await.unwrap(), "queued");
        drain.stop().await;
    }
    let queue = open(&Arc::default(), quick().entry_bytes(4)).await;
    let long = queue.enqueue(posting(1, 1).draft().unwrap()).await;
    assert!(matches!(long, Err(QueueError::TooLong)), "{long:?}");
}

#[tokio::test(start_paused = true)]
async fn one_key_is_one_entry() {
    let queue = open(&Arc::default(), quick()).await;
    let draft = |key: &str, payload: &str| Draft::new(key, Lane::new("1"), payload.into()).unwrap();
    let many = (0..8).map(|_| queue.enqueue(draft("a", "100")));
    let receipts = futures::future::join_all(many).await;
    let entries: Vec<_> = receipts
        .iter()
        .map(|one| one.as_ref().unwrap().entry)
        .collect();
    assert!(
        entries.windows(2).all(|pair| pair[0] == pair[1]),
        "{entries:?}"
    );
    assert_eq!(queue.status().depth, 1);
    assert_eq!(queue.status().bytes, 5);

    let other = queue.enqueue(draft("a", "200")).await;
    assert!(matches!(other, Err(QueueError::OtherRequest(entry)) if entry == entries[0]));
    // The same key of another tenant is another one; what differs and does not count, does not.
    let lane = Lane::new("1").tenant("acme");
    let theirs = Draft::new("a", lane, b"200".to_vec()).unwrap();
    assert_ne!(queue.enqueue(theirs).await.unwrap().entry, entries[0]);
    // Tenants whose names would have to be shortened could meet, and share their keys.
    for name in ["x".repeat(201), "a\0".into()] {
        let lane = Lane::new("1").tenant(name);
        assert!(Draft::new("a", lane, b"200".to_vec()).is_err());
    }
    let same = |trace: &str| draft("b", trace).same_by([&b"100"[..]]);
    let first = queue.enqueue(same("trace 1")).await.unwrap();
    assert_eq!(queue.enqueue(same("trace 2, longer")).await.unwrap(), first);
    assert_eq!(queue.status().depth, 3);
}

#[tokio::test(start_paused = true)]
async fn poison_stops_its_lane_until_an_operator_has_decided() {
    let (_degrade, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick()).await;
    world.says(1, 2, Says::Refused);
    world.says(2, 1, Says::Refused);
    for account in 1..=3 {
        for n in 1..=3 {
            let draft = posting(account, n).draft().unwrap();
            queue.enqueue(draft).await.unwrap();
        }
    }
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(30).await;
    assert_eq!(world.applied(1), [1]);
    assert!(world.applied(2).is_empty());
    assert_eq!(world.applied(3), [1, 2, 3], "another lane goes on");
    assert_eq!(world.calls().len(), 6, "poison is asked for once");
    let incidents = queue.poisoned(10).await.unwrap();
    let whose: Vec<_> = incidents.iter().map(|one| one.lane.as_str()).collect();
    assert_eq!(whose, ["1", "2"]);
    assert!(incidents.iter().all(|one| one.why == Some(Poison::Refused)));
    assert_eq!(queue.status().poisoned, 2);

    // Whoever comes again with the key of a poisoned one is told.
    let again = posting(1, 2).draft().unwrap();
    assert_eq!(queue.enqueue(again).await.unwrap().stage, Stage::Poisoned);

    world.says(1, 2, Says::Done);
    queue.retry(incidents[0].entry, &order()).await.unwrap();
    queue.discard(incidents[1].entry, &order()).await.unwrap();
    sleep(5).await;
    assert_eq!(world.applied(1), [1, 2, 3]);
    assert_eq!(world.applied(2), [2, 3]);
    assert_eq!(queue.status().depth, 0);

    let life = queue.life(incidents[1].entry).await.unwrap();
    assert_eq!(life.stage, Stage::Dropped);
    let Some(Fact::Dropped { actor, reason, .. }) = life.later.last() else {
        panic!("{life:?}");
    };
    assert_eq!((actor.as_str(), reason.as_str()), ("ann", "drill"));
    let dropped = queue.enqueue(posting(2, 1).draft().unwrap()).await;
    assert!(
        matches!(dropped, Err(QueueError::Dropped(_))),
        "{dropped:?}"
    );
    let twice = queue.retry(incidents[0].entry, &order()).await;
    assert!(
        matches!(twice, Err(QueueError::NotPoisoned(_))),
        "{twice:?}"
    );
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_again_and_only_what_counts_is_poison() {
    let (degrade, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick().attempts(Attempts::total(4))).await;
    world.says(1, 1, Says::Away);
    world.says(2, 1, Says::Failed);
    world.says(3, 1, Says::Panics);
    for account in 1..=3 {
        queue
            .enqueue(posting(account, 1).draft().unwrap())
            .await
            .unwrap();
    }
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(120).await;
    let calls = |account| {
        world
            .calls()
            .iter()
            .filter(|call| call.0 == account)
            .count()
    };
    assert!(calls(1) > 40, "one that is away is asked on and on");
    assert_eq!((calls(2), calls(3)), (4, 4));
    let incidents = queue.poisoned(10).await.unwrap();
    assert_eq!(incidents.len(), 2);
    assert!(
        incidents
            .iter()
            .all(|one| one.why == Some(Poison::Exhausted))
    );

    // A retry has all attempts again; and what fails while the gate is shut does not count.
    for incident in &incidents {
        queue.retry(incident.entry, &order()).await.unwrap();
    }
    world.hang(2, 1);
    world.says(3, 1, Says::Done);
    sleep(5).await;
    degrade.pin("writes", Mode::ReadOnly, order()).unwrap();
    world.go_on();
    sleep(60).await;
    assert_eq!(queue.status().poisoned, 0);
    world.says(1, 1, Says::Done);
    world.says(2, 1, Says::Done);
    degrade.unpin("writes", order()).unwrap();
    sleep(5).await;
    assert_eq!(queue.status().depth, 0);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_the_gate_is_shut_is_nothing_against_it() {
    for says in [Says::Failed, Says::Refused] {
        let (degrade, gate) = levels();
        let world = World::new();
        let queue = open(&Arc::default(), quick().attempts(Attempts::NO_RETRY)).await;
        world.hang(1, 1);
        queue.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
        let drain = queue.drain(gate.clone(), Postings, world.service());
        sleep(2).await;
        degrade.pin("writes", Mode::Queued, order()).unwrap();
        world.go_on_with(&[says]);
        sleep(2).await;
        assert_eq!(queue.status().poisoned, 0, "{says:?}");
        world.says(1, 1, says);
        degrade.unpin("writes", order()).unwrap();
        sleep(2).await;
        assert_eq!(queue.status().poisoned, 1, "that was its only attempt");
        assert_eq!(world.calls().len(), 2);
        drain.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_shuts_stops_the_replay() {
    let (degrade, gate) = levels();
    let world = World::new();
    world.takes(Duration::from_millis(500));
    let queue = open(&Arc::default(), quick()).await;
    for n in 1..=20 {
        queue.enqueue(posting(1, n).draft().unwrap()).await.unwrap();
    }
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(3).await;
    for mode in [
        Mode::Queued,
        Mode::ReadOnly,
        Mode::Disabled,
        Mode::FailOver,
        Mode::Manual,
    ] {
        degrade.pin("writes", mode, order()).unwrap();
        let so_far = world.calls().len();
        sleep(60).await;
        assert_eq!(world.calls().len(), so_far);
        degrade.pin("writes", Mode::WriteOnly, order()).unwrap();
        sleep(1).await;
    }
    assert!(world.calls().len() < 20);
    sleep(20).await;
    assert_eq!(world.applied(1), (1..=20).collect::<Vec<_>>());
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_everything_as_it_was() {
    let (degrade, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let queue = open(&journal, quick()).await;
    world.says(1, 1, Says::Refused);
    for n in 1..=3 {
        queue.enqueue(posting(1, n).draft().unwrap()).await.unwrap();
    }
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(5).await;
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    for n in 1..=3 {
        queue.enqueue(posting(2, n).draft().unwrap()).await.unwrap();
    }
    let before = queue.status();
    assert_eq!((before.depth, before.poisoned), (6, 1));
    drop(drain);
    drop(queue);
    journal.restarted();

    let queue = open(&journal, quick()).await;
    assert_eq!(queue.status(), before);
    assert!(queue.must_wait(&Lane::new("1")) && !queue.must_wait(&Lane::new("3")));
    let drain = queue.drain(gate.clone(), Postings, world.service());
    degrade.unpin("writes", order()).unwrap();
    sleep(5).await;
    assert!(world.applied(1).is_empty(), "its first is poison still");
    assert_eq!(world.applied(2), [1, 2, 3]);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_instance_has_the_turn_and_another_takes_it_over() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let config = quick().within(Period::secs(300));
    let (one, two) = (open(&journal, config).await, open(&journal, config).await);
    world.hang(1, 1);
    for n in 1..=3 {
        one.enqueue(posting(1, n).draft().unwrap()).await.unwrap();
    }
    let dies = one.drain(gate.clone(), Postings, world.service());
    sleep(2).await;
    let lives = two.drain(gate.clone(), Postings, world.service());
    sleep(30).await;
    assert_eq!(world.calls(), [(1, 1)], "one at a time, over all instances");
    assert_eq!(
        two.status().depth,
        3,
        "each knows what the other has queued"
    );
    let theirs = QueueLayer::new(gate.clone(), two.clone(), Postings).layer(world.service());
    let said = theirs.oneshot(posting(1, 4)).await.unwrap();
    assert_eq!(said, "queued", "behind what another instance has queued");
    drop(dies);
    world.says(1, 1, Says::Done);
    sleep(10).await;
    assert_eq!(world.calls().len(), 1, "its lease lasts");
    sleep(20).await;
    assert_eq!(world.applied(1), [1, 2, 3, 4]);
    let tokens = world.tokens();
    assert!(tokens[0] < tokens[1], "{tokens:?}");
    assert!(
        tokens[1..].windows(2).all(|pair| pair[0] == pair[1]),
        "{tokens:?}"
    );

    // One that stops in order gives its turn back at once.
    lives.stop().await;
    one.enqueue(posting(1, 5).draft().unwrap()).await.unwrap();
    let again = one.drain(gate, Postings, world.service());
    sleep(2).await;
    assert_eq!(world.applied(1), [1, 2, 3, 4, 5]);
    assert!(world.tokens()[5..].iter().all(|token| *token > tokens[1]));
    again.stop().await;
}

/// One whose lease ended while it was calling: what it makes of the answer counts no more.
#[tokio::test(start_paused = true)]
async fn a_zombie_records_nothing() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let cut_off = Arc::new(Broken::new(journal.clone()));
    let config = quick().within(Period::secs(300));
    let one = Queue::open("ledger", cut_off.clone(), config)
        .await
        .unwrap();
    let two = open(&journal, config).await;
    world.hang(1, 1);
    let receipt = one.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    one.enqueue(posting(1, 2).draft().unwrap()).await.unwrap();
    let zombie = one.drain(gate.clone(), Postings, world.service());
    sleep(2).await;
    cut_off.beats(false);
    let lives = two.drain(gate, Postings, world.service());
    sleep(40).await;
    assert_eq!(
        world.calls(),
        [(1, 1), (1, 1)],
        "the second instance asks as well"
    );
    // The first answer is refused, and comes to the zombie; the second instance hears that it is done.
    world.go_on_with(&[Says::Refused, Says::Done]);
    sleep(10).await;
    let life = two.life(receipt.entry).await.unwrap();
    assert!(
        matches!(life.later[..], [Fact::Applied { .. }]),
        "one record, of the one whose turn it is: {life:?}"
    );
    assert_eq!(world.applied(1), [1, 2]);
    cut_off.beats(true);
    lives.stop().await;
    zombie.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_loses_nothing() {
    let (degrade, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let store = Arc::new(Broken::new(journal.clone()));
    let queue = Queue::open("ledger", store.clone(), quick()).await.unwrap();
    let ledger = QueueLayer::new(gate.clone(), queue.clone(), Postings).layer(world.service());
    let drain = queue.drain(gate.clone(), Postings, world.service());
    degrade.pin("writes", Mode::Queued, order()).unwrap();

    // It is written and the answer is lost: refused for now, and the same key tells.
    store.loses_answers(true);
    let lost = ledger.clone().oneshot(posting(1, 1)).await.unwrap_err();
    assert_eq!(lost.as_rejected().unwrap().reason(), Reason::Degraded);
    store.loses_answers(false);
    sleep(3).await;
    assert_eq!(queue.status().depth, 1, "a look has found it");
    assert_eq!(
        ledger.clone().oneshot(posting(1, 1)).await.unwrap(),
        "queued"
    );
    assert_eq!(queue.status().depth, 1);

    // Answers to records are lost as well.
    ledger.clone().oneshot(posting(1, 2)).await.unwrap();
    store.loses_answers(true);
    degrade.unpin("writes", order()).unwrap();
    sleep(5).await;
    assert_eq!(queue.status().depth, 2, "nothing is known to be recorded");
    store.loses_answers(false);
    sleep(5).await;
    assert_eq!(queue.status().depth, 0);
    assert_eq!(world.calls(), [(1, 1), (1, 2)], "each once");
    drain.stop().await;
}

/// The turn and the entries are claimed, and nobody hears of it.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_found_again() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let store = Arc::new(Broken::new(journal.clone()));
    let queue = Queue::open("ledger", store.clone(), quick()).await.unwrap();
    for n in 1..=3 {
        queue.enqueue(posting(1, n).draft().unwrap()).await.unwrap();
    }
    store.loses_claims(true);
    let drain = queue.drain(gate, Postings, world.service());
    sleep(5).await;
    assert!(world.calls().is_empty());
    store.loses_claims(false);
    sleep(5).await;
    assert_eq!(world.applied(1), [1, 2, 3]);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_its_last_replay_sees_what_others_queue() {
    let (degrade, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let config = quick().within(Period::secs(300));
    let (one, two) = (open(&journal, config).await, open(&journal, config).await);
    world.hang(1, 1);
    one.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    let drain = one.drain(gate, Postings, world.service());
    sleep(2).await;
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    sleep(2).await;
    two.enqueue(posting(2, 1).draft().unwrap()).await.unwrap();
    sleep(2).await;
    assert!(one.must_wait(&Lane::new("2")), "while its own call hangs");
    world.go_on();
    drain.stop().await;
    assert_eq!(world.calls(), [(1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_stops_while_the_store_is_down() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let store = Arc::new(Broken::new(journal.clone()));
    let queue = Queue::open("ledger", store.clone(), quick()).await.unwrap();
    for n in 1..=2 {
        queue.enqueue(posting(1, n).draft().unwrap()).await.unwrap();
    }
    world.hang(1, 1);
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(2).await;
    store.loses_answers(true);
    store.beats(false);
    world.go_on();
    sleep(2).await;
    let stops = tokio::time::timeout(Duration::from_secs(30), drain.stop());
    assert!(stops.await.is_ok(), "a lease of 15 s is over");
    assert_eq!(queue.status().under_way, 0);
    store.loses_answers(false);
    store.beats(true);
    let drain = queue.drain(gate, Postings, world.service());
    sleep(20).await;
    assert_eq!(world.applied(1), [1, 2]);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_one_incident_of_its_turn() {
    let (_, gate) = levels();
    let store = Arc::new(Broken::new(Arc::default()));
    let queue = Queue::open("ledger", store.clone(), quick()).await.unwrap();
    let receipt = queue.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    store.damage(receipt.entry.get());
    // Something else keeps the turn.
    let world = World::new();
    world.says(2, 1, Says::Away);
    queue.enqueue(posting(2, 1).draft().unwrap()).await.unwrap();
    let drain = queue.drain(gate, Postings, world.service());
    sleep(60).await;
    assert_eq!((queue.status().poisoned, store.loads()), (1, 1));
    assert!(queue.must_wait(&Lane::new("1")));
    drain.stop().await;
}

/// A service that cannot be cloned at times.
struct Fragile<S> {
    inner: S,
    breaks: Arc<std::sync::atomic::AtomicU32>,
}

impl<S: Clone> Clone for Fragile<S> {
    fn clone(&self) -> Self {
        use std::sync::atomic::Ordering::SeqCst;
        let left = self.breaks.load(SeqCst);
        self.breaks.store(left.saturating_sub(1), SeqCst);
        assert_eq!(left, 0, "that was expected");
        Self {
            inner: self.inner.clone(),
            breaks: Arc::clone(&self.breaks),
        }
    }
}

impl<S: Service<world::Posting>> Service<world::Posting> for Fragile<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, posting: world::Posting) -> S::Future {
        self.inner.call(posting)
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_clone_panics_is_asked_later() {
    let (_, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick().attempts(Attempts::NO_RETRY)).await;
    queue.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    let fragile = Fragile {
        inner: world.service(),
        breaks: Arc::new(3.into()),
    };
    let drain = queue.drain(gate, Postings, fragile);
    sleep(5).await;
    assert_eq!(world.applied(1), [1]);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn room_of_one_who_went_away_comes_back() {
    let (_, gate) = levels();
    let store = Arc::new(Broken::new(Arc::default()));
    let queue = Queue::open("ledger", store.clone(), quick().entries(count(1)))
        .await
        .unwrap();
    store.hangs(true);
    let went = tokio::time::timeout(
        Duration::from_secs(1),
        queue.enqueue(posting(1, 1).draft().unwrap()),
    );
    assert!(went.await.is_err());
    store.hangs(false);
    assert_eq!(queue.status().depth, 1, "nobody knows yet");
    let world = World::new();
    let drain = queue.drain(gate, Postings, world.service());
    sleep(2).await;
    assert_eq!(queue.status().depth, 0);
    queue.enqueue(posting(1, 2).draft().unwrap()).await.unwrap();
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_write_is_not_queued() {
    let (degrade, gate) = levels();
    let world = World::new();
    let queue = open(&Arc::default(), quick()).await;
    let layer = QueueLayer::new(gate.clone(), queue.clone(), Postings);
    let reason = |error: BoxError| error.as_rejected().unwrap().reason();
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    assert_eq!(gate.kind(), Kind::Queued);
    for access in [Access::Read, Access::Both] {
        let ledger = layer.clone().access(access).layer(world.service());
        let refused = ledger.oneshot(posting(1, 1)).await.unwrap_err();
        assert_eq!(reason(refused), Reason::Degraded, "{access:?}");
    }
    // Nor what has no key; nor in another mode.
    let ledger = layer.layer(world.service());
    let refused = ledger.clone().oneshot(posting(1, 1).without_key()).await;
    assert_eq!(reason(refused.unwrap_err()), Reason::Degraded);
    let bad = ledger
        .clone()
        .oneshot(posting(1, 1).with_key("no key"))
        .await;
    assert!(
        bad.unwrap_err().as_rejected().is_none(),
        "that is the caller's fault"
    );
    for mode in [Mode::ReadOnly, Mode::Manual, Mode::Disabled] {
        degrade.pin("writes", mode, order()).unwrap();
        let refused = ledger.clone().oneshot(posting(1, 1)).await.unwrap_err();
        assert_eq!(reason(refused), Reason::Degraded);
    }
    degrade.pin("writes", Mode::FailOver, order()).unwrap();
    let refused = ledger.oneshot(posting(1, 1)).await.unwrap_err();
    assert_eq!(reason(refused), Reason::FailedOver);
    assert!(queue.is_idle() && world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_forgotten_by_and_by() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let queue = open(&journal, quick().keep(Period::secs(3_600))).await;
    queue.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    let drain = queue.drain(gate, Postings, world.service());
    sleep(1_800).await;
    assert_eq!(journal.len(), 2, "the entry, and whose turn it is");
    sleep(3_600).await;
    assert_eq!(journal.len(), 1);
    drain.stop().await;
}

/// Sagas and other queues may live in the same journal.
#[tokio::test(start_paused = true)]
async fn queues_share_a_journal_and_nothing_else() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let (one, two) = (
        open(&journal, quick()).await,
        Queue::open("stock", journal.clone(), quick())
            .await
            .unwrap(),
    );
    one.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    let theirs = two.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    let drain = one.drain(gate, Postings, world.service());
    sleep(10).await;
    assert_eq!(world.calls().len(), 1);
    assert_eq!((one.status().depth, two.status().depth), (0, 1));
    let missing = one.life(theirs.entry).await;
    assert!(
        matches!(missing, Err(QueueError::Missing(_))),
        "{missing:?}"
    );
    drain.stop().await;
}

/// A record that no codec can read is an incident of its lane.
#[tokio::test(start_paused = true)]
async fn a_record_that_does_not_read_is_poison() {
    let (_, gate) = levels();
    let (world, journal) = (World::new(), Arc::<MemoryJournal>::default());
    let queue = open(&journal, quick()).await;
    for (n, payload) in [(1, "no amount"), (2, "100")] {
        let draft = Draft::new(&format!("1-{n}"), Lane::new("1"), payload.into()).unwrap();
        queue.enqueue(draft).await.unwrap();
    }
    let labels = Arc::new(Labels::new(""));
    let at = mainstay::rt::wall();
    let begin =
        mainstay::journal::Begin::new(labels, "queue/ledger", "torn", "", 1, "{\"torn\":1}", at);
    journal.begin(begin).await.unwrap();
    let drain = queue.drain(gate, Postings, world.service());
    sleep(5).await;
    let incidents = queue.poisoned(10).await.unwrap();
    assert_eq!(incidents.len(), 2);
    assert_eq!(incidents[0].why, Some(Poison::Unreadable));
    assert!(world.calls().is_empty());
    drain.stop().await;
}

#[test]
fn an_open_gate_over_an_empty_queue_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let (_degrade, gate) = levels();
    let queue = runtime.block_on(open(&Arc::default(), quick()));
    let ready =
        tower::service_fn(|_: world::Posting| std::future::ready(Ok::<_, BoxError>("done")));
    let mut ledger = QueueLayer::new(gate, queue, Postings).layer(ready);
    let mut call = |posting| {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(Service::poll_ready(&mut ledger, &mut cx).is_ready());
        let mut future = std::pin::pin!(ledger.call(posting));
        assert!(future.as_mut().poll(&mut cx).is_ready());
    };
    let (first, second) = (posting(1, 1), posting(1, 2));
    call(first);
    let (made, ()) = allocations(|| call(second));
    assert_eq!(made, 0);
}

/// The view of an instance has no part in what is durable: all of it is in the store.
#[tokio::test(start_paused = true)]
async fn what_is_durable_says_who_waits_behind_whom() {
    let journal = Arc::<MemoryJournal>::default();
    let queue = open(&journal, quick()).await;
    for n in 1..=3 {
        queue
            .enqueue(posting(n % 2, n).draft().unwrap())
            .await
            .unwrap();
    }
    let listing = Listing::new(Status::Running, 10).kind("queue/ledger");
    let heads = journal.list(listing).await.unwrap();
    let stages: Vec<_> = heads.iter().map(|head| head.stage.to_string()).collect();
    assert_eq!(stages, ["queued 5 1", "queued 5 0", "queued 5 1"]);
    // Nobody who claims sagas gets them.
    let claim = Claim::new(vec![("invoice".into(), 1)], 10);
    assert!(journal.claim(claim).await.unwrap().is_empty());
    assert_eq!(
        Verdict::AWAY,
        Verdict::Later {
            counts: false,
            after: None
        }
    );
}

#[tokio::test]
async fn a_file_keeps_a_queue_over_a_restart() {
    use mainstay::journal::sqlite::SqliteJournal;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.sqlite");
    let (_degrade, gate) = levels();
    let world = World::new();
    let config = quick().look(Period::millis(20));
    {
        let journal = Arc::new(SqliteJournal::open(&path).unwrap());
        let queue = Queue::open("ledger", journal, config).await.unwrap();
        for n in 1..=20 {
            for account in 1..=3 {
                queue
                    .enqueue(posting(account, n).draft().unwrap())
                    .await
                    .unwrap();
            }
        }
    }
    let journal = Arc::new(SqliteJournal::open(&path).unwrap());
    let queue = Queue::open("ledger", journal, config).await.unwrap();
    assert_eq!(queue.status().depth, 60);
    let drain = queue.drain(gate, Postings, world.service());
    while !queue.is_idle() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for account in 1..=3 {
        assert_eq!(world.applied(account), (1..=20).collect::<Vec<_>>());
    }
    assert_eq!(world.calls().len(), 60);
    drain.stop().await;
}
