use std::time::Duration;

use super::TOKEN;
use crate::num::{Period, Ratio};
use crate::time::{Tick, nanos};

/// Retries as a share of the calls, and a few more as time passes.
///
/// Each call earns `ratio` of a retry; the floor earns `per_second` more, so that a quiet service can retry at all.
/// Both are capped, so that a quiet hour does not buy a storm: over any window,
/// `retries ≤ ratio × calls + per_second × seconds + cap`, with `cap = burst + per_second`.
///
/// With a [`ttl`](Self::ttl) what was earned is forgotten after that long, and nothing is there that was not earned:
/// within any `ttl`, `retries ≤ ratio × calls + per_second × ttl`.
///
/// # Source
///
/// Finagle's retry budget, and tower's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioBudget {
    ratio: Ratio,
    per_second: u32,
    burst: u32,
    ttl: Option<Period>,
}

impl RatioBudget {
    /// One retry for every `1 / ratio` calls.
    #[must_use]
    pub const fn new(ratio: Ratio) -> Self {
        Self {
            ratio,
            per_second: 10,
            burst: 100,
            ttl: None,
        }
    }

    /// Retries a second that are always allowed. Defaults to 10, as Finagle does.
    #[must_use]
    pub const fn per_second(mut self, per_second: u32) -> Self {
        self.per_second = per_second;
        self
    }

    /// How many earned retries can be saved up, at most. Defaults to 100.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Forgets after this long what was earned, a tenth of it at a time. Defaults to never: the cap binds already,
    /// and a budget that forgets has to read the clock in every call.
    #[must_use]
    pub const fn ttl(mut self, ttl: Period) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What a call earns.
    #[must_use]
    pub const fn share(&self) -> Ratio {
        self.ratio
    }

    /// Retries a second that are always allowed.
    #[must_use]
    pub const fn floor(&self) -> u32 {
        self.per_second
    }

    /// How many earned retries can be saved up.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.burst
    }

    /// How long what was earned is remembered; `None` for ever.
    #[must_use]
    pub const fn memory(&self) -> Option<Period> {
        self.ttl
    }

    pub(super) fn compressed(mut self, by: std::num::NonZeroU32) -> Self {
        self.per_second = self.per_second.saturating_mul(by.get());
        self.ttl = self.ttl.map(|ttl| ttl.compressed(by));
        self
    }
}

/// What calls have earned and retries have not spent.
#[derive(Clone, Debug)]
pub(super) struct Earned {
    config: RatioBudget,
    /// What a call earns.
    deposit: u64,
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    Saved {
        tokens: u64,
        floor: u64,
        refilled: Tick,
    },
    Expiring(Slots),
}

impl Earned {
    pub(super) fn new(config: RatioBudget, now: Tick) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a ratio is within 0 and 1"
        )]
        let deposit = (config.ratio.get() * TOKEN as f64).round() as u64;
        let store = match config.ttl {
            Some(ttl) => Store::Expiring(Slots::new(ttl, now)),
            None => Store::Saved {
                tokens: tokens(config.burst),
                floor: tokens(config.per_second),
                refilled: now,
            },
        };
        Self {
            config,
            deposit,
            store,
        }
    }

    /// Takes over these settings; says whether what was earned could be kept.
    pub(super) fn reconfigure(&mut self, config: RatioBudget, now: Tick) -> bool {
        let kept = config.ttl == self.config.ttl;
        let fresh = Self::new(config, now);
        let store = match std::mem::replace(self, fresh).store {
            Store::Saved {
                tokens: saved,
                floor,
                refilled,
            } => Store::Saved {
                tokens: saved.min(tokens(config.burst)),
                floor: floor.min(tokens(config.per_second)),
                refilled,
            },
            expiring @ Store::Expiring(_) => expiring,
        };
        if kept {
            self.store = store;
        }
        kept
    }

    #[cfg(feature = "tower")]
    pub(super) const fn is_timed(&self) -> bool {
        matches!(self.store, Store::Expiring(_)) && self.deposit > 0
    }

    /// So many calls began, at a time that does not matter.
    pub(super) fn earn(&mut self, calls: u64) {
        let earned = self.deposit.saturating_mul(calls);
        match &mut self.store {
            Store::Saved { tokens: saved, .. } => {
                *saved = saved.saturating_add(earned).min(tokens(self.config.burst));
            }
            Store::Expiring(slots) => slots.add(signed(earned)),
        }
    }

    /// A call began.
    pub(super) fn earn_at(&mut self, now: Tick) {
        if let Store::Expiring(slots) = &mut self.store {
            slots.advance(now);
        }
        self.earn(1);
    }

    /// Calls after which another one earns nothing.
    pub(super) const fn room(&self) -> u64 {
        match &self.store {
            Store::Saved { tokens: saved, .. } if self.deposit > 0 => tokens(self.config.burst)
                .saturating_sub(*saved)
                .div_ceil(self.deposit),
            Store::Expiring(_) if self.deposit > 0 => u64::MAX,
            _ => 0,
        }
    }

    pub(super) fn take(&mut self, now: Tick) -> bool {
        let reserve = self.reserve();
        match &mut self.store {
            Store::Saved {
                tokens: saved,
                floor,
                refilled,
            } => {
                if *saved >= TOKEN {
                    *saved -= TOKEN;
                    return true;
                }
                (*floor, *refilled) = refill(self.config.per_second, *floor, *refilled, now);
                let granted = *floor >= TOKEN;
                *floor -= if granted { TOKEN } else { 0 };
                granted
            }
            Store::Expiring(slots) => {
                slots.advance(now);
                let earned = slots.sum(now).min(signed(tokens(self.config.burst)));
                let granted = earned.saturating_add(signed(reserve)) >= signed(TOKEN);
                if granted {
                    slots.add(-signed(TOKEN));
                }
                granted
            }
        }
    }

    /// What is there at `now`.
    pub(super) fn tokens(&self, now: Tick) -> u64 {
        match &self.store {
            Store::Saved {
                tokens: saved,
                floor,
                refilled,
            } => {
                let (floor, _) = refill(self.config.per_second, *floor, *refilled, now);
                saved.saturating_add(floor)
            }
            Store::Expiring(slots) => {
                let earned = slots.sum(now).min(signed(tokens(self.config.burst)));
                let all = earned.saturating_add(signed(self.reserve()));
                u64::try_from(all).unwrap_or(0)
            }
        }
    }

    /// What the floor allows within the ttl.
    fn reserve(&self) -> u64 {
        let ttl = self.config.ttl.map_or(Duration::ZERO, Period::get);
        let micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        // A token is a million parts, so so many a second are as many parts a microsecond.
        micros.saturating_mul(u64::from(self.config.per_second))
    }
}

const fn tokens(count: u32) -> u64 {
    count as u64 * TOKEN
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// What a floor holds at `now`, and until when that counts. More than a second fills it, however long it was idle.
fn refill(per_second: u32, floor: u64, refilled: Tick, now: Tick) -> (u64, Tick) {
    let passed = now.since(refilled);
    if passed >= Duration::from_secs(1) {
        return (tokens(per_second), now);
    }
    // Whole microseconds; the rest stays for the next time.
    let micros = nanos(passed) / 1_000;
    let floor = floor.saturating_add(micros * u64::from(per_second));
    (
        floor.min(tokens(per_second)),
        refilled + Duration::from_micros(micros),
    )
}

const SLOTS: usize = 10;

/// What each tenth of the last period brought, less what was spent in it.
///
/// It covers between nine tenths of the period and the whole of it.
#[derive(Clone, Debug)]
struct Slots {
    width: u64,
    /// The latest slice of time seen: time never runs backwards in here.
    latest: u64,
    /// Slice `n` stands at `n % 10`.
    nets: [i64; SLOTS],
}

impl Slots {
    fn new(period: Period, now: Tick) -> Self {
        let width = (nanos(period.get()) / SLOTS as u64).max(1);
        Self {
            width,
            latest: now.as_nanos() / width,
            nets: [0; SLOTS],
        }
    }

    fn place(slice: u64) -> usize {
        usize::try_from(slice % SLOTS as u64).unwrap_or(0)
    }

    fn advance(&mut self, now: Tick) {
        let slice = now.as_nanos() / self.width;
        let passed = slice.saturating_sub(self.latest);
        for ahead in 1..=passed.min(SLOTS as u64) {
            if let Some(net) = self
                .nets
                .get_mut(Self::place(self.latest.saturating_add(ahead)))
            {
                *net = 0;
            }
        }
        self.latest = self.latest.max(slice);
    }

    fn add(&mut self, amount: i64) {
        if let Some(net) = self.nets.get_mut(Self::place(self.latest)) {
            *net = net.saturating_add(amount);
        }
    }

    fn sum(&self, now: Tick) -> i64 {
        let gone = (now.as_nanos() / self.width).saturating_sub(self.latest);
        let live = (SLOTS as u64)
            .saturating_sub(gone)
            .min(self.latest.saturating_add(1));
        let slices = (0..live).map(|back| Self::place(self.latest - back));
        slices
            .filter_map(|place| self.nets.get(place))
            .fold(0, |sum: i64, net| sum.saturating_add(*net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: Duration = Duration::from_secs(60 * 24 * 3600);

    fn ms(millis: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(millis)
    }

    fn take_all(earned: &mut Earned, now: Tick) -> usize {
        (0..100_000).take_while(|_| earned.take(now)).count()
    }

    #[test]
    fn the_floor_loses_no_part_of_a_token_however_often_it_is_asked() {
        let config = RatioBudget::new(Ratio::ZERO).per_second(10).burst(0);
        let mut earned = Earned::new(config, Tick::ZERO);
        assert_eq!(take_all(&mut earned, Tick::ZERO), 10);
        let asked = (0..526_000).map(|n| Tick::from_nanos(n * 1_900));
        let granted = asked.filter(|now| earned.take(*now)).count();
        assert_eq!(granted, 9, "just under a second, in steps of 1.9 µs");
    }

    #[test]
    fn what_expires_is_gone_and_sixty_idle_days_cost_nothing() {
        let config = RatioBudget::new(Ratio::ONE)
            .per_second(0)
            .ttl(Period::secs(1));
        let mut earned = Earned::new(config, Tick::ZERO);
        for n in 0..50 {
            earned.earn_at(ms(n * 10));
        }
        assert_eq!(earned.tokens(ms(500)), 50 * TOKEN);
        assert_eq!(earned.tokens(ms(1_199)), 30 * TOKEN, "two tenths are gone");
        assert_eq!(earned.tokens(ms(1_199) + DAYS), 0);
        assert!(!earned.clone().take(ms(500) + DAYS));
        // A clock that steps back neither brings back nor doubles.
        earned.earn_at(ms(2_000));
        assert_eq!(earned.tokens(ms(0)), TOKEN);
        assert_eq!(take_all(&mut earned, ms(0)), 1);
    }

    #[test]
    fn what_was_spent_comes_back_with_the_time() {
        let config = RatioBudget::new(Ratio::ZERO)
            .per_second(5)
            .ttl(Period::secs(2));
        let mut earned = Earned::new(config, Tick::ZERO);
        assert_eq!(take_all(&mut earned, ms(0)), 10);
        assert_eq!(take_all(&mut earned, ms(1_000)), 0);
        assert_eq!(take_all(&mut earned, ms(2_000)), 10);
    }
}
