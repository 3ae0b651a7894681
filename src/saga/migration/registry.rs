//! The migrations of one engine.

use std::collections::HashMap;
use std::sync::Arc;

use super::Plan;
use crate::saga::definition::Registered;
use crate::saga::history::Form;

/// By the name of the definition and the fingerprint of the form from which each comes.
pub(in crate::saga) struct Migrations<App>(HashMap<(Box<str>, Box<str>), Target<App>>);

/// How sagas are carried over, and to what.
pub(in crate::saga) type Target<App> = (Arc<Plan>, Arc<dyn Registered<App>>);

impl<App> Default for Migrations<App> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<App> Migrations<App> {
    /// Of several from one form the one to the latest version is taken.
    pub(in crate::saga) fn add(&mut self, plan: &Arc<Plan>, to: Arc<dyn Registered<App>>) {
        let from = (plan.from().name.clone(), plan.fingerprint().into());
        let later = |known: &Target<App>| known.0.to().version > plan.to().version;
        if !self.0.get(&from).is_some_and(later) {
            self.0.insert(from, (Arc::clone(plan), to));
        }
    }

    pub(in crate::saga) fn of(&self, form: Form<'_>) -> Option<&Target<App>> {
        if self.0.is_empty() {
            return None;
        }
        self.0
            .get(&(form.definition.into(), form.fingerprint.into()))
    }

    /// The versions from which sagas are taken over.
    pub(in crate::saga) fn editions(&self) -> impl Iterator<Item = (Arc<str>, u32)> {
        self.0
            .values()
            .map(|(plan, _)| ((&*plan.from().name).into(), plan.from().version))
    }
}
