//! What is looked at, what is followed, and the ladder that is told.

use mainstay::degrade::{Degrade, Ladder, Pace};
use mainstay::health::{ConsecutiveConfig, CrowdingConfig, Health, Verdict, Watch};
use mainstay::num::{Period, count};
use mainstay::presets::erp;
use tower::BoxError;

use crate::backends::Backends;
use crate::service::Stacks;

/// The ladder of the platform, at a pace for a demonstration: a fact stays for half a second, and goes after another.
pub(crate) fn ladder() -> Ladder {
    let pace = Pace::new()
        .dwell(Period::millis(500))
        .better_after(Period::millis(700))
        .flaps(count(100), Period::secs(60), Period::secs(1));
    erp::degradation().pace(pace)
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
    let look = |url: String| {
        let http = http.clone();
        move || {
            let request = http.get(&url);
            async move { is_well(request).await }
        }
    };
    let watch = |name, url: String| {
        Watch::new(name, look(url))
            .every(Period::millis(250))
            .timeout(Period::millis(400))
            .rows(rows)
    };
    let well = |backend: &crate::backends::Backend| format!("{}/health", backend.url());
    let replicas = backends.replicas.each_ref().map(|each| look(well(each)));
    let pool = Watch::new("database_replicas", move || {
        let [first, second] = replicas.each_ref().map(|look| look());
        async move {
            let (first, second) = tokio::join!(first, second);
            let verdict = |is_well| if is_well { Verdict::Up } else { Verdict::Down };
            Verdict::of_pool([verdict(first), verdict(second)])
        }
    });
    let pool = pool
        .every(Period::millis(250))
        .timeout(Period::millis(400))
        .rows(rows);
    let health = Health::builder()
        .watch(watch("gpu_cluster", well(&backends.gpu)))
        .watch(watch("database_primary", well(&backends.primary)))
        .watch(pool)
        .watch(watch("event_store", well(&backends.events)))
        .watch(watch("vector_db", well(&backends.vectors)))
        .follow("gpu_cluster", &stacks.inference)
        .follow("database_primary", &stacks.ledger)
        .follow("database_replicas", &stacks.reports)
        .crowding(CrowdingConfig::new().every(Period::millis(500)))
        .needs("database_replicas")
        .tell(degrade.clone());
    Ok(health.build()?)
}

async fn is_well(request: reqwest::RequestBuilder) -> bool {
    let answer = request.send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
