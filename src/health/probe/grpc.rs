use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ::http::uri::PathAndQuery;
use ::http::{Request, Response};
use bytes::Bytes;
use http_body::Body;
use tonic::body::Body as Asked;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tower::{BoxError, Service};

use super::http::Asking;
use super::{Probe, Seen};
use crate::health::grpc::Messages;
use crate::health::sample::{Sample, Why};
use crate::health::serving::{LONGEST, Serving};
use crate::rt;
use crate::scope::Scope;
use crate::sync::{Mutex, lock};

/// Looks at a service by the gRPC health protocol: `grpc.health.v1.Health/Check`.
///
/// | answer | sample |
/// |---|---|
/// | `SERVING` | up |
/// | `NOT_SERVING` | down |
/// | `UNKNOWN`, or a status that is none of the protocol's | unknown: it does not know itself |
/// | `NOT_FOUND`, `SERVICE_UNKNOWN` | unknown: it does not know the service |
/// | `UNIMPLEMENTED` | unknown: the server has no health service, which says nothing about its others |
/// | `UNAUTHENTICATED`, `PERMISSION_DENIED` | unknown: this look has not the rights |
/// | `UNAVAILABLE`; no connection | down |
/// | `DEADLINE_EXCEEDED`, `CANCELLED` | down: no answer in time |
/// | another status, or no message of the protocol | down |
///
/// Who does not serve at all, and whom a look cannot tell from that, is down; who answers and has nothing to say about the
/// service is unknown, since a server that was set up without a health service is no outage. The look's time is sent
/// along as the call's.
///
/// # Cancel safety
///
/// A look that is dropped drops its call.
///
/// # Example
///
/// ```
/// use mainstay::health::{GrpcProbe, Watch};
/// use tonic::transport::Endpoint;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
/// let watch = Watch::new("ledger", GrpcProbe::over(channel, "ledger.v1.Ledger"));
/// # drop(watch);
/// # }
/// ```
///
/// # Source
///
/// The gRPC health checking protocol: a client can take a server that does not answer in time for unhealthy, and should
/// be able to handle one without the service.
#[derive(Clone)]
pub struct GrpcProbe {
    service: Arc<str>,
    ask: Arc<dyn Fn(&str) -> Asking + Send + Sync>,
}

impl GrpcProbe {
    /// Asks about this service, or with an empty name about the whole server, over a clone of this channel for each look.
    ///
    /// Any client of tonic's will do; one that retries or breaks circuits is looked at itself.
    pub fn over<S, R>(channel: S, service: impl Into<Arc<str>>) -> Self
    where
        S: Service<Request<Asked>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError> + Send,
        R: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
    {
        let channel = Mutex::new(channel);
        Self {
            service: service.into(),
            ask: Arc::new(move |service| {
                let channel = lock(&channel).clone();
                Box::pin(call(channel, service.to_owned()))
            }),
        }
    }
}

impl Probe for GrpcProbe {
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        (self.ask)(&self.service)
    }
}

async fn call<S, R>(channel: S, service: String) -> Sample
where
    S: Service<Request<Asked>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(LONGEST);
    if grpc.ready().await.is_err() {
        return Sample::down(Why::Unreachable);
    }
    let mut request = tonic::Request::new(service);
    if let Some(deadline) = Scope::current().deadline() {
        request.set_timeout(deadline.since(rt::now()));
    }
    let codec = Messages::new(
        |service: String| Serving::encode_request(&service),
        Serving::decode,
    );
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    match grpc.unary(request, path, codec).await {
        Ok(response) => response
            .into_inner()
            .map_or(Sample::down(Why::Malformed), Serving::sample),
        Err(status) => of_status(&status),
    }
}

fn of_status(status: &Status) -> Sample {
    match status.code() {
        Code::NotFound => Serving::ServiceUnknown.sample(),
        Code::Unimplemented => Sample::unknown(Why::Unimplemented),
        Code::PermissionDenied | Code::Unauthenticated => Sample::unknown(Why::Denied),
        // Of a time that is over tonic's own clients say that the call was cancelled.
        Code::Cancelled | Code::DeadlineExceeded => Sample::down(Why::TimedOut),
        Code::Unavailable => Sample::down(Why::Unreachable),
        code => Sample::down(Why::Code(code.into())),
    }
}

impl fmt::Debug for GrpcProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcProbe")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
