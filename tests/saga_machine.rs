//! The machine on random definitions, random misfortune and random crashes, against a model that is as simple as a
//! ledger: what has happened, and what may have.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it takes its seed from the environment"
)]

use std::num::NonZeroU32;
use std::sync::Arc;

use mainstay::rng::Rng;
use mainstay::saga::entry::{Fact, Finish, Operation};
use mainstay::saga::machine::{Attempt, Ending, Execution, Next, Verdict};
use mainstay::saga::{Kind, Payload, Shape, StepShape};

struct Luck(Rng);

impl Luck {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap()
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

fn payload(text: &str) -> Payload {
    serde_json::from_str(text).unwrap()
}

fn random_shape(luck: &mut Luck) -> Arc<Shape> {
    let mut steps = Vec::new();
    let mut add = |luck: &mut Luck, kind| {
        let some = |luck: &mut Luck| NonZeroU32::new(u32::try_from(luck.below(4)).unwrap());
        let step = StepShape::new(format!("s{}", steps.len()), kind);
        steps.push(step.attempts(some(luck)).undo_attempts(some(luck)));
    };
    for _ in 0..luck.below(6) {
        let kind = if luck.one_in(3) {
            Kind::Check
        } else {
            Kind::Step
        };
        add(luck, kind);
    }
    if luck.one_in(2) {
        add(luck, Kind::Pivot);
        for _ in 0..luck.below(3) {
            add(luck, Kind::Then);
        }
    }
    if steps.is_empty() {
        steps.push(StepShape::new("s0", Kind::Step));
    }
    Arc::new(Shape::new("random", 1, steps))
}

/// What has happened outside.
#[derive(Default)]
struct Model {
    /// Steps whose effect stands, in the order in which they were first applied.
    standing: Vec<usize>,
    undone: Vec<usize>,
    unwinding: bool,
}

impl Model {
    fn apply(&mut self, shape: &Shape, step: usize) {
        assert!(!self.unwinding, "step {step} ran while unwinding");
        if shape.steps[step].kind != Kind::Check && !self.standing.contains(&step) {
            assert!(
                self.standing.last().is_none_or(|last| *last < step),
                "out of order"
            );
            self.standing.push(step);
        }
    }

    fn undo(&mut self, step: usize) {
        assert!(
            self.undone.last().is_none_or(|last| *last >= step),
            "{:?} then {step}",
            self.undone
        );
        self.undone.push(step);
        self.standing.retain(|standing| *standing != step);
    }
}

/// An ending, and whether the effect happened.
fn misfortune(luck: &mut Luck) -> (Ending, bool) {
    let perhaps = luck.one_in(2);
    match luck.below(16) {
        0 => (Ending::Fail("no".into()), false),
        1 => (Ending::Unknown("?".into()), perhaps),
        2 => (Ending::Panicked, perhaps),
        3 => (Ending::TimedOut, perhaps),
        4..7 => (Ending::Retry("later".into()), perhaps),
        7 if luck.one_in(3) => (Ending::Halt("look".into()), perhaps),
        _ => (Ending::Done(payload("1")), true),
    }
}

fn one_history(luck: &mut Luck) -> (Finish, usize) {
    let shape = random_shape(luck);
    let mut model = Model::default();
    let begin = Execution::begin(&shape, "nonce", payload("0"));
    let mut log: Vec<Vec<Fact>> = vec![begin.clone()];
    let mut machine = Execution::new(Arc::clone(&shape));
    machine.written(&begin).unwrap();
    let (mut attempt, mut crashes) = (1, 0);
    for _ in 0..10_000 {
        if luck.one_in(12) {
            // The process dies; the next one knows the log alone.
            machine = Execution::replay(Arc::clone(&shape), log.iter().flatten()).unwrap();
            attempt = 1;
            crashes += 1;
        }
        assert!(
            !model.unwinding || machine.is_unwinding(),
            "the direction flipped"
        );
        model.unwinding = machine.is_unwinding();
        let facts = match machine.next() {
            Next::End(finish) => {
                check_end(&shape, &model, finish);
                check_log(luck, &shape, &log);
                return (finish, crashes);
            }
            Next::Write => Some(vec![]),
            Next::Hold => {
                let operation = if luck.one_in(8) {
                    Operation::Abandon
                } else {
                    Operation::Retry
                };
                attempt = 1;
                Some(Execution::resolve(
                    machine.held().unwrap(),
                    operation,
                    "ann",
                    "because",
                ))
            }
            next @ (Next::Run(step) | Next::Undo(step)) => {
                let (ending, happened) = misfortune(luck);
                let undo = matches!(next, Next::Undo(_));
                assert_eq!(undo, machine.is_unwinding());
                if happened && undo {
                    model.undo(step);
                } else if happened {
                    model.apply(&shape, step);
                }
                match machine
                    .settle(ending, Attempt::new(attempt, luck.one_in(20)))
                    .unwrap()
                {
                    Verdict::Again => {
                        attempt += 1;
                        None
                    }
                    Verdict::Record(facts) => {
                        attempt = 1;
                        Some(facts)
                    }
                    _ => {
                        attempt = 1;
                        None
                    }
                }
            }
            other => panic!("{other:?}"),
        };
        if let Some(facts) = facts {
            if luck.one_in(10) {
                machine = Execution::replay(Arc::clone(&shape), log.iter().flatten()).unwrap();
                attempt = 1;
                crashes += 1;
                continue;
            }
            log.push(machine.entry(&facts));
            machine.written(&facts).unwrap();
        }
    }
    panic!("it did not end");
}

fn check_end(shape: &Shape, model: &Model, finish: Finish) {
    let effects: Vec<usize> = (0..shape.steps.len())
        .filter(|step| shape.steps[*step].kind != Kind::Check)
        .collect();
    match finish {
        Finish::Completed => {
            assert_eq!(model.standing, effects, "everything stands");
            assert!(model.undone.is_empty());
        }
        Finish::Compensated => assert!(model.standing.is_empty(), "left: {:?}", model.standing),
        _ => {}
    }
}

/// Every beginning recovers; nothing that is missing, doubled or swapped does.
fn check_log(luck: &mut Luck, shape: &Arc<Shape>, log: &[Vec<Fact>]) {
    let mut unwinding = false;
    for end in 1..=log.len() {
        let execution = Execution::replay(Arc::clone(shape), log[..end].iter().flatten()).unwrap();
        assert!(!unwinding || execution.is_unwinding());
        unwinding = execution.is_unwinding();
    }
    let facts: Vec<Fact> = log.concat();
    let at = luck.below(facts.len() - 1);
    let mut holed = facts.clone();
    let fact = holed.remove(at);
    assert!(
        Execution::replay(Arc::clone(shape), &holed).is_err(),
        "without {fact:?} of {facts:?}"
    );
    let mut doubled = facts.clone();
    doubled.insert(at, fact);
    assert!(
        Execution::replay(Arc::clone(shape), &doubled).is_err(),
        "{at} twice in {facts:?}"
    );
    let mut swapped = facts.clone();
    swapped.swap(at, at + 1);
    assert!(
        Execution::replay(Arc::clone(shape), &swapped).is_err(),
        "{at} swapped in {facts:?}"
    );
}

#[test]
fn random_histories_end_well_and_every_prefix_recovers() {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let histories = std::env::var("MAINSTAY_HISTORIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    let mut luck = Luck(Rng::new(seed));
    let (mut ends, mut crashed) = ([0_usize; 3], 0);
    for _ in 0..histories {
        let (finish, crashes) = one_history(&mut luck);
        ends[match finish {
            Finish::Completed => 0,
            Finish::Compensated => 1,
            _ => 2,
        }] += 1;
        crashed += crashes;
    }
    println!("completed, compensated, abandoned: {ends:?}; {crashed} crashes");
    assert!(ends.iter().all(|end| *end > histories / 100), "{ends:?}");
}
