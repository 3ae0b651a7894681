//! One look at a component, and how often it is taken.

#[cfg(feature = "grpc")]
pub(super) mod grpc;
#[cfg(feature = "http")]
pub(super) mod http;
#[cfg(any(feature = "http", feature = "sqlite"))]
mod one;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;
#[cfg(feature = "http")]
pub(super) mod tcp;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::consecutive::ConsecutiveConfig;
use super::sample::{Sample, Why};
use super::verdict::Verdict;
use crate::num::{Period, Ratio};

/// What a look at a component found: a [`Verdict`] or a [`Sample`], whether it is well, or a result of which only the kind
/// counts.
pub trait Seen: Send {
    /// What it says.
    fn verdict(self) -> Verdict;

    /// The same with the reason, where there is one.
    fn sample(self) -> Sample
    where
        Self: Sized,
    {
        self.verdict().into()
    }
}

impl Seen for Sample {
    fn verdict(self) -> Verdict {
        Self::verdict(self)
    }

    fn sample(self) -> Sample {
        self
    }
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

    fn sample(self) -> Sample {
        self.map_or(Sample::down(Why::Failed), T::sample)
    }
}

impl Seen for () {
    fn verdict(self) -> Verdict {
        Verdict::Up
    }
}

/// How a component is looked at: a function that gives a future, or one of the probes for a protocol.
///
/// A look need not bound its time: whoever runs it drops it when its time is over, and says so by the
/// [deadline](crate::scope::Scope::deadline) of the scope. One that is dropped must leave nothing behind.
///
/// # Example
///
/// ```
/// use mainstay::health::{Probe, Sample, Seen, Why};
///
/// /// Whether the disk has room.
/// struct Room(fn() -> u64);
///
/// impl Probe for Room {
///     fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
///         let left = self.0();
///         async move { if left > 1 << 30 { Sample::UP } else { Sample::degraded(Why::Answer) } }
///     }
/// }
/// # fn is_probe(_: impl Probe) {}
/// # is_probe(Room(|| 0));
/// ```
pub trait Probe: Send + Sync + 'static {
    /// One look.
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static;
}

impl<F, L> Probe for F
where
    F: Fn() -> L + Send + Sync + 'static,
    L: Future<Output: Seen> + Send + 'static,
{
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        self()
    }
}

type Look = Pin<Box<dyn Future<Output = Sample> + Send>>;

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
    pub fn new(name: impl Into<Arc<str>>, probe: impl Probe) -> Self {
        Self {
            name: name.into(),
            look: Arc::new(move || {
                let seen = probe.look();
                Box::pin(async move { seen.await.sample() })
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
