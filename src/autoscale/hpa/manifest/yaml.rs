//! YAML as plain values, within bounds.
//!
//! The parser's events are pulled one by one, so that depth costs no stack here, and aliases are counted for what they
//! stand for, so that a short text does not become a large one.

use std::borrow::Cow;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

use crate::settings::Given;

/// So many values in all, a long text being several.
const MOST_VALUES: usize = 10_000;
/// So many bytes of a text are one value more.
const LONG: usize = 64;
/// So many lists and tables within each other.
const DEEPEST: usize = 64;

/// A list or table that is not yet at its end.
struct Open {
    anchor: usize,
    /// How many values it counts for, itself included.
    values: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Given>),
    /// The entries, and the key of which the value comes next.
    Table(Vec<(String, Given)>, Option<String>),
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    /// What can be named again, and how many values it counts for.
    anchors: Vec<(usize, Given, usize)>,
    whole: Option<Given>,
    values: usize,
}

/// The one document of `text`.
pub(super) fn read(text: &str) -> Result<Given, Cow<'static, str>> {
    let mut parser = Parser::new_from_str(text);
    let mut reader = Reader::default();
    let mut documents = 0;
    loop {
        let (event, marker) = parser.next_token().map_err(|error| error.to_string())?;
        let read = match event {
            Event::StreamEnd => break,
            Event::DocumentStart => {
                documents += 1;
                if documents > 1 {
                    Err("a second document".into())
                } else {
                    Ok(())
                }
            }
            event => reader.take(event),
        };
        read.map_err(|error| format!("{error} in line {}", marker.line()))?;
    }
    reader.whole.ok_or_else(|| "nothing".into())
}

impl Reader {
    fn take(&mut self, event: Event) -> Result<(), Cow<'static, str>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err("a tag".into());
                }
                let values = (text.len() / LONG).saturating_add(1);
                let value = match style {
                    TScalarStyle::Plain => plain(text),
                    _ => Given::Text(text),
                };
                self.put(value, anchor, values)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(anchor, tag.is_some(), Kind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, tag.is_some(), Kind::Table(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open {
                    anchor,
                    values,
                    kind: Kind::List(list),
                }) => self.put(Given::List(list), anchor, values),
                Some(Open {
                    anchor,
                    values,
                    kind: Kind::Table(entries, None),
                }) => self.put(Given::Table(entries), anchor, values),
                _ => Err("an end without a beginning".into()),
            },
            Event::Alias(anchor) => {
                let known = self.anchors.iter().rposition(|known| known.0 == anchor);
                let known = known.and_then(|place| self.anchors.get(place));
                let Some((_, value, values)) = known else {
                    return Err("an alias of what it is in".into());
                };
                // Nothing that was read is larger than all that may be, so this copy is bounded too.
                let (value, values) = (value.clone(), *values);
                self.count(values)?;
                self.place(value, values)
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, values: usize) -> Result<(), Cow<'static, str>> {
        self.values = self.values.saturating_add(values);
        if self.values > MOST_VALUES {
            return Err(format!("more than {MOST_VALUES} values").into());
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, tagged: bool, kind: Kind) -> Result<(), Cow<'static, str>> {
        if tagged {
            return Err("a tag".into());
        }
        if self.open.len() >= DEEPEST {
            return Err(format!("more than {DEEPEST} lists and tables within each other").into());
        }
        self.count(1)?;
        self.open.push(Open {
            anchor,
            values: 1,
            kind,
        });
        Ok(())
    }

    /// A value at its end. Lists and tables were counted when they began.
    fn put(&mut self, value: Given, anchor: usize, values: usize) -> Result<(), Cow<'static, str>> {
        if !matches!(value, Given::List(_) | Given::Table(_)) {
            self.count(values)?;
        }
        if anchor != 0 {
            self.count(values)?;
            self.anchors.push((anchor, value.clone(), values));
        }
        self.place(value, values)
    }

    fn place(&mut self, value: Given, values: usize) -> Result<(), Cow<'static, str>> {
        let Some(open) = self.open.last_mut() else {
            self.whole = Some(value);
            return Ok(());
        };
        open.values = open.values.saturating_add(values);
        match &mut open.kind {
            Kind::List(list) => list.push(value),
            Kind::Table(entries, key) => match key.take() {
                Some(key) => {
                    if key == "<<" {
                        return Err("a merge key".into());
                    }
                    if entries.iter().any(|(known, _)| *known == key) {
                        return Err("a key that is given twice".into());
                    }
                    entries.push((key, value));
                }
                None => {
                    *key = Some(match value {
                        Given::Text(text) => text,
                        Given::Bool(_) | Given::Integer(_) | Given::Number(_) | Given::Null => {
                            value.to_string()
                        }
                        Given::List(_) | Given::Table(_) => {
                            return Err("a key that is no word".into());
                        }
                    });
                }
            },
        }
        Ok(())
    }
}

/// What a word without quotes is, by YAML's core schema.
fn plain(text: String) -> Given {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Given::Null,
        "true" | "True" | "TRUE" => return Given::Bool(true),
        "false" | "False" | "FALSE" => return Given::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Given::Text(text);
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or(Given::Text(text), Given::Integer);
    }
    let number = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if unsigned.bytes().all(number)
        && let Ok(value) = text.parse::<f64>()
    {
        return Given::Number(value);
    }
    Given::Text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        match read(text) {
            Ok(given) => format!("{given:?}"),
            Err(error) => error.into_owned(),
        }
    }

    #[test]
    fn plain_words_are_what_the_core_schema_says() {
        for (text, expected) in [
            ("3", "Integer(3)"),
            ("-3", "Integer(-3)"),
            ("\"3\"", "Text(\"3\")"),
            ("0.5", "Number(0.5)"),
            ("1e3", "Number(1000.0)"),
            ("500m", "Text(\"500m\")"),
            ("1Gi", "Text(\"1Gi\")"),
            ("~", "Null"),
            ("true", "Bool(true)"),
            ("yes", "Text(\"yes\")"),
            (
                "a: [1, b]",
                "Table([(\"a\", List([Integer(1), Text(\"b\")]))])",
            ),
            ("2: 3", "Table([(\"2\", Integer(3))])"),
            (
                "{a: &x 1, b: *x}",
                "Table([(\"a\", Integer(1)), (\"b\", Integer(1))])",
            ),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_large_or_strange_is_refused() {
        for (text, expected) in [
            ("", "nothing"),
            ("a: 1\n---\nb: 2", "a second document in line 2"),
            ("a: 1\na: 2", "a key that is given twice in line 2"),
            ("a: !!str 1", "a tag in line 1"),
            ("<<: {a: 1}", "a merge key in line 1"),
            ("? [a]\n: 1", "a key that is no word in line 1"),
            ("&a [*a]", "an alias of what it is in in line 1"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        let deep = |depth: usize| "- ".repeat(depth) + "x";
        assert!(read(&deep(DEEPEST)).is_ok());
        assert_eq!(
            words(&deep(DEEPEST + 1)),
            "more than 64 lists and tables within each other in line 1"
        );
        assert!(words(&deep(100_000)).starts_with("more than 64 "));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"{a: ".repeat(100_000)).is_err());
        let many = format!("[{}]", "1,".repeat(MOST_VALUES));
        assert_eq!(words(&many), "more than 10000 values in line 1");
    }

    #[test]
    fn texts_are_counted_by_their_length_and_so_are_their_aliases() {
        let again = |length: usize, times: usize| {
            let text = "x".repeat(length);
            let aliases = vec!["*a"; times].join(", ");
            words(&format!("a: &a {text}\nb: [{aliases}]"))
        };
        let too_many = "more than 10000 values in line 2";
        assert_eq!(again(100_000, 6), too_many);
        assert!(again(100_000, 3).starts_with("Table"));
        assert_eq!(again(640, 1_000), too_many);
        assert!(again(640, 800).starts_with("Table"));
        let keys = format!("a: &a {}\n*a : b", "x".repeat(400_000));
        assert_eq!(words(&keys), "more than 10000 values in line 1");
        let long = "x".repeat(MOST_VALUES * LONG);
        assert_eq!(words(&long), "more than 10000 values in line 1");
    }

    #[test]
    fn laughs_are_counted() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..20 {
            let again = vec![format!("*a{}", i - 1); 10].join(", ");
            text += &format!("a{i}: &a{i} [{again}]\n");
        }
        assert!(
            words(&text).starts_with("more than 10000 values in line "),
            "{}",
            words(&text)
        );
    }
}
