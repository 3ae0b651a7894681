//! The line of those who were promised a permit.

use super::machine::Reservation;
use super::spec::{END, Place, Spec};

/// Gaps that are remembered, a kilobyte. A place that would be one more is forgotten: never more than the rate.
const MAX_GAPS: usize = 64;

/// A line: where it ends, and the places in it that were given back while others stood behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) end: u64,
    /// Positions of different generations have nothing to do with each other.
    pub(super) generation: u64,
    gaps: Vec<Gap>,
}

/// Sorted, apart from each other, and before the line's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    start: u64,
    end: u64,
}

impl Gap {
    /// How much of it is not past.
    fn after(&self, floor: u64) -> u64 {
        self.end.saturating_sub(self.start.max(floor))
    }
}

impl Line {
    #[cfg(feature = "tower")]
    pub(super) const fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Whether it cannot be told from the line of one who has never come.
    #[cfg(feature = "tower")]
    pub(super) const fn is_untouched(&self, spec: &Spec, now: u64) -> bool {
        self.end <= spec.floor(now)
    }

    /// Takes the first place for `n` permits, if its wait is within `limit`.
    ///
    /// Otherwise says how long until it would be, `None` for never.
    pub(super) fn take(
        &mut self,
        spec: &Spec,
        n: u32,
        limit: u64,
        now: u64,
    ) -> Result<Place, Option<u64>> {
        if !self.gaps.is_empty() {
            let floor = spec.floor(now);
            self.gaps.retain(|gap| gap.end > floor);
        }
        let (which, place) = self.first(spec, n, now);
        if place.at - now <= limit {
            match which {
                Some(which) => self.fill(which, &place),
                None => self.end = place.end,
            }
            return Ok(place);
        }
        let mut at = place.at;
        let farthest = spec.farthest(now);
        if self.end > farthest {
            self.begin(farthest);
            at = self.first(spec, n, now).1.at;
        }
        // One for each gap and the end, and as many again for windows whose beginning is past.
        let tries = 2 * (self.gaps.len() + 1);
        let first = |then| self.first(spec, n, then).1;
        Err(Spec::later(tries, first, at, limit, now))
    }

    /// The first place for `n` permits: in which gap, or at the end.
    fn first(&self, spec: &Spec, n: u32, now: u64) -> (Option<usize>, Place) {
        let fits = |(which, gap): (usize, &Gap)| {
            let place = spec.place(gap.start, n, now);
            (place.end <= gap.end).then_some((Some(which), place))
        };
        let gap = self.gaps.iter().enumerate().find_map(fits);
        gap.unwrap_or_else(|| (None, spec.place(self.end, n, now)))
    }

    fn fill(&mut self, which: usize, place: &Place) {
        if let Some(gap) = self.gaps.get_mut(which) {
            // What lies before the place is past.
            gap.start = place.end;
            if gap.start >= gap.end {
                self.gaps.remove(which);
            }
        }
    }

    /// Gives back a place. What is past of it is of no use to anybody.
    pub(super) fn give_back(&mut self, spec: &Spec, reservation: &Reservation, now: u64) {
        if reservation.generation != self.generation {
            return;
        }
        let (start, end) = (reservation.start, reservation.end);
        if end == self.end {
            self.end = start;
            if let Some(last) = self.gaps.pop_if(|gap| gap.end == start) {
                self.end = last.start;
            }
            return;
        }
        let floor = spec.floor(now);
        if end <= floor {
            return;
        }
        self.gaps.retain(|gap| gap.end > floor);
        let room = self.gaps.len() < MAX_GAPS;
        let which = self.gaps.partition_point(|gap| gap.end < start);
        match self.gaps.get_mut(which) {
            // The one before it: they touch, since places do not overlap.
            Some(gap) if gap.end == start => gap.end = end,
            Some(gap) if gap.start == end => gap.start = start,
            _ if room => self.gaps.insert(which, Gap { start, end }),
            _ => return,
        }
        if let (Some(gap), Some(next)) = (self.gaps.get(which), self.gaps.get(which + 1))
            && gap.end == next.start
        {
            let end = next.end;
            self.gaps.remove(which + 1);
            if let Some(gap) = self.gaps.get_mut(which) {
                gap.end = end;
            }
        }
    }

    /// How much of the line lies ahead, gaps not counted.
    fn owed(&self, spec: &Spec, now: u64) -> u64 {
        let floor = spec.floor(now);
        let free: u64 = self.gaps.iter().map(|gap| gap.after(floor)).sum();
        self.end.saturating_sub(floor).saturating_sub(free)
    }

    /// How many permits are left; below zero when others wait.
    pub(super) fn left(&self, spec: &Spec, now: u64) -> i64 {
        let floor = spec.floor(now);
        let gaps = self.gaps.iter().map(|gap| spec.within(gap.after(floor)));
        spec.left(self.end.saturating_sub(floor)) + gaps.sum::<i64>()
    }

    /// When the next permit may go.
    pub(super) fn next(&self, spec: &Spec, now: u64) -> u64 {
        self.first(spec, 1, now).1.at
    }

    /// Goes on under other settings, with as many permits owed as before. Returns the settings as they apply.
    pub(super) fn reload(&mut self, before: &Spec, mut spec: Spec, now: u64) -> Spec {
        if spec.shape == before.shape {
            spec.reach = spec.reach.max(before.reach);
            return spec;
        }
        let farthest = before.farthest(now);
        if self.end > farthest {
            self.begin(farthest);
        }
        let (spec, end) = spec.succeed(before, self.owed(before, now), now);
        self.begin(end);
        spec
    }

    /// Begins a generation: of the places before, none can be given back.
    fn begin(&mut self, end: u64) {
        self.end = end;
        self.gaps.clear();
        self.generation = self.generation.wrapping_add(1);
    }
}

/// The moment as a line counts it.
pub(super) const fn moment(now: crate::time::Tick) -> u64 {
    let now = now.as_nanos();
    if now > END { END } else { now }
}
