//! How rows are measured: in turns, in short slices, on threads of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_test_support::allocations;
use tokio::runtime::{Builder, Runtime};

use super::row::{Group, Row, Run, Who};
use crate::BoxResult;

pub struct Effort {
    /// How often each row has its turn.
    rounds: usize,
    /// How long a turn takes, about: short enough that most are not interrupted.
    slice: Duration,
}

impl Effort {
    pub const FULL: Self = Self {
        rounds: 201,
        slice: Duration::from_micros(400),
    };
    pub const QUICK: Self = Self {
        rounds: 3,
        slice: Duration::from_micros(50),
    };
}

/// A group with its figures.
pub struct Measured {
    pub title: &'static str,
    pub bare: Figures,
    pub rows: Vec<(Figures, Who, &'static str)>,
}

pub struct Figures {
    pub name: &'static str,
    /// Nanoseconds a call on one thread, and on each of two.
    pub nanos: [f64; 2],
    /// Of one call.
    pub allocations: f64,
}

/// Calls that fill what is to be full and open what is to be open, before anything is measured.
const WARM_UP: u32 = 2_000;

pub fn measure(group: Group, effort: &Effort) -> BoxResult<Measured> {
    let rows: Vec<&Row> = std::iter::once(&group.bare).chain(&group.rows).collect();
    let (alone, allocations) = on_threads(&rows, 1, effort)?;
    let (together, _) = on_threads(&rows, 2, effort)?;
    let mut figures = rows
        .iter()
        .zip(alone.into_iter().zip(together))
        .zip(allocations)
        .map(|((row, (alone, together)), allocations)| Figures {
            name: row.name,
            nanos: [alone, together],
            allocations,
        });
    let bare = figures.next().ok_or("a group has a bare row")?;
    let rows = figures
        .zip(&group.rows)
        .map(|(figures, row)| (figures, row.who, row.remark))
        .collect();
    Ok(Measured {
        title: group.title,
        bare,
        rows,
    })
}

/// Of each row: nanoseconds a call in each of its slices, and the allocations of a call.
type Slices = (Vec<Vec<f64>>, Vec<f64>);

/// Nanoseconds a call of each row, and its allocations on the first thread.
fn on_threads(rows: &[&Row], threads: usize, effort: &Effort) -> BoxResult<(Vec<f64>, Vec<f64>)> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let gate = Gate::new(threads);
    let found: Vec<BoxResult<Slices>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (gate, core) = (&gate, cores.get(number).copied());
                scope.spawn(move || {
                    if let Some(core) = core {
                        core_affinity::set_for_current(core);
                    }
                    work(rows, gate, effort)
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|end| end.unwrap_or_else(|_| Err("a row panicked".into())))
            .collect()
    });
    let found: Vec<_> = found.into_iter().collect::<BoxResult<_>>()?;
    let allocations = found.first().map(|(_, count)| count.clone());
    let medians = (0..rows.len()).map(|row| {
        let mut rounds: Vec<f64> = (0..effort.rounds)
            .map(|round| {
                let each = found.iter().map(|(slices, _)| slices[row][round]);
                each.sum::<f64>() / found.len() as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    });
    Ok((medians.collect(), allocations.unwrap_or_default()))
}

/// One thread: its slices of every row, in nanoseconds a call.
fn work(rows: &[&Row], gate: &Gate, effort: &Effort) -> BoxResult<Slices> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let mut runs: Vec<Run> = rows.iter().map(|row| (row.make)()).collect();
    let mut calls = Vec::new();
    let mut counts = Vec::new();
    for run in &mut runs {
        gate.pass();
        run(&runtime, WARM_UP);
        let (count, ()) = allocations(|| run(&runtime, WARM_UP));
        counts.push(count as f64 / f64::from(WARM_UP));
        let nanos = slice(&runtime, run, WARM_UP);
        let fit = effort.slice.as_secs_f64() * 1e9 / nanos.max(1.0);
        calls.push(fit.clamp(50.0, 100_000.0) as u32);
    }
    let mut slices = vec![Vec::with_capacity(effort.rounds); runs.len()];
    for _ in 0..effort.rounds {
        for ((run, calls), slices) in runs.iter_mut().zip(&calls).zip(&mut slices) {
            gate.pass();
            slices.push(slice(&runtime, run, *calls));
        }
    }
    Ok((slices, counts))
}

fn slice(runtime: &Runtime, run: &mut Run, calls: u32) -> f64 {
    let start = Instant::now();
    run(runtime, calls);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// Where the threads wait for one another, so that they run the same row at the same time.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    const fn new(threads: usize) -> Self {
        Self {
            threads,
            arrived: AtomicUsize::new(0),
        }
    }

    fn pass(&self) {
        let turn = self.arrived.fetch_add(1, Ordering::AcqRel) / self.threads;
        let mut spins = 0_u32;
        while self.arrived.load(Ordering::Acquire) / self.threads <= turn {
            spins += 1;
            // Somebody else may need the core for the other thread to come.
            if spins.is_multiple_of(4_096) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}
