//! Any definition, any history of a saga of it, any other definition: carried over or refused, and what was begun is neither
//! lost nor another.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::saga::entry::{Fact, Operation};
use mainstay::saga::machine::{Attempt, Decision, Ending, Execution, Next, Verdict};
use mainstay::saga::migration::NotMigrated;
use mainstay::saga::{Kind, Migration, Payload, Shape, StepShape};
use mainstay::time::Timestamp;

#[derive(Arbitrary, Debug)]
struct Case {
    old: Vec<Step>,
    new: Vec<New>,
    /// Which step is the pivot, in each.
    pivots: [Option<u8>; 2],
    events: Vec<Event>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Step {
    check: bool,
    once: bool,
    journal: bool,
    reconciles: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct New {
    /// Whose place it takes.
    of: Option<u8>,
    step: Step,
    /// Whether it is renamed, or, where it is new, has an answer.
    other: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Event {
    Crash,
    Decide(u8),
    Done,
    Fail,
    Halt,
    NotApplied,
    Retry,
    Unknown,
    Wait,
}

fuzz_target!(|case: Case| run(&case));

fn run(case: &Case) {
    let old: Vec<StepShape> = case
        .old
        .iter()
        .take(6)
        .enumerate()
        .map(|(index, step)| shape(&format!("s{index}"), *step, index, case.pivots[0]))
        .collect();
    if old.is_empty() {
        return;
    }
    let old = Shape::new("fuzzed", 1, old);
    let mut migration = Migration::from_shape(&old)
        .converted_input(|input: u32| input.checked_add(1).ok_or("too much".to_owned()));
    let mut taken = vec![false; old.steps.len()];
    let mut new = Vec::new();
    for (index, step) in case.new.iter().take(8).enumerate() {
        let of = step
            .of
            .map(usize::from)
            .filter(|of| taken.get(*of) == Some(&false));
        let name = match of {
            Some(of) if !step.other => format!("s{of}"),
            _ => format!("n{index}"),
        };
        match of {
            Some(of) => {
                taken[of] = true;
                if step.other {
                    migration = migration.renamed(format!("s{of}"), name.clone());
                }
            }
            None if step.other && step.step.check => {
                migration = migration.added_check(name.clone(), &3);
            }
            None => migration = migration.added(name.clone()),
        }
        new.push(shape(&name, step.step, index, case.pivots[1]));
    }
    for (index, taken) in taken.iter().enumerate() {
        if !taken {
            migration = migration.removed(format!("s{index}"));
        }
    }
    let new = Shape::new("fuzzed", 2, new);
    let Ok(plan) = migration.plan(&new) else {
        // A check with an answer that became the pivot, or one behind it.
        return;
    };
    let (facts, before) = history(&old, &case.events);
    let record = match plan.apply(&facts) {
        Ok(record) => record,
        Err(NotMigrated::Refused { .. }) => return,
        Err(other) => panic!("what the machine wrote is refused: {other}"),
    };
    let text = serde_json::to_vec(&record).expect("it can be written");
    let read: Vec<Fact> = serde_json::from_slice(&text).expect("it can be read");
    assert_eq!(read, record);
    let at = Timestamp::from_millis(1_000_000);
    let whole = facts.iter().map(|(fact, at)| (fact, *at));
    let whole = whole.chain(record.iter().map(|fact| (fact, at)));
    let after = Execution::replay(Arc::new(new.clone()), whole).expect("it was tried before");
    assert_eq!(after.is_unwinding(), before.is_unwinding(), "its direction");
    // Every effect that is done has its place, its kind and its key, and nothing else counts as done.
    let done = |execution: &Execution, shape: &Shape| -> Vec<(String, Kind)> {
        let steps = shape.steps.iter().enumerate();
        steps
            .filter(|(index, step)| {
                step.kind != Kind::Check && execution.output_of(*index).is_some()
            })
            .map(|(index, step)| (execution.key_name(index).to_owned(), step.kind))
            .collect()
    };
    assert_eq!(done(&after, &new), done(&before, &old));
    // What is undone next is what was.
    if let (Next::Undo(now), Next::Undo(then)) = (after.next(), before.next()) {
        assert_eq!(after.key_name(now), before.key_name(then));
        assert_eq!(after.generation(now, true), before.generation(then, true));
    }
    assert!(plan.apply(&facts).as_ref() == Ok(&record), "pure");
}

fn shape(name: &str, step: Step, index: usize, pivot: Option<u8>) -> StepShape {
    let kind = match pivot.map(usize::from) {
        Some(pivot) if index == pivot => Kind::Pivot,
        Some(pivot) if index > pivot => Kind::Then,
        _ if step.check => Kind::Check,
        _ => Kind::Step,
    };
    let effect = kind != Kind::Check;
    StepShape::new(name, kind)
        .attempts(None)
        .at_most_once(effect && step.once && !step.journal)
        .in_journal(effect && step.journal)
        .reconciles(effect && step.reconciles)
}

/// What a saga of this form writes while these things happen, as it is found by the next process.
fn history(form: &Shape, events: &[Event]) -> (Vec<(Fact, Timestamp)>, Execution) {
    let form = Arc::new(form.clone());
    let mut facts: Vec<(Fact, Timestamp)> = Execution::begin(&form, "nonce", payload("7"))
        .into_iter()
        .map(|fact| (fact, Timestamp::from_millis(0)))
        .collect();
    let replay = |facts: &[(Fact, Timestamp)]| {
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        Execution::replay(Arc::clone(&form), dated).expect("what was written can be read")
    };
    let mut execution = replay(&facts);
    for (number, event) in (1_u32..).zip(events.iter().take(60)) {
        let due = match (execution.next(), event) {
            (Next::End(_), _) => break,
            (_, Event::Crash) => {
                execution = replay(&facts);
                continue;
            }
            (Next::Write, _) => execution.due(),
            (Next::Hold, event) => {
                let operation = match event {
                    Event::Decide(1) => Operation::RetryAsNew,
                    Event::Decide(2) => Operation::SkipUndo,
                    Event::Decide(3) => Operation::SupplyOutput,
                    Event::Decide(4) => Operation::Unwind,
                    _ => Operation::Retry,
                };
                let decision = Decision::new(operation, "ann", "because").output(payload("2"));
                match execution.decide(&decision) {
                    Ok(facts) => facts,
                    Err(_) => continue,
                }
            }
            (_, Event::Wait) => {
                let at = Timestamp::from_millis(i64::from(number) + 5);
                match execution.postpone(number, "later", at, at) {
                    Ok(facts) => facts,
                    Err(_) => continue,
                }
            }
            (_, event) => {
                let ending = match event {
                    Event::Fail => Ending::Fail("no".into()),
                    Event::Halt => Ending::Halt("look".into()),
                    Event::NotApplied => Ending::NotApplied,
                    Event::Retry => Ending::Retry("later".into()),
                    Event::Unknown => Ending::Unknown("perhaps".into()),
                    _ => Ending::Done(payload("1")),
                };
                match execution.settle(ending, Attempt::new(number, false)) {
                    Ok(Verdict::Record(facts)) => facts,
                    Ok(_) => continue,
                    Err(_) => continue,
                }
            }
        };
        let at = Timestamp::from_millis(i64::from(number));
        facts.extend(execution.entry(&due).into_iter().map(|fact| (fact, at)));
        execution
            .written(&due, at)
            .expect("what the machine said can follow");
    }
    let execution = replay(&facts);
    (facts, execution)
}

fn payload(text: &str) -> Payload {
    serde_json::from_str(text).expect("it is JSON")
}
