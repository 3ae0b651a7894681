//! Ended sagas outnumber all others, and cost nobody who asks for the others: a SQLite journal with so many of them beside
//! one with a thousand. `MAINSTAY_ENDED` says how many, `.ci/long ended` ten million, which need 5 GB for a while.
//! The same on PostgreSQL is `speed::claims_among_ended_logs` in `tests/journal_postgres`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures, and is told by the environment how many"
)]

#[path = "journal_postgres/crowd.rs"]
mod crowd;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use mainstay::journal::sqlite::SqliteJournal;
use rusqlite::Connection;

/// Writes ended logs of two records each, as fast as SQLite does.
fn fill(path: &Path, ended: u32) {
    drop(SqliteJournal::open(path).unwrap());
    let shell = Connection::open(path).unwrap();
    // Nothing of this must survive a crash.
    shell
        .execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;",
        )
        .unwrap();
    let from_on = |before: u32, until: u32| {
        format!(
            "WITH RECURSIVE n(x) AS (SELECT {before} + 1 UNION ALL SELECT x + 1 FROM n WHERE x < {until})"
        )
    };
    let mut before = 0;
    while before < ended {
        let until = ended.min(before + 1_000_000);
        let numbers = from_on(before, until);
        shell
            .execute_batch(&format!(
                "BEGIN;
                 {numbers} INSERT INTO log (id, tenant, kind, key, digest, status, epoch, records, claims, begun, stage,
                                            updated, written)
                 SELECT x, 't' || ((x - 1) % 100), 'pay', printf('ended-%08d', x), '0123456789abcdef0123456789abcdef',
                        'ended', 1, 2, 0, x, 'ship', x, x FROM n;
                 {numbers}, seq(y) AS (VALUES (1), (2))
                 INSERT INTO record (log, seq, epoch, at, tenant, format, body)
                 SELECT x, y, 1, x, 't' || ((x - 1) % 100), 1, '[{{\"done\":{{\"step\":\"ship\",\"output\":null}}}}]' FROM n, seq
                 ORDER BY x, y;
                 COMMIT;"
            ))
            .unwrap();
        before = until;
    }
}

async fn opened(path: &PathBuf) -> crowd::Asked {
    crowd::Asked::new(Arc::new(SqliteJournal::open(path).unwrap())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, where there are millions"]
async fn ended_logs_cost_claims_and_lists_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (
        folder.path().join("few.sqlite"),
        folder.path().join("many.sqlite"),
    );
    let (began, ended) = (Instant::now(), crowd::ended());
    fill(&few, 1_000);
    fill(&many, ended);
    println!(
        "{ended} ended logs in {:.0?}, {} MB",
        began.elapsed(),
        many.metadata().unwrap().len() >> 20
    );
    {
        let asked = (opened(&few).await, opened(&many).await);
        drop(asked);
    }
    crowd::forget(&few);
    crowd::forget(&many);
    let began = Instant::now();
    let journal = SqliteJournal::open(&many).unwrap();
    println!("opened in {:.1?}", began.elapsed());
    drop(journal);
    crowd::forget(&many);
    let (few, many) = (opened(&few).await, opened(&many).await);
    crowd::cold(&few, &many).await;
    crowd::warm(&few, &many).await;
}
