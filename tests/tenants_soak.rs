//! A soak of the admission of tenants: calls of many tenants that are cancelled, panic, hang past their time and come back,
//! while tiers, quotas and the capacity change. At the end no seat is in use and the memory is at its bound.
//!
//! 100,000 calls in virtual time; `MAINSTAY_SOAK=10000000` makes it ten million. `MAINSTAY_SEED=7` repeats a run. Then as many
//! on four threads, where nothing sleeps and a seed repeats what is asked for, but not in which order.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test panics to fail, and waits on the paused clock"
)]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use mainstay::error::{AsRejected, Reason};
use mainstay::limit::rate::Rate;
use mainstay::num::{Period, Ratio, count};
use mainstay::rng::Rng;
use mainstay::scope::Scope;
use mainstay::tenant::scheduler::{SchedulerConfig, Seating};
use mainstay::tenant::tier::{Tier, TierId, Tiers, Weight};
use mainstay::tenant::{Caller, RankBy, Tenant, TenantConfig, TenantLayer, TenantPool};
use tower::{BoxError, Layer, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;

const TENANTS: u64 = 3_000;
const KNOWN: u32 = 256;
const TIERS: [&str; 3] = ["enterprise", "mid-market", "smb"];

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|given| given.parse().ok())
        .unwrap_or(default)
}

/// Chance, shared by all that runs on the one thread.
#[derive(Clone)]
struct Chance(Rc<RefCell<Rng>>);

impl Chance {
    fn below(&self, n: u64) -> u64 {
        self.0.borrow_mut().next_u64() % n
    }
}

fn config(mut below: impl FnMut(u64) -> u64) -> TenantConfig {
    let tiers = TIERS.map(|name| {
        let reserved = below(20) as u8;
        let held = below(u64::from(reserved) + 1) as u8;
        Tier::new(name)
            .weight(Weight::of(1 + below(9) as u16))
            .reserved(Ratio::percent(reserved))
            .held(Ratio::percent(held))
            .limit(Ratio::percent(40 + below(60) as u8))
            .tenant_share(Ratio::percent(5 + below(95) as u8))
            .tenant_queue(1 + below(20) as u32)
            .queue(10 + below(100) as u32)
            .shed(below(3) as u8)
            .patience(Period::millis(1 + below(300) as u32))
    });
    let capacity = count(1 + below(48) as u32);
    let scheduler = SchedulerConfig::new(capacity, Tiers::new(tiers).unwrap())
        .queue(150)
        .tenants(count(KNOWN));
    let config = TenantConfig::of(scheduler);
    if below(2) == 0 {
        return config;
    }
    let per_second = 1 + below(1_000) as u32;
    config
        .quota("smb", Rate::burst(per_second, Period::secs(1)))
        .unwrap()
}

struct Call {
    tenant: Option<Tenant>,
    /// What becomes of it.
    fate: u64,
    takes: Duration,
}

fn of(call: &Call) -> Caller<'_> {
    call.tenant.as_ref().into()
}

#[derive(Default)]
struct Ends {
    answered: Cell<u64>,
    refused: Cell<u64>,
    cancelled: Cell<u64>,
    panicked: Cell<u64>,
}

fn one_more(n: &Cell<u64>) {
    n.set(n.get() + 1);
}

/// Panics that were asked for are nothing to print.
fn hush() {
    std::panic::set_hook(Box::new(|info| {
        let told = info.payload().downcast_ref::<&str>();
        if told.is_none_or(|told| *told != "told to") {
            eprintln!("{info}");
        }
    }));
}

#[tokio::test(start_paused = true)]
async fn a_soak_ends_with_every_seat_free() {
    let (seed, calls) = (number("MAINSTAY_SEED", 7), number("MAINSTAY_SOAK", 100_000));
    println!("MAINSTAY_SEED={seed} MAINSTAY_SOAK={calls}");
    hush();
    let chance = Chance(Rc::new(RefCell::new(Rng::new(seed))));
    let pool = TenantPool::new("soak", config(|n| chance.below(n))).unwrap();
    let handle = pool.handle();
    let running = Rc::new(Cell::new(0_u32));
    let work = Rc::clone(&running);
    struct Runs(Rc<Cell<u32>>);
    impl Drop for Runs {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let inner = service_fn(move |call: Call| {
        if call.fate == 1 {
            std::panic::panic_any("told to");
        }
        work.set(work.get() + 1);
        let runs = Runs(Rc::clone(&work));
        async move {
            let _runs = runs;
            tokio::time::sleep(call.takes).await;
            if call.fate == 2 {
                std::panic::panic_any("told to");
            }
            Ok::<_, BoxError>(())
        }
    });
    let service = TenantLayer::by(&pool, of).layer(inner);
    let ends = Rc::new(Ends::default());
    let local = tokio::task::LocalSet::new();
    // Somebody looks meanwhile.
    local.spawn_local(handle.clone().drive());
    let mut live = [0_i64; 2];
    let mut done = 0;
    while done < calls {
        let batch = 1_000.min(calls - done);
        local
            .run_until(async {
                let mut tasks = Vec::with_capacity(batch as usize);
                for _ in 0..batch {
                    if chance.below(10) < 4 {
                        tokio::time::sleep(Duration::from_micros(chance.below(4_000))).await;
                    }
                    match chance.below(400) {
                        0 => handle.reload(config(|n| chance.below(n))).unwrap(),
                        1 => handle.resize(count(1 + chance.below(64) as u32)),
                        _ => {}
                    }
                    let (service, ends, chance) =
                        (service.clone(), Rc::clone(&ends), chance.clone());
                    tasks.push(tokio::task::spawn_local(async move {
                        one_call(service, &ends, &chance).await;
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .await;
        done += batch;
        assert_eq!(running.get(), 0);
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0), "{handle:?}");
        assert!(handle.tenants() <= KNOWN as usize && handle.scheduled_tenants() <= KNOWN as usize);
        if done == calls / 2 / 1_000 * 1_000 {
            live[0] = mainstay_test_support::live_bytes();
        }
    }
    live[1] = mainstay_test_support::live_bytes();
    let Ends {
        answered,
        refused,
        cancelled,
        panicked,
    } = &*ends;
    let all = [answered, refused, cancelled, panicked].map(Cell::get);
    let left = (handle.in_flight(), handle.waiting());
    println!("answered, refused, cancelled, panicked: {all:?}");
    println!(
        "seats in use and calls waiting at the end: {left:?}; bytes half-way and at the end: {live:?}"
    );
    assert_eq!(all.iter().sum::<u64>(), calls);
    assert!(
        all.iter().all(|n| *n > calls / 500),
        "each of them happened"
    );
    assert_eq!(handle.top(RankBy::InFlight, 1), []);
    // The memory is at its bound: it does not grow with the calls.
    assert!(live[1] - live[0] < 200_000, "{live:?}");
    // As new: the next call finds a seat at once.
    handle.resize(count(4));
    let call = Call {
        tenant: Some(Tenant::new("last", "enterprise")),
        fate: 0,
        takes: Duration::ZERO,
    };
    service.oneshot(call).await.unwrap();
}

async fn one_call<S>(service: S, ends: &Ends, chance: &Chance)
where
    S: tower::Service<Call, Response = (), Error = BoxError>,
{
    let tenant = (chance.below(50) > 0).then(|| {
        // One in three is of the same few.
        let many = if chance.below(3) == 0 { 5 } else { TENANTS };
        let tenant = chance.below(many);
        Tenant::new(tenant, TIERS[(tenant % 3) as usize])
    });
    let call = Call {
        tenant,
        fate: chance.below(60),
        takes: Duration::from_micros(chance.below(40_000)),
    };
    let scope = match chance.below(3) {
        0 => {
            let left = Duration::from_micros(chance.below(200_000));
            Scope::current().until(mainstay::rt::now() + left)
        }
        _ => Scope::current(),
    };
    let patience = match chance.below(4) {
        0 => Duration::from_micros(chance.below(60_000)),
        _ => Duration::from_secs(3_600),
    };
    let call = std::panic::AssertUnwindSafe(async {
        let call = mainstay::scope::Scoped::new(scope, || service.oneshot(call));
        unless(call, tokio::time::sleep(patience)).await
    });
    match futures::FutureExt::catch_unwind(call).await {
        Err(_) => one_more(&ends.panicked),
        Ok(None) => one_more(&ends.cancelled),
        Ok(Some(Ok(()))) => one_more(&ends.answered),
        Ok(Some(Err(error))) => {
            let rejected = error.as_rejected().unwrap();
            let has_hint = rejected.hint().is_some_and(|after| !after.is_zero());
            assert!(has_hint || rejected.reason() == Reason::DeadlineExceeded);
            one_more(&ends.refused);
        }
    }
}

/// Lets others have their turn so often.
async fn yields(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// What `call` comes to, or nothing if it is dropped before; also where it has just been granted its seat and was not asked
/// yet.
async fn unless<T>(call: impl Future<Output = T>, dropped: impl Future) -> Option<T> {
    let (mut call, mut dropped) = (pin!(call), pin!(dropped));
    poll_fn(|cx| {
        if dropped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        call.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Threads take, wait for, give up and give back seats at once, while others change their number.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_soak_on_threads_ends_with_every_seat_free() {
    const CALLERS: u64 = 16;
    let (seed, calls) = (number("MAINSTAY_SEED", 7), number("MAINSTAY_SOAK", 100_000));
    println!("MAINSTAY_SEED={seed} MAINSTAY_SOAK={calls}");
    hush();
    let mut rng = Rng::new(seed);
    let pool = TenantPool::new("threads", config(|n| rng.next_u64() % n)).unwrap();
    let inner = service_fn(|call: Call| async move {
        yields(call.takes.as_nanos() as u64).await;
        if call.fate == 2 {
            std::panic::panic_any("told to");
        }
        Ok::<_, BoxError>(())
    });
    let service = TenantLayer::by(&pool, of).layer(inner);
    let ends = Arc::new([const { AtomicU64::new(0) }; 4]);
    let caller = |mut rng: Rng| {
        let (service, ends) = (service.clone(), Arc::clone(&ends));
        async move {
            for _ in 0..calls / CALLERS {
                let mut below = |n: u64| rng.next_u64() % n;
                let tenant = if below(3) == 0 {
                    below(3)
                } else {
                    below(TENANTS)
                };
                let call = Call {
                    tenant: (below(50) > 0)
                        .then(|| Tenant::new(tenant, TIERS[(tenant % 3) as usize])),
                    fate: below(60),
                    takes: Duration::from_nanos(below(4)),
                };
                let patience = (below(4) == 0).then(|| below(6));
                let dropped = async {
                    match patience {
                        Some(patience) => yields(patience).await,
                        // Woken by nobody but who has a seat for it.
                        None => std::future::pending().await,
                    }
                };
                let call = unless(service.clone().oneshot(call), dropped);
                let call = std::panic::AssertUnwindSafe(call);
                let end = match futures::FutureExt::catch_unwind(call).await {
                    Ok(Some(Ok(()))) => 0,
                    Ok(Some(Err(error))) => {
                        assert!(error.as_rejected().is_some(), "{error}");
                        1
                    }
                    Ok(None) => 2,
                    Err(_) => 3,
                };
                ends[end].fetch_add(1, Relaxed);
            }
        }
    };
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(caller(rng.fork())))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn({
        let (handle, over) = (pool.handle(), Arc::clone(&over));
        async move {
            while !over.load(Relaxed) {
                let mut below = |n: u64| rng.next_u64() % n;
                match below(3) {
                    0 => handle.resize(count(1 + below(64) as u32)),
                    1 => drop(handle.tiers()),
                    _ => handle.reload(config(below)).unwrap(),
                }
                yields(20).await;
            }
        }
    });
    for caller in callers {
        caller.await.unwrap();
    }
    over.store(true, Relaxed);
    changes.await.unwrap();
    let all = [0, 1, 2, 3].map(|end| ends[end].load(Relaxed));
    let handle = pool.handle();
    let left = (handle.in_flight(), handle.waiting());
    println!("answered, refused, cancelled, panicked: {all:?}");
    println!("seats in use and calls waiting at the end: {left:?}");
    assert_eq!(left, (0, 0), "{handle:?}");
    assert_eq!(handle.top(RankBy::InFlight, 1), []);
    assert_eq!(handle.top(RankBy::Waiting, 1), []);
    assert_eq!(all.iter().sum::<u64>(), calls / CALLERS * CALLERS);
    assert!(
        all.iter().all(|n| *n > calls / 1_000),
        "each of them happened"
    );
    assert!(handle.tenants() <= KNOWN as usize && handle.scheduled_tenants() <= KNOWN as usize);
}

/// The calls of these who run.
#[derive(Default)]
struct Running {
    all: AtomicU32,
    tiers: [AtomicU32; 3],
    tenants: [AtomicU32; 9],
}

/// A call that runs, among those of its tier and its tenant.
struct Runs(Arc<Running>, usize);

impl Runs {
    fn count(running: &Arc<Running>, tenant: usize, seating: &Seating, most: &Seen) -> Self {
        let add = |n: &AtomicU32, most: u32, seen: &AtomicU32, what: &str| {
            let now = n.fetch_add(1, SeqCst) + 1;
            seen.fetch_max(now, Relaxed);
            assert!(now <= most, "{now} of {what} {tenant}, {most} may be");
        };
        let tier = TierId::new((tenant % 3) as u8);
        add(&running.all, seating.capacity(), &most[0], "all with");
        let in_tier = &running.tiers[tenant % 3];
        add(in_tier, seating.limit(tier), &most[1], "the tier of");
        let own = &running.tenants[tenant];
        add(own, seating.tenant_limit(tier), &most[2], "tenant");
        // Of those who have no seats held for them.
        let rest: u32 = running.tiers[1..].iter().map(|n| n.load(SeqCst)).sum();
        let held = seating.held(TierId::new(0));
        assert!(
            tenant.is_multiple_of(3) || rest <= seating.capacity() - held,
            "{rest}"
        );
        Self(Arc::clone(running), tenant)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let Self(running, tenant) = self;
        for n in [
            &running.tenants[*tenant],
            &running.tiers[*tenant % 3],
            &running.all,
        ] {
            n.fetch_sub(1, SeqCst);
        }
    }
}

/// The most at a time: of all, of a tier, of a tenant.
type Seen = [AtomicU32; 3];

/// The same on threads, by rules that stay, which are looked at all the while: no more calls run than may, of all, of a tier
/// and of a tenant, whatever seats stay with threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_soak_on_threads_keeps_to_its_rules_all_the_while() {
    const CALLERS: u64 = 12;
    let (seed, calls) = (number("MAINSTAY_SEED", 7), number("MAINSTAY_SOAK", 100_000));
    println!("MAINSTAY_SEED={seed} MAINSTAY_SOAK={calls}");
    let mut rng = Rng::new(seed);
    let tier = |name, limit| {
        let tier = Tier::new(name).limit(Ratio::percent(limit));
        tier.tenant_share(Ratio::percent(50)).reserved(Ratio::ZERO)
    };
    let quarter = Ratio::percent(25);
    let best = tier(TIERS[0], 100).reserved(quarter).held(quarter);
    let tiers = Tiers::new([best, tier(TIERS[1], 50), tier(TIERS[2], 25)]).unwrap();
    let capacity = count(12);
    let seating = Seating::new(&tiers, capacity);
    let pool = TenantPool::new("rules", TenantConfig::new(capacity, tiers)).unwrap();
    let (running, most) = (Arc::new(Running::default()), Arc::new(Seen::default()));
    let inner = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        service_fn(move |call: Call| {
            let runs = Runs::count(&running, call.fate as usize, &seating, &most);
            async move {
                yields(call.takes.as_nanos() as u64).await;
                drop(runs);
                Ok::<_, BoxError>(())
            }
        })
    };
    let service = TenantLayer::by(&pool, of).layer(inner);
    let caller = |mut rng: Rng| {
        let service = service.clone();
        async move {
            let mut answered = 0_u64;
            for _ in 0..calls / CALLERS {
                let mut below = |n: u64| rng.next_u64() % n;
                let tenant = below(9);
                let call = Call {
                    tenant: Some(Tenant::new(tenant, TIERS[(tenant % 3) as usize])),
                    fate: tenant,
                    takes: Duration::from_nanos(below(3)),
                };
                let patience = (below(8) == 0).then(|| below(4));
                let dropped = async {
                    match patience {
                        Some(patience) => yields(patience).await,
                        None => std::future::pending().await,
                    }
                };
                if let Some(Ok(())) = unless(service.clone().oneshot(call), dropped).await {
                    answered += 1;
                }
                yields(below(4)).await;
            }
            answered
        }
    };
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(caller(rng.fork())))
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    let handle = pool.handle();
    let most = most.each_ref().map(|seen| seen.load(Relaxed));
    let waited: u64 = handle.tiers().iter().map(|tier| tier.waited).sum();
    println!("answered: {answered}; waited: {waited}; at most of all, a tier, a tenant: {most:?}");
    assert!(answered > calls / 2 && waited > calls / 1_000);
    assert!(most[0] > 6 && most[1] > 2 && most[2] > 1, "{most:?}");
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0), "{handle:?}");
    let Running {
        all,
        tiers,
        tenants,
    } = &*running;
    assert!(
        [all]
            .into_iter()
            .chain(tiers)
            .chain(tenants)
            .all(|n| n.load(SeqCst) == 0)
    );
}
