//! Several processes on one journal: each an instance with a lease and a name of its own.
//!
//! Each starts its share of the invoices, and carries on whatever the others leave behind. They say in lines of JSON on
//! standard output how invoices ended. One that dies is started again; what it had in hand goes on elsewhere when its
//! lease is over. They shut down when their standard input ends, with their parent at the latest.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::Failed;
use crate::args::{CarryArgs, PayArgs};
use crate::carry::Carrier;
use crate::erp::{Addresses, Erp};
use crate::outcome::Outcome;
use crate::reader;
use crate::stores::{ADDRESS, Database};

/// The hidden subcommand that runs an instance.
pub(crate) const CARRY: &str = "carry";

/// What an instance says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Ended {
        invoice: String,
        outcome: Outcome,
    },
    Trouble {
        invoice: String,
        error: String,
    },
    /// Its share is done; it goes on with what others leave.
    Share,
    Over(Figures),
}

/// What an instance went through.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) coded_by_rules: u64,
    /// By step, in microseconds.
    pub(crate) timings: BTreeMap<String, Vec<u64>>,
    /// By backend: retries, and openings of the circuit.
    pub(crate) backends: BTreeMap<String, (u64, u64)>,
}

impl Figures {
    pub(crate) fn of(erp: &Erp) -> Self {
        let stacks = erp.stacks().iter().map(|(service, stack)| {
            let figures = (stack.retry().retries(), stack.breaker().openings());
            (service.to_string(), figures)
        });
        Self {
            coded_by_rules: erp.coded_by_rules(),
            timings: erp.timings.micros(),
            backends: stacks.collect(),
        }
    }

    fn add(&mut self, other: Self) {
        self.coded_by_rules += other.coded_by_rules;
        for (step, timings) in other.timings {
            self.timings.entry(step).or_default().extend(timings);
        }
        for (backend, (retries, openings)) in other.backends {
            let sum = self.backends.entry(backend).or_default();
            *sum = (sum.0 + retries, sum.1 + openings);
        }
    }
}

// === the child's side ===

fn say(line: &Line) {
    // Nobody listens any more: the parent is gone, and this process ends with its standard input.
    if let Ok(line) = serde_json::to_string(line) {
        let _gone = writeln!(std::io::stdout(), "{line}");
    }
}

/// Runs one instance until its standard input ends.
pub(crate) async fn carry(args: CarryArgs) -> Result<(), Failed> {
    let (over, told) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Nothing is ever written to the pipe: the copy returns when its other end is closed.
        let _ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _gone = over.send(());
        std::thread::sleep(Duration::from_secs(15));
        std::process::exit(0);
    });
    let address = std::env::var(ADDRESS)?;
    let journal = Database::new(&address, &args.schema)?.open().await?;
    let erp = Arc::new(Erp::connect(&args.addresses)?);
    let name = format!("instance {}", args.share + 1);
    let carrier = Carrier::start(
        journal,
        Arc::clone(&erp),
        args.order,
        args.in_flight,
        Some(&name),
    )
    .await?;
    let input = reader::read(&args.input)?;
    let share = input.invoices.iter().skip(args.share).step_by(args.of);
    let work = async {
        carrier
            .pay(share, |invoice, outcome| {
                let invoice = invoice.key();
                say(&match outcome {
                    Ok(outcome) => Line::Ended { invoice, outcome },
                    Err(error) => {
                        let error = error.to_string();
                        Line::Trouble { invoice, error }
                    }
                });
            })
            .await;
        say(&Line::Share);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = work => {}
        _ = told => {}
    }
    carrier.shutdown().await;
    say(&Line::Over(Figures::of(&erp)));
    Ok(())
}

// === the parent's side ===

/// What became of it all.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    pub(crate) outcomes: HashMap<String, Outcome>,
    pub(crate) figures: Figures,
    pub(crate) restarts: u64,
}

/// What an instance did.
enum News {
    Said(Line),
    Died,
}

struct Instance {
    child: Child,
    /// Its end is the end of the instance.
    lifeline: ChildStdin,
}

/// How to start the instances of a run.
struct Spawn<'a> {
    args: &'a PayArgs,
    address: &'a str,
    schema: &'a str,
    addresses: &'a Addresses,
    news: mpsc::UnboundedSender<(usize, News)>,
}

impl Spawn<'_> {
    fn start(&self, share: usize) -> Result<Instance, Failed> {
        let args = self.args;
        let in_flight = args.in_flight.to_string();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CARRY)
            .arg("--input")
            .arg(&args.input)
            .args(["--saga", &args.order.to_string()])
            .args(["--share", &share.to_string()])
            .args(["--instances", &args.instances.to_string()])
            .args(["--in-flight", &in_flight, "--schema", self.schema])
            .args(["--ledger", &self.addresses.ledger])
            .args(["--notification", &self.addresses.notification])
            .args(["--assistant", &self.addresses.assistant])
            // Not an argument: there may be a password in it, and everybody can list processes.
            .env(ADDRESS, self.address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(lifeline), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without its pipes".into());
        };
        if let Some(process) = child.id() {
            eprintln!("instance {} is process {process}", share + 1);
        }
        let news = self.news.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(line) = serde_json::from_str(&line) {
                    drop(news.send((share, News::Said(line))));
                }
            }
            drop(news.send((share, News::Died)));
        });
        Ok(Instance { child, lifeline })
    }
}

/// Pays with several processes until each has done its share. `ended` is told of every invoice once, and answers whether
/// an instance is to be killed now.
pub(crate) async fn pay(
    args: &PayArgs,
    (address, schema): (&str, &str),
    addresses: &Addresses,
    mut ended: impl FnMut(&str, &Outcome) -> Option<usize>,
    say: impl Fn(&str),
) -> Result<Crew, Failed> {
    let (news, mut heard) = mpsc::unbounded_channel();
    let spawn = Spawn {
        args,
        address,
        schema,
        addresses,
        news,
    };
    let mut instances = Vec::new();
    for share in 0..args.instances {
        instances.push(Some(spawn.start(share)?));
    }
    let (mut crew, mut shares) = (Crew::default(), vec![false; args.instances]);
    while shares.contains(&false) {
        let Some((which, news)) = heard.recv().await else {
            break;
        };
        match news {
            News::Said(Line::Ended { invoice, outcome }) => {
                // An instance that was started again says it again.
                if let Entry::Vacant(new) = crew.outcomes.entry(invoice) {
                    let kill = ended(new.key(), &outcome);
                    new.insert(outcome);
                    let victim = kill.and_then(|which| instances.get_mut(which)?.as_mut());
                    if let Some(victim) = victim {
                        victim.child.start_kill()?;
                    }
                }
            }
            News::Said(Line::Trouble { invoice, error }) => say(&format!("{invoice}: {error}")),
            News::Said(Line::Share) => {
                if let Some(share) = shares.get_mut(which) {
                    *share = true;
                }
            }
            News::Said(Line::Over(_)) => {}
            News::Died => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Some(instance) = instances.get_mut(which) {
                    *instance = Some(spawn.start(which)?);
                    crew.restarts += 1;
                }
            }
        }
    }
    // Their input ends, they tell what they went through, and end.
    let mut left = instances.len();
    let children: Vec<Child> = instances
        .into_iter()
        .flatten()
        .map(|Instance { child, lifeline }| {
            drop(lifeline);
            child
        })
        .collect();
    while left > 0 {
        match heard.recv().await {
            Some((_, News::Said(Line::Over(figures)))) => crew.figures.add(figures),
            Some((_, News::Died)) => left -= 1,
            Some((_, News::Said(_))) => {}
            None => break,
        }
    }
    for mut child in children {
        let _ended = child.wait().await;
    }
    Ok(crew)
}
