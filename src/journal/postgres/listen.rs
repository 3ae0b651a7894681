//! The connection that hears of changes: `LISTEN` belongs to a session, so it is none of the pool's.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::ready;
use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};

use super::Store;
use crate::rt;

/// Between two attempts to connect, at first and at most: nothing depends on hearing, polling goes on beneath.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A connection that says nothing is asked so often whether it is there: a peer that vanished sends no farewell.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Hears for as long as the journal lives; whoever drops the journal stops the task.
pub(super) async fn run<T>(store: Arc<Store>, config: Config, tls: T)
where
    T: MakeTlsConnect<Socket> + Clone + Send + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let connected = tokio::select! {
            connected = config.connect(tls.clone()) => connected.ok(),
            () = rt::sleep(store.patience) => None,
        };
        if let Some((client, connection)) = connected {
            hear(&store, &client, connection, &mut pause).await;
            store.listening.store(false, Ordering::Relaxed);
            // Whoever waits was promised nothing, and may have missed something.
            store.changed.notify_waiters();
        }
        rt::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Returns when the connection is of no more use.
async fn hear<S, T>(
    store: &Store,
    client: &Client,
    mut connection: Connection<S, T>,
    pause: &mut Duration,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let messages = poll_fn(|cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(_))) => store.changed.notify_waiters(),
                // Notices are the server's small talk.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return std::task::Poll::Ready(()),
            }
        }
    });
    let alive = async {
        let listen = format!("LISTEN \"{}\"", store.schema.channel());
        if !answered(store, client, &listen).await {
            return;
        }
        *pause = FIRST_PAUSE;
        store.listening.store(true, Ordering::Relaxed);
        // What happened before it listened.
        store.changed.notify_waiters();
        loop {
            rt::sleep(SIGN_OF_LIFE).await;
            if !answered(store, client, "SELECT 1").await {
                return;
            }
        }
    };
    // One task does both: the answers to the second come in through the first.
    tokio::select! {
        () = messages => {}
        () = alive => {}
    }
}

async fn answered(store: &Store, client: &Client, statement: &str) -> bool {
    tokio::select! {
        answer = client.batch_execute(statement) => answer.is_ok(),
        () = rt::sleep(store.patience) => false,
    }
}
