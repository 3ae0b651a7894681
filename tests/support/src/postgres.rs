//! A PostgreSQL server of the tests' own: in a temporary folder, on a free port, gone with the value.
//!
//! Nothing of the machine's is touched or needed but the binaries. They are looked for in `PATH` and where Debian puts
//! them; the newest wins.

#![expect(
    clippy::disallowed_methods,
    reason = "a server takes its time, and `PATH` is where programs are"
)]

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Why there is no server.
#[derive(Debug)]
pub enum Absent {
    /// The binaries are not installed.
    NotInstalled,
    /// They are, and the server does not start.
    Broken(String),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(
                "no PostgreSQL here: neither `initdb` in PATH nor in /usr/lib/postgresql/*/bin (Debian: apt-get install postgresql)",
            ),
            Self::Broken(why) => write!(f, "PostgreSQL does not start: {why}"),
        }
    }
}

impl std::error::Error for Absent {}

impl From<io::Error> for Absent {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A running server with one database, `postgres`, and one user, `postgres`, who needs no password.
#[derive(Debug)]
pub struct Server {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    account: Option<Account>,
    port: u16,
    settings: Vec<(String, String)>,
    running: Option<Child>,
}

/// An unprivileged user: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Server {
    /// Makes a cluster and starts its server with these settings.
    ///
    /// The server dies with the thread that called this, whatever becomes of the value: call it from one that lives as
    /// long as the tests do.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self, Absent> {
        Self::start_in(&std::env::temp_dir(), settings)
    }

    /// The same, with its cluster in a folder of its own within `folder`: on the disk that is meant.
    pub fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Result<Self, Absent> {
        let binaries = find().ok_or(Absent::NotInstalled)?;
        let account = account()?;
        let folder = tempfile::Builder::new()
            .prefix("mainstay-postgres-")
            .tempdir_in(folder)?;
        if let Some(account) = account {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            chown(folder.path(), Some(account.user), Some(account.group))?;
        }
        let mut server = Self {
            folder,
            binaries,
            account,
            port: free_port()?,
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            running: None,
        };
        let data = server.data();
        // Its own files need no sync: a crash of the machine takes the folder along.
        let made = server
            .command("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--username=postgres",
                "-D",
            ])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(Absent::Broken(
                String::from_utf8_lossy(&made.stderr).into_owned(),
            ));
        }
        server.run()?;
        Ok(server)
    }

    /// What a client needs to know to connect.
    #[must_use]
    pub fn address(&self) -> String {
        self.address_through(self.port)
    }

    /// The same, through something that listens on another port.
    #[must_use]
    pub fn address_through(&self, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=5")
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it in the middle of whatever it does (`pg_ctl stop -m immediate`). It recovers at the next start.
    pub fn crash(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.running.take() {
            signal(&child, "QUIT")?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<(), Absent> {
        self.crash()?;
        self.run()
    }

    fn run(&mut self) -> Result<(), Absent> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(["-c", "max_connections=200", "-c", "logging_collector=off"]);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let child = self.running.insert(child);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait()? {
                self.running = None;
                return Err(Absent::Broken(format!("{status}: {}", self.log())));
            }
            let mut ready = Command::new(self.binaries.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Absent::Broken(format!(
                    "not ready within a minute: {}",
                    self.log()
                )));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of PostgreSQL's programs, as a user that it accepts, to be killed when this thread ends.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(account) = self.account {
            command.arg(format!("--reuid={}", account.user));
            command.arg(format!("--regid={}", account.group));
            command.arg("--clear-groups");
        }
        command
            .arg(program)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is needed any more, so how it ends is all the same.
        drop(self.crash());
    }
}

fn signal(child: &Child, name: &str) -> io::Result<()> {
    Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .map(drop)
}

fn find() -> Option<PathBuf> {
    let has_all = |folder: &Path| {
        ["initdb", "postgres", "pg_isready"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let in_path =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    let version = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<u32>().ok())
    };
    debian.sort_by_key(version);
    let debian = debian.into_iter().rev().map(|folder| folder.join("bin"));
    in_path
        .into_iter()
        .flatten()
        .chain(debian)
        .find(|folder| has_all(folder))
}

/// `postgres` where there is one, else `nobody`, and nobody else where we are no root.
fn account() -> Result<Option<Account>, Absent> {
    let own = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&own.stdout).trim() != "0" {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let of = |name: &str| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let user = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Account { user, group })
    };
    let account = of("postgres").or_else(|| of("nobody"));
    account
        .map(Some)
        .ok_or_else(|| Absent::Broken("no unprivileged user in /etc/passwd".to_owned()))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
