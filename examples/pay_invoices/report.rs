//! The final table, for people and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::audit::Findings;
use crate::invoice::Invoice;
use crate::outcome::Outcome;
use crate::timings::Percentiles;

/// What came of the invoices, in this run and those before it, and what this run went through.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Rows that are invoices: paid + compensated + incidents, unless some are unfinished.
    pub(crate) invoices: u64,
    pub(crate) paid: u64,
    pub(crate) compensated: u64,
    pub(crate) incidents: u64,
    /// Rows that are not; see the rejects file.
    pub(crate) rejected: u64,
    pub(crate) unfinished: u64,
    /// Whether the audit holds.
    pub(crate) audit: bool,
    pub(crate) findings: Findings,
    /// How many were compensated, by reason.
    pub(crate) compensated_why: BTreeMap<String, u64>,
    /// Every incident: the invoice and what is wrong with it.
    pub(crate) incident_list: BTreeMap<String, String>,
    /// Finished before this run began.
    pub(crate) finished_earlier: u64,
    pub(crate) coded_by_rules: u64,
    pub(crate) seconds: f64,
    /// Processes that shared the journal, and how often one was started again.
    pub(crate) instances: u64,
    pub(crate) instance_restarts: u64,
    pub(crate) backends: Vec<BackendRow>,
    #[serde(skip)]
    pub(crate) steps: Vec<Percentiles>,
}

/// What this run went through with one backend.
#[derive(Debug, Serialize)]
pub(crate) struct BackendRow {
    pub(crate) backend: String,
    pub(crate) retries: u64,
    pub(crate) breaker_openings: u64,
    pub(crate) restarts: u64,
}

impl Report {
    /// Counts outcomes, which are by [`Invoice::key`].
    pub(crate) fn count(invoices: &[Invoice], outcomes: &HashMap<String, Outcome>) -> Self {
        let mut report = Self {
            invoices: 0,
            paid: 0,
            compensated: 0,
            incidents: 0,
            rejected: 0,
            unfinished: 0,
            audit: false,
            findings: Findings::new(),
            compensated_why: BTreeMap::new(),
            incident_list: BTreeMap::new(),
            finished_earlier: 0,
            coded_by_rules: 0,
            seconds: 0.0,
            instances: 1,
            instance_restarts: 0,
            backends: Vec::new(),
            steps: Vec::new(),
        };
        for key in invoices.iter().map(Invoice::key) {
            report.invoices += 1;
            match outcomes.get(&key).unwrap_or(&Outcome::Unfinished) {
                Outcome::Paid { .. } => report.paid += 1,
                Outcome::Compensated { why } => {
                    report.compensated += 1;
                    *report.compensated_why.entry(why.clone()).or_default() += 1;
                }
                Outcome::Incident { why } => {
                    report.incidents += 1;
                    report.incident_list.insert(key, why.clone());
                }
                Outcome::Unfinished => report.unfinished += 1,
            }
        }
        report
    }
}

/// How many findings and incidents are shown; the JSON has all.
const SHOWN: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}{:>7}", "invoices", self.invoices)?;
        writeln!(f, "  {:<22}{:>7}", "paid", self.paid)?;
        writeln!(f, "  {:<22}{:>7}", "compensated", self.compensated)?;
        for (why, count) in &self.compensated_why {
            writeln!(f, "    {count:>5}  {why}")?;
        }
        writeln!(f, "  {:<22}{:>7}", "incidents", self.incidents)?;
        for (invoice, why) in self.incident_list.iter().take(SHOWN) {
            writeln!(f, "           {invoice}: {why}")?;
        }
        more(f, self.incident_list.len())?;
        if self.unfinished > 0 {
            writeln!(f, "  {:<22}{:>7}", "unfinished", self.unfinished)?;
        }
        writeln!(f, "{:<24}{:>7}", "rejected rows", self.rejected)?;
        writeln!(f, "{:<24}{:>7}", "finished earlier", self.finished_earlier)?;
        writeln!(f, "{:<24}{:>7}", "coded by rule", self.coded_by_rules)?;
        if self.instances > 1 {
            writeln!(f, "{:<24}{:>7}", "instances", self.instances)?;
            writeln!(f, "  {:<22}{:>7}", "restarts", self.instance_restarts)?;
        }

        writeln!(
            f,
            "\n{:<22}{:>7}{:>10}{:>10}{:>10}{:>10}",
            "step", "tries", "p50", "p90", "p99", "max"
        )?;
        for Percentiles {
            step,
            runs,
            p50,
            p90,
            p99,
            max,
        } in &self.steps
        {
            let ms = [p50, p90, p99, max].map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
            let [p50, p90, p99, max] = &ms;
            writeln!(f, "{step:<22}{runs:>7}{p50:>10}{p90:>10}{p99:>10}{max:>10}")?;
        }

        writeln!(
            f,
            "\n{:<22}{:>9}{:>12}{:>10}",
            "backend", "retries", "openings", "restarts"
        )?;
        for BackendRow {
            backend,
            retries,
            breaker_openings,
            restarts,
        } in &self.backends
        {
            writeln!(
                f,
                "{backend:<22}{retries:>9}{breaker_openings:>12}{restarts:>10}"
            )?;
        }

        let audit = if self.audit { "holds" } else { "DOES NOT HOLD" };
        writeln!(f, "\naudit of the books: {audit} ({:.1} s)", self.seconds)?;
        for finding in self.findings.iter().take(SHOWN) {
            writeln!(f, "  {finding}")?;
        }
        more(f, self.findings.len())
    }
}

fn more(f: &mut fmt::Formatter<'_>, all: usize) -> fmt::Result {
    if all > SHOWN {
        writeln!(f, "           and {} more", all - SHOWN)
    } else {
        Ok(())
    }
}
