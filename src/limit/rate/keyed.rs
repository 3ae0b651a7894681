use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::{KeyedRateConfig, RateConfig};
use super::gate::{KeyedTurn, Turn};
use super::handle::KeyedRateHandle;
use super::line::moment;
use super::machine::{Look, RateLimit, Reservation};
use super::shared::Shared;
use super::spec::Spec;
use super::table::{Spot, Table};
use super::tally::{Tally, time_left};
use crate::error::Rejected;
use crate::observe::Counter;
use crate::rt;
use crate::sync::{Mutex, lock};
use crate::time::Tick;

/// So many keys of the bound are worth a lock of their own. With fewer, chance would fill some parts long before others.
const KEYS_PER_SHARD: usize = 512;
const MAX_SHARDS: usize = 256;

/// What the clones of one keyed limit share.
///
/// The keys are spread over shards, each a table under a lock that is held for one look-up. The lines of keys without
/// room share one more limit.
pub(super) struct Keyed<K> {
    shards: Box<[Shard<K>]>,
    hasher: RandomState,
    overflow: Shared,
    overflowed: AtomicU64,
    overflows: Counter,
    config: Mutex<KeyedRateConfig>,
    pub(super) tally: Tally,
}

#[repr(align(128))]
struct Shard<K>(Mutex<Keys<K>>);

struct Keys<K> {
    table: Table<K>,
    spec: Spec,
    passed: u64,
}

/// Where a place is that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    Key { hash: u64, spot: Spot },
    Overflow,
}

/// A place in a key's line; at once if `None`.
type Entered = Option<(Whose, Reservation)>;

impl<K> Keyed<K> {
    fn new(name: Arc<str>, config: KeyedRateConfig) -> Self {
        let bound = config.bound().get() as usize;
        let count = (bound / KEYS_PER_SHARD).next_power_of_two().min(MAX_SHARDS);
        let spec = Spec::new(&config.each());
        let shard = |which| {
            Shard(Mutex::new(Keys {
                table: Table::new(share(bound, count, which)),
                spec,
                passed: 0,
            }))
        };
        Self {
            shards: (0..count).map(shard).collect(),
            hasher: rt::hasher(),
            overflow: Shared::new(config.each()),
            overflowed: AtomicU64::new(0),
            overflows: Counter::new("mainstay_rate_overflows_total", Arc::clone(&name)),
            config: Mutex::new(config),
            tally: Tally::new(name),
        }
    }

    /// By the upper bits of the hash; the lower ones find the place in the table.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there are two to the power of something shards, and at most 256"
    )]
    fn shard(&self, hash: u64) -> &Mutex<Keys<K>> {
        let which = (hash >> 56) as usize & (self.shards.len() - 1);
        &self.shards[which].0
    }

    #[inline]
    fn reserve<Q>(
        &self,
        key: &Q,
        left: impl Fn() -> u64,
        tick: Tick,
    ) -> Result<Entered, Option<u64>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = moment(tick);
        let hash = self.hasher.hash_one(key);
        let mut keys = lock(self.shard(hash));
        let Keys {
            table,
            spec,
            passed,
        } = &mut *keys;
        if let Some((spot, line)) = table.line(hash, key, spec, now) {
            let limit = match spec.patience {
                0 => 0,
                patience => patience.min(left()),
            };
            let place = line.take(spec, 1, limit, now)?;
            if place.at == now {
                *passed += 1;
                return Ok(None);
            }
            let whose = Whose::Key { hash, spot };
            return Ok(Some((
                whose,
                Reservation::new(&place, line.generation, now),
            )));
        }
        drop(keys);
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        self.overflows.increment();
        let reservation = self.overflow.reserve(1, left, tick)?;
        Ok(reservation.map(|reservation| (Whose::Overflow, reservation)))
    }

    pub(super) fn went(&self, whose: Whose) {
        match whose {
            Whose::Key { hash, .. } => lock(self.shard(hash)).passed += 1,
            Whose::Overflow => self.overflow.went(),
        }
    }

    pub(super) fn cancel(&self, whose: Whose, reservation: Reservation, tick: Tick) {
        match whose {
            Whose::Key { hash, spot } => {
                let mut keys = lock(self.shard(hash));
                let spec = keys.spec;
                keys.table
                    .give_back(spot, &spec, &reservation, moment(tick));
            }
            Whose::Overflow => self.overflow.cancel(reservation, tick),
        }
    }

    pub(super) fn reload(&self, config: KeyedRateConfig, tick: Tick) {
        // Held throughout, so that two reloads do not leave half of the shards each.
        let mut current = lock(&self.config);
        let (bound, count) = (config.bound().get() as usize, self.shards.len());
        for (which, shard) in self.shards.iter().enumerate() {
            let mut keys = lock(&shard.0);
            let (before, spec) = (keys.spec, Spec::new(&config.each()));
            keys.spec = keys.table.reload(&before, spec, moment(tick));
            keys.table.rebound(share(bound, count, which));
        }
        self.overflow.reload(config.each(), tick);
        *current = config;
    }

    pub(super) fn config(&self) -> KeyedRateConfig {
        *lock(&self.config)
    }

    pub(super) fn keys(&self) -> usize {
        let len = |shard: &Shard<K>| lock(&shard.0).table.len();
        self.shards.iter().map(len).sum()
    }

    pub(super) fn passed(&self) -> u64 {
        let passed = |shard: &Shard<K>| lock(&shard.0).passed;
        self.shards.iter().map(passed).sum::<u64>() + self.overflow.passed()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(super) fn look<Q>(&self, key: &Q, tick: Tick) -> Look
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let keys = lock(self.shard(hash));
        match keys.table.known(hash, key) {
            Some(line) => Look::new(line, &keys.spec, moment(tick)),
            None => {
                drop(keys);
                let each: RateConfig = self.config().each();
                RateLimit::new(each).look(tick)
            }
        }
    }
}

/// How many of `bound` keys the shard number `which` of `count` holds.
fn share(bound: usize, count: usize, which: usize) -> usize {
    bound / count + usize::from(which < bound % count)
}

/// A rate limit for each key, to ask by hand: each tenant, endpoint or address has one of its own.
///
/// At most [`max_keys`](KeyedRateConfig::max_keys) keys are remembered. One is forgotten for another's sake only when
/// its limit is as good as untouched, so nobody is forgiven what they used. While all of them owe something, further
/// keys share one more limit: they are let in at the rate of one key together, until there is room. Clones share
/// everything.
///
/// A call takes the lock of its key's shard for one look-up, and no memory unless the key is new. Make keys that are
/// cheap to clone (a number, an `Arc<str>`): a layer makes one for each call.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::{KeyedRate, Rate};
/// use mainstay::num::Period;
///
/// let tenants = KeyedRate::<String>::new("tenants", Rate::burst(2, Period::secs(60)));
/// assert!(tenants.check("acme").is_ok());
/// assert!(tenants.check("acme").is_ok());
/// assert!(tenants.check("acme").is_err());
/// assert!(tenants.check("umbrella").is_ok());
/// ```
pub struct KeyedRate<K> {
    pub(super) keyed: Arc<Keyed<K>>,
}

impl<K> KeyedRate<K> {
    /// A limit named `name`, which is its label in metrics and logs; keys are in neither.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: impl Into<KeyedRateConfig>) -> Self {
        Self {
            keyed: Arc::new(Keyed::new(name.into(), config.into())),
        }
    }

    /// Takes a permit of `key` if there is one, whatever the patience.
    ///
    /// # Errors
    ///
    /// When there is none; with the time until there is, if nobody else comes.
    pub fn check<Q>(&self, key: &Q) -> Result<(), Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.keyed.reserve(key, || 0, rt::now()) {
            Ok(_at_once) => Ok(()),
            Err(later) => Err(self.keyed.tally.refuse(later)),
        }
    }

    /// Waits for a permit of `key`, for as long as the patience and the deadline of the
    /// [`Scope`](crate::scope::Scope) allow.
    ///
    /// # Errors
    ///
    /// At once, when the wait would be longer than that; with the time to come back.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its timer enabled, when there is a wait.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it gives its place in the key's line back. The place is taken when it is first polled,
    /// so one that is dropped and made again starts from the end of the line.
    pub async fn until_ready<Q>(&self, key: &Q) -> Result<(), Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(turn) = self.enter(key)? {
            rt::sleep_until(turn.at()).await;
            turn.take();
        }
        Ok(())
    }

    /// Watches and controls the limit.
    #[must_use]
    pub fn handle(&self) -> KeyedRateHandle<K> {
        KeyedRateHandle {
            keyed: Arc::clone(&self.keyed),
        }
    }

    /// Takes a place: at once (`None`), or a turn that comes later.
    #[inline]
    pub(super) fn enter<Q>(&self, key: &Q) -> Result<Option<KeyedTurn<K>>, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = rt::now();
        match self.keyed.reserve(key, || time_left(now), now) {
            Ok(None) => Ok(None),
            Ok(Some((whose, reservation))) => {
                self.keyed.tally.delay(reservation.wait());
                let keyed = Arc::clone(&self.keyed);
                Ok(Some(KeyedTurn::new(keyed, whose, reservation)))
            }
            Err(later) => Err(self.keyed.tally.refuse(later)),
        }
    }
}

impl<K> Clone for KeyedRate<K> {
    fn clone(&self) -> Self {
        Self {
            keyed: Arc::clone(&self.keyed),
        }
    }
}

impl<K> fmt::Debug for KeyedRate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRate")
            .field("handle", &self.handle())
            .finish()
    }
}
