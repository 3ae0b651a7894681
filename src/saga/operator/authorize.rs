//! Who may do what: the program's answer, asked for each thing that is done.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;

use super::search::Summary;
use crate::rt;
use crate::saga::entry::Operation;

/// An answer that takes longer is no.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`Authorize`] returns: it is an object, so its futures are boxed.
pub type Authorized<'a> = Pin<Box<dyn Future<Output = Permission> + Send + 'a>>;

/// Says who may do what. It is asked for each thing that an [`Operator`](super::Operator) does, reading among them, and
/// once for each saga that it is about.
///
/// The answer that nobody gave is no: that of the method as it stands here, of one that panics, and of one that takes
/// more than 10 s. Match on [`Act`] so that one you do not know is denied.
///
/// # Example
///
/// ```
/// use mainstay::saga::entry::Operation;
/// use mainstay::saga::operator::{Act, Authorize, Authorized, Permission, Request};
///
/// /// Reading is for all, going on is for the shift, and ending or guessing takes two of them.
/// struct Shift(Vec<String>);
///
/// impl Authorize for Shift {
///     fn authorize<'a>(&'a self, request: Request<'a>) -> Authorized<'a> {
///         let on_shift = self.0.iter().any(|name| name == request.actor);
///         Box::pin(async move {
///             match request.act {
///                 Act::List | Act::Read => Permission::Granted { payloads: false },
///                 _ if !on_shift => Permission::denied("only the shift decides"),
///                 Act::Decide(Operation::Retry) | Act::Approve(_) | Act::TurnDown(_) | Act::Cancel => {
///                     Permission::Granted { payloads: false }
///                 }
///                 Act::Decide(_) => Permission::NeedsSecond,
///                 _ => Permission::default(),
///             }
///         })
///     }
/// }
/// ```
pub trait Authorize: Send + Sync + 'static {
    /// Whether the actor may. As it stands here nobody may do anything.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when whoever asked goes away.
    fn authorize<'a>(&'a self, _: Request<'a>) -> Authorized<'a> {
        Box::pin(async { Permission::default() })
    }
}

/// Nobody may do anything.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "there is nothing about it to add"
)]
pub struct DenyAll;

impl Authorize for DenyAll {}

/// What is to be authorised.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Who wants it, by the name that the program gave to [`Sagas::operator`](crate::saga::Sagas::operator).
    pub actor: &'a str,
    /// What.
    pub act: Act,
    /// With which saga.
    pub saga: &'a Summary,
    /// Why, where something is to be changed.
    pub reason: Option<&'a str>,
    /// With an approval or its opposite: who proposed it. Never the actor in an approval.
    pub proposer: Option<&'a str>,
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Agree to what somebody else proposed.
    Approve(Operation),
    /// Ask for a saga to be undone.
    Cancel,
    /// Decide about an incident.
    Decide(Operation),
    /// See that there is such a saga, and where it stands.
    List,
    /// See its history, and its payloads where the answer says so.
    Read,
    /// Turn down what somebody proposed.
    TurnDown(Operation),
}

impl Act {
    /// The word for it, in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve(_) => "approve",
            Self::Cancel => "cancel",
            Self::Decide(operation) => operation.as_str(),
            Self::List => "list",
            Self::Read => "read",
            Self::TurnDown(_) => "turn_down",
        }
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Permission {
    /// No, and why not; the actor is told, and so is the history where the saga has an open incident.
    Denied {
        /// Why not.
        why: Box<str>,
    },
    /// Yes.
    Granted {
        /// With [`Act::Read`]: whether inputs and outputs are shown.
        payloads: bool,
    },
    /// Yes, when another one agrees. Only for [`Act::Decide`]; of everything else it is no.
    NeedsSecond,
}

impl Permission {
    /// No, because.
    pub fn denied(why: impl Into<Box<str>>) -> Self {
        Self::Denied { why: why.into() }
    }
}

/// No.
impl Default for Permission {
    fn default() -> Self {
        Self::denied("nobody said that this is allowed")
    }
}

/// Asks, and takes everything that is no answer for no.
pub(super) async fn ask(authorize: &dyn Authorize, request: Request<'_>) -> Permission {
    let asked = AssertUnwindSafe(async { authorize.authorize(request).await }).catch_unwind();
    tokio::select! {
        biased;
        answer = asked => answer.unwrap_or_else(|_| Permission::denied("the authoriser panicked")),
        () = rt::sleep(PATIENCE) => Permission::denied("the authoriser did not answer"),
    }
}

impl fmt::Debug for dyn Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}
