//! Seeded faults: what goes wrong, where and when.
//!
//! A backend asks before it answers. The decision is a function of the seed, the operation, the idempotency key and the
//! number of the attempt, never of the order of arrival, so that a seed means the same faults in every run.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mainstay::rng::Rng;

use crate::backends::Service;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    None,
    Mild,
    Severe,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "mild" => Ok(Self::Mild),
            "severe" => Ok(Self::Severe),
            _ => Err("none, mild or severe".to_owned()),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mild => "mild",
            Self::Severe => "severe",
        })
    }
}

/// One thing that goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Every attempt of this call, for longer than anyone tries it, ends in an error that does not say whether it took
    /// effect.
    Broken,
    /// This attempt is refused before it takes effect.
    Unavailable,
    /// This attempt takes effect, but its answer is lost.
    LostAnswer,
    /// This attempt is never answered.
    Hang,
    /// This attempt is answered late.
    Slow(Duration),
}

/// What the caller of a faulty backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    /// A failure that passes.
    Unavailable,
    /// A failure that stays.
    Broken,
}

/// Out of 10,000 calls or attempts.
struct Rates {
    broken: u64,
    unavailable: u64,
    lost: u64,
    hang: u64,
    slow: u64,
}

/// A broken call is repaired after so many attempts: twice what the stack makes of one call. A step gives up before; what
/// is tried until it is done gets done; and a call that took every probe would keep the circuit open for all others.
const REPAIRED_AFTER: u32 = 6;

/// The faults of one backend.
#[derive(Debug)]
pub(crate) struct Faults {
    level: Level,
    seed: u64,
    /// How often each call was tried, by operation and key.
    attempts: Mutex<HashMap<(&'static str, String), u32>>,
}

impl Faults {
    pub(crate) fn new(level: Level, seed: u64) -> Self {
        Self {
            level,
            seed,
            attempts: Mutex::default(),
        }
    }

    /// Runs `work` with what is to go wrong with it.
    pub(crate) async fn around<T, E: From<Injected>>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.next(operation, key) {
            None => work.await,
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                work.await
            }
            Some(Fault::Unavailable) => Err(Injected::Unavailable.into()),
            Some(Fault::LostAnswer) => {
                work.await?;
                Err(Injected::Unavailable.into())
            }
            // Half of what stays broken has taken effect: an undo may not rely on either.
            Some(Fault::Broken) => {
                if hash(self.seed, operation, key) & 1 == 0 {
                    work.await?;
                }
                Err(Injected::Broken.into())
            }
            Some(Fault::Hang) => {
                // The caller's attempt timeout ends it long before.
                tokio::time::sleep(Duration::from_secs(60)).await;
                Err(Injected::Unavailable.into())
            }
        }
    }

    fn next(&self, operation: &'static str, key: &str) -> Option<Fault> {
        if self.level == Level::None {
            return None;
        }
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry((operation, key.to_owned())).or_default();
        *attempt += 1;
        decide(self.level, self.seed, operation, key, *attempt)
    }
}

fn decide(level: Level, seed: u64, operation: &str, key: &str, attempt: u32) -> Option<Fault> {
    let rates = match level {
        Level::None => return None,
        Level::Mild => Rates {
            broken: 12,
            unavailable: 25,
            lost: 10,
            hang: 5,
            slow: 300,
        },
        Level::Severe => Rates {
            broken: 60,
            unavailable: 80,
            lost: 40,
            hang: 25,
            slow: 900,
        },
    };
    let call = hash(seed, operation, key);
    let broken = Rng::new(call).next_u64() % 10_000 < rates.broken;
    let repaired = operation.starts_with("check_") || attempt > REPAIRED_AFTER;
    if broken && !repaired {
        return Some(Fault::Broken);
    }
    let mut draw = Rng::new(call ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let delay = Duration::from_millis(10 + draw.next_u64() % 140);
    let kinds = [
        (rates.unavailable, Fault::Unavailable),
        (rates.lost, Fault::LostAnswer),
        (rates.hang, Fault::Hang),
        (rates.slow, Fault::Slow(delay)),
    ];
    let mut rest = draw.next_u64() % 10_000;
    for (rate, fault) in kinds {
        if rest < rate {
            return Some(fault);
        }
        rest -= rate;
    }
    None
}

/// When which backend is killed: after so many thousandths of the invoices.
pub(crate) fn kills(level: Level, seed: u64) -> Vec<(u64, Service)> {
    let rounds = match level {
        Level::None => 0,
        Level::Mild => 1,
        Level::Severe => 3,
    };
    let mut draw = Rng::new(seed ^ 0x6b69_6c6c);
    let mut kills: Vec<_> = (0..rounds)
        .flat_map(|_| Service::ALL)
        .map(|service| (50 + draw.next_u64() % 900, service))
        .collect();
    kills.sort_by_key(|(when, _)| *when);
    kills
}

/// FNV-1a over everything that names a call; [`Rng`] mixes it.
fn hash(seed: u64, operation: &str, key: &str) -> u64 {
    let bytes = seed
        .to_le_bytes()
        .into_iter()
        .chain(operation.bytes())
        .chain([0])
        .chain(key.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_faults() {
        let all = |seed| -> Vec<_> {
            (0..2_000)
                .map(|n| decide(Level::Severe, seed, "create_payment", &n.to_string(), 1))
                .collect()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(1).contains(&Some(Fault::Broken)) && all(1).contains(&Some(Fault::LostAnswer)));
        assert_eq!(decide(Level::None, 1, "create_payment", "0", 1), None);
    }

    #[test]
    fn what_passes_passes_with_the_attempts() {
        for n in 0..2_000 {
            let key = n.to_string();
            let fault = |attempt| decide(Level::Severe, 7, "mark_paid", &key, attempt);
            assert!((1..20).any(|attempt| fault(attempt).is_none()), "{key}");
        }
    }
}
