//! duroxide, an orchestration of six activities on its SQLite provider. It has no compensations.
//!
//! Once as the provider opens its file (`synchronous` is meant to be `WAL`, which SQLite reads as `NORMAL`), and once
//! with `FULL` set on every connection of its pool. Two dispatchers of each kind, its default, which its stress tests
//! recommend: one or four were no quicker. What was quickest is different for few and for many, and is set so. A saga
//! that is alone: dispatchers that look for work every millisecond, and we for the end every other one, twenty sagas a
//! second instead of one. With 64 in flight that is five times slower than its defaults, which stand there.

use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{ObservabilityConfig, Runtime, RuntimeOptions};
use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
};

use super::super::job::{self, Answer, Engine, Opened, Outcome, Place, STEPS};

/// As many as the provider's pool has.
const CONNECTIONS: usize = 5;
/// How often we look for the end of a saga that is alone, and how many times.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 100;

struct Duroxide {
    client: Client,
    looks: u32,
    /// Stops when it is dropped.
    _runtime: Arc<Runtime>,
}

impl Engine for Duroxide {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let id = format!("saga-{number}");
            self.client
                .start_orchestration(&id, "six", number.to_string())
                .await
                .map_err(|error| format!("{error:?}"))?;
            // Its own wait looks ever more rarely, until every 100 ms: too late for one that is alone.
            for _ in 0..self.looks {
                let status = self.client.get_orchestration_status(&id).await;
                match status.map_err(|error| format!("{error:?}"))? {
                    OrchestrationStatus::Running { .. } | OrchestrationStatus::NotFound => {
                        tokio::time::sleep(LOOK).await;
                    }
                    _ => break,
                }
            }
            let patience = Duration::from_secs(60);
            let end = self.client.wait_for_orchestration(&id, patience).await;
            match end.map_err(|error| format!("{error:?}"))? {
                OrchestrationStatus::Completed { output, .. } => {
                    job::expect(number, output.parse()?)
                }
                OrchestrationStatus::Failed { details, .. } => {
                    Err(format!("saga {number}: {}", details.display_message()).into())
                }
                _ => Err(format!("saga {number} has not ended").into()),
            }
        })
    }
}

async fn open(place: Place, full: bool) -> Outcome<Opened> {
    let path = place.folder.join("sagas.sqlite");
    std::fs::File::create(&path)?;
    let url = format!("sqlite:{}", path.display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await?);
    if full {
        // All of them at the same time, else the pool hands out one again and again.
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = provider.get_pool().acquire().await?;
            sqlx::query("PRAGMA synchronous = FULL")
                .execute(&mut *connection)
                .await?;
            held.push(connection);
        }
    }
    let mut activities = ActivityRegistry::builder();
    for step in STEPS {
        activities = activities.register(step, |_cx: ActivityContext, input: String| async move {
            job::step();
            Ok(input)
        });
    }
    let six = |cx: OrchestrationContext, number: String| async move {
        for step in STEPS {
            cx.schedule_activity(step, "").await?;
        }
        Ok(number)
    };
    let orchestrations = OrchestrationRegistry::builder()
        .register("six", six)
        .build();
    let (looks, idle) = match place.flight {
        1 => (LOOKS, Duration::from_millis(1)),
        _ => (0, RuntimeOptions::default().dispatcher_min_poll_interval),
    };
    let options = RuntimeOptions {
        dispatcher_min_poll_interval: idle,
        observability: ObservabilityConfig {
            log_level: "error".to_owned(),
            ..ObservabilityConfig::default()
        },
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start_with_options(
        Arc::clone(&provider) as _,
        activities.build(),
        orchestrations,
        options,
    )
    .await;
    Ok(Arc::new(Duroxide {
        client: Client::new(provider),
        looks,
        _runtime: runtime,
    }))
}

pub fn sqlite(place: Place) -> Answer<'static, Opened> {
    Box::pin(open(place, false))
}

pub fn sqlite_full(place: Place) -> Answer<'static, Opened> {
    Box::pin(open(place, true))
}
