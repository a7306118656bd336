//! What DHCP, TFTP and HTTP share. None of it waits for the Kubernetes API.

use std::sync::Arc;

use crate::advertise::Advertise;
use crate::loaders::LoaderStore;
use crate::metrics::Metrics;
use crate::return_path::ReturnPaths;
use crate::sources::Sources;
use crate::trace::Trace;

/// Clones share everything.
#[derive(Clone)]
pub struct Edge {
    /// Where clients are sent.
    pub advertise: Advertise,
    /// The iPXE binaries; only those that can be read are offered.
    pub loaders: Arc<LoaderStore>,
    pub metrics: Arc<Metrics>,
    /// What became of each machine.
    pub trace: Trace,
    /// Which addresses may ask, and at which of ours.
    pub sources: Sources,
    /// Which of them are known to be where they say.
    pub paths: ReturnPaths,
}

impl Edge {
    /// Nothing was seen yet.
    pub fn new(advertise: Advertise, loaders: LoaderStore) -> Self {
        Self {
            advertise,
            loaders: Arc::new(loaders),
            metrics: Arc::default(),
            trace: Trace::default(),
            sources: Sources::default(),
            paths: ReturnPaths::default(),
        }
    }
}
