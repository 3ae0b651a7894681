//! What steps give each other, as text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::digest::Digest;

/// More than this is refused as input before anything is done. Journals keep decisions; documents belong elsewhere.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Below this depth the order of fields counts. A type that is read back cannot be as deep, unless it keeps raw text.
const DEEPEST: u8 = 128;

/// A value as JSON text, kept letter by letter.
///
/// What a later step gets is always read from this text, also when nothing crashed: a step sees the same value whether
/// the process lived on or not.
///
/// One that is [sealed](super::seal) has the text of its seal, and no value is read from it before it is opened.
#[derive(Clone)]
pub struct Payload {
    text: Arc<RawValue>,
    sealed: bool,
}

impl Payload {
    /// Writes a value down.
    pub(crate) fn of<T: Serialize>(value: &T) -> Result<Self, PayloadError> {
        let text = raw(value)?;
        if text.get().len() > MAX_PAYLOAD {
            return Err(PayloadError(format!(
                "{} bytes, at most {MAX_PAYLOAD} fit",
                text.get().len()
            )));
        }
        Ok(Self {
            text: text.into(),
            sealed: false,
        })
    }

    /// What stands in a record for a value that is sealed; it may be longer than a value.
    pub(crate) fn of_sealed<T: Serialize>(seal: &T) -> Result<Self, PayloadError> {
        Ok(Self {
            text: raw(seal)?.into(),
            sealed: true,
        })
    }

    /// A value whose text was opened; `None` when it is not the text of one value.
    pub(crate) fn of_text(text: Vec<u8>) -> Option<Self> {
        let text = RawValue::from_string(String::from_utf8(text).ok()?).ok()?;
        Some(Self {
            text: text.into(),
            sealed: false,
        })
    }

    /// Takes note that the text is that of a seal, which the text itself does not tell.
    pub(crate) const fn mark_sealed(&mut self) {
        self.sealed = true;
    }

    /// Whether the text is that of a seal.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The value `()`, which the first step gets.
    pub(crate) fn unit() -> Self {
        Self {
            text: RawValue::NULL.to_owned().into(),
            sealed: false,
        }
    }

    /// Reads the value back.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        if self.sealed {
            return Err(PayloadError("it is sealed".into()));
        }
        serde_json::from_str(self.text.get()).map_err(|error| PayloadError(describe(&error)))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.get()
    }

    /// A digest that does not depend on the order in which a map happened to be written.
    pub(crate) fn digest(&self) -> String {
        Digest::new().field(self.canonical().as_bytes()).hex(16)
    }

    /// What a digest is made over.
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::new();
        canonical(&self.text, DEEPEST, &mut text);
        text
    }
}

fn raw<T: Serialize>(value: &T) -> Result<Box<RawValue>, PayloadError> {
    serde_json::value::to_raw_value(value).map_err(|error| PayloadError(describe(&error)))
}

/// Writes a value with the fields of every object in order. Leaves are copied letter by letter: a number that was read
/// and printed again need not be the same number.
fn canonical(value: &RawValue, deeper: u8, text: &mut String) {
    let raw = value.get();
    // Looked at first: to find out by reading that a number is no object costs more than the digest.
    match raw.as_bytes().first() {
        Some(b'{') if deeper > 0 => {
            if let Ok(fields) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(raw) {
                text.push('{');
                for (name, value) in &fields {
                    text.push_str(&Value::from(name.as_str()).to_string());
                    text.push(':');
                    canonical(value, deeper - 1, text);
                    text.push(',');
                }
                text.push('}');
                return;
            }
        }
        Some(b'[') if deeper > 0 => {
            if let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(raw) {
                text.push('[');
                for item in &items {
                    canonical(item, deeper - 1, text);
                    text.push(',');
                }
                text.push(']');
                return;
            }
        }
        _ => {}
    }
    text.push_str(raw);
}

/// What is wrong and where, without the value: serde's own words quote it.
fn describe(error: &serde_json::Error) -> String {
    format!(
        "{:?} error at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.sealed == other.sealed && self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

/// How long it is, never what it says.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = if self.sealed { ", sealed" } else { "" };
        write!(f, "Payload({} bytes{sealed})", self.as_str().len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self {
            text: text.into(),
            sealed: false,
        })
    }
}

/// A value that could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PayloadError(pub(crate) String);

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn large_numbers_survive_letter_by_letter() {
        let payload = Payload::of(&u128::MAX).unwrap();
        assert_eq!(payload.as_str(), u128::MAX.to_string());
        assert_eq!(payload.read::<u128>().unwrap(), u128::MAX);
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_a_map() {
        let digests: Vec<String> = (0..20)
            .map(|_| {
                let map: HashMap<u32, u32> = (0..50).map(|i| (i, i)).collect();
                Payload::of(&map).unwrap().digest()
            })
            .collect();
        assert!(digests.windows(2).all(|pair| pair.first() == pair.last()));
        assert_ne!(
            Payload::of(&u128::MAX).unwrap().digest(),
            Payload::of(&(u128::MAX - 1)).unwrap().digest()
        );
        assert_ne!(
            Payload::of(&1).unwrap().digest(),
            Payload::of(&2).unwrap().digest()
        );
    }

    /// Digests are in journals, so what they are made over never changes.
    #[test]
    fn what_a_digest_is_made_over() {
        let text = br#"{"d": -0.50, "a" : [1, {"c\u0021": "x", "b": null}, [], {}], "": true}"#;
        let payload = Payload::of_text(text.to_vec()).unwrap();
        let over = r#"{"":true,"a":[1,{"b":null,"c!":"x",},[],{},],"d":-0.50,}"#;
        assert_eq!(payload.canonical(), over);
        assert_eq!(Payload::unit().canonical(), "null");
        assert_eq!(Payload::of(&" [").unwrap().canonical(), r#"" [""#);
    }

    #[test]
    fn neither_debug_nor_errors_show_the_value() {
        let payload = Payload::of(&"secret").unwrap();
        let error = payload.read::<u32>().unwrap_err();
        assert!(!format!("{payload:?} {error} {error:?}").contains("secret"));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(Payload::of(&"x".repeat(MAX_PAYLOAD)).is_err());
    }
}
