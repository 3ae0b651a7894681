//! The load: callers who do not wait for one another, each with a second of patience.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay::rng::Rng;
use reqwest::Client;
use tokio::task::JoinSet;
use tower::BoxError;

use crate::screen::Screen;
use crate::service::{ENTERPRISE, MID_MARKET, SEATS, SMALL, Service, TAKES};

/// So long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often callers come.
const STEP: Duration = Duration::from_millis(10);
/// So many of the flood's are under way at once: more sockets than that a process may not have.
const MOST: u32 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Quiet,
    OneFloods,
    TierFloods,
}

pub(crate) const PHASES: [Phase; 3] = [Phase::Quiet, Phase::OneFloods, Phase::TierFloods];

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "all is quiet",
            Self::OneFloods => "one tenant floods",
            Self::TierFloods => "a tier floods",
        }
    }

    const fn lasts(self) -> Duration {
        match self {
            Self::Quiet => Duration::from_secs(1),
            Self::OneFloods | Self::TierFloods => Duration::from_secs(4),
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Enterprise,
    MidMarket,
    Small,
    /// The one that floods, or all of its tier that do.
    Flood,
}

pub(crate) const CLASSES: [Class; 4] = [
    Class::Enterprise,
    Class::MidMarket,
    Class::Small,
    Class::Flood,
];

impl Class {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::MidMarket => "mid-market",
            Self::Small => "smb",
            Self::Flood => "the flood",
        }
    }

    /// How many of its calls come in a second, as a share of what the backend can do.
    const fn share(self, phase: Phase) -> f64 {
        match (self, phase) {
            (Self::Enterprise, _) => 0.08,
            (Self::MidMarket | Self::Small, _) => 0.12,
            (Self::Flood, Phase::Quiet) => 0.0,
            (Self::Flood, _) => 3.0,
        }
    }

    /// A tenant of it.
    fn tenant(self, phase: Phase, rng: &mut Rng) -> u64 {
        let small = ENTERPRISE + MID_MARKET;
        match self {
            Self::Enterprise => rng.next_u64() % ENTERPRISE,
            Self::MidMarket => ENTERPRISE + rng.next_u64() % MID_MARKET,
            Self::Flood if phase == Phase::OneFloods => small,
            Self::Small | Self::Flood => small + 1 + rng.next_u64() % (SMALL - 1),
        }
    }
}

/// What the calls of one class in one phase have met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    late: usize,
}

impl Calls {
    pub(crate) fn sent(&self) -> usize {
        self.answered.len() + self.refused.len() + self.late
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// The share that was answered in time.
    pub(crate) fn served(&self) -> f64 {
        self.answered.len() as f64 / self.sent().max(1) as f64
    }

    /// Of the time that callers waited for an answer; whoever got none has waited for all of its patience.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let mut waits = self.answered.clone();
        waits.resize(waits.len() + self.late, PATIENCE);
        percentile(waits, share)
    }

    pub(crate) fn percentile_of_refusals(&self, share: f64) -> Duration {
        percentile(self.refused.clone(), share)
    }
}

fn percentile(mut waits: Vec<Duration>, share: f64) -> Duration {
    waits.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in the list"
    )]
    let place = (share * waits.len().saturating_sub(1) as f64) as usize;
    let wait = waits.get(place).copied().unwrap_or_default();
    Duration::from_micros(u64::try_from(wait.as_micros()).unwrap_or(0) / 100 * 100)
}

/// All that was met, by phase and class.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<[[Calls; 4]; 3]>);

impl Tally {
    fn note(&self, phase: Phase, class: Class, note: impl FnOnce(&mut Calls)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = all.get_mut(phase as usize);
        if let Some(calls) = calls.and_then(|phase| phase.get_mut(class as usize)) {
            note(calls);
        }
    }

    pub(crate) fn of(&self, phase: Phase, class: Class) -> Calls {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = all.get(phase as usize);
        let calls = calls.and_then(|phase| phase.get(class as usize));
        calls.cloned().unwrap_or_default()
    }
}

/// Sends the whole load to one service.
pub(crate) async fn run(service: &Service, screen: &Screen) -> Result<Arc<Tally>, BoxError> {
    let client = Client::builder().timeout(PATIENCE).build()?;
    let tally = Arc::new(Tally::default());
    // Of the same seed both times: both services meet the same load.
    let mut rng = Rng::new(7);
    let mut calls = JoinSet::new();
    let flood = Arc::new(AtomicU32::new(0));
    let can = f64::from(SEATS) / TAKES.as_secs_f64();
    for phase in PHASES {
        screen.begin(phase);
        let begun = Instant::now();
        let mut owed = [0.0; CLASSES.len()];
        let mut next = tokio::time::interval(STEP);
        while begun.elapsed() < phase.lasts() {
            next.tick().await;
            for (class, owed) in CLASSES.into_iter().zip(&mut owed) {
                *owed += class.share(phase) * can * STEP.as_secs_f64();
                while *owed >= 1.0 {
                    *owed -= 1.0;
                    if class == Class::Flood {
                        if flood.load(Ordering::Relaxed) >= MOST {
                            continue;
                        }
                        flood.fetch_add(1, Ordering::Relaxed);
                    }
                    let flood = Arc::clone(&flood);
                    let call = client
                        .get(&service.url)
                        .header("token", class.tenant(phase, &mut rng));
                    let tally = Arc::clone(&tally);
                    calls.spawn(async move {
                        let begun = Instant::now();
                        let status = call.send().await.map(|answer| answer.status().as_u16());
                        let took = begun.elapsed();
                        if class == Class::Flood {
                            flood.fetch_sub(1, Ordering::Relaxed);
                        }
                        tally.note(phase, class, |calls| match status {
                            Ok(200) => calls.answered.push(took),
                            Ok(_) => calls.refused.push(took),
                            Err(_) => calls.late += 1,
                        });
                    });
                }
            }
            while calls.try_join_next().is_some() {}
            screen.show(&tally, phase);
        }
        // Each phase begins with an empty service.
        while calls.join_next().await.is_some() {
            screen.show(&tally, phase);
        }
    }
    Ok(tally)
}
