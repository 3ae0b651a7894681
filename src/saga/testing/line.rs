//! The journal as a process sees it that can be stopped: nothing comes or goes while it is.

use std::sync::Arc;

use crate::journal::{
    Answer, Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, Journal, Listing, Log,
    LogId, Post, Posted, Prune, Pulse, Release,
};
use crate::saga::probe::Gate;

#[derive(Debug)]
pub(super) struct Line {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) gate: Gate,
}

impl Line {
    fn call<'a, T: Send + 'a>(&'a self, work: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            self.gate.clone().passed().await;
            let answer = work.await;
            self.gate.clone().passed().await;
            answer
        })
    }
}

impl Journal for Line {
    fn begin(&self, of: Begin) -> Answer<'_, Begun> {
        self.call(self.inner.begin(of))
    }

    fn append(&self, of: Append) -> Answer<'_, ()> {
        self.call(self.inner.append(of))
    }

    fn claim(&self, of: Claim) -> Answer<'_, Vec<Head>> {
        self.call(self.inner.claim(of))
    }

    fn load(&self, of: LogId) -> Answer<'_, Log> {
        self.call(self.inner.load(of))
    }

    fn list(&self, of: Listing) -> Answer<'_, Vec<Head>> {
        self.call(self.inner.list(of))
    }

    fn join(&self, of: Join) -> Answer<'_, InstanceId> {
        self.call(self.inner.join(of))
    }

    fn beat(&self, of: Beat) -> Answer<'_, Pulse> {
        self.call(self.inner.beat(of))
    }

    fn leave(&self, of: InstanceId) -> Answer<'_, ()> {
        self.call(self.inner.leave(of))
    }

    fn release(&self, of: Release) -> Answer<'_, ()> {
        self.call(self.inner.release(of))
    }

    fn post(&self, of: Post) -> Answer<'_, Posted> {
        self.call(self.inner.post(of))
    }

    fn prune(&self, of: Prune) -> Answer<'_, usize> {
        self.call(self.inner.prune(of))
    }

    fn changed(&self) -> Answer<'_, ()> {
        self.call(self.inner.changed())
    }
}
