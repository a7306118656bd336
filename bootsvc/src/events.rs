//! Events on Servers, recorded beside the answers and never in their way.

use bloomery_api::{Server, plane};
use bloomery_platform::events::{Notice, Recorder};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

use crate::kubernetes::Kubernetes;

/// Source of our events (spec/sidero.md §5.3).
const COMPONENT: &str = "sidero-server";

#[derive(Debug, Clone)]
pub struct Happening {
    server: ObjectReference,
    notice: Notice,
}

impl Happening {
    /// Something about `server`.
    pub fn of(server: &Server, reason: &'static str, message: impl Into<String>) -> Self {
        let notice = Notice { warning: false, reason, action: reason, message: message.into() };
        Self { server: server.object_ref(&()), notice }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.notice.warning = true;
        self
    }
}

/// Takes events. They are written until the last clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    pub fn start(kubernetes: Kubernetes) -> Self {
        Self(Recorder::start(COMPONENT, plane::reference(), move || kubernetes.background()).0)
    }

    /// Records an event some time soon.
    pub fn record(&self, happening: Happening) {
        self.0.record(happening.server, happening.notice);
    }
}
