//! The two file formats: CSV and JSON Lines, both as rows of named cells.

use std::borrow::Cow;
use std::collections::HashMap;

use csv::{ByteRecord, Position, ReaderBuilder};
use serde_json::value::RawValue;

use crate::invalid::Invalid;
use crate::reader::Reject;

/// The columns of an invoice, by name; their order in the file is free.
const COLUMNS: [&str; 8] = [
    "invoice_no",
    "tenant",
    "tier",
    "supplier",
    "description",
    "amount",
    "currency",
    "due_date",
];

/// The column of a defect that belongs to a whole row.
const WHOLE_ROW: &str = "(row)";

/// A row before its values are looked at: what stood in each column, or why there are no columns.
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) cells: Result<HashMap<&'static str, Cell>, Reject>,
}

pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) utf8: bool,
}

impl Cell {
    fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self {
            utf8: matches!(text, Cow::Borrowed(_)),
            text: text.trim().to_owned(),
        }
    }
}

/// The rows of a CSV file. A file whose header does not name every column once is none.
pub(crate) fn csv_rows(content: &[u8]) -> Result<Vec<Row>, Invalid> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(std::io::Cursor::new(content));
    let broken = |error: csv::Error| Invalid::new("input", error.to_string(), "a CSV file");

    let mut record = ByteRecord::new();
    reader.read_byte_record(&mut record).map_err(broken)?;
    let header: Vec<String> = record
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    let columns: Vec<Option<&'static str>> = header
        .iter()
        .map(|name| COLUMNS.into_iter().find(|column| column == name))
        .collect();
    for column in COLUMNS {
        let times = columns
            .iter()
            .flatten()
            .filter(|found| **found == column)
            .count();
        if times != 1 {
            let expected = format!(
                "the columns {}; {column} is there {times} times",
                COLUMNS.join(", ")
            );
            return Err(Invalid::new("header", shorten(&header.join(",")), expected));
        }
    }

    let mut rows = Vec::new();
    while reader.read_byte_record(&mut record).map_err(broken)? {
        let start = record.position().cloned().unwrap_or_else(Position::new);
        let line = start.line();
        if record.len() == columns.len() {
            let cells = columns
                .iter()
                .zip(&record)
                .filter_map(|(column, bytes)| Some(((*column)?, Cell::new(bytes))));
            rows.push(Row {
                line,
                cells: Ok(cells.collect()),
            });
            continue;
        }
        let first = first_line(content, &start);
        let spans = reader.position().line() > line + 1;
        let reason = if spans {
            // A quote that is never closed swallows the rows behind it. They are read again, from the next line on.
            let mut next = start.clone();
            next.set_byte(start.byte() + first.len() as u64 + 1)
                .set_line(line + 1);
            reader.seek(next).map_err(broken)?;
            "a quote that is not closed".to_owned()
        } else {
            format!(
                "{} fields; expected {}, as the header has",
                record.len(),
                columns.len()
            )
        };
        let value = shorten(&String::from_utf8_lossy(first));
        rows.push(Row {
            line,
            cells: Err(Reject {
                line,
                column: WHOLE_ROW,
                value,
                reason,
            }),
        });
    }
    Ok(rows)
}

/// The line of `content` that a record starts with, without its end.
fn first_line<'a>(content: &'a [u8], start: &Position) -> &'a [u8] {
    let rest = usize::try_from(start.byte())
        .ok()
        .and_then(|start| content.get(start..))
        .unwrap_or_default();
    rest.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The rows of a file of JSON objects, one on a line.
pub(crate) fn json_rows(content: &[u8]) -> Vec<Row> {
    let lines = content
        .split(|byte| *byte == b'\n')
        .zip(1..)
        .filter(|(line, _)| !line.trim_ascii().is_empty());
    lines
        .map(|(bytes, line)| {
            let text = String::from_utf8_lossy(bytes);
            let utf8 = matches!(text, Cow::Borrowed(_));
            // Numbers stay the digits that they were written with: an amount never passes through a float.
            let cells =
                serde_json::from_str::<HashMap<String, &RawValue>>(&text).map_err(|error| Reject {
                    line,
                    column: WHOLE_ROW,
                    value: shorten(&text),
                    reason: format!("not a JSON object: {error}"),
                });
            let cells = cells.map(|mut values| {
                let cell = |column: &'static str| {
                    let raw = values.remove(column)?.get();
                    let text = match serde_json::from_str::<Option<String>>(raw) {
                        Ok(text) => text.unwrap_or_default(),
                        Err(_) => raw.to_owned(),
                    };
                    let utf8 = utf8 || !text.contains(char::REPLACEMENT_CHARACTER);
                    Some((
                        column,
                        Cell {
                            text: text.trim().to_owned(),
                            utf8,
                        },
                    ))
                };
                COLUMNS.into_iter().filter_map(cell).collect()
            });
            Row { line, cells }
        })
        .collect()
}

/// As much of a value as a report needs.
pub(crate) fn shorten(value: &str) -> String {
    const MOST: usize = 120;
    let mut short: String = value.trim_end().chars().take(MOST).collect();
    if value.trim_end().chars().count() > MOST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_refused_by_name() {
        let error = csv_rows(b"A1,acme,smb,S,d,1.00,EUR,2026-01-01\n")
            .err()
            .unwrap();
        assert_eq!(error.field, "header");
        assert!(
            error.expected.contains("invoice_no is there 0 times"),
            "{error}"
        );
    }
}
