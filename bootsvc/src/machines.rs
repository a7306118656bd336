//! Which machines are served at all: `unknownMachines`, and the lists of the configuration.

use std::sync::Arc;

use bloomery_api::decision::unknown::{MachineLists, UnknownMachines};

/// Who is served. Clones share it.
#[derive(Clone, Default)]
pub struct Machines {
    policy: UnknownMachines,
    lists: Arc<MachineLists>,
}

impl Machines {
    /// The policy and the lists of the command line.
    pub fn new(policy: UnknownMachines, configured: MachineLists) -> Self {
        Self { policy, lists: Arc::new(configured) }
    }

    /// What becomes of machines that nobody accepted.
    pub fn policy(&self) -> UnknownMachines {
        self.policy
    }

    /// The lists that count now.
    pub fn lists(&self) -> Arc<MachineLists> {
        self.lists.clone()
    }
}
