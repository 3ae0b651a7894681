//! The four clients, each with its fallback.
//!
//! ```text
//! deadline ─► fallback ─► the standard stack: deadline, retry, breaker, attempt timeout ─► HTTP
//! ```
//!
//! The stack has less time than the whole, so that there is some left for the fallback when the callee takes it all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay::breaker::BreakerConfig;
use mainstay::deadline::DeadlineLayer;
use mainstay::fallback::{FallbackConfig, FallbackHandle, FallbackLayer, Primary};
use mainstay::num::{Period, count};
use mainstay::presets::synthetic;
use mainstay::standard::{Stack, StackHandle};
use tower::layer::util::{Identity, Stack as Layers};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::queue::{Queue, Queues};
use crate::report::Tally;
use crate::servers::Servers;

/// How many templates there are.
pub(crate) const TEMPLATES: u32 = 8;

/// One attempt, one call with its retries, and the call with its fallback.
const ATTEMPT: Period = Period::millis(150);
const CALL: Period = Period::millis(600);
const WHOLE: Period = Period::secs(3);

/// A batch to be generated. Its id is its idempotency key: the queue sends it again under the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) id: u32,
    pub(crate) template: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Generated {
    Now,
    Queued,
}

/// A template, and how old it is if it is out of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template {
    pub(crate) version: u64,
    pub(crate) age: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Passed,
    Skipped,
}

/// A client of one service. Boxed, because a stack whose error is a `BoxError` cannot be awaited inside of an `async`
/// block that is spawned: rustc forgets that the error is `'static`. An error type of one's own needs no box.
pub(crate) type Client<Req, Res> = BoxCloneSyncService<Req, Res, BoxError>;
pub(crate) type Quality = Client<u32, Verdict>;

/// The clients of the four services.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) gpu: Client<Job, Generated>,
    pub(crate) storage: Client<u32, Template>,
    pub(crate) quality: Quality,
    pub(crate) notification: Client<u32, ()>,
    handles: Handles,
}

/// Watches the four services.
#[derive(Clone)]
pub(crate) struct Handles(pub(crate) [(&'static str, StackHandle, FallbackHandle); 4]);

impl Services {
    /// The clients, and the queues that two of them fall back to.
    pub(crate) fn new(servers: &Servers, tally: &Arc<Tally>) -> Result<(Self, Queues), BoxError> {
        let http = reqwest::Client::builder().no_proxy().build()?;

        // Quality: skip, with a warning. The value says that it is none; whoever reads it warns.
        let stack = stack("quality", synthetic::quality_breaker());
        let skip = FallbackLayer::value("quality", FallbackConfig::default(), Verdict::Skipped);
        let handles_quality = ("quality", stack.handle(), skip.handle());
        let (client, url) = (http.clone(), servers.quality.clone());
        let check = stack.service(service_fn(move |batch: u32| {
            let request = client.get(format!("{url}/{batch}"));
            async move { text(request).await.map(|_passed| Verdict::Passed) }
        }));
        let quality = Quality::new(whole("quality", skip).service(check));

        // GPU: queue the job. The worker asks the same stack, so its circuit keeps it from hammering.
        let stack = self::stack("gpu", synthetic::gpu_breaker());
        let (client, url) = (http.clone(), servers.gpu.clone());
        let generate = Client::new(stack.service(service_fn(move |job: Job| {
            let request = client.post(format!("{url}/{}?template={}", job.id, job.template));
            async move { text(request).await.map(|_done| Generated::Now) }
        })));
        let (worker, checks, tallied) = (generate.clone(), quality.clone(), Arc::clone(tally));
        let (jobs, jobs_worker) = Queue::start(move |job: Job| {
            let (generate, quality) = (worker.clone(), checks.clone());
            let tally = Arc::clone(&tallied);
            async move {
                generate.oneshot(job).await?;
                tally.queued_job_ran();
                crate::check(job.id, quality, &tally).await
            }
        });
        let later = FallbackLayer::function(
            "gpu",
            FallbackConfig::default(),
            move |job: Job, _: Primary<'_, Generated, BoxError>| {
                // A full queue is an error, and the caller gets the GPU's own.
                jobs.put(job).map(|()| Generated::Queued)
            },
        )
        .keep(|job: &Job| *job);
        let handles_gpu = ("gpu", stack.handle(), later.handle());
        let gpu = Client::new(whole("gpu", later).service(generate));

        // Object storage: the cached answer, which says how old it is.
        let stack = self::stack("storage", synthetic::object_storage_breaker());
        let cache = Arc::new(Cache::default());
        let (client, url, fill) = (http.clone(), servers.storage.clone(), Arc::clone(&cache));
        let read = stack.service(service_fn(move |template: u32| {
            let request = client.get(format!("{url}/{template}"));
            let cache = Arc::clone(&fill);
            async move {
                let version = text(request).await?.parse()?;
                cache.put(template, version);
                Ok::<_, BoxError>(Template { version, age: None })
            }
        }));
        let cached = FallbackLayer::function(
            "storage",
            FallbackConfig::default(),
            move |template: u32, _: Primary<'_, Template, BoxError>| {
                cache.get(template).ok_or("not in the cache")
            },
        )
        .keep(|template: &u32| *template);
        let handles_storage = ("storage", stack.handle(), cached.handle());
        let storage = Client::new(whole("storage", cached).service(read));

        // Notification: queue for a retry. An async function may wait for room, until the deadline.
        let stack = self::stack("notification", synthetic::notification_breaker());
        let (client, url) = (http, servers.notification.clone());
        let notify = Client::new(stack.service(service_fn(move |batch: u32| {
            let request = client.post(format!("{url}/{batch}"));
            async move { text(request).await.map(drop) }
        })));
        let (worker, tallied) = (notify.clone(), Arc::clone(tally));
        let (notices, notices_worker) = Queue::start(move |batch: u32| {
            let (notify, tally) = (worker.clone(), Arc::clone(&tallied));
            async move {
                notify.oneshot(batch).await?;
                tally.queued_notice_sent();
                Ok(())
            }
        });
        let tallied = Arc::clone(tally);
        let again = FallbackLayer::async_function(
            "notification",
            FallbackConfig::default(),
            move |batch: u32, _: Primary<'_, (), BoxError>| {
                let (notices, tally) = (notices.clone(), Arc::clone(&tallied));
                async move {
                    notices
                        .wait_and_put(batch)
                        .await
                        .map(|()| tally.queued_notice())
                }
            },
        )
        .keep(|batch: &u32| *batch);
        let handles_notification = ("notification", stack.handle(), again.handle());
        let notification = Client::new(whole("notification", again).service(notify));

        let services = Self {
            gpu,
            storage,
            quality,
            notification,
            handles: Handles([
                handles_gpu,
                handles_storage,
                handles_quality,
                handles_notification,
            ]),
        };
        Ok((services, Queues::new([jobs_worker, notices_worker])))
    }

    pub(crate) fn handles(&self) -> Handles {
        self.handles.clone()
    }
}

/// The standard stack with the document's presets, sixty times as fast.
fn stack(name: &'static str, breaker: BreakerConfig) -> Stack {
    let speed = count(60);
    Stack::standard(name)
        .deadline(CALL)
        .attempt_timeout(ATTEMPT)
        .retry(synthetic::api_call().compressed(speed))
        .breaker(breaker.compressed(speed))
}

/// What stands around a stack: the fallback, and a deadline that is over later than the stack's.
fn whole<F>(
    name: &'static str,
    fallback: F,
) -> ServiceBuilder<Layers<F, Layers<DeadlineLayer, Identity>>> {
    ServiceBuilder::new()
        .layer(DeadlineLayer::new(name, WHOLE))
        .layer(fallback)
}

/// The body of a successful answer; every other status is an error.
async fn text(request: reqwest::RequestBuilder) -> Result<String, BoxError> {
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// The last version of each template that was read, and when that was.
#[derive(Default)]
struct Cache(Mutex<BTreeMap<u32, (u64, Instant)>>);

impl Cache {
    fn put(&self, template: u32, version: u64) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(template, (version, Instant::now()));
    }

    fn get(&self, template: u32) -> Option<Template> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, read) = cache.get(&template)?;
        Some(Template {
            version: *version,
            age: Some(read.elapsed()),
        })
    }
}
