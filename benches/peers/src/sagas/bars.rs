//! What the rows of this crate must reach.
//!
//! The bars hold on a disk that makes 10,000 syncs a second for one who waits for each. On a slower one they are taken as
//! a share of what the probe beside the row finds: half the syncs, half the sagas, twice the time.

use super::crew::Cell;

/// The syncs a second that the bars are made for.
const DISK: f64 = 10_000.0;

#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// Sagas a second, at least.
    Rate,
    /// The slowest in a hundred, at most so many milliseconds.
    P99,
    /// Synchronous writes of a saga that is alone, at most. Not the mean, to which the checkpoints of SQLite's log add: two
    /// for many sagas.
    Syncs,
}

#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub entrant: &'static str,
    pub flight: usize,
    /// With every sync made slow.
    pub slow: bool,
    pub figure: Figure,
    pub bar: f64,
    /// Whether it depends on the disk.
    pub by_disk: bool,
}

const fn rate(entrant: &'static str, flight: usize, bar: f64) -> Bar {
    Bar {
        entrant,
        flight,
        slow: false,
        figure: Figure::Rate,
        bar,
        by_disk: true,
    }
}

pub const BARS: [Bar; 9] = [
    rate("mainstay-sqlite", 1, 1_000.0),
    rate("mainstay-sqlite", 64, 20_000.0),
    rate("mainstay-sqlite", 256, 50_000.0),
    Bar {
        figure: Figure::Syncs,
        by_disk: false,
        ..rate("mainstay-sqlite", 1, 7.0)
    },
    Bar {
        figure: Figure::P99,
        ..rate("mainstay-sqlite", 64, 15.0)
    },
    Bar {
        slow: true,
        by_disk: false,
        ..rate("mainstay-sqlite", 64, 1_800.0)
    },
    rate("mainstay-postgres", 1, 700.0),
    rate("mainstay-postgres", 64, 8_000.0),
    Bar {
        by_disk: false,
        ..rate("mainstay-memory", 64, 100_000.0)
    },
];

/// A bar and what it was measured to be.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub bar: Bar,
    /// The share of the disk that the bar is made for; 1 at most.
    pub share: f64,
    /// What must be reached on this disk.
    pub asked: f64,
    pub found: f64,
}

impl Judged {
    pub fn met(&self) -> bool {
        match self.bar.figure {
            Figure::Rate => self.found >= self.asked,
            Figure::P99 | Figure::Syncs => self.found <= self.asked,
        }
    }
}

impl Bar {
    fn is_about(&self, cell: &Cell) -> bool {
        cell.entrant.id == self.entrant && cell.flight == self.flight && cell.slow == self.slow
    }

    /// `None` where the row was not measured.
    pub fn judge(self, cells: &[Cell]) -> Option<Judged> {
        let cell = cells.iter().find(|cell| self.is_about(cell))?;
        let best = cell.best()?;
        let share = match self.by_disk {
            true => (best.probe / DISK).min(1.0),
            false => 1.0,
        };
        let (asked, found) = match self.figure {
            Figure::Rate => (self.bar * share, best.run.rate()),
            Figure::P99 => (self.bar / share, best.run.p99),
            Figure::Syncs => (self.bar, best.run.lone? as f64),
        };
        Some(Judged {
            bar: self,
            share,
            asked,
            found,
        })
    }
}
