//! The page: how it was done, the figures, and what they mean.

use std::fmt::Write as _;

use super::policies::Entrant;
use super::report::{Table, wrapped};

const HEAD: &str = "\
# What each tenant gets when there is not enough

Written by `benches/fairness.rs`; do not edit. To make it again, to the byte:

```sh
cargo bench --bench fairness -- --markdown docs/fairness.md
```

A pool has so many seats; a request takes one for as long as it runs. Requests of 11,100 tenants in three tiers, or of
whoever the scenario says, come by a seeded random process in virtual time, and a policy decides which of them gets the
next seat. The simulator is `benches/fairness`: it knows how long each request will take, the policies do not. All
policies meet the same requests. Callers leave when their patience, 1 s, is over, whatever the policy, and do not come
back; only closed loops do. Where nothing else is said there are 64 seats, requests of 0.1 s (exponential) and three tiers:

| tier | tenants | weight | reserved |
|---|---:|---:|---:|
| enterprise, `ent` | 100 | 6 | 10 % |
| mid-market, `mid` | 1,000 | 3 | 10 % |
| small, `smb` | 10,000 | 1 | 5 % |

All of what is reserved is lent while it is not used, unless it is said to be held. Other worlds are a matter of arguments,
`cargo bench --bench fairness -- --help`: for example requests whose time has no variance, from tenants that come in
bursts, on seats that come and go:

```sh
cargo bench --bench fairness -- --scenario custom --service pareto:1.5:0.1 --arrivals smb=onoff:2:20 --capacity sine:64:32:60
```

A line is met when every seed meets it. Figures are medians over the seeds, with least and most where they differ.
";

const WORDS: &str = "
## What the figures are

- **share**: seat time that was held, of all that there was. *least* and *most share* are those of the group's poorest and
  richest tenant.
- **served**: requests that were answered, of those whose callers did not cancel. *worst served* is the same of the group's
  worst-served tenant with ten requests at least.
- **mean, p50, p99, max**: how long those that got a seat had waited for it.
- **mean no, max no**: how long those that got none waited to hear it, or for their patience to end.
- **used**: seat time held by anybody.
- **over**: requests that were started while no seat was free. The APF-like policy has a limit for each tier and moves the
  limits every 10 s without waiting for lent seats to come back, as its model does.
- **tracked**: tenants remembered at most.

Every run is also held to three lines that no table repeats: no request is lost or still counted after the end, none is
started without a free seat, and none waits beyond its patience by more than 2 ms.
";

/// The whole page. Pictures are named relative to it.
pub fn page(
    tables: &[(Table, Vec<(String, String)>)],
    entrants: &[&Entrant],
    first_seed: u64,
    seeds: u64,
) -> String {
    let mut out = HEAD.to_owned();
    let last = first_seed + seeds - 1;
    let _ = writeln!(out, "Seeds {first_seed} to {last}.\n\n## Who decides\n");
    for entrant in entrants {
        let line = format!("- **{}**: {}", entrant.name, entrant.about);
        let _ = writeln!(out, "{}", wrapped(&line).replace('\n', "\n  "));
    }
    out.push_str("\n## Lines met\n\n| |");
    for entrant in entrants {
        let _ = write!(out, " {} |", entrant.name);
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(entrants.len()));
    for (table, _) in tables {
        let _ = write!(out, "| {}: {} |", table.run.id, table.run.title);
        for (met, all) in table.met() {
            let _ = write!(out, " {met} of {all} |");
        }
        out.push('\n');
    }
    for (table, pictures) in tables {
        out.push_str(&table.markdown(pictures));
    }
    out.push_str(WORDS);
    out
}
