//! Looks at components, keeps what is known of each, and tells a ladder.
//!
//! 1. Each component is looked at in turns of its own: a look that hangs delays no other. The first look is at a moment of the
//!    first interval that chance chooses.
//! 2. A look that takes longer than its time, or panics, is a bad sample.
//! 3. An observer whose own timers jump abstains: while it is tilted a bad sample is none.
//! 4. What is reported from elsewhere counts as a sample does. Where a component has a window, looks and reported calls count
//!    in it as well, by the rules of `health/known.rs`.
//! 5. Verdicts that change are told to the ladder together with all others, so that no fact comes because one was told
//!    before another; and again at every turn, when a verdict grows stale, and at least every 5 s, so that time is looked
//!    at also where everything is reported and nothing is looked at. A report is told when it changes what is known of its
//!    component, so that whoever reports each call does not wait for the ladder at each.
//! 6. What is followed counts beside what is looked at and reported: by the rules of `health/follow.rs`.
//! 7. What is neither looked at nor reported is known by its calls alone, and without calls nothing is known of it. So it
//!    stands in the way of readiness only while it is down: else a process that is not called would never be called again.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::builder::HealthBuilder;
use super::follow::{Follows, Live, Signal, Source, add_up, on_change};
use super::known::Known;
use super::probe::Watch;
use super::readiness::Readiness;
use super::sample::{Sample, Why};
use super::tilt::Tilt;
use super::verdict::Verdict;
use crate::degrade::{Degrade, Reading, Teller};
use crate::error::ConfigError;
use crate::num::Period;
use crate::observe::{self, Name};
use crate::rng::Rng;
use crate::rt;
use crate::scope::{Scope, Scoped};
use crate::sync::{Mutex, lock};

/// The health of the components that a service needs. Clones are the same one.
///
/// # Example
///
/// ```
/// use mainstay::health::{ConsecutiveConfig, Health, Verdict, Watch};
/// use mainstay::num::Period;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), mainstay::error::ConfigErrors> {
/// let health = Health::builder()
///     .watch(Watch::new("database_primary", || async { false }))
///     // Nobody probes it: whoever calls it reports.
///     .reported("gpu_cluster", ConsecutiveConfig::default())
///     .build()?;
/// let driver = tokio::spawn(health.clone().drive());
///
/// health.report("gpu_cluster", Verdict::Up)?;
/// tokio::time::sleep(std::time::Duration::from_secs(35)).await;
/// assert_eq!(health.verdict("database_primary"), Some(Verdict::Down), "three bad samples");
/// assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Up));
/// driver.abort();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Health(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) name: Name,
    pub(super) watches: Vec<Watch>,
    pub(super) names: Vec<Arc<str>>,
    /// So many of them, the first ones, are looked at or reported: rule 7.
    pub(super) looked: usize,
    /// Those without which nothing can be served, by their places.
    pub(super) needed: Vec<usize>,
    pub(super) is_draining: AtomicBool,
    pub(super) rows: Mutex<Vec<Known>>,
    /// What was last said of each to whoever watches. Locked before the rows, where both are.
    pub(super) told: Mutex<Vec<Verdict>>,
    pub(super) follows: Follows,
    pub(super) ladder: Option<Degrade>,
    /// What the ladder knows of this, weakly.
    pub(super) _teller: Option<Arc<Teller>>,
    pub(super) tolerance: Period,
    pub(super) calm: Period,
}

impl Health {
    /// Begins with nothing to look at.
    pub const fn builder() -> HealthBuilder {
        HealthBuilder::new()
    }

    /// Looks at everything until it is dropped. Never ends; run it on a task.
    ///
    /// # Cancel safety
    ///
    /// Looks that are under way are dropped; what is known stays.
    pub async fn drive(self) {
        let mut rng = Rng::new(rt::entropy());
        let each = self.0.watches.iter().enumerate();
        let mut each: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = each
            .map(|(at, watch)| Box::pin(self.turns(at, watch, rng.fork())) as _)
            .collect();
        each.push(Box::pin(self.watches_time()));
        each.push(Box::pin(self.reads_figures()));
        poll_fn(|cx| {
            for turns in &mut each {
                // None of them ends.
                _ = turns.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }

    /// Something was seen of a component, by whoever uses it.
    ///
    /// # Errors
    ///
    /// If it has no such component.
    pub fn report(&self, component: &str, sample: Verdict) -> Result<(), ConfigError> {
        let at = self.place(component)?;
        if self.note(at, sample.into()) {
            self.tell();
        }
        Ok(())
    }

    /// Why the last sample of a component was not good; `None` where it was, where the look told no reason, and where there is
    /// no such component.
    #[must_use]
    pub fn why(&self, component: &str) -> Option<Why> {
        let at = self.place(component).ok()?;
        lock(&self.0.rows).get(at).and_then(Known::why)
    }

    /// A call of a component has ended, made by whoever uses it: whether it failed, and how long it took.
    ///
    /// # Errors
    ///
    /// If it has no such component, or that has no [window](HealthBuilder::windowed).
    pub fn report_call(
        &self,
        component: &str,
        failed: bool,
        took: Duration,
    ) -> Result<(), ConfigError> {
        let now = rt::now();
        let counted = self.place(component).ok().and_then(|at| {
            let mut rows = lock(&self.0.rows);
            let known = rows.get_mut(at)?;
            let was = known.verdict(now);
            let has_counted = known.called(failed, took, now);
            has_counted.then(|| known.verdict(now) != was)
        });
        let Some(is_news) = counted else {
            let expected = "a component with a window";
            return Err(ConfigError::new("component", component, expected));
        };
        if is_news {
            self.tell();
        }
        Ok(())
    }

    /// Follows what a breaker, a limit, a queue or a whole stack says of a component by itself, from now on and for as long as
    /// it is there: nothing else is to be wired. See [`Source`].
    ///
    /// The worst counts of what is followed, looked at and reported, and who knows nothing abstains. An open circuit is down,
    /// and says nothing any more once its wait is over: whether its callee is back a probe or a call must find out. A limit
    /// says of its refusals nothing any more after two [intervals](super::CrowdingConfig::every) without a call. Where a component is
    /// only followed and the ladder keeps all of its callers away while it is down, nobody calls. So the ladder must give up
    /// what it holds of such a component, by [`Unknown::After`](crate::degrade::Unknown::After): see
    /// [`build`](HealthBuilder::build).
    ///
    /// # Errors
    ///
    /// If it has no such component, or follows 1,024 signals already.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::breaker::{BreakerLayer, Order};
    /// use mainstay::health::{ConsecutiveConfig, Health, Verdict};
    /// use mainstay::num::Period;
    /// use mainstay::standard::Stack;
    ///
    /// # fn main() -> Result<(), mainstay::error::ConfigErrors> {
    /// let health = Health::builder()
    ///     .reported("gpu_cluster", ConsecutiveConfig::default())
    ///     .build()?;
    /// let stack = Stack::standard("inference");
    /// health.follow("gpu_cluster", &stack)?;
    /// assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Unknown), "nobody has called");
    ///
    /// let maintenance = Order::new("alice", "maintenance");
    /// stack.handle().breaker().open_for(Period::secs(60), maintenance);
    /// assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Down));
    ///
    /// drop(stack);
    /// assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Unknown), "it is gone");
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, component: &str, source: &impl Source) -> Result<(), ConfigError> {
        let at = self.place(component)?;
        self.follow_all(at, source.signals())
    }

    pub(super) fn follow_all(&self, at: usize, signals: Vec<Signal>) -> Result<(), ConfigError> {
        for signal in signals {
            let tell = |shared| Self(shared).tell();
            let told = on_change(Arc::downgrade(&self.0), tell);
            self.0.follows.add(at, signal, told)?;
        }
        self.tell();
        Ok(())
    }

    /// The signals that a component is [followed](Self::follow) by, and what each of them says.
    #[must_use]
    pub fn signals(&self, component: &str) -> Vec<(Signal, Verdict)> {
        let (now, at) = (rt::now(), self.place(component).ok());
        let live = self.0.follows.live();
        let of_it = live.iter().filter(|each| Some(each.component()) == at);
        of_it
            .map(|each| (each.signal().clone(), each.verdict(now)))
            .collect()
    }

    pub(super) fn place(&self, component: &str) -> Result<usize, ConfigError> {
        let mut names = self.0.names.iter();
        names.position(|name| **name == *component).ok_or_else(|| {
            let expected = format!("one of {}", self.0.names.join(", "));
            ConfigError::new("component", component, expected)
        })
    }

    /// What is known of a component; `None` if there is no such component.
    #[must_use]
    pub fn verdict(&self, component: &str) -> Option<Verdict> {
        let at = self.place(component).ok()?;
        let (_, verdict) = self.verdicts().into_iter().nth(at)?;
        Some(verdict)
    }

    /// What is known of each component.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Arc<str>, Verdict)> {
        self.verdicts_with(&self.0.follows.live())
    }

    fn verdicts_with(&self, live: &[Live]) -> Vec<(Arc<str>, Verdict)> {
        let now = rt::now();
        let mut rows = lock(&self.0.rows);
        let mut verdicts: Vec<_> = rows.iter_mut().map(|rows| rows.verdict(now)).collect();
        drop(rows);
        add_up(&mut verdicts, live, now);
        self.0.names.iter().cloned().zip(verdicts).collect()
    }

    /// Whether this process should be sent calls, and why not.
    ///
    /// It should while everything that is [needed](HealthBuilder::needs) is up or degraded, and nobody
    /// [drains](Self::drain) it. What is unknown is not up: a process that has just started is ready once it has looked. What
    /// is neither looked at nor reported is known by calls alone, which a process that is not ready does not get: it stands in
    /// the way only while it is down.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let verdicts = self.verdicts();
        let stands = |at: usize, verdict| match verdict {
            Verdict::Up | Verdict::Degraded => false,
            Verdict::Down => self.0.needed.contains(&at),
            Verdict::Unknown => self.0.needed.contains(&at) && self.is_looked_at(at),
        };
        let components = verdicts.into_iter().enumerate();
        Readiness {
            is_draining: self.is_draining(),
            components: components
                .map(|(at, (name, verdict))| (name, verdict, stands(at, verdict)))
                .collect(),
            whys: lock(&self.0.rows).iter().map(Known::why).collect(),
        }
    }

    /// Whether anybody looks at it or reports it: rule 7.
    fn is_looked_at(&self, at: usize) -> bool {
        at < self.0.looked
    }

    /// What is known of a component, as far as it may keep calls away: rule 7.
    #[cfg(feature = "grpc")]
    pub(super) fn hindrance(&self, component: &str) -> Option<Verdict> {
        let at = self.place(component).ok()?;
        let verdict = self.verdict(component)?;
        Some(if verdict.is_known() || self.is_looked_at(at) {
            verdict
        } else {
            Verdict::Up
        })
    }

    /// Whether this process ends soon: [`drain`](Self::drain).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Acquire)
    }

    /// This process ends soon, or does again not: with `true` it is not ready, whatever else holds.
    pub fn drain(&self, is_draining: bool) {
        self.0.is_draining.store(is_draining, Ordering::Release);
    }

    /// Looks at one component, turn after turn.
    async fn turns(&self, at: usize, watch: &Watch, mut rng: Rng) {
        let mut tilt = Tilt::new(watch.every, self.0.tolerance, self.0.calm);
        let mut next = rt::now() + watch.every.get().mul_f64(rng.unit());
        loop {
            rt::sleep_until(next).await;
            let began = rt::now();
            tilt.woke(next, began);
            let sample = self.look(watch).await;
            let ended = rt::now();
            let took = ended.since(began);
            observe::probed(&self.0.name, &watch.shared_name(), took, failure(&sample));
            // A look that ended long after its time was over: the process stood still meanwhile.
            tilt.woke(ended.min(began + watch.timeout.get()), ended);
            let is_good = sample.verdict() == Verdict::Up;
            let sample = if is_good || !tilt.is_tilted(ended) {
                sample
            } else {
                Sample::unknown(Why::Tilted)
            };
            if sample.verdict().is_known()
                && let Some(rows) = lock(&self.0.rows).get_mut(at)
            {
                rows.called(sample.verdict() == Verdict::Down, ended.since(began), ended);
            }
            self.note(at, sample);
            self.tell();
            let jitter = watch.every.get().mul_f64(watch.jitter.get() * rng.unit());
            next = (began + watch.every.get().saturating_sub(jitter)).max(ended);
        }
    }

    /// One look: what it saw, or `Down` if it took too long or panicked.
    async fn look(&self, watch: &Watch) -> Sample {
        let until = rt::now() + watch.timeout.get();
        // A look over the network can say to the other side how long it waits.
        let look = || Scoped::new(Scope::current().until(until), || (watch.look)());
        let Ok(look) = catch_unwind(AssertUnwindSafe(look)) else {
            return Sample::down(Why::Panicked);
        };
        let mut look = pin!(look);
        let mut sleep = pin!(rt::sleep_until(until));
        poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| look.as_mut().poll(cx))) {
                Ok(Poll::Ready(seen)) => return Poll::Ready(seen),
                Ok(Poll::Pending) => {}
                Err(_) => return Poll::Ready(Sample::down(Why::Panicked)),
            }
            sleep
                .as_mut()
                .poll(cx)
                .map(|()| Sample::down(Why::TimedOut))
        })
        .await
    }

    /// Whether that changes what is known of it.
    fn note(&self, at: usize, sample: Sample) -> bool {
        let now = rt::now();
        let mut rows = lock(&self.0.rows);
        rows.get_mut(at).is_some_and(|known| {
            let was = known.verdict(now);
            known.observe(sample, now);
            known.verdict(now) != was
        })
    }

    /// Tells the ladder all that is known of the components that it has, and whoever watches what is news.
    fn tell(&self) {
        self.tell_news();
        let Some(ladder) = &self.0.ladder else {
            return;
        };
        let mut live = Vec::new();
        // Read while the ladder is told nothing else: who reads later tells later. That goes for what is followed as well.
        ladder.observe_by(|| {
            live = self.0.follows.live();
            let verdicts = self.verdicts_with(&live).into_iter();
            verdicts
                .map(|(name, verdict)| (name, Reading::from(verdict)))
                .collect()
        });
        // What is followed may have gone meanwhile, and then ends here, under no lock.
        drop(live);
    }

    /// Reads the figures of what is followed, turn after turn.
    async fn reads_figures(&self) {
        let every = self.0.follows.config().interval().get();
        loop {
            rt::sleep_until(rt::now() + every).await;
            self.0.follows.look();
            self.tell();
        }
    }

    fn tell_news(&self) {
        let mut told = lock(&self.0.told);
        let live = self.0.follows.live();
        let verdicts = self.verdicts_with(&live);
        let each = told.iter_mut().zip(verdicts);
        let news = each.filter_map(|(told, (name, is))| {
            let was = std::mem::replace(told, is);
            (was != is).then_some((name, was, is))
        });
        let news: Vec<_> = news.collect();
        drop(told);
        drop(live);
        for (name, was, is) in news {
            observe::component_changed(&self.0.name, &name, was, is);
            self.tell_verdict(&name);
        }
    }

    /// Until what was told is what holds: another thread may have told in between what held before.
    fn tell_verdict(&self, name: &Name) {
        let verdict = || self.verdict(name).unwrap_or_default();
        let mut told = verdict();
        loop {
            observe::component_verdict(&self.0.name, name, told);
            let now = verdict();
            if now == told {
                return;
            }
            told = now;
        }
    }

    /// Looks at the time: what grows stale is told, and the ladder lets its facts go.
    async fn watches_time(&self) {
        // Whoever collects metrics sees also of what nothing is known yet.
        self.0.names.iter().for_each(|name| self.tell_verdict(name));
        loop {
            let now = rt::now();
            let stale = {
                let rows = lock(&self.0.rows);
                let due = rows.iter().map(Known::stale_at);
                due.filter(|due| *due > now).min()
            };
            let latest = now + LOOKS.get();
            rt::sleep_until(stale.map_or(latest, |stale| stale.min(latest))).await;
            self.tell();
        }
    }
}

/// How often the time is looked at, at least.
const LOOKS: Period = Period::secs(5);

/// A word for how a look failed, if it did: few enough for a label.
fn failure(sample: &Sample) -> Option<&'static str> {
    match (sample.verdict(), sample.why()) {
        (Verdict::Down, Some(Why::Panicked)) => Some("panicked"),
        (Verdict::Down, Some(Why::TimedOut)) => Some("timeout"),
        (Verdict::Down, _) => Some("down"),
        _ => None,
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.verdicts()).finish()
    }
}
