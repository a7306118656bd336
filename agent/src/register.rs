//! Telling the plane what this machine is, again and again (spec §5.3).
//!
//! It must never act on an answer by itself, and never give up.

use std::net::IpAddr;

use bloomery_agent_api::{Address, CreateServerRequest, ReconcileServerAddressesRequest};

use crate::inventory::Inventory;
use crate::orders::Orders;
use crate::plane::{Error, Plane};

mod keep;

pub use keep::{Act, After, Pace, Report, keep_registered};

/// Type of the addresses reported (spec §5.2).
const ADDRESS_TYPE: &str = "InternalIP";

/// Registers once: `CreateServer`, and `ReconcileServerAddresses` where the plane did not take the addresses with it. Both
/// are safe to repeat.
pub async fn register(plane: &Plane, hostname: &str, inventory: &Inventory) -> Result<Orders, Error> {
    let uuid = inventory.uuid().ok_or(Error::NoIdentity)?.to_owned();
    let addresses: Vec<Address> = inventory.addresses.iter().map(address).collect();
    let hardware = Some(inventory.hardware.clone());
    let request =
        CreateServerRequest { hardware, hostname: hostname.to_owned(), addresses: addresses.clone() };
    let response = plane.create_server(request).await?;
    if !response.addresses_taken {
        plane.reconcile_addresses(ReconcileServerAddressesRequest { uuid, address: addresses }).await?;
    }
    Ok(Orders::read(response))
}

fn address(address: &IpAddr) -> Address {
    Address { r#type: ADDRESS_TYPE.to_owned(), address: address.to_string() }
}

#[cfg(test)]
mod tests;
