//! Telling the plane what this machine is: gRPC `api.Agent` (spec §5.3).
//!
//! It must never act on an answer (a plane that asks for a wipe gets none from here), and never give up.

use std::net::IpAddr;
use std::time::Duration;

use bloomery_agent_api::agent_client::AgentClient;
use bloomery_agent_api::{
    Address, CreateServerRequest, CreateServerResponse, ReconcileServerAddressesRequest,
};
use tonic::transport::{Channel, Endpoint};

use crate::inventory::Inventory;

mod advice;
mod keep;

pub use keep::{Pace, Report, keep_registered};

/// A plane on the same network answers a connection at once; this much covers a loaded one.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// One call, the figure of upstream's agent (spec §5.1).
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Type of the addresses reported (spec §5.2).
const ADDRESS_TYPE: &str = "InternalIP";

/// What the plane said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// It wants this machine's disks wiped.
    pub wipe: bool,
    /// It wants the machine's BMC set up.
    pub setup_bmc: bool,
}

/// Why the machine is not registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No UUID: the plane knows machines by it.
    #[error("failed to find this machine's UUID in its SMBIOS tables")]
    NoIdentity,
    /// The endpoint is no URL.
    #[error("failed to read {endpoint} as the address of a plane")]
    Endpoint {
        /// `host:port`.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// No connection.
    #[error("failed to connect to the plane at {endpoint}")]
    Connect {
        /// `host:port`.
        endpoint: String,
        /// The reason.
        #[source]
        source: tonic::transport::Error,
    },
    /// The plane refused or did not answer a call.
    #[error("failed to call {method} at {endpoint}: {} ({})", source.code().description(), source.message())]
    Call {
        /// gRPC method.
        method: &'static str,
        /// `host:port`.
        endpoint: String,
        /// The answer. Printed above: its own text repeats its code.
        source: Box<tonic::Status>,
    },
    /// No answer in time.
    #[error("failed to get an answer to {method} from {endpoint} within {} s", CALL_LIMIT.as_secs())]
    Silent {
        /// gRPC method.
        method: &'static str,
        /// `host:port`.
        endpoint: String,
    },
}

/// Registers once: `CreateServer`, then `ReconcileServerAddresses`. Both are safe to repeat.
pub async fn register(endpoint: &str, hostname: &str, inventory: &Inventory) -> Result<Answer, Error> {
    let uuid = inventory.uuid().ok_or(Error::NoIdentity)?.to_owned();
    let mut client = connect(endpoint).await?;
    let request =
        CreateServerRequest { hardware: Some(inventory.hardware.clone()), hostname: hostname.to_owned() };
    let response = call("CreateServer", endpoint, client.create_server(request)).await?;
    let request =
        ReconcileServerAddressesRequest { uuid, address: inventory.addresses.iter().map(address).collect() };
    call("ReconcileServerAddresses", endpoint, client.reconcile_server_addresses(request)).await?;
    // Exhaustive, so that a new wish of the plane cannot go unnoticed.
    let CreateServerResponse { wipe, insecure_wipe: _, setup_bmc, reboot_timeout: _, restart: _, message: _ } =
        response;
    Ok(Answer { wipe, setup_bmc })
}

/// A connection of its own for each round: the rounds are a minute apart, and a plane that moved is found again.
async fn connect(endpoint: &str) -> Result<AgentClient<Channel>, Error> {
    let url = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|source| Error::Endpoint { endpoint: endpoint.to_owned(), source })?;
    let channel = (url.connect_timeout(CONNECT_LIMIT).connect().await)
        .map_err(|source| Error::Connect { endpoint: endpoint.to_owned(), source })?;
    Ok(AgentClient::new(channel))
}

async fn call<T>(
    method: &'static str,
    endpoint: &str,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(source)) => {
            Err(Error::Call { method, endpoint: endpoint.to_owned(), source: Box::new(source) })
        }
        Err(_elapsed) => Err(Error::Silent { method, endpoint: endpoint.to_owned() }),
    }
}

fn address(address: &IpAddr) -> Address {
    Address { r#type: ADDRESS_TYPE.to_owned(), address: address.to_string() }
}

#[cfg(test)]
mod tests;
