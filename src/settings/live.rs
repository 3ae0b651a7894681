use std::fmt;
use std::hash::Hash;

use super::file::Settings;
use super::place::join;
use crate::breaker::{BreakerHandle, KeyedBreakerHandle};
use crate::deadline::DeadlineHandle;
use crate::degrade::Degrade;
use crate::error::{ConfigError, ConfigErrors};
use crate::fallback::FallbackHandle;
use crate::limit::adaptive::AdaptiveHandle;
use crate::limit::concurrency::ConcurrencyHandle;
use crate::limit::rate::{KeyedRateHandle, RateHandle};
use crate::retry::RetryHandle;
use crate::standard::StackHandle;
use crate::sync::{Mutex, lock};
use crate::tenant::TenantHandle;

/// Replaces the settings of running policies, all of them or none.
///
/// A handle is given with the name that its policy has in the file. [`reload`](Self::reload) looks for each of them
/// first, and changes something only when all are there; settings themselves are right when they could be read. So
/// whatever is wrong with a file, the policies go on with what they had, and the next good file is taken.
///
/// # Example
///
/// ```
/// use mainstay::settings::{Live, Settings};
/// use mainstay::standard::Stack;
///
/// let settings: Settings = toml::from_str("[stacks.ledger]\ndeadline = '5s'")?;
/// let ledger = Stack::with_config("ledger", settings.stack("ledger")?);
/// let live = Live::new().stack("ledger", ledger.handle());
///
/// // On a signal, or when the file has changed:
/// let reload = |text: &str| -> Result<(), Box<dyn std::error::Error>> {
///     Ok(live.reload(&toml::from_str(text)?)?)
/// };
/// assert!(reload("[stacks.ledger]\ndeadline = '-8s'").is_err());
/// assert_eq!(ledger.handle().config().total().get().as_secs(), 5);
/// reload("[stacks.ledger]\ndeadline = '8s'")?;
/// assert_eq!(ledger.handle().config().total().get().as_secs(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct Live {
    policies: Vec<Box<dyn Reload>>,
    /// Two reloads at once must not leave half of the policies each.
    turn: Mutex<()>,
}

trait Reload: Send + Sync {
    fn check(&self, settings: &Settings) -> Result<(), ConfigError>;
    fn reload(&self, settings: &Settings);
}

struct Running<C, F, G> {
    name: String,
    find: fn(&Settings, &str) -> Result<C, ConfigError>,
    /// Whether they can take the place of those that run.
    fits: F,
    replace: G,
}

impl<C, F, G> Reload for Running<C, F, G>
where
    F: Fn(&C) -> Result<(), ConfigError> + Send + Sync,
    G: Fn(C) + Send + Sync,
{
    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        (self.fits)(&(self.find)(settings, &self.name)?)
    }

    fn reload(&self, settings: &Settings) {
        if let Ok(config) = (self.find)(settings, &self.name) {
            (self.replace)(config);
        }
    }
}

impl Live {
    /// No policy yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn running<C: 'static>(
        self,
        name: impl Into<String>,
        find: fn(&Settings, &str) -> Result<C, ConfigError>,
        replace: impl Fn(C) + Send + Sync + 'static,
    ) -> Self {
        self.fitting(name.into(), find, |_: &C| Ok(()), replace)
    }

    fn fitting<C: 'static>(
        mut self,
        name: String,
        find: fn(&Settings, &str) -> Result<C, ConfigError>,
        fits: impl Fn(&C) -> Result<(), ConfigError> + Send + Sync + 'static,
        replace: impl Fn(C) + Send + Sync + 'static,
    ) -> Self {
        self.policies.push(Box::new(Running {
            name,
            find,
            fits,
            replace,
        }));
        self
    }

    /// A standard stack, of `stacks`.
    pub fn stack(self, name: impl Into<String>, handle: StackHandle) -> Self {
        self.running(name, Settings::stack, move |config| handle.reload(config))
    }

    /// A breaker, of `breakers`.
    pub fn breaker(self, name: impl Into<String>, handle: BreakerHandle) -> Self {
        self.running(name, Settings::breaker, move |config| handle.reload(config))
    }

    /// The circuits of a keyed breaker, all of them, of `breakers`.
    pub fn keyed_breaker<K>(self, name: impl Into<String>, handle: KeyedBreakerHandle<K>) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.running(name, Settings::breaker, move |config| handle.reload(config))
    }

    /// A retry, of `retries`.
    pub fn retry(self, name: impl Into<String>, handle: RetryHandle) -> Self {
        self.running(name, Settings::retry, move |config| handle.reload(config))
    }

    /// A fallback, of `fallbacks`.
    pub fn fallback(self, name: impl Into<String>, handle: FallbackHandle) -> Self {
        self.running(name, Settings::fallback, move |config| {
            handle.reload(config);
        })
    }

    /// A deadline or an attempt timeout, of `deadlines`.
    pub fn deadline(self, name: impl Into<String>, handle: DeadlineHandle) -> Self {
        self.running(name, Settings::deadline, move |limit| handle.reload(limit))
    }

    /// An adaptive limit, of `adaptive_limits`.
    pub fn adaptive_limit(self, name: impl Into<String>, handle: AdaptiveHandle) -> Self {
        self.running(name, Settings::adaptive_limit, move |config| {
            handle.reload(config);
        })
    }

    /// A limit of the calls under way, of `concurrency_limits`.
    pub fn concurrency_limit(self, name: impl Into<String>, handle: ConcurrencyHandle) -> Self {
        self.running(name, Settings::concurrency_limit, move |config| {
            handle.reload(config);
        })
    }

    /// A limit of the calls in a time, of `rate_limits`.
    pub fn rate_limit(self, name: impl Into<String>, handle: RateHandle) -> Self {
        self.running(name, Settings::rate_limit, move |config| {
            handle.reload(config)
        })
    }

    /// A limit of the calls in a time for each of many keys, of `keyed_rate_limits`.
    pub fn keyed_rate_limit<K>(self, name: impl Into<String>, handle: KeyedRateHandle<K>) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.running(name, Settings::keyed_rate_limit, move |config| {
            handle.reload(config);
        })
    }

    /// A pool whose seats tenants share, of `tenant_pools`. Nobody who waits is sent away: see [`TenantHandle::reload`].
    ///
    /// A file whose tiers are others by name or order, or that asks for more seats than the pool can count, is refused, and
    /// so is one that lets a fixed capacity move, or the other way round.
    pub fn tenant_pool(self, name: impl Into<String>, handle: TenantHandle) -> Self {
        let name = name.into();
        let path = join("tenant_pools", &name);
        let pool = handle.clone();
        self.fitting(
            name,
            Settings::tenant_pool,
            move |config| pool.fits(config).map_err(|error| error.within(&path)),
            move |config| drop(handle.reload(config)),
        )
    }

    /// A ladder, of `ladders`. What is known goes on to count, and the change is told once: see [`Degrade::reload`].
    ///
    /// A file whose ladder says nothing about a capability that has a [gate](Degrade::gate) is refused: the gate would be
    /// open for good. So is one without a component that a [`Health`](crate::health::Health) tells it about, which would be told
    /// to nobody, and one that holds what it knew of a component that health only follows.
    pub fn ladder(self, name: impl Into<String>, degrade: Degrade) -> Self {
        let name = name.into();
        let path = join("ladders", &name);
        let gates = degrade.clone();
        self.fitting(
            name,
            Settings::ladder,
            move |ladder| gates.fits(ladder).map_err(|error| error.within(&path)),
            move |ladder| degrade.reload(ladder),
        )
    }

    /// Replaces the settings of every policy by those of its name. Each keeps what it has learned, as its own handle's
    /// `reload` says. What `settings` has for other policies is nobody's here.
    ///
    /// # Errors
    ///
    /// Names every policy that has no settings any more, or none that could take the place of what runs; then nothing has
    /// changed.
    pub fn reload(&self, settings: &Settings) -> Result<(), ConfigErrors> {
        let _turn = lock(&self.turn);
        let missing = self.policies.iter();
        let missing = missing.filter_map(|policy| policy.check(settings).err());
        ConfigErrors::check(missing.collect())?;
        for policy in &self.policies {
            policy.reload(settings);
        }
        Ok(())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("policies", &self.policies.len())
            .finish()
    }
}
