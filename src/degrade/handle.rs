//! One ladder, shared: told by health, asked by gates, heard by listeners, steered by operators.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use super::change::Change;
use super::gate::{Door, Gate};
use super::inbox::{Changes, Listeners};
use super::ladder::Ladder;
use super::machine::Degradation;
use super::mode::Mode;
use super::parts::{Component, Level, Unknown};
use super::reading::Reading;
use crate::error::ConfigError;
use crate::observe;
use crate::order::Order;
use crate::rt;
use crate::sync::{Mutex, lock};
use crate::time::Tick;

/// A ladder under way. Clones are the same one.
///
/// Time alone lets facts go and pins end; somebody has to look. A health driver that tells readings does, and where none
/// does [`drive`](Self::drive) is run on a task.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Degrade, Kind, Mode, Order, Reading};
/// use mainstay::health::Verdict;
/// use mainstay::num::Period;
/// use mainstay::presets::erp;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mainstay::ConfigError> {
/// let degrade = Degrade::new(erp::degradation());
/// let mut changes = degrade.changes();
/// let reports = degrade.gate("reports")?;
///
/// degrade.observe("database_replicas", Reading::from(Verdict::Degraded))?;
/// assert_eq!(reports.kind(), Kind::Disabled);
/// let change = changes.next().await.expect("the ladder is there");
/// assert_eq!(change.to().name(), "database degraded");
///
/// // Whoever knows better says so, for an hour.
/// let order = Order::new("alice", "year-end report").lasting(Period::secs(3_600));
/// degrade.pin("reports", Mode::Full, order)?;
/// assert_eq!(reports.kind(), Kind::Full);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Degrade(Arc<Shared>);

struct Shared {
    name: observe::Name,
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Degradation,
    doors: BTreeMap<Arc<str>, Arc<Door>>,
    listeners: Listeners,
    /// Of those who drive, to look again at when to look.
    drivers: Vec<Waker>,
    tellers: Vec<Weak<Teller>>,
}

/// What a health tells.
#[cfg_attr(
    not(feature = "serde"),
    expect(dead_code, reason = "only a file asks whether its ladder fits")
)]
pub(crate) struct Teller {
    /// Its components.
    pub(crate) names: Vec<Arc<str>>,
    /// Those that are known by their calls alone.
    pub(crate) only: Vec<Arc<str>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock(&self.inner).listeners.close();
    }
}

impl Degrade {
    /// At the best level, until something is told.
    #[must_use]
    pub fn new(ladder: Ladder) -> Self {
        let name = ladder.name().into();
        let mut machine = Degradation::new(ladder);
        // From now on it waits for what is unknown.
        machine.decide(rt::now());
        let inner = Inner {
            machine,
            doors: BTreeMap::new(),
            listeners: Listeners::default(),
            drivers: Vec::new(),
            tellers: Vec::new(),
        };
        observe::degradation_level(&name, 0);
        let inner = Mutex::new(inner);
        Self(Arc::new(Shared { name, inner }))
    }

    pub(crate) fn name(&self) -> &observe::Name {
        &self.0.name
    }

    /// The gate of a capability, for layers and for whoever wants to ask.
    ///
    /// # Errors
    ///
    /// If the ladder has no such capability: a name that is misspelt would never close.
    pub fn gate(&self, capability: &str) -> Result<Gate, ConfigError> {
        let mut inner = lock(&self.0.inner);
        let Some(mode) = inner.machine.mode(capability).cloned() else {
            let names: Vec<_> = inner.machine.ladder().capabilities().collect();
            let expected = format!("one of {}", names.join(", "));
            return Err(ConfigError::new("capability", capability, expected));
        };
        let new = || Arc::new(Door::new(Arc::clone(&self.0.name), capability.into(), mode));
        let door = Arc::clone(inner.doors.entry(capability.into()).or_insert_with(new));
        drop(inner);
        door.tell();
        Ok(Gate::new(door))
    }

    /// Something was learned about a component.
    ///
    /// # Errors
    ///
    /// If the ladder has no such component.
    pub fn observe(&self, component: &str, reading: Reading) -> Result<(), ConfigError> {
        self.observe_all([(component, reading)])
    }

    /// Several things were learned at once: see [`Degradation::observe_all`].
    ///
    /// # Errors
    ///
    /// If the ladder has no such component.
    pub fn observe_all<'r>(
        &self,
        readings: impl IntoIterator<Item = (&'r str, Reading)>,
    ) -> Result<(), ConfigError> {
        let readings: Vec<_> = readings.into_iter().collect();
        self.change(|machine, now| machine.observe_all(readings, now))
    }

    /// Tells what `read` says while nothing else is told: of two who read at once the later counts. What the ladder does not
    /// have is passed over.
    pub(crate) fn observe_by(&self, read: impl FnOnce() -> Vec<(Arc<str>, Reading)>) {
        drop(self.change(|machine, now| {
            let readings = read();
            let known = machine.ladder().components().iter().map(Component::name);
            let known: Vec<_> = known.map(str::to_owned).collect();
            let readings = readings.iter().map(|(name, reading)| (&**name, *reading));
            let readings = readings.filter(|(name, _)| known.iter().any(|known| known == name));
            machine.observe_all(readings, now)
        }));
    }

    /// From now on somebody tells these, as long as what is given back is there.
    pub(crate) fn is_told_by(&self, teller: Teller) -> Arc<Teller> {
        let teller = Arc::new(teller);
        let tellers = &mut lock(&self.0.inner).tellers;
        tellers.retain(|each| each.strong_count() > 0);
        tellers.push(Arc::downgrade(&teller));
        teller
    }

    /// Whether it holds what it knew of a component of which nothing is known any more.
    pub(crate) fn holds(&self, component: &str) -> bool {
        holds(lock(&self.0.inner).machine.ladder(), component)
    }

    /// Looks at the time.
    pub fn decide(&self) {
        drop(self.change(|machine, now| Ok(machine.decide(now))));
    }

    /// Looks at the time whenever that may change something. Never ends; run it on a task, and drop it to stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn drive(self) {
        loop {
            let due = lock(&self.0.inner).machine.next_timeout();
            let mut sleep = pin!(rt::sleep_until(due));
            poll_fn(|cx| {
                let mut inner = lock(&self.0.inner);
                if inner.machine.next_timeout() != due {
                    return Poll::Ready(());
                }
                let drivers = &mut inner.drivers;
                if !drivers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    drivers.push(cx.waker().clone());
                }
                drop(inner);
                sleep.as_mut().poll(cx)
            })
            .await;
            self.decide();
        }
    }

    /// Hears every change from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        lock(&self.0.inner).listeners.join()
    }

    /// Sets the level, and with it what is served of every capability that is not pinned itself.
    ///
    /// # Errors
    ///
    /// If the ladder has no such level.
    pub fn pin_level(&self, level: &str, order: Order) -> Result<(), ConfigError> {
        let told = order.clone();
        self.change(|machine, now| machine.pin_level(level, order, now))?;
        observe::degradation_commanded(&self.0.name, "pin level", level, "", &told);
        Ok(())
    }

    /// Sets what is served of one capability.
    ///
    /// # Errors
    ///
    /// If the ladder has no such capability.
    pub fn pin(&self, capability: &str, mode: Mode, order: Order) -> Result<(), ConfigError> {
        let (told, kind) = (order.clone(), mode.kind());
        self.change(|machine, now| machine.pin(capability, mode, order, now))?;
        observe::degradation_commanded(&self.0.name, "pin", capability, kind.as_str(), &told);
        Ok(())
    }

    /// Takes the pin of the level away.
    pub fn unpin_level(&self, order: Order) {
        observe::degradation_commanded(&self.0.name, "unpin level", "", "", &order);
        drop(self.change(|machine, now| Ok(machine.unpin_level(order, now))));
    }

    /// Takes the pin of a capability away.
    ///
    /// # Errors
    ///
    /// If the ladder has no such capability.
    pub fn unpin(&self, capability: &str, order: Order) -> Result<(), ConfigError> {
        let told = order.clone();
        self.change(|machine, now| machine.unpin(capability, order, now))?;
        observe::degradation_commanded(&self.0.name, "unpin", capability, "", &told);
        Ok(())
    }

    /// Another ladder, under everything that is known: see [`Degradation::reload`]. A gate whose capability the new ladder
    /// does not have is open.
    pub fn reload(&self, ladder: Ladder) {
        drop(self.change(|machine, now| Ok(machine.reload(ladder, now))));
    }

    /// Whether the ladder says something about every capability that has a gate, and has every component that a health tells.
    #[cfg(feature = "serde")]
    pub(crate) fn fits(&self, ladder: &Ladder) -> Result<(), ConfigError> {
        let inner = lock(&self.0.inner);
        let mut gone = inner
            .doors
            .keys()
            .filter(|gate| ladder.capability(gate).is_none());
        // A few of them are enough to see what is meant.
        let some: Vec<_> = gone.by_ref().take(8).map(|gate| &**gate).collect();
        if some.is_empty() {
            let tellers: Vec<_> = inner.tellers.iter().filter_map(Weak::upgrade).collect();
            return tellers.iter().try_for_each(|teller| teller.fits(ladder));
        }
        let expected = format!(
            "every capability that has a gate, {} among them",
            some.join(", ")
        );
        let found = format!("{} without", some.len() + gone.count());
        Err(ConfigError::new("capabilities", found, expected))
    }

    /// All that holds now.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = lock(&self.0.inner);
        let machine = &inner.machine;
        let ladder = machine.ladder();
        let level = ladder.levels().get(machine.level());
        let names = ladder.capabilities().map(str::to_owned);
        let pins = machine.pins();
        Status {
            level: machine.level(),
            name: level.map_or_else(String::new, |level| level.name().to_owned()),
            advice: level.and_then(Level::advice).map(str::to_owned),
            score: machine.score(),
            modes: names.zip(machine.modes().iter().cloned()).collect(),
            facts: machine.facts().map(str::to_owned).collect(),
            readings: machine
                .readings()
                .map(|(name, is)| (name.to_owned(), is))
                .collect(),
            unknown: machine.unknown().map(str::to_owned).collect(),
            pinned_level: machine.pinned_level().map(|(_, order)| order.clone()),
            pins: pins
                .map(|(name, _, order)| (name.to_owned(), order.clone()))
                .collect(),
        }
    }

    /// The names of the components that it is told about.
    #[must_use]
    pub fn components(&self) -> Vec<String> {
        let inner = lock(&self.0.inner);
        let components = inner.machine.ladder().components().iter();
        components.map(Component::name).map(str::to_owned).collect()
    }

    /// Lets the machine decide, sets the gates and puts the change into the inboxes, all in one; then tells whoever watches.
    fn change(
        &self,
        decide: impl FnOnce(&mut Degradation, Tick) -> Result<Option<Change>, ConfigError>,
    ) -> Result<(), ConfigError> {
        let now = rt::now();
        let mut inner = lock(&self.0.inner);
        let due = inner.machine.next_timeout();
        let decided = decide(&mut inner.machine, now);
        let mut wakers = Vec::new();
        let mut told = None;
        if let Ok(Some(change)) = &decided {
            let change = Arc::new(change.clone());
            for (name, door) in &inner.doors {
                door.set(inner.machine.mode(name).unwrap_or(&Mode::Full));
            }
            wakers = inner.listeners.tell(&change);
            let moved = change.moved().iter();
            let doors = moved.filter_map(|moved| inner.doors.get(moved.capability()).cloned());
            let doors: Vec<_> = doors.collect();
            told = Some((change, doors));
        }
        if inner.machine.next_timeout() != due {
            wakers.append(&mut inner.drivers);
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        if let Some((change, doors)) = told {
            observe::degradation_changed(&self.0.name, &change);
            self.tell_level();
            doors.iter().for_each(|door| door.tell());
        }
        decided.map(|_| ())
    }

    /// Until what was told is what holds: another thread may have told in between what held before.
    fn tell_level(&self) {
        let level = || lock(&self.0.inner).machine.level();
        let mut told = level();
        loop {
            observe::degradation_level(&self.0.name, told);
            let now = level();
            if now == told {
                return;
            }
            told = now;
        }
    }
}

impl fmt::Debug for Degrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Degrade")
            .field("name", &self.0.name)
            .field("level", &lock(&self.0.inner).machine.level())
            .finish_non_exhaustive()
    }
}

impl Teller {
    #[cfg(feature = "serde")]
    fn fits(&self, ladder: &Ladder) -> Result<(), ConfigError> {
        let mut names = self.names.iter();
        if let Some(gone) = names.find(|name| ladder.component(name).is_none()) {
            let expected = "every component that health tells";
            let found = format!("none of the name {gone}");
            return Err(ConfigError::new("components", found, expected));
        }
        let Some(held) = self.only.iter().find(|name| holds(ladder, name)) else {
            return Ok(());
        };
        let expected = "one that is given up after a while, since health only follows it";
        let field = format!("components.{held}.unknown");
        Err(ConfigError::new(field, "hold", expected))
    }
}

fn holds(ladder: &Ladder, component: &str) -> bool {
    let mut components = ladder.components().iter();
    let found = components.find(|each| each.name() == component);
    found.is_some_and(|found| found.of_unknown() == Unknown::Hold)
}

/// All that holds at one moment: [`Degrade::status`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The place of the level, 0 for the best.
    pub level: usize,
    /// The level's name.
    pub name: String,
    /// What is to be done about it.
    pub advice: Option<String>,
    /// The weighted mean of the scores that count.
    pub score: Option<f64>,
    /// What is served of each capability.
    pub modes: Vec<(String, Mode)>,
    /// The facts that hold.
    pub facts: Vec<String>,
    /// What counts of each component.
    pub readings: Vec<(String, Reading)>,
    /// The components of which nothing is known.
    pub unknown: Vec<String>,
    /// Whose order the level is, if it is pinned.
    pub pinned_level: Option<Order>,
    /// The capabilities that are pinned, and by whose order.
    pub pins: Vec<(String, Order)>,
}
