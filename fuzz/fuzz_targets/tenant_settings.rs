//! Any text as the settings of a pool of tenants: they are refused with reasons, or they are written and read as the same,
//! and their scheduler keeps to its capacity whatever is asked of it. What follows a line of three dashes is what is asked.

#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay::num::count;
use mainstay::settings::{Settings, Unchecked};
use mainstay::tenant::TenantConfig;
use mainstay::tenant::scheduler::{Arrival, Ask, Scheduler, SchedulerConfig, TenantId};
use mainstay::tenant::tier::TierId;
use mainstay::time::Tick;

fuzz_target!(|text: &str| {
    let (settings, ops) = text.split_once("\n---\n").unwrap_or((text, text));
    if let Ok(config) = toml::from_str::<TenantConfig>(settings) {
        check(&config, ops);
    }
    match serde_json::from_str::<TenantConfig>(settings) {
        Ok(config) => check(&config, ops),
        Err(error) => assert!(error.to_string().len() < 100_000),
    }
    // Where it is wrong as a part of a file, each reason has its path.
    let part = toml::from_str::<toml::Table>(settings).unwrap_or_default();
    let whole = toml::Table::from_iter([("pool".to_owned(), toml::Value::Table(part))]);
    let file = toml::Table::from_iter([("tenant_pools".to_owned(), toml::Value::Table(whole))]);
    let read: Unchecked = file.try_into().expect("a table");
    match read.check() {
        Ok(settings) => {
            let config = settings.tenant_pool("pool").expect("it is there");
            let again = Settings::new().policy("pool", config);
            assert_eq!(settings, again);
        }
        Err(errors) => {
            for error in errors.iter() {
                assert!(error.field().starts_with("tenant_pools.pool"), "{error}");
                assert!(!error.expected().is_empty());
                assert!(error.field().len() + error.value().len() < 10_000);
            }
        }
    }
});

fn check(config: &TenantConfig, ops: &str) {
    let json = serde_json::to_string(config).expect("settings are JSON");
    let again: TenantConfig = serde_json::from_str(&json).expect("what is written can be read");
    assert_eq!(*config, again);
    let toml = toml::to_string(config).expect("settings are TOML");
    let again: TenantConfig = toml::from_str(&toml).expect("what is written can be read");
    assert_eq!(*config, again);
    run(config.scheduler().clone(), ops);
}

fn run(config: SchedulerConfig, ops: &str) {
    let mut pool = Scheduler::new(config);
    let mut now = Tick::ZERO;
    let mut seats = Vec::new();
    let mut waiting = HashSet::new();
    let mut next = 0_u32;
    for op in ops.bytes().take(512) {
        let (what, which) = (op >> 6, op & 0x3f);
        match what {
            0 | 1 => {
                let ask = Ask::new(TenantId::new(which.into()), TierId::new(which % 9));
                match pool.admit(ask, next, now) {
                    Arrival::Granted { seat, .. } => seats.push(seat),
                    Arrival::Queued { evicted, .. } => {
                        waiting.insert(next);
                        if let Some(gone) = evicted {
                            assert!(waiting.remove(&gone.waiter), "it waited");
                        }
                    }
                    _ => {}
                }
                next += 1;
            }
            2 if !seats.is_empty() => {
                let seat = seats.swap_remove(usize::from(which) % seats.len());
                pool.release(seat, now);
            }
            3 if which == 0 => pool.resize(count(u32::from(op))),
            _ => now = now + Duration::from_millis(u64::from(which) * u64::from(which)),
        }
        while let Some(gone) = pool.handle_timeout(now) {
            assert!(waiting.remove(&gone.waiter), "it waited");
        }
        while let Some(granted) = pool.grant(now) {
            assert!(waiting.remove(&granted.waiter), "it waited");
            assert!(pool.in_flight() <= pool.seating().capacity());
            seats.push(granted.seat);
        }
        assert_eq!(pool.in_flight() as usize, seats.len());
        assert_eq!(pool.waiting() as usize, waiting.len());
    }
    // Nobody who waits is lost: as seats come back, each is granted one or has waited for too long.
    while let Some(seat) = seats.pop() {
        pool.release(seat, now);
        while let Some(gone) = pool.handle_timeout(now) {
            assert!(waiting.remove(&gone.waiter), "it waited");
        }
        while let Some(granted) = pool.grant(now) {
            assert!(waiting.remove(&granted.waiter), "it waited");
            seats.push(granted.seat);
        }
    }
    assert!(waiting.is_empty() && pool.in_flight() == 0);
}
