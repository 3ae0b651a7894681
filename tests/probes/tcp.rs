use mainstay::health::TcpProbe;

use super::*;

#[tokio::test]
async fn what_accepts_is_up_and_its_connection_is_closed() {
    let hole = Hole::dig().await;
    let port = hole.address.port();
    for probe in [
        TcpProbe::from(hole.address),
        TcpProbe::new("127.0.0.1", port),
        TcpProbe::new("localhost", port),
    ] {
        assert_eq!(look(&probe).await, Sample::UP, "{probe:?}");
    }
    eventually("all are closed", || hole.seen() == 3 && hole.open() == 0).await;
}

#[tokio::test]
async fn what_refuses_or_does_not_resolve_is_down() {
    let closed = closed().await;
    for probe in [TcpProbe::from(closed), TcpProbe::new("", closed.port())] {
        let down = Sample::down(Why::Unreachable);
        assert_eq!(look(&probe).await, down, "{probe:?}");
    }
}
