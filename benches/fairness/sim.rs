//! The simulator: a heap of events and a clock that jumps from one to the next.
//!
//! It owns the truth: which requests wait, which run, how many seats there are. A policy is told of events and answers
//! with starts and refusals; it never learns how long a request will take. Callers leave when their patience ends, with
//! every policy, so none is worse for want of a timer. What a policy does wrong is counted: starts without a free seat,
//! requests left waiting beyond their patience, requests that it loses or still counts at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::draw::{Nanos, nanos, seconds};
use super::measure::{Account, Fate, Measured};
use super::policies::{Action, Entrant, Job, Policy};
use super::source::Source;
use super::world::{Run, Tier};

/// How many points a course has.
pub const POINTS: usize = 120;

/// Timers have a resolution of a millisecond: so much later a caller leaves by itself.
const GRACE: Nanos = 2_000_000;

/// In the order in which events of one moment happen: seats are given back before they are asked for, and patience ends
/// last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done { slot: u32, id: u64 },
    Seats(u32),
    Reload(bool),
    Arrive { group: u32, tenant: u32 },
    Cancel { slot: u32, id: u64 },
    GiveUp { slot: u32, id: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    Running(Nanos),
}

/// A request that is not over.
#[derive(Clone, Copy, Debug)]
struct Request {
    job: Job,
    arrival: Nanos,
    service: Nanos,
    group: u32,
    /// Its tenant's place within the group.
    local: u32,
    counted: bool,
    state: State,
}

struct Sim<'a> {
    run: &'a Run,
    policy: Box<dyn Policy>,
    heap: BinaryHeap<Reverse<(Nanos, Event)>>,
    sources: Vec<Source>,
    /// The first tenant of each group.
    first: Vec<u32>,
    requests: Vec<Request>,
    free: Vec<u32>,
    sent: u64,
    now: Nanos,
    window: (Nanos, Nanos),
    seats: u32,
    running: u32,
    waiting: u32,
    tier_running: Vec<u32>,
    tenants: Vec<Account>,
    actions: Vec<Action>,
    measured: Measured,
    point: Nanos,
}

/// Plays `run` under one policy.
pub fn play(run: &Run, entrant: &Entrant, seed: u64) -> Measured {
    let mut sim = Sim::new(run, (entrant.build)(run), seed);
    sim.begin();
    sim.play();
    sim.end()
}

impl<'a> Sim<'a> {
    fn new(run: &'a Run, policy: Box<dyn Policy>, seed: u64) -> Self {
        let groups = run.groups.len();
        let sources = (0..groups).map(|group| Source::new(run, group, seed));
        let first = run.groups.iter().scan(0, |sum, group| {
            let first = *sum;
            *sum += group.tenants;
            Some(first)
        });
        let end = nanos(run.end);
        Self {
            run,
            policy,
            heap: BinaryHeap::new(),
            sources: sources.collect(),
            first: first.collect(),
            requests: Vec::new(),
            free: Vec::new(),
            sent: 0,
            now: 0,
            window: (nanos(run.warmup), end),
            seats: 0,
            running: 0,
            waiting: 0,
            tier_running: vec![0; run.tiers.len()],
            tenants: vec![Account::default(); run.tenants() as usize],
            actions: Vec::new(),
            measured: Measured {
                groups: vec![Fate::default(); groups],
                used: vec![0.0; run.tiers.len()],
                course: vec![(0.0, vec![0.0; run.tiers.len()]); POINTS],
                ..Measured::default()
            },
            point: (end / POINTS as Nanos).max(1),
        }
    }

    fn push(&mut self, at: Nanos, event: Event) {
        self.heap.push(Reverse((at, event)));
    }

    fn begin(&mut self) {
        for (at, seats) in self.run.capacity.changes(self.run.end) {
            self.push(nanos(at), Event::Seats(seats));
        }
        if let Some(storm) = &self.run.storm {
            let steps = ((storm.to - storm.from) / storm.every) as u32;
            for step in 0..=steps {
                let at = nanos(storm.from + f64::from(step) * storm.every);
                let foreign = step % 2 == 0 && step < steps;
                let seats = if foreign {
                    storm.seats
                } else {
                    self.run.capacity.first()
                };
                self.push(at, Event::Reload(foreign));
                self.push(at, Event::Seats(seats));
            }
        }
        for group in 0..self.sources.len() {
            for (tenant, at) in self.sources[group].first() {
                self.arrival(group as u32, tenant, at);
            }
        }
    }

    fn arrival(&mut self, group: u32, tenant: u32, at: Nanos) {
        if at < self.window.1 {
            self.push(at, Event::Arrive { group, tenant });
        }
    }

    fn play(&mut self) {
        let mut wakes = 0;
        loop {
            let next = self.heap.peek().map(|Reverse((at, _))| *at);
            let pending = self.running > 0 || self.waiting > 0;
            let Some(next) = next else {
                // Only a policy's own timers are left; once nobody waits they are nobody's business.
                match self.policy.wake_at() {
                    Some(at) if self.waiting > 0 && wakes < 1_000_000 => {
                        wakes += 1;
                        self.wake(at.max(self.now));
                        continue;
                    }
                    _ => return,
                }
            };
            if next > self.window.1 && !pending {
                return;
            }
            if let Some(at) = self.policy.wake_at()
                && at <= next
            {
                wakes = if at > self.now { 0 } else { wakes + 1 };
                assert!(wakes < 1_000_000, "the policy wants to be woken for ever");
                self.wake(at.max(self.now));
                continue;
            }
            if let Some(Reverse((at, event))) = self.heap.pop() {
                self.measured.events += 1;
                self.advance(at);
                self.handle(event);
            }
        }
    }

    fn wake(&mut self, at: Nanos) {
        self.advance(at);
        self.policy.wake(self.now, &mut self.actions);
        self.act();
    }

    /// Lets time pass, and counts what was held meanwhile.
    fn advance(&mut self, to: Nanos) {
        let (from, to) = (self.now, to.max(self.now));
        self.now = to;
        if from >= self.window.1 || from == to {
            return;
        }
        let mut at = from;
        while at < to.min(self.window.1) {
            let place = ((at / self.point) as usize).min(POINTS - 1);
            let until = if place == POINTS - 1 {
                self.window.1
            } else {
                (place as Nanos + 1) * self.point
            };
            let until = until.min(to);
            let passed = seconds(until - at);
            let point = &mut self.measured.course[place];
            point.0 += passed * f64::from(self.seats);
            for (held, running) in point.1.iter_mut().zip(&self.tier_running) {
                *held += passed * f64::from(*running);
            }
            at = until;
        }
        let from = from.max(self.window.0);
        let to = to.min(self.window.1);
        if from < to {
            let passed = seconds(to - from);
            self.measured.capacity += passed * f64::from(self.seats);
            for (used, running) in self.measured.used.iter_mut().zip(&self.tier_running) {
                *used += passed * f64::from(*running);
            }
            let idle = self.seats.saturating_sub(self.running).min(self.waiting);
            self.measured.idle += passed * f64::from(idle);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Done { slot, id } => {
                if self.is(slot, id) {
                    self.release(slot, false);
                }
            }
            Event::Seats(seats) => {
                self.seats = seats;
                self.policy.resize(seats, self.now, &mut self.actions);
                self.act();
            }
            Event::Reload(foreign) => {
                let tiers = self.tiers(foreign);
                self.policy.reload(&tiers, self.now, &mut self.actions);
                self.act();
            }
            Event::Arrive { group, tenant } => self.arrive(group, tenant),
            Event::Cancel { slot, id } => {
                if self.is(slot, id) {
                    let request = self.requests[slot as usize];
                    match request.state {
                        State::Running(_) => self.release(slot, true),
                        _ => self.leave(slot, true),
                    }
                }
            }
            Event::GiveUp { slot, id } => {
                if self.is(slot, id) && self.requests[slot as usize].state == State::Waiting {
                    self.leave(slot, false);
                }
            }
        }
    }

    fn tiers(&self, foreign: bool) -> Vec<Tier> {
        let mut tiers = self.run.tiers.clone();
        if let Some(storm) = &self.run.storm
            && foreign
        {
            for (tier, weight) in tiers.iter_mut().zip(&storm.weights) {
                tier.weight = *weight;
            }
        }
        tiers
    }

    fn is(&self, slot: u32, id: u64) -> bool {
        let request = &self.requests[slot as usize];
        request.job.id == id && request.state != State::Free
    }

    fn arrive(&mut self, group: u32, source: u32) {
        let (local, service, cancel) = self.sources[group as usize].request(source);
        if let Some((tenant, at)) = self.sources[group as usize].next(source, self.now) {
            self.arrival(group, tenant, at);
        }
        let described = &self.run.groups[group as usize];
        let slot = self.free.pop().unwrap_or(self.requests.len() as u32);
        // The slot is the low half, so that a policy's answer finds its request; the high half orders by arrival.
        let id = (self.sent << 24) | u64::from(slot);
        self.sent += 1;
        let tenant = self.first[group as usize] + local;
        let job = Job {
            id,
            tenant,
            tier: described.tier,
            weight: described.weight,
            deadline: self.now + nanos(self.run.patience),
        };
        let counted = self.now >= self.window.0;
        let request = Request {
            job,
            arrival: self.now,
            service,
            group,
            local,
            counted,
            state: State::Waiting,
        };
        if slot as usize == self.requests.len() {
            assert!(slot < 1 << 24, "fewer than 16 million requests at once");
            self.requests.push(request);
        } else {
            self.requests[slot as usize] = request;
        }
        self.waiting += 1;
        if counted {
            let fate = &mut self.measured.groups[group as usize];
            fate.offered += 1;
            fate.wanted += seconds(service);
            self.tenants[tenant as usize].offered += 1;
        }
        if let Some(after) = cancel {
            self.push(self.now + after, Event::Cancel { slot, id });
        }
        self.policy.arrive(&job, self.now, &mut self.actions);
        self.act();
        if self.is(slot, id) && self.requests[slot as usize].state == State::Waiting {
            self.push(job.deadline + GRACE, Event::GiveUp { slot, id });
        }
        if let Some(tracked) = self.policy.tracked() {
            let most = self.measured.tracked.get_or_insert(0);
            *most = tracked.max(*most);
        }
    }

    /// Does what the policy wants.
    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Start(id) => self.start(id),
                Action::Refuse(id, why, hint) => self.refuse(id, why, hint),
            }
        }
        self.actions = actions;
    }

    fn waiting(&mut self, id: u64) -> Option<u32> {
        let slot = (id & 0x00ff_ffff) as u32;
        let waits = self
            .requests
            .get(slot as usize)
            .is_some_and(|request| request.job.id == id && request.state == State::Waiting);
        // An answer for somebody who does not wait: the policy lost count.
        self.measured.leaked += u64::from(!waits);
        waits.then_some(slot)
    }

    fn start(&mut self, id: u64) {
        let Some(slot) = self.waiting(id) else { return };
        self.measured.over += u64::from(self.running >= self.seats);
        let request = &mut self.requests[slot as usize];
        request.state = State::Running(self.now);
        let (done, tier) = (self.now + request.service, request.job.tier);
        if request.counted {
            let waited = self.now - request.arrival;
            self.measured.groups[request.group as usize]
                .waits
                .add(waited);
        }
        self.waiting -= 1;
        self.running += 1;
        self.tier_running[tier] += 1;
        self.push(done, Event::Done { slot, id });
    }

    fn refuse(&mut self, id: u64, why: &'static str, hint: Option<Nanos>) {
        let Some(slot) = self.waiting(id) else { return };
        let request = self.requests[slot as usize];
        self.waiting -= 1;
        if request.counted {
            let fate = &mut self.measured.groups[request.group as usize];
            // At the end of patience it is an end of patience, whoever's timer it was.
            if self.now >= request.job.deadline {
                fate.gave_up += 1;
            } else {
                fate.refused += 1;
            }
            *fate.reasons.entry(why).or_default() += 1;
            fate.refusals.add(self.now - request.arrival);
        }
        self.over_with(slot, Some(hint));
    }

    /// A caller who waits is gone: by its own will, or because its patience ended and the policy did not see to it.
    fn leave(&mut self, slot: u32, cancelled: bool) {
        let request = self.requests[slot as usize];
        self.waiting -= 1;
        if request.counted {
            let fate = &mut self.measured.groups[request.group as usize];
            if cancelled {
                fate.cancelled += 1;
                self.tenants[request.job.tenant as usize].cancelled += 1;
            } else {
                fate.gave_up += 1;
                fate.refusals.add(self.now - request.arrival);
                *fate.reasons.entry("left").or_default() += 1;
            }
        }
        if !cancelled {
            self.measured.late += 1;
        }
        self.requests[slot as usize].state = State::Free;
        self.policy.leave(&request.job, self.now, &mut self.actions);
        self.act();
        self.over_with(slot, Some(None));
    }

    fn release(&mut self, slot: u32, cancelled: bool) {
        let request = self.requests[slot as usize];
        let State::Running(since) = request.state else {
            return;
        };
        self.running -= 1;
        self.tier_running[request.job.tier] -= 1;
        self.account(&request, since);
        if request.counted {
            let fate = &mut self.measured.groups[request.group as usize];
            let tenant = &mut self.tenants[request.job.tenant as usize];
            if cancelled {
                fate.cancelled += 1;
                tenant.cancelled += 1;
            } else {
                fate.served += 1;
                tenant.served += 1;
            }
        }
        self.requests[slot as usize].state = State::Free;
        let held = self.now - since;
        self.policy
            .finish(&request.job, held, self.now, &mut self.actions);
        self.act();
        self.over_with(slot, None);
    }

    /// The part of a held seat that lies within the window.
    fn account(&mut self, request: &Request, since: Nanos) {
        let (from, to) = (since.max(self.window.0), self.now.min(self.window.1));
        if from < to {
            let held = seconds(to - from);
            self.measured.groups[request.group as usize].used += held;
            self.tenants[request.job.tenant as usize].used += held;
        }
    }

    fn over_with(&mut self, slot: u32, no: Option<Option<Nanos>>) {
        let request = self.requests[slot as usize];
        self.requests[slot as usize].state = State::Free;
        self.free.push(slot);
        let again = self.sources[request.group as usize].again(request.local, no, self.now);
        if let Some(at) = again {
            self.arrival(request.group, request.local, at);
        }
    }

    fn end(mut self) -> Measured {
        let (waiting, running) = self.policy.known();
        self.measured.leaked += (waiting + running) as u64;
        self.measured.leaked += u64::from(self.waiting + self.running);
        for (group, first) in self.run.groups.iter().zip(&self.first) {
            let tenants = &self.tenants[*first as usize..(*first + group.tenants) as usize];
            let served = tenants.iter().filter_map(|tenant| {
                let stayed = tenant.offered - tenant.cancelled;
                (stayed >= 10).then(|| f64::from(tenant.served) / f64::from(stayed))
            });
            self.measured.worst.push(served.fold(1.0, f64::min));
            let used = || tenants.iter().map(|tenant| tenant.used);
            self.measured.spread.push((
                used().fold(f64::INFINITY, f64::min),
                used().fold(0.0, f64::max),
            ));
        }
        self.measured
    }
}
