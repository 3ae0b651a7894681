//! What breakers, limits and queues say of a component by themselves: passive signals.
//!
//! 1. A circuit that refuses every call, because its callee failed or somebody forced it open, is down. One that lets a share
//!    of the calls back in is degraded.
//! 2. A closed circuit is up when so many calls ended within a window over time that they could have opened it, and for a
//!    minute after its probes have closed it. Else nothing is known: without calls it is neither up nor down.
//! 3. A circuit whose wait is over, or that is half-open, says nothing: whether the callee is back is just being found out,
//!    and where nobody calls it never will be. So the circuit does not keep a gate shut that is shut because of it. Nor does
//!    one say anything that a command keeps closed. A ladder that holds what it knew would keep it shut, so one that holds a
//!    component of which nothing but signals tells is refused.
//! 4. Figures of limits and queues are read at an interval, and say what [`Crowding`] makes of them. What they say of
//!    refusals lapses after two intervals without a call, for the same reason.
//! 5. That calls are let in says nothing of a callee that is not reached: figures that say up abstain while a circuit of the
//!    same component is not closed.
//! 6. What is followed and what is looked at or reported is one component: the worst of those that know counts, and who knows
//!    nothing abstains.
//! 7. A change of a circuit is told at once, by whoever caused it, and what time changes at the interval. A call that changes
//!    nothing pays for none of this.
//! 8. Neither keeps the other: with the last layer, service and handle of a policy its signal is gone, and with the health its
//!    listeners are.

use std::fmt;
use std::sync::{Arc, Weak};

use super::crowding::{Crowding, CrowdingConfig, Figures};
use super::verdict::Verdict;
use crate::breaker::{BreakerHandle, Followed, Kept, OnChange, Outlook};
use crate::error::ConfigError;
use crate::limit::adaptive::AdaptiveHandle;
use crate::limit::concurrency::{ConcurrencyHandle, Gate};
use crate::limit::rate::RateHandle;
use crate::rt;
use crate::sync::{Mutex, lock};
use crate::tenant::TenantHandle;
use crate::time::Tick;

/// What can be [followed](super::Health::follow): the handles of breakers, limits, pools and stacks, and whatever else has
/// [`Signal`]s.
pub trait Source {
    /// Each of them.
    fn signals(&self) -> Vec<Signal>;
}

/// One thing that says by itself how a component does.
///
/// Of circuits and limits it is made by their [`Source`]; for a queue of your own there is [`figures`](Self::figures).
///
/// # Example
///
/// ```
/// use std::collections::VecDeque;
/// use std::sync::{Arc, Mutex};
///
/// use mainstay::health::{Figures, Health, Signal};
///
/// # fn main() -> Result<(), mainstay::error::ConfigErrors> {
/// let outbox = Arc::new(Mutex::new(VecDeque::<String>::new()));
/// let weak = Arc::downgrade(&outbox);
/// let line = Signal::figures("outbox", move || {
///     let waiting = weak.upgrade()?.lock().ok()?.len();
///     Some(Figures::default().line(waiting as u64, 1_000))
/// });
/// let health = Health::builder().follow("mail", &line).build()?;
/// assert_eq!(health.signals("mail").len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Signal {
    name: Arc<str>,
    /// What it is of: the same is not followed twice. While somebody has this signal it is nothing else's.
    address: usize,
    says: Says,
}

#[derive(Clone)]
enum Says {
    Circuit(Followed),
    Figures(Arc<dyn Fn() -> Option<Figures> + Send + Sync>),
}

impl Signal {
    /// A limit or a queue of your own: `read` says what it has counted, and `None` once it is gone.
    ///
    /// It is called at the interval of [`CrowdingConfig::every`], by the task that drives the health. It must not block, and
    /// should not keep what it looks at. Clones are the same signal, and what is followed already is not followed twice; one
    /// that is made anew is another one.
    #[must_use]
    pub fn figures(
        name: impl Into<Arc<str>>,
        read: impl Fn() -> Option<Figures> + Send + Sync + 'static,
    ) -> Self {
        let read = Arc::new(read);
        Self {
            name: name.into(),
            address: Arc::as_ptr(&read).cast::<()>() as usize,
            says: Says::Figures(read),
        }
    }

    /// The name of the policy that it is of.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is of a circuit; else it is of figures.
    #[must_use]
    pub const fn is_circuit(&self) -> bool {
        matches!(self.says, Says::Circuit(_))
    }

    /// What it is of; its function must keep at least the place of that, by a weak reference.
    pub(crate) fn at(mut self, address: usize) -> Self {
        self.address = address;
        self
    }

    /// Whether the circuit is; of figures that is known once they are read.
    fn is_there(&self) -> bool {
        match &self.says {
            Says::Circuit(followed) => followed.is_there(),
            Says::Figures(_) => true,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.address == other.address
    }

    fn of_gate(gate: &Arc<Gate>) -> Self {
        let weak = Arc::downgrade(gate);
        let read = move || {
            let gate = weak.upgrade()?;
            let (calls, refused) = gate.calls();
            let waiting = gate.seats().count().waiting();
            let room = gate.seats().queue();
            Some(Figures::calls(calls, refused).line(waiting.into(), room.into()))
        };
        Self::figures(Arc::clone(gate.name()), read).at(Arc::as_ptr(gate) as usize)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("name", &self.name)
            .field("is_circuit", &self.is_circuit())
            .finish()
    }
}

impl Source for Signal {
    fn signals(&self) -> Vec<Signal> {
        vec![self.clone()]
    }
}

/// Rules 1 to 3.
impl Source for BreakerHandle {
    fn signals(&self) -> Vec<Signal> {
        let followed = self.followed();
        vec![Signal {
            name: self.name().into(),
            address: followed.address(),
            says: Says::Circuit(followed),
        }]
    }
}

/// The share of its calls that it refuses, and how full its line is.
impl Source for ConcurrencyHandle {
    fn signals(&self) -> Vec<Signal> {
        vec![Signal::of_gate(self.gate())]
    }
}

/// The share of its calls that it refuses, and how full its line is.
impl Source for AdaptiveHandle {
    fn signals(&self) -> Vec<Signal> {
        vec![Signal::of_gate(self.gate())]
    }
}

/// The share of its calls that it refuses.
impl Source for RateHandle {
    fn signals(&self) -> Vec<Signal> {
        let counts = self.counts();
        let read = move || {
            let (passed, refused) = counts()?;
            Some(Figures::calls(passed.saturating_add(refused), refused))
        };
        vec![Signal::figures(self.name(), read).at(self.address())]
    }
}

/// How full its line is. What a tenant is refused for its own sake says nothing of the pool.
impl Source for TenantHandle {
    fn signals(&self) -> Vec<Signal> {
        let line = self.line();
        let read = move || {
            let (waiting, room) = line()?;
            Some(Figures::default().line(waiting.into(), room.into()))
        };
        vec![Signal::figures(self.name(), read).at(self.address())]
    }
}

/// The most signals that one health follows.
const MOST: usize = 1_024;

/// All that is followed.
pub(super) struct Follows {
    config: CrowdingConfig,
    all: Mutex<Vec<Arc<Follow>>>,
}

/// A signal, and the component that it is of, by its place.
struct Follow {
    component: usize,
    signal: Signal,
    /// Of figures.
    crowding: Option<Mutex<Crowding>>,
    /// Of a circuit, which has only a weak one.
    _on_change: Option<OnChange>,
}

/// A signal that is there, kept while somebody looks.
pub(super) struct Live {
    follow: Arc<Follow>,
    circuit: Option<Kept>,
}

impl Follows {
    pub(super) fn new(config: CrowdingConfig) -> Self {
        Self {
            config,
            all: Mutex::new(Vec::new()),
        }
    }

    pub(super) const fn config(&self) -> &CrowdingConfig {
        &self.config
    }

    /// Follows a signal from now on, unless it does already; `on_change` is called after every change of a circuit.
    pub(super) fn add(
        &self,
        component: usize,
        signal: Signal,
        on_change: OnChange,
    ) -> Result<(), ConfigError> {
        self.sweep();
        let circuit = match &signal.says {
            // Gone already: nothing is to be followed.
            Says::Circuit(followed) => match followed.keep() {
                Some(circuit) => Some(circuit),
                None => return Ok(()),
            },
            Says::Figures(_) => None,
        };
        let crowding = circuit
            .is_none()
            .then(|| Mutex::new(Crowding::new(self.config)));
        let on_change = circuit.as_ref().map(|_| on_change);
        let follow = Arc::new(Follow {
            component,
            crowding,
            _on_change: on_change.clone(),
            signal,
        });
        {
            let mut all = lock(&self.all);
            let mut same = all.iter().filter(|each| each.component == component);
            if same.any(|each| each.signal.is_same(&follow.signal)) {
                return Ok(());
            }
            if all.len() >= MOST {
                let expected = "at most 1024 signals that one health follows";
                return Err(ConfigError::new("follow", MOST + 1, expected));
            }
            all.push(Arc::clone(&follow));
        }
        if let Some((circuit, on_change)) = circuit.zip(on_change) {
            circuit.tell(&on_change);
        }
        follow.read(rt::now());
        Ok(())
    }

    /// All that are there. To be dropped under no lock.
    pub(super) fn live(&self) -> Vec<Live> {
        let all: Vec<_> = lock(&self.all).iter().map(Arc::clone).collect();
        let live = all.into_iter().filter_map(|follow| {
            let circuit = match &follow.signal.says {
                Says::Circuit(followed) => Some(followed.keep()?),
                Says::Figures(_) => None,
            };
            Some(Live { follow, circuit })
        });
        live.collect()
    }

    /// Reads all figures, and lets go of what is gone.
    pub(super) fn look(&self) {
        self.sweep();
        let now = rt::now();
        let all: Vec<_> = lock(&self.all).iter().map(Arc::clone).collect();
        let gone: Vec<_> = all.iter().filter(|follow| !follow.read(now)).collect();
        if !gone.is_empty() {
            let is_gone = |each: &Arc<Follow>| gone.iter().any(|gone| Arc::ptr_eq(gone, each));
            lock(&self.all).retain(|each| !is_gone(each));
        }
    }

    /// Lets go of the circuits that are gone.
    fn sweep(&self) {
        let gone = {
            let mut all = lock(&self.all);
            let (there, gone): (Vec<_>, Vec<_>) =
                all.drain(..).partition(|follow| follow.signal.is_there());
            *all = there;
            gone
        };
        // Under no lock.
        drop(gone);
    }
}

impl Follow {
    /// Reads its figures; false once they are gone. Of a function of the user's that panics nothing is known.
    fn read(&self, now: Tick) -> bool {
        let (Says::Figures(read), Some(crowding)) = (&self.signal.says, &self.crowding) else {
            return true;
        };
        let figures = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read()));
        match figures {
            Ok(Some(figures)) => {
                lock(crowding).observe(figures, now);
                true
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }
}

impl Live {
    pub(super) fn component(&self) -> usize {
        self.follow.component
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.follow.signal
    }

    /// What it says, and whether that is of a circuit which is not closed.
    fn says(&self, now: Tick) -> (Verdict, bool) {
        match (&self.circuit, &self.follow.crowding) {
            (Some(circuit), _) => {
                let outlook = circuit.outlook();
                (of_circuit(outlook), is_open(outlook))
            }
            (None, Some(crowding)) => (lock(crowding).verdict(now), false),
            (None, None) => (Verdict::Unknown, false),
        }
    }

    pub(super) fn verdict(&self, now: Tick) -> Verdict {
        self.says(now).0
    }
}

/// Rules 1 to 3.
const fn of_circuit(outlook: Outlook) -> Verdict {
    match outlook {
        Outlook::Shut => Verdict::Down,
        Outlook::Readmitting => Verdict::Degraded,
        Outlook::Sound => Verdict::Up,
        Outlook::Trying | Outlook::Silent | Outlook::Overruled => Verdict::Unknown,
    }
}

const fn is_open(outlook: Outlook) -> bool {
    matches!(outlook, Outlook::Shut | Outlook::Trying)
}

/// Adds to what is known of each component otherwise what its signals say: rules 5 and 6.
pub(super) fn add_up(verdicts: &mut [Verdict], live: &[Live], now: Tick) {
    let said: Vec<_> = live.iter().map(|each| (each, each.says(now))).collect();
    let mut is_reached = vec![true; verdicts.len()];
    for (each, (_, is_open)) in &said {
        if let Some(is_reached) = is_reached.get_mut(each.component()) {
            *is_reached &= !is_open;
        }
    }
    let mut all: Vec<_> = verdicts.iter_mut().zip(is_reached).collect();
    for (each, (verdict, _)) in &said {
        let Some((known, is_reached)) = all.get_mut(each.component()) else {
            continue;
        };
        if each.circuit.is_some() || *verdict != Verdict::Up || *is_reached {
            **known = known.worse(*verdict);
        }
    }
}

/// What a circuit calls after every change: nothing once the health is gone.
pub(super) fn on_change<T: Send + Sync + 'static>(health: Weak<T>, tell: fn(Arc<T>)) -> OnChange {
    Arc::new(move |_| {
        if let Some(health) = health.upgrade() {
            tell(health);
        }
    })
}
