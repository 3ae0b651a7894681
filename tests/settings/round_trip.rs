//! Any settings that code can make are written and read back, in TOML and in JSON.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::time::Duration;

use mainstay::autoscale::gpu::GpuConfig;
use mainstay::autoscale::threshold::{ThresholdConfig, Trigger};
use mainstay::autoscale::tracking::TrackingConfig;
use mainstay::autoscale::{Amount, Bounds as Replicas, Signal};
use mainstay::breaker::{BreakerConfig, HalfOpen, Ramp, Trip, Window};
use mainstay::error::Reason;
use mainstay::fallback::{FallbackConfig, Outcomes};
use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
use mainstay::limit::concurrency::ConcurrencyConfig;
use mainstay::limit::rate::{KeyedRateConfig, Rate, RateConfig};
use mainstay::num::{Attempts, Factor, Period, Ratio, count};
use mainstay::outcome::Failure;
use mainstay::retry::{
    Backoff, BudgetConfig, ConcurrencyBudget, Jitter, Nesting, QuotaBudget, RatioBudget,
    RetryConfig, ThrottleBudget,
};
use mainstay::settings::Settings;
use mainstay::standard::StackConfig;
use mainstay::tenant::TenantConfig;
use mainstay::tenant::scheduler::SchedulerConfig;
use mainstay::tenant::tier::{Tier, Tiers, Weight};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// TOML has tables only at the top.
fn through_toml<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = toml::to_string(&BTreeMap::from([("whole", value)])).unwrap();
    let read: BTreeMap<String, T> = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read["whole"], *value, "{text}");
}

fn through_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read, *value, "{text}");
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    through_toml(value);
    through_json(value);
}

/// Of nine digits: serde_json without `float_roundtrip` rounds more than fifteen.
fn ratio() -> impl Strategy<Value = Ratio> {
    let ends = Just(0_u32).boxed();
    let share = prop_oneof![ends, Just(1_000_000_000), 0..=1_000_000_000_u32];
    share.prop_map(|n| Ratio::new("ratio", f64::from(n) / 1e9).unwrap())
}

fn factor() -> impl Strategy<Value = Factor> {
    (1_000..=u32::MAX).prop_map(|n| Factor::new("factor", f64::from(n) / 1e3).unwrap())
}

fn any_count() -> impl Strategy<Value = NonZeroU32> {
    prop_oneof![Just(1), Just(u32::MAX), 1..=u32::MAX, 1..100_u32].prop_map(count)
}

fn any_u32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..100_000_u64).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn period() -> impl Strategy<Value = Period> {
    let nanos = prop_oneof![Just(1), Just(u64::MAX), 1..=u64::MAX, 1..1_000_000_u64];
    nanos.prop_map(|nanos| Period::new("period", Duration::from_nanos(nanos)).unwrap())
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        any_count().prop_map(Window::Calls),
        period().prop_map(Window::Time)
    ]
}

fn trip() -> BoxedStrategy<Trip> {
    let streak = (any_count(), period());
    let in_window = (any_count(), period());
    let rate = (ratio(), any_count(), window());
    let slow = (period(), ratio(), any_count(), window());
    prop_oneof![
        any_count().prop_map(|failures| Trip::consecutive(failures.get())),
        streak.prop_map(|(failures, spanning)| Trip::streak(failures.get(), spanning)),
        in_window.prop_map(|(failures, window)| Trip::in_window(failures.get(), window)),
        rate.prop_map(|(ratio, calls, window)| Trip::rate_of(ratio, calls.get(), window)),
        slow.prop_map(|(after, ratio, calls, window)| {
            Trip::slow(after, ratio, calls.get(), window)
        }),
    ]
    .boxed()
}

fn half_open() -> BoxedStrategy<HalfOpen> {
    let successes = (any_count(), any_count(), any_u32());
    let successes = successes
        .prop_map(|(at_once, needed, of)| HalfOpen::new(at_once.get(), needed.get()).out_of(of));
    let judged = (any_count(), ratio());
    let judged = judged.prop_map(|(probes, ratio)| HalfOpen::ratio(probes.get(), ratio));
    (prop_oneof![successes, judged], period())
        .prop_map(|(half_open, deadline)| half_open.deadline(deadline))
        .boxed()
}

fn ramp() -> impl Strategy<Value = Ramp> {
    (ratio(), period()).prop_map(|(from, over)| Ramp::linear(from, over))
}

fn breaker() -> BoxedStrategy<BreakerConfig> {
    let waits = (period(), prop::option::of((factor(), period())), period());
    let rest = (ratio(), half_open(), prop::option::of(ramp()));
    let by = prop::option::of(any_count());
    (trip(), prop::collection::vec(trip(), 0..4), waits, rest, by)
        .prop_map(
            |(trip, more, (open_for, growing, hint), (jitter, half_open, ramp), by)| {
                let mut config = more
                    .into_iter()
                    .fold(BreakerConfig::new(trip), BreakerConfig::or)
                    .open_for(open_for)
                    .longest_hint(hint)
                    .jitter(jitter)
                    .half_open(half_open);
                if let Some((factor, longest)) = growing {
                    config = config.growing(factor, longest);
                }
                if let Some(ramp) = ramp {
                    config = config.ramp(ramp);
                }
                by.map_or(config, |by| config.compressed(by))
            },
        )
        .boxed()
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        ratio().prop_map(Jitter::Add),
        ratio().prop_map(Jitter::Around),
        (ratio(), ratio()).prop_map(|(low, high)| Jitter::Scale { low, high }),
    ]
}

fn backoff() -> BoxedStrategy<Backoff> {
    let shape = (0..4_u8, duration(), duration(), factor());
    (shape, jitter(), any_u32(), any::<bool>())
        .prop_map(
            |((shape, initial, max, factor), jitter, exponent, cap_first)| {
                let backoff = match shape {
                    0 => Backoff::constant(initial),
                    1 => Backoff::linear(initial, max),
                    2 => Backoff::constant(initial).factor(factor),
                    _ => Backoff::exponential(initial, max).factor(factor),
                };
                let backoff = backoff.jitter(jitter).first_exponent(exponent);
                if cap_first {
                    backoff.cap_first()
                } else {
                    backoff
                }
            },
        )
        .boxed()
}

fn budget() -> BoxedStrategy<BudgetConfig> {
    let shares = (ratio(), any_u32(), any_u32(), prop::option::of(period()));
    let shares = shares.prop_map(|(ratio, per_second, burst, ttl)| {
        let budget = RatioBudget::new(ratio).per_second(per_second).burst(burst);
        ttl.map_or(budget, |ttl| budget.ttl(ttl)).into()
    });
    let quota = (any_u32(), any_u32(), any_u32(), any_u32(), any_u32());
    let quota = quota.prop_map(|(capacity, transient, throttling, timeout, bonus)| {
        QuotaBudget::new(capacity)
            .transient(transient)
            .throttling(throttling)
            .timeout(timeout)
            .bonus(bonus)
            .into()
    });
    let throttle = (any_u32(), ratio());
    let throttle = throttle.prop_map(|(max, ratio)| ThrottleBudget::new(max, ratio).into());
    let in_flight = (ratio(), any_u32(), any::<bool>());
    let in_flight = in_flight.prop_map(|(share, minimum, of_all)| {
        let budget = ConcurrencyBudget::new(share).minimum(minimum);
        if of_all { budget.of_all() } else { budget }.into()
    });
    prop_oneof![shares, quota, throttle, in_flight].boxed()
}

fn retry() -> BoxedStrategy<RetryConfig> {
    let delays = (backoff(), prop::option::of(backoff()), duration(), ratio());
    let nesting = prop_oneof![Just(Nesting::Once), Just(Nesting::Each)];
    (any_count(), delays, prop::option::of(budget()), nesting)
        .prop_map(
            |(attempts, (backoff, overloaded, hint, spread), budget, nesting)| {
                let config = RetryConfig::new(Attempts::total(attempts.get()))
                    .backoff(backoff)
                    .longest_hint(hint)
                    .hint_spread(spread)
                    .nesting(nesting);
                let config = overloaded.map_or(config, |backoff| config.overload_backoff(backoff));
                budget.map_or(config.without_budget(), |budget| config.budget(budget))
            },
        )
        .boxed()
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    let each = prop_oneof![
        Just(Outcomes::NONE.failure(Failure::Error)),
        Just(Outcomes::NONE.failure(Failure::Timeout)),
    ];
    let refusal = prop::sample::select(vec![
        Reason::CircuitOpen,
        Reason::ConcurrencyLimit,
        Reason::DeadlineExceeded,
        Reason::Degraded,
        Reason::FailedOver,
        Reason::ForcedOpen,
        Reason::PredictedWait,
        Reason::ProbesBusy,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::RateLimit,
        Reason::Readmitting,
        Reason::TenantQueueFull,
    ]);
    let refusals = prop::collection::vec(refusal, 0..8);
    (each, refusals, any::<bool>(), 0..4_u8).prop_map(|(each, refusals, overload, kind)| {
        let start = match kind {
            0 => Outcomes::NONE,
            1 => each,
            2 => Outcomes::default(),
            _ => Outcomes::NONE.failures().refusals(),
        };
        let all = refusals.into_iter().fold(start, Outcomes::refusal);
        if overload { all.overload() } else { all }
    })
}

fn fallback() -> BoxedStrategy<FallbackConfig> {
    (outcomes(), any_count())
        .prop_map(|(outcomes, max)| FallbackConfig::new(outcomes).max_in_flight(max))
        .boxed()
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (any_count(), any_count()).prop_map(|(a, b)| Bounds::new("bounds", a.min(b), a.max(b)).unwrap())
}

fn adaptive() -> BoxedStrategy<AdaptiveConfig> {
    let times = (period(), period(), period());
    let line = (any_u32(), ratio());
    (bounds(), any_count(), factor(), any_count(), line, times)
        .prop_map(
            |(bounds, start, tolerance, samples, (queue, share), (window, relearn, wait))| {
                AdaptiveConfig::new()
                    .bounds(bounds)
                    .start(start)
                    .tolerance(tolerance)
                    .samples(samples)
                    .queue(queue)
                    .window(window)
                    .relearn(relearn)
                    .wait(wait)
                    .wait_share(share)
            },
        )
        .boxed()
}

fn concurrency() -> impl Strategy<Value = ConcurrencyConfig> {
    (any_count(), any_u32(), period(), ratio()).prop_map(|(limit, queue, wait, share)| {
        ConcurrencyConfig::new(limit)
            .queue(queue)
            .wait(wait)
            .wait_share(share)
    })
}

fn rate() -> impl Strategy<Value = Rate> {
    let numbers = (0..3_u8, any_count(), any_count(), period());
    numbers.prop_map(|(kind, burst, permits, period)| match kind {
        0 => Rate::Burst {
            burst,
            permits,
            period,
        },
        1 => Rate::Even { permits, period },
        _ => Rate::Windows { permits, period },
    })
}

fn rate_limit() -> impl Strategy<Value = RateConfig> {
    (rate(), prop::option::of(period())).prop_map(|(rate, patience)| {
        let config = RateConfig::new(rate);
        patience.map_or(config, |patience| config.patience(patience))
    })
}

fn keyed_rate_limit() -> impl Strategy<Value = KeyedRateConfig> {
    (rate_limit(), any_count())
        .prop_map(|(each, keys)| KeyedRateConfig::new(each).max_keys(keys.get()))
}

fn stack() -> BoxedStrategy<StackConfig> {
    (period(), period(), adaptive(), retry(), breaker())
        .prop_map(|(deadline, attempt, limit, retry, breaker)| {
            StackConfig::new()
                .deadline(deadline)
                .attempt_timeout(attempt)
                .limit(limit)
                .retry(retry)
                .breaker(breaker)
        })
        .boxed()
}

fn tier() -> impl Strategy<Value = Tier> {
    // Of one of eight tiers, so that all of them fit together.
    let shares = (0..=12_u8, 0..=12_u8, 12..=100_u8, 1..=100_u8);
    let rest = (1..=10_000_u16, any_u32(), any_u32(), period(), any::<u8>());
    (shares, rest).prop_map(|((reserved, held, limit, share), rest)| {
        let (weight, queue, tenant_queue, patience, shed) = rest;
        Tier::new("")
            .weight(Weight::of(weight))
            .reserved(Ratio::percent(reserved))
            .held(Ratio::percent(held.min(reserved)))
            .limit(Ratio::percent(limit))
            .tenant_share(Ratio::percent(share))
            .queue(queue)
            .tenant_queue(tenant_queue)
            .patience(patience)
            .shed(shed)
    })
}

/// A tier is named when it is made, so each is made again.
fn named(name: &'static str, tier: &Tier) -> Tier {
    Tier::new(name)
        .weight(tier.share_weight())
        .reserved(tier.reserved_share())
        .held(tier.held_share())
        .limit(tier.largest_share())
        .tenant_share(tier.largest_tenant_share())
        .queue(tier.queue_bound())
        .tenant_queue(tier.tenant_queue_bound())
        .patience(tier.longest_wait())
        .shed(tier.shed_order())
}

const TIERS: [&str; 8] = ["a", "b", "c", "d", "e.f", "g-h", "i_j", "K9"];

fn tenants() -> BoxedStrategy<TenantConfig> {
    let tiers = prop::collection::vec((tier(), prop::option::of(keyed_rate_limit())), 1..=8);
    let pool = (any_count(), any_u32(), any_count(), period(), period());
    (tiers, pool, prop::option::of(adaptive()))
        .prop_map(
            |(tiers, (capacity, queue, tenants, debt, guess), adaptive)| {
                // As many seats and tenants as a pool can count.
                let most: u32 = [21, 21, 21, 15, 12, 10, 9, 7][tiers.len() - 1];
                let most = (1 << most) - 1;
                let at_most = |n: NonZeroU32, most| count(n.get().min(most));
                let each = TIERS.into_iter().zip(&tiers);
                let named = each.map(|(name, (tier, _))| named(name, tier));
                let capacity = at_most(capacity, most);
                let scheduler = SchedulerConfig::new(capacity, Tiers::new(named).unwrap())
                    .queue(queue)
                    .tenants(at_most(tenants, 1 << 24))
                    .debt(debt)
                    .guess(guess);
                let mut config = TenantConfig::of(scheduler);
                if let Some(limit) = adaptive {
                    let range = limit.range();
                    let (least, most) = (at_most(range.least(), most), at_most(range.most(), most));
                    config =
                        config.adaptive(limit.bounds(Bounds::between(least.get(), most.get())));
                }
                for (name, (_, quota)) in TIERS.into_iter().zip(tiers) {
                    if let Some(quota) = quota {
                        config = config.quota(name, quota).unwrap();
                    }
                }
                config
            },
        )
        .boxed()
}

fn amount() -> impl Strategy<Value = Amount> {
    (1..=u32::MAX).prop_map(|n| Amount::new("amount", f64::from(n) / 1e3).unwrap())
}

fn replicas() -> impl Strategy<Value = Replicas> {
    (any_u32(), any_u32()).prop_map(|(a, b)| Replicas::between(a.min(b), a.max(b)))
}

fn signal() -> impl Strategy<Value = Signal> {
    prop::sample::select(&Signal::ALL[..])
}

fn threshold() -> BoxedStrategy<ThresholdConfig> {
    let trigger = (signal(), amount(), any::<bool>()).prop_map(|(signal, above, each)| {
        let of = if each { Trigger::each } else { Trigger::whole };
        of(signal, above)
    });
    let triggers = prop::collection::vec(trigger, 1..4);
    let steps = (any_u32(), any_u32());
    let calm = (ratio(), period());
    (replicas(), triggers, steps, period(), calm, period())
        .prop_map(
            |(bounds, triggers, (up, down), cooldown, (share, time), stale)| {
                let config = ThresholdConfig::new(bounds)
                    .steps(up, down)
                    .cooldown(cooldown)
                    .calm(share, time)
                    .stale(stale);
                triggers.into_iter().fold(config, ThresholdConfig::when)
            },
        )
        .boxed()
}

fn tracking() -> BoxedStrategy<TrackingConfig> {
    let aim = (replicas(), signal(), amount(), any::<bool>());
    let rest = (
        ratio(),
        period(),
        period(),
        prop::option::of(amount()),
        period(),
    );
    (aim, rest)
        .prop_map(
            |((bounds, signal, target, shared), (tolerance, up, down, foreseen, stale))| {
                let mut config = TrackingConfig::new(bounds, signal, target)
                    .tolerance(tolerance)
                    .cooldowns(up, down)
                    .stale(stale);
                if shared {
                    config = config.shared();
                }
                foreseen.map_or(config, |each| config.foreseen(each))
            },
        )
        .boxed()
}

fn gpu() -> BoxedStrategy<GpuConfig> {
    let aim = (replicas(), amount(), period());
    let spare = (factor(), factor(), ratio(), ratio());
    let times = (period(), period(), period(), period());
    (aim, spare, times)
        .prop_map(
            |((bounds, capacity, warm_up), (headroom, surge, reserve, band), times)| {
                let (drain, hold, flap, stale) = times;
                GpuConfig::new(bounds, capacity, warm_up)
                    .headroom(headroom)
                    .surge(surge)
                    .reserve(reserve)
                    .band(band)
                    .drain(drain)
                    .hold(hold)
                    .flap(flap)
                    .stale(stale)
            },
        )
        .boxed()
}

/// Any text is a name.
fn settings() -> impl Strategy<Value = Settings> {
    let name = || prop_oneof!["[a-z]{0,3}", any::<String>()];
    let policies = (
        prop::collection::vec((name(), stack()), 0..2),
        prop::collection::vec((name(), breaker()), 0..2),
        prop::collection::vec((name(), retry()), 0..2),
        prop::collection::vec((name(), fallback()), 0..2),
        prop::collection::vec((name(), period()), 0..2),
        prop::collection::vec((name(), adaptive()), 0..2),
        prop::collection::vec((name(), concurrency()), 0..2),
        prop::collection::vec((name(), rate_limit()), 0..2),
        prop::collection::vec((name(), keyed_rate_limit()), 0..2),
    );
    policies.prop_map(|(a, b, c, d, e, f, g, h, i)| {
        let mut all = Settings::new();
        a.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        b.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        c.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        d.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        e.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        f.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        g.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        h.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        i.into_iter()
            .for_each(|(n, p)| all = std::mem::take(&mut all).policy(n, p));
        all
    })
}

proptest! {
    #[test]
    fn numbers((ratio, factor, period, attempts) in (ratio(), factor(), period(), any_count())) {
        round_trip(&ratio);
        round_trip(&factor);
        round_trip(&period);
        round_trip(&Attempts::total(attempts.get()));
    }

    /// To the bit, where the format can.
    #[test]
    fn all_numbers_of_toml(share in 0.0..=1.0_f64, factor in 1.0..=f64::MAX) {
        through_toml(&Ratio::new("ratio", share).unwrap());
        through_toml(&Factor::new("factor", factor).unwrap());
    }

    #[test]
    fn parts_of_breakers((trip, window, half_open, ramp) in (trip(), window(), half_open(), ramp())) {
        round_trip(&trip);
        round_trip(&window);
        round_trip(&half_open);
        round_trip(&ramp);
    }

    #[test]
    fn breakers(config in breaker()) {
        round_trip(&config);
    }

    #[test]
    fn parts_of_retries((backoff, jitter, budget) in (backoff(), jitter(), budget())) {
        round_trip(&backoff);
        round_trip(&jitter);
        round_trip(&budget);
    }

    #[test]
    fn retries(config in retry()) {
        round_trip(&config);
    }

    #[test]
    fn fallbacks(config in fallback()) {
        round_trip(&config);
        round_trip(&config.stated());
    }

    #[test]
    fn limits((adaptive, concurrency, rate, keyed) in (adaptive(), concurrency(), rate_limit(), keyed_rate_limit())) {
        round_trip(&adaptive);
        round_trip(&adaptive.range());
        round_trip(&concurrency);
        round_trip(&rate);
        round_trip(&rate.rate());
        round_trip(&keyed);
    }

    #[test]
    fn stacks(config in stack()) {
        round_trip(&config);
    }

    #[test]
    fn pools(config in tenants()) {
        round_trip(&config);
        round_trip(&Settings::new().policy("pool", config));
    }

    #[test]
    fn autoscalers((threshold, tracking, gpu) in (threshold(), tracking(), gpu())) {
        round_trip(&threshold);
        round_trip(&tracking);
        round_trip(&gpu);
        let all = Settings::new().policy("a", threshold).policy("b", tracking).policy("c", gpu);
        round_trip(&all);
    }

    #[test]
    fn files(settings in settings()) {
        round_trip(&settings);
    }

    /// A text that is no file is an error, never a panic; one that is a file is written as what it means.
    #[test]
    fn any_text(text in any::<String>()) {
        if let Ok(settings) = toml::from_str::<Settings>(&text) {
            round_trip(&settings);
        }
        if let Ok(settings) = serde_json::from_str::<Settings>(&text) {
            round_trip(&settings);
        }
        // As a value in the place of a length of time, and of a share.
        let value = serde_json::Value::String(text);
        if let Ok(period) = serde_json::from_value::<Period>(value.clone()) {
            round_trip(&period);
        }
        drop(serde_json::from_value::<Ratio>(value));
    }
}

#[test]
fn defaults_and_presets() {
    round_trip(&StackConfig::default());
    round_trip(&BreakerConfig::default());
    round_trip(&RetryConfig::default());
    round_trip(&RetryConfig::aws());
    round_trip(&RetryConfig::aws_classic());
    round_trip(&mainstay::presets::erp::breaker());
    round_trip(&mainstay::presets::synthetic::model_load());
    round_trip(&mainstay::presets::erp::degradation());
    round_trip(&mainstay::presets::synthetic::degradation());
    round_trip(&mainstay::presets::erp::stateless_scaling());
    round_trip(&mainstay::presets::erp::read_replicas());
    round_trip(&mainstay::presets::erp::gpu_scaling());
    round_trip(&TenantConfig::new(
        count(9),
        mainstay::presets::erp::gpu_tiers(),
    ));
    round_trip(&TenantConfig::new(
        count(9),
        mainstay::presets::synthetic::tiers(),
    ));
    round_trip(&Nesting::Each);
    round_trip(&Outcomes::NONE);
}
