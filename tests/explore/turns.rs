//! Everything that can happen next.

use std::sync::Arc;

use mainstay::saga::entry::{Effect, Fact, Finish, Operation};
use mainstay::saga::machine::{Attempt, Decision, Ending, Execution, Next, Verdict};
use mainstay::saga::{Kind, StepShape};

use super::outside::{Call, Reply};
use super::rules;
use super::world::{AT, Defect, Event, Known, Life, Outcome, Setup, Why, World, payload};

/// What can happen next, and what the world is then; or the rule that it breaks.
pub type Turn = (Event, Result<World, String>);

/// What turns a saga back between attempts.
type Turning = fn(&mut Execution) -> Option<Vec<Fact>>;

/// All that can happen next.
pub fn turns(setup: &Setup, world: &World) -> Vec<Turn> {
    let mut all = Vec::new();
    for who in 0..2 {
        match world.life(who) {
            Some(life) => {
                lives(setup, world, who, life, &mut all);
                dies(setup, world, who, life, &mut all);
            }
            None if may_claim(world, who) => all.push(claim(setup, world, who)),
            None => {}
        }
    }
    for (place, call) in world.late.iter().enumerate() {
        let mut next = world.clone();
        next.late.remove(place);
        deliver(setup, &mut next, *call);
        all.push((Event::Arrives(*call), Ok(next)));
    }
    for (_, turn) in &mut all {
        if let Ok(next) = turn
            && let Err(broken) = rules::effects(setup, next)
        {
            *turn = Err(broken);
        }
    }
    all
}

fn may_claim(world: &World, who: usize) -> bool {
    // The two are alike: where both are free, one is enough.
    let first = who == 0 || world.instances[0].is_some();
    // Nobody takes up what waits for an operator, but to decide.
    let held = matches!(world.log.facts().last(), Some(Fact::Incident(_)));
    let rests = world.log.ended().is_some() || (held && world.left.decisions == 0);
    first && world.log.owner.is_none() && !rests
}

pub fn claim(setup: &Setup, world: &World, who: usize) -> Turn {
    let event = Event::Claim(who);
    let mind = match rules::replays(setup, &world.log) {
        Ok(mind) => mind,
        Err(illegal) => return (event, Err(format!("it cannot be taken up: {illegal}"))),
    };
    let mut next = world.clone();
    next.log.epoch += 1;
    next.log.owner = Some(who);
    let life = Life {
        attempt: attempt_of(&mind),
        mind,
        epoch: next.log.epoch,
        seen: next.log.records.len(),
        writes: None,
        kept: Vec::new(),
    };
    (event, Ok(next.with(who, life)))
}

fn attempt_of(mind: &Execution) -> u32 {
    mind.waiting().map_or(1, |(again, _)| again.attempt + 1)
}

/// Between any two events an instance may die, and its lease may end. A call that was sent before is on its way.
fn dies(setup: &Setup, world: &World, who: usize, life: &Life, all: &mut Vec<Turn>) {
    if world.left.crashes > 0 {
        let mut next = world.clone();
        next.left.crashes -= 1;
        leave(&mut next, who);
        if setup.defect == Defect::AcknowledgesEarly {
            next.log.records.truncate(next.log.synced);
        }
        if let Some(call) = call_of(setup, life) {
            let mut sent = next.clone();
            begun(&mut sent, call);
            sent.send(setup, call);
            let broken = rules::begins(setup, world, life, call);
            all.push((Event::Crash(who, Some(call)), broken.map(|()| sent)));
        }
        all.push((Event::Crash(who, None), Ok(next)));
    }
    if world.left.lapses > 0 && world.log.owner == Some(who) {
        let mut next = world.clone();
        next.left.lapses -= 1;
        next.log.owner = None;
        all.push((Event::Lapse(who), Ok(next)));
    }
}

/// The call that it would send next.
fn call_of(setup: &Setup, life: &Life) -> Option<Call> {
    let (step, undo) = match (life.writes.is_none(), life.mind.next()) {
        (true, Next::Run(step)) => (step, false),
        (true, Next::Undo(step)) => (step, true),
        _ => return None,
    };
    let call = Call {
        step,
        undo,
        token: life.epoch,
    };
    (setup.shape.steps[step].kind != Kind::Check).then_some(call)
}

/// Notes that an undo was begun.
fn begun(world: &mut World, call: Call) {
    if call.undo {
        let first = world.undoing.unwrap_or(call.token);
        world.undoing = Some(first.min(call.token));
    }
}

fn leave(world: &mut World, who: usize) {
    world.instances[who] = None;
    if world.log.owner == Some(who) {
        world.log.owner = None;
    }
}

fn deliver(setup: &Setup, world: &mut World, call: Call) -> Reply {
    let reply = world.receivers[call.step].take(call, setup.keys(call.step), setup.tokens());
    world.forget(setup);
    reply
}

/// What an instance may do. Sending a call and its end are one event here, and so are a decision without a call and its
/// record, a record and learning that it is durable: whatever else happens in between commutes with the first half, or
/// is a crash and stands beside it.
fn lives(setup: &Setup, world: &World, who: usize, life: &Life, all: &mut Vec<Turn>) {
    match &life.writes {
        Some(facts) => all.push(appends(setup, world, who, life, facts)),
        None => idles(setup, world, who, life, all),
    }
}

fn idles(setup: &Setup, world: &World, who: usize, life: &Life, all: &mut Vec<Turn>) {
    let decide = |all: &mut Vec<Turn>, why, mind: Execution, facts: Vec<Fact>| {
        let life = writes(
            setup,
            Life {
                mind,
                ..life.clone()
            },
            facts,
        );
        let next = match &life.writes {
            Some(facts) => appends(setup, world, who, &life, facts).1,
            None => Ok(world.with(who, life)),
        };
        all.push((Event::Decide(who, why), next));
    };
    let next = life.mind.next();
    match next {
        Next::Hold if world.left.decisions > 0 => {
            let decision = Decision::new(Operation::Retry, "ann", "again");
            let mut fewer = world.clone();
            fewer.left.decisions -= 1;
            let life = writes(setup, life.clone(), life.mind.decide(&decision).unwrap());
            let facts = life.writes.clone().unwrap();
            let (_, next) = appends(setup, &fewer, who, &life, &facts);
            all.push((Event::Decide(who, Why::Operator), next));
            return;
        }
        Next::End(_) | Next::Hold => {
            let mut next = world.clone();
            leave(&mut next, who);
            all.push((Event::Rests(who), Ok(next)));
            return;
        }
        Next::Write => decide(all, Why::Due, life.mind.clone(), life.mind.due()),
        Next::Run(step) if setup.shape.steps[step].kind == Kind::Check => {
            checks(setup, world, who, life, all);
        }
        Next::Run(_) | Next::Undo(_) => calls(setup, world, who, life, all),
        Next::Reconcile(step) => asks(setup, world, who, life, step, all),
        other => all.push((Event::Rests(who), Err(format!("what is {other:?}?")))),
    }
    let turned: [(bool, Why, Turning); 2] = [
        (setup.cancels, Why::Cancelled, |mind| {
            mind.cancel("ann", "a wish")
        }),
        (setup.expires, Why::Expired, Execution::expire),
    ];
    for (_, why, turn) in turned.into_iter().filter(|(may, ..)| *may) {
        let mut mind = life.mind.clone();
        match turn(&mut mind) {
            Some(facts) if facts.is_empty() => {}
            Some(facts) => decide(all, why, mind, facts),
            // First it is to be asked.
            None => {
                let life = Life {
                    mind,
                    ..life.clone()
                };
                all.push((Event::Decide(who, why), Ok(world.with(who, life))));
            }
        }
    }
}

/// Begins to write, or with a defect does not.
fn writes(setup: &Setup, mut life: Life, mut facts: Vec<Fact>) -> Life {
    if setup.defect == Defect::UndoesOnlyAnswered {
        forgets(&setup.shape.steps, &life.mind, &mut facts);
    }
    let unwinds = life.mind.is_unwinding() || facts.contains(&Fact::Unwind);
    let ends = facts.iter().any(|fact| matches!(fact, Fact::Finished(_)));
    if setup.defect == Defect::KeepsUnwinding && unwinds && !ends {
        life.kept.extend(life.mind.entry(&facts));
        life.mind.written(&facts, AT).unwrap();
        life.attempt = 1;
        life.writes = None;
    } else {
        life.writes = Some(facts);
    }
    life
}

/// Takes a failure without an answer for one without an effect.
fn forgets(steps: &[StepShape], mind: &Execution, facts: &mut Vec<Fact>) {
    for fact in facts.iter_mut() {
        match fact {
            Fact::Failed(failure) => failure.effect = Effect::None,
            Fact::Cancelled(cancellation) => cancellation.effect = Effect::None,
            _ => {}
        }
    }
    let undoes = |(index, step): (usize, &StepShape)| {
        step.kind == Kind::Step && mind.output_of(index).is_some()
    };
    if facts.last() == Some(&Fact::Unwind) && !steps.iter().enumerate().any(undoes) {
        facts.push(Fact::Finished(Finish::Compensated));
    }
}

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Answered => Ending::Done(payload("1")),
        Outcome::Fails => Ending::Fail("no".into()),
        Outcome::Refuses => Ending::Refused("never".into()),
        Outcome::Retries => Ending::Retry("later".into()),
        Outcome::TimesOut => Ending::TimedOut,
        Outcome::Unknown => Ending::Unknown("?".into()),
        Outcome::Halts => Ending::Halt("look".into()),
    }
}

/// An attempt ended.
fn settles(setup: &Setup, world: &World, who: usize, life: &Life, ending: Ending) -> Vec<World> {
    let mut life = life.clone();
    let asked = matches!(life.mind.next(), Next::Reconcile(_));
    let attempt = Attempt::new(life.attempt, false);
    match life.mind.settle(ending, attempt).unwrap() {
        Verdict::Again => {
            let mut both = Vec::new();
            if setup.waits && !asked {
                let facts = life.mind.postpone(life.attempt, "later", AT, AT).unwrap();
                both.push(world.with(who, writes(setup, life.clone(), facts)));
            }
            life.attempt += 1;
            both.push(world.with(who, life));
            both
        }
        Verdict::Ride => {
            life.attempt = 1;
            vec![world.with(who, life)]
        }
        Verdict::Record(facts) => vec![world.with(who, writes(setup, life, facts))],
        other => unreachable!("{other:?}"),
    }
}

/// A check: what it answers depends on when it is asked.
fn checks(setup: &Setup, world: &World, who: usize, life: &Life, all: &mut Vec<Turn>) {
    let mut ends = |world: World, outcome, ending| {
        for next in settles(setup, &world, who, life, ending) {
            all.push((Event::Ends(who, outcome), Ok(next)));
        }
    };
    let answer = payload(&format!("{}", 10 + life.epoch));
    ends(world.clone(), Outcome::Answered, Ending::Done(answer));
    if let Some(unlucky) = unlucky(world) {
        for outcome in [Outcome::Fails, Outcome::Retries, Outcome::Unknown] {
            ends(unlucky.clone(), outcome, ending(outcome));
        }
    }
}

fn unlucky(world: &World) -> Option<World> {
    let mut next = world.clone();
    next.left.misfortunes = next.left.misfortunes.checked_sub(1)?;
    Some(next)
}

fn calls(setup: &Setup, world: &World, who: usize, life: &Life, all: &mut Vec<Turn>) {
    let Some(call) = call_of(setup, life) else {
        return;
    };
    if let Err(broken) = rules::begins(setup, world, life, call) {
        all.push((Event::Ends(who, Outcome::Answered), Err(broken)));
        return;
    }
    let mut begins = world.clone();
    begun(&mut begins, call);
    let world = &begins;
    let mut ends = |world: World, outcome, ending| {
        for next in settles(setup, &world, who, life, ending) {
            all.push((Event::Ends(who, outcome), Ok(next)));
        }
    };
    let mut next = world.clone();
    let said = match deliver(setup, &mut next, call) {
        Reply::Done => Outcome::Answered,
        Reply::Refused => Outcome::Refuses,
        Reply::Stale => Outcome::Halts,
    };
    ends(next, said, ending(said));
    let Some(mut unlucky) = unlucky(world) else {
        return;
    };
    let mut lost = unlucky.clone();
    lost.send(setup, call);
    ends(lost.clone(), Outcome::TimesOut, ending(Outcome::TimesOut));
    if !unlucky.receivers[call.step].sees(call.token, setup.tokens()) {
        return;
    }
    ends(unlucky.clone(), Outcome::Retries, ending(Outcome::Retries));
    if call.undo {
        return;
    }
    ends(lost, Outcome::Unknown, ending(Outcome::Unknown));
    ends(unlucky.clone(), Outcome::Fails, ending(Outcome::Fails));
    let receiver = &unlucky.receivers[call.step];
    // It gives its word for every call, also those on their way.
    if !receiver.stands && receiver.is_quiet(call.step, &unlucky.late) {
        ends(unlucky, Outcome::Refuses, ending(Outcome::Refuses));
    }
}

/// The receiver is asked, and says that there was nothing only where nothing will be.
fn asks(setup: &Setup, world: &World, who: usize, life: &Life, step: usize, all: &mut Vec<Turn>) {
    let mut ends = |world: World, outcome, ending| {
        for next in settles(setup, &world, who, life, ending) {
            all.push((Event::Ends(who, outcome), Ok(next)));
        }
    };
    let mut next = world.clone();
    let heard = next.receivers[step].sees(life.epoch, setup.tokens());
    next.forget(setup);
    if heard {
        let receiver = &next.receivers[step];
        // One that does not look at tokens believes that older calls are over all the same.
        let quiet = receiver.is_quiet(step, &next.late);
        let said = match (receiver.stands, quiet) {
            (true, _) => Ending::Done(payload("1")),
            (false, true) => Ending::NotApplied,
            (false, false) => Ending::Unknown("perhaps".into()),
        };
        ends(next, Outcome::Answered, said);
    } else {
        ends(next, Outcome::Halts, ending(Outcome::Halts));
    }
    if let Some(unlucky) = unlucky(world) {
        for outcome in [Outcome::Retries, Outcome::Unknown] {
            ends(unlucky.clone(), outcome, ending(outcome));
        }
    }
}

fn appends(setup: &Setup, world: &World, who: usize, life: &Life, facts: &[Fact]) -> Turn {
    let current = life.epoch == world.log.epoch || setup.defect == Defect::NoEpoch;
    let mut next = world.clone();
    if !current || life.seen != world.log.records.len() {
        leave(&mut next, who);
        return (Event::Fenced(who), Ok(next));
    }
    let kept = life.kept.iter().cloned();
    let entry = kept.chain(life.mind.entry(facts)).collect();
    next.log.push(life.epoch, entry);
    let lag = usize::from(setup.defect == Defect::AcknowledgesEarly);
    next.log.synced = next.log.records.len() - lag;
    let event = Event::Append(who);
    if let Err(broken) = rules::grown(setup, &next) {
        return (event, Err(broken));
    }
    let mut life = life.clone();
    if let Err(illegal) = life.mind.written(facts, AT) {
        return (event, Err(format!("what it wrote is illegal: {illegal}")));
    }
    life.seen += 1;
    life.attempt = attempt_of(&life.mind);
    life.writes = None;
    let over = match life.mind.next() {
        Next::End(_) => true,
        Next::Hold => world.left.decisions == 0,
        _ => false,
    };
    if over {
        leave(&mut next, who);
        return (event, Ok(next));
    }
    (event, Ok(next.with(who, life)))
}

/// What happens when nothing goes wrong any more: the owner goes on, or a new one takes over. `None` at rest.
pub fn calm(setup: &Setup, world: &World) -> Option<Turn> {
    let current = |known: &&Known| known.life.epoch == world.log.epoch;
    let owner = (0..2).find(|who| {
        world.instances[*who]
            .as_ref()
            .is_some_and(|known| current(&known))
    });
    let Some(who) = owner else {
        let held = rules::replays(setup, &world.log).is_ok_and(|mind| mind.next() == Next::Hold);
        if held || world.log.ended().is_some() {
            return None;
        }
        let mut next = world.clone();
        // Whoever believes in an old lease is nobody's hindrance.
        next.log.owner = None;
        return Some(claim(
            setup,
            &next,
            if world.instances[0].is_none() { 0 } else { 1 },
        ));
    };
    let life = Arc::clone(&world.instances[who].as_ref()?.life);
    let mut quiet = world.clone();
    quiet.left.misfortunes = 0;
    quiet.left.decisions = 0;
    let setup = Setup {
        cancels: false,
        expires: false,
        ..setup.clone()
    };
    let mut all = Vec::new();
    lives(&setup, &quiet, who, &life, &mut all);
    all.truncate(1);
    all.pop()
}
