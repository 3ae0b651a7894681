//! Fair queuing as Kubernetes' API server does it (API Priority and Fairness), written anew from its description and
//! behaviour.
//!
//! What is modelled: a priority level for each tier with a nominal limit, a lendable part and borrowing that is worked
//! out anew every 10 s from the smoothed demand; in each level 128 queues, shuffle sharding into the least loaded of a
//! hand of 6, at most 50 waiting in a queue; among the queues the one whose oldest request would finish first in virtual
//! time, charged with an estimate of 3 ms and corrected at the end of the request; the bound that keeps an idle queue
//! from saving up.
//!
//! What differs, always in its favour: nominal limits are shares by the largest remainder and not rounded up, since their
//! sum may not exceed the seats here; when the number of seats changes, the limits are worked out at once. A flow is a
//! tenant. Requests take one seat. Weights of tenants within a tier do not exist in it.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Job, Nanos, Policy, Run, Tier};
use crate::fairness::draw::{SECOND, nanos, seconds};

pub const ABOUT: &str = "Kubernetes' API Priority and Fairness, written anew: a level for each tier, nominal limits by weight, all but the \
     reserve lendable, no limit on borrowing, limits adjusted every 10 s; in each level 128 queues of 50, hands of 6 \
     (the suggested configuration), seat-seconds estimated at 3 ms and corrected. It has no weights for tenants and no \
     cap for one tenant.";
pub const ABOUT_LENT: &str = "the same, with the reserve lendable too, all but what is held: it wastes less, and what is lent comes back at the \
     next adjustment.";

pub const QUEUES: usize = 128;
pub const HAND: usize = 6;
const LENGTH: usize = 50;
/// Seconds.
const ESTIMATE: f64 = 0.003;
const PERIOD: f64 = 10.0;
/// Halves what is remembered of the demand in five minutes.
const SMOOTHING: f64 = 0.977;

pub fn build(run: &Run) -> Box<dyn Policy> {
    with(run, |tier| tier.reserve)
}

pub fn build_lent(run: &Run) -> Box<dyn Policy> {
    with(run, |tier| tier.hold)
}

fn with(run: &Run, kept: fn(&Tier) -> f64) -> Box<dyn Policy> {
    Box::new(Apf {
        kept,
        levels: run.tiers.iter().map(|_| Level::new()).collect(),
        tiers: run.tiers.clone(),
        seats: 0,
        running: HashMap::new(),
        place: HashMap::new(),
        adjust_at: nanos(PERIOD),
    })
}

#[derive(Debug)]
struct Apf {
    /// What a tier does not lend.
    kept: fn(&Tier) -> f64,
    levels: Vec<Level>,
    tiers: Vec<Tier>,
    seats: u32,
    /// The queue of each running and each waiting request.
    running: HashMap<u64, usize>,
    place: HashMap<u64, usize>,
    adjust_at: Nanos,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// The progress meter at the arrival of each, oldest first.
    waiting: BTreeMap<u64, f64>,
    running: usize,
    /// Where the next request starts in virtual time.
    next: f64,
}

impl Queue {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.waiting.is_empty()
    }

    /// A request does not start before it came, in virtual time either.
    fn bound(&mut self) {
        if let Some((_, arrival)) = self.waiting.first_key_value() {
            self.next = self.next.max(*arrival);
        }
    }
}

/// One priority level.
#[derive(Debug)]
struct Level {
    queues: Vec<Queue>,
    limit: usize,
    nominal: f64,
    least: f64,
    waiting: usize,
    running: usize,
    active: usize,
    /// The progress meter, and when it was read.
    progress: f64,
    read: Nanos,
    robin: usize,
    enqueues: usize,
    demand: Demand,
}

/// How many seats a level wanted since the last adjustment.
#[derive(Debug, Default)]
struct Demand {
    value: f64,
    since: Nanos,
    time: f64,
    sum: f64,
    squares: f64,
    high: f64,
    smoothed: f64,
}

impl Demand {
    fn pass(&mut self, now: Nanos) {
        let passed = (now - self.since) as f64 / SECOND;
        self.since = now;
        self.time += passed;
        self.sum += passed * self.value;
        self.squares += passed * self.value * self.value;
    }

    fn set(&mut self, value: f64, now: Nanos) {
        self.pass(now);
        self.value = value;
        self.high = self.high.max(value);
    }

    /// Ends a period: the most that was wanted, and the smoothed demand.
    fn period(&mut self, now: Nanos) -> (f64, f64) {
        self.pass(now);
        let high = self.high;
        if self.time > 0.0 {
            let mean = self.sum / self.time;
            let deviation = (self.squares / self.time - mean * mean).max(0.0).sqrt();
            let envelope = mean + deviation;
            self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        }
        (self.time, self.sum, self.squares, self.high) = (0.0, 0.0, 0.0, self.value);
        (high, self.smoothed)
    }
}

impl Level {
    fn new() -> Self {
        Self {
            queues: vec![Queue::default(); QUEUES],
            limit: 0,
            nominal: 0.0,
            least: 0.0,
            waiting: 0,
            running: 0,
            active: 0,
            progress: 0.0,
            read: 0,
            robin: 0,
            enqueues: 0,
            demand: Demand::default(),
        }
    }

    /// Moves the progress meter to now. Every active queue progresses alike.
    fn sync(&mut self, now: Nanos) {
        if self.active > 0 {
            let wanted = (self.running + self.waiting).min(self.limit);
            let passed = seconds(now - self.read);
            self.progress += passed * wanted as f64 / self.active as f64;
        }
        self.read = now;
    }

    /// The queue of the tenant's hand with the least waiting work.
    fn shard(&mut self, tenant: u32) -> usize {
        let hand = deal(tenant);
        let offset = self.enqueues % HAND;
        self.enqueues += 1;
        let order = (0..HAND).map(|i| hand[(offset + i) % HAND]);
        order
            .min_by_key(|queue| self.queues[*queue].waiting.len())
            .unwrap_or(0)
    }

    fn note(&mut self, now: Nanos) {
        self.demand.set((self.running + self.waiting) as f64, now);
    }

    fn start_next(&mut self) -> Option<(u64, usize)> {
        if self.waiting == 0 || self.running >= self.limit {
            return None;
        }
        let mut best: Option<(usize, f64)> = None;
        for step in 1..=QUEUES {
            let place = (self.robin + step) % QUEUES;
            let queue = &self.queues[place];
            if queue.waiting.is_empty() {
                continue;
            }
            let finish = queue.next + ESTIMATE;
            if best.is_none_or(|(_, least)| finish < least) {
                best = Some((place, finish));
            }
        }
        let (place, _) = best?;
        self.robin = place;
        let queue = &mut self.queues[place];
        let (id, _) = queue.waiting.pop_first()?;
        queue.running += 1;
        queue.next += ESTIMATE;
        queue.bound();
        self.waiting -= 1;
        self.running += 1;
        Some((id, place))
    }
}

/// A tenant's hand: different queues, the same for ever.
pub fn deal(tenant: u32) -> [usize; HAND] {
    let mut value = mainstay::rng::Rng::new(u64::from(tenant)).next_u64();
    let mut hand = [0; HAND];
    for dealt in 0..HAND {
        let left = (QUEUES - dealt) as u64;
        let mut card = (value % left) as usize;
        value /= left;
        // The card-th of those that are not dealt yet.
        let mut taken: Vec<usize> = hand[..dealt].to_vec();
        taken.sort_unstable();
        for other in taken {
            if other <= card {
                card += 1;
            }
        }
        hand[dealt] = card;
    }
    hand
}

impl Apf {
    fn dispatch(&mut self, tier: usize, now: Nanos, out: &mut Vec<Action>) {
        let level = &mut self.levels[tier];
        while let Some((id, place)) = level.start_next() {
            self.place.remove(&id);
            self.running.insert(id, place);
            out.push(Action::Start(id));
        }
        level.note(now);
    }

    /// Nominal and least limits for the seats that there are, in force at once.
    fn configure(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let weights: Vec<f64> = self.tiers.iter().map(|tier| tier.weight).collect();
        let nominal = largest_remainder(&weights, self.seats);
        for ((level, tier), nominal) in self.levels.iter_mut().zip(&self.tiers).zip(nominal) {
            level.sync(now);
            level.nominal = f64::from(nominal);
            level.least = ((self.kept)(tier) * f64::from(self.seats))
                .round()
                .min(level.nominal);
            level.limit = nominal as usize;
        }
        self.adjust(now, false, out);
    }

    /// Works out what each level may use from what each wanted.
    fn adjust(&mut self, now: Nanos, ends_period: bool, out: &mut Vec<Action>) {
        let seats = f64::from(self.seats);
        let mut wants = Vec::new();
        for level in &mut self.levels {
            level.sync(now);
            let (high, smoothed) = if ends_period {
                level.demand.period(now)
            } else {
                (level.demand.high, level.demand.smoothed)
            };
            let least = level.least.max(level.nominal.min(high));
            wants.push((least, least.max(smoothed).max(0.001)));
        }
        for (level, given) in self.levels.iter_mut().zip(allocate(&wants, seats)) {
            level.limit = given as usize;
        }
        for tier in 0..self.levels.len() {
            self.dispatch(tier, now, out);
        }
    }
}

/// Seats in proportion to the targets, none below its least; whole ones, by the largest remainder.
pub fn allocate(wants: &[(f64, f64)], seats: f64) -> Vec<u32> {
    let given = |level: f64| -> Vec<f64> {
        wants
            .iter()
            .map(|(least, target)| least.max(level * target))
            .collect()
    };
    let (mut low, mut high) = (0.0, seats * 1_000.0);
    for _ in 0..200 {
        let level = f64::midpoint(low, high);
        if given(level).iter().sum::<f64>() > seats {
            high = level;
        } else {
            low = level;
        }
    }
    largest_remainder(&given(low), seats as u32)
}

/// Whole seats in proportion to the parts, all of them and no more.
pub fn largest_remainder(parts: &[f64], seats: u32) -> Vec<u32> {
    let sum: f64 = parts.iter().sum();
    let exact: Vec<f64> = parts
        .iter()
        .map(|part| part / sum * f64::from(seats))
        .collect();
    let mut given: Vec<u32> = exact.iter().map(|part| (part + 1e-9) as u32).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let rest = |i: &usize| exact[*i] - (exact[*i] + 1e-9).floor();
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
    let left = seats - given.iter().sum::<u32>().min(seats);
    for i in order.into_iter().take(left as usize) {
        given[i] += 1;
    }
    given
}

impl Policy for Apf {
    fn arrive(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>) {
        let level = &mut self.levels[job.tier];
        level.sync(now);
        let place = level.shard(job.tenant);
        let (progress, full) = (level.progress, level.running >= level.limit);
        let queue = &mut level.queues[place];
        if full && queue.waiting.len() >= LENGTH {
            out.push(Action::Refuse(job.id, "queue-full", None));
            return;
        }
        if !queue.is_active() {
            queue.next = progress;
            level.active += 1;
        }
        queue.waiting.insert(job.id, progress);
        queue.bound();
        level.waiting += 1;
        self.place.insert(job.id, place);
        self.dispatch(job.tier, now, out);
    }

    fn finish(&mut self, job: &Job, held: Nanos, now: Nanos, out: &mut Vec<Action>) {
        let level = &mut self.levels[job.tier];
        level.sync(now);
        if let Some(place) = self.running.remove(&job.id) {
            let queue = &mut level.queues[place];
            queue.running -= 1;
            queue.next += seconds(held) - ESTIMATE;
            queue.bound();
            if !queue.is_active() {
                level.active -= 1;
            }
            level.running -= 1;
        }
        self.dispatch(job.tier, now, out);
    }

    fn leave(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>) {
        let level = &mut self.levels[job.tier];
        level.sync(now);
        if let Some(place) = self.place.remove(&job.id) {
            let queue = &mut level.queues[place];
            queue.waiting.remove(&job.id);
            queue.bound();
            if !queue.is_active() {
                level.active -= 1;
            }
            level.waiting -= 1;
        }
        self.dispatch(job.tier, now, out);
    }

    fn resize(&mut self, seats: u32, now: Nanos, out: &mut Vec<Action>) {
        self.seats = seats;
        self.configure(now, out);
    }

    fn reload(&mut self, tiers: &[Tier], now: Nanos, out: &mut Vec<Action>) {
        tiers.clone_into(&mut self.tiers);
        self.configure(now, out);
    }

    fn wake_at(&mut self) -> Option<Nanos> {
        Some(self.adjust_at)
    }

    fn wake(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.adjust(now, true, out);
        self.adjust_at = now + nanos(PERIOD);
    }

    fn known(&self) -> (usize, usize) {
        (self.place.len(), self.running.len())
    }
}
