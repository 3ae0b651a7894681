//! What policies with cooldowns remember.

use std::time::Duration;

use crate::time::Timestamp;

/// When a policy last grew and shrank, and how long it has been seeing.
///
/// As data it lives on in the next process. An unknown past counts as if it had changed when it was first seen; an empty
/// one as if it never had.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::PaceState;
///
/// assert_ne!(PaceState::unknown(), PaceState::empty());
/// let text = serde_json::to_string(&PaceState::unknown())?;
/// assert_eq!(serde_json::from_str::<PaceState>(&text)?, PaceState::unknown());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PaceState {
    empty: bool,
    since: Option<Timestamp>,
    /// When it was last asked.
    asked: Option<Timestamp>,
    grew: Option<Timestamp>,
    shrank: Option<Timestamp>,
    /// Since when nothing has asked for more.
    calm: Option<Timestamp>,
}

impl PaceState {
    /// Of a policy whose past nobody knows: it does not shrink for a cooldown.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Of a policy that is known to have no past.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            empty: true,
            ..Self::default()
        }
    }

    /// It is asked. Not to have been for longer than a reading may be old is to have been blind.
    pub(super) fn see(&mut self, stale: Duration, now: Timestamp) {
        if self.asked.is_some_and(|last| now.since(last) > stale) {
            self.blind(now);
        }
        self.asked = Some(now);
        self.since.get_or_insert(now);
    }

    /// There are no metrics: what was known of the calm is not known any more.
    pub(super) fn blind(&mut self, now: Timestamp) {
        self.calm = None;
        self.since = Some(now);
        self.empty = false;
    }

    pub(super) fn may_grow(&self, cooldown: Duration, now: Timestamp) -> bool {
        self.grew.is_none_or(|grew| now.since(grew) >= cooldown)
    }

    pub(super) fn may_shrink(&self, cooldown: Duration, now: Timestamp) -> bool {
        let begun = self.since.filter(|_| !self.empty);
        let last = [begun, self.grew, self.shrank];
        let mut last = last.into_iter().flatten();
        last.all(|last| now.since(last) >= cooldown)
    }

    /// Whether it has been calm for so long.
    pub(super) fn calm(&mut self, is_calm: bool, long: Duration, now: Timestamp) -> bool {
        if is_calm {
            now.since(*self.calm.get_or_insert(now)) >= long
        } else {
            self.calm = None;
            false
        }
    }

    pub(super) fn moved(&mut self, from: u32, to: u32, now: Timestamp) {
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => self.grew = Some(now),
            std::cmp::Ordering::Less => {
                self.shrank = Some(now);
                self.calm = None;
            }
            std::cmp::Ordering::Equal => {}
        }
    }
}
