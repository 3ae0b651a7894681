//! What happens to the callee, what is asked of it meanwhile, and which lines are to be passed.

use std::time::Duration;

use super::callee::{Cold, Episode, Micros, Model, SECOND, Trouble};
use super::measure::Metric;

const DEADLINE: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
pub const ATTEMPTS: u32 = 3;

/// Callers who leave: from, to, which share, and within how long after their call.
#[derive(Clone, Copy, Debug)]
pub struct Drops {
    pub from: Micros,
    pub to: Micros,
    pub share: f64,
    pub within: Micros,
}

/// A line that the median over the seeds must pass.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub metric: Metric,
    pub bound: Bound,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    pub fn holds(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound - 1e-9,
            Bound::AtMost(bound) => value <= bound + 1e-9,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub id: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub model: Model,
    pub clients: u16,
    /// Services in a row, each with a client of its own; 1 is a client that calls the callee.
    pub hops: usize,
    /// Requests a second, all clients together: corners of a polygon.
    pub load: Vec<(Micros, f64)>,
    pub episodes: Vec<Episode>,
    pub cold: Option<Cold>,
    pub drops: Option<Drops>,
    pub deadline: Duration,
    pub attempt_timeout: Duration,
    pub hints: bool,
    /// The first and last moment of the fault.
    pub fault: (Micros, Micros),
    /// Where goodput and amplification are judged: the fault, where nothing else is said.
    pub judged: (Micros, Micros),
    pub end: Micros,
    /// What is shown beside what every table has.
    pub shown: &'static [Metric],
    pub lines: Vec<Line>,
}

impl Scenario {
    pub fn rate(&self, at: Micros) -> f64 {
        let after = self.load.iter().position(|(corner, _)| *corner > at);
        match after {
            None => self.load.last().map_or(0.0, |(_, rate)| *rate),
            Some(0) => self.load[0].1,
            Some(i) => {
                let ((from, low), (to, high)) = (self.load[i - 1], self.load[i]);
                low + (high - low) * (at - from) as f64 / (to - from) as f64
            }
        }
    }

    pub fn peak(&self) -> f64 {
        self.load.iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }

    /// In real time: half as long, and a tenth of the load where that is not small already.
    pub fn at_half_scale(mut self) -> Self {
        for (at, _) in &mut self.load {
            *at /= 2;
        }
        for episode in &mut self.episodes {
            episode.from /= 2;
            episode.to /= 2;
        }
        if let Some(drops) = &mut self.drops {
            drops.from /= 2;
            drops.to /= 2;
        }
        for span in [&mut self.fault, &mut self.judged] {
            span.0 /= 2;
            span.1 /= 2;
        }
        self.end /= 2;
        if self.peak() > 100.0 {
            for (_, rate) in &mut self.load {
                *rate /= 10.0;
            }
            if let Some(servers) = &mut self.model.servers {
                *servers /= 10;
                self.model.queue /= 10;
            }
        }
        if let Some(cold) = &mut self.cold {
            cold.from /= 2;
            cold.answers /= 10.0;
        }
        self
    }
}

/// Enough servers for 2,200 requests a second.
const SERVED: Model = Model {
    servers: Some(50),
    queue: 500,
    median: 20_000,
    slope: 0,
};

const FAULT: (Micros, Micros) = (30 * SECOND, 60 * SECOND);

fn base(id: &'static str, title: &'static str, about: &'static str) -> Scenario {
    Scenario {
        id,
        title,
        about,
        model: SERVED,
        clients: 1,
        hops: 1,
        load: vec![(0, 1_000.0)],
        episodes: Vec::new(),
        cold: None,
        drops: None,
        deadline: DEADLINE,
        attempt_timeout: ATTEMPT_TIMEOUT,
        hints: false,
        fault: FAULT,
        judged: FAULT,
        end: 120 * SECOND,
        shown: &[],
        lines: Vec::new(),
    }
}

fn during(trouble: Trouble) -> Vec<Episode> {
    vec![Episode {
        from: FAULT.0,
        to: FAULT.1,
        trouble,
    }]
}

fn at_least(metric: Metric, bound: f64) -> Line {
    Line {
        metric,
        bound: Bound::AtLeast(bound),
    }
}

fn at_most(metric: Metric, bound: f64) -> Line {
    Line {
        metric,
        bound: Bound::AtMost(bound),
    }
}

const OUTAGE: &[Metric] = &[
    Metric::Detect,
    Metric::Load,
    Metric::Recover,
    Metric::Flaps,
    Metric::Open,
];

fn outage_lines() -> Vec<Line> {
    vec![
        at_most(Metric::Load, 0.05),
        at_most(Metric::Recover, 6.0),
        at_most(Metric::Flaps, 0.0),
    ]
}

/// What any client does that only leaves the callee alone.
fn well() -> Vec<Line> {
    vec![at_least(Metric::Goodput, 0.99), at_most(Metric::Open, 0.0)]
}

/// Those of the specification's section 4.3 that this benchmark plays, and four in which there is nothing to do.
#[expect(clippy::too_many_lines, reason = "one entry a scenario")]
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            episodes: during(Trouble::Errors(1.0)),
            shown: OUTAGE,
            lines: outage_lines(),
            ..base(
                "S1-errors",
                "Total outage, errors at once",
                "Every attempt gets an error within a millisecond for 30 s.",
            )
        },
        Scenario {
            episodes: during(Trouble::Hang),
            shown: OUTAGE,
            lines: outage_lines(),
            ..base(
                "S1-hang",
                "Total outage, no answer",
                "No attempt is ever answered for 30 s.",
            )
        },
        Scenario {
            episodes: during(Trouble::Errors(0.2)),
            shown: &[Metric::Open, Metric::Flaps],
            lines: vec![
                at_least(Metric::Goodput, 0.98),
                at_most(Metric::Amplification, 1.25),
                at_most(Metric::Open, 0.0),
            ],
            ..base(
                "S2",
                "One error in five",
                "20 % of attempts get an error at once for 30 s. Retries are worth it here, and a circuit that opens is \
                 not. Without a bound on retries 3 attempts come to 99.2 % at an amplification of 1.24.",
            )
        },
        Scenario {
            episodes: during(Trouble::Slow(10.0)),
            shown: &[
                Metric::Shed,
                Metric::Detect,
                Metric::Recover,
                Metric::Flaps,
                Metric::Open,
            ],
            lines: vec![
                at_most(Metric::GoodP99, 1_000.0),
                at_most(Metric::Amplification, 1.1),
                at_most(Metric::Shed, 5.0),
            ],
            ..base(
                "S3",
                "Ten times as slow",
                "The service time is ten times as long for 30 s, so the callee can serve 220 requests a second, a third of \
                 them too late.",
            )
        },
        Scenario {
            model: Model {
                servers: None,
                queue: 0,
                median: 20_000,
                slope: 15_000,
            },
            load: vec![
                (30 * SECOND, 40.0),
                (40 * SECOND, 80.0),
                (70 * SECOND, 80.0),
                (80 * SECOND, 40.0),
            ],
            fault: (30 * SECOND, 80 * SECOND),
            judged: (40 * SECOND, 70 * SECOND),
            shown: &[Metric::GoodRate, Metric::Recover],
            lines: vec![at_least(Metric::GoodRate, 50.0)],
            ..base(
                "S5",
                "Ramp into congestion",
                "The load ramps from 40 to 80 requests a second and back. Each request under way makes every new one 15 ms \
                 slower, so 40 a second are stable at 57 ms, and 80 a second are beyond what any concurrency can serve \
                 (1 / 15 ms = 67 a second). Work is never abandoned by the callee. Judged where the load is 80.",
            )
        },
        Scenario {
            clients: 100,
            episodes: during(Trouble::Errors(1.0)),
            cold: Some(Cold {
                from: FAULT.1,
                share: 0.3,
                answers: 10_000.0,
            }),
            shown: &[
                Metric::Peak,
                Metric::SecondTrips,
                Metric::Recover,
                Metric::Load,
                Metric::Open,
            ],
            lines: vec![
                at_most(Metric::Peak, 12.0),
                at_most(Metric::SecondTrips, 0.0),
            ],
            ..base(
                "S8",
                "A hundred clients come back at once",
                "100 client instances of 10 requests a second each meet a total outage of 30 s, after which the callee has \
                 empty caches: 30 % of its capacity, and all of it after 10,000 answers.",
            )
        },
        Scenario {
            hops: 3,
            episodes: during(Trouble::Errors(1.0)),
            hints: true,
            shown: &[Metric::Recover, Metric::Flaps],
            lines: vec![at_most(Metric::Amplification, 1.2)],
            ..base(
                "S9",
                "Retries upon retries",
                "Three services in a row, each with a client of its own of 3 attempts; the last callee fails every attempt \
                 for 30 s. Attempts at the last callee per request of the first: 27 when nobody holds back.",
            )
        },
        Scenario {
            clients: 50,
            hints: true,
            episodes: vec![Episode {
                from: 30 * SECOND,
                to: 50 * SECOND,
                trouble: Trouble::Busy(Duration::from_secs(5)),
            }],
            fault: (30 * SECOND, 50 * SECOND),
            judged: (30 * SECOND, 50 * SECOND),
            shown: &[
                Metric::RequestHints,
                Metric::ClientHints,
                Metric::Spread,
                Metric::Recover,
            ],
            lines: vec![
                at_most(Metric::RequestHints, 0.0),
                at_most(Metric::ClientHints, 0.0),
                at_least(Metric::Spread, 0.2),
            ],
            ..base(
                "S10",
                "429 with Retry-After",
                "Every attempt gets 429 with Retry-After: 5 for 20 s; 50 client instances of 20 requests a second each.",
            )
        },
        Scenario {
            drops: Some(Drops {
                from: FAULT.0,
                to: FAULT.1,
                share: 0.3,
                within: 60_000,
            }),
            shown: &[Metric::Open, Metric::Leaked],
            lines: vec![
                at_most(Metric::Leaked, 0.0),
                at_most(Metric::Open, 0.0),
                at_least(Metric::Goodput, 0.98),
            ],
            ..base(
                "S11",
                "Callers who leave",
                "30 % of callers leave within 60 ms of their call for 30 s; the callee is well. Goodput is that of those \
                 who stay.",
            )
        },
        Scenario {
            load: vec![(0, 1.0)],
            episodes: {
                let mut episodes = during(Trouble::Errors(0.5));
                episodes.push(Episode {
                    from: 15 * SECOND,
                    to: FAULT.0,
                    trouble: Trouble::Once,
                });
                episodes
            },
            shown: &[Metric::TripCalls, Metric::EarlyTrips, Metric::Open],
            lines: vec![
                at_most(Metric::TripCalls, 10.0),
                at_most(Metric::EarlyTrips, 0.0),
            ],
            ..base(
                "S15",
                "Little traffic",
                "One request a second. A single error at 15 s must not open the circuit; an error rate of 50 % from 30 s to \
                 60 s must, within 10 requests. An open circuit costs goodput here.",
            )
        },
        Scenario {
            episodes: vec![Episode {
                from: FAULT.0,
                to: FAULT.0 + SECOND / 10,
                trouble: Trouble::Errors(1.0),
            }],
            shown: &[Metric::Open],
            lines: well(),
            ..base(
                "N1",
                "Nothing much: a tenth of a second",
                "Every attempt fails for 100 ms, as when one connection is reset. Lines of our own: a policy that is \
                 tuned to outages must not make one of this.",
            )
        },
        Scenario {
            episodes: during(Trouble::Tail(20.0)),
            shown: &[Metric::Open],
            lines: well(),
            ..base(
                "N2",
                "Nothing much: a long tail",
                "One call in a hundred takes twenty times as long for 30 s. Lines of our own, as N1.",
            )
        },
        Scenario {
            model: Model {
                servers: Some(200),
                ..SERVED
            },
            episodes: during(Trouble::Slow(5.0)),
            shown: &[Metric::Open],
            lines: well(),
            ..base(
                "N3",
                "Nothing much: slower, but well",
                "The service takes five times as long for 30 s, median 100 ms, and 200 servers bear it. Lines of our \
                 own, as N1.",
            )
        },
        Scenario {
            model: Model {
                servers: Some(400),
                median: 3 * SECOND,
                ..SERVED
            },
            load: vec![
                (5 * SECOND, 0.0),
                (5 * SECOND + SECOND / 10, 2_000.0),
                (5 * SECOND + SECOND / 5, 0.0),
            ],
            deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            fault: (5 * SECOND, 6 * SECOND),
            judged: (5 * SECOND, 6 * SECOND),
            end: 60 * SECOND,
            shown: &[Metric::Open],
            lines: well(),
            ..base(
                "N4",
                "Nothing much: slow and well, all at once",
                "A service that has just started makes 200 requests within 200 ms of a callee that takes 3 s at the \
                 median and has 400 servers; nothing was asked of it before. Deadline 30 s, attempt timeout 10 s. Lines of \
                 our own, as N1.",
            )
        },
    ]
}
