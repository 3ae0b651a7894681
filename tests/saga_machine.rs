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

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mainstay::rng::Rng;
use mainstay::saga::entry::{Fact, Finish, Operation};
use mainstay::saga::machine::{Attempt, Decision, Ending, Execution, Illegal, Next, Verdict};
use mainstay::saga::{Kind, Payload, Shape, StepShape};
use mainstay::time::Timestamp;

/// How long a receiver that forgets remembers.
const KEY: Duration = Duration::from_millis(40);

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
        let step = step.attempts(some(luck)).undo_attempts(some(luck));
        let effect = kind != Kind::Check;
        let forgets = effect && luck.one_in(6);
        steps.push(
            step.at_most_once(effect && luck.one_in(3))
                .reconciles(effect && luck.one_in(3))
                .key_valid_for(forgets.then_some(KEY)),
        );
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
    /// How often a step that runs at most once ran, and how often it was known that the run before had no effect, or an
    /// operator wanted another.
    ran: BTreeMap<usize, usize>,
    allowed: BTreeMap<usize, usize>,
    /// When a step was run first.
    first: BTreeMap<usize, i64>,
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

    /// An attempt begins.
    fn attempt(&mut self, shape: &Shape, step: usize, now: i64) {
        let known = &shape.steps[step];
        if known.at_most_once {
            let ran = self.ran.entry(step).or_default();
            *ran += 1;
            let allowed = self.allowed.get(&step).copied().unwrap_or(0);
            assert!(*ran <= allowed + 1, "step {step} ran {ran} times");
        }
        if let Some(valid) = known.key_valid_for {
            let first = *self.first.entry(step).or_insert(now);
            let age = u128::from((now - first).unsigned_abs());
            assert!(age <= valid.as_millis(), "its key is {age} ms old");
        }
    }

    /// It is known that the step had no effect, or an operator takes it on himself.
    fn permit(&mut self, step: usize) {
        *self.allowed.entry(step).or_default() = self.ran.get(&step).copied().unwrap_or(0);
        self.first.remove(&step);
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

/// A journal with a clock, a machine, and what has happened outside.
struct World {
    shape: Arc<Shape>,
    model: Model,
    log: Vec<(Vec<Fact>, i64)>,
    machine: Execution,
    now: i64,
    attempt: u32,
    crashes: usize,
    /// How the random operators decide where they must guess; what they did counts as having happened.
    decided: bool,
}

fn dated<'a>(
    log: impl IntoIterator<Item = &'a (Vec<Fact>, i64)>,
) -> impl Iterator<Item = (&'a Fact, Timestamp)> {
    log.into_iter()
        .flat_map(|(facts, at)| facts.iter().map(|fact| (fact, Timestamp::from_millis(*at))))
}

fn replay(shape: &Arc<Shape>, facts: &[Fact]) -> Result<Execution, Illegal> {
    let facts = facts.iter().map(|fact| (fact, Timestamp::from_millis(0)));
    Execution::replay(Arc::clone(shape), facts)
}

impl World {
    fn new(luck: &mut Luck) -> Self {
        let shape = random_shape(luck);
        let begin = Execution::begin(&shape, "nonce", payload("0"));
        let facts = begin.iter().map(|fact| (fact, Timestamp::from_millis(0)));
        Self {
            machine: Execution::fresh(Arc::clone(&shape), facts).unwrap(),
            log: vec![(begin, 0)],
            model: Model::default(),
            shape,
            now: 0,
            attempt: 1,
            crashes: 0,
            decided: false,
        }
    }

    /// The process dies; the next one knows the log alone.
    fn crash(&mut self) {
        self.machine = Execution::replay(Arc::clone(&self.shape), dated(&self.log)).unwrap();
        self.attempt = self
            .machine
            .waiting()
            .map_or(1, |(again, _)| again.attempt + 1);
        self.crashes += 1;
    }

    /// Returns whether it was written.
    fn write(&mut self, luck: &mut Luck, facts: &[Fact]) -> bool {
        if luck.one_in(10) {
            self.crash();
            return false;
        }
        self.log.push((self.machine.entry(facts), self.now));
        let at = Timestamp::from_millis(self.now);
        self.machine.written(facts, at).unwrap();
        if !facts.iter().all(is_marker) {
            self.attempt = 1;
        }
        true
    }

    fn operator(&mut self, luck: &mut Luck) {
        let allowed = self.machine.allowed();
        let mut operation = allowed[luck.below(allowed.len())];
        if operation == Operation::Abandon && !luck.one_in(3) {
            operation = Operation::Retry;
        }
        let decision = Decision::new(operation, "ann", "because").output(payload("1"));
        let facts = self.machine.decide(&decision).unwrap();
        if !self.write(luck, &facts) {
            return;
        }
        self.decided |= !matches!(operation, Operation::Retry | Operation::Abandon);
        let forward = match self.machine.next() {
            Next::Run(step) | Next::Reconcile(step) => Some(step),
            Next::Write => {
                (0..self.shape.steps.len()).find(|step| self.machine.output_of(*step).is_none())
            }
            _ => None,
        };
        if let Some(step) = forward {
            self.model.permit(step);
        }
    }

    fn attempted(&mut self, luck: &mut Luck, step: usize, undo: bool) {
        let (ending, happened) = misfortune(luck);
        assert_eq!(undo, self.machine.is_unwinding());
        if !undo {
            self.model.attempt(&self.shape, step, self.now);
        }
        if happened && undo {
            self.model.undo(step);
        } else if happened && !self.decided {
            self.model.apply(&self.shape, step);
        }
        let attempt = Attempt::new(self.attempt, luck.one_in(20));
        match self.machine.settle(ending, attempt).unwrap() {
            Verdict::Again => {
                if luck.one_in(3) {
                    let (since, at) = (self.now, self.now + 1_000);
                    let stamp = Timestamp::from_millis;
                    let wait = self
                        .machine
                        .postpone(self.attempt, "503", stamp(since), stamp(at));
                    if !self.write(luck, &wait.unwrap()) {
                        return;
                    }
                }
                self.attempt += 1;
            }
            Verdict::Record(facts) => drop(self.write(luck, &facts)),
            _ => self.attempt = 1,
        }
    }

    fn asked(&mut self, luck: &mut Luck, step: usize) {
        let ending = match luck.below(4) {
            0 => Ending::Unknown("no idea".into()),
            1 => Ending::Retry("later".into()),
            // It says how it is.
            _ if self.model.standing.contains(&step) => Ending::Done(payload("1")),
            _ => Ending::NotApplied,
        };
        if ending == Ending::NotApplied {
            self.model.permit(step);
        }
        let attempt = Attempt::new(1, luck.one_in(3));
        if let Verdict::Record(facts) = self.machine.settle(ending, attempt).unwrap() {
            self.write(luck, &facts);
        }
    }
}

/// What says nothing about how far the saga is.
fn is_marker(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::RetryAt(_)
            | Fact::Suspected { .. }
            | Fact::CancelRefused { .. }
            | Fact::Intent { .. }
    )
}

fn one_history(luck: &mut Luck) -> (Finish, usize, [bool; 5]) {
    let mut world = World::new(luck);
    for _ in 0..10_000 {
        world.now += i64::try_from(luck.below(10)).unwrap();
        if luck.one_in(12) {
            world.crash();
            if luck.one_in(4) && !matches!(world.machine.next(), Next::Hold | Next::End(_)) {
                let facts = world.machine.suspect(3);
                world.write(luck, &facts);
            }
        }
        let unwinding = world.machine.is_unwinding();
        assert!(!world.model.unwinding || unwinding, "the direction flipped");
        world.model.unwinding = unwinding;
        let resting = matches!(world.machine.next(), Next::Hold | Next::End(_));
        if !resting && luck.one_in(30) {
            let turned = if luck.one_in(3) {
                world.machine.expire()
            } else {
                world.machine.cancel("ann", "because")
            };
            if let Some(facts) = turned.filter(|facts| !facts.is_empty()) {
                world.write(luck, &facts);
            }
            continue;
        }
        world.machine.check_key(Timestamp::from_millis(world.now));
        match world.machine.next() {
            Next::End(finish) => {
                if !world.decided {
                    check_end(&world.shape, &world.model, finish);
                }
                let seen = check_log(luck, &world.shape, &world.log);
                return (finish, world.crashes, seen);
            }
            Next::Write => {
                let due = world.machine.due();
                world.write(luck, &due);
            }
            Next::Hold => world.operator(luck),
            Next::Run(step) => world.attempted(luck, step, false),
            Next::Undo(step) => world.attempted(luck, step, true),
            Next::Reconcile(step) => world.asked(luck, step),
            other => panic!("{other:?}"),
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

/// Every beginning recovers; nothing that is missing, doubled or swapped does. Returns which facts of the rarer kinds
/// there were.
fn check_log(luck: &mut Luck, shape: &Arc<Shape>, log: &[(Vec<Fact>, i64)]) -> [bool; 5] {
    let mut unwinding = false;
    for end in 1..=log.len() {
        let execution = Execution::replay(Arc::clone(shape), dated(&log[..end])).unwrap();
        assert!(!unwinding || execution.is_unwinding());
        unwinding = execution.is_unwinding();
    }
    let facts: Vec<Fact> = log.iter().flat_map(|(facts, _)| facts.clone()).collect();
    let at = luck.below(facts.len() - 1);
    let mut holed = facts.clone();
    let fact = holed.remove(at);
    // A journal misses no record (its numbers count), and what only tells is missed by nothing else.
    if !is_marker(&fact) {
        assert!(
            replay(shape, &holed).is_err(),
            "without {fact:?} of {facts:?}"
        );
    }
    let mut doubled = facts.clone();
    doubled.insert(at, fact.clone());
    assert!(replay(shape, &doubled).is_err(), "{at} twice in {facts:?}");
    if !is_marker(&fact) && !is_marker(&facts[at + 1]) {
        let mut swapped = facts.clone();
        swapped.swap(at, at + 1);
        assert!(
            replay(shape, &swapped).is_err(),
            "{at} swapped in {facts:?}"
        );
    }
    let has = |is: fn(&Fact) -> bool| facts.iter().any(is);
    [
        has(|fact| matches!(fact, Fact::Intent { .. })),
        has(|fact| matches!(fact, Fact::RetryAt(_))),
        has(|fact| matches!(fact, Fact::Cancelled(_))),
        has(|fact| matches!(fact, Fact::CancelRefused { .. })),
        has(|fact| matches!(fact, Fact::Suspected { .. })),
    ]
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
    let (mut ends, mut crashed, mut seen) = ([0_usize; 3], 0, [0_usize; 5]);
    for _ in 0..histories {
        let (finish, crashes, facts) = one_history(&mut luck);
        ends[match finish {
            Finish::Completed => 0,
            Finish::Compensated => 1,
            _ => 2,
        }] += 1;
        crashed += crashes;
        for (seen, fact) in seen.iter_mut().zip(facts) {
            *seen += usize::from(fact);
        }
    }
    println!("intent, retry at, cancelled, cancel refused, suspected: {seen:?}");
    assert!(seen.iter().all(|seen| *seen > histories / 200), "{seen:?}");
    println!("completed, compensated, abandoned: {ends:?}; {crashed} crashes");
    assert!(ends.iter().all(|end| *end > histories / 100), "{ends:?}");
}
