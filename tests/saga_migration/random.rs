//! Random definitions, random changes of them, at random places of sagas that have had random luck. The world is as simple
//! as a ledger: an effect stands or not, and nobody applies it twice.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use mainstay::rng::Rng;
use mainstay::saga::entry::{Fact, Finish, Operation};
use mainstay::saga::machine::{Attempt, Decision, Ending, Execution, Next, Verdict};
use mainstay::saga::migration::{NotMigrated, Plan};
use mainstay::saga::{Kind, Migration, Payload, Shape, StepShape};
use mainstay::time::Timestamp;

struct Luck(Rng);

impl Luck {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap()
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

fn payload() -> Payload {
    serde_json::from_str("1").unwrap()
}

/// A step, and which one it is whatever its name.
#[derive(Clone, Debug)]
struct Known {
    id: usize,
    shape: StepShape,
}

/// Names are few, so that they come back.
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn new_step(luck: &mut Luck, ids: &mut usize, names: &BTreeSet<Box<str>>) -> Known {
    *ids += 1;
    let kind = if luck.one_in(3) {
        Kind::Check
    } else {
        Kind::Step
    };
    let free: Vec<&str> = NAMES
        .into_iter()
        .filter(|name| !names.contains(*name))
        .collect();
    let name = free[luck.below(free.len())];
    let effect = kind != Kind::Check;
    let in_journal = effect && luck.one_in(6);
    let shape = StepShape::new(name, kind)
        .attempts(NonZeroU32::new(u32::try_from(luck.below(3)).unwrap()))
        .undo_attempts(NonZeroU32::new(u32::try_from(luck.below(3)).unwrap()))
        .at_most_once(effect && !in_journal && luck.one_in(4))
        .in_journal(in_journal)
        .reconciles(effect && luck.one_in(3));
    Known { id: *ids, shape }
}

/// Kinds in the order that a builder allows.
fn ordered(steps: &mut [Known]) {
    let pivot = steps.iter().position(|step| step.shape.kind == Kind::Pivot);
    for (index, step) in steps.iter_mut().enumerate() {
        let behind = pivot.is_some_and(|pivot| index > pivot);
        let kind = &mut step.shape.kind;
        *kind = match *kind {
            _ if behind => Kind::Then,
            Kind::Then => Kind::Step,
            kind => kind,
        };
        if *kind == Kind::Check {
            step.shape.at_most_once = false;
            step.shape.in_journal = false;
        }
    }
}

fn names(steps: &[Known]) -> BTreeSet<Box<str>> {
    steps.iter().map(|step| step.shape.name.clone()).collect()
}

fn random_form(luck: &mut Luck, ids: &mut usize) -> Vec<Known> {
    let mut steps = Vec::new();
    for _ in 0..=luck.below(5) {
        let step = new_step(luck, ids, &names(&steps));
        steps.push(step);
    }
    if luck.one_in(2) {
        let pivot = luck.below(steps.len());
        steps[pivot].shape.kind = Kind::Pivot;
    }
    ordered(&mut steps);
    steps
}

/// What is said of a change, and the form that it makes.
fn changed(
    luck: &mut Luck,
    ids: &mut usize,
    version: u32,
    old: &[Known],
) -> (Vec<Known>, Migration) {
    let mut new = old.to_vec();
    // Names that were there once: a new step may have one, and then makes another's keys.
    let mut taken = names(old);
    for _ in 0..luck.below(4) {
        let place = luck.below(new.len());
        match luck.below(8) {
            0 | 1 => {
                let name = new_step(luck, ids, &taken).shape.name;
                taken.insert(name.clone());
                new[place].shape.name = name;
            }
            2 if new.len() > 1 => drop(new.remove(place)),
            3 | 4 if new.len() < 8 => {
                let step = new_step(luck, ids, &taken);
                taken.insert(step.shape.name.clone());
                new.insert(luck.below(new.len() + 1), step);
            }
            5 => {
                let other = luck.below(new.len());
                new.swap(place, other);
            }
            6 if !new[place].shape.in_journal => {
                new[place].shape.at_most_once ^= new[place].shape.kind != Kind::Check;
            }
            7 if luck.one_in(3) => new[place].shape.kind = Kind::Check,
            _ => {}
        }
    }
    let mut pivots = 0;
    for step in &mut new {
        pivots += usize::from(step.shape.kind == Kind::Pivot);
    }
    assert!(pivots <= 1);
    ordered(&mut new);
    let mut migration = Migration::from_shape(&form(old, version - 1));
    for step in old {
        match new.iter().find(|new| new.id == step.id) {
            None => migration = migration.removed(step.shape.name.clone()),
            Some(new) if new.shape.name != step.shape.name => {
                migration = migration.renamed(step.shape.name.clone(), new.shape.name.clone());
            }
            Some(_) => {}
        }
    }
    for step in &new {
        if old.iter().all(|old| old.id != step.id) {
            let name = step.shape.name.clone();
            migration = if step.shape.kind == Kind::Check && luck.one_in(2) {
                migration.added_check(name, &2)
            } else {
                migration.added(name)
            };
        }
    }
    (new, migration)
}

fn form(steps: &[Known], version: u32) -> Shape {
    let steps = steps.iter().map(|step| step.shape.clone()).collect();
    Shape::new("random", version, steps)
}

/// What stands outside, by which step it is.
#[derive(Debug, Default)]
struct World {
    /// Which step's effect a key is.
    keys: BTreeMap<String, usize>,
    /// In the order in which they were applied.
    standing: Vec<usize>,
    undone: Vec<usize>,
    /// How often a step was done.
    times: BTreeMap<usize, usize>,
}

impl World {
    /// An effect arrives under a key. One that runs at most once has a receiver that knows no keys.
    fn apply(&mut self, step: &Known, key: &str) {
        let known = *self.keys.entry(key.to_owned()).or_insert(step.id);
        assert_eq!(known, step.id, "`{key}` is the key of two steps");
        let stands = self.standing.contains(&step.id);
        if stands && !step.shape.at_most_once {
            return;
        }
        *self.times.entry(step.id).or_default() += 1;
        assert_eq!(self.times[&step.id], 1, "step {} is done twice", step.id);
        self.standing.push(step.id);
    }

    fn undo(&mut self, step: &Known, key: &str) {
        let known = *self.keys.entry(key.to_owned()).or_insert(step.id);
        assert_eq!(known, step.id, "`{key}` undoes another step");
        if let Some(place) = self.standing.iter().position(|id| *id == step.id) {
            assert_eq!(place + 1, self.standing.len(), "undone out of order");
            self.standing.remove(place);
            self.undone.push(step.id);
        }
    }
}

struct Run {
    version: u32,
    steps: Vec<Known>,
    execution: Execution,
    facts: Vec<(Fact, Timestamp)>,
    world: World,
    now: i64,
    attempt: u32,
    migrated: usize,
    refused: usize,
}

impl Run {
    fn new(steps: Vec<Known>) -> Self {
        let shape = Arc::new(form(&steps, 1));
        let facts: Vec<(Fact, Timestamp)> = Execution::begin(&shape, "nonce", payload())
            .into_iter()
            .map(|fact| (fact, Timestamp::from_millis(0)))
            .collect();
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        let execution = Execution::replay(shape, dated).unwrap();
        Self {
            version: 1,
            steps,
            execution,
            facts,
            world: World::default(),
            now: 1,
            attempt: 1,
            migrated: 0,
            refused: 0,
        }
    }

    fn crash(&mut self) {
        let shape = Arc::new(form(&self.steps, self.version));
        let dated = self.facts.iter().map(|(fact, at)| (fact, *at));
        self.execution = Execution::replay(shape, dated).unwrap();
        self.attempt = 1;
    }

    fn record(&mut self, facts: &[Fact]) {
        self.now += 1;
        let at = Timestamp::from_millis(self.now);
        let entry = self.execution.entry(facts);
        // As it is written and read.
        let json = serde_json::to_string(&entry).unwrap();
        let read: Vec<Fact> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, entry);
        self.facts.extend(read.into_iter().map(|fact| (fact, at)));
        self.execution.written(facts, at).unwrap();
        self.attempt = 1;
    }

    fn key(&self, index: usize, undo: bool) -> String {
        let name = self.execution.key_name(index);
        format!("{name}/{}", self.execution.generation(index, undo))
    }

    /// Returns whether it is over.
    fn turn(&mut self, luck: &mut Luck, calm: bool) -> bool {
        match self.execution.next() {
            Next::End(finish) => {
                self.ended(finish);
                return true;
            }
            Next::Write => {
                let due = self.execution.due();
                self.record(&due);
            }
            Next::Hold => {
                let allowed = self.execution.allowed();
                // Where nobody knows whether it was done, an operator looks, and says so.
                let decision = |operation| Decision::new(operation, "ann", "looked");
                let index = self.frontier();
                let stands =
                    index.is_some_and(|index| self.world.standing.contains(&self.steps[index].id));
                let facts = if self.execution.is_unwinding() {
                    self.execution.decide(&decision(Operation::Retry))
                } else if stands {
                    let decision = decision(Operation::SupplyOutput).output(payload());
                    self.execution.decide(&decision)
                } else if allowed.contains(&Operation::Unwind) && luck.one_in(2) {
                    self.execution.decide(&decision(Operation::Unwind))
                } else {
                    self.execution.decide(&decision(Operation::Retry))
                };
                self.record(&facts.unwrap());
                self.crash();
            }
            Next::Run(index) => self.runs(luck, index, calm),
            Next::Undo(index) => self.undoes(luck, index, calm),
            Next::Reconcile(index) => {
                let stands = self.world.standing.contains(&self.steps[index].id);
                let ending = if stands {
                    Ending::Done(payload())
                } else {
                    Ending::NotApplied
                };
                self.settle(ending);
            }
            other => panic!("an unknown {other:?}"),
        }
        false
    }

    /// The step that is next, going forward.
    fn frontier(&self) -> Option<usize> {
        (0..self.steps.len()).find(|index| self.execution.output_of(*index).is_none())
    }

    fn ending(luck: &mut Luck, calm: bool) -> (Ending, bool) {
        let perhaps = luck.one_in(2);
        if calm {
            return (Ending::Done(payload()), true);
        }
        match luck.below(14) {
            0 => (Ending::Fail("no".into()), false),
            1 => (Ending::Unknown("?".into()), perhaps),
            2 => (Ending::Panicked, perhaps),
            3..6 => (Ending::Retry("later".into()), perhaps),
            6 if luck.one_in(3) => (Ending::Halt("look".into()), perhaps),
            _ => (Ending::Done(payload()), true),
        }
    }

    fn runs(&mut self, luck: &mut Luck, index: usize, calm: bool) {
        let step = self.steps[index].clone();
        let (ending, happens) = Self::ending(luck, calm);
        let effect = step.shape.kind != Kind::Check;
        let key = self.key(index, false);
        let done = matches!(ending, Ending::Done(_));
        if step.shape.in_journal {
            // The process dies before both or after both.
            if luck.one_in(6) {
                return self.crash();
            }
            if done {
                self.world.apply(&step, &key);
            }
            return self.settle(ending);
        }
        if effect && happens {
            self.world.apply(&step, &key);
        }
        if luck.one_in(6) {
            return self.crash();
        }
        self.settle(ending);
    }

    fn undoes(&mut self, luck: &mut Luck, index: usize, calm: bool) {
        let step = self.steps[index].clone();
        let (ending, happens) = Self::ending(luck, calm);
        if happens {
            let key = self.key(index, false);
            self.world.undo(&step, &key);
        }
        if luck.one_in(6) {
            return self.crash();
        }
        self.settle(ending);
    }

    fn settle(&mut self, ending: Ending) {
        let attempt = Attempt::new(self.attempt, self.attempt > 4);
        match self.execution.settle(ending, attempt).unwrap() {
            Verdict::Again => {
                self.attempt += 1;
                if self.attempt == 3
                    && let Ok(facts) = self.execution.postpone(
                        2,
                        "later",
                        Timestamp::from_millis(self.now),
                        Timestamp::from_millis(self.now + 5),
                    )
                {
                    self.record(&facts);
                    self.attempt = 3;
                }
            }
            Verdict::Ride => self.attempt = 1,
            Verdict::Record(facts) => self.record(&facts),
            other => panic!("an unknown {other:?}"),
        }
    }

    fn ended(&self, finish: Finish) {
        let standing: BTreeSet<usize> = self.world.standing.iter().copied().collect();
        match finish {
            Finish::Completed => {
                let effects = self.steps.iter();
                let effects: BTreeSet<usize> = effects
                    .filter(|step| step.shape.kind != Kind::Check)
                    .map(|step| step.id)
                    .collect();
                assert_eq!(standing, effects, "completed: what stands, and what is to");
            }
            Finish::Compensated => assert!(standing.is_empty(), "compensated: {standing:?}"),
            other => panic!("nobody gave it up: {other:?}"),
        }
    }

    /// The process is gone, and the next one knows the next version.
    fn migrates(&mut self, luck: &mut Luck, ids: &mut usize) {
        self.crash();
        if self.execution.held().is_some() || matches!(self.execution.next(), Next::End(_)) {
            return;
        }
        let (new, migration) = changed(luck, ids, self.version + 1, &self.steps);
        let shape = form(&new, self.version + 1);
        let Ok(plan) = migration.plan(&shape) else {
            // A name came back in the same change.
            return;
        };
        let expected = self.may_migrate(&plan, &new);
        let record = plan.apply(&self.facts);
        match (&record, &expected) {
            (Ok(_), Ok(())) | (Err(NotMigrated::Refused { .. }), Err(_)) => {}
            (found, expected) => panic!(
                "{found:?}, and the model says {expected:?}\n{:#?}\n{:#?}\n{:#?}",
                self.facts, self.steps, new
            ),
        }
        let Ok(record) = record else {
            self.refused += 1;
            return;
        };
        assert_eq!(plan.apply(&self.facts).as_ref(), Ok(&record), "pure");
        let unwinding = self.execution.is_unwinding();
        self.now += 1;
        let at = Timestamp::from_millis(self.now);
        let json = serde_json::to_string(&record).unwrap();
        let read: Vec<Fact> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record);
        self.facts.extend(read.into_iter().map(|fact| (fact, at)));
        self.steps = new;
        self.version += 1;
        self.migrated += 1;
        self.crash();
        assert_eq!(self.execution.is_unwinding(), unwinding, "its direction");
        // Whoever finds it so finds nothing to do.
        assert!(plan.apply(&self.facts).is_err());
    }

    /// Whether the rules allow it, said without the machine: from what is in the log.
    fn may_migrate(&self, plan: &Plan, new: &[Known]) -> Result<(), String> {
        let mut done: Vec<&str> = Vec::new();
        let (mut failed, mut intents) = (None, 0);
        for (fact, _) in &self.facts {
            match fact {
                Fact::Migrated(_) => {
                    done.clear();
                    failed = None;
                    intents = 0;
                }
                Fact::Done { step, .. } => {
                    done.push(step);
                    intents = 0;
                }
                Fact::Intent { .. } => intents += 1,
                Fact::Failed(failure) => failed = Some(failure),
                _ => {}
            }
        }
        let old = |name: &str| self.steps.iter().find(|step| *step.shape.name == *name);
        let is_check = |name: &&&str| old(name).unwrap().shape.kind == Kind::Check;
        let answered: Vec<usize> = done
            .iter()
            .filter(is_check)
            .map(|name| old(name).unwrap().id)
            .collect();
        let mut begun: Vec<&Known> = done
            .iter()
            .filter(|name| !is_check(name))
            .map(|name| old(name).unwrap())
            .collect();
        let next = self.steps.get(done.len());
        let doubtful = next.filter(|next| match failed {
            Some(failure) => format!("{:?}", failure.effect) == "Possible",
            None => {
                next.shape.kind != Kind::Check
                    && !next.shape.in_journal
                    && (!next.shape.at_most_once || intents > 0)
            }
        });
        begun.extend(doubtful);
        let mut from = 0;
        for step in &begun {
            let Some(place) = new.iter().position(|new| new.id == step.id) else {
                return Err(format!("{step:?} is gone"));
            };
            if place < from || new[place].shape.kind != step.shape.kind {
                return Err(format!("{step:?} is another, or elsewhere"));
            }
            for is in &new[from..place] {
                let was_check = self.steps.iter().any(|old| old.id == is.id);
                let answers =
                    answered.contains(&is.id) || (!was_check && plan_assumes(plan, &is.shape.name));
                if is.shape.kind != Kind::Check || !answers {
                    return Err(format!("{is:?} was not done"));
                }
            }
            let in_doubt = doubtful.is_some_and(|next| next.id == step.id) && failed.is_none();
            let is = &new[place].shape;
            if in_doubt && (is.in_journal || (step.shape.at_most_once && !is.at_most_once)) {
                return Err(format!("{step:?} might be done twice"));
            }
            from = place + 1;
        }
        for step in new {
            let is_new = self.steps.iter().all(|old| old.id != step.id);
            let makes = |index: usize| {
                let stays = new.iter().any(|new| new.id == self.steps[index].id);
                stays && *self.execution.key_name(index) == *step.shape.name
            };
            if is_new && (0..self.steps.len()).any(makes) {
                return Err(format!("{step:?} has another's keys"));
            }
        }
        Ok(())
    }
}

/// Whether a new check counts as done.
fn plan_assumes(plan: &Plan, name: &str) -> bool {
    plan.answers(name)
}

#[test]
fn random_changes_lose_and_double_nothing() {
    let seed: u64 = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x6d69_6772);
    let rounds: u64 = std::env::var("MAINSTAY_MIGRATIONS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5_000);
    let (mut migrated, mut refused, mut twice) = (0, 0, 0);
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        // The last one is the one that failed.
        let said = std::panic::catch_unwind(|| one(seed));
        let (carried, held) = said.unwrap_or_else(|panic| {
            eprintln!("MAINSTAY_SEED={seed} MAINSTAY_MIGRATIONS=1");
            std::panic::resume_unwind(panic)
        });
        migrated += carried;
        refused += held;
        twice += usize::from(carried > 1);
    }
    if rounds > 1_000 {
        let enough = usize::try_from(rounds).unwrap();
        // Some 350, 130 and 60 of a thousand: enough of each, whatever the seed.
        assert!(migrated > enough / 4 && refused > enough / 12 && twice > enough / 33);
    }
    println!("{migrated} carried over, {refused} refused, {twice} more than once");
}

fn one(seed: u64) -> (usize, usize) {
    let mut luck = Luck(Rng::new(seed));
    let mut ids = 0;
    let mut run = Run::new(random_form(&mut luck, &mut ids));
    for turn in 0..400 {
        if run.turn(&mut luck, turn > 60) {
            return (run.migrated, run.refused);
        }
        if turn < 60 && luck.one_in(4) {
            if luck.one_in(2) {
                run.migrates(&mut luck, &mut ids);
            } else {
                run.crash();
            }
        }
    }
    panic!("it does not end: {:?}", run.execution);
}
