//! Runs the conformance cases of `tests/vectors/`, and of every file or folder that `MAINSTAY_VECTORS` lists
//! (separated like `PATH`).
//!
//! For each file one line, `<file>: <n> passed, <n> failed, <n> not applicable`, then each failure with step, expected
//! and got, then each case that does not apply with its reason. It fails on any failure, and on an area, op, setting or
//! action that it does not know: nothing is passed over in silence.

#![expect(
    clippy::disallowed_methods,
    reason = "reads its arguments, the environment and the cases"
)]

#[path = "vectors/breaker.rs"]
mod breaker;
#[path = "vectors/budget.rs"]
mod budget;
#[path = "vectors/case.rs"]
mod case;
#[path = "vectors/deadline.rs"]
mod deadline;
#[path = "vectors/heard.rs"]
mod heard;
#[path = "vectors/hpa.rs"]
mod hpa;
#[path = "vectors/limit.rs"]
mod limit;
#[path = "vectors/rate.rs"]
mod rate;
#[path = "vectors/retry.rs"]
mod retry;
#[path = "vectors/rules.rs"]
mod rules;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use case::{Case, Ended, failed, not_applicable};
use serde_json::Value;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    // What test runners ask before they run: which tests there are, and which of them are ignored.
    if args.any(|arg| arg == "--list") {
        if !std::env::args().any(|arg| arg == "--ignored") {
            println!("vectors: test");
        }
        return ExitCode::SUCCESS;
    }
    case::check_is_close();
    hpa::check_refusals();
    let mut failures = 0;
    let mut cases = 0;
    for file in files() {
        let report = run_file(&file);
        failures += report.failed.len();
        cases += report.passed + report.failed.len() + report.skipped.len();
        report.print(&file);
    }
    assert!(cases > 0, "no cases were found");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The project's own files and what the environment adds, each once.
fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let more = std::env::var_os("MAINSTAY_VECTORS").unwrap_or_default();
    let more = std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty());
    let mut files = Vec::new();
    for place in std::iter::once(own).chain(more) {
        if place.is_dir() {
            let mut inside: Vec<_> = std::fs::read_dir(&place)
                .unwrap_or_else(|error| panic!("{}: {error}", place.display()))
                .map(|entry| entry.expect("a folder lists its entries").path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
                .collect();
            inside.sort();
            files.extend(inside);
        } else {
            files.push(place);
        }
    }
    files
}

#[derive(Default)]
struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    fn print(&self, file: &Path) {
        let name = file.file_name().unwrap_or_default().display();
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        println!(
            "{name}: {} passed, {failed} failed, {skipped} not applicable",
            self.passed
        );
        for line in self.failed.iter().chain(&self.skipped) {
            println!("  {line}");
        }
    }

    fn add(&mut self, id: &str, ended: Ended) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::NotApplicable(reason) => {
                self.skipped.push(format!("{id}: not applicable: {reason}"));
            }
            Ended::Failed(misses) => {
                let misses = misses.iter().map(|miss| format!("{id}: FAILED: {miss}"));
                self.failed.extend(misses);
            }
        }
    }
}

fn run_file(file: &Path) -> Report {
    let mut report = Report::default();
    let name = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            report.add(&name, failed(error));
            return report;
        }
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(whole) => run_cases(&whole, &name, &mut report),
        Err(error) => report.add(&name, failed(error)),
    }
    report
}

/// A file is known by what is in it, not by its name.
fn run_cases(whole: &Value, name: &str, report: &mut Report) {
    let schema = whole.get("schema").and_then(Value::as_str);
    let kubernetes = whole.get("cases").and_then(Value::as_array);
    match (schema, kubernetes) {
        (Some("resilience-conformance/1"), _) => {
            let scenarios = whole.get("scenarios").and_then(Value::as_array);
            for case in scenarios.into_iter().flatten() {
                let id = case.get("id").and_then(Value::as_str).unwrap_or("no id");
                let ended = match Case::read(case) {
                    Ok(case) => run_case(&case),
                    Err(error) => failed(error),
                };
                report.add(id, ended);
            }
        }
        (None, Some(cases)) if whole.get("schema_version").is_some() => {
            for case in cases {
                let id = case.get("id").and_then(Value::as_str).unwrap_or("no id");
                report.add(id, hpa::run(case));
            }
        }
        _ => report.add(name, failed("no form of cases that is known here")),
    }
}

fn run_case(case: &Case) -> Ended {
    if case.form == "rule" {
        return rules::run(case);
    }
    match case.area.as_str() {
        "breaker" | "window" | "composition" => breaker::run(case),
        "retry" => retry::run(case),
        "retry_budget" => retry::run_budget(case),
        "rate_limit" => rate::run(case),
        "adaptive_limit" => limit::run(case),
        "hedge" => not_applicable("mainstay does not hedge yet"),
        "outlier" => not_applicable("mainstay does not eject endpoints yet"),
        "shed" => not_applicable("mainstay does not shed by probability yet"),
        "chaos" => not_applicable("mainstay does not inject faults yet"),
        other => failed(format!("unknown area `{other}`")),
    }
}
