//! What stands between the network and the answers: shared by all connections.

use super::intake::Intake;
use super::startup::Startup;
use crate::return_path::ReturnPaths;
use crate::sources::Sources;

/// Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Octets of requests in flight.
    pub intake: Intake,
    /// Our addresses that answer.
    pub sources: Sources,
    /// Addresses that a TCP connection stood to.
    pub paths: ReturnPaths,
    /// Whether the plane has been there yet.
    pub startup: Startup,
}
