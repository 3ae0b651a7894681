//! Any text as a ladder: it is refused with reasons, or it is one that is written and read as the same, assesses whatever
//! it is told, and never gets better by worse news.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay::degrade::{Degradation, Ladder, Reading};
use mainstay::error::ConfigErrors;
use mainstay::health::Verdict;
use mainstay::num::Ratio;
use mainstay::rng::Rng;
use mainstay::settings::Unchecked;
use mainstay::time::Tick;

fuzz_target!(|text: &str| {
    if let Ok(read) = toml::from_str::<Unchecked>(text) {
        let at_once = toml::from_str::<Ladder>(text).map_err(drop);
        check(text, read.check_ladder(), at_once);
    }
    if let Ok(read) = serde_json::from_str::<Unchecked>(text) {
        let at_once = serde_json::from_str::<Ladder>(text).map_err(drop);
        check(text, read.check_ladder(), at_once);
    }
});

/// `at_once` is what serde's trait makes of the same text.
fn check(text: &str, read: Result<Ladder, ConfigErrors>, at_once: Result<Ladder, ()>) {
    match read {
        Ok(ladder) => {
            assert_eq!(at_once.as_ref(), Ok(&ladder));
            let json = serde_json::to_string(&ladder).expect("a ladder is JSON");
            let again = serde_json::from_str(&json);
            assert_eq!(ladder, again.expect("what is written can be read"));
            let toml = toml::to_string(&ladder).expect("a ladder is TOML");
            let again = toml::from_str(&toml);
            assert_eq!(ladder, again.expect("what is written can be read"));
            assert!(!ladder.to_string().is_empty());
            let mut rng = Rng::new(seed(text));
            for _ in 0..8 {
                worse_news(&ladder, &mut rng);
            }
            run(ladder, &mut rng);
        }
        Err(errors) => {
            assert!(at_once.is_err());
            assert!(errors.iter().next().is_some(), "refused for a reason");
            for error in errors.iter() {
                assert!(!error.field().is_empty() && !error.expected().is_empty());
                assert!(error.field().len() + error.value().len() < 10_000);
            }
        }
    }
}

/// The same text leads to the same readings.
fn seed(text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(start, hash)
}

fn below(rng: &mut Rng, n: u32) -> u32 {
    u32::try_from(rng.next_u64() % u64::from(n)).expect("less than n")
}

fn share(rng: &mut Rng) -> f64 {
    // Near the ends of bands as well as between them.
    f64::from(below(rng, 101)) / 100.0
}

/// Anything, and something of the same kind that is no better.
fn pair(rng: &mut Rng) -> (Reading, Reading) {
    let worst = [Verdict::Up, Verdict::Degraded, Verdict::Down];
    match below(rng, 3) {
        0 => (Reading::UNKNOWN, Reading::UNKNOWN),
        1 => {
            let at = below(rng, 3);
            let to = at + below(rng, 3 - at);
            let verdict = |at: u32| worst[at as usize];
            (verdict(at).into(), verdict(to).into())
        }
        _ => {
            let score = share(rng);
            let less = score * share(rng);
            let ratio = |score| Ratio::new("score", score).expect("between 0 and 1");
            (ratio(score).into(), ratio(less).into())
        }
    }
}

fn worse_news(ladder: &Ladder, rng: &mut Rng) {
    let pairs: Vec<_> = ladder.components().iter().map(|_| pair(rng)).collect();
    let names = || ladder.components().iter().map(|component| component.name());
    let before = ladder.assess(names().zip(pairs.iter().map(|(is, _)| *is)));
    let after = ladder.assess(names().zip(pairs.iter().map(|(_, worse)| *worse)));
    assert!(before.level() < ladder.levels().len());
    assert!(after.level() >= before.level(), "{pairs:?}");
    for capability in ladder.capabilities() {
        let (was, is) = (before.mode(capability), after.mode(capability));
        let (was, is) = (was.expect("a capability"), is.expect("a capability"));
        assert!(is.is_at_most(was), "{capability}: {was}, then {is}");
    }
}

/// A history of any news, and after it the ladder itself once more: that changes nothing that is told twice.
fn run(ladder: Ladder, rng: &mut Rng) {
    let names: Vec<_> = ladder
        .components()
        .iter()
        .map(|component| component.name().to_owned())
        .collect();
    let mut system = Degradation::new(ladder.clone());
    let mut now = Tick::ZERO;
    for name in names.iter().cycle().take(names.len().min(64) * 2) {
        let (reading, _) = pair(rng);
        let told = system.observe(name, reading, now);
        drop(told.expect("a component"));
        now = now + Duration::from_secs(below(rng, 120).into());
        system.decide(now);
        assert!(system.level() < system.ladder().levels().len());
    }
    assert!(system.reload(ladder, now).is_none(), "the same ladder");
}
