//! One look at a component, and how often it is taken.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::consecutive::ConsecutiveConfig;
use super::verdict::Verdict;
use crate::num::{Period, Ratio};

/// What a look at a component found: a [`Verdict`], whether it is well, or a result of which only the kind counts.
pub trait Seen: Send {
    /// The sample.
    fn verdict(self) -> Verdict;
}

impl Seen for Verdict {
    fn verdict(self) -> Verdict {
        self
    }
}

/// Well or not.
impl Seen for bool {
    fn verdict(self) -> Verdict {
        if self { Verdict::Up } else { Verdict::Down }
    }
}

/// An error is bad; its words are not kept, since nobody knows what they hold.
impl<T: Seen, E: Send> Seen for Result<T, E> {
    fn verdict(self) -> Verdict {
        self.map_or(Verdict::Down, T::verdict)
    }
}

impl Seen for () {
    fn verdict(self) -> Verdict {
        Verdict::Up
    }
}

type Look = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A component that is probed: how, how often, and how many samples make a verdict.
///
/// # Example
///
/// ```
/// use mainstay::health::{ConsecutiveConfig, Watch};
/// use mainstay::num::{Period, Ratio, count};
///
/// // A region of a real platform: every 10 s, 5 s to answer, three bad ones, two good ones.
/// let watch = Watch::new("eu-central", || async { Ok::<_, std::io::Error>(()) })
///     .every(Period::secs(10))
///     .timeout(Period::secs(5))
///     .rows(ConsecutiveConfig::new(count(3), count(2)));
/// assert_eq!(watch.name(), "eu-central");
/// ```
#[derive(Clone)]
pub struct Watch {
    name: Arc<str>,
    pub(super) look: Arc<dyn Fn() -> Look + Send + Sync>,
    pub(super) every: Period,
    pub(super) timeout: Period,
    pub(super) jitter: Ratio,
    pub(super) rows: ConsecutiveConfig,
}

impl Watch {
    /// Looks at a component every 10 s with up to a tenth of jitter, for 5 s at the longest; three bad samples in a row
    /// are down, two good ones up.
    ///
    /// A look that takes too long or panics is a bad sample; one that is dropped must leave nothing behind.
    #[must_use]
    pub fn new<F, L>(name: impl Into<Arc<str>>, look: F) -> Self
    where
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output: Seen> + Send + 'static,
    {
        Self {
            name: name.into(),
            look: Arc::new(move || {
                let seen = look();
                Box::pin(async move { seen.await.verdict() })
            }),
            every: Period::secs(10),
            timeout: Period::secs(5),
            jitter: Ratio::percent(10),
            rows: ConsecutiveConfig::default(),
        }
    }

    /// The time from the beginning of one look to that of the next. Default 10 s. A look that takes longer delays the next.
    #[must_use]
    pub const fn every(mut self, interval: Period) -> Self {
        self.every = interval;
        self
    }

    /// How long a look may take. Default 5 s.
    #[must_use]
    pub const fn timeout(mut self, longest: Period) -> Self {
        self.timeout = longest;
        self
    }

    /// How much of the interval chance takes off, so that many instances do not look at once. Default 10 %.
    #[must_use]
    pub const fn jitter(mut self, share: Ratio) -> Self {
        self.jitter = share;
        self
    }

    /// How many samples in a row make a verdict. Default three bad, two good, unknown after a minute.
    #[must_use]
    pub const fn rows(mut self, rows: ConsecutiveConfig) -> Self {
        self.rows = rows;
        self
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("name", &self.name)
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
