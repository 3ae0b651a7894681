//! What is looked at, what is followed, and the ladder that is told.

use mainstay::degrade::{Degrade, Ladder, Pace};
use mainstay::health::{
    ConsecutiveConfig, CrowdingConfig, Health, HttpProbe, Probe, Seen, Verdict, Watch,
};
use mainstay::num::{Period, count};
use mainstay::presets::erp;
use tower::BoxError;

use crate::backends::{Backend, Backends};
use crate::service::Stacks;

/// The ladder of the platform, at a pace for a demonstration: a fact stays for half a second, and goes after another.
pub(crate) fn ladder() -> Ladder {
    let pace = Pace::new()
        .dwell(Period::millis(500))
        .better_after(Period::millis(700))
        .flaps(count(100), Period::secs(60), Period::secs(1));
    erp::degradation().paced(pace)
}

/// Each backend is looked at four times a second, and the circuits and limits of the stacks are followed: whichever notices
/// first tells the ladder.
pub(crate) fn watch(
    backends: &Backends,
    stacks: &Stacks,
    http: &reqwest::Client,
    degrade: &Degrade,
) -> Result<Health, BoxError> {
    let rows = ConsecutiveConfig::new(count(2), count(2)).stale_after(Period::secs(3));
    let probe = |backend: &Backend| -> Result<_, BoxError> {
        let address = format!("{}/health", backend.url()).parse()?;
        Ok(HttpProbe::reqwest(http.clone(), address)?)
    };
    let often = |watch: Watch| {
        watch
            .every(Period::millis(250))
            .timeout(Period::secs(1))
            .rows(rows)
    };
    let watch = |name, backend: &Backend| -> Result<_, BoxError> {
        Ok(often(Watch::new(name, probe(backend)?)))
    };
    // A pool: any of them will do.
    let [first, second] = &backends.replicas;
    let (first, second) = (probe(first)?, probe(second)?);
    let pool = Watch::new("database_replicas", move || {
        let (first, second) = (first.clone(), second.clone());
        async move {
            let (first, second) = tokio::join!(first.look(), second.look());
            Verdict::of_pool([first.verdict(), second.verdict()])
        }
    });
    let health = Health::builder()
        .watch(watch("gpu_cluster", &backends.gpu)?)
        .watch(watch("database_primary", &backends.primary)?)
        .watch(often(pool))
        .watch(watch("event_store", &backends.events)?)
        .watch(watch("vector_db", &backends.vectors)?)
        .follow("gpu_cluster", &stacks.inference)
        .follow("database_primary", &stacks.ledger)
        .follow("database_replicas", &stacks.reports)
        .crowding(
            CrowdingConfig::new()
                .every(Period::millis(500))
                .stale_after(Period::secs(3)),
        )
        .tilt(Period::secs(2), Period::secs(3))
        .needs("database_replicas")
        .tell(degrade.clone());
    Ok(health.build()?)
}
