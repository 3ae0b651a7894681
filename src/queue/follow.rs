use std::sync::Arc;

use super::handle::Queue;
use crate::health::{Figures, Signal, Source};

/// How full it is, by entries or by bytes, whichever is nearer to its bound.
impl Source for Queue {
    fn signals(&self) -> Vec<Signal> {
        let shared = Arc::downgrade(&self.0);
        let read = move || {
            let queue = Self(shared.upgrade()?);
            let (status, config) = (queue.status(), queue.config());
            let entries = (status.depth, u64::from(config.most_entries().get()));
            let bytes = (status.bytes, config.most_bytes());
            let wide = u128::from;
            // a / b < c / d, without dividing.
            let by_bytes = wide(entries.0) * wide(bytes.1) < wide(bytes.0) * wide(entries.1);
            let (waiting, room) = if by_bytes { bytes } else { entries };
            Some(Figures::default().line(waiting, room))
        };
        vec![Signal::figures(self.name(), read).at(Arc::as_ptr(&self.0) as usize)]
    }
}
