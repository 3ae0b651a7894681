//! The page: how it was done, the figures, and what they mean.

use std::fmt::Write as _;

use super::entrants::Entrant;
use super::measure::Metric;
use super::report::{Report, Table};

pub const VIRTUAL: &str = "virtual time";
pub const REAL: &str = "real time, half scale";

const HEAD: &str = "\
# What the policies are worth while the callee fails

Written by `benches/peers/src/bin/outages.rs`; do not edit. To make it again:

```sh
cd benches/peers
cargo run --release --bin outages -- --all --json outages.json --markdown ../../docs/outages.md
```

Real stacks of clients call one modelled callee. Arrivals are open-loop: they do not wait for answers, since a closed loop
hides collapse. A run has 30 s of warm-up, 30 s of fault and 60 s after it, at 1,000 requests a second unless said
otherwise. Every request has a deadline of 1 s, every attempt a timeout of 250 ms, every client 3 attempts where it can
retry. Whom a request finds, how long its service takes (lognormal, median 20 ms, sigma 0.5) and which of its attempts fail
are functions of the seed, the request and the number of the attempt, so all entrants meet the same luck. The callee has 50
servers (2,200 requests a second) and a queue of 500; it is not told when a caller gives up, so abandoned work is still done.
No entrant but the oracle knows the schedule or the callee.

Figures are medians over the seeds, with least and most where the seeds differ. A line is passed when the median passes.
Entrants draw their own jitter from the system, so a figure moves a little from run to run. Timers have a resolution of one
millisecond, so a service time of 20 ms reads as 21.
";

/// The whole page. `pictures` is the folder of the pictures, relative to the page.
pub fn page(reports: &[Report], entrants: &[Box<dyn Entrant>], pictures: &str) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Who calls\n\nOne preset each for all scenarios.\n\n");
    for entrant in entrants {
        let _ = writeln!(out, "- **{}**: {}", entrant.name(), entrant.preset());
    }
    for report in reports {
        if report.mode == REAL {
            out.push_str(
                "\n## In real time\n\ntower-resilience reads std's clock, which cannot be paused, so it runs in real time and \
                 mainstay beside it: everything half as long and a tenth of the load (100 requests a second, 5 servers; S5 and \
                 S15 with their own load). Deadlines and timeouts are what they were, so an outage of 15 s is met with the \
                 same defaults, and the lines, made for 30 s, are harder. Do not compare these figures with the others.\n\n",
            );
        } else {
            out.push_str("\n## In virtual time\n\n");
        }
        let _ = writeln!(
            out,
            "{} seeds. Lines passed, of those that apply to the entrant:\n",
            report.tables.first().map_or(0, Table::seeds)
        );
        out.push_str(&report.markdown((report.mode == VIRTUAL).then_some(pictures)));
    }
    out.push_str("\n## What the figures are\n\n");
    for metric in Metric::ALL {
        let _ = writeln!(out, "- **{}**: {}.", metric.label(), metric.about());
    }
    out
}
