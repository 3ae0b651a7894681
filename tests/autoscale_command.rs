//! A program as the target of an autoscaler: real programs, which are started, watched and killed.

#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    reason = "starts real programs and waits for them"
)]
#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay::autoscale::driver::{Applied, CommandError, CommandTarget, Driver, Metrics, Target};
use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
use mainstay::autoscale::{Amount, Bounds, Fleet, Reading, Sample, Signal};
use mainstay::num::Period;
use mainstay::time::Timestamp;
use tower::BoxError;

/// Generous, for machines that are busy.
const LONG: Period = Period::secs(60);

fn shell(script: &str) -> CommandTarget {
    let target = CommandTarget::new("/bin/sh").timeout(LONG);
    target.arguments(["-c", script, "sh"])
}

async fn failed(mut target: CommandTarget) -> CommandError {
    let error = target.apply(7).await.unwrap_err();
    *error.downcast::<CommandError>().unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Until it holds, or the test has waited for long.
async fn until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG.get(), "it never held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether there is a process of this number that is no corpse. Ours are children of this process.
fn lives(pid: &str) -> bool {
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "kill -0 \"$1\" 2>/dev/null", "sh", pid.trim()])
        .status();
    status.unwrap().success()
}

#[tokio::test]
async fn the_count_takes_its_place_and_no_shell_reads_the_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let (told, other) = (file(&folder, "told"), file(&folder, "other"));
    let script = "out=$1; shift; printf '%s\\n' \"$#\" \"$@\" \"$KEY\" \"$PWD\" > \"$out\"";
    let odd = format!("; touch {} $(exit 1)", other.display());
    let mut target = shell(script)
        .argument(told.display().to_string())
        .argument("{replicas}")
        .argument("--count={replicas}/{replicas}")
        .argument(&odd)
        .variable("KEY", "value")
        .directory(folder.path());
    target.apply(12).await.unwrap();
    let here = folder.path().canonicalize().unwrap();
    let expected = format!("3\n12\n--count=12/12\n{odd}\nvalue\n{}\n", here.display());
    assert_eq!(read(&told), expected);
    assert!(!other.exists());
    // Again, with another count.
    target.apply(u32::MAX).await.unwrap();
    assert!(read(&told).contains("\n4294967295\n"));
}

#[tokio::test]
async fn it_reads_nothing_and_has_only_what_it_was_given() {
    // `cat` would wait for ever for a terminal.
    CommandTarget::new("cat")
        .timeout(LONG)
        .apply(1)
        .await
        .unwrap();
    let mut alone = shell("test -z \"$CARGO_MANIFEST_DIR\" && test \"$A\" = b");
    assert!(alone.apply(1).await.is_err());
    alone = alone.variable("A", "b").alone();
    alone.apply(1).await.unwrap();
}

#[tokio::test]
async fn how_it_failed_is_told_and_what_it_wrote_is_not() {
    let script = "echo s3cret out; echo s3cret err >&2; exit 3";
    let target = shell(script).argument("s3cret").variable("KEY", "s3cret");
    assert!(!format!("{target:?}").contains("s3cret"));
    let error = failed(target).await;
    assert_eq!(error.to_string(), "the command ended with exit status: 3");
    assert_eq!(error.status().and_then(|status| status.code()), Some(3));
    assert!(!error.is_timeout());
    assert_eq!(error.stdout(), b"s3cret out\n");
    assert_eq!(error.stderr(), b"s3cret err\n");
    let mut shown = format!("{error:?} {error}");
    assert!(std::error::Error::source(&error).is_none());
    // By a signal, by nobody of that name, by one that is no program.
    let killed = failed(shell("kill -9 $$")).await;
    shown += &format!("{killed:?} {killed}");
    assert!(killed.to_string().contains("signal: 9"), "{killed}");
    for program in ["/s3cret/nobody", "/"] {
        let error = failed(CommandTarget::new(program)).await;
        let told = error.to_string();
        assert!(
            told.starts_with("the command could not be started: "),
            "{told}"
        );
        assert_eq!((error.status(), error.is_timeout()), (None, false));
        shown += &format!("{error:?} {error}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn of_what_it_writes_the_end_is_kept() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo the end; head -c 3000000 /dev/zero >&2; exit 1";
    let error = failed(shell(script)).await;
    assert_eq!((error.stdout().len(), error.stderr().len()), (4_096, 4_096));
    assert!(error.stdout().ends_with(b"xxx\nthe end\n") || error.stdout().ends_with(b"xthe end\n"));
    assert!(error.stderr().iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn one_that_takes_too_long_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pid = file(&folder, "pid");
    let script = "echo $$ > \"$1\"; echo begun; exec sleep 1000";
    let target = shell(script).argument(pid.display().to_string());
    let error = failed(target.timeout(Period::secs(2))).await;
    assert!(error.is_timeout());
    assert_eq!(error.status(), None);
    assert_eq!(
        error.to_string(),
        "the command did not end in 2s and was killed"
    );
    assert_eq!(error.stdout(), b"begun\n");
    assert!(!read(&pid).is_empty());
    assert!(!lives(&read(&pid)), "it is gone when the error is told");
}

#[tokio::test]
async fn one_whose_call_is_dropped_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pid = file(&folder, "pid");
    let script = "echo $$ > \"$1\"; exec sleep 1000";
    let mut target = shell(script).argument(pid.display().to_string());
    {
        let call = target.apply(1);
        tokio::pin!(call);
        let begun = until(|| read(&pid).ends_with('\n'));
        tokio::select! {
            outcome = &mut call => panic!("{outcome:?}"),
            () = begun => assert!(lives(&read(&pid))),
        }
    }
    until(|| !lives(&read(&pid))).await;
}

/// A program is over when it has ended, whatever it started holds its outputs.
#[tokio::test]
async fn what_it_started_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pid = file(&folder, "pid");
    let script = "sleep 1000 & echo $! > \"$1\"; echo done";
    let start = Instant::now();
    let mut target = shell(script).argument(pid.display().to_string());
    target.apply(1).await.unwrap();
    assert!(start.elapsed() < LONG.get() / 2);
    let pid = read(&pid);
    assert!(lives(&pid));
    let kill = std::process::Command::new("kill").arg(pid.trim()).status();
    assert!(kill.unwrap().success());
}

/// Somebody holds the outputs of a program that has ended, for longer than it had time.
#[tokio::test]
async fn one_that_ended_in_time_is_not_killed_for_who_holds_its_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let pids = file(&folder, "pids");
    let script = "sleep 1000 & echo $! >> \"$1\"";
    let target = shell(script).argument(pids.display().to_string());
    // Less than what is waited for the outputs. A busy machine may be slower now and then, and not each time.
    let mut target = target.timeout(Period::millis(95));
    let mut done = false;
    for _ in 0..40 {
        done = done || target.apply(1).await.is_ok();
    }
    for pid in read(&pids).lines() {
        drop(std::process::Command::new("kill").arg(pid).status());
    }
    assert!(done);
}

#[tokio::test]
async fn one_that_writes_without_end_is_killed_in_time() {
    for script in ["exec yes", "exec yes >&2", "yes & exec yes >&2"] {
        let start = Instant::now();
        let error = failed(shell(script).timeout(Period::millis(500))).await;
        assert!(error.is_timeout(), "{error}");
        assert!(start.elapsed() < LONG.get() / 2, "{script}");
        assert!(error.stdout().len() + error.stderr().len() >= 4_096);
        // The patience of whoever asks, too.
        let mut target = shell(script);
        let patience = Duration::from_millis(300);
        assert!(
            tokio::time::timeout(patience, target.apply(1))
                .await
                .is_err()
        );
        assert!(start.elapsed() < LONG.get() / 2, "{script}");
    }
}

struct Busy;

impl Metrics for Busy {
    async fn observe(&mut self, now: Timestamp) -> Result<Sample, BoxError> {
        Ok(Sample::new(Fleet::new(4)).measured(Signal::Cpu, Reading::new(0.9, now)))
    }
}

#[tokio::test]
async fn a_driver_scales_by_it_and_tells_how_it_failed() {
    let folder = tempfile::tempdir().unwrap();
    let told = file(&folder, "told");
    let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::percent(60));
    let script = "printf %s \"$1\" > \"$2\"; test -e \"$2.ok\"";
    let path = told.display().to_string();
    let target = shell(script).arguments(["{replicas}", path.as_str()]);
    let driver = Driver::new(Tracking::new(config), Busy, target);
    let mut driver = driver.patience(LONG);
    match driver.turn().await.applied {
        Applied::Failed(6, error) => {
            let error = error.downcast::<CommandError>().unwrap();
            assert_eq!(error.status().and_then(|status| status.code()), Some(1));
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(format!("{path}.ok"), "").unwrap();
    assert_eq!(read(&told), "6");
    // It has not grown yet, so it is asked for the same again, once its cooldown is over: a new one has none.
    let target = shell(script).arguments(["{replicas}", path.as_str()]);
    let mut driver = Driver::new(Tracking::new(config), Busy, target).patience(LONG);
    assert!(matches!(driver.turn().await.applied, Applied::Done(6)));
}
