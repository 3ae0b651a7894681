//! The two ladders of the presets, cell by cell, and what the documents that they are from get wrong (B-11 to B-19).

use std::time::Duration;

use mainstay::degrade::{
    Cause, Change, Component, Degradation, Fact, Kind, Ladder, LadderBuilder, Level, Mode, Order,
    Pace, Reading, Unknown, When,
};
use mainstay::health::Verdict::{self, Degraded, Down, Up};
use mainstay::num::{Period, Ratio};
use mainstay::presets::{erp, synthetic};
use mainstay::time::Tick;

const PARTS: [&str; 5] = [
    "gpu_cluster",
    "database_primary",
    "database_replicas",
    "event_store",
    "vector_db",
];

fn at(secs: u64) -> Tick {
    Tick::ZERO + Duration::from_secs(secs)
}

fn served(modes: &[&str]) -> Vec<String> {
    modes.iter().map(|&mode| mode.into()).collect()
}

/// What is served of agents, documents, erp, inference, reports, writes.
fn assess(broken: &[(&str, Verdict)]) -> (usize, Vec<String>) {
    let ladder = erp::degradation();
    let well = PARTS.map(|part| (part, Reading::from(Up)));
    let broken = broken.iter().map(|&(part, verdict)| (part, verdict.into()));
    let found = ladder.assess(well.into_iter().chain(broken));
    let modes = ladder.capabilities().filter_map(|name| found.mode(name));
    (found.level(), modes.map(Mode::to_string).collect())
}

fn table(ladder: &Ladder) -> Vec<Vec<String>> {
    let text = ladder.to_string();
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split(" | ").map(str::to_owned).collect())
        .collect()
}

/// S0-36 to S0-41, and which cells are ours.
#[test]
fn every_cell_of_the_ladder_of_the_erp() {
    let expected = [
        [
            "agents",
            "full",
            "queued",
            "disabled",
            "disabled",
            "disabled*",
            "fail_over*",
        ],
        [
            "documents",
            "full",
            "queued",
            "manual",
            "manual*",
            "manual*",
            "fail_over*",
        ],
        [
            "erp",
            "full",
            "full",
            "full",
            "write_only",
            "read_only",
            "fail_over",
        ],
        [
            "inference",
            "full",
            "queued",
            "disabled",
            "limited (no historical context)",
            "disabled",
            "fail_over",
        ],
        [
            "reports",
            "full",
            "full",
            "full",
            "disabled",
            "read_only*",
            "fail_over*",
        ],
        [
            "writes",
            "full*",
            "full*",
            "full*",
            "full*",
            "queued",
            "fail_over*",
        ],
    ];
    assert_eq!(table(&erp::degradation()), expected);
    let names: Vec<_> = erp::degradation()
        .levels()
        .iter()
        .map(|level| level.name().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "full operation",
            "AI degraded",
            "AI unavailable",
            "database degraded",
            "database primary down",
            "regional outage",
        ]
    );
}

/// S4-37 to S4-42: what a level switches off stays off at the worse ones.
#[test]
fn every_cell_of_the_ladder_of_the_platform() {
    let expected = [
        [
            "diffusion",
            "full",
            "full",
            "disabled",
            "disabled",
            "disabled",
            "disabled",
        ],
        [
            "quality_checks",
            "full",
            "disabled",
            "disabled",
            "disabled",
            "disabled",
            "disabled",
        ],
        [
            "streaming",
            "full",
            "full",
            "full",
            "disabled",
            "disabled",
            "disabled",
        ],
        [
            "training", "full", "full", "full", "full", "disabled", "disabled",
        ],
        [
            "transformer",
            "full",
            "full",
            "disabled",
            "disabled",
            "disabled",
            "disabled",
        ],
        [
            "writes",
            "full",
            "full",
            "full",
            "full",
            "full",
            "read_only",
        ],
    ];
    assert_eq!(table(&synthetic::degradation()), expected);
}

/// S4-43: the bands, at their edges.
#[test]
fn the_bands_of_the_platform() {
    let ladder = synthetic::degradation();
    for (score, level) in [
        (100, 0),
        (91, 0),
        (90, 1),
        (71, 1),
        (70, 2),
        (51, 2),
        (50, 3),
        (31, 3),
        (30, 4),
        (11, 4),
        (10, 5),
        (0, 5),
    ] {
        let parts = ladder.components().iter().map(|part| part.name());
        let found = ladder.assess(parts.map(|part| (part, Ratio::percent(score).into())));
        assert_eq!(found.level(), level, "{score} %");
    }
}

/// S0-42, with its facts one at a time.
#[test]
fn one_fact_one_level() {
    let cases: [(&[(&str, Verdict)], usize); 12] = [
        (&[], 0),
        (&[("gpu_cluster", Degraded)], 1),
        (&[("gpu_cluster", Down)], 2),
        (&[("database_replicas", Degraded)], 3),
        (&[("database_replicas", Down)], 3),
        (&[("database_primary", Degraded)], 0),
        (&[("database_primary", Down)], 4),
        (
            &[("database_primary", Down), ("database_replicas", Down)],
            5,
        ),
        (&[("event_store", Down)], 4),
        (&[("event_store", Degraded)], 1),
        (&[("vector_db", Down)], 1),
        (&[("vector_db", Degraded)], 1),
    ];
    for (broken, level) in cases {
        assert_eq!(assess(broken).0, level, "{broken:?}");
    }
}

/// B-11: GPU trouble is tested first there, and hides a database that is degraded.
#[test]
fn b_11_no_fact_hides_another() {
    let (level, modes) = assess(&[("gpu_cluster", Down), ("database_replicas", Degraded)]);
    assert_eq!(level, 3);
    // Level 3 alone would bring inference back.
    let expected = [
        "disabled",
        "manual",
        "write_only",
        "disabled",
        "disabled",
        "full",
    ];
    assert_eq!(modes, served(&expected));
    // With the primary down as well nothing may be read that cannot be written: the two meet in nothing.
    let (level, modes) = assess(&[("database_primary", Down), ("database_replicas", Degraded)]);
    assert_eq!((level, &*modes[2], &*modes[5]), (4, "disabled", "queued"));
}

/// B-12: an assessment decides and does nothing: told the same a thousand times, it says one thing once.
#[test]
fn b_12_an_assessment_starts_nothing() {
    let mut system = Degradation::new(erp::degradation());
    let changes: Vec<Change> = (0..1_000)
        .filter_map(|n| {
            system
                .observe("database_primary", Down.into(), at(30 * n))
                .unwrap()
        })
        .collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].to().name(), "database primary down");
}

/// B-13: no replicas are neither healthy nor a regional outage.
#[test]
fn b_13_no_replicas_are_unknown() {
    assert_eq!(Verdict::of_pool([]), Verdict::Unknown);
    assert_eq!(assess(&[("database_replicas", Verdict::of_pool([]))]).0, 0);
    let outage = [
        ("database_primary", Down),
        ("database_replicas", Verdict::of_pool([])),
    ];
    assert_eq!(
        assess(&outage).0,
        4,
        "the primary is down, and that is all that is known"
    );
    let one = Verdict::of_pool([Up, Down]);
    assert_eq!(assess(&[("database_replicas", one)]).0, 3);
    let none = Verdict::of_pool([Down, Down]);
    assert_eq!(
        assess(&[("database_primary", Down), ("database_replicas", none)]).0,
        5
    );
}

/// B-14: see also `every_input_matters` in `props_degrade`.
#[test]
fn b_14_the_event_store_and_the_vector_database_count() {
    let modes = assess(&[("event_store", Down)]).1;
    assert_eq!((&*modes[2], &*modes[5]), ("read_only", "queued"));
    assert_eq!(
        assess(&[("vector_db", Down)]).1[3],
        "limited (no historical context)"
    );
}

/// B-15: a part that is up and down every second moves the level once, and it stays until there is calm.
#[test]
fn b_15_what_flaps_does_not_move_the_level_with_it() {
    let mut system = Degradation::new(erp::degradation());
    let mut changes = 0;
    for second in 0..3_600 {
        let verdict = if second % 2 == 0 { Down } else { Up };
        changes += usize::from(
            system
                .observe("gpu_cluster", verdict.into(), at(second))
                .unwrap()
                .is_some(),
        );
    }
    assert_eq!((changes, system.level()), (1, 2));
    system.observe("gpu_cluster", Up.into(), at(3_600)).unwrap();
    // Up since second 3,599.
    assert!(system.decide(at(3_628)).is_none());
    assert_eq!(system.decide(at(3_629)).unwrap().to().index(), 0);
}

/// B-15: one that comes and goes slowly enough for the calm is held by the flap budget from the fourth time on.
#[test]
fn b_15_the_flap_budget_holds_what_comes_and_goes() {
    let mut system = Degradation::new(erp::degradation());
    let mut told = Vec::new();
    for second in 0..1_200 {
        let verdict = if second % 80 < 10 { Down } else { Up };
        if let Some(change) = system
            .observe("gpu_cluster", verdict.into(), at(second))
            .unwrap()
        {
            told.push((second, change.to().index()));
        }
    }
    let expected = [
        (0, 2),
        (40, 0),
        (80, 2),
        (120, 0),
        (160, 2),
        (200, 0),
        (240, 2),
    ];
    assert_eq!(told, expected, "held from the fourth time on");
}

/// B-16: a mean hides a database that is dead among four healthy parts.
#[test]
fn b_16_a_critical_component_caps_the_level() {
    let ladder = synthetic::degradation();
    let score = |dead: &str| {
        let parts = ladder.components().iter().map(|part| part.name());
        let parts: Vec<_> = parts
            .map(|part| {
                (
                    part,
                    Ratio::percent(if part == dead { 0 } else { 100 }).into(),
                )
            })
            .collect();
        ladder.assess(parts).level()
    };
    assert_eq!(score("database"), 5, "0.8 on average is level 1");
    assert_eq!(score("storage"), 5);
    assert_eq!(score("gpu_cluster"), 4);
    assert_eq!(score("queue_depth"), 3);
    assert_eq!(score("quality_service"), 1);
}

/// B-17: what a level switched off comes back when it is over.
#[test]
fn b_17_what_was_switched_off_comes_back() {
    let mut system = Degradation::new(synthetic::degradation());
    let parts = [
        "gpu_cluster",
        "quality_service",
        "database",
        "storage",
        "queue_depth",
    ];
    for part in parts {
        system
            .observe(part, Ratio::percent(20).into(), at(0))
            .unwrap();
    }
    assert_eq!(system.level(), 4);
    for part in parts {
        system
            .observe(part, Ratio::percent(100).into(), at(60))
            .unwrap();
    }
    system.decide(at(120));
    assert_eq!((system.level(), system.score()), (0, Some(1.0)));
    assert!(system.modes().iter().all(|mode| *mode == Mode::Full));
}

/// B-18: a score that is no number is none, and what is missing is unknown and not zero.
#[test]
fn b_18_a_score_is_a_number_and_what_is_missing_is_unknown() {
    for bad in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        assert!(Ratio::new("score", bad).is_err(), "{bad}");
    }
    let ladder = synthetic::degradation();
    let found = ladder.assess([("database", Ratio::percent(95).into())]);
    assert_eq!(found.level(), 0, "the mean of what is known");
    let mut system = Degradation::new(ladder);
    assert_eq!(system.score(), None);
    assert!(system.decide(at(1_000_000)).is_none(), "nothing is known");
    let error = system
        .observe("databse", Reading::UNKNOWN, at(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "component: expected the name of a component of the ladder, got databse"
    );
}

/// B-19: told on the change alone, with the level before.
#[test]
fn b_19_a_change_is_told_once_with_what_was_before() {
    let mut system = Degradation::new(erp::degradation());
    let change = system
        .observe("gpu_cluster", Degraded.into(), at(1))
        .unwrap()
        .unwrap();
    assert_eq!(
        (change.from().index(), change.to().index(), change.at()),
        (0, 1, at(1))
    );
    assert_eq!(
        change.to_string(),
        "full operation -> AI degraded: facts +GPU cluster degraded"
    );
    assert_eq!(
        change.readings().next(),
        Some(("gpu_cluster", Degraded.into()))
    );
    for second in 2..100 {
        assert_eq!(
            system
                .observe("gpu_cluster", Degraded.into(), at(second))
                .unwrap(),
            None
        );
    }
    let change = system
        .observe("gpu_cluster", Down.into(), at(100))
        .unwrap()
        .unwrap();
    assert_eq!((change.from().index(), change.to().index()), (1, 2));
}

/// Rule 8.
#[test]
fn an_operator_pins_and_the_pin_ends() {
    let mut system = Degradation::new(erp::degradation());
    let hour = Order::new("alice", "drill").lasting(Period::secs(3_600));
    let change = system
        .pin_level("AI unavailable", hour, at(0))
        .unwrap()
        .unwrap();
    assert_eq!(
        change.to_string(),
        "full operation -> AI unavailable: pinned (alice: drill)"
    );
    // What happens underneath is not lost, and not shown.
    assert!(
        system
            .observe("database_primary", Down.into(), at(10))
            .unwrap()
            .is_none()
    );
    assert_eq!(system.mode("reports").map(Mode::kind), Some(Kind::Full));
    // A capability is pinned on top of that.
    let bob = Order::new("bob", "the auditors are here");
    let change = system
        .pin("reports", Mode::ReadOnly, bob.clone(), at(20))
        .unwrap()
        .unwrap();
    assert_eq!(change.from(), change.to());
    assert_eq!(change.moved()[0].to(), &Mode::ReadOnly);
    assert_eq!(system.next_timeout(), at(3_600));
    let change = system.decide(at(3_600)).unwrap();
    assert!(matches!(change.cause(), Cause::Expired(orders) if orders[0].actor() == "alice"));
    assert_eq!(change.to().name(), "database primary down");
    assert_eq!(system.pins().count(), 1);
    assert!(
        system
            .unpin("reports", bob.clone(), at(3_700))
            .unwrap()
            .is_none(),
        "level 4 reads as well"
    );
    assert!(
        system
            .unpin("reports", bob.clone(), at(3_700))
            .unwrap()
            .is_none()
    );
    let error = system
        .pin("report", Mode::Full, bob.clone(), at(0))
        .unwrap_err();
    assert_eq!(error.field(), "capability");
    assert_eq!(
        system.pin_level("level 7", bob, at(0)).unwrap_err().field(),
        "level"
    );
}

/// The whole region is out, and everything in it: what the other region serves is its own judgement.
#[test]
fn in_a_regional_outage_everything_fails_over_whatever_else_is_broken() {
    let broken: Vec<_> = PARTS.iter().map(|part| (*part, Down)).collect();
    let (level, modes) = assess(&broken);
    assert_eq!(level, 5);
    assert!(modes.iter().all(|mode| mode == "fail_over"), "{modes:?}");
}

/// A ladder that could never be climbed again, or that says nothing, is refused, with everything that is wrong.
#[test]
fn a_bad_ladder_is_refused_with_everything_that_is_wrong() {
    let ten = Ratio::percent(10);
    let ladder = Ladder::new("bad")
        .component(Component::new("a").weight(f64::NAN))
        .component(Component::new("a").down_at(Ratio::percent(60)))
        .level(
            Level::new("well")
                .cell("x", Mode::Disabled)
                .cell("x", Mode::Full),
        )
        .band("well", Ratio::percent(95), ten)
        .fact(Fact::new("nothing", When::all([]), "well"))
        .fact(Fact::new("", When::down("b"), "badly"));
    let errors: Vec<_> = ladder
        .build()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "components: expected each name once, got a",
            "facts: expected a name, got \"\"",
            "components.a.weight: expected a number above 0 and at most 1000000, got NaN",
            "components.a.down_at: expected at most degraded_at, 0.5, got 0.6",
            "levels.well.x: expected full, at the best level, got disabled",
            "levels.well: expected each name once, got x",
            "facts.score at most 0.95.when: expected a score and margin below 1 together, or the fact never goes, got 1.05",
            "facts.nothing.when: expected at least one condition, got none",
            "facts..when: expected the name of a component, got b",
            "facts..level: expected the name of a level, got badly",
        ]
    );
}

/// Rule 4: what came stays for its least time, however calm it is.
#[test]
fn a_fact_stays_for_its_least_time() {
    let pace = Pace::new()
        .dwell(Period::secs(60))
        .better_after(Period::secs(5));
    let fact = Fact::new("a", When::down("a"), "badly").pace(pace);
    let ladder = Ladder::new("one").component(Component::new("a"));
    let ladder = ladder.level(Level::new("well")).level(Level::new("badly"));
    let mut system = Degradation::new(ladder.fact(fact).build().unwrap());
    assert!(system.observe("a", Down.into(), at(0)).unwrap().is_some());
    system.observe("a", Up.into(), at(1)).unwrap();
    assert_eq!(system.next_timeout(), at(60));
    assert!(system.decide(at(59)).is_none());
    assert_eq!(system.decide(at(60)).unwrap().to().index(), 0);
    // Once it has stayed for long the calm alone counts.
    system.observe("a", Down.into(), at(100)).unwrap();
    system.observe("a", Up.into(), at(200)).unwrap();
    assert_eq!(system.next_timeout(), at(205));
}

/// Rule 2, long after the clock's origin: who begins to wait begins when it is first asked, and so does a component that a new
/// ladder brings.
#[test]
fn what_was_never_known_is_waited_for_from_the_first_question() {
    let part = |name: &'static str| {
        let after = Unknown::After(Period::secs(60), Down);
        Component::new(name).unknown(after)
    };
    let ladder = |names: &[&'static str]| {
        let ladder = Ladder::new("one")
            .level(Level::new("well"))
            .level(Level::new("badly"));
        let with = |ladder: LadderBuilder, name: &&'static str| {
            let fact = Fact::new(format!("{name} down"), When::down(*name), "badly");
            ladder.component(part(name)).fact(fact)
        };
        names.iter().fold(ladder, with).build().unwrap()
    };
    let mut system = Degradation::new(ladder(&["a"]));
    assert!(system.decide(at(10_000)).is_none());
    assert_eq!(system.next_timeout(), at(10_060));
    system.observe("a", Up.into(), at(10_050)).unwrap();
    assert!(system.reload(ladder(&["a", "b"]), at(20_000)).is_none());
    assert_eq!(system.next_timeout(), at(20_060));
    assert_eq!(system.decide(at(20_060)).unwrap().to().index(), 1);
}

/// Rule 9: what a new ladder does not have any more is told as served in full, and a level that moved as moved.
#[test]
fn a_reload_tells_what_it_takes_away() {
    let ladder = |levels: &[&'static str], capability: &'static str| {
        let with = |ladder: LadderBuilder, name: &&'static str| ladder.level(Level::new(*name));
        let ladder = levels
            .iter()
            .fold(Ladder::new("one").capability(capability), with);
        ladder.build().unwrap()
    };
    let mut system = Degradation::new(ladder(&["well", "badly"], "x"));
    let order = || Order::new("alice", "test");
    system.pin("x", Mode::Disabled, order(), at(0)).unwrap();
    let change = system
        .reload(ladder(&["well", "badly"], "y"), at(1))
        .unwrap();
    let moved = &change.moved()[0];
    assert_eq!((moved.capability(), moved.to()), ("x", &Mode::Full));
    system.pin_level("badly", order(), at(2)).unwrap();
    let change = system
        .reload(ladder(&["well", "between", "badly"], "y"), at(3))
        .unwrap();
    assert_eq!((change.from().index(), change.to().index()), (1, 2));
}

/// Rule 9: a pin that ends in the moment in which a fact comes is told as well.
#[test]
fn an_expired_pin_is_told_beside_a_fact() {
    let mut system = Degradation::new(erp::degradation());
    let minute = Order::new("alice", "drill").lasting(Period::secs(60));
    system.pin_level("AI degraded", minute, at(0)).unwrap();
    let change = system
        .observe("gpu_cluster", Down.into(), at(61))
        .unwrap()
        .unwrap();
    assert_eq!(
        change.cause().to_string(),
        "facts +GPU cluster degraded +GPU cluster down (alice: drill)"
    );
}

/// One name that is wrong among several: nothing is told.
#[test]
fn readings_are_taken_all_or_none() {
    let mut system = Degradation::new(erp::degradation());
    let readings = [("gpu_cluster", Down.into()), ("typo", Up.into())];
    assert_eq!(
        system.observe_all(readings, at(0)).unwrap_err().value(),
        "typo"
    );
    assert!(system.decide(at(1)).is_none());
    assert_eq!(system.unknown().count(), 5);
}
