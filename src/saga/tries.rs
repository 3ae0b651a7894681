//! Attempts of one step, of its undo, or of the question about it.

use std::sync::Arc;
use std::time::Duration;

use super::cancel;
use super::cx::{Call, Purpose, idempotency_key};
use super::definition::Task;
use super::engine::in_step;
use super::error::SagaError;
use super::machine::{Attempt, Ending, Execution, Verdict};
use super::probe::{Site, What, Wish};
use super::run::{Leave, Run, Work};
use super::tx::Concluded;
use crate::observe::{self, Ended, Part, Spanned};
use crate::rt;

/// From here on a wait is written down. Shorter ones are not worth a synchronous write: a restart loses less than this
/// of a wait, and with the usual backoff no more than a handful of attempts from the count.
const WRITTEN: Duration = Duration::from_secs(1);

/// From here on a waiting saga leaves the memory, and whoever claims it after the wait goes on. A claim and a reading of
/// the log cost milliseconds; below this it is cheaper to wait in memory.
pub(super) const PARKED: Duration = Duration::from_secs(30);

impl<App: Send + Sync + 'static> Run<App> {
    /// Makes attempts until something about the step is durable, or something else is next.
    pub(super) async fn step(
        &mut self,
        execution: &mut Execution,
        work: &Work<'_, App>,
        step: usize,
        task: Task,
    ) -> Result<(), Leave> {
        let (Some(policy), Some(name)) = (
            work.definition.policy(step, task),
            work.definition
                .shape()
                .steps
                .get(step)
                .map(|step| &step.name),
        ) else {
            return Err(Leave::Unreadable(
                "a step that the definition does not have".into(),
            ));
        };
        let undo = task == Task::Undo;
        let purpose = if undo { Purpose::Undo } else { Purpose::Do };
        let site = Site {
            what: match task {
                Task::Reconcile => What::Ask,
                Task::Run => What::Run,
                Task::Undo => What::Undo,
            },
            step: name.clone(),
        };
        let id = self.id();
        let key = |purpose| {
            let generation = execution.generation(step, purpose == Purpose::Undo);
            idempotency_key(
                id,
                work.started,
                execution.key_name(step),
                purpose,
                generation,
            )
        };
        let undoes = undo.then(|| key(Purpose::Do));
        let key = key(purpose);
        let business_key: Arc<str> = self.head.key.as_str().into();
        let given = if undo {
            execution.output_of(step)
        } else {
            execution.input_of(step)
        }
        .cloned();
        // Where an earlier process wrote a wait down, it goes on where it was. One that was parked is over: the journal
        // gave the saga out, and its clock is the one that counts.
        let now = rt::wall();
        let waited = execution.waiting().filter(|_| task != Task::Reconcile);
        let (tried, since, mut due) = waited.map_or((0, now, None), |(again, delay)| {
            let left = again.at.since(now).min(delay);
            (again.attempt, again.since, (delay < PARKED).then_some(left))
        });
        let over = policy
            .deadline
            .map(|deadline| rt::now() + deadline.saturating_sub(now.since(since)));
        let next = execution.next();
        let mut delay = Duration::ZERO;
        for number in tried.saturating_add(1).. {
            if let Some(due) = due.take()
                && self.pause(execution, next, due).await?
            {
                return Ok(());
            }
            self.go_on()?;
            self.engine.may_begin(self.head.owner).await?;
            let until = rt::now() + policy.timeout;
            let recorder = match policy.in_journal {
                Some(_) => self.recorder(execution, number),
                None => None,
            };
            let call = || Call {
                saga: id,
                step: name.clone(),
                key: key.clone(),
                undoes: undoes.clone(),
                attempt: number,
                epoch: self.place.epoch,
                labels: Arc::clone(&self.head.labels),
                business_key: Arc::clone(&business_key),
                deadline: over.map_or(until, |over| over.min(until)),
                traceparent: self.traceparent.clone(),
                recorder: recorder.clone(),
            };
            let attempt = || {
                let attempt = in_step(work.opened.attempt(step, task, call(), given.clone()));
                self.watched(name, task, number, attempt)
            };
            let ending = if over.is_some_and(|over| rt::now() >= over) {
                // The wait before this attempt took the rest of the time.
                Ending::TimedOut
            } else {
                self.attempt(&site, attempt).await?
            };
            let ending = match &recorder {
                None => ending,
                Some(recorder) => match self.conclude(execution, recorder, ending).await? {
                    Concluded::Recorded => return Ok(()),
                    Concluded::Ended(ending) => ending,
                },
            };
            let (said, hint) = (ending.said(), ending.hint());
            let mut last = over.is_some_and(|over| rt::now() >= over);
            if task == Task::Reconcile {
                last |= policy.attempts.is_some_and(|most| number >= most.get());
            }
            match execution.settle(ending, Attempt::new(number, last)) {
                Ok(Verdict::Ride) => return Ok(()),
                Ok(Verdict::Record(facts)) => return self.record(execution, &facts).await,
                Ok(Verdict::Again) => {
                    let counted = number.saturating_sub(tried);
                    delay = policy.backoff.delay(counted, delay, self.rng());
                    // No longer than there is time: its end is to be noticed when it comes.
                    let whole = self.over.filter(|_| execution.heeds_deadline());
                    let left = [over, whole].into_iter().flatten().min();
                    let left = left.map_or(Duration::MAX, |over| over.since(rt::now()));
                    let after = delay.max(hint).min(left);
                    let log = self.head.id.get();
                    observe::saga_retried(&self.head.kind, log, name, undo, number, after);
                    if task == Task::Reconcile {
                        // Nothing is written about a question, so its waits stay short.
                        due = Some(after.min(PARKED));
                        continue;
                    }
                    if after >= WRITTEN {
                        let at = rt::wall().after(after);
                        let facts = execution
                            .postpone(number, said, since, at)
                            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?;
                        let park = (after >= PARKED).then_some(after);
                        self.record_and(execution, &facts, park).await?;
                        if let Some(park) = park {
                            return Err(Leave::Parked(park));
                        }
                    }
                    due = Some(after);
                }
                Err(illegal) => return Err(Leave::Unreadable(illegal.to_string())),
            }
        }
        // 2³² attempts take longer than the backoff of any policy lets a process live.
        Err(Leave::Stopped(SagaError::Stopping))
    }

    /// One attempt in its span, and how long it took.
    async fn watched(
        &self,
        step: &str,
        task: Task,
        number: u32,
        attempt: impl Future<Output = Ending>,
    ) -> Ending {
        let part = match task {
            Task::Reconcile => Part::Ask,
            Task::Run => Part::Run,
            Task::Undo => Part::Undo,
        };
        let (saga, id) = (&self.head.kind, self.head.id.get());
        let span = observe::saga_step(saga, id, step, part, number);
        let began = rt::now();
        let ending = Spanned::new(span, attempt, told).await;
        let took = rt::now().since(began);
        self.engine.times.took(saga, step, part, took);
        ending
    }

    /// One attempt, and what a probe wants around it.
    async fn attempt<F: Future<Output = Ending>>(
        &self,
        site: &Site,
        attempt: impl Fn() -> F,
    ) -> Result<Ending, Leave> {
        let Some(probe) = &self.engine.probe else {
            return Ok(attempt().await);
        };
        let mut ending = match gone_on(probe.before(site)).await {
            Wish::Crash => return Err(self.engine.die()),
            Wish::End(ending) => return Ok(ending),
            Wish::Go | Wish::Stop(..) => attempt().await,
            Wish::Cancel => {
                let posted = cancel::post(&self.engine, self.id(), "trial", "injected").await;
                drop(posted);
                self.cell.mail.notify_one();
                attempt().await
            }
            Wish::Twice => {
                drop(attempt().await);
                attempt().await
            }
        };
        match gone_on(probe.after(site)).await {
            Wish::Crash => return Err(self.engine.die()),
            Wish::End(other) => ending = other,
            Wish::Twice => ending = attempt().await,
            Wish::Go | Wish::Cancel | Wish::Stop(..) => {}
        }
        Ok(ending)
    }
}

/// How an attempt ended, for its span.
const fn told(ending: &Ending) -> Ended {
    match ending {
        Ending::Done(_) => Ended::well("done"),
        Ending::NotApplied => Ended::well("not_applied"),
        Ending::Retry(_) | Ending::RetryAfter(..) => Ended::badly("retry"),
        Ending::Fail(_) => Ended::badly("failed"),
        Ending::Refused(_) => Ended::badly("refused"),
        Ending::Unknown(_) => Ended::badly("unknown"),
        Ending::Halt(_) => Ended::badly("halted"),
        Ending::TimedOut => Ended::badly("timeout"),
        Ending::Panicked => Ended::badly("panicked"),
        Ending::Unreadable(_) => Ended::badly("unreadable"),
        Ending::Unrecordable(_) => Ended::badly("unrecordable"),
    }
}

/// What is wanted once the process goes on, where it was stopped.
///
/// # Cancel safety
///
/// Changes nothing.
async fn gone_on(wish: Wish) -> Wish {
    match wish {
        Wish::Stop(gate, then) => {
            gate.passed().await;
            *then
        }
        wish => wish,
    }
}
