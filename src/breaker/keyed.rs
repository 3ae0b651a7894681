//! A circuit for each key: an endpoint, a tenant, a method.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::circuit::{Circuit, Kind};
use super::config::BreakerConfig;
use super::future::{Call, ResponseFuture};
use super::handle::BreakerHandle;
use super::layer::Policy;
use super::lease::Place;
use super::settle::{AtHead, KeyedSettle, Until};
use super::switch::Switch;
use super::words::State;
use crate::error::LayerKind;
use crate::observe::{self, Name, Rejections};
use crate::outcome::{ByResult, Classify};
use crate::reject::{AsError, Refuse};
use crate::rng::Rng;
use crate::rt;
use crate::sync::{Mutex, lock};

/// Puts a circuit breaker around a service for each key of its requests.
///
/// One value is one set of circuits: its clones and every service it made share it, however often `layer` is called,
/// so a router that applies it once per route has one. At most `max_keys` circuits exist. When another is needed, the
/// one that was used the longest ago and is closed without a failure goes; circuits that are open, half-open, under a
/// command or have failures stay. Failures that no window forgets, such as those in a row, count for ten minutes. Where
/// all must stay, the call passes without a circuit and is counted.
///
/// The name is the label in metrics and logs, never the key. Readiness is that of the inner service, since it is asked
/// before the key is known.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{KeyedBreakerLayer, State, Trip};
/// use tower::{BoxError, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let layer = KeyedBreakerLayer::new("shards", Trip::consecutive(1), 1_000, |shard: &u32| *shard);
/// let handle = layer.handle();
/// let service = ServiceBuilder::new().layer(layer).service_fn(|shard: u32| async move {
///     if shard == 7 { Err(BoxError::from("down")) } else { Ok(shard) }
/// });
/// assert!(service.clone().oneshot(7).await.is_err());
/// assert_eq!(service.oneshot(8).await?, 8);
/// assert_eq!(handle.circuit(&7).map(|circuit| circuit.state()), Some(State::Open));
/// assert_eq!(handle.circuit(&8).map(|circuit| circuit.state()), Some(State::Closed));
/// # Ok(())
/// # }
/// ```
pub struct KeyedBreakerLayer<K, F, C = ByResult, R = AsError, U = AtHead> {
    circuits: Arc<Circuits<K>>,
    key: F,
    policy: Policy<C, R, U>,
}

impl<K: Clone + Eq + Hash, F> KeyedBreakerLayer<K, F> {
    /// Circuits named `name`, one for each of the last `max_keys` keys that `key` finds in the requests.
    ///
    /// # Panics
    ///
    /// At zero keys; in a `const` that is a compile error.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        config: impl Into<BreakerConfig>,
        max_keys: u32,
        key: F,
    ) -> Self {
        let max_keys = crate::num::count(max_keys);
        Self {
            circuits: Arc::new(Circuits::new(&name.into(), config.into(), max_keys)),
            key,
            policy: Policy::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, F, C, R, U> KeyedBreakerLayer<K, F, C, R, U> {
    /// How a result counts. Defaults to [`ByResult`]: every error is a failure, and no response is. Around HTTP or gRPC
    /// say `http::ByStatus` or `grpc::ByStatus`: with the default a callee that answers 500 to everything is healthy.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> KeyedBreakerLayer<K, F, C2, R, U> {
        KeyedBreakerLayer {
            circuits: self.circuits,
            key: self.key,
            policy: self.policy.classify(classify),
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> KeyedBreakerLayer<K, F, C, R2, U> {
        KeyedBreakerLayer {
            circuits: self.circuits,
            key: self.key,
            policy: self.policy.refuse_with(refuse),
        }
    }

    /// Until when a call lasts. Defaults to [`AtHead`]; `http::AtEnd` watches the body to its end.
    #[must_use]
    pub fn until<U2>(self, until: U2) -> KeyedBreakerLayer<K, F, C, R, U2> {
        KeyedBreakerLayer {
            circuits: self.circuits,
            key: self.key,
            policy: self.policy.until(until),
        }
    }

    /// Puts every circuit on `switch`, those that are still to come as well.
    #[must_use]
    pub fn switched_by(self, switch: &Switch) -> Self {
        self.circuits.switch(switch);
        self
    }

    /// Watches and commands the circuits from outside.
    #[must_use]
    pub fn handle(&self) -> KeyedBreakerHandle<K> {
        KeyedBreakerHandle {
            circuits: Arc::clone(&self.circuits),
        }
    }
}

impl<K, F: Clone, C: Clone, R: Clone, U: Clone> Clone for KeyedBreakerLayer<K, F, C, R, U> {
    fn clone(&self) -> Self {
        Self {
            circuits: Arc::clone(&self.circuits),
            key: self.key.clone(),
            policy: self.policy.clone(),
        }
    }
}

impl<K, F, C, R, U> fmt::Debug for KeyedBreakerLayer<K, F, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakerLayer")
            .field("name", self.circuits.rejections.policy())
            .finish_non_exhaustive()
    }
}

impl<S, K, F: Clone, C: Clone, R: Clone, U: Clone> Layer<S> for KeyedBreakerLayer<K, F, C, R, U> {
    type Service = KeyedBreakerService<S, K, F, C, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedBreakerService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`KeyedBreakerLayer`].
pub struct KeyedBreakerService<S, K, F, C, R, U> {
    inner: S,
    layer: KeyedBreakerLayer<K, F, C, R, U>,
}

impl<S, Req, K, F, C, R, U> Service<Req> for KeyedBreakerService<S, K, F, C, R, U>
where
    S: Service<Req>,
    K: Clone + Eq + Hash,
    F: Fn(&Req) -> K,
    C: Classify<S::Response, S::Error> + Clone,
    R: Refuse<S::Response, S::Error> + Clone,
    U: Until<S::Response, KeyedSettle> + Clone,
{
    type Response = U::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, C, R, U, KeyedSettle>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let KeyedBreakerLayer {
            circuits,
            key,
            policy,
        } = &self.layer;
        let policy = policy.clone();
        let circuit = circuits.find_or_make(key(&request));
        let admitted = circuit.map(|circuit| {
            let pass = circuit.admit()?;
            Ok(KeyedSettle::new(circuit, pass))
        });
        let state = match admitted.transpose() {
            Ok(settle) => Call::Called {
                future: self.inner.call(request),
                settle,
            },
            Err(rejected) => {
                circuits.rejections.note(&rejected);
                Call::Rejected(Some(rejected))
            }
        };
        ResponseFuture {
            state,
            policy,
            marker: PhantomData,
        }
    }
}

impl<S: Clone, K, F: Clone, C: Clone, R: Clone, U: Clone> Clone
    for KeyedBreakerService<S, K, F, C, R, U>
{
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, K, F, C, R, U> fmt::Debug for KeyedBreakerService<S, K, F, C, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakerService")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

/// Watches and commands the circuits of a keyed layer from outside.
///
/// Clones, and the layer and services they came from, look at the same circuits.
pub struct KeyedBreakerHandle<K> {
    circuits: Arc<Circuits<K>>,
}

impl<K: Clone + Eq + Hash> KeyedBreakerHandle<K> {
    /// The circuit of `key`; `None` if there is none, or none any more. Looking is no use of it.
    #[must_use]
    pub fn circuit(&self, key: &K) -> Option<BreakerHandle> {
        let circuit = lock(self.circuits.part(key)).peek(key)?;
        Some(BreakerHandle::new(circuit))
    }

    /// How many keys have a circuit.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.circuits.len.load(Ordering::Relaxed)
    }

    /// Calls that passed without a circuit, since all places were taken by circuits that must stay.
    #[must_use]
    pub fn untracked(&self) -> usize {
        self.circuits.untracked.load(Ordering::Relaxed)
    }

    /// The keys whose circuit is not closed, with its handle: those worth looking at.
    #[must_use]
    pub fn tripped(&self) -> Vec<(K, BreakerHandle)> {
        let all = self.circuits.parts.iter().flat_map(|part| lock(part).all());
        all.map(|(key, circuit)| (key, BreakerHandle::new(circuit)))
            .filter(|(_, handle)| handle.state() != State::Closed)
            .collect()
    }

    /// Replaces the settings of every circuit, and of those to come: as [`BreakerHandle::reload`].
    pub fn reload(&self, config: BreakerConfig) {
        *lock(&self.circuits.config) = config;
        for part in &self.circuits.parts {
            let all = lock(part).all();
            for (_, circuit) in all {
                BreakerHandle::new(circuit).reload(config);
            }
        }
    }
}

impl<K> Clone for KeyedBreakerHandle<K> {
    fn clone(&self) -> Self {
        Self {
            circuits: Arc::clone(&self.circuits),
        }
    }
}

impl<K> fmt::Debug for KeyedBreakerHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreakerHandle")
            .field("name", self.circuits.rejections.policy())
            .finish_non_exhaustive()
    }
}

/// Parts into which the keys are divided, each under a lock of its own, at most.
const PARTS: u32 = 16;

/// So many keys a part must hold at least: where there are few, the order of use is exact among all of them.
const KEYS_PER_PART: u32 = 64;

struct Circuits<K> {
    rejections: &'static Rejections,
    config: Mutex<BreakerConfig>,
    switches: Mutex<Vec<Switch>>,
    seeds: Mutex<Rng>,
    hasher: RandomState,
    parts: Box<[Mutex<Part<K>>]>,
    len: AtomicUsize,
    untracked: AtomicUsize,
}

impl<K: Clone + Eq + Hash> Circuits<K> {
    fn new(name: &Name, config: BreakerConfig, max_keys: NonZeroU32) -> Self {
        let parts = (max_keys.get() / KEYS_PER_PART).clamp(1, PARTS);
        // The bound holds as a whole: the first parts have the rest of the division.
        let room = |part: u32| max_keys.get() / parts + u32::from(part < max_keys.get() % parts);
        Self {
            rejections: Rejections::of(LayerKind::Breaker, name),
            config: Mutex::new(config),
            switches: Mutex::new(Vec::new()),
            seeds: Mutex::new(Rng::new(rt::entropy())),
            hasher: rt::hasher(),
            parts: (0..parts)
                .map(|part| Mutex::new(Part::new(room(part) as usize)))
                .collect(),
            len: AtomicUsize::new(0),
            untracked: AtomicUsize::new(0),
        }
    }

    fn part(&self, key: &K) -> &Mutex<Part<K>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        let part = self.parts.get(hash % self.parts.len());
        // There is at least one key, hence one part, and a remainder is below its divisor.
        part.unwrap_or_else(|| unreachable!("a remainder is below its divisor"))
    }

    /// The circuit of `key`; `None` if there is none and no place for one.
    fn find_or_make(&self, key: K) -> Option<Arc<Circuit>> {
        let mut part = lock(self.part(&key));
        if let Some(circuit) = part.touch(&key) {
            return Some(circuit);
        }
        let evicted = part.is_full() && part.evict();
        if part.is_full() {
            drop(part);
            self.untracked.fetch_add(1, Ordering::Relaxed);
            observe::untracked(self.rejections.policy());
            return None;
        }
        let config = *lock(&self.config);
        let seed = lock(&self.seeds).next_u64();
        let circuit = Arc::new(Circuit::new(self.rejections, config, seed, Kind::OfMany));
        part.insert(key, Arc::clone(&circuit));
        drop(part);
        let len = if evicted {
            self.len.load(Ordering::Relaxed)
        } else {
            self.len.fetch_add(1, Ordering::Relaxed) + 1
        };
        observe::keys(self.rejections.policy(), len);
        // Out of the lock: a command that holds is told.
        let switches = lock(&self.switches).clone();
        for switch in &switches {
            switch.put(&(Arc::clone(&circuit) as Arc<dyn Place>));
        }
        Some(circuit)
    }

    fn switch(&self, switch: &Switch) {
        lock(&self.switches).push(switch.clone());
        for part in &self.parts {
            let all = lock(part).all();
            for (_, circuit) in all {
                switch.put(&(Arc::clone(&circuit) as Arc<dyn Place>));
            }
        }
    }
}

/// Circuits by key, in the order of their last use.
struct Part<K> {
    room: usize,
    places: HashMap<K, usize>,
    entries: Vec<Entry<K>>,
    /// The least and the most recently used; equal to `NOWHERE` while there is none.
    oldest: usize,
    newest: usize,
}

struct Entry<K> {
    key: K,
    circuit: Arc<Circuit>,
    older: usize,
    newer: usize,
}

const NOWHERE: usize = usize::MAX;

/// How many circuits that must stay are passed over in the search for one that may go. Each is put behind the others,
/// so a search that fails begins the next one further on.
const PATIENCE: usize = 32;

impl<K: Clone + Eq + Hash> Part<K> {
    fn new(room: usize) -> Self {
        Self {
            room,
            places: HashMap::new(),
            entries: Vec::new(),
            oldest: NOWHERE,
            newest: NOWHERE,
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.room
    }

    fn all(&self) -> Vec<(K, Arc<Circuit>)> {
        let pair = |entry: &Entry<K>| (entry.key.clone(), Arc::clone(&entry.circuit));
        self.entries.iter().map(pair).collect()
    }

    fn peek(&self, key: &K) -> Option<Arc<Circuit>> {
        let entry = self.entries.get(*self.places.get(key)?)?;
        Some(Arc::clone(&entry.circuit))
    }

    fn touch(&mut self, key: &K) -> Option<Arc<Circuit>> {
        let place = *self.places.get(key)?;
        if place != self.newest {
            self.unlink(place);
            self.link_newest(place);
        }
        self.entries
            .get(place)
            .map(|entry| Arc::clone(&entry.circuit))
    }

    fn insert(&mut self, key: K, circuit: Arc<Circuit>) {
        let place = self.entries.len();
        self.places.insert(key.clone(), place);
        self.entries.push(Entry {
            key,
            circuit,
            older: NOWHERE,
            newer: NOWHERE,
        });
        self.link_newest(place);
    }

    /// Lets the least recently used circuit go that may.
    fn evict(&mut self) -> bool {
        for _ in 0..PATIENCE.min(self.entries.len()) {
            let place = self.oldest;
            let Some(entry) = self.entries.get(place) else {
                return false;
            };
            // One that a call is under way in is not clean for long: its result would be lost.
            if Arc::strong_count(&entry.circuit) == 1 && entry.circuit.is_clean() {
                self.remove(place);
                return true;
            }
            self.unlink(place);
            self.link_newest(place);
        }
        false
    }

    fn remove(&mut self, place: usize) {
        self.unlink(place);
        let removed = self.entries.swap_remove(place);
        self.places.remove(&removed.key);
        // The last entry has moved into the gap.
        let moved = self.entries.len();
        if let Some(entry) = self.entries.get(place) {
            let (older, newer) = (entry.older, entry.newer);
            self.places.insert(entry.key.clone(), place);
            self.set_newer(older, moved, place);
            self.set_older(newer, moved, place);
        }
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.entries.get(place) else {
            return;
        };
        let (older, newer) = (entry.older, entry.newer);
        self.set_newer(older, place, newer);
        self.set_older(newer, place, older);
    }

    fn link_newest(&mut self, place: usize) {
        let newest = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entries.get_mut(newest) {
            entry.newer = place;
        } else {
            self.oldest = place;
        }
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.older, entry.newer) = (newest, NOWHERE);
        }
    }

    /// What is newer than `of` is now `newer`; of the end before all, that is the oldest.
    fn set_newer(&mut self, of: usize, was: usize, newer: usize) {
        match self.entries.get_mut(of) {
            Some(entry) => entry.newer = newer,
            None if self.oldest == was => self.oldest = newer,
            None => {}
        }
    }

    fn set_older(&mut self, of: usize, was: usize, older: usize) {
        match self.entries.get_mut(of) {
            Some(entry) => entry.older = older,
            None if self.newest == was => self.newest = older,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::breaker::Trip;
    use crate::rng::Rng;

    fn circuit() -> Arc<Circuit> {
        let config = BreakerConfig::new(Trip::consecutive(1));
        let rejections = Rejections::of(LayerKind::Breaker, &"test".into());
        Arc::new(Circuit::new(rejections, config, 0, Kind::OfMany))
    }

    #[test]
    fn the_order_of_use_is_that_of_a_naive_list() {
        let mut rng = Rng::new(7);
        let (mut part, mut naive) = (Part::new(8), VecDeque::new());
        for _ in 0..20_000 {
            let key = rng.next_u64() % 16;
            if let Some(at) = naive.iter().position(|known| *known == key) {
                naive.remove(at);
                assert!(part.touch(&key).is_some());
            } else {
                assert!(part.touch(&key).is_none());
                if part.is_full() {
                    assert!(part.evict());
                    naive.pop_front();
                }
                part.insert(key, circuit());
            }
            naive.push_back(key);
            let mut seen = VecDeque::new();
            let mut place = part.oldest;
            while let Some(entry) = part.entries.get(place) {
                seen.push_back(entry.key);
                place = entry.newer;
            }
            assert_eq!(seen, naive);
            assert!(naive.iter().all(|key| part.peek(key).is_some()));
            assert_eq!(part.places.len(), naive.len());
        }
    }
}
