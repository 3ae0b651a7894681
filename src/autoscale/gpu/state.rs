use std::time::Duration;

use crate::time::Timestamp;

/// What the autoscaler of a GPU cluster remembers. As data it lives on in the next process.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::gpu::GpuState;
///
/// let text = serde_json::to_string(&GpuState::unknown())?;
/// assert_eq!(serde_json::from_str::<GpuState>(&text)?, GpuState::unknown());
/// assert_ne!(GpuState::unknown(), GpuState::empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GpuState {
    /// What was decided last.
    pub(super) target: Option<u32>,
    /// Whether it is known that nothing came before what is written here.
    pub(super) empty: bool,
    /// Since when the metrics have been there without a gap.
    pub(super) sight: Option<Timestamp>,
    pub(super) load: Option<Load>,
    /// The greatest need in each sixteenth of the hold, in replicas.
    pub(super) needs: Vec<(i64, f64)>,
    /// Whether it last grew.
    pub(super) growing: bool,
    pub(super) grew: Option<Timestamp>,
    /// When it last turned from growing to shrinking.
    pub(super) turned: Option<Timestamp>,
}

impl GpuState {
    /// Of a cluster whose past nobody knows: nothing is taken away for a whole hold.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Of a cluster that is known to have no past: it may shrink at once.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            empty: true,
            ..Self::default()
        }
    }

    /// What was decided last.
    #[must_use]
    pub const fn target(&self) -> Option<u32> {
        self.target
    }
}

/// The load as it is now, as it was lately, and as it usually is, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Load {
    pub(super) level: f64,
    late: f64,
    pub(super) base: f64,
    at: Timestamp,
    since: Timestamp,
}

/// How fast the level follows what comes.
const LEVEL: f64 = 180.0;
/// How fast it follows what is far from it.
const JUMP: f64 = 1.0;
/// What is far: noise of a few percent is not.
const FAR: f64 = 0.15;
/// By how much the late level is later: what the trend is measured over.
const TREND: f64 = 600.0;
/// How slowly the base rises, once it is known for as long; until then it is a mean of what is known.
const USUAL: f64 = 7_200.0;
/// How slowly it falls when the load is far below it.
const CALMER: f64 = 600.0;
/// The most that the load may rise by trend alone, as a share of it.
const STEEPEST: f64 = 0.1;

impl Load {
    /// The load when it is seen for the first time.
    pub(super) const fn first(load: f64, at: Timestamp) -> Self {
        Self {
            level: load,
            late: load,
            base: load,
            at,
            since: at,
        }
    }

    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    pub(super) fn follow(&mut self, load: f64, now: Timestamp) {
        let passed = now.since(self.at).as_secs_f64();
        let is_far = (load - self.level).abs() > FAR * self.level + 1.0;
        self.level = nearer(self.level, load, passed, if is_far { JUMP } else { LEVEL });
        self.late = nearer(self.late, load, passed, LEVEL + TREND);
        self.base = self.usual(load, passed, now);
        self.at = self.at.max(now);
    }

    /// What is usual after `load`. A little below it is followed as the level is, so that an evening keeps nothing idle; a
    /// lull, which is far below it, more slowly, so that the headroom is there when it is over.
    fn usual(&self, load: f64, passed: f64, now: Timestamp) -> f64 {
        let known = now.since(self.since).as_secs_f64().clamp(LEVEL, USUAL);
        if load > self.base {
            return nearer(self.base, load, passed, known);
        }
        let near = (self.base * (1.0 - FAR)).max(load);
        let slowly = nearer(0.0, near - load, passed, known.min(CALMER));
        nearer(self.base, near, passed, LEVEL) - slowly
    }

    /// By how much it will have risen after `time`, never less than nothing.
    pub(super) fn rise(&self, time: Duration) -> f64 {
        let slope = (self.level - self.late) / TREND;
        (slope * (time.as_secs_f64() + LEVEL)).clamp(0.0, self.level.max(0.0) * STEEPEST)
    }
}

/// Moves `old` towards `new`: all the way after a long time, half of it after `slowness` seconds. A quotient instead of an
/// exponential, so that every machine computes the same bits.
fn nearer(old: f64, new: f64, passed: f64, slowness: f64) -> f64 {
    old + (new - old) * (passed / (slowness + passed))
}
