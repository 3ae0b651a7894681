//! One case, as it stands in a file, and how it ended.

use std::fmt;

use serde_json::{Map, Value};

/// A scenario: a trace of steps, a table of one operation, or a property.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) area: String,
    pub(crate) form: String,
    /// Of a table: the operation, `area/column+column`.
    pub(crate) op: Option<String>,
    pub(crate) config: Map<String, Value>,
    pub(crate) steps: Vec<Map<String, Value>>,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// What became of a case.
pub(crate) enum Ended {
    Passed,
    NotApplicable(String),
    Failed(Vec<String>),
}

pub(crate) fn failed(why: impl fmt::Display) -> Ended {
    Ended::Failed(vec![why.to_string()])
}

pub(crate) fn not_applicable(why: impl Into<String>) -> Ended {
    Ended::NotApplicable(why.into())
}

impl Case {
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let need = |key: &str| text(key).ok_or_else(|| format!("no `{key}`"));
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
        let table = value.get("table");
        let inside = |key: &str| list(table.and_then(|table| table.get(key))).unwrap_or_default();
        let steps = list(value.get("steps")).unwrap_or_default();
        let steps = steps.into_iter().map(|step| match step {
            Value::Object(step) => Ok(step),
            other => Err(format!("`{other}` is no step")),
        });
        let columns = inside("columns").into_iter().map(|column| {
            let name = column.as_str().map(str::to_owned);
            name.ok_or_else(|| format!("`{column}` is no column"))
        });
        let rows = inside("rows").into_iter().map(|row| match row {
            Value::Array(row) => Ok(row),
            other => Err(format!("`{other}` is no row")),
        });
        Ok(Self {
            id: need("id")?,
            area: need("area")?,
            form: need("form")?,
            op: text("op"),
            config: value
                .get("config")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            steps: steps.collect::<Result<_, _>>()?,
            columns: columns.collect::<Result<_, _>>()?,
            rows: rows.collect::<Result<_, _>>()?,
        })
    }

    /// The cell of `row` in the column `name`.
    pub(crate) fn cell<'r>(&self, row: &'r [Value], name: &str) -> Result<&'r Value, String> {
        let place = self.columns.iter().position(|column| column == name);
        place
            .and_then(|place| row.get(place))
            .ok_or_else(|| format!("no column `{name}`"))
    }
}

/// The keys of a map that are not among those named: what the runner does not know.
pub(crate) fn unknown_keys(map: &Map<String, Value>, known: &[&str]) -> Vec<String> {
    map.keys()
        .filter(|key| !known.contains(&key.as_str()))
        .cloned()
        .collect()
}

/// Fails when `map` has a key that is not `known`.
pub(crate) fn only(what: &str, map: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match unknown_keys(map, known).as_slice() {
        [] => Ok(()),
        unknown => Err(format!("{what} has unknown keys: {}", unknown.join(", "))),
    }
}

/// Whether two numbers are within `tolerance`, and anything else is equal. Whole numbers are compared as such: as doubles,
/// those near the ends of an `i64` are all the same.
fn is_close(expected: &Value, got: &Value, tolerance: f64) -> bool {
    let whole = |value: &Value| {
        let signed = value.as_i64().map(i128::from);
        signed.or_else(|| value.as_u64().map(i128::from))
    };
    if let (Some(expected), Some(got)) = (whole(expected), whole(got)) {
        #[expect(clippy::cast_precision_loss, reason = "0 is 0, and 1 is 1")]
        return expected.abs_diff(got) as f64 <= tolerance;
    }
    match (expected.as_f64(), got.as_f64()) {
        (Some(expected), Some(got)) => (expected - got).abs() <= tolerance,
        _ => expected == got,
    }
}

/// What was expected and what came, step by step.
#[derive(Default)]
pub(crate) struct Checks {
    misses: Vec<String>,
}

impl Checks {
    /// Numbers may differ by `tolerance`; everything else must be equal.
    pub(crate) fn close(
        &mut self,
        place: impl fmt::Display,
        what: &str,
        expected: &Value,
        got: &Value,
        tolerance: f64,
    ) {
        if !is_close(expected, got, tolerance) {
            let miss = format!("{place}: {what}: expected {expected}, got {got}");
            self.misses.push(miss);
        }
    }

    pub(crate) fn equal(
        &mut self,
        place: impl fmt::Display,
        what: &str,
        expected: &Value,
        got: impl Into<Value>,
    ) {
        self.close(place, what, expected, &got.into(), 1e-9);
    }

    /// Says in words what is wrong.
    pub(crate) fn miss(&mut self, place: impl fmt::Display, why: impl fmt::Display) {
        self.misses.push(format!("{place}: {why}"));
    }

    pub(crate) fn ended(self) -> Ended {
        if self.misses.is_empty() {
            Ended::Passed
        } else {
            Ended::Failed(self.misses)
        }
    }
}

/// The end of a run that stops at the first thing it cannot read.
pub(crate) fn end(result: Result<Checks, String>) -> Ended {
    match result {
        Ok(checks) => checks.ended(),
        Err(error) => failed(error),
    }
}

/// The runner's own test: whole numbers are compared as such.
pub(crate) fn check_is_close() {
    let most = i64::MAX;
    assert!(is_close(&most.into(), &most.into(), 1e-9));
    assert!(!is_close(&most.into(), &(most - 1).into(), 1e-9));
    assert!(!is_close(&u64::MAX.into(), &(u64::MAX - 1).into(), 1e-9));
    assert!(is_close(&1.into(), &2.into(), 1.0));
    assert!(is_close(&1.into(), &1.000_000_000_1.into(), 1e-9));
    assert!(!is_close(&1.into(), &"1".into(), 1e-9));
}
