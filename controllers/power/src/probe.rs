//! Whether a BMC speaks Redfish, and where.
//!
//! Never changes anything on the BMC; sends credentials only to a service with TLS that answered its root with 401.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use crate::endpoint::{Endpoint, Origin};
use crate::error::DriverError as _;
use crate::ipmi::Credentials;
use crate::redfish::Service;
use crate::web::{CertificatePin, Trust};

/// For each place where Redfish may be: a BMC that answers at all does so in two or three seconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Finds the Redfish service of a BMC: HTTPS at its usual port, then the port given. One that shows another certificate
/// than `pinned` counts as found, so that it is noticed.
pub async fn probe(
    endpoint: &Endpoint,
    port: u16,
    credentials: &Credentials,
    pinned: Option<CertificatePin>,
) -> Option<Origin> {
    for origin in endpoint.redfish_origins(port) {
        let mut service = Service::new(origin.clone(), credentials, Arc::new(Trust::new(pinned)));
        match timeout(LIMIT, service.root()).await {
            Ok(Ok(_)) => return Some(origin),
            Ok(Err(error)) if error.changed_certificate().is_some() => return Some(origin),
            Ok(Err(error)) => debug!(%origin, %error, "no Redfish here"),
            Err(_) => debug!(%origin, "no Redfish here in time"),
        }
    }
    None
}
