//! The example's binary, its runs and their processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

/// Builds the example as this test was built, and says where it is.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        // target / profile / deps / test
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let name = match profile.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--example",
                "pay_invoices",
                "--profile",
                name,
                "--target-dir",
            ])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "the example does not build");
        profile
            .join("examples")
            .join(format!("pay_invoices{}", std::env::consts::EXE_SUFFIX))
    });
    &PROGRAM
}

/// A folder with an input and the states of runs over it.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) input: PathBuf,
    pub(crate) invoices: u64,
}

impl Scene {
    pub(crate) fn new(input: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("invoices.csv");
        fs::write(&path, input).unwrap();
        let invoices = input.lines().count() as u64 - 1;
        Self {
            folder,
            input: path,
            invoices,
        }
    }

    pub(crate) fn run(&self, state: &str, flags: &[&str]) -> Run {
        Run {
            input: self.input.clone(),
            state: self.folder.path().join(state),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }
}

/// One command line.
pub(crate) struct Run {
    pub(crate) input: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) flags: Vec<String>,
}

impl Run {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .arg(&self.input)
            .arg("--state")
            .arg(&self.state)
            .args(&self.flags);
        command
            .arg("--report")
            .arg(self.report_file())
            // Runs that want a database name it.
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn report_file(&self) -> PathBuf {
        self.state.with_extension("report.json")
    }

    /// Runs it to its end.
    pub(crate) fn output(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) fn report(&self) -> Value {
        let output = self.output();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        self.last_report()
    }

    pub(crate) fn last_report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.report_file()).unwrap()).unwrap()
    }

    pub(crate) fn start(&self) -> Started {
        let mut child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (
            BufReader::new(child.stderr.take().unwrap()).lines(),
            Arc::clone(&said),
        );
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push(line))
        });
        Started { child, said }
    }

    pub(crate) fn open(&self, file: &str) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(self.state.join(file), flags).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// Sagas that somebody must carry on.
    pub(crate) fn unfinished(&self) -> i64 {
        if !self.state.join("journal.sqlite").exists() {
            return 0;
        }
        let count = "SELECT count(*) FROM log WHERE status = 'running'";
        self.open("journal.sqlite")
            .query_row(count, [], |row| row.get(0))
            .unwrap_or(0)
    }

    /// Sagas that have ended or wait for an operator.
    pub(crate) fn at_rest(&self) -> i64 {
        let count = "SELECT count(*) FROM log WHERE status <> 'running'";
        self.open("journal.sqlite")
            .query_row(count, [], |row| row.get(0))
            .unwrap()
    }

    /// Every row of the books, without the order in which they came. All columns are compared: keys and ids are made
    /// of the invoice and the step.
    pub(crate) fn books(&self) -> Vec<String> {
        let ledger = self.open("ledger.sqlite");
        let mut rows = Vec::new();
        for query in [
            "SELECT 'payment', invoice_no, tenant, amount_minor, currency, state, idempotency_key FROM payment",
            "SELECT 'entry', id, invoice_no, tenant, account, debit_minor, credit_minor, currency, reverses,
             idempotency_key FROM entry",
            "SELECT 'invoice', tenant, invoice_no, status FROM invoice WHERE status = 'paid'",
        ] {
            let mut statement = ledger.prepare(query).unwrap();
            let columns = statement.column_count();
            let all = statement.query_map([], |row| {
                Ok((0..columns).map(|n| format!("{:?} ", row.get_ref(n).unwrap())).collect::<String>())
            });
            rows.extend(all.unwrap().map(Result::unwrap));
        }
        rows.sort();
        rows
    }
}

/// A run that is under way. What it says on standard error is collected.
pub(crate) struct Started {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Started {
    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.said.lock().unwrap())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until something was said, or the run has ended.
    pub(crate) fn until_said(&mut self, what: &str) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if self
                .said
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(what))
            {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nobody said {what:?}");
    }

    /// The processes that serve this run, by service, as it said; the last said counts.
    pub(crate) fn backends(&self) -> BTreeMap<String, u32> {
        let said = self.said.lock().unwrap();
        let backends = said.iter().filter_map(|line| {
            let (service, process) = line.strip_prefix("the ")?.split_once(" is process ")?;
            Some((service.to_owned(), process.parse().ok()?))
        });
        backends.collect()
    }
}

pub(crate) fn is_alive(process: u32) -> bool {
    if cfg!(target_os = "linux") {
        // What has ended stays as a zombie until somebody asks how; an orphan's new parent may never ask.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        return stat
            .rsplit_once(") ")
            .is_some_and(|(_, state)| !state.starts_with('Z'));
    }
    Command::new("kill")
        .args(["-0", &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

pub(crate) fn kill_process(process: u32) {
    // It may have ended by itself.
    let _status = Command::new("kill")
        .args(["-9", &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}
