//! One test per rule. Calls are given with their times; nothing here simulates a callee, which is what
//! `tests/adaptive_limit.rs` does.

use super::*;
use crate::limit::adaptive::Bounds;
use crate::num::{Factor, Period, count};
use crate::outcome::{Failure, Outcome};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rounded(time: Option<Duration>) -> u64 {
    let micros = time.unwrap_or_default().as_micros();
    u64::try_from((micros + 500) / 1_000).unwrap_or(u64::MAX)
}

/// A machine and the time, which passes as calls end.
struct Desk {
    adaptive: Adaptive,
    now: Tick,
    in_flight: u32,
    held: bool,
}

impl Desk {
    fn new(config: AdaptiveConfig) -> Self {
        let now = Tick::ZERO + Duration::from_secs(100);
        Self {
            adaptive: Adaptive::new(config, now),
            now,
            in_flight: u32::MAX,
            held: true,
        }
    }

    fn limit(&self) -> u32 {
        self.adaptive.limit().get()
    }

    /// One call that takes so long ends 10 ms after the one before.
    fn end(&mut self, took: Duration, outcome: Outcome) -> Option<Change> {
        self.now = self.now + millis(10);
        if self.held {
            self.adaptive.held_back();
        }
        let in_flight = self.in_flight.min(self.limit());
        let sample = Sample::new(self.now.back(took), outcome).in_flight(in_flight);
        self.adaptive.observe(sample, self.now)
    }

    /// Calls of one kind until the limit moves, at most `most`.
    fn until_moved(&mut self, took: u64, outcome: Outcome, most: u32) -> Option<Cause> {
        let change = (0..most).find_map(|_| self.end(millis(took), outcome))?;
        Some(change.cause())
    }

    /// Calls until a window is over.
    fn until_judged(&mut self, took: u64) {
        let began = self.adaptive.began;
        while self.adaptive.began == began {
            self.end(millis(took), Outcome::Success);
        }
    }

    /// The moves within so many calls that take so long.
    fn moves(&mut self, took: u64, calls: u32) -> Vec<Cause> {
        let moves = (0..calls).filter_map(|_| self.end(millis(took), Outcome::Success));
        moves.map(|change| change.cause()).collect()
    }

    /// In milliseconds; the scale errs by less than a hundredth.
    fn baseline(&self) -> u64 {
        rounded(self.adaptive.baseline())
    }

    fn recent(&self) -> u64 {
        rounded(self.adaptive.recent())
    }
}

/// Watched calls are 10 ms apart, so fifty take half a second: a window.
fn desk() -> Desk {
    let mut desk = Desk::new(AdaptiveConfig::new().bounds(Bounds::between(3, 200)));
    desk.held = false;
    desk.in_flight = 1;
    desk.moves(20, 60);
    desk.until_judged(20);
    assert_eq!((desk.limit(), desk.baseline()), (20, 20));
    desk.held = true;
    desk.in_flight = u32::MAX;
    desk
}

const SUCCESS: Outcome = Outcome::Success;
const TIMEOUT: Outcome = Outcome::Failure(Failure::Timeout);
const ERROR: Outcome = Outcome::Failure(Failure::Error);

#[test]
fn rule_1_a_fast_error_is_no_fast_answer_and_a_lost_call_is_a_slow_one() {
    let mut desk = desk();
    desk.held = false;
    for _ in 0..40 {
        desk.end(millis(20), SUCCESS);
        desk.end(millis(1), ERROR);
    }
    assert_eq!(desk.baseline(), 20, "errors of 1 ms do not lower it");
    assert_eq!(desk.recent(), 20);
    for _ in 0..100 {
        desk.end(millis(20), TIMEOUT);
    }
    assert!((155..=165).contains(&desk.recent()), "{}", desk.recent());
    let overload = Outcome::Overload { retry_after: None };
    for _ in 0..100 {
        desk.end(millis(1), overload);
    }
    assert!((155..=165).contains(&desk.recent()), "{}", desk.recent());
    for outcome in [Outcome::Ignored, Outcome::Rejected] {
        let tally = desk.adaptive.tally;
        desk.end(millis(500), outcome);
        assert_eq!(desk.adaptive.tally, tally);
    }
}

#[test]
fn rule_2_a_call_from_before_the_move_does_not_count() {
    let mut desk = desk();
    assert_eq!(desk.until_moved(20, SUCCESS, 60), Some(Cause::Demand));
    assert!(desk.end(millis(300), SUCCESS).is_none());
    assert_eq!(desk.adaptive.tally.calls(), 0);
    desk.end(millis(5), SUCCESS);
    assert_eq!(desk.adaptive.tally.calls(), 1);
}

#[test]
fn rule_3_windows_have_calls_and_time_enough() {
    // Time enough, too few calls.
    let mut slow = desk();
    slow.held = false;
    slow.now = slow.now + Duration::from_secs(20);
    let before = slow.adaptive.began;
    slow.moves(20, 49);
    assert_eq!(slow.adaptive.began, before);
    slow.moves(20, 1);
    assert!(slow.adaptive.began > before);
    // Calls enough, and calls that are held back for nothing need no more.
    for (doubles, calls) in [(false, 50), (true, 18)] {
        let mut desk = desk();
        desk.adaptive.doubles = doubles;
        desk.now = desk.adaptive.began;
        let mut ended = 0;
        while desk.limit() == 20 {
            ended += 1;
            desk.now = desk.now.back(millis(9));
            desk.end(millis(1), SUCCESS);
        }
        // In 1 ms each. A round trip is 20 ms, of which an eighth is left out.
        assert_eq!(ended, calls);
    }
    // Sixteen calls of four times the baseline are enough.
    let mut swamped = desk_at(40);
    let moved = swamped.now;
    assert_eq!(
        swamped.until_moved(100, SUCCESS, 200),
        Some(Cause::Measuring)
    );
    // The first nine that ended began before the limit moved.
    assert_eq!(swamped.now.since(moved), millis(10 * (9 + 16)));
}

/// As [`desk`], with the limit grown to at least `limit`.
fn desk_at(limit: u32) -> Desk {
    let mut desk = desk();
    while desk.limit() < limit {
        assert_eq!(desk.until_moved(20, SUCCESS, 200), Some(Cause::Demand));
    }
    desk
}

#[test]
fn rule_3_a_window_of_few_calls_is_thrown_away() {
    let mut desk = desk();
    let recent = desk.adaptive.recent();
    for _ in 0..8 {
        desk.now = desk.now + Duration::from_secs(5);
        assert!(desk.end(millis(900), SUCCESS).is_none());
    }
    assert_eq!(desk.adaptive.recent(), recent);
    assert_eq!(desk.baseline(), 20);
}

#[test]
fn rule_4_the_baseline_falls_at_once_and_does_not_rise_under_load() {
    let mut desk = desk_at(40);
    desk.held = false;
    let baseline = desk.baseline();
    desk.moves(28, 1_000);
    assert_eq!(desk.baseline(), baseline, "longer, and tolerable");
    desk.moves(10, 1_000);
    assert_eq!(desk.baseline(), 10);
    desk.in_flight = desk.limit() / 4;
    desk.moves(14, 1_000);
    assert_eq!(desk.baseline(), 14, "few are under way: that is what it is");
}

#[test]
fn rule_4_overload_that_lasts_is_never_taken_for_normal() {
    let mut desk = desk_at(80);
    // The more are under way the longer they take: 5 ms each.
    for _ in 0..100_000 {
        let took = 5 * u64::from(desk.limit());
        desk.end(millis(took), SUCCESS);
    }
    assert!(desk.baseline() <= 26, "{} ms", desk.baseline());
    assert!(
        (5..=20).contains(&desk.adaptive.limit),
        "{:?}",
        desk.adaptive.limit
    );
}

#[test]
fn rule_5_a_measurement_tells_a_slower_callee_from_a_queue() {
    // Slower for good: three times as long, whatever the limit.
    let mut slower = desk_at(80);
    let limit = slower.limit();
    assert_eq!(slower.until_moved(60, SUCCESS, 100), Some(Cause::Measuring));
    assert_eq!(slower.limit(), limit / 4);
    assert_eq!(slower.until_moved(60, SUCCESS, 200), Some(Cause::Measured));
    assert_eq!((slower.limit(), slower.baseline()), (limit, 60));
    assert_eq!(slower.until_moved(60, SUCCESS, 100), Some(Cause::Demand));
    assert_eq!(
        slower.limit(),
        (2 * limit).min(200),
        "it doubles: it needs three times as much"
    );
    // A queue: with a quarter of the calls it is gone.
    let mut queue = desk_at(80);
    assert_eq!(queue.until_moved(60, SUCCESS, 100), Some(Cause::Measuring));
    assert_eq!(queue.until_moved(20, SUCCESS, 200), Some(Cause::Measured));
    assert_eq!((queue.limit(), queue.baseline()), (limit, 20));
    assert_eq!(queue.until_moved(60, SUCCESS, 100), Some(Cause::Congested));
}

#[test]
fn rule_5_a_measurement_waits_until_calls_stop_getting_faster() {
    let mut desk = desk_at(80);
    assert_eq!(desk.until_moved(200, SUCCESS, 200), Some(Cause::Measuring));
    for took in [150, 70, 22] {
        assert_eq!(desk.moves(took, 40), [], "{took} ms");
    }
    assert_eq!(desk.until_moved(21, SUCCESS, 60), Some(Cause::Measured));
    assert_eq!(desk.baseline(), 21);
}

#[test]
fn rule_5_without_answers_the_limit_stays_low() {
    let mut desk = desk_at(80);
    assert_eq!(desk.until_moved(60, SUCCESS, 200), Some(Cause::Measuring));
    let pin = desk.limit();
    assert_eq!(desk.until_moved(250, TIMEOUT, 500), Some(Cause::Unanswered));
    assert_eq!((desk.limit(), desk.adaptive.limit), (pin, pin));
}

#[test]
fn rule_5_a_limit_at_its_least_is_measured_too() {
    for least in [1, 3, 10] {
        let config = AdaptiveConfig::new().bounds(Bounds::between(least, 200));
        let mut desk = Desk::new(config.start(count(20)));
        desk.moves(20, 200);
        // Ten times as slow right after a measurement: the limit falls to its least, and comes back when that is old.
        desk.adaptive.measured = Some(desk.now);
        let mut lowest = u32::MAX;
        for _ in 0..20_000 {
            desk.end(millis(200), SUCCESS);
            lowest = lowest.min(desk.limit());
        }
        assert_eq!(lowest, least);
        assert!((198..=202).contains(&desk.baseline()), "{least}");
        assert_eq!(desk.limit(), 200, "{least}");
    }
}

#[test]
fn rules_6_and_7_the_limit_falls_to_what_is_tolerable_if_it_is_in_the_way() {
    let mut desk = desk_at(80);
    let limit = desk.limit();
    desk.adaptive.measured = Some(desk.now);
    desk.held = false;
    assert_eq!(desk.moves(50, 500), [], "nobody is held back");
    desk.held = true;
    assert_eq!(desk.until_moved(50, SUCCESS, 200), Some(Cause::Congested));
    let exact = f64::from(limit) * 1.5 * 20.0 / 50.0 + f64::from(limit.isqrt());
    assert!(
        (f64::from(desk.limit()) - exact).abs() < 2.0,
        "{} {exact}",
        desk.limit()
    );
    // Nobody is held back, and the callee drowns all the same: others call it too.
    let (limit, measured) = (desk.limit(), desk.adaptive.measured);
    desk.held = false;
    desk.in_flight = limit / 2;
    desk.adaptive.measured = Some(desk.now);
    assert_eq!(desk.moves(70, 500), [], "less than four times the baseline");
    assert_eq!(desk.until_moved(100, SUCCESS, 200), Some(Cause::Congested));
    assert_eq!(desk.limit(), limit / 2 / 2);
    desk.adaptive.measured = measured;
    desk.held = true;
    // Four times what is tolerable: half, and no room.
    let limit = desk.limit();
    assert_eq!(desk.until_moved(150, SUCCESS, 200), Some(Cause::Congested));
    assert_eq!(desk.limit(), limit / 2);
}

#[test]
fn rule_7_a_baseline_is_not_measured_twice_within_its_age() {
    let mut desk = desk_at(80);
    let mut last = None;
    for _ in 0..20_000 {
        let took = if desk.limit() < 25 { 20 } else { 120 };
        let Some(change) = desk.end(millis(took), SUCCESS) else {
            continue;
        };
        if change.cause() == Cause::Measuring {
            let since = last.map_or(Duration::MAX, |last| change.at().since(last));
            assert!(since >= Duration::from_secs(30), "{since:?}");
            last = Some(change.at());
        }
    }
    assert!(last.is_some());
}

#[test]
fn rule_8_growth_doubles_first_and_begins_small_after_congestion() {
    let mut desk = desk();
    for limit in [40, 80, 160, 200] {
        assert_eq!(desk.until_moved(20, SUCCESS, 100), Some(Cause::Demand));
        assert_eq!(desk.limit(), limit);
    }
    assert_eq!(desk.moves(20, 500), [], "the most");
    desk.adaptive.measured = Some(desk.now);
    assert_eq!(desk.until_moved(150, SUCCESS, 100), Some(Cause::Congested));
    for limit in [101, 103, 107, 115] {
        assert_eq!(desk.until_moved(20, SUCCESS, 100), Some(Cause::Demand));
        assert_eq!(desk.limit(), limit);
    }
}

#[test]
fn rule_8_a_limit_that_is_not_used_does_not_grow() {
    let mut desk = desk();
    desk.held = false;
    desk.in_flight = 9;
    assert_eq!(desk.moves(20, 10_000), [], "less than half is used");
    desk.in_flight = 12;
    assert_eq!(desk.until_moved(20, SUCCESS, 100), Some(Cause::Demand));
    assert_eq!(desk.limit(), 24, "twice what is used");
    assert_eq!(desk.moves(20, 10_000), []);
}

#[test]
fn rule_9_lost_calls_halve_the_limit() {
    let mut known = desk_at(80);
    let limit = known.limit();
    assert_eq!(known.until_moved(250, TIMEOUT, 100), Some(Cause::Lost));
    assert_eq!(known.limit(), limit / 2);
    // Nobody is held back: half of what is under way.
    known.held = false;
    known.in_flight = 30;
    assert_eq!(known.until_moved(250, TIMEOUT, 100), Some(Cause::Lost));
    assert_eq!(known.limit(), 15);
    // Under overload from the first call on there is no baseline.
    let mut unknown = Desk::new(AdaptiveConfig::new());
    assert_eq!(unknown.until_moved(250, ERROR, 100), Some(Cause::Lost));
    assert_eq!(unknown.limit(), 10);
    // Fast errors are not overload: the limit neither falls nor grows.
    let mut errors = desk_at(80);
    assert_eq!((0..1_000).find_map(|_| errors.end(millis(1), ERROR)), None);
}

#[test]
fn rule_10_an_idle_limit_does_not_move() {
    let mut desk = desk_at(80);
    let (limit, baseline) = (desk.limit(), desk.baseline());
    desk.now = desk.now + Duration::from_secs(60 * 24 * 3600);
    desk.held = false;
    desk.end(millis(20), SUCCESS);
    assert_eq!((desk.limit(), desk.baseline()), (limit, baseline));
}

#[test]
fn rule_11_a_pinned_limit_does_not_move() {
    let mut desk = desk_at(80);
    let limit = desk.limit();
    let until = desk.now + Duration::from_secs(60);
    let change = desk.adaptive.pin(count(500), until, desk.now).unwrap();
    assert_eq!((change.from().get(), change.to().get()), (limit, 500));
    assert_eq!(desk.adaptive.poll_timeout(), Some(until));
    for (took, outcome) in [(20, SUCCESS), (250, TIMEOUT), (200, SUCCESS)] {
        assert_eq!(desk.until_moved(took, outcome, 500), None);
    }
    desk.now = until;
    assert_eq!(desk.until_moved(20, SUCCESS, 1), Some(Cause::Released));
    assert_eq!(desk.limit(), limit);
    assert!(desk.adaptive.release(desk.now).is_none(), "it is released");
}

#[test]
fn rule_12_new_settings_keep_what_was_learned() {
    let mut desk = desk_at(80);
    let config = AdaptiveConfig::new().bounds(Bounds::between(1, 30));
    let change = desk.adaptive.reload(config, desk.now).unwrap();
    assert_eq!((change.to().get(), change.cause()), (30, Cause::Reloaded));
    assert_eq!(desk.baseline(), 20);
    assert_eq!(desk.adaptive.config(), config);
}

#[test]
fn rule_13_time_that_steps_back_changes_nothing() {
    let mut desk = desk();
    desk.now = desk.now.back(Duration::from_secs(5));
    for _ in 0..600 {
        desk.end(millis(20), SUCCESS);
    }
    assert!(desk.limit() >= 20 && desk.baseline() == 20);
}

#[test]
fn odd_settings_are_total() {
    let nanosecond = Period::new("window", Duration::from_nanos(1)).unwrap();
    let config = AdaptiveConfig::new()
        .bounds(Bounds::between(1, 1))
        .start(count(u32::MAX))
        .samples(count(u32::MAX))
        .window(nanosecond)
        .relearn(nanosecond)
        .tolerance(Factor::new("tolerance", f64::MAX).unwrap())
        .queue(0);
    let mut desk = Desk::new(config);
    for n in 0..50_000 {
        desk.end(millis(n % 300), SUCCESS);
    }
    assert_eq!((desk.limit(), desk.adaptive.queue()), (1, 0));
    let most = AdaptiveConfig::new().bounds(Bounds::between(u32::MAX, u32::MAX));
    let mut desk = Desk::new(most);
    desk.moves(1, 10_000);
    assert_eq!((desk.limit(), desk.adaptive.queue()), (u32::MAX, u32::MAX));
}

#[test]
fn names_of_causes_are_their_words() {
    assert_eq!(Cause::Congested.as_str(), "congested");
    assert_eq!(Cause::Unanswered.as_str(), "unanswered");
}

#[test]
fn rule_3_more_samples_than_a_window_can_hold_are_not_waited_for() {
    let config = AdaptiveConfig::new()
        .bounds(Bounds::between(3, 100_000))
        .start(count(4_000))
        .samples(count(u32::MAX));
    let mut adaptive = Adaptive::new(config, Tick::ZERO);
    let moved = (1..=10_000_u64).find_map(|n| {
        let now = Tick::ZERO + Duration::from_micros(100 * n);
        adaptive.held_back();
        adaptive.observe(Sample::new(now.back(millis(10)), Outcome::Success), now)
    });
    assert_eq!(moved.map(|change| change.cause()), Some(Cause::Demand));
}

/// A callee whose calls all take as long, and callers who are all there from the start: each place is taken again at
/// once. Says when the limit moved, in round trips, and to what.
fn rounds(config: AdaptiveConfig, trips: u32) -> Vec<(u64, u32)> {
    let trip = Duration::from_secs(5);
    let mut adaptive = Adaptive::new(config, Tick::ZERO);
    adaptive.held_back();
    let mut moves = Vec::new();
    let mut begun = vec![Tick::ZERO; 20];
    for n in 1..=trips {
        let now = Tick::ZERO + trip.saturating_mul(n);
        for started in std::mem::take(&mut begun) {
            let in_flight = adaptive.limit().get();
            let sample = Sample::new(started, SUCCESS).in_flight(in_flight);
            if let Some(change) = adaptive.observe(sample, now) {
                moves.push((u64::from(n), change.to().get()));
            }
            adaptive.held_back();
        }
        begun = vec![now; adaptive.limit().get() as usize];
    }
    moves
}

#[test]
fn rule_3_while_it_doubles_a_window_is_one_round_trip() {
    let config = AdaptiveConfig::new();
    let doubled = [(1, 40), (2, 80), (3, 160), (4, 320)];
    assert_eq!(rounds(config, 4), doubled);
    // As many samples as one round has calls are wanted, and waited for, but for growth.
    assert_eq!(rounds(config.samples(count(5_000)), 4), doubled);
}

#[test]
fn rule_3_while_it_doubles_calls_that_the_limit_did_not_meet_do_not_speak_for_more() {
    let mut desk = desk();
    desk.held = false;
    desk.moves(20, 9);
    assert_eq!(desk.adaptive.tally.calls(), 9);
    desk.adaptive.held_back();
    assert_eq!(desk.adaptive.tally.calls(), 0);
    desk.moves(20, 3);
    desk.adaptive.held_back();
    assert_eq!(
        desk.adaptive.tally.calls(),
        3,
        "it is the first that counts"
    );
    // As many as any window needs.
    let mut full = Desk::new(AdaptiveConfig::new());
    full.held = false;
    full.moves(20, 49);
    full.adaptive.tally = (0..50).fold(Tally::default(), |tally, _| {
        tally.plus(Tally::one(Octaves::of(millis(20)), true))
    });
    full.adaptive.held_back();
    assert_eq!(full.adaptive.tally.calls(), 50);
}

#[test]
fn rule_3_while_it_doubles_errors_do_not_speak_for_more() {
    let mut desk = Desk::new(AdaptiveConfig::new());
    for n in 0..49 {
        let outcome = if n % 3 == 0 { SUCCESS } else { ERROR };
        assert_eq!(desk.end(millis(20), outcome), None);
    }
    assert_eq!(desk.limit(), 20);
}

#[test]
fn rule_8_a_longer_baseline_ends_the_doubling() {
    // A quarter longer, and tolerable: it stays where it is, and creeps.
    let mut longer = Desk::new(AdaptiveConfig::new());
    assert_eq!(longer.until_moved(20, SUCCESS, 30), Some(Cause::Demand));
    assert_eq!((longer.limit(), longer.baseline()), (40, 20));
    longer.until_judged(28);
    assert_eq!((longer.limit(), longer.baseline()), (40, 28));
    assert_eq!(longer.until_moved(28, SUCCESS, 200), Some(Cause::Demand));
    assert_eq!(longer.limit(), 41);
    // Longer than is tolerable: what it grew by is taken back.
    let mut queue = Desk::new(AdaptiveConfig::new());
    assert_eq!(queue.until_moved(20, SUCCESS, 30), Some(Cause::Demand));
    assert_eq!(queue.until_moved(35, SUCCESS, 200), Some(Cause::Congested));
    assert_eq!((queue.limit(), queue.baseline()), (20, 35));
    assert_eq!(queue.until_moved(35, SUCCESS, 200), Some(Cause::Demand));
    assert_eq!(queue.limit(), 21);
}

#[test]
fn rule_14_the_line_has_room_and_time_while_the_limit_doubles() {
    let share = |adaptive: &Adaptive| (adaptive.patience().get() * 100.0).round();
    let mut desk = desk_at(40);
    assert_eq!((desk.adaptive.queue(), share(&desk.adaptive)), (800, 70.0));
    let config = AdaptiveConfig::new();
    let mut new = Adaptive::new(config, Tick::ZERO);
    assert_eq!((new.queue(), share(&new)), (1_000, 70.0));
    assert_eq!(Adaptive::new(config.queue(0), Tick::ZERO).queue(), 0);
    let all = Adaptive::new(config.wait_share(Ratio::ONE), Tick::ZERO);
    assert_eq!(all.patience(), Ratio::ONE);
    let most = config.bounds(Bounds::between(3, 20));
    let most = Adaptive::new(most, Tick::ZERO);
    assert_eq!((most.queue(), share(&most)), (400, 50.0), "it is there");
    // Pinned, and congested.
    assert!(new.pin(count(30), Tick::NEVER, Tick::ZERO).is_some());
    assert_eq!((new.queue(), share(&new)), (600, 50.0));
    desk.adaptive.measured = Some(desk.now);
    assert_eq!(desk.until_moved(150, SUCCESS, 100), Some(Cause::Congested));
    assert_eq!((desk.adaptive.queue(), share(&desk.adaptive)), (400, 50.0));
}
