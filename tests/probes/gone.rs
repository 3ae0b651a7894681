//! What never answers. The driver's own timer ends a look; what is looked over closes what it opened.

use mainstay::health::{GrpcProbe, HttpProbe, TcpProbe};
use tonic::transport::Endpoint;

use super::*;

/// Looks until it is clear that it does not answer, and for some looks more; then nobody looks any more.
async fn looked_at_in_vain(probe: impl Probe) {
    let health = watched("hole", probe);
    let driver = Running(tokio::spawn(health.clone().drive()));
    let timed_out = || health.why("hole") == Some(Why::TimedOut);
    eventually("it does not answer", timed_out).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        health.readiness().to_string(),
        "[+]hole down: no answer in time\nready"
    );
    drop(driver);
}

#[tokio::test]
async fn a_request_over_reqwest_is_taken_back() {
    let hole = Hole::dig().await;
    let uri = format!("http://{}/", hole.address).parse().unwrap();
    looked_at_in_vain(HttpProbe::reqwest(reqwest::Client::new(), uri).unwrap()).await;
    // A request over HTTP/1 that is taken back closes its connection, at each look.
    eventually("all are closed", || hole.seen() > 1 && hole.open() == 0).await;
}

#[tokio::test]
async fn a_request_over_tonic_is_taken_back() {
    let hole = Hole::dig().await;
    let channel = Endpoint::from_shared(format!("http://{}", hole.address)).unwrap();
    let channel = channel.connect_lazy();
    looked_at_in_vain(GrpcProbe::over(channel, "")).await;
    // One connection for all looks, which is the channel's and goes with it.
    assert_eq!(hole.seen(), 1);
    eventually("it is closed", || hole.open() == 0).await;
}

/// Tasks and memory: a thousand looks in vain leave as many tasks behind as ten.
#[tokio::test]
async fn looks_that_are_dropped_leave_no_task_behind() {
    let hole = Hole::dig().await;
    let uri = format!("http://{}/", hole.address).parse().unwrap();
    let probe = HttpProbe::reqwest(reqwest::Client::new(), uri).unwrap();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for _ in 0..100 {
        // Dropped while it connects, sends or waits, whichever it comes to.
        let look = probe.look();
        let soon = Duration::from_millis(2);
        assert!(tokio::time::timeout(soon, look).await.is_err());
    }
    assert!(hole.seen() > 0);
    eventually("no task is left", || tasks() == before).await;
    assert_eq!(hole.open(), 0);
}

/// A network that swallows what is sent: the address is none of any machine.
#[tokio::test]
async fn a_connection_that_is_never_made_is_taken_back() {
    let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let health = watched("hole", TcpProbe::from(nowhere));
    let driver = Running(tokio::spawn(health.clone().drive()));
    // Where there is no network at all it is known at once.
    let is_down = || matches!(health.why("hole"), Some(Why::TimedOut | Why::Unreachable));
    eventually("it is not there", is_down).await;
    drop(driver);
}
