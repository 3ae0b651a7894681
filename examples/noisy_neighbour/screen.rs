//! What is seen: lines that move while it runs, and a table at the end.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::load::{CLASSES, PHASES, Phase, Tally};

/// How often the lines are drawn anew.
const EVERY: Duration = Duration::from_millis(150);

pub(crate) struct Screen {
    name: &'static str,
    /// None where there is no terminal: then each phase is one line.
    lines: Option<(MultiProgress, Vec<ProgressBar>)>,
    drawn: Mutex<Instant>,
}

impl Screen {
    pub(crate) fn new(name: &'static str) -> Self {
        let lines = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let lines = (0..=CLASSES.len()).map(|_| {
                let line = all.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("{msg}");
                line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                line
            });
            let lines = lines.collect();
            (all, lines)
        });
        Self {
            name,
            lines,
            drawn: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn begin(&self, phase: Phase) {
        match &self.lines {
            Some((_, lines)) => {
                if let Some(first) = lines.first() {
                    first.set_message(format!("{}: {}", self.name, phase.name()));
                }
            }
            None => eprintln!("{}: {}", self.name, phase.name()),
        }
    }

    pub(crate) fn show(&self, tally: &Tally, phase: Phase) {
        let Some((_, lines)) = &self.lines else {
            return;
        };
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.elapsed() < EVERY {
            return;
        }
        *drawn = Instant::now();
        for (class, line) in CLASSES.into_iter().zip(lines.iter().skip(1)) {
            let calls = tally.of(phase, class);
            let wait = calls.percentile(0.95);
            let bar = "█".repeat(usize::try_from(wait.as_millis() / 25).unwrap_or(0).min(40));
            line.set_message(format!(
                "  {:11} {:>6} sent {:>6.1} % served {:>6} refused   p95 {wait:>9.1?} {bar}",
                class.name(),
                calls.sent(),
                calls.served() * 100.0,
                calls.refused(),
            ));
        }
    }

    pub(crate) fn close(&self) {
        if let Some((all, _)) = &self.lines {
            // What cannot be cleared stays: the table comes after it.
            drop(all.clear());
        }
    }
}

/// Each phase and class, without the layer and with it.
pub(crate) fn table(without: &Tally, with: &Tally) {
    println!(
        "\n                              │      without the layer      │       with the layer"
    );
    println!(
        "phase               class     │  served      p50       p95  │  served      p50       p95"
    );
    for phase in PHASES {
        println!(
            "──────────────────────────────┼─────────────────────────────┼────────────────────────────"
        );
        for (n, class) in CLASSES.into_iter().enumerate() {
            let name = if n == 0 { phase.name() } else { "" };
            let cell = |tally: &Tally| {
                let calls = tally.of(phase, class);
                if calls.sent() == 0 {
                    return format!("{:27}", "");
                }
                let (p50, p95) = (calls.percentile(0.5), calls.percentile(0.95));
                let served = calls.served() * 100.0;
                format!("{served:>5.1} % {p50:>9.1?} {p95:>9.1?}")
            };
            let class = class.name();
            println!("{name:19} {class:10}│ {} │ {}", cell(without), cell(with));
        }
    }
    println!();
}
