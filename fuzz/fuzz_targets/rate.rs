//! Any settings and any sequence of operations against the rate limit. While the clock goes forwards and the settings
//! stay, no stretch of time sees more than the rate; whatever happens, no moment sees more than the burst.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::limit::rate::{Rate, RateConfig, RateLimit, Reservation};
use mainstay::num::{Period, count};
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    settings: Settings,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Settings {
    shape: Shape,
    permits: u32,
    period: u64,
    patience: u64,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Shape {
    Burst(u32),
    Even,
    Windows,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Cancel { which: u8 },
    Jump { to: u64 },
    Pass { micros: u32 },
    Reload(Settings),
    Reserve { n: u32, left: Option<u32> },
}

impl Settings {
    fn rate(self) -> Rate {
        let (permits, period) = (count(self.permits.max(1)), period(self.period.max(1)));
        match self.shape {
            Shape::Burst(burst) => Rate::Burst {
                burst: count(burst.max(1)),
                permits,
                period,
            },
            Shape::Even => Rate::Even { permits, period },
            Shape::Windows => Rate::Windows { permits, period },
        }
    }

    fn config(self) -> RateConfig {
        let config = RateConfig::new(self.rate());
        match self.patience {
            0 => config,
            patience => config.patience(period(patience)),
        }
    }

    /// How many permits can go at one moment.
    fn most(self) -> u32 {
        match self.shape {
            Shape::Burst(burst) => burst.max(1),
            Shape::Even => 1,
            Shape::Windows => self.permits.max(1),
        }
    }
}

fn period(nanos: u64) -> Period {
    Period::new("period", Duration::from_nanos(nanos)).expect("not zero and not too long")
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let mut settings = case.settings;
    let mut limit = RateLimit::new(settings.config());
    let mut held: Vec<(u32, Tick, Reservation)> = Vec::new();
    let mut now = Tick::from_nanos(3_600_000_000_000);
    let (mut at_once, mut jumped) = (0_u64, false);
    // When calls went or will, and with how many permits, since the clock or the settings last changed.
    let mut went: Vec<(u64, u64)> = Vec::new();
    for op in case.ops {
        match op {
            Op::Reserve { n, left } => {
                let n = n.max(1);
                let left = left.map_or(Duration::MAX, |micros| {
                    Duration::from_micros(u64::from(micros))
                });
                let before = limit.look(now);
                match limit.reserve_within(count(n), left, now) {
                    Ok(place) => {
                        assert!(place.wait() <= left, "rule 4");
                        assert!(place.at() >= now.min(Tick::from_nanos((1 << 61) - 1)));
                        if n <= settings.most() {
                            at_once += if place.wait().is_zero() {
                                u64::from(n)
                            } else {
                                0
                            };
                            went.push((place.at().as_nanos(), u64::from(n)));
                        }
                        held.push((n, now, place));
                    }
                    Err(rejected) => {
                        // After a step back it may shorten the line to what it can be.
                        let after = limit.look(now);
                        let far = before.next().as_nanos() >= 1 << 60;
                        assert!(
                            jumped || far || !sane(settings) || after == before,
                            "a refusal takes nothing"
                        );
                        if let Some(hint) = rejected.hint()
                            && sane(settings)
                            && now.as_nanos() < 1 << 60
                            && hint < Duration::from_nanos(1 << 60)
                        {
                            let mut later = limit.clone();
                            let again = later.reserve_within(count(n), left, now + hint);
                            assert!(
                                again.is_ok(),
                                "rule 4: let in when it was told to come back"
                            );
                        }
                    }
                }
                let inside = now.as_nanos() < 1 << 60 && sane(settings);
                assert!(
                    at_once <= u64::from(settings.most()) || !inside,
                    "{at_once} at once"
                );
            }
            Op::Cancel { which } => {
                if let Some(which) = usize::from(which).checked_rem(held.len()) {
                    let (n, then, place) = held.swap_remove(which);
                    let gone = (place.at().as_nanos(), u64::from(n));
                    if let Some(which) = went.iter().position(|call| *call == gone) {
                        went.swap_remove(which);
                        if then == now && place.wait().is_zero() {
                            at_once = at_once.saturating_sub(u64::from(n));
                        }
                    }
                    limit.cancel(place, now);
                }
            }
            Op::Pass { micros: 0 } => {}
            Op::Pass { micros } => {
                (now, at_once) = (now + Duration::from_micros(u64::from(micros)), 0);
            }
            Op::Jump { to } => {
                (now, at_once, jumped) = (Tick::from_nanos(to), 0, true);
                went.clear();
                held.clear();
            }
            Op::Reload(next) => {
                settings = next;
                limit.reload(settings.config(), now);
                assert_eq!(limit.config(), settings.config());
                at_once = 0;
                went.clear();
                held.clear();
            }
        }
    }
    check_stretches(settings, went);
}

/// Settings whose times are far from the end of the clock, 73 years away, and whose permits it can tell apart.
fn sane(settings: Settings) -> bool {
    let burst = u128::from(settings.most());
    let interval = u128::from(settings.period).div_ceil(u128::from(settings.permits.max(1)));
    burst * interval < 1 << 58
        && settings.period < 1 << 58
        && settings.patience < 1 << 58
        && settings.period >= u64::from(settings.permits)
}

fn check_stretches(settings: Settings, mut went: Vec<(u64, u64)>) {
    if !sane(settings) || went.iter().any(|(at, _)| *at >= 1 << 60) {
        return;
    }
    let (permits, period) = (u64::from(settings.permits.max(1)), settings.period.max(1));
    went.sort_unstable();
    for (from, &(begin, _)) in went.iter().enumerate() {
        let mut sum = 0;
        for &(at, n) in &went[from..] {
            sum += n;
            let most = match settings.shape {
                // Of a call that needs several permits, the last decides when it goes.
                Shape::Windows => (at / period - begin / period + 2) * permits,
                Shape::Burst(_) | Shape::Even => {
                    u64::from(settings.most()) + (at - begin) / period.div_ceil(permits)
                }
            };
            assert!(sum <= most, "{sum} of {most} from {begin} to {at}");
        }
    }
}
