//! What a run heeds between attempts: its mail, the time of the whole, and the crashes before it.

use std::time::Duration;

use futures::FutureExt as _;

use super::codec;
use super::entry::{Fact, Message};
use super::error::SagaError;
use super::machine::{Execution, Next};
use super::run::{Leave, Run};
use super::tries::PARKED;
use crate::journal::Log;
use crate::observe;
use crate::rt;
use crate::time::Tick;

/// A message that was read and is to be answered.
pub(super) struct Letter {
    number: u64,
    message: Message,
}

impl<App: Send + Sync + 'static> Run<App> {
    /// Takes the messages of a log that were not seen yet.
    pub(super) fn take_mail(&mut self, log: &Log) -> Result<(), Leave> {
        for mail in log.mail.iter().filter(|mail| mail.number > self.seen) {
            let message = codec::open(mail).map_err(Leave::Unreadable)?;
            self.letters.push_back(Letter {
                number: mail.number,
                message,
            });
        }
        self.seen = self.seen.max(log.head.mail.posted);
        Ok(())
    }

    /// Lets mail and time turn the saga back. Returns whether anything was written.
    pub(super) async fn heed(&mut self, execution: &mut Execution) -> Result<bool, Leave> {
        let told = self.cell.mail.notified().now_or_never().is_some();
        if std::mem::take(&mut self.posted) || told {
            let id = self.head.id;
            let log = self.engine.ask(|journal| journal.load(id)).await?;
            self.take_mail(&log)?;
        }
        while let Some(letter) = self.letters.front() {
            let Message::Cancel { actor, reason } = &letter.message;
            let Some(facts) = execution.cancel(actor, reason) else {
                // The pivot is asked first.
                return Ok(false);
            };
            self.answered = letter.number;
            self.letters.pop_front();
            if facts.is_empty() {
                continue;
            }
            // A message ended the parking; what it does not change goes on waiting.
            let park = execution.waiting().and_then(|(again, delay)| {
                let left = again.at.since(rt::wall()).min(delay);
                (delay >= PARKED && left >= PARKED).then_some(left)
            });
            let goes_on = matches!(facts.as_slice(), [Fact::CancelRefused { .. }]);
            let park = park.filter(|_| goes_on);
            self.record_and(execution, &facts, park).await?;
            if let Some(park) = park {
                return Err(Leave::Parked(park));
            }
            return Ok(true);
        }
        let Some(over) = self.over.filter(|over| rt::now() >= *over) else {
            return Ok(false);
        };
        if !self.late && execution.is_committed() {
            // It only goes forward, so nothing else says so.
            self.late = true;
            let by = rt::now().since(over);
            observe::saga_late(&self.head.kind, self.head.id.get(), by);
        }
        if let Some(facts) = execution.expire()
            && !facts.is_empty()
        {
            self.record(execution, &facts).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Waits, and heeds meanwhile. Returns whether something else than this is next now.
    ///
    /// Waiting sagas do not count as in flight, so that they hold up no others.
    pub(super) async fn pause(
        &mut self,
        execution: &mut Execution,
        next: Next,
        delay: Duration,
    ) -> Result<bool, Leave> {
        let until = rt::now() + delay;
        loop {
            let over = self.over.filter(|over| *over > rt::now());
            let over = over.filter(|_| execution.heeds_deadline());
            self.wait(over.map_or(until, |over| over.min(until)))
                .await?;
            self.heed(execution).await?;
            execution.check_key(rt::wall());
            if execution.next() != next {
                return Ok(true);
            }
            if rt::now() >= until {
                return Ok(false);
            }
        }
    }

    /// Until then, or until there is mail.
    pub(super) async fn wait(&mut self, until: Tick) -> Result<(), Leave> {
        drop(self.permit.take());
        self.alone = None;
        let stopped = || Leave::Stopped(SagaError::Stopping);
        tokio::select! {
            biased;
            () = self.engine.stopping() => return Err(stopped()),
            // Whoever has it now, perhaps this very engine, need not wait for the end of the delay.
            () = self.engine.lapse_of(self.head.owner) => return Err(Leave::Lapsed),
            () = self.cell.mail.notified() => self.posted = true,
            () = rt::sleep_until(until) => {}
        }
        self.sit_down().await
    }

    /// Takes a place among those in flight.
    async fn sit_down(&mut self) -> Result<(), Leave> {
        let (tenant, kind) = (&self.head.labels.tenant, &self.head.kind);
        let seat = self.engine.permit(tenant, kind).await;
        self.permit = Some(seat.ok_or(Leave::Stopped(SagaError::Stopping))?);
        Ok(())
    }

    /// Writes down that processes died over this saga, and lets it make its next attempt alone among those of which that
    /// is so (rule 23). Returns what was written.
    pub(super) async fn suspect(&mut self, execution: &mut Execution) -> Result<Vec<Fact>, Leave> {
        let stopped = || Leave::Stopped(SagaError::Stopping);
        drop(self.permit.take());
        let alone = self.engine.alone().await.ok_or_else(stopped)?;
        self.sit_down().await?;
        let facts = execution.suspect(self.engine.crash_limit);
        self.record(execution, &facts).await?;
        self.alone = Some(alone);
        Ok(facts)
    }
}
