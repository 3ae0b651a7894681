use std::convert::Infallible;

use ::http::header::{AUTHORIZATION, LOCATION};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use mainstay::health::{Expected, HttpProbe};
use reqwest::redirect::Policy;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::*;

const SECRET: &str = "s3cr3t";

struct Server {
    address: SocketAddr,
    /// How many pieces of the body without an end were asked for.
    pieces: Arc<AtomicUsize>,
    _serving: Running,
}

impl Server {
    async fn start() -> Self {
        let pieces = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&pieces);
        let endless = move || {
            let counted = Arc::clone(&counted);
            let piece = move |()| {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>("x".repeat(1_000))
            };
            let pieces = tokio_stream::iter(std::iter::repeat(()));
            async { Body::from_stream(pieces.map(piece)) }
        };
        let green = |request: Request<Body>| async move {
            let is_known = request.headers().get(AUTHORIZATION);
            if is_known.is_some_and(|value| value == SECRET) {
                Response::new(Body::from("green"))
            } else {
                let mut response = Response::new(Body::from(SECRET));
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                response
            }
        };
        let moved = || async { (StatusCode::FOUND, [(LOCATION, "/empty")]) };
        let app = Router::new()
            .route("/green", get(green))
            .route("/empty", get(|| async {}))
            .route("/long", get(|| async { "x".repeat(10_000) }))
            .route("/endless", get(endless))
            .route("/moved", get(moved))
            .fallback(|method: Method| async move {
                (StatusCode::SERVICE_UNAVAILABLE, method.to_string())
            });
        let (listener, address) = listen().await;
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            pieces,
            _serving: Running(serving),
        }
    }

    fn uri(&self, path: &str) -> Uri {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// The same question over both clients: HTTP/1 by reqwest, HTTP/2 by the channel of tonic, which is a tower service.
    fn both(&self, path: &str) -> [HttpProbe; 2] {
        let client = reqwest::Client::builder().redirect(Policy::none());
        let client = client.build().unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        [
            HttpProbe::reqwest(client, self.uri(path)).unwrap(),
            HttpProbe::over::<_, tonic::body::Body, _>(channel.connect_lazy(), self.uri(path)),
        ]
    }
}

fn authorized(probe: HttpProbe) -> HttpProbe {
    probe.header(AUTHORIZATION, HeaderValue::from_static(SECRET))
}

#[tokio::test]
async fn a_status_of_success_is_good_and_others_are_told() {
    let server = Server::start().await;
    for probe in server.both("/green") {
        assert_eq!(look(&probe).await, Sample::down(Why::Status(401)));
        let asked = Expected::statuses([401..=401]).unwrap();
        assert_eq!(look(&probe.clone().expects(asked)).await, Sample::UP);
        assert_eq!(look(&authorized(probe)).await, Sample::UP);
    }
    for probe in server.both("/moved") {
        assert_eq!(look(&probe).await, Sample::down(Why::Status(302)));
    }
    for probe in server.both("/nothing") {
        assert_eq!(look(&probe).await, Sample::down(Why::Status(503)));
    }
}

#[tokio::test]
async fn head_is_asked_for_and_has_no_body() {
    let server = Server::start().await;
    for probe in server.both("/green") {
        let expected = Expected::default().body(10, <[u8]>::is_empty);
        let probe = authorized(probe).expects(expected);
        assert_eq!(look(&probe).await, Sample::down(Why::Answer), "GET has one");
        assert_eq!(look(&probe.head()).await, Sample::UP);
    }
}

#[tokio::test]
async fn bodies_are_judged_up_to_their_bound() {
    let server = Server::start().await;
    let says =
        |longest, what: &'static [u8]| Expected::default().body(longest, move |body| body == what);
    for probe in server.both("/green").map(authorized) {
        for (expected, sample) in [
            (says(5, b"green"), Sample::UP),
            (says(5, b"red"), Sample::down(Why::Answer)),
            (says(4, b"gree"), Sample::down(Why::Long)),
            (says(0, b""), Sample::down(Why::Long)),
        ] {
            assert_eq!(look(&probe.clone().expects(expected)).await, sample);
        }
    }
    for probe in server.both("/empty") {
        assert_eq!(look(&probe.expects(says(0, b""))).await, Sample::UP);
    }
    let anything = || Expected::default().body(4_096, |_| true);
    for path in ["/long", "/endless"] {
        for probe in server.both(path) {
            let probe = probe.expects(anything());
            assert_eq!(look(&probe).await, Sample::down(Why::Long), "{path}");
        }
    }
    // What is too long is let go: the server is asked for no more than what fits on the way.
    let pieces = || server.pieces.load(Ordering::SeqCst);
    let passes = || tokio::time::sleep(Duration::from_millis(200));
    passes().await;
    let before = pieces();
    passes().await;
    assert_eq!(pieces(), before);
}

/// A client of which the test is the other side: what is asked, and a body that breaks off.
#[tokio::test]
async fn a_body_that_breaks_off_is_no_answer_and_an_error_no_connection() {
    let broken = service_fn(|request: Request<()>| async move {
        assert_eq!(
            (request.method(), request.uri().path()),
            (&Method::GET, "/x")
        );
        let pieces = [Ok("gre"), Err(std::io::Error::other(SECRET))];
        let body = Body::from_stream(tokio_stream::iter(pieces));
        Ok::<_, Infallible>(Response::new(body))
    });
    let uri = Uri::from_static("http://part/x");
    let probe = HttpProbe::over(broken, uri.clone());
    assert_eq!(look(&probe).await, Sample::UP, "of which nothing is read");
    let probe = probe.expects(Expected::default().body(9, |_| true));
    assert_eq!(look(&probe).await, Sample::down(Why::Malformed));
    let fails = |_: Request<()>| async { Err::<Response<Body>, _>(std::io::Error::other(SECRET)) };
    let probe = HttpProbe::over(service_fn(fails), uri);
    assert_eq!(look(&probe).await, Sample::down(Why::Unreachable));
    let uri = format!("http://{}/", closed().await).parse().unwrap();
    let probe = HttpProbe::reqwest(reqwest::Client::new(), uri).unwrap();
    assert_eq!(look(&probe).await, Sample::down(Why::Unreachable));
}

/// Neither where it is asked, nor by what right, nor what was answered.
#[tokio::test]
async fn no_secret_is_told() {
    let server = Server::start().await;
    let uri = format!("http://user:{SECRET}@{}/green?{SECRET}", server.address);
    let probe = HttpProbe::reqwest(reqwest::Client::new(), uri.parse().unwrap()).unwrap();
    let probe = authorized(probe).expects(Expected::default().body(99, |_| false));
    let health = watched("part", probe.clone());
    let driver = Running(tokio::spawn(health.clone().drive()));
    eventually("it was looked at", || health.why("part").is_some()).await;
    let told = format!("{probe:?} {health:?} {}", health.readiness());
    assert!(!told.contains(SECRET), "{told}");
    assert!(
        told.contains("part down: not the expected answer"),
        "{told}"
    );
    drop(driver);
    let refused = HttpProbe::reqwest(
        reqwest::Client::new(),
        format!("/{SECRET}").parse().unwrap(),
    );
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "uri: expected an absolute address, got another one");
}
