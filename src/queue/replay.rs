//! One replay of one entry: from its record to the record of how it ended.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tower::Service;

use super::codec::{Codec, Entry};
use super::drain::told;
use super::error::QueueError;
use super::fact::{Fact, Life, Stage};
use super::handle::Shared;
use super::lane::EntryId;
use super::verdict::{Poison, Verdict};
use super::words::Ruling;
use crate::degrade::Gate;
use crate::journal::{Head, InstanceId, JournalError};
use crate::num::Period;
use crate::rt;
use crate::saga::lease::{May, Standing};
use crate::saga::seal::SealError;

/// A record that the store failed to take is brought again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// So many have begun to replay a suspect, each alone, and were not heard of again: then it is poison. With the two deaths
/// that made it one, it is five.
const DEADLY: usize = 3;

/// Survived so often in a row, a suspect is none any more. Once would not do: a callee that is away proves nothing.
const ACQUITTED: usize = 3;

/// So often in a lease a record that is brought again asks whether the lease is in doubt.
const LOOKS: u32 = 15;

/// Under whose turn an entry is replayed.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) me: InstanceId,
    pub(super) token: u64,
    pub(super) standing: watch::Receiver<Standing>,
    /// Whether the drain is to stop.
    pub(super) stopped: watch::Receiver<bool>,
}

impl Turn {
    /// Whether a replay may begin. Waits while only the journal knows.
    async fn may_begin(&mut self) -> bool {
        let mut stopped = self.stopped.clone();
        loop {
            let stands = *self.standing.borrow_and_update();
            match stands.may_begin(Some(self.me), rt::now()) {
                May::Begin => return true,
                May::Never => return false,
                May::Wait => {}
            }
            tokio::select! {
                biased;
                () = told(&mut stopped) => return false,
                changed = self.standing.changed() => if changed.is_err() { return false },
            }
        }
    }

    /// What comes before the call, unless the drain is to stop first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            () = told(&mut stopped) => None,
            answer = work => Some(answer),
        }
    }

    /// Comes back when what ended need not be brought to the store any longer: a lease after the drain was to stop, or
    /// after this instance was in doubt. Somebody else's turn has come by then.
    async fn given_up(&self, lease: Period) {
        let mut stopped = self.stopped.clone();
        let stops = async {
            told(&mut stopped).await;
            rt::sleep(lease.get()).await;
        };
        let silent = async {
            let mut since = None;
            loop {
                let now = rt::now();
                let in_doubt = self.standing.borrow().instance(now).is_none();
                since = in_doubt.then(|| since.unwrap_or(now));
                if since.is_some_and(|since| now.since(since) >= lease.get()) {
                    return;
                }
                rt::sleep(lease.get() / LOOKS).await;
            }
        };
        tokio::select! {
            () = stops => {}
            () = silent => {}
        }
    }

    fn is_over(&self) -> bool {
        self.standing.borrow().known_as() != Some(self.me)
    }
}

/// How far a replay came.
enum Came {
    /// The callee was asked, or may be later.
    To(Verdict, Option<Head>),
    /// No request can be made of it, or none is to be.
    Hopeless(Head, Poison),
    /// It is over, by somebody else.
    Over,
    /// It is not this instance's.
    Lost,
    /// Its log is damaged: nothing can be added to it either.
    Damaged,
}

/// An entry that is under way. Dropped, it waits for whoever has the next turn.
pub(super) struct Held {
    shared: Arc<Shared>,
    id: EntryId,
    replay: u32,
}

impl Held {
    pub(super) fn new(shared: Arc<Shared>, id: EntryId) -> Self {
        let replay = shared.with(|line| line.replay(id));
        Self { shared, id, replay }
    }

    /// It cannot be called, and that is nothing against it.
    pub(super) fn not_now(self) {
        let (id, away) = (self.id, Verdict::AWAY);
        self.shared
            .with_chance(|line, rng| line.settle(id, away, rng, rt::now()));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Does nothing where it was settled.
        self.shared.with(|line| line.let_go(self.id, self.replay));
    }
}

pub(super) async fn replay<C, S, Req>(held: Held, turn: Turn, gate: Gate, codec: Arc<C>, service: S)
where
    C: Codec<Req, S::Response, S::Error>,
    S: Service<Req>,
{
    let (shared, id) = (&*held.shared, held.id);
    match attempt(shared, turn.clone(), &gate, &*codec, service, id).await {
        Came::To(verdict, head) => {
            let ruling = shared.with_chance(|line, rng| line.settle(id, verdict, rng, rt::now()));
            match (ruling, head) {
                (Some(Ruling::Wait(_)), _) => {}
                (Some(Ruling::Apply), Some(head)) => settle(shared, &turn, id, &head, None).await,
                (Some(Ruling::Poison(why)), Some(head)) => {
                    settle(shared, &turn, id, &head, Some(why)).await;
                }
                _ => shared.with(|line| line.disowned(id)),
            }
        }
        Came::Hopeless(head, why) => settle(shared, &turn, id, &head, Some(why)).await,
        Came::Over => shared.with(|line| line.gone(id)),
        Came::Lost => shared.with(|line| line.disowned(id)),
        Came::Damaged => {
            // Not durable, and so an incident again with each turn, until somebody mends the store.
            shared.with(|line| line.damaged(id));
            shared.told.poisoned(id, Poison::Unreadable);
        }
    }
}

async fn attempt<C, S, Req>(
    shared: &Shared,
    mut turn: Turn,
    gate: &Gate,
    codec: &C,
    service: S,
    id: EntryId,
) -> Came
where
    C: Codec<Req, S::Response, S::Error>,
    S: Service<Req>,
{
    let log = match turn.unless_stopped(shared.store.load(id)).await {
        Some(Ok(log)) => log,
        None => return Came::Lost,
        Some(Err(QueueError::Missing(_))) => return Came::Over,
        Some(Err(QueueError::Store(JournalError::Damaged { .. }))) => return Came::Damaged,
        Some(Err(_)) => return Came::To(Verdict::AWAY, None),
    };
    if log.head.owner != Some(turn.me) {
        return Came::Lost;
    }
    let Ok(life) = Life::read(&log) else {
        return Came::Hopeless(log.head, Poison::Unreadable);
    };
    if life.stage != Stage::Waiting {
        return Came::Lost;
    }
    let mut head = log.head;
    if life.deaths(shared.me) >= DEADLY {
        return Came::Hopeless(head, Poison::Deadly);
    }
    let entry = (id, life);
    if !shared.with(|line| line.is_suspect(id)) {
        return carry_out(shared, &mut turn, gate, codec, service, &head, entry).await;
    }
    if !gate.kind().writes() {
        return Came::To(Verdict::AWAY, None);
    }
    if !turn.may_begin().await {
        return Came::Lost;
    }
    let (survived, is_noted) = (entry.1.survived(), entry.1.is_noted(shared.me));
    let (token, by) = (turn.token, shared.me);
    // Before anything is done with what it says: one can die of that as well.
    if !is_noted
        && !bring(
            shared,
            &turn,
            &mut head,
            &Fact::Suspected { token, by },
            true,
        )
        .await
    {
        return Came::Lost;
    }
    let mut came = carry_out(shared, &mut turn, gate, codec, service, &head, entry).await;
    if matches!(came, Came::Lost | Came::To(Verdict::Later { .. }, _)) {
        let acquitted = (survived.saturating_add(1)).is_multiple_of(ACQUITTED);
        let fact = Fact::Survived { token };
        if bring(shared, &turn, &mut head, &fact, !acquitted).await && acquitted {
            shared.with(|line| line.survived(id));
        }
    }
    match &mut came {
        Came::To(_, Some(known)) | Came::Hopeless(known, _) => *known = head,
        _ => {}
    }
    came
}

/// Replays it, and tells how far that came.
async fn carry_out<C, S, Req>(
    shared: &Shared,
    turn: &mut Turn,
    gate: &Gate,
    codec: &C,
    mut service: S,
    head: &Head,
    (id, life): (EntryId, Life),
) -> Came
where
    C: Codec<Req, S::Response, S::Error>,
    S: Service<Req>,
{
    let opened = turn.unless_stopped(shared.store.open(head, &life)).await;
    let payload = match opened {
        Some(Ok(payload)) => payload,
        None => return Came::Lost,
        Some(Err(SealError::Unavailable(_))) => return Came::To(Verdict::AWAY, None),
        Some(Err(SealError::Gone | SealError::Refused(_))) => {
            return Came::Hopeless(head.clone(), Poison::Unreadable);
        }
    };
    let entry = Entry {
        id,
        key: head.key.clone(),
        lane: life.lane,
        payload,
        token: turn.token,
        replay: shared.with(|line| line.replay(id)),
        queued: head.begun,
    };
    let restored = std::panic::catch_unwind(AssertUnwindSafe(|| codec.restore(&entry)));
    let Ok(Some(request)) = restored else {
        return Came::Hopeless(head.clone(), Poison::Unreadable);
    };
    if !gate.kind().writes() {
        return Came::To(Verdict::AWAY, None);
    }
    if !turn.may_begin().await {
        return Came::Lost;
    }
    let call = async {
        match poll_fn(|cx| service.poll_ready(cx)).await {
            Ok(()) => service.call(request).await,
            Err(error) => Err(error),
        }
    };
    // Whatever a panic leaves behind is this call's own.
    let call = AssertUnwindSafe(async { codec.judge(call.await.as_ref()) }).catch_unwind();
    let verdict = tokio::select! {
        biased;
        verdict = call => verdict.unwrap_or(Verdict::FAILED),
        () = rt::sleep(shared.config.longest_replay().get()) => Verdict::FAILED,
    };
    // What fails, or is refused, while the level does not allow it says nothing about the entry.
    let verdict = match verdict {
        Verdict::Later { after, .. } if !gate.kind().writes() => {
            let counts = false;
            Verdict::Later { counts, after }
        }
        Verdict::Refused if !gate.kind().writes() => Verdict::AWAY,
        verdict => verdict,
    };
    Came::To(verdict, Some(head.clone()))
}

/// Records what became of it, until the store has heard that, or it is somebody else's. The same record again is the same
/// record.
async fn bring(shared: &Shared, turn: &Turn, head: &mut Head, fact: &Fact, suspect: bool) -> bool {
    let recorded = async {
        loop {
            match shared.store.record(head, fact, suspect).await {
                Ok(()) => return true,
                Err(QueueError::Store(error)) if error.is_transient() && !turn.is_over() => {
                    rt::sleep(AGAIN).await;
                }
                Err(_) => return false,
            }
        }
    };
    let recorded = tokio::select! {
        biased;
        recorded = recorded => recorded,
        () = turn.given_up(shared.config.leased_for()) => false,
    };
    if recorded {
        head.place = head.place.after();
    }
    recorded
}

/// Records how it ended: applied, or poison.
async fn settle(shared: &Shared, turn: &Turn, id: EntryId, head: &Head, poison: Option<Poison>) {
    let (token, replay) = (turn.token, shared.with(|line| line.replay(id)));
    let fact = match poison {
        None => Fact::Applied { token, replay },
        Some(why) => Fact::Poisoned { why, token, replay },
    };
    let mut head = head.clone();
    let recorded = bring(shared, turn, &mut head, &fact, false).await;
    if !recorded {
        // Somebody else has it, or will: it is replayed again under its key.
        return shared.with(|line| line.disowned(id));
    }
    match poison {
        None => {
            shared.with(|line| line.gone(id));
            shared.told.applied();
        }
        Some(why) => {
            shared.with(|line| line.poisoned(id));
            shared.told.poisoned(id, why);
        }
    }
}
