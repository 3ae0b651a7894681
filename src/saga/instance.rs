//! One of several programs on a journal: keeps its lease, and prunes what is old enough.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::lease::{Lease, Need};
use crate::journal::{Beat, Join, JournalError, Prune};
use crate::observe;
use crate::rt;

/// At most so many logs with mail are named at a time; the others are with the next beat.
const MAIL: usize = 64;

/// Logs are pruned in batches of this size, so that no transaction is long.
const BATCH: usize = 256;

/// Between two batches, so that others get their turn.
const BREATH: Duration = Duration::from_millis(50);

/// What is pruned is looked for so often, whatever the retention.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
