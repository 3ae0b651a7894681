//! The server dies while sagas run, and comes back: the engines go on by themselves, nothing is lost or done twice, and
//! while no lease can be renewed no effect is begun.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
use mainstay::num::Period;
use mainstay::retry::Backoff;
use mainstay::rng::Rng;
use mainstay::saga::{Cx, Ended, Saga, Sagas, Step, StepError};
use mainstay_test_support::postgres::Server;
use tokio_postgres::NoTls;

use super::fixture::{Fixture, pool, seed};
use super::instance::{LEASE, PATIENCE};
use super::suite::Suite;

const SAGAS: u32 = 200;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("outage::engines_outlive_the_server", killed_server);
}

/// A receiver that applies a key once, and is not to be reached while the server is away: so that effects are tried
/// again and again, if anybody lets them.
#[derive(Default)]
struct World {
    away: AtomicBool,
    begun: Mutex<Vec<Instant>>,
    keys: Mutex<BTreeSet<String>>,
    done: Mutex<BTreeMap<u32, Vec<String>>>,
}

type C = Cx<Arc<World>, u32>;

async fn effect(cx: C, (): ()) -> Result<(), StepError> {
    let world = cx.app();
    world.begun.lock().unwrap().push(Instant::now());
    tokio::time::sleep(Duration::from_millis(5)).await;
    if world.away.load(Ordering::SeqCst) {
        return Err(StepError::retry("not to be reached"));
    }
    let key = cx.idempotency_key().to_owned();
    if world.keys.lock().unwrap().insert(key) {
        let mut done = world.done.lock().unwrap();
        let of_saga = done.entry(*cx.input()).or_default();
        of_saga.push(cx.step().to_owned());
    }
    Ok(())
}

fn saga() -> Saga<Arc<World>, u32, ()> {
    let backoff = || Backoff::exponential(Duration::from_millis(20), Duration::from_millis(60));
    let step = || Step::new(effect).until_done().backoff(backoff());
    Saga::builder("transfer")
        .pivot("a", step())
        .then("b", step())
        .then("c", step())
        .build()
        .unwrap()
}

enum Order {
    Crash,
    Restart,
}

async fn killed_server(_: Fixture) {
    // A server of its own. It dies with its thread, so it gets one.
    let (orders, inbox) = std::sync::mpsc::channel();
    let (told, mut done) = tokio::sync::mpsc::unbounded_channel();
    let server = std::thread::spawn(move || {
        let mut server = Server::start(&[]).unwrap();
        told.send(server.address()).unwrap();
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Crash => server.crash().unwrap(),
                Order::Restart => server.restart().unwrap(),
            }
            told.send(server.address()).unwrap();
        }
    });
    let address: tokio_postgres::Config = done.recv().await.unwrap().parse().unwrap();
    let config = PostgresConfig::new().patience(PATIENCE);
    PostgresJournal::migrate(&pool(address.clone()), &config)
        .await
        .unwrap();
    let (world, saga) = (Arc::new(World::default()), saga());
    let mut engines = Vec::new();
    for number in 0..3 {
        let journal = PostgresJournal::open(pool(address.clone()), config.clone())
            .await
            .unwrap()
            .listen(address.clone(), NoTls);
        let engine = Sagas::builder(Arc::new(journal), Arc::clone(&world))
            .register(&saga)
            .name(format!("engine {number}"))
            .lease(LEASE)
            .poll(Period::millis(100))
            .start()
            .await
            .unwrap();
        engines.push(engine);
    }
    let ends: Vec<_> = (0..SAGAS)
        .map(|n| {
            let (sagas, saga) = (engines[n as usize % 3].clone(), saga.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(n) * 30)).await;
                let handle = loop {
                    match sagas.start(&saga, n.to_string(), n).await {
                        Ok(handle) => break handle,
                        Err(error) => println!("saga {n}: {error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                };
                handle.ended().await
            })
        })
        .collect();
    let mut rng = Rng::new(seed());
    let (mut outages, mut last_beats) = (Vec::new(), 0);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300 + rng.next_u64() % 700)).await;
        world.away.store(true, Ordering::SeqCst);
        // Some sagas are in front of an effect now.
        tokio::time::sleep(Duration::from_millis(60)).await;
        orders.send(Order::Crash).unwrap();
        done.recv().await.unwrap();
        let died = Instant::now();
        tokio::time::sleep(LEASE.get() + Duration::from_millis(rng.next_u64() % 1_500)).await;
        outages.push((died, Instant::now()));
        world.away.store(false, Ordering::SeqCst);
        orders.send(Order::Restart).unwrap();
        done.recv().await.unwrap();
    }
    for (n, end) in (0..).zip(ends) {
        let end = tokio::time::timeout(Duration::from_secs(60), end).await;
        let end = end.unwrap_or_else(|_| panic!("saga {n} does not end"));
        assert_eq!(end.unwrap().unwrap(), Ended::Completed(()), "saga {n}");
    }
    let begun = world.begun.lock().unwrap().clone();
    for (died, restarted) in outages {
        // The last beat was answered before the server died, and allows effects for two thirds of a lease.
        let allowed = died + LEASE.get() * 2 / 3;
        let within =
            |from: Instant, to: Instant| begun.iter().filter(|at| **at > from && **at < to).count();
        let late = within(allowed + Duration::from_millis(50), restarted);
        last_beats += within(died, allowed);
        assert_eq!(late, 0, "effects were begun without a lease");
    }
    println!(
        "{} effects begun, {last_beats} of them without a server on the last beat",
        begun.len()
    );
    assert!(
        last_beats > 20,
        "nobody was in front of an effect: {last_beats}"
    );
    let done_all = world.done.lock().unwrap().clone();
    assert_eq!(done_all.len(), SAGAS as usize);
    for (n, steps) in done_all {
        assert_eq!(steps, &["a", "b", "c"], "saga {n}");
    }
    for engine in engines {
        engine.shutdown(Duration::from_secs(5)).await;
    }
    drop(orders);
    server.join().unwrap();
}
