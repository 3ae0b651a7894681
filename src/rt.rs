//! The only file that reads a clock, sleeps, spawns or draws entropy.
//!
//! Everything else is given the time, so a test that pauses tokio's clock pauses all of mainstay.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the file that the wall leads to"
)]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::time::Instant;

use crate::time::{Tick, Timestamp};

/// Ticks count from here, an hour before the first look: a paused test clock may start a little before it, and must
/// not read as zero until it has caught up.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
    })
}

/// The monotonic clock: tokio's, so that `start_paused` and `advance` drive it.
///
/// # Example
///
/// ```
/// let then = mainstay::rt::now();
/// assert!(mainstay::rt::now() >= then);
/// ```
#[must_use]
pub fn now() -> Tick {
    let since = Instant::now().saturating_duration_since(origin());
    // As `time::nanos` has it, without the wide numbers: a process does not run for 584 years.
    let nanos = since.as_secs().saturating_mul(1_000_000_000);
    Tick::from_nanos(nanos.saturating_add(since.subsec_nanos().into()))
}

/// The wall clock, for durable records.
#[must_use]
pub fn wall() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
        }
    };
    Timestamp::from_millis(millis)
}

/// A seed that differs between processes and policies.
#[must_use]
pub(crate) fn entropy() -> u64 {
    // A system without entropy still gets jitter that differs over time. What is drawn here guards little: by the token of a
    // pool of tenants, where one can be guessed, somebody who is trusted takes no seat.
    SysRng
        .try_next_u64()
        .unwrap_or_else(|_| wall().as_millis().unsigned_abs() ^ now().as_nanos())
}

/// How maps that hold keys from outside hash them: no caller can know which keys collide.
#[must_use]
pub(crate) fn hasher() -> std::hash::RandomState {
    std::hash::RandomState::new()
}

/// Completes at `tick`, at once when that is past.
///
/// # Panics
///
/// Outside a tokio runtime with its timer enabled, as every tokio timer.
pub(crate) fn sleep_until(tick: Tick) -> tokio::time::Sleep {
    let at = origin()
        .checked_add(Duration::from_nanos(tick.as_nanos()))
        // Beyond what the clock can express; tokio's own "far future" is 30 years as well.
        .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365 * 30));
    tokio::time::sleep_until(at)
}

/// Completes after `duration`.
///
/// # Panics
///
/// As [`sleep_until`].
#[cfg(feature = "saga")]
pub(crate) fn sleep(duration: Duration) -> tokio::time::Sleep {
    sleep_until(now() + duration)
}

/// Runs `future` on a task of its own. Whoever spawns keeps the handle and stops the task.
#[cfg(feature = "saga")]
pub(crate) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Rings after a real time, also where tokio's clock is paused: for tests that must not hang.
#[cfg(feature = "saga")]
#[derive(Debug)]
pub(crate) struct Alarm {
    rings: tokio::sync::oneshot::Receiver<()>,
    /// Tells the thread that nobody listens any more, by being dropped.
    _listens: std::sync::mpsc::Sender<()>,
}

#[cfg(feature = "saga")]
impl Alarm {
    /// One that rings once, after this time. On a system without a thread to spare it never does.
    pub(crate) fn after(time: Duration) -> Self {
        let (ring, rings) = tokio::sync::oneshot::channel();
        let (listens, nobody) = std::sync::mpsc::channel::<()>();
        let waits = move || {
            if nobody.recv_timeout(time) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // Whoever does not listen any more needs no ring.
                let _unheard = ring.send(());
            }
        };
        drop(
            std::thread::Builder::new()
                .name("mainstay-alarm".to_owned())
                .spawn(waits),
        );
        Self {
            rings,
            _listens: listens,
        }
    }

    /// Completes when it rings.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(crate) async fn rings(&mut self) {
        if (&mut self.rings).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the environment says about tests.
#[cfg(feature = "saga")]
pub(crate) fn wish(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|wish| !wish.is_empty())
}

/// Lets whoever can run go first.
#[cfg(feature = "postgres")]
pub(crate) async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Runs `work` on a thread of its own, for backends that block.
///
/// # Errors
///
/// When the system has no thread to give.
#[cfg(feature = "sqlite")]
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

/// Waits for what blocks, on a thread of its own that nobody waits for when the runtime ends. `None` when it panicked, or the
/// system has no thread to give.
#[cfg(any(feature = "http", feature = "sqlite"))]
pub(crate) async fn wait_detached<T: Send + 'static>(
    name: &str,
    wait: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        // Who waited may have gone.
        .spawn(move || drop(tell.send(wait())));
    drop(thread.ok()?);
    told.await.ok()
}

/// Waits for what blocks, on a thread of the runtime's, which ends no sooner. A paused clock stands still meanwhile. `None`
/// when it panicked.
#[cfg(feature = "sqlite")]
pub(crate) async fn wait_blocking<T: Send + 'static>(
    wait: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(wait).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_drives_ticks_and_sleeps() {
        let start = now();
        sleep_until(start + Duration::from_secs(5)).await;
        assert_eq!(now().since(start), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_never_comes_can_be_armed() {
        let sleep = sleep_until(Tick::NEVER);
        assert!(!sleep.is_elapsed());
    }

    #[test]
    fn the_wall_clock_is_past_2020() {
        assert!(wall().as_millis() > 1_577_836_800_000);
    }
}
