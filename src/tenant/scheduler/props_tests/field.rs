//! A pool in virtual time beside a naive model of it: who waits where, who has a seat, and what may not happen.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use crate::rng::Rng;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::scheduler::wheel::STEP;
use crate::tenant::scheduler::{
    Arrival, Ask, Refusal, Scheduler, SchedulerConfig, Seat, TenantId, Ticket,
};
use crate::tenant::tier::{TierId, Tiers, Weight};
use crate::time::Tick;

pub(super) const MILLI: u64 = 1_000_000;

pub(super) type Verdict = Result<(), String>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) tenant: u64,
    pub(super) tier: u8,
    pub(super) weight: u16,
    /// How long it keeps its seat.
    pub(super) cost: u64,
    /// What it says that it will take.
    pub(super) told: Option<u64>,
    pub(super) deadline: Option<Tick>,
}

impl Request {
    pub(super) const fn new(tenant: u64, tier: u8, cost: u64) -> Self {
        Self {
            tenant,
            tier,
            weight: 1,
            cost,
            told: None,
            deadline: None,
        }
    }

    pub(super) const fn told(mut self) -> Self {
        self.told = Some(self.cost);
        self
    }

    pub(super) const fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waits { ticket: Ticket, until: Tick },
    Runs,
    Served,
    Abandoned,
    Refused(Refusal),
    Left,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    pub(super) request: Request,
    pub(super) came: Tick,
    pub(super) began: Tick,
    pub(super) ended: Tick,
    pub(super) fate: Fate,
}

/// What has happened, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Granted(usize),
    Ended(usize),
    Refused(usize),
}

pub(super) struct Field {
    pub(super) pool: Scheduler<usize>,
    pub(super) now: Tick,
    pub(super) stories: Vec<Story>,
    /// Whether the model is asked after every step.
    pub(super) strict: bool,
    running: BTreeMap<(u64, usize), Seat>,
    queues: BTreeMap<(u8, u64), VecDeque<usize>>,
    seats: BTreeMap<(u8, u64), u32>,
    events: VecDeque<Event>,
    waiting: usize,
}

impl Field {
    pub(super) fn new(config: SchedulerConfig, flaw: Option<Flaw>) -> Self {
        let mut pool = Scheduler::new(config);
        pool.flaw = flaw;
        Self {
            pool,
            now: Tick::from_nanos(3_600_000 * MILLI),
            stories: Vec::new(),
            strict: true,
            running: BTreeMap::new(),
            queues: BTreeMap::new(),
            seats: BTreeMap::new(),
            events: VecDeque::new(),
            waiting: 0,
        }
    }

    pub(super) fn loose(mut self) -> Self {
        self.strict = false;
        self
    }

    pub(super) fn waiting_of(&self, tier: u8, tenant: u64) -> usize {
        self.queues.get(&(tier, tenant)).map_or(0, VecDeque::len)
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tiers(&self) -> &Tiers {
        self.pool.config().tiers()
    }

    pub(super) fn come(&mut self, request: Request) -> Result<usize, String> {
        let id = self.stories.len();
        let mut ask = Ask::new(TenantId::new(request.tenant), TierId::new(request.tier))
            .weight(Weight::of(request.weight));
        if let Some(told) = request.told {
            ask = ask.cost(std::time::Duration::from_nanos(told));
        }
        if let Some(deadline) = request.deadline {
            ask = ask.deadline(deadline);
        }
        let mut story = Story {
            request,
            came: self.now,
            began: Tick::NEVER,
            ended: Tick::NEVER,
            fate: Fate::Left,
        };
        let mut pushed_out = None;
        let mut seat = None;
        match self.pool.admit(ask, id, self.now) {
            Arrival::Granted { seat: got, waiter } => {
                same(waiter, id, "hands back who came")?;
                seat = Some(got);
            }
            Arrival::Queued {
                ticket,
                until,
                evicted,
            } => {
                story.fate = Fate::Waits { ticket, until };
                self.queues
                    .entry((request.tier, request.tenant))
                    .or_default()
                    .push_back(id);
                self.waiting += 1;
                pushed_out = evicted;
            }
            Arrival::Refused(refused) => {
                same(refused.waiter, id, "hands back who came")?;
                story.fate = Fate::Refused(refused.reason);
                story.ended = self.now;
                self.events.push_back(Event::Refused(id));
            }
        }
        self.stories.push(story);
        if let Some(seat) = seat {
            self.check_grant(id)?;
            self.seated(id, seat);
        }
        if let Some(refused) = pushed_out {
            if refused.reason != Refusal::Shed {
                return Err(format!("{id} was pushed out as {:?}", refused.reason));
            }
            self.refused(refused.waiter, refused.reason)?;
        }
        self.drain()?;
        Ok(id)
    }

    fn unqueue(&mut self, id: usize) -> Verdict {
        let request = self.stories[id].request;
        let queue = self
            .queues
            .entry((request.tier, request.tenant))
            .or_default();
        let at = queue.iter().position(|other| *other == id);
        let at = at.ok_or_else(|| format!("{id} does not wait"))?;
        queue.remove(at);
        self.waiting -= 1;
        Ok(())
    }

    fn refused(&mut self, id: usize, reason: Refusal) -> Verdict {
        self.unqueue(id)?;
        self.stories[id].fate = Fate::Refused(reason);
        self.stories[id].ended = self.now;
        self.events.push_back(Event::Refused(id));
        Ok(())
    }

    fn seated(&mut self, id: usize, seat: Seat) {
        let story = &mut self.stories[id];
        story.fate = Fate::Runs;
        story.began = self.now;
        let key = (story.request.tier, story.request.tenant);
        *self.seats.entry(key).or_default() += 1;
        let end = self.now.as_nanos() + story.request.cost;
        self.running.insert((end, id), seat);
        self.events.push_back(Event::Granted(id));
    }

    /// Timeouts, then grants, until there are none.
    pub(super) fn drain(&mut self) -> Verdict {
        // A waiter whose time was over when its turn came is handed back by the next look at the timers.
        self.sweep()?;
        self.let_in()?;
        self.sweep()?;
        if self.strict {
            self.check_rest()
        } else {
            Ok(())
        }
    }

    fn sweep(&mut self) -> Verdict {
        while let Some(refused) = self.pool.handle_timeout(self.now) {
            let Fate::Waits { until, .. } = self.stories[refused.waiter].fate else {
                return Err(format!("{} does not wait", refused.waiter));
            };
            if until > self.now {
                return Err(format!(
                    "P9: {} was turned away before its time",
                    refused.waiter
                ));
            }
            self.refused(refused.waiter, Refusal::Deadline)?;
        }
        Ok(())
    }

    fn let_in(&mut self) -> Verdict {
        loop {
            let before = self.strict.then(|| self.best_grounds());
            let Some(granted) = self.pool.grant(self.now) else {
                return Ok(());
            };
            let id = granted.waiter;
            let Fate::Waits { ticket, until } = self.stories[id].fate else {
                return Err(format!("{id} does not wait and is granted a seat"));
            };
            same(ticket, granted.ticket, "the ticket of who is granted")?;
            if until <= self.now {
                return Err(format!("rule 8: {id} is granted a seat after its time"));
            }
            let request = self.stories[id].request;
            let queue = &self.queues[&(request.tier, request.tenant)];
            let first = queue.iter().find(|id| self.is_due(**id));
            same(first.copied(), Some(id), "the oldest of its tenant's")?;
            self.check_grant(id)?;
            if let Some(reserved_waits) = before {
                let tier = TierId::new(request.tier);
                let (seats, seating) = (self.of_tier(request.tier), self.pool.seating());
                let has_right = seats < seating.reserved(tier)
                    || (seats == seating.reserved(tier) && seating.claim(tier) > 0);
                if reserved_waits && !has_right {
                    return Err(format!("P2: {id} overtakes a tier below its reservation"));
                }
            }
            self.unqueue(id)?;
            self.seated(id, granted.seat);
        }
    }

    fn of_tier(&self, tier: u8) -> u32 {
        let seats = self.seats.iter().filter(|((of, _), _)| *of == tier);
        seats.map(|(_, seats)| *seats).sum()
    }

    fn is_due(&self, id: usize) -> bool {
        matches!(self.stories[id].fate, Fate::Waits { until, .. } if until > self.now)
    }

    /// The tiers that have somebody to let in, and a seat for it, by the naive model.
    fn ready(&self) -> Vec<u8> {
        let seating = self.pool.seating();
        let held_back = |(tier, tenant): &(u8, u64)| {
            let seats = self.seats.get(&(*tier, *tenant)).copied().unwrap_or(0);
            seats >= seating.tenant_limit(TierId::new(*tier))
        };
        let mut ready = Vec::new();
        for (id, _) in self.tiers().iter() {
            let tier = u8::try_from(id.place()).unwrap();
            let mut queues = self.queues.iter().filter(|((of, _), _)| *of == tier);
            if queues.any(|(key, queue)| queue.iter().any(|id| self.is_due(*id)) && !held_back(key))
                && self.has_seat(tier)
            {
                ready.push(tier);
            }
        }
        ready
    }

    /// Rule 1 said anew: below the capacity, the tier's limit, and leaving what is held for others.
    fn has_seat(&self, tier: u8) -> bool {
        let seating = self.pool.seating();
        let mut kept = 0;
        let mut taken = 0;
        for (id, _) in self.tiers().iter() {
            let other = u8::try_from(id.place()).unwrap();
            taken += self.of_tier(other);
            if other != tier {
                kept += seating.held(id).saturating_sub(self.of_tier(other));
            }
        }
        self.of_tier(tier) < seating.limit(TierId::new(tier)) && taken + kept < seating.capacity()
    }

    fn best_grounds(&self) -> bool {
        let below =
            |tier: &u8| self.of_tier(*tier) < self.pool.seating().reserved(TierId::new(*tier));
        self.ready().iter().any(below)
    }

    fn check_grant(&self, id: usize) -> Verdict {
        let request = self.stories[id].request;
        if !self.strict {
            return Ok(());
        }
        if !self.has_seat(request.tier) {
            return Err(format!("rule 1: no seat for {id} of tier {}", request.tier));
        }
        let own = self.seats.get(&(request.tier, request.tenant)).copied();
        let most = self.pool.seating().tenant_limit(TierId::new(request.tier));
        if own.unwrap_or(0) >= most {
            return Err(format!("rule 1: {id} is one more than its tenant may have"));
        }
        Ok(())
    }

    fn check_rest(&self) -> Verdict {
        if let Some(tier) = self.ready().first() {
            return Err(format!("P1: a seat is free and tier {tier} waits"));
        }
        self.check_sums()?;
        for story in &self.stories {
            if let Fate::Waits { until, .. } = story.fate
                && until.as_nanos() + (2 << STEP) <= self.now.as_nanos()
            {
                return Err(format!("P9: {story:?} still waits at {:?}", self.now));
            }
        }
        Ok(())
    }

    /// P8.
    pub(super) fn check_sums(&self) -> Verdict {
        let count = |n: usize| u32::try_from(n).unwrap();
        same(
            self.pool.in_flight(),
            count(self.running.len()),
            "P8: seats and who runs",
        )?;
        same(self.pool.waiting(), count(self.waiting), "P8: who waits")?;
        let (mut waits, mut runs) = (0, 0);
        for story in &self.stories {
            waits += usize::from(matches!(story.fate, Fate::Waits { .. }));
            runs += usize::from(story.fate == Fate::Runs);
        }
        same(
            (waits, runs),
            (self.waiting, self.running.len()),
            "P8: stories",
        )?;
        for (id, _) in self.tiers().iter() {
            let tier = u8::try_from(id.place()).unwrap();
            let queues = self.queues.iter().filter(|((of, _), _)| *of == tier);
            let waiting = queues.map(|(_, queue)| queue.len()).sum();
            let counts = self.pool.tier(id);
            same(
                (counts.in_flight, counts.waiting),
                (self.of_tier(tier), count(waiting)),
                "P8: counts of a tier",
            )?;
        }
        for ((tier, tenant), queue) in &self.queues {
            let known = self.pool.tenant(TenantId::new(*tenant), TierId::new(*tier));
            let own = self.seats.get(&(*tier, *tenant)).copied().unwrap_or(0);
            let known = known.map_or((0, 0), |it| (it.in_flight, it.waiting));
            same(known, (own, count(queue.len())), "P8: counts of a tenant")?;
        }
        Ok(())
    }

    fn end(&mut self, key: (u64, usize), fate: Fate) {
        if let Some(seat) = self.running.remove(&key) {
            let id = key.1;
            let story = &mut self.stories[id];
            story.fate = fate;
            story.ended = self.now;
            let key = (story.request.tier, story.request.tenant);
            *self.seats.entry(key).or_default() -= 1;
            self.pool.release(seat, self.now);
            self.events.push_back(Event::Ended(id));
        }
    }

    /// The next moment at which something happens of itself.
    fn next(&self) -> Option<u64> {
        let end = self.running.keys().next().map(|(end, _)| *end);
        let timer = self.pool.poll_timeout().map(Tick::as_nanos);
        match (end, timer) {
            (Some(end), Some(timer)) => Some(end.min(timer)),
            (end, timer) => end.or(timer),
        }
    }

    /// One moment at which something happens, no later than `at`. Says whether there was one.
    pub(super) fn step(&mut self, at: Tick) -> Result<bool, String> {
        let Some(next) = self.next().filter(|next| *next <= at.as_nanos()) else {
            self.now = self.now.max(at);
            return Ok(false);
        };
        self.now = self.now.max(Tick::from_nanos(next));
        while let Some(key) = self.running.keys().next().copied()
            && key.0 <= self.now.as_nanos()
        {
            self.end(key, Fate::Served);
            self.drain()?;
        }
        self.drain()?;
        Ok(true)
    }

    pub(super) fn until(&mut self, at: Tick) -> Verdict {
        while self.step(at)? {}
        Ok(())
    }

    pub(super) fn pass(&mut self, nanos: u64) -> Verdict {
        self.until(Tick::from_nanos(self.now.as_nanos() + nanos))
    }

    /// Somebody goes, whether it waits or runs.
    pub(super) fn cancel(&mut self, id: usize) -> Verdict {
        match self.stories[id].fate {
            Fate::Waits { ticket, .. } => {
                let got = self.pool.leave(ticket, self.now);
                same(got, Some(id), "who leaves is handed back")?;
                same(self.pool.leave(ticket, self.now), None, "and only once")?;
                self.unqueue(id)?;
                self.stories[id].fate = Fate::Left;
            }
            Fate::Runs => {
                let key = self.running.keys().find(|(_, other)| *other == id);
                let key = *key.ok_or("it runs")?;
                self.end(key, Fate::Abandoned);
            }
            _ => {}
        }
        self.drain()
    }

    pub(super) fn resize(&mut self, capacity: u32) -> Verdict {
        self.pool.resize(NonZeroU32::new(capacity).unwrap());
        self.drain()
    }

    pub(super) fn reload(&mut self, tiers: Tiers) -> Verdict {
        let reloaded = self.pool.reload(tiers, self.now);
        reloaded.map_err(|error| error.to_string())?;
        self.drain()
    }

    /// All that runs and waits comes to its end.
    pub(super) fn finish(&mut self) -> Verdict {
        self.until(Tick::from_nanos(u64::MAX / 2))?;
        same(
            (self.waiting, self.running.len()),
            (0, 0),
            "all come to an end",
        )?;
        self.check_sums()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is small")]
pub(super) fn same<A: PartialEq + std::fmt::Debug>(is: A, should: A, what: &str) -> Verdict {
    if is == should {
        Ok(())
    } else {
        Err(format!("{what}: {is:?} instead of {should:?}"))
    }
}

pub(super) fn below(rng: &mut Rng, n: u64) -> u64 {
    rng.next_u64() % n.max(1)
}

/// From `low` up to `high`, both included.
pub(super) fn within(rng: &mut Rng, low: u64, high: u64) -> u64 {
    low + below(rng, high - low + 1)
}

/// Exponentially distributed about `mean`.
pub(super) fn spread(rng: &mut Rng, mean: u64) -> u64 {
    let drawn = -(1.0 - rng.unit()).ln() * mean as f64;
    (drawn as u64).max(1)
}
