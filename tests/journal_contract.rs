//! Every store of this crate passes the suite, and stores that lie do not.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it takes its seed from the environment, and a lie that takes time"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::contract::{self, Subject};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{
    Answer, Append, Beat, Begin, Begun, Claim, Epoch, Head, Journal, JournalError, Listing, Log,
    LogId, Place, Post, Postbox, Posted, Prune, Pulse, Status,
};

/// The seed that was asked for, or another one each time.
fn seeded(subject: Subject) -> Subject {
    let seed = std::env::var("MAINSTAY_SEED").ok();
    match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) => subject.seed(seed),
        None => subject,
    }
}

fn memory() -> Subject {
    let journal = MemoryJournal::new();
    seeded(Subject::new(move || {
        let again: Arc<dyn Journal> = Arc::new(journal.clone());
        async { again }
    }))
}

fn sqlite() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    seeded(Subject::new(move || {
        let path = folder.path().join("journal.sqlite");
        async { Arc::new(SqliteJournal::open(path).unwrap()) as Arc<dyn Journal> }
    }))
    .alone()
}

/// A process that is killed, and its next start: what is opened is the file as it lies there while the journal before it
/// runs, and not as that leaves it when it is closed.
fn sqlite_killed() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let running: Mutex<Option<(PathBuf, Arc<SqliteJournal>)>> = Mutex::new(None);
    let starts = AtomicU64::new(0);
    seeded(Subject::new(move || {
        let number = starts.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.sqlite"));
        let mut running = running.lock().unwrap();
        if let Some((killed, _journal)) = running.take() {
            let into = path.to_str().unwrap();
            let shell = rusqlite::Connection::open(killed).unwrap();
            shell.execute("VACUUM INTO ?1", [into]).unwrap();
        }
        let journal = Arc::new(SqliteJournal::open(&path).unwrap());
        *running = Some((path, Arc::clone(&journal)));
        async { journal as Arc<dyn Journal> }
    }))
    .alone()
}

mod on_memory {
    mainstay::journal::contract! { #[tokio::test(start_paused = true)] super::memory() }
}

mod on_sqlite {
    mainstay::journal::contract! { #[tokio::test] super::sqlite() }
}

mod on_sqlite_killed {
    mainstay::journal::contract! { #[tokio::test] super::sqlite_killed() }
}

/// Many seeds cost nothing where the clock is paused.
#[tokio::test(start_paused = true)]
async fn memory_agrees_with_itself_under_many_seeds() {
    for seed in 0..50 {
        contract::compare(&memory(), seed, 400).await.unwrap();
    }
}

// === stores that lie ===

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    EpochNotChecked,
    PlaceNotChecked,
    RepeatedAppendRefused,
    KeysNotUnique,
    LeasesIgnored,
    LeasesRevive,
    TenantsNotLeftOut,
    VersionsIgnored,
    RecoveriesNotCounted,
    ParkingIgnored,
    MailLost,
    MailTwice,
    MailAfterTheEnd,
    LoadsAPart,
    PrunesRunning,
    PrunesAtOnce,
    ListsEverything,
}

#[derive(Debug)]
struct Liar {
    inner: MemoryJournal,
    lie: Lie,
    count: AtomicU64,
}

impl Liar {
    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

impl Journal for Liar {
    fn begin(&self, mut begin: Begin) -> Answer<'_, Begun> {
        if self.lie == Lie::KeysNotUnique {
            begin.key = format!("{}-{}", begin.key, self.next());
        }
        self.inner.begin(begin)
    }

    fn append(&self, mut append: Append) -> Answer<'_, ()> {
        Box::pin(async move {
            let place = self.inner.load(append.id).await?.head.place;
            match self.lie {
                Lie::EpochNotChecked => append.expect.epoch = place.epoch,
                Lie::PlaceNotChecked => append.expect.records = place.records,
                Lie::RepeatedAppendRefused if place != append.expect => {
                    return Err(JournalError::conflict(append.id, append.expect, place));
                }
                Lie::ParkingIgnored => append.park = None,
                _ => {}
            }
            self.inner.append(append).await
        })
    }

    fn claim(&self, mut claim: Claim) -> Answer<'_, Vec<Head>> {
        match self.lie {
            Lie::LeasesIgnored => self.inner.restarted(),
            Lie::TenantsNotLeftOut => claim.except.clear(),
            Lie::VersionsIgnored => {
                let more: Vec<_> = claim
                    .kinds
                    .iter()
                    .map(|(kind, _)| Arc::clone(kind))
                    .collect();
                for kind in more {
                    claim
                        .kinds
                        .extend((1..4).map(|version| (Arc::clone(&kind), version)));
                }
            }
            _ => {}
        }
        Box::pin(async move {
            let mut heads = self.inner.claim(claim).await?;
            if self.lie == Lie::RecoveriesNotCounted {
                heads.iter_mut().for_each(|head| head.recoveries = 1);
            }
            Ok(heads)
        })
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        Box::pin(async move {
            let mut log = self.inner.load(id).await?;
            if self.lie == Lie::LoadsAPart && log.records.len() > 100 {
                log.records.truncate(100);
                log.head.place = Place::new(Epoch::FIRST, 100);
            }
            Ok(log)
        })
    }

    fn list(&self, mut listing: Listing) -> Answer<'_, Vec<Head>> {
        if self.lie == Lie::ListsEverything {
            listing.stage = None;
        }
        self.inner.list(listing)
    }

    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        Box::pin(async move {
            match self.inner.beat(beat).await {
                Err(JournalError::Lapsed(_)) if self.lie == Lie::LeasesRevive => {
                    Ok(Pulse::new(Vec::new()))
                }
                answer => answer,
            }
        })
    }

    fn post(&self, mut post: Post) -> Answer<'_, Posted> {
        Box::pin(async move {
            let head = self.inner.load(post.id).await?.head;
            match self.lie {
                Lie::MailLost => return Ok(Posted::Added(head.mail.posted + 1)),
                Lie::MailTwice => post.dedup = format!("{}-{}", post.dedup, self.next()),
                Lie::MailAfterTheEnd if head.status == Status::Ended => {
                    return Ok(Posted::Added(Postbox::default().posted + 1));
                }
                _ => {}
            }
            self.inner.post(post).await
        })
    }

    fn prune(&self, mut prune: Prune) -> Answer<'_, usize> {
        Box::pin(async move {
            if self.lie == Lie::PrunesRunning {
                for head in self
                    .inner
                    .list(Listing::new(Status::Running, 1_000))
                    .await?
                {
                    let at = head.updated;
                    let end =
                        Append::new(head.id, head.place, Status::Ended, head.labels, 1, "[]", at);
                    self.inner.append(end).await?;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if self.lie == Lie::PrunesAtOnce {
                prune.older_than = Duration::ZERO;
            }
            self.inner.prune(prune).await
        })
    }

    mainstay::journal::pass_on!(inner: join leave release changed);
}

fn lying(lie: Lie) -> Subject {
    let inner = MemoryJournal::new();
    Subject::new(move || {
        let liar = Liar {
            inner: inner.clone(),
            lie,
            count: AtomicU64::new(0),
        };
        async { Arc::new(liar) as Arc<dyn Journal> }
    })
    .seed(7)
}

/// The suite catches each lie by the rule that it breaks.
#[tokio::test(start_paused = true)]
async fn lies_are_caught() {
    for (lie, rule) in [
        (Lie::EpochNotChecked, "rule_6_a_claim_shuts"),
        (Lie::PlaceNotChecked, "rule_2_one_of_many"),
        (Lie::RepeatedAppendRefused, "rule_3_"),
        (Lie::KeysNotUnique, "rule_1_one_log_per_key_under_a_race"),
        (Lie::LeasesIgnored, "rule_6_a_claim_leaves_live_owners"),
        (Lie::LeasesRevive, "rule_9_a_lease_that_is_over"),
        (Lie::TenantsNotLeftOut, "rule_6_a_claim_leaves_out_tenants"),
        (Lie::VersionsIgnored, "rule_6_a_claim_takes_the_versions"),
        (Lie::RecoveriesNotCounted, "rule_10_recoveries"),
        (Lie::ParkingIgnored, "rule_9_a_parked_log"),
        (Lie::MailLost, "rule_11_unread"),
        (Lie::MailTwice, "rule_11_a_message_is_posted_once"),
        (Lie::MailAfterTheEnd, "rule_11_an_ended_log"),
        (Lie::LoadsAPart, "rule_7_a_log_is_read_whole"),
        (Lie::PrunesRunning, "rule_12_only"),
        (Lie::PrunesAtOnce, "rule_12_only"),
        (Lie::ListsEverything, "lists_can_be_narrowed"),
    ] {
        let broken = contract::check_all(|| async { lying(lie) }).await;
        let caught: Vec<&str> = broken.iter().map(|violation| violation.case).collect();
        println!("{lie:?}: {caught:?}");
        let by_rule = caught.iter().any(|case| case.starts_with(rule));
        assert!(by_rule, "{lie:?} is not caught by {rule}: {broken:?}");
    }
    let honest = contract::check_all(|| async { lying(Lie::None) }).await;
    assert!(honest.is_empty(), "{honest:?}");
}

/// Random work finds most of them without knowing the rules.
#[tokio::test(start_paused = true)]
async fn random_work_catches_lies() {
    for lie in [
        Lie::EpochNotChecked,
        Lie::PlaceNotChecked,
        Lie::KeysNotUnique,
        Lie::LeasesIgnored,
        Lie::LeasesRevive,
        Lie::TenantsNotLeftOut,
        Lie::RecoveriesNotCounted,
        Lie::ParkingIgnored,
        Lie::MailLost,
        Lie::MailTwice,
        Lie::PrunesRunning,
        Lie::PrunesAtOnce,
        Lie::ListsEverything,
    ] {
        let mut caught = false;
        for seed in 0..10 {
            caught |= contract::compare(&lying(lie), seed, 600).await.is_err();
        }
        assert!(caught, "{lie:?}");
    }
}
