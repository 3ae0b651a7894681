//! What is simulated: tiers, groups of tenants and what they send, seats, and what must come of it.

use super::bars::{Bar, Metric};
use super::draw::{Arrivals, Capacity, Service};

/// A class of tenants.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    pub name: String,
    /// Its part of what is left when everybody wants more.
    pub weight: f64,
    /// Which share of the seats it gets at once if it wants them; others may use them meanwhile.
    pub reserve: f64,
    /// Which part of the reserve nobody else may use.
    pub hold: f64,
}

impl Tier {
    pub fn new(name: &str, weight: f64, reserve: f64) -> Self {
        Self {
            name: name.to_owned(),
            weight,
            reserve,
            hold: 0.0,
        }
    }
}

/// How much a group asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// As a share of the seats at the start.
    Share(f64),
    /// Requests a second.
    Rate(f64),
}

/// Whose request is next, where a group's requests come from one source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pick {
    /// Any tenant.
    Uniform,
    /// One after the other.
    Sweep,
    /// The k-th with a chance that falls with `k` to this power.
    Zipf(f64),
}

/// Tenants who do the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub name: String,
    /// Index into the tiers.
    pub tier: usize,
    pub tenants: u32,
    pub load: Load,
    pub pick: Pick,
    pub service: Service,
    pub arrivals: Arrivals,
    /// Of each tenant, within its tier.
    pub weight: f64,
    /// Which share of the requests is cancelled by its caller, at any moment of twice the mean service time.
    pub cancel: f64,
    /// When it is there, in seconds.
    pub active: (f64, f64),
}

impl Group {
    /// Poisson arrivals of exponential requests of 0.1 s.
    pub fn new(name: &str, tier: usize, tenants: u32, load: f64) -> Self {
        Self {
            name: name.to_owned(),
            tier,
            tenants,
            load: Load::Share(load),
            pick: Pick::Uniform,
            service: Service::Exponential(0.1),
            arrivals: Arrivals::Poisson,
            weight: 1.0,
            cancel: 0.0,
            active: (0.0, f64::INFINITY),
        }
    }

    pub fn service(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    pub fn closed(mut self, outstanding: u32, think: f64) -> Self {
        self.arrivals = Arrivals::Closed { outstanding, think };
        self
    }
}

/// The settings that policies with such settings take.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The largest share of the seats that one tenant may hold at once.
    pub tenant_share: f64,
    /// How many of a tenant's requests may wait.
    pub tenant_queue: usize,
    /// How many of a tier's requests may wait.
    pub tier_queue: usize,
    /// How many tenants may be remembered.
    pub tenants: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tenant_share: 1.0,
            tenant_queue: 100,
            tier_queue: 1_000,
            tenants: 20_000,
        }
    }
}

/// New weights for the tiers, and the seats shaken, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    pub from: f64,
    pub to: f64,
    pub every: f64,
    /// What alternates with the tiers of the run; after the storm those of the run hold.
    pub weights: Vec<f64>,
    /// Every other change has so many seats.
    pub seats: u32,
}

/// One world. A scenario can consist of several.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: String,
    pub title: String,
    pub about: String,
    pub tiers: Vec<Tier>,
    pub groups: Vec<Group>,
    pub capacity: Capacity,
    /// How long a caller waits for a seat, in seconds.
    pub patience: f64,
    pub limits: Limits,
    pub storm: Option<Storm>,
    /// Requests that come before are not counted.
    pub warmup: f64,
    pub end: f64,
    pub bars: Vec<Bar>,
    /// Shown beside what the bars are about.
    pub shown: Vec<Metric>,
    pub pictures: Vec<Picture>,
    /// Whether it is no longer the scenario as it is written, which its bars are made for.
    pub altered: bool,
}

/// What the page shows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// What each tier got, by policy.
    Shares,
    /// What each tier got over time, by policy.
    Course,
    /// One figure, by policy.
    Figure(Metric),
}

impl Run {
    pub fn tenants(&self) -> u32 {
        self.groups.iter().map(|group| group.tenants).sum()
    }

    pub fn group(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.name == name)
    }

    pub fn tier(&self, name: &str) -> Option<usize> {
        self.tiers.iter().position(|tier| tier.name == name)
    }

    /// Requests a second of a group.
    pub fn rate(&self, group: &Group) -> f64 {
        match group.load {
            Load::Rate(rate) => rate,
            Load::Share(share) => share * f64::from(self.capacity.first()) / group.service.mean(),
        }
    }

    /// Seats on average while the run is measured.
    pub fn seats(&self) -> f64 {
        let changes = self.capacity.changes(self.end);
        let ends = changes
            .iter()
            .skip(1)
            .map(|change| change.0)
            .chain([self.end]);
        let held = changes.iter().zip(ends).map(|(change, end)| {
            let length = (end - change.0.max(self.warmup)).max(0.0);
            length * f64::from(change.1)
        });
        held.sum::<f64>() / (self.end - self.warmup)
    }

    /// What each tier would get, as a share of the average seats, if work were a fluid: the weighted max-min allocation
    /// with the reserves as lower bounds. None where callers cancel, since what they ask for then is not known.
    pub fn fluid(&self) -> Option<Vec<f64>> {
        if self.groups.iter().any(|group| group.cancel > 0.0) {
            return None;
        }
        let seats = self.seats();
        let wanted: Vec<f64> = (0..self.tiers.len())
            .map(|tier| {
                let of_tier = self.groups.iter().filter(|group| group.tier == tier);
                of_tier
                    .map(|group| {
                        let most = self.limits.tenant_share * f64::from(group.tenants);
                        let wanted = match group.arrivals {
                            Arrivals::Closed { outstanding, .. } => {
                                f64::from(outstanding) * f64::from(group.tenants) / seats
                            }
                            _ => self.rate(group) * group.service.mean() / seats,
                        };
                        wanted.min(most)
                    })
                    .fold(0.0, |sum, wanted| sum + wanted)
            })
            .collect();
        let given = |level: f64| -> Vec<f64> {
            let tiers = self.tiers.iter().zip(&wanted);
            tiers
                .map(|(tier, wanted)| wanted.min(tier.reserve.max(level * tier.weight)))
                .collect()
        };
        let (mut low, mut high) = (0.0, 1e6);
        for _ in 0..100 {
            let level = f64::midpoint(low, high);
            let given = given(level);
            let kept: f64 = self
                .tiers
                .iter()
                .zip(&given)
                .map(|(tier, given)| (tier.hold - given).max(0.0))
                .sum();
            if given.iter().sum::<f64>() + kept > 1.0 {
                high = level;
            } else {
                low = level;
            }
        }
        Some(given(low))
    }
}
