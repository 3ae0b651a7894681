//! Who runs the sagas, and how each is set up. Nobody is crippled: what a row sets is in its `settings`.

mod mainstay;

#[cfg(feature = "cano")]
mod cano;
#[cfg(feature = "dbos")]
mod dbos;
#[cfg(feature = "durare")]
mod durare;
#[cfg(feature = "duroxide")]
mod duroxide;
#[cfg(feature = "steno")]
mod steno;

use super::job::Open;

/// Where the sagas are kept. Rows are compared with rows of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nowhere: gone with the process.
    Memory,
    /// In a file, which the process syncs.
    File,
    /// In a PostgreSQL server, which syncs.
    Postgres,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Memory, Self::File, Self::Postgres];

    pub fn title(self) -> &'static str {
        match self {
            Self::Memory => "In memory",
            Self::File => "In a file",
            Self::Postgres => "In PostgreSQL",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    pub id: &'static str,
    pub label: &'static str,
    pub kind: Kind,
    /// Whether what it has acknowledged is on the disk: it survives a loss of power.
    pub durable: bool,
    /// How many sagas in flight it is asked for at most.
    pub most: usize,
    /// How it is set up, and what else one should know.
    pub settings: &'static str,
    pub open: Open,
}

impl Entrant {
    pub fn ours(&self) -> bool {
        self.id.starts_with("mainstay")
    }
}

/// Our row of this kind, with which the others are compared.
pub fn ours(kind: Kind) -> &'static str {
    match kind {
        Kind::Memory => "mainstay-memory",
        Kind::File => "mainstay-sqlite",
        Kind::Postgres => "mainstay-postgres",
    }
}

/// Rivals that this program was built without.
pub fn absent() -> Vec<&'static str> {
    let all = [
        ("cano", cfg!(feature = "cano")),
        ("dbos", cfg!(feature = "dbos")),
        ("durare", cfg!(feature = "durare")),
        ("duroxide", cfg!(feature = "duroxide")),
        ("steno", cfg!(feature = "steno")),
    ];
    all.into_iter()
        .filter_map(|(name, built)| (!built).then_some(name))
        .collect()
}

/// Everybody who was built in, in the order of the tables.
pub fn all() -> Vec<Entrant> {
    vec![
        Entrant {
            id: "mainstay-memory",
            label: "mainstay, memory",
            kind: Kind::Memory,
            durable: false,
            most: usize::MAX,
            settings: "defaults; keeps the whole log of every saga",
            open: mainstay::memory,
        },
        #[cfg(feature = "steno")]
        Entrant {
            id: "steno",
            label: "steno 0.5.0",
            kind: Kind::Memory,
            durable: false,
            most: usize::MAX,
            settings: "`InMemorySecStore`, the only store it brings; logging off",
            open: steno::memory,
        },
        #[cfg(feature = "cano")]
        Entrant {
            id: "cano",
            label: "cano 0.15.2, no store",
            kind: Kind::Memory,
            durable: false,
            most: usize::MAX,
            settings: "no checkpoint store: keeps no log, knows no keys, tells nobody how a saga stands",
            open: cano::bare,
        },
        Entrant {
            id: "mainstay-sqlite",
            label: "mainstay, SQLite",
            kind: Kind::File,
            durable: true,
            most: usize::MAX,
            settings: "defaults: WAL, `synchronous = FULL`, group commit",
            open: mainstay::sqlite,
        },
        Entrant {
            id: "mainstay-sqlite-alone",
            label: "mainstay's SQLite journal, no engine",
            kind: Kind::File,
            durable: true,
            most: usize::MAX,
            settings: "the same seven records written by hand: what the journal alone costs",
            open: mainstay::sqlite_alone,
        },
        #[cfg(feature = "cano")]
        Entrant {
            id: "cano-redb",
            label: "cano 0.15.2, redb",
            kind: Kind::File,
            durable: true,
            most: usize::MAX,
            settings: "`RedbCheckpointStore`, which has no settings; an id per run, as it demands",
            open: cano::redb,
        },
        #[cfg(feature = "durare")]
        Entrant {
            id: "durare-sqlite-full",
            label: "durare 0.5.0, SQLite, synced",
            kind: Kind::File,
            durable: true,
            most: usize::MAX,
            settings: "over a pool like its own (WAL, 5 connections), but `synchronous = FULL`",
            open: durare::sqlite_full,
        },
        #[cfg(feature = "durare")]
        Entrant {
            id: "durare-sqlite",
            label: "durare 0.5.0, SQLite",
            kind: Kind::File,
            durable: false,
            most: 64,
            settings: "as `connect` opens it: `synchronous = NORMAL`, commits are not synced",
            open: durare::sqlite,
        },
        #[cfg(feature = "duroxide")]
        Entrant {
            id: "duroxide-sqlite-full",
            label: "duroxide 0.1.32, SQLite, synced",
            kind: Kind::File,
            durable: true,
            most: 64,
            settings: "as below, but `synchronous = FULL` set on the 5 connections of its pool",
            open: duroxide::sqlite_full,
        },
        #[cfg(feature = "duroxide")]
        Entrant {
            id: "duroxide-sqlite",
            label: "duroxide 0.1.32, SQLite",
            kind: Kind::File,
            durable: false,
            most: 64,
            settings: "its `synchronous = WAL` is read as `NORMAL`, commits are not synced; alone it looks for work every millisecond, with many its defaults are quicker",
            open: duroxide::sqlite,
        },
        Entrant {
            id: "mainstay-postgres",
            label: "mainstay, PostgreSQL",
            kind: Kind::Postgres,
            durable: true,
            most: usize::MAX,
            settings: "defaults; a pool of 8 connections, the one that came back last first",
            open: mainstay::postgres,
        },
        #[cfg(feature = "dbos")]
        Entrant {
            id: "dbos",
            label: "dbos 0.5.0, PostgreSQL",
            kind: Kind::Postgres,
            durable: true,
            most: usize::MAX,
            settings: "32 connections instead of 10",
            open: dbos::postgres,
        },
        #[cfg(feature = "durare")]
        Entrant {
            id: "durare-postgres",
            label: "durare 0.5.0, PostgreSQL",
            kind: Kind::Postgres,
            durable: true,
            most: usize::MAX,
            settings: "32 connections instead of 8",
            open: durare::postgres,
        },
    ]
}
