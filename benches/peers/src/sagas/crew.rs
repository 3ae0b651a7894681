//! All rows in turn, each measurement in a process of its own.
//!
//! A process that hangs is ended and reported, and a library that leaves threads, files or memory behind disturbs nobody.
//! The rows take turns in rounds, so that what else the machine does hits all of them alike, and the best of a row's
//! rounds stands in the table: other work only ever adds. The disk is probed before and after each measurement that needs
//! it, and the better of the two stands beside it. Many disks of clouds make a number of quick syncs and then only slow
//! ones until they have rested: one that is much slower than it was is given some time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::entrants::{Entrant, Kind};
use super::job::Outcome;
use super::measure::Run;
use super::probe;
use super::server::Postgres;

/// What a process may take beyond the time that it is asked to measure for: a slow engine is given more of that, and its
/// sagas come to rest.
const PATIENCE: Duration = Duration::from_secs(18);
const PROBE: Duration = Duration::from_millis(40);
/// What a child's line begins with.
pub const MARK: &str = "RUN ";

/// A disk that makes less than this share of its best is given time to rest.
const TIRED: f64 = 0.6;
const REST: Duration = Duration::from_millis(500);

/// One measurement, with what the disk made just before and after: the better of the two.
#[derive(Clone, Debug)]
pub struct Measured {
    pub run: Run,
    /// Syncs a second, as slow as the row's where they are made slow.
    pub probe: f64,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    pub entrant: Entrant,
    pub flight: usize,
    /// With every sync made slow.
    pub slow: bool,
    pub runs: Vec<Measured>,
    /// Why there are not as many as rounds.
    pub failure: Option<String>,
}

impl Cell {
    pub fn new(entrant: Entrant, flight: usize, slow: bool) -> Self {
        Self {
            entrant,
            flight,
            slow,
            runs: Vec::new(),
            failure: None,
        }
    }

    pub fn best(&self) -> Option<&Measured> {
        let faster = |a: &&Measured, b: &&Measured| a.run.rate().total_cmp(&b.run.rate());
        self.runs.iter().max_by(faster)
    }

    /// What does not add up in any of its measurements.
    pub fn flaw(&self) -> Option<String> {
        let flaws = self.runs.iter().find_map(|measured| measured.run.flaw());
        self.failure.clone().or(flaws)
    }

    pub fn json(&self) -> Value {
        let runs = self.runs.iter().map(|measured| {
            let mut run = measured.run.json();
            run["probe"] = json!(measured.probe);
            run["rate"] = json!(measured.run.rate());
            run
        });
        json!({
            "entrant": self.entrant.id, "in_flight": self.flight, "slow": self.slow,
            "runs": runs.collect::<Vec<_>>(), "failure": self.failure,
        })
    }
}

pub struct Crew {
    pub folder: PathBuf,
    pub time: Duration,
    /// What a slow sync takes more.
    pub delay: Duration,
    pub postgres: Option<Postgres>,
    /// How long may still be waited for the disk.
    pub patience: Duration,
    /// All probes, and the best of them.
    pub probes: Vec<f64>,
    pub best: f64,
}

impl Crew {
    /// Every cell once; after the first round only until the time is over.
    pub fn round(&mut self, cells: &mut [Cell], until: Instant) {
        for cell in cells {
            // Whoever hung is not waited for again.
            let over = Instant::now() > until && !cell.runs.is_empty();
            if cell.failure.is_some() || over {
                continue;
            }
            match self.measure(cell.entrant, cell.flight, cell.slow) {
                Ok(measured) => {
                    let rate = measured.run.rate();
                    let flaw = measured.run.flaw().unwrap_or_default();
                    eprintln!(
                        "{:40} {:>4} {rate:>9.0} {flaw}",
                        cell.entrant.id, cell.flight
                    );
                    cell.runs.push(measured);
                }
                Err(error) => {
                    eprintln!("{:40} {:>4} {error}", cell.entrant.id, cell.flight);
                    cell.failure = Some(error.to_string());
                }
            }
        }
    }

    fn probe(&mut self) -> Outcome<f64> {
        let probe = probe::syncs_a_second(&self.folder, PROBE)?;
        self.probes.push(probe);
        self.best = self.best.max(probe);
        Ok(probe)
    }

    /// Waits until the disk is itself again, or for as long as there is patience; what it makes then.
    fn rested(&mut self) -> Outcome<f64> {
        loop {
            let probe = self.probe()?;
            if probe >= TIRED * self.best || self.patience < REST {
                return Ok(probe);
            }
            self.patience -= REST;
            std::thread::sleep(REST);
        }
    }

    fn measure(&mut self, entrant: Entrant, flight: usize, slow: bool) -> Outcome<Measured> {
        let folder = self.folder.join("row");
        fs::create_dir_all(&folder)?;
        let before = match entrant.kind {
            Kind::Memory => 0.0,
            Kind::File | Kind::Postgres => self.rested()?,
        };
        let measured = match (entrant.kind, self.postgres.as_mut()) {
            (Kind::Postgres, None) => Err("no PostgreSQL server".into()),
            (Kind::Postgres, Some(postgres)) => {
                let port = postgres.port();
                let name = postgres.database()?;
                let mut args = self.args(entrant, flight, slow, &folder);
                args.extend(["--port".into(), port.to_string().into()]);
                args.extend(["--database".into(), name.clone().into()]);
                self.with_server(&name, &args, &folder)
            }
            _ => {
                let args = self.args(entrant, flight, slow, &folder);
                finish(&args, &folder, self.time + PATIENCE)
            }
        };
        fs::remove_dir_all(&folder)?;
        let after = match entrant.kind {
            Kind::Memory => 0.0,
            Kind::File | Kind::Postgres => self.probe()?,
        };
        let probe = match slow {
            true => 1.0 / (1.0 / before.max(after) + self.delay.as_secs_f64()),
            false => before.max(after),
        };
        Ok(Measured {
            run: measured?,
            probe,
        })
    }

    /// The tables are made first and by a process that ends, so that their syncs are not the sagas'.
    fn with_server(&self, name: &str, args: &[OsString], folder: &Path) -> Outcome<Run> {
        let postgres = self.postgres.as_ref().ok_or("no PostgreSQL server")?;
        let mut prepare = args.to_vec();
        prepare.push("--prepare".into());
        finish(&prepare, folder, PATIENCE)?;
        let before = postgres.syncs()?;
        let run = finish(args, folder, self.time + PATIENCE);
        let syncs = postgres.syncs()? - before;
        postgres.drop_database(name)?;
        let mut run = run?;
        run.syncs = Some(syncs);
        run.synced = run.completed + run.warmed;
        Ok(run)
    }

    fn args(&self, entrant: Entrant, flight: usize, slow: bool, folder: &Path) -> Vec<OsString> {
        let delay = if slow { self.delay } else { Duration::ZERO };
        vec![
            "--child".into(),
            entrant.id.into(),
            "--flight".into(),
            flight.to_string().into(),
            "--millis".into(),
            self.time.as_millis().to_string().into(),
            "--delay-micros".into(),
            delay.as_micros().to_string().into(),
            "--in".into(),
            folder.into(),
        ]
    }
}

/// Runs a child to its end, or to the end of what it may take, and reads its line.
fn finish(args: &[OsString], folder: &Path, limit: Duration) -> Outcome<Run> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    let (said, complained) = (folder.join("said"), folder.join("complained"));
    command.stdin(Stdio::null());
    command.stdout(File::create(&said)?);
    command.stderr(File::create(&complained)?);
    let mut child = command.spawn()?;
    let until = Instant::now() + limit;
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(format!("hung: ended after {} s", limit.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = String::from_utf8_lossy(&fs::read(said)?).into_owned();
    let line = said.lines().rev().find_map(|line| line.strip_prefix(MARK));
    let Some(line) = line else {
        let complained = String::from_utf8_lossy(&fs::read(complained)?).into_owned();
        let last = complained.lines().last().unwrap_or("said nothing");
        return Err(format!("{status}: {last}").into());
    };
    Run::read(line)
}
