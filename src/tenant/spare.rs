use std::cell::Cell;
use std::sync::Arc;

use super::pool::Pool;

/// How many pools a thread keeps an owner of: as many as one call may pass.
const KEPT: usize = 4;

thread_local! {
    static SPARE: [Cell<Option<Arc<Pool>>>; KEPT] = const { [const { Cell::new(None) }; KEPT] };
}

/// An owner of `pool`: the one that this thread kept, or a new one.
///
/// Counting references would cost a call as much as its seat does. So the owner that a call gives up stays with the thread,
/// for the next call of the same pool. A thread thus keeps up to four pools, idle ones too, until other pools take their
/// place or it ends.
#[inline]
pub(super) fn own(pool: &Arc<Pool>) -> Arc<Pool> {
    let kept = SPARE.try_with(|spare| {
        let place = spare.get(pool.number() % KEPT)?;
        let kept = place.take()?;
        if Arc::ptr_eq(&kept, pool) {
            return Some(kept);
        }
        place.set(Some(kept));
        None
    });
    kept.ok().flatten().unwrap_or_else(|| Arc::clone(pool))
}

/// Keeps an owner for the next call.
#[inline]
pub(super) fn keep(pool: Arc<Pool>) {
    // Gone while the thread ends; then the owner goes too.
    let old = SPARE.try_with(|spare| spare.get(pool.number() % KEPT)?.replace(Some(pool)));
    drop(old);
}
