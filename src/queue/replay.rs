//! One replay of one entry: from its record to the record of how it ended.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tower::Service;

use super::codec::{Codec, Entry};
use super::error::QueueError;
use super::fact::{Fact, Life, Stage};
use super::handle::Shared;
use super::lane::EntryId;
use super::verdict::{Poison, Verdict};
use super::words::Ruling;
use crate::degrade::Gate;
use crate::journal::{Head, InstanceId, JournalError};
use crate::rt;
use crate::saga::lease::{May, Standing};
use crate::saga::seal::SealError;

/// A record that the store failed to take is brought again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// Under whose turn an entry is replayed.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) me: InstanceId,
    pub(super) token: u64,
    pub(super) standing: watch::Receiver<Standing>,
}

impl Turn {
    /// Whether a replay may begin. Waits while only the journal knows.
    async fn may_begin(&mut self) -> bool {
        loop {
            let stands = *self.standing.borrow_and_update();
            match stands.may_begin(Some(self.me), rt::now()) {
                May::Begin => return true,
                May::Never => return false,
                May::Wait => {}
            }
            if self.standing.changed().await.is_err() {
                return false;
            }
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
    /// No request can be made of it.
    Unreadable(Head),
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
        Came::Unreadable(head) => {
            settle(shared, &turn, id, &head, Some(Poison::Unreadable)).await;
        }
        Came::Over => shared.with(|line| line.gone(id)),
        Came::Lost => shared.with(|line| line.disowned(id)),
        Came::Damaged => {
            // Not durable, and so an incident again with each start, until somebody mends the store.
            shared.with(|line| line.poisoned(id));
            shared.told.poisoned(id, Poison::Unreadable);
        }
    }
}

async fn attempt<C, S, Req>(
    shared: &Shared,
    mut turn: Turn,
    gate: &Gate,
    codec: &C,
    mut service: S,
    id: EntryId,
) -> Came
where
    C: Codec<Req, S::Response, S::Error>,
    S: Service<Req>,
{
    let log = match shared.store.load(id).await {
        Ok(log) => log,
        Err(QueueError::Missing(_)) => return Came::Over,
        Err(QueueError::Store(JournalError::Damaged { .. })) => return Came::Damaged,
        Err(_) => return Came::To(Verdict::AWAY, None),
    };
    if log.head.owner != Some(turn.me) {
        return Came::Lost;
    }
    let Ok(life) = Life::read(&log) else {
        return Came::Unreadable(log.head);
    };
    if life.stage != Stage::Waiting {
        return Came::Lost;
    }
    let head = log.head;
    let payload = match shared.store.open(&head, &life).await {
        Ok(payload) => payload,
        Err(SealError::Unavailable(_)) => return Came::To(Verdict::AWAY, None),
        Err(SealError::Gone | SealError::Refused(_)) => return Came::Unreadable(head),
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
        return Came::Unreadable(head);
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
    // What fails while the level does not allow it says nothing about the entry.
    match verdict {
        Verdict::Later { after, .. } if !gate.kind().writes() => {
            let counts = false;
            Came::To(Verdict::Later { counts, after }, Some(head))
        }
        verdict => Came::To(verdict, Some(head)),
    }
}

/// Records how it ended: applied, or poison.
async fn settle(shared: &Shared, turn: &Turn, id: EntryId, head: &Head, poison: Option<Poison>) {
    let (token, replay) = (turn.token, shared.with(|line| line.replay(id)));
    let fact = match poison {
        None => Fact::Applied { token, replay },
        Some(why) => Fact::Poisoned { why, token, replay },
    };
    loop {
        match shared.store.record(head, &fact).await {
            Ok(()) => break,
            // The same record again is the same record.
            Err(QueueError::Store(error)) if error.is_transient() && !turn.is_over() => {
                rt::sleep(AGAIN).await;
            }
            // Somebody else has it, or will: it is replayed again under its key.
            Err(_) => return shared.with(|line| line.disowned(id)),
        }
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
