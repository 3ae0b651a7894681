//! Carries a saga over when it is taken up.

use std::sync::Arc;

use super::registry::Target;
use super::{NotMigrated, Plan};
use crate::observe;
use crate::rt;
use crate::saga::definition::Registered;
use crate::saga::ended::Rest;
use crate::saga::entry::{Class, Fact};
use crate::saga::history::History;
use crate::saga::machine::Execution;
use crate::saga::run::{Leave, Run, changed};
use crate::saga::spot;
use crate::time::Timestamp;

impl<App: Send + Sync + 'static> Run<App> {
    /// Carries the saga over as often as it can be, and returns the definition with which it goes on, or why there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the saga carried over; whoever takes it up then finds it so.
    pub(in crate::saga) async fn reform(
        &mut self,
        facts: &mut Vec<(Fact, Timestamp)>,
    ) -> Result<Result<Arc<dyn Registered<App>>, String>, Leave> {
        let engine = Arc::clone(&self.engine);
        // Each turn raises the version, so there are no more than migrations.
        loop {
            let history = History::of(facts.iter().map(|(fact, _)| fact));
            let Some(form) = history.form() else {
                return Err(Leave::Unreadable("it does not begin with a start".into()));
            };
            let mut refused = None;
            if let Some(target) = engine.migrations.of(form) {
                match self.carried(target, facts) {
                    Ok(record) => {
                        self.go_on()?;
                        self.reformed(&target.0, facts, record).await?;
                        continue;
                    }
                    Err(NotMigrated::Illegal(illegal)) => {
                        return Err(Leave::Unreadable(illegal.to_string()));
                    }
                    Err(why) => {
                        let (name, to) = (form.definition, target.0.to().version);
                        refused = Some(format!(
                            "{name} version {} cannot go on as version {to}: {why}",
                            form.version
                        ));
                    }
                }
            }
            return Ok(match engine.known(form) {
                Some(known) => Ok(known),
                None => Err(refused.unwrap_or_else(|| {
                    let found = engine.definition(form.definition, form.version);
                    changed(found.as_deref().map(Registered::fingerprint), form)
                })),
            });
        }
    }

    /// Before what the saga has is converted: a process may die of the user's functions too, and then again and again, since
    /// nothing is written before they have returned. Returns where the saga rests if it was too often.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the suspicion written.
    pub(in crate::saga) async fn suspect_behind(
        &mut self,
        facts: &mut Vec<(Fact, Timestamp)>,
    ) -> Result<Option<Rest>, Leave> {
        let engine = Arc::clone(&self.engine);
        let history = History::of(facts.iter().map(|(fact, _)| fact));
        let Some((plan, _)) = history.form().and_then(|form| engine.migrations.of(form)) else {
            return Ok(None);
        };
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        let mut execution = Execution::replay(Arc::clone(plan.from()), dated)
            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?;
        let due = execution.suspect(engine.crash_limit);
        if matches!(due.first(), Some(Fact::Incident(_))) {
            // Not about the step that is next: nothing of it has run.
            let why = "one process after the other ended while it was carried over";
            let rest = self.hold(history, Class::CrashLoop, why.into()).await?;
            return Ok(Some(rest));
        }
        let written = self.suspect(&mut execution).await?;
        let now = rt::wall();
        facts.extend(written.into_iter().map(|fact| (fact, now)));
        Ok(None)
    }

    /// The record by which the saga goes on in the new form, whose types read what is in it.
    fn carried(
        &self,
        (plan, definition): &Target<App>,
        facts: &[(Fact, Timestamp)],
    ) -> Result<Vec<Fact>, NotMigrated> {
        let record = plan.apply(facts)?;
        for fact in &record {
            let Fact::Done { step, output } = fact else {
                continue;
            };
            let mut steps = plan.to().steps.iter();
            let index = steps.position(|known| known.name == *step).unwrap_or(0);
            definition.fits(index, output).map_err(|error| {
                let found = format!("an output that does not read: {}", error.0);
                NotMigrated::refused(step, found, "one of its type, or that it is converted")
            })?;
        }
        let before = facts.iter().map(|(fact, _)| fact);
        if let Some(input) = spot::input_of(before.chain(&record)) {
            let app = Arc::clone(&self.engine.app);
            let opened = Arc::clone(definition).open(app, input);
            opened.map_err(|error| {
                let found = format!("an input that does not read: {}", error.0);
                NotMigrated::refused("", found, "one of its type, or that it is converted")
            })?;
        }
        Ok(record)
    }

    /// Makes the record durable, and only then true.
    async fn reformed(
        &mut self,
        plan: &Plan,
        facts: &mut Vec<(Fact, Timestamp)>,
        record: Vec<Fact>,
    ) -> Result<(), Leave> {
        let whole = plan.read(facts, &record);
        let stage = whole
            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?
            .stage();
        let at = self.write(&record, stage, None).await?;
        let (saga, id) = (&self.head.kind, self.head.id.get());
        observe::saga_migrated(saga, id, plan.from().version, plan.to().version);
        self.head.version = plan.to().version;
        facts.extend(record.into_iter().map(|fact| (fact, at)));
        Ok(())
    }
}
