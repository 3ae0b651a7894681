//! What is shown while it runs, and what must hold in the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay::fallback::Ending;
use tower::BoxError;

use crate::servers::Seen;
use crate::services::{Handles, Services};

/// Warnings that are printed; the others are only counted.
const SHOWN: u64 = 3;

/// What the callers have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    fresh: AtomicU64,
    newest: AtomicU64,
    cached: AtomicU64,
    newest_cached: AtomicU64,
    oldest_millis: AtomicU64,
    jobs_queued: AtomicU64,
    jobs_ran_later: AtomicU64,
    checked: AtomicU64,
    skipped: AtomicU64,
    notices_queued: AtomicU64,
    notices_sent_later: AtomicU64,
    errors: AtomicU64,
}

fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Tally {
    pub(crate) fn fresh(&self, version: u64) {
        add(&self.fresh);
        self.newest.fetch_max(version, Ordering::Relaxed);
    }

    pub(crate) fn cached(&self, version: u64, age: Duration) {
        add(&self.cached);
        self.newest_cached.fetch_max(version, Ordering::Relaxed);
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.oldest_millis.fetch_max(millis, Ordering::Relaxed);
    }

    pub(crate) fn queued_job(&self) {
        add(&self.jobs_queued);
    }

    pub(crate) fn queued_job_ran(&self) {
        add(&self.jobs_ran_later);
    }

    pub(crate) fn checked(&self) {
        add(&self.checked);
    }

    pub(crate) fn skipped(&self, batch: u32) {
        match add(&self.skipped) {
            n if n <= SHOWN => println!("      warning: batch {batch} was not checked for quality"),
            n if n == SHOWN + 1 => println!("      warning: further batches were not checked"),
            _ => {}
        }
    }

    pub(crate) fn queued_notice(&self) {
        add(&self.notices_queued);
    }

    pub(crate) fn queued_notice_sent(&self) {
        add(&self.notices_sent_later);
    }

    pub(crate) fn error(&self, error: &BoxError) {
        if add(&self.errors) <= SHOWN {
            println!("      error: {error}");
        }
    }
}

/// One line about each service.
pub(crate) fn progress(second: u64, services: &Services, tally: &Tally) {
    let circuit = |name: &str| {
        let handles = services.handles();
        let found = handles.0.iter().find(|(service, ..)| *service == name);
        found.map_or("", |(_, stack, _)| stack.breaker().state().as_str())
    };
    println!(
        "{second:>3} s  gpu {}, {} queued | storage {}, {} from cache | quality {}, {} skipped | \
         notification {}, {} queued",
        circuit("gpu"),
        read(&tally.jobs_queued) - read(&tally.jobs_ran_later).min(read(&tally.jobs_queued)),
        circuit("storage"),
        read(&tally.cached),
        circuit("quality"),
        read(&tally.skipped),
        circuit("notification"),
        read(&tally.notices_queued)
            - read(&tally.notices_sent_later).min(read(&tally.notices_queued)),
    );
}

/// Prints the table and what does not hold; whether all of it does.
pub(crate) fn audit(batches: usize, handles: &Handles, tally: &Tally, seen: &Seen) -> bool {
    let oldest = Duration::from_millis(read(&tally.oldest_millis));
    println!(
        "\n{:14}{:>10}{:>10}  what came instead",
        "service", "openings", "fallbacks"
    );
    for (name, stack, fallback) in &handles.0 {
        let instead = match *name {
            "gpu" => format!(
                "{} jobs queued, {} of them ran later; {} ran in all, {} came twice and ran once",
                read(&tally.jobs_queued),
                read(&tally.jobs_ran_later),
                seen.jobs.len(),
                seen.jobs_repeated,
            ),
            "storage" => format!(
                "{} answers from the cache, the oldest {oldest:.1?}; {} fresh",
                read(&tally.cached),
                read(&tally.fresh),
            ),
            "quality" => format!(
                "{} checks skipped with a warning; {} made",
                read(&tally.skipped),
                read(&tally.checked),
            ),
            _ => format!(
                "{} notices queued, {} of them sent later; {} sent in all, {} came twice and were sent once",
                read(&tally.notices_queued),
                read(&tally.notices_sent_later),
                seen.notices.len(),
                seen.notices_repeated,
            ),
        };
        let served = fallback.count(Ending::Served);
        println!(
            "{name:14}{:>10}{served:>10}  {instead}",
            stack.breaker().openings()
        );
    }

    let all = batches as u64;
    let served = |service: usize| {
        handles
            .0
            .get(service)
            .map_or(0, |h| h.2.count(Ending::Served))
    };
    let once = |effects: &crate::servers::Effects| {
        effects.len() == batches && effects.values().all(|times| *times == 1)
    };
    let checks = [
        ("no batch failed", read(&tally.errors) == 0),
        ("every job ran exactly once", once(&seen.jobs)),
        (
            "every job that was queued ran, and some were",
            read(&tally.jobs_queued) > 0
                && read(&tally.jobs_queued) == read(&tally.jobs_ran_later)
                && read(&tally.jobs_queued) == served(0),
        ),
        (
            "an answer that was lost did not run a job twice",
            seen.jobs_repeated > 0,
        ),
        (
            "every read was answered, some from the cache with their age",
            read(&tally.cached) + read(&tally.fresh) == all
                && read(&tally.cached) == served(1)
                && !oldest.is_zero(),
        ),
        (
            "the cache is not read for longer than it must",
            read(&tally.newest) > read(&tally.newest_cached),
        ),
        (
            "every batch was checked or has a warning, and some have",
            read(&tally.checked) + read(&tally.skipped) == all
                && read(&tally.skipped) == served(2)
                && read(&tally.skipped) > 0,
        ),
        ("every notice was sent exactly once", once(&seen.notices)),
        (
            "every notice that was queued was sent, and some were",
            read(&tally.notices_queued) > 0
                && read(&tally.notices_queued) == read(&tally.notices_sent_later)
                && read(&tally.notices_queued) == served(3),
        ),
        (
            "every circuit opened",
            handles
                .0
                .iter()
                .all(|(_, stack, _)| stack.breaker().openings() > 0),
        ),
        (
            "no fallback is under way, none found no place",
            handles.0.iter().all(|(_, _, fallback)| {
                fallback.in_flight() == 0 && fallback.count(Ending::Full) == 0
            }),
        ),
    ];
    println!();
    for (what, holds) in &checks {
        println!(
            "{} {what}",
            if *holds { "holds:" } else { "DOES NOT HOLD:" }
        );
    }
    checks.iter().all(|(_, holds)| *holds)
}
