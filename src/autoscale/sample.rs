use std::time::Duration;

use crate::time::Timestamp;

/// What can be measured about a service that is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Signal {
    /// Requests or jobs that wait.
    Backlog,
    /// Connections that are open.
    Connections,
    /// The busy share of the replicas: 1 is all of them.
    Cpu,
    /// How many requests a second are expected at most until a replica that is ordered now is ready.
    Expected,
    /// Requests under way and waiting.
    InFlight,
    /// Seconds that the slowest of twenty requests took (p95).
    Latency,
    /// The used share of the memory.
    Memory,
    /// Requests that arrive a second.
    Rate,
    /// Those of them that come from tenants with reserved capacity.
    ReservedRate,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 9] = [
        Self::Backlog,
        Self::Connections,
        Self::Cpu,
        Self::Expected,
        Self::InFlight,
        Self::Latency,
        Self::Memory,
        Self::Rate,
        Self::ReservedRate,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backlog => "backlog",
            Self::Connections => "connections",
            Self::Cpu => "cpu",
            Self::Expected => "expected",
            Self::InFlight => "in_flight",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Rate => "rate",
            Self::ReservedRate => "reserved_rate",
        }
    }
}

/// A measured value, when it was measured, and of how many things.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reading {
    value: f64,
    at: Timestamp,
    count: Option<u64>,
}

impl Reading {
    /// `value` as it was `at` that time.
    #[must_use]
    pub const fn new(value: f64, at: Timestamp) -> Self {
        Self {
            value,
            at,
            count: None,
        }
    }

    /// Of how many things it is the mean or the percentile.
    #[must_use]
    pub const fn of(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The value as it was reported, whatever it is.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.value
    }

    /// When it was measured.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        self.at
    }

    /// Of how many things, where that is known.
    #[must_use]
    pub const fn count(self) -> Option<u64> {
        self.count
    }
}

/// The replicas that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Fleet {
    ready: u32,
    starting: Vec<Timestamp>,
    draining: u32,
}

impl Fleet {
    /// `ready` replicas that serve, and no others.
    #[must_use]
    pub const fn new(ready: u32) -> Self {
        Self {
            ready,
            starting: Vec::new(),
            draining: 0,
        }
    }

    /// Since when each of those that do not serve yet has been starting.
    #[must_use]
    pub fn starting(mut self, since: impl IntoIterator<Item = Timestamp>) -> Self {
        self.starting = since.into_iter().collect();
        self
    }

    /// How many finish what they have and take nothing new.
    #[must_use]
    pub const fn draining(mut self, draining: u32) -> Self {
        self.draining = draining;
        self
    }

    /// How many serve.
    #[must_use]
    pub const fn ready(&self) -> u32 {
        self.ready
    }

    /// Since when each of the others has been starting.
    #[must_use]
    pub fn starts(&self) -> &[Timestamp] {
        &self.starting
    }

    /// How many finish what they have.
    #[must_use]
    pub const fn leaving(&self) -> u32 {
        self.draining
    }

    /// How many are ordered: those that serve and those that start.
    #[must_use]
    pub fn ordered(&self) -> u32 {
        let starting = u32::try_from(self.starting.len()).unwrap_or(u32::MAX);
        self.ready.saturating_add(starting)
    }
}

/// What is known at one moment: the replicas, and what was measured.
///
/// A signal that was not measured is missing, which is not the same as zero. So is one that is not a number, infinite or
/// negative, and one that is too old for who asks.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::{Fleet, Reading, Sample, Signal};
/// use mainstay::time::Timestamp;
/// use std::time::Duration;
///
/// let now = Timestamp::from_millis(90_000);
/// let sample = Sample::new(Fleet::new(4).starting([Timestamp::from_millis(0)]))
///     .measured(Signal::Rate, Reading::new(37.5, now))
///     .measured(Signal::Cpu, Reading::new(f64::NAN, now));
/// assert_eq!(sample.fleet().ordered(), 5);
/// assert_eq!(sample.fresh(Signal::Rate, Duration::from_secs(60), now), Some(37.5));
/// assert_eq!(sample.fresh(Signal::Cpu, Duration::from_secs(60), now), None);
/// let later = Timestamp::from_millis(151_000);
/// assert_eq!(sample.fresh(Signal::Rate, Duration::from_secs(60), later), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sample {
    fleet: Fleet,
    readings: Vec<(Signal, Reading)>,
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Vec::is_empty")
    )]
    failures: Vec<(Signal, String)>,
}

impl Sample {
    /// These replicas, and nothing measured.
    #[must_use]
    pub const fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            readings: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// With this signal, in place of what was there.
    #[must_use]
    pub fn measured(mut self, signal: Signal, reading: Reading) -> Self {
        self = self.without(signal);
        self.readings.push((signal, reading));
        self
    }

    /// Without this signal.
    #[must_use]
    pub fn without(mut self, signal: Signal) -> Self {
        self.readings.retain(|(there, _)| *there != signal);
        self.failures.retain(|(there, _)| *there != signal);
        self
    }

    /// Without this signal, and with why it could not be had.
    #[must_use]
    pub fn failed(mut self, signal: Signal, why: impl Into<String>) -> Self {
        self = self.without(signal);
        self.failures.push((signal, why.into()));
        self
    }

    /// The replicas.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The signals that could not be had, and why, where that is known.
    #[must_use]
    pub fn failures(&self) -> &[(Signal, String)] {
        &self.failures
    }

    /// The reading of a signal as it was reported.
    #[must_use]
    pub fn reading(&self, signal: Signal) -> Option<Reading> {
        let found = self.readings.iter().rfind(|(there, _)| *there == signal);
        found.map(|(_, reading)| *reading)
    }

    /// The value of a signal, unless it is missing, no finite number of at least 0, or older than `age`.
    #[must_use]
    pub fn fresh(&self, signal: Signal, age: Duration, now: Timestamp) -> Option<f64> {
        let reading = self.reading(signal)?;
        let good = (0.0..=f64::MAX).contains(&reading.value) && now.since(reading.at) <= age;
        good.then_some(reading.value)
    }
}
