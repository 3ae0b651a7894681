//! What is shown while invoices are being paid: a bar on a terminal, else a plain line now and then.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines that a run prints where there is no terminal.
const LINES: u64 = 20;

/// Counts finished invoices and shows it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    /// Begins at `done` of `total`.
    pub(crate) fn new(done: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(done);
            let style = "{bar:40.green} {pos}/{len} invoices, {elapsed} gone, {eta} to go  {msg}";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            total,
            done: AtomicU64::new(done),
        }
    }

    /// One more is finished. Returns how many that makes.
    pub(crate) fn one_more(&self) -> u64 {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if done.is_multiple_of((self.total / LINES).max(1)) || done == self.total => {
                eprintln!("finished {done} of {}", self.total);
            }
            None => {}
        }
        done
    }

    /// Says something that happened meanwhile.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("{what}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
