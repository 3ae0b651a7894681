//! What a run was worth: the metrics of the specification's section 4.4, each defined here once.

use std::collections::HashMap;

use super::callee::{Micros, SECOND};
use super::drive::{Run, State};
use super::entrants::End;
use super::scenario::Scenario;

macro_rules! metrics {
    ($($name:ident, $key:literal, $label:literal, $unit:literal, $digits:literal, $about:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $($name,)* }

        impl Metric {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Of the JSON.
            pub fn key(self) -> &'static str { match self { $(Self::$name => $key,)* } }

            /// Of a column.
            pub fn label(self) -> &'static str { match self { $(Self::$name => $label,)* } }

            /// Behind the figure.
            pub fn unit(self) -> &'static str { match self { $(Self::$name => $unit,)* } }

            pub fn digits(self) -> usize { match self { $(Self::$name => $digits,)* } }

            /// How it is defined.
            pub fn about(self) -> &'static str { match self { $(Self::$name => $about,)* } }
        }
    };
}

metrics! {
    Goodput, "goodput", "goodput", "%", 1,
        "good answers within the deadline, of the requests that arrived while the fault lasted (S5: while the load was 80)";
    GoodputAll, "goodput_after_warm_up", "goodput, all", "%", 1,
        "the same from the end of the warm-up to the end of the run";
    GoodRate, "good_per_second", "good", "/s", 1, "good answers a second while the load was 80";
    Amplification, "amplification", "ampl.", "", 3, "attempts that reached the callee per request, while the fault lasted";
    Wasted, "wasted_work_s", "wasted", "s", 1,
        "the callee's work on attempts that did not become somebody's good answer, in server seconds over the run";
    GoodP50, "good_p50_ms", "good p50", "ms", 0, "how long good answers took, after the warm-up";
    GoodP99, "good_p99_ms", "p99", "ms", 0, "the same, 99th percentile";
    GoodP999, "good_p999_ms", "p99.9", "ms", 0, "the same, 99.9th percentile";
    RefusedP50, "refused_p50_ms", "refused p50", "ms", 0,
        "how long refusals by the caller's own stack took, from the call to the refusal";
    RefusedP99, "refused_p99_ms", "p99", "ms", 0, "the same, 99th percentile";
    RefusedP999, "refused_p999_ms", "p99.9", "ms", 0, "the same, 99.9th percentile";
    Detect, "detect_s", "detect", "s", 1, "from the fault until the load on the callee stays below half for half a second";
    Load, "load", "load", "%", 2, "attempts from 2 s after the fault's beginning to its end, of the normal load";
    Recover, "recover_s", "recover", "s", 1,
        "from the fault's end to the beginning of the first 5 s with 95 % of the goodput from before";
    Open, "open_s", "open", "s", 1, "how long circuits did not admit all calls, the mean of the clients";
    Flaps, "flaps", "flaps", "", 0, "how often a circuit opened that had closed after it had opened before";
    Peak, "peak_probes", "peak", "/100 ms", 0,
        "the most attempts in a tenth of a second, from 2 s after the fault's beginning to its end";
    SecondTrips, "second_trips", "2nd trips", "", 0, "how often circuits opened that had closed after the fault's end";
    Shed, "shed_s", "shed", "s", 1, "from the fault until the first refusal by the caller's own stack";
    RequestHints, "hint_violations_by_request", "hints, request", "", 0,
        "attempts of a request that had been told to come back later, before that time";
    ClientHints, "hint_violations_by_client", "hints, client", "", 0,
        "attempts of a client instance before the time that it had been told on behalf of any of its requests; where a \
         circuit is, from the moment when it opened first, since what was under way cannot be called back";
    Spread, "hint_spread", "spread", "", 2,
        "the time within which the middle 90 % of clients came back first after their circuit's or callee's first hint, \
         over the hint";
    TripCalls, "trip_calls", "trips after", "calls", 0, "requests from the fault's beginning until a circuit opened";
    EarlyTrips, "early_trips", "early", "", 0, "how often a circuit opened before the fault";
    Late, "deadline_violations", "late", "", 0, "requests that ended after the deadline";
    Hung, "hung", "hung", "", 0, "requests that never ended";
    Leaked, "leaked", "leaked", "", 0, "permits and probes that are out after the last call has ended";
}

/// The metrics of one run, and its course.
#[derive(Clone, Debug)]
pub struct Measured {
    values: HashMap<Metric, f64>,
    pub course: Course,
}

/// By second.
#[derive(Clone, Debug, Default)]
pub struct Course {
    pub offered: Vec<f64>,
    pub good: Vec<f64>,
    pub attempts: Vec<f64>,
}

impl Measured {
    /// `None` where it does not apply; infinite where it never happened.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values.get(&metric).copied()
    }
}

pub fn measure(scenario: &Scenario, run: &Run) -> Measured {
    let mut values = HashMap::new();
    let mut set = |metric, value: Option<f64>| {
        if let Some(value) = value {
            values.insert(metric, value);
        }
    };
    let limit = scenario.deadline.as_micros() as Micros + run.grace;
    let is_good =
        |record: &super::drive::Record| matches!(record.end, End::Good(_)) && record.took <= limit;
    // By tenth of a second: offered and good, of those who stay.
    let mut staying = vec![(0_u32, 0_u32); (scenario.end / (SECOND / 10)) as usize];
    for record in run.records.iter().filter(|record| !record.leaves) {
        if let Some((offered, good)) = staying.get_mut((record.at / (SECOND / 10)) as usize) {
            *offered += 1;
            *good += u32::from(is_good(record));
        }
    }
    let share = |from: Micros, to: Micros| {
        let span = (from / (SECOND / 10)) as usize..(to / (SECOND / 10)) as usize;
        let part = staying.get(span)?;
        let (offered, good) = part
            .iter()
            .fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
        (offered > 0).then(|| f64::from(good) / f64::from(offered))
    };
    let (begin, end) = scenario.fault;
    let (from, to) = scenario.judged;
    let warm = begin.min(from);
    let before = begin / 3 * 2;

    set(Metric::Goodput, share(from, to));
    set(Metric::GoodputAll, share(warm, scenario.end));
    let judged: Vec<_> = run
        .records
        .iter()
        .filter(|record| (from..to).contains(&record.at))
        .collect();
    let good = judged.iter().filter(|record| is_good(record)).count();
    set(Metric::GoodRate, Some(good as f64 / seconds(to - from)));
    let tries: f64 = judged
        .iter()
        .map(|record| {
            run.seen
                .tries
                .get(record.id as usize)
                .map_or(0.0, |tries| f64::from(*tries))
        })
        .sum();
    set(
        Metric::Amplification,
        (!judged.is_empty()).then(|| tries / judged.len() as f64),
    );
    let useful: Micros = run
        .records
        .iter()
        .map(|record| match record.end {
            End::Good(answer) if is_good(record) => answer.work,
            _ => 0,
        })
        .sum();
    set(
        Metric::Wasted,
        Some(seconds(run.seen.work.saturating_sub(useful))),
    );

    let after_warm_up = || run.records.iter().filter(|record| record.at >= warm);
    let took = after_warm_up()
        .filter(|record| is_good(record))
        .map(|record| record.took);
    let [p50, p99, p999] = percentiles(took.collect());
    set(Metric::GoodP50, p50);
    set(Metric::GoodP99, p99);
    set(Metric::GoodP999, p999);
    let refused = after_warm_up().filter(|record| matches!(record.end, End::Refused(_)));
    let [p50, p99, p999] = percentiles(refused.map(|record| record.took).collect());
    set(Metric::RefusedP50, p50);
    set(Metric::RefusedP99, p99);
    set(Metric::RefusedP999, p999);

    let load = Load {
        tenths: &run.seen.tenths,
    };
    let normal = load.per_second(before, begin);
    let detect = tenths(begin, end).find(|at| load.per_second(*at, at + SECOND / 2) < normal / 2.0);
    set(
        Metric::Detect,
        or_never(detect.map(|at| seconds(at - begin))),
    );
    set(
        Metric::Load,
        (normal > 0.0).then(|| load.per_second(begin + 2 * SECOND, end) / normal),
    );
    set(
        Metric::Peak,
        tenths(begin + 2 * SECOND, end)
            .map(|at| load.at(at))
            .fold(None, |a, b| Some(b.max(a.unwrap_or(0.0)))),
    );
    let goal = share(before, begin).unwrap_or(1.0) * 0.95;
    let last = scenario.end.saturating_sub(5 * SECOND);
    let recovered =
        tenths(end, last).find(|at| share(*at, at + 5 * SECOND).is_some_and(|share| share >= goal));
    set(
        Metric::Recover,
        or_never(recovered.map(|at| seconds(at - end))),
    );
    let shed = run
        .records
        .iter()
        .filter(|record| record.at >= begin && matches!(record.end, End::Refused(_)))
        .map(|record| record.at)
        .min();
    set(Metric::Shed, or_never(shed.map(|at| seconds(at - begin))));

    let circuits = Circuits::of(scenario, run);
    set(
        Metric::Open,
        circuits
            .any
            .then(|| circuits.not_closed / f64::from(scenario.clients)),
    );
    set(Metric::Flaps, circuits.any.then_some(circuits.flaps));
    set(
        Metric::SecondTrips,
        circuits.any.then_some(circuits.second_trips),
    );
    set(Metric::EarlyTrips, circuits.any.then_some(circuits.early));
    let trip_calls = circuits.first_trip.map(|trip| {
        let called = |record: &&super::drive::Record| record.at >= begin && record.at <= trip;
        run.records.iter().filter(called).count() as f64
    });
    set(
        Metric::TripCalls,
        or_never(trip_calls).filter(|_| circuits.any),
    );

    if !run.seen.attempts.is_empty() {
        hints(scenario, run, &circuits, &mut set);
    }
    let late = run
        .records
        .iter()
        .filter(|record| record.took > limit)
        .count();
    set(Metric::Late, Some(late as f64));
    set(
        Metric::Hung,
        Some(f64::from(run.offered) - run.records.len() as f64),
    );
    set(Metric::Leaked, Some(run.leaked as f64));
    Measured {
        values,
        course: course(scenario, run, is_good),
    }
}

/// Those judged by Retry-After.
fn hints(
    scenario: &Scenario,
    run: &Run,
    circuits: &Circuits,
    set: &mut impl FnMut(Metric, Option<f64>),
) {
    let attempts = &run.seen.attempts;
    let count = |early: usize| Some(early as f64);
    set(
        Metric::RequestHints,
        count(
            attempts
                .iter()
                .filter(|attempt| attempt.early_request)
                .count(),
        ),
    );
    let clients = usize::from(scenario.clients);
    let mut opened = vec![if circuits.any { Micros::MAX } else { 0 }; clients];
    for (client, at) in &circuits.opened {
        if let Some(opened) = opened.get_mut(*client) {
            *opened = (*at).min(*opened);
        }
    }
    let after_opening =
        |attempt: &&super::callee::Attempt| attempt.at > opened[usize::from(attempt.client)];
    let early = attempts
        .iter()
        .filter(|attempt| attempt.early_client)
        .filter(after_opening)
        .count();
    set(Metric::ClientHints, count(early));
    // The first attempt of each client after its first pause of half a hint or more.
    let hint = 5 * SECOND;
    let mut last = vec![None; clients];
    let mut back = vec![None; clients];
    for attempt in attempts
        .iter()
        .filter(|attempt| attempt.at >= scenario.fault.0)
    {
        let client = usize::from(attempt.client);
        if back[client].is_none() && last[client].is_some_and(|last| attempt.at - last >= hint / 2)
        {
            back[client] = Some(attempt.at);
        }
        last[client] = Some(attempt.at);
    }
    let mut back: Vec<_> = back.into_iter().flatten().collect();
    back.sort_unstable();
    if back.len() * 2 > clients {
        let cut = back.len() / 20;
        let span = back[back.len() - 1 - cut] - back[cut];
        set(Metric::Spread, Some(seconds(span) / seconds(hint)));
    }
}

/// What the circuits of a run did, as their metrics told.
struct Circuits {
    any: bool,
    /// Seconds, all circuits together.
    not_closed: f64,
    flaps: f64,
    second_trips: f64,
    early: f64,
    first_trip: Option<Micros>,
    /// Client and moment, of each opening of a closed circuit.
    opened: Vec<(usize, Micros)>,
}

impl Circuits {
    fn of(scenario: &Scenario, run: &Run) -> Self {
        let mut circuits = Self {
            any: !run.changes.is_empty() || run.has_circuit,
            not_closed: 0.0,
            flaps: 0.0,
            second_trips: 0.0,
            early: 0.0,
            first_trip: None,
            opened: Vec::new(),
        };
        let mut states: HashMap<&str, (Option<Micros>, u32)> = HashMap::new();
        let (begin, end) = scenario.fault;
        for change in &run.changes {
            let (since, trips) = states.entry(&change.policy).or_default();
            match (*since, change.to) {
                (None, State::Open) => {
                    *since = Some(change.at);
                    *trips += 1;
                    circuits.flaps += if *trips > 1 { 1.0 } else { 0.0 };
                    circuits.second_trips += if change.at >= end { 1.0 } else { 0.0 };
                    circuits.early += if change.at < begin { 1.0 } else { 0.0 };
                    if change.at >= begin && circuits.first_trip.is_none() {
                        circuits.first_trip = Some(change.at);
                    }
                    let client = change
                        .policy
                        .split('.')
                        .next()
                        .and_then(|client| client.parse().ok());
                    circuits.opened.push((client.unwrap_or(0), change.at));
                }
                (Some(from), State::Closed) => {
                    circuits.not_closed += seconds(change.at - from);
                    *since = None;
                }
                _ => {}
            }
        }
        for since in states.values().filter_map(|(since, _)| *since) {
            circuits.not_closed += seconds(scenario.end.saturating_sub(since));
        }
        circuits
    }
}

/// What did not happen happens at infinity, so that it is the worst of its kind.
fn or_never(value: Option<f64>) -> Option<f64> {
    value.or(Some(f64::INFINITY))
}

struct Load<'a> {
    tenths: &'a [u32],
}

impl Load<'_> {
    fn at(&self, at: Micros) -> f64 {
        self.tenths
            .get((at / (SECOND / 10)) as usize)
            .map_or(0.0, |n| f64::from(*n))
    }

    fn per_second(&self, from: Micros, to: Micros) -> f64 {
        tenths(from, to).map(|at| self.at(at)).sum::<f64>() / seconds(to - from)
    }
}

fn tenths(from: Micros, to: Micros) -> impl Iterator<Item = Micros> {
    (from..to).step_by((SECOND / 10) as usize)
}

pub fn seconds(span: Micros) -> f64 {
    span as f64 / SECOND as f64
}

fn percentiles(mut took: Vec<Micros>) -> [Option<f64>; 3] {
    took.sort_unstable();
    [0.5, 0.99, 0.999].map(|share| {
        let place = ((took.len() as f64 * share).ceil() as usize).max(1) - 1;
        took.get(place).map(|took| *took as f64 / 1_000.0)
    })
}

fn course(
    scenario: &Scenario,
    run: &Run,
    is_good: impl Fn(&super::drive::Record) -> bool,
) -> Course {
    let length = (scenario.end / SECOND) as usize;
    let mut course = Course {
        offered: vec![0.0; length],
        good: vec![0.0; length],
        attempts: vec![0.0; length],
    };
    for record in run.records.iter().filter(|record| !record.leaves) {
        let second = (record.at / SECOND) as usize;
        if let (Some(offered), Some(good)) =
            (course.offered.get_mut(second), course.good.get_mut(second))
        {
            *offered += 1.0;
            *good += if is_good(record) { 1.0 } else { 0.0 };
        }
    }
    for (tenth, n) in run.seen.tenths.iter().enumerate() {
        if let Some(attempts) = course.attempts.get_mut(tenth / 10) {
            *attempts += f64::from(*n);
        }
    }
    course
}
