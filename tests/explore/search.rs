//! Breadth first through all that can happen, so that what is found is found by the shortest way.

use std::collections::{BTreeMap, HashSet};

use mainstay::saga::entry::{Fact, Finish};

use super::rules;
use super::turns::{calm, turns};
use super::world::{Event, Outcome, Setup, World};

/// What was explored, or the shortest way to what must not be.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    pub turns: usize,
    pub depth: usize,
    /// How many states there were of each kind of end.
    pub ends: BTreeMap<&'static str, usize>,
    /// Whether a call under an old token was refused.
    pub stale: bool,
    /// Whether a record was refused.
    pub fenced: bool,
    pub broken: Option<Broken>,
}

/// A rule that does not hold, and how it came to that.
#[derive(Debug)]
pub struct Broken {
    pub reason: String,
    pub story: Vec<String>,
}

/// More turns than any saga needs once nothing goes wrong.
const ENOUGH: usize = 100;

/// Explores everything, or up to the first rule that is broken.
pub fn explore(setup: &Setup) -> Found {
    let mut found = Found::default();
    let mut ways: Vec<(usize, Option<Event>)> = vec![(0, None)];
    let mut seen = HashSet::new();
    let mut settled = HashSet::new();
    let first = World::new(setup);
    seen.insert(first.canonical());
    let mut layer = vec![(0, first)];
    while !layer.is_empty() {
        let mut after = Vec::new();
        for (way, world) in layer {
            found.states += 1;
            count(setup, &world, &mut found);
            if let Err(reason) = settles(setup, &world, &mut settled) {
                found.broken = Some(told(&ways, way, None, reason));
                return found;
            }
            for (event, next) in turns(setup, &world) {
                found.turns += 1;
                found.fenced |= matches!(event, Event::Fenced(_));
                found.stale |= matches!(event, Event::Ends(_, Outcome::Halts));
                match next {
                    Err(reason) => {
                        found.broken = Some(told(&ways, way, Some(event), reason));
                        return found;
                    }
                    Ok(next) if seen.insert(next.canonical()) => {
                        ways.push((way, Some(event)));
                        after.push((ways.len() - 1, next));
                    }
                    Ok(_) => {}
                }
            }
        }
        found.depth += 1;
        layer = after;
    }
    found
}

fn told(
    ways: &[(usize, Option<Event>)],
    mut way: usize,
    last: Option<Event>,
    reason: String,
) -> Broken {
    let mut story: Vec<String> = last.iter().map(ToString::to_string).collect();
    while let (from, Some(event)) = ways[way] {
        story.push(event.to_string());
        way = from;
    }
    story.reverse();
    Broken { reason, story }
}

fn count(setup: &Setup, world: &World, found: &mut Found) {
    let end = match world.log.ended() {
        Some(Fact::Finished(Finish::Completed)) => "completed",
        Some(Fact::Finished(Finish::Compensated)) => "compensated",
        Some(_) => "abandoned",
        None if rules::replays(setup, &world.log).is_ok_and(|mind| mind.held().is_some()) => "held",
        None => "running",
    };
    *found.ends.entry(end).or_default() += 1;
}

/// From here on nothing goes wrong: it comes to rest.
fn settles(setup: &Setup, world: &World, settled: &mut HashSet<u128>) -> Result<(), String> {
    let mut world = world.clone();
    for _ in 0..ENOUGH {
        if !settled.insert(world.canonical()) {
            return Ok(());
        }
        match calm(setup, &world) {
            None => return rules::effects(setup, &world),
            Some((_, next)) => world = next?,
        }
    }
    Err("it does not come to rest".into())
}
