//! Random operations on the rate limit, held against naive models: a list of who went when, and a leaky bucket.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::time::Duration;

use mainstay::limit::rate::{Rate, RateConfig, RateLimit, Reservation};
use mainstay::num::{Period, count};
use mainstay::time::Tick;
use proptest::prelude::*;

/// The settings of a case in plain numbers, times in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Plain {
    windows: bool,
    burst: u32,
    permits: u32,
    period: u32,
    patience: u32,
}

impl Plain {
    fn config(self) -> RateConfig {
        let (permits, period) = (count(self.permits), Period::millis(self.period));
        let rate = match (self.windows, self.burst) {
            (true, _) => Rate::Windows { permits, period },
            (false, 1) => Rate::Even { permits, period },
            (false, burst) => Rate::Burst {
                burst: count(burst),
                permits,
                period,
            },
        };
        match self.patience {
            0 => RateConfig::new(rate),
            patience => RateConfig::new(rate).patience(Period::millis(patience)),
        }
    }

    /// Nanoseconds from one permit to the next.
    fn interval(self) -> u64 {
        (u64::from(self.period) * 1_000_000).div_ceil(u64::from(self.permits))
    }

    /// How many permits can go at one moment.
    fn most(self) -> u32 {
        if self.windows {
            self.permits
        } else {
            self.burst
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let patience = prop_oneof![Just(0), 1..3_000_u32];
    (any::<bool>(), 1..9_u32, 1..9_u32, 1..2_000_u32, patience).prop_map(
        |(windows, burst, permits, period, patience)| Plain {
            windows,
            burst,
            permits,
            period,
            patience,
        },
    )
}

#[derive(Clone, Debug)]
enum Op {
    /// So many permits (more than go at once are made fewer), for a call with so much time left.
    Reserve(u32, Option<u16>),
    /// One of those that are held.
    Cancel(usize),
    Pass(u16),
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    let left = prop_oneof![3 => Just(None), 1 => any::<u16>().prop_map(Some)];
    prop_oneof![
        6 => (1..4_u32, left).prop_map(|(n, left)| Op::Reserve(n, left)),
        3 => any::<usize>().prop_map(Op::Cancel),
        4 => (0..400_u16).prop_map(Op::Pass),
        1 => Just(Op::Look),
    ]
}

const START: Tick = Tick::from_nanos(3_600_000_000_000);
const NANO: Duration = Duration::from_nanos(1);

struct Held {
    n: u32,
    start: Tick,
    reservation: Option<Reservation>,
    at: Tick,
}

/// Over every stretch of time no more go than the rate allows, refusals and waits are exact, and what is cancelled is
/// there again.
fn run(plain: Plain, ops: Vec<Op>) {
    let mut limit = RateLimit::new(plain.config());
    let mut all: Vec<Held> = Vec::new();
    let mut now = START;
    for op in ops {
        match op {
            Op::Pass(ms) => now = now + Duration::from_millis(u64::from(ms)),
            Op::Look => {
                let before = limit.look(now);
                assert_eq!(limit.look(now), before);
                let waits = before.next().since(now);
                assert_eq!(waits.is_zero(), before.left() > 0 || gap_at(&limit, now));
            }
            Op::Reserve(n, left) => {
                let n = n.min(plain.most());
                let left = left.map_or(Duration::MAX, |ms| Duration::from_millis(u64::from(ms)));
                let before = limit.clone();
                match limit.reserve_within(count(n), left, now) {
                    Ok(reservation) => {
                        let wait = reservation.wait();
                        assert!(wait <= left);
                        assert!(wait <= Duration::from_millis(u64::from(plain.patience)));
                        assert_eq!(reservation.at(), now + wait);
                        if !wait.is_zero() {
                            let hasty = before.clone().reserve_within(count(n), wait - NANO, now);
                            assert!(hasty.is_err(), "the wait is no longer than it must be");
                        }
                        let (at, reservation) = (reservation.at(), Some(reservation));
                        all.push(Held {
                            n,
                            start: now,
                            reservation,
                            at,
                        });
                    }
                    Err(rejected) => {
                        assert_eq!(limit.look(now), before.look(now), "it takes nothing");
                        let hint = rejected.hint().expect("so many can go at once");
                        let again = |after| {
                            let mut limit = limit.clone();
                            limit.reserve_within(count(n), left, now + after).is_ok()
                        };
                        assert!(again(hint), "let in when it was told to come back");
                        assert!(!again(hint - NANO), "and not before");
                    }
                }
            }
            Op::Cancel(which) => {
                let waiting = all.iter_mut().filter(|held| held.reservation.is_some());
                let mut waiting: Vec<_> = waiting.collect();
                if waiting.is_empty() {
                    continue;
                }
                let held = waiting.swap_remove(which % waiting.len());
                let reservation = held.reservation.take().unwrap();
                let (left, at) = (limit.look(now).left(), reservation.at());
                limit.cancel(reservation, now);
                let after = limit.look(now).left();
                let n = i64::from(held.n);
                // Parts of permits that were left on both sides may make one more.
                assert!((left..=left + n + 1).contains(&after));
                if at > now || held.start == now {
                    assert!(after >= left + n, "all of it is there again");
                }
                held.n = 0;
            }
        }
    }
    let mut went: Vec<(u64, u64)> = all
        .iter()
        .map(|held| (held.at.as_nanos(), u64::from(held.n)))
        .collect();
    went.sort_unstable();
    for (from, &(begin, _)) in went.iter().enumerate() {
        let mut sum = 0;
        for &(at, n) in went.iter().skip(from) {
            sum += n;
            let most = if plain.windows {
                let period = u64::from(plain.period) * 1_000_000;
                let windows = at / period - begin / period + 1;
                // Of a call that needs several, the last permit decides.
                windows * u64::from(plain.permits) + 2
            } else {
                u64::from(plain.burst) + (at - begin) / plain.interval()
            };
            assert!(sum <= most, "{sum} of {most} from {begin} to {at}");
        }
    }
}

/// Whether one permit could go now through a gap, though the line's end is ahead.
fn gap_at(limit: &RateLimit, now: Tick) -> bool {
    limit
        .clone()
        .reserve_within(count(1), Duration::ZERO, now)
        .is_ok()
}

/// Without cancels the wait is that of a leaky bucket.
fn bucket(plain: Plain, ops: Vec<Op>) {
    let mut limit = RateLimit::new(plain.config());
    let (interval, patience) = (plain.interval(), u64::from(plain.patience) * 1_000_000);
    let tolerance = interval * u64::from(plain.burst);
    let (mut now, mut level, mut seen) = (START, 0_u64, START);
    for op in ops {
        match op {
            Op::Pass(ms) => now = now + Duration::from_millis(u64::from(ms)),
            Op::Reserve(n, left) => {
                level = level.saturating_sub(now.as_nanos() - seen.as_nanos());
                seen = now;
                let full = level + interval * u64::from(n);
                let wait = full.saturating_sub(tolerance);
                let left = left.map_or(u64::MAX, |ms| u64::from(ms) * 1_000_000);
                let got = limit.reserve_within(count(n), Duration::from_nanos(left), now);
                let wait = (wait <= patience.min(left)).then_some(wait);
                assert_eq!(
                    got.ok().map(|place| place.wait()),
                    wait.map(Duration::from_nanos)
                );
                if wait.is_some() {
                    level = full;
                }
            }
            Op::Cancel(_) | Op::Look => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Rough {
    Reserve(u32),
    Cancel(usize),
    /// To any moment, backwards too.
    Jump(u64),
    Pass(u32),
    Reload(Plain),
}

fn rough() -> impl Strategy<Value = Rough> {
    prop_oneof![
        8 => prop_oneof![1..5_u32, any::<u32>()].prop_map(Rough::Reserve),
        3 => any::<usize>().prop_map(Rough::Cancel),
        1 => any::<u64>().prop_map(Rough::Jump),
        4 => any::<u32>().prop_map(Rough::Pass),
        1 => plain().prop_map(Rough::Reload),
    ]
}

/// Whatever the clock and the settings do, no more than the burst goes at one moment, and it is not refused for ever.
fn survive(mut plain: Plain, ops: Vec<Rough>) {
    let mut limit = RateLimit::new(plain.config());
    let mut held = Vec::new();
    let (mut now, mut at_once) = (START, 0_u64);
    for op in ops {
        match op {
            Rough::Reserve(n) => {
                let n = n.max(1);
                if let Ok(place) = limit.reserve(count(n), now) {
                    if place.wait().is_zero() && n <= plain.most() {
                        at_once += u64::from(n);
                    }
                    held.push((n, now, place));
                }
                assert!(at_once <= u64::from(plain.most()), "{at_once} at once");
            }
            Rough::Cancel(which) => {
                if !held.is_empty() {
                    let (n, then, place) = held.swap_remove(which % held.len());
                    if then == now && place.wait().is_zero() && n <= plain.most() {
                        at_once = at_once.saturating_sub(u64::from(n));
                    }
                    limit.cancel(place, now);
                }
            }
            // The end of the clock is 73 years away; beyond it nothing is promised but to go on.
            Rough::Jump(to) => (now, at_once) = (Tick::from_nanos(to % (1 << 60)), 0),
            Rough::Pass(0) => {}
            Rough::Pass(by) => (now, at_once) = (now + Duration::from_nanos(by.into()), 0),
            Rough::Reload(next) => {
                plain = next;
                limit.reload(plain.config(), now);
                at_once = 0;
                held.clear();
            }
        }
    }
    // However far the clock stepped back: after one refusal nobody waits longer than the settings allow.
    for _ in 0..200 {
        now = now + Duration::from_secs(3_600);
        let _ = limit.reserve(count(1), now);
    }
    assert!(
        limit
            .reserve(count(1), now + Duration::from_secs(3_600))
            .is_ok()
    );
}

proptest! {
    #[test]
    fn no_more_go_than_the_rate_allows(plain in plain(), ops in prop::collection::vec(op(), 0..120)) {
        run(plain, ops);
    }

    #[test]
    fn waits_are_those_of_a_leaky_bucket(
        mut plain in plain(),
        ops in prop::collection::vec(op(), 0..120),
    ) {
        plain.windows = false;
        bucket(plain, ops);
    }

    #[test]
    fn odd_clocks_and_settings_are_survived(
        plain in plain(),
        ops in prop::collection::vec(rough(), 0..120),
    ) {
        survive(plain, ops);
    }
}
