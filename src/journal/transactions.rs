//! What a store lends to steps whose effect and record are one transaction of its own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::port::Answer;
use super::request::Append;

/// A store's transactions, for steps whose effect is in the store's own database; see
/// [`saga::tx`](crate::saga::tx). What can be done with it is this crate's business.
#[derive(Clone)]
pub struct Transactions(Arc<dyn Desk>);

/// Where a store takes such work in.
pub(crate) trait Desk: Any + Send + Sync {
    /// The name of the store's kind.
    fn medium(&self) -> &'static str;

    /// Whether this record is there, after every transaction that might have written it is over.
    ///
    /// `false` when the log ends where the record was to follow: then it will not come any more.
    fn look(&self, append: Append) -> Answer<'_, bool>;
}

impl Transactions {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn new(desk: Arc<impl Desk>) -> Self {
        Self(desk)
    }

    pub(crate) fn medium(&self) -> &'static str {
        self.0.medium()
    }

    pub(crate) fn look(&self, append: Append) -> Answer<'_, bool> {
        self.0.look(append)
    }

    /// The desk of one kind of store.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn desk<T: Desk>(&self) -> Option<&T> {
        let desk: &dyn Any = &*self.0;
        desk.downcast_ref()
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transactions").field(&self.medium()).finish()
    }
}
