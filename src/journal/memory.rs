//! A journal in memory: the reference that other stores are compared with, and the store of tests.
//!
//! It keeps the rules of [`Journal`] but durability: its logs live as long as the value and its clones. Its clock is the
//! runtime's, which a test can pause and advance, so that leases and parking cost no time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::JournalError;
use super::log::{Head, InstanceId, Log, LogId, Mail, Place, Record, Status};
use super::port::{Answer, Journal};
use super::request::{
    Append, Beat, Begin, Begun, Claim, Join, Listing, Post, Posted, Prune, Pulse, Release,
};
use super::vitals::Vitals;
use crate::rt;
use crate::time::Tick;

/// Logs in memory. Clones share them, so that a test can drop everything else and recover from what "was written".
#[derive(Clone, Default)]
pub struct MemoryJournal {
    logs: Arc<Mutex<Logs>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Logs {
    by_id: BTreeMap<LogId, Kept>,
    by_key: HashMap<BusinessKey, LogId>,
    leases: BTreeMap<InstanceId, Tick>,
    last_id: u64,
    last_instance: u64,
}

/// A log and what only the store knows of it.
struct Kept {
    log: Log,
    /// All messages ever posted, by what makes them the same.
    posted: HashMap<String, u64>,
    /// Nobody claims it before this.
    wake: Tick,
    /// When its last record was written, by the clock that prunes.
    written: Tick,
}

#[derive(PartialEq, Eq, Hash)]
struct BusinessKey {
    tenant: String,
    kind: Arc<str>,
    key: String,
}

impl BusinessKey {
    fn of(head: &Head) -> Self {
        Self {
            tenant: head.labels.tenant.clone(),
            kind: Arc::clone(&head.kind),
            key: head.key.clone(),
        }
    }
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

    /// Ends every lease at once, as the restart of the only process does: whoever joins next finds every log free.
    pub fn restarted(&self) {
        self.lock().leases.clear();
        self.changed.notify_waiters();
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
    fn begin(&mut self, begin: Begin, now: Tick) -> Result<Begun, JournalError> {
        let key = BusinessKey {
            tenant: begin.labels.tenant.clone(),
            kind: Arc::clone(&begin.kind),
            key: begin.key.clone(),
        };
        if let Some(id) = self.by_key.get(&key) {
            let kept = self.by_id.get(id).ok_or(JournalError::Missing(*id))?;
            return Ok(Begun::Existing(kept.log.head.clone()));
        }
        self.last_id = self.last_id.saturating_add(1);
        let id = LogId::new(self.last_id);
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
        let kept = Kept {
            log: Log {
                head: head.clone(),
                records: vec![record],
                mail: Vec::new(),
            },
            posted: HashMap::new(),
            wake: Tick::ZERO,
            written: now,
        };
        self.by_id.insert(id, kept);
        Ok(Begun::Created(head))
    }

    fn one(&mut self, id: LogId) -> Result<&mut Kept, JournalError> {
        self.by_id.get_mut(&id).ok_or(JournalError::Missing(id))
    }

    /// Adds a record, and tells whether anybody may claim the log now.
    fn append(&mut self, append: Append, now: Tick) -> Result<bool, JournalError> {
        let kept = self.one(append.id)?;
        let log = &mut kept.log;
        let place = log.head.place;
        if place == append.expect.after()
            && log
                .records
                .last()
                .is_some_and(|last| last.epoch == append.expect.epoch && last.body == append.body)
        {
            return Ok(false);
        }
        if place != append.expect {
            return Err(JournalError::conflict(append.id, append.expect, place));
        }
        let head = &mut log.head;
        head.place = place.after();
        head.status = append.status;
        head.recoveries = 0;
        head.updated = append.at;
        if let Some(stage) = append.stage {
            head.stage = stage;
        }
        if let Some(version) = append.version {
            head.version = version;
        }
        if let Some(read) = append.read {
            head.mail.read = read.min(head.mail.posted).max(head.mail.read);
            let read = head.mail.read;
            log.mail.retain(|mail| mail.number > read);
        }
        if append.status != Status::Running || append.park.is_some() {
            head.owner = None;
        }
        // A message that came before the writer looked is no reason to sleep.
        kept.wake = match append.park {
            Some(delay) if !head.mail.has_unread() => now + delay,
            _ => Tick::ZERO,
        };
        kept.written = now;
        log.records.push(Record::new(
            log.head.place.records,
            place.epoch,
            (*append.labels).clone(),
            append.format,
            append.body,
            append.at,
        ));
        Ok(append.status == Status::Running && log.head.owner.is_none())
    }

    fn claim(&mut self, claim: &Claim, now: Tick) -> Vec<Head> {
        let leases = &self.leases;
        let alive = |owner: InstanceId| leases.get(&owner).is_some_and(|until| *until > now);
        self.by_id
            .values_mut()
            .filter(|kept| kept.wake <= now)
            .map(|kept| &mut kept.log.head)
            .filter(|head| {
                head.status == Status::Running && claim.after.is_none_or(|after| head.id > after)
            })
            .filter(|head| head.owner.is_none_or(|owner| !alive(owner)))
            .filter(|head| {
                let mut kinds = claim.kinds.iter();
                kinds.any(|(kind, version)| *kind == head.kind && *version == head.version)
            })
            .filter(|head| !claim.except.contains(&head.labels.tenant))
            .take(claim.limit)
            .map(|head| {
                head.place = Place::new(head.place.epoch.next(), head.place.records);
                head.owner = claim.owner;
                head.claims = head.claims.saturating_add(1);
                head.recoveries = head.recoveries.saturating_add(1);
                head.clone()
            })
            .collect()
    }

    fn list(&self, listing: &Listing) -> Vec<Head> {
        let is = |wanted: &Option<Arc<str>>, found: &Arc<str>| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let text = |wanted: &Option<String>, found: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        self.by_id
            .values()
            .map(|kept| &kept.log.head)
            .filter(|head| {
                head.status == listing.status
                    && listing.after.is_none_or(|after| head.id > after)
                    && is(&listing.kind, &head.kind)
                    && is(&listing.stage, &head.stage)
                    && text(&listing.tenant, &head.labels.tenant)
                    && text(&listing.key, &head.key)
                    && listing.begun_before.is_none_or(|at| head.begun < at)
                    && listing.updated_before.is_none_or(|at| head.updated < at)
            })
            .take(listing.limit)
            .cloned()
            .collect()
    }

    fn join(&mut self, join: &Join, now: Tick) -> InstanceId {
        self.leases.retain(|_, until| *until > now);
        self.last_instance = self.last_instance.saturating_add(1);
        let instance = InstanceId::new(self.last_instance);
        self.leases.insert(instance, now + join.lease);
        instance
    }

    fn beat(&mut self, beat: Beat, now: Tick) -> Result<Pulse, JournalError> {
        match self.leases.get_mut(&beat.instance) {
            Some(until) if *until > now => *until = now + beat.lease,
            _ => return Err(JournalError::Lapsed(beat.instance)),
        }
        let mail = self
            .by_id
            .values()
            .map(|kept| &kept.log.head)
            .filter(|head| head.owner == Some(beat.instance) && head.mail.has_unread())
            .map(|head| head.id)
            .take(beat.limit);
        Ok(Pulse::new(mail.collect()))
    }

    fn leave(&mut self, instance: InstanceId) {
        self.leases.remove(&instance);
        let heads = self.by_id.values_mut().map(|kept| &mut kept.log.head);
        heads
            .filter(|head| head.owner == Some(instance))
            .for_each(give_back);
    }

    fn release(&mut self, release: Release) -> Result<(), JournalError> {
        let head = &mut self.one(release.id)?.log.head;
        if head.place == release.place && head.owner.is_some() {
            give_back(head);
        }
        Ok(())
    }

    fn post(&mut self, post: Post) -> Result<Posted, JournalError> {
        let kept = self.one(post.id)?;
        if let Some(number) = kept.posted.get(&post.dedup) {
            return Ok(Posted::Known(*number));
        }
        if kept.log.head.status == Status::Ended {
            return Ok(Posted::Ended);
        }
        let mail = &mut kept.log.head.mail;
        mail.posted = mail.posted.saturating_add(1);
        let number = mail.posted;
        kept.posted.insert(post.dedup.clone(), number);
        kept.log.mail.push(Mail::new(
            number,
            post.dedup,
            post.format,
            post.body,
            post.at,
        ));
        kept.wake = Tick::ZERO;
        Ok(Posted::Added(number))
    }

    fn prune(&mut self, prune: &Prune, now: Tick) -> usize {
        let mut over: Vec<(Tick, LogId)> = self
            .by_id
            .values()
            .filter(|kept| kept.log.head.status == Status::Ended)
            .filter(|kept| kept.written + prune.older_than < now)
            .filter(|kept| {
                let kind = &kept.log.head.kind;
                prune.kind.as_ref().is_none_or(|wanted| wanted == kind)
            })
            .map(|kept| (kept.written, kept.log.head.id))
            .collect();
        // The oldest is the one that ended first.
        over.sort_unstable();
        over.truncate(prune.limit);
        let gone: Vec<LogId> = over.into_iter().map(|(_, id)| id).collect();
        for id in &gone {
            if let Some(kept) = self.by_id.remove(id) {
                self.by_key.remove(&BusinessKey::of(&kept.log.head));
            }
        }
        gone.len()
    }
}

fn give_back(head: &mut Head) {
    head.owner = None;
    head.recoveries = head.recoveries.saturating_sub(1);
}

impl Journal for MemoryJournal {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        Box::pin(async move {
            let begun = self.lock().begin(begin, rt::now())?;
            if matches!(&begun, Begun::Created(head) if head.owner.is_none()) {
                self.changed.notify_waiters();
            }
            Ok(begun)
        })
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        Box::pin(async move {
            if self.lock().append(append, rt::now())? {
                self.changed.notify_waiters();
            }
            Ok(())
        })
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        Box::pin(async move { Ok(self.lock().claim(&claim, rt::now())) })
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        Box::pin(async move {
            let log = self.lock().one(id)?.log.clone();
            Log::checked(log.head, log.records, log.mail)
        })
    }

    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        Box::pin(async move { Ok(self.lock().list(&listing)) })
    }

    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        Box::pin(async move { Ok(self.lock().join(&join, rt::now())) })
    }

    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        Box::pin(async move { self.lock().beat(beat, rt::now()) })
    }

    fn leave(&self, instance: InstanceId) -> Answer<'_, ()> {
        Box::pin(async move {
            self.lock().leave(instance);
            self.changed.notify_waiters();
            Ok(())
        })
    }

    fn release(&self, release: Release) -> Answer<'_, ()> {
        Box::pin(async move {
            self.lock().release(release)?;
            self.changed.notify_waiters();
            Ok(())
        })
    }

    fn post(&self, post: Post) -> Answer<'_, Posted> {
        Box::pin(async move {
            let posted = self.lock().post(post)?;
            self.changed.notify_waiters();
            Ok(posted)
        })
    }

    fn prune(&self, prune: Prune) -> Answer<'_, usize> {
        Box::pin(async move { Ok(self.lock().prune(&prune, rt::now())) })
    }

    fn vitals(&self) -> Vitals {
        Vitals::of("memory")
    }

    fn changed(&self) -> Answer<'_, ()> {
        // Made before the first poll: what happens between this call and that is not missed.
        let changed = self.changed.notified();
        Box::pin(async move {
            changed.await;
            Ok(())
        })
    }
}
