//! Four services that fail, and what the platform's document says to do instead.
//!
//! ```text
//! cargo run --release --example fallbacks
//! ```
//!
//! | service | breaker of the document | falls back to | made of |
//! |---|---|---|---|
//! | GPU | 3 failures, 60 s | queueing the job | a function of the request |
//! | object storage | 5 failures, 30 s | the cached answer, with its age | a function of a part of the request |
//! | quality | 3 failures, 45 s | skipping the check, with a warning | a value |
//! | notification | 10 failures, 120 s | queueing for a retry | an async function of the request |
//!
//! The program starts the four as HTTP [servers] on the loopback interface, which break down on a schedule: they answer
//! with errors, hang, or do their work and lose the answer. Meanwhile it makes batches of synthetic data: each reads its
//! template from object storage, is generated on the GPU, checked, and announced. The [services] are clients behind
//! mainstay's standard stack with the presets of the document at sixty times their speed, and a fallback around it.
//! After ten seconds or so it ends with a table and an [audit][report] of what the servers have seen: exit code 0 if
//! everything holds, 1 if not.
//!
//! The [queues][queue] are bounded and live in memory: what is in them is lost with the process. Where a job must not
//! be lost, make it a step of a saga, whose journal is on a disk.

#![expect(
    clippy::disallowed_methods,
    reason = "a program may look at the clock, spawn and sleep; mainstay's machines may not"
)]

mod queue;
mod report;
mod servers;
mod services;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tower::{BoxError, ServiceExt};

use report::Tally;
use servers::Servers;
use services::{Generated, Job, Services, Verdict};

/// How long batches come in.
const BUSY: Duration = Duration::from_secs(9);
/// One batch in this time.
const EVERY: Duration = Duration::from_millis(40);
/// How long the queues may take to run empty after that.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        // The report has said what does not hold.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fallbacks: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let servers = Servers::start().await?;
    let tally = Arc::new(Tally::default());
    let (services, queues) = Services::new(&servers, &tally)?;
    // What was never read cannot be cached.
    for template in 0..services::TEMPLATES {
        services.storage.clone().oneshot(template).await?;
    }

    println!("making batches for {} s", BUSY.as_secs());
    servers.begin();
    let began = Instant::now();
    let (mut batches, mut second) = (Vec::new(), 1);
    while began.elapsed() < BUSY {
        let id = u32::try_from(batches.len())?;
        batches.push(tokio::spawn(batch(
            id,
            services.clone(),
            Arc::clone(&tally),
        )));
        if began.elapsed() >= Duration::from_secs(second) {
            report::progress(second, &services, &tally);
            second += 1;
        }
        tokio::time::sleep(EVERY).await;
    }
    let made = batches.len();
    for batch in batches {
        if let Err(error) = batch.await? {
            tally.error(&error);
        }
    }
    let handles = services.handles();
    // With the last sender the queues end, once they are empty.
    drop(services);
    println!("{made} batches are made; waiting for the queues");
    tokio::time::timeout(PATIENCE, queues.run_empty())
        .await
        .map_err(|_| format!("the queues are not empty after {PATIENCE:?}"))??;
    Ok(report::audit(made, &handles, &tally, &servers.seen()))
}

/// Makes one batch. Whatever is down, it does not fail: it is late, old, unchecked or announced later.
async fn batch(id: u32, services: Services, tally: Arc<Tally>) -> Result<(), BoxError> {
    let template = services.storage.oneshot(id % services::TEMPLATES).await?;
    if let Some(age) = template.age {
        tally.cached(template.version, age);
    } else {
        tally.fresh(template.version);
    }
    let job = Job {
        id,
        template: template.version,
    };
    match services.gpu.oneshot(job).await? {
        Generated::Now => check(id, services.quality, &tally).await?,
        // Its worker has it generated and checked later.
        Generated::Queued => tally.queued_job(),
    }
    services.notification.oneshot(id).await?;
    Ok(())
}

/// Has a generated batch checked, or warns that it was not.
async fn check(id: u32, quality: services::Quality, tally: &Tally) -> Result<(), BoxError> {
    match quality.oneshot(id).await? {
        Verdict::Passed => tally.checked(),
        Verdict::Skipped => tally.skipped(id),
    }
    Ok(())
}
