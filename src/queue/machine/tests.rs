//! The rules, by their numbers.

use super::*;
use crate::num::{Attempts, count};
use crate::retry::{Backoff, Jitter};

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn id(number: u64) -> EntryId {
    EntryId::new(number)
}

fn lane(name: &str) -> Lane {
    Lane::new(name)
}

fn found(number: u64, name: &str) -> Found {
    Found::new(id(number), lane(name), 10, Timestamp::from_millis(0))
}

fn config() -> QueueConfig {
    let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1));
    QueueConfig::new()
        .parallel(count(2))
        .attempts(Attempts::total(3))
        .backoff(backoff.jitter(Jitter::None))
}

/// Entries 1, 2, .. in these lanes, all owned.
fn line(lanes: &[&str]) -> Line {
    let mut line = Line::new(config());
    for (number, name) in (1..).zip(lanes) {
        line.taken(found(number, name));
    }
    line
}

fn settle(line: &mut Line, number: u64, verdict: Verdict, now: Tick) -> Option<Ruling> {
    line.settle(id(number), verdict, &mut Rng::new(1), now)
}

#[test]
fn rule_1_both_bounds_hold() {
    let mut line = Line::new(config().entries(count(3)).bytes(25).entry_bytes(20));
    assert_eq!(line.reserve(21), Err(Full::Entry));
    assert_eq!(line.reserve(20), Ok(()));
    assert_eq!(line.reserve(6), Err(Full::Bytes));
    assert_eq!(line.reserve(3), Ok(()));
    assert_eq!(line.reserve(0), Ok(()));
    assert_eq!(line.reserve(0), Err(Full::Entries));
    assert_eq!((line.depth(), line.bytes()), (3, 23));
    line.released(20);
    assert_eq!((line.depth(), line.bytes()), (2, 3));
    // What never fits is not merely full.
    let mut line = Line::new(config().bytes(25).entry_bytes(100));
    assert_eq!(line.reserve(26), Err(Full::Entry));
    assert_eq!(line.reserve(25), Ok(()));
}

#[test]
fn rule_2_what_nobody_will_hear_of_counts_until_a_later_look_is_over() {
    let mut line = Line::new(config());
    line.reserve(10).unwrap();
    let early = line.look();
    line.lost(10);
    line.looked(early, []);
    assert_eq!(line.depth(), 1, "that look began before it was lost");
    let late = line.look();
    assert_eq!(line.depth(), 1);
    line.looked(late, [found(1, "a")]);
    assert_eq!((line.depth(), line.bytes()), (1, 10), "it had been written");
}

#[test]
fn rule_3_a_write_goes_behind_whatever_is_there() {
    let mut line = line(&["a"]);
    assert!(line.must_wait(&lane("a")) && !line.must_wait(&lane("b")));
    assert_eq!(line.next(at(0)), Some(id(1)));
    assert!(line.must_wait(&lane("a")), "under way");
    line.poisoned(id(1));
    assert!(line.must_wait(&lane("a")), "poison");
    line.gone(id(1));
    assert!(!line.must_wait(&lane("a")));
}

#[test]
fn rule_4_one_of_a_lane_and_the_oldest() {
    let mut line = line(&["a", "a"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    assert_eq!(line.next(at(0)), None);
    let Some(Ruling::Wait(due)) = settle(&mut line, 1, Verdict::AWAY, at(0)) else {
        panic!("it comes again");
    };
    assert_eq!(line.next(at(1)), None, "the second does not pass the first");
    assert_eq!(line.poll_timeout(), Some(due));
    assert_eq!(line.next(due), Some(id(1)));
    // One that turns up in front of what is under way waits for it.
    line.learned(found(0, "a").owned(true));
    assert_eq!(line.next(due), None);
    line.gone(id(1));
    assert_eq!(line.next(due), Some(id(0)));
}

#[test]
fn rule_5_only_what_is_owned_and_so_many_at_once() {
    let mut line = line(&["a", "b", "c"]);
    line.learned(found(4, "d"));
    assert_eq!(line.next(at(0)), Some(id(1)));
    assert_eq!(line.next(at(0)), Some(id(2)));
    assert_eq!((line.next(at(0)), line.poll_timeout()), (None, None));
    line.gone(id(1));
    assert_eq!(line.next(at(0)), Some(id(3)));
    line.gone(id(2));
    assert_eq!(line.next(at(0)), None, "nobody owns the fourth");
    line.taken(found(4, "d"));
    assert_eq!(line.next(at(0)), Some(id(4)));
}

#[test]
fn rule_5_fresh_lanes_do_not_starve_one_that_failed() {
    let mut line = line(&["z"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    let ruling = settle(&mut line, 1, Verdict::FAILED, at(0));
    assert_eq!(ruling, Some(Ruling::Wait(at(100))));
    // Each time another two lanes are fresh, as many as are replayed at once.
    let mut under_way: Vec<u64> = Vec::new();
    for round in 1..=20 {
        for number in [2 * round, 2 * round + 1] {
            line.taken(found(number, &number.to_string()));
        }
        for number in under_way.drain(..) {
            line.gone(id(number));
        }
        while let Some(next) = line.next(at(50 * round)) {
            under_way.push(next.get());
        }
        if under_way.contains(&1) {
            assert!(round <= 4, "{round}");
            return;
        }
    }
    panic!("it starves");
}

#[test]
fn rule_6_the_next_goes_when_the_end_is_recorded() {
    let mut line = line(&["a", "a"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    assert_eq!(
        settle(&mut line, 1, Verdict::Applied, at(0)),
        Some(Ruling::Apply)
    );
    assert_eq!(line.next(at(0)), None, "it is not recorded yet");
    line.gone(id(1));
    assert_eq!(line.next(at(0)), Some(id(2)));
    // What could not be recorded comes again, when it is owned again.
    line.disowned(id(2));
    assert_eq!(line.next(at(0)), None);
    line.taken(found(2, "a"));
    assert_eq!(line.next(at(0)), Some(id(2)));
    assert_eq!(line.replay(id(2)), 2);
}

#[test]
fn rule_7_later_is_by_the_backoff_and_the_callee_and_what_counts_is_poison_in_the_end() {
    let mut line = line(&["a"]);
    let mut now = at(0);
    let wish = |secs: u64| Verdict::Later {
        counts: false,
        after: Some(Duration::from_secs(secs)),
    };
    let verdicts = [
        (Verdict::FAILED, 100),
        (Verdict::AWAY, 200),
        (wish(7), 7_000),
        (wish(86_400), 3_600_000),
        (Verdict::FAILED, 1_000),
    ];
    for (verdict, millis) in verdicts {
        assert_eq!(line.next(now), Some(id(1)));
        let due = now + Duration::from_millis(millis);
        assert_eq!(settle(&mut line, 1, verdict, now), Some(Ruling::Wait(due)));
        now = due;
    }
    assert_eq!(line.failures(id(1)), 2);
    assert_eq!(line.next(now), Some(id(1)));
    let ruling = settle(&mut line, 1, Verdict::FAILED, now);
    assert_eq!(ruling, Some(Ruling::Poison(Poison::Exhausted)));
    let ruling = settle(&mut line, 1, Verdict::Refused, now);
    assert_eq!(ruling, Some(Ruling::Poison(Poison::Refused)));
    line.poisoned(id(1));
    assert_eq!(
        settle(&mut line, 1, Verdict::Applied, now),
        None,
        "it is settled"
    );
}

#[test]
fn rule_8_poison_stops_its_lane_until_it_is_retried_or_dropped() {
    let mut line = line(&["a", "a", "b"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    line.poisoned(id(1));
    assert_eq!((line.poison(), line.has_work()), (1, true));
    assert_eq!(line.next(at(0)), Some(id(3)));
    line.gone(id(3));
    assert!(!line.has_work(), "only an operator can do something");
    line.retried(id(1));
    assert!(line.has_work());
    assert_eq!(line.next(at(0)), None, "it has to be owned again");
    line.taken(found(1, "a"));
    assert_eq!(line.next(at(0)), Some(id(1)));
    line.poisoned(id(1));
    line.gone(id(1));
    assert_eq!((line.poison(), line.next(at(0))), (0, Some(id(2))));
}

#[test]
fn rule_8_what_is_damaged_stays_so_until_it_is_owned_anew() {
    let mut line = line(&["a"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    line.damaged(id(1));
    for _ in 0..3 {
        let look = line.look();
        line.looked(look, [found(1, "a").owned(true)]);
        assert_eq!((line.poison(), line.next(at(9_000))), (1, None));
        assert!(!line.has_work());
    }
    line.turn_over();
    line.taken(found(1, "a"));
    assert_eq!((line.poison(), line.next(at(9_000))), (0, Some(id(1))));
}

#[test]
fn rule_9_of_an_entry_that_is_told_twice_the_last_word_counts() {
    let mut line = line(&["a", "b"]);
    let look = line.look();
    let poison = |number, name| found(number, name).waits(Waits::Operator);
    // The first became poison between the listings; the second was retried.
    line.looked(
        look,
        [poison(2, "b"), found(1, "a"), found(2, "b"), poison(1, "a")],
    );
    assert_eq!(line.poison(), 1);
    line.gone(id(1));
    assert_eq!(line.poison(), 0);
}

#[test]
fn rule_9_a_a_look_replaces_what_has_not_changed_since() {
    let mut line = line(&["a", "b", "c", "d"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    let look = line.look();
    // After it began: one more, one gone, one poison. The look has seen what was before.
    line.queued(10, found(6, "f"));
    line.gone(id(2));
    line.poisoned(id(3));
    let told = [found(2, "b"), found(3, "c"), found(5, "e")];
    line.looked(look, told);
    let there = |line: &Line, name: &str| line.must_wait(&lane(name));
    assert!(there(&line, "a"), "under way");
    assert!(!there(&line, "b"), "gone");
    assert_eq!(line.poison(), 1, "still");
    assert!(!there(&line, "d"), "somebody else ended it");
    assert!(there(&line, "e") && there(&line, "f"));
    // An answer that comes late brings nothing back that has gone.
    line.queued(10, found(2, "b"));
    assert!(!there(&line, "b"));
    // One look after which another began is passed over.
    let (old, new) = (line.look(), line.look());
    line.looked(old, []);
    assert!(there(&line, "e"));
    line.looked(new, []);
    assert!(!there(&line, "e") && there(&line, "a"));
}

#[test]
fn rule_10_after_the_turn_nothing_is_owned() {
    let mut line = line(&["a", "b"]);
    assert_eq!(line.next(at(0)), Some(id(1)));
    line.turn_over();
    assert_eq!((line.next(at(0)), line.poll_timeout()), (None, None));
    line.taken(found(2, "b"));
    assert_eq!(line.next(at(0)), Some(id(2)));
    // Broken off, it is nobody's; an earlier replay has no say in a later one.
    line.let_go(id(2), 1);
    line.taken(found(2, "b"));
    assert_eq!(line.next(at(0)), Some(id(2)));
    line.let_go(id(2), 1);
    assert_eq!(line.under_way(), 2);
}

#[test]
fn the_line_shows_numbers_and_no_names() {
    let line = line(&["account-7"]);
    let shown = format!("{line:?}");
    assert!(
        shown.contains("depth: 1") && !shown.contains("account"),
        "{shown}"
    );
}

#[test]
fn rule_11_a_suspect_is_replayed_alone() {
    let mut line = Line::new(config());
    for (number, name, suspect) in [(1, "a", false), (2, "b", true), (3, "c", false)] {
        line.taken(found(number, name).suspect(suspect));
    }
    assert_eq!(line.next(at(0)), Some(id(1)));
    // It does not begin beside another, and nobody passes it.
    assert_eq!((line.next(at(0)), line.poll_timeout()), (None, None));
    assert_eq!(
        settle(&mut line, 1, Verdict::Applied, at(1)),
        Some(Ruling::Apply)
    );
    line.gone(id(1));
    assert_eq!(line.poll_timeout(), Some(at(0)));
    assert_eq!(line.next(at(1)), Some(id(2)));
    assert!(line.is_suspect(id(2)));
    assert_eq!((line.next(at(1)), line.poll_timeout()), (None, None));
    // It has survived, and others go on while it waits.
    line.survived(id(2));
    assert_eq!(line.next(at(1)), None, "it is under way");
    let waits = settle(&mut line, 2, Verdict::FAILED, at(1));
    assert_eq!(waits, Some(Ruling::Wait(at(101))));
    assert_eq!(line.next(at(101)), Some(id(3)));
    assert_eq!(line.next(at(101)), Some(id(2)), "none any more");
}

/// However a suspect's replay ends, others go on.
#[test]
fn rule_11_whatever_becomes_of_a_suspect() {
    let ends: [fn(&mut Line); 6] = [
        |line| line.gone(id(1)),
        |line| line.poisoned(id(1)),
        |line| line.damaged(id(1)),
        |line| line.disowned(id(1)),
        |line| line.let_go(id(1), 1),
        |line| assert!(settle(line, 1, Verdict::AWAY, at(1)).is_some()),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut line = Line::new(config());
        line.taken(found(1, "a").suspect(true));
        line.taken(found(2, "b"));
        assert_eq!(line.next(at(1)), Some(id(1)));
        assert_eq!(line.next(at(1)), None);
        end(&mut line);
        assert_eq!(line.next(at(1)), Some(id(2)), "end {number}");
    }
}

/// What a claim and a look say of it counts.
#[test]
fn rule_11_who_is_a_suspect() {
    let mut line = Line::new(config());
    line.learned(found(1, "a"));
    line.taken(found(1, "a").suspect(true));
    assert!(line.is_suspect(id(1)));
    let look = line.look();
    line.looked(look, [found(1, "a")]);
    assert!(!line.is_suspect(id(1)), "somebody else has replayed it");
    let look = line.look();
    line.looked(look, [found(1, "a").suspect(true)]);
    assert!(line.is_suspect(id(1)));
    assert!(!line.is_suspect(id(2)));
}
