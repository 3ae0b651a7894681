//! An entry that kills whoever replays it, and those that only were there.

use mainstay::degrade::Gate;
use mainstay::journal::LogId;
use mainstay::queue::{EntryId, Life};

use super::*;

/// The process is killed: nothing is given back, and nothing is said.
fn killed(journal: &MemoryJournal, drain: mainstay::queue::Drain, queue: Queue) {
    drop((drain, queue));
    journal.restarted();
}

async fn facts(journal: &MemoryJournal, id: EntryId) -> Vec<Fact> {
    let log = journal.load(LogId::new(id.get())).await.unwrap();
    Life::read(&log).unwrap().later
}

/// Five processes die of it, one after the other, and the sixth does not. Those that were under way beside it are replayed
/// by whoever lives, and are no poison: it does not matter who of them comes first.
#[tokio::test(start_paused = true)]
async fn an_entry_that_kills_whoever_replays_it_is_poison_at_last() {
    for deadly in [1, 3] {
        let (_degrade, gate) = levels();
        let journal: Arc<MemoryJournal> = Arc::default();
        let world = World::new();
        let queue = open(&journal, quick()).await;
        let mut ids = Vec::new();
        for account in 1..=4 {
            for n in [1, 2] {
                let draft = posting(account, n).draft().unwrap();
                ids.push(queue.enqueue(draft).await.unwrap().entry);
            }
        }
        drop(queue);
        // Whoever calls it dies a second later; everything else takes longer than that.
        world.hang(deadly, 1);
        world.takes(Duration::from_secs(5));
        let mut deaths = 0;
        loop {
            let queue = open(&journal, quick()).await;
            let drain = queue.drain(gate.clone(), Postings, world.service());
            let calls = |world: &World| {
                let calls = world.calls();
                calls.iter().filter(|call| **call == (deadly, 1)).count()
            };
            let before = calls(&world);
            for _ in 0..120 {
                sleep(1).await;
                if calls(&world) > before {
                    break;
                }
            }
            if calls(&world) > before {
                deaths += 1;
                assert!(deaths <= 5, "nobody survives it");
                if deaths > 2 {
                    assert_eq!(queue.status().under_way, 1, "it is alone");
                }
                killed(&journal, drain, queue);
                continue;
            }
            assert_eq!(deaths, 5);
            let poison = queue.poisoned(9).await.unwrap();
            let why: Vec<_> = poison.iter().map(|entry| entry.why).collect();
            assert_eq!(why, [Some(Poison::Deadly)]);
            for account in (1..=4).filter(|account| *account != deadly) {
                assert_eq!(world.applied(account), [1, 2], "account {account}");
            }
            assert!(
                world.applied(deadly).is_empty(),
                "what comes behind it waits"
            );
            // An operator has found out why.
            world.says(deadly, 1, Says::Done);
            let id = poison[0].entry;
            queue.retry(id, &order()).await.unwrap();
            sleep(60).await;
            assert_eq!(world.applied(deadly), [1, 2]);
            let innocent = ids[usize::from(deadly == 1) * 2];
            let suspected = |facts: &[Fact]| {
                let suspected = facts
                    .iter()
                    .filter(|fact| matches!(fact, Fact::Suspected { .. }));
                suspected.count()
            };
            assert!(suspected(&facts(&journal, innocent).await) <= 1);
            // And once more when it was let loose again.
            assert_eq!(suspected(&facts(&journal, id).await), 4);
            drain.stop().await;
            break;
        }
    }
}

/// A queue with one entry, of which two have died: from now on it is a suspect.
async fn suspected(journal: &Arc<MemoryJournal>, world: &World, gate: &Gate) -> EntryId {
    let queue = open(journal, quick()).await;
    let receipt = queue.enqueue(posting(1, 1).draft().unwrap()).await.unwrap();
    drop(queue);
    world.hang(1, 1);
    for _ in 0..2 {
        let queue = open(journal, quick()).await;
        let drain = queue.drain(gate.clone(), Postings, world.service());
        sleep(2).await;
        killed(journal, drain, queue);
    }
    assert!(
        facts(journal, receipt.entry).await.is_empty(),
        "one death says nothing, and the second is not known before the third owner"
    );
    world.says(1, 1, Says::Done);
    receipt.entry
}

/// What was recorded of it, a letter each: suspected, survived (v), applied, poisoned, retried.
async fn story(journal: &MemoryJournal, id: EntryId) -> String {
    let letter = |fact: &Fact| match fact {
        Fact::Suspected { .. } => 's',
        Fact::Survived { .. } => 'v',
        Fact::Applied { .. } => 'a',
        Fact::Poisoned { .. } => 'p',
        Fact::Retried { .. } => 'r',
        _ => '?',
    };
    facts(journal, id).await.iter().map(letter).collect()
}

/// Who was only there when others died is none the worse for it, and that is recorded.
#[tokio::test(start_paused = true)]
async fn a_suspect_that_is_survived_three_times_is_none_any_more() {
    let (_degrade, gate) = levels();
    let (journal, world) = (Arc::<MemoryJournal>::default(), World::new());
    let id = suspected(&journal, &world, &gate).await;
    world.says(1, 1, Says::Failed);
    let queue = open(&journal, quick()).await;
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(6).await;
    assert_eq!(story(&journal, id).await, "svsvsv");
    world.says(1, 1, Says::Done);
    sleep(5).await;
    assert_eq!(story(&journal, id).await, "svsvsva");
    drain.stop().await;
}

/// A callee that is away proves nothing: a replay that comes to it kills all the same, and is found out.
#[tokio::test(start_paused = true)]
async fn a_suspect_that_kills_at_its_second_replay_is_found_out() {
    let (_degrade, gate) = levels();
    let (journal, world) = (Arc::<MemoryJournal>::default(), World::new());
    let id = suspected(&journal, &world, &gate).await;
    for _ in 0..3 {
        let queue = open(&journal, quick()).await;
        world.says(1, 1, Says::Away);
        let drain = queue.drain(gate.clone(), Postings, world.service());
        while world.calls().len().is_multiple_of(2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.hang(1, 1);
        sleep(2).await;
        killed(&journal, drain, queue);
    }
    assert_eq!(story(&journal, id).await, "svssvssvs");
    let queue = open(&journal, quick()).await;
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(2).await;
    assert_eq!(story(&journal, id).await, "svssvssvsp");
    assert_eq!(world.calls().len(), 8);
    // Let loose again it is still a suspect, and no one else's.
    world.says(1, 1, Says::Done);
    queue.retry(id, &order()).await.unwrap();
    sleep(2).await;
    assert_eq!(story(&journal, id).await, "svssvssvsprsa");
    drain.stop().await;
}

/// Records whose answers are lost are written once; what a process that lives has written is no death, and neither is a
/// drain that was stopped.
#[tokio::test(start_paused = true)]
async fn lost_answers_about_a_suspect_are_no_deaths() {
    for reopens in [false, true] {
        let (_degrade, gate) = levels();
        let (journal, world) = (Arc::<MemoryJournal>::default(), World::new());
        let id = suspected(&journal, &world, &gate).await;
        let store = Arc::new(Broken::new(journal.clone()));
        let again = || Queue::open("ledger", store.clone(), quick());
        let mut queue = again().await.unwrap();
        for _ in 0..3 {
            store.loses_records(true);
            let drain = queue.drain(gate.clone(), Postings, world.service());
            let before = story(&journal, id).await.len();
            while story(&journal, id).await.len() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            world.says(1, 1, Says::Away);
            let stopping = tokio::spawn(drain.stop());
            sleep(1).await;
            store.loses_records(false);
            stopping.await.unwrap();
            if reopens {
                queue = again().await.unwrap();
            }
        }
        let said = story(&journal, id).await;
        assert!(said.starts_with("sv") && !said.contains("ss"), "{said}");
        world.says(1, 1, Says::Done);
        let drain = queue.drain(gate.clone(), Postings, world.service());
        sleep(10).await;
        assert_eq!(world.applied(1), [1], "{}", story(&journal, id).await);
        drain.stop().await;
    }
}

/// What ends a suspect's replays is recorded behind what was said of it.
#[tokio::test(start_paused = true)]
async fn a_suspect_whose_attempts_are_over_is_exhausted_and_not_deadly() {
    let (_degrade, gate) = levels();
    let (journal, world) = (Arc::<MemoryJournal>::default(), World::new());
    let id = suspected(&journal, &world, &gate).await;
    world.says(1, 1, Says::Failed);
    let config = quick().attempts(Attempts::total(2));
    let queue = open(&journal, config).await;
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(5).await;
    assert_eq!(story(&journal, id).await, "svsvp");
    let poison = queue.poisoned(1).await.unwrap();
    assert_eq!(poison[0].why, Some(Poison::Exhausted));
    drain.stop().await;
}

/// A drain that is dropped while its process lives owes nobody a death.
#[tokio::test(start_paused = true)]
async fn a_drain_that_is_dropped_has_not_died() {
    let (_degrade, gate) = levels();
    let (journal, world) = (Arc::<MemoryJournal>::default(), World::new());
    let id = suspected(&journal, &world, &gate).await;
    world.hang(1, 1);
    let queue = open(&journal, quick()).await;
    for _ in 0..5 {
        let drain = queue.drain(gate.clone(), Postings, world.service());
        sleep(2).await;
        drop(drain);
        sleep(60).await;
    }
    world.says(1, 1, Says::Done);
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(2).await;
    assert_eq!(world.applied(1), [1], "{}", story(&journal, id).await);
    drain.stop().await;
}

/// One that is given back owes nobody a death, however often.
#[tokio::test(start_paused = true)]
async fn shutting_down_makes_no_suspect() {
    let (_degrade, gate) = levels();
    let journal: Arc<MemoryJournal> = Arc::default();
    let world = World::new();
    let queue = open(&journal, quick()).await;
    let id = queue
        .enqueue(posting(1, 1).draft().unwrap())
        .await
        .unwrap()
        .entry;
    world.says(1, 1, Says::Away);
    for _ in 0..6 {
        let drain = queue.drain(gate.clone(), Postings, world.service());
        sleep(2).await;
        drain.stop().await;
    }
    assert!(facts(&journal, id).await.is_empty());
}
