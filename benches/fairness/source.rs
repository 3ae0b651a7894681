//! Who sends the next request, and when.

use mainstay::rng::Rng;

use super::draw::{Arrivals, Nanos, below, exponential, nanos, seconds};
use super::world::{Group, Pick, Run};

/// How long a closed-loop tenant stays away that was told no, and not when to come again.
const AFTER_A_NO: f64 = 0.1;

/// All tenants of a group together.
pub const TOGETHER: u32 = u32::MAX;

/// The requests of one group. Its numbers depend on the seed and the group alone, so that all policies meet the same
/// requests; those of a closed loop depend on when its requests end.
#[derive(Debug)]
pub struct Source {
    group: Group,
    /// Requests a second.
    rate: f64,
    rng: Rng,
    /// For processes of single tenants.
    tenants: Vec<Tenant>,
    sent: u64,
    /// How long the group has been on, for bursts.
    on_time: f64,
    /// For unequal tenants: the sums of their chances.
    chances: Vec<f64>,
}

#[derive(Debug)]
struct Tenant {
    rng: Rng,
    on_until: f64,
}

impl Source {
    pub fn new(run: &Run, place: usize, seed: u64) -> Self {
        let group = run.groups[place].clone();
        let mut rng = Rng::new(seed ^ (place as u64 + 1).wrapping_mul(0x9e6c_63d0_876a_46ad));
        let single = matches!(
            group.arrivals,
            Arrivals::OnOff { .. } | Arrivals::Periodic | Arrivals::Closed { .. }
        );
        let tenants = if single { group.tenants } else { 0 };
        let tenants = (0..tenants).map(|_| Tenant {
            rng: rng.fork(),
            on_until: 0.0,
        });
        let tenants = tenants.collect();
        let mut sum = 0.0;
        let chances = match group.pick {
            Pick::Zipf(power) => (1..=group.tenants)
                .map(|k| {
                    sum += super::draw::exp(-power * super::draw::ln(f64::from(k)));
                    sum
                })
                .collect(),
            Pick::Uniform | Pick::Sweep => Vec::new(),
        };
        Self {
            rate: run.rate(&group),
            group,
            rng,
            tenants,
            sent: 0,
            on_time: 0.0,
            chances,
        }
    }

    /// The first arrivals: of whom, and when.
    pub fn first(&mut self) -> Vec<(u32, Nanos)> {
        let from = self.group.active.0;
        let each_rate = self.rate / f64::from(self.group.tenants);
        match self.group.arrivals {
            Arrivals::Poisson | Arrivals::Burst { .. } => {
                self.next(TOGETHER, nanos(from)).into_iter().collect()
            }
            Arrivals::OnOff { on, off } => {
                // Some are on at the start, as many as are at any other time.
                for tenant in &mut self.tenants {
                    if tenant.rng.unit() < on / (on + off) {
                        tenant.on_until = from + exponential(&mut tenant.rng, on);
                    }
                }
                (0..self.group.tenants)
                    .filter_map(|tenant| self.next(tenant, nanos(from)))
                    .collect()
            }
            Arrivals::Periodic => {
                let phases = (0..).zip(&mut self.tenants);
                phases
                    .map(|(place, tenant)| (place, nanos(from + tenant.rng.unit() / each_rate)))
                    .collect()
            }
            Arrivals::Closed { outstanding, think } => {
                let mut first = Vec::new();
                for (place, tenant) in (0..).zip(&mut self.tenants) {
                    for _ in 0..outstanding {
                        let delay = tenant.rng.unit() * think.max(0.01);
                        first.push((place, nanos(from + delay)));
                    }
                }
                first
            }
        }
    }

    /// The arrival after one at `now`, of the same tenant or of all together; none in a closed loop.
    pub fn next(&mut self, tenant: u32, now: Nanos) -> Option<(u32, Nanos)> {
        if self.rate <= 0.0 {
            return None;
        }
        let at = match self.group.arrivals {
            Arrivals::Poisson => now + nanos(exponential(&mut self.rng, 1.0 / self.rate)),
            Arrivals::Burst { on, off } => {
                let rate = self.rate * (on + off) / on;
                self.on_time += exponential(&mut self.rng, 1.0 / rate);
                let cycles = (self.on_time / on).floor();
                nanos(self.group.active.0 + cycles * (on + off) + (self.on_time - cycles * on))
            }
            Arrivals::OnOff { on, off } => {
                let each = self.rate / f64::from(self.group.tenants) * (on + off) / on;
                let state = &mut self.tenants[tenant as usize];
                let mut at = seconds(now);
                loop {
                    if at < state.on_until {
                        let next = at + exponential(&mut state.rng, 1.0 / each);
                        if next < state.on_until {
                            break nanos(next);
                        }
                    }
                    at = at.max(state.on_until) + exponential(&mut state.rng, off);
                    state.on_until = at + exponential(&mut state.rng, on);
                }
            }
            Arrivals::Periodic => now + nanos(f64::from(self.group.tenants) / self.rate),
            Arrivals::Closed { .. } => return None,
        };
        (seconds(at) < self.group.active.1).then_some((tenant, at.max(now)))
    }

    /// When a closed-loop tenant sends again, after an answer at `now`, or after a no with or without a time.
    pub fn again(&mut self, tenant: u32, no: Option<Option<Nanos>>, now: Nanos) -> Option<Nanos> {
        let Arrivals::Closed { think, .. } = self.group.arrivals else {
            return None;
        };
        let away = match no {
            None => 0,
            Some(hint) => hint.unwrap_or(nanos(AFTER_A_NO)),
        };
        let state = &mut self.tenants[tenant as usize];
        let think = if think > 0.0 {
            nanos(exponential(&mut state.rng, think))
        } else {
            0
        };
        let at = now + away + think;
        (seconds(at) < self.group.active.1).then_some(at)
    }

    /// A request: of whom, how long it will take, and when its caller cancels it.
    pub fn request(&mut self, tenant: u32) -> (u32, Nanos, Option<Nanos>) {
        let tenant = match (tenant, self.group.pick) {
            (TOGETHER, Pick::Uniform) => below(&mut self.rng, self.group.tenants),
            (TOGETHER, Pick::Sweep) => (self.sent % u64::from(self.group.tenants)) as u32,
            (TOGETHER, Pick::Zipf(_)) => {
                let at = self.rng.unit() * self.chances.last().copied().unwrap_or(1.0);
                let place = self.chances.partition_point(|sum| *sum <= at);
                (place as u32).min(self.group.tenants - 1)
            }
            (tenant, _) => tenant,
        };
        self.sent += 1;
        let rng = match self.group.arrivals {
            Arrivals::Poisson | Arrivals::Burst { .. } => &mut self.rng,
            _ => &mut self.tenants[tenant as usize].rng,
        };
        let service = nanos(self.group.service.draw(rng)).max(1);
        let cancel = (self.group.cancel > 0.0 && rng.unit() < self.group.cancel)
            .then(|| nanos(rng.unit() * 2.0 * self.group.service.mean()));
        (tenant, service, cancel)
    }
}
