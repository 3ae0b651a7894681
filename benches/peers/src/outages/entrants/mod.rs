//! Who calls. Each entrant has one preset for all scenarios; what all are told is in [`Terms`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::callee::{Answer, Ask, Backend, Fault};
use super::drive::Watch;

#[cfg(feature = "peers")]
mod backon;
mod bare;
mod mainstay;
mod oracle;
mod tower;
#[cfg(feature = "peers")]
mod tower_resilience;

/// What every entrant is told.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Of the client instance; unique within a run.
    pub name: String,
    pub deadline: Duration,
    pub attempt_timeout: Duration,
    pub attempts: u32,
    /// Whether answers may carry Retry-After, so that errors must be read and not only counted.
    pub hints: bool,
    /// Where to say that a circuit changed, for those whose metrics do not.
    #[cfg_attr(
        not(feature = "peers"),
        expect(dead_code, reason = "only peers look at it")
    )]
    pub watch: Watch,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Good(Answer),
    /// By the client itself: an open circuit, a limit, a budget. It knows or does not know when to come back.
    Refused(Option<Duration>),
    /// No answer in time.
    Late,
    /// The callee's error, after all attempts that were to be made.
    Failed(Option<Duration>),
    /// The caller went away.
    Dropped,
}

impl End {
    /// What a caller of the service sees of it whose own call has ended so: 503, 504, 500.
    pub fn over_the_wire(self) -> Result<Answer, Fault> {
        match self {
            Self::Good(answer) => Ok(answer),
            Self::Refused(hint) => Err(Fault::Busy(hint)),
            Self::Late | Self::Dropped => Err(Fault::Gateway),
            Self::Failed(Some(hint)) => Err(Fault::Busy(Some(hint))),
            Self::Failed(None) => Err(Fault::Down),
        }
    }

    fn of(result: Result<Answer, Fault>) -> Self {
        match result {
            Ok(answer) => Self::Good(answer),
            Err(Fault::Down | Fault::Gateway) => Self::Failed(None),
            Err(Fault::Busy(hint)) => Self::Failed(hint),
            Err(Fault::Late) => Self::Late,
            Err(Fault::Refused(rejected)) => match rejected.layer() {
                ::mainstay::error::LayerKind::Deadline => Self::Late,
                _ => Self::Refused(rejected.hint()),
            },
        }
    }
}

pub type Call = Pin<Box<dyn Future<Output = End> + Send>>;

/// One client instance.
pub trait Client: Send + Sync {
    fn call(&self, ask: Ask) -> Call;

    /// Permits and probes that are out although no call is under way.
    fn leaked(&self) -> usize {
        0
    }
}

/// A way to call.
pub trait Entrant: Send + Sync {
    fn name(&self) -> &'static str;

    /// The preset and its reason, for the report.
    fn preset(&self) -> &'static str;

    /// Whether it reads std's clock and so must be run in real time.
    fn needs_real_time(&self) -> bool {
        false
    }

    fn has_circuit(&self) -> bool {
        false
    }

    fn client(&self, backend: Backend, terms: &Terms) -> Arc<dyn Client>;
}

/// Everybody, in the order of the tables.
pub fn all() -> Vec<Box<dyn Entrant>> {
    vec![
        Box::new(bare::Bare),
        Box::new(tower::Tower),
        #[cfg(feature = "peers")]
        Box::new(backon::Backon),
        #[cfg(feature = "peers")]
        Box::new(tower_resilience::TowerResilience),
        Box::new(mainstay::Mainstay),
        Box::new(oracle::Oracle),
    ]
}
