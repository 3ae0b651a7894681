use std::num::NonZeroU32;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::config::{ConcurrencyConfig, wait_until};
use super::count::Count;
use super::lane::{Lane, Standing, Ticket};
use super::pace::{Pace, Step};
use crate::num::{Period, Ratio};
use crate::rt;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::{Tick, nanos};

/// The places of one limit, shared by all who want one: the machine of `machine.rs`, without its lock where nobody
/// waits.
///
/// How many are under way, wait, and may be under way is one word, [`Count`], and every step is one exchange of it. To
/// join the line and to leave it takes the lock as well, so the word and the line agree whenever the lock is free. Who
/// gives a place back sees in the same step whether anybody waits: had a waiter joined later, it would have seen the
/// place. So none is forgotten.
pub(crate) struct Seats {
    count: Apart<AtomicU64>,
    rules: Rules,
    /// What the line learned of its pace.
    step: Apart<AtomicU64>,
    line: Mutex<Line>,
}

/// On cache lines of its own: what every call writes must not take along what every call reads.
#[repr(align(128))]
struct Apart<T>(T);

/// What every call may look at and few change.
struct Rules {
    /// How many may wait.
    queue: AtomicU64,
    /// How long, in nanoseconds.
    wait: AtomicU64,
    /// The share of its time that a call may wait, as the bits of a number.
    wait_share: AtomicU64,
    /// Whether a newcomer was refused, or would have been, when somebody last looked. Set a little early or too late
    /// now and then; what it says is looked at again.
    shut: AtomicU64,
}

struct Line {
    /// Each with its waker, once it was polled.
    lane: Lane<Option<Waker>>,
    pace: Pace,
}

/// What became of a newcomer who found no place.
#[derive(Debug)]
pub(crate) enum Joined {
    /// One had come free meanwhile.
    Seated,
    Waits(Ticket),
    Full,
}

impl Seats {
    pub(crate) fn new(config: ConcurrencyConfig) -> Self {
        let seats = Self {
            count: Apart(AtomicU64::new(Count::new(config.limit().get()).bits())),
            rules: Rules {
                queue: AtomicU64::new(0),
                wait: AtomicU64::new(0),
                wait_share: AtomicU64::new(0),
                shut: AtomicU64::new(0),
            },
            step: Apart(AtomicU64::new(0)),
            line: Mutex::new(Line {
                lane: Lane::new(),
                pace: Pace::new(),
            }),
        };
        seats.set(config);
        seats
    }

    pub(crate) fn count(&self) -> Count {
        Count::from_bits(self.count.0.load(Ordering::Acquire))
    }

    /// Takes a place if there is one and nobody waits.
    ///
    /// `seen` is the count as the caller last saw it. To begin with it, instead of looking, saves the way of a cache
    /// line: it is right when nobody else calls, and when somebody does the exchange that fails has brought the line.
    #[inline]
    pub(crate) fn admit(&self, seen: &mut Count) -> bool {
        let mut count = *seen;
        loop {
            let Some(next) = count.admit() else {
                let now = self.count();
                if now == count {
                    return false;
                }
                count = now;
                continue;
            };
            match self.try_exchange(count, next) {
                Ok(()) => {
                    *seen = count;
                    if next.in_flight() >= next.limit() {
                        self.look(next);
                    }
                    return true;
                }
                Err(now) => count = now,
            }
        }
    }

    /// Whether a newcomer would be refused.
    #[inline]
    pub(crate) fn is_shut(&self) -> bool {
        self.rules.shut.load(Ordering::Relaxed) != 0 && self.look(self.count())
    }

    #[cold]
    fn look(&self, count: Count) -> bool {
        let shut = count.is_shut(self.queue());
        self.rules.shut.store(shut.into(), Ordering::Relaxed);
        shut
    }

    /// How many may wait.
    pub(crate) fn queue(&self) -> u32 {
        u32::try_from(self.rules.queue.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// Until when a call may wait that comes at `now` and must be over at `deadline`.
    pub(crate) fn wait_until(&self, deadline: Tick, now: Tick) -> Tick {
        let longest = Duration::from_nanos(self.rules.wait.load(Ordering::Relaxed));
        wait_until(longest, self.wait_share(), deadline, now)
    }

    fn wait_share(&self) -> Ratio {
        let share = f64::from_bits(self.rules.wait_share.load(Ordering::Relaxed));
        Ratio::new("wait_share", share).unwrap_or(Ratio::ONE)
    }

    /// The settings. Under the lock that they are replaced under, so they are those of one time.
    pub(super) fn config(&self) -> ConcurrencyConfig {
        let _line = lock(&self.line);
        let limit = NonZeroU32::new(self.count().limit()).unwrap_or(NonZeroU32::MIN);
        ConcurrencyConfig::new(limit)
            .queue(self.queue())
            .wait(Period::from_nanos(self.rules.wait.load(Ordering::Relaxed)))
            .wait_share(self.wait_share())
    }

    /// How fast the line moves.
    pub(crate) fn step(&self) -> Step {
        Step(self.step.0.load(Ordering::Relaxed))
    }

    /// Joins the line.
    pub(crate) fn join(&self) -> Joined {
        let mut line = lock(&self.line);
        let queue = self.queue();
        let mut seated = false;
        let joined = self.exchange(|count| {
            let admitted = count.admit();
            seated = admitted.is_some();
            admitted.or_else(|| count.join(queue))
        });
        self.look(joined.unwrap_or_else(|| self.count()));
        match joined {
            None => Joined::Full,
            Some(_) if seated => Joined::Seated,
            Some(_) => Joined::Waits(line.lane.join(None)),
        }
    }

    /// Gives a place back, and says how many were taken before.
    #[inline]
    pub(crate) fn release(&self) -> u32 {
        let before = self.count.0.fetch_sub(Count::CALL, Ordering::AcqRel);
        let before = Count::from_bits(before);
        if before.waiting() > 0 {
            self.pass_on();
        }
        before.in_flight()
    }

    /// Ready once the waiter was granted a place, which is its own then and no longer the ticket's.
    pub(crate) fn poll(&self, ticket: Ticket, cx: &Context<'_>) -> Poll<()> {
        let mut line = lock(&self.line);
        match line.lane.standing(ticket) {
            Standing::Granted => {
                line.lane.leave(ticket);
                Poll::Ready(())
            }
            Standing::Gone => Poll::Pending,
            Standing::Waiting => {
                let waker = line.lane.value(ticket);
                let old = waker
                    .filter(|waker| waker.as_ref().is_none_or(|old| !old.will_wake(cx.waker())))
                    .and_then(|waker| waker.replace(cx.waker().clone()));
                // A waker can be the last that holds a task, and with it a place: dropped without the lock.
                drop(line);
                drop(old);
                Poll::Pending
            }
        }
    }

    /// A waiter goes. Says whether it was granted a place, which is its own then.
    pub(crate) fn leave(&self, ticket: Ticket) -> bool {
        let mut line = lock(&self.line);
        let (standing, waker) = line.lane.leave(ticket);
        if standing == Standing::Waiting {
            let left = self.exchange(|count| Some(count.leave()));
            if left.is_some_and(|count| count.waiting() == 0) {
                line.pace.interrupt();
            }
        }
        drop(line);
        drop(waker);
        standing == Standing::Granted
    }

    /// Replaces the settings. Afterwards [`pass_on`](Self::pass_on): there may be new places.
    pub(crate) fn set(&self, config: ConcurrencyConfig) {
        let mut line = lock(&self.line);
        let queue = config.queue_bound().min(Count::MOST);
        line.lane.reserve(queue.min(RESERVED));
        self.rules.queue.store(queue.into(), Ordering::Relaxed);
        let wait = nanos(config.longest_wait().get());
        self.rules.wait.store(wait, Ordering::Relaxed);
        let share = config.patience().get().to_bits();
        self.rules.wait_share.store(share, Ordering::Relaxed);
        self.exchange(|count| Some(count.resize(config.limit().get())));
        self.look(self.count());
    }

    /// Grants waiters the places that are free.
    #[cold]
    pub(crate) fn pass_on(&self) {
        while let Some(waker) = self.grant() {
            // Without the lock: whoever is woken may come straight back here.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn grant(&self) -> Option<Option<Waker>> {
        // The lock and the clock are for those who may find a place.
        self.count().grant()?;
        let now = rt::now();
        let mut line = lock(&self.line);
        let count = self.exchange(Count::grant)?;
        let (_, waker) = line.lane.grant()?;
        line.pace.granted(count.waiting() > 0, now);
        self.step.0.store(line.pace.step().0, Ordering::Relaxed);
        Some(waker)
    }

    /// One step: what the count is afterwards, `None` if `step` says that it cannot be taken.
    fn exchange(&self, mut step: impl FnMut(Count) -> Option<Count>) -> Option<Count> {
        let mut count = self.count();
        loop {
            let next = step(count)?;
            match self.try_exchange(count, next) {
                Ok(()) => return Some(next),
                Err(now) => count = now,
            }
        }
    }

    #[inline]
    fn try_exchange(&self, count: Count, next: Count) -> Result<(), Count> {
        let (old, new) = (count.bits(), next.bits());
        let exchanged =
            self.count
                .0
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(drop).map_err(Count::from_bits)
    }
}

/// Memory for so many waiters is taken when the limit is made; for more, when they come.
const RESERVED: u32 = 1_024;
