//! Which sagas there are: by what is written beside their logs, without reading them.

use serde::{Serialize, Serializer};

use crate::journal::{Head, InstanceId, Listing, Status};
use crate::saga::SagaId;
use crate::saga::ended::Incident;
use crate::saga::entry::Class;
use crate::saga::machine::stage_of;
use crate::time::Timestamp;

/// No page has more.
const LARGEST: usize = 1_000;

/// What to look for. Every setting narrows it; each is compared exactly.
///
/// # Example
///
/// ```
/// use mainstay::journal::Status;
/// use mainstay::saga::entry::Class;
/// use mainstay::saga::operator::Search;
///
/// let stuck = Search::new(Status::Held).definition("payment").class(Class::Exhausted).limit(20);
/// let undoing = Search::new(Status::Running).tenant("acme").undoing("reserve");
/// # drop((stuck, undoing));
/// ```
#[derive(Clone, Debug)]
pub struct Search {
    pub(super) listing: Listing,
    pub(super) class: Option<Class>,
}

impl Search {
    /// Sagas in this status, oldest first, 100 on a page.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self {
            listing: Listing::new(status, 100),
            class: None,
        }
    }

    /// Only those of this definition.
    #[must_use]
    pub fn definition(mut self, name: &str) -> Self {
        self.listing.kind = Some(name.into());
        self
    }

    /// Only this tenant's; `""` is the one of programs that have one.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.listing.tenant = Some(tenant.into());
        self
    }

    /// Only those under this business key: with a definition and a tenant at most one.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.listing.key = Some(key.into());
        self
    }

    /// Only those that are at this step, going forward. A run of checks counts as its first one, because nothing is
    /// written in between; sagas that were begun by a version from before steps were written are at none.
    #[must_use]
    pub fn step(mut self, name: &str) -> Self {
        self.listing.stage = Some(stage_of(name, false));
        self
    }

    /// Only those that are undoing this step.
    #[must_use]
    pub fn undoing(mut self, name: &str) -> Self {
        self.listing.stage = Some(stage_of(name, true));
        self
    }

    /// Only those with an open incident of this class. Only [held](Status::Held) ones have one; others are then not
    /// found.
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Only those that began before this.
    #[must_use]
    pub const fn begun_before(mut self, at: Timestamp) -> Self {
        self.listing.begun_before = Some(at);
        self
    }

    /// Only those of which nothing was written since this.
    #[must_use]
    pub const fn updated_before(mut self, at: Timestamp) -> Self {
        self.listing.updated_before = Some(at);
        self
    }

    /// Only those after this one: the [`next`](Page::next) of the page before.
    #[must_use]
    pub const fn after(mut self, saga: SagaId) -> Self {
        self.listing.after = Some(saga.log());
        self
    }

    /// How many are looked at for one page, 1 to 1,000; a number outside is taken for the nearest.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.listing.limit = limit.clamp(1, LARGEST);
        self
    }

    /// The same among those that wait for an operator.
    pub(super) fn held(&self) -> Self {
        let mut search = self.clone();
        search.listing.status = Status::Held;
        search
    }

    /// Whether a saga that is found by other means is one of these, whatever its status.
    pub(super) fn fits(&self, incident: &Incident) -> bool {
        let listing = &self.listing;
        let is = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        is(listing.kind.as_deref(), &incident.definition)
            && is(listing.tenant.as_deref(), &incident.tenant)
            && is(listing.key.as_deref(), &incident.key)
            && self.class.is_none_or(|class| class == incident.class)
            && listing.begun_before.is_none_or(|at| incident.begun < at)
            && listing.after.is_none_or(|after| incident.saga.log() > after)
            // What it is at, and since when, is not known of it.
            && listing.stage.is_none()
            && listing.updated_before.is_none()
    }
}

/// A part of what was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What was found and may be seen. May be fewer than asked for, or none, although more follow.
    pub found: Vec<T>,
    /// What [`Search::after`] needs for the next page; `None` when there is none.
    pub next: Option<SagaId>,
}

impl<T> Page<T> {
    pub(super) const fn new(found: Vec<T>, next: Option<SagaId>) -> Self {
        Self { found, next }
    }
}

/// What is known of a saga without reading its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The saga.
    pub saga: SagaId,
    /// Its definition.
    pub definition: Box<str>,
    /// The version of it with which the saga goes on: the one with which it began, or to which it was
    /// [carried over](crate::saga::Migration).
    pub version: u32,
    /// Its tenant.
    pub tenant: Box<str>,
    /// Whom its payloads are about.
    pub subject: Option<Box<str>>,
    /// Its business key.
    pub key: Box<str>,
    /// Whether it is under way, waits for an operator, or has ended.
    #[serde(serialize_with = "word")]
    pub status: Status,
    /// The step that it is at, empty where it has ended by itself or where that was not written; see [`Search::step`].
    pub step: Box<str>,
    /// Whether it is the undo of that step.
    pub undoing: bool,
    /// The instance that carries it on.
    #[serde(serialize_with = "number")]
    pub instance: Option<InstanceId>,
    /// How many records its log has.
    pub records: u64,
    /// How many processes have died over it since its last record.
    pub recoveries: u32,
    /// When it began.
    pub begun: Timestamp,
    /// When its last record was written.
    pub updated: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn word<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

#[expect(clippy::ref_option, reason = "serde hands a reference")]
fn number<S: Serializer>(instance: &Option<InstanceId>, serializer: S) -> Result<S::Ok, S::Error> {
    instance.map(InstanceId::get).serialize(serializer)
}

impl Summary {
    pub(super) fn of(head: &Head) -> Self {
        let undone = head.stage.strip_prefix("undo ");
        let labels = &head.labels;
        Self {
            saga: head.id.into(),
            definition: (&*head.kind).into(),
            version: head.version,
            tenant: labels.tenant.as_str().into(),
            subject: labels.subject.as_deref().map(Into::into),
            key: head.key.as_str().into(),
            status: head.status,
            step: undone.unwrap_or(&head.stage).into(),
            undoing: undone.is_some(),
            instance: head.owner,
            records: head.place.records,
            // The one that carries it on now is alive.
            recoveries: head
                .recoveries
                .saturating_sub(u32::from(head.owner.is_some())),
            begun: head.begun,
            updated: head.updated,
        }
    }
}
