use std::sync::{Arc, Weak};

use super::circuit::Listener;
use super::handle::{BreakerHandle, Change};
use super::lease::Place;
use super::machine::Outlook;
use super::words::Cause;
use crate::rt;

/// What is told of every change for as long as its owner keeps it.
pub(crate) type OnChange = Listener;

/// A circuit as health sees it, which does not keep it: with its last layer, service and handle it is gone.
#[derive(Clone)]
pub(crate) struct Followed(Weak<dyn Place>);

/// Keeps a circuit for as long as somebody looks. To be dropped under no lock: with the last owner go its listeners, which
/// are a user's.
pub(crate) struct Kept(Arc<dyn Place>);

impl BreakerHandle {
    pub(crate) fn followed(&self) -> Followed {
        Followed(Arc::downgrade(self.place()))
    }
}

impl Followed {
    /// The circuit, if it is still there.
    pub(crate) fn keep(&self) -> Option<Kept> {
        self.0.upgrade().map(Kept)
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Where it is, for telling it from others.
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().cast::<()>() as usize
    }
}

impl Kept {
    /// Tells `listener` of every change, until its owner drops it.
    pub(crate) fn tell(&self, listener: &OnChange) {
        let listener = Arc::downgrade(listener);
        self.0.circuit().look(|tracked| {
            tracked.followers.retain(|each| each.strong_count() > 0);
            tracked.followers.push(listener);
        });
    }

    /// What is known of the callee now. Changes nothing, and so tells nobody.
    pub(crate) fn outlook(&self) -> Outlook {
        let now = rt::now();
        self.0.circuit().look(|tracked| {
            let last = tracked.last.as_ref().map(Change::transition);
            let recovered = last.filter(|last| last.cause() == Cause::Recovered);
            let recovered = recovered.map(super::Transition::at);
            tracked.breaker.outlook(recovered, now)
        })
    }
}

#[cfg(all(test, not(mainstay_loom)))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::breaker::{BreakerLayer, Order, Trip};

    #[test]
    fn listeners_are_told_while_they_are_kept_and_leave_nothing_behind() {
        let layer = BreakerLayer::new("followed", Trip::consecutive(1));
        let circuit = layer.handle().followed().keep().unwrap();
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let kept: OnChange = Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        circuit.tell(&kept);
        let order = || Order::new("alice", "test");
        layer.handle().open(order());
        layer.handle().reset(order());
        assert_eq!(told.load(Ordering::Relaxed), 2);

        let followers = || circuit.0.circuit().look(|tracked| tracked.followers.len());
        for _ in 0..100 {
            let short: OnChange = Arc::new(|_| {});
            circuit.tell(&short);
        }
        assert_eq!(followers(), 2, "the last of those that are gone");
        drop(kept);
        layer.handle().open(order());
        assert_eq!((followers(), told.load(Ordering::Relaxed)), (0, 2));
    }
}
