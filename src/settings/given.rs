//! What a file says, before anybody asks whether it is right; and what is to be written into one.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of any self-describing format.
///
/// Settings are read in two steps. Types that serde checks on the way would stop at the first wrong one; from this,
/// everything that is wrong is found together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Bool(bool),
    Integer(i128),
    List(Vec<Self>),
    Null,
    Number(f64),
    Table(Vec<(String, Self)>),
    Text(String),
}

/// A table to be written.
pub(crate) fn table<const N: usize>(entries: [(&str, Given); N]) -> Given {
    let named = entries.into_iter().map(|(key, value)| (key.into(), value));
    Given::Table(named.collect())
}

/// A word to be written.
pub(crate) fn word(word: &str) -> Given {
    Given::Text(word.to_owned())
}

/// What stands for a setting that is switched off: TOML has no null.
pub(crate) const NONE: &str = "none";

/// A file may be anything; the message about it stays a line.
pub(super) const LONGEST: usize = 60;

/// As an error shows it.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::List(_) => f.write_str("a list"),
            Self::Null => f.write_str("null"),
            Self::Number(value) => fmt::Debug::fmt(value, f),
            Self::Table(entries) if entries.is_empty() => f.write_str("an empty table"),
            Self::Table(_) => f.write_str("a table"),
            Self::Text(text) => quoted(text).fmt(f),
        }
    }
}

/// `text` in quotes, and no more of it than fits a line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            // Every count fits; TOML has no larger integers.
            Self::Integer(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Self::List(values) => serializer.collect_seq(values),
            Self::Null => serializer.serialize_unit(),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

/// How serde_json hands over a number when some crate of the program asks it for arbitrary precision.
const EXACT_NUMBER: &str = "$serde_json::private::Number";
/// How toml hands over a date.
const DATE: &str = "$__toml_private_datetime";

impl<'de> Visitor<'de> for Anything {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Ok(Given::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Given, E> {
        Ok(Given::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Given, E> {
        Ok(Given::Integer(value))
    }

    /// No setting is so large, so it only needs to stay too large.
    fn visit_u128<E>(self, value: u128) -> Result<Given, E> {
        Ok(Given::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given, E> {
        Ok(Given::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Given, E> {
        Ok(Given::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Given, E> {
        Ok(Given::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_none<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        Given::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Given, D::Error> {
        Given::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Given::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut entries: Vec<(String, Given)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value()?;
            match value {
                Given::Text(text) if key == EXACT_NUMBER => return Ok(number(text)),
                Given::Text(text) if key == DATE => return Ok(Given::Text(text)),
                value => entries.push((key, value)),
            }
        }
        // TOML refuses this itself; of JSON, one of the two would win, and nobody knows which.
        let mut seen = BTreeSet::new();
        match entries.iter().find(|(key, _)| !seen.insert(key)) {
            Some((key, _)) => Err(A::Error::custom(format!("{} is given twice", quoted(key)))),
            None => Ok(Given::Table(entries)),
        }
    }
}

fn number(text: String) -> Given {
    match (text.parse(), text.parse()) {
        (Ok(value), _) => Given::Integer(value),
        (_, Ok(value)) => Given::Number(value),
        _ => Given::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    #[test]
    fn numbers_of_arbitrary_precision_and_dates_are_what_they_say() {
        let read = |key: &str, value: &str| {
            let map =
                MapDeserializer::<_, Error>::new([(key.to_owned(), value.to_owned())].into_iter());
            Given::deserialize(map).unwrap()
        };
        assert_eq!(read(EXACT_NUMBER, "12"), Given::Integer(12));
        assert_eq!(read(EXACT_NUMBER, "0.25"), Given::Number(0.25));
        assert_eq!(read(DATE, "1979-05-27"), word("1979-05-27"));
        assert_eq!(read("a", "b"), table([("a", word("b"))]));
    }

    #[test]
    fn a_long_text_is_cut_between_its_characters() {
        let long = "é".repeat(1_000);
        assert_eq!(word(&long).to_string(), format!("\"{}\"…", "é".repeat(60)));
        assert_eq!(word("a\nb").to_string(), "\"a\\nb\"");
    }
}
