//! What each tenant gets when there is not enough: mainstay's scheduler beside FIFO, strict priority, tower's limit with
//! load shed and fair queuing as Kubernetes does it, in virtual time.
//!
//! ```sh
//! cargo bench --bench fairness                                    # every scenario, 5 seeds
//! cargo bench --bench fairness -- --scenario C,L --seeds 20
//! cargo bench --bench fairness -- --scenario custom --service pareto:1.5:0.1 --capacity step:64@0,8@20 --seed 7
//! cargo bench --bench fairness -- --markdown docs/fairness.md     # the page and its pictures
//! cargo bench --bench fairness -- --quick                         # mainstay alone: fails if a line is missed
//! cargo bench --bench fairness -- --help
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a program: it reads the command line, has no users, and counts in floats what fits them"
)]

#[path = "fairness/mod.rs"]
mod fairness;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fairness::args::{self, Options};
use fairness::measure::Measured;
use fairness::policies::{self, Entrant};
use fairness::report::{Row, Table};
use fairness::{page, plot, sim};

fn main() -> ExitCode {
    let options = match args::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    if options.help {
        print!("{}", args::USAGE);
        return ExitCode::SUCCESS;
    }
    if options.list {
        for run in &options.runs {
            println!("{:10} {}", run.id, run.title);
        }
        return ExitCode::SUCCESS;
    }
    let wanted = |entrant: &&Entrant| {
        if options.policies.is_empty() {
            !options.quick || entrant.name == "mainstay"
        } else {
            options.policies.iter().any(|name| name == entrant.name)
        }
    };
    let entrants: Vec<&Entrant> = policies::ALL.iter().filter(wanted).collect();
    let (first, last) = (options.first_seed, options.first_seed + options.seeds - 1);
    println!("seeds {first} to {last}");
    let start = Instant::now();
    let tables = play(&options, &entrants);
    let elapsed = start.elapsed().as_secs_f64();
    for table in &tables {
        print!("{}", table.terminal());
    }
    let measured = || {
        tables
            .iter()
            .flat_map(|table| &table.rows)
            .flat_map(|row| &row.seeds)
    };
    let events: u64 = measured().map(|run| run.events).sum();
    println!(
        "\n{:.1} million events in {elapsed:.1} s",
        events as f64 / 1e6
    );
    let missed: Vec<String> = tables
        .iter()
        .flat_map(|table| table.missed("mainstay"))
        .collect();
    println!("mainstay: {} lines missed", missed.len());
    for line in &missed {
        println!("  {line}");
    }
    if let Some(file) = &options.markdown
        && let Err(error) = write(file, tables, &entrants, &options)
    {
        eprintln!("--markdown: got `{file}`, expected a file that can be written ({error})");
        return ExitCode::FAILURE;
    }
    if options.quick && !missed.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Every run under every policy with every seed, on as many threads as there are cores; what comes out does not depend on
/// how many.
fn play(options: &Options, entrants: &[&Entrant]) -> Vec<Table> {
    let mut jobs = Vec::new();
    for run in 0..options.runs.len() {
        for entrant in 0..entrants.len() {
            let seeds = options.first_seed..options.first_seed + options.seeds;
            jobs.extend(seeds.map(|seed| (run, entrant, seed)));
        }
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                while let Some((run, entrant, seed)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let measured = sim::play(&options.runs[*run], entrants[*entrant], *seed);
                    let mut done = done.lock().expect("a run that panics ends the bench");
                    done.push((*run, *entrant, *seed, measured));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("a run that panics ends the bench");
    done.sort_by_key(|(run, entrant, seed, _)| (*run, *entrant, *seed));
    let mut done = done.into_iter().map(|(.., measured)| measured);
    let mut take = || -> Vec<Measured> { done.by_ref().take(options.seeds as usize).collect() };
    options
        .runs
        .iter()
        .map(|run| Table {
            run: run.clone(),
            rows: entrants
                .iter()
                .map(|entrant| Row {
                    policy: entrant.name,
                    seeds: take(),
                })
                .collect(),
        })
        .collect()
}

fn write(
    file: &str,
    tables: Vec<Table>,
    entrants: &[&Entrant],
    options: &Options,
) -> std::io::Result<()> {
    let file = Path::new(file);
    let folder = file.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let name = folder
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut shown = Vec::new();
    for table in tables {
        let mut pictures = Vec::new();
        for (picture, what, svg) in plot::all(&table) {
            std::fs::write(folder.join(&picture), svg)?;
            pictures.push((format!("{name}/{picture}"), what));
        }
        shown.push((table, pictures));
    }
    let page = page::page(&shown, entrants, options.first_seed, options.seeds);
    std::fs::write(file, page)
}
