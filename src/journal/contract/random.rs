//! The same random work on a store and on the reference.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::work::{
    ALL, Broken, Checked, HOUR, MOMENT, NOBODY, PAUSE, at, beginning, labels, same, wanted,
};
use super::{Subject, Violation};
use crate::journal::memory::MemoryJournal;
use crate::journal::{
    Append, Beat, Begun, Claim, Epoch, Head, InstanceId, Join, Journal, JournalError, Listing,
    LogId, Place, Post, Prune, Release, Status,
};
use crate::rng::Rng;
use crate::rt;

/// How much work the case of the suite does.
const STEPS: usize = 600;

/// More logs than this and the work would spread too thin.
const KEYS: u64 = 6;

pub(super) async fn random_work_agrees_with_memory(subject: &Subject) -> Checked {
    let seed = subject.seed.unwrap_or_else(rt::entropy);
    work(subject, seed, STEPS).await
}

/// Does the same random work on a fresh store and on a [`MemoryJournal`], and compares every answer and every log.
///
/// Numbers of logs and of instances may differ, as long as they grow: a store may skip some.
///
/// # Inputs
///
/// The store, the seed that decides the work, and how many calls are made; 600 take about a second where a write takes
/// a millisecond.
///
/// # Errors
///
/// The first answer that differs, with the seed.
///
/// # Cancel safety
///
/// Dropping it leaves the store with a part of the work.
pub async fn compare(subject: &Subject, seed: u64, steps: usize) -> Result<(), Violation> {
    work(subject, seed, steps)
        .await
        .map_err(|broken| Violation {
            case: "compare",
            reason: broken.0,
        })
}

async fn work(subject: &Subject, seed: u64, steps: usize) -> Checked {
    let mut pair = Pair {
        store: subject.journal().await,
        model: MemoryJournal::new(),
        logs: Vec::new(),
        instances: Vec::new(),
        rng: Rng::new(seed),
    };
    for step in 0..steps {
        pair.step(subject, step).await.map_err(|broken| {
            Broken(format!("{} (MAINSTAY_SEED={seed}, step {step})", broken.0))
        })?;
    }
    pair.compare_all()
        .await
        .map_err(|broken| Broken(format!("{} (MAINSTAY_SEED={seed}, at the end)", broken.0)))
}

struct Pair {
    store: Arc<dyn Journal>,
    model: MemoryJournal,
    /// What the store and the model call each log that was ever begun.
    logs: Vec<(LogId, LogId)>,
    /// And each instance.
    instances: Vec<(InstanceId, InstanceId)>,
    rng: Rng,
}

impl Pair {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(at).copied().unwrap_or(otherwise)
    }

    /// A log, now and then one that is not there.
    fn log(&mut self) -> (LogId, LogId) {
        let logs = self.logs.clone();
        if self.chance(20) {
            return (NOBODY, NOBODY);
        }
        // The late ones more often: those before them have been pruned.
        let late = logs
            .get(logs.len().saturating_sub(12)..)
            .unwrap_or_default();
        self.pick(late, (NOBODY, NOBODY))
    }

    fn instance(&mut self) -> (InstanceId, InstanceId) {
        let nobody = InstanceId::new(1 << 40);
        let instances = self.instances.clone();
        let late = instances.get(instances.len().saturating_sub(4)..);
        self.pick(late.unwrap_or_default(), (nobody, nobody))
    }

    fn owner(&mut self) -> Option<(InstanceId, InstanceId)> {
        (!self.chance(4)).then(|| self.instance())
    }

    /// Where the model's log ends, or somewhere else.
    async fn place(&mut self, id: LogId) -> Place {
        let somewhere = Place::new(Epoch::new(self.below(3) + 1), self.below(6));
        match self.model.load(id).await {
            Ok(log) if !self.chance(4) => log.head.place,
            _ => somewhere,
        }
    }

    /// The store's head, with the names that the model has.
    fn ours(&self, mut head: Head) -> Head {
        let log = self.logs.iter().find(|(theirs, _)| *theirs == head.id);
        head.id = log.map_or(head.id, |(_, ours)| *ours);
        head.owner = head.owner.map(|owner| {
            let known = self.instances.iter().find(|(theirs, _)| *theirs == owner);
            known.map_or(owner, |(_, ours)| *ours)
        });
        head
    }

    fn all_ours(&self, heads: Vec<Head>) -> Vec<Head> {
        heads.into_iter().map(|head| self.ours(head)).collect()
    }

    async fn step(&mut self, subject: &Subject, step: usize) -> Checked {
        match self.below(32) {
            0..=4 => self.begin().await,
            5..=11 => self.append(subject, step).await,
            12..=16 => self.claim().await,
            17 | 18 => self.load().await,
            19 => self.reopen(subject).await,
            20 | 21 => self.join(subject).await,
            22 | 23 => self.beat(subject).await,
            24 => self.leave().await,
            25 | 26 => self.release().await,
            27 | 28 => self.post().await,
            29 => self.prune(subject).await,
            _ => self.list().await,
        }
    }

    async fn begin(&mut self) -> Checked {
        let tenant = self.pick(&["acme", "b"], "acme");
        let key = self.below(KEYS).to_string();
        let version = u32::try_from(self.below(2)).unwrap_or(0) + 1;
        let stage = self.pick(&["", "new"], "");
        let asked = beginning(tenant, "pay", &key).version(version).stage(stage);
        let (mut theirs, mut ours) = (asked.clone(), asked);
        if let Some((their_owner, our_owner)) = self.owner() {
            (theirs, ours) = (theirs.owner(their_owner), ours.owner(our_owner));
        }
        let (theirs, ours) = (
            self.store.begin(theirs).await?,
            self.model.begin(ours).await?,
        );
        match (theirs, ours) {
            (Begun::Created(theirs), Begun::Created(ours)) => {
                let grows = self.logs.last().is_none_or(|(last, _)| theirs.id > *last);
                same!(grows, true, "ids that grow");
                self.logs.push((theirs.id, ours.id));
                same!(self.ours(theirs), ours, "begin");
            }
            (Begun::Existing(theirs), Begun::Existing(ours)) => {
                same!(self.ours(theirs), ours, "begin");
            }
            (theirs, ours) => return Err(Broken(format!("begin: {theirs:?} for {ours:?}"))),
        }
        Ok(())
    }

    async fn append(&mut self, subject: &Subject, step: usize) -> Checked {
        let (theirs, ours) = self.log();
        let place = self.place(ours).await;
        let running = Status::Running;
        let status = self.pick(
            &[running, running, running, Status::Held, Status::Ended],
            running,
        );
        let at = at(i64::try_from(step).unwrap_or(i64::MAX));
        // Few bodies, so that some are the same again.
        let body = format!("[{}]", self.below(3));
        let mut append = Append::new(theirs, place, status, labels("acme"), 1, body, at);
        if self.chance(3) {
            append = append.stage(self.pick(&["", "half way"], ""));
        }
        if self.chance(4) {
            append = append.read(self.below(5));
        }
        if self.chance(4) {
            let version = u32::try_from(self.below(3)).unwrap_or(0);
            append = append.version(version.saturating_add(1));
        }
        let parks = self.chance(5).then(|| self.pick(&[MOMENT, HOUR], HOUR));
        append.park = parks;
        let mut model = append.clone();
        model.id = ours;
        agree(
            "append",
            self.store.append(append).await,
            self.model.append(model).await,
        )?;
        if parks == Some(MOMENT) {
            subject.pass(PAUSE).await;
        }
        Ok(())
    }

    async fn claim(&mut self) -> Checked {
        let limit = usize::try_from(self.below(5)).unwrap_or(0);
        let mut claim = Claim::new(vec![("pay".into(), 1)], limit);
        if self.chance(2) {
            claim.kinds.push(("pay".into(), 2));
        }
        if self.chance(4) {
            claim = claim.except(vec!["b".to_owned()]);
        }
        let mut model = claim.clone();
        if self.chance(4) {
            let (theirs, ours) = self.log();
            (claim, model) = (claim.after(theirs), model.after(ours));
        }
        if let Some((theirs, ours)) = self.owner() {
            (claim, model) = (claim.owner(theirs), model.owner(ours));
        }
        let (theirs, ours) = (
            self.store.claim(claim).await?,
            self.model.claim(model).await?,
        );
        same!(self.all_ours(theirs), ours, "claim");
        Ok(())
    }

    async fn load(&mut self) -> Checked {
        let (theirs, ours) = self.log();
        self.compare_logs(theirs, ours).await
    }

    async fn compare_logs(&self, theirs: LogId, ours: LogId) -> Checked {
        match (self.store.load(theirs).await, self.model.load(ours).await) {
            (Ok(mut theirs), Ok(ours)) => {
                theirs.head = self.ours(theirs.head);
                same!(theirs, ours, "load");
                Ok(())
            }
            (theirs, ours) => agree("load", theirs, ours),
        }
    }

    /// The end of the process and its next start.
    async fn reopen(&mut self, subject: &Subject) -> Checked {
        // One opening at a time: the old one goes first.
        self.store = Arc::new(MemoryJournal::new());
        self.store = subject.journal().await;
        if subject.alone {
            self.model.restarted();
        }
        Ok(())
    }

    async fn join(&mut self, subject: &Subject) -> Checked {
        let lease = self.pick(&[HOUR, HOUR, MOMENT], HOUR);
        let join = Join::new("instance", lease);
        let theirs = self.store.join(join.clone()).await?;
        let ours = self.model.join(join).await?;
        let grows = self.instances.last().is_none_or(|(last, _)| theirs > *last);
        same!(grows, true, "instances that grow");
        self.instances.push((theirs, ours));
        if lease == MOMENT {
            subject.pass(PAUSE).await;
        }
        Ok(())
    }

    async fn beat(&mut self, subject: &Subject) -> Checked {
        let (theirs, ours) = self.instance();
        let lease = self.pick(&[HOUR, HOUR, MOMENT], HOUR);
        let limit = usize::try_from(self.below(4)).unwrap_or(0);
        let theirs = self.store.beat(Beat::new(theirs, lease, limit)).await;
        let ours = self.model.beat(Beat::new(ours, lease, limit)).await;
        if lease == MOMENT {
            subject.pass(PAUSE).await;
        }
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                let known = |id: &LogId| self.logs.iter().find(|(theirs, _)| theirs == id);
                let named = theirs
                    .mail
                    .iter()
                    .map(|id| known(id).map_or(*id, |(_, ours)| *ours));
                same!(named.collect::<Vec<_>>(), ours.mail, "beat");
                Ok(())
            }
            (theirs, ours) => agree("beat", theirs, ours),
        }
    }

    async fn leave(&mut self) -> Checked {
        let (theirs, ours) = self.instance();
        agree(
            "leave",
            self.store.leave(theirs).await,
            self.model.leave(ours).await,
        )
    }

    async fn release(&mut self) -> Checked {
        let (theirs, ours) = self.log();
        let place = self.place(ours).await;
        agree(
            "release",
            self.store.release(Release::new(theirs, place)).await,
            self.model.release(Release::new(ours, place)).await,
        )
    }

    async fn post(&mut self) -> Checked {
        let (theirs, ours) = self.log();
        let dedup = self.below(6).to_string();
        let post = |id| Post::new(id, dedup.clone(), 1, "[]", at(5));
        agree(
            "post",
            self.store.post(post(theirs)).await,
            self.model.post(post(ours)).await,
        )
    }

    /// All or nothing: which of two logs that ended in the same millisecond is the older one is for each store to say.
    async fn prune(&mut self, subject: &Subject) -> Checked {
        let mut prune = self.pick(
            &[(HOUR, ALL), (Duration::ZERO, ALL), (Duration::ZERO, 0)],
            (HOUR, ALL),
        );
        if self.chance(2) {
            prune.1 = ALL;
        }
        let mut prune = Prune::new(prune.0, prune.1);
        if self.chance(4) {
            prune = prune.kind(self.pick(&["pay", "none"], "pay"));
        }
        subject.pass(PAUSE).await;
        agree(
            "prune",
            self.store.prune(prune.clone()).await,
            self.model.prune(prune).await,
        )
    }

    async fn list(&mut self) -> Checked {
        let running = Status::Running;
        let status = self.pick(&[running, Status::Held, Status::Ended], running);
        let limit = usize::try_from(self.below(9)).unwrap_or(0);
        let mut listing = Listing::new(status, limit);
        if self.chance(3) {
            listing = listing.tenant(self.pick(&["acme", "b", "none"], "b"));
        }
        if self.chance(3) {
            listing = listing.key(self.below(KEYS).to_string());
        }
        if self.chance(3) {
            listing = listing.stage(self.pick(&["", "new", "half way"], ""));
        }
        if self.chance(4) {
            listing = listing.kind(self.pick(&["pay", "none"], "pay"));
        }
        if self.chance(4) {
            let before = i64::try_from(self.below(600)).unwrap_or(0);
            listing = listing.updated_before(at(before));
        }
        let mut model = listing.clone();
        if self.chance(4) {
            let (theirs, ours) = self.log();
            (listing, model) = (listing.after(theirs), model.after(ours));
        }
        self.compare_lists(listing, model).await
    }

    async fn compare_lists(&self, theirs: Listing, ours: Listing) -> Checked {
        let (theirs, ours) = (self.store.list(theirs).await?, self.model.list(ours).await?);
        same!(self.all_ours(theirs), ours, "list");
        Ok(())
    }

    async fn compare_all(&self) -> Checked {
        for status in [Status::Running, Status::Held, Status::Ended] {
            let listing = Listing::new(status, ALL);
            self.compare_lists(listing.clone(), listing).await?;
        }
        for (theirs, ours) in &self.logs {
            self.compare_logs(*theirs, *ours).await?;
        }
        let (theirs, ours) = (
            self.store.claim(wanted()).await?,
            self.model.claim(wanted()).await?,
        );
        same!(self.all_ours(theirs), ours, "claim");
        Ok(())
    }
}

/// What an answer says, whatever logs and instances are called.
fn said<T: Debug>(answer: Result<T, JournalError>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(JournalError::Conflict {
            expected, found, ..
        }) => {
            format!("a conflict at {found}, expected {expected}")
        }
        Err(JournalError::Missing(_)) => "missing".to_owned(),
        Err(JournalError::Lapsed(_)) => "lapsed".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

fn agree<T: Debug>(
    call: &str,
    theirs: Result<T, JournalError>,
    ours: Result<T, JournalError>,
) -> Checked {
    let (theirs, ours) = (said(theirs), said(ours));
    same!(theirs, ours, call);
    Ok(())
}
