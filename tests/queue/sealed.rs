//! Payloads that only the holder of a key can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Journal, Labels, Listing, Status};
use mainstay::queue::{Draft, Lane, Poison, Queue, QueueConfig, QueueError};
use mainstay::saga::seal::{Keyed, PayloadCodec, Seal, SealError};

use crate::world::{Postings, World, levels, sleep};

/// Turns bytes around, and binds them: no cipher, and a place where one is.
struct Around;

impl Seal for Around {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().chain(bound_to).rev().copied().collect())
    }

    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let whole: Vec<u8> = sealed.iter().rev().copied().collect();
        let plain = whole.strip_suffix(bound_to);
        plain.map(<[u8]>::to_vec).ok_or(SealError::refused("moved"))
    }

    fn digest(&self, message: &[u8]) -> [u8; 32] {
        let mut digest = [7; 32];
        for (at, byte) in message.iter().enumerate() {
            digest[at % 32] ^= byte;
        }
        digest
    }
}

/// Names a new key with each entry; its service is there, away, or has lost them.
#[derive(Default)]
struct Keys {
    is: AtomicU8,
    made: AtomicU8,
}

impl PayloadCodec for Keys {
    fn choose<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Option<String>> {
        assert_eq!(labels.subject.as_deref(), Some("customer-7"));
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(Some(format!("k{number}"))) })
    }

    fn fetch<'a>(&'a self, labels: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        assert!(labels.key_id.is_some());
        let is = self.is.load(Ordering::SeqCst);
        Box::pin(async move {
            match is {
                0 => Ok(Arc::new(Around) as Arc<dyn Seal>),
                1 => Err(SealError::unavailable("away")),
                _ => Err(SealError::Gone),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_payload_is_nowhere_in_plain_and_comes_back() {
    let (_degrade, gate) = levels();
    let (world, keys) = (World::new(), Arc::<Keys>::default());
    let journal = Arc::<MemoryJournal>::default();
    let open = || Queue::open_sealed("ledger", journal.clone(), QueueConfig::new(), keys.clone());
    let queue = open().await.unwrap();
    let draft = |key: &str, amount: &str| {
        let draft = Draft::new(key, Lane::new("1").tenant("acme"), amount.into()).unwrap();
        draft.subject("customer-7")
    };
    let first = queue.enqueue(draft("a", "271828")).await.unwrap();
    // Another key was chosen meanwhile, and it is the same request all the same.
    assert_eq!(queue.enqueue(draft("a", "271828")).await.unwrap(), first);
    let other = queue.enqueue(draft("a", "314159")).await;
    assert!(
        matches!(other, Err(QueueError::OtherRequest(_))),
        "{other:?}"
    );

    let listing = Listing::new(Status::Running, 10).kind("queue/ledger");
    let head = journal.list(listing).await.unwrap().remove(0);
    let log = journal.load(head.id).await.unwrap();
    assert!(
        !log.records[0].body.contains("271828"),
        "{}",
        log.records[0].body
    );
    assert_eq!(head.labels.key_id.as_deref(), Some("k0"));

    // A key that cannot be had now is waited for.
    keys.is.store(1, Ordering::SeqCst);
    let drain = queue.drain(gate.clone(), Postings, world.service());
    sleep(60).await;
    assert!(world.calls().is_empty() && queue.status().poisoned == 0);
    let refused = queue.enqueue(draft("b", "1")).await;
    assert!(matches!(refused, Err(QueueError::Sealed(_))), "{refused:?}");
    keys.is.store(0, Ordering::SeqCst);
    sleep(60).await;
    assert_eq!(world.applied(1), [271_828]);

    // One that is gone never comes back.
    drain.stop().await;
    let lost = queue.enqueue(draft("c", "1")).await.unwrap();
    keys.is.store(2, Ordering::SeqCst);
    let drain = queue.drain(gate, Postings, world.service());
    sleep(10).await;
    let incidents = queue.poisoned(10).await.unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(
        (incidents[0].entry, incidents[0].why),
        (lost.entry, Some(Poison::Unreadable))
    );
    drain.stop().await;
}
