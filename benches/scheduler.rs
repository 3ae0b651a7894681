//! What a decision of the tenants' scheduler costs: nanoseconds, allocations and memory, by the number of tenants that
//! wait.
//!
//! `cargo bench --bench scheduler`; with `-- --quick` it takes about a second, enough to see that it runs. A cycle is
//! one request that comes and has to wait, one that ends, and one that is granted the seat. Times are the fastest of
//! many rounds, since other work on the machine only ever adds; p99 is the slowest cycle but one in a hundred, with the
//! clock that is read for it. Bytes are those of a tenant that is known and has no work; of one with a request that
//! waits; neither counts what waits.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mainstay::num::{Period, Ratio, count};
use mainstay::rng::Rng;
use mainstay::tenant::scheduler::{Arrival, Ask, Scheduler, SchedulerConfig, Seat, TenantId};
use mainstay::tenant::tier::{Tier, TierId, Tiers, Weight};
use mainstay::time::Tick;
use mainstay_test_support::{Counting, allocations, live_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Pool {
    pool: Scheduler<u32>,
    seats: VecDeque<Seat>,
    now: Tick,
    rng: Rng,
    tenants: u64,
    tiers: u64,
}

impl Pool {
    /// So many tenants, each with one request that waits.
    fn new(tenants: u64, tiers: u64) -> Self {
        let mut pool = Self::empty(tenants, tiers);
        for tenant in 0..tenants + 64 {
            pool.come(tenant % tenants);
        }
        pool
    }

    fn empty(tenants: u64, tiers: u64) -> Self {
        let names = ["a", "b", "c"];
        let weights = [6, 3, 1];
        let all = names
            .into_iter()
            .zip(weights)
            .take(usize::try_from(tiers).unwrap_or(names.len()));
        let all = all.map(|(name, weight)| {
            Tier::new(name)
                .weight(Weight::of(weight))
                .reserved(Ratio::percent(10))
                .queue(u32::MAX)
                .patience(Period::secs(100_000))
        });
        let all = Tiers::new(all).expect("a tenth each");
        let config = SchedulerConfig::new(count(64), all)
            .queue(u32::MAX)
            .tenants(count(1 << 20));
        Self {
            pool: Scheduler::new(config),
            seats: VecDeque::new(),
            now: Tick::from_nanos(1),
            rng: Rng::new(7),
            tenants,
            tiers,
        }
    }

    fn come(&mut self, tenant: u64) {
        let place = u8::try_from(tenant % self.tiers).unwrap_or(0);
        let ask = Ask::new(TenantId::new(tenant), TierId::new(place));
        if let Arrival::Granted { seat, .. } = self.pool.admit(ask, 0, self.now) {
            self.seats.push_back(seat);
        }
    }

    fn cycle(&mut self) {
        self.now = self.now + Duration::from_micros(500);
        let tenant = self.rng.next_u64() % self.tenants;
        self.come(tenant);
        if let Some(seat) = self.seats.pop_front() {
            self.pool.release(seat, self.now);
        }
        while let Some(granted) = black_box(self.pool.grant(self.now)) {
            self.seats.push_back(granted.seat);
        }
    }
}

/// Bytes of a tenant that had a request once.
fn idle(tenants: u64, tiers: u64) -> f64 {
    let before = live_bytes();
    let mut pool = Pool::empty(tenants, tiers);
    for tenant in 0..tenants {
        pool.come(tenant);
        for seat in pool.seats.split_off(0) {
            pool.pool.release(seat, pool.now);
        }
    }
    (live_bytes() - before) as f64 / tenants as f64
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, cycles) = if quick { (2, 2_000) } else { (200, 10_000) };
    println!(
        "{:>6} {:>9} {:>10} {:>8} {:>13} {:>11} {:>14}",
        "tiers", "tenants", "ns/cycle", "p99 ns", "allocs/cycle", "bytes idle", "bytes waiting"
    );
    for tiers in [1, 3] {
        for tenants in [10, 100, 1_000, 10_000, 100_000] {
            let before = live_bytes();
            let mut pool = Pool::new(tenants, tiers);
            let grown = live_bytes() - before;
            let mut nanos = f64::INFINITY;
            let (count, ()) = allocations(|| {
                for _ in 0..rounds {
                    let start = Instant::now();
                    for _ in 0..cycles {
                        pool.cycle();
                    }
                    nanos = nanos.min(start.elapsed().as_nanos() as f64 / f64::from(cycles));
                }
            });
            let mut each: Vec<u128> = (0..cycles)
                .map(|_| {
                    let start = Instant::now();
                    pool.cycle();
                    start.elapsed().as_nanos()
                })
                .collect();
            each.sort_unstable();
            let slow = each.get(each.len() * 99 / 100).copied().unwrap_or(0);
            let allocs = count as f64 / f64::from(rounds * cycles);
            let bytes = grown as f64 / tenants as f64;
            let idle = idle(tenants, tiers);
            println!(
                "{tiers:>6} {tenants:>9} {nanos:>10.1} {slow:>8} {allocs:>13.4} {idle:>11.0} {bytes:>14.0}"
            );
        }
    }
}
