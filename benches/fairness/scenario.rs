//! The scenarios, each one world or several.
//!
//! 64 seats, exponential requests of 0.1 s and a patience of 1 s where nothing else is said; three tiers, weighted
//! 6 : 3 : 1, with 10, 10 and 5 % reserved and all of that lendable.

use super::bars::{Bar, Metric, about, at_least, at_most};
use super::draw::{Capacity, Service};
use super::world::{Group, Limits, Load, Pick, Picture, Run, Storm, Tier};

pub const ENT: usize = 0;
pub const MID: usize = 1;
pub const SMB: usize = 2;

/// How long the worlds last: the whole, or enough to see that the lines hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Full,
    Quick,
}

impl Length {
    fn seconds(self, full: f64) -> f64 {
        match self {
            Self::Full => full,
            Self::Quick => (full * 0.35).round(),
        }
    }
}

pub fn tiers() -> Vec<Tier> {
    vec![
        Tier::new("ent", 6.0, 0.10),
        Tier::new("mid", 3.0, 0.10),
        Tier::new("smb", 1.0, 0.05),
    ]
}

/// Twice what there is, from every tier.
fn overload() -> Vec<Group> {
    vec![
        Group::new("ent", ENT, 100, 0.50),
        Group::new("mid", MID, 1_000, 0.75),
        Group::new("smb", SMB, 10_000, 0.75),
    ]
}

fn base(id: &str, title: &str, about: &str, length: Length) -> Run {
    Run {
        id: id.to_owned(),
        title: title.to_owned(),
        about: about.to_owned(),
        tiers: tiers(),
        groups: overload(),
        capacity: Capacity::Constant(64),
        patience: 1.0,
        limits: Limits::default(),
        storm: None,
        warmup: 10.0,
        end: 10.0 + length.seconds(200.0),
        bars: Vec::new(),
        shown: Vec::new(),
        pictures: Vec::new(),
        altered: false,
    }
}

fn shares(ent: f64, mid: f64, smb: f64, off: f64) -> Vec<Bar> {
    vec![
        about(Metric::TierShare(ENT), ent, off),
        about(Metric::TierShare(MID), mid, off),
        about(Metric::TierShare(SMB), smb, off),
    ]
}

/// What every run of ours must show, whatever is played.
pub fn always() -> Vec<Bar> {
    [Metric::Leaked, Metric::Over, Metric::Late]
        .into_iter()
        .map(|metric| at_most(metric, 0.0))
        .collect()
}

pub fn all(length: Length) -> Vec<Run> {
    let mut runs = vec![a(length)];
    runs.extend(b(length));
    runs.extend(c(length));
    runs.push(d(length));
    runs.push(e(length));
    runs.push(f(length));
    runs.push(h(length));
    runs.extend(j(length));
    runs.extend(k(length));
    runs.extend(l(length));
    runs.push(m(length));
    runs.push(n(length));
    runs.push(o(length));
    runs
}

fn a(length: Length) -> Run {
    let mut run = base(
        "A",
        "every tier wants more than there is",
        "Enterprise asks for 50 % of the seats, mid-market and small tenants for 75 % each. By weights 6 : 3 : 1, \
         enterprise gets all it wants, and the rest goes 3 : 1.",
        length,
    );
    run.bars = shares(50.0, 37.5, 12.5, 1.5);
    run.bars.push(at_least(Metric::Served(ENT), 99.9));
    run.bars.push(at_most(Metric::WaitP99(ENT), 120.0));
    run.pictures = vec![Picture::Shares];
    run.shown = vec![Metric::Used, Metric::WaitP99(SMB), Metric::NoMean(SMB)];
    run
}

/// A lent seat comes back when the first of the running requests ends, a held one is there.
fn b(length: Length) -> Vec<Run> {
    let held = |hold: u32| {
        let mut run = base(
            &format!("B{hold}"),
            &format!("a GPU queue that keeps {hold} of 8 seats for enterprise"),
            "Jobs of 5 s (exponential) on 8 seats; small tenants would fill any number of seats, enterprise needs half a seat on \
             average and has 10 % reserved. A lent seat comes back when the first of 8 jobs ends. A queue that always gave \
             enterprise the next seat would have p99 3.07 s with no seat held, 2.46 s with one and 1.48 s with two (the \
             stationary Markov chain), and leave 0, 7.5 and 18.9 % of the seat time idle: that is what held seats cost. The lines \
             on p99 are a sixth above that.",
            length,
        );
        run.tiers = vec![Tier::new("ent", 6.0, 0.10), Tier::new("smb", 1.0, 0.0)];
        let share = f64::from(hold) / 8.0;
        run.tiers[0].hold = share;
        run.tiers[0].reserve = share.max(0.10);
        run.groups = vec![
            Group::new("ent", 0, 100, 0.5 / 8.0).service(Service::Exponential(5.0)),
            Group::new("smb", 1, 1_000, 1.5).service(Service::Exponential(5.0)),
        ];
        run.capacity = Capacity::Constant(8);
        run.patience = 60.0;
        run.warmup = 200.0;
        // Few events, and a tail that needs many of them: as long in a quick run.
        run.end = 60_200.0;
        run.shown = vec![Metric::WaitP50(0), Metric::Used, Metric::Served(1)];
        run
    };
    let mut runs: Vec<Run> = [0, 1, 2].into_iter().map(held).collect();
    let lines = [
        (3_580.0, 99.8, None),
        (2_870.0, 92.0, Some(0.0)),
        (1_730.0, 80.0, Some(0.0)),
    ];
    for (run, (p99, used, p50)) in runs.iter_mut().zip(lines) {
        run.bars = vec![
            at_most(Metric::WaitP99(0), p99),
            at_least(Metric::Used, used),
            at_least(Metric::Served(0), 99.9),
        ];
        if let Some(p50) = p50 {
            run.bars.push(at_most(Metric::WaitP50(0), p50));
        }
    }
    runs
}

/// One tier only, so that what is seen is the fairness within it.
fn victims(run: &mut Run, noisy: u32, load: f64) {
    run.tiers = vec![Tier::new("smb", 1.0, 0.05)];
    run.groups = vec![
        Group::new("victims", 0, 500, 0.50),
        Group::new("noisy", 0, noisy, load),
    ];
}

fn c(length: Length) -> Vec<Run> {
    let capped = |id: &str, cap: f64, title: &str, about: &str| {
        let mut run = base(id, title, about, length);
        victims(&mut run, 1, 5.0);
        run.limits.tenant_share = cap;
        run.shown = vec![Metric::WaitMax(0), Metric::Served(1), Metric::Used];
        run
    };
    let mut free = capped(
        "C",
        1.0,
        "one tenant sends five times what there is",
        "500 tenants of one tier ask for 50 % of the seats together, one more of the same tier for 500 %, and may have all seats \
         that nobody else wants.",
    );
    free.bars = vec![
        at_least(Metric::Served(0), 99.9),
        at_most(Metric::WaitP99(0), 30.0),
        at_least(Metric::Used, 99.9),
    ];
    free.pictures = vec![
        Picture::Figure(Metric::Served(0)),
        Picture::Figure(Metric::WaitP99(0)),
    ];
    let mut cap = capped(
        "C-cap",
        0.25,
        "the same, with a cap of 25 % for one tenant",
        "As C, but one tenant may hold at most a quarter of the seats at a time.",
    );
    cap.bars = vec![
        at_least(Metric::Served(0), 99.9),
        at_most(Metric::WaitP99(0), 30.0),
        at_most(Metric::GroupShare(1), 26.0),
    ];
    vec![free, cap]
}

fn d(length: Length) -> Run {
    let mut run = base(
        "D",
        "one tenant's requests take 20 times as long",
        "Eight tenants of one tier always have 64 requests under way or waiting; one of them sends requests of 2 s instead of 0.1 s. \
         Each is due an eighth of the seat time, 12.5 %, whatever its requests cost. One tenant may hold a quarter of the seats.",
        length,
    );
    run.tiers = vec![Tier::new("smb", 1.0, 0.05)];
    run.groups = vec![
        Group::new("heavy", 0, 1, 0.0)
            .service(Service::Exponential(2.0))
            .closed(64, 0.0),
        Group::new("light", 0, 7, 0.0).closed(64, 0.0),
    ];
    run.limits.tenant_share = 0.25;
    run.patience = 600.0;
    run.warmup = 30.0;
    run.end = 30.0 + length.seconds(600.0);
    run.bars = vec![
        about(Metric::GroupShare(0), 12.5, 1.0),
        about(Metric::PoorestShare(1), 12.5, 1.0),
        about(Metric::RichestShare(1), 12.5, 1.0),
    ];
    run.pictures = vec![Picture::Figure(Metric::GroupShare(0))];
    run.shown = vec![Metric::Used];
    run
}

fn e(length: Length) -> Run {
    let mut run = base(
        "E",
        "an enterprise tenant floods",
        "One enterprise tenant asks for 500 % of the seats; the others of its tier for 20 %, mid-market for 30 %, small tenants for \
         30 %. One tenant may hold a quarter of the seats.",
        length,
    );
    run.groups = vec![
        Group::new("ent", ENT, 99, 0.20),
        Group::new("mid", MID, 1_000, 0.30),
        Group::new("smb", SMB, 10_000, 0.30),
        Group::new("flood", ENT, 1, 5.0),
    ];
    run.limits.tenant_share = 0.25;
    run.bars = vec![
        at_least(Metric::Served(0), 99.9),
        at_most(Metric::WaitP99(0), 30.0),
        at_least(Metric::Served(1), 99.5),
        at_least(Metric::Served(2), 80.0),
        at_most(Metric::GroupShare(3), 26.0),
    ];
    run.pictures = vec![Picture::Shares];
    run.shown = vec![Metric::WaitP99(1), Metric::Used];
    run
}

fn f(length: Length) -> Run {
    let mut run = base(
        "F",
        "seven of eight seats go away",
        "The load of A; after 20 s the seats fall from 64 to 8. Then every tier wants more than its part, and the seats go by weight, \
         60 : 30 : 10. Counted from 30 s on.",
        length,
    );
    run.capacity = Capacity::Steps(vec![(0.0, 64), (20.0, 8)]);
    run.warmup = 30.0;
    run.end = 30.0 + length.seconds(400.0);
    run.bars = shares(60.0, 30.0, 10.0, 1.5);
    run.bars.push(at_least(Metric::Used, 99.9));
    run.pictures = vec![Picture::Course];
    run.shown = vec![Metric::WaitP99(ENT), Metric::NoMean(SMB)];
    run
}

fn h(length: Length) -> Run {
    let mut run = base(
        "H",
        "three of ten callers cancel",
        "The load of A, and more by what cancelled requests do not use; 30 % of the requests are cancelled at any moment of their \
         first 0.2 s, waiting or running. No seat may be lost, and the shares are those of A.",
        length,
    );
    for group in &mut run.groups {
        group.cancel = 0.30;
        // A cancelled request runs for 0.0568 of its 0.1 s in the mean where it need not wait: the integral of the
        // exponential's survival over a uniform cancel within twice its mean.
        group.load = match group.load {
            Load::Share(share) => Load::Share(share / (0.7 + 0.3 * 0.568)),
            load @ Load::Rate(_) => load,
        };
    }
    run.bars = shares(50.0, 37.5, 12.5, 1.5);
    run.bars.push(at_least(Metric::Served(ENT), 99.9));
    run.shown = vec![Metric::Used, Metric::WaitP99(ENT)];
    run
}

fn j(length: Length) -> Vec<Run> {
    let alone = |id: &str, hold: f64, title: &str, about: &str| {
        let mut run = base(id, title, about, length);
        run.groups = vec![Group::new("smb", SMB, 10_000, 2.0)];
        run.tiers[ENT].hold = hold;
        run.shown = vec![Metric::Served(0), Metric::NoMean(0)];
        run
    };
    let mut lent = alone(
        "J",
        0.0,
        "small tenants alone",
        "Small tenants ask for twice what there is while nobody else is there. All of it is theirs.",
    );
    lent.bars = vec![at_least(Metric::Used, 99.9)];
    let mut held = alone(
        "J-hold",
        0.10,
        "the same, with 10 % held for enterprise",
        "As J, but the enterprise tier's reserve is held and not lent: 6 of 64 seats stay empty, 9.4 %.",
    );
    held.bars = vec![about(Metric::Used, 90.6, 0.2)];
    vec![lent, held]
}

fn k(length: Length) -> Vec<Run> {
    let losers = |id: &str, title: &str, about: &str| {
        let mut run = base(id, title, about, length);
        run.groups = vec![Group::new("smb", SMB, 10_000, 2.0)];
        run.limits.tier_queue = 200;
        run.shown = vec![
            Metric::Served(0),
            Metric::WaitP50(0),
            Metric::WaitP99(0),
            Metric::NoMax(0),
        ];
        run
    };
    let mut capped = losers(
        "K",
        "what the losers see",
        "Small tenants ask for twice what there is, so half of them are told no: how long until they hear it? At most 200 may wait; \
         one more costs the tenant with the longest queue its youngest.",
    );
    capped.bars = vec![
        at_most(Metric::NoMean(0), 150.0),
        at_most(Metric::NoMax(0), 1_003.0),
        at_least(Metric::Used, 99.9),
    ];
    capped.pictures = vec![Picture::Figure(Metric::NoMean(0))];
    let mut predicted = losers(
        "K-predict",
        "the same, refusing on arrival what would wait too long",
        "As K, and a request whose wait is foreseen to be longer than its patience is refused on arrival. Here 200 waiting are 0.3 s, \
         so the patience is 0.2 s.",
    );
    predicted.patience = 0.2;
    predicted.bars = vec![
        at_most(Metric::NoMean(0), 120.0),
        at_most(Metric::NoMax(0), 203.0),
        at_least(Metric::Used, 99.9),
    ];
    vec![capped, predicted]
}

fn l(length: Length) -> Vec<Run> {
    let noisy = |noisy: u32| {
        let mut run = base(
            &format!("L{noisy}"),
            &format!("{noisy} noisy tenants"),
            "500 tenants of one tier ask for 50 % of the seats together; so many noisy ones of the same tier for the rest of 500 %.",
            length,
        );
        victims(&mut run, noisy, 4.5);
        run.bars = vec![
            at_least(Metric::Served(0), 99.8),
            at_least(Metric::WorstServed(0), 91.0),
            at_most(Metric::WaitP99(0), 80.0),
        ];
        if noisy == 20 {
            run.pictures = vec![Picture::Figure(Metric::Served(0))];
        }
        run.shown = vec![Metric::Served(1), Metric::Used];
        run
    };
    [1, 5, 20].into_iter().map(noisy).collect()
}

fn m(length: Length) -> Run {
    let mut run = base(
        "M",
        "one request at a time beside floods",
        "A tenant with one request under way, who sends the next when it has the answer, beside three of the same tier who ask for \
         200 % of the seats each. Its next request should start when the next of 64 running ones ends: 1.6 ms in the mean, 7.2 ms in \
         one case of a hundred.",
        length,
    );
    run.tiers = vec![Tier::new("smb", 1.0, 0.05)];
    run.groups = vec![
        Group::new("modest", 0, 1, 0.0).closed(1, 0.0),
        Group::new("floods", 0, 3, 6.0),
    ];
    run.end = 10.0 + length.seconds(400.0);
    run.bars = vec![
        at_most(Metric::WaitMean(0), 2.5),
        at_most(Metric::WaitP99(0), 10.0),
        at_least(Metric::Served(0), 100.0),
    ];
    run.pictures = vec![Picture::Figure(Metric::WaitP99(0))];
    run.shown = vec![Metric::Used];
    run
}

fn n(length: Length) -> Run {
    let mut run = base(
        "N",
        "a million tenants in an hour",
        "Every request comes from a tenant that was not there for a long time or never: a million of them in an hour, on 90 % of the \
         seats. 20,000 may be remembered.",
        length,
    );
    let seconds = if length == Length::Full {
        3_600.0
    } else {
        180.0
    };
    run.tiers = vec![Tier::new("smb", 1.0, 0.05)];
    let mut group = Group::new("smb", 0, (seconds * 1_000_000.0 / 3_600.0) as u32, 0.9);
    group.pick = Pick::Sweep;
    run.groups = vec![group];
    run.end = run.warmup + seconds;
    run.bars = vec![
        at_most(Metric::Tracked, run.limits.tenants as f64),
        at_least(Metric::Served(0), 99.99),
    ];
    run.shown = vec![Metric::WaitP99(0), Metric::Used];
    run
}

fn o(length: Length) -> Run {
    let mut run = base(
        "O",
        "a storm of reloads",
        "The load of A. From 5 s to 20 s the weights turn to 1 : 3 : 6 and back every 0.1 s, and the seats from 64 to 40 and back. \
         Nobody who waits may be lost; counted after the storm, where the shares must be those of A.",
        length,
    );
    run.storm = Some(Storm {
        from: 5.0,
        to: 20.0,
        every: 0.1,
        weights: vec![1.0, 3.0, 6.0],
        seats: 40,
    });
    run.warmup = 22.0;
    run.end = 22.0 + length.seconds(200.0);
    run.bars = shares(50.0, 37.5, 12.5, 1.5);
    run.bars.push(at_least(Metric::Served(ENT), 99.9));
    run.shown = vec![Metric::Used, Metric::WaitP99(ENT)];
    run
}
