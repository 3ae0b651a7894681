//! The simulator behind `docs/fairness.md`: that what it draws, plays and measures is what it says. Whether the scheduler
//! keeps to the lines of the scenarios is what `cargo bench --bench fairness -- --quick` says.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "the modules are those of a bench, of which this uses a part"
)]

#[path = "../benches/fairness/mod.rs"]
mod fairness;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use fairness::args;
use fairness::bars::Metric;
use fairness::draw::{Arrivals, Capacity, Service, exp, ln, sine};
use fairness::measure::{Durations, Measured};
use fairness::policies::apf::{HAND, QUEUES, allocate, deal, largest_remainder};
use fairness::policies::{ALL, Action, Entrant, Job};
use fairness::scenario::{self, Length};
use fairness::sim;
use fairness::world::{Group, Load, Run, Tier};
use mainstay::rng::Rng;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

fn entrant(name: &str) -> &'static Entrant {
    ALL.iter().find(|entrant| entrant.name == name).expect(name)
}

/// A small world: one tier, one group, as many seats.
fn world(seats: u32, group: Group, seconds: f64) -> Run {
    let mut run = scenario::all(Length::Quick).remove(0);
    run.tiers = vec![Tier::new("all", 1.0, 0.0)];
    run.groups = vec![group];
    run.capacity = Capacity::Constant(seats);
    run.patience = 1e6;
    run.warmup = seconds / 20.0;
    run.end = seconds;
    run
}

fn read(args: &str) -> Result<args::Options, String> {
    let args = args.split_whitespace().map(str::to_owned);
    args::read(args).map_err(|wrong| wrong.to_string())
}

#[test]
fn functions_are_those_of_the_system() {
    let mut rng = Rng::new(1);
    for _ in 0..10_000 {
        let x = rng.unit() * 100.0 + 1e-9;
        assert!(
            (ln(x) - x.ln()).abs() <= 1e-12 * x.ln().abs().max(1.0),
            "ln {x}"
        );
        let y = rng.unit() * 60.0 - 30.0;
        assert!((exp(y) - y.exp()).abs() <= 1e-12 * y.exp(), "exp {y}");
        let turns = rng.unit() * 10.0 - 5.0;
        let known = (turns * std::f64::consts::TAU).sin();
        assert!((sine(turns) - known).abs() < 1e-11, "sine {turns}");
    }
}

#[test]
fn service_times_have_the_mean_and_the_tail_that_they_say() {
    let share_above = |service: Service, bound: f64| {
        let mut rng = Rng::new(7);
        let draws: Vec<f64> = (0..400_000).map(|_| service.draw(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let above = draws.iter().filter(|draw| **draw > bound).count();
        (mean, above as f64 / draws.len() as f64)
    };
    let near = |(mean, above): (f64, f64), known: (f64, f64), off: f64| {
        assert!((mean - known.0).abs() < off, "mean {mean}, not {}", known.0);
        assert!(
            (above - known.1).abs() < 0.003,
            "{above} above, not {}",
            known.1
        );
    };
    near(share_above(Service::Fixed(0.1), 0.1), (0.1, 0.0), 1e-9);
    near(
        share_above(Service::Exponential(0.1), 0.2),
        (0.1, 0.1353),
        0.001,
    );
    let bimodal = Service::Bimodal {
        short: 0.01,
        long: 2.0,
        share: 0.05,
    };
    near(share_above(bimodal, 1.0), (0.1095, 0.05), 0.003);
    let pareto = Service::Pareto {
        shape: 3.0,
        mean: 0.3,
    };
    near(share_above(pareto, 0.4), (0.3, 0.125), 0.002);
    // The median of a lognormal is exp(-sigma^2 / 2) of the mean.
    let lognormal = Service::Lognormal {
        mean: 1.0,
        sigma: 1.0,
    };
    near(share_above(lognormal, (-0.5_f64).exp()), (1.0, 0.5), 0.015);
}

#[test]
fn every_arrival_process_brings_the_load_that_is_asked_for() {
    let processes = [
        Arrivals::Poisson,
        Arrivals::Periodic,
        Arrivals::OnOff { on: 0.5, off: 2.0 },
        Arrivals::Burst { on: 0.5, off: 2.0 },
    ];
    for arrivals in processes {
        let mut group = Group::new("all", 0, 50, 0.0);
        group.load = Load::Rate(500.0);
        group.service = Service::Fixed(0.001);
        group.arrivals = arrivals;
        let measured = sim::play(&world(1_000, group, 100.0), entrant("FIFO"), 3);
        let rate = measured.groups[0].offered as f64 / 95.0;
        let off = if matches!(arrivals, Arrivals::OnOff { .. }) {
            50.0
        } else {
            15.0
        };
        assert!((rate - 500.0).abs() < off, "{arrivals:?}: {rate} a second");
    }
}

#[test]
fn a_first_come_first_served_pool_waits_as_queueing_theory_says() {
    // Erlang's C formula for 8 seats at 80 %.
    let (seats, load) = (8, 6.4_f64);
    let term = |k: u32| (1..=k).fold(1.0, |term, i| term * load / f64::from(i));
    let last = term(seats) * f64::from(seats) / (f64::from(seats) - load);
    let waits = last / ((0..seats).map(term).sum::<f64>() + last);
    let mean = waits * 0.1 / (f64::from(seats) - load);
    let run = world(seats, Group::new("all", 0, 10, 0.8), 6_000.0);
    let measured = sim::play(&run, entrant("FIFO"), 11);
    let seen = measured.groups[0].waits.mean();
    // The tail forgets slowly: over this time the mean differs by 3 % from seed to seed.
    assert!(
        (seen / mean - 1.0).abs() < 0.1,
        "waits {seen} s on average, not {mean}"
    );
    let used = Metric::Used.of(&measured).expect("there are seats");
    assert!((used - 80.0).abs() < 1.0, "{used} % in use");
}

#[test]
fn quantiles_are_exact_to_a_hundredth() {
    let mut durations = Durations::default();
    for n in 1..=100_000_u64 {
        durations.add(n * 10_000);
    }
    for share in [0.01, 0.5, 0.9, 0.99, 0.999] {
        let seen = durations.quantile(share);
        assert!((seen / share - 1.0).abs() < 0.01, "{share}: {seen} s");
    }
    assert!((durations.max() - 1.0).abs() < 1e-9);
}

/// A world with everything in it.
fn mixed() -> Run {
    let options = read(
        "--quick --scenario custom --seconds 20 --warmup 2 --service ent=pareto:1.5:0.1 --service mid=bimodal:0.05:1:0.1 \
         --arrivals smb=onoff:1:3 --arrivals mid=burst:1:4 --capacity sine:40:20:7 --cancel 0.2 --cap 0.25",
    );
    options.expect("as the arguments go").runs.remove(0)
}

fn figures(measured: &Measured) -> String {
    format!("{measured:?}")
}

#[test]
fn a_seed_repeats_a_run_and_another_is_another() {
    let run = mixed();
    for entrant in ALL {
        let first = figures(&sim::play(&run, entrant, 5));
        assert!(
            first == figures(&sim::play(&run, entrant, 5)),
            "{}",
            entrant.name
        );
        assert!(
            first != figures(&sim::play(&run, entrant, 6)),
            "{}",
            entrant.name
        );
    }
}

#[test]
fn no_policy_loses_a_request_and_all_meet_the_same() {
    let run = mixed();
    let offered = |measured: &Measured| -> Vec<u64> {
        measured.groups.iter().map(|group| group.offered).collect()
    };
    let mut all = None;
    for entrant in ALL {
        let measured = sim::play(&run, entrant, 9);
        assert_eq!(measured.leaked, 0, "{}", entrant.name);
        // The levels of the APF-like policy are not made to wait for seats that they lent.
        assert!(
            measured.over == 0 || entrant.name.starts_with("APF"),
            "{}",
            entrant.name
        );
        for group in &measured.groups {
            let ends = group.served + group.refused + group.gave_up + group.cancelled;
            assert_eq!(group.offered, ends, "{}", entrant.name);
        }
        let used: f64 = measured.used.iter().sum();
        let groups: f64 = measured.groups.iter().map(|group| group.used).sum();
        assert!(
            (used - groups).abs() < 1e-3,
            "{}: {used} {groups}",
            entrant.name
        );
        assert_eq!(
            *all.get_or_insert(offered(&measured)),
            offered(&measured),
            "{}",
            entrant.name
        );
    }
}

#[test]
fn the_policy_that_is_called_tower_answers_as_tower_does() {
    const SEATS: u32 = 3;
    let mut real = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(SEATS as usize)
        .service_fn(
            |answer: futures::channel::oneshot::Receiver<()>| async move {
                let _ = answer.await;
                Ok::<_, std::convert::Infallible>(())
            },
        );
    let run = world(SEATS, Group::new("all", 0, 1, 1.0), 1.0);
    let mut model = (entrant("tower").build)(&run);
    let mut out = Vec::new();
    model.resize(SEATS, 0, &mut out);
    let mut rng = Rng::new(13);
    let mut cx = Context::from_waker(Waker::noop());
    let mut running = Vec::new();
    let (mut accepted, mut shed) = (0, 0);
    for id in 0..20_000 {
        let job = Job {
            id,
            tenant: 0,
            tier: 0,
            weight: 1.0,
            deadline: 1,
        };
        if rng.unit() < 0.5 {
            let (answer, answered) = futures::channel::oneshot::channel();
            let mut clone = real.clone();
            let ready = pin!(clone.ready()).poll(&mut cx);
            assert!(
                matches!(ready, Poll::Ready(Ok(_))),
                "a load shed is always ready"
            );
            let mut response = Box::pin(clone.call(answered));
            let refused = matches!(response.as_mut().poll(&mut cx), Poll::Ready(Err(_)));
            model.arrive(&job, 0, &mut out);
            assert_eq!(
                refused,
                matches!(out.pop(), Some(Action::Refuse(..))),
                "call {id}"
            );
            if refused {
                shed += 1;
            } else {
                accepted += 1;
                running.push((answer, response, job));
            }
        } else if !running.is_empty() {
            let (answer, response, job) =
                running.swap_remove(rng.next_u64() as usize % running.len());
            if rng.unit() < 0.3 {
                // Given up under way.
                drop(response);
            } else {
                assert!(answer.send(()).is_ok());
                assert!(pin!(response).poll(&mut cx).is_ready());
            }
            model.finish(&job, 0, 0, &mut out);
        }
    }
    assert!(accepted > 1_000 && shed > 1_000, "{accepted} {shed}");
    drop(real.poll_ready(&mut cx));
}

#[test]
fn a_wrong_argument_is_told_with_its_value_and_what_was_expected() {
    let wrong = [
        (
            "--service pareto:1:0.1",
            "--service: got `1`, expected a shape from 1.01",
        ),
        (
            "--service gamma:1:2",
            "--service: got `gamma:1:2`, expected fixed:SECONDS",
        ),
        (
            "--service exp:0",
            "--service: got `0`, expected seconds from",
        ),
        (
            "--service big=exp:1",
            "--service: got `big=exp:1`, expected a group of scenario",
        ),
        (
            "--arrivals onoff:1",
            "--arrivals: got `onoff:1`, expected poisson",
        ),
        (
            "--arrivals closed:0:1",
            "--arrivals: got `closed:0:1`, expected from 1 to 10000",
        ),
        (
            "--capacity step:8@5",
            "--capacity: got `step:8@5`, expected a first step at second 0",
        ),
        (
            "--capacity step:8@0,4@0",
            "--capacity: got `step:8@0,4@0`, expected steps in the order",
        ),
        (
            "--capacity constant:0",
            "--capacity: got `0`, expected seats from 1",
        ),
        (
            "--capacity sine:5:5:1",
            "--capacity: got `sine:5:5:1`, expected an amplitude below",
        ),
        (
            "--capacity trace:nowhere.csv",
            "--capacity: got `nowhere.csv`, expected a file",
        ),
        (
            "--tenants gold:1:1%",
            "--tenants: got `gold:1:1%`, expected one of the tiers ent, mid, smb",
        ),
        (
            "--tenants ent:1:7",
            "--tenants: got `ent:1:7`, expected [GROUP=]TIER",
        ),
        ("--tiers a:0", "--tiers: got `a:0`, expected NAME:WEIGHT"),
        (
            "--tiers a:1:60%,b:1:60%",
            "--tiers: got `a:1:60%,b:1:60%`, expected reserves",
        ),
        (
            "--tiers a:1:5%:6%",
            "--tiers: got `a:1:5%:6%`, expected at most as much held",
        ),
        ("--cap 0", "--cap: got `0`, expected a share above 0"),
        (
            "--cap 120%",
            "--cap: got `120%`, expected a share from 0 to 1",
        ),
        (
            "--skew 1 --arrivals periodic",
            "--skew: got `ent with Periodic arrivals`, expected a group",
        ),
        ("--seed x", "--seed: got `x`, expected a whole number"),
        (
            "--seeds 0",
            "--seeds: got `0`, expected a whole number from 1 to 1000",
        ),
        ("--seconds", "--seconds: got ``, expected a value"),
        ("--scenario Z", "--scenario: got `Z`, expected one of A, B0"),
        (
            "--policy lottery",
            "--policy: got `lottery`, expected one of mainstay, FIFO",
        ),
        (
            "--colour",
            "--colour: got ``, expected an argument of the list",
        ),
    ];
    for (args, expected) in wrong {
        let told = read(args).err().unwrap_or_else(|| panic!("{args} passed"));
        assert!(told.starts_with(expected), "{args}: {told}");
    }
}

#[test]
fn arguments_change_what_is_played() {
    let run = read(
        "--scenario custom --tiers gold:8:20%:5%,rest:2 --tenants big=gold:3:50%:4,rest:1000:90/s --service big=fixed:0.5 \
         --capacity step:10@0,20@30 --seconds 60 --warmup 5 --patience 2",
    );
    let run = run.expect("as the arguments go").runs.remove(0);
    assert_eq!(run.tiers.len(), 2);
    let (reserve, hold) = (run.tiers[0].reserve, run.tiers[0].hold);
    assert!((reserve - 0.2).abs() < 1e-9 && (hold - 0.05).abs() < 1e-9);
    let big = run.group("big").expect("it is named");
    assert_eq!(run.groups[big].service, Service::Fixed(0.5));
    assert!((run.groups[big].weight - 4.0).abs() < 1e-9);
    let rates = [big, 1].map(|group| run.rate(&run.groups[group]).round() as u32);
    assert_eq!(
        rates,
        [10, 90],
        "half of ten seats, half a second each; as it was said"
    );
    assert_eq!((run.warmup, run.end), (5.0, 65.0));
    // 25 s of 10 seats and 35 s of 20.
    assert!(
        (run.seats() - (250.0 + 700.0) / 60.0).abs() < 1e-9,
        "{}",
        run.seats()
    );
}

#[test]
fn a_fluid_is_shared_by_weights_and_reserves() {
    let run = |args: &str| {
        let options = read(&format!("--scenario custom {args}")).expect("as the arguments go");
        let shares = options.runs[0].fluid().expect("nobody cancels");
        shares
            .iter()
            .map(|share| (share * 1e4).round() / 100.0)
            .collect::<Vec<f64>>()
    };
    assert_eq!(run(""), [50.0, 37.5, 12.5]);
    assert_eq!(
        run("--tenants ent:1:900%,mid:1:900%,smb:1:900%"),
        [60.0, 30.0, 10.0]
    );
    assert_eq!(run("--tenants ent:1:10%,smb:1:900%"), [10.0, 0.0, 90.0]);
    // A reserve above its weight's share.
    let reserved = "--tiers a:1:50%,b:9 --tenants a:9:900%,b:9:900%";
    assert_eq!(run(reserved), [50.0, 50.0]);
    // What is held is nobody else's.
    let held = "--tiers a:1:30%:30%,b:1 --tenants a:9:10%,b:9:900%";
    assert_eq!(run(held), [10.0, 70.0]);
}

#[test]
fn a_hand_has_different_queues_and_is_the_same_for_ever() {
    let mut seen = [0_u32; QUEUES];
    for tenant in 0..10_000 {
        let hand = deal(tenant);
        assert_eq!(hand, deal(tenant));
        let mut sorted = hand;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "{hand:?}");
        for queue in hand {
            seen[queue] += 1;
        }
    }
    let mean = 10_000 * HAND as u32 / QUEUES as u32;
    assert!(seen.iter().all(|n| n.abs_diff(mean) < mean / 4), "{seen:?}");
}

#[test]
fn seats_are_allocated_as_the_original_does() {
    // All want more than there is: the least each, and the rest in proportion to what they want.
    assert_eq!(
        allocate(&[(39.0, 39.0), (19.0, 19.0), (6.0, 6.0)], 64.0),
        [39, 19, 6]
    );
    // One wants nothing: what it lends goes to the others.
    assert_eq!(
        allocate(&[(6.0, 6.0), (6.0, 6.0), (6.0, 600.0)], 64.0),
        [6, 6, 52]
    );
    // Nobody wants much: all of it is given out in proportion.
    assert_eq!(
        allocate(&[(1.0, 2.0), (1.0, 1.0), (0.0, 1.0)], 64.0),
        [32, 16, 16]
    );
}

#[test]
fn whole_seats_are_all_of_them_and_no_more() {
    for seats in 0..200 {
        let given = largest_remainder(&[6.0, 3.0, 1.0], seats);
        assert_eq!(given.iter().sum::<u32>(), seats, "{given:?}");
    }
}
