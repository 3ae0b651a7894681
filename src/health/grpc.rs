//! The gRPC health protocol, as a server: the same verdicts that `/readyz` serves.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tonic::body::Body as Answer;
use tonic::server::{Grpc, NamedService};
use tower::{BoxError, Service};

mod codec;
mod watch;

pub(super) use codec::Messages;

use self::watch::{Place, Places, Watching};
use super::driver::Health;
use super::serving::{LONGEST, Serving};
use super::verdict::Verdict;
use crate::degrade::{Gate, Kind};
use crate::error::ConfigError;
use crate::num::{Period, count};

/// Answers the gRPC health protocol, `grpc.health.v1.Health`: a service to mount beside others.
///
/// | asked about | serves |
/// |---|---|
/// | nothing, `""` | while the process is [ready](Health::readiness) |
/// | a [service](Self::service) | while all components that it needs are up or degraded; one that is only followed, also while nothing is known of it |
/// | a service behind a [gate](Self::gated) | while its capability is served at all, if only in part or into a queue |
/// | a component, by its name | while it is up or degraded |
/// | anything else | `NOT_FOUND` for a check, `SERVICE_UNKNOWN` for a watch |
///
/// What is down is `NOT_SERVING`, what is unknown `UNKNOWN`; a client takes both for not healthy. While the process
/// [drains](Health::drain) all of them are `NOT_SERVING`, and watches end after they were told, with `UNAVAILABLE`, so that a
/// server that waits for its calls to end is not held up.
///
/// A watch is told at once how it is, and then each change, within a second. There are at most 100 at a time; further ones are
/// refused with `RESOURCE_EXHAUSTED`. Clones share that number. After an hour, or up to ten minutes more, a watch ends with
/// `UNAVAILABLE`, and whoever is there watches again: a caller that went without a word frees its place. Who does not read at
/// all keeps its call until its connection ends, also while the process drains; give the server a keepalive. It names components, so it belongs on a port that only
/// the platform and known callers reach.
///
/// # Cancel safety
///
/// A watch whose caller goes frees its place; nothing else is kept of it.
///
/// # Example
///
/// ```
/// use mainstay::health::{ConsecutiveConfig, GrpcHealthService, Health};
/// use tonic::transport::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let health = Health::builder()
///     .reported("database", ConsecutiveConfig::default())
///     .needs("database")
///     .build()?;
/// let served = GrpcHealthService::new(health.clone()).service("ledger.v1.Ledger", ["database"])?;
/// let server = Server::builder().add_service(served);
/// // When it ends: watchers are told, and then let go.
/// health.drain(true);
/// # drop(server);
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// The gRPC health checking protocol.
#[derive(Clone)]
pub struct GrpcHealthService {
    health: Health,
    services: Arc<[(Arc<str>, Needs)]>,
    places: Places,
    every: Period,
}

/// What a service stands for.
#[derive(Clone)]
enum Needs {
    Components(Arc<[Arc<str>]>),
    Gate(Gate),
}

impl GrpcHealthService {
    /// Serves what is known there.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self {
            health,
            services: Arc::new([]),
            places: Places::new(count(100)),
            every: Period::secs(1),
        }
    }

    /// A service of this name, as its callers know it, that needs these components.
    ///
    /// # Errors
    ///
    /// If there is no such component, or the name is empty, too long to be asked about, or there already.
    pub fn service<'c>(
        self,
        name: impl Into<Arc<str>>,
        components: impl IntoIterator<Item = &'c str>,
    ) -> Result<Self, ConfigError> {
        let mut needs = Vec::new();
        for component in components {
            if self.health.verdict(component).is_none() {
                let all: Vec<_> = self.health.verdicts();
                let names: Vec<_> = all.iter().map(|(name, _)| &**name).collect();
                let expected = format!("one of {}", names.join(", "));
                return Err(ConfigError::new("components", component, expected));
            }
            needs.push(component.into());
        }
        self.add(name.into(), Needs::Components(needs.into()))
    }

    /// A service of this name, as its callers know it, that is a capability of a [ladder](crate::degrade).
    ///
    /// # Errors
    ///
    /// If the name is empty, too long to be asked about, or there already.
    pub fn gated(self, name: impl Into<Arc<str>>, gate: Gate) -> Result<Self, ConfigError> {
        self.add(name.into(), Needs::Gate(gate))
    }

    /// How many watches there may be at a time. Default 100.
    #[must_use]
    pub fn watches(mut self, most: NonZeroU32) -> Self {
        self.places = Places::new(most);
        self
    }

    /// How often a watch looks whether anything changed. Default 1 s.
    #[must_use]
    pub const fn every(mut self, interval: Period) -> Self {
        self.every = interval;
        self
    }

    fn add(mut self, name: Arc<str>, needs: Needs) -> Result<Self, ConfigError> {
        let is_there = self.services.iter().any(|(there, _)| *there == name);
        // With its tag and its length it must fit into the longest message that is read.
        if name.is_empty() || name.len() > LONGEST - 3 || is_there {
            let expected = "each name once, of 1 to 1021 bytes";
            return Err(ConfigError::new("service", name, expected));
        }
        let before = self.services.iter().cloned();
        self.services = before.chain([(name, needs)]).collect();
        Ok(self)
    }

    /// How a service is; `None` where there is no such one.
    fn serving(&self, name: &str) -> Option<Serving> {
        let of = |does: bool| {
            if does {
                Serving::Serving
            } else {
                Serving::NotServing
            }
        };
        let serving = if name.is_empty() {
            of(self.health.readiness().is_ready())
        } else if let Some((_, needs)) = self.services.iter().find(|(there, _)| **there == *name) {
            match needs {
                Needs::Components(components) => of_verdict(
                    components
                        .iter()
                        .filter_map(|component| self.health.hindrance(component))
                        .fold(Verdict::Up, Verdict::both),
                ),
                Needs::Gate(gate) => of(is_served(gate.kind())),
            }
        } else {
            of_verdict(self.health.verdict(name)?)
        };
        Some(if self.health.is_draining() {
            Serving::NotServing
        } else {
            serving
        })
    }
}

const fn of_verdict(verdict: Verdict) -> Serving {
    match verdict {
        Verdict::Up | Verdict::Degraded => Serving::Serving,
        Verdict::Down => Serving::NotServing,
        Verdict::Unknown => Serving::Unknown,
    }
}

const fn is_served(kind: Kind) -> bool {
    kind.reads() || kind.writes() || matches!(kind, Kind::Queued)
}

impl NamedService for GrpcHealthService {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl<B> Service<Request<B>> for GrpcHealthService
where
    B: Body<Error: Into<BoxError> + Send> + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let served = self.clone();
        let codec = Messages::new(Serving::encode, |message| {
            Serving::decode_request(message).map(str::to_owned)
        });
        let mut grpc = Grpc::new(codec).max_decoding_message_size(LONGEST);
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => {
                Box::pin(async move { Ok(grpc.unary(Check(served), request).await) })
            }
            "/grpc.health.v1.Health/Watch" => {
                Box::pin(async move { Ok(grpc.server_streaming(Watch(served), request).await) })
            }
            _ => Box::pin(ready(Ok(
                Status::unimplemented("no such method").into_http()
            ))),
        }
    }
}

/// The name of a service; `None` where the message was none.
type Asked = tonic::Request<Option<String>>;

fn name(asked: Asked) -> Result<String, Status> {
    let name = asked.into_inner();
    name.ok_or_else(|| Status::invalid_argument("not a HealthCheckRequest"))
}

struct Check(GrpcHealthService);

impl Service<Asked> for Check {
    type Response = tonic::Response<Serving>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: Asked) -> Self::Future {
        ready(name(asked).and_then(|name| {
            let serving = self.0.serving(&name);
            let serving = serving.ok_or_else(|| Status::not_found("no such service"))?;
            Ok(tonic::Response::new(serving))
        }))
    }
}

struct Watch(GrpcHealthService);

impl Service<Asked> for Watch {
    type Response = tonic::Response<Watching>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: Asked) -> Self::Future {
        ready(name(asked).and_then(|name| {
            let place = Place::take(&self.0.places);
            let place = place.ok_or_else(|| Status::resource_exhausted("too many watches"))?;
            let watching = Watching::new(self.0.clone(), name, place);
            Ok(tonic::Response::new(watching))
        }))
    }
}

impl fmt::Debug for GrpcHealthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services.iter().map(|(name, _)| name);
        f.debug_struct("GrpcHealthService")
            .field("health", &self.health)
            .field("services", &services.collect::<Vec<_>>())
            .field("watches", &self.places)
            .finish_non_exhaustive()
    }
}
