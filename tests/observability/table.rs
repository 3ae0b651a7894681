//! The tables at the head of `src/observe/mod.rs`, read from the source.

use std::collections::{BTreeMap, BTreeSet};

/// A metric or an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Counter, gauge, histogram; or a level.
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// The values that a table states for a label: `(metric, label) -> values`.
pub(crate) type Stated = BTreeMap<(String, String), BTreeSet<String>>;

const SOURCE: &str = include_str!("../../src/observe/mod.rs");

/// The rows of the table whose first column is headed `head`, and the values that are stated for their labels.
fn table(head: &str) -> (Vec<Row>, Stated) {
    let lines = SOURCE.lines().map_while(|line| line.strip_prefix("//!"));
    let mut rows = lines
        .map(str::trim)
        .skip_while(|line| !line.starts_with(&format!("| {head} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .peekable();
    assert!(rows.peek().is_some(), "no table of {head}s");
    let mut stated = BTreeMap::new();
    let rows = rows
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, labels] = cells[..] else {
                panic!("three columns are expected: {line}");
            };
            let name = name.trim_matches('`').to_owned();
            let kind = kind.split(':').next().unwrap().to_owned();
            // `a`, `b`: one, two, `c`
            let mut parts = labels.split('`').skip(1);
            let mut names = BTreeSet::new();
            while let Some(label) = parts.next() {
                names.insert(label.to_owned());
                let words = parts.next().unwrap_or_default();
                if let Some(values) = words.strip_prefix(": ") {
                    let values = values.split(',').map(|value| value.trim().to_owned());
                    let values = values.filter(|value| !value.is_empty()).collect();
                    stated.insert((name.clone(), label.to_owned()), values);
                }
            }
            Row {
                name,
                kind,
                labels: names,
            }
        })
        .collect();
    (rows, stated)
}

/// The metrics, and where the table states them the values of a label.
pub(crate) fn metrics() -> (Vec<Row>, Stated) {
    table("metric")
}

pub(crate) fn spans() -> Vec<Row> {
    table("span").0
}

pub(crate) fn events() -> Vec<Row> {
    table("event").0
}
