//! Test H: the power fails, and what was acknowledged is there; no record is there by half.
//!
//! A disk that loses power keeps what was synced and any part of what was not: some sectors and not others, in any
//! order, one of them torn. The journal syncs its log of changes (`-wal`) before it answers, and its main file before
//! it begins that log anew. So the tests keep what was synced, damage the rest as such a disk may, and open the journal.
//! What a sync promises is the disk's to keep; that one is made is SQLite's setting, which is read back at opening. As
//! SQLite does, they take it that a disk which rewrites a sector keeps the bytes of it that do not change.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it takes its seed from the environment"
)]

use std::path::Path;
use std::sync::Arc;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{
    Append, Begin, Begun, Journal as _, JournalError, Labels, LogId, Place, Post, Status,
};
use mainstay::rng::Rng;
use mainstay::time::Timestamp;

const SECTOR: usize = 512;

fn rng() -> Rng {
    let seed = std::env::var("MAINSTAY_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    Rng::new(seed)
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % (bound as u64).max(1)).unwrap()
}

/// What was acknowledged of one log: its records, and how many messages it has.
type Acknowledged = Vec<(LogId, Vec<String>, u64)>;

/// A journal under work, and what it has acknowledged.
struct Work {
    folder: tempfile::TempDir,
    journal: SqliteJournal,
    places: Vec<Place>,
    acknowledged: Acknowledged,
    rng: Rng,
}

impl Work {
    fn new(rng: Rng) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap();
        Self {
            folder,
            journal,
            places: Vec::new(),
            acknowledged: Vec::new(),
            rng,
        }
    }

    /// One acknowledged change: a log, a record of some size, a message.
    async fn step(&mut self, number: usize) {
        let labels = Arc::new(Labels::new("acme"));
        let at = Timestamp::from_millis(1);
        let logs = self.places.len();
        let body = format!("[{number},\"{}\"]", "x".repeat(below(&mut self.rng, 6_000)));
        match below(&mut self.rng, 4) {
            0 => {
                let key = number.to_string();
                let begin = Begin::new(labels, "pay", key, "digest", 1, body.clone(), at);
                let Begun::Created(head) = self.journal.begin(begin).await.unwrap() else {
                    panic!("the key was free")
                };
                self.places.push(head.place);
                self.acknowledged.push((head.id, vec![body], 0));
            }
            1 if logs > 0 => {
                let log = below(&mut self.rng, logs);
                let post = Post::new(self.acknowledged[log].0, number.to_string(), 1, body, at);
                self.journal.post(post).await.unwrap();
                self.acknowledged[log].2 += 1;
            }
            _ if logs > 0 => {
                let log = below(&mut self.rng, logs);
                let (id, running) = (self.acknowledged[log].0, Status::Running);
                let place = self.places[log];
                let append = Append::new(id, place, running, labels, 1, body.clone(), at);
                self.journal.append(append).await.unwrap();
                self.places[log] = place.after();
                self.acknowledged[log].1.push(body);
            }
            _ => {}
        }
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("journal.sqlite")).unwrap()
    }

    fn changes(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("journal.sqlite-wal")).unwrap_or_default()
    }
}

/// Opens a disk that holds these two files, and finds everything that was acknowledged.
async fn holds(file: &[u8], changes: &[u8], acknowledged: &Acknowledged, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    std::fs::write(&path, file).unwrap();
    std::fs::write(folder.path().join("journal.sqlite-wal"), changes).unwrap();
    let sound = check(&path, acknowledged).await;
    sound.unwrap_or_else(|error| panic!("{what}: {error}"));
}

async fn check(path: &Path, acknowledged: &Acknowledged) -> Result<(), String> {
    let said = |error: JournalError| format!("{error:?}");
    let journal = SqliteJournal::open(path).map_err(said)?;
    for (id, bodies, mail) in acknowledged {
        // `load` refuses a log of which a part is missing.
        let log = journal.load(*id).await.map_err(said)?;
        let found: Vec<&str> = log.records.iter().map(|record| &*record.body).collect();
        // More may be there: what was on its way when the power failed.
        if !found.iter().zip(bodies).all(|(found, due)| found == due) || found.len() < bodies.len()
        {
            return Err(format!(
                "log {id} has {} of {} records",
                found.len(),
                bodies.len()
            ));
        }
        if log.head.mail.posted < *mail {
            return Err(format!(
                "log {id} has {} of {mail} messages",
                log.head.mail.posted
            ));
        }
    }
    drop(journal);
    let shell = rusqlite::Connection::open(path).map_err(|error| error.to_string())?;
    let sound: String = shell
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if sound == "ok" { Ok(()) } else { Err(sound) }
}

/// The log of changes is cut at any sector: each commit before the cut is there, and the one in the cut is not.
#[tokio::test]
async fn a_log_of_changes_that_is_cut_keeps_what_was_acknowledged() {
    let mut work = Work::new(rng());
    let file = work.file();
    // How long the log of changes was when so much was acknowledged.
    let mut commits = vec![(work.changes().len(), Vec::new())];
    for number in 0..60 {
        work.step(number).await;
        commits.push((work.changes().len(), work.acknowledged.clone()));
    }
    assert_eq!(work.file(), file, "nothing was moved to the main file yet");
    let (first, last) = (commits[0].0, work.changes().len());
    let changes = work.changes();
    let mut cuts: Vec<usize> = (0..60)
        .map(|_| (first / SECTOR + 1 + below(&mut work.rng, (last - first) / SECTOR)) * SECTOR)
        .collect();
    cuts.extend(
        commits
            .iter()
            .map(|(length, _)| *length)
            .filter(|length| length % 5 == 0),
    );
    for cut in cuts {
        let cut = cut.min(last);
        let (_, acknowledged) = commits.iter().rfind(|(length, _)| *length <= cut).unwrap();
        holds(
            &file,
            &changes[..cut],
            acknowledged,
            &format!("cut at {cut}"),
        )
        .await;
    }
    // Were a record acknowledged that is not in the log yet, this would tell: the control.
    let (length, _) = commits[30];
    let ahead = &commits[40].1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    std::fs::write(&path, &file).unwrap();
    std::fs::write(folder.path().join("journal.sqlite-wal"), &changes[..length]).unwrap();
    assert!(check(&path, ahead).await.is_err());
}

/// Of what was written after the last sync any sectors are there, the others old, empty or torn.
#[tokio::test]
async fn sectors_that_were_not_synced_may_be_anything() {
    let mut work = Work::new(rng());
    let file = work.file();
    for number in 0..25 {
        work.step(number).await;
    }
    let (synced, acknowledged) = (work.changes().len(), work.acknowledged.clone());
    for number in 25..40 {
        work.step(number).await;
    }
    let changes = work.changes();
    for round in 0..40 {
        let mut disk = changes.clone();
        let mut sector = synced;
        while sector < disk.len() {
            let end = (sector / SECTOR + 1) * SECTOR;
            let range = sector..end.min(disk.len());
            match below(&mut work.rng, 4) {
                0 => disk[range].fill(0),
                1 => disk[range].fill_with(|| u8::try_from(work.rng.next_u64() & 0xff).unwrap()),
                2 => {
                    // Torn in its middle.
                    let torn = range.start + below(&mut work.rng, range.len());
                    disk[torn..range.end].fill(0);
                }
                _ => {}
            }
            sector = end;
        }
        holds(&file, &disk, &acknowledged, &format!("round {round}")).await;
    }
}

/// While changes are moved to the main file, any of its pages are old, new or torn: the log of changes has them all.
#[tokio::test]
async fn a_main_file_that_was_being_written_is_made_good() {
    let mut work = Work::new(rng());
    let old = work.file();
    for number in 0..60 {
        work.step(number).await;
    }
    let (changes, acknowledged) = (work.changes(), work.acknowledged.clone());
    let path = work.folder.path().join("journal.sqlite");
    drop(work.journal);
    // Closing moved everything.
    let new = std::fs::read(&path).unwrap();
    assert_ne!(new, old);
    for round in 0..30 {
        let mut disk = new.clone();
        for start in (0..disk.len()).step_by(SECTOR) {
            let end = (start + SECTOR).min(disk.len());
            match below(&mut work.rng, 3) {
                0 if end <= old.len() => disk[start..end].copy_from_slice(&old[start..end]),
                1 if start >= old.len() => disk[start..end].fill(0),
                _ => {}
            }
        }
        holds(&disk, &changes, &acknowledged, &format!("round {round}")).await;
    }
}

/// The log of changes begins anew once it is long: its old frames lie behind the new ones, and are not taken for them.
#[tokio::test]
async fn a_log_of_changes_that_began_anew_is_read_to_its_end_only() {
    let mut work = Work::new(rng());
    let fresh = work.file();
    let mut number = 0;
    // SQLite begins anew after a thousand pages.
    while work.file() == fresh {
        work.step(number).await;
        number += 1;
        assert!(number < 4_000, "nothing was moved to the main file");
    }
    for _ in 0..20 {
        work.step(number).await;
        number += 1;
        let (file, changes) = (work.file(), work.changes());
        holds(
            &file,
            &changes,
            &work.acknowledged,
            &format!("after {number} changes"),
        )
        .await;
    }
}
