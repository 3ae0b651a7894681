//! What is remembered between decisions, and how it holds a count.
//!
//! Rules:
//!
//! 1. Without `behavior`, a count is not below any recommendation of the window, the oldest moment included: up at once,
//!    down only as far as the highest.
//! 2. With it, a count is at least the lowest recommendation of the window of scaling up and at most the highest of that
//!    of scaling down, the oldest moments excluded; both always, so it stays where it is between the two.
//! 3. What is stored is what the metrics asked for, in place of the last entry that is older than every window, or behind
//!    the others.
//! 4. A first call that knows no log begins one with the count that there is: nobody knows what was recommended before. A
//!    log that is known to be empty holds nothing.
//! 5. Of more entries than a thousand those are forgotten that no window can tell from a later one; should that not be
//!    enough, old ones are merged so that they hold for longer and never for shorter.

use super::condition::Reason;
use crate::time::Timestamp;

/// So many entries are kept before any is given up: an hour of one every fifteen seconds is 240.
const ROOM: usize = 1_024;

/// What the metrics asked for at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Recommendation {
    /// How many replicas.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

impl Recommendation {
    /// So many replicas at a time.
    #[must_use]
    pub const fn new(replicas: i32, at: Timestamp) -> Self {
        Self { replicas, at }
    }
}

/// By how much the count was changed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ScaleEvent {
    /// By how many replicas, upwards or downwards as its log is.
    pub change: i32,
    /// When.
    pub at: Timestamp,
}

impl ScaleEvent {
    /// A change at a time.
    #[must_use]
    pub const fn new(change: i32, at: Timestamp) -> Self {
        Self { change, at }
    }
}

/// `now` less so many seconds.
pub(super) fn before(now: Timestamp, seconds: u16) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(i64::from(seconds) * 1_000))
}

/// Puts `new` in the place of the last that is dead, or behind the others.
fn put<T>(log: &mut Vec<T>, new: T, dead: impl Fn(&T) -> bool) {
    match log.iter_mut().rfind(|entry| dead(entry)) {
        Some(place) => *place = new,
        None => log.push(new),
    }
}

fn recommend(log: &mut Vec<Recommendation>, replicas: i32, now: Timestamp, oldest: Timestamp) {
    let new = Recommendation { replicas, at: now };
    put(log, new, |entry| entry.at < oldest);
    if log.len() > ROOM {
        thin(log);
    }
}

/// Rule 5.
fn thin(log: &mut Vec<Recommendation>) {
    log.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    let mut ends: Option<(i32, i32)> = None;
    // A later entry is in every window that an earlier one is in, so the earlier one shows only beyond the later ones.
    log.retain(|entry| {
        let (low, high) = ends.unwrap_or((entry.replicas, entry.replicas));
        let shows = ends.is_none() || entry.replicas < low || entry.replicas > high;
        ends = Some((low.min(entry.replicas), high.max(entry.replicas)));
        shows
    });
    if log.len() > ROOM / 2 {
        let old = log.split_off(ROOM / 4);
        for four in old.chunks(4) {
            let at = four.iter().map(|entry| entry.at).max();
            let ends = (
                four.iter().map(|entry| entry.replicas).min(),
                four.iter().map(|entry| entry.replicas).max(),
            );
            if let (Some(at), (Some(low), Some(high))) = (at, ends) {
                log.extend([low, high].map(|replicas| Recommendation { replicas, at }));
            }
        }
    }
}

/// Holds `desired` by the log, and adds it to that: rules 1 and 3.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Recommendation, stabilize};
/// use mainstay::time::Timestamp;
///
/// let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
/// let mut log = vec![Recommendation::new(9, at(0))];
/// assert_eq!(stabilize(&mut log, 3, 300, at(300)), 9);
/// assert_eq!(stabilize(&mut log, 3, 300, at(301)), 3);
/// ```
pub fn stabilize(
    log: &mut Vec<Recommendation>,
    desired: i32,
    window_seconds: u16,
    now: Timestamp,
) -> i32 {
    let oldest = before(now, window_seconds);
    let live = log.iter().filter(|entry| entry.at >= oldest);
    let highest = live.map(|entry| entry.replicas).fold(desired, i32::max);
    recommend(log, desired, now, oldest);
    highest
}

/// Holds `desired` between the windows of both directions, and adds it to the log: rules 2 and 3.
///
/// The reason is there when the count is another one.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Reason, Recommendation, stabilize_with_behavior};
/// use mainstay::time::Timestamp;
///
/// let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
/// let mut log = vec![Recommendation::new(4, at(0)), Recommendation::new(5, at(60))];
/// let held = stabilize_with_behavior(&mut log, 1, 7, 300, 0, at(120));
/// assert_eq!(held, (4, Some(Reason::ScaleUpStabilized)));
/// ```
pub fn stabilize_with_behavior(
    log: &mut Vec<Recommendation>,
    current: i32,
    desired: i32,
    up_window_seconds: u16,
    down_window_seconds: u16,
    now: Timestamp,
) -> (i32, Option<Reason>) {
    let up = before(now, up_window_seconds);
    let down = before(now, down_window_seconds);
    let (mut low, mut high) = (desired, desired);
    for entry in log.iter() {
        if entry.at > up {
            low = low.min(entry.replicas);
        }
        if entry.at > down {
            high = high.max(entry.replicas);
        }
    }
    recommend(log, desired, now, up.min(down));
    let held = current.max(low).min(high);
    let reason = if desired >= current {
        Reason::ScaleUpStabilized
    } else {
        Reason::ScaleDownStabilized
    };
    (held, (held != desired).then_some(reason))
}

/// Adds a change to the log of its direction, once the target was really changed.
///
/// An entry that is older than the longest period is dead; the last dead one gives up its place. A change of 0 is none.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{ScaleEvent, record_scale_event};
/// use mainstay::time::Timestamp;
///
/// let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
/// let mut log = vec![ScaleEvent::new(7, at(0))];
/// record_scale_event(&mut log, 5, 60, at(61));
/// assert_eq!(log, [ScaleEvent::new(5, at(61))]);
/// ```
pub fn record_scale_event(
    log: &mut Vec<ScaleEvent>,
    change: i32,
    longest_period_seconds: u16,
    now: Timestamp,
) {
    if change == 0 {
        return;
    }
    let oldest = before(now, longest_period_seconds);
    put(log, ScaleEvent { change, at: now }, |entry| {
        entry.at < oldest
    });
    if log.len() > ROOM {
        log.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        let old = log.split_off(ROOM / 2);
        log.extend(old.chunks(2).filter_map(|two| {
            let changes = two.iter().map(|entry| entry.change);
            let change = changes.fold(0, i32::saturating_add);
            let at = two.iter().map(|entry| entry.at).max()?;
            Some(ScaleEvent { change, at })
        }));
    }
}

/// The changes of a log within so many seconds, the oldest moment excluded.
#[must_use]
pub fn change_within(log: &[ScaleEvent], seconds: u16, now: Timestamp) -> i64 {
    let oldest = before(now, seconds);
    let live = log.iter().filter(|entry| entry.at > oldest);
    live.map(|entry| i64::from(entry.change))
        .fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn rule_1_the_window_is_closed_and_rule_2_open_at_its_old_end() {
        let log = vec![Recommendation::new(9, at(0))];
        assert_eq!(stabilize(&mut log.clone(), 3, 300, at(300)), 9);
        assert_eq!(stabilize(&mut log.clone(), 3, 299, at(300)), 3);
        let (held, why) = stabilize_with_behavior(&mut log.clone(), 9, 3, 0, 301, at(300));
        assert_eq!((held, why), (9, Some(Reason::ScaleDownStabilized)));
        let (held, why) = stabilize_with_behavior(&mut log.clone(), 9, 3, 0, 300, at(300));
        assert_eq!((held, why), (3, None));
    }

    #[test]
    fn rule_2_both_windows_apply_whatever_the_direction() {
        let log = [Recommendation::new(2, at(0)), Recommendation::new(9, at(1))];
        for desired in [1, 5, 10] {
            let (held, _) =
                stabilize_with_behavior(&mut log.to_vec(), 6, desired, 300, 300, at(10));
            assert_eq!(held, 6, "{desired}");
        }
    }

    #[test]
    fn rule_3_the_last_dead_entry_gives_up_its_place() {
        let mut log = vec![
            Recommendation::new(10, at(0)),
            Recommendation::new(9, at(60)),
            Recommendation::new(4, at(590)),
        ];
        stabilize_with_behavior(&mut log, 100, 3, 0, 180, at(600));
        let replicas: Vec<_> = log.iter().map(|entry| entry.replicas).collect();
        assert_eq!(replicas, [10, 3, 4]);
    }

    #[test]
    fn rule_5_a_thinned_log_answers_as_before() {
        let mut log = Vec::new();
        let mut seed = 7_u32;
        for second in 0..3_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let replicas = i32::try_from(seed >> 20).unwrap();
            log.push(Recommendation::new(replicas, at(second)));
        }
        let whole = log.clone();
        thin(&mut log);
        assert!(log.len() < 100, "{}", log.len());
        for window in [0, 1, 7, 60, 300, 1_000, 3_600] {
            let ends = |log: &[Recommendation]| {
                let held = |current, desired| {
                    stabilize_with_behavior(
                        &mut log.to_vec(),
                        current,
                        desired,
                        window,
                        window,
                        at(3_000),
                    )
                    .0
                };
                (held(i32::MAX, 0), held(0, i32::MAX))
            };
            assert_eq!(ends(&log), ends(&whole), "{window}");
        }
    }

    #[test]
    fn rule_5_logs_stay_bounded_and_hold_for_longer_only() {
        let mut log = Vec::new();
        for second in 0..6_000_i32 {
            stabilize(
                &mut log,
                i32::MAX - second,
                3_600,
                Timestamp::from_millis(second.into()),
            );
        }
        assert!(log.len() <= ROOM);
        let highest = log.iter().map(|entry| entry.replicas).max();
        assert_eq!(highest, Some(i32::MAX));
        let mut log = Vec::new();
        for milli in 0..6_000 {
            record_scale_event(&mut log, 1, 1_800, Timestamp::from_millis(milli));
        }
        assert!(log.len() <= ROOM);
        assert_eq!(
            change_within(&log, 1_800, Timestamp::from_millis(6_000)),
            6_000
        );
    }

    #[test]
    fn a_change_of_nothing_is_no_change() {
        let mut log = vec![ScaleEvent::new(7, at(0))];
        record_scale_event(&mut log, 0, 60, at(61));
        assert_eq!(log, [ScaleEvent::new(7, at(0))]);
    }

    #[test]
    fn times_at_the_ends_do_not_overflow() {
        for now in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_millis) {
            let mut log = vec![Recommendation::new(
                i32::MAX,
                Timestamp::from_millis(i64::MIN),
            )];
            stabilize(&mut log, 1, 3_600, now);
            stabilize_with_behavior(&mut log, i32::MIN, i32::MAX, 3_600, 0, now);
            let mut log = vec![
                ScaleEvent::new(i32::MAX, now),
                ScaleEvent::new(i32::MAX, now),
            ];
            record_scale_event(&mut log, i32::MAX, 1_800, now);
            let _ = change_within(&log, 1_800, now);
        }
    }
}
