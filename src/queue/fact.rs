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
    /// It is about to be replayed, though those who owned it before have died. What follows tells what became of that: if
    /// nothing does, or another of these, one more has died.
    #[non_exhaustive]
    Suspected {
        /// The fencing token of the turn in which it is replayed.
        token: u64,
        /// Which opening of the queue replays it, a number drawn by chance.
        by: u64,
    },
    /// It was replayed, and the process lives; the callee does not have it yet.
    #[non_exhaustive]
    Survived {
        /// The fencing token of the turn in which it was replayed.
        token: u64,
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

    /// What has happened since it was queued, or last retried.
    fn since_retried(&self) -> &[Fact] {
        let is_retry = |fact: &Fact| matches!(fact, Fact::Retried { .. });
        let from = self.later.iter().rposition(is_retry);
        from.and_then(|from| self.later.get(from.saturating_add(1)..))
            .unwrap_or(&self.later)
    }

    /// How many have died who replayed it alone, as far as `me` can know: it lives.
    pub(super) fn deaths(&self, me: u64) -> usize {
        let facts = self.since_retried();
        let next = facts.iter().skip(1).map(Some).chain([None]);
        let died = facts.iter().zip(next).filter(|(fact, next)| {
            let heard = matches!(next, Some(Fact::Survived { .. }));
            !heard && matches!(fact, Fact::Suspected { by, .. } if *by != me)
        });
        died.count()
    }

    /// Whether `me` has written down that it is about to replay it, and nothing after that.
    pub(super) fn is_noted(&self, me: u64) -> bool {
        matches!(self.later.last(), Some(Fact::Suspected { by, .. }) if *by == me)
    }

    /// How often it was survived, the last times and without a death in between.
    pub(super) fn survived(&self) -> usize {
        let facts = self.since_retried().rchunks_exact(2);
        let survived =
            |pair: &&[Fact]| matches!(pair, [Fact::Suspected { .. }, Fact::Survived { .. }]);
        facts.take_while(survived).count()
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
            (Self::Waiting, Fact::Suspected { .. } | Fact::Survived { .. }) => Some(Self::Waiting),
            (Self::Poisoned, Fact::Retried { .. }) => Some(Self::Waiting),
            (Self::Poisoned, Fact::Dropped { .. }) => Some(Self::Dropped),
            _ => None,
        }
    }
}

/// The word for an entry that waits and is [suspected](Fact::Suspected).
pub(super) const SUSPECTED: &str = "suspected";

/// What the head of a log says of an entry that is not over: a word, how many bytes, and its lane. So a queue is known again
/// after a restart without reading what is in it.
pub(super) fn headline(word: &str, bytes: u64, lane: &Lane) -> String {
    format!("{word} {bytes} {}", lane.as_str())
}

/// Reads bytes and lane back.
pub(super) fn read_headline(text: &str, tenant: &str) -> Option<(u64, Lane)> {
    let mut parts = text.splitn(3, ' ');
    let _word = parts.next()?;
    let bytes = parts.next()?.parse().ok()?;
    Some((bytes, Lane::new(parts.next()?).tenant(tenant)))
}

/// Whether the word is that of a suspect.
pub(super) fn is_suspected(text: &str) -> bool {
    text.split(' ').next() == Some(SUSPECTED)
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
    const VERSION_1: [&str; 10] = [
        r#"{"queued":{"lane":"account-7","body":{"text":"{\"amount\":100}"}}}"#,
        r#"{"queued":{"lane":"","body":{"base64":"-_8"}}}"#,
        r#"{"queued":{"lane":"a b","body":{"sealed":"-_8"}}}"#,
        r#"{"applied":{"token":3,"replay":1}}"#,
        r#"{"poisoned":{"why":"exhausted","token":3,"replay":10}}"#,
        r#"{"poisoned":{"why":"deadly","token":9,"replay":0}}"#,
        r#"{"suspected":{"token":6,"by":11}}"#,
        r#"{"survived":{"token":6}}"#,
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

    /// `S` suspected by this one, `s` by another, `v` survived, `r` retried: deaths, noted, survived.
    #[test]
    fn what_became_of_a_suspect() {
        for (said, due) in [
            ("", (0, false, 0)),
            ("s", (1, false, 0)),
            ("ss", (2, false, 0)),
            ("sS", (1, true, 0)),
            ("SS", (0, true, 0)),
            ("sv", (0, false, 1)),
            ("svs", (1, false, 0)),
            ("svsv", (0, false, 2)),
            ("ssvsv", (1, false, 2)),
            ("svssv", (1, false, 1)),
            ("svSvsv", (0, false, 3)),
            ("sssr", (0, false, 0)),
            ("sssrssv", (1, false, 1)),
        ] {
            let fact = |letter| {
                let text = match letter {
                    'S' => r#"{"suspected":{"token":6,"by":1}}"#,
                    's' => r#"{"suspected":{"token":6,"by":2}}"#,
                    'v' => r#"{"survived":{"token":6}}"#,
                    _ => r#"{"retried":{"actor":"ann","reason":""}}"#,
                };
                serde_json::from_str(text).unwrap()
            };
            let life = Life {
                lane: Lane::new("a"),
                body: Body::Text(String::new()),
                stage: Stage::Waiting,
                later: said.chars().map(fact).collect(),
            };
            let found = (life.deaths(1), life.is_noted(1), life.survived());
            assert_eq!(found, due, "{said}");
        }
    }

    #[test]
    fn a_headline_comes_back() {
        for name in ["account-7", "", "with spaces  ", " 7 7"] {
            let lane = Lane::new(name).tenant("acme");
            let text = headline(Stage::Poisoned.as_str(), 17, &lane);
            assert_eq!(read_headline(&text, "acme"), Some((17, lane.clone())));
            assert!(!is_suspected(&text) && is_suspected(&headline(SUSPECTED, 17, &lane)));
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
