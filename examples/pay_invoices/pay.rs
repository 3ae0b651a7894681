//! The run itself: from invoices to a report.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Journal, JournalError, Listing, Status};
use mainstay::saga::{Ended, Key, Saga, SagaError, Sagas};

use crate::args::PayArgs;
use crate::audit::audit;
use crate::backends::{Backend, Service};
use crate::erp::Erp;
use crate::faults::kills;
use crate::invalid::Invalid;
use crate::invoice::Invoice;
use crate::mutant::breaking;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::report::{BackendRow, Report};
use crate::saga::{Notified, STEPS, pay_invoice};
use crate::state::{Identity, State};
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
    };
    let state = State::open(&args.state, &identity, args.fresh)?;
    state.write_rejects(&input.rejects)?;

    let start = |service| Backend::start(service, state.folder(), args.faults, args.seed);
    let (ledger, notification, assistant) = tokio::try_join!(
        start(Service::Ledger),
        start(Service::Notification),
        start(Service::Assistant)
    )?;
    let erp = Arc::new(Erp::connect(&ledger, &notification, &assistant)?);
    let backends = [ledger, notification, assistant];

    // The journal is all that a new process needs to go on where a killed one stopped.
    let journal = breaking(Arc::new(SqliteJournal::open(state.journal())?), args.mutant);
    let earlier = at_rest(&*journal).await?;
    let saga = pay_invoice(args.order)?;
    let sagas = Sagas::builder(journal, Arc::clone(&erp))
        .register(&saga)
        .in_flight(args.in_flight)
        .start()
        .await?;

    eprintln!(
        "paying {} invoices, {} of them finished earlier",
        input.invoices.len(),
        earlier.len()
    );
    let progress = Progress::new(earlier.len() as u64, input.invoices.len() as u64);
    let drills = Drills::new(
        kills(args.faults, args.seed),
        &backends,
        input.invoices.len(),
    );
    let outcomes: HashMap<String, Outcome> = futures::stream::iter(&input.invoices)
        .map(|invoice| async {
            let key = invoice.key();
            let outcome = outcome_of(&sagas, &saga, invoice)
                .await
                .unwrap_or_else(|error| {
                    progress.say(&format!("{key}: {error}"));
                    Outcome::Unfinished
                });
            if outcome != Outcome::Unfinished && !earlier.contains(&key) {
                drills.at(progress.one_more(), &progress);
            }
            (key, outcome)
        })
        .buffer_unordered(args.in_flight.get())
        .collect()
        .await;
    progress.finish();
    sagas.shutdown(Duration::from_secs(10)).await;
    let restarts: HashMap<Service, u64> = backends
        .iter()
        .map(|it| (it.service(), it.restarts()))
        .collect();
    futures::future::join_all(backends.map(Backend::stop)).await;

    let mut report = Report::count(&input.invoices, &outcomes);
    report.rejected = input.rejects.len() as u64;
    report.finished_earlier = earlier.len() as u64;
    report.coded_by_rules = erp.coded_by_rules();
    report.steps = erp.timings.percentiles(&STEPS);
    report.backends = erp
        .stacks()
        .iter()
        .map(|(service, stack)| BackendRow {
            backend: service.to_string(),
            retries: stack.retry().retries(),
            breaker_openings: stack.breaker().openings(),
            restarts: restarts.get(service).copied().unwrap_or_default(),
        })
        .collect();
    report.findings = audit(
        &state.ledger(),
        &state.notices(),
        &input.invoices,
        &outcomes,
    )?;
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

/// Pays one invoice, or finds out how it ended: a saga that was started before is the same saga.
async fn outcome_of(
    sagas: &Sagas<Erp>,
    saga: &Saga<Erp, Invoice, Notified>,
    invoice: &Invoice,
) -> Result<Outcome, SagaError> {
    let key = Key::new(invoice.number.as_str()).tenant(&invoice.tenant);
    let handle = sagas.start(saga, key, invoice.clone()).await?;
    Ok(match handle.ended().await? {
        Ended::Completed(notified) => Outcome::Paid {
            noticed: notified == Notified::Sent,
        },
        Ended::Compensated { step, reason, .. } => Outcome::Compensated {
            why: format!("{step}: {reason}"),
        },
        Ended::Incident(incident) => {
            let (class, error) = (incident.class, incident.error);
            let direction = if incident.unwinding { "undo of " } else { "" };
            let step = incident.step.as_deref().unwrap_or("the whole saga");
            Outcome::Incident {
                why: format!("{direction}{step}: {error} ({class:?})"),
            }
        }
        other => Outcome::Incident {
            why: format!("{other:?}"),
        },
    })
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
