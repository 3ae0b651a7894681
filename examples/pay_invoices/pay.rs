//! The run itself: from invoices to a report.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use mainstay::journal::{Journal, JournalError, Listing, Status};
use mainstay::saga::SagaError;
use sha2::{Digest, Sha256};

use crate::args::PayArgs;
use crate::audit::audit;
use crate::backends::{Backend, Service};
use crate::carry::Carrier;
use crate::crew::{self, Crew, Figures};
use crate::erp::{Addresses, Erp};
use crate::faults::kills;
use crate::invalid::Invalid;
use crate::invoice::Invoice;
use crate::mutant::breaking;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::report::{BackendRow, Report};
use crate::saga::STEPS;
use crate::state::{Identity, State};
use crate::stores::{Store, database, journal};
use crate::timings::Timings;
use crate::{Failed, reader};

/// Pays every invoice of the input and says whether the audit holds.
pub(crate) async fn pay(args: PayArgs) -> Result<bool, Failed> {
    let began = Instant::now();
    if let Some(file) = &args.report {
        // Better now than after the work is done.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .map_err(|error| {
                Invalid::new(
                    "--report",
                    file.display().to_string(),
                    format!("a file to write ({error})"),
                )
            })?;
    }
    let input = reader::read(&args.input)?;
    let identity = Identity {
        input: input.digest.clone(),
        seed: args.seed,
        saga: args.order.to_string(),
        store: args.store.to_string(),
        schema: (args.store == Store::Postgres).then(|| schema_of(&args)),
    };
    let state = State::open(&args.state, &identity, args.fresh)?;
    state.write_rejects(&input.rejects)?;
    let address = args.postgres.as_deref();
    let database = database(args.store, address, &state).await?;

    let start = |service| Backend::start(service, state.folder(), args.faults, args.seed);
    let (ledger, notification, assistant) = tokio::try_join!(
        start(Service::Ledger),
        start(Service::Notification),
        start(Service::Assistant)
    )?;
    let addresses = Addresses {
        ledger: ledger.url(),
        notification: notification.url(),
        assistant: assistant.url(),
    };
    let backends = [ledger, notification, assistant];

    // The journal is all that a new process needs to go on where a killed one stopped.
    let journal = journal(args.store, database.as_ref(), &state).await?;
    let earlier = at_rest(&*journal).await?;
    let total = input.invoices.len();
    eprintln!(
        "paying {total} invoices, {} of them finished earlier",
        earlier.len()
    );
    let progress = Progress::new(earlier.len() as u64, total as u64);
    let drills = Drills::new(kills(args.faults, args.seed), &backends, total);
    // How many are finished now, when this one was not before.
    let finished = |key: &str, outcome: &Outcome| {
        let new = *outcome != Outcome::Unfinished && !earlier.contains(key);
        let count = new.then(|| progress.one_more())?;
        drills.at(count, &progress);
        Some(count)
    };
    let crew = match (address, state.schema()) {
        (Some(address), Some(schema)) if args.instances > 1 => {
            // They have their own.
            drop(journal);
            let mut killed = 0;
            let ended = |key: &str, outcome: &Outcome| {
                let count = finished(key, outcome)?;
                let due = total as u64 * u64::from(killed + 1) / u64::from(args.kills + 1);
                (killed < args.kills && count >= due).then(|| {
                    killed += 1;
                    let which = killed as usize % args.instances;
                    progress.say(&format!("killing instance {}", which + 1));
                    which
                })
            };
            let say = |what: &str| progress.say(what);
            crew::pay(&args, (address, schema), &addresses, ended, say).await?
        }
        _ => {
            let erp = Arc::new(Erp::connect(&addresses)?);
            let journal = breaking(journal, args.mutant);
            let app = Arc::clone(&erp);
            let carrier = Carrier::start(journal, app, args.order, args.in_flight, None).await?;
            let mut outcomes = HashMap::new();
            let ended = |invoice: &Invoice, outcome: Result<Outcome, SagaError>| {
                let key = invoice.key();
                let outcome = outcome.unwrap_or_else(|error| {
                    progress.say(&format!("{key}: {error}"));
                    Outcome::Unfinished
                });
                finished(&key, &outcome);
                outcomes.insert(key, outcome);
            };
            carrier.pay(input.invoices.iter(), ended).await;
            carrier.shutdown().await;
            Crew {
                outcomes,
                figures: Figures::of(&erp),
                restarts: 0,
            }
        }
    };
    progress.finish();
    let restarts: HashMap<Service, u64> = backends
        .iter()
        .map(|it| (it.service(), it.restarts()))
        .collect();
    futures::future::join_all(backends.map(Backend::stop)).await;

    let Crew {
        outcomes, figures, ..
    } = &crew;
    let mut report = Report::count(&input.invoices, outcomes);
    report.rejected = input.rejects.len() as u64;
    report.finished_earlier = earlier.len() as u64;
    report.coded_by_rules = figures.coded_by_rules;
    report.instances = args.instances as u64;
    report.instance_restarts = crew.restarts;
    report.steps = Timings::from_micros(&STEPS, figures.timings.clone()).percentiles(&STEPS);
    report.backends = [Service::Ledger, Service::Notification, Service::Assistant]
        .into_iter()
        .map(|service| {
            let backend = service.to_string();
            let (retries, breaker_openings) =
                figures.backends.get(&backend).copied().unwrap_or_default();
            BackendRow {
                backend,
                retries,
                breaker_openings,
                restarts: restarts.get(&service).copied().unwrap_or_default(),
            }
        })
        .collect();
    report.findings = audit(&state.ledger(), &state.notices(), &input.invoices, outcomes)?;
    report.audit = report.findings.is_empty();
    report.seconds = began.elapsed().as_secs_f64();
    print!("{report}");
    println!("state: {}", state.folder().display());
    if !input.rejects.is_empty() {
        println!("rejected rows: {}", state.rejects().display());
    }
    if let Some(file) = &args.report {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .map_err(|error| format!("--report: {} cannot be written: {error}", file.display()))?;
    }
    Ok(report.audit)
}

/// A schema for a state that is begun now.
fn schema_of(args: &PayArgs) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let made_of = format!("{:?} {now:?} {}", args.state, std::process::id());
    let digest = Sha256::digest(made_of);
    let hex = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("pay_invoices_{}", hex.collect::<String>())
}

/// The invoices that were finished before this run, or wait for an operator.
async fn at_rest(journal: &dyn Journal) -> Result<HashSet<String>, JournalError> {
    const PAGE: usize = 1_000;
    let mut keys = HashSet::new();
    for status in [Status::Ended, Status::Held] {
        let mut listing = Listing::new(status, PAGE);
        loop {
            let page = journal.list(listing.clone()).await?;
            keys.extend(
                page.iter()
                    .map(|head| format!("{}/{}", head.labels.tenant, head.key)),
            );
            match page.last() {
                Some(last) if page.len() == PAGE => {
                    listing = Listing::new(status, PAGE).after(last.id)
                }
                _ => break,
            }
        }
    }
    Ok(keys)
}

/// The backends that are to be killed on the way.
struct Drills<'a> {
    backends: &'a [Backend],
    /// After how many finished invoices, in order.
    plan: Vec<(u64, Service)>,
    next: AtomicUsize,
}

impl<'a> Drills<'a> {
    fn new(kills: Vec<(u64, Service)>, backends: &'a [Backend], invoices: usize) -> Self {
        let plan = kills
            .into_iter()
            .map(|(thousandths, service)| (thousandths * invoices as u64 / 1_000, service));
        Self {
            backends,
            plan: plan.collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Kills what is due now that so many invoices are finished. What was due in an earlier run is due no more.
    fn at(&self, finished: u64, progress: &Progress) {
        let next = self.next.load(Ordering::Relaxed);
        let due = self
            .plan
            .iter()
            .skip(next)
            .take_while(|(when, _)| *when <= finished);
        for (when, service) in due {
            self.next.fetch_add(1, Ordering::Relaxed);
            if *when == finished {
                progress.say(&format!("killing the {service} process"));
                self.backends
                    .iter()
                    .filter(|it| it.service() == *service)
                    .for_each(Backend::kill);
            }
        }
    }
}
