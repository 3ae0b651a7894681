//! What holds of every ladder and every history: worse news never brings anything back, the order of what is told does
//! not matter, noise below the exit band moves nothing, and recovery always ends at the best level.

#![expect(
    clippy::disallowed_methods,
    reason = "the seed comes from the environment"
)]

use std::time::Duration;

use mainstay::degrade::{
    Component, Degradation, Fact, Ladder, Level, Mode, Pace, Reading, Unknown, When,
};
use mainstay::health::Verdict;
use mainstay::num::{Period, Ratio, count};
use mainstay::presets::{erp, synthetic};
use mainstay::rng::Rng;
use mainstay::time::Tick;
use proptest::prelude::*;

const PARTS: [&str; 4] = ["a", "b", "c", "d"];
const CAPABILITIES: [&str; 3] = ["x", "y", "z"];

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Full),
        Just(Mode::limited("less")),
        Just(Mode::limited("worse")),
        Just(Mode::WriteOnly),
        Just(Mode::ReadOnly),
        Just(Mode::Queued),
        Just(Mode::Manual),
        Just(Mode::Disabled),
        Just(Mode::FailOver),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let part = || prop::sample::select(&PARTS[..]);
    let ratio = || (0_u8..80).prop_map(Ratio::percent);
    let leaf = prop_oneof![
        part().prop_map(When::degraded),
        part().prop_map(When::down),
        (ratio(), 0_u8..20)
            .prop_map(|(at, margin)| When::score_at_most(at, Ratio::percent(margin))),
        (part(), ratio(), 0_u8..20).prop_map(|(part, at, margin)| When::scores_at_most(
            part,
            at,
            Ratio::percent(margin)
        )),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(When::all),
            prop::collection::vec(inner, 1..3).prop_map(When::any),
        ]
    })
}

fn pace() -> impl Strategy<Value = Pace> {
    (0_u64..20, 1_u32..60, 1_u32..60, 1_u32..5).prop_map(|(worse, dwell, calm, flaps)| {
        Pace::new()
            .worse_after(Duration::from_secs(worse))
            .dwell(Period::secs(dwell))
            .better_after(Period::secs(calm))
            .flaps(count(flaps), Period::secs(300), Period::secs(200))
    })
}

fn ladder() -> impl Strategy<Value = Ladder> {
    let cells = || prop::collection::vec((prop::sample::select(&CAPABILITIES[..]), mode()), 0..4);
    let levels = prop::collection::vec(cells(), 1..5);
    let facts = prop::collection::vec((when(), any::<prop::sample::Index>(), pace()), 0..8);
    let weights = prop::array::uniform4(0.01_f64..100.0);
    (levels, facts, weights, any::<bool>()).prop_map(|(levels, facts, weights, cumulative)| {
        let mut ladder = Ladder::new("any");
        for capability in CAPABILITIES {
            ladder = ladder.capability(capability);
        }
        for (part, weight) in PARTS.into_iter().zip(weights) {
            ladder = ladder.component(Component::new(part).weight(weight));
        }
        ladder = ladder.level(Level::new("0"));
        let worst = levels.len();
        for (n, cells) in levels.into_iter().enumerate() {
            let mut level = Level::new((n + 1).to_string());
            let mut seen = Vec::new();
            for (capability, mode) in cells {
                if !seen.contains(&capability) {
                    seen.push(capability);
                    level = level.cell(capability, mode);
                }
            }
            ladder = ladder.level(level);
        }
        for (n, (when, at, pace)) in facts.into_iter().enumerate() {
            let level = at.index(worst + 1).to_string();
            ladder = ladder.fact(Fact::new(format!("fact {n}"), when, level).pace(pace));
        }
        if cumulative {
            ladder = ladder.cumulative();
        }
        ladder.build().expect("a ladder")
    })
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        prop::sample::select(&Verdict::ALL[..]).prop_map(Reading::from),
        (0_u8..=100).prop_map(|score| Reading::from(Ratio::percent(score))),
    ]
}

/// One that is no better, of the same kind.
fn worse(reading: Reading, by: u8) -> Reading {
    if !reading.is_known() {
        return reading;
    }
    for verdict in [Verdict::Up, Verdict::Degraded] {
        if reading == Reading::from(verdict) {
            let down = if by > 50 {
                Verdict::Down
            } else {
                Verdict::Degraded
            };
            return Reading::from(if verdict == Verdict::Up {
                down
            } else {
                Verdict::Down
            });
        }
    }
    if reading == Reading::from(Verdict::Down) {
        return reading;
    }
    let score = reading.score().expect("it is known");
    let less = score * (1.0 - f64::from(by) / 100.0);
    Reading::from(Ratio::new("score", less).expect("between 0 and 1"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Rules 6 and 7, of what is known alone.
    #[test]
    fn worse_news_raises_nothing(
        ladder in ladder(),
        readings in prop::array::uniform4(reading()),
        at in 0_usize..4,
        by in 0_u8..=100,
    ) {
        let before = ladder.assess(PARTS.into_iter().zip(readings));
        let mut changed = readings;
        changed[at] = worse(readings[at], by);
        let after = ladder.assess(PARTS.into_iter().zip(changed));
        prop_assert!(after.level() >= before.level());
        for capability in CAPABILITIES {
            let (before, after) = (before.mode(capability).unwrap(), after.mode(capability).unwrap());
            prop_assert!(after.is_at_most(before), "{capability}: {before} -> {after}");
        }
    }

    /// The same at any point of any history: whatever is told last, something worse in its place leaves nothing better.
    #[test]
    fn worse_news_raises_nothing_in_any_history(
        ladder in ladder(),
        history in prop::collection::vec((0_usize..4, reading(), 0_u64..40), 0..40),
        at in 0_usize..4,
        last in reading(),
        by in 0_u8..=100,
    ) {
        let mut system = Degradation::new(ladder);
        let mut now = Tick::ZERO;
        for (at, reading, pause) in history {
            now = now + Duration::from_secs(pause);
            system.observe(PARTS[at], reading, now).unwrap();
        }
        let mut other = system.clone();
        system.observe(PARTS[at], last, now).unwrap();
        other.observe(PARTS[at], worse(last, by), now).unwrap();
        prop_assert!(other.level() >= system.level());
        for (better, worse) in system.modes().iter().zip(other.modes()) {
            prop_assert!(worse.is_at_most(better), "{better} -> {worse}");
        }
    }

    /// Rule 1.
    #[test]
    fn the_order_of_what_is_told_does_not_matter(
        ladder in ladder(),
        readings in prop::array::uniform4(reading()),
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let now = Tick::from_nanos(1);
        let mut one = Degradation::new(ladder.clone());
        let mut other = Degradation::new(ladder);
        let told = |at: usize| (PARTS[at], readings[at]);
        let one_change = one.observe_all((0..4).map(told), now).unwrap();
        let other_change = other.observe_all(order.map(told), now).unwrap();
        prop_assert_eq!(one_change, other_change);
        for secs in [30, 60, 600, 1_200] {
            // Facts that want confirmation or calm are given the time for it.
            let now = now + Duration::from_secs(secs);
            prop_assert_eq!(one.decide(now), other.decide(now));
        }
        prop_assert_eq!(one.level(), other.level());
        prop_assert_eq!(one.modes(), other.modes());
    }

    /// Rules 6 and 7: once every fact has had the time to come, the machine says what the ladder says of the same readings.
    #[test]
    fn the_machine_says_what_the_ladder_says(
        ladder in ladder(),
        readings in prop::array::uniform4(reading()),
    ) {
        let mut system = Degradation::new(ladder.clone());
        let now = Tick::from_nanos(1);
        system.observe_all(PARTS.into_iter().zip(readings), now).unwrap();
        system.decide(now + Duration::from_secs(20));
        let found = ladder.assess(PARTS.into_iter().zip(readings));
        prop_assert_eq!(system.level(), found.level());
        for capability in CAPABILITIES {
            prop_assert_eq!(system.mode(capability), found.mode(capability));
        }
    }

    /// After whatever happened, when everything is up for long enough everything is served again. And the machine says
    /// itself when to look: between its timeouts nothing changes.
    #[test]
    fn recovery_ends_at_the_best_level(
        ladder in ladder(),
        history in prop::collection::vec((0_usize..4, reading(), 0_u64..90), 0..60),
    ) {
        // A fact that holds of a system in which everything is up is none.
        let well = PARTS.map(|part| (part, Reading::from(Verdict::Up)));
        prop_assume!(ladder.assess(well).level() == 0);
        prop_assume!(CAPABILITIES.iter().all(|name| ladder.assess(well).mode(name) == Some(&Mode::Full)));

        let mut system = Degradation::new(ladder);
        let mut now = Tick::ZERO;
        for (at, reading, pause) in history {
            now = now + Duration::from_secs(pause);
            system.observe(PARTS[at], reading, now).unwrap();
        }
        for part in PARTS {
            system.observe(part, Reading::from(Verdict::Up), now).unwrap();
        }
        let mut looks = 0;
        while system.next_timeout() != Tick::NEVER {
            let due = system.next_timeout();
            prop_assert!(due > now, "what is due is past");
            prop_assert!(due.since(now) <= Duration::from_secs(200));
            let before = Tick::from_nanos(due.as_nanos() - 1);
            prop_assert_eq!(system.decide(before), None);
            system.decide(due);
            now = due;
            looks += 1;
            prop_assert!(looks < 100);
        }
        prop_assert_eq!(system.level(), 0);
        prop_assert!(system.modes().iter().all(|mode| *mode == Mode::Full));
        prop_assert_eq!(system.facts().count(), 0);
    }

    /// Rule 9: the changes, one after another, lead from the first state to the last.
    #[test]
    fn changes_tell_everything(
        ladder in ladder(),
        history in prop::collection::vec((0_usize..4, reading(), 0_u64..90), 0..60),
    ) {
        let mut system = Degradation::new(ladder);
        let mut level = 0;
        let mut modes = vec![Mode::Full; CAPABILITIES.len()];
        let mut now = Tick::ZERO;
        for (at, reading, pause) in history {
            now = now + Duration::from_secs(pause);
            if let Some(change) = system.observe(PARTS[at], reading, now).unwrap() {
                prop_assert_eq!(change.from().index(), level);
                level = change.to().index();
                prop_assert!(change.moved().len() + usize::from(change.from() != change.to()) > 0);
                for moved in change.moved() {
                    let at = CAPABILITIES.iter().position(|name| *name == moved.capability()).unwrap();
                    prop_assert_eq!(&modes[at], moved.from());
                    modes[at] = moved.to().clone();
                }
            }
            prop_assert_eq!(level, system.level());
            prop_assert_eq!(&modes[..], system.modes());
            // Told again, it is no news.
            prop_assert_eq!(system.observe(PARTS[at], reading, now).unwrap(), None);
        }
    }

    /// A ladder that code can make is written and read back as the same, in two formats.
    #[test]
    fn a_ladder_is_data(ladder in ladder()) {
        let text = toml::to_string(&ladder).unwrap();
        prop_assert_eq!(&toml::from_str::<Ladder>(&text).unwrap(), &ladder, "{}", text);
        let text = serde_json::to_string(&ladder).unwrap();
        let read: Ladder = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.levels(), ladder.levels());
        prop_assert!(read.cells().eq(ladder.cells()) && read.facts().eq(ladder.facts()));
    }

    /// Rule 10: a ladder that is replaced by itself changes nothing.
    #[test]
    fn a_reload_of_the_same_changes_nothing(
        ladder in ladder(),
        history in prop::collection::vec((0_usize..4, reading(), 0_u64..90), 0..40),
        rest in prop::collection::vec((0_usize..4, reading(), 0_u64..90), 0..20),
    ) {
        let mut system = Degradation::new(ladder.clone());
        let mut now = Tick::ZERO;
        for (at, reading, pause) in history {
            now = now + Duration::from_secs(pause);
            system.observe(PARTS[at], reading, now).unwrap();
        }
        let mut other = system.clone();
        prop_assert_eq!(other.reload(ladder, now), None);
        for (at, reading, pause) in rest {
            now = now + Duration::from_secs(pause);
            let told = system.observe(PARTS[at], reading, now).unwrap();
            prop_assert_eq!(told, other.observe(PARTS[at], reading, now).unwrap());
        }
    }
}

/// 24 hours of noise that stays within the margin of the band that was entered: one change, the first.
#[test]
fn noise_below_the_exit_band_moves_nothing_in_24_hours() {
    let seed = std::env::var("MAINSTAY_SEED").map_or(11, |seed| seed.parse().expect("a number"));
    println!("MAINSTAY_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut system = Degradation::new(synthetic::degradation());
    let parts = [
        "gpu_cluster",
        "quality_service",
        "database",
        "storage",
        "queue_depth",
    ];
    let score = |score| Reading::from(Ratio::new("score", score).expect("a score"));
    let mut changes = Vec::new();
    for part in parts {
        changes.extend(system.observe(part, score(0.899), Tick::ZERO).unwrap());
    }
    assert_eq!(system.level(), 1);
    let mut now = Tick::ZERO;
    for _ in 0..24 * 60 * 12 {
        now = now + Duration::from_secs(5);
        for part in parts {
            // Around 0.9, and never above 0.92, where the band is left.
            let noise = rng.unit() * 0.04 - 0.02;
            changes.extend(system.observe(part, score(0.9 + noise), now).unwrap());
        }
    }
    assert_eq!(changes.len(), 1, "{changes:?}");
}

/// B-14: each component of each preset changes something by itself.
#[test]
fn every_input_matters() {
    for ladder in [erp::degradation(), synthetic::degradation()] {
        let well = || {
            let names = ladder.components().iter().map(Component::name);
            names.map(|name| (name, Reading::from(Verdict::Up)))
        };
        let best = ladder.assess(well());
        assert_eq!(best.level(), 0);
        for component in ladder.components() {
            let broken = [(component.name(), Reading::from(Verdict::Down))];
            let found = ladder.assess(well().chain(broken));
            assert!(
                found.level() > 0,
                "{} of {}",
                component.name(),
                ladder.name()
            );
            let served = |assessed: &mainstay::degrade::Assessment<'_>| -> Vec<Mode> {
                let modes = ladder.capabilities().filter_map(|name| assessed.mode(name));
                modes.cloned().collect()
            };
            assert_ne!(served(&best), served(&found), "{}", component.name());
        }
    }
}

/// Rule 2: a monitor that is down degrades nobody, unless the component says so.
#[test]
fn what_is_unknown_is_held() {
    let ladder = |unknown| {
        let ladder = Ladder::new("one").component(Component::new("a").unknown(unknown));
        let ladder = ladder.level(Level::new("well"));
        let ladder = ladder.level(Level::new("badly").cell("x", Mode::Disabled));
        let fact = Fact::new("a", When::degraded("a"), "badly");
        ladder.fact(fact).build().unwrap()
    };
    let at = |secs| Tick::ZERO + Duration::from_secs(secs);
    let (up, down) = (Reading::from(Verdict::Up), Reading::from(Verdict::Down));

    let mut held = Degradation::new(ladder(Unknown::Hold));
    held.observe("a", Reading::UNKNOWN, at(0)).unwrap();
    held.decide(at(100_000));
    assert_eq!(held.level(), 0, "nothing was ever known");
    held.observe("a", down, at(100_001)).unwrap();
    held.observe("a", Reading::UNKNOWN, at(100_002)).unwrap();
    held.decide(at(200_000));
    assert_eq!(held.level(), 1, "it was down when it was last seen");
    assert_eq!(held.unknown().collect::<Vec<_>>(), ["a"]);
    assert_eq!(held.next_timeout(), Tick::NEVER);

    let after = Unknown::After(Period::secs(60), Verdict::Degraded);
    let mut strict = Degradation::new(ladder(after));
    strict.observe("a", up, at(0)).unwrap();
    strict.observe("a", Reading::UNKNOWN, at(10)).unwrap();
    strict.observe("a", Reading::UNKNOWN, at(40)).unwrap();
    assert_eq!(strict.next_timeout(), at(70), "since nothing is known");
    assert!(strict.decide(at(69)).is_none());
    assert_eq!(strict.decide(at(70)).unwrap().to().index(), 1);
    // It is seen again, well, and believed after the calm.
    strict.observe("a", up, at(80)).unwrap();
    assert_eq!(
        strict.decide(strict.next_timeout()).unwrap().to().index(),
        0
    );
}
