use deadpool_postgres::{Manager, Pool};
use mainstay::health::{PostgresProbe, SqliteProbe, Verdict};
use rusqlite::Connection;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use super::*;

#[tokio::test]
async fn a_file_of_sqlite_is_up_and_what_is_none_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("of?a=journal.sqlite");
    let probe = SqliteProbe::new(&path);
    assert_eq!(look(&probe).await, Sample::down(Why::Unreachable));
    assert!(!path.exists(), "a look makes no file");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("CREATE TABLE entry (id INTEGER)")
        .unwrap();
    assert_eq!(look(&probe).await, Sample::UP);
    // Somebody writes: with a rollback journal nobody else reads meanwhile.
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(look(&probe).await, Sample::down(Why::TimedOut));
    writer
        .execute_batch("COMMIT; PRAGMA journal_mode = WAL; BEGIN IMMEDIATE")
        .unwrap();
    assert_eq!(
        look(&probe).await,
        Sample::UP,
        "with a log one reads beside a writer"
    );
    drop(writer);
    std::fs::write(&path, "x".repeat(5_000)).unwrap();
    assert_eq!(look(&probe).await, Sample::down(Why::Malformed));
    std::fs::write(&path, "").unwrap();
    assert_eq!(look(&probe).await, Sample::down(Why::Malformed), "empty");
    let folder = SqliteProbe::new(folder.path());
    assert_eq!(look(&folder).await.verdict(), Verdict::Down);
}

/// As much of a PostgreSQL server as a probe sees: it lets everybody in, and answers queries as told.
struct Server {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    _listening: Running,
}

#[derive(Clone, Copy)]
enum Answers {
    Row(&'static str),
    Error,
    Hangs,
    Closes,
}

impl Server {
    async fn start(answers: Answers) -> Self {
        let (listener, address) = listen().await;
        let open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&open);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _gone = serve(stream, answers).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            open,
            _listening: Running(listening),
        }
    }

    fn pool(&self) -> Pool {
        pool(self.address)
    }
}

fn pool(address: SocketAddr) -> Pool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(address.port()).user("erp");
    let manager = Manager::new(config, NoTls);
    Pool::builder(manager).max_size(1).build().unwrap()
}

fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], content].concat()
}

async fn serve(mut stream: TcpStream, answers: Answers) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut startup).await?;
    let (welcome, ready) = (message(b'R', &[0; 4]), message(b'Z', b"I"));
    stream.write_all(&[welcome, ready.clone()].concat()).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let mut content = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut content).await?;
        if kind != b'Q' {
            return Ok(());
        }
        match answers {
            Answers::Row(value) => {
                // One column of text, one row, and how many there were.
                let column = b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
                let size = u32::try_from(value.len()).unwrap().to_be_bytes();
                let row = [b"\0\x01", &size[..], value.as_bytes()].concat();
                let done = message(b'C', b"SELECT 1\0");
                let answer = [
                    message(b'T', column),
                    message(b'D', &row),
                    done,
                    ready.clone(),
                ];
                stream.write_all(&answer.concat()).await?;
            }
            Answers::Error => {
                let error = message(b'E', b"SERROR\0C53300\0Ms3cr3t\0\0");
                stream.write_all(&[error, ready.clone()].concat()).await?;
            }
            Answers::Hangs => {}
            Answers::Closes => return Ok(()),
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_is_up_and_one_that_only_reads_no_primary() {
    for (answers, any, primary) in [
        (Answers::Row("off"), Sample::UP, Sample::UP),
        (Answers::Row("on"), Sample::UP, Sample::down(Why::ReadOnly)),
        (Answers::Row("?"), Sample::UP, Sample::down(Why::Malformed)),
        (
            Answers::Error,
            Sample::down(Why::Failed),
            Sample::down(Why::Failed),
        ),
        (
            Answers::Closes,
            Sample::down(Why::Unreachable),
            Sample::down(Why::Unreachable),
        ),
    ] {
        let server = Server::start(answers).await;
        let probe = PostgresProbe::new(server.pool());
        assert_eq!(look(&probe).await, any);
        assert_eq!(look(&probe.writable()).await, primary);
    }
    let nobody = PostgresProbe::new(pool(closed().await));
    assert_eq!(look(&nobody).await, Sample::down(Why::Unreachable));
}

/// What owes no answer goes back to the pool, so one connection is enough for all looks.
#[tokio::test]
async fn looks_share_the_connection_of_the_pool() {
    for answers in [Answers::Row("off"), Answers::Error] {
        let server = Server::start(answers).await;
        let pool = server.pool();
        for _ in 0..5 {
            look(&PostgresProbe::new(pool.clone())).await;
        }
        assert_eq!(pool.status().available, 1);
        assert_eq!(server.open.load(Ordering::SeqCst), 1);
    }
}

/// A connection whose answer nobody waited for is not left to the next.
#[tokio::test]
async fn a_look_that_is_dropped_takes_its_connection_along() {
    let server = Server::start(Answers::Hangs).await;
    let pool = server.pool();
    let health = watched("database", PostgresProbe::new(pool.clone()));
    let driver = Running(tokio::spawn(health.clone().drive()));
    let timed_out = || health.why("database") == Some(Why::TimedOut);
    eventually("it does not answer", timed_out).await;
    drop(driver);
    let left = || pool.status().size == 0 && server.open.load(Ordering::SeqCst) == 0;
    eventually("nothing is left", left).await;
}

/// All connections are taken: that is what a caller of the pool would see.
#[tokio::test]
async fn a_pool_without_a_connection_to_spare_is_bad() {
    let server = Server::start(Answers::Row("off")).await;
    let pool = server.pool();
    let taken = pool.get().await.unwrap();
    let health = watched("database", PostgresProbe::new(pool.clone()));
    let _driver = Running(tokio::spawn(health.clone().drive()));
    let timed_out = || health.why("database") == Some(Why::TimedOut);
    eventually("none is to spare", timed_out).await;
    drop(taken);
    let is_up = || health.verdict("database") == Some(Verdict::Up);
    eventually("it is up", is_up).await;
}
