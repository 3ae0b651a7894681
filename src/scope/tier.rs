//! Which tier of service a call has, and which pools it holds a seat of.

use std::fmt;
use std::num::NonZeroU8;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::ConfigError;

/// The name of a tier that this process knows.
///
/// Names of tiers are few and come from settings: a process keeps each of them for as long as it runs, 255 at most. What
/// comes in from outside is only ever compared with them ([`known`](Self::known)), so no caller can add one.
///
/// # Example
///
/// ```
/// use mainstay::scope::TierName;
///
/// let enterprise = TierName::new("enterprise")?;
/// assert_eq!(TierName::known("enterprise"), Some(enterprise));
/// assert_eq!(TierName::known("made up by a caller"), None);
/// assert!(TierName::new("").is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TierName(NonZeroU8);

/// By number, from 1. A number is given out once its name is there.
static NAMES: [OnceLock<Box<str>>; 256] = [const { OnceLock::new() }; 256];
/// Held by whoever adds one. How many there are.
static COUNT: Mutex<u8> = Mutex::new(0);

/// More than that is no name of a tier.
const LONGEST: usize = 64;

impl TierName {
    /// The tier named `name`: 1 to 64 letters, digits, `-`, `_` and `.`, so that it fits a header and a label.
    ///
    /// # Errors
    ///
    /// Any other name, and a new one once the process knows 255.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        let refuse = |expected| {
            let start: String = name.chars().take(LONGEST).collect();
            Err(ConfigError::new("tier", start, expected))
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=LONGEST).contains(&name.len()) || !name.chars().all(plain) {
            return refuse("1 to 64 letters, digits, -, _ and .");
        }
        let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = Self::known(name) {
            return Ok(known);
        }
        let next = count.checked_add(1).and_then(NonZeroU8::new);
        let Some(next) = next else {
            return refuse("one of the 255 names of tiers that the process knows");
        };
        if let Some(place) = NAMES.get(usize::from(next.get())) {
            place.get_or_init(|| name.into());
        }
        *count = next.get();
        Ok(Self(next))
    }

    /// The tier named `name`, if this process has one: how a name from outside is read.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let named = |number: &u8| {
            let place = NAMES.get(usize::from(*number)).and_then(OnceLock::get);
            place.is_some_and(|known| **known == *name)
        };
        let there = |number: &u8| {
            let place = NAMES.get(usize::from(*number));
            place.is_some_and(|place| place.get().is_some())
        };
        let found = (1..=u8::MAX).take_while(there).find(named);
        found.and_then(NonZeroU8::new).map(Self)
    }

    /// Its number in this process.
    #[inline]
    pub(crate) const fn number(self) -> u8 {
        self.0.get()
    }

    /// The name of this number, which is one that was given out; none for 0.
    #[inline]
    pub(crate) const fn of_number(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let place = NAMES.get(usize::from(self.0.get())).and_then(OnceLock::get);
        place.map_or("", |name| name)
    }
}

impl fmt::Debug for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The pools of which a call holds a seat already, by their tokens; 0 is none.
///
/// A call that comes back to a pool that it holds a seat of takes no second one, or a circle of calls would wait for
/// itself. A call is within more than four pools only by a mistake; the fifth is not noted, and a circle through it alone
/// takes a seat each time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held([u64; Self::MOST]);

/// Not the tokens: whoever is believed and knows one takes no seat.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.0.iter().filter(|token| **token != 0).count();
        f.debug_struct("Held").field("pools", &pools).finish()
    }
}

impl Held {
    pub(crate) const MOST: usize = 4;

    pub(crate) const NONE: Self = Self([0; Self::MOST]);

    /// Whether a seat of this pool is held.
    #[inline]
    pub(crate) fn has(&self, token: u64) -> bool {
        // They are noted from the first place on.
        let mut noted = self.0.iter().take_while(|held| **held != 0);
        noted.any(|held| *held == token)
    }

    /// These, and a seat of this pool.
    #[inline]
    #[must_use]
    pub(crate) fn with(mut self, token: u64) -> Self {
        // A caller that says the same twice must not fill the places of others.
        if let Some(free) = self.0.iter_mut().find(|held| [0, token].contains(*held)) {
            *free = token;
        }
        self
    }

    /// The tokens.
    #[cfg(feature = "http")]
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter().filter(|token| *token != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_kept_once() {
        let a = TierName::new("enterprise-1").unwrap();
        assert_eq!(TierName::new("enterprise-1").unwrap(), a);
        assert!(std::ptr::eq(
            TierName::known("enterprise-1").unwrap().as_str(),
            a.as_str()
        ));
        for bad in ["", "é", "a b", "a,b", &"x".repeat(65)] {
            let error = TierName::new(bad).unwrap_err();
            assert_eq!(error.field(), "tier", "{bad:?}");
        }
        assert_eq!(TierName::known("never said"), None);
    }

    #[test]
    fn four_pools_are_noted() {
        let held = (1..=5).fold(Held::NONE, |held, token| held.with(token));
        assert_eq!(
            (1..=5).map(|token| held.has(token)).collect::<Vec<_>>(),
            [true, true, true, true, false]
        );
        assert!(!Held::NONE.has(1));
        let held = [7, 7, 1, 7, 2, 7, 3].into_iter();
        let held = held.fold(Held::NONE, |held, token| held.with(token));
        assert!(
            [7, 1, 2, 3].iter().all(|token| held.has(*token)),
            "once each"
        );
    }
}
