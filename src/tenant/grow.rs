//! Room for more, a quarter at a time: what is kept for each tenant must not be twice what it takes.

/// Makes room for `more`, so that it is not made again for a while.
pub(super) fn grow<T>(all: &mut Vec<T>, more: usize) {
    if all.capacity() - all.len() < more {
        all.reserve_exact(more.max(all.len() / 4).max(4));
    }
}
