use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::keyed::{Keyed, KeyedRate, Whose};
use super::limiter::{Limited, RateLimiter};
use super::machine::Reservation;
use crate::error::Rejected;
use crate::observe::{Ended, Span};
use crate::rt;
use crate::time::Tick;

/// What a [`RateLayer`](super::RateLayer) asks before it lets a call through: [`RateLimiter`] or [`ByKey`].
pub trait Gate<Req> {
    /// What a call gets that must wait.
    type Turn: Turn;

    /// Takes a permit for `request`: at once (`None`), or a turn that comes later.
    ///
    /// # Errors
    ///
    /// When the wait would be longer than the patience or the time left.
    fn admit(&self, request: &Req) -> Result<Option<Self::Turn>, Rejected>;
}

/// A place in the line. Dropped before it is taken, it is given back.
pub trait Turn {
    /// When it comes.
    fn at(&self) -> Tick;

    /// It has come, and the call is made.
    fn take(self);
}

/// One limit for all.
impl<Req> Gate<Req> for RateLimiter {
    type Turn = LimiterTurn;

    #[inline]
    fn admit(&self, _request: &Req) -> Result<Option<LimiterTurn>, Rejected> {
        self.enter_one()
    }
}

/// A [`KeyedRate`] and the function that tells a request's key.
#[derive(Clone)]
pub struct ByKey<K, F> {
    pub(super) limiter: KeyedRate<K>,
    key: F,
}

impl<K, F> ByKey<K, F> {
    pub(super) const fn new(limiter: KeyedRate<K>, key: F) -> Self {
        Self { limiter, key }
    }
}

/// A limit for each key.
impl<K, F, Req> Gate<Req> for ByKey<K, F>
where
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> K,
{
    type Turn = KeyedTurn<K>;

    #[inline]
    fn admit(&self, request: &Req) -> Result<Option<KeyedTurn<K>>, Rejected> {
        self.limiter.enter(&(self.key)(request))
    }
}

impl<K, F> fmt::Debug for ByKey<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

/// A place in the line of a [`RateLimiter`].
pub struct LimiterTurn {
    limited: Arc<Limited>,
    /// `None` once it is taken or given back.
    reservation: Option<Reservation>,
    span: Span,
}

impl LimiterTurn {
    pub(super) fn new(limited: Arc<Limited>, reservation: Reservation) -> Self {
        Self {
            span: limited.tally.wait(),
            limited,
            reservation: Some(reservation),
        }
    }
}

impl Turn for LimiterTurn {
    fn at(&self) -> Tick {
        self.reservation
            .as_ref()
            .map_or(Tick::ZERO, Reservation::at)
    }

    fn take(mut self) {
        self.reservation = None;
        self.limited.shared.went();
        self.span.end(|| Ended::well("admitted"));
    }
}

impl Drop for LimiterTurn {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.limited.shared.cancel(reservation, rt::now());
        }
    }
}

impl fmt::Debug for LimiterTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterTurn")
            .field("reservation", &self.reservation)
            .finish_non_exhaustive()
    }
}

/// A place in the line of a key of a [`KeyedRate`].
pub struct KeyedTurn<K> {
    keyed: Arc<Keyed<K>>,
    whose: Whose,
    /// `None` once it is taken or given back.
    reservation: Option<Reservation>,
    span: Span,
}

impl<K> KeyedTurn<K> {
    pub(super) fn new(keyed: Arc<Keyed<K>>, whose: Whose, reservation: Reservation) -> Self {
        Self {
            span: keyed.tally.wait(),
            keyed,
            whose,
            reservation: Some(reservation),
        }
    }
}

impl<K> Turn for KeyedTurn<K> {
    fn at(&self) -> Tick {
        self.reservation
            .as_ref()
            .map_or(Tick::ZERO, Reservation::at)
    }

    fn take(mut self) {
        self.reservation = None;
        self.keyed.went(self.whose);
        self.span.end(|| Ended::well("admitted"));
    }
}

impl<K> Drop for KeyedTurn<K> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.keyed.cancel(self.whose, reservation, rt::now());
        }
    }
}

impl<K> fmt::Debug for KeyedTurn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedTurn")
            .field("reservation", &self.reservation)
            .finish_non_exhaustive()
    }
}
