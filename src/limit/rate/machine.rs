//! The rules.
//!
//! 1. Permits come one after another, an interval apart, and form a line in virtual time. A call takes the first free
//!    places of the line, one for each permit it needs. The line's end is GCRA's theoretical arrival time.
//! 2. A place may be used as soon as it ends no more than the burst ahead of the time. So in any stretch of time of
//!    length `t` at most `burst + t / interval` permits are used. With no burst to speak of, calls are evenly spaced.
//! 3. Places whose time has passed unused are gone: after any quiet time, at most the burst goes at once.
//! 4. A call whose place's time has not come waits for it, if that is within the patience and the time that the call
//!    has left. Otherwise it is refused, takes nothing, and is told after how long it would be let in if nobody else
//!    came.
//! 5. A call that needs more permits than the burst waits for the last of them. Where no patience would do, it is
//!    refused without a time to come back.
//! 6. A place is given back once, by those who no longer want it before they used it. The last place shortens the line.
//!    Another leaves a gap, into which the next call that fits goes; those behind it keep the time they were told. What
//!    is past cannot be given back, and beyond 64 gaps at a time the places are lost.
//! 7. In windows, permits come all at the beginning of a window, and a place may be used from the window on to which it
//!    belongs. Everything else holds.
//! 8. Other settings keep the debt: as many permits are owed after as before. Those who wait keep the time they were
//!    told; of a place taken under another rate nothing can be given back. Another patience alone moves nothing.
//! 9. Time that steps back gives nothing twice, and costs no more than the longest wait: a line that ends farther ahead
//!    than anybody could have been told to wait is cut to that at the next refusal, as if the settings had changed.

use std::num::NonZeroU32;
use std::time::Duration;

use super::config::RateConfig;
use super::line::{Line, moment};
use super::spec::{Place, Spec};
use crate::error::{LayerKind, Reason, Rejected};
use crate::time::{Tick, nanos};

/// A place in the line: come back at its time, or give it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is neither used nor given back is lost for others"]
pub struct Reservation {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) generation: u64,
    at: Tick,
    wait: Duration,
}

impl Reservation {
    pub(super) const fn new(place: &Place, generation: u64, now: u64) -> Self {
        Self {
            start: place.start,
            end: place.end,
            generation,
            at: Tick::from_nanos(place.at),
            wait: Duration::from_nanos(place.at - now),
        }
    }

    /// When the call may be made; not before the reservation.
    #[must_use]
    pub const fn at(&self) -> Tick {
        self.at
    }

    /// How long that is from the reservation on; zero for at once.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
    }
}

/// What somebody who came now would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Look {
    left: i64,
    next: Tick,
}

impl Look {
    pub(super) fn new(line: &Line, spec: &Spec, now: u64) -> Self {
        Self {
            left: line.left(spec, now),
            next: Tick::from_nanos(line.next(spec, now)),
        }
    }

    /// Permits that could be used now, less those that are promised to others who wait: below zero when these are more.
    #[must_use]
    pub const fn left(&self) -> i64 {
        self.left
    }

    /// When the next call could be made, if it had the patience.
    #[must_use]
    pub const fn next(&self) -> Tick {
        self.next
    }
}

/// A rate limit: a plain value that is told who comes and when.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::{Rate, RateLimit, RateConfig};
/// use mainstay::num::{Period, count};
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let second = Period::secs(1);
/// let mut limit = RateLimit::new(RateConfig::new(Rate::even(10, second)).patience(second));
/// let now = Tick::from_nanos(5);
/// assert_eq!(limit.reserve(count(1), now)?.wait(), Duration::ZERO);
/// let place = limit.reserve(count(1), now)?;
/// assert_eq!(place.wait(), Duration::from_millis(100));
/// limit.cancel(place, now);
/// assert_eq!(limit.reserve(count(1), now)?.wait(), Duration::from_millis(100));
/// # Ok::<(), mainstay::Rejected>(())
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    config: RateConfig,
    pub(super) spec: Spec,
    pub(super) line: Line,
}

impl RateLimit {
    /// A limit to which nobody has come yet.
    #[must_use]
    pub fn new(config: impl Into<RateConfig>) -> Self {
        let config = config.into();
        Self {
            spec: Spec::new(&config),
            config,
            line: Line::default(),
        }
    }

    /// Takes a place for `n` permits.
    ///
    /// # Errors
    ///
    /// When the wait would be longer than the patience; with the time to come back, where there is one.
    pub fn reserve(&mut self, n: NonZeroU32, now: Tick) -> Result<Reservation, Rejected> {
        self.reserve_within(n, Duration::MAX, now)
    }

    /// Takes a place for `n` permits for a call that has only so much time `left`.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve), and when the wait would be longer than `left`.
    pub fn reserve_within(
        &mut self,
        n: NonZeroU32,
        left: Duration,
        now: Tick,
    ) -> Result<Reservation, Rejected> {
        let now = moment(now);
        let limit = self.spec.patience.min(nanos(left));
        match self.line.take(&self.spec, n.get(), limit, now) {
            Ok(place) => Ok(Reservation::new(&place, self.line.generation, now)),
            Err(later) => Err(refusal(later)),
        }
    }

    /// Gives back a place that was not used.
    #[expect(clippy::needless_pass_by_value, reason = "a place is given back once")]
    pub fn cancel(&mut self, reservation: Reservation, now: Tick) {
        self.line.give_back(&self.spec, &reservation, moment(now));
    }

    /// What somebody who came now would find. Changes nothing.
    pub fn look(&self, now: Tick) -> Look {
        Look::new(&self.line, &self.spec, moment(now))
    }

    /// Goes on under other settings: rule 8.
    pub fn reload(&mut self, config: impl Into<RateConfig>, now: Tick) {
        self.config = config.into();
        let spec = Spec::new(&self.config);
        self.spec = self.line.reload(&self.spec, spec, moment(now));
    }

    /// The settings in force.
    #[must_use]
    pub const fn config(&self) -> RateConfig {
        self.config
    }
}

/// The refusal of a call that could be let in `later`.
pub(super) fn refusal(later: Option<u64>) -> Rejected {
    let rejected = Rejected::new(LayerKind::Rate, Reason::RateLimit);
    match later {
        Some(later) => rejected.retry_after(Duration::from_nanos(later)),
        None => rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::rate::Rate;
    use crate::num::{Period, count};

    const SECOND: Period = Period::secs(1);

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(3_600_000_000_000 + millis * 1_000_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn waits(limit: &mut RateLimit, calls: usize, now: Tick) -> Vec<Option<u64>> {
        let mut one = || limit.reserve(count(1), now).ok();
        let wait = |place: Reservation| u64::try_from(place.wait().as_millis()).unwrap();
        (0..calls).map(|_| one().map(wait)).collect()
    }

    fn hint(limit: &mut RateLimit, n: u32, now: Tick) -> Option<Duration> {
        limit.reserve(count(n), now).unwrap_err().hint()
    }

    #[test]
    fn rules_1_and_2_even_permits_are_an_interval_apart() {
        let mut limit = RateLimit::new(RateConfig::new(Rate::even(10, SECOND)).patience(SECOND));
        assert_eq!(
            waits(&mut limit, 4, at(0)),
            [Some(0), Some(100), Some(200), Some(300)]
        );
        assert_eq!(waits(&mut limit, 1, at(350)), [Some(50)]);
        assert_eq!(waits(&mut limit, 1, at(777)), [Some(0)]);
        assert_eq!(waits(&mut limit, 1, at(778)), [Some(99)]);
    }

    #[test]
    fn rules_2_and_3_a_burst_goes_at_once_and_no_more_however_long_it_was_quiet() {
        for quiet in [0, 1_000, 60 * 24 * 3_600_000] {
            let mut limit = RateLimit::new(Rate::burst(5, SECOND));
            assert_eq!(waits(&mut limit, 6, at(0)).iter().flatten().count(), 5);
            let later = at(quiet.max(1_000));
            assert_eq!(waits(&mut limit, 6, later).iter().flatten().count(), 5);
            assert_eq!(limit.look(later).left(), 0);
            assert_eq!(limit.look(later + millis(400)).left(), 2);
        }
    }

    #[test]
    fn rule_2_a_burst_that_differs_from_the_rate() {
        let mut limit = RateLimit::new(Rate::Burst {
            burst: count(20),
            permits: count(10),
            period: SECOND,
        });
        assert_eq!(waits(&mut limit, 30, at(0)).iter().flatten().count(), 20);
        assert_eq!(waits(&mut limit, 30, at(500)).iter().flatten().count(), 5);
    }

    #[test]
    fn rule_4_a_refusal_says_exactly_when_to_come_back() {
        for patience in [1, 99, 100, 250] {
            let config = RateConfig::new(Rate::even(10, SECOND)).patience(Period::millis(patience));
            let mut limit = RateLimit::new(config);
            while limit.reserve(count(1), at(0)).is_ok() {}
            let before = limit.look(at(0));
            let hint = hint(&mut limit, 1, at(0)).unwrap();
            assert_eq!(limit.look(at(0)), before, "a refusal takes nothing");
            let early = at(0) + (hint - Duration::from_nanos(1));
            assert!(limit.reserve(count(1), early).is_err(), "{patience}");
            assert!(limit.reserve(count(1), at(0) + hint).is_ok(), "{patience}");
        }
    }

    #[test]
    fn rule_4_a_wait_that_would_cross_the_deadline_is_refused() {
        let mut limit = RateLimit::new(RateConfig::new(Rate::even(10, SECOND)).patience(SECOND));
        assert!(limit.reserve(count(3), at(0)).is_ok());
        let refused = limit
            .reserve_within(count(1), millis(299), at(0))
            .unwrap_err();
        assert_eq!(refused.hint(), Some(millis(1)));
        assert!(limit.reserve_within(count(1), millis(300), at(0)).is_ok());
    }

    #[test]
    fn rule_5_more_than_the_burst_waits_for_the_last_permit_or_is_told_that_it_never_will() {
        let mut limit = RateLimit::new(Rate::burst(5, SECOND));
        assert_eq!(hint(&mut limit, 6, at(0)), None);
        limit.reload(
            RateConfig::new(Rate::burst(5, SECOND)).patience(SECOND),
            at(0),
        );
        assert_eq!(
            limit.reserve(count(10), at(0)).unwrap().wait(),
            millis(1_000)
        );
        assert_eq!(hint(&mut limit, 10, at(0)), Some(millis(2_000)));
        assert_eq!(hint(&mut limit, 11, at(0)), None);
        assert_eq!(limit.look(at(0)).left(), -5);
    }

    fn patient() -> RateLimit {
        RateLimit::new(RateConfig::new(Rate::even(10, SECOND)).patience(Period::secs(60)))
    }

    fn places(limit: &mut RateLimit, n: usize, now: Tick) -> Vec<Reservation> {
        (0..n)
            .map(|_| limit.reserve(count(1), now).unwrap())
            .collect()
    }

    #[test]
    fn rule_6_the_place_of_one_who_leaves_goes_to_the_next_who_comes() {
        let mut limit = patient();
        let mut all = places(&mut limit, 5, at(0));
        limit.cancel(all.remove(2), at(10));
        assert_eq!(limit.look(at(10)).next(), at(200));
        assert_eq!(waits(&mut limit, 2, at(10)), [Some(190), Some(490)]);
    }

    #[test]
    fn rule_6_when_all_leave_nothing_is_owed_in_whatever_order() {
        for order in [
            [1, 2, 3, 4],
            [4, 3, 2, 1],
            [2, 4, 1, 3],
            [3, 1, 4, 2],
            [1, 3, 2, 4],
        ] {
            let mut limit = patient();
            let mut all: Vec<_> = places(&mut limit, 5, at(0)).into_iter().map(Some).collect();
            for which in order {
                limit.cancel(all[which].take().unwrap(), at(50));
            }
            assert_eq!(
                waits(&mut limit, 2, at(50)),
                [Some(50), Some(150)],
                "{order:?}"
            );
        }
    }

    #[test]
    fn rule_6_a_place_that_is_past_is_gone_and_what_does_not_fit_stands_at_the_end() {
        let mut limit = patient();
        let mut all = places(&mut limit, 5, at(0));
        limit.cancel(all.remove(2), at(199));
        assert_eq!(
            limit.reserve(count(2), at(199)).unwrap().wait(),
            millis(401)
        );
        // Half of the gap is past.
        assert_eq!(waits(&mut limit, 1, at(250)), [Some(450)]);
        limit.cancel(all.remove(1), at(250));
        assert_eq!(waits(&mut limit, 1, at(250)), [Some(550)]);
    }

    #[test]
    fn rule_6_a_gap_of_which_a_part_is_past_holds_only_the_rest() {
        let mut limit = patient();
        let mut all = places(&mut limit, 6, at(0));
        limit.cancel(all.remove(3), at(0));
        limit.cancel(all.remove(2), at(0));
        // From 200 to 400, and half of the first of the two is past.
        assert_eq!(
            waits(&mut limit, 3, at(250)),
            [Some(0), Some(350), Some(450)]
        );
    }

    #[test]
    fn rule_6_gaps_that_touch_are_one() {
        let mut limit = patient();
        let mut all = places(&mut limit, 5, at(0));
        for which in [1, 2, 1] {
            limit.cancel(all.remove(which), at(0));
        }
        assert_eq!(limit.reserve(count(3), at(0)).unwrap().wait(), millis(300));
    }

    #[test]
    fn rule_6_many_gaps_are_bounded_and_never_more_than_the_rate() {
        let mut limit = patient();
        let all = places(&mut limit, 400, at(0));
        for place in all.into_iter().step_by(2) {
            limit.cancel(place, at(0));
        }
        let now = at(0);
        let waits: Vec<_> = places(&mut limit, 100, now)
            .iter()
            .map(|place| place.wait().as_millis() / 100)
            .collect();
        assert!(waits.iter().take(64).all(|wait| wait % 2 == 0));
        assert!(waits.iter().skip(64).copied().eq(400..436), "{waits:?}");
    }

    #[test]
    fn rule_7_windows_let_all_their_permits_go_at_their_beginning() {
        let mut limit = RateLimit::new(RateConfig::new(Rate::windows(2, SECOND)).patience(SECOND));
        assert_eq!(
            waits(&mut limit, 5, at(900)),
            [Some(0), Some(0), Some(100), Some(100), None]
        );
        assert_eq!(hint(&mut limit, 1, at(900)), Some(millis(100)));
        assert_eq!(limit.look(at(1_000)).left(), 0);
        assert_eq!(limit.look(at(2_000)).left(), 2);
        // Heavier than a window: only late enough in one is the wait short enough.
        let mut limit =
            RateLimit::new(RateConfig::new(Rate::windows(2, SECOND)).patience(Period::millis(300)));
        assert_eq!(hint(&mut limit, 3, at(0)), Some(millis(700)));
        assert!(limit.reserve(count(3), at(700)).is_ok());
        assert_eq!(hint(&mut limit, 7, at(700)), None);
    }

    #[test]
    fn rule_8_a_reload_keeps_the_debt_in_permits() {
        let mut limit = RateLimit::new(Rate::burst(10, SECOND));
        assert_eq!(waits(&mut limit, 7, at(0)).iter().flatten().count(), 7);
        for (rate, left) in [
            (Rate::burst(20, SECOND), 13),
            (Rate::burst(10, Period::secs(60)), 3),
            (Rate::windows(10, SECOND), 3),
            (Rate::windows(8, Period::secs(7)), 1),
            (Rate::burst(10, SECOND), 3),
            (Rate::even(10, SECOND), -6),
        ] {
            limit.reload(rate, at(0));
            assert_eq!(limit.look(at(0)).left(), left, "{rate:?}");
        }
    }

    #[test]
    fn rule_8_a_place_of_before_is_not_given_back_unless_only_the_patience_changed() {
        let mut limit = patient();
        let mut all = places(&mut limit, 3, at(0));
        limit.reload(RateConfig::new(Rate::even(10, SECOND)), at(0));
        limit.cancel(all.remove(2), at(0));
        assert_eq!(limit.look(at(0)).left(), -1);
        limit.reload(RateConfig::new(Rate::even(20, SECOND)), at(0));
        limit.cancel(all.remove(1), at(0));
        assert_eq!(limit.look(at(0)).left(), -1);
    }

    #[test]
    fn rule_9_time_that_steps_back_gives_nothing_twice_and_is_forgiven() {
        for rate in [Rate::burst(5, SECOND), Rate::windows(5, SECOND)] {
            let mut limit = RateLimit::new(rate);
            let hour = 3_600_000;
            assert_eq!(waits(&mut limit, 9, at(hour)).iter().flatten().count(), 5);
            assert_eq!(waits(&mut limit, 9, at(0)), [None; 9], "{rate:?}");
            assert_eq!(waits(&mut limit, 9, at(1_000)).iter().flatten().count(), 5);
        }
    }

    #[test]
    fn the_ends_of_the_clock_and_odd_settings_are_survived() {
        let ages = Period::new("period", Duration::from_nanos(u64::MAX)).unwrap();
        let blink = Period::new("period", Duration::from_nanos(1)).unwrap();
        for period in [ages, blink] {
            for rate in [
                Rate::even(1, period),
                Rate::burst(u32::MAX, period),
                Rate::windows(u32::MAX, period),
                Rate::windows(1, period),
            ] {
                let mut limit = RateLimit::new(RateConfig::new(rate).patience(ages));
                assert_eq!(
                    limit.reserve(count(1), at(0)).unwrap().wait(),
                    Duration::ZERO
                );
                for now in [Tick::NEVER, Tick::ZERO, Tick::NEVER, at(0)] {
                    for n in [1, u32::MAX] {
                        if let Ok(place) = limit.reserve(count(n), now) {
                            limit.cancel(place, now);
                        }
                    }
                    limit.reload(RateConfig::new(Rate::even(u32::MAX, ages)), now);
                    let _ = limit.look(now);
                    limit.reload(RateConfig::new(rate).patience(blink), now);
                }
            }
        }
    }

    #[test]
    fn a_rate_that_does_not_divide_its_period_is_never_exceeded() {
        let mut limit = RateLimit::new(Rate::even(3, SECOND));
        let mut passed = 0;
        for nanos in (0..3_000_000_u64).map(|n| n * 1_000) {
            passed += u32::from(limit.reserve(count(1), Tick::from_nanos(nanos)).is_ok());
        }
        assert_eq!(passed, 9);
    }
}
