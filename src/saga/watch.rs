//! Looks at the journal from time to time, for those who watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::journal::{Head, Listing, Status};
use crate::observe;
use crate::rt;
use crate::time::Timestamp;

/// Between two looks: what is stuck is so for minutes, and two questions cost nobody anything at this pace.
const PAUSE: Duration = Duration::from_secs(15);

/// So many of the sagas that began first are looked at. The oldest trouble is among them, whatever the rest does.
const OLDEST: usize = 64;

/// How old the troubles of definitions are.
struct Ages {
    of: BTreeMap<Arc<str>, Age>,
    shown: bool,
}

#[derive(Clone, Copy, Default)]
struct Age {
    incident: Duration,
    stalled: Duration,
}

impl Ages {
    fn note(&mut self, heads: &[Head], now: Timestamp, which: impl Fn(&mut Age) -> &mut Duration) {
        for age in self.of.values_mut() {
            *which(age) = Duration::ZERO;
        }
        for head in heads {
            if let Some(age) = self.of.get_mut(&head.kind) {
                let age = which(age);
                *age = now.since(head.updated).max(*age);
            }
        }
    }

    fn show(&mut self) {
        self.shown = true;
        for (saga, age) in &self.of {
            observe::saga_ages(saga, age.incident, age.stalled);
        }
    }
}

/// An engine that is gone has nothing to say, and leaves nothing that looks as if it had.
impl Drop for Ages {
    fn drop(&mut self) {
        if self.shown {
            for age in self.of.values_mut() {
                *age = Age::default();
            }
            self.show();
        }
    }
}

/// Looks, for as long as it is not stopped from outside.
pub(super) async fn watch<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    kinds: impl Iterator<Item = Arc<str>>,
) {
    let mut ages = Ages {
        of: kinds.map(|kind| (kind, Age::default())).collect(),
        shown: false,
    };
    let mut heard = true;
    loop {
        rt::sleep(PAUSE).await;
        let vitals = engine.journal.vitals();
        if let (Some(operations), Some(commits)) = (vitals.operations, vitals.commits) {
            engine.calls.written(operations, commits);
        }
        if let Some(hears) = vitals.listening {
            engine.calls.listening(hears, hears != heard);
            heard = hears;
        }
        if ages.of.is_empty() {
            continue;
        }
        // A journal that does not answer leaves what was seen last; its faults are told where work meets them.
        if let Ok(held) = engine
            .journal
            .list(Listing::new(Status::Held, OLDEST))
            .await
        {
            ages.note(&held, rt::wall(), |age| &mut age.incident);
        }
        if let Ok(running) = engine
            .journal
            .list(Listing::new(Status::Running, OLDEST))
            .await
        {
            ages.note(&running, rt::wall(), |age| &mut age.stalled);
        }
        ages.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Begin, Labels, LogId};

    fn head(kind: &str, updated: i64) -> Head {
        let at = Timestamp::from_millis(updated);
        let begin = Begin::new(Arc::new(Labels::new("")), kind, "1", "", 1, "[]", at);
        Head::of(LogId::new(1), &begin)
    }

    #[test]
    fn the_oldest_of_each_definition_counts_and_what_is_mended_does_not() {
        let names = ["pay", "ship"].map(Arc::<str>::from);
        let mut ages = Ages {
            of: names.map(|name| (name, Age::default())).into(),
            shown: false,
        };
        let now = Timestamp::from_millis(60_000);
        let heads = [head("pay", 50_000), head("pay", 20_000), head("other", 0)];
        ages.note(&heads, now, |age| &mut age.incident);
        ages.note(&[head("ship", 90_000)], now, |age| &mut age.stalled);
        let (pay, ship) = (ages.of["pay"], ages.of["ship"]);
        assert_eq!(
            (pay.incident, pay.stalled),
            (Duration::from_secs(40), Duration::ZERO)
        );
        // Another wall clock may be ahead.
        assert_eq!(
            (ship.incident, ship.stalled),
            (Duration::ZERO, Duration::ZERO)
        );
        ages.note(&[], now, |age| &mut age.incident);
        assert_eq!(ages.of["pay"].incident, Duration::ZERO);
    }
}
