//! Schedules: a least count at certain hours of certain days, where people live.
//!
//! Use it for what is known in advance: office hours, a nightly run, the end of the month's payroll. It only ever raises
//! what another policy wants, early enough that the replicas are ready when the hours begin.
//!
//! # Rules
//!
//! 1. A window is open while the clock on the wall of its zone shows a time from its beginning to before its end, on one of
//!    its days. One whose end is not after its beginning goes on into the next day, and belongs to the day it began on.
//! 2. Where clocks are put forward, a window that begins in the hour that is left out begins when that is over; one that
//!    lies in it altogether does not open that day. Where they are put back, a window in the hour that comes twice is open
//!    both times.
//! 3. Of several open windows the greatest count holds. A window counts as open for its lead before it is.
//!
//! # Time zones
//!
//! [`Zone::UTC`] and fixed offsets need nothing. Named zones (`Europe/Zurich`) come with the feature `timezones`: jiff, with
//! the IANA database inside, so that it does not hang on what a container has installed.

use crate::autoscale::{Autoscaler, Decision, Sample};
#[cfg(feature = "timezones")]
use crate::error::ConfigError;
use crate::num::Period;
use crate::time::Timestamp;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are what they are called")]
#[expect(clippy::exhaustive_enums, reason = "there are seven")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    /// Monday to Friday.
    pub const WORKDAYS: [Self; 5] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Where a clock hangs.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(Place);

#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// So many minutes ahead of UTC.
    Fixed(i16),
    #[cfg(feature = "timezones")]
    Named(jiff::tz::TimeZone),
}

/// What a clock shows: the day of the week from Monday on, and minutes since midnight.
struct Shown {
    day: i64,
    minute: u16,
}

const MINUTES: i64 = 1_440;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Place::Fixed(0));

    /// So many minutes ahead of UTC, behind it when negative; a day at most.
    #[must_use]
    pub const fn fixed(minutes: i16) -> Self {
        const MOST: i16 = 1_440;
        let within = if minutes > MOST {
            MOST
        } else if minutes < -MOST {
            -MOST
        } else {
            minutes
        };
        Self(Place::Fixed(within))
    }

    /// A zone of the IANA database, such as `Europe/Zurich`.
    ///
    /// # Errors
    ///
    /// Names the zone when there is none of that name.
    #[cfg(feature = "timezones")]
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        jiff::tz::TimeZone::get(name)
            .map(|zone| Self(Place::Named(zone)))
            .map_err(|_| ConfigError::new("zone", name, "a name of the IANA time zone database"))
    }

    fn shows(&self, now: Timestamp) -> Shown {
        let ahead: i64 = match &self.0 {
            Place::Fixed(minutes) => i64::from(*minutes) * 60,
            #[cfg(feature = "timezones")]
            Place::Named(zone) => jiff::Timestamp::from_millisecond(now.as_millis())
                .map_or(0, |now| zone.to_offset(now).seconds().into()),
        };
        let minutes = (now.as_millis().div_euclid(1_000).saturating_add(ahead)).div_euclid(60);
        // The first of January 1970 was a Thursday.
        Shown {
            day: (minutes.div_euclid(MINUTES) + 3).rem_euclid(7),
            minute: u16::try_from(minutes.rem_euclid(MINUTES)).unwrap_or_default(),
        }
    }
}

/// A time of the day, for literals: `Clock::at(9, 30)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock(u16);

impl Clock {
    /// Hour and minute.
    ///
    /// # Panics
    ///
    /// From 24:00 on; in a `const` that is a compile error.
    #[must_use]
    pub const fn at(hour: u8, minute: u8) -> Self {
        assert!(hour < 24 && minute < 60, "a clock shows 00:00 to 23:59");
        Self(hour as u16 * 60 + minute as u16)
    }
}

/// Hours in which there are at least so many replicas.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::schedule::{Clock, Day, Window, Zone};
/// use mainstay::time::Timestamp;
///
/// let office = Window::new(Clock::at(9, 0), Clock::at(18, 0), 10).on(Day::WORKDAYS).zone(Zone::UTC);
/// let monday = |hour: i64| Timestamp::from_millis((4 * 24 + hour) * 3_600_000);
/// assert!(!office.is_open(monday(8)));
/// assert!(office.is_open(monday(9)));
/// assert!(!office.is_open(monday(18)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    from: Clock,
    to: Clock,
    least: u32,
    days: u8,
    zone: Zone,
}

impl Window {
    /// From one time of the day to before another, every day, in UTC.
    #[must_use]
    pub const fn new(from: Clock, to: Clock, least: u32) -> Self {
        Self {
            from,
            to,
            least,
            days: 0x7f,
            zone: Zone::UTC,
        }
    }

    /// On these days only.
    #[must_use]
    pub fn on(mut self, days: impl IntoIterator<Item = Day>) -> Self {
        self.days = days.into_iter().fold(0, |days, day| days | day.bit());
        self
    }

    /// By the clocks of this zone.
    #[must_use]
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// Whether it is open: rules 1 and 2.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let shown = self.zone.shows(now);
        let on = |day: i64| self.days & (1_u8 << day.rem_euclid(7)) != 0;
        let (from, to, minute) = (self.from.0, self.to.0, shown.minute);
        if from < to {
            (from..to).contains(&minute) && on(shown.day)
        } else {
            minute >= from && on(shown.day) || minute < to && on(shown.day - 1)
        }
    }
}

/// A policy that is raised at certain hours.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::schedule::Scheduled;
/// use mainstay::autoscale::tracking::Tracking;
/// use mainstay::autoscale::{Autoscaler, Fleet, Sample};
/// use mainstay::num::Period;
/// use mainstay::presets::multi_region;
/// use mainstay::time::Timestamp;
///
/// let workers = Tracking::new(multi_region::worker_scaling());
/// let mut workers = Scheduled::new(workers)
///     .window(multi_region::worker_hours())
///     .lead(Period::secs(300));
/// // Five to nine on a Monday.
/// let now = Timestamp::from_millis(((4 * 24 + 8) * 60 + 55) * 60_000);
/// assert_eq!(workers.decide(&Sample::new(Fleet::new(3)), now).target(), 10);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled<A> {
    policy: A,
    windows: Vec<Window>,
    lead: Period,
}

impl<A> Scheduled<A> {
    /// Without a window.
    pub const fn new(policy: A) -> Self {
        Self {
            policy,
            windows: Vec::new(),
            lead: Period::secs(60),
        }
    }

    /// One more window.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.windows.push(window);
        self
    }

    /// How long before a window the replicas are ordered: what they take to start. Defaults to 60 s.
    #[must_use]
    pub fn lead(mut self, lead: Period) -> Self {
        self.lead = lead;
        self
    }

    /// The policy.
    pub const fn policy(&self) -> &A {
        &self.policy
    }

    /// The least count that the windows ask for: rule 3.
    #[must_use]
    pub fn least(&self, now: Timestamp) -> u32 {
        let soon = now.after(self.lead.get());
        let open = self
            .windows
            .iter()
            .filter(|window| window.is_open(now) || window.is_open(soon));
        open.map(|window| window.least).max().unwrap_or(0)
    }
}

impl<A: Autoscaler> Autoscaler for Scheduled<A> {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        let least = self.least(now);
        self.policy.decide(sample, now).raised(least, "schedule")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes since Monday, the fifth of January 1970.
    const fn monday(minutes: i64) -> Timestamp {
        Timestamp::from_millis((4 * MINUTES + minutes) * 60_000)
    }

    #[test]
    fn rule_1_over_midnight_it_belongs_to_the_day_it_began_on() {
        let night = Window::new(Clock::at(22, 0), Clock::at(6, 0), 5).on([Day::Monday]);
        assert!(!night.is_open(monday(3 * 60)));
        assert!(night.is_open(monday(22 * 60)));
        assert!(night.is_open(monday(24 * 60 + 5 * 60 + 59)));
        assert!(!night.is_open(monday(24 * 60 + 6 * 60)));
        assert!(!night.is_open(monday(24 * 60 + 23 * 60)));
        let always = Window::new(Clock::at(0, 0), Clock::at(0, 0), 5);
        assert!((0..7 * MINUTES).all(|minute| always.is_open(monday(minute))));
    }

    #[test]
    fn fixed_offsets_are_bounded_and_total() {
        let shifted = Window::new(Clock::at(9, 0), Clock::at(10, 0), 5).zone(Zone::fixed(60));
        assert!(shifted.is_open(monday(8 * 60)));
        assert_eq!(Zone::fixed(i16::MIN), Zone::fixed(-1_440));
        for millis in [i64::MIN, i64::MAX] {
            let _ = shifted.is_open(Timestamp::from_millis(millis));
        }
    }

    #[cfg(feature = "timezones")]
    mod zones {
        use super::*;

        fn zurich(from: Clock, to: Clock) -> Window {
            Window::new(from, to, 5).zone(Zone::named("Europe/Zurich").unwrap())
        }

        /// How many minutes of a day in UTC it is open.
        fn open(window: &Window, day: &str) -> i64 {
            let midnight: jiff::Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
            let begin = midnight.as_millisecond();
            (0..MINUTES)
                .filter(|minute| window.is_open(Timestamp::from_millis(begin + minute * 60_000)))
                .count()
                .try_into()
                .unwrap()
        }

        #[test]
        fn rule_2_a_gap() {
            // On the 30th of March 2025 it was 3 o'clock after 01:59.
            let (begins, within) = (
                zurich(Clock::at(2, 30), Clock::at(3, 30)),
                zurich(Clock::at(2, 10), Clock::at(2, 50)),
            );
            assert_eq!(
                (open(&begins, "2025-03-30"), open(&within, "2025-03-30")),
                (30, 0)
            );
            assert_eq!(
                (open(&begins, "2025-03-31"), open(&within, "2025-03-31")),
                (60, 40)
            );
        }

        #[test]
        fn rule_2_an_overlap() {
            // On the 26th of October 2025 the hour from 2 to 3 came twice.
            let twice = zurich(Clock::at(2, 0), Clock::at(3, 0));
            assert_eq!(open(&twice, "2025-10-26"), 120);
            assert_eq!(open(&twice, "2025-10-27"), 60);
        }

        #[test]
        fn office_hours_follow_the_clock_on_the_wall() {
            let office = zurich(Clock::at(9, 0), Clock::at(18, 0));
            let at = |text: &str| {
                let time: jiff::Timestamp = text.parse().unwrap();
                office.is_open(Timestamp::from_millis(time.as_millisecond()))
            };
            assert!(at("2025-01-15T08:00:00Z") && !at("2025-01-15T07:59:00Z"));
            assert!(at("2025-07-15T07:00:00Z") && !at("2025-07-15T06:59:00Z"));
        }

        #[test]
        fn a_zone_that_does_not_exist_is_refused() {
            assert_eq!(
                Zone::named("Europe/Atlantis").unwrap_err().value(),
                "Europe/Atlantis"
            );
        }
    }
}
