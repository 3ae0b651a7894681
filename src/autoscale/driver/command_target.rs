use std::ffi::OsString;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, Command};
use tower::BoxError;

use super::Target;
use crate::num::Period;
use crate::rt;
use crate::time::Tick;

/// What stands for the count in an argument.
const PLACE: &str = "{replicas}";
/// How much of each of the two outputs an error keeps: its end, where programs say what is wrong.
const KEPT: usize = 4 * 1024;
/// So often is an output read at once: what a pipe usually holds, and less than a task may do in one turn.
const TURN: usize = 16;
/// What a program wrote before it ended is there at once. What it started may hold its outputs open for longer, which is
/// not waited for past the timeout.
const GRACE: Period = Period::millis(100);
/// A killed program is gone at once, unless the system hangs.
const DYING: Period = Period::secs(1);

/// A target that is scaled by a program.
///
/// The program is started without a shell: each argument is one, whatever is in it. It has succeeded when it ends with
/// status zero. It reads nothing, and of what it writes the end is kept for the error of a failure. To run it twice with the
/// same count must do no harm, as for every [`Target`].
///
/// A program that takes longer than its [timeout](Self::timeout) is killed, and so is one whose call is dropped, as the
/// driver does after its own patience. What that program has started in turn is not: let it `exec` instead, or end its
/// children by itself.
///
/// What may hold a secret, which is the arguments, the variables and what the program writes, is neither in its `Debug` nor
/// in what its errors show.
///
/// # Panics
///
/// Outside a tokio runtime with its I/O and its timer enabled, when it is applied.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::driver::CommandTarget;
/// use mainstay::num::Period;
///
/// let target = CommandTarget::new("kubectl")
///     .arguments(["scale", "deployment/llm", "--replicas={replicas}"])
///     .variable("KUBECONFIG", "/etc/scaler/kubeconfig")
///     .timeout(Period::secs(4));
/// assert_eq!(format!("{target:?}"), r#"CommandTarget { program: "kubectl", arguments: 3, .. }"#);
/// ```
#[derive(Clone)]
pub struct CommandTarget {
    program: OsString,
    arguments: Vec<String>,
    variables: Vec<(OsString, OsString)>,
    inherits: bool,
    directory: Option<PathBuf>,
    timeout: Period,
}

impl CommandTarget {
    /// The program of this name, which is looked for in `PATH`, or at this path.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            inherits: true,
            directory: None,
            timeout: Period::secs(4),
        }
    }

    /// One more argument. In it `{replicas}` stands for the count, as often as it does.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments, each as by [`argument`](Self::argument).
    #[must_use]
    pub fn arguments(self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        arguments.into_iter().fold(self, Self::argument)
    }

    /// A variable of its environment, beside those of this process.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Of its environment only the [variables](Self::variable) that were given. Defaults to those of this process as well.
    /// Where the program has no path, it is looked for in the `PATH` among them.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.inherits = false;
        self
    }

    /// The directory that it runs in. Defaults to that of this process.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long it may take. Defaults to 4 s: less than the driver's patience, so that its error is the program's.
    #[must_use]
    pub const fn timeout(mut self, timeout: Period) -> Self {
        self.timeout = timeout;
        self
    }

    fn command(&self, replicas: u32) -> Command {
        let count = replicas.to_string();
        let mut command = Command::new(&self.program);
        command.args(
            self.arguments
                .iter()
                .map(|text| text.replace(PLACE, &count)),
        );
        if !self.inherits {
            command.env_clear();
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, replicas: u32) -> Result<(), CommandError> {
        let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
        let until = rt::now() + self.timeout.get();
        let why = match self.command(replicas).spawn() {
            Err(error) => Why::NotStarted(error.kind()),
            Ok(mut child) => match ended(&mut child, until, &mut stdout, &mut stderr).await {
                Some(Ok(status)) if status.success() => return Ok(()),
                Some(Ok(status)) => Why::Ended(status),
                Some(Err(error)) => Why::Lost(error.kind()),
                None => {
                    // Should it be gone already, that is as well.
                    drop(child.start_kill());
                    drop(by(rt::now() + DYING.get(), child.wait()).await);
                    Why::TimedOut(self.timeout)
                }
            },
        };
        Err(CommandError {
            why,
            stdout: stdout.bytes,
            stderr: stderr.bytes,
        })
    }
}

impl fmt::Debug for CommandTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandTarget")
            .field("program", &self.program)
            .field("arguments", &self.arguments.len())
            .finish_non_exhaustive()
    }
}

/// The program runs on until it ends, is out of time, or the call is dropped, which kills it.
impl Target for CommandTarget {
    async fn apply(&mut self, replicas: u32) -> Result<(), BoxError> {
        Ok(self.run(replicas).await?)
    }
}

/// Why a [`CommandTarget`] failed: the source of what [`Applied::Failed`](super::Applied::Failed) has.
///
/// What the program wrote may hold secrets; it is kept here for whoever asks, and shown by neither `Display` nor `Debug`.
pub struct CommandError {
    why: Why,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Debug)]
enum Why {
    Ended(ExitStatus),
    Lost(io::ErrorKind),
    NotStarted(io::ErrorKind),
    TimedOut(Period),
}

impl CommandError {
    /// How the program ended, if it did by itself.
    #[must_use]
    pub const fn status(&self) -> Option<ExitStatus> {
        match self.why {
            Why::Ended(status) => Some(status),
            Why::Lost(_) | Why::NotStarted(_) | Why::TimedOut(_) => None,
        }
    }

    /// Whether it took too long and was killed.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self.why, Why::TimedOut(_))
    }

    /// The end of what it wrote to its output: 4 KiB at most.
    #[must_use]
    pub fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// The end of what it wrote to its error output: 4 KiB at most.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Ended(status) => write!(f, "the command ended with {status}"),
            Why::Lost(kind) => write!(f, "how the command ended cannot be told: {kind}"),
            Why::NotStarted(kind) => write!(f, "the command could not be started: {kind}"),
            Why::TimedOut(time) => {
                write!(
                    f,
                    "the command did not end in {:?} and was killed",
                    time.get()
                )
            }
        }
    }
}

impl fmt::Debug for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandError")
            .field("why", &self.why)
            .field("stdout", &self.stdout.len())
            .field("stderr", &self.stderr.len())
            .finish()
    }
}

impl std::error::Error for CommandError {}

/// What `future` gives, unless it takes longer than until then.
async fn by<T>(until: Tick, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut over) = (pin!(future), pin!(rt::sleep_until(until)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// How the program ends, if it does until then; what it writes meanwhile is taken away, or it would wait for somebody to
/// read it.
async fn ended(
    child: &mut Child,
    until: Tick,
    stdout: &mut Tail,
    stderr: &mut Tail,
) -> Option<io::Result<ExitStatus>> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (pin!(stdout.drain(out)), pin!(stderr.drain(err)));
    let (mut out_over, mut err_over) = (false, false);
    let mut written = pin!(poll_fn(move |cx| {
        out_over = out_over || out.as_mut().poll(cx).is_ready();
        err_over = err_over || err.as_mut().poll(cx).is_ready();
        if out_over && err_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    let mut all_written = false;
    let (mut exit, mut over) = (pin!(child.wait()), pin!(rt::sleep_until(until)));
    // The end first: a task may do so much in one turn, and of what is written there may always be more.
    let status = poll_fn(|cx| {
        if let Poll::Ready(status) = exit.as_mut().poll(cx) {
            return Poll::Ready(Some(status));
        }
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        all_written = all_written || written.as_mut().poll(cx).is_ready();
        Poll::Pending
    })
    .await?;
    if !all_written {
        by(until.min(rt::now() + GRACE.get()), written).await;
    }
    Some(status)
}

/// The end of what somebody writes.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    async fn drain(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else {
            return;
        };
        let mut chunk = vec![0; KEPT];
        loop {
            for _ in 0..TURN {
                let mut read = ReadBuf::new(&mut chunk);
                let more = poll_fn(|cx| Pin::new(&mut pipe).poll_read(cx, &mut read)).await;
                if more.is_err() || read.filled().is_empty() {
                    return;
                }
                self.push(read.filled());
            }
            // Others of this task, the driver's patience among them, have their turn as well.
            tokio::task::yield_now().await;
        }
    }

    /// Adds at the end, and takes away from the front what is too much.
    fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        let too_many = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..too_many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a task may do in one turn is left for its timers.
    #[tokio::test]
    async fn an_output_without_end_leaves_others_their_turn() {
        let (mut out, mut err) = (Tail::default(), Tail::default());
        {
            let mut out = pin!(out.drain(Some(tokio::io::repeat(b'x'))));
            let mut err = pin!(err.drain(Some(tokio::io::repeat(b'y'))));
            for _ in 0..20 {
                poll_fn(|cx| {
                    assert!(out.as_mut().poll(cx).is_pending());
                    assert!(err.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                assert!(tokio::task::coop::has_budget_remaining());
                tokio::task::yield_now().await;
            }
        }
        assert_eq!((out.bytes, err.bytes), (vec![b'x'; KEPT], vec![b'y'; KEPT]));
    }
}
