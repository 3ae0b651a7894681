//! How many refusals are told: somebody without rights must not fill a log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::Tick;

/// So many in each minute.
const MOST: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts what was told in this minute.
#[derive(Debug, Default)]
pub(in crate::saga) struct Audit(Mutex<(Tick, u32)>);

impl Audit {
    /// Whether one more may be told.
    pub(super) fn admit(&self, now: Tick) -> bool {
        // Held for this change, which cannot panic half way.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(told.0) >= MINUTE {
            *told = (now, 0);
        }
        told.1 = told.1.saturating_add(1);
        told.1 <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_in_a_minute_are_told() {
        let audit = Audit::default();
        let at = |seconds| Tick::ZERO + Duration::from_secs(seconds);
        assert_eq!((0..50).filter(|_| audit.admit(at(100))).count(), 10);
        assert!(!audit.admit(at(159)));
        assert_eq!((0..50).filter(|_| audit.admit(at(160))).count(), 10);
    }
}
