//! What must hold, told without the machine.

use std::sync::Arc;

use mainstay::saga::Kind;
use mainstay::saga::entry::{Fact, Finish};
use mainstay::saga::machine::Execution;

use super::outside::{Call, Log};
use super::world::{AT, Defect, Life, Setup, World};

/// A log is a history that a saga can have: in order, one way, and nothing after the end.
pub fn history(setup: &Setup, log: &Log) -> Result<(), String> {
    let steps = &setup.shape.steps;
    let index = |name: &str| steps.iter().position(|step| *step.name == *name);
    let mut done = Vec::new();
    let mut undone: Vec<usize> = Vec::new();
    let (mut unwinding, mut over) = (false, false);
    for (place, fact) in log.facts().enumerate() {
        if over {
            return Err(format!("{fact:?} follows the end"));
        }
        if (place == 0) != matches!(fact, Fact::Started(_)) {
            return Err(format!("{fact:?} at {place}"));
        }
        match fact {
            Fact::Done { step, .. } if unwinding || index(step) != Some(done.len()) => {
                return Err(format!("{fact:?} after {done:?}, unwinding: {unwinding}"));
            }
            Fact::Done { .. } => done.push(done.len()),
            Fact::Intent { .. } | Fact::Failed(_) | Fact::Cancelled(_) if unwinding => {
                return Err(format!("{fact:?} while it unwinds"));
            }
            Fact::Unwind if unwinding => return Err("it unwinds twice".into()),
            Fact::Unwind => unwinding = true,
            Fact::Undone { step, .. } => {
                let Some(step) = index(step).filter(|_| unwinding) else {
                    return Err(format!("{fact:?} and it does not unwind"));
                };
                if undone.last().is_some_and(|last| *last <= step) {
                    return Err(format!("{step} is undone after {undone:?}"));
                }
                undone.push(step);
            }
            Fact::Finished(Finish::Completed) if unwinding || done.len() != steps.len() => {
                return Err(format!("completed after {done:?}"));
            }
            Fact::Finished(Finish::Compensated) => {
                let left = done
                    .iter()
                    .find(|step| steps[**step].kind == Kind::Step && !undone.contains(step));
                if !unwinding || left.is_some() {
                    return Err(format!("compensated, and {left:?} is left"));
                }
                over = true;
            }
            Fact::Finished(_) => over = true,
            _ => {}
        }
    }
    let epochs = log.records.windows(2);
    if epochs.into_iter().any(|pair| pair[0].epoch > pair[1].epoch) {
        return Err("an older epoch wrote after a newer one".into());
    }
    Ok(())
}

/// The log can be taken up.
pub fn replays(setup: &Setup, log: &Log) -> Result<Execution, String> {
    let facts = log.facts().map(|fact| (fact, AT));
    Execution::replay(Arc::clone(&setup.shape), facts).map_err(|illegal| illegal.to_string())
}

/// What a call depends on is durable: everything that its sender believes in, and the direction.
pub fn begins(setup: &Setup, world: &World, life: &Life, call: Call) -> Result<(), String> {
    if let Some(epoch) = world.undoing.filter(|_| !call.undo)
        && life.epoch >= epoch
    {
        return Err(format!("step {} is begun after an undo", call.step));
    }
    if setup.only_effects {
        return Ok(());
    }
    let durable: Vec<&Fact> = world.log.durable().collect();
    let late = |what: &str| Err(format!("{call:?} is begun before {what} is durable"));
    for (index, step) in setup.shape.steps.iter().enumerate().take(call.step) {
        let output = durable.iter().find_map(|fact| match fact {
            Fact::Done {
                step: name, output, ..
            } if *name == step.name => Some(output),
            _ => None,
        });
        if output.is_none() || output != life.mind.output_of(index) {
            return late(&format!("the output of {}", step.name));
        }
    }
    let name = &setup.shape.steps[call.step].name;
    let intended = || {
        durable
            .iter()
            .any(|fact| matches!(fact, Fact::Intent { step, .. } if step == name))
    };
    if !call.undo && setup.shape.steps[call.step].at_most_once && !intended() {
        return late("its intent");
    }
    if call.undo && !durable.contains(&&Fact::Unwind) {
        return late("the decision to unwind");
    }
    let undone = |later: &str| {
        durable
            .iter()
            .any(|fact| matches!(fact, Fact::Undone { step, .. } if **step == *later))
    };
    let waits = setup.shape.steps.iter().skip(call.step + 1).find(|later| {
        let done = durable
            .iter()
            .any(|fact| matches!(fact, Fact::Done { step, .. } if *step == later.name));
        later.kind == Kind::Step && done && !undone(&later.name)
    });
    match waits.filter(|_| call.undo) {
        Some(later) => late(&format!("the undo of {}", later.name)),
        None => Ok(()),
    }
}

/// What the receivers hold is what the log says, and none of them did anything twice or late.
pub fn effects(setup: &Setup, world: &World) -> Result<(), String> {
    for (step, receiver) in world.receivers.iter().enumerate() {
        if receiver.stale > 0 && !setup.only_effects {
            return Err(format!(
                "step {step} was done or undone under a stale token"
            ));
        }
        if receiver.times > 1 {
            return Err(format!("step {step} was done {} times", receiver.times));
        }
    }
    let stand = |step: usize| world.receivers[step].stands;
    let kinds = setup.shape.steps.iter().map(|step| step.kind).enumerate();
    let mut effects = kinds.filter(|(_, kind)| *kind != Kind::Check);
    let wrong = match world.log.ended() {
        Some(Fact::Finished(Finish::Completed)) => effects.find(|(step, _)| !stand(*step)),
        Some(Fact::Finished(Finish::Compensated)) => effects.find(|(step, _)| stand(*step)),
        _ => None,
    };
    match wrong {
        Some((step, _)) if stand(step) => {
            Err(format!("compensated, and the effect of step {step} stands"))
        }
        Some((step, _)) => Err(format!("completed, and step {step} has no effect")),
        None => Ok(()),
    }
}

/// Everything that must hold of a log that has just grown.
pub fn grown(setup: &Setup, world: &World) -> Result<(), String> {
    // A log that is shorter was looked at before it grew.
    if setup.defect != Defect::KeepsUnwinding || world.log.ended().is_none() {
        history(setup, &world.log)?;
    }
    replays(setup, &world.log).map(drop)
}
