//! Takes up what nobody carries on: a little at a time, in turn between tenants.
//!
//! What is taken up waits in the backlog until there is room in flight. The rules of how much is asked for:
//!
//! 1. The oldest are asked for while at most half of the backlog is taken; at most a quarter of it at a time. What is
//!    not asked for is free for other instances.
//! 2. A tenant with half of the backlog gets no more of it.
//! 3. Behind a full page, or with more than half of the backlog taken, there may be tenants who have nothing here. They
//!    are asked for alone, and when there is none, not again before the next poll.
//! 4. A round ends with a page that is not full, with a full backlog, or with an error.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::{BusinessKey, Cell, Engine, Leaving};
use super::handle::Phase;
use super::run::run_span;
use crate::journal::{Claim, Head, InstanceId, JournalError, Listing, Status};
use crate::observe::{self, JournalCall, Origin};
use crate::rt;
use crate::time::Tick;

/// Longer lists of tenants are not asked around.
const MOST_EXCEPT: usize = 256;

/// Hints that come in a row are one.
const GATHER: Duration = Duration::from_millis(5);

/// Logs are listed in pages of this size.
const PAGE: usize = 256;

/// What is taken up and waits for room.
pub(super) struct Backlog {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    total: usize,
    tenants: HashMap<Box<str>, usize>,
}

impl Backlog {
    pub(super) fn new(most: usize) -> Self {
        Self {
            // One for a flood and one for the others.
            most: most.max(2),
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Counts only.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().total
    }

    fn add(&self, tenant: &str) {
        let mut waiting = self.waiting();
        waiting.total = waiting.total.saturating_add(1);
        match waiting.tenants.get_mut(tenant) {
            Some(of_tenant) => *of_tenant = of_tenant.saturating_add(1),
            None => {
                waiting.tenants.insert(tenant.into(), 1);
            }
        }
    }

    /// Whether it is time to ask for more.
    fn remove(&self, tenant: &str) -> bool {
        let mut waiting = self.waiting();
        waiting.total = waiting.total.saturating_sub(1);
        if let Some(of_tenant) = waiting.tenants.get_mut(tenant) {
            *of_tenant = of_tenant.saturating_sub(1);
            if *of_tenant == 0 {
                waiting.tenants.remove(tenant);
            }
        }
        waiting.total == self.most / 2
    }
}

/// One saga in the backlog, until it is dropped.
struct Waits<App: Send + Sync + 'static> {
    engine: Arc<Engine<App>>,
    tenant: Box<str>,
}

impl<App: Send + Sync + 'static> Waits<App> {
    fn new(engine: &Arc<Engine<App>>, tenant: &str) -> Self {
        engine.backlog.add(tenant);
        observe::saga_backlog(1.0);
        Self {
            engine: Arc::clone(engine),
            tenant: tenant.into(),
        }
    }
}

impl<App: Send + Sync + 'static> Drop for Waits<App> {
    fn drop(&mut self) {
        observe::saga_backlog(-1.0);
        if self.engine.backlog.remove(&self.tenant) {
            self.engine.look();
        }
    }
}

/// What to ask for next.
#[derive(Debug, PartialEq, Eq)]
struct Ask {
    limit: usize,
    except: Vec<String>,
    /// Of tenants only who have nothing here.
    others: bool,
}

/// The rules at the head of this file.
struct Plan {
    most: usize,
    poll: Duration,
    others_due: Tick,
    /// The last page was full.
    full: bool,
}

impl Plan {
    const fn new(most: usize, poll: Duration) -> Self {
        Self {
            most,
            poll,
            others_due: Tick::ZERO,
            full: false,
        }
    }

    /// What to ask for in a round whose last answer was to `last`.
    fn ask(&self, waiting: &Waiting, last: Option<&Ask>, now: Tick) -> Option<Ask> {
        let room = self.most.saturating_sub(waiting.total);
        let limit = (self.most / 4).max(1).min(room);
        let half = self.most / 2;
        if limit == 0 {
            return None;
        }
        let here = || waiting.tenants.iter();
        let names = |named: &mut dyn Iterator<Item = (&Box<str>, &usize)>| {
            let mut names: Vec<String> = named.map(|(name, _)| String::from(&**name)).collect();
            names.sort_unstable();
            names
        };
        let asked_others = last.is_some_and(|last| last.others);
        let crowded = waiting.total > half;
        let few = (1..=MOST_EXCEPT).contains(&waiting.tenants.len());
        if (crowded || self.full) && !asked_others && few && now >= self.others_due {
            return Some(Ask {
                limit,
                except: names(&mut here()),
                others: true,
            });
        }
        let again = last.is_none() || asked_others || self.full;
        if crowded || !again {
            return None;
        }
        let share = half.max(1);
        Some(Ask {
            limit,
            except: names(&mut here().filter(|(_, count)| **count >= share)),
            others: false,
        })
    }

    fn answered(&mut self, ask: &Ask, found: usize, now: Tick) {
        if ask.others {
            if found == 0 {
                self.others_due = now + self.poll;
            }
        } else {
            self.full = found == ask.limit;
        }
    }
}

/// Takes up sagas until the engine stops.
pub(super) async fn take_in<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    kinds: Vec<(Arc<str>, u32)>,
    poll: Duration,
) {
    let mut plan = Plan::new(engine.backlog.most, poll);
    let mut lost = false;
    let mut polled = Tick::ZERO;
    while let Some(instance) = engine.instance().await {
        // Asked for before the look, so that what happens after it is not missed.
        let changed = engine.journal.changed();
        let hint = async {
            match changed.await {
                Ok(()) => rt::sleep(GATHER).await,
                // A store that cannot hint is looked at from time to time.
                Err(_) => pending().await,
            }
        };
        // An answer that was lost may have been logs, which are this instance's and nobody's work.
        let found = async {
            // A run that ended with an error of the journal leaves one as well. Not in a hot loop, should it come again.
            if lost || (rt::now() >= polled && engine.has_orphans()) {
                polled = rt::now() + poll;
                adopt(&engine, instance, &kinds).await?;
            }
            round(&engine, instance, &kinds, &mut plan).await
        };
        let answered = found.await;
        lost = answered.is_err();
        let wake = engine.next_due().min(rt::now() + poll);
        tokio::select! {
            biased;
            () = engine.stopping() => return,
            () = engine.looked_for() => {}
            () = hint => {}
            () = rt::sleep_until(wake) => {}
        }
        engine.forget_due(rt::now());
    }
}

async fn round<App: Send + Sync + 'static>(
    engine: &Arc<Engine<App>>,
    instance: InstanceId,
    kinds: &[(Arc<str>, u32)],
    plan: &mut Plan,
) -> Result<(), JournalError> {
    let mut last = None;
    loop {
        let ask = plan.ask(&engine.backlog.waiting(), last.as_ref(), rt::now());
        let Some(ask) = ask else { return Ok(()) };
        if engine.is_stopping() {
            return Ok(());
        }
        let claim = Claim::new(kinds.to_vec(), ask.limit)
            .owner(instance)
            .except(ask.except.clone());
        let answer = engine.journal.claim(claim);
        let page = engine.timed(JournalCall::Claim, answer).await?;
        plan.answered(&ask, page.len(), rt::now());
        for head in page {
            observe::saga_claimed(&head.kind, head.id.get(), head.recoveries);
            take_up(engine, head);
        }
        last = Some(ask);
    }
}

/// Takes up what is this instance's and what nobody here carries on.
async fn adopt<App: Send + Sync + 'static>(
    engine: &Arc<Engine<App>>,
    instance: InstanceId,
    kinds: &[(Arc<str>, u32)],
) -> Result<(), JournalError> {
    let mut listing = Listing::new(Status::Running, PAGE);
    loop {
        let page = engine.journal.list(listing.clone()).await?;
        let Some(end) = page.last() else {
            return Ok(());
        };
        listing = listing.after(end.id);
        let mine = |head: &Head| {
            head.owner == Some(instance)
                && kinds
                    .iter()
                    .any(|(kind, version)| *kind == head.kind && *version == head.version)
        };
        for head in page.into_iter().filter(mine) {
            if engine.carries(head.id) {
                continue;
            }
            // Looked at once more: it may have been carried on, and left, since it was listed.
            let head = engine.journal.load(head.id).await?.head;
            if mine(&head) && head.status == Status::Running && !engine.carries(head.id) {
                take_up(engine, head);
            }
        }
    }
}

/// Carries a claimed saga on as soon as there is room.
fn take_up<App: Send + Sync + 'static>(engine: &Arc<Engine<App>>, head: Head) {
    let key = BusinessKey::of(&head);
    let cell = Cell::new(head.digest.clone(), Phase::Running(head.id.into()));
    let other = engine.enter(&key, &cell);
    let leaving = || Leaving::new(Arc::clone(engine), key.clone(), Arc::clone(&cell));
    // Made here and not by the task: one that is cut off before it begins leaves too.
    let mut entered = other.is_none().then(leaving);
    let waits = Waits::new(engine, &head.labels.tenant);
    let shared = Arc::clone(engine);
    engine.spawn(async move {
        let engine = shared;
        let mut other = other;
        // What this engine carried on under a lease that is over, or a start that finds the log: it leaves first.
        while let Some(before) = other {
            tokio::select! {
                biased;
                () = engine.stopping() => return engine.give_back(&head).await,
                () = before.gone() => {}
            }
            other = engine.enter(&key, &cell);
        }
        let _leaving = entered
            .take()
            .unwrap_or_else(|| Leaving::new(Arc::clone(&engine), key.clone(), Arc::clone(&cell)));
        let permit = engine.permit(&head.labels.tenant, &head.kind).await;
        drop(waits);
        match permit {
            Some(permit) => {
                let span = run_span(&head, Origin::NONE);
                let engine = Arc::clone(&engine);
                engine.carry(head, None, cell, permit, span).await;
            }
            None => engine.give_back(&head).await,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(tenants: &[(&str, usize)]) -> Waiting {
        Waiting {
            total: tenants.iter().map(|(_, count)| count).sum(),
            tenants: tenants
                .iter()
                .map(|(name, count)| ((*name).into(), *count))
                .collect(),
        }
    }

    fn at(secs: u64) -> Tick {
        Tick::from_nanos(secs * 1_000_000_000)
    }

    fn plan(most: usize) -> Plan {
        Plan::new(most, Duration::from_secs(1))
    }

    #[test]
    fn rule_1_the_oldest_in_quarters_up_to_half() {
        let plan = plan(100);
        let ask = plan.ask(&waiting(&[]), None, at(1)).unwrap();
        assert_eq!((ask.limit, ask.others), (25, false));
        assert!(ask.except.is_empty());
        assert!(plan.ask(&waiting(&[("a", 50)]), None, at(1)).is_some());
        let crowded = plan.ask(&waiting(&[("a", 51)]), None, at(1)).unwrap();
        assert!(crowded.others, "rule 3 only");
        let one = self::plan(1);
        assert_eq!(one.ask(&waiting(&[]), None, at(1)).unwrap().limit, 1);
        assert_eq!(one.ask(&waiting(&[("a", 1)]), None, at(1)), None);
    }

    #[test]
    fn rule_2_no_more_for_a_tenant_with_half() {
        let ask = plan(100).ask(&waiting(&[("a", 50)]), None, at(1)).unwrap();
        assert_eq!((ask.others, ask.except), (false, vec!["a".to_owned()]));
    }

    #[test]
    fn rule_3_others_behind_a_full_page_and_not_again_before_the_poll() {
        let mut plan = plan(100);
        let first = plan.ask(&waiting(&[]), None, at(1)).unwrap();
        plan.answered(&first, 25, at(1));
        let flood = waiting(&[("a", 25)]);
        let others = plan.ask(&flood, Some(&first), at(1)).unwrap();
        assert_eq!(
            (others.others, &*others.except),
            (true, &["a".to_owned()][..])
        );
        plan.answered(&others, 0, at(1));
        let oldest = plan.ask(&flood, Some(&others), at(1)).unwrap();
        assert!(!oldest.others);
        plan.answered(&oldest, 25, at(1));
        assert!(!plan.ask(&flood, Some(&oldest), at(1)).unwrap().others);
        assert!(plan.ask(&flood, Some(&oldest), at(2)).unwrap().others);
        // Also while the backlog has plenty.
        let plenty = waiting(&[("a", 60)]);
        assert!(plan.ask(&plenty, None, at(2)).unwrap().others);
        assert_eq!(plan.ask(&plenty, None, at(1)), None);
    }

    #[test]
    fn rule_4_a_round_ends() {
        let mut plan = plan(100);
        let first = plan.ask(&waiting(&[]), None, at(1)).unwrap();
        plan.answered(&first, 24, at(1));
        assert_eq!(plan.ask(&waiting(&[("a", 24)]), Some(&first), at(1)), None);
        assert_eq!(
            plan.ask(&waiting(&[("a", 50), ("b", 50)]), None, at(1)),
            None
        );
    }

    /// Whatever the tenants are, a round is over after a few questions and leaves no more than the backlog holds.
    #[test]
    fn rounds_are_finite_and_reach_everybody() {
        for most in [2, 3, 7, 64, 256] {
            let mut plan = plan(most);
            // A flood, and one saga of another tenant behind it.
            let mut store = std::collections::VecDeque::from(vec!["flood"; 10_000]);
            store.push_back("lone");
            let mut here = waiting(&[]);
            let mut now = 1;
            'served: for _ in 0..20_000 {
                let mut last = None;
                for question in 0.. {
                    assert!(question < 20, "{most}");
                    let Some(ask) = plan.ask(&here, last.as_ref(), at(now)) else {
                        break;
                    };
                    let mut found = 0;
                    let mut index = 0;
                    while found < ask.limit && index < store.len() {
                        if ask.except.iter().any(|name| name == store[index]) {
                            index += 1;
                            continue;
                        }
                        let tenant = store.remove(index).unwrap();
                        *here.tenants.entry(tenant.into()).or_default() += 1;
                        here.total += 1;
                        found += 1;
                        if tenant == "lone" {
                            break 'served;
                        }
                    }
                    plan.answered(&ask, found, at(now));
                    assert!(here.total <= most);
                    last = Some(ask);
                }
                now += 1;
                assert!(now < 5, "backlog of {most}");
                // Half of what waits is served.
                let served = here.total.div_ceil(2);
                here.total -= served;
                here.tenants = HashMap::from([("flood".into(), here.total)]);
                here.tenants.retain(|_, count| *count > 0);
            }
        }
    }
}
