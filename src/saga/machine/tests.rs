//! One test per rule of the module's documentation, by its number.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::*;
use crate::saga::entry::{Class, Effect};

fn shape() -> Arc<Shape> {
    let twice = NonZeroU32::new(2);
    let step = |name, kind| {
        StepShape::new(name, kind)
            .attempts(twice)
            .undo_attempts(twice)
    };
    Arc::new(Shape::new(
        "test",
        1,
        vec![
            step("look", Kind::Check),
            step("a", Kind::Step),
            step("b", Kind::Step),
            step("pivot", Kind::Pivot),
            step("after", Kind::Then),
        ],
    ))
}

fn one() -> Payload {
    Payload::of(&1).unwrap()
}

/// A machine and what it has written.
struct Live {
    machine: Execution,
    log: Vec<Vec<Fact>>,
}

impl Live {
    fn new() -> Self {
        let begin = Execution::begin(&shape(), "nonce", one());
        let mut machine = Execution::new(shape());
        machine.written(&begin).unwrap();
        Self {
            machine,
            log: vec![begin],
        }
    }

    fn write(&mut self, facts: &[Fact]) {
        self.log.push(self.machine.entry(facts));
        self.machine.written(facts).unwrap();
    }

    /// Ends an attempt of whatever is next.
    fn end(&mut self, ending: Ending, number: u32) -> Verdict {
        if self.machine.next() == Next::Write {
            self.write(&[]);
        }
        let verdict = self
            .machine
            .settle(ending, Attempt::new(number, false))
            .unwrap();
        if let Verdict::Record(facts) = &verdict {
            self.write(facts);
        }
        verdict
    }

    fn done(&mut self, times: usize) -> &mut Self {
        for _ in 0..times {
            self.end(Ending::Done(one()), 1);
        }
        self
    }

    /// What another process makes of the log.
    fn crash(&mut self) -> &mut Self {
        self.machine = Execution::replay(shape(), self.log.iter().flatten()).unwrap();
        self
    }
}

fn fail() -> Ending {
    Ending::Fail("no".into())
}

fn retry() -> Ending {
    Ending::Retry("later".into())
}

fn class(live: &Live) -> Class {
    live.machine.held().unwrap().class
}

#[test]
fn rule_1_in_order_each_with_the_output_before() {
    let mut live = Live::new();
    assert_eq!(live.machine.input_of(0), None);
    live.end(Ending::Done(Payload::of(&"seen").unwrap()), 1);
    assert_eq!(live.machine.input_of(1).unwrap().as_str(), "\"seen\"");
    live.done(4);
    assert_eq!(live.machine.next(), Next::End(Finish::Completed));
    assert_eq!(live.machine.result(), Some(&one()));
}

#[test]
fn rules_2_and_3_a_check_is_written_before_the_effect_after_it() {
    let mut live = Live::new();
    assert_eq!(live.end(Ending::Done(one()), 1), Verdict::Ride);
    assert_eq!(live.machine.next(), Next::Write);
    assert_eq!(live.log.len(), 1, "nothing of it yet");
    live.crash();
    assert_eq!(
        live.machine.next(),
        Next::Run(0),
        "it was forgotten, and nothing has depended on it"
    );
    live.done(2);
    assert_eq!(live.log.len(), 3, "start, check, effect");
}

#[test]
fn rule_4_a_sure_failure_is_not_undone() {
    let mut live = Live::new();
    live.done(2).end(fail(), 1);
    assert_eq!(live.machine.failure().unwrap().effect, Effect::None);
    assert_eq!(live.machine.next(), Next::Undo(1));
    assert_eq!(live.machine.output_of(1), Some(&one()));
}

#[test]
fn rule_4_a_refused_key_speaks_for_every_attempt() {
    let mut live = Live::new();
    live.done(3).end(retry(), 1);
    live.crash()
        .end(Ending::Refused("the period is closed".into()), 1);
    assert_eq!(live.machine.failure().unwrap().effect, Effect::None);
    assert_eq!(live.machine.next(), Next::Undo(2), "even at the pivot");
}

#[test]
fn rule_5_what_may_have_happened_is_undone_first_without_output() {
    let endings: [fn(&mut Live); 6] = [
        |live| drop(live.end(Ending::Unknown("?".into()), 1)),
        |live| drop(live.end(Ending::Panicked, 1)),
        |live| {
            live.end(retry(), 1);
            live.end(retry(), 2);
        },
        |live| {
            live.end(Ending::TimedOut, 1);
            live.end(Ending::TimedOut, 2);
        },
        |live| {
            live.end(retry(), 1);
            live.end(fail(), 2);
        },
        |live| drop(live.crash().end(fail(), 1)),
    ];
    for ending in endings {
        let mut live = Live::new();
        ending(live.done(2));
        assert_eq!(live.machine.failure().unwrap().effect, Effect::Possible);
        assert_eq!(live.machine.next(), Next::Undo(2));
        assert_eq!(live.machine.output_of(2), None);
    }
}

#[test]
fn rule_6_a_check_has_no_effect() {
    for ending in [fail(), Ending::Unknown("?".into()), Ending::Panicked] {
        let mut live = Live::new();
        live.end(ending, 1);
        assert_eq!(
            live.machine.next(),
            Next::End(Finish::Compensated),
            "there is nothing to undo"
        );
        assert_eq!(
            live.log.len(),
            2,
            "failure, decision and end are one record"
        );
    }
}

#[test]
fn rule_7_the_direction_survives_every_crash() {
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    live.crash();
    assert_eq!(live.machine.next(), Next::Undo(2));
    live.done(1).crash();
    assert_eq!(live.machine.next(), Next::Undo(1));
    live.done(1).crash();
    assert_eq!(live.machine.next(), Next::End(Finish::Compensated));
}

#[test]
fn rule_8_undos_run_backwards() {
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    let mut order = Vec::new();
    while let Next::Undo(step) = live.machine.next() {
        order.push(step);
        live.done(1);
    }
    assert_eq!(order, [2, 1]);
}

#[test]
fn rule_9_an_undo_is_tried_again_whatever_it_says_and_then_held() {
    for ending in [
        fail(),
        retry(),
        Ending::Unknown("?".into()),
        Ending::Panicked,
        Ending::TimedOut,
    ] {
        let mut live = Live::new();
        live.done(2).end(fail(), 1);
        assert_eq!(live.end(ending.clone(), 1), Verdict::Again);
        live.end(ending, 2);
        assert_eq!(class(&live), Class::UndoFailed);
        assert_eq!(live.crash().machine.next(), Next::Hold);
    }
}

#[test]
fn rule_10_a_pivot_in_doubt_is_held() {
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    assert_eq!(live.machine.next(), Next::Undo(2), "surely no effect");
    for ending in [Ending::Unknown("?".into()), Ending::Panicked] {
        let mut live = Live::new();
        live.done(3).end(ending, 1);
        assert_eq!(class(&live), Class::UnknownOutcome);
    }
    let mut live = Live::new();
    live.done(3).crash().end(fail(), 1);
    assert_eq!(
        class(&live),
        Class::UnknownOutcome,
        "an attempt before the crash may have been made"
    );
}

#[test]
fn rule_11_after_the_pivot_only_forward() {
    for ending in [
        fail(),
        retry(),
        Ending::Unknown("?".into()),
        Ending::Panicked,
        Ending::TimedOut,
    ] {
        let mut live = Live::new();
        live.done(4);
        assert_eq!(live.end(ending.clone(), 1), Verdict::Again);
        live.end(ending, 2);
        assert_eq!(class(&live), Class::Exhausted);
        let held = live.machine.held().unwrap().clone();
        live.write(&Execution::resolve(&held, Operation::Retry, "ann", "again"));
        assert_eq!(live.machine.next(), Next::Run(4));
    }
}

#[test]
fn rule_12_a_halt_is_held_at_once_in_both_directions() {
    let mut live = Live::new();
    live.done(2).end(Ending::Halt("look".into()), 1);
    assert_eq!(class(&live), Class::Halted);
    let mut live = Live::new();
    live.done(2).end(fail(), 1);
    live.end(Ending::Halt("look".into()), 1);
    assert_eq!(class(&live), Class::Halted);
    let mut live = Live::new();
    live.done(2).end(Ending::Unrecordable("too long".into()), 1);
    assert_eq!(class(&live), Class::Unrecordable);
}

#[test]
fn rule_13_an_operator_decides_and_the_direction_stays() {
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    live.end(Ending::Halt("look".into()), 1);
    assert!(
        live.machine.settle(fail(), Attempt::new(1, false)).is_err(),
        "nothing is to be run"
    );
    let held = live.machine.held().unwrap().clone();
    let mut abandoned = Live {
        machine: live.machine.clone(),
        log: live.log.clone(),
    };
    live.write(&Execution::resolve(&held, Operation::Retry, "ann", "again"));
    assert_eq!(live.crash().machine.next(), Next::Undo(2));
    abandoned.write(&Execution::resolve(
        &held,
        Operation::Abandon,
        "ann",
        "by hand",
    ));
    assert_eq!(
        abandoned.crash().machine.next(),
        Next::End(Finish::Abandoned)
    );
}

/// What stopped may have had its effect before, and so may what an operator lets go on in the same process.
#[test]
fn rules_5_and_13_what_goes_on_after_an_incident_may_have_happened() {
    let mut live = Live::new();
    live.done(2).end(Ending::Halt("look".into()), 1);
    let held = live.machine.held().unwrap().clone();
    live.write(&Execution::resolve(&held, Operation::Retry, "ann", "again"));
    live.end(fail(), 1);
    assert_eq!(live.machine.failure().unwrap().effect, Effect::Possible);
    assert_eq!(live.machine.next(), Next::Undo(2));
    assert_eq!(live.machine.output_of(2), None);
}

#[test]
fn rule_14_the_end_rides_with_the_last_fact() {
    let mut live = Live::new();
    live.done(5);
    assert_eq!(
        live.log.len(),
        6,
        "start, check, and one record for each of four effects"
    );
    assert!(matches!(
        live.log.last().unwrap().as_slice(),
        [Fact::Done { .. }, Fact::Finished(_)]
    ));
    let more = live.machine.written(&[Fact::Unwind]);
    assert!(more.is_err());
}

#[test]
fn rule_15_an_illegal_log_is_refused() {
    let nothing: [&Fact; 0] = [];
    assert!(Execution::replay(shape(), nothing).is_err());
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    live.done(2);
    let facts: Vec<Fact> = live.log.concat();
    assert!(Execution::replay(shape(), &facts).is_ok());
    for gone in 0..facts.len() - 1 {
        let mut holed = facts.clone();
        let fact = holed.remove(gone);
        assert!(
            Execution::replay(shape(), &holed).is_err(),
            "without {fact:?}"
        );
        let mut doubled = facts.clone();
        doubled.insert(gone, fact);
        assert!(
            Execution::replay(shape(), &doubled).is_err(),
            "twice fact {gone}"
        );
    }
    // Without its end, which rides with the last fact.
    let ending = facts.len() - 1;
    assert!(Execution::replay(shape(), facts.iter().take(ending)).is_err());
    // Half a record: the failure without the decision.
    let half = facts.iter().position(|fact| *fact == Fact::Unwind).unwrap();
    assert!(Execution::replay(shape(), facts.iter().take(half)).is_err());
}
