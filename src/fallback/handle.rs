use std::fmt;
use std::sync::Arc;

use super::config::FallbackConfig;
use super::ending::Ending;
use crate::observe::{Fallbacks, Name, Span, Within};
use crate::sync::{AtomicU64, Ordering};

/// What the clones of one policy share.
pub(super) struct Shared {
    told: Fallbacks,
    /// A [`FallbackConfig`] as a word.
    settings: AtomicU64,
    in_flight: AtomicU64,
    /// By ending.
    counts: [AtomicU64; Ending::ALL.len()],
}

impl Shared {
    pub(super) fn new(name: Name, config: FallbackConfig) -> Self {
        Self {
            told: Fallbacks::new(name),
            settings: AtomicU64::new(config.to_word()),
            in_flight: AtomicU64::new(0),
            counts: Ending::ALL.map(|_| AtomicU64::new(0)),
        }
    }

    pub(super) fn config(&self) -> FallbackConfig {
        FallbackConfig::from_word(self.settings.load(Ordering::Relaxed))
    }

    /// Takes one of `max` places, if one is free.
    fn take(&self, max: u64) -> bool {
        let taken =
            self.in_flight
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |in_flight| {
                    (in_flight < max).then_some(in_flight + 1)
                });
        taken.is_ok()
    }

    pub(super) fn note(&self, ending: Ending, because: &'static str) {
        if let Some(count) = self.counts.get(ending as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.told.note(ending, because);
    }
}

/// A fallback that was called for, from when it may begin to its end. Gives its place back and tells how it went, once.
pub(super) struct Turn {
    shared: Arc<Shared>,
    has_place: bool,
    because: &'static str,
    ending: Ending,
    span: Span,
}

impl Turn {
    /// A turn that takes no time and no place.
    pub(super) fn at_once(shared: Arc<Shared>, because: &'static str) -> Self {
        Self {
            shared,
            has_place: false,
            because,
            ending: Ending::Abandoned,
            span: Span::NONE,
        }
    }

    /// A turn in one of the places of `config`; `None` when all are taken.
    pub(super) fn in_place(
        shared: &Arc<Shared>,
        config: FallbackConfig,
        because: &'static str,
    ) -> Option<Self> {
        shared.take(config.places().get().into()).then(|| Self {
            shared: Arc::clone(shared),
            has_place: true,
            because,
            ending: Ending::Abandoned,
            span: Span::NONE,
        })
    }

    /// The fallback starts, and takes time.
    pub(super) fn begin(&mut self) {
        self.span = self.shared.told.span();
    }

    /// Around everything that the fallback does.
    pub(super) fn enter(&mut self) -> Within<'_> {
        self.span.enter()
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // First: whoever listens may look at the handle.
        if self.has_place {
            self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        let Self {
            shared,
            because,
            ending,
            span,
            ..
        } = self;
        let within = span.enter();
        shared.note(*ending, because);
        within.end(|| (*ending).into());
    }
}

/// Watches a fallback from outside, and replaces its settings.
///
/// Clones, and the layer and services they came from, share one policy.
#[derive(Clone)]
pub struct FallbackHandle {
    pub(super) shared: Arc<Shared>,
}

impl FallbackHandle {
    /// How many of the fallbacks that were called for ended so.
    #[must_use]
    pub fn count(&self, ending: Ending) -> u64 {
        self.shared
            .counts
            .get(ending as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Fallbacks under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> FallbackConfig {
        self.shared.config()
    }

    /// Replaces the settings, for calls that end from now on.
    ///
    /// Counts and fallbacks under way stay as they are: where more are under way than now may be, none begins until
    /// enough have ended.
    pub fn reload(&self, config: impl Into<FallbackConfig>) {
        self.shared
            .settings
            .store(config.into().to_word(), Ordering::Relaxed);
    }
}

impl fmt::Debug for FallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackHandle")
            .field("name", self.shared.told.policy())
            .field("config", &self.config())
            .field("in_flight", &self.in_flight())
            .field("served", &self.count(Ending::Served))
            .field("failed", &self.count(Ending::Failed))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, mainstay_loom))]
mod loom_tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::fallback::Outcomes;
    use crate::num::count;

    fn shared(max: u32) -> Arc<Shared> {
        let config = FallbackConfig::new(Outcomes::NONE).max_in_flight(count(max));
        Arc::new(Shared::new("loom".into(), config))
    }

    /// However takes and returns interleave, no more are out than may be, and in the end none is.
    #[test]
    fn loom_places_are_never_exceeded_and_come_back() {
        loom::model(|| {
            let shared = shared(1);
            // std's on purpose: it only watches.
            let out = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (shared, out) = (Arc::clone(&shared), Arc::clone(&out));
                    loom::thread::spawn(move || {
                        if let Some(mut turn) = Turn::in_place(&shared, shared.config(), "test") {
                            let before = out.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(before, 0, "two in one place");
                            loom::thread::yield_now();
                            out.fetch_sub(1, Ordering::SeqCst);
                            turn.end(Ending::Served);
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let handle = FallbackHandle { shared };
            assert_eq!(handle.in_flight(), 0);
            let served = handle.count(Ending::Served);
            assert!((1..=2).contains(&served), "{served} had a place");
        });
    }

    /// A reload is seen whole: the old settings or the new, never a mixture.
    #[test]
    fn loom_settings_are_replaced_together() {
        loom::model(|| {
            let shared = shared(1);
            let before = shared.config();
            let after = FallbackConfig::new(Outcomes::NONE.failures()).max_in_flight(count(2));
            let handle = FallbackHandle {
                shared: Arc::clone(&shared),
            };
            let thread = loom::thread::spawn(move || handle.reload(after));
            let seen = shared.config();
            assert!(seen == before || seen == after, "{seen:?}");
            thread.join().unwrap();
            assert_eq!(shared.config(), after);
        });
    }
}
