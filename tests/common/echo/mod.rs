//! A gRPC callee on a real socket that does what it is told and notes what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mainstay::deadline::DeadlineLayer;
use mainstay::grpc::AsResponse;
use mainstay::http::DeadlineHeader;
use mainstay::num::Period;
use pb::echo_client::EchoClient;
use pb::echo_server::{Echo, EchoServer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapRequestLayer;

#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
#[rustfmt::skip]
pub(crate) mod pb;

use pb::Said;

/// What the next call meets.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Answer,
    /// Before any message: a trailers-only answer.
    Fail(Status),
    /// After so many messages: trailers after a body.
    FailAfter(u32, Status),
    Hang,
}

/// One call as the callee saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) said: Vec<String>,
    pub(crate) timeout: Option<String>,
    /// Attempts before it.
    pub(crate) previous: Option<String>,
    pub(crate) at: Instant,
}

#[derive(Clone, Default)]
struct Script {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A server that stops when it is dropped.
pub(crate) struct Callee {
    address: SocketAddr,
    script: Script,
    task: JoinHandle<()>,
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Callee {
    /// Plays `turns` one by one, then answers.
    pub(crate) async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::serve(turns, false).await
    }

    /// Takes over the caller's deadline, and starts nothing whose time is over.
    pub(crate) async fn start_honouring() -> Self {
        Self::serve([], true).await
    }

    async fn serve(turns: impl IntoIterator<Item = Turn>, honour: bool) -> Self {
        let script = Script::default();
        script.turns.lock().unwrap().extend(turns);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpListenerStream::new(listener);
        let service = EchoServer::new(script.clone());
        let task = tokio::spawn(async move {
            let served = if honour {
                Server::builder()
                    .layer(MapRequestLayer::new(late))
                    .layer(DeadlineHeader::grpc().honour())
                    .layer(DeadlineLayer::new("echo", Period::secs(5)).refuse_with(AsResponse))
                    .add_service(service)
                    .serve_with_incoming(incoming)
                    .await
            } else {
                Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming)
                    .await
            };
            served.unwrap();
        });
        Self {
            address,
            script,
            task,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(format!("http://{}", self.address))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// How many calls arrived.
    pub(crate) fn calls(&self) -> usize {
        self.script.seen.lock().unwrap().len()
    }
}

pub(crate) fn channel(url: String) -> Channel {
    Endpoint::from_shared(url).unwrap().connect_lazy()
}

/// A client without a stack, to say what no stack would.
pub(crate) fn bare(callee: &Callee) -> EchoClient<Channel> {
    EchoClient::new(callee.channel())
}

pub(crate) fn said(text: &str) -> Said {
    Said {
        text: text.to_owned(),
        times: 3,
    }
}

/// The network takes longer than the caller has: no client of tonic's sends a call whose time is over.
fn late(mut request: http::Request<tonic::body::Body>) -> http::Request<tonic::body::Body> {
    if request.headers().contains_key("test-arrives-late") {
        let headers = request.headers_mut();
        headers.insert("grpc-timeout", http::HeaderValue::from_static("0n"));
    }
    request
}

impl Script {
    fn note<T>(&self, request: &Request<T>, said: Vec<String>) -> Turn {
        let text = |name| {
            let value = request.metadata().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        self.seen.lock().unwrap().push(Seen {
            said,
            timeout: text("grpc-timeout"),
            previous: text("grpc-previous-rpc-attempts"),
            at: Instant::now(),
        });
        let turn = self.turns.lock().unwrap().pop_front();
        turn.unwrap_or(Turn::Answer)
    }

    async fn one(turn: Turn, answer: Said) -> Result<Response<Said>, Status> {
        match turn {
            Turn::Answer => Ok(Response::new(answer)),
            Turn::Fail(status) | Turn::FailAfter(_, status) => Err(status),
            Turn::Hang => std::future::pending().await,
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Said, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for Script {
    type ServerStreamStream = Answers;
    type BidiStream = Answers;

    async fn unary(&self, request: Request<Said>) -> Result<Response<Said>, Status> {
        let turn = self.note(&request, vec![request.get_ref().text.clone()]);
        Self::one(turn, request.into_inner()).await
    }

    async fn server_stream(&self, request: Request<Said>) -> Result<Response<Answers>, Status> {
        let turn = self.note(&request, vec![request.get_ref().text.clone()]);
        let said = request.into_inner();
        let times = said.times as usize;
        let answers = std::iter::repeat_n(Ok(said), times);
        Ok(Response::new(match turn {
            Turn::Answer => Box::pin(tokio_stream::iter(answers)),
            Turn::Fail(status) => return Err(status),
            Turn::FailAfter(n, status) => {
                let answers = answers.take(n as usize).chain([Err(status)]);
                Box::pin(tokio_stream::iter(answers))
            }
            Turn::Hang => Box::pin(tokio_stream::pending()),
        }))
    }

    async fn client_stream(
        &self,
        mut request: Request<Streaming<Said>>,
    ) -> Result<Response<Said>, Status> {
        let mut texts = Vec::new();
        while let Some(said) = request.get_mut().message().await? {
            texts.push(said.text);
        }
        let turn = self.note(&request, texts.clone());
        Self::one(turn, said(&texts.join(" "))).await
    }

    async fn bidi(&self, request: Request<Streaming<Said>>) -> Result<Response<Answers>, Status> {
        drop(self.note(&request, Vec::new()));
        Ok(Response::new(Box::pin(
            request.into_inner().map(|said| said),
        )))
    }
}
