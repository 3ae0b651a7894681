//! One run: a scenario, an entrant, a seed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay::rng::Rng;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tokio::time::Instant;

use super::callee::{Ask, Backend, Callee, Micros, SECOND, Seen};
use super::entrants::{Client, End, Entrant, Terms};
use super::scenario::{ATTEMPTS, Scenario};

/// One request, from its caller's side.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub id: u32,
    pub at: Micros,
    pub took: Micros,
    pub end: End,
    /// The caller was going to leave.
    pub leaves: bool,
}

/// The states of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

#[derive(Clone, Debug)]
pub struct Change {
    pub at: Micros,
    pub policy: String,
    pub to: State,
}

/// Where circuits say that they changed.
#[derive(Clone, Debug)]
pub struct Watch {
    changes: Arc<Mutex<Vec<Change>>>,
    start: Instant,
}

impl Watch {
    pub fn note(&self, policy: &str, to: State) {
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Change {
                at: self.start.elapsed().as_micros() as Micros,
                policy: policy.to_owned(),
                to,
            });
    }
}

/// All that a run left behind.
#[derive(Debug)]
pub struct Run {
    pub has_circuit: bool,
    pub offered: u32,
    pub records: Vec<Record>,
    pub changes: Vec<Change>,
    pub leaked: usize,
    pub seen: Seen,
    /// How late an answer may be before it is called late: the resolution of the timers, in real time a busy machine.
    pub grace: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Paused,
    Real,
}

/// Runs to the end.
pub fn run(scenario: &Scenario, entrant: &dyn Entrant, seed: u64, clock: Clock) -> Run {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(clock == Clock::Paused);
    let runtime = builder
        .build()
        .expect("a current-thread runtime needs no resources");
    let watch = Watch {
        changes: Arc::default(),
        start: runtime.block_on(async { Instant::now() }),
    };
    metrics::with_local_recorder(&Transitions(watch.clone()), || {
        let mut run = runtime.block_on(drive(scenario, entrant, seed, &watch));
        run.changes =
            std::mem::take(&mut watch.changes.lock().unwrap_or_else(PoisonError::into_inner));
        if clock == Clock::Real {
            run.grace = 50_000;
        }
        run
    })
}

async fn drive(scenario: &Scenario, entrant: &dyn Entrant, seed: u64, watch: &Watch) -> Run {
    let callee = Callee::new(
        seed,
        scenario.model,
        scenario.episodes.clone(),
        scenario.cold,
        scenario.hints && scenario.hops == 1,
    );
    let clients: Vec<Vec<Arc<dyn Client>>> = (0..scenario.clients)
        .map(|number| chain(scenario, entrant, &callee, number, watch))
        .collect();
    let records = Arc::new(Mutex::new(Vec::new()));
    // Not of the callee's stream: who calls and when must not depend on what becomes of it.
    let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let peak = scenario.peak();
    let (mut at, mut id) = (0, 0);
    loop {
        at += (-(1.0 - rng.unit()).ln() / peak * SECOND as f64) as Micros;
        if at >= scenario.end {
            break;
        }
        if rng.unit() * peak >= scenario.rate(at) {
            continue;
        }
        let luck = (rng.unit(), rng.unit(), rng.unit());
        if callee.now() < at {
            tokio::time::sleep_until(callee.at(at)).await;
        }
        let client = (luck.0 * f64::from(scenario.clients)) as u16;
        let patience = scenario
            .drops
            .filter(|drops| (drops.from..drops.to).contains(&at) && luck.1 < drops.share)
            .map(|drops| Duration::from_micros((luck.2 * drops.within as f64) as Micros));
        if let Some(first) = clients[usize::from(client)].last() {
            let call = first.call(Ask { id, client });
            let (records, start) = (Arc::clone(&records), Instant::now());
            tokio::spawn(async move {
                let end = match patience {
                    None => call.await,
                    Some(patience) => tokio::time::timeout(patience, call)
                        .await
                        .unwrap_or(End::Dropped),
                };
                let record = Record {
                    id,
                    at,
                    took: start.elapsed().as_micros() as Micros,
                    end,
                    leaves: patience.is_some(),
                };
                records
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(record);
            });
        }
        id += 1;
    }
    // Long enough for every call that ends at all.
    tokio::time::sleep(scenario.deadline * 3).await;
    let records = std::mem::take(&mut *records.lock().unwrap_or_else(PoisonError::into_inner));
    Run {
        has_circuit: entrant.has_circuit(),
        offered: id,
        records,
        changes: Vec::new(),
        leaked: clients.iter().flatten().map(|client| client.leaked()).sum(),
        seen: callee.seen(),
        grace: 2_000,
    }
}

/// The client that is called, last, and those behind it.
fn chain(
    scenario: &Scenario,
    entrant: &dyn Entrant,
    callee: &Callee,
    number: u16,
    watch: &Watch,
) -> Vec<Arc<dyn Client>> {
    let mut clients: Vec<Arc<dyn Client>> = Vec::new();
    for hop in 0..scenario.hops {
        let backend = match clients.last() {
            None => Backend::Callee(callee.clone()),
            Some(next) => Backend::Hop(Arc::clone(next)),
        };
        let terms = Terms {
            name: format!("{number}.{hop}"),
            deadline: scenario.deadline,
            attempt_timeout: scenario.attempt_timeout,
            attempts: ATTEMPTS,
            hints: scenario.hints,
            watch: watch.clone(),
        };
        clients.push(entrant.client(backend, &terms));
    }
    clients
}

/// Hears of changes of circuits as an operator would: through mainstay's metrics.
struct Transitions(Watch);

struct OnChange {
    watch: Watch,
    policy: String,
    to: State,
}

impl CounterFn for OnChange {
    fn increment(&self, _: u64) {
        self.watch.note(&self.policy, self.to);
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Transitions {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != "mainstay_breaker_transitions_total" {
            return Counter::noop();
        }
        let label = |name| {
            key.labels()
                .find(|label| label.key() == name)
                .map_or("", |label| label.value())
        };
        let to = match label("to") {
            "open" => State::Open,
            "half_open" => State::HalfOpen,
            _ => State::Closed,
        };
        Counter::from_arc(Arc::new(OnChange {
            watch: self.0.clone(),
            policy: label("policy").to_owned(),
            to,
        }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
