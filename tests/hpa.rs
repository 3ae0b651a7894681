//! Kubernetes' autoscaler as a whole: its decisions with their conditions and words, and its manifests.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]

#[path = "hpa/cost.rs"]
mod cost;
#[path = "hpa/decisions.rs"]
mod decisions;
#[path = "hpa/manifests.rs"]
mod manifests;
#[path = "hpa/zero.rs"]
mod zero;

use mainstay::autoscale::hpa::{Container, Pod, Sample};
use mainstay::time::Timestamp;
use mainstay_test_support::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Seconds after a day long ago, when every pod was started.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

/// So many ready pods that request a CPU each.
fn pods(count: usize) -> Vec<Pod> {
    let long_ago = at(-1_000_000);
    let app = || Container::new("app").request("cpu", 1_000);
    let pod = |i| {
        Pod::new(format!("pod-{i:03}"))
            .started(long_ago)
            .ready(true, long_ago)
            .container(app())
    };
    (0..count).map(pod).collect()
}

/// The same sample of each.
fn samples(pods: &[Pod], milli: i64, now: Timestamp) -> Vec<Sample> {
    pods.iter()
        .map(|pod| Sample::new(pod.name(), milli, now, 60))
        .collect()
}
