use std::cell::Cell;
use std::sync::Arc;

use super::gate::Gate;

/// How many gates a thread keeps an owner of: as many limits as one call may pass.
const KEPT: usize = 4;

thread_local! {
    static SPARE: [Cell<Option<Arc<Gate>>>; KEPT] = const { [const { Cell::new(None) }; KEPT] };
}

/// An owner of `gate`: the one that this thread kept, or a new one.
///
/// Counting references is half of what a call under a limit costs. So the owner that a call gives up stays with the
/// thread, for the next call of the same limit. A thread thus keeps up to four gates, idle ones too, until other gates
/// take their place or it ends.
#[inline]
pub(super) fn own(gate: &Arc<Gate>) -> Arc<Gate> {
    let kept = SPARE.try_with(|spare| {
        let place = spare.get(gate.number() % KEPT)?;
        let kept = place.take()?;
        if Arc::ptr_eq(&kept, gate) {
            return Some(kept);
        }
        place.set(Some(kept));
        None
    });
    kept.ok().flatten().unwrap_or_else(|| Arc::clone(gate))
}

/// Keeps an owner for the next call.
#[inline]
pub(super) fn keep(gate: Arc<Gate>) {
    // Gone while the thread ends; then the owner goes too.
    let old = SPARE.try_with(|spare| spare.get(gate.number() % KEPT)?.replace(Some(gate)));
    drop(old);
}
