use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::config::{KeyedRateConfig, RateConfig};
use super::keyed::Keyed;
use super::limiter::Limited;
use super::machine::Look;
use crate::rt;

/// Watches and controls a rate limit.
///
/// Clones, and the limiter, layer and services they came from, look at the same limit.
#[derive(Clone)]
pub struct RateHandle {
    pub(super) limited: Arc<Limited>,
}

impl RateHandle {
    /// Which limit it is of.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.limited) as usize
    }

    /// How many calls were let through and refused, for as long as the limit is there. Does not keep it.
    pub(crate) fn counts(&self) -> impl Fn() -> Option<(u64, u64)> + Send + Sync + 'static {
        let limited = Arc::downgrade(&self.limited);
        move || {
            let limited = limited.upgrade()?;
            Some((limited.shared.passed(), limited.tally.refused()))
        }
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.limited.tally.name()
    }

    /// Calls that were let through, at once or after a wait.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.limited.shared.passed()
    }

    /// Calls that had to wait, whether or not they stayed until their turn.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.limited.tally.delayed()
    }

    /// Calls that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.limited.tally.refused()
    }

    /// What a call that came now would find.
    pub fn look(&self) -> Look {
        self.limited.shared.look(rt::now())
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> RateConfig {
        self.limited.shared.config()
    }

    /// Goes on under other settings.
    ///
    /// As many permits are owed after as before, so nothing is forgiven and nobody pays twice. Calls that wait go when
    /// they were told to.
    pub fn reload(&self, config: impl Into<RateConfig>) {
        let config = config.into();
        self.limited.shared.reload(config, rt::now());
        self.limited.tally.reloaded(&config);
    }
}

impl fmt::Debug for RateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateHandle")
            .field("name", &self.name())
            .field("config", &self.config())
            .field("look", &self.look())
            .field("admitted", &self.admitted())
            .field("delayed", &self.delayed())
            .field("refused", &self.refused())
            .finish()
    }
}

/// Watches and controls a rate limit of many keys.
///
/// Clones, and the limiter, layer and services they came from, look at the same limit.
pub struct KeyedRateHandle<K> {
    pub(super) keyed: Arc<Keyed<K>>,
}

impl<K> KeyedRateHandle<K> {
    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keyed.tally.name()
    }

    /// Keys that are remembered: those that owe something, and some that no longer do.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keyed.keys()
    }

    /// Calls of all keys that were let through, at once or after a wait.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.keyed.passed()
    }

    /// Calls of all keys that had to wait, whether or not they stayed until their turn.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.keyed.tally.delayed()
    }

    /// Calls of all keys that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.keyed.tally.refused()
    }

    /// Calls that were judged by the shared limit, since their key found no room. If it grows, so should
    /// [`max_keys`](KeyedRateConfig::max_keys).
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.keyed.overflowed()
    }

    /// What a call of `key` that came now would find, if the key had room.
    pub fn look<Q>(&self, key: &Q) -> Look
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.keyed.look(key, rt::now())
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> KeyedRateConfig {
        self.keyed.config()
    }

    /// Goes on under other settings, one part of the keys after the other.
    ///
    /// Each key owes as many permits after as before, and calls that wait go when they were told to. A bound that
    /// becomes lower is kept to as keys become untouched; until then new ones find no room.
    pub fn reload(&self, config: impl Into<KeyedRateConfig>) {
        let config = config.into();
        self.keyed.reload(config, rt::now());
        self.keyed.tally.reloaded(&config.each());
    }
}

impl<K> Clone for KeyedRateHandle<K> {
    fn clone(&self) -> Self {
        Self {
            keyed: Arc::clone(&self.keyed),
        }
    }
}

impl<K> fmt::Debug for KeyedRateHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateHandle")
            .field("name", &self.name())
            .field("config", &self.config())
            .field("keys", &self.keys())
            .field("admitted", &self.admitted())
            .field("delayed", &self.delayed())
            .field("refused", &self.refused())
            .field("overflowed", &self.overflowed())
            .finish()
    }
}
