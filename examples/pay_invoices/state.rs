//! The folder that a run keeps its state in, and what that state belongs to.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::invalid::Invalid;
use crate::reader::Reject;
use crate::store::Lock;

/// The file that says what a state was made from. It is the first to be written and the first to be removed, so that
/// state without it is state that somebody began to remove.
const IDENTITY: &str = "state.json";

/// What a run creates besides: SQLite files with their companions, and the rejects.
const FILES: [&str; 4] = [
    "journal.sqlite",
    "ledger.sqlite",
    "notices.sqlite",
    "rejects.csv",
];

/// How long a new run waits for the processes of one that was just killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What must be the same for a run to go on with a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The content of the input, not its name: a copy of a file is the same file.
    pub(crate) input: String,
    pub(crate) seed: u64,
    pub(crate) saga: String,
    /// Where the journal is.
    #[serde(default = "sqlite")]
    pub(crate) store: String,
    /// Where in a database; another one for every state that is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
}

/// What states say nothing of that are older than the choice.
fn sqlite() -> String {
    "sqlite".to_owned()
}

/// A state folder that is in the hands of this process.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    schema: Option<String>,
    forgotten: Option<String>,
    _lock: Lock,
}

impl State {
    /// Takes the folder, after making sure that what is in it belongs to this run.
    pub(crate) fn open(folder: &Path, identity: &Identity, fresh: bool) -> Result<Self, Failed> {
        let named =
            |expected: &str| Invalid::new("--state", folder.display().to_string(), expected);
        fs::create_dir_all(folder)
            .map_err(|error| named(&format!("a folder to write to ({error})")))?;
        let in_use = || named("a folder that no other run is using");
        let lock = Lock::acquire(&folder.join("run.lock"), PATIENCE)?.ok_or_else(in_use)?;
        let (mut schema, mut forgotten) = (identity.schema.clone(), None);
        if fresh {
            let before = fs::read_to_string(folder.join(IDENTITY)).unwrap_or_default();
            forgotten = serde_json::from_str::<Identity>(&before)
                .ok()
                .and_then(|before| before.schema);
            // Backends of a killed run may hold the files for a moment yet.
            for service in crate::backends::Service::ALL {
                Lock::acquire(&folder.join(format!("{service}.lock")), PATIENCE)?
                    .ok_or_else(in_use)?;
            }
            clear(folder)?;
        }
        match fs::read_to_string(folder.join(IDENTITY)) {
            Ok(text) => {
                let found: Identity = serde_json::from_str(&text).map_err(|error| {
                    named(&format!("a state of this program ({IDENTITY}: {error})"))
                })?;
                compare(folder, &found, identity)?;
                schema = found.schema;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(file) = FILES.into_iter().find(|file| folder.join(file).exists()) {
                    let expected = format!(
                        "a state with its {IDENTITY} ({file} is there without); --fresh starts over"
                    );
                    return Err(named(&expected).into());
                }
                write_durably(folder, IDENTITY, &serde_json::to_vec_pretty(identity)?)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            folder: folder.to_owned(),
            schema,
            forgotten,
            _lock: lock,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where in the database the journal is, if it is in one.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Where in the database the journal of the state was that this one replaces.
    pub(crate) fn forgotten(&self) -> Option<&str> {
        self.forgotten.as_deref()
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("journal.sqlite")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.sqlite")
    }

    pub(crate) fn notices(&self) -> PathBuf {
        self.folder.join("notices.sqlite")
    }

    pub(crate) fn rejects(&self) -> PathBuf {
        self.folder.join("rejects.csv")
    }

    /// Writes the rejects file, whole or not at all.
    pub(crate) fn write_rejects(&self, rejects: &[Reject]) -> Result<(), Failed> {
        let mut file = csv::Writer::from_writer(Vec::new());
        file.write_record(["line", "column", "value", "reason"])?;
        for Reject {
            line,
            column,
            value,
            reason,
        } in rejects
        {
            file.write_record([&line.to_string(), *column, value, reason])?;
        }
        let content = file.into_inner().map_err(|error| error.to_string())?;
        write_durably(&self.folder, "rejects.csv", &content)
    }
}

/// Says by name what the state differs in.
fn compare(folder: &Path, found: &Identity, wanted: &Identity) -> Result<(), Invalid> {
    let rows = [
        ("input", found.input.clone(), wanted.input.clone()),
        ("seed", found.seed.to_string(), wanted.seed.to_string()),
        ("saga", found.saga.clone(), wanted.saga.clone()),
        ("store", found.store.clone(), wanted.store.clone()),
    ];
    let differing: Vec<_> = rows
        .iter()
        .filter(|(_, found, wanted)| found != wanted)
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = differing
        .iter()
        .map(|(name, found, _)| format!("{name} {found}"))
        .collect();
    let wanted: Vec<_> = differing
        .iter()
        .map(|(name, _, wanted)| format!("{name} {wanted}"))
        .collect();
    Err(Invalid::new(
        format!("--state {}", folder.display()),
        format!("a state made from {}", found.join(", ")),
        format!(
            "one made from {}; --fresh starts over, --state takes another folder",
            wanted.join(", ")
        ),
    ))
}

/// Removes what this program puts into the folder, and nothing else.
fn clear(folder: &Path) -> Result<(), Failed> {
    let companions = FILES
        .into_iter()
        .flat_map(|file| ["", "-wal", "-shm", "-lock"].map(|end| format!("{file}{end}")));
    for file in std::iter::once(IDENTITY.to_owned()).chain(companions) {
        match fs::remove_file(folder.join(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Writes a file beside its place, syncs it and moves it there: no reader finds half of it.
fn write_durably(folder: &Path, name: &str, content: &[u8]) -> Result<(), Failed> {
    let beside = folder.join(format!("{name}.new"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    Ok(fs::File::open(folder)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_made_from_something_else_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity {
            input: "a-1".to_owned(),
            seed: 1,
            saga: "standard".to_owned(),
            store: "sqlite".to_owned(),
            schema: None,
        };
        drop(State::open(folder.path(), &made, false).unwrap());
        drop(State::open(folder.path(), &made, false).unwrap());

        let other = Identity {
            seed: 2,
            saga: "documented".to_owned(),
            ..made
        };
        let error = State::open(folder.path(), &other, false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("seed 1, saga standard") && error.contains("seed 2, saga documented"),
            "{error}"
        );
        assert!(
            !error.contains("a-1"),
            "what is the same is not named: {error}"
        );
        drop(State::open(folder.path(), &other, true).unwrap());
    }
}
