//! What requests are answered from.

use std::sync::Arc;

use super::intake::Intake;
use super::startup::Startup;
use crate::agent::serve::Service;
use crate::configuration::Told;
use crate::services::Services;
use crate::tunnels::Forward;
use crate::turns::Turns;

/// Decisions made at once: enough to keep the API busy, few enough that no single answer takes seconds when a whole hall
/// is switched on. Each asks for two objects at once; together with the agents' calls and the controllers they stay
/// below what the API server lets in (60), beyond which it refuses.
const DECISIONS: usize = 10;

/// Clones share everything.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    pub agent: Service,
    /// Nodes' calls for a tunnel.
    pub tunnels: Forward,
    /// Turns of boot decisions.
    pub turns: Turns,
    /// Octets of requests in flight.
    pub intake: Intake,
    /// Of which refusals people were told.
    pub told: Arc<Told>,
    /// Whether the plane has been there yet.
    pub startup: Startup,
}

impl Context {
    /// Nothing was asked yet.
    pub fn new(services: Arc<Services>) -> Self {
        Self {
            agent: Service::new(services.clone()),
            tunnels: Forward::new(services.clone()),
            services,
            turns: Turns::new(DECISIONS),
            intake: Intake::default(),
            told: Arc::default(),
            startup: Startup::default(),
        }
    }
}
