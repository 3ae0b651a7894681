//! This crate's scheduler.

use std::num::NonZeroU32;

use mainstay::num::{Period, Ratio};
use mainstay::tenant::scheduler::{
    Arrival, Ask, Refused, Scheduler, SchedulerConfig, Seat, TenantId, Ticket,
};
use mainstay::tenant::tier::{Tier as Settings, TierId, Tiers, Weight};
use mainstay::time::Tick;

use super::{Action, Job, Nanos, Policy, Run, Tier};
use crate::fairness::world::Limits;

pub const ABOUT: &str = "`tenant::scheduler` with the scenario's tiers; 1,000 may wait in a tier and 100 of a tenant (its defaults) where \
     nothing else is said. It is not told what requests cost.";

pub fn build(run: &Run) -> Box<dyn Policy> {
    let tiers = settings(&run.tiers, &run.limits, run.patience);
    let seats = seats(run.capacity.first());
    let config = SchedulerConfig::new(seats, tiers)
        .queue(u32::MAX)
        .tenants(self::seats(run.limits.tenants as u32));
    Box::new(Fair {
        scheduler: Scheduler::new(config),
        limits: run.limits.clone(),
        patience: run.patience,
        places: Vec::new(),
    })
}

fn seats(seats: u32) -> NonZeroU32 {
    NonZeroU32::new(seats).unwrap_or(NonZeroU32::MIN)
}

fn settings(tiers: &[Tier], limits: &Limits, patience: f64) -> Tiers {
    let share = |share: f64| Ratio::new("share", share).expect("checked by the arguments");
    let patience = std::time::Duration::from_secs_f64(patience);
    let tiers = tiers.iter().map(|tier| {
        Settings::new(tier.name.clone())
            .weight(weight(tier.weight))
            .reserved(share(tier.reserve))
            .held(share(tier.hold))
            .queue(limits.tier_queue as u32)
            .tenant_queue(limits.tenant_queue as u32)
            .tenant_share(share(limits.tenant_share))
            .patience(Period::new("patience", patience).expect("checked by the arguments"))
    });
    Tiers::new(tiers).expect("checked by the arguments")
}

fn weight(weight: f64) -> Weight {
    Weight::new("weight", weight.round() as u32).expect("checked by the arguments")
}

/// Where a request is, by the slot that the low half of its number names.
#[derive(Debug, Default)]
enum Place {
    #[default]
    None,
    Waits(Ticket),
    Runs(Seat),
}

#[derive(Debug)]
struct Fair {
    scheduler: Scheduler<u64>,
    limits: Limits,
    patience: f64,
    places: Vec<Place>,
}

impl Fair {
    fn place(&mut self, id: u64) -> &mut Place {
        let slot = (id & 0x00ff_ffff) as usize;
        if self.places.len() <= slot {
            self.places.resize_with(slot + 1, Place::default);
        }
        &mut self.places[slot]
    }

    fn refused(&mut self, refused: &Refused<u64>, out: &mut Vec<Action>) {
        if refused.ticket.is_some() {
            *self.place(refused.waiter) = Place::None;
        }
        let hint = refused.retry_after.map(|after| after.as_nanos() as Nanos);
        out.push(Action::Refuse(
            refused.waiter,
            refused.reason.as_str(),
            hint,
        ));
    }

    fn grant(&mut self, now: Nanos, out: &mut Vec<Action>) {
        while let Some(granted) = self.scheduler.grant(Tick::from_nanos(now)) {
            *self.place(granted.waiter) = Place::Runs(granted.seat);
            out.push(Action::Start(granted.waiter));
        }
    }
}

impl Policy for Fair {
    fn arrive(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>) {
        let ask = Ask::new(
            TenantId::new(u64::from(job.tenant)),
            TierId::new(job.tier as u8),
        )
        .weight(weight(job.weight))
        .deadline(Tick::from_nanos(job.deadline));
        match self.scheduler.admit(ask, job.id, Tick::from_nanos(now)) {
            Arrival::Granted { seat, waiter, .. } => {
                *self.place(waiter) = Place::Runs(seat);
                out.push(Action::Start(waiter));
            }
            Arrival::Queued {
                ticket, evicted, ..
            } => {
                *self.place(job.id) = Place::Waits(ticket);
                if let Some(evicted) = evicted {
                    self.refused(&evicted, out);
                }
            }
            Arrival::Refused(refused) => self.refused(&refused, out),
            _ => unreachable!("the scheduler has no other answer"),
        }
        self.grant(now, out);
    }

    fn finish(&mut self, job: &Job, _: Nanos, now: Nanos, out: &mut Vec<Action>) {
        if let Place::Runs(seat) = std::mem::take(self.place(job.id)) {
            self.scheduler.release(seat, Tick::from_nanos(now));
        }
        self.grant(now, out);
    }

    fn leave(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>) {
        if let Place::Waits(ticket) = std::mem::take(self.place(job.id)) {
            self.scheduler.leave(ticket, Tick::from_nanos(now));
        }
        self.grant(now, out);
    }

    fn resize(&mut self, seats: u32, now: Nanos, out: &mut Vec<Action>) {
        self.scheduler.resize(self::seats(seats));
        self.grant(now, out);
    }

    fn reload(&mut self, tiers: &[Tier], now: Nanos, out: &mut Vec<Action>) {
        let tiers = settings(tiers, &self.limits, self.patience);
        let reloaded = self.scheduler.reload(tiers, Tick::from_nanos(now));
        reloaded.expect("the same tiers by name");
        self.grant(now, out);
    }

    fn wake_at(&mut self) -> Option<Nanos> {
        self.scheduler.poll_timeout().map(Tick::as_nanos)
    }

    fn wake(&mut self, now: Nanos, out: &mut Vec<Action>) {
        while let Some(refused) = self.scheduler.handle_timeout(Tick::from_nanos(now)) {
            self.refused(&refused, out);
        }
        self.grant(now, out);
    }

    fn known(&self) -> (usize, usize) {
        (
            self.scheduler.waiting() as usize,
            self.scheduler.in_flight() as usize,
        )
    }

    fn tracked(&self) -> Option<usize> {
        Some(self.scheduler.tenants())
    }
}
