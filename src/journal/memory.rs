//! A journal in memory: the reference that other stores are compared with, and the store of tests.
//!
//! It keeps the rules of [`Journal`] but durability: its logs live as long as the value and its clones.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::JournalError;
use super::log::{Head, Log, LogId, Place, Record, Status};
use super::port::{Answer, Journal};
use super::request::{Append, Begin, Begun, Claim, Listing};

/// Logs in memory. Clones share them, so that a test can drop everything else and recover from what "was written".
#[derive(Clone, Default)]
pub struct MemoryJournal {
    logs: Arc<Mutex<Logs>>,
}

#[derive(Default)]
struct Logs {
    by_id: BTreeMap<LogId, Log>,
    by_key: HashMap<BusinessKey, LogId>,
}

#[derive(PartialEq, Eq, Hash)]
struct BusinessKey {
    tenant: String,
    kind: Arc<str>,
    key: String,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many logs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether there is no log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        // Nothing in here panics half way through a change.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many logs, never what they say.
impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal")
            .field("logs", &self.len())
            .finish()
    }
}

impl Logs {
    fn begin(&mut self, begin: Begin) -> Result<Begun, JournalError> {
        let key = BusinessKey {
            tenant: begin.labels.tenant.clone(),
            kind: Arc::clone(&begin.kind),
            key: begin.key.clone(),
        };
        if let Some(id) = self.by_key.get(&key) {
            let log = self.by_id.get(id).ok_or(JournalError::Missing(*id))?;
            return Ok(Begun::Existing(log.head.clone()));
        }
        let id = LogId::new(
            self.by_id
                .last_key_value()
                .map_or(0, |(id, _)| id.get())
                .saturating_add(1),
        );
        let head = Head::of(id, &begin);
        let labels = (*begin.labels).clone();
        let record = Record::new(
            1,
            head.place.epoch,
            labels,
            begin.format,
            begin.body,
            begin.at,
        );
        self.by_key.insert(key, id);
        self.by_id.insert(
            id,
            Log {
                head: head.clone(),
                records: vec![record],
            },
        );
        Ok(Begun::Created(head))
    }

    fn append(&mut self, append: Append) -> Result<(), JournalError> {
        let log = self
            .by_id
            .get_mut(&append.id)
            .ok_or(JournalError::Missing(append.id))?;
        let place = log.head.place;
        if place == append.expect.after()
            && log
                .records
                .last()
                .is_some_and(|last| last.epoch == append.expect.epoch && last.body == append.body)
        {
            return Ok(());
        }
        if place != append.expect {
            return Err(JournalError::conflict(append.id, append.expect, place));
        }
        log.head.place = place.after();
        log.head.status = append.status;
        log.records.push(Record::new(
            log.head.place.records,
            place.epoch,
            (*append.labels).clone(),
            append.format,
            append.body,
            append.at,
        ));
        Ok(())
    }

    fn claim(&mut self, claim: &Claim) -> Vec<Head> {
        self.by_id
            .values_mut()
            .map(|log| &mut log.head)
            .filter(|head| {
                head.status == Status::Running && claim.after.is_none_or(|after| head.id > after)
            })
            .filter(|head| claim.kinds.contains(&head.kind))
            .take(claim.limit)
            .map(|head| {
                head.place = Place::new(head.place.epoch.next(), head.place.records);
                head.claims = head.claims.saturating_add(1);
                head.clone()
            })
            .collect()
    }

    fn list(&self, listing: &Listing) -> Vec<Head> {
        self.by_id
            .values()
            .map(|log| &log.head)
            .filter(|head| {
                head.status == listing.status && listing.after.is_none_or(|after| head.id > after)
            })
            .take(listing.limit)
            .cloned()
            .collect()
    }
}

impl Journal for MemoryJournal {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        Box::pin(async move { self.lock().begin(begin) })
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        Box::pin(async move { self.lock().append(append) })
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        Box::pin(async move { Ok(self.lock().claim(&claim)) })
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        Box::pin(async move {
            let log = self
                .lock()
                .by_id
                .get(&id)
                .cloned()
                .ok_or(JournalError::Missing(id))?;
            Log::checked(log.head, log.records)
        })
    }

    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        Box::pin(async move { Ok(self.lock().list(&listing)) })
    }
}
