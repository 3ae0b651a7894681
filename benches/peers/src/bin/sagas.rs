//! Sagas a second: six steps that do nothing, here and elsewhere, with so many in flight.
//!
//! ```sh
//! # All rows, some four minutes. Rivals are features: `--features sagas,cano` builds one, `--features sagas` none.
//! cargo run --release --locked --no-default-features --features sagas-peers --bin sagas -- --markdown ../../docs/saga/speed.md
//! ... -- --only mainstay --flight 64         # rows whose name has that in it; one number in flight
//! ... -- --folder /var/lib --seconds 3 --rounds 5 --sync 10ms --json f.json
//! ```
//!
//! `--folder` is on the disk that is asked about. `--sync` is what every sync takes more in the last table, 4 ms if not
//! said and `0ms` for no such table. `--rounds 1 --seconds 0.2` shows within a minute that everything runs. Whatever the
//! rivals do, no measurement takes longer than twenty seconds, and after `--within` 255 seconds only what has not been
//! measured yet is. A disk that has become slow is waited for, `--patience` 60 seconds in all. It fails if one of our own
//! sagas does, or does a step twice.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line"
)]

#[path = "../sagas/mod.rs"]
mod sagas;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sagas::crew::{Cell, Crew, MARK};
use sagas::entrants::{self, Entrant, Kind};
use sagas::job::{Outcome, Place};
use sagas::measure::{self, Run};
use sagas::page::Report;
use sagas::server::Postgres;

const FLIGHTS: [usize; 3] = [1, 64, 256];

struct Options {
    folder: PathBuf,
    only: String,
    flights: Vec<usize>,
    seconds: f64,
    rounds: usize,
    within: Duration,
    patience: Duration,
    delay: Duration,
    markdown: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Options {
    fn read() -> Outcome<Self> {
        let mut options = Self {
            folder: std::env::temp_dir(),
            only: String::new(),
            flights: FLIGHTS.to_vec(),
            seconds: 1.0,
            rounds: 3,
            within: Duration::from_secs(255),
            patience: Duration::from_secs(60),
            delay: Duration::from_millis(4),
            markdown: None,
            json: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--folder" => options.folder = value.into(),
                "--only" => options.only = value,
                "--flight" => options.flights = vec![value.parse()?],
                "--seconds" => options.seconds = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                "--within" => options.within = Duration::from_secs(value.parse()?),
                "--patience" => options.patience = Duration::from_secs(value.parse()?),
                "--sync" => {
                    let millis = value
                        .strip_suffix("ms")
                        .ok_or("--sync needs a time, as 4ms")?;
                    options.delay = Duration::from_secs_f64(millis.parse::<f64>()? / 1_000.0);
                }
                "--markdown" => options.markdown = Some(value.into()),
                "--json" => options.json = Some(value.into()),
                other => return Err(format!("{other} is not known").into()),
            }
        }
        Ok(options)
    }

    /// The rows that are asked for, those with slow syncs at the end.
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        let all = entrants::all().into_iter();
        let wanted: Vec<Entrant> = all
            .filter(|entrant| entrant.id.contains(&self.only))
            .collect();
        for entrant in &wanted {
            for flight in self
                .flights
                .iter()
                .filter(|flight| **flight <= entrant.most)
            {
                cells.push(Cell::new(*entrant, *flight, false));
            }
        }
        let slow = |entrant: &&Entrant| {
            entrant.kind == Kind::File && entrant.durable && entrant.id != "mainstay-sqlite-alone"
        };
        for entrant in wanted.iter().filter(slow) {
            // With slow syncs a rival takes its time.
            let most = if entrant.ours() { usize::MAX } else { 64 };
            for flight in self.flights.iter().filter(|flight| **flight <= most) {
                if !self.delay.is_zero() {
                    cells.push(Cell::new(*entrant, *flight, true));
                }
            }
        }
        cells
    }
}

fn main() -> ExitCode {
    let child = std::env::args().any(|arg| arg == "--child");
    let done = if child { be_measured() } else { measure_all() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sagas: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all() -> Outcome<()> {
    let options = Options::read()?;
    let folder = options
        .folder
        .join(format!("mainstay-sagas-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut cells = options.cells();
    let mut postgres = Err("nobody needs it".to_owned());
    let mut crew = Crew {
        folder: folder.clone(),
        time: Duration::from_secs_f64(options.seconds),
        delay: options.delay,
        postgres: None,
        patience: options.patience,
        probes: Vec::new(),
        best: 0.0,
    };
    if cells.iter().any(|cell| cell.entrant.kind == Kind::Postgres) {
        match Postgres::start(&options.folder)? {
            Ok(server) => {
                postgres = Ok(server.version.clone());
                crew.postgres = Some(server);
            }
            Err(absent) => postgres = Err(absent.to_string()),
        }
    }
    let until = Instant::now() + options.within;
    for _round in 0..options.rounds {
        crew.round(&mut cells, until);
    }
    let probes = std::mem::take(&mut crew.probes);
    drop(crew);
    std::fs::remove_dir_all(&folder)?;

    let report = Report {
        cells,
        probes,
        time: options.seconds,
        rounds: options.rounds,
        delay: options.delay.as_secs_f64() * 1_000.0,
        postgres,
    };
    let page = report.markdown();
    println!("{page}");
    if let Some(file) = options.markdown {
        std::fs::write(file, page)?;
    }
    if let Some(file) = options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    match report.flaws() {
        flaws if flaws.is_empty() => Ok(()),
        flaws => Err(flaws.join("; ").into()),
    }
}

/// One measurement, in a process of its own that says one line.
fn be_measured() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    let needed = |name: &str| value(name).ok_or_else(|| format!("{name} is missing"));
    let id = needed("--child")?;
    let entrant = entrants::all()
        .into_iter()
        .find(|entrant| entrant.id == id)
        .ok_or("nobody of that name")?;
    let flight = needed("--flight")?.parse()?;
    let time = Duration::from_millis(needed("--millis")?.parse()?);
    let delay = Duration::from_micros(needed("--delay-micros")?.parse()?);
    let port: Option<u16> = value("--port").map(|port| port.parse()).transpose()?;
    let place = Place {
        folder: needed("--in")?.into(),
        postgres: port.zip(value("--database").cloned()),
        flight,
    };
    let prepare = args.iter().any(|arg| arg == "--prepare");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let run = runtime.block_on(async {
        let engine = (entrant.open)(place).await?;
        if prepare {
            return Ok(Run::default());
        }
        if !mainstay_peers_syncs::slow_down(delay) {
            return Err("syncs cannot be made slow here".into());
        }
        measure::measure(&engine, flight, time).await
    })?;
    println!("{MARK}{}", run.json());
    // Whoever does not come to rest by himself is not waited for: all that was acknowledged has been counted.
    std::process::exit(0);
}
