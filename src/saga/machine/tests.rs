//! One test per rule of the module's documentation, by its number.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::*;
use crate::saga::entry::{Class, Effect, Operation, Refusal};
use crate::saga::history::History;
use crate::saga::shape::Kind;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn replay<'a>(
    shape: &Arc<Shape>,
    facts: impl IntoIterator<Item = &'a Fact>,
) -> Result<Execution, Illegal> {
    Execution::replay(Arc::clone(shape), facts.into_iter().map(|fact| (fact, NOW)))
}

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
    shape: Arc<Shape>,
    machine: Execution,
    log: Vec<Vec<Fact>>,
}

impl Live {
    fn new() -> Self {
        Self::of(shape())
    }

    fn of(shape: Arc<Shape>) -> Self {
        let begin = Execution::begin(&shape, "nonce", one());
        let mut machine = Execution::new(Arc::clone(&shape));
        machine.written(&begin, NOW).unwrap();
        Self {
            shape,
            machine,
            log: vec![begin],
        }
    }

    fn write(&mut self, facts: &[Fact]) {
        self.log.push(self.machine.entry(facts));
        self.machine.written(facts, NOW).unwrap();
    }

    fn decide(&mut self, operation: Operation) {
        let decision = Decision::new(operation, "ann", "because").output(one());
        self.write(&self.machine.decide(&decision).unwrap());
    }

    /// Ends an attempt of whatever is next.
    fn end(&mut self, ending: Ending, number: u32) -> Verdict {
        while self.machine.next() == Next::Write {
            self.write(&self.machine.due());
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
        self.machine = replay(&self.shape, self.log.iter().flatten()).unwrap();
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
        live.decide(Operation::Retry);
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
    let mut abandoned = Live {
        shape: shape(),
        machine: live.machine.clone(),
        log: live.log.clone(),
    };
    live.decide(Operation::Retry);
    assert_eq!(live.crash().machine.next(), Next::Undo(2));
    abandoned.decide(Operation::Abandon);
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
    live.decide(Operation::Retry);
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
    let more = live.machine.written(&[Fact::Unwind], NOW);
    assert!(more.is_err());
}

#[test]
fn rule_15_an_illegal_log_is_refused() {
    let nothing: [&Fact; 0] = [];
    assert!(replay(&shape(), nothing).is_err());
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    live.done(2);
    let facts: Vec<Fact> = live.log.concat();
    assert!(replay(&shape(), &facts).is_ok());
    for gone in 0..facts.len() - 1 {
        let mut holed = facts.clone();
        let fact = holed.remove(gone);
        assert!(replay(&shape(), &holed).is_err(), "without {fact:?}");
        let mut doubled = facts.clone();
        doubled.insert(gone, fact);
        assert!(replay(&shape(), &doubled).is_err(), "twice fact {gone}");
    }
    // Without its end, which rides with the last fact.
    let ending = facts.len() - 1;
    assert!(replay(&shape(), facts.iter().take(ending)).is_err());
    // Half a record: the failure without the decision.
    let half = facts.iter().position(|fact| *fact == Fact::Unwind).unwrap();
    assert!(replay(&shape(), facts.iter().take(half)).is_err());
}

// === doubt ===

/// A chain in which every step with an effect has this of it.
fn chain(with: impl Fn(StepShape) -> StepShape) -> Arc<Shape> {
    let steps = shape().steps.clone().into_iter();
    let steps = steps.map(|step| match step.kind {
        Kind::Check => step,
        _ => with(step),
    });
    Arc::new(Shape::new("test", 1, steps.collect()))
}

fn asked() -> Arc<Shape> {
    chain(|step| step.reconciles(true))
}

fn once() -> Arc<Shape> {
    chain(|step| step.at_most_once(true))
}

fn once_asked() -> Arc<Shape> {
    chain(|step| step.at_most_once(true).reconciles(true))
}

#[test]
fn rule_16_what_is_in_doubt_is_asked_before_anything_is_guessed() {
    for ending in [Ending::Unknown("?".into()), Ending::Panicked] {
        let doubt = |done: usize| {
            let mut live = Live::of(asked());
            live.done(done);
            assert_eq!(live.end(ending.clone(), 1), Verdict::Ride);
            assert_eq!(live.machine.next(), Next::Reconcile(done));
            live
        };
        // A step, and the pivot.
        for done in [2, 3] {
            let mut live = doubt(done);
            live.done(1);
            assert_eq!(live.machine.output_of(done), Some(&one()), "applied");
            let mut live = doubt(done);
            live.end(Ending::NotApplied, 1);
            assert_eq!(live.machine.failure().unwrap().effect, Effect::None);
            assert_eq!(live.machine.next(), Next::Undo(done.min(3) - 1));
        }
        let mut live = doubt(2);
        live.end(Ending::Unknown("no idea".into()), 1);
        assert_eq!(live.machine.next(), Next::Undo(2), "undone without output");
        assert_eq!(live.machine.output_of(2), None);
        let mut live = doubt(3);
        assert_eq!(live.end(retry(), 1), Verdict::Again);
        live.end(Ending::Unknown("no idea".into()), 2);
        assert_eq!(class(&live), Class::UnknownOutcome);
    }
    // Attempts that are used up, and a sure failure after an unsure attempt.
    let mut live = Live::of(asked());
    live.done(2).end(retry(), 1);
    live.end(retry(), 2);
    assert_eq!(live.machine.next(), Next::Reconcile(2));
    let mut live = Live::of(asked());
    live.done(2).crash().end(fail(), 1);
    assert_eq!(live.machine.next(), Next::Reconcile(2));
}

#[test]
fn rule_17_the_intent_is_durable_before_the_step_and_a_crash_after_it_is_a_doubt() {
    let mut live = Live::of(once());
    live.done(1);
    assert_eq!(live.machine.next(), Next::Write);
    let due = live.machine.due();
    assert!(matches!(due.as_slice(), [Fact::Intent { number: 1, .. }]));
    live.crash();
    assert_eq!(live.machine.next(), Next::Run(0), "nothing was written");
    live.done(1);
    live.write(&live.machine.due());
    assert_eq!(
        live.machine.next(),
        Next::Run(1),
        "in this process it may run"
    );
    live.crash();
    assert_eq!(live.machine.next(), Next::Write, "in the next it may not");
    live.write(&live.machine.due());
    assert_eq!(live.machine.failure().unwrap().effect, Effect::Possible);
    assert_eq!(live.machine.next(), Next::Undo(1));
    assert_eq!(live.machine.output_of(1), None);
}

#[test]
fn rule_17_at_the_pivot_and_after_it_a_doubt_is_held() {
    for done in [3, 4] {
        let mut live = Live::of(once());
        live.done(done);
        live.write(&live.machine.due());
        live.crash();
        live.write(&live.machine.due());
        assert_eq!(class(&live), Class::UnknownOutcome);
        // An operator's word is worth another intent.
        live.crash().decide(Operation::Retry);
        assert_eq!(live.crash().machine.next(), Next::Write);
        let due = live.machine.due();
        assert!(matches!(due.as_slice(), [Fact::Intent { number: 2, .. }]));
        live.write(&due);
        assert_eq!(live.machine.next(), Next::Run(done));
    }
}

#[test]
fn rule_17_it_is_not_tried_again_without_an_answer() {
    for ending in [retry(), Ending::TimedOut, Ending::Panicked] {
        let mut live = Live::of(once());
        live.done(2).end(ending.clone(), 1);
        assert_eq!(live.machine.next(), Next::Undo(2));
        let mut live = Live::of(once());
        live.done(4).end(ending, 1);
        assert_eq!(class(&live), Class::UnknownOutcome);
    }
    let mut live = Live::of(once());
    live.done(4).end(fail(), 1);
    assert_eq!(class(&live), Class::Exhausted, "surely not done");
}

#[test]
fn rule_17_without_an_intent_it_surely_never_ran() {
    let mut live = Live::of(once());
    live.done(2).crash().end(fail(), 1);
    assert_eq!(live.machine.failure().unwrap().effect, Effect::None);
    let mut live = Live::of(once());
    live.done(2);
    let done = Fact::Done {
        step: "b".into(),
        output: one(),
    };
    assert!(live.machine.written(&[done], NOW).is_err(), "rule 15");
}

#[test]
fn rules_16_and_17_asked_after_a_crash_and_run_when_it_was_not_applied() {
    for done in [2, 3, 4] {
        let mut live = Live::of(once_asked());
        live.done(done);
        live.write(&live.machine.due());
        live.crash();
        assert_eq!(live.machine.next(), Next::Reconcile(done));
        assert_eq!(live.end(Ending::NotApplied, 1), Verdict::Ride);
        let due = live.machine.due();
        assert!(matches!(due.as_slice(), [Fact::Intent { number: 2, .. }]));
        live.write(&due);
        assert_eq!(live.machine.next(), Next::Run(done));
        live.crash();
        assert_eq!(live.machine.next(), Next::Reconcile(done), "and again");
        live.done(1);
        assert_eq!(live.machine.output_of(done), Some(&one()));
    }
}

#[test]
fn rule_18_a_key_that_may_be_forgotten_is_not_used_again() {
    let day = Duration::from_secs(86_400);
    let remembers = chain(|step| step.key_valid_for(Some(day)));
    let (within, after) = (NOW.after(day), NOW.after(day + Duration::from_millis(1)));
    let mut live = Live::of(Arc::clone(&remembers));
    live.done(3);
    live.machine.check_key(after);
    assert_eq!(
        live.machine.next(),
        Next::Run(3),
        "no attempt can have been made"
    );
    live.crash().machine.check_key(within);
    assert_eq!(live.machine.next(), Next::Run(3));
    live.machine.check_key(after);
    assert_eq!(live.machine.next(), Next::Write);
    live.write(&live.machine.due());
    assert_eq!(class(&live), Class::UnknownOutcome);
    // In the same process as well, after a long wait.
    let mut live = Live::of(remembers);
    live.done(2).end(retry(), 1);
    live.machine.check_key(after);
    live.write(&live.machine.due());
    assert_eq!(live.machine.next(), Next::Undo(2));
}

// === waiting ===

#[test]
fn rule_19_a_wait_survives_and_so_do_its_numbers() {
    let mut live = Live::new();
    live.done(3).end(retry(), 1);
    let at = NOW.after(Duration::from_secs(60));
    let wait = live.machine.postpone(1, "503", NOW, at).unwrap();
    live.write(&wait);
    assert!(
        live.machine.postpone(1, "503", NOW, at).is_err(),
        "it is written"
    );
    live.crash();
    let (again, delay) = live.machine.waiting().unwrap();
    assert_eq!((again.attempt, again.since, again.at), (1, NOW, at));
    assert_eq!(delay, Duration::from_secs(60));
    assert_eq!(live.machine.next(), Next::Run(3));
    live.end(fail(), 2);
    assert_eq!(
        class(&live),
        Class::UnknownOutcome,
        "the first may have had it"
    );
    let mut live = Live::new();
    live.done(2).end(retry(), 1);
    live.write(&live.machine.postpone(1, "503", NOW, at).unwrap());
    live.done(1);
    assert!(live.machine.waiting().is_none());
}

/// An operator who lets a saga go on that stopped as a whole says nothing of the step that is next.
#[test]
fn rules_13_18_and_19_an_incident_about_the_whole_renews_no_key_and_ends_no_wait() {
    let day = Duration::from_secs(86_400);
    let remembers = chain(|step| step.key_valid_for(Some(day)));
    let mut live = Live::of(Arc::clone(&remembers));
    live.done(3).end(retry(), 1);
    let at = NOW.after(Duration::from_secs(60));
    live.write(&live.machine.postpone(1, "503", NOW, at).unwrap());
    let resolved = |named: bool| {
        let trouble = if named {
            let mut trouble = History::default().trouble(Class::Halted, "look");
            trouble.step = Some("pivot".into());
            trouble
        } else {
            History::default().trouble(Class::DefinitionChanged, "another form")
        };
        let held = Fact::Incident(trouble);
        let before: Vec<&Fact> = live.log.iter().flatten().chain([&held]).collect();
        let machine = replay(&remembers, before.iter().copied()).unwrap();
        let decision = Decision::new(Operation::Retry, "ann", "go on");
        let facts = machine.decide(&decision).unwrap();
        let (later, three_days) = (facts.iter(), NOW.after(day * 3));
        let dated = before.into_iter().map(|fact| (fact, NOW));
        let dated = dated.chain(later.map(|fact| (fact, three_days)));
        let mut machine = Execution::replay(Arc::clone(&remembers), dated).unwrap();
        machine.check_key(three_days);
        machine
    };
    let whole = resolved(false);
    assert_eq!(whole.next(), Next::Write, "its key may be forgotten");
    assert_eq!(whole.waiting().map(|(again, _)| again.attempt), Some(1));
    let step = resolved(true);
    assert_eq!(step.next(), Next::Run(3), "that is a word about the step");
    assert!(step.waiting().is_none());
}

// === turning back on request ===

#[test]
fn rule_20_a_wish_turns_back_before_the_pivot_is_done_and_is_answered_once() {
    for done in 0..=3 {
        let mut live = Live::new();
        live.done(done);
        let facts = live.machine.cancel("ann", "because").unwrap();
        live.write(&facts);
        let undone = (done > 1).then(|| done.min(3) - 1);
        let next = undone.map_or(Next::End(Finish::Compensated), Next::Undo);
        assert_eq!(live.machine.next(), next, "after {done}");
        assert!(live.machine.failure().unwrap().error.contains("ann"));
        if done > 1 {
            assert_eq!(live.machine.cancel("ann", "again"), Some(vec![]));
            assert_eq!(live.crash().machine.next(), next);
        }
    }
}

#[test]
fn rules_5_and_20_what_may_have_happened_is_undone_too() {
    let mut live = Live::new();
    live.done(2).end(retry(), 1);
    let facts = live.machine.cancel("ann", "because").unwrap();
    live.write(&facts);
    assert_eq!(live.machine.next(), Next::Undo(2));
    assert_eq!(live.machine.output_of(2), None);
}

#[test]
fn rule_20_too_late_and_an_undo_goes_on() {
    let refused = |live: &mut Live, expected| {
        let facts = live.machine.cancel("ann", "because").unwrap();
        assert!(
            matches!(facts.as_slice(), [Fact::CancelRefused { because, .. }] if *because == expected),
            "{facts:?}"
        );
        let next = live.machine.next();
        live.write(&facts);
        assert_eq!(live.machine.next(), next);
        assert_eq!(live.crash().machine.next(), next);
    };
    let mut live = Live::new();
    live.done(4);
    refused(&mut live, Refusal::TooLate);
    let mut live = Live::new();
    live.done(3).end(fail(), 1);
    refused(&mut live, Refusal::Unwinding);
}

#[test]
fn rule_21_a_pivot_in_doubt_is_asked_or_held_and_not_cancelled() {
    let mut live = Live::new();
    live.done(3).end(retry(), 1);
    let facts = live.machine.cancel("ann", "because").unwrap();
    live.write(&facts);
    assert_eq!(class(&live), Class::UnknownOutcome);
    live.crash().decide(Operation::Retry);
    assert_eq!(live.machine.next(), Next::Run(3));
    assert_eq!(live.machine.cancel("ann", "because"), Some(vec![]), "once");

    let mut live = Live::of(asked());
    live.done(3).crash();
    assert_eq!(live.machine.cancel("ann", "because"), None);
    assert_eq!(live.machine.next(), Next::Reconcile(3));
    live.end(Ending::NotApplied, 1);
    let facts = live.machine.cancel("ann", "because").unwrap();
    assert!(matches!(
        facts.as_slice(),
        [Fact::Cancelled(_), Fact::Unwind]
    ));
}

#[test]
fn rule_22_the_time_of_the_whole_ends_before_the_pivot_only() {
    let mut live = Live::new();
    live.done(2);
    let facts = live.machine.expire().unwrap();
    live.write(&facts);
    assert!(live.machine.failure().unwrap().error.contains("deadline"));
    assert_eq!(live.machine.next(), Next::Undo(1));
    assert_eq!(live.machine.expire(), Some(vec![]), "an undo goes on");
    let mut live = Live::new();
    live.done(4);
    assert_eq!(live.machine.expire(), Some(vec![]), "after the pivot");
    let mut live = Live::new();
    live.done(3).crash();
    let facts = live.machine.expire().unwrap();
    live.write(&facts);
    assert_eq!(class(&live), Class::UnknownOutcome);
    live.decide(Operation::Retry);
    assert_eq!(live.crash().machine.expire(), Some(vec![]), "overruled");
    let mut live = Live::of(asked());
    live.done(3).crash();
    assert_eq!(live.machine.expire(), None);
    assert_eq!(live.machine.next(), Next::Reconcile(3));
}

// === crash loops and operators ===

#[test]
fn rule_23_suspicions_count_until_something_else_is_written() {
    let mut live = Live::new();
    live.done(2);
    for run in 1..=2 {
        let facts = live.crash().machine.suspect(2);
        assert!(matches!(facts.as_slice(), [Fact::Suspected { run: found }] if *found == run));
        live.write(&facts);
        assert!(live.machine.is_suspected());
        assert_eq!(live.machine.next(), Next::Run(2));
    }
    let mut cleared = Live {
        shape: shape(),
        machine: live.machine.clone(),
        log: live.log.clone(),
    };
    cleared.done(1);
    assert!(!cleared.crash().machine.is_suspected());
    let facts = live.crash().machine.suspect(2);
    live.write(&facts);
    assert_eq!(class(&live), Class::CrashLoop);
    live.crash().decide(Operation::Retry);
    assert!(!live.crash().machine.is_suspected());
}

#[test]
fn rule_24_each_decision_is_legal_where_it_makes_sense_and_nowhere_else() {
    use Operation::{Abandon, Retry, RetryAsNew, SkipUndo, SupplyOutput, Unwind};
    let halted = |done: usize| {
        let mut live = Live::new();
        live.done(done).end(Ending::Halt("look".into()), 1);
        live
    };
    let undoing = || {
        let mut live = Live::new();
        live.done(3).end(fail(), 1);
        live.end(Ending::Halt("look".into()), 1);
        live
    };
    let cases = [
        (halted(0), vec![Abandon, Retry, SupplyOutput, Unwind]),
        (
            halted(2),
            vec![Abandon, Retry, RetryAsNew, SupplyOutput, Unwind],
        ),
        (
            halted(3),
            vec![Abandon, Retry, RetryAsNew, SupplyOutput, Unwind],
        ),
        (halted(4), vec![Abandon, Retry, RetryAsNew, SupplyOutput]),
        (undoing(), vec![Abandon, Retry, RetryAsNew, SkipUndo]),
    ];
    for (live, allowed) in cases {
        assert_eq!(live.machine.allowed(), allowed);
        assert_eq!(live.machine.held().unwrap().allowed, allowed, "the hint");
        for operation in [Abandon, Retry, RetryAsNew, SkipUndo, SupplyOutput, Unwind] {
            let decision = Decision::new(operation, "ann", "because").output(one());
            let facts = live.machine.decide(&decision);
            assert_eq!(facts.is_ok(), allowed.contains(&operation), "{operation:?}");
            let Ok(facts) = facts else { continue };
            let mut log = live.log.concat();
            log.extend(facts.iter().cloned());
            assert!(replay(&shape(), &log).is_ok(), "{facts:?}");
            // Half of it is not legal: what it makes true is in its record.
            if facts.len() > 1 {
                log.truncate(live.log.concat().len() + 1);
                assert!(replay(&shape(), &log).is_err(), "{facts:?}");
            }
        }
    }
    let mut live = halted(4);
    live.decide(SupplyOutput);
    assert_eq!(live.crash().machine.next(), Next::End(Finish::Completed));
    let mut live = halted(3);
    live.decide(Unwind);
    assert_eq!(live.crash().machine.next(), Next::Undo(2), "not the pivot");
    let mut live = halted(2);
    live.decide(Unwind);
    assert_eq!(
        live.crash().machine.next(),
        Next::Undo(2),
        "the step as well"
    );
    let mut live = undoing();
    live.decide(SkipUndo);
    assert_eq!(live.crash().machine.next(), Next::Undo(1));
    let mut live = halted(2);
    live.decide(RetryAsNew);
    assert_eq!(live.crash().machine.generation(2, false), 1);
    assert_eq!(live.machine.generation(2, true), 0);
    let needs = Decision::new(SupplyOutput, "ann", "because");
    assert!(halted(2).machine.decide(&needs).is_err());
}

#[test]
fn rule_27_what_is_one_transaction_with_its_record_is_never_in_doubt() {
    let shape = |kind: Kind| {
        let twice = NonZeroU32::new(2);
        let step = |name, kind| StepShape::new(name, kind).attempts(twice);
        let mut steps = vec![
            step("a", Kind::Step),
            step("look", Kind::Check),
            step("b", kind).in_journal(true).at_most_once(false),
        ];
        if kind != Kind::Pivot {
            steps.push(step("pivot", Kind::Pivot));
        }
        Arc::new(Shape::new("test", 1, steps))
    };
    let endings = [
        fail(),
        Ending::Unknown("x".into()),
        Ending::Panicked,
        Ending::TimedOut,
        retry(),
    ];
    for kind in [Kind::Step, Kind::Pivot] {
        for ending in &endings {
            for (tried, crashed) in [(1, false), (2, false), (1, true)] {
                let mut live = Live::of(shape(kind));
                live.done(1).end(Ending::Done(one()), 1);
                assert_eq!(live.machine.next(), Next::Run(2), "the check waits for it");
                for number in 1..=tried {
                    if number < tried {
                        assert_eq!(live.end(retry(), number), Verdict::Again);
                    } else if live.end(ending.clone(), number) == Verdict::Again {
                        live.end(ending.clone(), number + 1);
                    }
                }
                let failed = live.machine.failure().unwrap();
                assert_eq!(failed.effect, Effect::None, "{ending:?}");
                if crashed {
                    live.crash();
                }
                assert_eq!(live.machine.next(), Next::Undo(0), "{kind:?} {ending:?}");
            }
        }
        // In another process, too, and when it is to be turned back.
        let mut live = Live::of(shape(kind));
        live.done(1).crash();
        live.end(Ending::Done(one()), 1);
        live.end(retry(), 1);
        let facts = live.machine.cancel("ann", "because").unwrap();
        live.write(&facts);
        assert_eq!(live.crash().machine.next(), Next::Undo(0));

        let mut live = Live::of(shape(kind));
        live.done(1).end(Ending::Done(one()), 1);
        live.end(Ending::Halt("look".into()), 1);
        live.crash().decide(Operation::Unwind);
        assert_eq!(live.crash().machine.next(), Next::Undo(0));

        // Its record has the answers of the checks before it.
        let mut live = Live::of(shape(kind));
        live.done(1).end(Ending::Done(one()), 1);
        live.end(Ending::Done(one()), 1);
        let names: Vec<&str> = live
            .log
            .last()
            .unwrap()
            .iter()
            .filter_map(|fact| match fact {
                Fact::Done { step, .. } => Some(&**step),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["look", "b"]);
        live.crash();
    }
    let plain = Shape::new("test", 1, vec![StepShape::new("a", Kind::Pivot)]);
    let mut other = plain.clone();
    other.steps[0].in_journal = true;
    assert_ne!(plain.fingerprint(), other.fingerprint());
}
