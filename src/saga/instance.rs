//! One of several programs on a journal: keeps its lease, knows who it is, and prunes what is old enough.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::engine::Engine;
use super::error::SagaError;
use super::lease::{Lease, May, Need, Standing};
use super::run::Leave;
use crate::journal::{Beat, Head, InstanceId, Join, JournalError, Prune, Release};
use crate::observe;
use crate::rt;
use crate::time::Tick;

/// At most so many logs with mail are named with a beat, the oldest ones; more than have unread mail at a time.
const MAIL: usize = 4096;

/// Logs are pruned in batches of this size, so that no transaction is long.
const BATCH: usize = 256;

/// Between two batches, so that others get their turn.
const BREATH: Duration = Duration::from_millis(50);

/// What is pruned is looked for so often, whatever the retention.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// More moments at which a parked saga is due are not kept; they are found by the next poll.
const MOST_DUE: usize = 1024;

/// Keeps a lease, for as long as it is not stopped from outside.
///
/// A journal that does not answer is asked no second question; stores bound the time of an answer.
pub(super) async fn keep<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    name: String,
    mut lease: Lease,
) {
    loop {
        let now = rt::now();
        match lease.need(now) {
            Need::Join => {
                lease.asked(now);
                let join = Join::new(name.clone(), lease.length());
                match engine.journal.join(join).await {
                    Ok(instance) => lease.joined(instance),
                    Err(_) => lease.failed(rt::now()),
                }
            }
            Need::Beat(instance) => {
                lease.asked(now);
                let beat = Beat::new(instance, lease.length(), MAIL);
                match engine.journal.beat(beat).await {
                    Ok(pulse) => {
                        lease.renewed();
                        engine.mail(&pulse.mail);
                    }
                    Err(JournalError::Lapsed(_)) => {
                        lease.lapsed();
                        observe::saga_lease_lost(&name, instance.get());
                    }
                    Err(_) => lease.failed(rt::now()),
                }
            }
            Need::Wait(until) => {
                rt::sleep_until(until).await;
                continue;
            }
            Need::Answer | Need::Nothing => return,
        }
        engine.stand(lease.standing());
    }
}

/// Removes sagas of these definitions that ended longer ago than the retention.
pub(super) async fn prune<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    kinds: Vec<Arc<str>>,
    retention: Duration,
) {
    let pause = (retention / 10).clamp(LOOK.0, LOOK.1);
    loop {
        for kind in &kinds {
            loop {
                let prune = Prune::new(retention, BATCH).kind(Arc::clone(kind));
                // What fails is asked again after the pause.
                let pruned = engine.journal.prune(prune).await.unwrap_or(0);
                if pruned < BATCH {
                    break;
                }
                rt::sleep(BREATH).await;
            }
        }
        rt::sleep(pause).await;
    }
}

impl<App: Send + Sync + 'static> Engine<App> {
    /// Says who this engine is from now on.
    pub(super) fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|known| {
            let other = *known != standing;
            *known = standing;
            other
        });
    }

    /// Who this engine is, if that is sure now.
    pub(super) fn present(&self) -> Option<InstanceId> {
        self.standing.borrow().instance(rt::now())
    }

    /// Who this engine was when the journal last answered.
    pub(super) fn known_as(&self) -> Option<InstanceId> {
        self.standing.borrow().known_as()
    }

    /// Who this engine is. Waits while that is in doubt; `None` when the engine stops first.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(super) async fn instance(&self) -> Option<InstanceId> {
        let mut standing = self.standing.subscribe();
        loop {
            if self.is_stopping() {
                return None;
            }
            let now = *standing.borrow_and_update();
            if let Some(instance) = now.instance(rt::now()) {
                return Some(instance);
            }
            tokio::select! {
                biased;
                () = self.stopping() => return None,
                // Its sender lives as long as `self`.
                _ = standing.changed() => {}
            }
        }
    }

    /// Whether a saga that this instance took up may begin an effect. Waits while that is in doubt.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(super) async fn may_begin(&self, owner: Option<InstanceId>) -> Result<(), Leave> {
        let may = self.standing.borrow().may_begin(owner, rt::now());
        if may == May::Begin {
            return Ok(());
        }
        let mut standing = self.standing.subscribe();
        loop {
            let now = *standing.borrow_and_update();
            match now.may_begin(owner, rt::now()) {
                May::Begin => return Ok(()),
                May::Never => return Err(Leave::Lapsed),
                May::Wait => {}
            }
            tokio::select! {
                biased;
                () = self.stopping() => return Err(Leave::Stopped(SagaError::Stopping)),
                // Its sender lives as long as `self`.
                _ = standing.changed() => {}
            }
        }
    }

    /// Completes when this instance is over.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(super) async fn lapse_of(&self, owner: Option<InstanceId>) {
        let mut standing = self.standing.subscribe();
        let over = |standing: &Standing| owner.is_none() || standing.known_as() != owner;
        // Its sender lives as long as `self`.
        drop(standing.wait_for(over).await);
    }

    /// Gives a saga back that was claimed and not carried on.
    pub(super) async fn give_back(&self, head: &Head) {
        if !self.hands_over() {
            return;
        }
        // If this is lost, the end of the lease gives it back.
        drop(
            self.journal
                .release(Release::new(head.id, head.place))
                .await,
        );
    }

    /// There may be something to claim.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Completes when there may be something to claim.
    pub(super) async fn looked_for(&self) {
        self.look.notified().await;
    }

    fn due(&self) -> MutexGuard<'_, BTreeSet<Tick>> {
        // Single changes, none of which panics.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A saga was parked until then, more or less.
    pub(super) fn wake_at(&self, at: Tick) {
        let sooner = {
            let mut due = self.due();
            let sooner = due.first().is_none_or(|first| at < *first);
            due.insert(at);
            if due.len() > MOST_DUE {
                due.pop_last();
            }
            sooner
        };
        if sooner {
            self.look();
        }
    }

    /// When to look for sagas that were parked here.
    pub(super) fn next_due(&self) -> Tick {
        // A moment later: the journal has another clock.
        let due = self.due().first().copied();
        due.map_or(Tick::NEVER, |due| due + Duration::from_millis(1))
    }

    pub(super) fn forget_due(&self, now: Tick) {
        self.due().retain(|due| *due >= now);
    }

    fn services(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        // Single changes, none of which panics.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task that lasts as long as the engine.
    pub(super) fn serve(&self, work: impl Future<Output = ()> + Send + 'static) {
        let service = rt::spawn(work);
        self.services().push(service);
    }

    /// Stops what lasts as long as the engine, but does not wait for it.
    pub(super) fn abort_services(&self) {
        self.services().iter().for_each(JoinHandle::abort);
    }

    /// Stops what lasts as long as the engine.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the tasks to end by themselves.
    pub(super) async fn end_services(&self) {
        self.abort_services();
        let services = std::mem::take(&mut *self.services());
        for service in services {
            // Cut off, which is what was asked for.
            drop(service.await);
        }
        self.stand(Standing::default());
    }
}
