//! The backends: separate processes of this same binary, on free ports of the loopback interface.
//!
//! A backend ends when its parent ends, however that ends: it holds the reading end of a pipe to which nobody ever
//! writes, and which the system closes with the parent. A backend that ends first is started again on its old port, so
//! that clients keep their addresses.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay::num::Period;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::Failed;
use crate::args::ServeArgs;
use crate::faults::{Faults, Level};
use crate::store::Lock;
use crate::{assistant, ledger, notification};

/// The hidden subcommand that runs a backend.
pub(crate) const SERVE: &str = "serve";

/// How long a backend may take until it listens, and how long a new one waits for the files of an old one.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a backend works on one request whose caller names no time.
pub(crate) const LONGEST: Period = Period::secs(5);

/// One of the three services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Assistant,
    Ledger,
    Notification,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Assistant, Self::Ledger, Self::Notification];

    fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Ledger => "ledger",
            Self::Notification => "notification",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|service| service.as_str() == text);
        found.ok_or_else(|| "assistant, ledger or notification".to_owned())
    }
}

// === the child's side ===

/// Runs one backend until the parent ends.
pub(crate) async fn serve(args: ServeArgs) -> Result<(), Failed> {
    end_with_parent();
    let file = |name: &str| args.state.join(name);
    // A backend of a killed run may live for a moment yet; two must not answer for the same books.
    let lock = file(&format!("{}.lock", args.service));
    let Some(_lock) = Lock::acquire(&lock, PATIENCE)? else {
        return Err(format!("{} is held by another process", lock.display()).into());
    };
    let listener = listen(args.port).await?;
    println!("{}", listener.local_addr()?.port());
    let faults = Faults::new(args.faults, args.seed);
    match args.service {
        Service::Assistant => assistant::serve(listener, faults).await,
        Service::Ledger => ledger::server::serve(listener, &file("ledger.sqlite"), faults).await,
        Service::Notification => {
            notification::serve(listener, &file("notices.sqlite"), faults).await
        }
    }
}

/// Ends this process when its standard input does.
fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written to the pipe: the copy returns when its other end is closed.
        let _ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// Listens on `port`, or on a free one where it is 0. An old port may be in use for a moment.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    let started = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Err(_) if port != 0 && started.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            result => return result,
        }
    }
}

// === the parent's side ===

/// A running backend. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    service: Service,
    port: u16,
    kill: Arc<Notify>,
    restarts: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Backend {
    /// Starts a backend and waits until it listens.
    pub(crate) async fn start(
        service: Service,
        state: &Path,
        faults: Level,
        seed: u64,
    ) -> Result<Self, Failed> {
        let spawn = Spawn {
            service,
            state: state.to_owned(),
            faults,
            seed,
        };
        let (process, port) = spawn.run(0).await?;
        let (stop, stopped) = oneshot::channel();
        let (kill, restarts) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let keeper = tokio::spawn(keep(
            spawn,
            process,
            port,
            Arc::clone(&kill),
            Arc::clone(&restarts),
            stopped,
        ));
        Ok(Self {
            service,
            port,
            kill,
            restarts,
            stop,
            keeper,
        })
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Kills the process as `kill -9` does. It is started again.
    pub(crate) fn kill(&self) {
        self.kill.notify_one();
    }

    /// Ends the process and waits until it has.
    pub(crate) async fn stop(self) {
        // Where the keeper has ended already, so has the process.
        if self.stop.send(()).is_ok() {
            let _joined = self.keeper.await;
        }
    }
}

/// Keeps a backend running until it is told to stop.
async fn keep(
    spawn: Spawn,
    mut process: Process,
    port: u16,
    kill: Arc<Notify>,
    restarts: Arc<AtomicU64>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            _ = process.child.wait() => {}
            () = kill.notified() => {
                let _killed = process.child.kill().await;
            }
            _ = &mut stopped => {
                drop(process.lifeline);
                let _ended = process.child.wait().await;
                return;
            }
        }
        // Long enough that clients notice, as they would with a real supervisor.
        tokio::time::sleep(Duration::from_millis(100)).await;
        loop {
            match spawn.run(port).await {
                Ok((again, _)) => {
                    process = again;
                    break;
                }
                Err(error) => {
                    eprintln!("the {} does not start: {error}", spawn.service);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        restarts.fetch_add(1, Ordering::Relaxed);
    }
}

/// A process that ends when its lifeline is dropped.
struct Process {
    child: Child,
    /// Kept apart, because waiting for a child closes its standard input.
    lifeline: ChildStdin,
}

/// How to start one backend.
struct Spawn {
    service: Service,
    state: PathBuf,
    faults: Level,
    seed: u64,
}

impl Spawn {
    /// Starts the process and waits until it says where it listens.
    async fn run(&self, port: u16) -> Result<(Process, u16), Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .arg(self.service.as_str())
            .arg("--state")
            .arg(&self.state)
            .args(["--port", &port.to_string()])
            .args(["--faults", &self.faults.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(lifeline), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without its pipes".into());
        };
        let mut line = String::new();
        tokio::time::timeout(PATIENCE * 2, BufReader::new(stdout).read_line(&mut line)).await??;
        let port = line
            .trim()
            .parse()
            .map_err(|_| format!("the {} ended before it listened", self.service))?;
        if let Some(process) = child.id() {
            eprintln!("the {} is process {process}", self.service);
        }
        Ok((Process { child, lifeline }, port))
    }
}
