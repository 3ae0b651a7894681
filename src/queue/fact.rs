//! What the log of an entry says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lane::Lane;
use super::verdict::Poison;
use super::words::Waits;
use crate::journal::Log;
use crate::saga::base64;

/// The version of the record format.
pub const FORMAT: u16 = 1;

/// What became true of an entry. The first record of its log is `Queued`, each later one the next step of its life.
///
/// # Example
///
/// ```
/// use mainstay::queue::Fact;
///
/// let record = r#"{"applied":{"token":3,"replay":1}}"#;
/// let fact: Fact = serde_json::from_str(record)?;
/// assert_eq!(serde_json::to_string(&fact)?, record);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// It was queued.
    #[non_exhaustive]
    Queued {
        /// The name of its lane.
        lane: String,
        /// What is to be done.
        body: Body,
    },
    /// The callee has it.
    #[non_exhaustive]
    Applied {
        /// The fencing token of the turn in which it was replayed.
        token: u64,
        /// Which replay that was, since it was last taken up.
        replay: u32,
    },
    /// It is poison: nothing of its lane goes before somebody has decided.
    #[non_exhaustive]
    Poisoned {
        /// Why.
        why: Poison,
        /// The fencing token of the turn in which it was replayed.
        token: u64,
        /// Which replay that was, since it was last taken up.
        replay: u32,
    },
    /// An operator wants it to be tried again.
    #[non_exhaustive]
    Retried {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// An operator has decided that it is not done.
    #[non_exhaustive]
    Dropped {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
}

/// What is to be done, as a codec wrote it. Text stays text, so that an operator can read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Body {
    /// As it is.
    Text(String),
    /// Bytes that are no text, in base64url.
    Base64(String),
    /// Sealed bytes, in base64url.
    Sealed(String),
}

impl Body {
    pub(super) fn plain(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(base64::encode(error.as_bytes())),
        }
    }

    pub(super) fn sealed(bytes: &[u8]) -> Self {
        Self::Sealed(base64::encode(bytes))
    }

    /// The bytes, sealed or not; `None` when the letters are none.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64(letters) | Self::Sealed(letters) => base64::decode(letters),
        }
    }

    /// Whether the bytes are sealed.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }
}

/// How long it is, never what it says.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Text(text) => ("Text", text),
            Self::Base64(text) => ("Base64", text),
            Self::Sealed(text) => ("Sealed", text),
        };
        write!(f, "{kind}({} bytes)", text.len())
    }
}

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// It waits for an operator.
    Poisoned,
    /// It was applied.
    Applied,
    /// An operator has dropped it.
    Dropped,
}

impl Stage {
    /// The word for it, in stores and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "queued",
            Self::Poisoned => "poisoned",
            Self::Applied => "applied",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The life of one entry, read from its log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Life {
    /// Its lane.
    pub lane: Lane,
    /// What is to be done.
    pub body: Body,
    /// How far it has come.
    pub stage: Stage,
    /// Everything after `Queued`, in order.
    pub later: Vec<Fact>,
}

impl Life {
    /// Reads a log.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that quote nothing of it.
    pub fn read(log: &Log) -> Result<Self, String> {
        let mut life: Option<Self> = None;
        for record in &log.records {
            if record.format != FORMAT {
                return Err(format!(
                    "record {} has format {}, this program reads {FORMAT}",
                    record.seq, record.format
                ));
            }
            let fact: Fact = serde_json::from_str(&record.body).map_err(|error| {
                let (seq, column) = (record.seq, error.column());
                format!("record {seq} is no known fact, at column {column}")
            })?;
            let seq = record.seq;
            life = match (life, fact) {
                (None, Fact::Queued { lane, body }) => Some(Self {
                    lane: Lane::new(lane).tenant(&log.head.labels.tenant),
                    body,
                    stage: Stage::Waiting,
                    later: Vec::new(),
                }),
                (Some(mut life), fact) => {
                    let next = life.stage.after(&fact);
                    life.stage = next.ok_or_else(|| format!("record {seq} does not follow"))?;
                    life.later.push(fact);
                    Some(life)
                }
                (None, _) => return Err("it does not begin with what was queued".into()),
            };
        }
        life.ok_or_else(|| "it is empty".into())
    }

    /// Why it is poison, if it is.
    #[must_use]
    pub fn poison(&self) -> Option<Poison> {
        match (self.stage, self.later.last()) {
            (Stage::Poisoned, Some(Fact::Poisoned { why, .. })) => Some(*why),
            _ => None,
        }
    }
}

impl Stage {
    /// What follows when this becomes true, `None` when it cannot.
    #[must_use]
    pub const fn after(self, fact: &Fact) -> Option<Self> {
        match (self, fact) {
            (Self::Waiting, Fact::Applied { .. }) => Some(Self::Applied),
            (Self::Waiting, Fact::Poisoned { .. }) => Some(Self::Poisoned),
            (Self::Poisoned, Fact::Retried { .. }) => Some(Self::Waiting),
            (Self::Poisoned, Fact::Dropped { .. }) => Some(Self::Dropped),
            _ => None,
        }
    }
}

/// What the head of a log says of an entry that is not over: how many bytes, and its lane. So a queue is known again after
/// a restart without reading what is in it.
pub(super) fn headline(stage: Stage, bytes: u64, lane: &Lane) -> String {
    format!("{stage} {bytes} {}", lane.as_str())
}

/// Reads it back.
pub(super) fn read_headline(text: &str, tenant: &str) -> Option<(u64, Lane)> {
    let mut parts = text.splitn(3, ' ');
    let _stage = parts.next()?;
    let bytes = parts.next()?.parse().ok()?;
    Some((bytes, Lane::new(parts.next()?).tenant(tenant)))
}

impl From<Stage> for Option<Waits> {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Waiting => Some(Waits::Turn),
            Stage::Poisoned => Some(Waits::Operator),
            Stage::Applied | Stage::Dropped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores of today are read by the programs of tomorrow: a line that no longer reads, or is no longer written like
    /// this, is a new version of the format.
    const VERSION_1: [&str; 7] = [
        r#"{"queued":{"lane":"account-7","body":{"text":"{\"amount\":100}"}}}"#,
        r#"{"queued":{"lane":"","body":{"base64":"-_8"}}}"#,
        r#"{"queued":{"lane":"a b","body":{"sealed":"-_8"}}}"#,
        r#"{"applied":{"token":3,"replay":1}}"#,
        r#"{"poisoned":{"why":"exhausted","token":3,"replay":10}}"#,
        r#"{"retried":{"actor":"ann","reason":"the account is open again"}}"#,
        r#"{"dropped":{"actor":"ann","reason":"booked by hand"}}"#,
    ];

    #[test]
    fn version_1_reads_and_is_written_as_ever() {
        for line in VERSION_1 {
            let fact: Fact = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&fact).unwrap(), line);
        }
    }

    #[test]
    fn a_headline_comes_back() {
        for name in ["account-7", "", "with spaces  ", " 7 7"] {
            let lane = Lane::new(name).tenant("acme");
            let text = headline(Stage::Poisoned, 17, &lane);
            assert_eq!(read_headline(&text, "acme"), Some((17, lane)));
        }
        for text in ["", "queued", "queued 7", "queued x lane"] {
            assert_eq!(read_headline(text, ""), None, "{text}");
        }
    }

    #[test]
    fn debug_does_not_show_what_is_to_be_done() {
        let fact: Fact = serde_json::from_str(VERSION_1[0]).unwrap();
        assert!(!format!("{fact:?}").contains("amount"));
    }
}
