//! A TCP proxy that cuts connections at a chosen moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Cuts nothing.
const NEVER: i64 = i64::MAX;

/// The server says that it is ready, and in no transaction: what came before is decided.
const READY: &[u8] = b"Z\0\0\0\x05I";

#[derive(Default)]
struct Cuts {
    /// So many more messages go to the server before the connection is cut: the next is not seen by it.
    to_server: AtomicI64,
    /// So many more answers come from the server before the connection is cut: the next is not seen by the client.
    to_client: AtomicI64,
    /// No answer is passed on, and the connection is cut once the server is done.
    silent: AtomicBool,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    cuts: Arc<Cuts>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(Cuts::default());
        let shared = Arc::clone(&cuts);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cuts = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // Whichever ends first takes the other along: both halves are dropped.
                    tokio::select! {
                        () = pass(from_client, to_server, &cuts.to_server, None) => {}
                        () = pass(from_server, to_client, &cuts.to_client, Some(&cuts.silent)) => {}
                    }
                });
            }
        });
        let proxy = Self {
            port,
            cuts,
            listening,
        };
        proxy.heal();
        proxy
    }

    pub(crate) fn heal(&self) {
        self.cuts.to_server.store(NEVER, Ordering::SeqCst);
        self.cuts.to_client.store(NEVER, Ordering::SeqCst);
        self.cuts.silent.store(false, Ordering::SeqCst);
    }

    /// Lets the server carry out what it is asked next, a whole transaction, and cuts the connection instead of passing on
    /// any answer to that.
    pub(crate) fn cut_after_the_work(&self) {
        self.cuts.silent.store(true, Ordering::SeqCst);
    }

    /// Cuts the connection instead of passing on the message after `messages` more.
    pub(crate) fn cut_before_the_server(&self, messages: i64) {
        self.cuts.to_server.store(messages, Ordering::SeqCst);
    }

    /// Cuts it instead of passing on the answer after `answers` more.
    pub(crate) fn cut_after_the_server(&self, answers: i64) {
        self.cuts.to_client.store(answers, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    left: &AtomicI64,
    silent: Option<&AtomicBool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut swallowed = Vec::new();
    loop {
        let Ok(bytes @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if let Some(silent) = silent.filter(|silent| silent.load(Ordering::SeqCst)) {
            swallowed.extend_from_slice(&buffer[..bytes]);
            if swallowed.windows(READY.len()).any(|at| at == READY) {
                silent.store(false, Ordering::SeqCst);
                return;
            }
            continue;
        }
        let more = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            NEVER => Some(NEVER),
            // One cut; what connects next passes.
            ..=0 => Some(NEVER),
            left => Some(left - 1),
        });
        if more == Ok(0) || to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
