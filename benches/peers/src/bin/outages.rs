//! What becomes of calls while the callee fails: mainstay's defaults beside other crates and an oracle.
//!
//! ```sh
//! cargo run --release --bin outages                                  # all, 20 seeds, in virtual time
//! cargo run --release --bin outages -- --scenario S5 --entrant mainstay --seeds 5
//! cargo run --release --bin outages -- --real                        # with those who read std's clock: 5 seeds, half scale
//! cargo run --release --bin outages -- --all --json f.json --markdown ../../docs/outages.md   # both, and the page
//! cargo run --release --no-default-features --bin outages -- --quick # mainstay alone: fails if a line is not passed
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "drives clients in virtual and in real time, from the command line"
)]

#[path = "../outages/mod.rs"]
mod outages;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use outages::drive::{self, Clock};
use outages::entrants::{self, Entrant};
use outages::measure::{self, Measured};
use outages::page;
use outages::plot;
use outages::report::{Report, Row, Table};
use outages::scenario::{self, Scenario};

/// In real time a thread is a run; more at once would be late because of each other.
const AT_ONCE_IN_REAL_TIME: usize = 25;

#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    scenarios: Vec<String>,
    entrants: Vec<String>,
    quick: bool,
    /// In virtual time, in real time.
    modes: Vec<Clock>,
    json: Option<String>,
    markdown: Option<String>,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--seeds" => {
                    let seeds = value()?;
                    let seeds: u64 = seeds
                        .parse()
                        .map_err(|_| format!("--seeds takes a number, not {seeds}"))?;
                    options.seeds = Some(seeds.max(1));
                }
                "--scenario" => options.scenarios.push(value()?),
                "--entrant" => options.entrants.push(value()?),
                "--quick" => options.quick = true,
                "--real" => options.modes = vec![Clock::Real],
                "--all" => options.modes = vec![Clock::Paused, Clock::Real],
                "--json" => options.json = Some(value()?),
                "--markdown" => options.markdown = Some(value()?),
                _ => return Err(format!("what is {arg}? See the head of outages.rs")),
            }
        }
        if options.modes.is_empty() {
            options.modes.push(Clock::Paused);
        }
        if options.quick {
            options.entrants.push("mainstay".to_owned());
        }
        Ok(options)
    }

    /// By its id or the id's beginning: `S1` is both kinds of total outage, and not S10.
    fn wants_scenario(&self, scenario: &Scenario) -> bool {
        let is = |wanted: &String| {
            let rest = scenario.id.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self.scenarios.is_empty() || self.scenarios.iter().any(is)
    }

    fn wants_entrant(&self, entrant: &dyn Entrant, clock: Clock) -> bool {
        let fits = match clock {
            Clock::Paused => !entrant.needs_real_time(),
            Clock::Real => entrant.needs_real_time() || entrant.name() == "mainstay",
        };
        fits && (self.entrants.is_empty()
            || self.entrants.iter().any(|name| name == entrant.name()))
    }
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::FAILURE;
        }
    };
    let reports: Vec<_> = options
        .modes
        .iter()
        .map(|clock| report(&options, *clock))
        .collect();
    for report in &reports {
        println!("{}", report.terminal());
    }
    if let Err(error) = write(&options, &reports) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let failures: Vec<_> = reports
        .iter()
        .flat_map(|report| report.failures("mainstay"))
        .collect();
    println!("mainstay: {} lines not passed", failures.len());
    for failure in &failures {
        println!("  {failure}");
    }
    if options.quick && !failures.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write(options: &Options, reports: &[Report]) -> std::io::Result<()> {
    if let Some(file) = &options.json {
        let all: Vec<_> = reports.iter().map(Report::json).collect();
        std::fs::write(file, serde_json::to_string_pretty(&all)?)?;
    }
    if let Some(file) = &options.markdown {
        let file = Path::new(file);
        let pictures = file.with_extension("");
        std::fs::create_dir_all(&pictures)?;
        for report in reports.iter().filter(|report| report.mode == page::VIRTUAL) {
            for table in &report.tables {
                std::fs::write(pictures.join(plot::file(&table.scenario)), plot::svg(table))?;
            }
        }
        let folder = pictures
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        std::fs::write(file, page::page(reports, &entrants::all(), &folder))?;
    }
    Ok(())
}

/// Runs every wanted scenario with every wanted entrant and seed.
fn report(options: &Options, clock: Clock) -> Report {
    let seeds = options.seeds.unwrap_or(match clock {
        Clock::Real => 5,
        Clock::Paused if options.quick => 5,
        Clock::Paused => 20,
    });
    let entrants = entrants::all();
    let entrants: Vec<_> = entrants
        .iter()
        .filter(|entrant| options.wants_entrant(entrant.as_ref(), clock))
        .collect();
    let scenarios: Vec<_> = scenario::all()
        .into_iter()
        .filter(|scenario| options.wants_scenario(scenario))
        .map(|scenario| {
            if clock == Clock::Real {
                scenario.at_half_scale()
            } else {
                scenario
            }
        })
        .collect();
    let mut jobs = Vec::new();
    for (s, scenario) in scenarios.iter().enumerate() {
        // A run with little load costs next to nothing, and one seed of it says little.
        let cheap = options.quick && scenario.peak() <= 100.0;
        let seeds = if cheap { seeds.max(20) } else { seeds };
        for e in 0..entrants.len() {
            jobs.extend((1..=seeds).map(|seed| (s, e, seed)));
        }
    }
    let threads = match clock {
        Clock::Paused => std::thread::available_parallelism().map_or(2, usize::from),
        Clock::Real => AT_ONCE_IN_REAL_TIME,
    };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                while let Some((s, e, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = drive::run(&scenarios[*s], entrants[*e].as_ref(), *seed, clock);
                    let measured = measure::measure(&scenarios[*s], &run);
                    let mut done = done
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((*s, *e, *seed, measured));
                    if done.len() % 50 == 0 {
                        eprintln!("{} of {} runs", done.len(), jobs.len());
                    }
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(s, e, seed, _)| (*s, *e, *seed));
    let runs = |s: usize, e: usize| -> Vec<Measured> {
        done.iter()
            .filter(|run| (run.0, run.1) == (s, e))
            .map(|run| run.3.clone())
            .collect()
    };
    let tables = scenarios.iter().enumerate().map(|(s, scenario)| Table {
        scenario: scenario.clone(),
        rows: entrants
            .iter()
            .enumerate()
            .map(|(e, entrant)| Row {
                entrant: entrant.name(),
                runs: runs(s, e),
            })
            .collect(),
    });
    Report {
        mode: if clock == Clock::Real {
            page::REAL
        } else {
            page::VIRTUAL
        },
        tables: tables.collect(),
    }
}
