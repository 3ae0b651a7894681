//! Everything that two instances, a journal and the receivers of effects can do with a saga of three steps, within stated
//! bounds: crashes at every point, a lease that ends under an instance that goes on believing in it, attempts that end in
//! every way, calls that arrive late or never, cancellations, ends of the whole's time, waits and operators. The machine
//! is the real one; the world around it is a model. Every reachable state is visited once, by a shortest way, so a rule
//! that is broken is told with the fewest events that break it.
//!
//! The rules, told without the machine:
//!
//! 1. The log is the history of a saga: in order, one way, nothing after the end, epochs that only grow.
//! 2. The log can be taken up after each of its records.
//! 3. A call is begun only when everything is durable that it depends on.
//! 4. No step is begun after an undo, by the same instance or a later one.
//! 5. No receiver does anything under a token that is older than one it has seen, and none does a step twice.
//! 6. Completed: every effect stands. Compensated: none does, whatever arrives later.
//! 7. Once nothing goes wrong any more, the saga comes to rest, from every state.

#![expect(
    clippy::disallowed_methods,
    reason = "it takes its bounds from the environment"
)]

mod explore;

use std::num::NonZeroU32;
use std::sync::Arc;

use explore::search::{Broken, Found, explore};
use explore::world::{Defect, Left, Setup};
use mainstay::saga::{Kind, Shape, StepShape};

fn step(name: &str, kind: Kind) -> StepShape {
    let twice = NonZeroU32::new(2);
    StepShape::new(name, kind)
        .attempts(if kind == Kind::Then { None } else { twice })
        .undo_attempts(twice)
}

/// `.ci/long` lets more go wrong in one run; a minute for each test there, and a second otherwise.
fn more() -> u8 {
    let more = std::env::var("MAINSTAY_EXPLORE").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(0)
}

fn setup(steps: [StepShape; 3]) -> Setup {
    Setup {
        shape: Arc::new(Shape::new("explored", 1, steps.into())),
        keyless: Vec::new(),
        left: Left {
            crashes: 1,
            lapses: 1,
            misfortunes: 1 + more(),
            decisions: 0,
        },
        cancels: false,
        expires: false,
        waits: false,
        defect: Defect::None,
        only_effects: false,
    }
}

fn plain() -> Setup {
    let steps = [
        step("a", Kind::Step),
        step("b", Kind::Step),
        step("c", Kind::Pivot),
    ];
    setup(steps)
}

/// Receivers that know no keys, and steps that are run at most once for that.
fn once(reconciles: bool) -> Setup {
    let once = |name, kind| step(name, kind).at_most_once(true).reconciles(reconciles);
    let steps = [
        once("a", Kind::Step),
        once("b", Kind::Pivot),
        once("c", Kind::Then),
    ];
    Setup {
        keyless: vec![0, 1, 2],
        ..setup(steps)
    }
}

fn holds(setup: &Setup) -> Found {
    let found = explore(setup);
    println!(
        "{} states, {} turns, {} deep, {:?}",
        found.states, found.turns, found.depth, found.ends,
    );
    if let Some(Broken { reason, story }) = &found.broken {
        panic!("{reason}\n  {}", story.join("\n  "));
    }
    for end in ["completed", "compensated"] {
        assert!(found.ends.contains_key(end), "{found:?}");
    }
    assert!(found.fenced && found.stale, "{found:?}");
    found
}

#[test]
fn steps_and_a_pivot() {
    let found = holds(&Setup {
        cancels: true,
        ..plain()
    });
    assert!(found.ends.contains_key("held"), "a pivot in doubt");
}

#[test]
fn a_pivot_and_what_follows() {
    let steps = [
        step("a", Kind::Step),
        step("b", Kind::Pivot),
        step("c", Kind::Then),
    ];
    holds(&Setup {
        cancels: true,
        ..setup(steps)
    });
}

#[test]
fn a_check_and_steps() {
    let steps = [
        step("a", Kind::Check),
        step("b", Kind::Step),
        step("c", Kind::Step),
    ];
    holds(&Setup {
        expires: true,
        ..setup(steps)
    });
}

#[test]
fn a_check_between_steps() {
    let steps = [
        step("a", Kind::Step),
        step("b", Kind::Check),
        step("c", Kind::Pivot),
    ];
    holds(&Setup {
        cancels: true,
        ..setup(steps)
    });
}

#[test]
fn at_most_once() {
    holds(&Setup {
        cancels: true,
        ..once(false)
    });
}

#[test]
fn at_most_once_and_asked() {
    holds(&Setup {
        cancels: true,
        ..once(true)
    });
}

#[test]
fn asked_under_keys() {
    let asked = |name, kind| step(name, kind).reconciles(true);
    let steps = [
        asked("a", Kind::Step),
        asked("b", Kind::Pivot),
        asked("c", Kind::Then),
    ];
    holds(&Setup {
        expires: true,
        ..setup(steps)
    });
}

#[test]
fn waits_that_are_written_and_operators_who_let_it_go_on() {
    holds(&Setup {
        waits: true,
        left: Left {
            decisions: 1,
            ..plain().left
        },
        ..plain()
    });
}

#[test]
fn two_leases_that_end() {
    holds(&Setup {
        left: Left {
            lapses: 2,
            ..plain().left
        },
        ..plain()
    });
}

#[test]
fn two_misfortunes() {
    holds(&Setup {
        left: Left {
            misfortunes: 2,
            ..plain().left
        },
        ..plain()
    });
}

#[test]
fn two_crashes() {
    holds(&Setup {
        left: Left {
            crashes: 2,
            ..plain().left
        },
        ..plain()
    });
}

// === the search finds what is wrong ===

/// The shortest way to a rule that is broken: by all the rules, and by what is done to receivers alone.
fn finds(setup: &Setup, rule: &str, effects: &str) {
    for (only_effects, expected) in [(false, rule), (true, effects)] {
        let setup = Setup {
            only_effects,
            ..setup.clone()
        };
        let found = explore(&setup);
        let Some(Broken { reason, story }) = found.broken else {
            panic!("nothing in {} states", found.states);
        };
        println!(
            "after {} states: {reason}\n  {}",
            found.states,
            story.join("\n  ")
        );
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_journal_that_acknowledges_early_is_found() {
    let setup = Setup {
        defect: Defect::AcknowledgesEarly,
        ..plain()
    };
    finds(&setup, "before the output of a is durable", "after an undo");
}

#[test]
fn a_journal_without_epochs_is_found() {
    let setup = Setup {
        defect: Defect::NoEpoch,
        ..plain()
    };
    finds(&setup, "stands", "stands");
}

#[test]
fn undoing_only_what_answered_is_found() {
    let setup = Setup {
        defect: Defect::UndoesOnlyAnswered,
        ..plain()
    };
    finds(&setup, "stands", "stands");
}

#[test]
fn unwinding_that_is_not_durable_is_found() {
    let setup = Setup {
        defect: Defect::KeepsUnwinding,
        ..plain()
    };
    finds(
        &setup,
        "before the decision to unwind is durable",
        "after an undo",
    );
}

/// Receivers without keys, and steps that are run again after a crash.
#[test]
fn running_again_what_runs_at_most_once_is_found() {
    let setup = Setup {
        keyless: vec![0, 1, 2],
        ..plain()
    };
    finds(&setup, "was done 2 times", "was done 2 times");
}

/// Nothing is done under a stale token where tokens are looked at; where they are not, something is, and twice if the
/// receiver knows no keys and was asked.
#[test]
fn receivers_that_do_not_look_at_tokens_are_found() {
    let setup = Setup {
        defect: Defect::NoTokens,
        ..once(true)
    };
    finds(&setup, "under a stale token", "was done 2 times");
}
