//! Whether a tier sheds: refuses calls for want of seats.
//!
//! 1. It begins with the first such refusal, and ends when none has come for [`CALM`].
//! 2. Of all that see a beginning or an end, one tells it. So a tier that sheds again and again is told of twice in that
//!    time at most.

use std::time::Duration;

use crate::error::Reason;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Tick, nanos};

/// Long enough that a tier at its edge does not begin and end with every burst.
const CALM: Duration = Duration::from_secs(30);

const NEVER: u64 = 0;

/// When a call of the tier was last refused for want of seats, in nanoseconds: 0 while it does not shed.
pub(super) struct Shedding(AtomicU64);

impl Shedding {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    /// Whether there were seats for all, had they come at another time: not what a quota refuses, nor a tenant's own
    /// queue, nor what came too late.
    pub(super) const fn is_for(reason: Reason) -> bool {
        matches!(
            reason,
            Reason::PredictedWait | Reason::QueueFull | Reason::QueueTimeout
        )
    }

    /// A call is refused. Whether that begins it.
    pub(super) fn refused(&self, now: Tick) -> bool {
        let now = now.as_nanos().max(NEVER + 1);
        let last = self.0.swap(now, Ordering::AcqRel);
        last == NEVER || now.saturating_sub(last) >= nanos(CALM)
    }

    /// Whether it ends now.
    pub(super) fn ends(&self, now: Tick) -> bool {
        let last = self.0.load(Ordering::Acquire);
        if last == NEVER || now.as_nanos().saturating_sub(last) < nanos(CALM) {
            return false;
        }
        // Whoever is refused meanwhile begins it anew.
        let ended = self
            .0
            .compare_exchange(last, NEVER, Ordering::AcqRel, Ordering::Relaxed);
        ended.is_ok()
    }

    pub(super) fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire) != NEVER
    }
}

#[cfg(all(test, not(mainstay_loom)))]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn rule_1_it_ends_when_none_has_come_for_a_while() {
        let tier = Shedding::new();
        assert!(!tier.holds() && !tier.ends(at(100)));
        assert!(tier.refused(Tick::ZERO), "at the very beginning of time");
        assert!(!tier.refused(at(29)));
        assert!(!tier.ends(at(58)) && tier.holds());
        assert!(tier.ends(at(59)));
        assert!(!tier.holds());
        assert!(tier.refused(at(60)));
    }

    #[test]
    fn rule_2_each_beginning_and_each_end_is_told_once() {
        let tier = Shedding::new();
        assert!(tier.refused(at(1)) && !tier.refused(at(1)));
        assert!(tier.ends(at(31)) && !tier.ends(at(31)));
        assert!(tier.refused(at(32)));
        // Nobody looked in between.
        assert!(tier.refused(at(70)) && !tier.refused(at(70)));
    }

    #[test]
    fn what_is_not_the_tier_s_want_is_not_shed() {
        let shed: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| Shedding::is_for(*reason))
            .map(Reason::as_str)
            .collect();
        assert_eq!(shed, ["predicted_wait", "queue_full", "queue_timeout"]);
    }
}
