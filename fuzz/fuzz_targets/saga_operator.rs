//! Any definition that stops anywhere, and operators who say anything about it: what the machine takes can be read
//! back, what it refuses changes nothing, and nothing that they say turns a saga around.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::saga::entry::{Fact, Finish, Operation};
use mainstay::saga::machine::{
    Attempt, Decision, Ending, Execution, Next, Verdict, give_up_unread,
};
use mainstay::saga::{Kind, Payload, Shape, StepShape};
use mainstay::time::Timestamp;
use serde_json::json;

/// Time says nothing here: no key is forgotten.
const NOW: Timestamp = Timestamp::from_millis(0);

#[derive(Arbitrary, Debug)]
struct Case {
    /// Whether each step before the pivot has an effect.
    before: Vec<bool>,
    pivot: bool,
    after: u8,
    at_most_once: bool,
    commands: Vec<Command>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Command {
    /// What runs ends like this.
    End(How),
    /// Somebody decides.
    Decide {
        what: What,
        output: bool,
    },
    /// Somebody proposes, under a number and about an incident that need not be.
    Propose {
        what: What,
        number: u8,
        incident: u8,
        output: bool,
    },
    TurnDown {
        number: u8,
    },
    Refuse {
        what: What,
        incident: u8,
    },
    /// Somebody wants it undone.
    Cancel,
    /// As if the log could not be read; it can.
    GiveUpUnread,
    Crash,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Done,
    Fail,
    Halt,
    Unknown,
    Unreadable,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum What {
    Abandon,
    Retry,
    RetryAsNew,
    SkipUndo,
    SupplyOutput,
    Unwind,
}

impl What {
    const fn operation(self) -> Operation {
        match self {
            Self::Abandon => Operation::Abandon,
            Self::Retry => Operation::Retry,
            Self::RetryAsNew => Operation::RetryAsNew,
            Self::SkipUndo => Operation::SkipUndo,
            Self::SupplyOutput => Operation::SupplyOutput,
            Self::Unwind => Operation::Unwind,
        }
    }
}

struct World {
    shape: Arc<Shape>,
    execution: Execution,
    durable: Vec<Fact>,
    unwinding: bool,
    is_pivot_done: bool,
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let Some(mut world) = World::new(&case) else {
        return;
    };
    for command in case.commands.iter().take(200) {
        while world.execution.next() == Next::Write {
            let due = world.execution.due();
            world.record(&due);
        }
        if let Next::End(finish) = world.execution.next() {
            assert_eq!(world.durable.last(), Some(&Fact::Finished(finish)));
            assert!(
                world.execution.allowed().is_empty(),
                "nobody decides about what is over"
            );
        }
        world.obey(*command);
    }
}

impl World {
    fn new(case: &Case) -> Option<Self> {
        let before = case.before.iter().take(5);
        let mut kinds: Vec<Kind> = before
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
                let once = case.at_most_once && kind != Kind::Check;
                StepShape::new(format!("s{index}"), kind).at_most_once(once)
            })
            .collect();
        if steps.is_empty() {
            return None;
        }
        let shape = Arc::new(Shape::new("fuzzed", 1, steps));
        let durable = Execution::begin(&shape, "nonce", payload());
        let mut execution = Execution::new(Arc::clone(&shape));
        execution.written(&durable, NOW).expect("a saga begins");
        Some(Self {
            shape,
            execution,
            durable,
            unwinding: false,
            is_pivot_done: false,
        })
    }

    fn obey(&mut self, command: Command) {
        let held = self.execution.held().cloned();
        match command {
            Command::End(how) => self.end(how),
            Command::Decide { what, output } => {
                let operation = what.operation();
                let mut decision = Decision::new(operation, "ann", "because").approver("bob");
                if output {
                    decision = decision.output(payload());
                }
                let allowed = self.execution.allowed();
                let needs = operation == Operation::SupplyOutput && !output;
                match self.execution.decide(&decision) {
                    Ok(facts) => {
                        assert!(allowed.contains(&operation), "{operation:?} of {allowed:?}");
                        self.record(&facts);
                        assert!(self.execution.held().is_none(), "it was decided about");
                    }
                    Err(_) => assert!(needs || !allowed.contains(&operation)),
                }
            }
            Command::Propose {
                what,
                number,
                incident,
                output,
            } => {
                let operation = what.operation();
                let mut proposal = json!({
                    "number": number, "incident": incident, "operation": operation,
                    "actor": "ann", "reason": "because",
                });
                if output && let Some(fields) = proposal.as_object_mut() {
                    fields.insert("output".into(), json!(7));
                }
                let allowed = self.execution.allowed().contains(&operation);
                let taken = self.say(json!({ "proposed": proposal }));
                assert!(!taken || allowed, "what cannot be decided is not proposed");
            }
            Command::TurnDown { number } => {
                self.say(
                    json!({"turned_down": {"proposal": number, "actor": "bob", "reason": "no"}}),
                );
            }
            Command::Refuse { what, incident } => {
                let operation = what.operation();
                let taken = self.say(json!({"refused": {
                    "incident": incident, "operation": operation, "actor": "eve", "why": "no",
                }}));
                let open = held
                    .as_ref()
                    .is_some_and(|held| held.number == u32::from(incident));
                assert_eq!(taken, open, "about the open incident, and no other");
            }
            Command::Cancel => {
                if held.is_none()
                    && let Some(facts) = self.execution.cancel("ann", "because")
                    && !facts.is_empty()
                {
                    self.record(&facts);
                }
            }
            Command::GiveUpUnread => {
                let decision = Decision::new(Operation::Abandon, "ann", "because");
                let facts = give_up_unread(&decision);
                let all: Vec<Fact> = self.durable.iter().chain(&facts).cloned().collect();
                assert!(
                    self.read(&all).is_none(),
                    "rule 26: a log that can be read has no incident 0"
                );
            }
            Command::Crash => self.execution = self.replayed(),
        }
        if held.is_some() && self.execution.held().is_some() {
            assert_eq!(self.execution.next(), Next::Hold, "rule 13");
        }
    }

    fn end(&mut self, how: How) {
        if !matches!(self.execution.next(), Next::Run(_) | Next::Undo(_)) {
            return;
        }
        if self.unwinding {
            assert!(
                matches!(self.execution.next(), Next::Undo(_)),
                "rule 7: never forwards again"
            );
        }
        let ending = match how {
            How::Done => Ending::Done(payload()),
            How::Fail => Ending::Fail("no".into()),
            How::Halt => Ending::Halt("look".into()),
            How::Unknown => Ending::Unknown("perhaps".into()),
            How::Unreadable => Ending::Unreadable("what is this".into()),
        };
        let verdict = self.execution.settle(ending, Attempt::new(1, true));
        if let Verdict::Record(facts) = verdict.expect("it was asked for") {
            self.record(&facts);
        }
    }

    /// Adds a fact that may make no sense. What is refused is not in the log.
    fn say(&mut self, fact: serde_json::Value) -> bool {
        let fact: Fact = serde_json::from_value(fact).expect("it is a fact");
        let next = self.execution.next();
        let mut tried = self.execution.clone();
        if tried.written(std::slice::from_ref(&fact), NOW).is_err() {
            return false;
        }
        assert!(
            self.execution.held().is_some(),
            "rule 25: only while an incident is open"
        );
        assert_eq!(tried.next(), next, "rule 25: it changes nothing");
        self.record(&[fact]);
        true
    }

    fn record(&mut self, facts: &[Fact]) {
        let entry = self.execution.entry(facts);
        let json = serde_json::to_string(&entry).expect("a record can be written");
        let read: Vec<Fact> = serde_json::from_str(&json).expect("a record can be read");
        assert_eq!(read, entry);
        for fact in &entry {
            let pivot = self
                .shape
                .steps
                .iter()
                .find(|step| step.kind == Kind::Pivot);
            match fact {
                Fact::Done { step, .. } => {
                    assert!(!self.unwinding, "rule 7");
                    self.is_pivot_done |= pivot.is_some_and(|pivot| pivot.name == *step);
                }
                Fact::Unwind => {
                    assert!(!self.is_pivot_done, "nothing behind the pivot is undone");
                    self.unwinding = true;
                }
                Fact::Finished(Finish::Completed) => assert!(!self.unwinding),
                Fact::Finished(Finish::Compensated) => assert!(self.unwinding),
                _ => {}
            }
        }
        self.durable.extend(entry);
        let written = self.execution.written(facts, NOW);
        written.expect("what the machine said can follow");
        let replayed = self.replayed();
        assert_eq!(replayed.held(), self.execution.held());
        assert_eq!(replayed.allowed(), self.execution.allowed());
        assert_eq!(replayed.is_unwinding(), self.unwinding);
    }

    fn replayed(&self) -> Execution {
        self.read(&self.durable)
            .expect("what was written can be read")
    }

    fn read(&self, facts: &[Fact]) -> Option<Execution> {
        let dated = facts.iter().map(|fact| (fact, NOW));
        Execution::replay(Arc::clone(&self.shape), dated).ok()
    }
}

fn payload() -> Payload {
    serde_json::from_str("null").expect("null is JSON")
}
