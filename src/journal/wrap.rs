//! Wrapping a store.

/// Writes the methods of a [`Journal`](crate::journal::Journal) that pass on to another one, for a wrapper that watches
/// or disturbs a store in a test and changes a few methods only.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use mainstay::journal::{Answer, Append, Journal, JournalError};
///
/// #[derive(Debug)]
/// struct ReadOnly { inner: Arc<dyn Journal> }
///
/// impl Journal for ReadOnly {
///     fn append(&self, _: Append) -> Answer<'_, ()> {
///         Box::pin(async { Err(JournalError::Closed(None)) })
///     }
///     mainstay::journal::pass_on!(inner: begin claim load list join beat leave release post prune vitals changed);
/// }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! journal_pass_on {
    ($inner:ident: $($method:ident)+) => {
        $($crate::journal_pass_on!(@ $inner $method);)+
    };
    (@ $inner:ident begin) => {
        fn begin(&self, begin: $crate::journal::Begin) -> $crate::journal::Answer<'_, $crate::journal::Begun> {
            use $crate::journal::Journal as _;
            self.$inner.begin(begin)
        }
    };
    (@ $inner:ident append) => {
        fn append(&self, append: $crate::journal::Append) -> $crate::journal::Answer<'_, ()> {
            use $crate::journal::Journal as _;
            self.$inner.append(append)
        }
    };
    (@ $inner:ident claim) => {
        fn claim(&self, claim: $crate::journal::Claim) -> $crate::journal::Answer<'_, ::std::vec::Vec<$crate::journal::Head>> {
            use $crate::journal::Journal as _;
            self.$inner.claim(claim)
        }
    };
    (@ $inner:ident load) => {
        fn load(&self, id: $crate::journal::LogId) -> $crate::journal::Answer<'_, $crate::journal::Log> {
            use $crate::journal::Journal as _;
            self.$inner.load(id)
        }
    };
    (@ $inner:ident list) => {
        fn list(&self, listing: $crate::journal::Listing) -> $crate::journal::Answer<'_, ::std::vec::Vec<$crate::journal::Head>> {
            use $crate::journal::Journal as _;
            self.$inner.list(listing)
        }
    };
    (@ $inner:ident join) => {
        fn join(&self, join: $crate::journal::Join) -> $crate::journal::Answer<'_, $crate::journal::InstanceId> {
            use $crate::journal::Journal as _;
            self.$inner.join(join)
        }
    };
    (@ $inner:ident beat) => {
        fn beat(&self, beat: $crate::journal::Beat) -> $crate::journal::Answer<'_, $crate::journal::Pulse> {
            use $crate::journal::Journal as _;
            self.$inner.beat(beat)
        }
    };
    (@ $inner:ident leave) => {
        fn leave(&self, instance: $crate::journal::InstanceId) -> $crate::journal::Answer<'_, ()> {
            use $crate::journal::Journal as _;
            self.$inner.leave(instance)
        }
    };
    (@ $inner:ident release) => {
        fn release(&self, release: $crate::journal::Release) -> $crate::journal::Answer<'_, ()> {
            use $crate::journal::Journal as _;
            self.$inner.release(release)
        }
    };
    (@ $inner:ident post) => {
        fn post(&self, post: $crate::journal::Post) -> $crate::journal::Answer<'_, $crate::journal::Posted> {
            use $crate::journal::Journal as _;
            self.$inner.post(post)
        }
    };
    (@ $inner:ident prune) => {
        fn prune(&self, prune: $crate::journal::Prune) -> $crate::journal::Answer<'_, usize> {
            use $crate::journal::Journal as _;
            self.$inner.prune(prune)
        }
    };
    (@ $inner:ident vitals) => {
        fn vitals(&self) -> $crate::journal::Vitals {
            use $crate::journal::Journal as _;
            self.$inner.vitals()
        }
    };
    (@ $inner:ident changed) => {
        fn changed(&self) -> $crate::journal::Answer<'_, ()> {
            use $crate::journal::Journal as _;
            self.$inner.changed()
        }
    };
    (@ $inner:ident transactions) => {
        fn transactions(&self) -> ::std::option::Option<$crate::journal::Transactions> {
            use $crate::journal::Journal as _;
            self.$inner.transactions()
        }
    };
}

pub use journal_pass_on as pass_on;
