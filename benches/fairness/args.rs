//! The command line. What is wrong is said with the argument, the value and what was expected.

use std::fmt;
use std::str::FromStr;

use super::draw::{Arrivals, Capacity, Service};
use super::scenario::{self, Length};
use super::world::{Group, Load, Pick, Run, Tier};

pub const USAGE: &str = "\
cargo bench --bench fairness -- [ARGUMENTS]

  --scenario A,C-cap,L     some of the scenarios (L is L1, L5 and L20), or `custom`: the load of A without its lines;
                           all of them where nothing is said
  --policy mainstay,FIFO   some of the policies
  --seed N                 the first seed (1)
  --seeds N                how many seeds, one after the other (5, or 2 with --quick)
  --quick                  mainstay alone, shorter; the exit code says whether every line is met
  --markdown FILE          the page, with pictures in the folder of the same name
  --list                   what scenarios there are

What follows changes the scenarios that are played. GROUP= limits a change to one group of tenants.

  --tiers ent:6:10%:5%,smb:1         name : weight [: reserved [: held]]
  --tenants ent:100:50%,smb:10000:480/s:2
                                     tier : tenants : load as a share of the seats or in requests a second [: weight of each];
                                     NAME=tier:... names the group, else it is called like the tier
  --service [GROUP=]SPEC             fixed:SECONDS  exp:MEAN  lognormal:MEAN:SIGMA  pareto:SHAPE:MEAN  bimodal:SHORT:LONG:SHARE
  --arrivals [GROUP=]SPEC            poisson  periodic  onoff:ON:OFF (each tenant)  burst:ON:OFF (the whole group)
                                     closed:OUTSTANDING:THINK
  --capacity SPEC                    constant:SEATS  step:64@0,8@20  sine:MEAN:AMPLITUDE:PERIOD  trace:FILE (lines `seconds,seats`)
  --skew [GROUP=]POWER               the k-th tenant sends in proportion to k to the power of -POWER
  --cancel [GROUP=]SHARE             callers who cancel
  --patience SECONDS                 how long a caller waits
  --cap SHARE                        the most that one tenant may hold
  --tenant-queue N   --tier-queue N  how many may wait
  --seconds S   --warmup S           how long it lasts, and how much of that is not counted
";

#[derive(Clone, Debug)]
pub struct Options {
    pub quick: bool,
    pub list: bool,
    pub help: bool,
    pub first_seed: u64,
    pub seeds: u64,
    pub policies: Vec<String>,
    pub markdown: Option<String>,
    pub runs: Vec<Run>,
}

/// An argument that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    argument: String,
    value: String,
    expected: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            argument,
            value,
            expected,
        } = self;
        write!(f, "{argument}: got `{value}`, expected {expected}")
    }
}

fn wrong<T>(argument: &str, value: &str, expected: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        argument: argument.to_owned(),
        value: value.to_owned(),
        expected: expected.into(),
    })
}

/// Reads everything; changes are made in the order of [`CHANGES`], not that of the command line.
pub fn read(args: impl IntoIterator<Item = String>) -> Result<Options, Wrong> {
    let mut given: Vec<(String, String)> = Vec::new();
    let mut options = Options {
        quick: false,
        list: false,
        help: false,
        first_seed: 1,
        seeds: 0,
        policies: Vec::new(),
        markdown: None,
        runs: Vec::new(),
    };
    let mut scenarios = Vec::new();
    let mut args = args.into_iter().filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value)),
            _ => (arg.clone(), None),
        };
        let inline = inline.map(ToOwned::to_owned);
        let mut value = || match inline.clone().or_else(|| args.next()) {
            Some(value) => Ok(value),
            None => wrong(&name, "", "a value"),
        };
        match name.as_str() {
            "--quick" => options.quick = true,
            "--list" => options.list = true,
            "--help" | "-h" => options.help = true,
            "--markdown" => options.markdown = Some(value()?),
            "--seed" => options.first_seed = number(&name, &value()?, "a whole number")?,
            "--seeds" => {
                let text = value()?;
                options.seeds = number(&name, &text, "a whole number from 1 to 1000")?;
                if !(1..=1000).contains(&options.seeds) {
                    return wrong(&name, &text, "a whole number from 1 to 1000");
                }
            }
            "--scenario" => scenarios.extend(list(&value()?)),
            "--policy" => {
                for policy in list(&value()?) {
                    let all = super::policies::ALL;
                    let Some(known) = all.iter().find(|e| e.name.eq_ignore_ascii_case(&policy))
                    else {
                        let names: Vec<_> = all.iter().map(|entrant| entrant.name).collect();
                        return wrong(&name, &policy, format!("one of {}", names.join(", ")));
                    };
                    options.policies.push(known.name.to_owned());
                }
            }
            change if CHANGES.iter().any(|(known, _)| *known == change) => {
                let value = value()?;
                given.push((name, value));
            }
            _ => return wrong(&name, "", "an argument of the list that --help prints"),
        }
    }
    let length = if options.quick {
        Length::Quick
    } else {
        Length::Full
    };
    if options.seeds == 0 {
        options.seeds = if options.quick { 2 } else { 5 };
    }
    options.runs = choose(&scenarios, length)?;
    for (name, apply) in CHANGES {
        for (given, value) in &given {
            if given == name {
                for run in &mut options.runs {
                    apply(run, name, value)?;
                    run.altered = true;
                }
            }
        }
    }
    for run in &options.runs {
        check(run)?;
    }
    Ok(options)
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|part| part.trim().to_owned())
        .collect()
}

fn choose(scenarios: &[String], length: Length) -> Result<Vec<Run>, Wrong> {
    let all = scenario::all(length);
    if scenarios.is_empty() {
        return Ok(all);
    }
    let mut runs = Vec::new();
    for wanted in scenarios {
        if wanted == "custom" {
            let mut run = scenario::all(length).remove(0);
            "custom".clone_into(&mut run.id);
            "as the arguments say".clone_into(&mut run.title);
            run.about.clear();
            run.bars.clear();
            run.shown.clear();
            run.pictures.clear();
            run.altered = true;
            runs.push(run);
            continue;
        }
        let letters = |id: &str| id.trim_end_matches(char::is_numeric).to_owned();
        let fits = all.iter().filter(|run| {
            let id = run.id.to_lowercase();
            let wanted = wanted.to_lowercase();
            id == wanted || letters(&id) == wanted
        });
        let before = runs.len();
        runs.extend(fits.cloned());
        if runs.len() == before {
            let ids: Vec<_> = all.iter().map(|run| run.id.as_str()).collect();
            let expected = format!("one of {}, or custom", ids.join(", "));
            return wrong("--scenario", wanted, expected);
        }
    }
    Ok(runs)
}

type Change = fn(&mut Run, &str, &str) -> Result<(), Wrong>;

/// Tiers before tenants, tenants before what they do.
const CHANGES: &[(&str, Change)] = &[
    ("--tiers", tiers),
    ("--capacity", capacity),
    ("--tenants", tenants),
    ("--service", |run, name, value| {
        each(run, name, value, |group, text| {
            group.service = service(name, text)?;
            Ok(())
        })
    }),
    ("--arrivals", |run, name, value| {
        each(run, name, value, |group, text| {
            group.arrivals = arrivals(name, text)?;
            Ok(())
        })
    }),
    ("--skew", |run, name, value| {
        each(run, name, value, |group, text| {
            let power = within(name, text, 0.0, 5.0, "a power from 0 to 5")?;
            group.pick = Pick::Zipf(power);
            Ok(())
        })
    }),
    ("--cancel", |run, name, value| {
        each(run, name, value, |group, text| {
            group.cancel = share(name, text)?;
            Ok(())
        })
    }),
    ("--patience", |run, name, value| {
        run.patience = positive(name, value)?;
        Ok(())
    }),
    ("--cap", |run, name, value| {
        run.limits.tenant_share = share(name, value)?;
        if run.limits.tenant_share == 0.0 {
            return wrong(name, value, "a share above 0");
        }
        Ok(())
    }),
    ("--tenant-queue", |run, name, value| {
        run.limits.tenant_queue = number(name, value, "a whole number")?;
        Ok(())
    }),
    ("--tier-queue", |run, name, value| {
        run.limits.tier_queue = number(name, value, "a whole number")?;
        Ok(())
    }),
    ("--warmup", |run, name, value| {
        let length = run.end - run.warmup;
        run.warmup = within(name, value, 0.0, 1e6, "seconds from 0 to a million")?;
        run.end = run.warmup + length;
        Ok(())
    }),
    ("--seconds", |run, name, value| {
        let length = within(name, value, 1.0, 1e6, "seconds from 1 to a million")?;
        run.end = run.warmup + length;
        Ok(())
    }),
];

/// What only shows when all of it is there.
fn check(run: &Run) -> Result<(), Wrong> {
    let requests: f64 = run.groups.iter().map(|group| run.rate(group)).sum::<f64>() * run.end;
    if requests > 1e9 {
        let value = format!("{requests:.0} requests");
        return wrong("--seconds", &value, "at most a billion requests");
    }
    for group in &run.groups {
        let together = matches!(group.arrivals, Arrivals::Poisson | Arrivals::Burst { .. });
        if !together && group.pick != Pick::Uniform {
            let value = format!("{} with {:?} arrivals", group.name, group.arrivals);
            return wrong(
                "--skew",
                &value,
                "a group whose arrivals are poisson or burst",
            );
        }
    }
    Ok(())
}

/// A change of one group, or of all.
fn each(
    run: &mut Run,
    name: &str,
    value: &str,
    change: impl Fn(&mut Group, &str) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let Some((group, text)) = value.split_once('=') else {
        return run
            .groups
            .iter_mut()
            .try_for_each(|group| change(group, value));
    };
    match run.group(group) {
        Some(place) => change(&mut run.groups[place], text),
        None => {
            let names: Vec<_> = run.groups.iter().map(|group| group.name.as_str()).collect();
            let expected = format!("a group of scenario {}: {}", run.id, names.join(", "));
            wrong(name, value, expected)
        }
    }
}

fn number<T: FromStr>(name: &str, value: &str, expected: &str) -> Result<T, Wrong> {
    value.parse().or_else(|_| wrong(name, value, expected))
}

fn within(name: &str, value: &str, least: f64, most: f64, expected: &str) -> Result<f64, Wrong> {
    match value.parse::<f64>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => wrong(name, value, expected),
    }
}

fn positive(name: &str, value: &str) -> Result<f64, Wrong> {
    within(name, value, 1e-6, 1e6, "seconds from 0.000001 to a million")
}

/// `10%` or `0.1`.
fn share(name: &str, value: &str) -> Result<f64, Wrong> {
    let (text, parts) = match value.strip_suffix('%') {
        Some(text) => (text, 100.0),
        None => (value, 1.0),
    };
    match text.parse::<f64>() {
        Ok(number) if (0.0..=parts).contains(&number) => Ok(number / parts),
        _ => wrong(name, value, "a share from 0 to 1, or 0% to 100%"),
    }
}

fn tiers(run: &mut Run, name: &str, value: &str) -> Result<(), Wrong> {
    const FORM: &str = "NAME:WEIGHT[:RESERVED[:HELD]],... with weights from 1 to 10000";
    let mut tiers: Vec<Tier> = Vec::new();
    for text in list(value) {
        let parts: Vec<&str> = text.split(':').collect();
        let (label, weight, rest) = match parts.as_slice() {
            [label, weight, rest @ ..] if !label.is_empty() && rest.len() <= 2 => {
                (label, weight, rest)
            }
            _ => return wrong(name, &text, FORM),
        };
        let weight: u16 = number(name, weight, FORM)?;
        if !(1..=10_000).contains(&weight) {
            return wrong(name, &text, FORM);
        }
        if tiers.iter().any(|tier| tier.name == **label) {
            return wrong(name, &text, "tiers of different names");
        }
        let mut tier = Tier::new(label, f64::from(weight), 0.0);
        if let Some(reserve) = rest.first() {
            tier.reserve = share(name, reserve)?;
        }
        if let Some(hold) = rest.get(1) {
            tier.hold = share(name, hold)?;
        }
        if tier.hold > tier.reserve {
            return wrong(name, &text, "at most as much held as reserved");
        }
        tiers.push(tier);
    }
    if tiers.iter().map(|tier| tier.reserve).sum::<f64>() > 1.0 + 1e-9 {
        return wrong(
            name,
            value,
            "reserves of at most the whole, all tiers together",
        );
    }
    if tiers.len() > 8 {
        return wrong(name, value, "at most 8 tiers");
    }
    let mut kept = Vec::new();
    for mut group in run.groups.drain(..) {
        let tier = &run.tiers[group.tier].name;
        if let Some(place) = tiers.iter().position(|other| other.name == *tier) {
            group.tier = place;
            kept.push(group);
        }
    }
    run.tiers = tiers;
    // Lines name tiers and groups by place, so they go with them.
    run.bars.clear();
    run.shown.clear();
    run.pictures.clear();
    run.groups = kept;
    if run.groups.is_empty() {
        run.groups.push(Group::new("other", 0, 100, 1.0));
    }
    Ok(())
}

fn tenants(run: &mut Run, name: &str, value: &str) -> Result<(), Wrong> {
    const FORM: &str = "[GROUP=]TIER:TENANTS:LOAD[:WEIGHT],... with a load like 50% or 320/s";
    let mut groups: Vec<Group> = Vec::new();
    for text in list(value) {
        let (label, rest) = match text.split_once('=') {
            Some((label, rest)) => (Some(label), rest),
            None => (None, text.as_str()),
        };
        let parts: Vec<&str> = rest.split(':').collect();
        let (tier, count, load, weight) = match parts.as_slice() {
            [tier, count, load] => (tier, count, load, None),
            [tier, count, load, weight] => (tier, count, load, Some(weight)),
            _ => return wrong(name, &text, FORM),
        };
        let Some(place) = run.tier(tier) else {
            let names: Vec<_> = run.tiers.iter().map(|tier| tier.name.as_str()).collect();
            return wrong(
                name,
                &text,
                format!("one of the tiers {}", names.join(", ")),
            );
        };
        let count: u32 = number(name, count, FORM)?;
        if !(1..=5_000_000).contains(&count) {
            return wrong(name, &text, "from 1 to 5000000 tenants");
        }
        let mut label = label.unwrap_or(tier).to_owned();
        while groups.iter().any(|group| group.name == label) {
            label.push('\'');
        }
        let mut group = Group::new(&label, place, count, 0.0);
        group.load = match (load.strip_suffix('%'), load.strip_suffix("/s")) {
            (Some(percent), _) => Load::Share(within(name, percent, 0.0, 1e6, FORM)? / 100.0),
            (None, Some(rate)) => Load::Rate(within(name, rate, 0.0, 1e7, FORM)?),
            (None, None) => return wrong(name, &text, FORM),
        };
        if let Some(weight) = weight {
            group.weight = within(name, weight, 1.0, 10_000.0, "a weight from 1 to 10000")?;
        }
        groups.push(group);
    }
    run.groups = groups;
    run.bars.clear();
    run.shown.clear();
    run.pictures.clear();
    Ok(())
}

fn service(name: &str, value: &str) -> Result<Service, Wrong> {
    const FORM: &str = "fixed:SECONDS, exp:MEAN, lognormal:MEAN:SIGMA, pareto:SHAPE:MEAN or bimodal:SHORT:LONG:SHARE";
    let parts: Vec<&str> = value.split(':').collect();
    Ok(match parts.as_slice() {
        ["fixed", mean] => Service::Fixed(positive(name, mean)?),
        ["exp", mean] => Service::Exponential(positive(name, mean)?),
        ["lognormal", mean, sigma] => Service::Lognormal {
            mean: positive(name, mean)?,
            sigma: within(name, sigma, 0.0, 5.0, "a sigma from 0 to 5")?,
        },
        ["pareto", shape, mean] => Service::Pareto {
            shape: within(
                name,
                shape,
                1.01,
                100.0,
                "a shape from 1.01 to 100 (there is no mean at 1 or less)",
            )?,
            mean: positive(name, mean)?,
        },
        ["bimodal", short, long, part] => Service::Bimodal {
            short: positive(name, short)?,
            long: positive(name, long)?,
            share: share(name, part)?,
        },
        _ => return wrong(name, value, FORM),
    })
}

fn arrivals(name: &str, value: &str) -> Result<Arrivals, Wrong> {
    const FORM: &str = "poisson, periodic, onoff:ON:OFF, burst:ON:OFF or closed:OUTSTANDING:THINK";
    let parts: Vec<&str> = value.split(':').collect();
    Ok(match parts.as_slice() {
        ["poisson"] => Arrivals::Poisson,
        ["periodic"] => Arrivals::Periodic,
        ["onoff", on, off] => Arrivals::OnOff {
            on: positive(name, on)?,
            off: positive(name, off)?,
        },
        ["burst", on, off] => Arrivals::Burst {
            on: positive(name, on)?,
            off: positive(name, off)?,
        },
        ["closed", outstanding, think] => {
            let outstanding: u32 = number(name, outstanding, FORM)?;
            if !(1..=10_000).contains(&outstanding) {
                return wrong(name, value, "from 1 to 10000 outstanding requests");
            }
            let think = within(name, think, 0.0, 1e6, "seconds from 0 to a million")?;
            Arrivals::Closed { outstanding, think }
        }
        _ => return wrong(name, value, FORM),
    })
}

fn seats(name: &str, value: &str) -> Result<u32, Wrong> {
    match value.parse() {
        Ok(seats @ 1..=100_000) => Ok(seats),
        _ => wrong(name, value, "seats from 1 to 100000"),
    }
}

fn capacity(run: &mut Run, name: &str, value: &str) -> Result<(), Wrong> {
    const FORM: &str =
        "constant:SEATS, step:SEATS@SECOND,..., sine:MEAN:AMPLITUDE:PERIOD or trace:FILE";
    let Some((kind, rest)) = value.split_once(':') else {
        return wrong(name, value, FORM);
    };
    let parts: Vec<&str> = rest.split(':').collect();
    run.capacity = match (kind, parts.as_slice()) {
        ("constant", [text]) => Capacity::Constant(seats(name, text)?),
        ("step", _) => {
            let mut steps = Vec::new();
            for text in list(rest) {
                let Some((text, at)) = text.split_once('@') else {
                    return wrong(name, &text, "SEATS@SECOND");
                };
                steps.push((
                    within(name, at, 0.0, 1e6, "seconds from 0 on")?,
                    seats(name, text)?,
                ));
            }
            in_order(name, value, steps)?
        }
        ("sine", [mean, amplitude, period]) => {
            let (mean, amplitude): (u32, u32) = (
                seats(name, mean)?,
                number(name, amplitude, "a whole number of seats")?,
            );
            if amplitude >= mean {
                return wrong(name, value, "an amplitude below the mean");
            }
            let period = positive(name, period)?;
            Capacity::Sine {
                mean,
                amplitude,
                period,
            }
        }
        ("trace", _) => trace(name, rest)?,
        _ => return wrong(name, value, FORM),
    };
    Ok(())
}

fn in_order(name: &str, value: &str, steps: Vec<(f64, u32)>) -> Result<Capacity, Wrong> {
    if steps.first().is_none_or(|step| step.0 != 0.0) {
        return wrong(name, value, "a first step at second 0");
    }
    if steps.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return wrong(name, value, "steps in the order of time");
    }
    Ok(Capacity::Steps(steps))
}

fn trace(name: &str, file: &str) -> Result<Capacity, Wrong> {
    let text = std::fs::read_to_string(file)
        .or_else(|error| wrong(name, file, format!("a file that can be read ({error})")))?;
    let mut steps = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let expected = format!("`seconds,seats` in line {}", place + 1);
        let Some((at, count)) = line.split_once(',') else {
            return wrong(name, line, expected);
        };
        let at = within(name, at.trim(), 0.0, 1e6, &expected)?;
        let count = seats(name, count.trim()).or_else(|_| wrong(name, line, expected))?;
        steps.push((at, count));
    }
    in_order(name, file, steps)
}
