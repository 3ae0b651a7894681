//! Any definition, any way for its steps to end, a crash at any moment: what may have happened in the world is kept
//! beside the machine, and the end must fit it.

#![no_main]

use std::num::NonZeroU32;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::saga::entry::{Fact, Finish, Operation};
use mainstay::saga::machine::{Attempt, Decision, Ending, Execution, Next, Verdict};
use mainstay::saga::{Kind, Payload, Shape, StepShape};
use mainstay::time::Timestamp;

/// Time says nothing here: no key is forgotten.
const NOW: Timestamp = Timestamp::from_millis(0);

#[derive(Arbitrary, Debug)]
struct Case {
    /// Whether each step before the pivot has an effect.
    before: Vec<bool>,
    pivot: bool,
    after: u8,
    attempts: Option<NonZeroU32>,
    undo_attempts: Option<NonZeroU32>,
    events: Vec<Event>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Event {
    how: How,
    /// Whether an attempt that does not say so had its effect all the same.
    effect: bool,
    crash: Crash,
    /// The time for all attempts together is over.
    last: bool,
    abandon: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Done,
    Fail,
    Halt,
    Panicked,
    Retry,
    TimedOut,
    Unknown,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Crash {
    AfterWrite,
    BeforeWrite,
    Never,
}

struct World {
    shape: Arc<Shape>,
    execution: Execution,
    durable: Vec<Fact>,
    /// Which steps have their effect in the world.
    effects: Vec<bool>,
    attempt: u32,
    unwinding: bool,
    undone: Vec<usize>,
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let Some(mut world) = World::new(&case) else {
        return;
    };
    let mut events = case.events.iter().copied();
    loop {
        match world.execution.next() {
            Next::End(finish) => return world.ended(finish),
            Next::Write => {
                let due = world.execution.due();
                world.record(&due, Crash::Never);
            }
            Next::Hold => {
                let Some(event) = events.next() else { return };
                let operation = if event.abandon {
                    Operation::Abandon
                } else {
                    Operation::Retry
                };
                let decision = Decision::new(operation, "ann", "because");
                let facts = world
                    .execution
                    .decide(&decision)
                    .expect("both are always allowed");
                world.record(&facts, event.crash);
            }
            Next::Run(index) => {
                let Some(event) = events.next() else { return };
                assert!(!world.unwinding, "rule 7: never forwards again");
                world.attempted(index, event);
            }
            Next::Undo(index) => {
                let Some(event) = events.next() else { return };
                assert!(
                    world.unwinding,
                    "only a recorded decision to unwind undoes anything"
                );
                assert!(
                    world.undone.last().is_none_or(|last| index <= *last),
                    "rule 8"
                );
                world.attempted(index, event);
            }
            other => panic!("an unknown {other:?}"),
        }
    }
}

impl World {
    fn new(case: &Case) -> Option<Self> {
        let mut kinds: Vec<Kind> = case
            .before
            .iter()
            .take(6)
            .map(|effect| if *effect { Kind::Step } else { Kind::Check })
            .collect();
        if case.pivot {
            kinds.push(Kind::Pivot);
            kinds.extend((0..case.after % 3).map(|_| Kind::Then));
        }
        let steps: Vec<_> = kinds
            .into_iter()
            .enumerate()
            .map(|(index, kind)| {
                StepShape::new(format!("s{index}"), kind)
                    .attempts(case.attempts)
                    .undo_attempts(case.undo_attempts)
            })
            .collect();
        if steps.is_empty() {
            return None;
        }
        let effects = vec![false; steps.len()];
        let shape = Arc::new(Shape::new("fuzzed", 1, steps));
        let durable = Execution::begin(&shape, "nonce", payload());
        let mut execution = Execution::new(Arc::clone(&shape));
        execution.written(&durable, NOW).expect("a saga begins");
        Some(Self {
            shape,
            execution,
            durable,
            effects,
            attempt: 1,
            unwinding: false,
            undone: Vec::new(),
        })
    }

    fn attempted(&mut self, index: usize, event: Event) {
        // What happens in the world happens, whoever hears of it.
        let applied = match event.how {
            How::Done => true,
            How::Fail => false,
            How::Halt | How::Panicked | How::Retry | How::TimedOut | How::Unknown => event.effect,
        };
        let is_check = self
            .shape
            .steps
            .get(index)
            .is_some_and(|step| step.kind == Kind::Check);
        if applied
            && !is_check
            && let Some(effect) = self.effects.get_mut(index)
        {
            *effect = !self.unwinding;
        }
        if matches!(event.crash, Crash::BeforeWrite) {
            return self.crash();
        }
        let ending = match event.how {
            How::Done => Ending::Done(payload()),
            How::Fail => Ending::Fail("no".into()),
            How::Halt => Ending::Halt("look".into()),
            How::Panicked => Ending::Panicked,
            How::Retry => Ending::Retry("later".into()),
            How::TimedOut => Ending::TimedOut,
            How::Unknown => Ending::Unknown("perhaps".into()),
        };
        let attempt = Attempt::new(self.attempt, event.last);
        match self
            .execution
            .settle(ending, attempt)
            .expect("it was asked for")
        {
            Verdict::Again => {
                self.attempt = self.attempt.saturating_add(1);
                if matches!(event.crash, Crash::AfterWrite) {
                    self.crash();
                }
            }
            Verdict::Ride => self.attempt = 1,
            Verdict::Record(facts) => self.record(&facts, event.crash),
            other => panic!("an unknown {other:?}"),
        }
    }

    fn record(&mut self, facts: &[Fact], crash: Crash) {
        if matches!(crash, Crash::BeforeWrite) {
            return self.crash();
        }
        let entry = self.execution.entry(facts);
        let json = serde_json::to_string(&entry).expect("a record can be written");
        let read: Vec<Fact> = serde_json::from_str(&json).expect("a record can be read");
        assert_eq!(read, entry);
        for fact in &entry {
            self.unwinding |= *fact == Fact::Unwind;
            if let Fact::Undone { step, .. } = fact {
                let index = self
                    .shape
                    .steps
                    .iter()
                    .position(|known| known.name == *step);
                self.undone.push(index.expect("a step of the definition"));
            }
        }
        self.durable.extend(entry);
        self.execution
            .written(facts, NOW)
            .expect("what the machine said can follow");
        self.attempt = 1;
        let replayed = self.replayed();
        assert_eq!(
            replayed.next(),
            self.execution.next(),
            "carried on or recovered, the same comes next"
        );
        if matches!(crash, Crash::AfterWrite) {
            self.crash();
        }
    }

    fn replayed(&self) -> Execution {
        let dated = self.durable.iter().map(|fact| (fact, NOW));
        Execution::replay(Arc::clone(&self.shape), dated).expect("what was written can be read")
    }

    fn crash(&mut self) {
        self.execution = self.replayed();
        self.attempt = 1;
        assert_eq!(self.execution.is_unwinding(), self.unwinding, "rule 7");
    }

    fn ended(&self, finish: Finish) {
        assert_eq!(
            self.durable.last(),
            Some(&Fact::Finished(finish)),
            "rule 14: the end is durable"
        );
        match finish {
            Finish::Completed => {
                let missing = self
                    .shape
                    .steps
                    .iter()
                    .zip(&self.effects)
                    .find(|(step, effect)| step.kind != Kind::Check && !**effect);
                assert!(
                    missing.is_none(),
                    "completed, and {missing:?} did not happen"
                );
                assert!(self.undone.is_empty());
            }
            Finish::Compensated => {
                let left = self.effects.iter().position(|effect| *effect);
                assert!(
                    left.is_none(),
                    "compensated, and step {left:?} is still there"
                );
            }
            _ => {}
        }
    }
}

fn payload() -> Payload {
    serde_json::from_str("null").expect("null is JSON")
}
