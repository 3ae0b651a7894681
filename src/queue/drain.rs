//! Replays what waits, while the gate lets it.
//!
//! Of all instances one has the turn. It takes it when something waits and its gate is open, and gives it back when nothing
//! does or the gate is shut, so that another whose gate is open may go on.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::Service;

use super::codec::Codec;
use super::handle::{Queue, Shared};
use super::lane::EntryId;
use super::replay::{Held, Turn, replay};
use crate::degrade::Gate;
use crate::journal::{Answer, Beat, InstanceId, Join, Journal, JournalError};
use crate::num::Period;
use crate::rt;
use crate::saga::lease::{Lease, Need, Standing};
use crate::time::Tick;

/// While something waits the gate is looked at so often.
const GATE: Duration = Duration::from_millis(200);

/// Hints that come in a row are one.
const GATHER: Duration = Duration::from_millis(2);

/// What is over is looked for so often, whatever the retention.
const PRUNE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Looks take at most this share of the time, whatever they find.
const LOOK_SHARE: u32 = 20;

/// A drain under way: [`Queue::drain`].
///
/// Dropped, it stops at once, and its turn passes on when its lease is over: to whoever comes next it has died.
/// [`stop`](Self::stop) ends what is under way and gives the turn back.
#[must_use = "a drain that is dropped stops"]
pub struct Drain {
    stop: watch::Sender<bool>,
    task: Option<Task<()>>,
}

impl Drain {
    /// Begins no replay any more, waits for those that are under way, and gives the turn back.
    ///
    /// A call that is under way ends within [`QueueConfig::within`](super::QueueConfig::within). While the store is down how
    /// it ended is brought to it for a [lease](super::QueueConfig::lease) at most, and so is the turn; what could not be
    /// recorded by then is replayed under its key by whoever has the next turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            task.await;
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

/// A task that ends with whoever holds it.
pub(super) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(rt::spawn(work))
    }
}

impl<T> Future for Task<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // One that was cut off, or has panicked, is over as well.
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Queue {
    /// Replays what waits into `service` while `gate` lets writes through, and keeps the view of this instance fresh. Run
    /// it in each process that queues, and keep what it returns.
    ///
    /// `service` is what stands behind the layer, without the layer. Each replay is a call of a clone of it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn drain<C, S, Req>(&self, gate: Gate, codec: C, service: S) -> Drain
    where
        C: Codec<Req, S::Response, S::Error> + Send + Sync + 'static,
        S: Service<Req> + Clone + Send + 'static,
        S::Future: Send,
        S::Response: Send,
        S::Error: Send,
        Req: Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let codec = Arc::new(codec);
        let start = move |shared: Arc<Shared>, turn, gate: Gate, id| {
            let held = Held::new(shared, id);
            // A panic in it is this replay's, and not the drain's.
            let service = std::panic::catch_unwind(AssertUnwindSafe(|| service.clone()));
            let Ok(service) = service else {
                held.not_now();
                return Task::new(std::future::ready(()));
            };
            Task::new(replay(held, turn, gate, Arc::clone(&codec), service))
        };
        let driver = Driver {
            shared: Arc::clone(&self.0),
            gate,
            stopped,
            start,
            look_due: Tick::ZERO,
            prune_due: Tick::ZERO,
        };
        Drain {
            stop,
            task: Some(Task::new(driver.run())),
        }
    }
}

struct Driver<F> {
    shared: Arc<Shared>,
    gate: Gate,
    stopped: watch::Receiver<bool>,
    start: F,
    look_due: Tick,
    prune_due: Tick,
}

/// Something may have changed in the store.
type Hint<'j> = Pin<Box<dyn Future<Output = ()> + Send + 'j>>;

fn hint(journal: &dyn Journal) -> Hint<'_> {
    // Asked for before the look, so that what happens after it is not missed.
    let changed: Answer<'_, ()> = journal.changed();
    Box::pin(async {
        match changed.await {
            Ok(()) => rt::sleep(GATHER).await,
            // A store that cannot hint is looked at from time to time.
            Err(_) => std::future::pending().await,
        }
    })
}

impl<F> Driver<F>
where
    F: Fn(Arc<Shared>, Turn, Gate, EntryId) -> Task<()> + Send,
{
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // A second drain of this queue waits for the end of the first.
        let _alone = shared.draining.lock().await;
        let journal = &*shared.store.journal;
        let mut hinted = hint(journal);
        while !self.is_stopped() {
            if self.may_replay() {
                self.session().await;
            }
            self.chores_or_stop().await;
            shared.tell();
            let waits = shared.with(|line| line.has_work());
            let soon = rt::now() + GATE.min(shared.config.looks_every().get());
            let wake = if waits { soon } else { self.look_due };
            let mut stopped = self.stopped.clone();
            tokio::select! {
                biased;
                () = told(&mut stopped) => {}
                () = shared.wake.notified() => {}
                () = &mut hinted => {
                    hinted = hint(journal);
                    self.hinted();
                }
                () = rt::sleep_until(wake) => {}
            }
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    fn may_replay(&self) -> bool {
        !self.is_stopped() && self.gate.kind().writes() && self.shared.with(|line| line.has_work())
    }

    /// Somebody else may have queued something.
    fn hinted(&mut self) {
        let tenth = self.shared.config.looks_every().get() / 10;
        self.look_due = self.look_due.min(rt::now() + tenth);
    }

    /// Chores of one that replays nothing. A store that does not answer keeps nobody from stopping.
    async fn chores_or_stop(&mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            () = told(&mut stopped) => {}
            () = self.chores(None) => {}
        }
    }

    /// Looks at the store, and forgets what is old, each when it is time.
    async fn chores(&mut self, me: Option<InstanceId>) {
        let (shared, began) = (Arc::clone(&self.shared), rt::now());
        if began >= self.look_due {
            // What fails is asked again at the next look.
            let _failed = shared.look(me).await.is_err();
            let took = rt::now().since(began);
            let pause = shared.config.looks_every().get();
            self.look_due = rt::now() + pause.max(took.saturating_mul(LOOK_SHARE));
        }
        if began >= self.prune_due {
            let keep = shared.config.kept_for().get();
            let more = shared.store.prune(keep).await.unwrap_or(false);
            let pause = if more {
                PRUNE.0
            } else {
                (keep / 10).clamp(PRUNE.0, PRUNE.1)
            };
            self.prune_due = rt::now() + pause;
        }
    }

    /// From taking the turn to giving it back.
    async fn session(&mut self) {
        let shared = Arc::clone(&self.shared);
        let journal = Arc::clone(&shared.store.journal);
        let (stands, standing) = watch::channel(Standing::default());
        let lease = shared.config.leased_for();
        let keeper = Task::new(keep(
            Arc::clone(&journal),
            shared.name.to_string(),
            lease,
            stands,
        ));
        let mut replays = FuturesUnordered::new();
        // One that was dropped has said nothing.
        shared.with(|line| line.turn_over());
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            () = told(&mut stopped) => {}
            () = self.take_part(standing.clone(), &mut replays) => {}
        }
        // What others queue meanwhile is looked at all the same.
        while !replays.is_empty() {
            let (stops, look_due) = (self.is_stopped(), self.look_due);
            tokio::select! {
                biased;
                _ = replays.next() => {}
                () = told(&mut stopped), if !stops => {}
                () = rt::sleep_until(look_due), if !stops => self.chores_or_stop().await,
            }
            shared.tell();
        }
        shared.with(|line| line.turn_over());
        drop(keeper);
        let me = standing.borrow().known_as();
        if let Some(me) = me {
            // If this is lost, or never answered, the end of the lease does it.
            tokio::select! {
                biased;
                _ = journal.leave(me) => {}
                () = rt::sleep(lease.get()) => {}
            }
        }
        self.look_due = Tick::ZERO;
    }

    async fn take_part(
        &mut self,
        mut standing: watch::Receiver<Standing>,
        replays: &mut FuturesUnordered<Task<()>>,
    ) {
        let shared = Arc::clone(&self.shared);
        let journal = &*shared.store.journal;
        let every = shared.config.looks_every().get();
        let mut hinted = hint(journal);
        let (mut me, mut token): (Option<InstanceId>, Option<u64>) = (None, None);
        // Nothing is replayed before all that waits has been seen once.
        let mut seen = false;
        let (mut ask_at, mut worked) = (Tick::ZERO, rt::now());
        while !self.is_stopped() && self.gate.kind().writes() {
            let now = rt::now();
            if shared.with(|line| line.has_work()) {
                worked = now;
            } else if now.since(worked) >= every {
                return;
            }
            let stands = *standing.borrow_and_update();
            if me.is_some() && stands.known_as() != me {
                return;
            }
            me = stands.known_as();
            if let Some(me) = stands.instance(now)
                && now >= ask_at
            {
                if token.is_none() {
                    token = shared.store.take_turn(me).await.unwrap_or(None);
                }
                let asked = match token {
                    Some(_) => take_up(&shared, me).await.is_ok(),
                    None => false,
                };
                if asked && !seen {
                    seen = shared.look(Some(me)).await.is_ok();
                    self.look_due = rt::now() + every;
                }
                ask_at = rt::now() + every;
            }
            if token.is_none() || seen {
                self.chores(me).await;
            }
            if let (Some(me), Some(token), true) = (me, token, seen) {
                while let Some(id) = shared.with(|line| line.next(rt::now())) {
                    let turn = Turn {
                        me,
                        token,
                        standing: standing.clone(),
                        stopped: self.stopped.clone(),
                    };
                    replays.push((self.start)(
                        Arc::clone(&shared),
                        turn,
                        self.gate.clone(),
                        id,
                    ));
                }
            }
            let due = shared.with(|line| line.poll_timeout()).filter(|_| seen);
            // In doubt it is the lease that is waited for.
            let ask = stands.instance(now).map_or(Tick::NEVER, |_| ask_at);
            let wake = due.unwrap_or(Tick::NEVER).min(ask);
            let wake = wake.min(rt::now() + GATE.min(every));
            let mut stopped = self.stopped.clone();
            tokio::select! {
                biased;
                () = told(&mut stopped) => {}
                Some(()) = replays.next() => {}
                () = shared.wake.notified(), if token.is_some() => ask_at = rt::now(),
                () = &mut hinted => {
                    hinted = hint(journal);
                    match token {
                        Some(_) => ask_at = rt::now(),
                        None => self.hinted(),
                    }
                }
                // Its sender lives as long as the keeper. One that has panicked keeps no lease: the session is over.
                stands = standing.changed() => if stands.is_err() { return },
                () = rt::sleep_until(wake) => {}
            }
            shared.tell();
        }
    }
}

/// Owns what nobody does. What was queued before that and could not be owned is known as well, so that nothing of its lane
/// passes it.
async fn take_up(shared: &Shared, me: InstanceId) -> Result<(), JournalError> {
    let store = &shared.store;
    loop {
        let (taken, more) = store.claim(me).await?;
        let Some(first) = taken.first() else {
            return Ok(());
        };
        let before = EntryId::new(first.id.get().saturating_sub(1));
        let there = store.waiting_after(Some(before), Some(me)).await?;
        shared.with(|line| {
            there.into_iter().for_each(|found| line.learned(found));
            taken.into_iter().for_each(|found| line.taken(found));
        });
        if !more {
            return Ok(());
        }
    }
}

/// Comes back when the drain is to stop.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Keeps a lease, for as long as it is not stopped from outside.
async fn keep(
    journal: Arc<dyn Journal>,
    name: String,
    length: Period,
    stands: watch::Sender<Standing>,
) {
    let mut lease = Lease::new(length);
    loop {
        let now = rt::now();
        match lease.need(now) {
            Need::Join => {
                lease.asked(now);
                match journal.join(Join::new(name.clone(), lease.length())).await {
                    Ok(instance) => lease.joined(instance),
                    Err(_) => lease.failed(rt::now()),
                }
            }
            Need::Beat(instance) => {
                lease.asked(now);
                match journal.beat(Beat::new(instance, lease.length(), 0)).await {
                    Ok(_) => lease.renewed(),
                    Err(JournalError::Lapsed(_)) => lease.lapsed(),
                    Err(_) => lease.failed(rt::now()),
                }
            }
            Need::Wait(until) => {
                rt::sleep_until(until).await;
                continue;
            }
            Need::Answer | Need::Nothing => return,
        }
        stands.send_replace(lease.standing());
    }
}
