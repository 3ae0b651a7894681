//! Where the engine can be watched and disturbed, for [`testing`](super::testing).
//!
//! Outside of tests there is no probe, and each of these places is one look at an empty option.

use tokio::sync::watch;

use super::machine::Ending;

/// A place at which a process can die.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) what: What,
    pub(crate) step: Box<str>,
}

/// What is about to be done, or is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// The function that finds out whether a step had its effect.
    Ask,
    /// A step's or a check's function.
    Run,
    /// An undo's function.
    Undo,
    /// A journal record.
    Write,
}

/// What a probe wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// Nothing.
    Go,
    /// The process dies here.
    Crash,
    /// The attempt ends like this: before it is made, so that it is not, or after it.
    End(Ending),
    /// The saga is cancelled while the attempt is made.
    Cancel,
    /// The process stops here until the gate is opened, and then this.
    Stop(Gate, Box<Self>),
    /// The attempt is made once more, with the same key.
    Twice,
}

/// Where a stopped process waits.
#[derive(Clone, Debug)]
pub(crate) struct Gate(pub(crate) watch::Receiver<bool>);

impl Gate {
    /// Waits until the process goes on.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub(crate) async fn passed(mut self) {
        // One that nobody can open any more is no gate.
        drop(self.0.wait_for(|stopped| !*stopped).await);
    }
}

/// Watches and disturbs.
pub(crate) trait Probe: Send + Sync {
    fn before(&self, site: &Site) -> Wish;
    fn after(&self, site: &Site) -> Wish;
}
